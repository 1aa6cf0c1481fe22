"""How sure a number is: intervals of means and rates, and paired differences. The unit is always the example."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import mul
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
SAME = 1e-9  # scores closer than this are equal: means of repetitions carry rounding


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval; `low` and `high` are None when one value says nothing about the spread."""

    n: int
    mean: float
    low: float | None
    high: float | None
    method: str  # how the interval was made, for a person to read
    binary: bool = False  # every value is 0 or 1


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of `values` with its 95 % interval: Wilson for zeros and ones, Student's t otherwise."""
    n = len(values)
    if not n:
        return None
    if is_binary(values):
        total = sum(values)
        low, high = wilson(total, n)
        return Mean(n, total / n, low, high, "Wilson", binary=True)
    found = _by_t(values, "Student's t", "one value, so no interval")
    if found.low is not None and found.high is not None and 0 <= min(values) and max(values) <= 1:
        return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    return found


def _by_t(values: Sequence[float], method: str, alone: str) -> Mean:
    """A mean with Student's interval. Scores near the end of what a float holds have no interval, or no mean."""
    n = len(values)
    mean = sum(values) / n
    if not math.isfinite(mean):
        mean = sum(value / n for value in values)
    if n == 1:
        return Mean(1, mean, None, None, alone)
    margin = t_quantile(n - 1) * _standard_error(values, mean)
    if not math.isfinite(mean + margin) or not math.isfinite(mean - margin):
        return Mean(n, mean, None, None, "too large for an interval")
    return Mean(n, mean, mean - margin, mean + margin, method)


def is_binary(values: Iterable[float]) -> bool:
    return not set(values) - {0.0, 1.0}


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate; honest at 0 % and 100 %, where the textbook one has no width."""
    rate = successes / n
    middle = rate + Z * Z / (2 * n)
    margin = Z * math.sqrt(rate * (1 - rate) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - margin) / scale), min(1.0, (middle + margin) / scale)


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, to three digits (Cornish-Fisher; exact values where that is too rough)."""
    if degrees < 3:
        return (12.7062, 4.3027)[degrees - 1]
    d, z = degrees, Z
    return (
        z
        + (z**3 + z) / (4 * d)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * d**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * d**4)
    )


def _standard_error(values: Sequence[float], mean: float) -> float:
    n = len(values)
    deviations = [value - mean for value in values]
    return math.sqrt(sum(map(mul, deviations, deviations)) / (n - 1) / n)


@dataclass(frozen=True)
class Pairing:
    """One experiment against a baseline on one metric, example by example."""

    improved: int
    regressed: int
    unchanged: int
    incomparable: int  # scored on one side only, or on neither
    difference: Mean | None  # of candidate - baseline, over the pairs
    p: float | None  # exact McNemar, where every score is 0 or 1

    @property
    def pairs(self) -> int:
        return self.improved + self.regressed + self.unchanged

    @property
    def verdict(self) -> str:
        """'better', 'worse', or that the data cannot tell."""
        if not self.difference:
            return "not comparable"
        if self.p is not None:
            sure = self.p < 0.05
        else:
            low, high = self.difference.low, self.difference.high
            sure = low is not None and high is not None and (low > 0 or high < 0)
        if not sure:
            return "cannot tell"
        return "better" if self.difference.mean > 0 else "worse"


def pair(baseline: dict[str, float], candidate: dict[str, float], examples: int, binary: bool) -> Pairing:
    """Pair two experiments' scores by example; `examples` is how many there are in all, `binary` whether every
    score is 0 or 1."""
    # With 10,000 examples, six experiments and ten metrics this is most of a page's time: hence map and count.
    after = map(candidate.get, baseline)
    differences = [new - old for old, new in zip(baseline.values(), after, strict=True) if new is not None]
    p, difference = None, None
    if differences and binary:
        improved, regressed = differences.count(1.0), differences.count(-1.0)
        p = mcnemar(improved, regressed)
        difference = _rate_difference(improved, regressed, len(differences))
    else:
        improved = sum(change > SAME for change in differences)
        regressed = sum(change < -SAME for change in differences)
        difference = _mean_difference(differences)
    unchanged = len(differences) - improved - regressed
    incomparable = examples - len(differences)
    return Pairing(improved, regressed, unchanged, incomparable, difference, p)


def _rate_difference(up: int, down: int, n: int) -> Mean:
    """The difference of two paired rates with Agresti and Min's interval, which has a width even when nothing
    flipped, and stays sensible for a handful of pairs."""
    larger = n + 2
    middle = (up - down) / larger
    margin = Z * math.sqrt(up + down + 2 - (up - down) ** 2 / larger) / larger
    low, high = max(middle - margin, -1.0), min(middle + margin, 1.0)
    return Mean(n, (up - down) / n, low, high, "paired, Agresti and Min")


def _mean_difference(differences: list[float]) -> Mean | None:
    if not differences or not all(map(math.isfinite, differences)):
        return None
    return _by_t(differences, "paired, Student's t", "one pair, so no interval")


def mcnemar(up: int, down: int) -> float:
    """The exact two-sided p of so lopsided a split of the examples that flipped."""
    n, k = up + down, min(up, down)
    if not n:
        return 1.0
    log_half = n * math.log(2)
    tail = sum(
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - log_half) for i in range(k + 1)
    )
    return min(1.0, 2 * tail)
