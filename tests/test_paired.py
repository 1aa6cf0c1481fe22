"""The statistics of comparisons: they agree with SciPy, keep their promises in simulations, and know their limits."""

import itertools
import math
import random
from statistics import fmean

import pytest

from langsmith_rest import paired
from langsmith_rest.paired import NO_DIFFERENCE, TOO_FEW, give_verdicts, metric_of, significance


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")  # takes a second to import


@pytest.fixture(scope="module")
def numpy():
    return pytest.importorskip("numpy")


@pytest.fixture
def chance():
    return random.Random(7)


@pytest.mark.slow
@pytest.mark.parametrize("up, down", [(0, 0), (1, 0), (6, 0), (3, 9), (360, 76), (209, 152), (5000, 4800)])
def test_mcnemar_is_the_exact_binomial_test(stats, up, down):
    """SciPy's two-sided binomial test on the examples that flipped gives the same p, for thousands, too."""
    expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0

    assert paired.exact_mcnemar(up, down) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("up, down", [(1, 0), (6, 0), (3, 9), (4, 4), (360, 76), (5000, 4800)])
def test_the_mid_p_counts_the_split_that_was_seen_half(stats, up, down):
    """McNemar's mid-p is SciPy's binomial tail with half of the observed split, both ways."""
    fewer, n = min(up, down), up + down
    expected = 2 * stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5)

    assert paired.mcnemar(up, down) == pytest.approx(min(1.0, expected), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [10, 20, 39, 60])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5])
def test_the_mid_p_keeps_its_level(stats, pairs, share):
    """Over all splits that can happen when nothing differs, at most 5 % of the experiments have a mid-p below 0.05."""
    alarms = 0.0
    for flips in range(pairs + 1):
        rare = [up for up in range(flips + 1) if paired.mcnemar(up, flips - up) < 0.05]
        extreme = stats.binom.pmf(rare, flips, 0.5).sum()
        alarms += stats.binom.pmf(flips, pairs, share) * extreme

    assert alarms <= 0.0505


@pytest.mark.slow
def test_the_mid_p_agrees_with_the_interval(chance):
    """A p of 0.05 or more beside an interval without 0 is rare: 2 in 100 experiments at most."""
    disagreed = 0
    for _ in range(300):
        flips = [chance.choices((0, 1, -1), (0.75, 0.17, 0.08))[0] for _ in range(60)]
        low, high = paired.bootstrap_interval([float(flip) for flip in flips], (1.0, -1.0), expanded=False)
        p = paired.mcnemar(flips.count(1), flips.count(-1))
        disagreed += p >= 0.05 and not low <= 0 <= high

    assert disagreed / 300 <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 8, 13])
@pytest.mark.parametrize("grid", [None, 4], ids=["continuous", "with-ties"])
def test_few_sign_flips_are_counted_exactly(stats, chance, size, grid):
    """SciPy's exact permutation test gives the same p, ties and zeros included."""
    differences = [chance.gauss(0.3, 1) for _ in range(size)]
    if grid:
        differences = [round(difference * grid) / grid for difference in differences]

    expected = stats.permutation_test(
        (differences,), lambda values, axis: values.sum(axis=axis), permutation_type="samples", vectorized=True
    )

    assert paired.sign_flip(differences) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [25, 300, 1500])
def test_many_sign_flips_agree_with_scipy(stats, chance, size):
    """Expanded, p is that of SciPy's permutation test, within the noise of its draws."""
    differences = [chance.gauss(1.5, 10) + chance.expovariate(1) for _ in range(size)]
    shift = math.fsum(differences) / size - 2 * 10 / math.sqrt(size)
    differences = [difference - shift for difference in differences]

    drawn = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=5_000,
        batch=500,
        random_state=1,
    )

    assert paired.sign_flip(differences) == pytest.approx(drawn.pvalue, abs=0.015)


SIZES = {
    "normal": lambda chance: abs(chance.gauss(0, 1)),
    "skewed": lambda chance: chance.expovariate(1),
    "heavy tails": lambda chance: chance.lognormvariate(0, 2),
    "halves": lambda chance: chance.choice((0.5, 0.5, 1.0)),
    "tenths": lambda chance: chance.choice((1, 1, 2, 3, 5)) / 10,
}


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("size", [25, *(pytest.param(size, marks=pytest.mark.slow) for size in (60, 200))])
def test_many_sign_flips_agree_with_counting(numpy, chance, shape, size):
    """Around the border of 5 %, p is the share of 20,000 random flips, for sums with ties and with giants, too."""
    sizes = [SIZES[shape](chance) for _ in range(size)]
    signs = numpy.random.default_rng(7).integers(0, 2, (20_000, size)) * 2 - 1
    sums = abs(signs @ numpy.array(sizes))

    ps = []
    while len(ps) < 10:
        differences = [chance.choice((-1, 1)) * size for size in sizes]
        p = float((sums >= abs(math.fsum(differences)) - 1e-9).mean())
        if 0.02 < p < 0.08:
            ps.append((paired.sign_flip(differences), p))

    for computed, counted in ps:
        assert computed == pytest.approx(counted, abs=0.005)


def test_one_giant_difference_among_thousands_shows_nothing():
    """With one pair that outweighs all others, every flip is as extreme or half of them are."""
    assert paired.sign_flip([1000.0] + [0.001, -0.001] * 1000) > 0.4


def test_scores_of_any_size_have_the_same_p(chance):
    """The p is one of proportions: neither huge nor small units change it, nor does the order of the pairs."""
    differences = [chance.gauss(0.3, 1) for _ in range(60)]
    p = paired.sign_flip(differences)

    for unit in (1e-3, 1e300):
        assert paired.sign_flip([unit * difference for difference in differences]) == pytest.approx(p, rel=1e-6)
    assert paired.sign_flip(sorted(differences)) == pytest.approx(p, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 30, 200])
def test_the_interval_is_that_of_scipys_bootstrap(stats, chance, size):
    """The computed percentiles are those that SciPy finds with 50,000 draws, for skewed differences as well."""
    differences = [chance.expovariate(1) - 0.8 for _ in range(size)]

    low, high = paired.bootstrap_interval(differences)

    expected = drawn_interval(
        stats, differences, stats.norm.cdf(-stats.t.ppf(0.975, size - 1) * math.sqrt(size / (size - 1)))
    )
    assert (low, high) == pytest.approx(expected, abs=0.03 * (high - low))


@pytest.mark.slow
@pytest.mark.parametrize("size", [12, 50, 1319])
def test_the_interval_of_a_binary_metric_is_that_of_scipys_bootstrap(stats, chance, size):
    """The same with a flip each way added, up to the steps in which such means come."""
    differences = [chance.choices((0.0, 1.0, -1.0), (0.7, 0.2, 0.1))[0] for _ in range(size)]

    low, high = paired.bootstrap_interval(differences, (1.0, -1.0), expanded=False)

    expected = drawn_interval(stats, [*differences, 1.0, -1.0], 0.025)
    assert (low, high) == pytest.approx(expected, abs=max(1 / size, 0.05 * (high - low)))


def drawn_interval(stats, values, tail):
    found = stats.bootstrap(
        (values,),
        lambda sample, axis: sample.mean(axis=axis),
        confidence_level=1 - 2 * tail,
        method="percentile",
        n_resamples=50_000 if len(values) < 1000 else 5_000,
        batch=1000,
        random_state=1,
    ).confidence_interval
    return found.low, found.high


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [4, 9, 30, 1000])
def test_the_t_quantile_is_good_to_three_digits(stats, degrees):
    """The series agrees with SciPy wherever it is used."""
    assert paired.t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-3)


def test_holm_adjusts_in_order():
    """The textbook example: each p times how many are not smaller, never below the one before."""
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == []


def test_no_flips_are_no_certainty():
    """Ten pairs without a flip leave room for a difference; 1,000 leave little."""
    low, high = paired.bootstrap_interval([0.0] * 10, (1.0, -1.0), expanded=False)
    assert low < -0.15 and high > 0.15

    low, high = paired.bootstrap_interval([0.0] * 1000, (1.0, -1.0), expanded=False)
    assert -0.01 < low < 0 < high < 0.01


def test_what_cannot_be_said_is_none():
    """Fewer than five pairs give no interval; without any spread, no smallest difference."""
    assert paired.bootstrap_interval([1.0, 0.0, 1.0, 1.0]) is None
    assert paired.standard_error([1.0, 0.0]) is None
    assert paired.standard_error([0.25] * 50) is None
    assert paired.bootstrap_interval([0.25] * 50) is None
    assert paired.sign_flip([]) == paired.sign_flip([0.0, 1e-12]) == 1.0


# ---------------------------------------------------------------- simulations


SHAPES = {
    "binary": lambda chance: chance.choices((0.0, 1.0, -1.0), (0.65, 0.25, 0.1))[0],
    "rare flips": lambda chance: chance.choices((0.0, 1.0, -1.0), (0.94, 0.05, 0.01))[0],
    "grades": lambda chance: chance.choice((0, 0.25, 0.5, 0.75, 1)) - chance.choice((0.25, 0.5, 0.5, 1)),
    "skewed": lambda chance: chance.gammavariate(4, 0.25) - chance.uniform(0, 1),
}
TRUE_MEANS = {"binary": 0.15, "rare flips": 0.04, "grades": -0.0625, "skewed": 0.5}


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape, pairs", [*((s, n) for s in SHAPES if s != "rare flips" for n in (20, 60)), ("rare flips", 200)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(chance, shape, pairs):
    """Of 500 experiments whose true difference is known, 93 to 97 % have it in their 95 % interval.

    From 50 pairs on, that is; with 20 it is 92 to 98 %, and of a handful of flips, it is more rather than less.
    """
    binary = shape in ("binary", "rare flips")
    held = 0
    for _ in range(500):
        differences = [SHAPES[shape](chance) for _ in range(pairs)]
        low, high = paired.bootstrap_interval(differences, (1.0, -1.0) if binary else (), expanded=not binary)
        held += low <= TRUE_MEANS[shape] <= high

    assert (0.93 <= held / 500 <= 0.97) if pairs >= 50 else (0.92 <= held / 500 <= 0.98)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [6, 20])
def test_false_alarms_are_rare(chance, pairs):
    """Where nothing differs, at most 5 % of the reports call any of their three metrics better or worse."""
    alarms = 0
    for _ in range(300):
        difficulty = [chance.random() for _ in range(pairs)]
        sides = [
            {
                "correct": {i: float(chance.random() < difficulty[i]) for i in range(pairs)},
                "grade": {i: round(4 * min(1, chance.random() + difficulty[i] / 2)) / 4 for i in range(pairs)},
                "length": {i: chance.expovariate(1) for i in range(pairs)},
            }
            for _ in range(2)
        ]
        metrics = [metric_of(name, sides[0][name], sides[1][name]) for name in sides[0]]
        give_verdicts(metrics)
        alarms += any(metric.verdict not in (NO_DIFFERENCE, TOO_FEW) for metric in metrics)

    assert alarms / 300 <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("metrics", [1, 5])
def test_the_smallest_difference_is_found_four_times_out_of_five(chance, metrics):
    """A true difference of the size that is printed is called so in about 80 % of experiments, however many metrics."""
    found, experiments = 0, 200 if metrics == 1 else 100
    for _ in range(experiments):
        ids = [str(i) for i in range(40)]
        noise = [
            metric_of(f"noise {n}", {i: 0.0 for i in ids}, {i: chance.gauss(0, 100) for i in ids})
            for n in range(metrics)
        ]
        give_verdicts(noise)
        gain = fmean(metric.smallest for metric in noise)
        noise[0] = metric_of("real", {i: 0.0 for i in ids}, {i: chance.gauss(gain, 100) for i in ids})
        give_verdicts(noise)
        found += noise[0].verdict == "better"

    assert 0.74 < found / experiments < 0.9


# ---------------------------------------------------------------- one metric


def scores(values):
    return {str(i): float(value) for i, value in enumerate(values)}


def test_equal_grades_are_no_certainty():
    """Six pairs of equal grades leave room for a loss, as six pairs without a flip do."""
    grades = scores([0.5, 0.75, 0.5, 1, 0.25, 0.5])

    metric = metric_of("politeness", grades, grades)

    assert metric.low < -0.3 and metric.high > 0.3


def test_intervals_of_bounded_scores_stay_within_what_is_possible():
    """A difference of scores within 0 and 1 is at most 1."""
    metric = metric_of("correct", scores([0] * 12), scores([1] * 12))

    assert metric.low < 1 and metric.high <= 1


def test_a_shift_of_all_seconds_keeps_its_interval():
    """The same gain on every example is a gain, give or take: nothing pulls the interval towards 0."""
    before = scores(3.0 + i / 100 for i in range(20))
    after = scores(0.5 + i / 90 for i in range(20))

    metric = metric_of("latency", before, after, bounded=False)

    assert metric.low < metric.difference < metric.high < metric.difference + 0.05


def test_seconds_may_differ_by_more_than_one():
    """What has no bounds has none because its values happen to be small."""
    before, after = scores([0.01] * 5 + [0.9] * 5), scores([0.9] * 5 + [0.01] * 5)

    assert metric_of("latency", before, after, bounded=False).high == pytest.approx(
        -metric_of("latency", before, after, bounded=False).low
    )


def test_nearly_equal_sizes_are_counted_on_a_grid():
    """18 up by 1, 8 down by 1 and one down by 0.01: the p is that of exact counting, not of an expansion."""
    assert paired.sign_flip([1.0] * 18 + [-1.0] * 8 + [-0.01]) == pytest.approx(0.0755, abs=1e-4)


def test_the_smallest_difference_is_not_printed_where_nothing_can_be_shown():
    """Four pairs cannot show anything, and promise nothing."""
    metric = metric_of("correct", scores([0, 1, 0, 1]), scores([1, 1, 0, 1]))

    give_verdicts([metric])

    assert (metric.verdict, metric.smallest) == (TOO_FEW, None)


def test_too_few_pairs_is_said_only_where_no_result_could_have_shown_more():
    """Beside two clear metrics, 6 of 6 improved is a finding: Holm tests the last of them at the full level."""
    clear = [metric_of(name, scores([0] * 40), scores([1] * 40)) for name in ("a", "b")]
    few = metric_of("c", scores([0.2] * 6), scores([0.4, 0.5, 0.6, 0.4, 0.5, 0.6]))
    unclear = metric_of("d", scores([0, 1] * 20), scores([1, 0] * 20))

    give_verdicts([*clear, few])
    assert (few.p, few.verdict) == (0.03125, "better")
    give_verdicts([*clear, few, unclear])
    assert (few.p, few.verdict) == (0.0625, TOO_FEW)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [20, 39])
def test_unequal_repetitions_raise_no_alarm(chance, pairs):
    """One score against the mean of five, with nothing between them: at most 6 % are called different."""
    alarms = 0
    for _ in range(300):
        rights = [chance.betavariate(2, 1) for _ in range(pairs)]
        old = {str(i): [float(chance.random() < right)] for i, right in enumerate(rights)}
        new = {str(i): [float(chance.random() < right) for _ in range(5)] for i, right in enumerate(rights)}
        sides = ({i: fmean(values) for i, values in side.items()} for side in (old, new))
        metric = metric_of("correct", *sides, single=({}, new))
        alarms += metric.p_alone < 0.05

    assert metric.test == "permutation within examples" and metric.repetitions == [1, 5]
    assert alarms / 300 <= 0.065


@pytest.mark.parametrize("values", [[0, 1], [0, 0.5, 1], [1, 2, 3, 4, 5]], ids=str)
def test_unequal_repetitions_of_few_examples_have_the_exact_p(chance, values):
    """Two examples, all their shuffles enumerated; most examples may have equal scores, which say nothing."""
    for _ in range(40):
        pairs = [(chance.choices(values, k=3), chance.choices(values, k=chance.choice([1, 4]))) for _ in range(2)]

        p = paired.within_examples([*pairs, ([1, 1, 1], [1])])

        assert p == pytest.approx(enumerated(pairs))


def test_unequal_repetitions_of_continuous_scores_have_the_exact_p(chance):
    """Three or four examples that all lost, some by as much as can be: no p is below the enumerated one."""
    for sizes in [(1, 1, 2), (1, 2, 2), (1, 1, 1, 2), (2, 3, 2)] * 10:
        pairs = [([chance.uniform(0.3, 1)], [chance.uniform(0, 0.4) for _ in range(size)]) for size in sizes]

        assert paired.within_examples(pairs) == pytest.approx(enumerated(pairs))
        assert paired.within_examples([(old, [s * 1e90 for s in new]) for old, new in pairs]) > 0


def enumerated(pairs):
    """The p of shuffling, by looking at every shuffle."""
    each = [[fmean(new) - fmean(old) for old, new in splits(*pair)] for pair in pairs]
    sums = [abs(sum(of)) for of in itertools.product(*each)]
    seen = abs(sum(fmean(new) - fmean(old) for old, new in pairs))
    return sum(of > seen - 1e-9 for of in sums) / len(sums)


def splits(old, new):
    """All ways to share out the scores of both sides between them."""
    pool, places = [*old, *new], range(len(old) + len(new))
    for chosen in itertools.combinations(places, len(old)):
        yield [pool[i] for i in chosen], [pool[i] for i in places if i not in chosen]


def test_many_repetitions_are_not_counted_one_by_one(chance):
    """Ten against nine scores of 1,000 examples, and 50 against 40 of one, have more shuffles than can be looked at."""
    many = [([chance.random() for _ in range(10)], [chance.random() for _ in range(9)]) for _ in range(1000)]
    one = [([chance.random() for _ in range(50)], [chance.random() + 0.12 for _ in range(40)])]
    better = [(old, [score + 0.02 for score in new]) for old, new in many]

    assert 0.05 < paired.within_examples(many) < 1
    assert 0 < paired.within_examples(better) < 0.001
    assert 0.005 < paired.within_examples(one) < 0.3


@pytest.mark.parametrize("old, new", [(2, 1), (3, 4), (1, 5), (4, 4)])
def test_the_expansion_has_the_moments_of_all_shuffles(chance, old, new):
    """In closed form, they are those of the enumerated differences."""
    pool = significance.centred([chance.lognormvariate(0, 1) for _ in range(old + new)], 1.0)
    every = [fmean(ours) - fmean(theirs) for theirs, ours in splits(pool[:old], pool[old:])]

    assert significance.shuffled_moments(pool, old) == pytest.approx(
        [fmean(each**power for each in every) for power in (2, 3, 4)]
    )


def test_four_examples_of_unequal_repetitions_can_show_a_difference():
    """Of 24 shuffles, the one that was seen is the only one so far from zero: p is 1/24."""
    single = {"0": [0.66, 0.68], "1": [0.81], "2": [0.61], "3": [0.78]}
    after = {i: fmean(of) for i, of in single.items()}
    metric = metric_of("grade", {"0": 0.12, "1": 0.16, "2": 0.07, "3": 0.24}, after, single=({}, {"0": single["0"]}))

    give_verdicts([metric])

    assert metric.p == pytest.approx(1 / 24) and metric.verdict == "better"


@pytest.mark.slow
@pytest.mark.parametrize("counted", [0, 1_500])
def test_unequal_repetitions_have_the_p_of_shuffling(chance, monkeypatch, counted):
    """Counting, and the expansion, agree with 20,000 shuffles of each example's scores."""
    monkeypatch.setattr("langsmith_rest.paired.significance.SHUFFLED", counted)
    pairs = [([chance.gauss(0, 1)], [chance.gauss(0.4, 1) for _ in range(4)]) for _ in range(30)]
    observed = abs(sum(fmean(new) - fmean(old) for old, new in pairs))

    far = 0
    for _ in range(20_000):
        total = 0.0
        for old, new in pairs:
            pool = old + new
            first = pool[chance.randrange(len(pool))]
            total += (sum(pool) - first) / len(new) - first
        far += abs(total) >= observed

    assert paired.within_examples(pairs) == pytest.approx(far / 20_000, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.2, 0.5])
def test_clusters_are_the_units(chance, alike):
    """20 clusters of 5 alike examples, nothing between them: at most 6 % are called different, where examples as units
    say so at least in 10 %."""
    alarms = dict.fromkeys(("clusters", "examples"), 0)
    for _ in range(200):
        shared = [chance.gauss(0, alike**0.5) for _ in range(20)]
        gains = scores(of + chance.gauss(0, (1 - alike) ** 0.5) for of in shared for _ in range(5))
        zeros = dict.fromkeys(gains, 0.0)
        by_cluster = metric_of("x", zeros, gains, clusters={i: int(i) // 5 for i in gains})
        alarms["clusters"] += by_cluster.p_alone < 0.05
        alarms["examples"] += metric_of("x", zeros, gains).p_alone < 0.05

    assert by_cluster.clusters == 20 and by_cluster.pairs == 100
    assert alarms["clusters"] / 200 <= 0.065 and alarms["examples"] / 200 > 0.1


def test_clusters_of_unequal_size_keep_the_mean_of_the_examples():
    """The difference is that of all examples; an example without a cluster is one of its own."""
    before, after = scores([0] * 10), scores([1, 1, 1, 1, 0, 0, 1, 0, 0, 1])

    metric = metric_of("correct", before, after, clusters={"0": "a", "1": "a", "2": "a", "3": "b", "4": "b"})

    assert (metric.difference, metric.pairs, metric.clusters) == (0.6, 10, 7)
    assert metric.low < 0.6 < metric.high


# ---------------------------------------------------------------- means


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_interval(successes, n, low, high):
    """The interval of a rate equals the published examples, and has a width at 0 %, too."""
    assert paired.wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_one_value_has_no_interval():
    """A single value says nothing about its spread; no values have no mean."""
    alone = paired.mean_of([0.5])

    assert (alone.mean, alone.low, alone.high) == (0.5, None, None)
    assert paired.mean_of([]) is None


def test_interval_of_bounded_scores_stays_in_bounds():
    """Scores between 0 and 1 have a mean between 0 and 1, whatever the normal approximation thinks."""
    assert paired.mean_of([0.99, 1.0, 1.0, 0.2]).high == 1.0


def test_scores_too_large_for_arithmetic_are_no_crash():
    """Scores near the end of what a float holds have a count, and no difference."""
    ids = "abcdef"
    metric = metric_of("huge", dict.fromkeys(ids, 1e308), dict.fromkeys(ids, -1e308))

    assert (metric.pairs, metric.difference, metric.p_alone, metric.low) == (6, None, None, None)
    assert paired.mean_of([1e308, 1e308, 1e308]).low is None
