"""A damaged store: how to recognise it, and what to do."""

import sqlite3

REPAIR = (
    "stop the server, then put a copy made by `view --backup` in its place, or save what can be read with "
    "`sqlite3 FILE .recover`"
)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, so that trying again does not help."""
    return "malformed" in str(error) or "not a database" in str(error)
