"""Runs in the database: storing them, updating them, and keeping every total right."""

import sqlite3
import uuid
from collections.abc import Iterable
from operator import add, itemgetter
from typing import Any

from localsmith.hosted.queue import queue_new_runs
from localsmith.migrations import COUNT_RUNS, add_early_usage
from localsmith.runs.checks import (
    DEFAULT_PROJECT,
    IDS,
    NOTHING,
    OUTSIDE_REST,
    TIMES,
    TOKENS,
    Run,
    ancestors,
    check_fields,
    end_after_start,
    own_usage,
    unprocessable,
)
from localsmith.wire import dumps, iso, loads_or_none

COLUMNS = (
    "seq id session_id trace_id parent_run_id is_root reference_example_id dotted_order name run_type status "
    "start_time end_time"
).split()
OWN = [f"own_{name}" for name in TOKENS]
ALL_COLUMNS = [*COLUMNS, *OWN, *TOKENS]
BODY_COLUMNS = "seq inputs outputs error extra tags rest".split()
run_values, body_values = itemgetter(*COLUMNS), itemgetter(*BODY_COLUMNS)
INSERT_RUN = f"INSERT INTO runs ({', '.join(ALL_COLUMNS)}) VALUES ({', '.join('?' * len(ALL_COLUMNS))})"
INSERT_BODY = f"INSERT INTO run_bodies VALUES ({', '.join('?' * len(BODY_COLUMNS))})"
UPDATE_RUN = f"UPDATE runs SET {', '.join(f'{name} = ?' for name in [*COLUMNS[2:], *OWN])} WHERE seq = ?"
UPDATE_BODY = f"UPDATE run_bodies SET {', '.join(f'{name} = ?' for name in BODY_COLUMNS[1:])} WHERE seq = ?"

Row = dict[str, Any]


def prepared(run: Run) -> Row:
    """A checked run and its columns in both tables: what can be made of it before it is its turn to be written."""
    get = run.get
    error, end_time, parent = get("error"), get("end_time"), get("parent_run_id")
    inputs, outputs, extra, tags, rest = get("inputs"), get("outputs"), get("extra"), get("tags"), None
    if not run.keys() <= OUTSIDE_REST:
        rest = dumps({name: value for name, value in run.items() if name not in OUTSIDE_REST})
    return {
        "id": run["id"],
        "session_id": get("session_id"),
        "trace_id": run["trace_id"],
        "parent_run_id": parent,
        "is_root": int(parent is None),
        "reference_example_id": get("reference_example_id"),
        "dotted_order": run["dotted_order"],
        "name": run["name"],
        "run_type": run["run_type"],
        "status": "success" if error is None and end_time is not None else "pending" if error is None else "error",
        "start_time": run["start_time"],
        "end_time": end_time,
        "own": own_usage(run),
        "run": run,
        "inputs": None if inputs is None else dumps(inputs),
        "outputs": None if outputs is None else dumps(outputs),
        "error": error,
        "extra": None if extra is None else dumps(extra),
        "tags": None if tags is None else dumps(tags),
        "rest": rest,
    }


def known_ids(db: sqlite3.Connection, table: str, ids: Iterable[str]) -> set[str]:
    """Which of `ids` the table holds already."""
    rows = db.execute(f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))", (dumps(list(ids)),))
    return {row["id"] for row in rows}


# Whether anything at all is here before its run: updates, what descendants use, feedback.
EARLY = """
    SELECT EXISTS (SELECT 1 FROM early_updates), EXISTS (SELECT 1 FROM early_usage), EXISTS (
        SELECT 1 FROM feedback INDEXED BY feedback_waiting WHERE is_root IS NULL AND run_id IS NOT NULL
    )
"""
PLACE_FEEDBACK = """
    UPDATE feedback SET (session_id, trace_id, is_root) =
        (SELECT session_id, trace_id, is_root FROM runs WHERE runs.id = feedback.run_id)
    WHERE is_root IS NULL AND run_id IS NOT NULL AND run_id IN (SELECT value FROM json_each(?))
"""


def insert_runs(db: sqlite3.Connection, rows: list[Row], now: int) -> int:
    """Store the prepared runs whose ids are not known yet and return how many; the others stay as they are."""
    fresh: dict[str, Row] = {}
    known = known_ids(db, "runs", [row["id"] for row in rows])
    for row in rows:
        if row["id"] not in known:
            fresh.setdefault(row["id"], row)
    if not fresh:
        return 0
    ids = dumps(list(fresh))
    updates, usage, feedback = db.execute(EARLY).fetchone()
    if updates:
        _apply_early_updates(db, fresh, ids)
    assign_sessions(db, list(fresh.values()), now)
    top = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0]
    for seq, row in enumerate(fresh.values(), top + 1):
        row["seq"] = seq
    totals = _totals(db, fresh, ids if usage else "[]")
    amounts = [(*row["own"], *totals.get(run_id, NOTHING)) for run_id, row in fresh.items()]
    db.executemany(INSERT_RUN, map(add, map(run_values, fresh.values()), amounts))
    db.executemany(INSERT_BODY, map(body_values, fresh.values()))
    db.execute(COUNT_RUNS, (top,))
    if feedback:
        db.execute(PLACE_FEEDBACK, (ids,))
    queue_new_runs(db, list(fresh), now)
    return len(fresh)


def assign_sessions(db: sqlite3.Connection, rows: list[Row], now: int) -> None:
    """Turn session names into ids, making the projects that are not there; refuse unknown session ids."""
    ids = {row["session_id"] for row in rows if row["session_id"]}
    unknown = ids - known_ids(db, "sessions", ids) if ids else set()
    if unknown:
        raise unprocessable("session_id", f"no session has the id {min(unknown)}")
    found: dict[str, str] = {}
    for row in rows:
        if not row["session_id"]:
            name = row["run"].get("session_name") or DEFAULT_PROJECT
            found[name] = found.get(name) or _project(db, name, now)
            row["session_id"] = found[name]


def _project(db: sqlite3.Connection, name: str, now: int) -> str:
    row = db.execute("SELECT id FROM sessions WHERE name = ?", (name,)).fetchone()
    if row:
        return str(row["id"])
    session_id = str(uuid.uuid4())
    db.execute(
        "INSERT INTO sessions (id, name, start_time, created_at) VALUES (?, ?, ?, ?)", (session_id, name, now, now)
    )
    return session_id


def _apply_early_updates(db: sqlite3.Connection, rows: dict[str, Row], ids: str) -> None:
    updates = db.execute(
        "SELECT run_id, body FROM early_updates WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY seq", (ids,)
    ).fetchall()
    for update in updates:
        run = rows[update["run_id"]]["run"]
        if apply_update(run, check_fields(loads_or_none(update["body"]), "patch")):
            rows[run["id"]] |= prepared(run)
    if updates:
        db.execute("DELETE FROM early_updates WHERE run_id IN (SELECT value FROM json_each(?))", (ids,))


def _totals(db: sqlite3.Connection, rows: dict[str, Row], ids: str) -> dict[str, list[int]]:
    """What each new run and its descendants use, whichever arrived first; what they add to others is added there.

    Runs that are not in it use nothing.
    """
    totals = {run_id: list(row["own"]) for run_id, row in rows.items() if row["own"] is not NOTHING}
    early = db.execute("SELECT * FROM early_usage WHERE run_id IN (SELECT value FROM json_each(?))", (ids,)).fetchall()
    for run_id, _, *amounts in early:
        _add(totals.setdefault(run_id, list(NOTHING)), amounts)
    if early:
        db.execute("DELETE FROM early_usage WHERE run_id IN (SELECT value FROM json_each(?))", (ids,))
    elsewhere: dict[str, list[int]] = {}
    for row in [rows[run_id] for run_id in totals if any(rows[run_id]["own"])]:
        for ancestor in ancestors(row["dotted_order"]):
            _add((totals if ancestor in rows else elsewhere).setdefault(ancestor, list(NOTHING)), row["own"])
    for run_id, amounts in elsewhere.items():
        session_id = next(row["session_id"] for row in rows.values() if run_id in row["dotted_order"])
        _add_up(db, run_id, session_id, amounts)
    return totals


MOST = 2**63 - 1  # 9.2 million dollars: a trace that cost more shows this


def _add(total: list[int], amounts: list[int]) -> None:
    total[:] = [min(a + b, MOST) for a, b in zip(total, amounts, strict=True)]


ADD_UP = f"UPDATE runs SET {', '.join(f'{name} = min({name} + ?, {MOST})' for name in TOKENS)} WHERE id = ?"


def _add_up(db: sqlite3.Connection, run_id: str, session_id: str, amounts: list[int]) -> None:
    """Add to the totals of a run; where it is not here yet, keep it for then."""
    if not db.execute(ADD_UP, (*amounts, run_id)).rowcount:
        add_early_usage(db, run_id, session_id, amounts)


# Updates


def merge(run: Run, change: Run) -> None:
    """Apply an update to a run: the fields sent replace the old ones, metadata is added to."""
    extra = {**run.get("extra", {}), **change.get("extra", {})}
    old, new = (side.get("extra", {}).get("metadata") for side in (run, change))
    if isinstance(old, dict) and isinstance(new, dict):
        extra["metadata"] = {**old, **new}
    fixed = {"id", "trace_id", "dotted_order", "parent_run_id", "session_id", "session_name", "start_time", "extra"}
    run.update((name, value) for name, value in change.items() if name not in fixed)
    if extra:
        run["extra"] = extra


def apply_update(run: Run, change: Run) -> bool:
    """Apply an update to a run, unless it would end a run that has ended: such a one counts as received already."""
    if run.get("end_time") is not None and {"end_time", "outputs", "error"} & change.keys():
        return False
    merge(run, change)
    end_after_start(run)
    return True


def update_runs(db: sqlite3.Connection, changes: list[Run], now: int) -> int:
    """Apply updates and return how many changed something; those of unknown runs wait for them."""
    return sum(_update_run(db, change, now) for change in changes)


def _update_run(db: sqlite3.Connection, change: Run, now: int) -> int:
    run = stored_run(db, change["id"])
    if run is None:
        as_sent = {name: iso(value) if name in TIMES else value for name, value in change.items()}
        db.execute("INSERT INTO early_updates (run_id, body) VALUES (?, ?)", (change["id"], dumps(as_sent)))
        return 1
    before, was_open, seq = own_usage(run), run.get("end_time") is None, run.pop("seq")
    if not apply_update(run, change):
        return 0
    row = {**prepared(run), "seq": seq}
    db.execute(UPDATE_RUN, (*run_values(row)[2:], *row["own"], seq))
    db.execute(UPDATE_BODY, (*body_values(row)[1:], seq))
    change_of_usage = [new - old for new, old in zip(row["own"], before, strict=True)]
    if any(change_of_usage):
        for run_id in (*ancestors(run["dotted_order"]), run["id"]):
            _add_up(db, run_id, run["session_id"], change_of_usage)
    if was_open and run.get("end_time") is not None:
        queue_new_runs(db, [run["id"]], now)
    return 1


def stored_run(db: sqlite3.Connection, run_id: str) -> Run | None:
    """A run as `check_run` returned it, plus its `seq`; absent fields are left out."""
    row = db.execute("SELECT * FROM runs JOIN run_bodies USING (seq) WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    run = loads_or_none(row["rest"]) or {}
    for name in ("seq", *IDS, *TIMES, "name", "run_type", "dotted_order", "error"):
        run[name] = row[name]
    for name in ("inputs", "outputs", "extra", "tags"):
        run[name] = loads_or_none(row[name])
    return {name: value for name, value in run.items() if value is not None}
