"""Recording under fire: faults, outages, kills and refusals, against the real local server."""

import json
import math
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from places import MAIN

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.conformance.faults import DROP_AFTER, DROP_BEFORE, PASSING, QUOTA, Answer, Faults, by_chance, where
from langsmith_rest.recording import account, batches, bodies
from recorder import RecordingError, record_langsmith_experiment

QUICK = [kind for kind in PASSING if kind != "429-retry-after"]  # that one takes a second each time


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small batches make many requests of few results; the pauses before a repetition are short."""
    monkeypatch.setattr(batches, "BATCH", 25)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.02)


@pytest.fixture(autouse=True)
def sent():
    """Other tests hold requests against the contract; here there are thousands."""


@pytest.fixture
def faults(server):
    return Faults(server)


@pytest.fixture
def api(server):
    return connection.connect(server.url)


def results(count, ago=timedelta(hours=1), **fields):
    """Results as harnesses make them: every third example twice, some errors, feedback, children, no reference."""
    first = datetime.now(UTC).replace(microsecond=0) - ago
    return [result(number, first + timedelta(seconds=number // 100), **fields) for number in range(count)]


def result(number, start, **fields):
    question = number - number % 3 // 2  # 0, 1, 1, 3, 4, 4, ...
    times = {"start_time": start.isoformat(), "end_time": (start + timedelta(milliseconds=number + 1)).isoformat()}
    made = {
        "inputs": {"question": f"What is {question} + 1?"},
        "outputs": {"answer": f"{number + 1}"},
        "reference_outputs": {"answer": f"{question + 1}"},
        "metadata": {"number": number, "usage_metadata": {"input_tokens": 7, "output_tokens": number}},
        "feedback": [{"key": "correct", "score": number % 2}, {"key": "correct", "comment": "a second opinion"}],
        **times,
    }
    if number % 5 == 0:
        made.update(error="it timed out", outputs=None, reference_outputs=None, feedback=None)
    if number % 7 == 0:
        made["child_runs"] = [{"inputs": {"step": 1}, "outputs": {"found": number}, "run_type": "tool", **times}]
    return {**made, **fields}


# ---------------------------------------------------------------- what the store holds


def query(path, sql):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


EXAMPLES = (
    "SELECT datasets.name, inputs, outputs, examples.metadata FROM examples JOIN datasets ON datasets.id = dataset_id"
)
RUNS = """
    SELECT sessions.name, examples.inputs, examples.outputs, runs.name, run_type, status, runs.start_time, latency,
           run_bodies.inputs, run_bodies.outputs, error, run_bodies.extra, tags, total_tokens,
           (SELECT count(*) FROM runs child WHERE child.parent_run_id = runs.id)
    FROM runs JOIN run_bodies USING (seq) JOIN sessions ON sessions.id = runs.session_id
    LEFT JOIN examples ON examples.id = reference_example_id
"""
FEEDBACK = """
    SELECT run_bodies.inputs, run_bodies.outputs, run_bodies.extra, feedback.key, score, value, comment
    FROM feedback JOIN runs ON runs.id = run_id JOIN run_bodies ON run_bodies.seq = runs.seq
"""


def contents(path):
    """All that a store holds, without the ids and the order that the server chose."""
    return [sorted(query(path, sql), key=repr) for sql in (EXAMPLES, RUNS, FEEDBACK)]


def store_of(server):
    return server.app.state.store.path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """500 results, and what a store holds after recording them without any fault."""
    given = results(500)
    path = tmp_path_factory.mktemp("undisturbed") / "localsmith.db"
    with localsmith.serve(path) as server:
        recording = record_langsmith_experiment(
            "d", given, experiment_name="e", langsmith=connection.connect(server.url)
        )
    assert not recording.rejected
    examples, runs, feedback = contents(path)
    assert (len(runs), len(feedback)) == (500 + 72, 800)
    return given, [examples, runs, feedback]


# ---------------------------------------------------------------- the command line


def clean_environment(**settings):
    names = ("LANGSMITH_", "LANGCHAIN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)} | settings


def write(path, given):
    path.write_text("".join(json.dumps(one) + "\n" for one in given))
    return path


def start(folder, file, **settings):
    """Start `main.py record` of a file, as experiment e of dataset d."""
    command = [sys.executable, str(MAIN), "record", str(file), "--dataset", "d", "--experiment", "e", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=clean_environment(**settings), **pipes)


def finish(process, timeout=300):
    """Wait for a process; returns exit code, standard output and error."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.fixture
def command(tmp_path, server, monkeypatch, capsys):
    """Record results by the command line in this process; returns exit code and standard error."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def command(given):
        file = write(tmp_path / "results.jsonl", given)
        code = main.main(["record", str(file), "--dataset", "d", "--experiment", "e"])
        return code, capsys.readouterr().err

    return command


# ---------------------------------------------------------------- faults that pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_when_one_request_in_ten_fails(server, api, faults, undisturbed, seed):
    """Faults of all kinds on every endpoint leave the same examples, runs and feedback as none."""
    given, expected = undisturbed
    faults.plan = by_chance(0.1, seed, list(PASSING) if seed == 0 else QUICK)

    recording = record_langsmith_experiment("d", given, experiment_name="e", langsmith=api)

    assert contents(store_of(server)) == expected
    assert (recording.results, recording.runs_recorded, recording.rejected) == (500, 500, [])
    assert any(seen.fault for seen in faults.seen)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PASSING)
def test_nothing_is_lost_or_doubled_by_any_kind_of_fault(server, api, faults, undisturbed, kind):
    """Each kind alone, more often where that takes no longer."""
    given, expected = undisturbed
    faults.plan = by_chance(0.1 if kind == "429-retry-after" else 0.2, 0, [kind])

    record_langsmith_experiment("d", given, experiment_name="e", langsmith=api)

    assert contents(store_of(server)) == expected


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("503", "drop-after") else pytest.mark.slow) for kind in QUICK]
)
def test_first_request_to_each_endpoint_may_fail(server, api, faults, kind):
    """Each of them, whatever it does, also when recording resumes."""
    given = results(60)
    failed = set()

    def plan(seen):
        endpoint = seen.method, re.sub("[0-9a-f-]{36}", "ID", seen.path)
        return None if endpoint in failed or failed.add(endpoint) else PASSING[kind]

    for part in (given[:30], given):
        faults.plan = plan
        failed.clear()
        recording = record_langsmith_experiment("d", part, experiment_name="e", langsmith=api)
        assert (recording.results, recording.rejected) == (len(part), [])

    assert recording.runs_existing == 30
    assert len(query(store_of(server), "SELECT 1 FROM runs WHERE is_root")) == 60
    assert len(query(store_of(server), "SELECT 1 FROM feedback")) == 2 * 48
    assert {"GET", "POST", "PATCH"} == {method for method, _ in failed}


@pytest.mark.slow
def test_retry_after_is_honoured(api, faults):
    """A server that says when to come back is not asked before."""
    answers = iter([Answer(429, "", (("Retry-After", "1"),)), Answer(503, "", (("Retry-After", "1"),))])
    faults.plan = lambda seen: next(answers, None) if seen.path == "/datasets" else None

    record_langsmith_experiment("d", results(1), langsmith=api)

    first, second, third = [seen.began for seen in faults.seen if seen.path == "/datasets"][:3]
    assert second - first >= 0.99
    assert third - second >= 0.99


# ---------------------------------------------------------------- outages


@pytest.mark.slow
def test_outage_is_ridden_out(tmp_path, undisturbed):
    """The server goes away in the middle and comes back: recording goes on where it was."""
    given, expected = undisturbed
    path = tmp_path / "localsmith.db"
    server = localsmith.serve(path)
    faults = Faults(server, delay=0.01)
    api = connection.connect(server.url)

    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(record_langsmith_experiment, "d", given, experiment_name="e", langsmith=api)
        faults.wait_for(30)
        server.close()
        time.sleep(1.5)
        with localsmith.serve(path, server.port):
            assert recording.result().runs_recorded == 500

    assert contents(path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("answered", [1, 3, 7, 22, 31])
def test_longer_outage_ends_with_an_exact_account(monkeypatch, server, faults, command, answered):
    """Exit 1 names what is not recorded, the store holds all the rest, and running again sends only what was named."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.3")
    given = results(400, feedback=None, child_runs=None)
    faults.plan = lambda seen: DROP_BEFORE if len(faults.seen) >= answered else None

    code, err = command(given)
    named, recorded = numbers_named(err), numbers_recorded(server)
    faults.seen.clear()
    faults.plan = lambda seen: None
    again, _ = command(given)

    assert (code, again) == (1, 0)
    assert named == set(range(1, 401)) - recorded
    assert f"{len(recorded)} of 400 results are recorded" in err or not named
    assert faults.sent_runs() == len(named)
    assert len(numbers_recorded(server)) == 400


def test_account_of_a_stream_whose_experiment_is_refused_names_all_of_it(server, faults):
    """However far the stream is when the answer comes."""
    faults.plan = where("POST /sessions", Answer(403, '{"detail":"no"}'))

    def stream():
        for number, one in enumerate(results(200, feedback=None), 1):
            if number == 20:
                time.sleep(0.5)
            yield {"no": "result"} if number in (4, 11) else one

    with pytest.raises(RecordingError, match=r"Missing or incomplete: 1-\.\.\.") as caught:
        record_langsmith_experiment("d", stream(), experiment_name="e", langsmith=connection.connect(server.url))

    assert caught.value.recording.rejected == []  # these results were not looked at


@pytest.mark.slow
def test_account_is_on_the_safe_side_when_answers_are_lost(monkeypatch, server, faults, command):
    """What was stored but never answered is named as well, and not sent again."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.3")
    given = results(400, feedback=None, child_runs=None)
    lost = []

    def plan(seen):
        """From the sixth batch of runs on, all is stored and nothing is answered."""
        if lost or (seen.path == "/runs/batch" and faults.count("POST /runs/batch") >= 6):
            lost.append(seen)
        return DROP_AFTER if lost else None

    faults.plan = plan

    code, err = command(given)
    named, recorded = numbers_named(err), numbers_recorded(server)
    faults.seen.clear()
    faults.plan = lambda seen: None
    again, _ = command(given)

    assert (code, again) == (1, 0)
    assert named > set(range(1, 401)) - recorded
    assert faults.sent_runs() == 400 - len(recorded)
    assert len(numbers_recorded(server)) == 400


@pytest.mark.slow
def test_patience_is_used_to_the_end(monkeypatch, server, faults):
    """The last attempt is made when the patience ends, however long the pauses have become."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "1.5")
    over = time.monotonic() + 1.4
    faults.plan = lambda seen: DROP_BEFORE if seen.began < over else None

    recording = record_langsmith_experiment("d", results(3), langsmith=connection.connect(server.url))

    assert recording.runs_recorded == 3


EXTRAS = "SELECT extra FROM run_bodies JOIN runs USING (seq) WHERE is_root"


def numbers_recorded(server):
    return {json.loads(extra)["metadata"]["number"] + 1 for (extra,) in query(store_of(server), EXTRAS)}


def numbers_named(text):
    """The result numbers in "Missing or incomplete: 3, 5-7."."""
    found = re.search(r"Missing or incomplete: ([\d, -]+)\.", text)
    parts = [part.split("-") for part in found[1].split(", ")] if found else []
    return {number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)}


@pytest.mark.slow
def test_interrupt_does_not_wait_for_the_end_of_an_outage(tmp_path, server, faults):
    """Ctrl-C ends the command at once, whatever is being tried again."""
    file = write(tmp_path / "r.jsonl", results(1000, feedback=None, child_runs=None))
    faults.plan = where("POST /runs", DROP_BEFORE)

    process = start(tmp_path, file, LANGSMITH_ENDPOINT=server.url)
    faults.wait_for(8)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)

    assert (code, out) == (130, "")
    assert "Interrupted. What was sent is recorded; run the same command again to record the rest." in err


# ---------------------------------------------------------------- kill -9, and several at once


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_and_run_again_ends_as_if_undisturbed(tmp_path, server, faults, command, undisturbed, seed):
    """kill -9 while some request is under way, twice, then the same command to the end."""
    given, expected = undisturbed
    file = write(tmp_path / "r.jsonl", given)
    faults.delay = 0.005

    for moment in sorted(random.Random(seed).sample(range(1, 20), 2)):
        faults.seen.clear()
        process = start(tmp_path, file, LANGSMITH_ENDPOINT=server.url)
        faults.wait_for(moment)
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
    code, err = command(given)

    assert code == 0, err
    assert contents(store_of(server)) == expected


@pytest.mark.slow
def test_killed_with_the_embedded_store_and_run_again_ends_as_if_undisturbed(tmp_path, undisturbed):
    """The store lives in the killed process: what it answered survives."""
    given, expected = undisturbed
    file = write(tmp_path / "r.jsonl", given)

    process = start(tmp_path, file)
    time.sleep(0.8)
    process.kill()
    finish(process)
    code, _, err = finish(start(tmp_path, file))

    assert code == 0, err
    assert contents(tmp_path / ".localsmith" / "localsmith.db") == expected


@pytest.mark.slow
def test_four_processes_at_once_end_like_one(tmp_path, server, faults, undisturbed):
    """Quarters that share examples, recorded at once into one experiment: the same content and the same run ids."""
    given, expected = undisturbed
    alone = tmp_path / "alone.db"
    for one in (server, localsmith.serve(alone)):  # a dataset id of ours, so that the run ids can be compared
        api = connection.connect(one.url)
        connection.call(api, "POST", "/datasets", json={"name": "d", "id": "26d0b944-a286-4a7f-bb5f-3d86268ecc45"})
    record_langsmith_experiment("d", given, experiment_name="e", langsmith=api)
    one.close()
    files = [write(tmp_path / f"{quarter}.jsonl", given[quarter::4]) for quarter in range(4)]

    processes = [start(tmp_path, file, LANGSMITH_ENDPOINT=server.url) for file in files]
    codes = [finish(process)[0] for process in processes]

    ids = "SELECT id FROM runs UNION SELECT id FROM examples UNION SELECT id FROM feedback ORDER BY id"
    assert codes == [0, 0, 0, 0]
    assert contents(store_of(server)) == expected
    assert query(store_of(server), ids) == query(alone, ids)


@pytest.mark.slow
def test_four_processes_make_one_dataset_and_one_experiment(tmp_path, server, faults, undisturbed):
    """Nothing is there when they start, and the answers are slow: each may be first."""
    given, expected = undisturbed
    files = [write(tmp_path / f"{quarter}.jsonl", given[quarter::4]) for quarter in range(4)]
    faults.delay = 0.1

    processes = [start(tmp_path, file, LANGSMITH_ENDPOINT=server.url) for file in files]
    codes = [finish(process)[0] for process in processes]

    assert codes == [0, 0, 0, 0]
    assert contents(store_of(server)) == expected


@pytest.mark.slow
def test_parts_one_after_the_other_lose_only_the_place_of_early_results(tmp_path, server, api):
    """What is older than the experiment's first part is moved to its start; all else is as in one recording."""
    now = datetime.now(UTC)
    given = [result(number, now - timedelta(seconds=900 - number), child_runs=None) for number in range(200)]
    alone = tmp_path / "alone.db"
    with localsmith.serve(alone) as one:
        record_langsmith_experiment("d", given, experiment_name="e", langsmith=connection.connect(one.url))

    for quarter in (2, 0, 3, 1):
        part = given[50 * quarter : 50 * quarter + 50]
        record_langsmith_experiment("d", part, experiment_name="e", langsmith=api)

    times = run_times(store_of(server))
    assert [number for number in range(200) if "original_start_time" in times[number][0]] == list(range(100))
    assert [timeless(table) for table in contents(store_of(server))] == [timeless(table) for table in contents(alone)]


def timeless(table):
    """Rows of `contents` without starts, and without the originals that moving leaves in the metadata."""
    return sorted([re.sub(r',"original_\w+":"[^"]+"', "", str(value)) for value in row[:6] + row[7:]] for row in table)


# ---------------------------------------------------------------- what the server refuses


POISONED = [6, 40, 41, 99]  # from 0


def poisoned(**fields):
    given = results(100, child_runs=None)
    for number in POISONED:
        given[number].update(fields)
    return given


REFUSAL = Answer(422, json.dumps({"error": "Unprocessable entity: no poison here"}))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_run_is_named_and_the_rest_recorded(server, faults, command, status):
    """A batch refused because of some results is sent without them."""
    faults.plan = where("POST /runs/batch", Answer(status, REFUSAL.body), b"poison")

    code, err = command(poisoned(outputs={"answer": "poison"}))

    assert code == 1
    assert rejected_numbers(err) == [number + 1 for number in POISONED]
    assert f"POST /runs/batch answered {status}: Unprocessable entity: no poison here" in err
    assert len(query(store_of(server), EXTRAS)) == 96
    assert "96 results recorded" in err


def test_refused_example_is_named_and_the_rest_recorded(server, faults, command):
    """Every result of a refused example is rejected with it, wherever it stands; other examples are made."""
    faults.plan = where("POST /examples/bulk", REFUSAL, b"poison")
    given = poisoned(inputs={"question": "poison"}, reference_outputs=None)

    code, err = command(given)

    assert code == 1
    assert rejected_numbers(err) == [number + 1 for number in POISONED]
    assert "its example was refused: POST /examples/bulk answered 422: Unprocessable entity: no poison here" in err
    assert len(query(store_of(server), EXTRAS)) == 96
    assert not query(store_of(server), "SELECT 1 FROM examples WHERE inputs LIKE '%poison%'")


def test_refused_feedback_is_named_and_everything_else_recorded(server, faults, command):
    """The run of refused feedback stays, as does the feedback of the other results."""
    faults.plan = where("POST /runs/multipart", REFUSAL, b"poison")

    code, err = command(poisoned(feedback={"correct": 1, "poison": 0}))

    assert code == 1
    assert rejected_numbers(err) == [number + 1 for number in POISONED]
    assert "recorded, but its feedback was refused: POST /runs/multipart answered 422" in err
    assert len(query(store_of(server), EXTRAS)) == 100
    others = "SELECT 1 FROM feedback JOIN runs ON runs.id = run_id JOIN run_bodies ON run_bodies.seq = runs.seq"
    numbers = ", ".join(map(str, POISONED))
    assert len(query(store_of(server), f"{others} WHERE extra ->> '$.metadata.number' NOT IN ({numbers})")) == 2 * 77


def rejected_numbers(err):
    found = re.findall(r"^\S+, result (\d+(?:, \d+)*)", err, re.M)
    return [int(number) for numbers in found for number in numbers.split(", ")]


@pytest.mark.slow
def test_too_large_requests_are_split_until_they_are_taken(server, api, faults, undisturbed):
    """A gateway with a limit of its own, below LangSmith's, loses nothing."""
    given, expected = undisturbed
    faults.plan = lambda seen: Answer(413, "<html>413</html>") if len(seen.body) > 4000 else None

    recording = record_langsmith_experiment("d", given, experiment_name="e", langsmith=api)

    assert recording.rejected == []
    assert recording.feedback == 800
    assert contents(store_of(server)) == expected


@pytest.mark.parametrize("body", [json.dumps({"error": QUOTA}), json.dumps({"detail": QUOTA})])
def test_used_up_quota_stops_at_once(faults, command, body):
    """No waiting helps against it, so nothing is sent twice, and nothing new is begun."""
    faults.plan = where("POST /runs/batch", Answer(429, body))

    code, err = command(results(2000))

    assert code == 1
    assert QUOTA in err
    assert "0 of 2000 results are recorded. Missing or incomplete: 1-2000" in err
    assert faults.count("POST /runs/batch") <= 2 * connection.CONNECTIONS + 1  # what was under way
    posted = [seen.body for seen in faults.seen if seen.method == "POST"]
    assert len(set(posted)) == len(posted)


def test_account_of_an_abort_names_refused_results(faults, command):
    """Three kinds: recorded, refused, and not (or not completely) recorded."""
    poison = where("POST /runs/batch", REFUSAL, b"poison")
    quota = where("POST /runs/batch", Answer(429, json.dumps({"error": QUOTA})), b'"number":80,')
    faults.plan = lambda seen: poison(seen) or quota(seen)

    code, err = command(poisoned(outputs={"answer": "poison"}))

    assert code == 1
    assert re.search(r"\d+ of 100 results are recorded\. Refused: 7(, 41-42)?\. Missing or incomplete: .*76-100\.", err)


@pytest.mark.parametrize("variable", ["LANGSMITH_API_KEY", "LANGCHAIN_API_KEY"])
@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_named_by_its_variable(monkeypatch, faults, command, variable, status):
    """The message says where the key came from and what to check, and never the key."""
    monkeypatch.setenv(variable, "lsv2_pt_secret")
    faults.plan = where("GET /datasets", Answer(status, '{"detail":"Invalid token"}'))

    code, err = command(results(3))

    assert code == 1
    assert f"answered {status}: Invalid token (key from {variable}" in err
    assert "LANGSMITH_WORKSPACE_ID" in err
    assert "secret" not in err
    assert all(seen.method == "GET" for seen in faults.seen) and len(faults.seen) <= 2  # asked at the same time


def test_runs_that_get_lost_after_they_were_accepted_are_named(monkeypatch, server, faults, command):
    """Reading back finds what a 202 promised and the server did not keep."""
    monkeypatch.setattr(account, "READ_BACK_SECONDS", 0.5)
    faults.plan = where("POST /runs/batch", Answer(202, "{}"), b"poison")

    code, err = command(poisoned(outputs={"answer": "poison"})[:30])

    assert code == 1
    assert "result 1, 2, 3, 4 and 21 more: accepted, but not found" in err  # the batch that had the poison


def test_lost_runs_are_named_while_others_record_as_well(monkeypatch, server, api, faults):
    """Runs of another process in the same experiment do not make up for lost ones."""
    monkeypatch.setattr(account, "READ_BACK_SECONDS", 0.5)
    given = results(100, child_runs=None)

    def plan(seen):
        if seen.path == "/runs/batch" and b'"number":30,' in seen.body:
            faults.plan = lambda seen: None
            record_langsmith_experiment("d", given[50:], experiment_name="e", langsmith=api, verify=False)
            return Answer(202, "{}")

    faults.plan = plan

    recording = record_langsmith_experiment("d", given[:50], experiment_name="e", langsmith=api)

    assert [rejected["result"] for rejected in recording.rejected] == list(range(26, 51))


# ---------------------------------------------------------------- names


def test_experiment_name_of_another_dataset_is_refused(server, api):
    """Nothing of the second dataset lands in the experiment of the first."""
    record_langsmith_experiment("first", results(3), experiment_name="e", langsmith=api)
    before = query(store_of(server), "SELECT * FROM runs"), query(store_of(server), "SELECT * FROM sessions")

    with pytest.raises(LookupError, match="'e' is taken by the dataset 'first': record under another name"):
        record_langsmith_experiment("second", results(200), experiment_name="e", langsmith=api)

    assert before == (query(store_of(server), "SELECT * FROM runs"), query(store_of(server), "SELECT * FROM sessions"))


def test_project_of_that_name_is_refused(api):
    """A project that no experiment may use is not mixed up with one."""
    connection.call(api, "POST", "/sessions", json={"name": "default"})

    with pytest.raises(LookupError, match="'default' is taken by a project without a dataset"):
        record_langsmith_experiment("d", results(3), experiment_name="default", langsmith=api)


NAMES = [
    "a&b",
    "a",
    "a%26b",
    "a#b",
    "a/b",
    "../a",
    "a b",
    "a+b",
    "a?b=c",
    "'a'",
    '"a"',
    "a;b",
    "☂️ é 漢",
    "é",
    "e\u0301",
    "n" * 300,
]


@pytest.mark.slow
def test_odd_names_are_kept_apart(server, api):
    """Datasets and experiments are found again by exactly the name they were given."""
    for name in NAMES:
        record_langsmith_experiment(name, results(3, metadata={"of": name}), experiment_name=name, langsmith=api)
    again = [record_langsmith_experiment(n, results(3), experiment_name=n, langsmith=api).dataset_name for n in NAMES]

    pairs = "SELECT datasets.name, sessions.name FROM sessions JOIN datasets ON datasets.id = reference_dataset_id"
    assert again == NAMES
    assert sorted(query(store_of(server), pairs)) == sorted((name, name) for name in NAMES)


# ---------------------------------------------------------------- times


def run_times(path):
    """By number of result: metadata, start and latency of its run in microseconds, and the start of its session."""
    sql = """
        SELECT run_bodies.extra, runs.start_time, latency, sessions.start_time FROM runs
        JOIN run_bodies USING (seq) JOIN sessions ON sessions.id = session_id WHERE is_root
    """
    rows = [(json.loads(extra)["metadata"], *others) for extra, *others in query(path, sql)]
    return {row[0]["number"]: row for row in rows}


def last_year(count):
    return results(count, ago=timedelta(days=365))


def three_days(count):
    now = datetime.now(UTC)
    return [result(number, now - timedelta(days=3) * (1 - number / count)) for number in range(count)]


def without_times(count):
    return results(count, start_time=None, end_time=None, child_runs=None)


def mixture(count):
    kinds = [results(count), last_year(count), three_days(count), without_times(count)]
    return [kinds[number % 4][number] for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [results, last_year, three_days, without_times, mixture])
def test_results_of_any_age_are_recorded_once(tmp_path, make):
    """Latencies are right, originals are kept, nothing lies in the future, and a second time nothing is new."""
    given = make(60)
    path = tmp_path / "localsmith.db"
    with localsmith.serve(path) as server:
        recording = record_langsmith_experiment(
            "d", given, experiment_name="e", langsmith=connection.connect(server.url)
        )
    before = contents(path)
    with localsmith.serve(path) as server:
        again = record_langsmith_experiment("d", given, experiment_name="e", langsmith=connection.connect(server.url))
        part = record_langsmith_experiment(
            "d", given[30:], experiment_name="e", langsmith=connection.connect(server.url)
        )

    assert (recording.runs_recorded, recording.rejected) == (60, [])
    assert (again.runs_recorded, again.runs_existing, again.feedback) == (0, 60, 0)
    assert (part.runs_recorded, part.runs_existing, part.feedback) == (0, 30, 0)
    assert contents(path) == before
    for number, (metadata, start, latency, session) in run_times(path).items():
        original = given[number].get("start_time")
        moved = original and start != microseconds(original)
        assert latency == (1000 * (number + 1) if original else 0)
        assert session <= start <= time.time() * 1e6
        assert not moved or start == session
        assert (microseconds(metadata["original_start_time"]) == microseconds(original)) if moved else True
        assert ("original_end_time" in metadata) == bool(moved)


def microseconds(text):
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def test_recent_results_keep_their_times(server, api):
    """Nothing is moved while all results lie within the window."""
    given = results(20, ago=timedelta(hours=19))

    record_langsmith_experiment("d", given, langsmith=api)

    starts = {number: start for number, (_, start, *_) in run_times(store_of(server)).items()}
    assert starts == {number: microseconds(one["start_time"]) for number, one in enumerate(given)}


def test_future_times_are_refused_before_anything_is_sent(faults, command):
    """A clock that is wrong by an hour is not LangSmith's business."""
    code, err = command(results(2, ago=timedelta(hours=-1)))

    assert code == 2
    assert "'start_time'" in err and "is in the future" in err
    assert not faults.seen


def test_experiment_that_is_too_old_is_not_resumed(server, faults, command):
    """LangSmith would refuse the missing runs; the message says what to do, and what is there stays."""
    given = last_year(30)
    now = time.time()
    server.app.state.switches.clock = lambda: now - 25 * 3600
    start = datetime.now(UTC) - timedelta(hours=25)
    api = connection.connect(server.url)
    dataset, _ = rest.create_dataset(api, "d")
    session = bodies.session(dataset["id"], "e", start, None, None)
    rest.create_session(api, session)

    code, err = command(given)

    assert code == 1
    assert "experiment 'e' started at" in err
    assert "record under a new experiment name" in err
    assert "0 of 30 results are recorded" in err
    assert faults.sent_runs() == 0


# ---------------------------------------------------------------- how many requests


@pytest.mark.parametrize("count", [1, 100, 101, 1000])
def test_requests_for_flat_results_into_a_new_dataset(monkeypatch, faults, api, count):
    """At most 6, and 2 more for each 100 results."""
    monkeypatch.setattr(batches, "BATCH", 100)

    record_langsmith_experiment("d", results(count, child_runs=None, feedback=None), langsmith=api)

    assert len(faults.seen) <= 8 + 2 * math.ceil(count / 100)


@pytest.mark.slow
def test_round_trips_that_wait_for_each_other(monkeypatch, faults, api):
    """Four until the last runs are answered: find the dataset, create it, examples (and experiment), runs."""
    monkeypatch.setattr(batches, "BATCH", 100)

    for seconds in (0.2, 0.5, 1, 2, 4):  # on a busy machine a request may begin late, but not by as much
        faults.delay = seconds
        faults.seen.clear()
        name = f"after {seconds} s"
        record_langsmith_experiment(name, results(400, child_runs=None, feedback=None), langsmith=api)
        last = max(index for index, seen in enumerate(faults.seen) if seen.path == "/runs/batch")
        until_answered, whole = longest_chain(faults.seen[: last + 1]), longest_chain(faults.seen)
        if until_answered <= 4 and whole <= 6:
            return

    raise AssertionError(f"{until_answered} until the last runs were answered, {whole} in all")


def longest_chain(seen):
    """The most requests of which each began after the one before it was answered."""
    chain, ended = 0, 0.0
    for one in sorted(seen, key=lambda one: one.ended):
        if one.began >= ended:
            chain, ended = chain + 1, one.ended
    return chain


# ---------------------------------------------------------------- streams


@pytest.mark.slow
def test_named_generator_is_streamed(server, api, faults):
    """The first runs are there before the last result is made."""
    arrived = []

    def stream():
        for one in results(1000, child_runs=None, feedback=None):
            if one["metadata"]["number"] == 999:
                faults.wait_for(10)
                arrived.append(len(query(store_of(server), EXTRAS)))
            yield one

    recording = record_langsmith_experiment("d", stream(), experiment_name="e", langsmith=api)

    assert arrived[0] >= 25
    assert (recording.runs_recorded, recording.rejected) == (1000, [])


def test_generator_that_breaks_leaves_what_came_before(server, api):
    """Its own exception comes out, whatever it is, after everything that it gave was recorded and closed."""

    def stream():
        yield from results(60)
        raise requests.ConnectionError("the model is gone")

    with pytest.raises(requests.ConnectionError, match="the model is gone"):
        record_langsmith_experiment("d", stream(), experiment_name="e", langsmith=api)

    assert len(query(store_of(server), EXTRAS)) == 60
    assert query(store_of(server), "SELECT end_time IS NULL FROM sessions") == [(0,)]


def test_bad_results_of_a_stream_are_rejected_and_the_others_recorded(server, api):
    """A stream cannot be checked before the first request."""
    given = results(60)
    given[0] = {"outputs": {}}
    given[30]["end_time"] = "2020-01-01"
    given[59]["inputs"] = {"x": float("nan")}

    recording = record_langsmith_experiment("d", iter(given), experiment_name="e", langsmith=api)

    assert sorted(rejected["result"] for rejected in recording.rejected) == [1, 31, 60]
    assert (recording.results, recording.runs_recorded) == (60, 57)
    assert len(query(store_of(server), EXTRAS)) == 57


@pytest.mark.slow
def test_slow_stream_is_recorded_as_it_comes(monkeypatch, server, api):
    """No result waits for a batch to fill up, only for the next one."""
    monkeypatch.setattr(batches, "FLUSH_SECONDS", 0.2)
    progress = []

    def on_progress(done, total):
        progress.append((done, total))

    def stream():
        for number, one in enumerate(results(6), 1):
            time.sleep(0.25)
            yield one
            deadline = time.monotonic() + 60
            while number > 1 and len(query(store_of(server), EXTRAS)) < number:
                assert time.monotonic() < deadline, f"result {number} is not there"
                time.sleep(0.02)

    record_langsmith_experiment("d", stream(), experiment_name="e", langsmith=api, on_progress=on_progress)

    assert progress == sorted(progress) and progress[-1] == (6, None)


def test_slow_stream_ends_as_soon_as_recording_fails(monkeypatch, api, faults):
    """A harness does not work for an hour to learn that its key is wrong."""
    monkeypatch.setattr(batches, "FLUSH_SECONDS", 0)
    faults.plan = where("POST /sessions", Answer(403, '{"error":"Forbidden"}'))
    made = []

    def stream():
        for one in results(100):
            made.append(one)
            yield one
            time.sleep(0.02)

    with pytest.raises(RecordingError, match="403"):
        record_langsmith_experiment("d", stream(), experiment_name="e", langsmith=api)

    assert len(made) < 50


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are not comparable here")
def test_memory_stays_flat_while_streaming(tmp_path):
    """Of 20,000 results, 80 MB as Python objects, a process keeps those that are under way, and of the others ids."""
    command = [sys.executable, str(MAIN.parent / "bench" / "memory.py"), "--n", "20000"]

    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, timeout=300, text=True
    )

    peaks = {count: int(peak) for count, peak in re.findall(r"^ *([\d,]+) +(\d+) +\d+$", done.stdout, re.M)}
    assert done.returncode == 0
    assert peaks["20,000"] < 60  # 30 are those of Python with our modules
