"""Failed runs that were retried: the newer run names the older one in its metadata, which is then not counted."""

import json
import sqlite3
from collections.abc import Iterable
from typing import Literal

# CROSS JOIN keeps this order: from the few failed runs, by index, to the other runs of their examples.
REPLACED = """
    SELECT old.id FROM runs old
    CROSS JOIN runs new ON new.reference_example_id = old.reference_example_id AND new.session_id = old.session_id
    CROSS JOIN run_bodies b ON b.seq = new.seq
    WHERE old.is_root = 1 AND old.status = 'error' AND new.is_root = 1
    AND b.extra LIKE '%"retry_of"%' AND b.extra ->> '$.metadata.retry_of' = old.id
    AND old.
"""


def replaced(
    db: sqlite3.Connection, of: Literal["id", "session_id", "reference_example_id"], values: Iterable[str]
) -> set[str]:
    """The ids of failed runs that a retry replaces, among those whose `of` is one of `values`."""
    rows = db.execute(f"{REPLACED.rstrip()}{of} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))
    return {row[0] for row in rows}
