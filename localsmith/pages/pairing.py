"""One experiment against a baseline, example by example: the words and the tests are those of `main.py compare`."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import mul, sub
from statistics import NormalDist
from typing import TypeVar

from localsmith.pages.intervals import Mean, by_t, is_binary, rate_difference

NORMAL = NormalDist()
SAME = 1e-9  # scores closer than this are equal: means of repetitions carry rounding
LEVEL = 0.05
BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "better", "worse", "no difference shown", "too few pairs"
ENUMERATED = 24  # differences up to which all sign flips are looked at
LARGEST = 8  # beyond: of so many differences
FINEST = 1e-4  # step of a grid, of the largest difference: a finer one makes no difference to p

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Pairing:
    """One metric of an experiment beside the baseline's."""

    improved: int
    regressed: int
    unchanged: int
    incomparable: int  # scored on one side only, or on neither
    difference: Mean | None  # of candidate - baseline, over the pairs; None: no pairs, or too large to say
    test: str
    p: float | None  # of this test alone; None without a difference
    lower_is_better: bool = False

    @property
    def pairs(self) -> int:
        return self.improved + self.regressed + self.unchanged

    def turned(self) -> "Pairing":
        """The same where less of the score is better."""
        return replace(self, improved=self.regressed, regressed=self.improved, lower_is_better=not self.lower_is_better)


@dataclass(frozen=True)
class Verdict:
    word: str
    p: float  # adjusted for how many tests there are


def pair(baseline: Mapping[str, float], candidate: Mapping[str, float], examples: int) -> Pairing:
    """Pair two experiments' scores by example; `examples` is how many there are in all."""
    # With 10,000 examples, six experiments and ten metrics this is most of a page's time: hence map and count.
    before, after = list(baseline.values()), list(map(candidate.get, baseline))
    if None in after:
        both = [score is not None for score in after]
        before, after = list(compress(before, both)), list(compress(after, both))
    differences: list[float] = list(map(sub, after, before))  # None is gone
    incomparable = examples - len(differences)
    if not differences or not all(map(math.isfinite, differences)):
        return Pairing(0, 0, len(differences), incomparable, None, "", None)
    if is_binary(before) and is_binary(after):  # type: ignore[arg-type]
        up, down = differences.count(1.0), differences.count(-1.0)
        difference, test, p = rate_difference(up, down, len(differences)), "exact McNemar", mcnemar(up, down)
    else:
        gains = [change for change in differences if change > SAME]
        losses = [-change for change in differences if change < -SAME]
        up, down = len(gains), len(losses)
        difference = by_t(differences, "paired, Student's t", "one pair, so no interval")
        test, p = "sign-flip permutation", sign_flip(gains, losses)
    return Pairing(up, down, len(differences) - up - down, incomparable, difference, test, p)


def verdicts(pairings: Mapping[Key, Pairing]) -> dict[Key, Verdict]:
    """Say in words what follows of each pairing, with its p adjusted for there being several (Holm 1979)."""
    tested = {key: pairing.p for key, pairing in pairings.items() if pairing.p is not None}
    found, highest = {}, 0.0
    for rank, key in enumerate(sorted(tested, key=tested.__getitem__)):
        highest = max(highest, min(1.0, tested[key] * (len(tested) - rank)))
        found[key] = Verdict(_word(pairings[key], highest, len(tested)), highest)
    return found


def _word(pairing: Pairing, p: float, tests: int) -> str:
    lowest = 2.0 ** (1 - pairing.pairs)  # the smallest p that either test can give
    if lowest * tests > LEVEL:
        return TOO_FEW
    if p >= LEVEL or not pairing.difference or not pairing.difference.mean:
        return NO_DIFFERENCE
    return WORSE if (pairing.difference.mean > 0) == pairing.lower_is_better else BETTER


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


def sign_flip(gains: Sequence[float], losses: Sequence[float]) -> float:
    """The two-sided p of the paired permutation test: how often random signs give a sum as far from zero.

    Up to 24 differences: all flips, counted exactly by joining two halves. Beyond: all flips of the eight largest,
    each with what the Edgeworth expansion gives for the others.
    """
    if not gains and not losses:
        return 1.0
    unit = max(max(gains, default=0.0), max(losses, default=0.0))  # squares of huge scores would be beyond a float
    sizes = sorted([size / unit for size in (*gains, *losses)])
    observed = abs(math.fsum(gains) / unit - math.fsum(losses) / unit)
    observed -= SAME * max(1.0, observed)  # sums that differ by rounding only are equal
    if observed <= 0:
        return 1.0
    if len(sizes) > ENUMERATED:
        return _expanded(sizes[:-LARGEST], signed_sums(sizes[-LARGEST:]), observed)
    half = len(sizes) // 2
    ours, theirs = signed_sums(sizes[:half]), sorted(signed_sums(sizes[half:]))
    far = sum(
        len(theirs) - bisect_left(theirs, observed - ahead) + bisect_right(theirs, -observed - ahead) for ahead in ours
    )
    return far / 2.0 ** len(sizes)


def signed_sums(sizes: Sequence[float]) -> list[float]:
    """The sums of these with every choice of signs."""
    sums = [0.0]
    for size in sizes:
        sums = [total + size for total in sums] + [total - size for total in sums]
    return sums


def _expanded(sizes: Sequence[float], aheads: Sequence[float], observed: float) -> float:
    """How often sums of these with random signs, ahead by each of `aheads` in turn, are as far from zero.

    Sums of sizes on a grid lie two steps apart, so the first one that is far enough counts from halfway before it.
    """
    total, step = math.fsum(sizes), _grid_step(sizes)
    squares = list(map(mul, sizes, sizes))
    variance = math.fsum(squares)
    kurtosis = math.fsum(map(mul, squares, squares)) / variance**2 / 12
    share = 0.0
    for ahead in aheads:
        least = observed - ahead
        if step:
            least = total - 2 * step * math.floor((total - least) / (2 * step) + SAME) - step
        x = least / math.sqrt(variance)
        share += NORMAL.cdf(-x) - NORMAL.pdf(x) * (x**3 - 3 * x) * kurtosis
    return min(1.0, max(2 * share / len(aheads), 0.0))


def _grid_step(sizes: Sequence[float]) -> float:
    """The largest step of which all these sizes, up to 1, are multiples; 0 if it is too small to matter."""
    step = 0.0
    for size in set(sizes):
        while size > SAME:
            step, size = size, step % size
            size = 0.0 if step - size < SAME else size  # rounding made it just less than a multiple
        if step < FINEST:
            return 0.0
    return step
