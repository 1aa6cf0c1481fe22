"""How a limit treats scores that a candidate lacks: a failed run counts as the worst, others may be anything."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from langsmith_rest.evaluation.comparing.reading import MEASURES, UNBOUNDED, ExperimentScores, RunNumbers
from langsmith_rest.paired import Metric, average, metric_of
from langsmith_rest.wording import counted

NOT_RUN, PENDING, BROKEN, NOT_SCORED = "not run", "still running", "evaluator failed", "not scored"
TEXT, NOT_MEASURED = "scored with a text", "not measured"
ALWAYS = ("latency", "error_rate")  # which every answer has, measured or not
UNKNOWN = (NOT_SCORED, NOT_MEASURED)  # for no reason that shows
BASELINE, CRASHED = "not scored in the baseline", "failed"


@dataclass
class Completed:
    """One metric of a candidate, with a value for each example that the limit covers."""

    worst: float
    has_worst: bool  # otherwise, what is missing may be worse than all that was seen
    failed: int = 0  # runs that failed, and count as the worst
    missing: Counter[str] = field(default_factory=Counter)  # why other scores are missing
    guessed: Counter[str] = field(default_factory=Counter)  # why values count as the worst
    known: dict[str, list[float]] = field(default_factory=dict)  # example -> scores, failed runs included
    at_worst: dict[str, list[float]] = field(default_factory=dict)  # the same with missing scores at their worst
    of_baseline: dict[str, float] = field(default_factory=dict)  # example -> the best, where the baseline has no score

    def means(self, *, worst: bool) -> dict[str, float]:
        return {i: average(values) for i, values in (self.at_worst if worst else self.known).items()}

    def all_failed(self) -> bool:
        """Whether no run has a score, so that every known one is the worst in place of a failed run's."""
        return self.failed == sum(map(len, self.known.values()))

    def unbounded(self, *, count_failed: bool) -> Counter[str]:
        """Why values are missing that may be worse than any that was seen."""
        reasons = Counter[str]() if self.has_worst else +self.guessed
        if not count_failed:
            del reasons[CRASHED]
        return reasons

    def in_words(self) -> str:
        """The failed runs, to append to a number."""
        return f", {counted(self.failed, 'failed run')} counted as {self.worst:g}" if self.failed else ""

    def why_missing(self) -> str:
        return listed(self.missing)


def listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())


def completed(
    metric: str, candidate: ExperimentScores, examples: Iterable[str], baseline: ExperimentScores, *, low_is_bad: bool
) -> Completed:
    """The scores of a candidate on these examples, with the worst score where a run failed."""
    worst = worst_score(metric, (baseline, candidate), low_is_bad=low_is_bad)
    found = Completed(worst, has_worst=worst == 0 if low_is_bad else are_shares(metric, (baseline, candidate)))
    for example in examples:
        runs = candidate.runs.get(example, [])
        missing = [NOT_RUN] * (candidate.repetitions - len(runs)) if runs else [NOT_RUN]
        values: list[float] = []
        for run in runs:
            value = fair_value(run, metric)
            if run.failed and value is None:
                found.failed += 1
                found.guessed[CRASHED] += 1
                values.append(found.worst)
            elif value is None:
                missing.append(why_missing(run, metric))
            else:
                values.append(value)
        if values:
            found.known[example] = values
        if missing and not is_beside_the_point(metric, example, missing, baseline):
            found.missing.update(missing)
            found.guessed.update(missing)
            values = values + [found.worst] * len(missing)
        if values:
            found.at_worst[example] = values
    return found


def complete_baseline(
    found: Completed, metric: str, candidate: ExperimentScores, baseline: ExperimentScores, *, low_is_bad: bool
) -> None:
    """Let an example that the baseline answered, but without a score, count as a loss at the worst."""
    best = worst_score(metric, (baseline, candidate), low_is_bad=not low_is_bad)
    for example in unscored_in_baseline(metric, candidate, baseline)[0]:
        values = [fair_value(run, metric) for run in candidate.runs.get(example, [])] or [None]
        found.missing[BASELINE] += 1
        found.guessed[BASELINE] += values.count(None)
        found.of_baseline[example] = best
        found.at_worst[example] = [found.worst if value is None else value for value in values]


def unscored_in_baseline(
    metric: str, candidate: ExperimentScores, baseline: ExperimentScores
) -> tuple[list[str], list[str]]:
    """The examples that the baseline answered without a score: possible losses, and crashes that are not losses.

    An example that evaluators that work scored on neither side is in neither: the metric does not apply to it. Where
    the candidate crashed, nobody knows; but if none of these examples has a score, and more of them were answered
    without getting one than crashed, the metric does not apply to the rest either.
    """
    losses: list[str] = []
    crashed: list[str] = []
    answered = 0
    for example, theirs in baseline.runs.items():
        if all(run.failed for run in theirs) or any(fair_value(run, metric) is not None for run in theirs):
            continue
        ours = candidate.runs.get(example, [])
        sound = [run for run in (*theirs, *ours) if not run.failed]
        known = any(run.value(metric) is not None or why_missing(run, metric) not in UNKNOWN for run in sound)
        if known or metric in ALWAYS:
            losses.append(example)
        elif any(run.failed for run in ours):
            crashed.append(example)
        else:
            answered += bool(ours)
    if losses or len(crashed) >= answered:
        return losses + crashed, []
    return losses, crashed


def fair_value(run: RunNumbers, metric: str) -> float | None:
    """What a run counts for a limit: failing early is neither fast nor cheap, and an empty answer not good.

    A score is none if its evaluator also failed on the run: it may be an old one, or a part of what was to be scored.
    """
    if metric in MEASURES:  # whatever an evaluator of that name did
        return None if run.failed and metric != "error_rate" else run.value(metric)
    return None if run.failed or metric in run.broken else run.value(metric)


def of_answers(baseline: ExperimentScores, metric: str) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The means by example, and the single scores of repetitions, without scores that do not count."""
    if not (baseline.failed or metric in baseline.broken):
        return baseline.means(metric), baseline.single.get(metric, {})
    scores = {example: [fair_value(run, metric) for run in runs] for example, runs in baseline.runs.items()}
    known = {example: [score for score in of if score is not None] for example, of in scores.items()}
    return {i: average(of) for i, of in known.items() if of}, {i: of for i, of in known.items() if len(of) > 1}


def why_missing(run: RunNumbers, metric: str) -> str:
    if metric not in MEASURES and metric in run.broken:
        return BROKEN
    if metric not in MEASURES and metric in run.texts:
        return TEXT
    if run.pending:
        return PENDING
    return NOT_MEASURED if metric in MEASURES else NOT_SCORED


def is_beside_the_point(metric: str, example: str, missing: list[str], baseline: ExperimentScores) -> bool:
    """Whether the metric does not apply to an example: an evaluator that works scored neither side."""
    theirs = baseline.runs.get(example, [])
    working = [run for run in theirs if not run.failed and why_missing(run, metric) in UNKNOWN]
    return bool(
        metric not in ALWAYS
        and {*UNKNOWN, NOT_RUN}.issuperset(missing)
        and working
        and all(run.value(metric) is None for run in theirs)
        and baseline.means(metric)
    )


def all_values(metric: str, sides: Iterable[ExperimentScores]) -> list[float]:
    return [value for side in sides for run in side.all_runs() if (value := run.value(metric)) is not None]


def are_shares(metric: str, sides: Iterable[ExperimentScores]) -> bool:
    """Whether all scores lie between 0 and 1."""
    return metric not in UNBOUNDED and all(0 <= value <= 1 for value in all_values(metric, sides))


def worst_score(metric: str, sides: Sequence[ExperimentScores], *, low_is_bad: bool) -> float:
    """0 or 1 for scores within these bounds, else the worst that either side has, and not above 0 if low is bad."""
    if are_shares(metric, sides):
        return 0.0 if low_is_bad else 1.0
    seen = all_values(metric, sides)
    return min([0.0, *seen]) if low_is_bad else max(seen, default=0.0)


def completed_metric(
    metric: str,
    baseline: ExperimentScores,
    found: Completed,
    clusters: dict[str, str] | None,
    *,
    lower: bool,
    worst: bool = False,
) -> Metric:
    """The metric as in the table, but with the scores of failed runs, and of missing ones if `worst`."""
    several = {i: values for i, values in (found.at_worst if worst else found.known).items() if len(values) > 1}
    before, several_before = of_answers(baseline, metric)
    return metric_of(
        metric,
        {**before, **(found.of_baseline if worst else {})},
        found.means(worst=worst),
        lower=lower,
        single=(several_before, several),
        clusters=clusters,
        bounded=metric not in UNBOUNDED,
    )
