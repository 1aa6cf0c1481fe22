"""The command `doctor`: settings, the server, and what we assume about it."""

import json
import os
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import responses
from command_line import DATABASE, OK, write

import localsmith
from langsmith_rest import connection
from langsmith_rest.commands import assumptions, doctor, doctor_bench
from langsmith_rest.conformance.faults import Answer, Faults, where

pytestmark = pytest.mark.usefixtures("nothing_set")


def lines_of(out):
    """What each check says, by its name."""
    parts = [line[11:].partition(": ") for line in out.splitlines()]
    return {name: found for name, _, found in parts}


def test_without_settings_it_shows_where_the_store_goes(run):
    """And creates none."""
    code, out, err = run("doctor")

    found = lines_of(out)
    assert code == 0 and found["key"] == "not set" and found["endpoint"] == "not set, so the local store"
    assert found["local store"] == f"{DATABASE.absolute()}, not created yet"
    assert "There is no local store yet" in err and os.listdir() == []


def test_settings_are_shown_with_their_source_and_without_the_key(run, server, monkeypatch):
    """The environment comes before `.env`, whose path is shown."""
    Path(".env").write_text(f"LANGSMITH_API_KEY=lsv2_secret\nLANGSMITH_ENDPOINT={server.url}\n")
    monkeypatch.setenv("LANGSMITH_WORKSPACE_ID", "63d2e490-85ef-4430-ad03-8db4de383784")

    code, out, err = run("doctor")

    found = lines_of(out)
    assert code == 0 and found["key"] == f"LANGSMITH_API_KEY of {Path('.env').absolute()}"
    assert found["endpoint"] == f"{server.url}, from LANGSMITH_ENDPOINT of {Path('.env').absolute()}"
    assert found["workspace"] == "from LANGSMITH_WORKSPACE_ID of the environment"
    assert "secret" not in out + err and "ok         key accepted\n" in out


@responses.activate(assert_all_requests_are_fired=False)
def test_another_kind_of_server_is_named(run, monkeypatch):
    """Also one that answers everything with 200 and JSON."""
    monkeypatch.setenv("LANGSMITH_API_KEY", "key")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://other.example.org")
    for path in ("info", "datasets", "sessions"):
        responses.get(f"https://other.example.org/{path}", json={"ok": True})

    checked = run("doctor")
    compared = run("compare", "before", "after")

    assert checked[0] == 1 and "not as LangSmith would: is it the address of the API?" in checked[1]
    assert compared[0] == 2 and "answers /sessions, but not as LangSmith would" in compared[2]


def test_an_endpoint_that_may_hold_a_password_is_not_shown(run, monkeypatch):
    """Nor is it said to be fine."""
    monkeypatch.setenv("LANGSMITH_API_KEY", "key")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://user:secret@host")

    code, out, err = run("doctor")

    assert code == 2 and "wrong      endpoint: not an address, from LANGSMITH_ENDPOINT of the environment\n" in out
    assert "secret" not in out + err and "LANGSMITH_ENDPOINT must look like https://HOST" in err


def test_without_a_key_none_is_said_to_be_accepted(run, endpoint):
    """What is not set cannot be; the server takes calls without one."""
    code, out, _ = run("doctor")

    found = lines_of(out)
    assert (code, found["key"]) == (0, "not set")
    assert "no key needed" in found and "key accepted" not in found


def test_server_that_cannot_be_reached_is_wrong(run, unreachable):
    """Exit code 1; with --write nothing more is tried."""
    code, out, err = run("doctor", "--write")

    assert code == 1 and "wrong      server: GET /info: no answer from http://127.0.0.1:1" in out
    assert "Nothing was written" in err


@pytest.mark.parametrize(
    ("switches", "found"),
    [({}, "v2 and v1 answer"), ({"v2_reads": 404}, "v1 answers"), ({"v1_reads": 501}, "v2 answers")],
    ids=["both", "old server", "new server"],
)
def test_generations_of_the_api_are_told(run, tmp_path, monkeypatch, switches, found):
    """One of them is enough."""
    with localsmith.serve(tmp_path / "other.db", **switches) as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        run("record", write("a.jsonl", OK))

        code, out, _ = run("doctor")

    assert code == 0 and lines_of(out)["reading runs"] == found


@pytest.mark.parametrize("day", [None, date(2027, 7, 2)], ids=["today", "without v1"])
def test_every_assumption_is_tried_and_nothing_is_left(run, tmp_path, monkeypatch, day):
    """A throwaway dataset is recorded, read back, changed and deleted."""
    with localsmith.serve(tmp_path / "other.db", score_decimals=4, works_on=day) as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        code, out, _ = run("doctor", "--write", "--json")
        left = [json.loads(run("list", "--json")[1])["datasets"], run("doctor")[1]]

    found = json.loads(out)
    tried = {check["name"]: check["verdict"] for check in found["assumptions"]}
    assert list(tried) == [name for name, _ in assumptions.TRIALS] + list(assumptions.NOT_TRIED)
    assert {name for name, verdict in tried.items() if verdict == "wrong"} == set() and code == 0
    assert left[0] == [] and "not tried, because there is no project yet" in left[1]


@pytest.mark.slow
def test_assumption_that_is_wrong_is_named(run, tmp_path, monkeypatch):
    """The others are tried all the same, and the dataset is deleted."""
    with localsmith.serve(tmp_path / "other.db", time_window_hours=None, score_decimals=4) as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

        code, out, _ = run("doctor", "--write")

    wrong = [line for line in out.splitlines() if line.startswith("wrong")]
    assert code == 1 and len(wrong) == 2
    assert wrong[0].startswith(
        "wrong      runs of 20 hours ago are accepted, and of 25 hours refused: 25 hours answered 2"
    )
    assert wrong[1] == "wrong      a request with a refused run stores none of its runs: answered 202"
    assert "held       experiment and dataset can be deleted" in out


def test_feedback_that_is_accepted_for_no_run_is_deleted(server):
    """A trial leaves nothing behind where the assumption does not hold."""
    bench = assumptions.Bench(connection.connect(server.url))
    faults = Faults(server, where("POST /feedback", Answer(200, "{}")))

    with pytest.raises(assumptions.Wrong, match="answered 200"):
        assumptions.feedback_of_no_run(bench)

    assert faults.count("DELETE /feedback/") == 1


@pytest.mark.parametrize(
    ("trial", "broken", "answer", "words"),
    [
        (assumptions.same_queue_item, "POST .*/items", Answer(201, "{}"), "it holds 0 items"),
        (assumptions.same_comparison, "POST /datasets/comparative", Answer(200, "{}"), "0 are stored"),
        (assumptions.pages_of_runs, "POST .*runs/query", Answer(200, '{"items": []}'), "1 of 1 are missing, 0 came"),
    ],
    ids=["queue", "comparison", "pages"],
)
def test_trial_notices_a_server_that_does_otherwise(server, monkeypatch, trial, broken, answer, words):
    """What was created is deleted again."""
    monkeypatch.setattr(doctor_bench, "PAUSES", (0,) * 3)
    bench = assumptions.Bench(connection.connect(server.url))
    assumptions.known_session(bench)
    assumptions.hundred_examples(bench)
    assumptions.traces(bench)
    bench.runs = bench.roots()
    faults = Faults(server, where(broken, Answer(answer.status, answer.body, (("Content-Type", "application/json"),))))

    with pytest.raises(assumptions.Wrong, match=words):
        trial(bench)

    assert assumptions.deletion(bench) == "gone"
    assert connection.call(bench.api, "GET", "/annotation-queues") == []
    assert faults.count(broken)


def test_a_server_without_review_queues_is_not_wrong(server):
    """They are a part of LangSmith that a plan or a key may lack."""
    bench = assumptions.Bench(connection.connect(server.url))
    bench.runs.append(bench.new_run(timedelta(minutes=1)))
    Faults(server, where("GET /annotation-queues", Answer(403, '{"detail":"Forbidden"}')))

    assert assumptions.same_queue_item(bench).startswith("no review queues here: ")


@pytest.mark.parametrize(
    ("off", "verdict", "words"),
    [(0, "ok", "0 s"), (3600, "wrong", "3600 s behind the server's: set the clock"), (None, "unknown", "not send")],
)
def test_clock_is_compared_with_the_servers(off, verdict, words):
    """Runs are stamped by this machine, and those from the future are refused."""
    date = None if off is None else format_datetime(datetime.now(UTC) + timedelta(seconds=off), usegmt=True)

    found = doctor.clock(date)

    assert found["verdict"] == verdict and (words in found["found"] or off == 0 or "3599 s" in found["found"])


def test_proxy_is_named_without_its_password(run, monkeypatch, server):
    """Its host is enough to find it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://langsmith.example")
    monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2_pt_x")
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")

    code, out, err = run("doctor")

    assert code == 1 and lines_of(out)["proxy"] == "through 127.0.0.1"
    assert "secret" not in out + err
