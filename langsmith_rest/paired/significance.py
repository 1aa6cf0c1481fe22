"""Tests of paired differences: p of no difference, and p of several tests at once.

Pure functions over numbers, standard library only.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul
from statistics import NormalDist, fmean

NORMAL = NormalDist()
SAME = 1e-9  # differences below are none: means of repetitions carry rounding
ENUMERATED = 24  # differences up to which all sign flips are looked at
COUNTED = 300  # differences up to which sign flips are counted on a grid
CELLS = 20_000  # of that grid
LARGEST = 8  # beyond: all flips of so many differences
SHUFFLED = 600  # different results of shuffling, of all examples, up to which all are counted
EXACT_SUMS = 10_000  # of shuffles, looked at for one more example, up to which none are rounded
FEW_CELLS = 2_000  # of the grid to which more are rounded
DIGITS = 12  # sums of scores that agree in these are equal
FINEST = 1e-4  # step of a grid, of the largest difference: a finer one makes no difference to p


def mcnemar(up: int, down: int) -> float:
    """The two-sided mid-p of McNemar's test: a split as lopsided as the one seen counts half.

    The exact p is too cautious, since splits come in steps; the mid-p keeps its level nearly everywhere (Fagerland,
    Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013).
    """
    return exact_mcnemar(up, down) - (coins(up + down, up) if up != down else 0.0)


def exact_mcnemar(up: int, down: int) -> float:
    """The exact two-sided p: how often fair coins fall as lopsided as the examples that flipped."""
    return min(1.0, 2 * math.fsum(coins(up + down, k) for k in range(min(up, down) + 1)))


def coins(n: int, heads: int) -> float:
    """The probability that this many of n fair coins show heads."""
    if n <= 1000:
        return math.comb(n, heads) / 2**n
    return math.exp(math.lgamma(n + 1) - math.lgamma(heads + 1) - math.lgamma(n - heads + 1) - n * math.log(2))


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided p of the paired permutation test: how often random signs give a sum as far from zero.

    Nothing is drawn, so the same differences always have the same p. Up to 24 differences that are not zero: all
    flips, counted exactly by joining two halves (Horowitz and Sahni, J. ACM 21, 1974). Up to 300: all flips of sizes
    rounded to a fine grid. Beyond: all flips of the eight largest, which may outweigh the rest, each with what the
    Edgeworth expansion gives for the others (Albers, Bickel and van Zwet, Annals of Statistics 4, 1976).
    """
    gains = [difference for difference in differences if difference > SAME]
    losses = [-difference for difference in differences if difference < -SAME]
    unit = max((*gains, *losses), default=1.0)  # squares of huge scores would be beyond a float
    gains, losses = [size / unit for size in gains], [size / unit for size in losses]
    sizes = sorted(gains + losses)
    observed = abs(math.fsum(gains) - math.fsum(losses))
    observed -= SAME * max(1.0, observed)  # sums that differ by rounding only are equal
    if observed <= 0:
        return 1.0
    if ENUMERATED < len(sizes) <= COUNTED:
        return counted_share(gains, losses)
    if len(sizes) > COUNTED:
        return expanded_share(sizes[:-LARGEST], signed_sums(sizes[-LARGEST:]), observed)
    half = len(sizes) // 2
    ours, theirs = signed_sums(sizes[:half]), sorted(signed_sums(sizes[half:]))
    far = 0
    for ahead in ours:
        far += len(theirs) - bisect_left(theirs, observed - ahead) + bisect_right(theirs, -observed - ahead)
    return far / 2 ** len(sizes)


def counted_share(gains: Sequence[float], losses: Sequence[float]) -> float:
    """The share of sign flips whose sum is as far from zero, for sizes rounded to a grid.

    One large integer holds, a slot for each cell of the grid, in how many ways a choice of sizes sums up to it: adding
    it to itself, shifted by a size, adds that size to every choice.
    """
    sizes = [*gains, *losses]
    total, step = math.fsum(sizes), grid_step(sizes)
    if not step or total / step > CELLS:
        step = total / CELLS
    cells = [round(size / step) for size in sizes]
    observed = abs(sum(cells[: len(gains)]) - sum(cells[len(gains) :]))
    if not observed:
        return 1.0
    most = (sum(cells) - observed) // 2  # what the smaller of both sides may sum up to
    width = len(cells) + 2  # bits of a slot, so that none overflows, nor does the sum of all
    ways, kept = 1, (1 << width * (most + 1)) - 1
    for size in sorted(cells):
        ways = (ways + (ways << width * size)) & kept if size <= most else ways
    far = ways % ((1 << width) - 1)  # the sum of the slots, as the sum of digits is found modulo 9
    return min(1.0, 2 * far / (1 << len(cells)))


def within_examples(scores: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """The two-sided p of shuffling each example's scores between both sides, for unequal numbers of repetitions.

    Flipping signs would not do: the mean of one score against that of five is skewed although nothing differs. All
    shuffles are counted, unless they may have very many different results: then their distribution is given by its
    cumulants (Edgeworth expansion).
    """
    varied = [(old, new) for old, new in scores if max(*old, *new) - min(*old, *new) > SAME]
    unit = max((max(*old, *new) - min(*old, *new) for old, new in varied), default=1.0)
    # Powers of huge scores would be beyond a float.
    scaled = [centred([*old, *new], unit) for old, new in varied]
    examples = [(pool[: len(old)], pool[len(old) :]) for pool, (old, _) in zip(scaled, varied, strict=True)]
    differences = [fmean(new) - fmean(old) for old, new in examples]
    if abs(math.fsum(differences)) * unit < SAME:
        return 1.0
    if sum(most_results(*example) for example in examples) <= SHUFFLED:
        return shuffled_share([shuffled([*old, *new], len(old)) for old, new in examples], differences)
    least = math.exp(-math.fsum(math.log(math.comb(len(old) + len(new), len(old))) for old, new in examples))
    return max(expanded_shuffles(examples, abs(math.fsum(differences))), least)


def centred(pool: Sequence[float], unit: float) -> list[float]:
    middle = fmean(score / unit for score in pool)
    return [score / unit - middle for score in pool]


def most_results(old: Sequence[float], new: Sequence[float]) -> int:
    """How many different results shuffling these scores has at most."""
    choices = math.prod(count + 1 for count in Counter((*old, *new)).values())
    return min(math.comb(len(old) + len(new), len(old)), choices)


def shuffled(pool: Sequence[float], of_old: int) -> dict[float, float]:
    """The differences new - old when any `of_old` centred scores are the old ones, each with its probability."""
    sums: list[dict[float, int]] = [{0.0: 1}, *({} for _ in range(of_old))]  # by how many scores they are of
    for score in pool:
        for chosen in reversed(range(of_old)):
            for total, ways in sums[chosen].items():
                added = round(total + score, DIGITS)
                sums[chosen + 1][added] = sums[chosen + 1].get(added, 0) + ways
    scale, of_all = -len(pool) / of_old / (len(pool) - of_old), math.comb(len(pool), of_old)
    return {total * scale: ways / of_all for total, ways in sums[-1].items()}


def shuffled_share(examples: Sequence[Mapping[float, float]], differences: Sequence[float]) -> float:
    """The probability of a sum as far from zero as that of the differences seen.

    Sums are exact until there are many; from then on they lie on a grid, and what was seen with them.
    """
    step, sums, seen = 0.0, {0.0: 1.0}, 0.0
    for one, difference in zip(examples, differences, strict=True):
        moves, move = one, min(one, key=lambda value: abs(value - difference))
        if not step and len(sums) * len(one) > EXACT_SUMS:
            step = math.fsum(max(of) - min(of) for of in examples) / FEW_CELLS
            sums, seen = on_grid(sums, step), round(seen / step)
        if step:
            moves, move = on_grid(one, step), round(move / step)
        following: dict[float, float] = {}
        for so_far, of_sum in sums.items():
            for value, chance in moves.items():
                total = so_far + value if step else round(so_far + value, DIGITS)
                following[total] = following.get(total, 0.0) + of_sum * chance
        sums, seen = following, seen + move
    return min(1.0, math.fsum(chance for total, chance in sums.items() if abs(total) >= abs(seen) - SAME))


def on_grid(chances: Mapping[float, float], step: float) -> dict[float, float]:
    cells: dict[float, float] = {}
    for value, chance in chances.items():
        cell = round(value / step)
        cells[cell] = cells.get(cell, 0.0) + chance
    return cells


def expanded_shuffles(examples: Sequence[tuple[Sequence[float], Sequence[float]]], observed: float) -> float:
    """The share of shuffles as far from zero, by an Edgeworth expansion; the scores of each example are centred."""
    moments = [shuffled_moments([*old, *new], len(old)) for old, new in examples]
    variance = math.fsum(second for second, _, _ in moments)
    x = observed / math.sqrt(variance)
    skew = math.fsum(third for _, third, _ in moments) / variance**1.5
    excess = math.fsum(fourth - 3 * second**2 for second, _, fourth in moments) / variance**2
    correction = excess / 24 * (x**3 - 3 * x) + skew**2 / 72 * (x**5 - 10 * x**3 + 15 * x)
    return min(1.0, max(2 * (NORMAL.cdf(-x) + NORMAL.pdf(x) * correction), 0.0))


def shuffled_moments(pool: Sequence[float], of_old: int) -> tuple[float, float, float]:
    """The second, third and fourth moment of new - old over all shuffles of centred scores.

    `p[r - 1]` is the probability that r given scores are all among the old ones.
    """
    size = len(pool)
    p = list(accumulate((max(of_old - r, 0) / max(size - r, 1) for r in range(4)), mul))
    squares, cubes, fourths = (math.fsum(score**power for score in pool) for power in (2, 3, 4))
    scale = -size / of_old / (size - of_old)
    fourth = fourths * (p[0] - 7 * p[1] + 12 * p[2] - 6 * p[3]) + 3 * squares**2 * (p[1] - 2 * p[2] + p[3])
    return scale**2 * squares * (p[0] - p[1]), scale**3 * cubes * (p[0] - 3 * p[1] + 2 * p[2]), scale**4 * fourth


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
    """The largest step, up to 1, of which all these sizes are multiples; 0 if it is too small."""
    step = 0.0
    for size in set(sizes):
        while size > SAME:
            step, size = size, step % size
            size = 0.0 if step - size < SAME else size  # rounding made it just less than a multiple
        if step < FINEST:
            return 0.0
    return step


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for the number of tests: Holm (Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised = accumulate(((len(ps) - rank) * ps[i] for rank, i in enumerate(order)), max)
    adjusted = dict(zip(order, raised, strict=True))
    return [min(1.0, adjusted[i]) for i in range(len(ps))]
