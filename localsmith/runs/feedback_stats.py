"""The statistics of feedback: by session, by run, by whatever else it is grouped."""

import json
import sqlite3
from typing import Any

from localsmith.lists import Where
from localsmith.wire import dumps

LARGE = 1e290  # sums of such scores may be beyond what a float holds
MAX_COMMENTS = 5  # v2 shows a sample


def session_feedback_stats(
    db: sqlite3.Connection, session_ids: list[str], *, overall: bool
) -> dict[str, dict[str, dict[str, Any]]]:
    """Statistics by session and key, of feedback on its root runs or on the session as a whole.

    Pairwise preferences are left out: they mean nothing outside of their comparison.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    rows = db.execute(
        "SELECT * FROM feedback_totals WHERE session_id IN (SELECT value FROM json_each(?)) AND overall = ?"
        " AND items > 0 ORDER BY session_id, key",
        (dumps(session_ids), int(overall)),
    ).fetchall()
    for row in rows:
        where = Where()
        where.add("session_id = ? AND key = ?", row["session_id"], row["key"])
        where.add("run_id IS NULL" if overall else "is_root = 1")
        where.add("comparative_experiment_id IS NULL")
        if row["inexact"]:
            stats = feedback_stats(db, "session_id", where)[row["session_id"]][row["key"]]
        else:
            stats = {"n": row["scored"], "avg": row["units"] / 10_000 / row["scored"] if row["scored"] else None}
            stats["values"] = {}
        of_session = found.setdefault(row["session_id"], {})
        of_session[row["key"]] = stats
        if row["valued"] and not row["inexact"]:
            _add_values(db, {row["session_id"]: of_session}, "session_id", where)
    return found


def feedback_stats(db: sqlite3.Connection, group: str, where: Where) -> dict[Any, dict[str, dict[str, Any]]]:
    """Statistics by `group` (a column of feedback) and key.

    `n` counts scores only; categories without a score are counted in `values`.
    """
    found: dict[Any, dict[str, dict[str, Any]]] = {}
    sums = "count(score) AS n, avg(score) AS avg, max(abs(score)) AS largest"  # all of it is in the index
    rows = db.execute(f"SELECT {group} AS owner, key, {sums} FROM feedback {where} GROUP BY {group}, key", where.params)
    for row in rows.fetchall():
        stats: dict[str, Any] = {"n": row["n"], "avg": row["avg"], "values": {}}
        if (row["largest"] or 0) > LARGE:
            scores = _scores(db, where, group, row["owner"], row["key"]) if row["n"] > 1 else []
            stats["avg"] = mean_of_large(scores) if scores else row["largest"]
        found.setdefault(row["owner"], {})[row["key"]] = stats
    _add_values(db, found, group, where)
    return found


def detailed_stats(db: sqlite3.Connection, group: str, where: Where) -> dict[Any, dict[str, dict[str, Any]]]:
    """The same with what v2 tells beyond v1: for a page of runs, whose few feedback is read once and as it is."""
    cursor = db.cursor()
    cursor.row_factory = None  # tuples, which take half the time
    sql = f"SELECT {group}, key, score, value, comment, error FROM feedback {where} ORDER BY {group}, key, seq"
    found: dict[Any, dict[str, dict[str, Any]]] = {}
    several: dict[tuple[Any, str], list[tuple[Any, ...]]] = {}
    before: tuple[Any, ...] = ()
    for row in cursor.execute(sql, where.params):
        owner, key, score, value, comment, error = row
        of_owner = found.setdefault(owner, {})
        if key in of_owner or value is not None:
            several.setdefault((owner, key), [before] if key in of_owner else []).append(row)
            of_owner.setdefault(key, {})
        else:  # one score, as nearly always: so it is made here
            of_owner[key] = {
                "n": 0 if score is None else 1,
                "avg": score,
                "values": {},
                "min": score,
                "max": score,
                "errors": error,
                "comments": [] if comment is None else [comment],
                "stdev": None if score is None else 0.0,
            }
        before = row
    for (owner, key), rows in several.items():
        found[owner][key] = _details(rows)
    return found


def _details(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Statistics of the feedback of one owner with one key."""
    scores = [row[2] for row in rows if row[2] is not None]
    values: dict[str, int] = {}
    for row in rows:
        if row[3] is not None:
            _count(values, row[3])
    middle, deviation = (scores[0], 0.0) if scores else (None, None)
    if len(scores) > 1:
        from statistics import fmean, pstdev  # only where they are needed: they take as long as all of this module

        middle = mean_of_large(scores) if max(map(abs, scores)) > LARGE else fmean(scores)
        deviation = pstdev(scores)
    return {
        "n": len(scores),
        "avg": middle,
        "values": values,
        "min": min(scores, default=None),
        "max": max(scores, default=None),
        "errors": sum([row[5] for row in rows]),
        "comments": [row[4] for row in rows if row[4] is not None][:MAX_COMMENTS],
        "stdev": deviation,
    }


def mean_of_large(scores: list[float]) -> float:
    from fractions import Fraction
    from statistics import mean

    return float(mean(map(Fraction, scores)))


def _scores(db: sqlite3.Connection, where: Where, group: str, owner: Any, key: str) -> list[float]:
    sql = f"SELECT score FROM feedback {where.also(f'{group} IS ? AND key = ? AND score IS NOT NULL')}"
    return [row["score"] for row in db.execute(sql, (*where.params, owner, key))]


def _add_values(db: sqlite3.Connection, found: dict[str, Any], group: str, where: Where) -> None:
    rows = db.execute(
        f"SELECT {group} AS owner, key, value, count(*) AS n FROM feedback"
        f" {where.also('value IS NOT NULL')} GROUP BY {group}, key, value",
        where.params,
    )
    for row in rows:
        _count(found[row["owner"]][row["key"]]["values"], row["value"], row["n"])


def _count(values: dict[str, int], text: str, times: int = 1) -> None:
    """Count a value, given as JSON; the text "1" and the number 1 are one category, objects are none."""
    value = json.loads(text)
    if not isinstance(value, dict):
        name = value if isinstance(value, str) else text
        values[name] = values.get(name, 0) + times
