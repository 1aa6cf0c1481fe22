"""Results from a CSV file, such as `main.py view --export results.csv` writes: each row becomes a line of JSON."""

import csv
import difflib
import io
import json
from collections.abc import Iterator
from typing import IO, Any

from langsmith_rest.recording.checking import ELSEWHERE, FIELDS
from langsmith_rest.recording.results import ALIASES

COMMENT = " comment"
IGNORED = "latency_s"  # follows from the times
PLAIN = {"inputs": "input", "outputs": "output", "reference_outputs": "expected"}  # fields, as columns of bare values
FORMULA = "=+-@\t\r"  # an apostrophe before these keeps spreadsheets from calculating


def json_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield an empty line for the head, then a result per row, so that the numbers of lines stay those of the file.

    Cells that hold a JSON object or list are read as such, empty ones are left out. A column that comes with a second
    one, "... comment", holds scores: numbers, texts, or "error" where an evaluator failed. Raises ValueError for what
    is no CSV in UTF-8, and for unknown columns; what is wrong in a result is found later.
    """
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, strict=True)
            names = list(rows.fieldnames or ())
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"the column {twice!r} is there twice")
            if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
                raise ValueError(f"its cells are separated by {other!r}: save it with commas")
            metrics = [name for name in names if f"{name}{COMMENT}" in names]
            marks = {IGNORED, *metrics, *(f"{name}{COMMENT}" for name in metrics)}
            if unknown := [name for name in names if name not in marks | FIELDS.keys() | ALIASES.keys()]:
                raise ValueError("; ".join(map(advice, unknown)))
            if metrics and (other := next((name for name in names if name in ("feedback", "scores")), None)):
                raise ValueError(f"{other!r} and the column {metrics[0]!r} both hold scores: keep one kind")
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


def advice(column: str) -> str:
    """What to do about a column that is neither a field nor a score with its comments."""
    field, what = ELSEWHERE.get(column, ("feedback", ""))
    if field in PLAIN:
        what = f"call it {PLAIN[field]!r}"
    elif meant := difflib.get_close_matches(column, [*FIELDS, *ALIASES], 1, cutoff=0.8):
        what = f"call it {meant[0]!r} if that is meant"
    elif field == "feedback":
        what = f"if it holds scores, add a column '{column}{COMMENT}', which may stay empty"
    return f"unknown column {column!r}: {what}"


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
