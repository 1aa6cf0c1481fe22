"""Requests and answers: bodies, JSON, times, ids, and the errors of each part of the API."""

import json
import math
import re
import sqlite3
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

import orjson
from werkzeug.wrappers import Request, Response

from localsmith.store import Store

TENANT_ID = "f51e8722-c21b-4092-a8ce-6f2410645d51"  # one workspace, the same on every machine
MAX_JSON_BYTES = 20_971_520  # batch_ingest_config.size_limit_bytes
MAX_REQUEST_BYTES = 104_857_600  # a multipart request, attachments included, also after decompression
MAX_GZIP_MEMBERS = 10_000
MAX_JSON_DEPTH = 128
INT64 = 2**63

Family = Literal["python", "go", "problem"]


class ApiError(Exception):
    """An error answer, in words; the route's family determines its form."""

    def __init__(
        self, status: int, message: str, loc: list[str | int] | None = None, kind: str = "value_error"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.loc = loc
        self.kind = kind
        self.headers: dict[str, str] = {}


def not_found(what: str) -> ApiError:
    return ApiError(404, f"{what} not found")


def invalid(loc: list[str | int], message: str, kind: str = "value_error") -> ApiError:
    """A 422 that points at the field."""
    return ApiError(422, message, loc, kind)


@dataclass
class Switches:
    """What a test, or a user with old runs, may change about the server."""

    v1_reads: int = 200  # 501: the three v1 run reads are gone, as on installs with only the new store
    v2_reads: int = 200  # 404, 405 or 501: a server older than the v2 routes
    works_on: date | None = None  # as on that day: what LangSmith announced to end before it answers 410
    score_decimals: int | None = 4  # scores with more decimals are refused, as in LangSmith; None: all are accepted
    query_days: int | None = 401  # the longest time range of a v2 query, as in LangSmith; None: any
    own_usage: bool = True  # v2 queries give a run's own tokens and cost unless they ask for the subtree's
    time_window_hours: float | None = 24  # None: runs of any age are taken
    run_evaluators: bool = False  # uploaded code is executed
    evaluator_token: str | None = None  # what uploads and changes evaluators must carry it
    visible_after_seconds: float = 0  # runs can be read so long after the 202
    clock: Callable[[], float] = time.time
    command: str = "langsmith-rest"  # how pages name the command line

    def now(self) -> int:
        """The time in microseconds since 1970."""
        return int(self.clock() * 1_000_000)


@dataclass
class Call:
    """One request on its way to a handler."""

    request: Request
    store: Store
    switches: Switches
    ids: dict[str, str]  # ids out of the path
    write_runs: Callable[[Callable[[sqlite3.Connection], None]], None]  # at once, or later: see later.py

    def json(self) -> Any:
        """The request's body."""
        return parse_json(self.body(MAX_JSON_BYTES))

    def object(self) -> dict[str, Any]:
        """The request's body, which must be an object."""
        body = self.json()
        if not isinstance(body, dict):
            raise invalid(["body"], "Input should be a valid dictionary", "dict_type")
        return body

    def body(self, limit: int) -> bytes:
        """The request's body, decompressed, of at most `limit` bytes."""
        if (self.request.content_length or 0) > limit:
            raise too_large(limit)
        encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        data = self.request.get_data(cache=False)
        if len(data) > limit:
            raise too_large(limit)
        return data if encoding == "identity" else decompress(data, encoding, limit)


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"Request entity too large: the limit is {limit} bytes after decompression")


# Bodies


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Undo `encoding`, stopping at `limit` bytes, so that a small body cannot fill the memory."""
    if encoding == "gzip":
        return _gunzip(data, limit)
    if encoding == "zstd":
        return _unzstd(data, limit)
    raise ApiError(415, f"Unsupported Content-Encoding {encoding[:40]!r}: send gzip, zstd or none")


def _gunzip(data: bytes, limit: int) -> bytes:
    """Decompress all members of a gzip body, in time proportional to its length."""
    view, place, found, size, members = memoryview(data), 0, [], 0, 0
    try:
        while place < len(view):  # a gzip file may have several members
            unzip, step, members = zlib.decompressobj(wbits=31), 256, members + 1
            if members > MAX_GZIP_MEMBERS:
                raise ApiError(400, f"Bad request: the gzip body has more than {MAX_GZIP_MEMBERS} members")
            while not unzip.eof:
                # What is given beyond the end of a member is copied: little first, so that many short ones stay cheap.
                piece = view[place : place + step]
                if not piece:
                    raise ApiError(400, "Bad request: the gzip body ends early")
                found.append(unzip.decompress(piece, limit + 1 - size))
                size += len(found[-1])
                if size > limit:
                    raise too_large(limit)
                place += len(piece) - len(unzip.unused_data)
                step = min(2 * step, 1 << 20)
    except zlib.error as error:
        raise ApiError(400, "Bad request: the body is not valid gzip") from error
    return b"".join(found)


def zstd_available() -> bool:
    """Whether the optional package is here; /info announces it."""
    try:
        import zstandard  # noqa: F401
    except ImportError:
        return False
    return True


def _unzstd(data: bytes, limit: int) -> bytes:
    if not zstd_available():
        raise ApiError(415, "Unsupported Content-Encoding 'zstd': this server runs without the package 'zstandard'")
    import zstandard

    try:
        reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(data, read_across_frames=True)
        whole = reader.read(limit + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise ApiError(400, "Bad request: the body is not valid zstd") from error
    if len(whole) > limit:
        raise too_large(limit)
    return whole


def parse_json(data: bytes, loc: str = "body") -> Any:
    """Decode JSON that a database can hold: bounded depth, 64-bit integers, finite numbers, valid text."""
    try:
        value = orjson.loads(data)
        if not check_json([value], loc):
            return value
    except orjson.JSONDecodeError:
        pass
    return _parse_exactly(data, loc)


def _parse_exactly(data: bytes, loc: str) -> Any:
    """Decode what orjson refuses or rounds: it turns integers beyond 64 bits into floats."""
    try:
        value = json.loads(data.decode())  # of bytes, json.loads would take surrogates and UTF-16 too
    except RecursionError:
        raise ApiError(400, f"Bad request: {loc} is nested deeper than {MAX_JSON_DEPTH} levels") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise invalid([loc], f"JSON decode error: {error}"[:300], "json_invalid") from None
    check_json([value], loc)
    if b"\\ud" in data or b"\\uD" in data:
        _check_text(value, loc)
    return value


def parse_each(texts: Sequence[tuple[bytes, str]]) -> list[Any]:
    """Decode JSON texts, each with its place, as `parse_json` does."""
    try:
        values = [orjson.loads(data) for data, _ in texts]
        if not check_json(values, ""):
            return values
    except (orjson.JSONDecodeError, ApiError):
        pass
    return [parse_json(data, loc) for data, loc in texts]


def check_json(values: list[Any], loc: str) -> bool:
    """Refuse JSON that other JSON readers cannot read; return whether a float is beyond 64-bit integers."""
    level: list[Any] = [values]
    is_large = False
    for _ in range(MAX_JSON_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            for item in container.values() if type(container) is dict else container:
                kind = type(item)
                if kind is str:  # most of them
                    continue
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is int and not -INT64 <= item < INT64:
                    raise invalid([loc], "int too big to convert")
                elif kind is float and not -INT64 < item < INT64:
                    if not math.isfinite(item):
                        raise invalid([loc], "NaN and Infinity are not JSON")
                    is_large = True
        if not below:
            return is_large
        level = below
    raise ApiError(400, f"Bad request: {loc} is nested deeper than {MAX_JSON_DEPTH} levels")


def _check_text(value: Any, loc: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise invalid([loc], "text holds a lone surrogate, which is not valid Unicode") from None


# Made once: json.dumps makes an encoder for every call that is not all defaults.
ENCODE = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), allow_nan=False).encode


def dumps(value: Any) -> str:
    """JSON as it is stored and sent."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits, keys that are no text
        return ENCODE(value)


def dumps_or_none(value: Any) -> str | None:
    return None if value is None else dumps(value)


def loads_or_none(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def as_stored(text: str | None) -> orjson.Fragment | None:
    """JSON text as a value that `dumps` puts into an answer as it is."""
    return None if text is None else orjson.Fragment(text)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_answer(dumps(value), status, headers)


def json_answer(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer that is JSON text already."""
    return Response(text, status, headers, mimetype="application/json")


def error_answer(family: Family, error: ApiError, path: str) -> Response:
    """An error in the form that the routes of `family` use."""
    return answer(_error_body(family, error, path), error.status, error.headers)


def _error_body(family: Family, error: ApiError, path: str) -> dict[str, Any]:
    place = ".".join(map(str, error.loc or []))
    message = error.message if place in error.message else f"{place}: {error.message}"
    if family == "go":
        return {"error": message}
    if family == "problem":
        title = PROBLEM_TITLES.get(error.status, "Error")
        return {"type": "about:blank", "title": title, "status": error.status, "detail": message, "instance": path}
    if error.status == 422:
        return {"detail": [{"loc": error.loc or ["body"], "msg": error.message, "type": error.kind}]}
    return {"detail": error.message}


PROBLEM_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


# Times and ids

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_EPOCH_MS = 100_000_000_000  # in 1973
MAX_EPOCH_MS = 253_402_300_800_000  # the year 10000, which iso() could not write
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@lru_cache(maxsize=1024)  # what is written together has one time
def iso(micros: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 with six fraction digits."""
    if micros is None:
        return None
    return (EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


@lru_cache(maxsize=1024)  # the runs of one request have few times among them
def micros(text: str) -> int:
    """ISO 8601 as microseconds since 1970; without an offset it means UTC. Raises ValueError or OverflowError."""
    moment = datetime.fromisoformat(text)
    # Raises OverflowError where the offset leads out of the years 1 to 9999, which iso() could not write.
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def is_uuid(text: Any) -> bool:
    """Whether an id is in its 36-character form."""
    return type(text) is str and UUID.fullmatch(text) is not None


def as_uuid(text: Any, loc: list[str | int]) -> str:
    """The 36-character form of an id; raises a 422 for anything else."""
    if is_uuid(text):
        return str(text)
    if isinstance(text, str) and len(text) in (32, 36):
        try:
            return str(uuid.UUID(text))
        except ValueError:
            pass
    raise invalid(loc, "Input should be a valid UUID", "uuid_parsing")


def as_time(value: Any, loc: list[str | int]) -> int:
    """Return a time in microseconds; raise a 422 for what is neither ISO 8601 nor milliseconds since 1970."""
    if isinstance(value, str):
        try:
            return micros(value)
        except (ValueError, OverflowError):
            pass
    # JavaScript's Date.now(). A smaller number may be seconds, and no client of LangSmith sends those.
    if type(value) is int and MIN_EPOCH_MS <= value < MAX_EPOCH_MS:
        return value * 1000
    raise invalid(loc, "Input should be a valid datetime in ISO 8601", "datetime_parsing")
