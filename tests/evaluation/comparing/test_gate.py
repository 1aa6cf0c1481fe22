"""The gate: what passes, what fails, and that its words say what was tested."""

import json
import math

import pytest
from gates import CRASH, only_check

import recorder
from langsmith_rest import connection
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.gate import Limits

NOISY = [1, 0] * 20
GATES = {
    "a mean that is high enough": (Limits(fail_below={"correct": 0.5}), "passed"),
    "a mean that is too low": (Limits(fail_below={"correct": 0.8}), "failed"),
    "a mean that is too high": (Limits(fail_above={"correct": 0.4}), "failed"),
    "errors that are few enough": (Limits(fail_above={"error_rate": 0.05}), "passed"),
    "a loss that is not ruled out": (Limits(max_regression={"correct": 0.02}), "inconclusive"),
    "a loss that is ruled out": (Limits(max_regression={"correct": 0.6}), "passed"),
    "pairs enough": (Limits(require_pairs=0.9), "passed"),
    "failed outweighs inconclusive": (
        Limits(max_regression={"correct": 0.02}, fail_below={"correct": 0.8}),
        "failed",
    ),
}


def test_the_gate_says_one_of_three_words(api, record):
    """40 pairs with 20 flips, as many up as down, against each limit."""
    record("before", NOISY)
    record("after", [1, 0, 0, 1] * 10)

    gates = {name: compare(api, "before", "after", limits=limits).gate for name, (limits, _) in GATES.items()}

    assert {name: gate.verdict for name, gate in gates.items()} == {name: word for name, (_, word) in GATES.items()}
    assert [name for name, gate in gates.items() if gate.verdict not in {one.verdict for one in gate.checks}] == []


def test_a_proven_loss_fails(api, record):
    """What is shown to be worse, by more than allowed, fails; the reason has the numbers."""
    record("before", [1] * 40)
    record("after", [1] * 20 + [0] * 20)

    (check,) = compare(api, "before", "after", limits=Limits(max_regression={"correct": 0.02})).gate.checks

    assert check.verdict == "failed"
    assert check.reason.startswith("-0.5 over 40 pairs (95 % interval -0.")
    assert check.reason.endswith(": worse than the baseline by more than 0.02 (p <0.0001)")


def test_a_loss_of_too_few_pairs_is_inconclusive(api, record):
    """Four of four lost looks terrible, and still shows nothing."""
    record("before", [1] * 4)
    record("after", [0] * 4)

    gate = compare(api, "before", "after", limits=Limits(max_regression={"correct": 0.02})).gate

    assert gate.verdict == "inconclusive"


def test_pairs_are_required_of_examples_and_of_the_metric(api, record):
    """A candidate that leaves out, or does not score, what is hard does not pass."""
    record("before", [1] * 20)
    record("unscored", [1] * 10 + [None] * 10)
    record("short", [1] * 10)
    limits = Limits(max_regression={"correct": 0.5}, require_pairs=0.9)

    unscored = compare(api, "before", "unscored", limits=limits).gate
    short = compare(api, "before", "short", limits=limits).gate

    reasons = [check.reason for check in unscored.checks if check.verdict == "failed"]
    assert reasons == ["10 of 20 correct form pairs"]
    reasons = [check.reason for check in short.checks if check.verdict == "failed"]
    assert reasons == ["10 of 20 examples form pairs", "10 of 20 correct form pairs"]


def test_a_score_that_the_candidate_lacks_is_below_every_limit(api, record):
    """No scores are no reason to pass."""
    record("before", [1] * 8)
    record("after", [None] * 8)

    gate = compare(api, "before", "after", limits=Limits(fail_below={"correct": 0.1})).gate

    assert [(check.verdict, check.reason) for check in gate.checks] == [
        ("failed", "the candidate has no correct (8 not scored)")
    ]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_regression={"correct": -0.1}),
        Limits(max_regression={"correct": math.nan}),
        Limits(fail_below={"correct": math.nan}),
        Limits(fail_above={"latency": "2 s"}),
        Limits(require_pairs=90),
        Limits(fail_above={"error_rate": 5}),
        Limits(max_regression={"error_rate": 2}),
        Limits(require_pairs=0),
    ],
)
def test_limits_that_make_no_sense_are_refused_before_any_request(limits):
    """A share is at most 1, a loss at least 0."""
    with pytest.raises(ValueError, match="expected"):
        compare(connection.connect("http://127.0.0.1:1"), "before", "after", limits=limits)


def test_a_limit_that_was_meant_in_percent_says_that_it_has_no_effect(api, record):
    """Scores may lie between 0 and 1 by chance, so it is not refused."""
    record("before", [1] * 8)
    record("after", [0] * 8)

    loss = only_check(api, "before", "after", max_regression={"correct": 5})
    mean = only_check(api, "before", "after", fail_above={"correct": 5})

    assert loss.reason.endswith("; all scores are between 0 and 1, so no mean is beyond 5 (5 % is 0.05)")
    assert mean.reason.endswith("; all scores are between 0 and 1, so no mean is beyond 5 (5 % is 0.05)")


@pytest.mark.slow
def test_failed_says_by_more_than_the_limit_only_where_the_interval_does(api, record):
    """A loss that is shown, of an estimate above the limit, whose interval reaches below it."""
    record("before", [1] * 200)
    record("after", [0] * 12 + [1] * 188)

    check = only_check(api, "before", "after", max_regression={"correct": 0.04})

    assert check.verdict == "failed"
    assert check.reason.endswith(": worse than the baseline (p 0.0002), and the mean loss is above 0.04")


def test_metrics_without_a_limit_do_not_weaken_the_gate(api):
    """The same loss fails alone and among ten metrics; the table adjusts for all of them."""
    for name, right in (("before", 8), ("after", 0)):
        results = [
            {
                "inputs": {"q": q},
                "outputs": {},
                "feedback": {"correct": int(q < right), **{f"other-{n}": q % 2 for n in range(9)}},
            }
            for q in range(40)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    found = compare(api, "before", "after", limits=Limits(max_regression={"correct": 0.02}))

    [correct] = [metric for metric in found.candidates[0].metrics if metric.name == "correct"]
    assert correct.p == pytest.approx(10 * correct.p_alone)
    assert found.gate.verdict == "failed" and "adjusted" not in found.gate.checks[0].reason


@pytest.mark.slow
def test_an_inconclusive_limit_says_how_many_pairs_it_takes(record, run):
    """The number of pairs, the exit code and the option are on stderr and in Markdown."""
    record("before", [1, 0] * 100)
    record("after", [0, 1] * 10 + [1, 0] * 90)

    code, out, err = run("before", "after", "--max-regression", "correct=0.02", "--markdown")

    assert code == 0
    assert "about 2,138 pairs with this spread would rule out a larger loss 4 times out of 5." in err
    assert "An inconclusive gate has exit code 0; --inconclusive-exit CODE chooses another." in err
    assert "about 2,138 pairs" in out and r"exit code 0" in out


def test_clusters_of_examples_are_the_units(api, run):
    """--cluster takes a key of example metadata; the rows say how many clusters there are."""
    for name, gain in (("before", 0), ("after", 1)):
        results = [
            {
                "inputs": {"q": q},
                "outputs": {},
                "feedback": {"correct": int(q % 4 == 0) * gain},
                "example_metadata": {"document": q // 4} if q < 36 else {},
            }
            for q in range(40)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    code, out, _ = run("before", "after", "--cluster", "document")
    refused = run("before", "after", "--cluster", "documents")

    assert code == 0 and "correct: 40 pairs in 13 clusters" in out
    assert "a cluster is all examples with the same document; 4 examples without it, each in its own cluster" in out
    assert "&cluster=document" in out
    assert (
        refused[0] == 2
        and "No example has the metadata key 'documents': the keys are dataset_split, document." in refused[2]
    )


def test_failed_runs_and_evaluators_have_a_line(record, run):
    """A metric whose evaluator failed everywhere is still in the table, and in JSON."""
    broken = [{"key": "correct", "error": True, "comment": "no key"}]
    record("before", [1] * 6)
    record("after", [broken] * 4 + [[*broken, {"key": "correct", "score": 1}], CRASH])

    _, out, _ = run("before", "after")
    _, as_json, _ = run("before", "after", "--json")

    [candidate] = json.loads(as_json)["candidates"]
    assert "candidate  after: 6 examples, 1 of 6 runs failed" in out
    assert "correct: the evaluator failed on 5 runs of the candidate" in out
    left_out = "the means leave out 1 failed run of the candidate, unless scored"
    assert f"{left_out}; a limit counts each as the worst score\n" in out
    assert (candidate["failed_runs"], candidate["failed_evaluators"]) == (1, {"correct": 5})


@pytest.mark.parametrize(("form", "told"), [((), 0), (("--json",), 1), (("--markdown",), 1)])
def test_a_limit_that_fails_is_told_once(record, run, form, told):
    """In the text that people read, or else on stderr beside a report."""
    record("before", [1] * 6)
    record("after", [0] * 6)

    code, out, err = run("before", "after", "--fail-below", "correct=0.9", *form)

    line = "failed: after: fail_below correct=0.9: the mean of 6 examples is 0, below 0.9"
    assert (code, err.count(line), f"{out}{err}".splitlines().count(line)) == (1, told, 1)


def test_a_metric_that_failed_on_both_sides_keeps_its_row(record, run):
    """Nothing that somebody asked for vanishes."""
    broken = [{"key": "judge", "error": True}]
    record("before", [broken] * 3)
    record("after", [broken] * 3)

    _, out, _ = run("before", "after")

    assert any(line.startswith("judge ") and line.endswith("too few pairs") for line in out.splitlines())
