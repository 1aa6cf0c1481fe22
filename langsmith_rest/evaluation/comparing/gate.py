"""Whether a candidate keeps to its limits."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from langsmith_rest.evaluation.comparing.comparison import FAILED, INCONCLUSIVE, PASSED, Candidate, Check, Gate
from langsmith_rest.paired import SAME, TOO_FEW, WORSE, Metric
from langsmith_rest.wording import counted


@dataclass
class Limits:
    """What a candidate must keep to. Metrics are feedback keys, or latency, tokens, cost, error_rate."""

    fail_below: dict[str, float] = field(default_factory=dict)
    fail_above: dict[str, float] = field(default_factory=dict)
    max_regression: dict[str, float] = field(default_factory=dict)
    require_pairs: float | None = None

    def __bool__(self) -> bool:
        return bool(self.fail_below or self.fail_above or self.max_regression or self.require_pairs is not None)


def gate_of(candidates: Iterable[Candidate], limits: Limits) -> Gate:
    """Hold all candidates to the limits; the verdict is that of the worst check."""
    checks = [check for candidate in candidates for check in checks_of(candidate, limits)]
    verdicts = {check.verdict for check in checks}
    return Gate(next(verdict for verdict in (FAILED, INCONCLUSIVE, PASSED) if verdict in verdicts), checks)


def check_limits(limits: Limits) -> None:
    for name, number in limits.max_regression.items():
        if number < 0:
            raise ValueError(f"max_regression of {name!r} is {number}, expected 0 or more.")
    if limits.require_pairs is not None and not 0 < limits.require_pairs <= 1:
        raise ValueError(f"require_pairs is {limits.require_pairs}, expected a share above 0, at most 1.")


def checks_of(candidate: Candidate, limits: Limits) -> Iterable[Check]:
    """Hold every limit against a candidate."""
    known = {metric.name: metric for metric in (*candidate.measures, *candidate.metrics)}
    for name, number in limits.fail_below.items():
        yield Check(candidate.name, f"fail_below {name}={number:g}", *check_mean(known.get(name), number, above=False))
    for name, number in limits.fail_above.items():
        yield Check(candidate.name, f"fail_above {name}={number:g}", *check_mean(known.get(name), number, above=True))
    for name, number in limits.max_regression.items():
        yield Check(candidate.name, f"max_regression {name}={number:g}", *check_regression(known.get(name), number))
    if limits.require_pairs is not None:
        shares = {"examples": (candidate.pairs, sum(map(len, candidate.unmatched.values())))}
        for name in limits.max_regression:
            if metric := known.get(name):
                shares[name] = (metric.pairs, metric.only_baseline + metric.only_candidate)
        for name, (pairs, unmatched) in shares.items():
            enough = pairs > 0 and pairs >= limits.require_pairs * (pairs + unmatched) - SAME
            reason = f"{pairs:,} of {pairs + unmatched:,} {'examples' if name == 'examples' else name} form pairs"
            yield Check(candidate.name, f"require_pairs {limits.require_pairs:g}", PASSED if enough else FAILED, reason)


def check_mean(metric: Metric | None, number: float, *, above: bool) -> tuple[str, str]:
    """Hold the mean of all scored examples, paired or not, against a number."""
    if metric is None or metric.candidate_overall is None:
        return FAILED, "the candidate has no such score"
    value, scored = metric.candidate_overall, metric.pairs + metric.only_candidate
    misses = value > number + SAME if above else value < number - SAME
    side = ("above" if above else "below") if misses else ("not above" if above else "not below")
    return FAILED if misses else PASSED, f"the mean of {counted(scored, 'example')} is {value:.4g}, {side} {number:g}"


def check_regression(metric: Metric | None, number: float) -> tuple[str, str]:
    """Fail on a loss that is proven and larger than allowed; pass when the interval holds no larger loss."""
    if metric is None or metric.difference is None:
        return INCONCLUSIVE, "no example has this score on both sides"
    loss = metric.difference if metric.lower_is_better else -metric.difference
    worst = metric.high if metric.lower_is_better else None if metric.low is None else -metric.low
    change = f"{metric.difference:+.4g} over {counted(metric.pairs, 'pair')}"
    if metric.verdict == TOO_FEW or worst is None or metric.low is None or metric.high is None:
        return INCONCLUSIVE, f"{change}, too few to tell"
    change += f" (95 % interval {metric.low:+.4g} to {metric.high:+.4g})"
    if loss > number + SAME and metric.verdict == WORSE:
        return FAILED, f"{change}, shown to be worse, by more than {number:g}"
    if worst <= number + SAME:
        return PASSED, f"{change}, so no loss of more than {number:g}"
    return INCONCLUSIVE, f"{change}, so a loss of more than {number:g} is neither shown nor ruled out"
