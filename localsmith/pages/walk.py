"""The list that leads to a page of one example or run: the next examples in it, and the way back to it."""

import sqlite3
from dataclasses import dataclass

from flask import request

from localsmith.pages.columns import Kept
from localsmith.pages.common import PAGE_SIZE, link, list_query
from localsmith.pages.compare_facets import with_facets
from localsmith.pages.comparison import compare, question_of
from localsmith.pages.examples import listing_of
from localsmith.pages.selection import chosen


@dataclass(frozen=True)
class Walk:
    """`before` and `after` are the examples around this one, the nearest first; `back` is the address of the list."""

    number: int | None  # None: this example is not in the list
    total: int
    before: list[str]
    after: list[str]
    name: str
    back: str


def walk_of(db: sqlite3.Connection, kept: Kept, dataset_id: str, example_id: str) -> Walk:
    """In the comparison that the address names, with its filters; else in the examples of the dataset."""
    comparison = compare(db, kept, dataset_id, question_of(request.args))
    if comparison:
        examples = with_facets(db, kept, comparison, chosen(db, kept, comparison))
        name = "Compare" if len(comparison.sides) > 1 else comparison.baseline.experiment.name
        view, changes = "show_comparison", {"row": example_id}
    else:
        examples = listing_of(db, kept, dataset_id).ids
        name, view, changes = "Examples", "show_dataset", {"tab": "examples"}
    at = examples.index(example_id) if example_id in examples else None
    if not comparison and at is not None and at >= PAGE_SIZE:
        changes["page"] = str(at // PAGE_SIZE + 1)
    back = f"{link(view, dataset_id=dataset_id)}{list_query(**changes)}#e-{example_id}"
    if at is None:
        return Walk(None, len(examples), [], [], name, back)
    return Walk(at + 1, len(examples), examples[:at][::-1], examples[at + 1 :], name, back)
