"""What `record` proposes for a refused file: the command to paste, where one can be guessed."""

import json
import shlex
from itertools import islice
from typing import IO, Any

from langsmith_rest.importers import mapping
from langsmith_rest.recording.checking import prepare
from langsmith_rest.recording.files import ResultFile, rename
from langsmith_rest.recording.results import ALIASES
from langsmith_rest.wording import typed

GZIP = b"\x1f\x8b"  # what such a file begins with
LARGEST = 1 << 26  # bytes of a file that is read at once


def with_advice(problems: str, results: ResultFile, file: IO[bytes]) -> str:
    """The problems of a file of results, and what helps."""
    file.seek(0)
    if file.read(2) == GZIP:
        return f"{results.name} is compressed. Nothing was sent.\nTo record it:" + through("gunzip -c", results.name)
    text = "" if results.is_table else text_of(file)
    if line := broken_at(text):
        return f"{results.name} is not JSON (see line {line}): is the file complete? Nothing was sent."
    if spread := spread_object(text):
        said = f"{results.name} has objects on several lines. Expected one object per line, or one array."
        return said + (advice_for_list(spread, results.name) or "\nTo record it:" + through("jq -c .", results.name))
    rows = list(islice(ResultFile(results.name, file, lambda row: row), 100))
    if len(rows) == 1 and isinstance(rows[0], dict) and (advice := advice_for_list(rows[0], results.name)):
        return problems + advice
    return problems + advice_for(rows, results)


def text_of(file: IO[bytes]) -> str:
    """The text of a file; empty if it is too large to be looked at as a whole."""
    file.seek(0)
    data = file.read(LARGEST)
    return data.decode("utf-8-sig", errors="replace").strip() if len(data) < LARGEST else ""


def broken_at(text: str) -> int:
    """The line at which a file breaks off that begins with an object or array on several lines; 0 if it does not."""
    first = text.partition("\n")[0]
    if first.strip()[-1:] not in ("{", "[", ","):
        return 0
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.lineno
    except RecursionError:
        pass
    return 0


def spread_object(text: str) -> dict[str, Any] | None:
    """The first object of a file if it spans several lines, else None."""
    try:
        found, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "\n" in text[:end] else None


def advice_for_list(row: dict[str, Any], name: str) -> str:
    """How to record the longest list of objects within an object that is not a result; empty without one."""
    lists = {field: value for field, value in row.items() if isinstance(value, list) and value}
    sizes = {field: len(value) for field, value in lists.items() if isinstance(value[0], dict)}
    if "inputs" in row or not sizes:
        return ""
    field = max(sizes, key=sizes.__getitem__)
    return f"\nTo record the list in {field!r}:" + through(f"jq {shlex.quote(f'.[{json.dumps(field)}]')}", name)


def through(program: str, name: str) -> str:
    file = "" if name == "standard input" else f" {shlex.quote(name)}"
    return f"\n  {program}{file} | {typed('record')} -"


def advice_for(rows: list[Any], results: ResultFile) -> str:
    """The command that maps the fields of a refused file; empty if there is nothing to map."""
    flags = mapping.propose(rows, results.is_table)
    if not flags:
        return ""
    name = "-" if results.name == "standard input" else shlex.quote(results.name)
    command = " ".join([typed("record"), name, *(f"--map {shlex.quote(flag)}" for flag in flags)])
    first = next(row for row in rows if isinstance(row, dict))
    given = {flag.split(".")[0] for flag in flags} | {ALIASES.get(field, (field, ""))[0] for field in first}
    lacking = [field for field in ("inputs", "outputs") if field not in given]
    places = " and ".join(f"--map {field}.NAME=FIELD" for field in lacking)
    more = f"\nNo field has a common name for {' or '.join(lacking)}: add {places}." if lacking else ""
    others = "" if lacking or records_all(rows, flags, results.is_table) else " (the other problems remain)"
    return f"\nTo map them to the fields of a result{others}:\n  {command}{more}"


def records_all(rows: list[Any], flags: list[str], is_text: bool) -> bool:
    """Whether these flags are all that the rows need; files that they attach are not looked at."""
    mapper = mapping.Mapper(mapping.parse_rules(flags), is_text)
    for row in rows:
        result = rename(mapper(row))
        if isinstance(result, dict):
            result.pop("attachments", None)
        if prepare(result).problems:
            return False
    return True
