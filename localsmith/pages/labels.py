"""Whether labels that people gave are a random sample: by the review queues that their runs are in."""

import sqlite3
from collections.abc import Iterable

from langsmith_rest.evaluation.aligning.sampling import Drawn, Queue, drawn, is_about
from localsmith.wire import dumps, loads_or_none


def drawn_of(db: sqlite3.Connection, session_ids: Iterable[str], key: str) -> Drawn:
    """How the labels of this key on the runs of experiments came about."""
    rows = db.execute(
        "SELECT DISTINCT run_id FROM feedback WHERE session_id IN (SELECT value FROM json_each(?)) AND key = ?"
        " AND run_id IS NOT NULL AND comparative_experiment_id IS NULL AND coalesce(score, value) IS NOT NULL",
        (dumps(list(session_ids)), key),
    )
    return drawn([row[0] for row in rows], _queues(db, key))


ITEMS = """
    SELECT run_id, EXISTS (SELECT 1 FROM queue_reviews WHERE item_id = queue_items.id AND status = 'completed')
    FROM queue_items WHERE queue_id = ? AND run_id IS NOT NULL
"""


def _queues(db: sqlite3.Connection, key: str) -> list[Queue]:
    found = []
    for row in db.execute("SELECT id, name, body FROM annotation_queues ORDER BY created_at, id").fetchall():
        metadata = loads_or_none(row["body"]).get("metadata")
        if is_about(metadata, key):
            items = db.execute(ITEMS, (row["id"],)).fetchall()
            runs, reviewed = {run for run, _ in items}, {run for run, is_reviewed in items if is_reviewed}
            found.append(Queue(row["name"], metadata["sampling"], frozenset(runs), frozenset(reviewed)))
    return found
