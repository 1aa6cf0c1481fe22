"""Pushing from one real store to another, compared field by field."""

import json
from pathlib import Path

import pytest
import requests
from places import FIXTURES

import localsmith
from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.conformance.faults import Answer, Faults, where
from langsmith_rest.evaluation.push import push_experiment
from langsmith_rest.recording.account import RecordingError
from langsmith_rest.recording.bodies import parse_time
from recorder import record_langsmith_experiment

pytestmark = pytest.mark.usefixtures("nothing_set")
OF_THE_STORE = {  # what each store chooses itself
    *("id", "session_id", "trace_id", "parent_run_id", "parent_run_ids", "dotted_order", "reference_example_id"),
    *("start_time", "end_time", "app_path", "child_run_ids", "direct_child_run_ids", "first_token_time"),
    *("last_queued_at", "created_at", "modified_at", "run_id", "dataset_id", "reference_dataset_id", "dataset_name"),
    *("execution_order", "feedback_thread_id", "price_model_id", "manifest_id"),
}


@pytest.fixture
def source(tmp_path):
    with localsmith.serve(tmp_path / "source.db") as server:
        yield connection.connect(server.url)


@pytest.fixture
def target(server):
    return connection.connect(server.url)


def everything(api, name):
    """An experiment as the API gives it, without what each store chooses itself."""
    session = connection.call(api, "GET", "/sessions", params={"name": name})[0]
    runs, cursor = [], {}
    while True:
        page = connection.call(api, "POST", "/runs/query", json={"session": [session["id"]], **cursor})
        runs += page["runs"]
        if not (following := page["cursors"].get("next")):
            break
        cursor = {"cursor": following}
    names = {run["id"]: run["name"] for run in runs}
    feedback = connection.call(api, "GET", "/feedback", params={"session": session["id"], "limit": 100})
    examples = connection.call(api, "GET", "/examples", params={"dataset": session["reference_dataset_id"]})
    return {
        "session": {key: session.get(key) for key in ("name", "description", "extra", "run_count")},
        "runs": in_order(bare(run) | {"parent": names.get(run["parent_run_id"]), **timing(run)} for run in runs),
        "examples": in_order(map(bare, examples)),
        "feedback": in_order(bare(item) | {"of": names.get(item["run_id"])} for item in feedback),
    }


def bare(item):
    return {key: value for key, value in item.items() if key not in OF_THE_STORE}


def timing(run):
    started, ended = (parse_time(run[name]) for name in ("start_time", "end_time"))
    return {"latency": (ended - started).total_seconds()}


def in_order(items):
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def results():
    return [json.loads(line) for line in (FIXTURES / "results.jsonl").read_text().splitlines()]


def recorded(source, name="before"):
    """An experiment with all there can be: steps, errors, splits, and feedback of people, judges and programs."""
    given = results()
    given[0] |= {"split": ["train", "hard"], "example_metadata": {"topic": "geo"}, "tags": ["a"]}
    record_langsmith_experiment(
        "capitals", given, experiment_name=name, description="of a test", metadata={"model": "m"}, langsmith=source
    )
    session = connection.call(source, "GET", "/sessions", params={"name": name})[0]
    run = connection.call(source, "POST", "/runs/query", json={"session": [session["id"]], "is_root": True})["runs"][0]
    for origin, key in ((("app", None), "liked"), (("model", {"judge": "j"}), "judged"), (("auto_eval", None), "rule")):
        body = {"key": key, "score": 0.5, "comment": key, "run_id": run["id"], "trace_id": run["trace_id"]}
        body["feedback_source"] = {"type": origin[0], **({"metadata": origin[1]} if origin[1] else {})}
        connection.call(source, "POST", "/feedback", json={**body, "correction": {"answer": "Lima"}})
    connection.call(source, "POST", "/feedback", json={"key": "f1", "score": 0.75, "session_id": session["id"]})
    example = {"dataset_id": session["reference_dataset_id"], "inputs": {"q": "without a run"}}
    connection.call(source, "POST", "/examples", json=example)
    return session


def test_an_experiment_is_the_same_in_another_store(source, target):
    """Dataset, examples with their splits, runs with steps and times, feedback with its source: field by field."""
    session = recorded(source)

    pushed = push_experiment(source, target, session)

    there, here = everything(target, "before"), everything(source, "before")
    for part in here:
        assert there[part] == here[part], part
    assert len(here["feedback"]) > 4 and len(here["runs"]) > 5  # there was something to compare
    assert pushed.runs_recorded == 5 and pushed.rejected == []


@pytest.mark.slow
def test_pushing_again_changes_nothing(source, target):
    """Neither a run nor a score is doubled; what is new since then is sent."""
    session = recorded(source)
    push_experiment(source, target, session)
    before = everything(target, "before")

    again = push_experiment(source, target, session)

    assert (again.runs_recorded, again.feedback, again.examples_created) == (0, 0, 0)
    assert everything(target, "before") == before

    run = connection.call(source, "POST", "/runs/query", json={"session": [session["id"]], "is_root": True})["runs"][1]
    new = {"key": "late", "score": 1, "run_id": run["id"], "trace_id": run["trace_id"]}
    connection.call(source, "POST", "/feedback", json=new)
    assert push_experiment(source, target, session).feedback == 1
    assert everything(target, "before") == everything(source, "before")


@pytest.mark.slow
def test_a_push_that_breaks_off_is_finished_by_the_next(source, server, target):
    """Half of it arrives; pushing again sends the rest, and nothing twice."""
    session = recorded(source)
    faults = Faults(server, lambda seen: Answer(401, "{}") if seen.path.endswith("/runs/multipart") else None)
    with pytest.raises(RecordingError):
        push_experiment(source, target, session)

    faults.plan = lambda seen: None
    again = push_experiment(source, target, session)

    assert again.runs_existing == 5
    assert everything(target, "before") == everything(source, "before")


@pytest.mark.slow
def test_every_text_is_masked(source, target):
    """Inputs, references, outputs, errors, comments, metadata: all pass the mask, and no original is sent."""
    session = recorded(source)

    push_experiment(source, target, session, mask=lambda text: text.replace("Lima", "***"))

    said = json.dumps(everything(target, "before"))
    assert "Lima" not in said and "***" in said
    assert len(everything(target, "before")["runs"]) == len(everything(source, "before")["runs"])


@pytest.mark.slow
def test_attachments_are_pushed_with_their_runs(source, target, tmp_path, caplog):
    """With their names, types and bytes; a mask, which changes only texts, leaves them out and says so."""
    files = {"photo": ("image/png", b"\x89PNG"), "a page": ("text/html", b"<p>")}
    for name, (_, data) in files.items():
        (tmp_path / name).write_bytes(data)
    given = {name: {"mime_type": kind, "path": str(tmp_path / name)} for name, (kind, _) in files.items()}
    results = [{"inputs": {"q": n}, "outputs": {"a": n}, "attachments": given if n else None} for n in range(2)]
    for name in ("first", "masked"):
        record_langsmith_experiment("photos", results, experiment_name=name, langsmith=source)
    sessions = connection.call(source, "GET", "/sessions", params={"reference_free": "false"})
    first, hidden = sorted(sessions, key=lambda session: session["name"])

    pushed = push_experiment(source, target, first)
    push_experiment(source, target, hidden, mask=lambda text: text)

    assert pushed.rejected == [] and attachments_of(target, "first") == [{}, files]
    assert attachments_of(target, "masked") == [{}, {}]
    assert "attachments of 1 run are not pushed" in caplog.text


@pytest.mark.slow
def test_attachments_that_no_request_holds_are_rejected(source, target, tmp_path):
    """Another client may have attached more than 20 MB; the run itself is pushed."""
    (tmp_path / "small").write_bytes(b"x")
    given = {"big": {"mime_type": "text/plain", "path": str(tmp_path / "small")}}
    result = {"inputs": {"q": 1}, "outputs": {"a": 1}, "attachments": given}
    record_langsmith_experiment("photos", [result], experiment_name="first", langsmith=source)
    session = connection.call(source, "GET", "/sessions", params={"name": "first"})[0]
    body = {"session": [session["id"]], "select": ["id"]}
    run_id = connection.call(source, "POST", "/runs/query", json=body)["runs"][0]["id"]
    part = (None, bytes(20_000_001), "text/plain; length=20000001")
    connection.send(source, "POST", "/runs/multipart", files=[(f"attachment.{run_id}.more", part)])

    pushed = push_experiment(source, target, session)

    assert pushed.runs_recorded == 1
    assert [(one["run"], "at most 20 MB" in one["reason"]) for one in pushed.rejected] == [(run_id, True)]


@pytest.mark.slow
def test_a_file_that_the_store_lost_is_left_out_and_other_failures_can_be_repeated(target, tmp_path):
    """The run of a lost file is pushed without it; messages hold no signed address."""
    (tmp_path / "photo").write_bytes(b"x")
    given = {"photo": {"mime_type": "image/png", "path": str(tmp_path / "photo")}}
    with localsmith.serve(tmp_path / "source.db") as server:
        source = connection.connect(server.url)
        for name in ("lost", "late"):
            result = {"inputs": {"q": 1}, "outputs": {"a": 1}, "attachments": given}
            record_langsmith_experiment("photos", [result], experiment_name=name, langsmith=source)
        lost, late = (
            connection.call(source, "GET", "/sessions", params={"name": name})[0] for name in ("lost", "late")
        )
        faults = Faults(server)

        faults.plan = where("GET /attachments/", Answer(404))
        pushed = push_experiment(source, target, lost)
        faults.plan = where("GET /attachments/", Answer(503))
        with pytest.raises(requests.ConnectionError, match=r"answered 503 for an attachment\. Push again") as refused:
            push_experiment(source, target, late)
        faults.plan = lambda seen: None
        push_experiment(source, target, late)

    assert pushed.runs_recorded == 1 and "has lost this file" in pushed.rejected[0]["reason"]
    assert "?" not in str(refused.value)
    assert attachments_of(target, "lost") == [{}]
    assert attachments_of(target, "late") == [{"photo": ("image/png", b"x")}]


def attachments_of(api, name):
    """What is attached to each run of an experiment, by name: its type and its bytes."""
    session = connection.call(api, "GET", "/sessions", params={"name": name})[0]
    body = {"session": [session["id"]], "select": ["id", "s3_urls", "inputs"]}
    runs = sorted(connection.call(api, "POST", "/runs/query", json=body)["runs"], key=lambda run: run["inputs"]["q"])
    return [
        {
            key.removeprefix("attachment."): (
                link["mime_type"],
                requests.get(link["presigned_url"], timeout=60).content,
            )
            for key, link in (run["s3_urls"] or {}).items()
        }
        for run in runs
    ]


def test_original_times_survive_a_second_move(source, target):
    """A run that was moved when it was recorded still says when it really began."""
    session = recorded(source)

    push_experiment(source, target, session)

    for run in everything(target, "before")["runs"]:
        assert run["extra"]["metadata"]["original_start_time"].startswith("2026-01-15")


# ---------------------------------------------------------------- the command


def run(capsys, *argv, code=0):
    assert main.main(list(argv)) == code
    return capsys.readouterr()


@pytest.mark.slow
def test_the_command_pushes_from_the_local_store(server, capsys):
    """By name or as `latest`; the links lead to the other store."""
    run(capsys, "record", str(FIXTURES / "before.jsonl"), "--dataset", "d", "--experiment", "before")

    out, said = run(capsys, "push", "latest", "--to", server.url)

    assert out.startswith(server.url)
    assert "before: " in said and "sent, 0 existing" in said
    assert "nothing new" in run(capsys, "push", "before", "--to", server.url).err
    assert everything(connection.connect(server.url), "before")["session"]["run_count"] > 0


def test_a_mask_comes_from_a_file(server, capsys):
    Path("mask_of_push.py").write_text("def hide(text):\n    return text.replace('Lima', '***')\n", encoding="utf-8")
    run(capsys, "record", str(FIXTURES / "results.jsonl"), "--dataset", "d", "--experiment", "x")

    run(capsys, "push", "x", "--to", server.url, "--mask", "mask_of_push.py:hide")

    assert "Lima" not in json.dumps(everything(connection.connect(server.url), "x"))


def test_push_says_what_it_lacks(server, capsys):
    """A place to go to, a store to come from, and an experiment."""
    assert "no local store" in run(capsys, "push", "x", "--to", server.url, code=2).err
    run(capsys, "record", str(FIXTURES / "before.jsonl"), "--experiment", "before")

    assert "push needs a destination" in run(capsys, "push", "before", code=2).err
    assert "--to must look like https://HOST" in run(capsys, "push", "before", "--to", "elsewhere", code=2).err
    assert (
        "No experiment 'befor'. Did you mean 'before'?" in run(capsys, "push", "befor", "--to", server.url, code=2).err
    )


def test_nothing_is_pushed_into_the_same_store(capsys):
    """The local store has another address in each process; the ids of its datasets tell."""
    run(capsys, "record", str(FIXTURES / "results.jsonl"), "--dataset", "d", "--experiment", "before")

    said = run(capsys, "push", "before", "--to", "local", code=2).err

    assert "is the store to push from, or a copy of it" in said
    assert json.loads(run(capsys, "list", "d", "--json").out)["experiments"][0]["run_count"] == len(results())
