"""multipart/form-data, parsed in memory, with limits on everything.

Werkzeug's parser would do, but takes five times as long for a batch of runs.
"""

import re
from dataclasses import dataclass

from localsmith.wire import ApiError, parse_json

MAX_PARTS = 20_000
MAX_PART_HEADER_BYTES = 8_192

BOUNDARY = re.compile(r'^multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
NAME = re.compile(rb'^content-disposition:[^\r\n]*?;\s*name="([^"\r\n]*)"', re.IGNORECASE | re.MULTILINE)
FILENAME = re.compile(rb'^content-disposition:[^\r\n]*?;\s*filename="([^"\r\n]*)"', re.IGNORECASE | re.MULTILINE)
TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,12})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
LENGTH_PARAMETER = re.compile(r";\s*length=(\d{1,12})", re.IGNORECASE)
ENCODING = re.compile(rb"^content-encoding:", re.IGNORECASE | re.MULTILINE)


# How clients write the headers of a part that has no file, so that one look is enough.
USUAL = re.compile(
    rb'\r\nContent-Disposition: form-data; name="([\x20\x21\x23-\x7e]{0,300})"\r\n'
    rb"Content-Type: (application/json); ?length=(\d{1,12})\r\n\r\n"
)


@dataclass(slots=True)
class Part:
    name: str
    content_type: str
    data: bytes
    filename: str = ""

    def json(self) -> object:
        return parse_json(self.data, self.name[:200])


def parse_parts(body: bytes, content_type: str, *, lengths: bool) -> list[Part]:
    """Split a body into its parts; with `lengths`, each part must state its length, as run ingest requires."""
    match = BOUNDARY.match(content_type)
    if match is None:
        raise _bad("Content-Type must be multipart/form-data with a boundary")
    delimiter = b"\r\n--" + (match[1] or match[2]).encode()
    if body.count(delimiter) > MAX_PARTS:
        raise ApiError(413, f"Request entity too large: more than {MAX_PARTS} parts")
    first, *pieces = (b"\r\n" + body).split(delimiter)
    if not pieces or not pieces[-1].startswith(b"--"):
        raise _bad("the multipart body has no closing boundary")
    return [_part(piece, lengths) for piece in pieces[:-1]]


def _part(piece: bytes, lengths: bool) -> Part:
    if (usual := USUAL.match(piece)) and int(usual[3]) == len(piece) - usual.end():
        return Part(usual[1].decode(), usual[2].decode(), piece[usual.end() :])
    # What follows a boundary: blanks, a line end, the header lines, an empty line, the data.
    head, blank, data = piece.partition(b"\r\n\r\n")
    head = head.lstrip(b" \t")
    if not blank or not head.startswith(b"\r\n") or len(head) > MAX_PART_HEADER_BYTES:
        raise _bad("a part has no header, or one that is too long")
    head = head[2:]
    name, kind, length = NAME.search(head), TYPE.search(head), LENGTH.search(head)
    if name is None:
        raise _bad("a part has no name")
    try:
        label = name[1].decode()
    except UnicodeDecodeError:
        raise _bad("the name of a part is not UTF-8") from None
    content_type = kind[1].decode("latin-1").strip() if kind else ""
    if lengths:
        _check_length(label[:200], head, content_type, length, len(data))
    file = FILENAME.search(head)
    filename = file[1].decode(errors="replace") if file else ""
    return Part(label, LENGTH_PARAMETER.sub("", content_type), data, filename)


def _check_length(label: str, head: bytes, content_type: str, header: re.Match[bytes] | None, actual: int) -> None:
    if ENCODING.search(head):
        raise _bad(f"part {label!r}: Content-Encoding is allowed for the whole request only")
    if not content_type:
        raise _bad(f"part {label!r} has no Content-Type")
    said = header or LENGTH_PARAMETER.search(content_type)
    if said is None:
        raise _bad(f"part {label!r} has no length: send Content-Length, or '; length=N' in its Content-Type")
    if int(said[1]) != actual:
        raise _bad(f"part {label!r} is {actual} bytes long and says {int(said[1])}")


def _bad(message: str) -> ApiError:
    return ApiError(400, f"Bad request: {message}")
