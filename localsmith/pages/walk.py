"""The list that leads to a page of one example or run: what comes before and after it there, and the way back."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import request

from localsmith.pages.agreement import agreement_of
from localsmith.pages.columns import Kept
from localsmith.pages.common import PAGE_SIZE, around, link, list_query
from localsmith.pages.compare_facets import with_facets
from localsmith.pages.comparison import compare, question_of
from localsmith.pages.examples import listing_of
from localsmith.pages.project import traces_of
from localsmith.pages.selection import chosen


@dataclass(frozen=True)
class Walk:
    """`before` and `after` are the others in the list, the nearest first; `back` is the address of the list."""

    what: str
    number: int | None  # None: this one is not in the list
    total: int
    before: list[str]
    after: list[str]
    name: str
    back: str


def walk_of_example(db: sqlite3.Connection, kept: Kept, dataset_id: str, example_id: str) -> Walk:
    """In the comparison that the address names, with its filters; else in the examples of the dataset."""
    comparison = compare(db, kept, dataset_id, question_of(request.args))
    if not comparison:
        examples = listing_of(db, kept, dataset_id).ids
        back = link("show_dataset", dataset_id=dataset_id) + _query(examples, example_id, tab="examples")
        return _walk("example", examples, example_id, "Examples", f"{back}#e-{example_id}")
    examples = with_facets(db, kept, comparison, chosen(db, kept, comparison))
    name = "Compare" if len(comparison.sides) > 1 else comparison.baseline.experiment.name
    back = link("show_comparison", dataset_id=dataset_id) + list_query(row=example_id)
    return _walk("example", examples, example_id, name, f"{back}#e-{example_id}", comparison.examples)


def walk_of_run(db: sqlite3.Connection, kept: Kept, root: sqlite3.Row, example: sqlite3.Row | None, name: str) -> Walk:
    """Through the examples of a list that this experiment has run; without examples, through the list of its traces."""
    args, session_id = request.args, root["session_id"]
    if args.get("list") == "agreement":
        found = agreement_of(db, session_id)
        apart, both = ([row["run_id"] for row in rows] for rows in (found.apart, found.both))
        back = link("show_agreement", session_id=session_id) + _query(apart, root["id"])
        return _walk("disagreement", apart, root["id"], "Agreement", f"{back}#apart", both)
    if example and ("tab" in args or "selectedSessions" in args or not {"filter", "sort"} & args.keys()):
        walk = walk_of_example(db, kept, example["dataset_id"], example["id"])
        return replace(walk, before=_nearest(db, session_id, walk.before), after=_nearest(db, session_id, walk.after))
    traces = traces_of(session_id).ids(db)
    back = link("show_project", session_id=session_id) + _query(traces, root["id"])
    return _walk("trace", traces, root["id"], name, f"{back}#r-{root['id']}")


def _walk(what: str, ids: list[str], this: str, name: str, back: str, among: Sequence[str] = ()) -> Walk:
    before, after = around(ids, this, among)
    number = ids.index(this) + 1 if this in ids else None
    return Walk(what, number, len(ids), before[::-1], after, name, back)


def _query(ids: list[str], this: str, **changes: str) -> str:
    """The query that leads to the page of the list with this one."""
    page = ids.index(this) // PAGE_SIZE + 1 if this in ids else 1
    return list_query(**changes, page=page if page > 1 else None)


def _nearest(db: sqlite3.Connection, session_id: str, examples: list[str]) -> list[str]:
    """The first run of an experiment on one of these examples, if there is any."""
    row = db.execute(
        "SELECT r.id FROM json_each(?) e CROSS JOIN runs r ON r.reference_example_id = e.value"
        " AND r.session_id = ? AND r.is_root = 1 ORDER BY e.key LIMIT 1",
        (json.dumps(examples), session_id),
    ).fetchone()
    return [row["id"]] if row else []
