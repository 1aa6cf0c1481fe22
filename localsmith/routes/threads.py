"""Threads and traces: root runs, grouped by the conversation that their metadata names."""

import sqlite3
from collections.abc import Iterator
from typing import Any

from localsmith.fields import Fields, check, check_choice
from localsmith.lists import Where, integer
from localsmith.routes.reads_v2 import DAY, check_selects, check_span, page_size
from localsmith.routes.sessions import find_session
from localsmith.runs.feedback_stats import detailed_stats
from localsmith.runs.query import SELECT, page_of_runs, read_cursor, run_conditions, write_cursor
from localsmith.runs.reading import PREVIEW, THREAD_KEYS, StoredRun, feedback_where, v2_runs
from localsmith.runs.totals import dollars_number, percentile, seconds
from localsmith.wire import ApiError, Call, as_uuid, dumps, invalid, iso, loads_or_none, not_found

# The thread of a root run in SQL, as StoredRun.thread_id finds it.
NAMED = ", ".join(f"nullif(run_bodies.extra ->> '$.metadata.{key}', '')" for key in THREAD_KEYS)
THREAD = f"CAST(coalesce({NAMED}) AS TEXT)"
KINDS = ("all_messages", "human_ai_pairs", "first_human_last_ai")
HUMAN, AI = ("user", "human"), ("assistant", "ai")

QUERY: Fields = {
    "project_id": "uuid!",
    "min_start_time": "time",
    "max_start_time": "time",
    "trace_ids": "[uuid]",
    "filter": "text",
    "trace_filter": "text",
    "tree_filter": "text",
    "selects": "[text]",
    "page_size": "int",
    "cursor": "text",
}


# One thread (v1)


def get_thread(call: Call) -> dict[str, Any]:
    """The messages of a thread as text: JSON objects with an empty line between them."""
    query = call.request.args
    if not query.get("session_id"):
        raise invalid(["query", "session_id"], "Field required", "missing")
    session_id = as_uuid(query["session_id"], ["query", "session_id"])
    kinds = query.getlist("select") or ["all_messages"]
    for kind in kinds:
        check_choice(kind, list(KINDS), ["query", "select"])
    where = _turns(session_id, call.ids["thread_id"])
    with call.store.read() as db:
        find_session(db, session_id)
        roots = db.execute(f"{SELECT} {where} ORDER BY runs.start_time, runs.seq", where.params).fetchall()
    if not roots:
        raise not_found("Thread")
    turns = [_messages(root) for root in roots]
    return {"thread_id": call.ids["thread_id"], "previews": {kind: _text(_chosen(turns, kind)) for kind in kinds}}


def _messages(root: sqlite3.Row) -> list[dict[str, Any]]:
    """The inputs and outputs of a root run, as messages."""
    inputs, outputs = loads_or_none(root["inputs"]), loads_or_none(root["outputs"])
    given, answered = list(_found(inputs, "user")), list(_found(outputs, "assistant"))
    repeated = answered[: len(given)] == given  # an agent's state holds its inputs
    return given + (answered[len(given) :] if repeated else answered)


def _found(value: Any, role: str) -> Iterator[dict[str, Any]]:
    """The messages in inputs or outputs; a value without any is one message."""
    if not value:
        return
    listed = value.get("messages")
    if isinstance(listed, list) and listed:
        flat = listed[0] if len(listed) == 1 and isinstance(listed[0], list) else listed
        yield from (message if isinstance(message, dict) else {"role": role, "content": message} for message in flat)
        return
    content = next(iter(value.values())) if len(value) == 1 else value
    yield {"role": role, "content": content if isinstance(content, str) else dumps(content)}


def _role(message: dict[str, Any]) -> str:
    return str(message.get("role") or message.get("type") or "")


def _chosen(turns: list[list[dict[str, Any]]], kind: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        # A turn may be given the conversation so far.
        messages += turn[len(messages) :] if messages and turn[: len(messages)] == messages else turn
    if kind == "all_messages":
        return messages
    spoken = [message for message in messages if _role(message) in HUMAN + AI]
    if kind == "human_ai_pairs":
        return spoken
    human = next((message for message in spoken if _role(message) in HUMAN), None)
    ai = next((message for message in reversed(spoken) if _role(message) in AI), None)
    return [message for message in (human, ai) if message]


def _text(messages: list[dict[str, Any]]) -> str:
    return "\n\n".join(map(dumps, messages))


# Queries (v2)


def _roots(call: Call, db: sqlite3.Connection, wanted: dict[str, Any], **filters: Any) -> Where:
    find_session(db, wanted["project_id"])
    now = call.switches.now()
    where = run_conditions(
        {
            "session": [wanted["project_id"]],
            "is_root": True,
            "id": wanted.get("trace_ids"),
            "start_time": wanted.get("min_start_time", now - DAY),
            "end_time": wanted.get("max_start_time", now + 1) - 1,  # this end is exclusive
            **filters,
        }
    )
    if wanted.get("trace_ids") == []:
        where.add("0")
    return where


OF_THE_TRACE = ("TOTAL_TOKENS", "TOTAL_COST", "FIRST_TOKEN_TIME")


def query_traces(call: Call) -> dict[str, Any]:
    """One page of traces, newest first: the root run, and the totals of the whole trace."""
    body = call.object()
    wanted = check(body, QUERY)
    check_span(wanted, call)
    limit = page_size(wanted, 20, 100)
    selects = check_selects(wanted.get("selects", []))
    totals = selects & set(OF_THE_TRACE)
    with call.store.read() as db:
        # A filter on the root of the trace is one on the run, here.
        where = _roots(call, db, wanted, filter=wanted.get("trace_filter"), tree_filter=wanted.get("tree_filter"))
        rows, place = page_of_runs(db, where, limit, order="desc", after=read_cursor(body, 2))
        roots = v2_runs(db, call, rows, (selects - totals) | {"ID"})
        sums = v2_runs(db, call, rows, totals) if totals else [{} for _ in rows]
    items = [
        {"root_run": root, "trace_aggregates": total, "query_metadata": None}
        for root, total in zip(roots, sums, strict=True)
    ]
    return {"items": items, "next_cursor": write_cursor(place, body)}


def query_threads(call: Call) -> dict[str, Any]:
    """One page of threads, those with the newest trace first."""
    body = call.object()
    if body.get("thread_filter"):
        raise ApiError(501, "thread_filter is not in this embedded store: use filter, trace_filter or tree_filter")
    wanted = check(body, QUERY)
    check_span(wanted, call)
    limit = page_size(wanted, 20, 100)
    (offset,) = read_cursor(body, 1) or [0]
    with call.store.read() as db:
        filters = {name: wanted.get(name) for name in ("filter", "trace_filter", "tree_filter")}
        where = _roots(call, db, wanted, **filters)
        where.add(f"{THREAD} IS NOT NULL")
        source = "FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq"
        sql = f"SELECT {THREAD} AS thread {source} {where} GROUP BY thread ORDER BY max(runs.start_time) DESC, thread"
        found = db.execute(f"{sql} LIMIT ? OFFSET ?", (*where.params, limit + 1, max(offset, 0))).fetchall()
        items = [_thread(db, where, row["thread"]) for row in found[:limit]]
    place = [offset + limit] if len(found) > limit else None
    return {"items": items, "next_cursor": write_cursor(place, body)}


OF_A_TURN = {"THREAD_ID", "TURN_NUMBER", "LATENCY", "OP"}  # what traces of a thread have beyond the fields of a run


def list_thread_traces(call: Call) -> dict[str, Any]:
    """One page of the traces of a thread, in the order of its turns."""
    query = {**call.request.args.to_dict(), "selects": call.request.args.getlist("selects")}
    if not query.get("project_id"):
        raise ApiError(400, "project_id is required")
    project_id = as_uuid(query["project_id"], ["query", "project_id"])
    limit = integer(call.request.args, "page_size", 20, 1, 100)
    named = set(query["selects"])
    selects = check_selects(sorted(named - OF_A_TURN)) | {"TRACE_ID"}
    filters = {name: query.get(name) for name in ("filter", "trace_filter", "tree_filter")}
    with call.store.read() as db:
        find_session(db, project_id)
        where = _turns(project_id, call.ids["thread_id"])
        sql = f"SELECT runs.id FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq {where} ORDER BY runs.start_time"
        numbers = {row["id"]: n for n, row in enumerate(db.execute(f"{sql}, runs.trace_id", where.params), 1)}
        where = _turns(project_id, call.ids["thread_id"], **filters)
        rows, place = page_of_runs(db, where, limit, order="asc", after=read_cursor(query, 2))
        items = v2_runs(db, call, rows, selects)
    for row, item in zip(rows, items, strict=True):
        turn = {
            "THREAD_ID": call.ids["thread_id"],
            "TURN_NUMBER": numbers[row["id"]],
            "LATENCY": seconds(row["latency"]),
        }
        item |= {name.lower(): value for name, value in turn.items() if name in named}
    return {"items": items, "next_cursor": write_cursor(place, query)}


def _turns(project_id: str, thread_id: str, **filters: Any) -> Where:
    where = run_conditions({"session": [project_id], "is_root": True, **filters})
    where.add(f"{THREAD} = ?", thread_id)
    return where


def _thread(db: sqlite3.Connection, where: Where, thread: str) -> dict[str, Any]:
    sql = f"{SELECT} {where.also(f'{THREAD} = ?')} ORDER BY runs.start_time, runs.seq"
    roots = db.execute(sql, (*where.params, thread)).fetchall()
    first, last = roots[0], roots[-1]
    failed = [root for root in roots if root["status"] == "error"]
    latencies = sorted(root["latency"] for root in roots if root["latency"] is not None)
    stats = detailed_stats(db, "1", feedback_where([root["id"] for root in roots], None))
    details = [StoredRun(root, {}) for root in roots]
    return {
        "thread_id": thread,
        "trace_id": last["id"],
        "count": len(roots),
        "first_trace_id": first["id"],
        "last_trace_id": last["id"],
        "first_inputs": (first["inputs"] or "")[:PREVIEW],
        "last_outputs": (last["outputs"] or "")[:PREVIEW],
        **({"last_error": failed[-1]["error"][:PREVIEW]} if failed else {}),
        "min_start_time": iso(first["start_time"]),
        "max_start_time": iso(last["start_time"]),
        "start_time": iso(first["start_time"]),
        "num_errored_turns": len(failed),
        "latency_p50": seconds(percentile(latencies, 0.5)),
        "latency_p99": seconds(percentile(latencies, 0.99)),
        "total_tokens": sum(root["total_tokens"] for root in roots),
        "total_cost": dollars_number(sum(root["total_cost"] for root in roots)),
        "total_token_details": _sums(run.details(f"{side}_token_details", int) for run in details for side in SIDES),
        "total_cost_details": _sums(run.details(f"{side}_cost_details", float) for run in details for side in SIDES),
        "feedback_stats": stats.get(1, {}),
    }


SIDES = ("input", "output")


def _sums(maps: Any) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for found in maps:
        for key, number in (found or {}).items():
            total[key] = total.get(key, 0) + number
    return total
