"""Whatever code under test does, the record is what happened: what was finished is recorded, nothing else is."""

import asyncio
import datetime
import functools
import os
import sys
import threading
import time

import pytest
from own_loop import run_async
from squares import ROWS, runs_of, scores_of, square

from langsmith_rest.evaluation.evaluators.answers import exact_match, length_limit
from langsmith_rest.evaluation.evaluators.signatures import RUN, bind
from langsmith_rest.evaluation.running.evaluate import aevaluate, evaluate
from langsmith_rest.evaluation.running.evaluation import Interrupted
from langsmith_rest.evaluation.running.files import load_function
from langsmith_rest.evaluation.running.provenance import git_state


class Rude(BaseException):
    """What is no Exception, as the failures of pytest are."""

    def __str__(self):
        raise ValueError("no text either")


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), Rude(), StopIteration()]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_whatever_a_target_raises_is_its_result(api, run, error, is_async):
    """One run has an error, the other five their answers and scores."""

    def raises(inputs):
        if inputs["n"] == 3:
            raise error
        return square(inputs)

    async def raises_async(inputs):
        return raises(inputs)

    found = run(raises_async if is_async else raises)

    runs = runs_of(api)
    assert (found.done, found.errors) == (6, 1)
    assert [n for n, some in runs.items() if some[0].get("error")] == [3]
    assert len(scores_of(api)) == 6


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), Rude()])
def test_whatever_an_evaluator_raises_is_its_failure(api, run, error):
    """All runs are recorded, with the scores of the others."""

    def raises(outputs):
        raise error

    found = run(square, [raises, exact_match])

    assert (found.done, found.evaluator_errors) == (6, 6)
    assert list(scores_of(api).values()) == [1] * 6


def test_an_evaluator_cannot_change_what_others_see(api, run):
    """Nor what is recorded."""

    def takes_out(inputs, outputs, reference_outputs, run, example):
        inputs.clear()
        reference_outputs.clear()
        run["outputs"].clear()
        example["inputs"].clear()
        return outputs.pop("n") >= 0

    found = run(square, [takes_out, exact_match])
    again = run("first", [takes_out, exact_match], data=None)

    assert [one.scores.as_json()["exact_match"]["mean"] for one in (found, again)] == [1.0, 1.0]
    assert runs_of(api)[3][0]["outputs"] == {"n": 9}


def test_cancelled_calls_are_missing_and_run_again(api, run):
    """What was finished is recorded by the time that the cancelled call returns; a resume runs the rest."""
    started, options = threading.Event(), {"dataset_name": "squares", "langsmith": api, "max_concurrency": 2}

    async def slow(inputs):
        if inputs["n"] < 2:
            return square(inputs)
        started.set()
        await asyncio.sleep(60)

    async def cancels():
        task = asyncio.ensure_future(aevaluate(slow, ROWS, [exact_match], experiment_name="first", **options))
        await asyncio.to_thread(started.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(cancels())

    assert {n: [one.get("error") for one in some] for n, some in runs_of(api).items() if some} == {0: [None], 1: [None]}
    found = run()
    assert (found.existing, found.done, found.errors) == (2, 4, 0)


def test_stopping_while_scoring_keeps_the_verdicts(api, run):
    """Those that were finished are recorded, and the error says how to go on."""
    run(square, [])
    stop = threading.Event()

    def stops(outputs):
        if outputs["n"] == 4:
            stop.set()
        return 1

    with pytest.raises(Interrupted, match="runs? scored. Run the same again"):
        run("first", [stops], data=None, stop=stop, max_concurrency=1)

    assert 0 < len(scores_of(api, key="stops")) < 6


def test_stopping_while_judging_pairs_asks_no_further(api, run):
    """Paid calls that have not begun do not begin; the verdicts so far are recorded."""
    for name in ("first", "second"):
        run(square, [], experiment_name=name)
    stop, asked = threading.Event(), []

    def prefer(outputs):
        asked.append(1)
        stop.set()
        return [1, 0]

    with pytest.raises(Interrupted, match="the verdicts so far are recorded"):
        run(["first", "second"], [prefer], data=None, stop=stop, max_concurrency=1)

    assert len(asked) == 1
    assert len(scores_of(api, "first", "prefer")) == 1


def test_two_evaluators_of_one_key_are_told_apart(api, run):
    """The second one fails: one score would take the place of the other when they are scored again."""

    def strict(outputs):
        return {"key": "correct", "score": 0}

    def lenient(outputs):
        return {"key": "correct", "score": 1}

    found = run(square, [strict, lenient])

    reasons = found.scores.as_json()
    assert (reasons["correct"]["mean"], reasons["lenient"]["errors"]) == (0, 6)
    assert "the evaluator 'strict' also returns the key 'correct'" in reasons["lenient"]["first_error"]
    assert list(scores_of(api, key="correct").values()) == [0] * 6


def test_evaluators_that_say_nothing_are_not_asked_again(run):
    """A resume knows that they were asked."""
    asked = []

    def silent(outputs):
        asked.append(outputs)

    run(square, [silent, exact_match])
    again = run(square, [silent, exact_match])

    assert (len(asked), again.scored, again.done) == (6, 0, 0)


def test_feedback_that_got_lost_is_made_again_whatever_else_there_is(api, run):
    """By its key: other feedback does not hide that it is missing."""
    from langsmith_rest.evaluation.api import delete_feedback, list_session_feedback

    def extra(outputs):
        return [{"key": "a", "score": 1}, {"key": "b", "score": 1}]

    found = run(square, [extra, exact_match])
    lost = next(item for item in list_session_feedback(api, found.experiment_id) if item["key"] == "exact_match")
    delete_feedback(api, lost["id"])

    again = run(square, [extra, exact_match])

    assert (again.scored, len(scores_of(api))) == (1, 6)


def test_values_bound_by_partial_stay(run):
    """`partial(f, reference_outputs=...)` means this reference, not the example's."""

    def equal(outputs, reference_outputs, run=None):
        return outputs == reference_outputs

    mine = functools.partial(equal, reference_outputs={"n": 4})

    assert "reference_outputs" not in bind(mine, RUN).by_name
    assert run(square, [mine]).scores.as_json()["equal"]["mean"] == pytest.approx(1 / 6)


def test_a_failed_run_is_not_scored_by_evaluators_that_need_an_answer(run):
    """Neither by ready-made ones, nor by one that raises: the run failed, not the evaluator."""

    def fails(inputs):
        raise RuntimeError("away")

    found = run(fails, [exact_match, length_limit(280), lambda_of_answer])

    assert found.evaluator_errors == 0
    sums = found.scores.as_json()
    assert {key: (one["n"], one.get("not_scored")) for key, one in sums.items()} == {
        key: (0, 6) for key in ("exact_match", "length_limit", "lambda_of_answer")
    }


def test_an_evaluator_that_fails_on_a_failed_run_takes_no_earlier_score_back(api, run):
    """As one that fails on an answer: its failure is not what the earlier version said."""

    def fails(inputs):
        raise RuntimeError("away")

    def polite(inputs):
        return {"key": "polite", "score": 0.5}

    run(fails, [polite])

    def polite(outputs):
        return {"key": "polite", "score": len(outputs["answer"])}

    evaluate("first", None, [polite], langsmith=api)

    assert list(scores_of(api, key="polite").values()) == [0.5] * 6


def lambda_of_answer(outputs):
    return outputs["answer"] == "x"


def test_data_recorded_a_moment_ago_is_there_whatever_the_clock_says(api, run, monkeypatch):
    """Which version of the data is read goes by the server's clock."""
    import langsmith_rest.evaluation.api as calls

    run(square, [])

    class Slow(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.datetime.now(zone) - datetime.timedelta(hours=1)

    monkeypatch.setattr(calls, "datetime", Slow)

    assert run(square, [], data="squares", experiment_name="second").planned == 6


@pytest.mark.slow
def test_git_in_another_encoding_and_a_git_that_hangs(tmp_path, monkeypatch):
    """A branch in Latin-1 is recorded as far as it can be read; nobody says clean when git did not answer."""
    script = tmp_path / "git"
    script.write_text("#!/bin/sh\ncase $1 in status) sleep 60;; rev-parse) printf 'caf\\351\\n';; *) exit 1;; esac\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("langsmith_rest.evaluation.running.provenance.GIT_SECONDS", 0.5)
    began = time.monotonic()

    state = git_state()

    assert (state["branch"], "dirty" in state) == ("caf\ufffd", False)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("data", "raises"),
    [([{"inputs": {"n": 1, "when": datetime.datetime(2026, 1, 2)}}], None), (ROWS, StopIteration())],
    ids=["data that JSON has no form for", "a StopIteration"],
)
def test_aevaluate_always_ends(api, data, raises):
    """A StopIteration, which no future can hold, would leave the caller waiting."""

    def on_progress(_):
        if raises:
            raise raises

    async def waits():
        options = {"dataset_name": "squares", "langsmith": api, "on_progress": on_progress}
        return await asyncio.wait_for(aevaluate(square, data, [], experiment_name="first", **options), 60)

    if raises:
        with pytest.raises((StopIteration, RuntimeError)):
            run_async(waits())
    else:
        assert run_async(waits()).done == 1


def test_a_file_is_loaded_as_it_is_now(tmp_path, monkeypatch):
    """Also after an edit of the same length within the same second, for which Python's cached bytecode would do."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "edited_agent.py"

    def answer(text):
        file.write_text(f"def run(inputs):\n    return '{text}'\n")
        os.utime(file, (0, 0))
        sys.modules.pop("edited_agent", None)
        return load_function(f"{file}:run")({})

    assert (answer("yes"), answer("not")) == ("yes", "not")
