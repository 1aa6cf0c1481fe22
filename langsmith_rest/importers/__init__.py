"""Result files of other harnesses become experiments: one module per format, recognised by content."""

import importlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import Experiment, Found

FORMATS = ("promptfoo", "inspect", "lm_eval", "openai_evals", "oaieval", "deepeval", "pydantic_evals", "junit")
UNREADABLE = (UnicodeDecodeError, json.JSONDecodeError, zipfile.BadZipFile)
HEAD = 1 << 18  # bytes; enough for the first object of most files
OURS = {"inputs", "input"}  # fields of results, which no other format has at its top
SUFFIXES = (".json", ".jsonl", ".eval", ".xml")

__all__ = ["FORMATS", "Experiment", "Found", "load", "load_folder", "recognise"]


def recognise(file: IO[bytes]) -> str | None:
    """The format of a file, by its content; None for our own results, or anything else."""
    file.seek(0)
    head = file.read(HEAD)
    first = first_object(head, file)
    file.seek(0)
    if first.keys() & OURS:
        return None
    return next((name for name in FORMATS if module(name).recognises(head, first)), None)


def load(format: str, file: IO[bytes], name: str, reference: str | None = None) -> Found:
    """Read the experiments of a file; `reference` names the input field that holds the reference.

    Raises ValueError when the file does not hold what its format promises.
    """
    try:
        return module(format).read(file, name, reference)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, *UNREADABLE) as error:
        if isinstance(error, json.JSONDecodeError):
            raise ValueError(f"{name} is not JSON (see line {error.lineno}): is the file complete?") from error
        is_missing = isinstance(error, KeyError)
        reason = f"it has no field {error}" if is_missing else f"{type(error).__name__}: {error}"
        raise ValueError(f"{name} cannot be read as {format} ({reason}).") from error


def load_folder(folder: Path, format: str | None = None, reference: str | None = None) -> Iterator[tuple[Path, Found]]:
    """Yield what each recognised file of a folder and its subfolders contains.

    Raises ValueError if there is none.
    """
    is_empty = True
    for path in sorted(folder.rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        with open(path, "rb") as file:
            found = recognise(file)
            if found and format in (None, found):
                is_empty = False
                yield path, load(found, file, str(path), reference)
    if is_empty:
        formats = ", ".join([format] if format else FORMATS)
        raise ValueError(f"{folder} holds no result file of {formats}. To record files of your own, name each of them.")


def module(format: str) -> Any:
    return importlib.import_module(f"langsmith_rest.importers.{format}")


def first_object(head: bytes, file: IO[bytes]) -> dict[str, Any]:
    """The first JSON object of a file: a line, an item of an array, or the whole file; empty without one."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lstrip(b"[ \t\r\n")
    if not start.startswith(b"{"):
        return {}
    try:
        value = json.JSONDecoder().raw_decode(start.decode(errors="replace"))[0]
    except ValueError:
        if len(head) < HEAD:
            return {}
        return first_object(head + file.read(), file)
    return value if isinstance(value, dict) else {}
