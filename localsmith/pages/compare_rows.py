"""The rows of a comparison: the bodies of the examples that a page shows, and of their runs."""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localsmith.pages import render
from localsmith.pages.attachments import attachments_of
from localsmith.pages.common import MAX_BODY, bounded
from localsmith.pages.comparison import ComparisonPage, Side, change
from localsmith.pages.examples import examples_of
from localsmith.pages.feedback import feedback_of
from localsmith.pages.selection import is_bad

DIFF_SECONDS = 3.0  # for all diffs of a page together; the rest is left out, with a note
REPETITIONS_SHOWN = 10


@dataclass
class Cell:
    """The runs of one experiment on one example."""

    experiment: str
    runs: list[dict[str, Any]]
    more: int  # repetitions beyond those shown
    means: list[tuple[str, float]]  # over repetitions
    changes: dict[str, tuple[str, float | None]]  # metric -> kind of change, difference
    scores: dict[str, float]  # metric -> score, the mean over repetitions


@dataclass
class Row:
    example_id: str
    example: dict[str, Any] | None  # None: deleted since
    inputs: Any
    reference: Any
    attachments: list[dict[str, object]]
    cells: list[Cell]
    is_bad: bool  # failed, or regressed


def rows_of(db: sqlite3.Connection, comparison: ComparisonPage, examples: list[str]) -> list[Row]:
    """Read only the bodies of these examples and of their runs."""
    indexes = [(side.columns, i) for side in comparison.shown for example in examples for i in _shown(side, example)]
    runs = _runs(db, [columns.seqs[i] for columns, i in indexes])
    run_ids = [run["id"] for run in runs.values()]
    attachments = attachments_of(db, [*examples, *run_ids])
    found = _Found(examples_of(db, examples), runs, feedback_of(db, run_ids), attachments)
    until = time.monotonic() + DIFF_SECONDS
    bad = is_bad(comparison)
    return [_row(comparison, example, found, until, bad(example)) for example in examples]


def _shown(side: Side, example: str) -> list[int]:
    return side.columns.runs_of(example)[:REPETITIONS_SHOWN]


@dataclass
class _Found:
    examples: dict[str, dict[str, Any]]
    runs: dict[int, sqlite3.Row]
    feedback: dict[str, list[dict[str, Any]]]
    attachments: dict[str, list[dict[str, object]]]


def _runs(db: sqlite3.Connection, seqs: list[int]) -> dict[int, sqlite3.Row]:
    rows = db.execute(
        "SELECT r.seq, r.id, r.status, r.latency, r.total_tokens, r.total_cost, substr(b.error, 1, 20000) AS error,"
        f" {bounded('inputs')}, {bounded('outputs')}, length(outputs) > {MAX_BODY} AS is_cut"
        " FROM runs r LEFT JOIN run_bodies b ON b.seq = r.seq WHERE r.seq IN (SELECT value FROM json_each(?))",
        (json.dumps(seqs),),
    )
    return {row["seq"]: row for row in rows}


def _row(comparison: ComparisonPage, example: str, found: _Found, until: float, bad: bool) -> Row:
    known = found.examples.get(example)
    cells = [_cell(comparison, side, example, found) for side in comparison.shown]
    inputs = known["inputs"] if known else next((run["inputs"] for cell in cells for run in cell.runs), None)
    reference = known["outputs"] if known else None
    _add_diffs(comparison, cells, reference, until)
    return Row(example, known, inputs, reference, found.attachments.get(example, []), cells, bad)


def _cell(comparison: ComparisonPage, side: Side, example: str, found: _Found) -> Cell:
    columns, baseline = side.columns, comparison.baseline.columns
    indexes = columns.runs_of(example)
    seqs = [columns.seqs[i] for i in _shown(side, example)]
    runs = [_run(found.runs[seq], found, comparison.columns.__contains__) for seq in seqs if seq in found.runs]
    means, changes, scores = [], {}, {}
    for metric in comparison.columns:
        before = baseline.scores.get(metric, {}).get(example)
        after = columns.scores.get(metric, {}).get(example)
        if after is not None:
            scores[metric] = after
        if after is not None and len(indexes) > 1:
            means.append((metric, after))
        if not side.is_baseline and (before is not None or after is not None):
            difference = after - before if before is not None and after is not None else None
            changes[metric] = (change(before, after, lower=metric in comparison.question.lower), difference)
    return Cell(side.experiment.name, runs, len(indexes) - len(runs), means, changes, scores)


def _run(row: sqlite3.Row, found: _Found, wanted: Callable[[str], bool]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "status": row["status"],
        "latency": row["latency"],
        "tokens": row["total_tokens"],
        "cost": row["total_cost"],
        "inputs": _loads(row["inputs"]),
        "outputs": _loads(row["outputs"]),
        "error": row["error"],
        "is_cut": row["is_cut"],
        "feedback": [item for item in found.feedback.get(row["id"], []) if wanted(item["key"])],
        "attachments": found.attachments.get(row["id"], []),
        "diff": None,
    }


def _loads(text: str | None) -> Any:
    return json.loads(text) if text else None


def _add_diffs(comparison: ComparisonPage, cells: list[Cell], reference: Any, until: float) -> None:
    against = comparison.question.diff
    if not against:
        return
    before = reference
    if against == "baseline":
        runs = cells[0].runs  # the baseline is shown first
        before = runs[0]["outputs"] if runs else None
    if not before:
        return
    for side, cell in zip(comparison.shown, cells, strict=True):
        for run in cell.runs:
            if not run["outputs"] or (against == "baseline" and side.is_baseline):
                continue
            pieces = None
            if time.monotonic() < until:
                pieces = render.word_diff(render.gist(before), render.gist(run["outputs"]))
            run["diff"] = pieces or "too long"
