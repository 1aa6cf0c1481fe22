"""Attachments of results, recorded in a real local store."""

import base64
import json
import os
from pathlib import Path

import pytest
import requests

from langsmith_rest import connect, connection, record_langsmith_experiment
from langsmith_rest.commands import main
from langsmith_rest.conformance.faults import Answer, Faults, where

pytestmark = pytest.mark.usefixtures("nothing_set")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def api(server):
    return connect(server.url)


def attached(mime_type="image/png", path="photo.png", name="photo", **fields):
    given = {name: {"mime_type": mime_type, "path": path}}
    return {"inputs": {"q": "What is on it?"}, "outputs": {"a": "a dot"}, "attachments": given, **fields}


def runs_of(api, experiment_id):
    body = {"session": [experiment_id], "select": ["id", "name", "s3_urls", "inputs", "parent_run_id"]}
    return connection.call(api, "POST", "/runs/query", json=body)["runs"]


def test_files_are_recorded_with_the_run(api):
    """With its steps and feedback, beside results without files; recording again changes nothing."""
    Path("photo.png").write_bytes(PNG)
    step = {"inputs": {"x": 1}, "outputs": {"y": 2}, "name": "step"}
    results = [attached(child_runs=[step], feedback={"seen": 1}), {"inputs": {"q": 2}, "outputs": {"a": 3}}]

    recording = record_langsmith_experiment("photos", results, experiment_name="first", langsmith=api)
    again = record_langsmith_experiment("photos", results, experiment_name="first", langsmith=api)

    assert (recording.runs_recorded, recording.feedback, recording.rejected) == (2, 1, [])
    assert (again.runs_recorded, again.runs_existing) == (0, 2)
    runs = runs_of(api, recording.experiment_id)
    links = [run["s3_urls"] for run in runs if run.get("s3_urls")]
    assert len(runs) == 3 and len(links) == 1
    assert requests.get(links[0]["attachment.photo"]["presigned_url"], timeout=60).content == PNG


def test_a_server_without_attachments_gets_all_other_results(server, api):
    """Those with attachments are rejected, with the reason."""
    Path("photo.png").write_bytes(PNG)
    Faults(server).plan = where("POST /runs/multipart", Answer(404, '{"detail":"Not Found"}'))
    others = [{"inputs": {"q": n}, "outputs": {"a": n}, "feedback": {"right": 1}} for n in range(4)]

    recording = record_langsmith_experiment("photos", [attached(), *others], experiment_name="first", langsmith=api)

    assert (recording.runs_recorded, recording.feedback) == (4, 4)
    reason = "POST /runs/multipart: this server takes no attachments"
    assert recording.rejected == [{"result": 1, "reason": reason}]


def test_the_page_of_the_run_shows_the_image(api):
    """As an image, since its kind is safe."""
    Path("photo.png").write_bytes(PNG)
    recording = record_langsmith_experiment("photos", [attached()], experiment_name="first", langsmith=api)
    (run,) = runs_of(api, recording.experiment_id)
    tenant = recording.url.split("/o/")[1].split("/")[0]

    shown = requests.get(f"{api.url}/o/{tenant}/attachments/{run['id']}?name=photo", timeout=60)

    assert shown.headers["Content-Type"].startswith("image/png") and shown.content == PNG


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (attached(path="none.png"), "'attachments.photo.path' is the text 'none.png', expected the path of a file"),
        (attached(path="."), "is the text '.', expected the path of a file"),
        (attached(name="a.b"), "'attachments.a.b': a name has 1 to 128 characters, no dot, double quote or backslash"),
        (attached(name="a\\"), "no dot, double quote or backslash"),
        (attached(name='"a"'), "a name has 1 to 128 characters, no dot, double quote or backslash"),
        (
            attached(mime_type="photo"),
            "'attachments.photo.mime_type' is the text 'photo', expected a type such as",
        ),
        (attached(mime_type="image/png\r\nX: y"), "expected a type such as image/png"),
        ({**attached(), "attachments": {"photo": "photo.png"}}, "expected {'mime_type': ..., 'path': ...}"),
        ({**attached(), "attachments": ["photo.png"]}, "'attachments' is a list"),
        (attached(child_runs=[attached()]), "unknown field 'child_runs[0].attachments'"),
    ],
)
def test_what_cannot_be_attached_is_said_before_anything_is_sent(api, result, problem):
    """Names, kinds and files are checked with all results."""
    Path("photo.png").write_bytes(PNG)

    with pytest.raises(ValueError, match="nothing was sent") as error:
        record_langsmith_experiment("photos", [result], langsmith=api)

    assert problem in str(error.value)


def test_too_many_bytes_are_refused(api):
    """All attachments of a result travel in one request."""
    Path("photo.png").write_bytes(PNG)
    os.truncate("photo.png", 21_000_000)

    with pytest.raises(ValueError, match="'attachments' have 21 MB, at most 20 MB are recorded"):
        record_langsmith_experiment("photos", [attached()], langsmith=api)


def test_a_file_that_is_gone_rejects_its_result_alone(api, monkeypatch):
    """What was there when results were checked may be gone when they are sent."""
    Path("photo.png").write_bytes(PNG)
    monkeypatch.setattr(Path, "read_bytes", gone)

    results = [attached(), {"inputs": {"q": 2}, "outputs": {"a": 3}}]
    recording = record_langsmith_experiment("photos", results, experiment_name="first", langsmith=api)

    assert recording.runs_recorded == 1
    assert recording.rejected == [{"result": 1, "reason": "photo.png: No such file or directory"}]


def gone(path):
    raise FileNotFoundError(2, "No such file or directory", str(path))


def written(folder, *results):
    folder.mkdir(exist_ok=True)
    (folder / "photo.png").write_bytes(PNG)
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in results), encoding="utf-8")
    return str(folder / "results.jsonl")


def test_paths_start_in_the_folder_of_the_file(tmp_path, capsys):
    """Wherever the command is given."""
    file = written(tmp_path / "there", attached())

    assert main.main(["record", file, "--dry-run", "--json"]) == 0

    sent = json.loads(capsys.readouterr().out)["requests"]
    (parts,) = [one["parts"] for one in sent if one["path"] == "/runs/multipart"]
    assert [part.get("bytes") for part in parts] == [None, len(PNG)]
    assert parts[1]["mime_type"] == "image/png" and parts[1]["attachment"].endswith(".photo")


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/hostname", "link"])
def test_paths_do_not_lead_out_of_that_folder(tmp_path, capsys, path):
    """A file of results from elsewhere cannot make us send other files of this machine."""
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    file = written(tmp_path / "there", attached(path=path))
    (tmp_path / "there" / "link").symlink_to(tmp_path / "secret.txt")

    assert main.main(["record", file]) == 2

    assert f"'attachments.photo': {path} is not below the folder of this file" in capsys.readouterr().err
