"""Whether a candidate keeps to its limits. Missing scores never help it."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from langsmith_rest.evaluation.comparing.comparison import FAILED, INCONCLUSIVE, PASSED, Candidate, Check, Gate
from langsmith_rest.evaluation.comparing.missing import (
    CRASHED,
    Completed,
    are_shares,
    complete_baseline,
    completed,
    completed_metric,
    listed,
    of_answers,
    unscored_in_baseline,
)
from langsmith_rest.evaluation.comparing.reading import MEASURES, ExperimentScores
from langsmith_rest.paired import LEVEL, POWER, SAME, Metric, Z, average, holm, probability
from langsmith_rest.paired.estimates import LARGEST_SCORE
from langsmith_rest.wording import counted

Clusters = dict[str, str] | None


@dataclass
class Limits:
    """The limits that a candidate must keep. A metric is a feedback key, or latency, tokens, cost or error_rate.

    - `fail_below`, `fail_above`: metric -> number; the candidate's mean must not be lower, or higher.
    - `max_regression`: metric -> loss of the mean against the baseline, 0 or more. The check fails when a larger loss
      is shown, passes when the interval rules one out, and is inconclusive otherwise.
    - `require_pairs`: the share (0 to 1) of examples, and of scores with a `max_regression`, that must form pairs.
    """

    fail_below: dict[str, float] = field(default_factory=dict)
    fail_above: dict[str, float] = field(default_factory=dict)
    max_regression: dict[str, float] = field(default_factory=dict)
    require_pairs: float | None = None

    def __bool__(self) -> bool:
        return bool(self.fail_below or self.fail_above or self.max_regression or self.require_pairs is not None)

    @property
    def on_errors(self) -> bool:
        """Whether failed runs are judged by a limit of their own."""
        return "error_rate" in self.fail_above or "error_rate" in self.max_regression


@dataclass
class Regression:
    """One limit of `max_regression` for one candidate: with the known scores, and with missing ones at their worst."""

    candidate: Candidate
    limit: float
    completed: Completed
    known: Metric
    at_worst: Metric
    unbounded: Counter[str]  # why values are missing that may be worse than any that was seen
    p: float = 1.0  # adjusted for all such limits


def check_limits(limits: Limits, lower: Iterable[str] = ()) -> None:
    """Raise ValueError for limits that make no sense; of the scores in `lower`, less is better."""
    for limited in (limits.fail_below, limits.fail_above, limits.max_regression):
        for name, number in limited.items():
            if not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"The limit of {name!r} is {number!r}, expected a finite number.")
    for name, number in limits.max_regression.items():
        if number < 0:
            raise ValueError(f"max_regression of {name!r} is {number}, expected 0 or more.")
    for limited in (limits.fail_above, limits.max_regression):
        if (number := limited.get("error_rate", 0)) > 1:
            raise ValueError(f"The limit of 'error_rate' is {number:g}, expected a share of 0 to 1: 0.05 for 5 %.")
    for name in limits.fail_above.keys() & limits.max_regression.keys():
        if name not in (*lower, *MEASURES, *limits.fail_below):
            more = f"fail_above means that lower scores of {name!r} are better, max_regression that higher ones are"
            raise ValueError(f"{more}: if lower is better, use --lower-is-better {name}.")
    if limits.require_pairs is not None and not 0 < limits.require_pairs <= 1:
        raise ValueError(f"require_pairs is {limits.require_pairs}, expected a share above 0, at most 1.")


def gate_of(
    baseline: ExperimentScores,
    candidates: Sequence[tuple[Candidate, ExperimentScores]],
    limits: Limits,
    lower: set[str],
    clusters: Clusters,
) -> Gate:
    """Check all candidates against the limits; the verdict is that of the worst check."""
    regressions = [
        regression_of(baseline, candidate, scores, name, limits, lower, clusters)
        for candidate, scores in candidates
        for name in limits.max_regression
    ]
    tested = [found for found in regressions if found.known.p_alone is not None]
    for found, p in zip(tested, holm([found.known.p_alone or 0.0 for found in tested]), strict=True):
        found.p = p
    checks: list[Check] = []
    for candidate, scores in candidates:
        checks += check_means(baseline, candidate, scores, limits)
        for found in (found for found in regressions if found.candidate is candidate):
            checks.append(check_regression(found, len(tested)))
            checks[-1].reason += without_effect(found.known.name, (baseline, scores), found.limit)
        checks += check_pairs(baseline, candidate, scores, limits)
    verdicts = {check.verdict for check in checks}
    return Gate(next(verdict for verdict in (FAILED, INCONCLUSIVE, PASSED) if verdict in verdicts), checks)


def without_effect(name: str, sides: Sequence[ExperimentScores], limit: float) -> str:
    """Words on a limit that was probably meant in percent."""
    if limit <= 1 or not are_shares(name, sides):
        return ""
    return f"; all scores are between 0 and 1, so no mean is beyond {limit:g} ({limit:g} % is {limit / 100:g})"


# ---------------------------------------------------------------- means


def check_means(
    baseline: ExperimentScores, candidate: Candidate, scores: ExperimentScores, limits: Limits
) -> Iterator[Check]:
    """Check the mean of all examples that a metric applies to, paired or not, against a number."""
    for limit, numbers, above in (("fail_below", limits.fail_below, False), ("fail_above", limits.fail_above, True)):
        for name, number in numbers.items():
            beside = set(unscored_in_baseline(name, scores, baseline)[1])
            examples = [i for i in dict.fromkeys([*scores.runs, *baseline.runs]) if i not in beside]
            found = completed(name, scores, examples, baseline, low_is_bad=not above)
            unbounded = found.unbounded(count_failed=not limits.on_errors)
            verdict, reason, *missing = check_mean(name, scores, found, unbounded, number, above)
            reason += without_effect(name, (baseline, scores), number) if above else ""
            yield Check(candidate.name, f"{limit} {name}={number:g}", verdict, reason, *missing)


def check_mean(
    name: str, scores: ExperimentScores, found: Completed, unbounded: Counter[str], number: float, above: bool
) -> tuple[str, str] | tuple[str, str, int]:
    if not scores.means(name) or not found.known:
        return FAILED, no_scores(name, found)
    value = mean_of_examples(found, worst=False)
    misses = value > number + SAME if above else value < number - SAME
    side = ("above" if above else "below") if misses else ("not above" if above else "not below")
    words = f"the mean of {counted(len(found.known), 'example')} is {value:.4g}, {side} {number:g}{found.in_words()}"
    worst = mean_of_examples(found, worst=True)
    if misses:
        return FAILED, words
    if worst > number + SAME if above else worst < number - SAME:
        missing = found.missing.total()
        words += f"; but {counted(missing, 'score')} missing ({found.why_missing()}): with the worst, it is {worst:.4g}"
        return INCONCLUSIVE, words, missing
    if unbounded:
        return INCONCLUSIVE, f"{words}; but {without_worst(name, unbounded)}", unbounded.total()
    return PASSED, words


def mean_of_examples(found: Completed, *, worst: bool) -> float:
    return average(found.means(worst=worst).values())


def without_worst(name: str, unbounded: Counter[str]) -> str:
    count = unbounded.total()
    have = "1 has" if count == 1 else f"{count:,} have"
    advice = "; a limit on error_rate would judge failed runs instead" if CRASHED in unbounded else ""
    return f"{have} no known {name} ({listed(unbounded)}), which may be any number{advice}"


def no_scores(name: str, found: Completed) -> str:
    reasons = [counted(found.failed, "failed run")] if found.failed else []
    reasons += [found.why_missing()] if found.missing else []
    return f"the candidate has no {name}" + (f" ({', '.join(reasons)})" if reasons else "")


# ---------------------------------------------------------------- regressions


def regression_of(
    baseline: ExperimentScores,
    candidate: Candidate,
    scores: ExperimentScores,
    name: str,
    limits: Limits,
    lower: set[str],
    clusters: Clusters,
) -> Regression:
    less = name in lower or name in MEASURES
    before, _ = of_answers(baseline, name)
    found = completed(name, scores, before, baseline, low_is_bad=not less)
    if before:
        complete_baseline(found, name, scores, baseline, low_is_bad=not less)
    known, at_worst = (
        completed_metric(name, baseline, found, clusters, lower=less, worst=worst) for worst in (False, True)
    )
    unbounded = found.unbounded(count_failed=not limits.on_errors)
    return Regression(candidate, limits.max_regression[name], found, known, at_worst, unbounded)


def check_regression(found: Regression, tests: int) -> Check:
    """Fail on a loss that is shown and larger than allowed; pass if the interval rules out a larger loss.

    The tests of all such limits are one family, separate from that of the table: metrics without a limit do not make a
    regression harder to show.
    """
    metric, limit = found.known, found.limit
    check = Check(found.candidate.name, f"max_regression {metric.name}={limit:g}", INCONCLUSIVE, "")
    if not metric.pairs or metric.difference is None:
        check.verdict, check.reason = FAILED, without_pairs(found)
        return check
    loss = metric.difference if metric.lower_is_better else -metric.difference
    change = f"{metric.difference:+.4g} over {pairs_in_words(metric)}{interval_in_words(metric)}"
    change += found.completed.in_words()
    if loss > limit + SAME and found.p < LEVEL:
        check.verdict, check.reason = FAILED, f"{change}: {shown_in_words(found, tests)}"
        return check
    if found.completed.all_failed():
        check.verdict, check.reason = FAILED, no_scores(metric.name, found.completed)
        return check
    gaps = gaps_in_words(found)
    check.missing = (found.unbounded or found.completed.missing).total() if gaps else 0
    if (most := most_lost(metric)) is None:
        check.reason = f"{change}: too few pairs, or too alike, to tell{gaps and f'; {gaps}'}"
    elif most > limit + SAME:
        check.reason = f"{change}: a loss of more than {limit:g} is neither shown nor ruled out{gaps and f'; {gaps}'}"
        check.pairs_needed = pairs_needed(metric, limit)
    elif found.unbounded:
        check.reason = f"{change}; but {gaps}"
    elif gaps:
        check.reason = f"{change}; but {gaps}: with the worst, a loss of more than {limit:g} is not ruled out"
    else:
        check.verdict, check.reason = PASSED, f"{change}: no loss of more than {limit:g}"
    return check


def gaps_in_words(found: Regression) -> str:
    """The missing scores; empty if there are none, or if the limit is kept with the worst in their place."""
    if found.unbounded:
        return without_worst(found.known.name, found.unbounded)
    worst = most_lost(found.at_worst)
    if not found.completed.missing or worst is not None and worst <= found.limit + SAME:
        return ""
    return f"{counted(found.completed.missing.total(), 'score')} missing ({found.completed.why_missing()})"


def without_pairs(found: Regression) -> str:
    if found.known.pairs:
        return f"the largest scores of {found.known.name} are beyond {LARGEST_SCORE:g}, too large to compare"
    if found.known.only_baseline or found.completed.failed or found.completed.missing:
        return no_scores(found.known.name, found.completed)
    return f"the baseline has no {found.known.name}"


def most_lost(metric: Metric) -> float | None:
    """The largest loss within the interval."""
    if metric.low is None or metric.high is None:
        return None
    return metric.high if metric.lower_is_better else -metric.low


def shown_in_words(found: Regression, tests: int) -> str:
    """What was shown; "by more than" the limit only if the whole interval is beyond it."""
    metric = found.known
    least = (metric.low if metric.lower_is_better else metric.high and -metric.high) or 0.0
    p = f"p {probability(metric.p_alone)}"
    if tests > 1:
        p += f", adjusted for {tests} limits {probability(found.p)}"
    if least > found.limit + SAME:
        return f"worse than the baseline by more than {found.limit:g} ({p})"
    return f"worse than the baseline ({p}), and the mean loss is above {found.limit:g}"


def pairs_in_words(metric: Metric) -> str:
    pairs = counted(metric.pairs, "pair")
    return pairs if metric.clusters is None else f"{pairs} in {counted(metric.clusters, 'cluster')}"


def interval_in_words(metric: Metric) -> str:
    return "" if metric.low is None else f" (95 % interval {metric.low:+.4g} to {metric.high:+.4g})"


def pairs_needed(metric: Metric, limit: float) -> int | None:
    """About how many pairs would rule out a larger loss four times out of five, where nothing differs.

    At the present spread: (1.96 + 0.84)^2, or 7.85, times the variance of the differences over the limit squared.
    """
    if limit < SAME or metric.standard_error is None:
        return None
    return math.ceil((Z + POWER) ** 2 * metric.standard_error**2 * (metric.pairs - 1) / limit**2)


# ---------------------------------------------------------------- pairs


def check_pairs(
    baseline: ExperimentScores, candidate: Candidate, scores: ExperimentScores, limits: Limits
) -> Iterable[Check]:
    """Check that enough examples, and scores of limited metrics, form pairs. A run that is pending is no answer yet."""
    if limits.require_pairs is None:
        return
    known = {metric.name: metric for metric in (*candidate.measures, *candidate.metrics)}
    both = baseline.runs.keys() & scores.runs.keys()
    pending = sum(any(all(run.pending for run in side.runs[i]) for side in (baseline, scores)) for i in both)
    unmatched = sum(map(len, candidate.unmatched.values()))
    shares = {"examples": (candidate.pairs - pending, unmatched + pending)}
    for name in limits.max_regression:
        if metric := known.get(name):
            shares[name] = (metric.pairs, metric.only_baseline + metric.only_candidate)
    for name, (pairs, unmatched) in shares.items():
        enough = pairs > 0 and pairs >= limits.require_pairs * (pairs + unmatched) - SAME
        reason = f"{pairs:,} of {pairs + unmatched:,} {'examples' if name == 'examples' else name} form pairs"
        limit = f"require_pairs {limits.require_pairs:g}" + ("" if name == "examples" else f" of {name}")
        yield Check(candidate.name, limit, PASSED if enough else FAILED, reason)
