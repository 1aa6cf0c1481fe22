"""Attachments of a result: files that are recorded with its run, as {name: {"mime_type": ..., "path": ...}}."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langsmith_rest.recording.results import Prepared, Unreadable

MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
MOST_BYTES = 20_000_000  # of all attachments of a result, which travel in one request
MEMBERS = {"mime_type", "path"}

Part = tuple[str, bytes, str]  # name, content, type


def problems_with(attachments: Mapping[Any, Any]) -> Iterator[str]:
    """What keeps attachments from being recorded; files are looked at, but not read."""
    size = 0
    for name, given in attachments.items():
        place = f"'attachments.{name}'"
        if not isinstance(name, str) or not 0 < len(name) <= 128 or "." in name or not name.isprintable():
            yield f"{place}: a name has 1 to 128 characters and no dot"
        elif not isinstance(given, dict) or given.keys() != MEMBERS:
            yield f"{place}: expected {{'mime_type': ..., 'path': ...}}"
        elif not isinstance(given["mime_type"], str) or not MIME_TYPE.fullmatch(given["mime_type"]):
            yield f"{place}: 'mime_type' is not a type such as image/png"
        elif not isinstance(given["path"], str) or not os.path.isfile(given["path"]):
            yield f"{place}: there is no file {str(given['path'])[:200]}"
        else:
            size += os.path.getsize(given["path"])
    if size > MOST_BYTES:
        yield f"'attachments' have {size / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f} MB are recorded"


def parts_of(result: Prepared) -> list[Part]:
    """The runs of a result, and the files of its root run, as the parts of one request."""
    parts = [(f"post.{run.id}", run.body, "application/json") for run in result.runs]
    for name, given in (result.given.get("attachments") or {}).items():
        parts.append((f"attachment.{result.root.id}.{name}", Path(given["path"]).read_bytes(), given["mime_type"]))
    return parts


def beside(result: Any, folder: Path) -> Any:
    """A result of a file, whose paths start in that file's folder and stay below it.

    Whoever wrote the file cannot make us send other files of this machine.
    """
    given = result.get("attachments") if isinstance(result, dict) else None
    if not isinstance(given, dict):
        return result
    found = {}
    for name, item in given.items():
        path = item.get("path") if isinstance(item, dict) else None
        if isinstance(path, str):
            full = (folder / path).resolve()
            if not full.is_relative_to(folder.resolve()):
                return Unreadable(f"'attachments.{name}': {path} is not below the folder of this file")
            item = {**item, "path": str(full)}
        found[name] = item
    return {**result, "attachments": found}
