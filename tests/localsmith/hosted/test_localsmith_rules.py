"""Uploaded evaluators: queued for new runs, run apart from the server, their scores stored."""

import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from localsmith_api import Api, new_id, run

import localsmith
from localsmith.hosted import runner as evaluator_runner
from localsmith.hosted.queue import is_sampled
from localsmith.hosted.sandbox import Limits, evaluate

SAME = "def perform_eval(run, example):\n    return {'score': int(run['outputs']['a'] == example['outputs']['a'])}\n"


@pytest.fixture
def serve(tmp_path):
    """Serve the same file, with evaluators unless told otherwise; returns how to talk to it."""
    servers = []

    def start(run_evaluators=True):
        servers.append(localsmith.serve(tmp_path / "lab.db", run_evaluators=run_evaluators))
        api = Api(servers[-1].url)
        if servers[-1].token:
            api.session.headers["x-localsmith-token"] = servers[-1].token
        return api

    start.stop = lambda: servers.pop().close()
    yield start
    for server in servers:
        server.close()


def rule(api, code=SAME, **fields):
    body = {"display_name": "same", "sampling_rate": 1, "code_evaluators": [{"code": code}], **fields}
    return api.post("/runs/rules", body)


def capitals(api, answers=("Lima",)):
    """A dataset whose reference is always Lima; returns it and how to add an experiment with these answers."""
    dataset = api.dataset()
    row = {"id": new_id(), "dataset_id": dataset, "inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}}
    api.post("/examples/bulk", [row])

    def answer(name="first"):
        session = api.experiment(dataset, name)
        api.runs([run(session, reference_example_id=row["id"], outputs={"a": text}) for text in answers])
        return session

    return dataset, answer


def scores(api, session, expected=1, seconds=60):
    """The feedback of an experiment, once there is as much as expected."""
    deadline = time.monotonic() + seconds
    while len(found := api.get("/feedback", session=session)) < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(found) == expected
    return found


def jobs(path):
    with sqlite3.connect(path) as db:
        count = db.execute("SELECT count(*) FROM evaluator_jobs").fetchone()[0]
    db.close()
    return count


def wait_for_the_queue(path, seconds=60):
    deadline = time.monotonic() + seconds
    while jobs(path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not jobs(path)


def test_new_runs_of_a_dataset_are_scored(serve):
    """Each gets the score of the rule's name, with the source auto_eval and the rule that gave it."""
    api = serve()
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    made = rule(api, dataset_id=dataset)

    found = scores(api, answer(), 2)

    assert sorted(item["score"] for item in found) == [0, 1]
    assert {item["key"] for item in found} == {"same"}
    source = found[0]["feedback_source"]
    assert (source["type"], source["metadata"]["rule_id"]) == ("auto_eval", made["id"])


@pytest.mark.slow
def test_runs_of_a_project_are_scored_by_themselves(serve):
    """A project's evaluator gets the run alone, and the rule's filter chooses which."""
    api = serve()
    session = api.experiment(name="production")
    code = "def perform_eval(run):\n    return {'length': len(run['outputs']['a']), 'tone': 'dry', 'comment': 'c'}\n"
    rule(api, code, session_id=session, filter='eq(name, "chat")')

    api.runs([run(session, name="chat"), run(session, name="other")])

    found = scores(api, session, 2)
    assert {item["key"]: (item["score"], item["value"], item["comment"]) for item in found} == {
        "length": (4, None, "c"),
        "tone": (None, "dry", "c"),
    }
    assert len({item["run_id"] for item in found}) == 1


@pytest.mark.slow
def test_nothing_runs_until_the_server_is_told_to(serve, tmp_path):
    """The queue survives the server, and is worked off by the first one that runs evaluators."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    rule(api, dataset_id=dataset)
    session = answer()
    time.sleep(1.5 * evaluator_runner.POLL_SECONDS)
    assert api.get("/feedback", session=session) == []
    serve.stop()
    assert jobs(tmp_path / "lab.db") == 2

    api = serve()

    scores(api, session, 2)
    assert jobs(tmp_path / "lab.db") == 0


@pytest.mark.slow
def test_a_run_is_scored_when_it_has_ended(serve, tmp_path):
    """A pending run waits for its outputs; its steps are not scored."""
    api = serve()
    session = api.experiment(name="production")
    rule(api, "def perform_eval(run):\n    return {'score': len(run['outputs'])}\n", session_id=session)
    root = run(session)
    child = run(session, parent=root)
    started = {name: value for name, value in root.items() if name not in ("end_time", "outputs")}

    api.runs([started, child])
    assert jobs(tmp_path / "lab.db") == 0
    api.patch(f"/runs/{root['id']}", {"end_time": datetime.now(UTC).isoformat(), "outputs": {"a": 1, "b": 2}})

    assert [(item["run_id"], item["score"]) for item in scores(api, session)] == [(root["id"], 2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def perform_eval(run, example):\n    return {'score': run['nothing']}\n", "KeyError: 'nothing' (line 2"),
        ("def perform_eval(run, example):\n    return True\n", "It returned True: expected"),
        ("def perform_eval(run, example):\n    return {'score': 'high'}\n", "It returned {'score': 'high'}: "),
        ("def perform_eval(run, example):\n    return {'a': [1]}\n", "It returned {'a': [1]}: "),
        ("def perform_eval(run, example):\n    return {'comment': 'only'}\n", "a comment without a score, expected {"),
        ("perform_eval = 1\n", "no function perform_eval"),
        ("def perform_eval(run, example:\n", "SyntaxError"),
        ("import nowhere\n", "No module named 'nowhere'"),
        ("def perform_eval(run, example):\n    return {'a': 1, 'comment': chr(0xD800)}\n", "cannot be stored"),
    ],
    ids=["raises", "bare", "text", "list", "comment", "no-function", "syntax", "import", "surrogate"],
)
def test_failure_is_feedback_with_the_reason(serve, code, words):
    """An evaluator that fails says so on the run, as an error, and leaves the queue."""
    api = serve()
    dataset, answer = capitals(api)
    rule(api, code, dataset_id=dataset)

    (found,) = scores(api, answer())

    assert (found["key"], found["score"], found["error"]) == ("same", None, True)
    assert words in found["comment"]
    assert found["feedback_source"]["type"] == "auto_eval"


@pytest.mark.slow
def test_javascript_is_stored_and_says_that_it_cannot_run(serve):
    api = serve()
    dataset, answer = capitals(api)
    rule(api, dataset_id=dataset, code_evaluators=[{"code": "function performEval() {}", "language": "javascript"}])

    assert "Python only" in scores(api, answer())[0]["comment"]


def test_rules_that_are_not_for_a_run_leave_it_alone(serve, tmp_path):
    """Disabled, sampled at 0, of another dataset, or a model judge."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api)
    rule(api, dataset_id=dataset, is_enabled=False)
    rule(api, dataset_id=dataset, sampling_rate=0)
    rule(api, dataset_id=api.dataset("other"))
    rule(api, dataset_id=dataset, code_evaluators=None, evaluators=[{"structured": {"hub_ref": "a/b"}}])

    answer()

    assert jobs(tmp_path / "lab.db") == 0


def test_sampling_takes_its_share_and_always_the_same(serve):
    rule_id, runs = new_id(), [new_id() for _ in range(2000)]

    picked = [one for one in runs if is_sampled(rule_id, one, 0.25)]

    assert 380 < len(picked) < 620
    assert picked == [one for one in runs if is_sampled(rule_id, one, 0.25)]
    assert set(picked) < {one for one in runs if is_sampled(rule_id, one, 0.5)}


def test_queue_ends_with_its_rule(serve, tmp_path):
    """Deleting or disabling a rule forgets what it had still to score."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api)
    first, second = rule(api, dataset_id=dataset), rule(api, dataset_id=dataset)
    answer()
    assert jobs(tmp_path / "lab.db") == 2

    api.delete(f"/runs/rules/{first['id']}")
    assert jobs(tmp_path / "lab.db") == 1
    api.patch(f"/runs/rules/{second['id']}", {"display_name": "same", "sampling_rate": 1, "is_enabled": False})

    assert jobs(tmp_path / "lab.db") == 0


@pytest.mark.slow
def test_an_experiment_is_scored_on_demand_and_again_in_place(serve, tmp_path):
    """What was there before the rule is scored when asked; changed code replaces the scores, but no person's."""
    api = serve()
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    session = answer()
    made = rule(api, dataset_id=dataset)
    assert api.post(f"/runs/experiments/{session}/evaluate", {"rule_id": made["id"]}) == {"queued": 2}
    assert sorted(item["score"] for item in scores(api, session, 2)) == [0, 1]
    change = {"display_name": "same", "sampling_rate": 1}
    code = "def perform_eval(run, example):\n    return {'other': 0.5}\n"

    api.patch(f"/runs/rules/{made['id']}", {**change, "code_evaluators": [{"code": code}]})
    api.post(f"/runs/experiments/{session}/evaluate", {"rule_id": made["id"]})

    wait_for_the_queue(tmp_path / "lab.db")
    assert [(item["key"], item["score"]) for item in scores(api, session, 2)] == [("other", 0.5)] * 2


def test_a_judge_whose_prompt_is_elsewhere_cannot_be_run_here(serve):
    """Its prompt stays in LangSmith's hub."""
    api = serve()
    dataset, answer = capitals(api)
    made = rule(api, dataset_id=dataset, code_evaluators=None, evaluators=[{"structured": {"hub_ref": "a/b"}}])

    refused = api.send("POST", f"/runs/experiments/{answer()}/evaluate", json={"rule_id": made["id"]})

    assert refused.status_code == 501
    assert "neither code nor a prompt" in refused.json()["detail"]


def test_what_a_judge_has_to_score_is_listed_until_its_feedback_arrives(serve, tmp_path):
    """The server that runs code leaves it alone; whoever runs the judge reads it from the list of rules."""
    api = serve()
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    judge = {"structured": {"prompt": [["human", "{output}"]], "schema": {"type": "object"}}}
    made = rule(api, dataset_id=dataset, code_evaluators=None, evaluators=[judge])
    session = answer()

    [listed] = api.get("/runs/rules", include_backfill_progress=True)
    first, second = listed["waiting_runs"]
    source = {"type": "auto_eval", "metadata": {"rule_id": made["id"]}}
    for _ in range(2):
        body = {"id": new_id(), "run_id": first["run_id"], "session_id": session, "key": "same", "score": 1}
        api.post("/feedback", {**body, "feedback_source": source})
    [left] = api.get("/runs/rules", include_backfill_progress=True)

    assert left["waiting_runs"] == [second] and "waiting_runs" not in api.get("/runs/rules")[0]
    assert api.post(f"/runs/experiments/{session}/evaluate", {"rule_id": made["id"]}) == {"queued": 2}
    assert jobs(tmp_path / "lab.db") == 2


@pytest.mark.slow
def test_reusable_evaluator_runs_where_a_rule_binds_it(serve):
    api = serve()
    dataset, answer = capitals(api)
    body = {"name": "shared", "type": "code", "code_evaluator": {"code": SAME, "language": "python"}}
    evaluator = api.post("/v1/platform/evaluators", body)["evaluator"]
    rule(api, dataset_id=dataset, code_evaluators=None, evaluator_id=evaluator["id"])

    assert scores(api, answer())[0]["score"] == 1


def test_filter_that_cannot_be_read_is_refused(serve):
    """So that it is not found out by the runs it should choose."""
    api = serve(run_evaluators=False)
    body = {"display_name": "r", "sampling_rate": 1, "session_id": api.experiment(), "filter": "eq(name"}

    assert api.session.post(f"{api.url}/runs/rules", json=body).status_code == 400


def test_result_of_changed_code_is_thrown_away(serve, tmp_path):
    """A job that was taken before its rule changed stays queued, for the new code."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api)
    made = rule(api, dataset_id=dataset)
    session = answer()
    store = localsmith.Store(tmp_path / "lab.db")
    (job,) = evaluator_runner.take_jobs(store)
    api.patch(f"/runs/rules/{made['id']}", {"display_name": "same", "sampling_rate": 1})

    with store.write() as db:
        evaluator_runner.finish(db, job, evaluator_runner.feedback_of(job, {"returned": {"score": 1}}), 1)

    assert (jobs(tmp_path / "lab.db"), api.get("/feedback", session=session)) == (1, [])
    store.close()


def test_result_of_a_changed_shared_evaluator_is_thrown_away(serve, tmp_path):
    """So is that of code which a rule only binds."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api)
    body = {"name": "shared", "type": "code", "code_evaluator": {"code": SAME, "language": "python"}}
    evaluator = api.post("/v1/platform/evaluators", body)["evaluator"]
    rule(api, dataset_id=dataset, code_evaluators=None, evaluator_id=evaluator["id"])
    session = answer()
    store = localsmith.Store(tmp_path / "lab.db")
    (job,) = evaluator_runner.take_jobs(store)
    change = {"code_evaluator": {"code": "def perform_eval(run, example): return {'score': 0}", "language": "python"}}
    api.patch(f"/v1/platform/evaluators/{evaluator['id']}", change)

    with store.write() as db:
        evaluator_runner.finish(db, job, evaluator_runner.feedback_of(job, {"returned": {"score": 1}}), 1)

    assert (jobs(tmp_path / "lab.db"), api.get("/feedback", session=session)) == (1, [])
    store.close()


@pytest.mark.slow
def test_a_persons_correction_outlives_the_next_evaluation(serve, tmp_path):
    """A score that somebody changed on the pages is theirs."""
    api = serve()
    dataset, answer = capitals(api)
    made = rule(api, dataset_id=dataset)
    session = answer()
    (given,) = scores(api, session)
    page = f"{api.url}/o/{made['tenant_id']}/runs/{given['run_id']}/scores"
    api.session.post(page, data={"key": "same", "score": "0.3"}, headers={"Origin": api.url}).raise_for_status()

    api.post(f"/runs/experiments/{session}/evaluate", {"rule_id": made["id"]})
    wait_for_the_queue(tmp_path / "lab.db")

    assert [item["score"] for item in scores(api, session)] == [0.3]


@pytest.mark.slow
def test_two_servers_on_one_file_score_each_run_once(serve):
    api, _ = serve(), serve()
    dataset, answer = capitals(api, ["Lima"] * 12)
    rule(api, dataset_id=dataset)
    session = answer()

    scores(api, session, 12)
    time.sleep(1)

    assert len({item["run_id"] for item in scores(api, session, 12)}) == 12


@pytest.mark.slow
def test_killed_server_loses_no_score(tmp_path):
    """Killed with kill -9 between two scores, the next server goes on; no evaluator outlives its server."""
    command = [sys.executable, "-m", "localsmith", "--db", str(tmp_path / "lab.db"), "--port", "0", "--run-evaluators"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    api = Api(first.stdout.readline().strip())
    api.session.headers["x-localsmith-token"] = (tmp_path / "lab.token").read_text().strip()
    dataset, answer = capitals(api, ["Lima"] * 20)
    slow = SAME.replace("    return", "    import time\n    time.sleep(0.25)\n    return")
    rule(api, slow, dataset_id=dataset)
    session = answer()
    while not api.get("/feedback", session=session):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert 0 < jobs(tmp_path / "lab.db") < 20

    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    api = Api(second.stdout.readline().strip())
    found = scores(api, session, 20)
    second.send_signal(signal.SIGINT)
    second.wait()
    second.stdout.close()

    assert len({item["run_id"] for item in found}) == 20
    assert jobs(tmp_path / "lab.db") == 0


def test_an_evaluation_that_ends_its_servers_is_given_up(serve, tmp_path):
    """What was begun in vain is begun again alone, so that no other run is given up with the one that ends servers."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    rule(api, dataset_id=dataset)
    session = answer()
    store = localsmith.Store(tmp_path / "lab.db")

    harmful, harmless = evaluator_runner.take_jobs(store)  # and then nothing more, as when the server is killed
    begun = [[job.run_id for job in evaluator_runner.take_jobs(store)] for _ in range(2)]
    with store.write() as db:
        evaluator_runner.finish(db, harmless, evaluator_runner.feedback_of(harmless, {"returned": {"score": 1}}), 1)
    begun += [[job.run_id for job in evaluator_runner.take_jobs(store)]]
    store.close()
    serve()
    wait_for_the_queue(tmp_path / "lab.db")

    assert begun == [[harmful.run_id], [harmless.run_id], [harmful.run_id]]
    found = {item["run_id"]: item for item in api.get("/feedback", session=session)}
    assert found[harmless.run_id]["score"] == 1
    assert "started 3 times, but the server stopped" in found[harmful.run_id]["comment"]


# The sandbox

DATACLASS = ("from dataclasses import dataclass", "@dataclass", "class Node:", "    next: 'Node | None'")
THREADS = (
    "from concurrent.futures import ThreadPoolExecutor as Pool, wait",
    "from threading import Barrier",
    "both = Barrier(32, timeout=30)",  # so that there are 32 threads indeed
    "with Pool(32) as pool: return {'a': len(list(pool.map(lambda _: bytearray(9) and both.wait(), range(64))))}",
)
LITTLE = Limits(seconds=60, memory_bytes=1 << 28, output_bytes=1000)


def outcome(*lines, limits=LITTLE):
    code = "def perform_eval(run):\n" + "".join(f"    {line}\n" for line in lines)
    return evaluate(code, [{"n": 1}], limits)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["return {'a': len(bytearray(1 << 30))}"], "more memory"),
        (["return {'a': 'x' * 2000}"], "2,009 bytes, at most 1,000"),
        (["return {'a': float('nan')}"], "not JSON compliant"),
        (["return {'a': object()}"], "a object is not something that JSON can hold"),
        (["return {'a': 10**30}"], "cannot be stored: int too big"),
        (["return {'a': chr(0xD800)}"], "cannot be stored: text holds a lone surrogate"),
        (["raise ValueError(chr(0xD800))"], "ValueError: ?"),
        (["import os", "os._exit(3)"], "exit code 3"),
        (["import ctypes", "ctypes.string_at(0)"], "SIGSEGV"),
        (["raise SystemExit"], "SystemExit"),
        (["import socket", "socket.create_connection(('127.0.0.1', 80))"], "no network"),
        (["import socket", "socket.getaddrinfo('localhost', 80)"], "no network"),
        (["import urllib.request", "urllib.request.urlopen('http://127.0.0.1')"], "no network"),
        (["import subprocess", "subprocess.run(['true'])"], "starts no processes"),
        (["import os", "os.system('true')"], "starts no processes"),
        (["import os", "os.fork()"], "starts no processes"),
        (["import os", "os.kill(os.getppid(), 0)"], "sends no signals"),
        (["import os", "os.killpg(os.getppid(), 0)"], "sends no signals"),
        (["import signal, threading", "signal.pthread_kill(threading.get_ident(), 0)"], "sends no signals"),
        (["open('/tmp/never', 'w')"], "changes no files"),
        (["import sqlite3", "sqlite3.connect('/tmp/never')"], "changes no files"),
        (["import os", "os.remove('/tmp/never')"], "changes no files"),
    ],
)
def test_sandbox_ends_what_goes_too_far(lines, words):
    assert words in outcome(*lines)["error"]


@pytest.mark.slow
def test_sandbox_ends_what_takes_too_long():
    assert "longer than 1 s" in outcome("while True: pass", limits=replace(LITTLE, seconds=1))["error"]


@pytest.mark.parametrize(
    ("lines", "returned"),
    [
        (["return {'a': run['n']}"], {"a": 1}),
        (["print('x' * 10_000_000)", "return {'a': 1}"], {"a": 1}),
        (["import asyncio", "async def f(): return {'a': 1}", "return asyncio.run(f())"], {"a": 1}),
        (["import json, re, statistics, datetime", "return {'a': statistics.mean([1, 3])}"], {"a": 2}),
        (["import threading, time", "threading.Thread(target=time.sleep, args=[60]).start()", "return {}"], {}),
        (["import sqlite3", "return {'a': sqlite3.connect(':memory:').execute('SELECT 1').fetchone()[0]}"], {"a": 1}),
        ([*DATACLASS, "return {'a': Node(2).next}"], {"a": 2}),
        (THREADS, {"a": 64}),
    ],
    ids=["plain", "prints", "async", "library", "threads", "database", "dataclass", "pool"],
)
def test_sandbox_lets_honest_code_work(lines, returned):
    assert outcome(*lines) == {"returned": returned}


def test_sandbox_has_an_empty_environment(monkeypatch):
    """No key of the server reaches an evaluator."""
    monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2_secret")

    found = outcome("import os", "return dict(os.environ)")["returned"]

    assert set(found) <= {"LC_CTYPE", "MALLOC_ARENA_MAX", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_nothing_outlives_an_evaluator():
    """Not even a process that it started behind the hooks."""
    found = outcome(
        "import ctypes, time", "pid = ctypes.CDLL(None).fork()", "pid or time.sleep(600)", "return {'a': pid}"
    )

    stat = Path(f"/proc/{found['returned']['a']}/stat")
    deadline = time.monotonic() + 60
    while (is_alive := stat.exists() and stat.read_text().split()[2] != "Z") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux")
def test_sandbox_has_a_network_of_its_own_where_the_system_allows():
    """Even what gets around the hooks finds no way out: there is but a loopback, and it is down."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make a network namespace")

    found = outcome("return {'devices': open('/proc/net/dev').read()}")["returned"]["devices"]

    assert [line.split(":")[0].strip() for line in found.splitlines()[2:]] == ["lo"]


# The pages


@pytest.mark.slow
def test_pages_say_what_is_to_come_and_who_scored(serve):
    """Waiting scores are counted where their experiment, dataset and run are; then they are marked as automatic."""
    api = serve(run_evaluators=False)
    dataset, answer = capitals(api, ["Lima", "Cusco"])
    made = rule(api, dataset_id=dataset)
    session = answer()
    (run_id, *_) = api.query(session)
    base = f"{api.url}/o/{made['tenant_id']}"
    pages = {
        f"{base}/datasets/{dataset}": "2 scores waiting",
        f"{base}/datasets/{dataset}/compare?selectedSessions={session}": "2 scores waiting",
        f"{base}/projects/p/{session}/r/{run_id}": "1 score waiting",
    }

    for page, words in pages.items():
        assert words in api.session.get(page).text, page
    serve.stop()
    api = serve()
    scores(api, session, 2)

    for page in pages:
        page = page.replace(base, f"{api.url}/o/{made['tenant_id']}")
        text = api.session.get(page).text
        assert "waiting" not in text
        assert ("by an uploaded evaluator" in text) == ("/compare" in page or "/r/" in page)
