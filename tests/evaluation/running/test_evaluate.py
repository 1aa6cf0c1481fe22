"""Running a target on a dataset and scoring its answers, against a real local server."""

import asyncio
import threading
import time

import pytest
from own_loop import run_async
from squares import ROWS, fails_on_odd, feedback_of, runs_of, square

from langsmith_rest.commands.evaluate_output import progress_line, report
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation.evaluators.answers import exact_match
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, ready
from langsmith_rest.evaluation.running.evaluate import aevaluate


def test_a_target_is_run_scored_and_recorded(api, run):
    """One run per example, tied to it, with its times, its name and its score."""
    found = run()

    runs = runs_of(api, found.experiment_name)
    assert {n: [r["outputs"] for r in some] for n, some in runs.items()} == {n: [{"n": n * n}] for n in range(6)}
    assert runs[2][0]["name"] == "square"
    assert runs[2][0]["start_time"] <= runs[2][0]["end_time"]
    assert [item["score"] for item in feedback_of(api, found)] == [1] * 6
    assert (found.planned, found.done, found.errors, found.feedback["created"]) == (6, 6, 0, 6)
    assert found.scores.as_json() == {"exact_match": {"n": 6, "mean": 1.0, "errors": 0}}
    assert found.experiment_id in found.url


def test_the_experiment_says_where_it_comes_from(api, run):
    """Dataset version, splits, repetitions and git in its metadata, under the SDK's names; one's own keys win."""
    found = run(metadata={"model": "m", "num_repetitions": "mine"}, description="why")

    session = calls.find_experiment(api, found.experiment_name)
    metadata = session["extra"]["metadata"]
    versions = {example["modified_at"] for example in calls.list_examples(api, found.dataset_id)}
    assert metadata["dataset_version"] == max(versions)
    assert (metadata["dataset_splits"], metadata["num_repetitions"], metadata["model"]) == (["base"], "mine", "m")
    assert session["description"] == "why" and session["end_time"]


def test_a_target_that_fails_is_a_run_with_its_error(api, run):
    """The traceback is recorded, the evaluators see no outputs, and the others go on."""
    found = run(fails_on_odd, [lambda outputs, run: {"key": "k", "score": bool(run.error), "comment": str(outputs)}])

    runs = runs_of(api, found.experiment_name)
    assert "RuntimeError: odd: 3" in runs[3][0]["error"]
    assert runs[2][0].get("error") is None
    assert found.errors == 3
    assert found.scores.as_json()["k"] == {"n": 6, "mean": 0.5, "errors": 0}
    assert {item["comment"] for item in feedback_of(api, found) if item["score"]} == {"{}"}


def test_failed_runs_can_be_left_out(api, run):
    """They are not recorded, so the same call runs them again."""
    found = run(fails_on_odd, error_handling="ignore")

    assert sorted(runs_of(api, found.experiment_name)) == [0, 2, 4]
    assert (found.done, found.left_out, found.errors) == (3, 3, 0)
    assert found.as_json()["left_out"] == 3
    again = run()
    assert (again.planned, again.existing) == (3, 3)


def test_failed_runs_that_are_left_out_are_not_said_to_be_runs(run, capsys):
    """The counts are those of the experiment, the first time and again."""
    counts = {6: "3 new, 3 failed and not recorded", 3: "0 new, 3 existing, 3 failed and not recorded"}
    for planned, runs in counts.items():
        found = run(fails_on_odd, error_handling="ignore")
        report(found, print, as_json=False)

        shown = capsys.readouterr().out
        assert f"runs         {runs}\n" in shown
        assert "exact_match  1.000 (mean of 3)\n" in shown
        assert "errors       0\n" in shown
        assert f"{planned} of {planned} done, 3 errors" in progress_line(found)


def test_evaluators_that_score_nothing_have_a_row(run, capsys):
    """Whether they say why or nothing at all, when runs are made, scored again, and seen as a whole."""

    def no_tokens(run):
        return {"score": None, "comment": "no tokens"}

    def silent(outputs):
        return None

    def some(outputs):
        return 1 if outputs["n"] else None

    evaluators = [no_tokens, silent, some]
    for found in (run(evaluators=evaluators), run("first", evaluators, None)):
        report(found, print, as_json=False)

        shown = capsys.readouterr().out
        rows = dict(line.split(maxsplit=1) for line in shown.splitlines() if "scored" in line)
        assert (rows["no_tokens"], rows["silent"]) == ("not scored (6)", "not scored (6)")
        assert rows["some"] == "1.000 (mean of 5), 1 not scored"
        assert found.as_json()["scores"]["no_tokens"] == {"n": 0, "mean": None, "errors": 0, "not_scored": 6}
        assert not found.silent

    of_all = run("first", [], None, summary_evaluators=[silent])
    assert of_all.scores.rows() == [("silent", "not scored (1)")]


@pytest.mark.parametrize(
    ("answer", "outputs", "error"),
    [
        ("text", {"output": "text"}, None),
        (None, {"output": None}, None),
        (float("nan"), None, "which JSON cannot hold"),
        (object(), None, "which JSON cannot hold"),
        ({"\ud800": 1}, None, "lone surrogate"),
    ],
)
def test_whatever_a_target_returns_is_recorded(api, run, answer, outputs, error):
    """A bare value becomes an object; what JSON cannot hold is the target's error."""
    found = run(lambda inputs: answer, [])

    [recorded] = runs_of(api, found.experiment_name)[0]
    assert recorded.get("outputs") == outputs
    assert (error or "") in (recorded.get("error") or "")


def test_targets_of_other_signatures(api, run):
    """Names out of inputs, attachments and metadata; async; a class instance."""
    seen = []

    async def waits(inputs, *, metadata, attachments):
        await asyncio.sleep(0)
        seen.append((metadata["row"], attachments))
        return square(inputs)

    run(waits)

    assert sorted(row for row, _ in seen) == list(range(6))
    with pytest.raises(ValueError, match="has the parameter 'run'"):
        run(lambda inputs, run: 1, experiment_name="other")
    with pytest.raises(ValueError, match="expected a function, an object with invoke"):
        run(7)


def test_async_targets_share_one_event_loop(run):
    """So that a client opened once can be used by all calls; evaluators may be async as well."""
    loops = set()

    async def target(inputs):
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        return square(inputs)

    async def judge(outputs):
        loops.add(asyncio.get_running_loop())
        return outputs["n"] >= 0

    found = run(target, [judge])

    assert len(loops) == 1
    assert found.scores.numbers["judge"] == 6


def test_aevaluate_runs_in_the_callers_loop(api):
    """It does not block, and async targets find the loop that their clients live in."""
    loops = []

    async def target(inputs):
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        return square(inputs)

    async def caller():
        options = {"experiment_name": "first", "dataset_name": "squares", "langsmith": api}
        found = await aevaluate(target, ROWS, [exact_match], **options)
        assert set(loops) == {asyncio.get_running_loop()}
        return found

    assert run_async(caller()).scores.sums == {"exact_match": 6}


def test_at_most_so_many_calls_at_a_time(run):
    """max_concurrency bounds what is under way, and is used."""
    at_work, most, lock = [0], [0], threading.Lock()

    def target(inputs):
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.05)
        with lock:
            at_work[0] -= 1
        return square(inputs)

    run(target, max_concurrency=3)

    assert most[0] == 3


def test_repetitions_are_runs_of_the_same_example(api, run):
    """Each example as often as asked for; asking for more later runs the difference."""
    assert run(num_repetitions=2).planned == 12
    more = run(num_repetitions=3)

    assert (more.planned, more.existing) == (6, 12)
    assert {len(some) for some in runs_of(api, more.experiment_name).values()} == {3}


# Evaluators


def test_an_evaluator_that_fails_is_recorded_and_stops_nothing(api, run):
    """Feedback with `error` and the reason under its name; the others have scored."""

    def broken(outputs):
        return outputs["missing"]

    def strange():
        return [1, 2]

    found = run(square, [broken, exact_match, strange])

    broken_ones = feedback_of(api, found, key="broken")
    assert len(broken_ones) == 6
    assert all(item["error"] and item["score"] is None and "KeyError" in item["comment"] for item in broken_ones)
    assert "returned [1, 2], expected a boolean" in feedback_of(api, found, key="strange")[0]["comment"]
    assert found.scores.as_json()["exact_match"]["mean"] == 1
    assert found.evaluator_errors == 12


def test_evaluators_with_bad_signatures_stop_it_before_anything_runs(api, run):
    """The target is not called, and nothing is created."""
    called = []

    with pytest.raises(ValueError, match="'reference'"):
        run(called.append, [lambda outputs, reference: 1])
    assert not called
    assert not list(calls.list_sessions(api, name="first"))


def test_summary_evaluators_see_the_whole_experiment(api, run):
    """Their feedback belongs to the experiment itself; doing it again corrects it in place."""

    def total(outputs, reference_outputs):
        return {"key": "total", "score": sum(map(dict.__eq__, outputs, reference_outputs))}

    def count(runs, examples):
        return len(runs) + len(examples)

    run(summary_evaluators=[total, count])
    found = run("first", [], None, summary_evaluators=[lambda outputs: {"total": 7}, count])

    scores = {item["key"]: item for item in feedback_of(api, found, level="session")}
    assert {key: item["score"] for key, item in scores.items()} == {"total": 7, "count": 12}
    assert all(item["run_id"] is None for item in scores.values())


@pytest.mark.parametrize(
    ("function", "known", "said"),
    [
        (lambda run, example: 1, PAIRWISE, "has the parameter 'run': did you mean 'runs'"),
        (lambda inputs, outputs, run: 1, PAIRWISE, "has the parameter 'run': did you mean 'runs'"),
        (lambda run, examples: 1, SUMMARY, "has the parameter 'run': did you mean 'runs'"),
        (lambda runs, example: 1, RUN, "has the parameter 'runs': did you mean 'run'"),
    ],
)
def test_evaluators_of_another_kind_are_refused(function, known, said):
    """One answer is not several; other names are taken by place."""
    with pytest.raises(ValueError, match=said):
        ready([function], known)

    assert ready([lambda one, two: 1], known)[0].by_place
