"""The facets of a comparison: those of its examples, the tags of its runs, and the values of its scores."""

import json
import sqlite3
from functools import partial

from langsmith_rest.paired import SAME
from localsmith.pages.charts import ranges
from localsmith.pages.columns import Kept
from localsmith.pages.comparison import ComparisonPage
from localsmith.pages.facets import MAX_EXAMPLES, MAX_KEYS, Index, index_of_examples, index_of_rows, index_of_tags
from localsmith.pages.render import number

MAX_SCORES = 6  # a score with more values is divided into ranges


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
    found = {**index_of_examples(db, kept, dataset_id), **index_of_tags(db, kept, sessions)}
    scores = {**_index_of_scores(kept, comparison), **_index_of_labels(db, kept, comparison)}
    return found | {f"{name} score" if name in found else name: values for name, values in scores.items()}


def _index_of_scores(kept: Kept, comparison: ComparisonPage) -> Index:
    """The metrics with a few values, except the filtered one, whose values have their own place."""
    sides = comparison.looked_at

    def make(metric: str) -> dict[str, set[str]]:
        found: dict[float, set[str]] = {}
        for side in sides:
            for example, score in side.columns.scores.get(metric, {}).items():
                found.setdefault(score, set()).add(example)
            if len(found) > MAX_SCORES:
                return {}
        return {number(score): found[score] for score in sorted(found)}

    ids = tuple(side.experiment.id for side in sides)
    index = {}
    for metric in [name for name in comparison.metrics if name != comparison.metric][:MAX_KEYS]:
        of = tuple(side.columns.scores.get(metric) for side in sides)
        values = kept.other(("facet of scores", metric, ids), partial(make, metric), of)
        if values:
            index[metric] = values
    return index


def _index_of_labels(db: sqlite3.Connection, kept: Kept, comparison: ComparisonPage) -> Index:
    """The metrics whose values are labels without a number."""
    sides = [side for side in comparison.looked_at if side.columns.labels]
    ids = [side.experiment.id for side in sides]

    def make() -> Index:
        rows = db.execute(
            "SELECT f.key, f.value, r.reference_example_id FROM feedback f JOIN runs r ON r.id = f.run_id"
            " WHERE f.session_id IN (SELECT value FROM json_each(?)) AND f.value IS NOT NULL AND f.score IS NULL"
            " AND f.comparative_experiment_id IS NULL AND f.is_root = 1 AND r.reference_example_id IS NOT NULL",
            (json.dumps(ids),),
        )
        return index_of_rows((key, _text(value), example) for key, value, example in rows)

    labels = tuple(side.columns.labels for side in sides)
    found: Index = kept.other(("facet of labels", *ids), make, labels) if ids else {}
    return {name: values for name, values in found.items() if name in comparison.metrics}


def _text(stored: str) -> str:
    value = json.loads(stored)
    return value if isinstance(value, str) else stored


def scores_of(comparison: ComparisonPage, examples: list[str]) -> list[tuple[float, float, int, bool]]:
    """The filtered score by its values, or by ranges if it has many: the lowest and the highest value, how many of
    these examples have such a score, and whether it is chosen."""
    question = comparison.question
    scores = [side.columns.scores.get(comparison.metric, {}) for side in comparison.looked_at]
    divided = _ranges(scores)
    having: list[set[str]] = [set() for _ in divided]
    places: dict[float, list[set[str]]] = {}  # score -> the sets that it belongs to
    for known in scores:
        for example, score in known.items():
            if score not in places:
                places[score] = [
                    of for of, (low, high) in zip(having, divided, strict=True) if low - SAME <= score <= high + SAME
                ]
            for of in places[score]:
                of.add(example)
    listed = set(examples)
    counted = [
        (low, high, len(of & listed), (question.low, question.high) == (low, high))
        for of, (low, high) in zip(having, divided, strict=True)
    ]
    return [item for item in counted if item[2] or item[3]]


def _ranges(scores: list[dict[str, float]]) -> list[tuple[float, float]]:
    """A range for each value; a few round ones, which touch each other, if there are many values."""
    values = set[float]().union(*(known.values() for known in scores))
    if len(values) <= MAX_SCORES:
        return [(value, value) for value in sorted(values)]
    return ranges(values)


def failed_of(comparison: ComparisonPage, examples: list[str]) -> int:
    """How many of these examples failed."""
    failed = set[str]().union(*(side.failed for side in comparison.looked_at))
    return sum(example in failed for example in examples) if failed else 0
