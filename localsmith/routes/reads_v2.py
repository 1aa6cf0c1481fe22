"""The v2 run reads: runs/query, runs/{id}, traces/{id}/runs, datasets/{id}/experiment-runs."""

import sqlite3
from typing import Any

from localsmith.fields import Fields, check
from localsmith.routes.example_reads import example_json
from localsmith.routes.sessions import find_session
from localsmith.runs.checks import RUN_TYPES, TOKENS
from localsmith.runs.experiments import SORTS, experiment_examples, experiment_rows, place_of
from localsmith.runs.query import SELECT, page_of_runs, read_cursor, run_conditions, write_cursor
from localsmith.runs.reading import V2, select_v2, v2_runs
from localsmith.runs.totals import dollars_number
from localsmith.wire import ApiError, Call, as_time, as_uuid

DAY = 24 * 3_600_000_000
SELECTS = {name.upper() for name in V2}

RUN_QUERY: Fields = {
    "project_ids": "[uuid]",
    "reference_dataset_id": "uuid",
    "min_start_time": "time",
    "max_start_time": "time",
    "ids": "[uuid]",
    "reference_examples": "[uuid]",
    "trace_id": "uuid",
    "is_root": "bool",
    "has_error": "bool",
    "run_type": "|".join(name.upper() for name in RUN_TYPES),
    "filter": "text",
    "trace_filter": "text",
    "tree_filter": "text",
    "ai_query": "text",
    "sort_order": "ASC|DESC",
    "selects": "[text]",
    "page_size": "int",
    "cursor": "text",
    "include_subtree_usage": "bool",
}


def check_span(wanted: dict[str, Any], call: Call) -> None:
    """Refuse a query over a longer time than LangSmith answers."""
    days, end = call.switches.query_days, wanted.get("max_start_time", call.switches.now())
    if days is not None and "min_start_time" in wanted and end - wanted["min_start_time"] > days * DAY:
        raise ApiError(400, f"time_range duration exceeds maximum of {days} days")


def query_runs(call: Call) -> dict[str, Any]:
    """One page of runs, newest first; without bounds, those of the last 24 hours."""
    body = call.object()
    wanted = check(body, RUN_QUERY)
    if ("project_ids" in wanted) == ("reference_dataset_id" in wanted) or wanted.get("project_ids") == []:
        raise ApiError(400, "exactly one of project_ids and reference_dataset_id must be set")
    if "ai_query" in wanted:
        raise ApiError(400, "ai_query is not available on this server: use filter")
    limit = page_size(wanted, 100, 1000)
    selects = check_selects(wanted.get("selects", []))
    now = call.switches.now()
    with call.store.read() as db:
        sessions, since = _sessions(db, wanted, now)
        if not _are_experiments(db, sessions):  # whose runs the Python SDK reads from the year 2000 on
            check_span(wanted, call)
        where = run_conditions(
            {
                "session": sessions,
                "id": wanted.get("ids"),
                "reference_example": wanted.get("reference_examples"),
                "trace": wanted.get("trace_id"),
                "run_type": wanted.get("run_type", "").lower() or None,
                "is_root": wanted.get("is_root"),
                "error": wanted.get("has_error"),
                "start_time": wanted.get("min_start_time", since),
                "end_time": wanted.get("max_start_time", now),
                **{name: wanted.get(name) for name in ("filter", "trace_filter", "tree_filter")},
            }
        )
        if not sessions:
            where.add("0")
        order = wanted.get("sort_order", "DESC").lower()
        rows, place = page_of_runs(db, where, limit, order=order, after=read_cursor(body, 2))
        items = v2_runs(db, call, rows, selects)
    if call.switches.own_usage and not wanted.get("include_subtree_usage"):
        items = [with_own_usage(row, item) for row, item in zip(rows, items, strict=True)]
    return {"items": items, "next_cursor": write_cursor(place, body), "has_more": place is not None}


def _sessions(db: Any, wanted: dict[str, Any], now: int) -> tuple[list[str], int]:
    """The sessions asked for, and since when to look unless the query says so."""
    if "project_ids" in wanted:
        for session_id in wanted["project_ids"]:
            find_session(db, session_id)
        return wanted["project_ids"], now - DAY
    dataset_id = wanted["reference_dataset_id"]
    sql = "SELECT id, created_at, start_time FROM sessions WHERE reference_dataset_id = ?"
    rows = db.execute(sql, (dataset_id,)).fetchall()
    return [row["id"] for row in rows], min((min(row["created_at"], row["start_time"]) for row in rows), default=now)


def _are_experiments(db: sqlite3.Connection, sessions: list[str]) -> bool:
    return all(find_session(db, session_id)["reference_dataset_id"] for session_id in sessions)


def with_own_usage(row: sqlite3.Row, item: dict[str, Any]) -> dict[str, Any]:
    """A run in v2 form, with only its own tokens and cost."""
    own = {name: row[f"own_{name}"] for name in TOKENS if name in item}
    return {**item, **{name: dollars_number(n) if name.endswith("cost") else n for name, n in own.items()}}


def page_size(wanted: dict[str, Any], default: int, most: int) -> int:
    size: int = wanted.get("page_size", default)
    if not 1 <= size <= most:
        raise ApiError(400, f"page_size must be between 1 and {most}")
    return size


def check_selects(names: list[str]) -> set[str]:
    unknown = set(names) - SELECTS
    if unknown:
        raise ApiError(400, f"unknown select {min(unknown)[:60]!r}: known are {', '.join(sorted(SELECTS))}")
    return set(names)


def get_run(call: Call) -> dict[str, Any]:
    query = call.request.args
    if not query.get("project_id"):
        raise ApiError(400, "project_id is required")
    project_id = as_uuid(query["project_id"], ["query", "project_id"])
    if query.get("start_time"):
        as_time(query["start_time"].replace(" ", "+"), ["query", "start_time"])
    selects = check_selects(query.getlist("selects"))
    with call.store.read() as db:
        sql = f"{SELECT} WHERE runs.id = ? AND runs.session_id = ?"
        rows = db.execute(sql, (call.ids["run_id"], project_id)).fetchall()
        if not rows:
            raise ApiError(404, "run not found: resource not found")
        return v2_runs(db, call, rows, selects)[0]


def list_trace_runs(call: Call) -> dict[str, Any]:
    """All runs of a trace in the order in which they began."""
    query = call.request.args
    if not query.get("project_id"):
        raise ApiError(400, "project_id is required")
    bounds = {
        name: as_time(query[f"{side}_start_time"].replace(" ", "+"), ["query", f"{side}_start_time"])
        for side, name in (("min", "start_time"), ("max", "end_time"))
        if query.get(f"{side}_start_time")
    }
    if len(bounds) == 1:
        raise ApiError(400, "min_start_time and max_start_time must be set both or neither")
    project_id = as_uuid(query["project_id"], ["query", "project_id"])
    selects = check_selects(query.getlist("selects"))
    where = run_conditions(
        {"session": [project_id], "trace": call.ids["trace_id"], "filter": query.get("filter"), **bounds}
    )
    with call.store.read() as db:
        find_session(db, project_id)
        rows = db.execute(f"{SELECT} {where} ORDER BY runs.start_time, runs.dotted_order", where.params).fetchall()
        return {"items": v2_runs(db, call, rows, selects)}


EXPERIMENT_RUNS: Fields = {
    "experiment_ids": "[uuid]!",
    "page_size": "int",
    "cursor": "text",
    "selects": "[text]",
    "example_ids": "[uuid]",
    "filters": "object",
    "comparative_experiment_id": "uuid",
    "sort": "object",
}


def list_examples(call: Call) -> dict[str, Any]:
    """Examples with their root runs in the given experiments."""
    body = call.object()
    wanted = check(body, EXPERIMENT_RUNS)
    limit = page_size(wanted, 20, 100)
    selects = check_selects(wanted.get("selects", []))
    sort = check(wanted.get("sort", {}), SORTS["v2"], ["body", "sort"])
    after = read_cursor(body, 3)
    sessions = wanted["experiment_ids"]
    order = (sort.get("by"), sort.get("order"))
    with call.store.read() as db:
        dataset_id = call.ids["dataset_id"]
        examples = experiment_examples(db, dataset_id, sessions, wanted, limit + 1, sort=order, after=after)
        page = examples[:limit]
        rows = experiment_rows(db, select_v2(selects), [example["id"] for example in page], sessions)
        runs = v2_runs(db, call, rows, selects, comparative=wanted.get("comparative_experiment_id"))
    by_example: dict[str, list[dict[str, Any]]] = {}
    for row, run in zip(rows, runs, strict=True):
        by_example.setdefault(row["reference_example_id"], []).append(run)
    items = [{**example_json(example), "runs": by_example.get(example["id"], [])} for example in page]
    place = place_of(page[-1]) if len(examples) > limit else None
    return {"items": items, "next_cursor": write_cursor(place, body)}
