"""One row of a comparison in full, beside the list: inputs, every answer, and links to the next rows."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from localsmith.pages.common import Page, around
from localsmith.pages.compare_rows import Row
from localsmith.pages.comparison import ComparisonPage
from localsmith.pages.selection import is_bad
from localsmith.pages.trace import first_error


@dataclass(frozen=True)
class Trace:
    """What a panel says about the steps below a run."""

    steps: int
    failed: int
    first_error: str | None  # the step that failed first


@dataclass(frozen=True)
class Panel:
    """`number` is the row's position among the `total` rows that the filters leave; None if it is not among them."""

    row: Row
    number: int | None
    total: int
    previous: str | None
    next: str | None
    previous_bad: str | None  # the nearest rows that failed or regressed
    next_bad: str | None
    traces: dict[str, Trace]


def panel_of(
    db: sqlite3.Connection, comparison: ComparisonPage, examples: list[str], row: Row, at: int | None
) -> Panel:
    before, after = around(examples, row.example_id, comparison.examples)
    bad = is_bad(comparison)
    return Panel(
        row,
        None if at is None else at + 1,
        len(examples),
        before[-1] if before else None,
        after[0] if after else None,
        next(filter(bad, reversed(before)), None),
        next(filter(bad, after), None),
        _traces(db, [run["id"] for cell in row.cells for run in cell.runs]),
    )


def _traces(db: sqlite3.Connection, roots: list[str]) -> dict[str, Trace]:
    rows = db.execute(
        "SELECT trace_id, count(*), sum(status = 'error') FROM runs"
        " WHERE trace_id IN (SELECT value FROM json_each(?)) AND is_root = 0 GROUP BY trace_id",
        (json.dumps(roots),),
    ).fetchall()
    return {trace: Trace(steps, failed, first_error(db, trace) if failed else None) for trace, steps, failed in rows}


def beyond(comparison: ComparisonPage, examples: list[str], page: Page) -> dict[str, str | None]:
    """The nearest rows on other pages that failed or regressed."""
    bad = is_bad(comparison)
    return {
        "before": next(filter(bad, reversed(examples[: page.offset])), None),
        "after": next(filter(bad, examples[page.end :]), None),
    }


def as_json(row: Row) -> dict[str, Any]:
    """A row as JSON to copy."""
    example = row.example or {}
    return {
        "example_id": row.example_id,
        "inputs": row.inputs,
        "reference_outputs": example.get("outputs"),
        "metadata": example.get("metadata"),
        "runs": [
            {
                "experiment": cell.experiment,
                "run_id": run["id"],
                "outputs": run["outputs"],
                "error": run["error"],
                "feedback": [
                    {name: item[name] for name in ("key", "score", "value", "comment") if item[name] is not None}
                    for item in run["feedback"]
                ],
            }
            for cell in row.cells
            for run in cell.runs
        ],
    }
