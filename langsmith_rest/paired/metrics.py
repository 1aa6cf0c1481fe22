"""One metric of two experiments, compared pair by pair.

The unit is the example: repetitions are averaged before (E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640).
Differences are candidate - baseline.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress
from operator import sub
from statistics import fmean

from langsmith_rest.paired.estimates import (
    LARGEST_SCORE,
    LEVEL,
    bootstrap_interval,
    is_binary,
    mean,
    standard_error,
)
from langsmith_rest.paired.significance import (
    NORMAL,
    SAME,
    exact_mcnemar,
    holm,
    mcnemar,
    sign_flip,
    within_examples,
)

POWER = NORMAL.inv_cdf(0.8)
FEW_VALUES = 21  # so many different scores, or fewer, are grades: the next one may be any from 0 to 1
LEAST_GUARD = 0.7  # of what an example may lose, however many its repetitions: all of them may break
BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "better", "worse", "no difference shown", "too few pairs"
MCNEMAR, SIGN_FLIP, WITHIN = "McNemar mid-p", "sign-flip permutation", "permutation within examples"

Single = Mapping[str, Sequence[float]]  # example -> its scores, of those that have several


# ---------------------------------------------------------------- one metric, two experiments


@dataclass
class Metric:
    """One metric of a candidate compared with the baseline; means and difference are those of the pairs.

    `p` is adjusted for the number of tested metrics, `p_alone` is not; `p_exact` is McNemar's exact p if his mid-p
    decides. `smallest` is the true difference that such data show four times out of five. None means not known.
    """

    name: str
    kind: str  # "binary" or "numeric"
    lower_is_better: bool
    pairs: int
    clusters: int | None  # how many independent groups the pairs form; None: each pair is one
    repetitions: list[float]  # scores per pair, of the baseline and of the candidate
    only_baseline: int  # examples with this score in the baseline only
    only_candidate: int
    baseline_mean: float | None
    candidate_mean: float | None
    difference: float | None  # candidate - baseline
    low: float | None  # its 95 % interval
    high: float | None
    standard_error: float | None
    test: str
    p_alone: float | None
    p_exact: float | None
    lowest_p: float  # the smallest p_alone that any result of so many pairs could have
    improved: int
    regressed: int
    same: int
    baseline_overall: float | None  # the mean of all examples with this score, paired or not
    candidate_overall: float | None
    smallest: float | None = None
    p: float | None = None
    verdict: str = TOO_FEW


def metric_of(
    name: str,
    baseline: Mapping[str, float],
    candidate: Mapping[str, float],
    *,
    lower: bool = False,
    single: tuple[Single, Single] = ({}, {}),
    clusters: Mapping[str, Hashable] | None = None,
    bounded: bool = True,
) -> Metric:
    """Compare one metric, given as the mean score by example, over the examples that have it on both sides.

    `single` has the single scores of examples that were run several times. `clusters` maps examples to the group they
    belong to. `bounded` is False for metrics without an upper end, such as seconds.
    """
    pairs = Pairs(baseline, candidate, single, clusters)
    up, down = sum(map(SAME.__lt__, pairs.differences)), sum(map((-SAME).__gt__, pairs.differences))
    more = pairs.one_more_each_way(bounded)
    low, high = bootstrap_interval(pairs.units, more, expanded=not pairs.binary) or (None, None)
    if bounded and pairs.within_1 and low is not None and high is not None:
        low, high = max(low, -1.0), min(high, 1.0)
    test, p, lowest = pairs.tested()
    return Metric(
        name=name,
        kind="binary" if pairs.binary else "numeric",
        lower_is_better=lower,
        pairs=len(pairs.ids),
        clusters=len(pairs.units) if clusters else None,
        repetitions=[mean(m for m, _ in pairs.counts) or 1.0, mean(n for _, n in pairs.counts) or 1.0],
        only_baseline=len(baseline) - len(pairs.ids),
        only_candidate=len(candidate) - len(pairs.ids),
        baseline_mean=mean(pairs.before),
        candidate_mean=mean(pairs.after),
        difference=mean(pairs.differences),
        low=low,
        high=high,
        standard_error=standard_error(pairs.units, more),
        test=test,
        p_alone=p,
        p_exact=exact_mcnemar(up, down) if test == MCNEMAR and p is not None else None,
        lowest_p=lowest,
        improved=down if lower else up,
        regressed=up if lower else down,
        same=len(pairs.ids) - up - down,
        baseline_overall=mean(baseline.values()),
        candidate_overall=mean(candidate.values()),
    )


class Pairs:
    """The scores of one metric where both sides have one, in the order of `ids`."""

    def __init__(
        self,
        baseline: Mapping[str, float],
        candidate: Mapping[str, float],
        single: tuple[Single, Single],
        clusters: Mapping[str, Hashable] | None,
    ) -> None:
        # A page of six experiments with ten metrics each does this 50 times: hence map and compress.
        scores = list(map(candidate.get, baseline))
        both = [score is not None for score in scores]
        self.after: list[float] = list(compress(scores, both))  # type: ignore[arg-type]  # None is gone
        self.before, self.ids = list(compress(baseline.values(), both)), list(compress(baseline, both))
        self.single = single
        self.clusters = clusters
        self.counts = [tuple(len(side.get(i, "1")) for side in single) for i in self.ids] if any(single) else []
        self.distinct = {*self.before, *self.after}
        self.binary = is_binary(self.distinct) and not clusters
        repeated = chain.from_iterable(side[i] for side in single for i in self.ids if i in side) if any(single) else ()
        largest = max(map(abs, chain(self.distinct, repeated)), default=0.0)
        self.differences = list(map(sub, self.after, self.before)) if largest < LARGEST_SCORE else []
        self.units, self.sums = in_clusters(self.differences, self.ids, clusters)

    def tested(self) -> tuple[str, float | None, float]:
        """The name of the test that fits, its p, and the smallest p that any result could have."""
        if not self.differences:
            return MCNEMAR if self.binary else SIGN_FLIP, None, 1.0
        if not self.clusters and any(m != n for m, n in self.counts):
            sides = zip(self.before, self.after, self.ids, strict=True)
            scores = [(self.single[0].get(i, (old,)), self.single[1].get(i, (new,))) for old, new, i in sides]
            ways = math.fsum(math.log(math.comb(m + n, m)) for m, n in self.counts)
            return WITHIN, within_examples(scores), math.exp(-ways)
        if self.binary:
            up, down = self.differences.count(1.0), self.differences.count(-1.0)
            return MCNEMAR, mcnemar(up, down), 0.5 ** len(self.ids)
        return SIGN_FLIP, sign_flip(self.sums), min(1.0, 2 * 0.5 ** len(self.sums))

    @cached_property
    def within_1(self) -> bool:
        return all(0 <= score <= 1 for score in self.distinct)

    def one_more_each_way(self, bounded: bool) -> tuple[float, float]:
        """Two differences that the interval allows for besides those seen, as far as those of one more example may be.

        For grades within 0 and 1, one that loses everything and one that gains it, so that no flips in ten pairs are
        no certainty. Where scores are continuous, or have no bounds, only what was seen can tell. Means of repetitions
        or of a cluster move less.
        """
        scores = {round(score, 9) for score in self.distinct}
        farthest, middle = max(scores, default=0.0) - min(scores, default=0.0), 0.0
        if bounded and self.within_1 and len(scores) <= min(FEW_VALUES, len(self.ids)):
            farthest = 1.0
        elif not (bounded and self.within_1) and self.differences:
            middle = fmean(self.differences)
            farthest = max(max(self.differences) - middle, middle - min(self.differences)) or farthest
        of_repetitions = math.sqrt(fmean((1 / m + 1 / n) / 2 for m, n in self.counts or [(1, 1)]))
        # Examples of a cluster may be independent (the root of their number) or the same (1): halfway between.
        of_clusters = (len(self.units) / max(len(self.ids), 1)) ** 0.25
        farthest *= max(of_repetitions, LEAST_GUARD) * of_clusters
        return middle + farthest, middle - farthest


def in_clusters(
    differences: Sequence[float], ids: Sequence[str], clusters: Mapping[str, Hashable] | None
) -> tuple[Sequence[float], Sequence[float]]:
    """The independent units, twice: as values whose mean is the mean difference, and as sums whose signs may flip.

    An example without a cluster is its own unit. Clusters of different sizes get the values of a ratio estimator: the
    mean, plus how far the cluster's sum is from what the mean predicts.
    """
    if not clusters or not differences:
        return differences, differences
    sums: dict[Hashable, list[float]] = {}
    for difference, example in zip(differences, ids, strict=True):
        sums.setdefault(("", clusters[example]) if example in clusters else example, []).append(difference)
    middle, scale = fmean(differences), len(sums) / len(differences)
    values = [middle + (math.fsum(of) - middle * len(of)) * scale for of in sums.values()]
    return values, [math.fsum(of) for of in sums.values()]


def give_verdicts(family: Sequence[Metric]) -> None:
    """Adjust the p of metrics for each other, and set their verdicts."""
    known = [metric for metric in family if metric.p_alone is not None]
    ps = [metric.p_alone or 0.0 for metric in known]
    strictest = NORMAL.inv_cdf(1 - LEVEL / 2 / max(len(known), 1))
    for at, (metric, p) in enumerate(zip(known, holm(ps), strict=True)):
        metric.p = p
        if holm([*ps[:at], metric.lowest_p, *ps[at + 1 :]])[at] >= LEVEL:
            metric.verdict = TOO_FEW
            continue
        metric.smallest = metric.standard_error and (strictest + POWER) * metric.standard_error
        if p >= LEVEL or not metric.difference:
            metric.verdict = NO_DIFFERENCE
        else:
            metric.verdict = WORSE if (metric.difference > 0) == metric.lower_is_better else BETTER


def probability(p: float | None) -> str:
    """A p in readable form."""
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"
