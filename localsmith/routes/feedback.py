"""Feedback: scores on runs and on whole sessions."""

import json
import sqlite3
import uuid
from collections.abc import Iterable
from typing import Any

from localsmith.fields import FixedFields, check, check_alike, check_choice, check_kind, check_length, conflict
from localsmith.lists import Where, flag, page, uuids
from localsmith.migrations import COUNT_FEEDBACK
from localsmith.wire import ApiError, Call, Switches, dumps, dumps_or_none, invalid, iso, loads_or_none

FEEDBACK = FixedFields(
    {
        "id": "uuid",
        "key": "text!",
        "comment": "text",
        "run_id": "uuid",
        "session_id": "uuid",
        "trace_id": "uuid",
        "start_time": "time",
        "feedback_group_id": "uuid",
        "comparative_experiment_id": "uuid",
        "feedback_source": "object",
        "feedback_config": "object",
        "error": "bool",
        "extra": "object",
        "created_at": "time",
        "modified_at": "time",
    }
)
MARKS: dict[str, tuple[tuple[type, ...], str]] = {
    "score": ((int, float), "number"),
    "value": ((int, float, str, dict), "number, string or dictionary"),
    "correction": ((dict, str), "dictionary or string"),
}
MAX_KEY = 180
SOURCES = ["api", "model", "app", "auto_eval"]
NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

Feedback = dict[str, Any]


def check_feedback(body: Any, loc: list[str | int]) -> Feedback:
    """Return feedback ready for its row, or raise a 422 that points at the field."""
    if not isinstance(body, dict):
        raise invalid(loc, "Input should be a valid dictionary", "dict_type")
    return _complete(check(body, FEEDBACK, loc), body, loc)


def check_feedbacks(bodies: list[dict[str, Any]], locs: list[list[str | int]]) -> list[Feedback]:
    """Return what `check_feedback` does for each."""
    alike = check_alike(bodies, FEEDBACK)
    if alike is None:
        return [check_feedback(body, loc) for body, loc in zip(bodies, locs, strict=True)]
    return [_complete(item, body, loc) for item, body, loc in zip(alike, bodies, locs, strict=True)]


def _complete(item: Feedback, body: dict[str, Any], loc: list[str | int]) -> Feedback:
    """Feedback whose fields are checked one by one, with its marks and what its fields must be together."""
    item |= check_marks(body, loc)
    if len(item["key"]) > MAX_KEY:
        check_length(item["key"], MAX_KEY, [*loc, "key"])
    source = item.get("feedback_source")
    if source and "type" in source and source["type"] not in SOURCES:
        check_choice(source["type"], SOURCES, [*loc, "feedback_source", "type"])
    if "run_id" not in item and "session_id" not in item:
        raise invalid(loc, "run_id or session_id is required", "missing")
    item["received"] = dumps(body)
    item.setdefault("id", None)
    return item


def check_marks(body: dict[str, Any], loc: list[str | int]) -> dict[str, Any]:
    """The fields that may be of several kinds: score, value, correction."""
    found = {name: body.get(name) for name in MARKS}
    for name, value in found.items():
        if value is not None and not isinstance(value, MARKS[name][0]):
            raise invalid([*loc, name], f"Input should be a valid {MARKS[name][1]}", "union_type")
    return found


def check_decimals(score: Any, loc: list[str | int], switches: Switches) -> None:
    """Refuse a score with more decimals than the API stores; its clients round before they send."""
    places = switches.score_decimals
    if places is not None and isinstance(score, float) and round(score, places) != score:
        raise invalid([*loc, "score"], f"score should have at most {places} decimals: round it before sending")


def create_feedback(call: Call) -> dict[str, Any]:
    """Store one feedback; the same one again changes nothing."""
    item = check_feedback(call.object(), ["body"])
    check_decimals(item["score"], ["body"], call.switches)
    if item.get("run_id") and not item.get("session_id") and call.switches.v1_reads != 200:
        raise ApiError(501, "Feedback on a run needs session_id on this server")
    item["id"] = item["id"] or str(uuid.uuid4())
    with call.store.write() as db:
        if find_owner(db, item) is None:
            raise ApiError(404, "Resource not found")
        if insert_feedback(db, [item], call.switches.now()) and not is_same(db, item):
            raise conflict("Feedback with this id already exists and differs.")
        return read_one(db, item["id"])


def find_owner(db: sqlite3.Connection, item: Feedback) -> sqlite3.Row | None:
    """The session, run and trace that feedback belongs to, or None when they are not here."""
    if "run_id" in item:
        query, owner = "SELECT session_id, trace_id FROM runs WHERE id = ?", item["run_id"]
    else:
        query, owner = "SELECT id AS session_id, NULL AS trace_id FROM sessions WHERE id = ?", item["session_id"]
    row: sqlite3.Row | None = db.execute(query, (owner,)).fetchone()
    return row


INSERT = (
    "INSERT INTO feedback (id, run_id, session_id, is_root, trace_id, comparative_experiment_id, feedback_group_id,"
    " key, score, value, comment, correction, error, source_type, created_at, modified_at, received)"
    f" VALUES ({', '.join('?' * 17)}) ON CONFLICT (id) DO NOTHING"
)


def insert_feedback(db: sqlite3.Connection, items: list[Feedback], now: int) -> list[str]:
    """Store feedback under ids that are not known yet; return the ids that were."""
    first = {item["id"]: item for item in reversed(items)}
    runs = _by_id(db, "SELECT id, session_id, trace_id, is_root FROM runs", {item.get("run_id") for item in items})
    unplaced = {item.get("session_id") for item in items if item.get("run_id") not in runs}
    sessions = _by_id(db, "SELECT id FROM sessions", unplaced) if unplaced else {}
    rows = []
    for item in reversed(first.values()):
        # Ingest is queued in LangSmith, so feedback may overtake its run, which then says what is right.
        run, session_id = runs.get(item.get("run_id")), item.get("session_id")
        where = (run["session_id"], run["is_root"]) if run else (session_id if session_id in sessions else None, None)
        rows.append((item["id"], item.get("run_id"), *where, *_values(item, run, now)))
    top = db.execute("SELECT coalesce(max(seq), 0) FROM feedback").fetchone()[0]
    stored = db.executemany(INSERT, rows).rowcount
    db.execute(COUNT_FEEDBACK, (top,))
    _take_off_queue(db, items)
    if stored == len(rows):
        return []
    known = _by_id(db, "SELECT id, seq FROM feedback", first)
    return [item["id"] for item in items if known[item["id"]]["seq"] <= top]


def _take_off_queue(db: sqlite3.Connection, items: list[Feedback]) -> None:
    """A run that a rule has scored waits for it no longer, whoever ran the rule."""
    for item in items:
        source = item.get("feedback_source", {})
        metadata = source.get("metadata") if source.get("type") == "auto_eval" else None
        if isinstance(metadata, dict) and "rule_id" in metadata:
            job = (str(metadata["rule_id"]), item.get("run_id"))
            db.execute("DELETE FROM evaluator_jobs WHERE rule_id = ? AND run_id = ?", job)


def _by_id(db: sqlite3.Connection, select: str, ids: Iterable[str | None]) -> dict[Any, sqlite3.Row]:
    found = db.execute(f"{select} WHERE id IN (SELECT value FROM json_each(?))", (dumps(list(ids)),))
    return {row["id"]: row for row in found}


def _values(item: Feedback, run: sqlite3.Row | None, now: int) -> tuple[Any, ...]:
    return (
        run["trace_id"] if run else item.get("trace_id"),
        item.get("comparative_experiment_id"),
        item.get("feedback_group_id"),
        item["key"],
        item["score"],
        dumps_or_none(item["value"]),
        item.get("comment"),
        dumps_or_none(item["correction"]),
        int(item.get("error", False)),
        item.get("feedback_source", {}).get("type", "api"),
        item.get("created_at", now),
        item.get("modified_at", item.get("created_at", now)),
        item["received"],
    )


def is_same(db: sqlite3.Connection, item: Feedback) -> bool:
    row = db.execute("SELECT received FROM feedback WHERE id = ?", (item["id"],)).fetchone()
    return _content(row["received"]) == _content(item["received"])


def _content(received: str) -> dict[str, Any]:
    """What two sendings of one feedback agree in: the times may differ, and null is the same as absent."""
    sent = json.loads(received).items()
    return {name: value for name, value in sent if value is not None and name not in ("created_at", "modified_at")}


# Reading

SELECT = """
    SELECT feedback.*, runs.is_root, runs.start_time FROM feedback LEFT JOIN runs ON runs.id = feedback.run_id
"""


def feedback_json(row: sqlite3.Row) -> dict[str, Any]:
    """A row of SELECT as FeedbackSchema."""
    received = json.loads(row["received"])
    source = received.get("feedback_source") or {}
    found = {
        "id": row["id"],
        "created_at": iso(row["created_at"]),
        "modified_at": iso(row["modified_at"]),
        "key": row["key"],
        "score": row["score"],
        "value": loads_or_none(row["value"]),
        "comment": row["comment"],
        "correction": loads_or_none(row["correction"]),
        "feedback_group_id": row["feedback_group_id"],
        "comparative_experiment_id": row["comparative_experiment_id"],
        "run_id": row["run_id"],
        "session_id": row["session_id"],
        "trace_id": row["trace_id"],
        "start_time": iso(row["start_time"]),
        "is_root": bool(row["is_root"]),
        "feedback_source": {"type": row["source_type"], "metadata": source.get("metadata")},
        "extra": received.get("extra"),
        "feedback_thread_id": None,
    }
    return {**found, "error": True} if row["error"] else found


def read_one(db: sqlite3.Connection, feedback_id: str) -> dict[str, Any]:
    row = db.execute(SELECT + "WHERE feedback.id = ?", (feedback_id,)).fetchone()
    if row is None:
        raise ApiError(404, "Resource not found")
    return feedback_json(row)


def get_feedback(call: Call) -> dict[str, Any]:
    with call.store.read() as db:
        return read_one(db, call.ids["feedback_id"])


def list_feedback(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = Where()
    where.among("feedback.run_id", uuids(query, "run"))
    where.among("feedback.session_id", uuids(query, "session"))
    where.among("feedback.key", query.getlist("key"))
    where.among("feedback.source_type", query.getlist("source"))
    if comparison := uuids(query, "comparative_experiment_id"):
        where.among("feedback.comparative_experiment_id", comparison)
    if (level := query.get("level")) is not None:
        check_choice(level, ["run", "session"], ["query", "level"])
        where.add("feedback.run_id IS NOT NULL" if level == "run" else "feedback.run_id IS NULL")
    for name, column in (("has_comment", "feedback.comment"), ("has_score", "feedback.score")):
        if (wanted := flag(query, name)) is not None:
            where.add(f"{column} IS NOT NULL" if wanted else f"{column} IS NULL")
    for name, sign in (("min_created_at", ">="), ("max_created_at", "<=")):
        if query.get(name):
            where.add(f"feedback.created_at {sign} ?", check_kind(query[name], "time", ["query", name]))
    limit, offset = page(query)
    # First which, from an index alone, then what: the pages before this one are skipped without being read.
    order = "ORDER BY feedback.created_at DESC, feedback.seq DESC"
    chosen = f"SELECT seq FROM feedback {where} {order} LIMIT ? OFFSET ?"
    sql = f"{SELECT} WHERE feedback.seq IN ({chosen}) {order}"
    with call.store.read() as db:
        return [feedback_json(row) for row in db.execute(sql, (*where.params, limit, offset))]


def update_feedback(call: Call) -> dict[str, Any]:
    """Correct a feedback: the fields sent replace the old ones."""
    body = call.object()
    marks = check_marks(body, ["body"])
    check_decimals(marks["score"], ["body"], call.switches)
    check(body, {"comment": "text", "feedback_config": "object"})
    feedback_id = call.ids["feedback_id"]
    values = {
        "score": marks["score"],
        "value": dumps_or_none(marks["value"]),
        "comment": body.get("comment"),
        "correction": dumps_or_none(marks["correction"]),
    }
    with call.store.write() as db:
        read_one(db, feedback_id)
        for name, value in values.items():
            if name in body:
                db.execute(f"UPDATE feedback SET {name} = ? WHERE id = ?", (value, feedback_id))
        if marks["score"] is not None or marks["value"] is not None:
            db.execute("UPDATE feedback SET error = 0 WHERE id = ?", (feedback_id,))
        db.execute("UPDATE feedback SET modified_at = ? WHERE id = ?", (call.switches.now(), feedback_id))
        return read_one(db, feedback_id)


def delete_feedback(call: Call) -> dict[str, Any]:
    with call.store.write() as db:
        read_one(db, call.ids["feedback_id"])
        db.execute("DELETE FROM feedback WHERE id = ?", (call.ids["feedback_id"],))
    return {}
