"""What a comparison was asked for, its experiments, and the totals above its rows; made without reading bodies."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from werkzeug.datastructures import MultiDict

from langsmith_rest.evaluation.aligning.sampling import Drawn
from langsmith_rest.paired import (
    SAME,
    Corrected,
    Metric,
    corrected_by,
    give_verdicts,
    metric_of,
    paired_differences,
)
from localsmith.pages.columns import ERROR, Columns, Kept, Summary
from localsmith.pages.dataset import Experiment, experiment_of, metric_names
from localsmith.pages.facets import parse_facets
from localsmith.pages.labels import drawn_of

MAX_EXPERIMENTS, MAX_ASKED = 6, 50
SHOW = {
    "": "all examples",
    "regressed": "regressed",
    "improved": "improved",
    "unchanged": "unchanged",
    "incomparable": "not comparable",
    "errors": "with an error",
    "differs": "outputs differ",
    "by_hand": "scored by hand",
}
DIFFS = {"": "none", "reference": "to the reference", "baseline": "to the baseline"}


@dataclass(frozen=True)
class Question:
    """What the address asks for; values that make no sense are ignored."""

    session_ids: list[str]
    baseline: str
    show: str
    metric: str
    text: str
    low: float | None
    high: float | None
    of: int  # the experiment that show, low and high look at, from 1; 0: any
    sort: str
    by: int  # the experiment sorted by, from 1
    direction: str  # asc or desc; "": the worst first, see `ComparisonPage.descending`
    diff: str
    lower: list[str]  # the metrics of which less is better
    facets: list[tuple[str, str]]
    compact: bool  # one line a row
    columns: list[str]  # see `ComparisonPage.shows`; none: the usual ones
    metrics: list[str]  # only these are compared; none: all
    human: dict[str, str]  # metric -> key of people's labels by which it is corrected
    cluster: str  # a key of example metadata: examples with the same value are one unit of the statistics


SORTS = ("score", "change", "latency", "tokens", "cost")
MEASURED = ("latency", "tokens", "cost")


def question_of(args: MultiDict[str, str]) -> Question:
    ids = ",".join(args.getlist("selectedSessions")).lower().split(",")
    sort, _, by = args.get("sort", "").partition(":")
    known = sort in SORTS and by.isascii() and by.isdigit()
    return Question(
        list(dict.fromkeys(item.strip() for item in ids if item.strip()))[:MAX_ASKED],
        args.get("baseline", "").lower(),
        args.get("show", "") if args.get("show", "") in SHOW else "",
        args.get("metric", ""),
        args.get("q", "").strip()[:1000],
        _number(args.get("min")),
        _number(args.get("max")),
        int(_number(args.get("of")) or 0),
        sort if known else "",
        int(by[:3]) if known else 0,
        args.get("dir", "") if args.get("dir", "") in ("asc", "desc") else "",
        args.get("diff", "") if args.get("diff", "") in DIFFS else "",
        list(dict.fromkeys(args.getlist("lowerIsBetter"))),
        parse_facets(args.getlist("facet")),
        args.get("view") == "compact",
        args.getlist("cols"),
        list(dict.fromkeys(args.getlist("metrics"))),
        dict(item.rpartition("=")[::2] for item in args.getlist("human")),
        args.get("cluster", ""),
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < 1e12 else None


@dataclass
class Side:
    """One experiment of a comparison."""

    experiment: Experiment
    columns: Columns
    summary: Summary
    is_baseline: bool = False
    against: dict[str, Metric] = field(default_factory=dict)  # each of its metrics beside the baseline's
    corrected: dict[str, Corrected] = field(default_factory=dict)  # its means as a person would have them
    corrected_difference: dict[str, Corrected] = field(default_factory=dict)

    @cached_property
    def failed(self) -> set[str]:
        """The examples on which this experiment failed."""
        return failed_examples(self.columns)


def failed_examples(columns: Columns) -> set[str]:
    return {
        example
        for example, status in zip(columns.examples, columns.statuses, strict=True)
        if status == ERROR and example is not None
    }


@dataclass
class ComparisonPage:
    question: Question
    sides: list[Side]  # in the order of the address, which `of` and `by` count in
    baseline: Side
    metrics: list[str]
    metric: str  # the one that filters and sorting mean
    tests: int  # against the baseline, of all metrics of all others
    examples: list[str]  # every example with a run in some experiment, in the dataset's order
    not_run: int  # examples of the dataset without a run in any
    drawn: dict[str, Drawn]  # metric that is corrected -> how the labels of it came about
    left_out: list[str]  # asked for, but of another dataset, unknown, or beyond the limit

    @property
    def shown(self) -> list[Side]:
        """The sides in the order of the columns: the baseline first."""
        return sorted(self.sides, key=lambda side: not side.is_baseline)

    def shows(self, column: str) -> bool:
        """Whether the rows show a column: reference, latency, tokens, cost, `score:NAME` or `metadata:NAME`."""
        if self.question.columns:
            return column in self.question.columns
        return not column.startswith("metadata:") and not (self.question.compact and column in MEASURED)

    @property
    def columns(self) -> list[str]:
        """The metrics that the rows show, the filtered one first."""
        shown = [name for name in self.metrics if self.shows(f"score:{name}")]
        return sorted(shown, key=lambda name: name != self.metric)

    @property
    def descending(self) -> bool:
        """Whether rows are sorted from large to small. Unless the address says so, the worst come first."""
        if self.question.direction:
            return self.question.direction == "desc"
        return self.question.sort in MEASURED or bool(self.question.sort) and self.metric in self.question.lower

    @property
    def looked_at(self) -> list[Side]:
        """The sides that a filter looks at: the one that the address names, or all."""
        of = self.question.of
        return [self.sides[of - 1]] if 0 < of <= len(self.sides) else self.sides


def compare(db: sqlite3.Connection, kept: Kept, dataset_id: str, question: Question) -> ComparisonPage | None:
    """Load what a comparison needs; None if the address names no experiment of this dataset."""
    sides: list[Side] = []
    left_out: list[str] = []
    for session_id in question.session_ids:
        row = db.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
        if row is None or row["reference_dataset_id"] != dataset_id:
            left_out.append(f"{session_id[:60]} is not an experiment of this dataset")
        elif len(sides) == MAX_EXPERIMENTS:
            left_out.append(f"{row['name']}: at most {MAX_EXPERIMENTS} experiments can be compared at once")
        else:
            experiment = experiment_of(row)
            sides.append(Side(experiment, kept.columns(db, session_id), kept.summary(db, session_id)))
    if not sides:
        return None
    oldest = min(sides, key=lambda side: side.experiment.number or 0)
    baseline = next((side for side in sides if side.experiment.id == question.baseline), oldest)
    baseline.is_baseline = True
    examples, not_run = _examples(db, kept, dataset_id, sides)
    clusters = _clusters(db, kept, dataset_id, question.cluster) if question.cluster else {}
    for side in sides:
        if side is not baseline:
            side.against = _against(kept, baseline, side, question, clusters)
    for side in sides:
        _correct(side, baseline, question.human)
    tested = [metric for side in sides for metric in side.against.values()]
    give_verdicts(tested)
    tests = sum(metric.p is not None for metric in tested)
    metrics = metric_names(side.summary for side in sides)
    if question.metrics:
        metrics = [metric for metric in metrics if metric in question.metrics]
    metric = question.metric if question.metric in metrics else _usual_metric(metrics, sides)
    labels = {metric: drawn_of(db, question.session_ids, key) for metric, key in question.human.items()}
    return ComparisonPage(question, sides, baseline, metrics, metric, tests, examples, not_run, labels, left_out)


def _usual_metric(metrics: list[str], sides: list[Side]) -> str:
    """The metric with the most scores, since a first score by hand must not change what the page shows; of several,
    the one that differs most clearly from the baseline's."""

    def rank(name: str) -> tuple[int, float]:
        beside = [side.against[name].p_alone for side in sides if name in side.against]
        return sum(len(s.columns.scores.get(name, ())) for s in sides), -min(
            (p for p in beside if p is not None), default=1
        )

    scored = [metric for metric in metrics if any(metric in side.columns.scores for side in sides)]
    return max(scored or metrics or [""], key=rank)


def _examples(db: sqlite3.Connection, kept: Kept, dataset_id: str, sides: list[Side]) -> tuple[list[str], int]:
    # Moves with every change of its examples.
    modified = db.execute("SELECT modified_at FROM datasets WHERE id = ?", (dataset_id,)).fetchone()[0]

    def make() -> tuple[list[str], int]:
        positions: list[str] = kept.other(("positions", dataset_id), lambda: _positions(db, dataset_id), (modified,))
        run: set[str] = set().union(*(side.columns.at for side in sides))
        known = list(filter(run.__contains__, positions))
        return known + sorted(run.difference(known)), len(positions) - len(known)

    of = (modified, *(side.columns.at for side in sides))
    found: tuple[list[str], int] = kept.other(("examples", *(side.experiment.id for side in sides)), make, of)
    return found


def _positions(db: sqlite3.Connection, dataset_id: str) -> list[str]:
    rows = db.execute(
        "SELECT id FROM examples WHERE dataset_id = ? AND ended_at IS NULL ORDER BY position, id", (dataset_id,)
    )
    return [row[0] for row in rows]


def _against(kept: Kept, baseline: Side, side: Side, question: Question, clusters: dict[str, str]) -> dict[str, Metric]:
    before, after = baseline.columns, side.columns
    names = [name for name in sorted({*before.scores, *after.scores}) if name in (question.metrics or (name,))]

    def make(name: str) -> Metric:
        return metric_of(
            name,
            before.scores.get(name, {}),
            after.scores.get(name, {}),
            lower=name in question.lower,
            single=(before.single.get(name, {}), after.single.get(name, {})),
            clusters=clusters,
        )

    def kept_metric(name: str) -> Metric:
        key = ("against", baseline.experiment.id, side.experiment.id, name, name in question.lower, question.cluster)
        of = (before.scores.get(name), after.scores.get(name), before.single.get(name), after.single.get(name))
        found: Metric = kept.other(key, lambda: make(name), None if clusters else of)
        return replace(found)  # the verdict depends on what else is compared

    return {name: kept_metric(name) for name in names}


def _correct(side: Side, baseline: Side, human: Mapping[str, str]) -> None:
    """Add what a person would make of a judge's numbers, if there are enough labels."""
    for metric, key in human.items():
        scores, labels = side.columns.scores.get(metric, {}), side.columns.scores.get(key, {})
        if found := corrected_by(scores, labels):
            side.corrected[metric] = found
        if side is not baseline:
            theirs = baseline.columns.scores
            differences = paired_differences(theirs.get(metric, {}), scores)
            if difference := corrected_by(differences, paired_differences(theirs.get(key, {}), labels)):
                side.corrected_difference[metric] = difference


def _clusters(db: sqlite3.Connection, kept: Kept, dataset_id: str, key: str) -> dict[str, str]:
    def make() -> dict[str, str]:
        rows = db.execute("SELECT id, metadata FROM examples WHERE dataset_id = ? AND ended_at IS NULL", (dataset_id,))
        metadata = {example: json.loads(text) if text else {} for example, text in rows}
        return {i: json.dumps(of[key], sort_keys=True) for i, of in metadata.items() if of.get(key) is not None}

    found: dict[str, str] = kept.other(("clusters", dataset_id, key), make)
    return found


# Filters


def change(before: float | None, after: float | None, *, lower: bool = False) -> str:
    """What happened to a score: improved, regressed, unchanged, or incomparable."""
    if before is None or after is None:
        return "incomparable"
    if abs(after - before) < SAME:
        return "unchanged"
    return "improved" if (after > before) != lower else "regressed"
