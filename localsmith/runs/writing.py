"""Runs in the database: storing them, updating them, and keeping every total right."""

import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from localsmith.hosted.queue import queue_new_runs
from localsmith.runs.checks import (
    DEFAULT_PROJECT,
    IDS,
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
from localsmith.wire import dumps, dumps_or_none, iso, loads_or_none

COLUMNS = (
    "seq id session_id trace_id parent_run_id is_root reference_example_id dotted_order name run_type status "
    "start_time end_time"
).split() + [f"own_{name}" for name in TOKENS]
BODY_COLUMNS = "seq inputs outputs error extra tags rest".split()
INSERT_RUN = f"INSERT INTO runs ({', '.join(COLUMNS)}) VALUES ({', '.join(':' + name for name in COLUMNS)})"
INSERT_BODY = f"INSERT INTO run_bodies VALUES ({', '.join(':' + name for name in BODY_COLUMNS)})"
UPDATE_RUN = f"UPDATE runs SET {', '.join(f'{name} = :{name}' for name in COLUMNS[2:])} WHERE seq = :seq"
UPDATE_BODY = f"UPDATE run_bodies SET {', '.join(f'{name} = :{name}' for name in BODY_COLUMNS[1:])} WHERE seq = :seq"


def columns(run: Run) -> dict[str, Any]:
    """Spread a checked run over the columns of `runs` and `run_bodies`."""
    status = "error" if run.get("error") is not None else "success" if run.get("end_time") is not None else "pending"
    rest = {name: value for name, value in run.items() if name not in OUTSIDE_REST}
    return {
        "id": run["id"],
        "session_id": run["session_id"],
        "trace_id": run["trace_id"],
        "parent_run_id": run.get("parent_run_id"),
        "is_root": int(run.get("parent_run_id") is None),
        "reference_example_id": run.get("reference_example_id"),
        "dotted_order": run["dotted_order"],
        "name": run["name"],
        "run_type": run["run_type"],
        "status": status,
        "start_time": run["start_time"],
        "end_time": run.get("end_time"),
        **{f"own_{name}": amount for name, amount in zip(TOKENS, own_usage(run), strict=True)},
        "inputs": dumps_or_none(run.get("inputs")),
        "outputs": dumps_or_none(run.get("outputs")),
        "error": run.get("error"),
        "extra": dumps_or_none(run.get("extra")),
        "tags": dumps_or_none(run.get("tags")),
        "rest": dumps(rest) if rest else None,
    }


def known_ids(db: sqlite3.Connection, table: str, ids: Iterable[str]) -> set[str]:
    """Which of `ids` the table holds already."""
    rows = db.execute(f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))", (dumps(list(ids)),))
    return {row["id"] for row in rows}


def insert_runs(db: sqlite3.Connection, runs: list[Run], now: int) -> int:
    """Store the runs whose ids are not known yet and return how many they were; the others stay as they are."""
    fresh: dict[str, Run] = {}
    known = known_ids(db, "runs", [run["id"] for run in runs])
    for run in runs:
        if run["id"] not in known:
            fresh.setdefault(run["id"], run)
    if not fresh:
        return 0
    ids = dumps(list(fresh))
    assign_sessions(db, list(fresh.values()), now)
    _apply_early_updates(db, fresh, ids)
    rows = [columns(run) for run in fresh.values()]
    below = _usage_below(db, rows)
    top = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0]
    for seq, row in enumerate(rows, top + 1):
        row["seq"] = seq
    db.executemany(INSERT_RUN, rows)
    db.executemany(INSERT_BODY, rows)
    for row in rows:
        below[row["id"]] = [a + row[f"own_{name}"] for a, name in zip(below[row["id"]], TOKENS, strict=True)]
    _add_up(db, below, [(row["dotted_order"], [row[f"own_{name}"] for name in TOKENS]) for row in rows])
    db.execute(
        "UPDATE feedback SET session_id = (SELECT session_id FROM runs WHERE runs.id = feedback.run_id)"
        " WHERE session_id IS NULL AND run_id IN (SELECT value FROM json_each(?))",
        (ids,),
    )
    queue_new_runs(db, [row["id"] for row in rows], now)
    return len(rows)


def assign_sessions(db: sqlite3.Connection, runs: list[Run], now: int) -> None:
    """Turn session names into ids, making the projects that are not there; refuse unknown session ids."""
    ids = {run["session_id"] for run in runs if "session_id" in run}
    unknown = ids - known_ids(db, "sessions", ids) if ids else set()
    if unknown:
        raise unprocessable("session_id", f"no session has the id {min(unknown)}")
    found: dict[str, str] = {}
    for run in runs:
        if "session_id" not in run:
            name = run.get("session_name") or DEFAULT_PROJECT
            found[name] = found.get(name) or _project(db, name, now)
            run["session_id"] = found[name]


def _project(db: sqlite3.Connection, name: str, now: int) -> str:
    row = db.execute("SELECT id FROM sessions WHERE name = ?", (name,)).fetchone()
    if row:
        return str(row["id"])
    session_id = str(uuid.uuid4())
    db.execute(
        "INSERT INTO sessions (id, name, start_time, created_at) VALUES (?, ?, ?, ?)", (session_id, name, now, now)
    )
    return session_id


def _apply_early_updates(db: sqlite3.Connection, runs: dict[str, Run], ids: str) -> None:
    rows = db.execute(
        "SELECT run_id, body FROM early_updates WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY seq", (ids,)
    ).fetchall()
    for row in rows:
        merge(runs[row["run_id"]], check_fields(loads_or_none(row["body"]), "patch"))
        end_after_start(runs[row["run_id"]])
    if rows:
        db.execute("DELETE FROM early_updates WHERE run_id IN (SELECT value FROM json_each(?))", (ids,))


def _usage_below(db: sqlite3.Connection, rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    """What descendants that arrived before their ancestors add to them, by run id."""
    traces = dumps(sorted({row["trace_id"] for row in rows}))
    begun = {
        row["trace_id"]
        for row in db.execute(
            "SELECT trace_id FROM runs WHERE trace_id IN (SELECT value FROM json_each(?)) GROUP BY trace_id", (traces,)
        )
    }
    sums = ", ".join(f"coalesce(sum(own_{name}), 0)" for name in TOKENS)
    # '.' and '/' are neighbours, so this range holds exactly what starts with the run's order and a dot.
    query = f"SELECT {sums} FROM runs WHERE trace_id = ? AND dotted_order > ? || '.' AND dotted_order < ? || '/'"
    found: dict[str, list[int]] = {row["id"]: [0] * 6 for row in rows}
    for row in rows:
        if row["trace_id"] in begun:
            order = row["dotted_order"]
            found[row["id"]] = list(db.execute(query, (row["trace_id"], order, order)).fetchone())
    return found


ADD_UP = f"UPDATE runs SET {', '.join(f'{name} = {name} + ?' for name in TOKENS)} WHERE id = ?"


def _add_up(db: sqlite3.Connection, amounts: dict[str, list[int]], changes: list[tuple[str, list[int]]]) -> None:
    """Add `amounts` to the totals of runs by id, and each change to all ancestors in its dotted_order."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0] * 6, amounts)
    for dotted_order, change in changes:
        if any(change):
            for ancestor in ancestors(dotted_order):
                totals[ancestor] = [a + b for a, b in zip(totals[ancestor], change, strict=True)]
    db.executemany(ADD_UP, [(*total, run_id) for run_id, total in totals.items() if any(total)])


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


def update_runs(db: sqlite3.Connection, changes: list[Run], now: int) -> int:
    """Apply updates and return how many changed something; those of unknown runs wait for them.

    A run that has ended is not ended again: such an update counts as received already.
    """
    return sum(_update_run(db, change, now) for change in changes)


def _update_run(db: sqlite3.Connection, change: Run, now: int) -> int:
    run = stored_run(db, change["id"])
    if run is None:
        as_sent = {name: iso(value) if name in TIMES else value for name, value in change.items()}
        db.execute("INSERT INTO early_updates (run_id, body) VALUES (?, ?)", (change["id"], dumps(as_sent)))
        return 1
    if run.get("end_time") is not None and {"end_time", "outputs", "error"} & change.keys():
        return 0
    before, ends = own_usage(run), run.get("end_time") is None and change.get("end_time") is not None
    seq = run.pop("seq")
    merge(run, change)
    end_after_start(run)
    row = {**columns(run), "seq": seq}
    db.execute(UPDATE_RUN, row)
    db.execute(UPDATE_BODY, row)
    change_of_usage = [new - old for new, old in zip(own_usage(run), before, strict=True)]
    _add_up(db, {run["id"]: change_of_usage}, [(run["dotted_order"], change_of_usage)])
    if ends:
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
