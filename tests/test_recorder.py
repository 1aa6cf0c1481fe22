"""Recording into a real server: what is there afterwards, what is counted, and what a second time changes."""

import copy
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import requests
from localsmith_api import Api
from places import ROOT

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.recording import bodies
from langsmith_rest.recording.sending import Tally
from recorder import RecordingError, record_langsmith_experiment

FIXTURE = [json.loads(line) for line in (ROOT / "fixtures" / "results.jsonl").read_text(encoding="utf-8").splitlines()]
pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.fixture
def api(server):
    """Reads what the server holds."""
    api = Api(server.url)
    yield api
    api.session.close()


@pytest.fixture
def record(server):
    """Record results in the server, as the dataset "capitals" where no other name is given."""
    langsmith = connection.connect(server.url)

    def record(results, dataset_name="capitals", **options):
        return record_langsmith_experiment(dataset_name, results, langsmith=langsmith, **options)

    return record


@pytest.fixture
def content(tmp_path):
    """All that is in the database of the server, as text."""

    def content():
        with closing(sqlite3.connect(tmp_path / "localsmith.db")) as db:
            return "\n".join(db.iterdump())

    return content


def result(q=1, a=2, **fields):
    return {"inputs": {"q": q}, "outputs": {"a": a}, **fields}


def runs_of(api, recording):
    """The runs of an experiment, parents before their children."""
    found = api.post("/runs/query", {"session": [recording.experiment_id], "limit": 100})["runs"]
    return sorted(found, key=lambda run: run["dotted_order"])


def path_to(run, runs):
    """The ids of a run's ancestors, and its own."""
    parent = runs.get(run["parent_run_id"])
    return [*(path_to(parent, runs) if parent else []), run["id"]]


def feedback_in(api, recording):
    found = api.get("/feedback", session=recording.experiment_id, limit=100)
    return {(item["key"], item["score"], json.dumps(item["value"]), item["comment"]) for item in found}


def counts(recording):
    return (
        recording.results,
        (recording.examples_created, recording.examples_existing),
        (recording.runs_recorded, recording.runs_existing),
        recording.feedback,
    )


# ---------------------------------------------------------------- what is there afterwards


def test_result_becomes_an_example_and_a_run(api, record):
    """With everything that was said of it."""
    now = datetime.now(UTC).replace(microsecond=250_000)
    recording = record([{
        **result("Peru?", "Lima"),
        "reference_outputs": {"a": "Lima"},
        "start_time": (now - timedelta(seconds=5)).isoformat(),
        "end_time": now - timedelta(seconds=3),
        "name": "bot", "run_type": "chain", "tags": ["x", "y"], "metadata": {"m": None, "n": [1.5]},
        "split": ["test"], "example_metadata": {"row": 7},
    }])  # fmt: skip

    [example] = api.get("/examples", dataset=recording.dataset_id)
    [run] = runs_of(api, recording)
    assert (example["inputs"], example["outputs"]) == ({"q": "Peru?"}, {"a": "Lima"})
    assert example["metadata"] == {"row": 7, "dataset_split": ["test"]}
    assert run["reference_example_id"] == example["id"]
    assert [run[name] for name in ("name", "run_type", "tags")] == ["bot", "chain", ["x", "y"]]
    assert (run["inputs"], run["outputs"], run["error"]) == ({"q": "Peru?"}, {"a": "Lima"}, None)
    assert run["extra"]["metadata"]["n"] == [1.5]
    assert run["start_time"] == (now - timedelta(seconds=5)).isoformat(timespec="microseconds")
    assert run["end_time"] == (now - timedelta(seconds=3)).isoformat(timespec="microseconds")


def test_counts_say_what_was_done(record):
    """Of the fixture that `main.py` records, too."""
    recording = record(FIXTURE)

    assert counts(recording) == (5, (5, 0), (5, 0), 4) and recording.rejected == []
    assert recording.dataset_name == "capitals" and recording.experiment_name == "capitals-544727a2"


def test_experiment_holds_what_was_said_and_is_closed(api, record):
    """Not before its last run ended."""
    end = datetime.now(UTC) + timedelta(seconds=60)
    recording = record(
        [result(start_time=end - timedelta(seconds=90), end_time=end)], description="d", metadata={"m": [1, None]}
    )

    session = api.get(f"/sessions/{recording.experiment_id}", include_stats=True)
    assert (session["description"], session["extra"]["metadata"]) == ("d", {"m": [1, None]})
    assert datetime.fromisoformat(session["end_time"]) >= end
    assert session["run_count"] == 1


def test_link_leads_to_the_experiment(record):
    recording = record([result("Which city?", "Lima")])

    page = requests.get(recording.url, timeout=60)

    assert page.status_code == 200 and "Which city?" in page.text


def test_child_runs_become_a_tree(api, record):
    """In which everyone knows its parent and the root, and tokens add up."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=60)
    usage = {"usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}
    model = result(metadata=usage, start_time=start + timedelta(seconds=2), end_time=start + timedelta(seconds=4))
    tool = result(run_type="tool", name="search", start_time=start + timedelta(seconds=1), child_runs=[model])
    recording = record([result(start_time=start, end_time=start + timedelta(seconds=9), child_runs=[tool, result()])])

    runs = {run["id"]: run for run in runs_of(api, recording)}
    root = next(run for run in runs.values() if not run["parent_run_id"])
    children = [run for run in runs.values() if run["parent_run_id"] == root["id"]]
    [grandchild] = [run for run in runs.values() if run["parent_run_id"] not in (None, root["id"])]
    assert len(runs) == 4 and recording.runs_recorded == 1
    assert root["run_type"] == "chain" and {child["run_type"] for child in children} == {"tool", "llm"}
    assert {run["trace_id"] for run in runs.values()} == {root["id"]}
    assert runs[grandchild["parent_run_id"]]["name"] == "search"
    assert grandchild["start_time"] == (start + timedelta(seconds=2)).isoformat(timespec="microseconds")
    for run in runs.values():
        steps = [step.partition("Z")[2] for step in run["dotted_order"].split(".")]
        assert steps == path_to(run, runs)
    assert root["total_tokens"] == 15
    assert api.get(f"/sessions/{recording.experiment_id}", include_stats=True)["total_tokens"] == 15


def test_failure_needs_no_outputs(api, record):
    """It is a result like any other: the system was asked and said nothing."""
    recording = record([{"inputs": {"q": 1}, "error": "TimeoutError: 30 s"}, result()])

    failed = next(run for run in runs_of(api, recording) if run["status"] == "error")
    assert (failed["error"], failed["outputs"]) == ("TimeoutError: 30 s", None)
    assert api.get(f"/sessions/{recording.experiment_id}", include_stats=True)["error_rate"] == 0.5


def test_repetitions_are_runs_of_one_example(api, record):
    """Same inputs and reference, other outputs or times: the example is made once."""
    recording = record([result(a=1), result(a=2), result(a=1, start_time="2026-01-01"), result(a=1, name="other")])

    assert counts(recording) == (4, (1, 0), (4, 0), 0)
    assert len({run["reference_example_id"] for run in runs_of(api, recording)}) == 1


def test_identical_results_are_counted(api, record):
    """Temperature 0 gives the same answer three times, and that is three runs."""
    first = record([result()] * 3, experiment_name="e")
    more = record([result()] * 4, experiment_name="e")

    assert (first.runs_recorded, more.runs_existing, more.runs_recorded) == (3, 3, 1)
    assert len(runs_of(api, more)) == 4


def test_examples_of_many_batches_are_made_once(api, record):
    """Batches travel at the same time, and share what they use."""
    recording = record([result(q=n % 120, a=n) for n in range(450)])

    assert counts(recording) == (450, (120, 0), (450, 0), 0)
    assert api.get(f"/sessions/{recording.experiment_id}", include_stats=True)["run_count"] == 450


def test_existing_example_is_used(api, record):
    """The run is tied to it, and none is made."""
    dataset_id = api.dataset("capitals")
    [example_id, *_] = api.examples(dataset_id)

    recording = record([result("other", 1, example_id=example_id)])

    assert counts(recording) == (1, (0, 0), (1, 0), 0)
    assert [run["reference_example_id"] for run in runs_of(api, recording)] == [example_id]
    assert len(api.get("/examples", dataset=dataset_id)) == 3


def test_unknown_example_is_rejected_by_number(api, record):
    """Of another dataset, or none; the other results are recorded."""
    [foreign, *_] = api.examples(api.dataset("other"))

    recording = record([result(1), result(2, example_id=foreign), result(3)])

    assert recording.rejected == [{"result": 2, "reason": f"example {foreign} is not in the dataset"}]
    assert (recording.results, recording.runs_recorded) == (3, 2)


def test_feedback_in_all_its_forms(api, record):
    """Of the run and of its steps; null means not scored."""
    child = result(feedback={"useful": 0.5})
    long = [
        {"key": "tone", "value": {"kind": 1}},
        {"key": "tone", "score": 2, "comment": "é"},
        {"key": "n", "score": None},
    ]
    recording = record(
        [result(feedback={"ok": True, "label": "good", "later": None}), result(2, feedback=long, child_runs=[child])]
    )

    assert recording.feedback == 5
    assert feedback_in(api, recording) == {
        ("ok", 1.0, "null", None),
        ("label", None, '"good"', None),
        ("tone", None, '{"kind": 1}', None),
        ("tone", 2.0, "null", "é"),
        ("useful", 0.5, "null", None),
    }


# ---------------------------------------------------------------- recording again


def test_recording_again_changes_nothing(record, content):
    """Not a byte of the store."""
    first = record(FIXTURE)
    before = content()

    again = record(FIXTURE)

    assert counts(again) == (5, (0, 5), (0, 5), 0)
    assert (again.experiment_id, again.url) == (first.experiment_id, first.url)
    assert content() == before


def test_order_of_results_does_not_matter(record, content):
    """The default name and every id follow from the results alone."""
    first = record(FIXTURE)
    before = content()
    shuffled = random.Random(1).sample(FIXTURE, len(FIXTURE))

    again = record(shuffled)

    assert again.experiment_id == first.experiment_id and again.runs_existing == 5
    assert content() == before


def test_other_results_are_another_experiment_of_the_same_examples(record):
    """A second model answers the same questions."""
    first = record([result(q=n, a=1) for n in range(3)])
    second = record([result(q=n, a=2) for n in range(3)])

    assert second.experiment_id != first.experiment_id and second.dataset_id == first.dataset_id
    assert counts(second) == (3, (0, 3), (3, 0), 0)


def test_named_experiment_grows(api, record):
    """What is there stays; only the rest is sent."""
    results = [result(q=n, feedback={"ok": n}) for n in range(5)]
    record(results[:2], experiment_name="e")

    recording = record(results, experiment_name="e")

    assert counts(recording) == (5, (3, 2), (3, 2), 3)
    assert len(runs_of(api, recording)) == 5


def test_same_results_in_two_datasets_stay_apart(record):
    """By default, the experiment is called after its dataset."""
    one, two = record(FIXTURE, "one"), record(FIXTURE, "two")

    assert one.experiment_name != two.experiment_name
    assert counts(two) == (5, (5, 0), (5, 0), 4)


def test_feedback_that_comes_later_is_added(api, record):
    """It is no part of a result's id, so the run is still the same."""
    record([result(), result(2)])

    recording = record([result(feedback={"ok": 1}), result(2, feedback={"ok": 0})])

    assert counts(recording) == (2, (0, 2), (0, 2), 2)
    assert feedback_in(api, recording) == {("ok", 1.0, "null", None), ("ok", 0.0, "null", None)}


def test_feedback_that_changed_is_changed_in_place(api, record):
    """Averages would count a second one as well. What did not change is not sent."""
    before = [
        {"key": "ok", "score": 0, "comment": "wrong"},
        {"key": "tone", "value": "good"},
        {"key": "ok", "score": 0.25},
    ]
    after = [
        {"key": "ok", "score": 1},
        {"key": "tone", "value": "good"},
        {"key": "ok", "score": 0.25, "comment": "new"},
    ]
    record([result(feedback=before)])

    recording = record([result(feedback=after)])

    assert recording.feedback == 2
    assert feedback_in(api, recording) == {
        ("ok", 1.0, "null", None), ("tone", None, '"good"', None), ("ok", 0.25, "null", "new")
    }  # fmt: skip


def test_server_with_older_routes_only_holds_the_same(tmp_path):
    """v1 reads, and feedback one by one."""
    with localsmith.serve(tmp_path / "old.db", v2_reads=404) as server:
        langsmith = connection.connect(server.url)
        langsmith.missing.add("multipart")

        first = record_langsmith_experiment("capitals", FIXTURE, langsmith=langsmith)
        again = record_langsmith_experiment("capitals", FIXTURE, langsmith=langsmith)

    assert (counts(first), counts(again)) == ((5, (5, 0), (5, 0), 4), (5, (0, 5), (0, 5), 0))
    assert langsmith.missing == {"multipart", "runs v2"}


# ---------------------------------------------------------------- how it is called


class Rows:
    """Something that can be iterated as often as one likes, but has no length."""

    def __iter__(self):
        return iter(FIXTURE)


@pytest.mark.parametrize(
    "results",
    [tuple(FIXTURE), iter(FIXTURE), (row for row in FIXTURE), dict(enumerate(FIXTURE)).values(), Rows()],
    ids=["tuple", "iterator", "generator", "view", "iterable"],
)
def test_results_may_be_any_iterable(record, results):
    """Whatever a harness holds them in."""
    recording = record(results)

    assert counts(recording) == (5, (5, 0), (5, 0), 4) and recording.experiment_name == "capitals-544727a2"


def test_results_are_left_as_they_were(record):
    """They belong to the caller."""
    results = copy.deepcopy(FIXTURE)

    record(results)

    assert results == FIXTURE


@pytest.mark.parametrize("name", [None, ""])
def test_experiment_without_a_name_gets_one(record, name):
    """Also from a generator, which is then held in memory."""
    assert record((row for row in FIXTURE), experiment_name=name).experiment_name == "capitals-544727a2"


class ProgressBar:
    """Goes through a generator, so once, and knows how many will come."""

    def __init__(self, generator, count):
        self.generator, self.count = generator, count

    def __iter__(self):
        yield from self.generator

    def __len__(self):
        return self.count


@pytest.mark.parametrize("name", [None, "x"])
def test_results_that_come_only_once_are_recorded(api, record, name):
    """Counting them does not mean that they can be gone through again."""
    bar = ProgressBar((result(q=n, feedback={"n": n}) for n in range(50)), 50)

    recording = record(bar, experiment_name=name)

    assert counts(recording) == (50, (50, 0), (50, 0), 50)
    assert {item[1] for item in feedback_in(api, recording)} == set(range(50))


def test_results_changed_while_they_are_recorded_are_recorded_as_they_were_checked(record):
    given = [result(q=n) for n in range(1000)]

    recording = record(given, on_progress=lambda done, total: given.clear())

    assert recording.runs_recorded == 1000


def test_results_that_are_fewer_the_second_time_are_missed(record):
    """Such as those of a file that is cut while it is recorded."""

    class Fading:
        last = 9

        def __iter__(self):
            self.last -= 2
            return iter([result(q=n) for n in range(self.last)])

    with pytest.raises(RecordingError, match="5 results were checked, but 3 came to be recorded"):
        record(Fading(), experiment_name="x")


def test_progress_goes_up_to_all(record):
    """Told in results, of all that there are."""
    told = []

    record([result(q=n) for n in range(250)], on_progress=lambda done, total: told.append((done, total)))

    assert told == sorted(told) and told[-1] == (250, 250) and {total for _, total in told} == {250}


def test_connection_is_that_of_the_environment(monkeypatch, server):
    """Nothing has to be passed."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    assert record_langsmith_experiment("capitals", FIXTURE).url.startswith(server.url)


def test_without_a_key_nothing_is_recorded_silently_elsewhere():
    """The embedded store is for the command line."""
    with pytest.raises(connection.SetupError, match="LANGSMITH_API_KEY is not set"):
        record_langsmith_experiment("capitals", FIXTURE)


def test_generator_may_use_one_object_again(record, api):
    """What counts is what the object held when it was given."""

    def stream():
        row = {}
        for number in range(3):
            row |= result(number, number, feedback={"score": number})
            yield row

    recording = record(stream(), experiment_name="stream")

    scores = {item["run_id"]: item["score"] for item in api.get("/feedback", session=recording.experiment_id)}
    assert {run["outputs"]["a"]: scores[run["id"]] for run in runs_of(api, recording)} == {0: 0, 1: 1, 2: 2}


def test_streamed_old_results_end_before_now(record, api):
    """Where they are moved to leaves room for results that took longer than the first."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    took = [timedelta(seconds=1), timedelta(minutes=50)]

    recording = record(
        (result(i, start_time=start, end_time=start + took[i]) for i in range(2)), experiment_name="stream"
    )

    ends = [datetime.fromisoformat(run["end_time"]).replace(tzinfo=UTC) for run in runs_of(api, recording)]
    assert max(ends) < datetime.now(UTC)


def test_result_may_name_an_example_that_an_earlier_one_makes(record):
    """Even when both are recorded in one call, in batches that are sent side by side."""
    dataset_id = record([result("first")]).dataset_id
    made = bodies.example_id(dataset_id, bodies.canonical_fields(result("new")))

    recording = record([result("new"), *(result(number) for number in range(100)), result("x", 1, example_id=made)])

    assert recording.rejected == [] and recording.runs_recorded == 102


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"results": [result(), {"inputs": {}}]}, "1 problem in the results; .*:\n  result 2: 'outputs'"),
        ({"results": None}, "results is null, expected a list or a generator of results"),
        ({"results": "results.jsonl"}, "results is the text 'results.jsonl', expected a list"),
        ({"results": result()}, "results is an object, expected a list"),
        ({"results": []}, "There is nothing to record in the results; nothing was sent."),
        ({"results": iter([]), "experiment_name": "e"}, "There is nothing to record in the results; nothing was sent."),
        (
            {"results": iter([{"outputs": {}}] * 300), "experiment_name": "e"},
            "300 problems in the results; .*:\n  result 1, 2, 3, 4 and 296 more: 'inputs' is missing, .*$",
        ),
        ({"metadata": {"x": {1}}}, "'metadata.x' is a Python set"),
        ({"metadata": {"x": float("nan")}}, "'metadata.x' is NaN"),
        ({"description": "\ud800"}, "'description' has a lone surrogate"),
        ({"experiment_name": "\ud800"}, "'experiment' has a lone surrogate"),
        ({"dataset_name": "\ud800"}, "'dataset' has a lone surrogate"),
        ({"dataset_name": ""}, "The dataset has no name"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_is_sent(monkeypatch, change, problem):
    """No request is made: this endpoint would fail."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
    arguments = {
        "dataset_name": "capitals",
        "results": FIXTURE,
        "langsmith": connection.connect("http://127.0.0.1:1"),
        **change,
    }

    with pytest.raises(ValueError, match=f"^{problem}"):
        record_langsmith_experiment(**arguments)


@pytest.mark.parametrize(("verify", "reads"), [(True, 1), (False, 0)])
def test_experiment_is_read_back_unless_told_otherwise(record, server, verify, reads):
    """Once is enough when all is there."""
    seen = Counter()
    app = server.app.wsgi_app
    server.app.wsgi_app = lambda environ, start: (seen.update([environ["QUERY_STRING"]]), app(environ, start))[1]

    record([result()], verify=verify)

    assert seen["include_stats=true"] == reads


# ---------------------------------------------------------------- in another project


USER_CODE = """
import sys
from recorder import record_langsmith_experiment
results = [{"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, "feedback": {"ok": 1}}]
print(record_langsmith_experiment("capitals", results).runs_recorded, "flask" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("uv"), reason="uv makes the fresh environment")
def test_installed_package_records_with_three_packages(tmp_path, server):
    """What a harness gets when it adds this project: the core, and what the core needs."""
    python = tmp_path / "venv" / "bin" / "python"
    uv = shutil.which("uv")
    subprocess.run([uv, "venv", "--python", sys.executable, tmp_path / "venv"], check=True)
    subprocess.run([uv, "pip", "install", "--python", python, ROOT], check=True)

    listed = subprocess.run(
        [uv, "pip", "list", "--format", "json", "--python", python], check=True, capture_output=True
    )
    for name in ("results.py", "bodies.py", "main.py"):  # a harness has files of its own, and those come first
        (tmp_path / name).touch()
    recorded = subprocess.run(
        [python, "-c", USER_CODE],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={"LANGSMITH_ENDPOINT": server.url},
        text=True,
    )

    assert {package["name"] for package in json.loads(listed.stdout)} == {
        "langsmith-rest-experiments", "requests", "python-dotenv", 
        "certifi", "charset-normalizer", "idna", "urllib3",
    }  # fmt: skip
    assert recorded.stdout == "1 False\n"


def test_experiment_that_cannot_be_closed_is_recorded_all_the_same(record, monkeypatch, caplog):
    """Its end only sorts lists; a key that may not change experiments is no reason to fail."""

    def refuse(*_):
        raise requests.HTTPError("PATCH /sessions answered 403: Forbidden")

    monkeypatch.setattr(rest, "close_session", refuse)

    recording = record([result()])

    assert recording.runs_recorded == 1 and not recording.rejected
    assert "could not be closed: PATCH /sessions answered 403" in caplog.text


def test_tally_counts_what_is_repeated():
    tally = Tally(["a", "b", "a"])

    assert [tally.add(text) for text in ("a", "c", "a")] == [2, 0, 3]
    assert len(tally) == 3 and "b" in tally and "d" not in tally
