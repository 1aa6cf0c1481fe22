"""The statistics of paired scores, for the command line and for the pages of the local store.

Pure functions over numbers, standard library only. The unit is the example: repetitions are averaged before
(E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640). Differences are candidate - baseline.
"""

import cmath
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from operator import mul, sub
from statistics import NormalDist, fmean

NORMAL = NormalDist()
Z = NORMAL.inv_cdf(0.975)
POWER = NORMAL.inv_cdf(0.8)
SAME = 1e-9  # differences below are none: means of repetitions carry rounding
ENUMERATED = 24  # differences up to which all sign flips are looked at
LARGEST = 8  # beyond: of so many differences
FINEST = 1e-4  # step of a grid, of the largest difference: a finer one makes no difference to p
FEWEST = 5  # pairs below which no interval is given
LARGEST_SCORE = 1e100  # squares of larger ones leave what a float holds
LEVEL = 0.05
BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "better", "worse", "no difference shown", "too few pairs"


# ---------------------------------------------------------------- one metric, two experiments


@dataclass
class Metric:
    """One metric of a candidate beside the baseline's; means and difference are those of the pairs.

    `p` is adjusted for how many metrics are tested; `smallest` is the true difference that such data show four times
    out of five. None means that it cannot be said.
    """

    name: str
    kind: str  # "binary" or "numeric"
    lower_is_better: bool
    pairs: int
    only_baseline: int  # examples with this score in the baseline only
    only_candidate: int
    baseline_mean: float | None
    candidate_mean: float | None
    difference: float | None  # candidate - baseline
    low: float | None  # its 95 % interval
    high: float | None
    test: str
    p_alone: float | None
    improved: int
    regressed: int
    same: int
    smallest: float | None
    baseline_overall: float | None  # the mean of all examples with this score, paired or not
    candidate_overall: float | None
    p: float | None = None
    verdict: str = TOO_FEW


def metric_of(
    name: str, baseline: Mapping[str, float], candidate: Mapping[str, float], *, lower: bool = False
) -> Metric:
    """Compare one metric, given by example, over the examples that have it on both sides."""
    # A page of six experiments with ten metrics each does this 50 times: hence map and compress.
    before, found = list(baseline.values()), list(map(candidate.get, baseline))
    both = [score is not None for score in found]
    after: list[float] = list(compress(found, both))  # type: ignore[arg-type]  # None is gone
    before = list(compress(before, both))
    differences = list(map(sub, after, before))
    up = sum(difference > SAME for difference in differences)
    down = sum(difference < -SAME for difference in differences)
    binary = is_binary(before) and is_binary(after)
    known = differences if max(map(abs, (*before, *after)), default=0.0) < LARGEST_SCORE else []
    low, high = bootstrap_interval(known, binary=binary) or (None, None)
    return Metric(
        name=name,
        kind="binary" if binary else "numeric",
        lower_is_better=lower,
        pairs=len(before),
        only_baseline=len(baseline) - len(before),
        only_candidate=len(candidate) - len(before),
        baseline_mean=mean(before),
        candidate_mean=mean(after),
        difference=mean(known),
        low=low,
        high=high,
        test="exact McNemar" if binary else "sign-flip permutation",
        p_alone=(mcnemar(up, down) if binary else sign_flip(known)) if known else None,
        improved=down if lower else up,
        regressed=up if lower else down,
        same=len(before) - up - down,
        smallest=smallest_difference(known, binary=binary),
        baseline_overall=mean(baseline.values()),
        candidate_overall=mean(candidate.values()),
    )


def is_binary(values: Iterable[float]) -> bool:
    return {0.0, 1.0}.issuperset(values)


def mean(values: Iterable[float]) -> float | None:
    """The mean of numbers; None of no numbers, and of some that are too large together."""
    found = list(values)
    try:
        return fmean(found) if found else None
    except OverflowError:
        return None


def give_verdicts(family: Sequence[Metric]) -> None:
    """Adjust the p of metrics for each other and say in words what follows."""
    tested = [metric for metric in family if metric.p_alone is not None]
    for metric, p in zip(tested, holm([metric.p_alone or 0.0 for metric in tested]), strict=True):
        metric.p = p
        if lowest_p(metric.pairs) * len(tested) > LEVEL:
            metric.verdict = TOO_FEW
        elif p >= LEVEL or not metric.difference:
            metric.verdict = NO_DIFFERENCE
        else:
            metric.verdict = WORSE if (metric.difference > 0) == metric.lower_is_better else BETTER


# ---------------------------------------------------------------- one mean


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
    """The 95 % Wilson interval of a rate; honest at 0 % and 100 %, where the textbook one has no width."""
    rate = successes / n
    middle = rate + Z * Z / (2 * n)
    margin = Z * math.sqrt(rate * (1 - rate) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - margin) / scale), min(1.0, (middle + margin) / scale)


# ---------------------------------------------------------------- intervals of differences


def bootstrap_interval(differences: Sequence[float], *, binary: bool = False) -> tuple[float, float] | None:
    """The 95 % interval of a mean difference by the paired bootstrap; None for fewer than five pairs.

    The bootstrap distribution is computed instead of drawn, so this is the limit of infinitely many resamples (the
    ideal bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993) and needs no seed: a resampled
    mean is a sum of independent draws, so its characteristic function is a power, and the inversion formula of
    Gil-Pelaez (Biometrika 38, 1951) leads back. Against being too narrow for few pairs, the percentiles are those of
    Hesterberg's expanded interval ("What Teachers Should Know About the Bootstrap", The American Statistician 69,
    2015); of a binary metric, one flip each way is added instead (Bonett and Price, JEBS 37, 2012), so that no flips
    in ten pairs do not look like certainty.
    """
    n = len(differences)
    if n < FEWEST:
        return None
    counts = Counter(differences)
    if binary:
        counts.update((1.0, -1.0))
    draws = counts.total()
    mean, deviation = moments(counts)
    if deviation < SAME:
        return mean, mean
    error = deviation / math.sqrt(draws)
    scaled = [(value - mean) / deviation / math.sqrt(draws) for value in counts]
    waves = list(wave(scaled, list(counts.values()), draws))
    tail = 0.025 if binary else NORMAL.cdf(-t_quantile(n - 1) * math.sqrt(n / (n - 1)))
    return mean + error * quantile(waves, tail), mean + error * quantile(waves, 1 - tail)


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


def smallest_difference(differences: Sequence[float], *, binary: bool = False) -> float | None:
    """The true difference that so many pairs of this spread show four times out of five, at the 5 % level.

    None where nothing varies, since then the spread is not known. Of a binary metric, one flip each way is added, as
    for the interval.
    """
    n = len(differences)
    counts = Counter(differences)
    if binary:
        counts.update((1.0, -1.0))
    if n < FEWEST or (deviation := moments(counts)[1]) < SAME:
        return None
    return (Z + POWER) * deviation / math.sqrt(n - 1)


# ---------------------------------------------------------------- tests


def mcnemar(up: int, down: int) -> float:
    """The exact two-sided p of McNemar's test: how often fair coins fall as lopsided as the examples that flipped."""
    n, fewer = up + down, min(up, down)
    if not n:
        return 1.0
    if n <= 1000:
        return min(1.0, sum(math.comb(n, k) for k in range(fewer + 1)) / 2 ** (n - 1))
    log_all = n * math.log(2)
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(math.exp(log_ways - log_all) for log_ways in ways))


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided p of the paired permutation test: how often random signs give a sum as far from zero.

    Nothing is drawn, so the same differences always have the same p, here and on the pages of the local store. Up to
    24 differences that are not zero: all flips, counted exactly by joining two halves (Horowitz and Sahni, J. ACM 21,
    1974). Beyond: all flips of the eight largest, which may outweigh the rest, each with what the Edgeworth expansion
    gives for the others (Albers, Bickel and van Zwet, Annals of Statistics 4, 1976).
    """
    gains = [difference for difference in differences if difference > SAME]
    losses = [-difference for difference in differences if difference < -SAME]
    unit = max((*gains, *losses), default=1.0)  # squares of huge scores would be beyond a float
    sizes = sorted(size / unit for size in (*gains, *losses))
    observed = abs(math.fsum(gains) / unit - math.fsum(losses) / unit)
    observed -= SAME * max(1.0, observed)  # sums that differ by rounding only are equal
    if observed <= 0:
        return 1.0
    if len(sizes) > ENUMERATED:
        return expanded_share(sizes[:-LARGEST], signed_sums(sizes[-LARGEST:]), observed)
    half = len(sizes) // 2
    ours, theirs = signed_sums(sizes[:half]), sorted(signed_sums(sizes[half:]))
    far = 0
    for ahead in ours:
        far += len(theirs) - bisect_left(theirs, observed - ahead) + bisect_right(theirs, -observed - ahead)
    return far / 2 ** len(sizes)


def signed_sums(sizes: Sequence[float]) -> list[float]:
    sums = [0.0]
    for size in sizes:
        sums = [total + size for total in sums] + [total - size for total in sums]
    return sums


def expanded_share(sizes: Sequence[float], aheads: Sequence[float], observed: float) -> float:
    """The share of sign flips of these sizes, ahead by each of `aheads` in turn, whose sum is as far from zero.

    Sums of sizes on a grid lie two steps apart, so the first one that is far enough counts from halfway before it.
    """
    total, step = math.fsum(sizes), grid_step(sizes)
    squares = [size * size for size in sizes]
    variance = math.fsum(squares)
    kurtosis = math.fsum(square * square for square in squares) / variance**2 / 12
    share = 0.0
    for ahead in aheads:
        least = observed - ahead
        if step:
            least = total - 2 * step * math.floor((total - least) / (2 * step) + SAME) - step
        x = least / math.sqrt(variance)
        share += NORMAL.cdf(-x) - NORMAL.pdf(x) * (x**3 - 3 * x) * kurtosis
    return min(1.0, max(2 * share / len(aheads), 0.0))


def grid_step(sizes: Sequence[float]) -> float:
    """The largest step of which all these sizes, up to 1, are multiples; 0 if it is too small to matter."""
    step = 0.0
    for size in set(sizes):
        while size > SAME:
            step, size = size, step % size
            size = 0.0 if step - size < SAME else size  # rounding made it just less than a multiple
        if step < FINEST:
            return 0.0
    return step


def lowest_p(pairs: int) -> float:
    """The smallest p that either test can give for so many pairs."""
    return 2.0 ** (1 - pairs) if pairs else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for there being several: Holm (Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised = accumulate(((len(ps) - rank) * ps[i] for rank, i in enumerate(order)), max)
    adjusted = dict(zip(order, raised, strict=True))
    return [min(1.0, adjusted[i]) for i in range(len(ps))]
