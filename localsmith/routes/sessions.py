"""Sessions: experiments and projects, with their statistics."""

import sqlite3
import uuid
from typing import Any

from localsmith.fields import Fields, check, check_choice, check_kind, conflict
from localsmith.lists import Query, Where, flag, has_metadata, like, metadata_filter, page, uuids
from localsmith.runs.deleting import delete_runs
from localsmith.runs.totals import dollars, session_stats
from localsmith.wire import TENANT_ID, Call, dumps, dumps_or_none, invalid, iso, loads_or_none, not_found

SESSION_FIELDS: Fields = {
    "id": "uuid",
    "name": "text",
    "start_time": "time",
    "end_time": "time",
    "description": "text",
    "extra": "object",
    "reference_dataset_id": "uuid",
    "default_dataset_id": "uuid",
    "trace_tier": "longlived|shortlived",
}
HINTS = ("num_examples", "num_repetitions", "evaluator_keys")  # newer SDKs send them for a progress bar


def session_json(row: sqlite3.Row) -> dict[str, Any]:
    """A row of sessions as TracerSessionWithoutVirtualFields."""
    return {
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "name": row["name"],
        "start_time": iso(row["start_time"]),
        "end_time": iso(row["end_time"]),
        "description": row["description"],
        "extra": loads_or_none(row["extra"]),
        "reference_dataset_id": row["reference_dataset_id"],
        "default_dataset_id": row["default_dataset_id"],
        "trace_tier": row["trace_tier"],
        "test_run_number": row["test_run_number"],
        "last_run_start_time_live": None,
    }


def with_stats(db: sqlite3.Connection, rows: list[sqlite3.Row], since: int | None = None) -> list[dict[str, Any]]:
    """Rows of sessions as TracerSession, with statistics."""
    stats = session_stats(db, [row["id"] for row in rows], since)
    found = []
    for row in rows:
        numbers = stats[row["id"]]
        costs = {name: dollars(numbers[name]) for name in ("total_cost", "prompt_cost", "completion_cost")}
        found.append({**session_json(row), **numbers, **costs, "run_facets": []})
    return found


def with_run_count(db: sqlite3.Connection, rows: list[sqlite3.Row]) -> list[dict[str, Any]]:
    """Rows of sessions without statistics but for `run_count`, which the JavaScript SDK waits for without asking."""
    counts = dict(
        db.execute(
            "SELECT session_id, count(*) FROM runs INDEXED BY roots_of_session WHERE is_root = 1"
            " AND session_id IN (SELECT value FROM json_each(?)) GROUP BY session_id",
            (dumps([row["id"] for row in rows]),),
        ).fetchall()
    )
    return [{**session_json(row), "run_count": counts.get(row["id"], 0)} for row in rows]


def find_session(db: sqlite3.Connection, session_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        raise not_found("Session")
    return row


def create_session(call: Call) -> dict[str, Any]:
    body = call.object()
    fields = check(body, SESSION_FIELDS)
    if hints := {name: body[name] for name in HINTS if body.get(name) is not None}:
        fields["extra"] = {**fields.get("extra", {}), "__progress": hints}
    with call.store.write() as db:
        if flag(call.request.args, "upsert") and (old := _named(db, fields.get("name"))):
            _change(db, old, fields)
            return session_json(find_session(db, old["id"]))
        session_id = insert_session(db, fields, call.switches.now())
        return session_json(find_session(db, session_id))


def insert_session(db: sqlite3.Connection, fields: dict[str, Any], now: int) -> str:
    """Store a new session and return its id; 409 when its name or id is taken."""
    session_id: str = fields.get("id") or str(uuid.uuid4())
    name = fields.get("name") or session_id
    taken = _named(db, name) or db.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if taken:
        raise conflict("Session already exists.")
    dataset_id = fields.get("reference_dataset_id")
    if dataset_id and not db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset_id,)).fetchone():
        raise not_found("Dataset")
    number = _next_number(db, dataset_id) if dataset_id else None
    db.execute(
        "INSERT INTO sessions (id, name, reference_dataset_id, default_dataset_id, test_run_number, start_time,"
        " end_time, created_at, description, trace_tier, extra) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session_id,
            name,
            dataset_id,
            fields.get("default_dataset_id"),
            number,
            fields.get("start_time", now),
            fields.get("end_time"),
            now,
            fields.get("description"),
            fields.get("trace_tier"),
            dumps_or_none(fields.get("extra")),
        ),
    )
    return session_id


def _next_number(db: sqlite3.Connection, dataset_id: str) -> int:
    """The number of a new experiment; that of a deleted one is not given again."""
    found: int = db.execute(
        "INSERT INTO experiment_numbers VALUES (?, 1) ON CONFLICT (dataset_id) DO UPDATE SET last = last + 1"
        " RETURNING last",
        (dataset_id,),
    ).fetchone()[0]
    return found


def _named(db: sqlite3.Connection, name: str | None) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM sessions WHERE name = ?", (name,)).fetchone()
    return row


def _change(db: sqlite3.Connection, row: sqlite3.Row, fields: dict[str, Any]) -> None:
    """Overwrite what is sent; null and absent mean unchanged, `extra` is replaced as a whole."""
    name = fields.get("name", row["name"])
    other = _named(db, name)
    if other and other["id"] != row["id"]:
        raise conflict("Session already exists.")
    db.execute(
        "UPDATE sessions SET name = ?, description = ?, end_time = ?, extra = ?, default_dataset_id = ?,"
        " trace_tier = ? WHERE id = ?",
        (
            name,
            fields.get("description", row["description"]),
            fields.get("end_time", row["end_time"]),
            dumps_or_none(fields["extra"]) if "extra" in fields else row["extra"],
            fields.get("default_dataset_id", row["default_dataset_id"]),
            fields.get("trace_tier", row["trace_tier"]),
            row["id"],
        ),
    )


def update_session(call: Call) -> dict[str, Any]:
    fields = check(call.object(), SESSION_FIELDS)
    with call.store.write() as db:
        _change(db, find_session(db, call.ids["session_id"]), fields)
        return session_json(find_session(db, call.ids["session_id"]))


OF_TOTALS = "(SELECT {} FROM run_totals WHERE session_id = sessions.id)"
ROOTS = "runs INDEXED BY roots_of_session WHERE session_id = sessions.id AND is_root = 1"
OF_LATENCIES = f"(SELECT {{}}(latency) FROM {ROOTS})"
SORTS = {
    "name": "name",
    "start_time": "start_time",
    "last_run_start_time": "(SELECT max(start_time) FROM runs WHERE session_id = sessions.id)",
    "runs_count": OF_TOTALS.format("runs"),
    "error_rate": OF_TOTALS.format("errors * 1.0 / nullif(runs, 0)"),
    # Near enough for an order: the mean. The exact percentiles would be computed for every session there is.
    "latency_p50": OF_LATENCIES.format("avg"),
    "latency_p99": OF_LATENCIES.format("max"),
    "feedback": "(SELECT avg(score) FROM feedback WHERE session_id = sessions.id AND key = :feedback_key)",
}


def list_sessions(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = conditions(query)
    sort = SORTS[check_choice(query.get("sort_by", "start_time"), list(SORTS), ["query", "sort_by"])]
    order = "ASC" if flag(query, "sort_by_desc") is False else "DESC"
    params = list(where.params)
    if ":feedback_key" in sort:
        sort = sort.replace(":feedback_key", "?")
        params.append(query.get("sort_by_feedback_key"))
    sql = f"SELECT * FROM sessions {where} ORDER BY {sort} {order}, created_at {order}, id LIMIT ? OFFSET ?"
    limits = page(query)
    start = since(query)
    with call.store.read() as db:
        rows = db.execute(sql, (*params, *limits)).fetchall()
        return with_stats(db, rows, start) if flag(query, "include_stats") else with_run_count(db, rows)


def since(query: Query) -> int | None:
    text = query.get("stats_start_time")
    return check_kind(text.replace(" ", "+"), "time", ["query", "stats_start_time"]) if text else None


def conditions(query: Query) -> Where:
    where = Where()
    where.among("id", uuids(query, "id"))
    where.among("reference_dataset_id", uuids(query, "reference_dataset"))
    if "name" in query:
        where.add("name = ?", query["name"])
    if query.get("name_contains"):
        where.add("name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    if (free := flag(query, "reference_free")) is not None:
        where.add(f"reference_dataset_id IS {'' if free else 'NOT '}NULL")
    if query.get("dataset_version"):
        has_metadata(where, "sessions.extra -> '$.metadata'", "dataset_version", query["dataset_version"])
    metadata_filter(query, where, "sessions.extra -> '$.metadata'")
    if query.get("filter"):
        from localsmith.runs.filters import SESSION, compile_filter

        where.add(*compile_filter(query["filter"], SESSION))
    return where


def get_session(call: Call) -> dict[str, Any]:
    with call.store.read() as db:
        row = find_session(db, call.ids["session_id"])
        if not flag(call.request.args, "include_stats"):
            return with_run_count(db, [row])[0]
        return with_stats(db, [row], since(call.request.args))[0]


def delete_session(call: Call) -> dict[str, Any]:
    return _delete(call, [call.ids["session_id"]])


def delete_sessions(call: Call) -> dict[str, Any]:
    ids = uuids(call.request.args, "session_ids")
    if not ids:
        raise invalid(["query", "session_ids"], "Field required", "missing")
    return _delete(call, ids)


def _delete(call: Call, ids: list[str]) -> dict[str, Any]:
    """Delete sessions with their runs and feedback; unknown ids are found before anything is deleted."""
    with call.store.read() as db:
        for session_id in ids:
            find_session(db, session_id)
    for session_id in set(ids):
        delete_runs(call.store, session_id)
        with call.store.write() as db:
            baseline = "baseline_experiment_id"
            db.execute(f"UPDATE datasets SET {baseline} = NULL WHERE {baseline} = ?", (session_id,))
            db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
    call.store.shrink()
    return {}
