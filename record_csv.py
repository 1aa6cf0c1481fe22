"""Results from a CSV file, such as `main.py view --export results.csv` writes: each row becomes a line of JSON."""

import csv
import io
import json
from collections.abc import Iterator
from typing import IO, Any

COMMENT = " comment"
IGNORED = "latency_s"  # follows from the times
FORMULA = "=+-@\t\r"  # an apostrophe before these keeps spreadsheets from calculating


def json_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield an empty line for the head, then a result per row, so that the numbers of lines stay those of the file.

    Cells that hold a JSON object or list are read as such, empty ones are left out. A column that comes with a second
    one, "... comment", holds scores: numbers, texts, or "error" where an evaluator failed. Raises ValueError for what
    is no CSV in UTF-8; what is wrong in a result is found later.
    """
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, strict=True)
            names = list(rows.fieldnames or ())
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"the column {twice!r} is there twice")
            metrics = [name for name in names if f"{name}{COMMENT}" in names]
            marks = {IGNORED, *metrics, *(f"{name}{COMMENT}" for name in metrics)}
            yield b"\n"
            for row in rows:
                if None in row or None in row.values():
                    raise ValueError(f"line {rows.line_num} has not as many cells as the {len(names)} of line 1")
                result = {name: value_of(cell) for name, cell in row.items() if cell and name not in marks}
                feedback = [scored(name, row[name], row[f"{name}{COMMENT}"]) for name in metrics]
                if found := [item for item in feedback if len(item) > 1]:
                    result["feedback"] = found
                yield json.dumps(result).encode() + b"\n"
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8: save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"it is no CSV ({error})") from error


def value_of(cell: str) -> Any:
    """The value of a cell: JSON when that is an object or a list, else its text."""
    if cell[:1] in "{[":
        try:
            return json.loads(cell)
        except ValueError:
            pass
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in FORMULA else cell


def scored(key: str, cell: str, comment: str) -> dict[str, Any]:
    """Feedback from a score's cell and that of its comment; only the key when both are empty."""
    item: dict[str, Any] = {"key": key}
    if cell == "error":
        item["error"] = True
    elif cell:
        try:
            score = json.loads(cell)
        except ValueError:
            score = None
        item |= {"score": score} if isinstance(score, int | float) else {"value": value_of(cell)}
    return item | ({"comment": value_of(comment)} if comment else {})
