"""How sure a number is: intervals of means, of rates, and of their differences. The unit is always the example."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import mul
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)


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
    found = by_t(values, "Student's t", "one value, so no interval")
    if found.low is not None and found.high is not None and 0 <= min(values) and max(values) <= 1:
        return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    return found


def by_t(values: Sequence[float], method: str, alone: str) -> Mean:
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
    return {0.0, 1.0}.issuperset(values)


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


def rate_difference(up: int, down: int, n: int) -> Mean:
    """The difference of two paired rates with Agresti and Min's interval, which has a width even when nothing
    flipped, and stays sensible for a handful of pairs."""
    larger = n + 2
    middle = (up - down) / larger
    margin = Z * math.sqrt(up + down + 2 - (up - down) ** 2 / larger) / larger
    low, high = max(middle - margin, -1.0), min(middle + margin, 1.0)
    return Mean(n, (up - down) / n, low, high, "paired, Agresti and Min")
