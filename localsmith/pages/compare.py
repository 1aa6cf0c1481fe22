"""Experiments side by side: totals above, one row per example below, fifty at a time."""

import json
import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any

from flask import jsonify, make_response, render_template, request
from werkzeug.wrappers import Response

from localsmith.hosted.queue import waiting
from localsmith.pages.charts import MAX_VALUE
from localsmith.pages.columns import Kept
from localsmith.pages.common import PAGE_SIZE, Page, find, page_of, reading, with_query
from localsmith.pages.compare_facets import failed_of, index_of, scores_of, with_facets
from localsmith.pages.compare_rows import Row, rows_of
from localsmith.pages.comparison import (
    DIFFS,
    MAX_EXPERIMENTS,
    SHOW,
    SORTS,
    ComparisonPage,
    Side,
    compare,
    question_of,
)
from localsmith.pages.dataset import Experiment, experiment_of, facts_beside, progress_of
from localsmith.pages.facets import MAX_KEYS, facets_of
from localsmith.pages.pairwise import show_pairwise
from localsmith.pages.panel import as_json, beyond, panel_of
from localsmith.pages.render import natural
from localsmith.pages.selection import chosen


def show_comparison(tenant: str, dataset_id: str) -> Response:
    comparative_id = request.args.get("comparativeExperiment")
    if comparative_id:
        return make_response(show_pairwise(dataset_id, comparative_id))
    question = question_of(request.args)
    with reading() as (db, kept):
        dataset = find(db, "datasets", dataset_id, "dataset")
        comparison = compare(db, kept, dataset["id"], question)
        if comparison is None:
            return make_response(render_template("compare_nothing.html", dataset=dataset, asked=question.session_ids))
        return _compared(db, kept, dataset, comparison)


def _compared(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, comparison: ComparisonPage) -> Response:
    """The page, or one part of it: `row` is the open row, `json` the same to copy, `live` the totals."""
    examples = with_facets(db, kept, comparison, chosen(db, kept, comparison))
    example, part = request.args.get("row", "").lower(), request.args.get("part", "")
    at = examples.index(example) if example in examples else None
    page = page_of(len(examples)) if at is None else Page(at // PAGE_SIZE + 1, len(examples))
    panel = None
    if example in comparison.examples:
        panel = panel_of(db, comparison, examples, rows_of(db, comparison, [example])[0], at)
    if part == "json" and panel:
        return jsonify(as_json(panel.row))
    rows = [] if part else rows_of(db, comparison, examples[page.offset : page.end])
    html = render_template(
        "compare_panel.html" if part == "row" and panel else "compare.html",
        waiting=sum(waiting(db, [side.experiment.id for side in comparison.sides]).values()),
        progress={side.experiment.id: progress_of(db, side.experiment, side.summary) for side in comparison.sides},
        panel=panel,
        others=[] if len(comparison.sides) == MAX_EXPERIMENTS else _others(db, comparison),
        beyond=beyond(comparison, examples, page),
        facets=facets_of(index_of(db, kept, comparison), examples, comparison.question.facets, comparison.examples),
        scores=scores_of(comparison, examples),
        failed=failed_of(comparison, examples),
        **context_of(dataset, comparison, page, rows),
    )
    return make_response(html)


MAX_OTHERS = 200


def _others(db: sqlite3.Connection, comparison: ComparisonPage) -> list[Experiment]:
    """The experiments of the dataset that can be added, newest first."""
    rows = db.execute(
        "SELECT * FROM sessions WHERE reference_dataset_id = ? AND id NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY created_at DESC, id LIMIT ?",
        (
            comparison.baseline.experiment.dataset_id,
            json.dumps([side.experiment.id for side in comparison.sides]),
            MAX_OTHERS,
        ),
    )
    return [experiment_of(row) for row in rows]


def without(comparison: ComparisonPage, side: Side) -> str:
    """This address without one of its experiments, nor what is said of an experiment by its place among them."""
    left = ",".join(other.experiment.id for other in comparison.sides if other is not side)
    baseline = None if side.is_baseline else request.args.get("baseline")
    return with_query(selectedSessions=left, baseline=baseline, **dict.fromkeys(("show", "of", "sort", "dir")))


def context_of(dataset: sqlite3.Row, comparison: ComparisonPage, page: Page | None, rows: list[Row]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "comparison": comparison,
        "question": comparison.question,
        "sides": comparison.shown,
        "facts": facts_beside([side.experiment for side in comparison.sides]),
        "without": partial(without, comparison),
        "place": lambda side: comparison.sides.index(side) + 1,
        "page": page,
        "rows": rows,
        "show_options": SHOW,
        "diff_options": DIFFS,
        "sort_options": SORTS,
        "has": {
            name: any(getattr(side.summary, name) for side in comparison.sides) for name in ("cost", "tokens", "p50")
        },
        "has_reference": any(row.reference for row in rows) and comparison.shows("reference"),
        "metadata_keys": [key for key in _metadata_keys(comparison, rows) if comparison.shows(f"metadata:{key}")],
        "column_choices": _column_choices(comparison, rows),
        "graded": {item["key"] for item in _feedback(rows) if item["is_graded"]},
        "scales": {metric: _scale(comparison.sides, metric) for metric in comparison.metrics},
    }


def _feedback(rows: list[Row]) -> Iterator[dict[str, Any]]:
    return (item for row in rows for cell in row.cells for run in cell.runs for item in run["feedback"])


def _metadata_keys(comparison: ComparisonPage, rows: list[Row]) -> list[str]:
    """The metadata keys of these examples, and those that the address names."""
    known = {key for row in rows if row.example for key in row.example["metadata"]}
    asked = {name.removeprefix("metadata:") for name in comparison.question.columns if name.startswith("metadata:")}
    return sorted(asked, key=natural) + sorted(known - asked, key=natural)[:MAX_KEYS]


def _column_choices(comparison: ComparisonPage, rows: list[Row]) -> list[tuple[str, str]]:
    """The columns that can be shown or hidden: their names in the address, and their labels."""
    has = {"reference": any(row.reference for row in rows)}
    for name, total in (("latency", "p50"), ("tokens", "tokens"), ("cost", "cost")):
        has[name] = any(getattr(side.summary, total) for side in comparison.sides)
    fixed = [(name, name) for name in has if has[name] or name in comparison.question.columns]
    scores = [(f"score:{name}", name) for name in comparison.metrics]
    return [*fixed, *scores, *((f"metadata:{key}", key) for key in _metadata_keys(comparison, rows))]


def _scale(sides: list[Side], metric: str) -> tuple[float, float] | None:
    """The range of the little interval bars of a metric; None if they cannot be drawn."""
    means = [side.summary.means[metric] for side in sides if metric in side.summary.means]
    ends = [end for mean in means for end in (mean.low, mean.mean, mean.high) if end is not None] or [0.0]
    if max(map(abs, ends)) > MAX_VALUE:
        return None
    margin = (max(ends) - min(ends)) * 0.06 or 0.5
    return min(ends) - margin, max(ends) + margin
