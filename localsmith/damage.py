"""A store whose file is broken: how that shows, and what to do."""

import sqlite3

REPAIR = (
    "stop the server, then put a copy made by `view --backup` in its place, or save what can be read with "
    "`sqlite3 FILE .recover`"
)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, which no repetition helps."""
    return "malformed" in str(error) or "not a database" in str(error)
