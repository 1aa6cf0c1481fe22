"""Which examples of a comparison are shown, and in which order; decided without reading bodies."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from langsmith_rest.paired import SAME
from localsmith.lists import like
from localsmith.pages.columns import Kept
from localsmith.pages.common import sorted_by
from localsmith.pages.comparison import ComparisonPage, Side, change
from localsmith.pages.examples import json_text


def chosen(db: sqlite3.Connection, kept: Kept, comparison: ComparisonPage) -> list[str]:
    """The examples that the filters leave, in order."""
    question, examples = comparison.question, comparison.examples
    for keep in _conditions(db, kept, comparison):
        examples = [example for example in examples if keep(example)]
    if not question.sort or not 0 < question.by <= len(comparison.sides):
        return list(reversed(examples)) if comparison.descending and not question.sort else examples
    value = _sort_value(comparison, comparison.sides[question.by - 1])
    return sorted_by(examples, value, comparison.descending)


def _conditions(db: sqlite3.Connection, kept: Kept, comparison: ComparisonPage) -> list[Callable[[str], bool]]:
    question, sides = comparison.question, comparison.sides
    conditions: list[Callable[[str], bool]] = []
    if question.show in ("regressed", "improved", "unchanged", "incomparable"):
        conditions.append(_changed(comparison, question.show))
    elif question.show == "errors":
        conditions.append(set[str]().union(*(side.failed for side in comparison.looked_at)).__contains__)
    elif question.show == "differs":
        conditions.append(_differing(db, kept, sides).__contains__)
    elif question.show == "by_hand":
        conditions.append(_scored_by_hand(db, comparison.looked_at).__contains__)
    if question.low is not None or question.high is not None:
        conditions.append(_in_range(comparison))
    if question.text:
        conditions.append(_mentioning(db, kept, sides, question.text).__contains__)
    return conditions


def _scores(comparison: ComparisonPage, side: Side) -> Mapping[str, float]:
    return side.columns.scores.get(comparison.metric, {})


def _changed(comparison: ComparisonPage, kind: str) -> Callable[[str], bool]:
    before = _scores(comparison, comparison.baseline)
    others = [_scores(comparison, side) for side in comparison.looked_at if not side.is_baseline]
    lower = comparison.metric in comparison.question.lower
    return lambda example: any(change(before.get(example), after.get(example), lower=lower) == kind for after in others)


def is_bad(comparison: ComparisonPage) -> Callable[[str], bool]:
    """Whether an example deserves a look: it failed, or its score regressed; with one experiment, its score is 0, or
    1 where less is better."""
    failed = set[str]().union(*(side.failed for side in comparison.looked_at))
    if len(comparison.sides) == 1:
        scores = _scores(comparison, comparison.baseline)
        worst = 1 if comparison.metric in comparison.question.lower else 0
        return lambda example: example in failed or scores.get(example) == worst
    regressed = _changed(comparison, "regressed")
    return lambda example: example in failed or regressed(example)


def _in_range(comparison: ComparisonPage) -> Callable[[str], bool]:
    question = comparison.question
    scores = [_scores(comparison, side) for side in comparison.looked_at]
    low = -float("inf") if question.low is None else question.low - SAME
    high = float("inf") if question.high is None else question.high + SAME
    return lambda example: any(example in known and low <= known[example] <= high for known in scores)


def _differing(db: sqlite3.Connection, kept: Kept, sides: list[Side]) -> set[str]:
    def make() -> set[str]:
        marks = ",".join("?" * len(sides))
        rows = db.execute(
            "SELECT r.reference_example_id FROM runs r JOIN run_bodies b ON b.seq = r.seq"
            f" WHERE r.session_id IN ({marks}) AND r.is_root = 1 AND r.reference_example_id IS NOT NULL"
            " GROUP BY 1 HAVING count(DISTINCT coalesce(b.outputs, '') || coalesce(b.error, '')) > 1",
            [side.experiment.id for side in sides],
        )
        return {row[0] for row in rows}

    found: set[str] = kept.other(("differing", *(side.experiment.id for side in sides)), make)
    return found


def _scored_by_hand(db: sqlite3.Connection, sides: list[Side]) -> set[str]:
    rows = db.execute(
        "SELECT DISTINCT r.reference_example_id FROM feedback f JOIN runs r ON r.id = f.run_id AND r.is_root = 1"
        " WHERE f.session_id IN (SELECT value FROM json_each(?)) AND f.source_type = 'app'"
        " AND f.comparative_experiment_id IS NULL",
        (json.dumps([side.experiment.id for side in sides]),),
    )
    return {row[0] for row in rows}


def _mentioning(db: sqlite3.Connection, kept: Kept, sides: list[Side], text: str) -> set[str]:
    def make() -> set[str]:
        marks = ",".join("?" * len(sides))
        sessions = [side.experiment.id for side in sides]
        pattern = like(json_text(text))
        found = db.execute(
            "SELECT r.reference_example_id FROM runs r JOIN run_bodies b ON b.seq = r.seq"
            f" WHERE r.session_id IN ({marks}) AND r.is_root = 1 AND r.reference_example_id IS NOT NULL"
            " AND (b.inputs LIKE ? ESCAPE '\\' OR b.outputs LIKE ? ESCAPE '\\' OR b.error LIKE ? ESCAPE '\\')",
            (*sessions, pattern, pattern, like(text)),
        ).fetchall()
        found += db.execute(
            "SELECT id FROM examples WHERE dataset_id = ? AND ended_at IS NULL"
            " AND (inputs LIKE ? ESCAPE '\\' OR outputs LIKE ? ESCAPE '\\')",
            (sides[0].experiment.dataset_id, pattern, pattern),
        ).fetchall()
        return {row[0] for row in found}

    found: set[str] = kept.other(("mentioning", text, *(side.experiment.id for side in sides)), make)
    return found


# Order


def _sort_value(comparison: ComparisonPage, side: Side) -> Callable[[str], Any]:
    columns, scores = side.columns, _scores(comparison, side)
    before = _scores(comparison, comparison.baseline)

    def difference(example: str) -> float | None:
        return scores[example] - before[example] if example in scores and example in before else None

    values: dict[str, Callable[[str], Any]] = {
        "score": scores.get,
        "change": difference,
        "latency": columns.latency_of,
        "tokens": columns.tokens_of,
        "cost": columns.cost_of,
    }
    return values[comparison.question.sort]
