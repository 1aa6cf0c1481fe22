"""The gate: nothing that is missing helps a candidate."""

import itertools
import random
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from gates import CRASH, only_check

import recorder
from langsmith_rest import connection
from langsmith_rest.commands.compare import exit_code
from langsmith_rest.evaluation.comparing.compare import beside, compare
from langsmith_rest.evaluation.comparing.gate import Limits, gate_of
from langsmith_rest.evaluation.comparing.reading import ExperimentScores, RunNumbers, add_means
from langsmith_rest.evaluation.running.evaluate import evaluate

MISSING = {
    "every run failed": ([CRASH] * 32, "failed", 0),
    "no score at all": ([None] * 32, "failed", 0),
    "crashes where the baseline was right": ([CRASH] * 10 + [1] * 22, "failed", 0),
    "one crash": ([CRASH] + [1] * 31, "inconclusive", 0),
    "one score missing": ([None] + [1] * 31, "inconclusive", 1),
    "one evaluator failed": ([[{"key": "correct", "error": True}]] + [1] * 31, "inconclusive", 1),
    "one not run": ([1] * 31, "inconclusive", 1),
    "ten scores missing, and too few pairs": ([None] * 10 + [1] * 22, "inconclusive", 10),
}


@pytest.mark.parametrize("scores, verdict, missing", MISSING.values(), ids=MISSING)
def test_what_is_missing_does_not_pass(api, record, scores, verdict, missing):
    """A failed run counts as 0; any other missing score may be 0, too, so the limit is not kept for sure."""
    record("before", [1] * 32)
    record("after", scores)

    check = only_check(api, "before", "after", max_regression={"correct": 0.1})

    assert (check.verdict, check.missing) == (verdict, missing)


HOLLOW = {
    "its evaluator also failed": [{"key": "correct", "score": 1}, {"key": "correct", "error": True}],
    "a text": [{"key": "correct", "value": "yes"}],
}


@pytest.mark.parametrize("limits", [{"fail_below": {"correct": 0.9}}, {"max_regression": {"correct": 0.3}}], ids=str)
@pytest.mark.parametrize("feedback", HOLLOW.values(), ids=HOLLOW)
def test_what_is_no_sound_score_is_missing(api, record, feedback, limits):
    """On the candidate alone or on both sides: no evaluator that works has said that the metric does not apply."""
    record("before", [1] * 40)
    record("half before", [1] * 20 + [feedback] * 20)
    record("after", [1] * 20 + [feedback] * 20, outputs={"a": 2})

    checks = [only_check(api, before, "after", **limits) for before in ("before", "half before")]

    assert [(check.verdict, check.missing) for check in checks] == [("inconclusive", 20)] * 2
    record("hollow", [feedback] * 40)
    assert only_check(api, "before", "hollow", **limits).verdict == "failed"


def test_repetitions_that_were_not_run_are_missing(api):
    """As those of an evaluation that leaves failed runs out; how many it was to make is in its metadata."""
    evaluate(lambda inputs: {"a": 1}, [{"inputs": {"q": q}} for q in range(8)], dataset_name="lab", langsmith=api)
    calls = itertools.count()

    def fails_at_first(inputs):
        if next(calls) < 8:
            raise CRASH
        return {"a": 1}

    for name, target in (("before", lambda inputs: {"a": 1}), ("after", fails_at_first)):
        evaluate(
            target, "lab", [correct], experiment_name=name, num_repetitions=3, max_concurrency=1,
            error_handling="ignore", langsmith=api,
        )  # fmt: skip

    mean = only_check(api, "before", "after", fail_below={"correct": 0.9})
    loss = only_check(api, "before", "after", max_regression={"correct": 0.4})

    assert (mean.verdict, mean.missing, loss.verdict, loss.missing) == ("inconclusive", 8, "inconclusive", 8)
    assert only_check(api, "after", "before", fail_below={"correct": 0.9}).verdict == "passed"


def correct(outputs):
    return 1


def test_a_run_that_is_pending_forms_no_pair(api, record):
    """It has no answer yet."""
    recording = record("before", [1] * 4)
    record("after", [1] * 3)
    examples = connection.call(api, "GET", "/examples", params={"dataset": recording.dataset_id})
    session = connection.call(api, "GET", "/sessions", params={"name": "after"})[0]["id"]
    body = {"id": str(uuid.uuid4()), "name": "r", "run_type": "chain", "inputs": {}, "session_id": session}
    missing = next(example for example in examples if example["inputs"] == {"q": 3})
    start = {"reference_example_id": missing["id"], "start_time": datetime.now(UTC).isoformat()}
    connection.send(api, "POST", "/runs", json={**body, **start})

    check = only_check(api, "before", "after", require_pairs=0.9)

    assert (check.verdict, check.reason) == ("failed", "3 of 4 examples form pairs")


@pytest.mark.slow
def test_a_missing_score_that_cannot_matter_passes(api, record):
    """Where the limit holds with the missing scores at their worst, it passes, and says nothing of them."""
    record("before", [1] * 100)
    record("after", [1] * 99 + [None])

    check = only_check(api, "before", "after", max_regression={"correct": 0.2})

    assert check.verdict == "passed"


@pytest.mark.parametrize("limit", [{"correct": 1}, {"correct": 0.9}, {"latency": 0.1}], ids=str)
def test_a_candidate_that_failed_everywhere_keeps_no_limit(api, record, limit):
    """Not even one that the worst scores would keep, or that too few scores leave open."""
    record("before", [1, 1, 0] * 10)
    record("after", [CRASH] * 30)

    check = only_check(api, "before", "after", max_regression=limit)

    assert (check.verdict, check.reason) == ("failed", f"the candidate has no {next(iter(limit))} (30 failed runs)")


def test_the_reason_says_what_is_missing(api, record):
    """Each kind of gap is counted apart."""
    broken = [{"key": "correct", "error": True}]
    record("before", [1] * 40)
    record("after", [CRASH, None, None, broken] + [1] * 35)

    check = only_check(api, "before", "after", max_regression={"correct": 0.2})

    assert check.verdict == "inconclusive" and check.missing == 4
    assert ", 1 failed run counted as 0; but 4 scores missing (2 not scored, 1 evaluator failed, 1 not run)" in (
        check.reason
    )


def test_crashes_lower_the_mean_that_must_be_reached(api, record):
    """30 of 100 crashed and the rest is right: the mean is 0.7, not 1."""
    record("before", [1] * 100)
    record("after", [CRASH] * 30 + [1] * 70)

    check = only_check(api, "before", "after", fail_below={"correct": 0.8})

    assert (check.verdict, check.reason) == (
        "failed",
        "the mean of 100 examples is 0.7, below 0.8, 30 failed runs counted as 0",
    )


def test_a_mean_with_gaps_is_high_enough_only_at_its_worst(api, record):
    """Examples that the candidate skipped may all be wrong."""
    record("before", [1] * 10)
    record("after", [1] * 9)

    passed = only_check(api, "before", "after", fail_below={"correct": 0.9})
    open_ = only_check(api, "before", "after", fail_below={"correct": 0.95})

    assert (passed.verdict, open_.verdict, open_.missing) == ("passed", "inconclusive", 1)
    assert open_.reason.endswith("but 1 score missing (1 not run): with the worst, it is 0.9")


def test_an_evaluator_that_scores_neither_side_is_not_missing(api, record):
    """A metric that does not apply to an example says so on both sides, and is no gap."""
    record("before", [1] * 10 + [None])
    record("after", [1] * 10 + [None])

    assert only_check(api, "before", "after", fail_below={"correct": 1}).verdict == "passed"


def test_an_unscored_baseline_does_not_excuse_gaps(api, record):
    """Without any score of the baseline, nothing says that the metric does not apply."""
    record("before", [None] * 10)
    record("after", [1] + [None] * 9)

    assert only_check(api, "before", "after", fail_below={"correct": 0.9}).verdict == "inconclusive"
    assert only_check(api, "before", "after", max_regression={"correct": 0.9}).verdict == "failed"


def test_examples_that_nobody_scored_in_the_baseline_help_no_candidate(api, record):
    """They may all be losses; where the limit holds even so, or where the baseline failed, they do not matter."""
    broken = [{"key": "correct", "error": True}]
    record("before", [1] * 60 + [None] * 40)
    record("crashed", [1] * 60 + [CRASH] * 40)
    record("wrong", [1] * 60 + [0] * 40)
    record("broken", [1] * 60 + [broken] * 40)
    record("right", [1] * 100)
    limit = {"max_regression": {"correct": 0.1}}

    checks = [only_check(api, *pair, **limit) for pair in itertools.product(["before", "broken"], ["wrong", "crashed"])]
    checks += [only_check(api, *pair, **limit) for pair in itertools.permutations(["before", "broken"])]

    assert {(check.verdict, check.missing) for check in checks} == {("inconclusive", 40)}
    assert "but 40 scores missing (40 not scored in the baseline): with the worst" in checks[0].reason
    assert only_check(api, "before", "broken", max_regression={"correct": 0.9}).verdict == "passed"
    assert only_check(api, "before", "right", **limit).verdict == "passed"
    assert only_check(api, "crashed", "wrong", **limit).verdict == "passed"


def test_a_failed_run_of_the_baseline_does_not_hide_that_the_others_have_no_score(api):
    """Its score is no score, so the candidate's losses there are not left out."""
    right, wrong = {"feedback": {"correct": 1}}, {"feedback": {"correct": 0}}
    rows = {
        "before": [[right]] * 60 + [[{"error": "crash", **wrong}, {}]] * 40,
        "after": [[right]] * 60 + [[wrong]] * 40,
    }
    for name, runs in rows.items():
        results = [
            {"inputs": {"q": i}, "outputs": {"a": n}, **run} for i, of in enumerate(runs) for n, run in enumerate(of)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    check = only_check(api, "before", "after", max_regression={"correct": 0.1})

    assert (check.verdict, check.missing) == ("inconclusive", 40)


def test_a_crash_where_a_metric_does_not_apply_is_no_loss_of_it(api, record):
    """If most examples without a score in the baseline get none again; if one gets a score, a crash may hide a loss."""
    record("before", [1] * 40 + [None] * 10)
    record("after", [1] * 40 + [CRASH] * 2 + [None] * 8)
    record("scored", [1] * 40 + [CRASH] * 2 + [None] * 7 + [1])
    record("crashed", [1] * 40 + [CRASH] * 5 + [None] * 5)
    limits = [{"max_regression": {"correct": 0.1}}, {"fail_below": {"correct": 0.99}}]

    for limit, verdict in zip(limits, ("inconclusive", "failed"), strict=True):
        assert only_check(api, "before", "after", **limit).verdict == "passed"
        assert only_check(api, "before", "scored", **limit).verdict == verdict
        assert only_check(api, "before", "crashed", **limit).verdict == verdict


@pytest.mark.parametrize("score, word", [(1e90, "+1e+90 over 6 pairs"), (1e308, "beyond 1e+100, too large to compare")])
def test_huge_scores_have_means(api, record, score, word):
    """Neither their sum nor their squares need to be within a float; what cannot be compared fails, and says why."""
    record("before", [1] * 6)
    results = [{"inputs": {"q": i % 6}, "outputs": {"a": i}, "feedback": {"correct": score}} for i in range(12)]
    recorder.record_langsmith_experiment("lab", results, experiment_name="after", langsmith=api)

    mean = only_check(api, "before", "after", fail_below={"correct": 1})
    loss = only_check(api, "before", "after", max_regression={"correct": 1})

    assert (mean.verdict, mean.reason) == ("passed", f"the mean of 6 examples is {score:g}, not below 1")
    assert word in loss.reason and (loss.verdict == "failed") == (score > 1e100)


def test_a_measure_that_nothing_has_fails(record, run):
    """A limit on costs that nobody recorded is told as such."""
    record("before", [1] * 5)
    record("after", [1] * 5)

    code, out, _ = run("before", "after", "--fail-below", "cost=1")

    assert code == 1 and "failed: after: fail_below cost=1: the candidate has no cost (5 not measured)" in out


def test_a_failed_evaluator_with_the_name_of_a_measure_hides_no_measure(api, record):
    """Latency was measured, whatever happened to feedback of that name."""
    broken = [{"key": "latency", "error": True, "comment": "no"}]
    for name in ("before", "after"):
        record(name, [1] * 5, feedback=broken)

    assert only_check(api, "before", "after", fail_above={"latency": 2}).verdict == "passed"


def test_crashes_of_the_baseline_are_not_cheap(api):
    """Their tokens are no measure to hold a candidate against."""
    for name, crashed in (("before", 4), ("after", 0)):
        results = [
            {
                "inputs": {"q": q},
                **({"error": "no"} if q < crashed else {"outputs": {"a": 1}}),
                "metadata": {"usage_metadata": {"total_tokens": 1 if q < crashed else 100 + q}},
            }
            for q in range(12)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    check = only_check(api, "before", "after", max_regression={"tokens": 10})
    assert check.reason.startswith("+0 over 8 pairs")


def test_a_failed_run_counts_as_the_worst_whatever_score_it_got(api, record):
    """An evaluator that likes short answers likes none best. On the baseline's side, such scores are no scores."""
    liked = {"error": "crash", "outputs": None, "feedback": {"correct": 1}}
    record("before", [1] * 20)
    record("dead", [1] * 20, **liked)
    record("once", [1] * 10, dataset="other")
    record("partly", [1] * 10, dataset="other", **liked)

    mean = only_check(api, "before", "dead", fail_below={"correct": 0.5})
    loss = only_check(api, "before", "dead", max_regression={"correct": 1})
    none = only_check(api, "partly", "once", max_regression={"correct": 0.5})

    assert (mean.verdict, mean.reason) == (
        "failed",
        "the mean of 20 examples is 0, below 0.5, 20 failed runs counted as 0",
    )
    assert (loss.verdict, none.verdict, none.reason) == ("failed", "failed", "the baseline has no correct")


def test_examples_that_only_the_baseline_ran_are_missing(api, record):
    """Also for a metric that the baseline was never scored with; not if its working evaluator left them out."""
    record("before", [[{"key": "other", "score": 1}]] * 10)
    record("partly", [1] * 6 + [None] * 4)
    record("after", [1] * 6)

    check = only_check(api, "before", "after", fail_below={"correct": 0.9})

    assert (check.verdict, check.missing) == ("inconclusive", 4)
    assert only_check(api, "partly", "after", fail_below={"correct": 0.9}).verdict == "passed"


def test_a_crash_is_no_best_grade_where_all_grades_are_equal(api, record):
    """On a scale from 1 to 5, a failed run counts as 0: the worst grade that was seen may be the best there is."""
    record("before", [5] * 20)
    record("after", [5] * 10 + [CRASH] * 10)

    mean = only_check(api, "before", "after", fail_below={"correct": 4})
    loss = only_check(api, "before", "after", max_regression={"correct": 1})

    assert (mean.verdict, loss.verdict) == ("failed", "failed")
    assert "the mean of 20 examples is 2.5, below 4, 10 failed runs counted as 0" in mean.reason


@pytest.mark.parametrize("limits", [{"fail_above": {"latency": 1.5}}, {"max_regression": {"latency": 0.2}}])
def test_crashing_early_is_not_faster(api, record, limits):
    """The latency of a failed run is the longest that was seen."""
    slow = {"end_time": "2026-01-15T09:00:04Z"}
    record("slow", [1], **slow)
    record("before", [1] * 20)
    results = [
        {
            "inputs": {"q": i},
            "start_time": "2026-01-15T09:00:00Z",
            **(
                {"error": "crash", "end_time": "2026-01-15T09:00:00.1Z"}
                if i < 10
                else {"outputs": {"a": 1}, "end_time": f"2026-01-15T09:00:0{1 + 3 * (i == 19)}Z"}
            ),
        }
        for i in range(20)
    ]
    recorder.record_langsmith_experiment("lab", results, experiment_name="after", langsmith=api)

    check = only_check(api, "before", "after", **limits)

    assert check.verdict == "failed" and "10 failed runs counted as 4" in check.reason


@pytest.mark.parametrize("limits", [{"fail_above": {"latency": 10}}, {"max_regression": {"latency": 10}}], ids=str)
@pytest.mark.parametrize("gap", [{"error": "crash"}, None, {"outputs": {"a": 1}}], ids=["crash", "not run", "untimed"])
def test_a_latency_that_nobody_knows_keeps_no_limit(api, limits, gap):
    """There is no worst latency to put in its place; but a limit on the error rate judges failed runs instead."""
    timed = [{"inputs": {"q": i}, "outputs": {"a": 1}, "latency": 1 + i / 10} for i in range(20)]
    gaps = [{"inputs": {"q": i}, **gap} for i in (17, 18, 19) if gap]
    recorder.record_langsmith_experiment("lab", timed, experiment_name="before", langsmith=api)
    recorder.record_langsmith_experiment("lab", timed[16::-1] + gaps, experiment_name="after", langsmith=api)
    [(kind, numbers)] = limits.items()

    check = only_check(api, "before", "after", **limits)
    judged = compare(api, "before", "after", limits=Limits(**{kind: {**numbers, "error_rate": 0.5}})).gate.checks[0]

    assert (check.verdict, check.missing) == ("inconclusive", 3)
    assert "but 3 have no known latency (3 " in check.reason
    assert judged.verdict == ("passed" if gap and "error" in gap else "inconclusive")


@pytest.mark.parametrize(
    ("scores", "limits", "verdict"),
    [
        ([3, 5] * 10, {"fail_below": {"correct": 0.1}}, "passed"),  # grades: 0 is the worst
        ([-3, 5] * 10, {"fail_below": {"correct": -9}}, "inconclusive"),
        ([3, 5] * 10, {"fail_above": {"correct": 9}}, "inconclusive"),
        ([0, 1] * 10, {"fail_above": {"correct": 1}}, "passed"),
    ],
)
def test_scores_without_a_worst_value_keep_no_limit_where_they_are_missing(api, record, scores, limits, verdict):
    """As of a count of mistakes: the most that was seen is not the most there may be."""
    record("before", scores)
    record("after", [*scores[:-2], None, CRASH])

    check = only_check(api, "before", "after", **limits)

    assert check.verdict == verdict and (", which may be any number" in check.reason) == (verdict == "inconclusive")


@pytest.mark.slow
def test_missing_scores_decide_the_exit_code(record, run):
    """--inconclusive-exit is about too few pairs; what is missing is always exit code 1."""
    record("before", [1] * 40)
    record("unsure", [0, 0] + [1] * 38)
    record("missing", [None] + [1] * 39)
    record("both", [0, 0] + [None] * 10 + [1] * 28)
    flags = ["--max-regression", "correct=0.1", "--inconclusive-exit", "0"]

    assert run("before", "unsure", *flags)[0] == 0
    assert run("before", "missing", *flags)[0] == 1
    code, out, err = run("before", "both", *flags)
    assert code == 1 and "is neither shown nor ruled out; 10 scores missing (10 not scored)" in out
    assert "pairs with this spread" in err and "Scores are missing, so the exit code is 1" in err


# ---------------------------------------------------------------- whatever is taken away


def numbers(score, *, failed=False, pending=False, broken=False, text=False, latency=1.0):
    measures = {} if pending else {"error_rate": float(failed)}
    measures |= {} if pending or failed or not latency else {"latency": latency}
    keys = [frozenset(["correct"] if given else []) for given in (broken, text)]
    return RunNumbers(failed, pending, {} if score is None or text else {"correct": score}, measures, *keys)


LOSSES = {
    "not scored": lambda run: numbers(None),
    "crashed": lambda run: numbers(None, failed=True),
    "crashed, but scored": lambda run: numbers(run.scores["correct"], failed=True),
    "its evaluator failed": lambda run: numbers(None, broken=True),
    "its evaluator failed beside a score": lambda run: numbers(run.scores["correct"], broken=True),
    "a text": lambda run: numbers(None, text=True),
    "pending": lambda run: numbers(None, pending=True),
    "untimed": lambda run: numbers(run.scores["correct"], latency=0.0),
    "not run": lambda run: None,
}
LIMITS = [
    Limits(fail_below={"correct": 0.6}),
    Limits(fail_above={"correct": 0.6}),
    Limits(max_regression={"correct": 0.3}),
    Limits(fail_above={"latency": 1.5}),
    Limits(max_regression={"latency": 0.4}),
    Limits(fail_above={"error_rate": 0.2}),
    Limits(max_regression={"error_rate": 0.2}),
]


def low_first(runs):
    return lambda example: runs[example].scores["correct"]


def high_first(runs):
    return lambda example: -runs[example].scores["correct"]


def slow_first(runs):
    return lambda example: -runs[example].measures["latency"]


def gate_code(before, after, limits):
    """The exit code of a gate."""
    sides = []
    for name, runs in (("before", before), ("after", after)):
        sides.append(ExperimentScores(name, name, runs={example: [run] for example, run in runs.items() if run}))
        add_means(sides[-1])
    gate = gate_of(sides[0], [(beside(*sides, ["correct"], set(), None), sides[1])], limits, set(), None)
    return exit_code(SimpleNamespace(gate=gate), 0, str, shown=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits", LIMITS, ids=lambda limits: " ".join(f"{k}={v}" for k, v in vars(limits).items() if v)
)
def test_less_known_of_a_candidate_never_opens_the_gate(limits):
    """Whatever is lost of whichever run: exit code 1 stays 1. From the same seed, so always the same experiments."""
    rng = random.Random(7)
    closed = opened = 0
    for _ in range(40):
        share = rng.random()
        before, after = (
            {q: numbers(float(rng.random() < share), latency=rng.uniform(0.5, 2)) for q in range(8)} for _ in range(2)
        )
        for example in (0, 1):
            after[example] = rng.choice(list(LOSSES.values()))(after[example])
        if gate_code(before, after, limits):
            closed += 1
            order = sorted(range(2, 8), key=rng.choice([low_first, high_first, slow_first])(after))
            fewer = rng.choice(list(LOSSES.values()))
            worse = {**after, **{example: fewer(after[example]) for example in order[: rng.randrange(1, 5)]}}
            opened += gate_code(before, worse, limits) == 0

    assert closed > 3 and opened == 0


def test_a_latency_that_neither_side_knows_keeps_no_limit(api):
    """It is no metric that does not apply: every answer took some time."""
    timed = [{"inputs": {"q": q}, "outputs": {"a": 1}, "latency": 1 + q / 10} for q in range(12)]
    untimed = [{"inputs": {"q": 12}, "outputs": {"a": 1}}]
    recorder.record_langsmith_experiment("lab", timed + untimed, experiment_name="before", langsmith=api)
    recorder.record_langsmith_experiment("lab", timed[::-1], experiment_name="after", langsmith=api)

    for limits in ({"fail_above": {"latency": 9}}, {"max_regression": {"latency": 9}}):
        check = only_check(api, "before", "after", **limits)
        assert (check.verdict, check.missing) == ("inconclusive", 1)
