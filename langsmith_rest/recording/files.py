"""Results from files: JSON lines, one JSON array, or a CSV table such as `view --export results.csv` writes."""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any

from langsmith_rest.recording.checking import MAX_DEPTH, MAX_RUN_BYTES
from langsmith_rest.recording.results import ALIASES, Unreadable
from langsmith_rest.wording import clean

BLANKS = " \t\r\n\ufeff"  # Windows writes CR LF, and some of its programs a byte order mark
BLANK_BYTES = BLANKS.encode()
DELIMITERS = ",;\t|"
COMMENT = " comment"  # a column K with a second one, "K comment", holds scores
FORMULA = set("=+-@\t\r")  # an apostrophe before these keeps spreadsheets from calculating

Placed = tuple[str, Any]  # where a row stands in its file, and the row


class ResultFile:
    """The results of a file. Iterate as often as needed; lines and rows are read one by one.

    While iterating, `place` names the line (or the result of an array) that was read last. What cannot be read comes
    out as `Unreadable`. `convert` makes a result of an object, or of the cells of a table; unless it is given,
    spellings of other tools (`input`, `expected`, `scores`, ...) become the fields of a result.
    """

    def __init__(self, name: str, file: IO[bytes], convert: Callable[[Any], Any] | None = None) -> None:
        self.name = self.place = "standard input" if name == "-" else name
        self.is_table = is_table(name)
        self._file = file
        self._convert = convert or (lambda row: rename(from_cells(row) if self.is_table else row))

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        for place, row in read_table(self._file) if self.is_table else read_objects(self._file):
            self.place = self.name + place
            yield self._convert(row) if isinstance(row, dict) else row


def is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv"))


def read_objects(file: IO[bytes]) -> Iterator[Placed]:
    """The values of JSON lines, or of one array."""
    is_array = file.read(4096).lstrip(BLANK_BYTES)[:1] == b"["
    file.seek(0)
    if not is_array:
        lines = enumerate(file, 1)
        yield from ((f", line {line}", read_json(data)) for line, data in lines if data.strip(BLANK_BYTES))
    elif isinstance(items := read_json(file.read()), Unreadable):
        yield "", items
    else:
        yield from ((f", result {number}", item) for number, item in enumerate(items, 1))


def read_json(data: bytes) -> Any:
    """Parse one line, or a whole array, of a file; `Unreadable` says why that cannot be done."""
    try:
        return DECODER.decode(data.removeprefix(codecs.BOM_UTF8).decode().rstrip(BLANKS))
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} (0x{error.object[error.start]:02x})"
        return Unreadable(f"{what} is not UTF-8: save the file as UTF-8")
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        return Unreadable(f"not JSON ({error.msg} at {at}); expected one object per line, or one array")
    except RecursionError:
        return Unreadable(f"it is nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:  # `unique`, or Python's limit on the digits of a number
        return Unreadable(clean(str(error)))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields are all different; JSON allows doubles, of which all but one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field '{twice[:60]}' is given twice, expected different names")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=unique)  # json.loads would make one for each line


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


def read_table(file: IO[bytes]) -> Iterator[Placed]:
    """The rows of a CSV file, whose cells are separated by what separates most cells of its first line."""
    csv.field_size_limit(MAX_RUN_BYTES)  # Python's own is 128 KB
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        head = next(text, "")
        delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([head], delimiter=mark), [])))
        rows = csv.reader(chain([head], text), strict=True, delimiter=delimiter)
        names = next(rows, [])
        unique([(name, None) for name in names])
        for cells in filter(None, rows):
            row = dict(zip(names, cells, strict=False))
            wrong = Unreadable(f"this does not have as many cells as the {len(names)} of line 1")
            yield f", line {rows.line_num}", row if len(cells) == len(names) else wrong
    except UnicodeDecodeError:
        yield "", Unreadable("this is not UTF-8: save it as CSV UTF-8")
    except csv.Error as error:
        yield "", Unreadable(f"this is not CSV ({error})")
    except ValueError as error:  # `unique`
        yield ", line 1", Unreadable(str(error))
    finally:
        text.detach()  # the file stays open


def from_cells(row: dict[str, str]) -> Any:
    """The result of a row: cells that hold a JSON object or list are read as such, empty ones are left out.

    An export's `latency_s` follows from the times where there are any.
    """
    metrics = [name for name in row if f"{name}{COMMENT}" in row]
    marks = {"latency_s", "latency", *metrics, *(f"{name}{COMMENT}" for name in metrics)}
    result = {name: value_of(cell) for name, cell in row.items() if cell and name not in marks}
    scores = [scored(name, row[name], row[f"{name}{COMMENT}"]) for name in metrics]
    if scores and (other := next((name for name in ("feedback", "scores") if name in row), None)):
        return Unreadable(f"{other!r} and the column {metrics[0]!r} both hold scores: keep one kind")
    if scores:
        result["feedback"] = [item for item in scores if len(item) > 1]
    if took := row.get("latency") or ("" if row.get("start_time") else row.get("latency_s")):
        seconds = read_json(took.encode())
        result["latency"] = took if isinstance(seconds, Unreadable) else seconds
    return result


def value_of(cell: str) -> Any:
    """The value of a cell: JSON when that is an object or a list, else its text."""
    if cell[:1] in ("{", "[") and not isinstance(found := read_json(cell.encode()), Unreadable):
        return found
    return cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA else cell


def scored(key: str, cell: str, comment: str) -> dict[str, Any]:
    """Feedback from a score's cell and that of its comment; only the key when both are empty."""
    item: dict[str, Any] = {"key": key}
    if cell == "error":
        item["error"] = True
    elif cell:
        score = read_json(cell.encode())
        item |= {"score": score} if isinstance(score, int | float) else {"value": value_of(cell)}
    return item | ({"comment": value_of(comment)} if comment else {})
