"""`record --dry-run`: what would be sent, with nothing sent."""

import json
import os

import pytest
from command_line import OK, write

pytestmark = pytest.mark.usefixtures("nothing_set")


def test_dry_run_prints_the_requests_and_sends_none(run, unreachable):
    """In the order in which they would be sent."""
    file = write("a.jsonl", {**OK, "feedback": {"ok": 1}}, OK)

    code, out, err = run("record", file, "--dry-run")

    assert code == 0 and err.startswith("Dry run: nothing was sent.")
    assert [" ".join(line.split()[:2]) for line in out.splitlines()] == [
        "GET /datasets?name=langsmith-rest-experiments",
        out.splitlines()[1].partition("  ")[0],
        "POST /datasets",
        "POST /sessions",
        "POST /examples/bulk",
        "POST /runs/batch",
        "POST /runs/multipart",
        out.splitlines()[-1].partition("  ")[0],
    ]
    assert out.splitlines()[1].startswith("GET /sessions?name=a-")
    assert out.splitlines()[-1].startswith("PATCH /sessions/")
    assert out.splitlines()[5].endswith(" bytes, 2 items") and "POST /examples/bulk" in out
    assert err.endswith("With --json, the bodies are shown as well.\n")


def test_dry_run_needs_nothing_and_leaves_nothing(run):
    """Not even a store."""
    assert run("record", write("a.jsonl", OK), "--dry-run")[0] == 0

    assert os.listdir() == ["a.jsonl"]


def test_dry_run_as_json_holds_the_bodies(run):
    """So that somebody can look before anything is sent."""
    result = {**OK, "feedback": {"ok": 1}}

    _, out, _ = run("record", write("a.jsonl", result), "--dry-run", "--json")

    found = json.loads(out)["requests"]
    bodies = {request["path"]: request.get("body", request.get("parts")) for request in found}
    assert bodies["/examples/bulk"][0]["inputs"] == OK["inputs"]
    assert bodies["/runs/batch"]["post"][0]["outputs"] == OK["outputs"]
    assert bodies["/runs/multipart"][0]["key"] == "ok"


def test_dry_run_of_bad_results_is_refused_like_a_real_one(run):
    """Checking is what it is for."""
    code, out, err = run("record", write("a.jsonl", {}), "--dry-run")

    assert (code, out) == (2, "") and "2 problems in a.jsonl; nothing was sent:" in err


def test_dry_run_as_json_has_a_verdict_on_every_result(run):
    """All of them, however many are wrong, so that a port can be held against ours line by line."""
    file = write("a.jsonl", OK, *[{"inputs": {}, "outputs": {}, "tags": "x"}] * 30, {}, OK)

    code, out, err = run("record", file, "--dry-run", "--json")
    found = json.loads(out)

    assert code == found["exit_code"] == 2 and "32 problems" in err and "32 problems" in found["error"]
    assert [one["verdict"] for one in found["results"]] == ["recorded", *["refused"] * 31, "recorded"]
    assert found["results"][1]["problems"] == ["'tags' is the text 'x', expected a list of texts"]
    assert (found["results"][31]["place"], len(found["results"][31]["problems"])) == ("a.jsonl, line 32", 2)


def test_dry_run_as_json_says_which_results_would_be_recorded(run):
    """Beside the requests, when all of them are sound."""
    _, out, _ = run("record", write("a.jsonl", OK), "--dry-run", "--json")

    assert json.loads(out)["results"] == [{"place": "a.jsonl, line 1", "verdict": "recorded", "problems": []}]
