"""Feedback on runs as the pages show it, and whether a score of 1 means yes."""

import json
import sqlite3
from typing import Any

from localsmith.pages.render import natural


def feedback_of(
    db: sqlite3.Connection, run_ids: list[str], *, pairwise: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """The feedback on each of these runs; pairwise preferences only if they are asked for."""
    found: dict[str, list[dict[str, Any]]] = {}
    rows = db.execute(
        "SELECT * FROM feedback WHERE run_id IN (SELECT value FROM json_each(?))"
        " AND (? OR comparative_experiment_id IS NULL) ORDER BY seq",
        (json.dumps(run_ids), pairwise),
    ).fetchall()
    graded = _graded(db, {row["session_id"] for row in rows}, {row["key"] for row in rows})
    for row in sorted(rows, key=lambda row: natural(row["key"])):
        found.setdefault(row["run_id"], []).append(_feedback_item(row, row["key"] in graded))
    return found


MOST_LOOKED_AT = 2000  # scores of one key in one experiment; with 100,000, looking at all takes 40 ms


def _graded(db: sqlite3.Connection, session_ids: set[str], keys: set[str]) -> set[str]:
    """Those of these keys whose scores in these experiments are not all 0 or 1, or have another scale: there, 1 does
    not mean yes."""
    rows = db.execute(
        "SELECT k.value FROM json_each(?) k WHERE EXISTS (SELECT 1 FROM json_each(?) s WHERE EXISTS ("
        "  SELECT 1 FROM (SELECT score FROM feedback WHERE session_id = s.value AND key = k.value LIMIT ?)"
        "  WHERE score NOT IN (0, 1)))"
        " OR EXISTS (SELECT 1 FROM feedback_configs WHERE feedback_key = k.value AND body ->> '$.type' = 'continuous'"
        "  AND (coalesce(body ->> '$.min', 0) <> 0 OR coalesce(body ->> '$.max', 1) <> 1))",
        (json.dumps(list(keys)), json.dumps(list(session_ids)), MOST_LOOKED_AT),
    )
    return {row[0] for row in rows}


def _feedback_item(row: sqlite3.Row, graded: bool) -> dict[str, Any]:
    """Feedback as the templates show it; `was` is the score before a person changed it."""
    first = json.loads(row["received"]).get("score") if row["source_type"] == "app" else None
    return {
        "was": first if first is not None and first != row["score"] else None,
        "id": row["id"],
        "key": row["key"],
        "score": row["score"],
        "is_graded": graded,
        "value": json.loads(row["value"]) if row["value"] is not None else None,
        "comment": row["comment"],
        "correction": json.loads(row["correction"]) if row["correction"] else None,
        "error": bool(row["error"]),
        "by": row["source_type"],
    }
