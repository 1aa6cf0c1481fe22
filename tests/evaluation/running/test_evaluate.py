"""Test evaluation/evaluate.py, scoring.py, pairwise.py, targets.py and the command against a real local server."""

import asyncio
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from chat_server import ChatServer, completion, good
from localsmith_api import multipart
from own_loop import run_async
from places import FIXTURES
from squares import ROWS, square

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.commands.evaluate import progress_line, report
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation import runs_api
from langsmith_rest.evaluation.evaluators import judge, model_server
from langsmith_rest.evaluation.evaluators.answers import exact_match, length_limit
from langsmith_rest.evaluation.evaluators.llm import accuracy
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, ready
from langsmith_rest.evaluation.evaluators.trajectories import trajectory_match
from langsmith_rest.evaluation.running.evaluate import aevaluate, evaluate
from langsmith_rest.evaluation.running.evaluation import Evaluation, ExecutorError, Interrupted
from langsmith_rest.evaluation.running.files import load_evaluators, load_function
from langsmith_rest.evaluation.running.provenance import git_state, without_credentials
from langsmith_rest.wording import alike
from recorder import RecordingError, record_langsmith_experiment


def fails_on_odd(inputs):
    if inputs["n"] % 2:
        raise RuntimeError(f"odd: {inputs['n']}")
    return square(inputs)


def runs_of(api, found):
    """The recorded runs, by the number they are about."""
    session = calls.find_experiment(api, found.experiment_name)
    selects = ("ID", "INPUTS", "OUTPUTS", "ERROR", "METADATA", "NAME", "PROJECT_ID", "START_TIME", "END_TIME")
    pages = runs_api.list_experiment_runs(api, found.dataset_id, [session["id"]], selects, with_replaced=True)
    return {example["inputs"]["n"]: example["runs"] for example in pages}


def feedback_of(api, found, **query):
    return list(calls.list_session_feedback(api, found.experiment_id, **query))


# Running a target


def test_a_target_is_run_scored_and_recorded(api, run):
    """One run per example, tied to it, with its times, its name and its score."""
    found = run()

    runs = runs_of(api, found)
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

    runs = runs_of(api, found)
    assert "RuntimeError: odd: 3" in runs[3][0]["error"]
    assert runs[2][0].get("error") is None
    assert found.errors == 3
    assert found.scores.as_json()["k"] == {"n": 6, "mean": 0.5, "errors": 0}
    assert {item["comment"] for item in feedback_of(api, found) if item["score"]} == {"{}"}


def test_failed_runs_can_be_left_out(api, run):
    """They are not recorded, so the same call runs them again."""
    found = run(fails_on_odd, error_handling="ignore")

    assert sorted(runs_of(api, found)) == [0, 2, 4]
    assert (found.done, found.left_out, found.errors) == (3, 3, 0)
    assert found.as_json()["left_out"] == 3
    again = run()
    assert (again.planned, again.existing) == (3, 3)


def test_failed_runs_that_are_left_out_are_not_said_to_be_runs(run, capsys):
    """The counts are those of the experiment, the first time and again."""
    counts = {6: "3 new, 3 failed and not recorded", 3: "0 new, 3 known, 3 failed and not recorded"}
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

    [recorded] = runs_of(api, found)[0]
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
    assert {len(some) for some in runs_of(api, more).values()} == {3}


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


# Going on


def test_the_same_name_goes_on_where_it_stopped(api, run):
    """Examples that have a run are not run again; sums are those of the whole experiment."""
    run(data=ROWS[:2])
    called = []
    found = run(lambda inputs: called.append(inputs["n"]) or square(inputs))

    assert sorted(called) == [2, 3, 4, 5]
    assert (found.planned, found.done, found.existing) == (4, 4, 2)
    assert found.scores.numbers["exact_match"] == 6
    assert run().planned == 0
    assert all(len(some) == 1 for some in runs_of(api, found).values())


def test_failed_runs_are_retried_on_request(api, run):
    """The new run names the failed one, which counts no longer: not in sums, not in a pair, not when scored again."""
    run(fails_on_odd)
    assert run().planned == 0

    found = run(retry_errors=True)

    assert (found.planned, found.existing, found.scores.numbers["exact_match"]) == (3, 3, 6)
    assert found.scores.as_json()["exact_match"]["mean"] == 1
    old, new = sorted(runs_of(api, found)[3], key=lambda one: one["start_time"])
    assert new["metadata"]["retry_of"] == old["id"]
    assert run(retry_errors=True).planned == 0
    assert run("first", [exact_match], None).scored == 6
    counting = runs_api.list_experiment_runs(api, found.dataset_id, [found.experiment_id])
    assert [len(example["runs"]) for example in counting] == [1] * 6  # what `compare` sees


def test_two_at_once_say_that_they_ran_the_same(run):
    """Neither sees the other's runs when it plans its own; whoever ends last says so, and so does the next call."""
    both_plan = threading.Barrier(2)

    def target(inputs):
        if inputs["n"] == 0:
            both_plan.wait(10)
        return square(inputs)

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(run, target, max_concurrency=1) for _ in range(2)]]

    assert max(one.doubled for one in found) == 6
    assert run(target).doubled == 6


def test_more_repetitions_asked_for_before_are_no_doubles(run):
    """The experiment says how many it was begun with."""
    assert run(num_repetitions=2).doubled == 0
    assert run().doubled == 0
    assert run(square, experiment_name="other", metadata={"num_repetitions": "two"}).doubled == 0


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
    assert all("SystemExit: no model" in runs_of(api, one)[0][0]["error"] for one in (found, later))


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


def test_a_name_of_other_data_is_refused(run):
    """An experiment belongs to one dataset."""
    run()
    with pytest.raises(LookupError, match="'first' is taken by dataset"):
        run(dataset_name="others")


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


# Elsewhere


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_the_target_runs_in_an_executor(run, kind):
    """Any executor of concurrent.futures; errors come back as errors of the target."""
    if kind == "threads":
        executor = ThreadPoolExecutor(2)
    else:
        executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    with executor:
        found = run(load_function(f"{Path(__file__)}:fails_on_odd"), executor=executor)

    assert (found.done, found.errors) == (6, 3)


def dies_on_four(inputs):
    if inputs["n"] == 4:
        time.sleep(0.5)  # the others are back by then
        os._exit(1)
    return square(inputs)


@pytest.mark.slow
def test_a_worker_that_dies_is_no_answer_of_the_target(run):
    """What was finished is recorded, and the message says how to go on."""
    target = load_function(f"{Path(__file__)}:dies_on_four")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        with pytest.raises(ExecutorError, match="BrokenProcessPool.*experiment name 'first'"):
            run(target, executor=executor, max_concurrency=1)

    found = run()
    assert (found.existing, found.done, found.errors) == (4, 2, 0)


@pytest.mark.slow
def test_the_target_runs_on_a_dask_cluster(run):
    """Dask's executor spreads a target over machines; here over two local workers."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=False)
    with cluster, distributed.Client(cluster) as client:
        found = run(fails_on_odd, executor=client.get_executor())

    assert (found.done, found.errors) == (6, 3)


# Data


def test_data_is_a_name_an_id_a_file_or_a_list(api, run, tmp_path):
    """All lead to the same examples, which are made once."""
    found = run()
    file = tmp_path / "squares.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))

    for data in ("squares", found.dataset_id, str(file), file, list(calls.list_examples(api, found.dataset_id))):
        again = run(data=data, dataset_name=None)
        assert (again.dataset_id, again.planned, again.existing) == (found.dataset_id, 0, 6)
    assert len(list(calls.list_examples(api, found.dataset_id))) == 6


def test_only_some_splits(api, run):
    """The examples of other splits are left alone, and the experiment says so."""
    rows = [{**row, "split": "odd" if n % 2 else ["even", "all"]} for n, row in enumerate(ROWS)]
    found = run(data=rows, splits=["odd"])

    assert sorted(runs_of(api, found)) == [1, 3, 5]
    assert run(data="squares", splits=["all"], experiment_name="second").planned == 3
    assert calls.find_experiment(api, "first")["extra"]["metadata"]["dataset_splits"] == ["odd"]
    with pytest.raises(ValueError, match="split 'none': there are all, even, odd"):
        run(data="squares", splits=["none"])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("square", LookupError, "squares"),
        ("missing.jsonl", ValueError, "missing.jsonl: there is no such file"),
        ([{"inputs": 1}, {"question": 1}], ValueError, "example 1: 'inputs' is a number.*\n.*example 2: 'inputs'"),
        ([], ValueError, "no examples in data"),
    ],
)
def test_data_that_is_not_there_or_not_right(run, data, error, message):
    """The nearest name, the file, or every problem, before the target is called."""
    run()
    with pytest.raises(error, match=message):
        run(lambda inputs: pytest.fail("called"), data=data)


def test_the_same_problem_of_many_examples_is_said_once(run):
    """With the first that has it; other problems get lines of their own, 20 at most."""
    with pytest.raises(ValueError) as caught:
        run(data=[{"question": "Peru?"}] * 35 + [{"inputs": {}, "metadata": {"n": float("nan")}}])

    head, *lines = str(caught.value).splitlines()
    assert head == "36 problems in data, nothing was sent:"
    assert lines[0] == "  data, example 1, 2, 3, 4 and 31 more: 'inputs' is missing, expected an object"
    assert len(lines) == 2 and lines[1].startswith("  data, example 36: ")
    assert list(alike([("a", "x"), ("b", "y"), ("c", "y")], 1)) == ["a: x", "and 1 other problem"]


def test_attachments_of_examples(api, run):
    """A target and an evaluator that ask for them get the files' names and where to read them."""
    dataset_id = calls.get_or_create_dataset(api, "squares")[0]["id"]
    example_id = "00000000-0000-4000-8000-000000000001"
    parts = [(example_id, {}), (f"{example_id}.inputs", {"n": 2}), (f"{example_id}.attachment.note", b"four")]
    body, headers = multipart(parts)
    url = f"{api.url}/v1/platform/datasets/{dataset_id}/examples"
    requests.post(url, data=body, headers={**headers, "x-api-key": "any"}).raise_for_status()

    def target(inputs, attachments):
        return {"note": requests.get(attachments["note"]["presigned_url"]).text}

    found = run(target, [lambda outputs, attachments: outputs["note"] == "four" and "note" in attachments], "squares")
    assert found.scores.sums == {"evaluator": 1}


# An experiment that is there


def test_an_experiment_is_scored_and_its_feedback_corrected(api, run):
    """The target is not needed; ids are those of recording, so nothing doubles; what is the same is left alone."""
    run()
    first = run("first", [exact_match, length_limit(1)], None)
    assert (first.planned, first.scored, first.feedback) == (6, 6, {"created": 6})

    again = run("first", [length_limit(99)], None)
    assert again.feedback == {"updated": 6}
    assert len(feedback_of(api, again)) == 12
    with pytest.raises(LookupError, match="'firts'. Did you mean 'first'"):
        run("firts", [exact_match], None)


def test_a_failure_goes_when_the_evaluator_works_and_a_score_stays_when_it_does_not(api, run):
    """A failing judge destroys no score; a working one takes back its earlier failure."""
    is_broken = [True]

    def sometimes(outputs):
        if is_broken[0]:
            raise TimeoutError("model down")
        return {"key": "fine", "score": 1}

    run(evaluators=[sometimes])
    is_broken[0] = False
    found = run("first", [sometimes], None)
    assert found.feedback == {"created": 6, "deleted": 6}
    assert {item["key"] for item in feedback_of(api, found)} == {"fine"}

    is_broken[0] = True
    found = run("first", [sometimes], None)
    assert sorted(item["key"] for item in feedback_of(api, found)) == ["fine"] * 6 + ["sometimes"] * 6


def test_recorded_steps_are_seen_by_evaluators(api):
    """Child runs are read, in order and at every level, and only when an evaluator asks for the run."""
    second = timedelta(seconds=1)
    now = datetime.now(UTC) - 9 * second
    steps = [
        {"name": name, "run_type": "tool", "inputs": {"q": name}, "outputs": {}, "start_time": now + second * at,
         "child_runs": [{"name": "inner", "run_type": "llm", "inputs": {}, "outputs": {}}]}
        for at, name in enumerate(("search", "read"))
    ]  # fmt: skip
    result = {"inputs": {"q": 1}, "outputs": {"a": 1}, "reference_outputs": {"trajectory": ["search", "read"]}}
    result |= {
        "start_time": now,
        "end_time": now + 2 * second,
        "child_runs": steps,
        "metadata": {"usage_metadata": {"total_tokens": 7}},
    }
    record_langsmith_experiment("agents", [result], experiment_name="agent", langsmith=api)

    def seen(run):
        return {"key": "seen", "score": 1, "comment": f"{run.child_runs[0].child_runs[0].name}, {run.latency}"}

    found = evaluate("agent", evaluators=[trajectory_match(), seen], langsmith=api)
    assert found.scores.sums == {"trajectory_match": 1, "seen": 1}
    assert feedback_of(api, found, key="seen")[0]["comment"] == "inner, 2.0"


def test_servers_without_v2_are_read_by_v1(tmp_path):
    """Going on, scoring, steps and pairs work on both generations of the API."""
    with localsmith.serve(tmp_path / "old.db", v2_reads=404) as server:
        options = {"langsmith": connection.connect(server.url), "dataset_name": "squares"}
        evaluate(square, ROWS[:2], experiment_name="first", **options)
        evaluate(square, ROWS, experiment_name="second", **options)

        assert evaluate(square, ROWS, [exact_match], experiment_name="first", **options).existing == 2
        assert evaluate("first", None, [trajectory_match(), length_limit(1)], **options).scored == 6
        assert evaluate(["first", "second"], None, [prefer_larger], **options).pairs == 6


# Pairwise


def prefer_first(outputs):
    return [1, 0]


def prefer_larger(inputs, runs):
    ids = {run["id"]: run.outputs.get("n", -1) for run in runs}
    best = max(ids.values())
    return {"key": "larger", "scores": {i: int(n == best > min(ids.values())) for i, n in ids.items()}, "comment": "c"}


@pytest.fixture
def pair(run):
    run(lambda inputs: {"n": 0}, experiment_name="a")
    run(square, experiment_name="b")
    return ["a", "b"]


def pairwise_feedback(api, found, run_of):
    session = calls.find_experiment(api, run_of)
    items = calls.list_session_feedback(api, session["id"])
    return [item for item in items if item["comparative_experiment_id"] == found.comparative_id]


def test_two_experiments_are_judged_side_by_side(api, run, pair):
    """A comparative experiment, and for each run a feedback, those of an example bound by a group."""
    found = run(pair, [prefer_larger], None, experiment_name=None, randomize_order=True)

    assert (found.pairs, found.means, found.ties) == (6, {"larger": [0, 5 / 6]}, {"larger": 1})
    [listed] = connection.call(api, "GET", f"/datasets/{calls.find_dataset(api, 'squares')['id']}/comparative")
    assert (listed["id"], listed["name"]) == (found.comparative_id, found.name)
    a, b = (pairwise_feedback(api, found, name) for name in pair)
    assert [sum(item["score"] for item in items) for items in (a, b)] == [0, 5]
    assert {item["feedback_group_id"] for item in a} == {item["feedback_group_id"] for item in b}
    assert len({item["feedback_group_id"] for item in a}) == 6
    assert {item["comment"] for item in a + b} == {"c"}


def test_judging_the_same_again_changes_nothing(api, run, pair):
    """One comparison of that name, its feedback created once, corrected when the judge changes its mind."""
    first = run(pair, [prefer_first], None)
    assert first.feedback["created"] == 12

    again = run(pair, [prefer_first], None)
    assert (again.comparative_id, again.feedback.total()) == (first.comparative_id, 0)

    def prefer_second(outputs):
        return {"key": "prefer_first", "scores": [0, 1]}

    assert run(pair, [prefer_second], None).feedback == {"updated": 12}


def test_the_order_is_random_by_seed_and_scores_follow_the_runs(api, run, pair):
    """A judge that likes the first answer splits its votes; the order is kept with the feedback."""
    means = []
    for seed in range(6):
        found = run(pair, [prefer_first], None, randomize_order=True, seed=seed)
        means.append(found.means["prefer_first"][0])

    assert 0 < sum(means) < 6
    assert run(pair, [prefer_first], None, randomize_order=True, seed=5).feedback.total() == 0
    named = run(pair, [prefer_first], None, experiment_name="other", randomize_order=True)
    item = pairwise_feedback(api, named, "a")[0]
    assert item["feedback_source"]["metadata"]["order"][0 if item["score"] else 1] == "a"


def test_a_failing_pairwise_evaluator_is_recorded(api, run, pair):
    """Errors on both runs; a working one takes them back."""

    def judge(outputs):
        raise ValueError("no opinion")

    found = run(pair, [judge, prefer_first], None)
    assert found.errors == {"judge": 6}
    errors = [item for item in pairwise_feedback(api, found, "a") if item.get("error")]
    assert len(errors) == 6 and errors[0]["comment"] == "ValueError: no opinion"

    def works(outputs):
        return {"key": "judge", "scores": [0, 0]}

    assert run(pair, [works], None).feedback == {"created": 12, "deleted": 12}


def test_pairs_that_cannot_be(run, pair):
    """Different experiments of one dataset, and an evaluator."""
    run(experiment_name="c", dataset_name="others")
    for experiments, evaluators in ((["a", "a"], [prefer_first]), (["a", "c"], [prefer_first]), (["a", "b"], [])):
        with pytest.raises(ValueError, match="pairwise evaluation needs"):
            run(experiments, evaluators, None)


# Files and git


def test_functions_and_evaluators_from_files(tmp_path):
    """By name, by the list `evaluators`, or all that look like evaluators; what is wrong is named."""
    file = tmp_path / "some_evals.py"
    file.write_text(
        "from os.path import join\n"
        "def one(outputs): return 1\n"
        "def two(run): return 1\n"
        "def helper(text): return 1\n"
        "def _hidden(outputs): return 1\n"
        "def target(inputs): return inputs\n"
    )

    assert [function.__name__ for function in load_evaluators(str(file))] == ["one", "two"]
    assert [function.__name__ for function in load_evaluators(f"{file}:two,helper")] == ["two", "helper"]
    assert load_function(f"{file}:target")({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="has no function 'targte'. Did you mean 'target'"):
        load_function(f"{file}:targte")
    with pytest.raises(ValueError, match="there is no such file"):
        load_evaluators(str(tmp_path / "none.py"))
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ValueError, match="name of a module that is in use"):
        load_evaluators(str(tmp_path / "json.py"))
    (tmp_path / "broken_evals.py").write_text("1 / 0")
    with pytest.raises(ValueError, match="cannot be imported: ZeroDivisionError"):
        load_evaluators(str(tmp_path / "broken_evals.py"))


def test_evaluators_of_modules_and_calls_that_make_them(tmp_path, monkeypatch):
    """`package.module:name`, `make("text", key="k")`, and no helpers of the ready-made modules."""
    (tmp_path / "my_evals.py").write_text("mine = lambda outputs: 1\nHALF = 0.5\ndef made(): return 3\n")
    monkeypatch.chdir(tmp_path)
    names = {
        "langsmith_rest.evaluation.evaluators.answers": ["exact_match"],
        "langsmith_rest:exact_match,length_limit(280)": ["exact_match", "length_limit"],
        'langsmith_rest:mentions("a: b, c", key="m")': ["m"],
        "langsmith_rest.evaluation.evaluators.trajectories": ["schema_before_query"],
        "langsmith_rest.evaluation.evaluators.llm": ["accuracy", "groundedness"],
        'langsmith_rest:llm_judge("Is it kind?", key="kind", scale=(1, 5))': ["kind"],
        str(FIXTURES.parent / "langsmith_rest" / "evaluation" / "evaluators" / "answers.py"): ["exact_match"],
        "my_evals:mine": ["mine"],
    }
    for reference, wanted in names.items():
        assert [function.__name__ for function in load_evaluators(reference)] == wanted
    assert load_evaluators('langsmith_rest:mentions("Lima")')[0](outputs={"a": "Lima!"})["score"] == 1


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_module:one", "no_such_module cannot be imported.* a file is named no_such_module.py"),
        (
            "langsmith_rest:exact_macth",
            "has no function 'exact_macth'. Did you mean 'exact_match'",
        ),
        (
            "langsmith_rest:length_limit()",
            r"length_limit\(\): ValueError: length_limit needs either characters or words",
        ),
        ("langsmith_rest:length_limit(size=3)", "unexpected keyword argument 'size'"),
        ("langsmith_rest:mentions(open('x'))", r"mentions\(open\('x'\)\): ValueError: malformed"),
        (
            "langsmith_rest.evaluation.evaluators.answers:text_of('x')",
            "makes no evaluator: name the function alone, text_of",
        ),
        ("langsmith_rest.evaluation.evaluators.answers:a.b", "expected NAME"),
        ("langsmith_rest:mentions(", "expected NAME"),
        ("my evals", "expected FILE.py"),
    ],
)
def test_references_that_mean_no_evaluator(reference, words):
    """What was written, what is wrong with it, and what was expected."""
    with pytest.raises(ValueError, match=words):
        load_evaluators(reference)


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:secret@example.com:8443/a/b.git", "https://example.com:8443/a/b.git"),
        ("https://token@example.com/a.git", "https://example.com/a.git"),
        ("git@example.com:a/b.git", "example.com:a/b.git"),
        ("/a/path", "/a/path"),
        ("https://example.com:port/", None),
    ],
)
def test_no_credentials_of_a_remote_are_recorded(remote, shown):
    """User, password and token are cut."""
    assert without_credentials(remote) == shown


def test_git_state(tmp_path, monkeypatch):
    """Commit, branch and dirty flag; nothing outside of git or without it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-b", "trunk"], ["add", "a"], [*who, "commit", "-m", "m"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    state = git_state()
    assert (len(state["commit"]), state["branch"], state["dirty"]) == (40, "trunk", False)
    (tmp_path / "a").write_text("2")
    assert git_state()["dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert git_state() is None


# The command


def test_progress_says_how_many_how_many_failed_and_how_fast():
    """Counts, errors of the target and of evaluators, and the rate."""
    found = Evaluation("", "", "", "v1", planned=40, done=20, errors=2, started=time.monotonic() - 10)
    found.scores.add({"key": "k", "error": True})

    assert progress_line(found) == "v1: 20 of 40 done, 2 errors, 1 evaluator error, 2.0/s"


@pytest.fixture
def command(monkeypatch, server, tmp_path, capsys):
    """Run main.py here; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def command(*words):
        code = main.main(["evaluate", *map(str, words)])
        return code, *capsys.readouterr()

    return command


def test_the_commands_of_the_readme(command):
    """Run, go on, score, judge."""
    agent, evals, data = (FIXTURES / name for name in ("agent.py", "evals.py", "capitals.jsonl"))

    code, out, _ = command(f"{agent}:run", "--data", data, "--evaluators", evals, "--experiment", "v1")
    assert code == 1  # the agent does not know one of the capitals
    assert out.splitlines()[:5] == [
        "experiment  v1",
        "runs        5 new",
        "correct     0.600 (mean of 5)",
        "short       1.000 (mean of 4), 1 not scored",
        "errors      1",
    ]
    assert out.splitlines()[-1].startswith("http")

    command(f"{agent}:chatty", "--data", "capitals", "--evaluators", evals, "--prefix", "v2")
    code, out, _ = command("v1", "--summary-evaluators", evals, "--json")
    assert code == 0 and json.loads(out)["scores"] == {"pass_rate": {"n": 1, "mean": 0.6, "errors": 0}}
    code, out, _ = command("--pairwise", "v1", "v2", "--evaluators", f"{evals}:shorter")
    assert code == 2  # there is no v2, but v2-1a2b3c4d


def test_position_bias_of_a_judge_is_a_rate(command, tmp_path, monkeypatch):
    """Not two means that are the same and a tie everywhere."""
    (tmp_path / "judges.py").write_text(
        "from langsmith_rest.evaluation.evaluators.llm import pairwise_judge\n"
        "likes_the_first = pairwise_judge('Prefer ...', key='clear', model='m', both_orders=True)\n"
    )
    for name in ("run", "chatty"):
        command(f"{FIXTURES / 'agent.py'}:{name}", "--data", FIXTURES / "capitals.jsonl", "--experiment", name)
    with ChatServer(good({"reasoning": "first!", "better": "A"})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        code, out, _ = command("--pairwise", "run", "chatty", "--evaluators", "judges.py")

    assert code == 0
    assert "clear                no preference, ties 5 of 5\n" in out
    assert "clear_position_bias  1.000 (5 of 5 preferences changed with the order)\n" in out


def test_judges_are_counted_cached_and_asked_afresh_on_request(command, monkeypatch, tmp_path):
    """The command says what its judges cost; the same again costs nothing, unless --fresh."""
    (tmp_path / "judging.py").write_text(
        "from langsmith_rest.evaluation.evaluators.llm import accuracy, llm_judge\n"
        "evaluators = [accuracy(), llm_judge('Kind?', key='kind')]\n"
    )
    words = ["v1", "--evaluators", "judging.py"]
    command(f"{FIXTURES / 'agent.py'}:run", "--data", FIXTURES / "capitals.jsonl", "--experiment", "v1")
    with ChatServer(good({"reasoning": "r", "score": True}, prompt_tokens=100, completion_tokens=7)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for extra, said in (
            ([], "8 judge calls (800 tokens in, 56 out), 0 verdicts from the cache"),
            ([], "0 judge calls (0 tokens in, 0 out), 8 verdicts from the cache"),
            (["--fresh"], "8 judge calls (800 tokens in, 56 out), 0 verdicts from the cache"),
        ):
            model_server.default_server.cache_clear()
            model_server.SPENT.clear()
            code, out, err = command(*words, *extra)
            assert (code, said in err) == (0, True)
            assert "accuracy    1.000 (mean of 4), 1 not scored" in out  # one run failed
        server.answers[:] = [(200, completion({"refusal": "no"}))]
        model_server.default_server.cache_clear()
        code, out, err = command(*words, "--fresh")
    model_server.default_server.cache_clear()
    judge.FRESH.clear()
    assert code == 1
    assert "The evaluator kind failed 4 times, with the reason in its feedback. It says: JudgeError: " in err
    assert "refused to judge: no" in err


def test_exit_codes_and_messages_of_the_command(command, tmp_path):
    """2 for flags that cannot be and names that are not there, 1 when an evaluator failed."""
    (tmp_path / "bad_evals.py").write_text("def fails(outputs):\n    raise KeyError(1)\n")
    agent = f"{FIXTURES / 'agent.py'}:run"

    code, out, err = command(agent, "--data", FIXTURES / "capitals.jsonl", "--evaluators", "bad_evals.py")
    assert code == 1 and "fails       4 failed, 1 not scored" in out
    assert "The evaluator fails failed 4 times, with the reason in its feedback. It says: KeyError: 1" in err
    assert command(agent)[0] == 2
    assert "--data is missing" in command(agent)[2]
    assert "--evaluators is missing" in command("v1")[2]
    assert "--retry-errors has no effect" in command("v1", "--evaluators", "bad_evals.py", "--retry-errors")[2]
    assert command()[0] == 2
    code, _, err = command(agent, "--data", "capital")
    assert code == 2 and "Did you mean 'capitals'" in err
    unknown = str(uuid.uuid4())
    code, _, err = command(agent, "--data", unknown)
    assert code == 2 and f"No dataset has the id {unknown}." in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agent.py", "--data", "d"], "agent.py names no function: write agent.py:FUNCTION."),
        (["v1", "--evaluators", "e.py", "--repetitions", "3"], "--repetitions has no effect unless a FILE.py:FUNCTION"),
        (["v1", "--evaluators", "e.py", "--metadata", "a=1"], "--metadata has no effect unless a FILE.py:FUNCTION"),
        (["v1", "--evaluators", "e.py", "--randomize-order"], "--randomize-order has no effect unless"),
        (["--pairwise", "a", "b", "--evaluators", "e.py", "--data", "d"], "--data has no effect with --pairwise"),
        (["agent.py:run", "--data", "d", "--seed", "3"], "--seed has no effect without --pairwise"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(command, words, said):
    """Before a file is loaded or a request is sent."""
    code, _, err = command(*words)

    assert code == 2 and said in err


def test_doubts_are_said(command, tmp_path):
    """A target without return, and another version of it under the same name."""
    (tmp_path / "silent_agent.py").write_text("def run(inputs):\n    pass\n\n\ndef other(inputs):\n    return {}\n")
    words = ["--data", FIXTURES / "capitals.jsonl", "--experiment", "v1"]

    _, _, first = command("silent_agent.py:run", *words)
    _, _, second = command("silent_agent.py:other", *words)
    code, _, third = command("silent_agent.py:other", *words, "--repetitions", "2")

    assert "5 answers were no dictionaries: recorded as {'output': ...}, 5 of them None: does the target" in first
    assert "has changed" not in first
    assert "has changed since 'v1' was begun, and was not run: these are the answers of the old one." in second
    assert code == 0 and "was begun: the experiment holds answers of both now. Another" in third


def test_doubles_are_said(capsys):
    """With what to do."""
    report(Evaluation("", "", "", "v1", doubled=2), lambda text: print(text, file=sys.stderr), False)

    assert "2 examples of 'v1' have more runs than asked for, and all count" in capsys.readouterr().err


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


@pytest.mark.parametrize("form", [[f"{FIXTURES / 'agent.py'}:run", "--data", "capitals.jsonl"], ["v1"]])
def test_a_judge_without_a_key_is_found_before_anything_runs(command, monkeypatch, tmp_path, form):
    """The setup is refused, no request is sent, and a judge that is given its connection needs no settings."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")  # where nothing answers
    model_server.default_server.cache_clear()

    code, out, err = command(*form, "--evaluators", "langsmith_rest:accuracy()")
    assert (code, out) == (2, "") and "OPENAI_API_KEY is not set: a judge needs it, or OPENAI_BASE_URL" in err
    connection = model_server.connect("http://127.0.0.1:1/v1", cache=None)
    assert len(ready([accuracy(connection=connection)], RUN)) == 1


def test_an_evaluator_that_was_not_asked_yet_scores_what_is_recorded(command):
    """Going on with an experiment runs what is missing: runs, and the scores of the evaluators that are asked for."""
    agent = [f"{FIXTURES / 'agent.py'}:run", "--data", FIXTURES / "capitals.jsonl", "--experiment", "v1"]
    command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:correct")

    _, same, _ = command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:correct")
    _, other, _ = command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:short")

    assert "recorded runs" not in same and "runs        0 new, 5 known" in same
    assert "scored      5 recorded runs; feedback: 5 created" in other and "short       1.000 (mean of 4)" in other
