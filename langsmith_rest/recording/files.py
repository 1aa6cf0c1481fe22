"""How results are read from files: JSON lines, an array, or objects of several lines each."""

import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from langsmith_rest.recording.checking import MAX_DEPTH, printable
from langsmith_rest.recording.results import ALIASES, Unreadable


class ResultFile:
    """The results of a file: JSON lines, or one JSON array. Iterate as often as needed; lines are read one by one.

    Objects of several lines each, as pretty-printers write them, are read as well, but at once.

    While iterating, `place` names the line (or the result of an array) that was read last. What is not UTF-8, not
    JSON or ambiguous comes out as `Unreadable`. Spellings of other tools (`input`, `expected`, `scores`, ...) become
    the fields of a result, and a bare value for one of them an object; another `convert` makes results otherwise.
    """

    def __init__(self, name: str, file: IO[bytes] | None = None, convert: Callable[[Any], Any] | None = None) -> None:
        self._convert = convert or rename
        self.name = self.place = "standard input" if name == "-" else name
        self._file = file if file is not None else open(name, "rb")

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        is_array = self._file.read(4096).removeprefix(BOM).lstrip()[:1] == b"["
        self._file.seek(0)
        if is_array:
            yield from self._array(self._file.read())
        else:
            yield from self._lines()

    def raw(self) -> Iterator[Any]:
        """The objects as the file has them, with the spellings of its writer."""
        return iter(ResultFile(self.name, self._file, lambda value: value))

    def _lines(self) -> Iterator[Any]:
        number = 0
        for line, data in enumerate(self._file, 1):
            if not data.strip(BLANKS):
                continue
            number += 1
            if number == 1 and data.rstrip(BLANKS).endswith(UNFINISHED):
                place = self._file.tell()
                self._file.seek(0)
                if objects := spread_objects(self._file.read()):
                    for number, (line, value) in enumerate(objects, 1):
                        self.place = f"{self.name}, line {line} (result {number})"
                        yield self._convert(value)
                    return
                self._file.seek(place)
            self.place = f"{self.name}, line {line}" + ("" if number == line else f" (result {number})")
            value = read_json(data)
            yield value if isinstance(value, list | Unreadable) else self._convert(value)

    def _array(self, data: bytes) -> Iterator[Any]:
        self.place = self.name
        items = read_json(data)
        if isinstance(items, Unreadable):
            yield items
            return
        for number, item in enumerate(items, 1):
            self.place = f"{self.name}, result {number}"
            yield self._convert(item)


BOM = b"\xef\xbb\xbf"
UNFINISHED = (b"{", b"[", b",", b":")  # how the lines of an object that has several end
LEADING_BLANKS = re.compile(r"[ \t\r\n]*")
BLANKS = b" \t\r\n" + BOM  # Windows writes CR LF, and some of its programs a byte order mark


def read_json(data: bytes) -> Any:
    """Parse one line, or a whole array, of a file; `Unreadable` says why that cannot be done."""
    try:
        data = data.removeprefix(BOM).rstrip(BLANKS)
        value = json.loads(data.decode(), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        before = data[: error.start].split(b"\n")
        at = f"line {len(before)}, " if len(before) > 1 else ""
        what = f"byte {len(before[-1]) + 1} (0x{data[error.start]:02x})"
        return Unreadable(f"{at}{what} is not UTF-8: save the file as UTF-8")
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, " if error.lineno > 1 else ""
        return Unreadable(
            f"not JSON ({error.msg} at {at}column {error.colno}); expected one object per line, or one array"
        )
    except RecursionError:
        return Unreadable(f"this is nested deeper than {MAX_DEPTH} levels")
    except KeyError as error:
        return Unreadable(printable(f"the field '{error.args[0][:60]}' is given twice, expected different names"))
    except ValueError:  # Python's own limit
        return Unreadable("this has a number of more than 4,300 digits, expected at most 64 bits (or text)")
    return value


def spread_objects(data: bytes) -> list[tuple[int, Any]]:
    """The objects of a file that gives them several lines each, and where each begins; none if it is no such file."""
    objects: list[tuple[int, Any]] = []
    at, line = 0, 1
    try:
        text = data.removeprefix(BOM).decode().rstrip()
        decoder = json.JSONDecoder(object_pairs_hook=unique)
        while at < len(text):
            start = at + len(LEADING_BLANKS.match(text, at)[0])  # type: ignore[index]
            line += text.count("\n", at, start)
            value, at = decoder.raw_decode(text, start)
            objects.append((line, value))
            line += text.count("\n", start, at)
    except (ValueError, KeyError, RecursionError):
        return []
    return objects


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields are all different; JSON allows doubles, of which all but one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return found


def rename(result: Any) -> Any:
    """A result with other tools' spellings replaced by ours; a bare value becomes an object."""
    if not isinstance(result, dict) or not ALIASES.keys() & result.keys():
        return result
    renamed = {}
    for field, value in result.items():
        ours, key = ALIASES.get(field, (field, None))
        if ours in renamed or (ours != field and ours in result):
            return Unreadable(f"'{field}' and another field both mean '{ours}': keep one")
        renamed[ours] = {key: value} if key and value is not None and not isinstance(value, dict) else value
    return renamed
