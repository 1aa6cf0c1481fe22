"""The steps of a trace: in order, with their depth, their share of the time, and the first one that failed."""

import sqlite3
from collections import Counter
from dataclasses import dataclass

from localsmith.runs.query import of_trace

MAX_STEPS = 6000


@dataclass
class Step:
    """One run of a trace, as the tree shows it; `left` and `width` are its time in the trace, in percent."""

    run: sqlite3.Row
    depth: int
    left: float = 0.0
    width: float = 0.0


@dataclass(frozen=True)
class Steps:
    """`is_cut`: there are more than the listed ones. `kinds` counts the listed steps by kind."""

    steps: list[Step]
    is_cut: bool
    kinds: Counter[str]
    failed: int
    first_error: str | None


def steps_of(db: sqlite3.Connection, trace_id: str) -> Steps:
    rows = db.execute(
        "SELECT id, name, run_type, status, is_root, start_time, end_time, latency, dotted_order, total_tokens,"
        f" total_cost FROM runs WHERE {of_trace('runs', '?1')} ORDER BY dotted_order LIMIT ?2",
        (trace_id, MAX_STEPS + 1),
    ).fetchall()
    failed = sum(row["status"] == "error" for row in rows)
    return Steps(
        tree(rows[:MAX_STEPS]),
        len(rows) > MAX_STEPS,
        Counter(row["run_type"] for row in rows),
        failed,
        first_error(db, trace_id) if failed else None,
    )


def first_error(db: sqlite3.Connection, trace_id: str) -> str | None:
    """The first step that failed: an error moves up from it, so it ended before the steps that it made fail."""
    row = db.execute(
        f"SELECT id FROM runs WHERE {of_trace('runs', '?1')} AND status = 'error'"
        " ORDER BY end_time IS NULL, end_time, length(dotted_order) DESC LIMIT 1",
        (trace_id,),
    ).fetchone()
    return row["id"] if row else None


def tree(runs: list[sqlite3.Row]) -> list[Step]:
    """The steps of a trace, parents before children, with their place in time."""
    if not runs:
        return []
    begin = min(run["start_time"] for run in runs)
    end = max(run["end_time"] or run["start_time"] for run in runs)
    span = end - begin
    steps = []
    for run in runs:
        step = Step(run, run["dotted_order"].count("."))
        if span:
            step.left = round((run["start_time"] - begin) / span * 100, 2)
            length = (run["end_time"] or end) - run["start_time"]
            step.width = round(min(max(length / span * 100, 0.5), 100 - step.left), 2)
            step.left = min(step.left, 99.5)
            step.width = max(step.width, 0.5)
        steps.append(step)
    return steps
