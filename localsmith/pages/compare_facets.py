"""The facets of a comparison: those of its examples, the tags of its runs, and the values of the filtered score."""

import sqlite3

from localsmith.pages.columns import Kept
from localsmith.pages.comparison import ComparisonPage
from localsmith.pages.facets import MAX_EXAMPLES, Index, index_of_examples, index_of_tags

MAX_SCORES = 6  # a score with more values is filtered by a range


def with_facets(db: sqlite3.Connection, kept: Kept, comparison: ComparisonPage, examples: list[str]) -> list[str]:
    """Those of these examples that have every facet in the address."""
    if not comparison.question.facets:
        return examples
    index = index_of(db, kept, comparison)
    wanted = [index.get(name, {}).get(value, set()) for name, value in comparison.question.facets]
    return [example for example in examples if all(example in having for having in wanted)]


def index_of(db: sqlite3.Connection, kept: Kept, comparison: ComparisonPage) -> Index:
    dataset_id = comparison.baseline.experiment.dataset_id or ""
    if len(comparison.examples) > MAX_EXAMPLES:
        return {}
    sessions = [side.experiment.id for side in comparison.sides]
    return {**index_of_examples(db, kept, dataset_id), **index_of_tags(db, kept, sessions)}


def scores_of(comparison: ComparisonPage, examples: list[str]) -> list[tuple[float, int, bool]]:
    """The values of the filtered score: the value, how many of these examples have it, and whether it is chosen."""
    question = comparison.question
    scores = [side.columns.scores.get(comparison.metric, {}) for side in comparison.looked_at]
    values = set[float]()
    for known in scores:
        values.update(known.values())
        if len(values) > MAX_SCORES:
            return []
    counted = [
        (value, sum(any(known.get(e) == value for known in scores) for e in examples)) for value in sorted(values)
    ]
    return [
        (value, count, question.low == question.high == value)
        for value, count in counted
        if count or question.low == question.high == value
    ]


def failed_of(comparison: ComparisonPage, examples: list[str]) -> int:
    """How many of these examples failed."""
    failed = set[str]().union(*(side.failed for side in comparison.looked_at))
    return sum(example in failed for example in examples) if failed else 0
