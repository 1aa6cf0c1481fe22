"""Finding runs: the conditions of both generations of run reads, and paging by cursor."""

import base64
import binascii
import json
import sqlite3
import zlib
from typing import Any

from localsmith.lists import Where
from localsmith.wire import ApiError, dumps

FROM = "FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq JOIN sessions ON sessions.id = runs.session_id"
SELECT = f"SELECT runs.*, run_bodies.*, sessions.reference_dataset_id {FROM} "


def of_trace(table: str, trace: str) -> str:
    """The runs of a trace, which SQL `trace` gives the id of: its root, and the steps below it."""
    return f"({table}.id = {trace} OR {table}.trace_id = {trace} AND {table}.is_root = 0)"


def run_conditions(wanted: dict[str, Any]) -> Where:
    """Conditions on runs, from the fields of a query under their v1 names."""
    where = Where()
    if [] in (wanted.get("id"), wanted.get("reference_example")):
        where.add("0")  # one of no ids
    where.among("runs.id", wanted.get("id") or [])
    where.among("runs.session_id", wanted.get("session") or [])
    where.among("runs.reference_example_id", wanted.get("reference_example") or [])
    if wanted.get("trace") is not None:
        where.add(of_trace("runs", "?"), wanted["trace"], wanted["trace"])
    for name, column in (("parent_run", "parent_run_id"), ("run_type", "run_type")):
        if wanted.get(name) is not None:
            where.add(f"runs.{column} = ?", wanted[name])
    if wanted.get("is_root") is not None:
        where.add("runs.is_root = ?", int(wanted["is_root"]))
    if wanted.get("error") is not None:
        where.add("runs.status = 'error'" if wanted["error"] else "runs.status <> 'error'")
    for name, sign in (("start_time", ">="), ("end_time", "<=")):
        if wanted.get(name) is not None:
            where.add(f"runs.start_time {sign} ?", wanted[name])
    add_filters(where, wanted)
    return where


def add_filters(where: Where, wanted: dict[str, Any]) -> None:
    """The three filter texts: on the run, on its root, on any run of its trace."""
    if not any(wanted.get(name) for name in ("filter", "trace_filter", "tree_filter")):
        return
    from localsmith.runs.filters import RUN, compile_filter  # only where they are needed, as all filters

    if wanted.get("filter"):
        where.add(*compile_filter(wanted["filter"], RUN))
    other = "SELECT 1 FROM runs AS other JOIN run_bodies AS body ON body.seq = other.seq WHERE"
    if wanted.get("trace_filter"):
        condition, *params = compile_filter(wanted["trace_filter"], RUN, "other", "body")
        where.add(f"EXISTS ({other} other.id = runs.trace_id AND {condition})", *params)
    if wanted.get("tree_filter"):
        condition, *params = compile_filter(wanted["tree_filter"], RUN, "other", "body")
        where.add(f"EXISTS ({other} {of_trace('other', 'runs.trace_id')} AND {condition})", *params)


def page_of_runs(
    db: sqlite3.Connection, where: Where, limit: int, *, order: str, after: list[int] | None
) -> tuple[list[sqlite3.Row], list[int] | None]:
    """One page of runs by start time, and where the next one begins (None: this was the last)."""
    sign, direction = ("<", "DESC") if order == "desc" else (">", "ASC")
    if after is not None:
        where.add(f"(runs.start_time, runs.seq) {sign} (?, ?)", *after)
    sql = f"{SELECT} {where} ORDER BY runs.start_time {direction}, runs.seq {direction} LIMIT ?"
    rows = db.execute(sql, (*where.params, limit + 1)).fetchall()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], [last["start_time"], last["seq"]]


# Cursors: opaque to clients, and bound to the query that made them


def _fingerprint(body: dict[str, Any]) -> int:
    same = {name: value for name, value in body.items() if name != "cursor"}
    return zlib.crc32(json.dumps(same, sort_keys=True).encode())


def write_cursor(place: list[Any] | None, body: dict[str, Any]) -> str | None:
    if place is None:
        return None
    return base64.urlsafe_b64encode(dumps([_fingerprint(body), *place]).encode()).decode()


def read_cursor(body: dict[str, Any], length: int) -> list[Any] | None:
    """The place a cursor names, `length` values; 400 for one that this query did not get."""
    cursor = body.get("cursor")
    if not cursor:
        return None
    try:
        fingerprint, *place = json.loads(base64.b64decode(str(cursor).encode(), b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        fingerprint, place = None, []
    fits = len(place) == length and all(isinstance(n, str | float | None) or abs(n) < 2**63 for n in place[:1])
    fits = fits and all(type(n) is int and abs(n) < 2**63 or type(n) is str for n in place[1:])
    if fingerprint != _fingerprint(body) or not fits:
        raise ApiError(400, "invalid cursor: it belongs to another query")
    return place
