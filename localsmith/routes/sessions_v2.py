"""Sessions under /api/v2: the same projects and experiments, each with its type."""

import sqlite3
from typing import Any

from localsmith.fields import Fields, check, check_choice, conflict
from localsmith.lists import Where, flag, uuids
from localsmith.routes import sessions
from localsmith.routes.lists_v2 import Pages, order
from localsmith.runs.checks import TOKENS
from localsmith.wire import ApiError, Call, dumps_or_none, loads_or_none

TYPES = ("PROJECT", "AGENT", "EXPERIMENT")
CREATE: Fields = {**sessions.SESSION_FIELDS, "type": "text!", "trace_tier": "LONG_LIVED|SHORT_LIVED"}
UPDATE: Fields = {
    name: CREATE[name] for name in ("name", "description", "end_time", "extra", "default_dataset_id", "trace_tier")
}
CLEARED_BY_NULL = ("description", "end_time", "extra", "default_dataset_id")


def session_json(session: dict[str, Any]) -> dict[str, Any]:
    """A session in v2 form: with its type, costs as numbers, and longer feedback statistics."""
    found = {**session, "type": "EXPERIMENT" if session["reference_dataset_id"] else "PROJECT"}
    if found["trace_tier"]:
        found["trace_tier"] = found["trace_tier"].replace("lived", "_lived").upper()
    for name in TOKENS[3:]:
        if isinstance(found.get(name), str):
            found[name] = float(found[name])
    for name in ("feedback_stats", "session_feedback_stats"):
        if name in found:
            found[name] = {key: _stat(stats) for key, stats in found[name].items()}
    return found


def _stat(stats: dict[str, Any]) -> dict[str, Any]:
    nothing = dict.fromkeys(("avg", "min", "max", "median", "stdev"))
    return {**nothing, "errors": 0, "contains_thread_feedback": False, "type": "PRIMARY", **stats}


def _checked(body: dict[str, Any], fields: Fields) -> dict[str, Any]:
    found = check(body, fields)
    if "trace_tier" in found:
        found["trace_tier"] = found["trace_tier"].replace("_", "").lower()
    return found


def create_session(call: Call) -> dict[str, Any]:
    body = call.object()
    fields = _checked(body, CREATE)
    kind = check_choice(fields.pop("type"), list(TYPES), ["body", "type"])
    if kind == "AGENT":
        raise ApiError(501, "Agents are not in this embedded store: use the type PROJECT")
    if (kind == "EXPERIMENT") != ("reference_dataset_id" in fields):
        raise ApiError(422, "reference_dataset_id: an EXPERIMENT needs one, and a PROJECT has none")
    if hints := {name: body[name] for name in sessions.HINTS if body.get(name) is not None}:
        fields["extra"] = {**fields.get("extra", {}), "__progress": hints}
    with call.store.write() as db:
        old = db.execute("SELECT id FROM sessions WHERE name = ?", (fields.get("name"),)).fetchone()
        if old and flag(call.request.args, "upsert"):
            _change(db, old["id"], body, fields)
            session_id = str(old["id"])
        else:
            session_id = sessions.insert_session(db, fields, call.switches.now())
        return session_json(sessions.session_json(sessions.find_session(db, session_id)))


def update_session(call: Call) -> dict[str, Any]:
    body = call.object()
    fields = _checked(body, UPDATE)
    with call.store.write() as db:
        _change(db, call.ids["session_id"], body, fields)
        return session_json(sessions.session_json(sessions.find_session(db, call.ids["session_id"])))


def _change(db: sqlite3.Connection, session_id: str, body: dict[str, Any], fields: dict[str, Any]) -> None:
    """Overwrite what is sent: null clears, and `extra` is merged key by key, where null removes a key."""
    row = sessions.find_session(db, session_id)
    new = {name: fields.get(name, row[name]) for name in UPDATE}
    new |= {name: None for name in CLEARED_BY_NULL if name in body and body[name] is None}
    if "extra" in fields:
        merged = {**(loads_or_none(row["extra"]) or {}), **fields["extra"]}
        new["extra"] = dumps_or_none({key: value for key, value in merged.items() if value is not None})
    if db.execute("SELECT 1 FROM sessions WHERE name = ? AND id <> ?", (new["name"], session_id)).fetchone():
        raise conflict("Session already exists.")
    assignments = ", ".join(f"{name} = :{name}" for name in new)
    db.execute(f"UPDATE sessions SET {assignments} WHERE id = :id", {**new, "id": session_id})


def get_session(call: Call) -> dict[str, Any]:
    with call.store.read() as db:
        row = sessions.find_session(db, call.ids["session_id"])
        return session_json(_sessions(call, db, [row])[0])


def _sessions(call: Call, db: sqlite3.Connection, rows: list[sqlite3.Row]) -> list[dict[str, Any]]:
    if flag(call.request.args, "include_stats"):
        return sessions.with_stats(db, rows, sessions.since(call.request.args))
    return sessions.with_run_count(db, rows)


SORTS = {"NAME", "START_TIME", "LAST_RUN_START_TIME", "ERROR_RATE", "LATENCY_P50", "LATENCY_P99", "FEEDBACK"}


def list_sessions(call: Call) -> dict[str, Any]:
    query, pages = call.request.args, Pages(call)
    where = _conditions(call)
    name = check_choice(query.get("sort_by", "START_TIME"), sorted(SORTS), ["query", "sort_by"])
    sort = sessions.SORTS[name.lower()].replace(":feedback_key", "?")
    params = [*where.params, *([query.get("sort_by_feedback_key")] if "?" in sort else []), *pages.limits]
    by = f"{sort} {order(query)}, created_at {order(query)}, id"
    with call.store.read() as db:
        rows = db.execute(f"SELECT * FROM sessions {where} ORDER BY {by} LIMIT ? OFFSET ?", params).fetchall()
        return pages.answer([session_json(session) for session in _sessions(call, db, rows)])


def _conditions(call: Call) -> Where:
    query = call.request.args
    where = sessions.conditions(query)
    where.among("reference_dataset_id", uuids(query, "reference_dataset_id"))
    if kinds := {check_choice(kind, list(TYPES), ["query", "type"]) for kind in query.getlist("type")}:
        where.add("iif(reference_dataset_id IS NULL, 'PROJECT', 'EXPERIMENT') IN (?, ?, ?)", *(sorted(kinds) * 3)[:3])
    return where
