"""The official JavaScript SDK, pointed at localsmith by environment variables alone."""

import io
import re

import pytest
import requests
from javascript import node_modules, node_with_zstd, run_program
from localsmith_api import Api
from places import ROOT
from sent import check_sent, official_contract
from werkzeug.wrappers import Request, Response

from localsmith.wire import decompress

pytestmark = pytest.mark.slow


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def requests_seen(server, monkeypatch):
    """(method, path, Content-Encoding) of every request, and the status it was answered with."""
    seen, app = [], server.app.wsgi_app

    def note(environ, start_response):
        def start(status, headers, *error):
            asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_CONTENT_ENCODING"))
            seen.append((*asked, int(status.split()[0])))
            return start_response(status, headers, *error)

        return app(environ, start)

    monkeypatch.setattr(server.app, "wsgi_app", note)
    return seen


def keep_trace_requests(server, monkeypatch):
    """Every request from now on that writes runs, decompressed."""
    found, app = [], server.app.wsgi_app

    def keep(environ, start_response):
        request = Request(environ)
        if re.fullmatch(r"/runs(/batch|/multipart|/[0-9a-f-]{36})?", request.path) and request.method != "GET":
            data, encoding = request.get_data(), request.headers.get("Content-Encoding")
            environ["wsgi.input"] = io.BytesIO(data)
            body = decompress(data, encoding, 2**24) if encoding else data
            headers = {"Content-Type": request.headers["Content-Type"]}
            found.append(requests.Request(request.method, request.url, headers, data=body).prepare())
        return app(environ, start_response)

    monkeypatch.setattr(server.app, "wsgi_app", keep)
    return found


def without_multipart(app):
    nowhere = Response('{"detail": "Not Found"}', 404, mimetype="application/json")
    return lambda environ, start: (nowhere if environ["PATH_INFO"] == "/runs/multipart" else app)(environ, start)


def refused(requests_seen):
    return [line for line in requests_seen if line[3] >= 400]


PLAIN = {"LANGSMITH_DISABLE_RUN_COMPRESSION": "true"}
ONE_BY_ONE = {"BATCHES": "none"}


@pytest.mark.parametrize(
    ("environment", "encodings"),
    [
        ({"LANGSMITH_RUN_COMPRESSION_WINDOW_LOG": "27"}, {"zstd"}),  # the widest window that the SDK allows
        ({}, {"gzip"}),
        (PLAIN, {None}),
        (ONE_BY_ONE, set()),
    ],
    ids=["zstd", "gzip", "plain", "one by one"],
)
def test_nested_calls_become_one_trace(server, api, requests_seen, tmp_path, monkeypatch, environment, encodings):
    """traceable, a call that fails, a run made by hand and feedback, in each way that the SDK sends runs."""
    node = node_with_zstd() if encodings == {"zstd"} else "node"
    if encodings == {"gzip"}:  # which a newer Node uses only where zstd is not offered
        monkeypatch.setattr("localsmith.routes.info.zstd_available", lambda: False)

    found = run_program("tracing.mjs", tmp_path, server.url, node=node, **environment)

    assert found.value == {
        "answer": "LIMA",
        "names": ["agent", "tool", "model"],
        "tokens": 12,
        "tags": ["smoke"],
        "outputs": {"outputs": "LIMA"},
        "error": found.value["error"],
        "roots": ["agent", "broken", "by hand"],
        "feedback": [["correct", 0.3333]],
    }
    assert "no target" in found.value["error"]
    (project,) = api.get("/sessions", name="js", include_stats="true")
    assert (project["run_count"], project["error_rate"], project["total_tokens"]) == (3, pytest.approx(1 / 3), 12)
    assert not refused(requests_seen)
    assert {encoding for _, path, encoding, _ in requests_seen if path == "/runs/multipart"} == encodings
    assert "older than the minimum" not in found.stderr


# What the SDK sends beyond the contract: an empty list in each new run, and milliseconds since 1970.
BEYOND = {"child_runs": list, "start_time": int, "end_time": int}


@pytest.mark.skipif(not official_contract(), reason="the official contract is not beside the project")
@pytest.mark.parametrize(
    ("program", "environment", "operations"),
    [
        ("evaluating.mjs", {}, {"POST /runs/multipart"}),
        ("tracing.mjs", PLAIN, {"POST /runs", "POST /runs/multipart", "POST /runs/batch"}),
        ("tracing.mjs", ONE_BY_ONE, {"POST /runs", "PATCH /runs/{run_id}"}),
    ],
    ids=["multipart", "batch", "one by one"],
)
def test_runs_are_sent_as_the_contract_has_them(server, tmp_path, monkeypatch, program, environment, operations):
    """Runs and feedback keep to the official contract, but for the three fields above."""
    if "POST /runs/batch" in operations:  # the SDK sends it where there is no multipart
        monkeypatch.setattr(server.app, "wsgi_app", without_multipart(server.app.wsgi_app))
    trace_requests = keep_trace_requests(server, monkeypatch)

    run_program(program, tmp_path, server.url, **environment)

    assert {check_sent(one, BEYOND) for one in trace_requests} == operations


def test_evaluate_scores_and_compares(server, api, requests_seen, tmp_path):
    """Evaluators, summaries, repetitions, concurrency, and pairwise evaluation by names and by results."""
    found = run_program("evaluating.mjs", tmp_path, server.url).value

    double, wrong, two = (found["projects"][name] for name in ("double", "wrong", "two"))
    assert (double["run_count"], double["reference_dataset_id"], found["rows"]) == (6, found["dataset"], 6)
    assert double["feedback_stats"]["correct"]["avg"] == pytest.approx(4 / 6)
    assert double["feedback_stats"]["third"]["avg"] == pytest.approx(0.3333)
    assert double["session_feedback_stats"]["passed"]["avg"] == 6
    preferences = [api.get("/feedback", session=one["id"], key="pref", limit=100) for one in (wrong, two)]
    assert [len(items) for items in preferences] == [6, 6]
    assert [sum(item["score"] for item in items) for items in preferences] == [0, 2]
    assert len(api.get(f"/datasets/{found['dataset']}/comparative")) == 2
    assert sorted(api.get(f"/datasets/{found['dataset']}/splits")) == ["test", "train"]
    assert not refused(requests_seen)


def test_datasets_splits_and_versions(server, requests_seen, tmp_path):
    """A CSV file, splits, the difference of two versions, and the v2 lists of the generated client."""
    found = run_program("managing.mjs", tmp_path, server.url)

    assert found.value == {
        "csv": [
            [{"question": "Chile?"}, {"answer": "Santiago\nde Chile"}],
            [{"question": "Peru, the capital?"}, {"answer": "Lima"}],
        ],
        "splits": ["base", "hard"],
        "hard": [{"n": 1}],
        "diff": [True, True, True],
        "project": ["e", 1, 0],
        "datasets": [["plain", 2]],
        "sessions": [["p", "PROJECT"]],
    }
    assert not refused(requests_seen)
    assert "older than the minimum" not in found.stderr


def test_langchain_js_traces_by_environment_variables(server, api, tmp_path):
    """Prompt, model and parser are steps of one trace, with tags and metadata."""
    found = run_program("langchain.mjs", tmp_path, server.url).value

    assert found["answer"] == "Lima"
    assert found["runs"] == [[kind, "success"] for kind in ("chain", "llm", "parser", "prompt")]
    (project,) = api.get("/sessions", name="js", include_stats="true")
    (root,) = api.post("/runs/query", {"session": [project["id"]], "is_root": True})["runs"]
    assert (project["run_count"], root["tags"], root["thread_id"]) == (1, ["smoke"], "t-1")


def test_vitest_suite_is_an_experiment(server, api, tmp_path):
    """Each test is an example with a run, its own feedback, and `pass`; a failed one has an error."""
    vitest = str(node_modules() / "vitest" / "vitest.mjs")

    printed = run_program("capitals.test.mjs", tmp_path, server.url, vitest, "run", code=1)

    assert "1 failed" in printed.stdout and "1 passed" in printed.stdout
    (dataset,) = api.get("/datasets", name="capitals")
    (experiment,) = api.get("/sessions", reference_dataset=dataset["id"], include_stats="true")
    assert (dataset["example_count"], experiment["run_count"], experiment["error_rate"]) == (2, 2, 0.5)
    assert experiment["feedback_stats"]["correct"] == {"n": 1, "avg": 1, "values": {}}
    assert (experiment["feedback_stats"]["pass"]["n"], experiment["feedback_stats"]["pass"]["avg"]) == (2, 0.5)


def test_example_of_the_docs_runs(server, api, tmp_path):
    """The JavaScript of docs/clients.md, as pasted; its links lead to the store."""
    dataset = api.dataset()
    api.post("/examples", {"dataset_id": dataset, "inputs": {"question": "Peru?"}, "outputs": {"answer": "Lima"}})
    page = (ROOT / "docs" / "clients.md").read_text()
    (tmp_path / "page.mjs").write_text(re.search(r"```js\n(.*?)```", page, re.S)[1])

    printed = run_program("page.mjs", tmp_path, server.url)

    assert printed.stdout.splitlines()[-1] == "1 runs"
    link = re.search(rf"{re.escape(server.url)}/o/\S+", printed.stdout)[0]
    assert api.session.get(link).status_code == 200


def test_review_queues_of_the_sdk(server, requests_seen, tmp_path):
    """A queue with a rubric, runs added in both forms, one completed, one taken out."""
    found = run_program("reviewing.mjs", tmp_path, server.url).value

    (rubric,) = found.pop("rubric")
    assert (rubric["feedback_key"], rubric["is_required"]) == ("correct", None)
    assert rubric["feedback_config"]["feedback_config"]["categories"][2] == {"value": 0.5, "label": "partly"}
    assert found == {
        "second": {"outputs": "QUITO"},
        "size": 3,
        "items": 3,
        "archived": [True],
        "left": [{"outputs": "BOGOTA"}],
        "description": "second",
        "instructions": "Is it right?",
        "listed": [2],
        "labels": ["no", "yes", "partly"],
    }
    assert not refused(requests_seen)
