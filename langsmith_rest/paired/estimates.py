"""Means, corrected means, preferences, and intervals: the estimates under the statistics of pairs.

Pure functions over numbers, standard library only.
"""

import cmath
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from statistics import fmean

from langsmith_rest.paired.significance import NORMAL, SAME, exact_mcnemar, mcnemar, sign_flip

Z = NORMAL.inv_cdf(0.975)
FEWEST = 5  # units below which no interval is given
LARGEST_SCORE = 1e100  # squares of larger ones leave what a float holds
LEVEL = 0.05


def is_binary(values: Iterable[float]) -> bool:
    return {0.0, 1.0}.issuperset(values)


def mean(values: Iterable[float]) -> float | None:
    """The mean of numbers; None for no numbers."""
    found = list(values)
    return average(found) if found else None


def average(values: Collection[float]) -> float:
    """The mean, even of numbers whose sum is beyond a float."""
    try:
        return fmean(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


# ---------------------------------------------------------------- one mean


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval; `low` and `high` are None if one value says nothing about the spread."""

    n: int
    mean: float
    low: float | None
    high: float | None
    method: str  # how the interval was made, for a person to read
    binary: bool = False  # every value is 0 or 1


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of `values` with its 95 % interval: Wilson's for zeros and ones, otherwise Student's t."""
    n = len(values)
    if not n:
        return None
    if is_binary(values):
        total = sum(values)
        return Mean(n, total / n, *wilson(total, n), "Wilson", binary=True)
    middle = math.fsum(value / n for value in values)
    if n == 1:
        return Mean(1, middle, None, None, "one value, so no interval")
    if max(map(abs, values)) > LARGEST_SCORE:
        return Mean(n, middle, None, None, "too large for an interval")
    deviations = [value - middle for value in values]
    margin = t_quantile(n - 1) * math.sqrt(sum(map(mul, deviations, deviations)) / (n - 1) / n)
    low, high = middle - margin, middle + margin
    if 0 <= min(values) and max(values) <= 1:
        low, high = max(low, 0.0), min(high, 1.0)
    return Mean(n, middle, low, high, "Student's t")


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate; it has a width even at 0 % and 100 %, unlike the textbook interval."""
    rate = successes / n
    middle = rate + Z * Z / (2 * n)
    margin = Z * math.sqrt(rate * (1 - rate) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - margin) / scale), min(1.0, (middle + margin) / scale)


# ---------------------------------------------------------------- a judge's mean, corrected by a person's labels


@dataclass(frozen=True)
class Corrected:
    """What a person's mean would be, from a judge's scores of everything and a person's scores of a few."""

    labels: int
    unlabelled: int
    mean: float
    low: float  # of its 95 % interval
    high: float
    weight: float  # of the judge's scores: 1 where they follow the person's, 0 where they tell nothing


def corrected(
    unlabelled: Sequence[float], labelled: Sequence[tuple[float, float]], *, more: float = 0.0
) -> Corrected | None:
    """The mean that a person would give, by prediction-powered inference; None for fewer than five labels.

    `unlabelled` are scores of the judge alone, `labelled` those of judge and person. The mean of what the judge gets
    wrong on the labelled ones, which must be a random sample, corrects the rest; the weight of the judge is the one
    with the narrowest interval (PPI++: Angelopoulos, Duchi and Zrnic, arXiv 2311.01453). `more` is how far one more
    error of the judge may be: the interval allows for one each way, so that no errors in ten are no certainty.
    """
    n, rest = len(labelled), len(unlabelled)
    if n < FEWEST:
        return None
    judge = [score for score, _ in labelled]
    spread = moments(Counter((*unlabelled, *judge)))[1] ** 2
    middle = fmean(judge)
    shared = fmean((j - middle) * p for j, p in labelled)
    weight = min(max(shared / spread / (1 + n / rest), 0.0), 1.0) if rest and spread > SAME**2 else 0.0
    errors = [p - weight * j for j, p in labelled]
    mean_error = fmean(errors)
    guard = (mean_error + more, mean_error - more) if more else ()
    variance = moments(Counter((*errors, *guard)))[1] ** 2 / (n - 1)
    if weight:
        variance += weight**2 * moments(Counter(unlabelled))[1] ** 2 / rest
    found = mean_error + (weight * fmean(unlabelled) if weight else 0.0)
    margin = t_quantile(n - 1) * math.sqrt(variance)
    return Corrected(n, rest, found, found - margin, found + margin, weight)


def corrected_by(judge: Mapping[str, float], person: Mapping[str, float]) -> Corrected | None:
    """The same for scores by example; the interval stays within the range of such scores or differences."""
    labelled = [(judge[i], person[i]) for i in judge if i in person]
    unlabelled = [score for i, score in judge.items() if i not in person]
    scores = (*judge.values(), *person.values())
    bounded = all(-1 <= score <= 1 for score in scores)
    found = corrected(unlabelled, labelled, more=1.0 if bounded else 0.0)
    if not found or not bounded:
        return found
    lowest = 0.0 if all(score >= 0 for score in scores) else -1.0
    return replace(found, low=max(found.low, lowest), high=min(found.high, 1.0))


def paired_differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {i: after[i] - before[i] for i in before if i in after}


# ---------------------------------------------------------------- preferences


@dataclass(frozen=True)
class Preferred:
    """How often the first of two was preferred. The unit is the example, however often it was judged."""

    examples: int  # with a preference, or a tie
    share: Mean  # of the first one among the preferences, ties left out
    p: float  # two-sided, of no preference
    p_exact: float | None = None  # McNemar's exact p, where his mid-p decides


def preferred(verdicts: Mapping[Hashable, Sequence[int]]) -> Preferred | None:
    """Sum up verdicts by example: 1 for the first, -1 for the second, 0 for a tie. None without a preference."""
    decided = {i: [verdict for verdict in of if verdict] for i, of in verdicts.items()}
    share = mean_of([fmean(verdict > 0 for verdict in of) for of in decided.values() if of])
    if share is None:
        return None
    leans = [fmean(of) for of in verdicts.values() if of]
    if {-1.0, 0.0, 1.0}.issuperset(leans):
        split = leans.count(1.0), leans.count(-1.0)
        return Preferred(len(leans), share, mcnemar(*split), exact_mcnemar(*split))
    return Preferred(len(leans), share, sign_flip(leans))


# ---------------------------------------------------------------- intervals of differences


def bootstrap_interval(
    differences: Sequence[float], more: Sequence[float] = (), *, expanded: bool = True
) -> tuple[float, float] | None:
    """The 95 % interval of a mean difference by the paired bootstrap; None for fewer than five, or without any spread.

    The bootstrap distribution is computed instead of drawn, so this is the limit of infinitely many resamples (the
    ideal bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993) and needs no seed: a resampled
    mean is a sum of independent draws, so its characteristic function is a power, and the inversion formula of
    Gil-Pelaez (Biometrika 38, 1951) leads back. Two things keep it from being too narrow for few pairs: `more`
    differences than were seen, one each way, and Hesterberg's expanded percentiles ("What Teachers Should Know About
    the Bootstrap", The American Statistician 69, 2015). For scores of 0 and 1, one more flip each way is enough
    (Bonett and Price, JEBS 37, 2012).
    """
    n = len(differences)
    counts = Counter((*differences, *more))
    draws = counts.total()
    if n < FEWEST or (deviation := moments(counts)[1]) < SAME:
        return None
    middle = moments(counts)[0]
    error = deviation / math.sqrt(draws)
    scaled = [(value - middle) / deviation / math.sqrt(draws) for value in counts]
    waves = list(wave(scaled, list(counts.values()), draws))
    tail = NORMAL.cdf(-t_quantile(n - 1) * math.sqrt(n / (n - 1))) if expanded else 0.025
    return middle + error * quantile(waves, tail), middle + error * quantile(waves, 1 - tail)


def standard_error(differences: Sequence[float], more: Sequence[float] = ()) -> float | None:
    """The standard error of a mean difference, as in the interval; None for fewer than five, or without spread."""
    if len(differences) < FEWEST:
        return None
    deviation = moments(Counter((*differences, *more)))[1]
    return deviation / math.sqrt(len(differences) - 1) if deviation > SAME else None


STEP = 0.4  # of frequencies; repeats the distribution every 15.7 standard deviations
HIGHEST = 40.0  # frequency; finer detail than a fortieth of a standard deviation is smoothed away
BLUR = 0.075  # standard deviations


def wave(scaled: Sequence[float], counts: Sequence[int], draws: int) -> list[tuple[float, float, float]]:
    """Frequency, weight and phase of a standardized resampled mean, until the weights vanish."""
    found = []
    frequency = STEP / 2
    while frequency < HIGHEST:
        angles = [frequency * value for value in scaled]
        if draws == len(counts):
            real, imaginary = sum(map(math.cos, angles)), sum(map(math.sin, angles))
        else:
            real = sum(map(float.__mul__, map(math.cos, angles), map(float, counts)))
            imaginary = sum(map(float.__mul__, map(math.sin, angles), map(float, counts)))
        size, phase = cmath.polar(complex(real, imaginary) / draws)
        weight = size**draws * math.exp(-((frequency * BLUR) ** 2) / 2)
        found.append((frequency, weight / frequency, phase * draws))
        if weight < 1e-6 and draws > 100:  # that of few values may come back
            break
        frequency += STEP
    return found


def quantile(waves: Sequence[tuple[float, float, float]], share: float) -> float:
    """Where a distribution given by its waves reaches a share."""
    low, high = -8.0, 8.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        reached = 0.5 - STEP / math.pi * sum(w * math.sin(phase - t * middle) for t, w, phase in waves)
        low, high = (middle, high) if reached < share else (low, middle)
    return (low + high) / 2


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t to three digits (Abramowitz and Stegun 26.7.5; the first two are exact)."""
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


def moments(counts: Counter[float]) -> tuple[float, float]:
    """The mean and the standard deviation (of n) of counted values."""
    n = counts.total()
    mean = math.fsum(value * count for value, count in counts.items()) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 * count for value, count in counts.items()) / n)
