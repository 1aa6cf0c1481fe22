"""Results from a CSV file, such as `main.py view --export results.csv` writes: each row becomes a line of JSON."""

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any

from langsmith_rest.recording.checking import FIELDS
from langsmith_rest.recording.results import ALIASES

Convert = Callable[[dict[str, str]], Any]  # what makes a result of a row
DELIMITERS = ",;\t|"
COMMENT = " comment"
SECONDS = "latency_s"  # the latency in exports; it follows from the times where there are any
FORMULA = "=+-@\t\r"  # an apostrophe before these keeps spreadsheets from calculating


def json_lines(file: IO[bytes], convert: Convert | None = None) -> Iterator[bytes]:
    """Yield an empty line for the head, then a result per row, so that the numbers of lines stay those of the file.

    Cells that hold a JSON object or list are read as such, empty ones are left out. A column that comes with a second
    one, "... comment", holds scores: numbers, texts, or "error" where an evaluator failed. `convert` makes results of
    rows of other columns. Raises ValueError for what is no CSV in UTF-8, and for unknown columns; what is wrong in a
    result is found later.
    """
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            rows = open_table(text)
            convert = convert or converter(list(rows.fieldnames or ()))
            yield b"\n"
            for row in rows:
                if None in row or None in row.values():
                    count = len(rows.fieldnames or ())
                    raise ValueError(f"line {rows.line_num} does not have as many cells as the {count} of line 1")
                yield json.dumps(convert(row)).encode() + b"\n"
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8: save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"it is not CSV ({error})") from error


def open_table(text: Iterator[str]) -> "csv.DictReader[str]":
    """The rows of a CSV file, whose cells are separated by what separates most cells of its first line."""
    head = next(text, "")
    delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([head], delimiter=mark), [])))
    rows = csv.DictReader(chain([head], text), strict=True, delimiter=delimiter)
    names = list(rows.fieldnames or ())
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the column {twice!r} appears twice")
    return rows


def converter(names: list[str]) -> Convert:
    """The function that makes a result of a row of these columns; raises ValueError for unknown ones."""
    metrics = [name for name in names if f"{name}{COMMENT}" in names]
    marks = {SECONDS, "latency", *metrics, *(f"{name}{COMMENT}" for name in metrics)}
    if unknown := [name for name in names if name not in marks | FIELDS.keys() | ALIASES.keys()]:
        raise ValueError("; ".join(map(advice, unknown)))
    if metrics and (other := next((name for name in names if name in ("feedback", "scores")), None)):
        raise ValueError(f"{other!r} and the column {metrics[0]!r} both hold scores: keep one kind")

    took = "latency" if "latency" in names else SECONDS if SECONDS in names and "start_time" not in names else None

    def convert(row: dict[str, str]) -> dict[str, Any]:
        result = {name: value_of(cell) for name, cell in row.items() if cell and name not in marks}
        feedback = [scored(name, row[name], row[f"{name}{COMMENT}"]) for name in metrics]
        if found := [item for item in feedback if len(item) > 1]:
            result["feedback"] = found
        if took and row[took]:
            result["latency"] = number_of(row[took])
        return result

    return convert


def advice(column: str) -> str:
    """What to say about a column that is neither a field nor a score with its comments."""
    meant = difflib.get_close_matches(column, [*FIELDS, *ALIASES], 1, cutoff=0.8)
    return f"unknown column {column!r}" + (f" (did you mean {meant[0]!r}?)" if meant else "")


def value_of(cell: str) -> Any:
    """The value of a cell: JSON when that is an object or a list, else its text."""
    if cell[:1] in "{[":
        try:
            return json.loads(cell)
        except ValueError:
            pass
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in FORMULA else cell


def number_of(cell: str) -> Any:
    """The number of a cell, else its text, which will be refused."""
    try:
        return float(cell)
    except ValueError:
        return cell


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
