"""Test that nothing counts as recorded which is not, and that nothing that was finished is lost."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
import responses

import rest
from langsmith_rest import connection
from langsmith_rest.conformance.faults import Answer, Faults
from langsmith_rest.connection import call
from langsmith_rest.recording import account
from recorder import RecordingError, record_langsmith_experiment

PAGE = Answer(200, "<html>Please log in</html>", (("Content-Type", "text/html"),))
NO_RUNS = Answer(200, '{"items": []}', (("Content-Type", "application/json"),))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.02)


@pytest.fixture
def faults(server):
    return Faults(server)


@pytest.fixture
def api(server):
    return connection.connect(server.url)


def results(count):
    return [{"inputs": {"q": n}, "outputs": {"a": n}, "feedback": {"correct": n % 2}} for n in range(count)]


def record(api, given, **options):
    return record_langsmith_experiment("d", given, **{"experiment_name": "e", "langsmith": api, **options})


def stored(server, table):
    with closing(sqlite3.connect(server.app.state.store.path)) as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def every_other(path, answer):
    """Answers every other request to a path by itself; the store never hears of these."""
    seen = []

    def plan(request):
        if request.path.endswith(path) and request.method == "POST":
            seen.append(request)
            return answer if len(seen) % 2 else None
        return None

    return plan


# ---------------------------------------------------------------- a proxy in between


@pytest.mark.parametrize(
    "path",
    [
        "/runs/batch",
        "/sessions",
        *(pytest.param(path, marks=pytest.mark.slow) for path in ("/runs/multipart", "/examples/bulk", "/datasets")),
    ],
)
def test_a_page_in_place_of_an_answer_is_a_failure_that_passes(server, api, faults, path):
    """A login form with status 200 is not "recorded"; the request is sent again."""
    faults.plan = every_other(path, PAGE)

    recording = record(api, results(500))

    assert recording.rejected == []
    assert (stored(server, "examples"), stored(server, "runs"), stored(server, "feedback")) == (500, 500, 500)


def test_pages_without_end_are_an_error(monkeypatch, server, faults):
    """Nothing of the batch counts."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.1")
    faults.plan = lambda seen: PAGE if seen.path.endswith("/runs/batch") else None

    with pytest.raises(RecordingError, match="0 of 50 results are recorded.*Missing or incomplete: 1-50"):
        record(connection.connect(server.url), results(50))


def test_what_could_not_be_read_back_is_not_called_recorded(monkeypatch, server, faults):
    """All was accepted, and then the server went away."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.1")
    faults.plan = lambda seen: Answer(503) if seen.method == "GET" and "/sessions/" in seen.path else None

    with pytest.raises(RecordingError, match="50 of 50 results are accepted, but not read back. Run the same again"):
        record(connection.connect(server.url), results(50))


@pytest.mark.parametrize(
    ("path", "table"), [("/runs/multipart", "feedback"), ("/examples/bulk", "examples"), ("/runs/batch", "runs")]
)
def test_what_is_accepted_but_not_stored_is_named(monkeypatch, server, api, faults, path, table):
    """Read back by counts, then by ids: the results of the swallowed requests, and no others."""
    monkeypatch.setattr(account, "READ_BACK_SECONDS", 0.5)
    faults.plan = every_other(path, Answer(202, "{}", (("Content-Type", "application/json"),)))

    recording = record(api, results(400))

    rejected = {one["result"] for one in recording.rejected}
    assert stored(server, table) == 200 and len(rejected) == 200
    assert "accepted, but not found" in recording.rejected[0]["reason"]
    assert recording.feedback == 200  # none of a rejected result counts


def test_scores_of_runs_that_are_not_listed_yet_are_corrected(server, api, faults):
    """LangSmith lists runs some time after it took them; a second call finds their feedback nevertheless."""
    record(api, results(3))
    faults.plan = lambda seen: NO_RUNS if seen.path.endswith("/runs/query") else None
    changed = [{**result, "feedback": {"correct": 0.5}} for result in results(3)]

    recording = record(api, changed)

    scores = [item["score"] for item in call(api, "GET", "/feedback", params={"session": recording.experiment_id})]
    assert scores == [0.5] * 3


@pytest.mark.slow
def test_reading_back_takes_two_requests_more_than_the_runs(server, api, faults):
    """Counts of 10,000 flat results that nobody else records into tell all."""
    record(api, results(1000))

    after = [f"{seen.method} {seen.path}" for seen in faults.seen]
    reads = after[max(n for n, line in enumerate(after) if line == "POST /runs/multipart") + 1 :]
    assert sorted(line.partition(" ")[0] for line in reads) == ["GET", "GET", "PATCH"]


def test_ids_are_looked_up_at_once_where_a_server_does_not_count(monkeypatch, server, api):
    """Waiting for a count that never comes would take two minutes."""
    read_session = rest.read_session
    monkeypatch.setattr(rest, "read_session", lambda *a: {**read_session(*a), "run_count": None})
    monkeypatch.setattr(account, "sleep", lambda seconds: pytest.fail("it waits"))

    assert record(api, results(5)).rejected == []


# ---------------------------------------------------------------- sources that misbehave


def test_a_stream_may_use_its_objects_again(server, api):
    """What is recorded is what was there when a result came."""

    def stream():
        feedback, outputs = {"correct": 0}, {"list": [0]}
        one = {"inputs": {"q": 0}, "outputs": outputs, "feedback": feedback, "child_runs": []}
        for n in range(250):
            one["inputs"] = {"q": n}
            feedback["correct"], outputs["list"][0] = n, n
            one["child_runs"][:] = [{"inputs": {"step": n}, "outputs": {}}]
            yield one

    recording = record(api, stream())

    path = f"/datasets/{recording.dataset_id}/runs"
    body = {"session_ids": [recording.experiment_id], "limit": 100, "offset": 0, "preview": False}
    [*examples] = call(api, "POST", path, json=body)
    for example in examples:
        [run] = example["runs"]
        n = example["inputs"]["q"]
        assert run["outputs"] == {"list": [n]} and run["feedback_stats"]["correct"]["avg"] == n
    assert stored(server, "runs") == 500


@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt(), RuntimeError("broken")]
)
def test_what_a_stream_gave_before_it_broke_is_recorded(server, api, error):
    """Then its error is raised, whatever kind it is."""

    def stream():
        yield from results(20)
        raise error

    with pytest.raises(type(error)):
        record(api, stream())

    assert stored(server, "runs") == 20


# ---------------------------------------------------------------- names that are taken


@pytest.mark.parametrize("is_new", [True, False], ids=["a new dataset", "an existing one"])
def test_a_taken_name_is_found_before_anything_is_created(server, api, is_new):
    """Neither a dataset nor examples are left behind."""
    record(api, results(2))
    if not is_new:
        rest.create_dataset(api, "other")
    before = stored(server, "datasets"), stored(server, "examples")

    with pytest.raises(LookupError, match="The experiment name 'e' is taken by the dataset 'd'"):
        record_langsmith_experiment("other", results(3), experiment_name="e", langsmith=api)

    assert (stored(server, "datasets"), stored(server, "examples")) == before


def test_the_name_of_a_project_is_taken_as_well(api):
    rest.create_session(api, {"name": "e"})

    with pytest.raises(LookupError, match="is taken by a project without a dataset"):
        record(api, results(1))
    assert rest.find_dataset(api, "d") is None


def test_the_name_of_an_experiment_whose_dataset_was_deleted_is_taken_as_well():
    """LangSmith may keep such experiments."""
    session = {"id": "c6f8da3e-abe1-4f58-83e0-a813bdc2ae99", "name": "e"}
    session["reference_dataset_id"] = "26d0b944-a286-4a7f-bb5f-3d86268ecc45"
    api = connection.connect("https://api.smith.langchain.com", "lsv2_pt_key")
    with responses.RequestsMock() as http:
        http.get(f"{api.url}/sessions", json=[session])
        http.get(f"{api.url}/datasets", json=[])
        with pytest.raises(LookupError, match="'e' is taken by a deleted dataset: record under another name"):
            record(api, results(1))


def test_a_conflict_with_an_experiment_that_nobody_can_find_ends_with_the_servers_words():
    """Somebody else's workspace may have it; going on would record into nothing."""
    api = connection.connect("https://api.smith.langchain.com", "lsv2_pt_key")
    dataset = {"id": "26d0b944-a286-4a7f-bb5f-3d86268ecc45", "name": "d", "tenant_id": "t"}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        http.get(f"{api.url}/sessions", json=[])
        http.get(f"{api.url}/datasets", json=[dataset])
        http.get(f"{api.url}/examples", json=[])
        http.post(f"{api.url}/examples/bulk", json=[])
        http.post(f"{api.url}/sessions", status=409, json={"detail": "Session already exists"})
        with pytest.raises(RecordingError, match="POST /sessions answered 409: Session already exists"):
            record(api, results(1))
