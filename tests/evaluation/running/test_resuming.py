"""Going on with an experiment: after a stop, an outage, failures, and for more evaluators."""

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import FIXTURES
from squares import ROWS, fails_on_odd, feedback_of, runs_of, square

import rest
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation import runs_api
from langsmith_rest.evaluation.evaluators.answers import exact_match, length_limit
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.evaluation.running.evaluation import Interrupted
from langsmith_rest.evaluation.running.files import load_function
from recorder import RecordingError


def test_the_same_name_goes_on_where_it_stopped(api, run):
    """Examples that have a run are not run again; sums are those of the whole experiment."""
    run(data=ROWS[:2])
    called = []
    found = run(lambda inputs: called.append(inputs["n"]) or square(inputs))

    assert sorted(called) == [2, 3, 4, 5]
    assert (found.planned, found.done, found.existing) == (4, 4, 2)
    assert found.scores.numbers["exact_match"] == 6
    assert run().planned == 0
    assert all(len(some) == 1 for some in runs_of(api, found.experiment_name).values())


def test_failed_runs_are_retried_on_request(api, run):
    """The new run names the failed one, which counts no longer: not in sums, not in a pair, not when scored again."""
    run(fails_on_odd)
    assert run().planned == 0

    found = run(retry_errors=True)

    assert (found.planned, found.existing, found.scores.numbers["exact_match"]) == (3, 3, 6)
    assert found.scores.as_json()["exact_match"]["mean"] == 1
    old, new = sorted(runs_of(api, found.experiment_name)[3], key=lambda one: one["start_time"])
    assert new["metadata"]["retry_of"] == old["id"]
    assert run(retry_errors=True).planned == 0
    assert run("first", [exact_match], None).scored == 6
    counting = runs_api.list_experiment_runs(api, found.dataset_id, [found.experiment_id])
    assert [len(example["runs"]) for example in counting] == [1] * 6  # what `compare` sees


@pytest.mark.slow
def test_two_at_once_say_that_they_ran_the_same(run):
    """Neither sees the other's runs when it plans its own; whoever ends last says so, and so does the next call."""
    both_plan = threading.Barrier(2)

    def target(inputs):
        if inputs["n"] == 0:
            both_plan.wait(60)
        return square(inputs)

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(run, target, max_concurrency=1) for _ in range(2)]]

    assert max(one.doubled for one in found) == 6
    assert run(target).doubled == 6


@pytest.mark.slow
def test_more_repetitions_asked_for_before_are_no_doubles(run):
    """The experiment says how many it was begun with."""
    assert run(num_repetitions=2).doubled == 0
    assert run().doubled == 0
    assert run(square, experiment_name="other", metadata={"num_repetitions": "two"}).doubled == 0


@pytest.mark.slow
def test_another_version_of_the_target_is_noticed(api, run, tmp_path):
    """Its file, or its name, is another than when the experiment was begun."""
    file = tmp_path / "versions_of_it.py"
    file.write_text("def answer(inputs):\n    return {'n': 1}\n\n\ndef other(inputs):\n    return {}\n")
    answer, other = load_function(f"{file}:answer"), load_function(f"{file}:other")

    first, same, with_other = run(answer), run(answer), run(other)
    file.write_text(file.read_text().replace("1", "2"))
    changed = run(answer)

    found = [one.target_changed for one in (first, same, with_other, changed)]
    assert found == [False, False, True, True]
    assert len(calls.find_experiment(api, "first")["extra"]["metadata"]["target_hash"]) == 8
    assert run(functools.partial(answer), experiment_name="new").target_changed is False


@pytest.mark.slow
def test_a_target_that_exits_ends_nothing_else(api, run):
    """Neither one that blocks nor one that is awaited; evaluators alike."""

    def ends(inputs):
        sys.exit("no model")

    async def ends_later(inputs):
        await asyncio.sleep(0)
        sys.exit("no model")

    def gives_up(outputs):
        sys.exit(3)

    found = run(ends, [])
    later = run(ends_later, experiment_name="later")
    judged = run(square, [gives_up], experiment_name="judged")

    assert (found.errors, later.errors, judged.evaluator_errors) == (6, 6, 6)
    assert all("SystemExit: no model" in runs_of(api, one.experiment_name)[0][0]["error"] for one in (found, later))


def test_answers_that_are_no_dictionaries_are_counted(run):
    """Most often the function lacks its return; one without parameters cannot mean the inputs."""
    found = run(lambda inputs: None if inputs["n"] else "text")

    assert (found.bare, found.nothing) == (6, 5)
    with pytest.raises(ValueError, match="'target' takes no parameters"):
        run(lambda: {})


def test_nothing_left_to_do_shows_the_totals_of_the_experiment(api, run):
    """Failed runs count whenever they were made, and the metrics stand in the same order each time."""
    evaluators = [length_limit(1), exact_match]
    first = run(fails_on_odd, evaluators)
    again = run(fails_on_odd, evaluators)

    assert (again.done, again.existing, first.errors, again.errors) == (0, 6, 3, 3)
    assert list(again.scores.as_json().items()) == list(first.scores.as_json().items())
    assert list(first.scores.as_json()) == ["exact_match", "length_limit"]
    assert run("first", [exact_match], None).errors == 3


@pytest.mark.slow
def test_only_the_evaluators_asked_for_decide(api, run):
    """What another evaluator failed at earlier is shown, but is no failure of this call."""

    def broken(outputs):
        raise RuntimeError("no model")

    run(evaluators=[broken])
    found = run(evaluators=[broken, exact_match])  # scores what is there, as the second has not spoken
    assert (found.evaluator_errors, found.scores.numbers["exact_match"]) == (6, 6)

    other = run(evaluators=[exact_match], retry_errors=True)
    assert (other.evaluator_errors, other.scores.as_json()["broken"]["errors"]) == (0, 6)
    assert run(evaluators=[broken]).evaluator_errors == 6


@pytest.mark.slow
def test_failed_evaluators_are_retried_on_request(api, run):
    """As failed runs are, without running the target; other feedback stays in the sums."""
    is_broken = [True]

    def sometimes(outputs):
        if is_broken[0]:
            raise TimeoutError("model down")
        return True

    run(evaluators=[sometimes, exact_match])
    is_broken[0] = False
    assert run(evaluators=[sometimes]).evaluator_errors == 6

    found = run(lambda inputs: pytest.fail("called"), [sometimes], retry_errors=True)

    assert (found.scored, found.evaluator_errors) == (6, 0)
    assert {key: sums["n"] for key, sums in found.scores.as_json().items()} == {"sometimes": 6, "exact_match": 6}


def test_runs_whose_scores_got_lost_are_scored_again(api, run):
    """As after a crash between a run and its feedback: the target is not called for that."""
    run(evaluators=[])
    found = run(lambda inputs: pytest.fail("called"))

    assert (found.planned, found.scored, found.feedback["created"]) == (0, 6, 6)
    some = feedback_of(api, found)
    calls.delete_feedback(api, some[0]["id"])
    again = run(evaluators=[exact_match])
    assert (again.scored, again.feedback["created"], again.scores.numbers["exact_match"]) == (1, 1, 6)
    assert {item["id"] for item in feedback_of(api, found)} == {item["id"] for item in some}


def test_results_are_recorded_while_others_are_still_running(api, run, monkeypatch):
    """A crash loses nothing that was finished: one slow call does not hold back the others."""
    monkeypatch.setattr("langsmith_rest.recording.batches.FLUSH_SECONDS", 0.1)
    recorded, go_on = [], threading.Event()

    def target(inputs):
        if inputs["n"] == 5:
            deadline = time.monotonic() + 60
            while len(recorded) < 5 and time.monotonic() < deadline:
                time.sleep(0.1)
                session = rest.find_session(api, name="first")
                dataset = rest.find_dataset(api, "squares")
                if session:
                    pages = runs_api.list_experiment_runs(api, dataset["id"], [session["id"]])
                    recorded[:] = [one for example in pages for one in example["runs"]]
            go_on.set()
        return square(inputs)

    run(target)

    assert go_on.is_set() and len(recorded) == 5


def test_a_name_of_other_data_is_refused(api, run, tmp_path):
    """An experiment belongs to one dataset; it is looked for before a dataset, or an example, is made."""
    run()
    run(dataset_name="known", experiment_name="second")
    (tmp_path / "others.json").write_text(json.dumps(ROWS))
    for data in ({"dataset_name": "others"}, {"data": str(tmp_path / "others.json"), "dataset_name": None}):
        with pytest.raises(LookupError, match="'first' is taken by the dataset"):
            run(**data)
    with pytest.raises(LookupError, match="'first' is taken by the dataset"):
        run(data=[{"inputs": {"n": 99}}], dataset_name="known")

    found = {one["name"]: one["example_count"] for one in calls.list_datasets(api)}
    assert found == {"squares": 6, "known": 6}


SLOW = """
import sys, time
def run(inputs):
    print("called", inputs["n"], file=sys.stderr, flush=True)
    time.sleep(0.3)
    return {"n": inputs["n"] ** 2}
"""


@pytest.fixture
def slow(tmp_path, server):
    """The command over 40 slow calls as a process of its own, and a way to count its runs."""
    (tmp_path / "slow_agent.py").write_text(SLOW)
    rows = [json.dumps({"inputs": {"n": n}, "reference_outputs": {"n": n}}) for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    command = [
        "evaluate",
        "slow_agent.py:run",
        "--data",
        "rows.jsonl",
        "--experiment",
        "slow",
        "--max-concurrency",
        "2",
    ]
    environment = {**os.environ, "LANGSMITH_ENDPOINT": server.url}

    def start():
        script = [sys.executable, str(FIXTURES.parent / "main.py"), *command]
        return subprocess.Popen(script, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    return start


def called(process, times):
    """Wait until the process has called its target so often."""
    seen = 0
    for line in process.stderr:
        seen += line.startswith("called")
        if seen == times:
            return


@pytest.mark.slow
def test_ctrl_c_records_what_is_finished_and_says_how_to_go_on(api, slow):
    """No run is lost, no run is done twice."""
    process = slow()
    called(process, 5)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)

    assert process.returncode == 130
    session = calls.find_experiment(api, "slow")
    dataset_id = session["reference_dataset_id"]
    recorded = sum(len(example["runs"]) for example in runs_api.list_experiment_runs(api, dataset_id, [session["id"]]))
    assert 5 <= recorded < 20
    assert f"Interrupted: {recorded} runs recorded, {40 - recorded} missing." in talk
    assert "experiment name 'slow'" in talk
    found = evaluate(square, "rows", experiment_name="slow", langsmith=api)
    assert (found.existing, found.done) == (recorded, 40 - recorded)


@pytest.mark.slow
def test_a_killed_process_loses_only_seconds(api, slow):
    """What was finished two seconds before the kill is there; the same call runs the rest."""
    process = slow()
    called(process, 28)
    process.kill()
    process.communicate()

    found = evaluate(square, "rows", [exact_match], experiment_name="slow", langsmith=api)
    assert 8 <= found.existing < 40  # on a busy machine, calls go on before the kill arrives
    assert found.existing + found.done == 40
    assert found.scores.numbers["exact_match"] == 40  # those without feedback were scored, too


def test_stop_ends_it_as_ctrl_c_does(run):
    """For callers who are not the main thread."""
    stop = threading.Event()

    def target(inputs):
        stop.set()
        return square(inputs)

    with pytest.raises(Interrupted, match="experiment name 'first'"):
        run(target, max_concurrency=1, stop=stop)
    assert run().existing == 1


def test_an_outage_says_how_to_go_on(api, run, server):
    """The name of the experiment is in the message."""
    api.session.get_adapter(api.url).patience = 0.1

    def target(inputs):
        if inputs["n"] == 3:
            server.close()
        return square(inputs)

    with pytest.raises(RecordingError, match="use the experiment name 'first' again"):
        run(target, max_concurrency=1)
