"""Test the local store from anywhere: which one is meant, who serves it, and where links to it lead."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from command_line import DATABASE, OK, start, write
from places import FIXTURES, ROOT

from langsmith_rest import local
from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")
SCRIPT = """
from langsmith_rest import connect, record_langsmith_experiment
api = connect({endpoint})
print(api.url, record_langsmith_experiment("capitals", [{result}], langsmith=api).url)
"""


@pytest.fixture
def record(capsys):
    """Record one result at the command line; returns the link and what is said."""

    def record(*arguments):
        assert main.main(["record", write("a.jsonl", OK), *arguments]) == 0
        out, err = capsys.readouterr()
        return out.splitlines()[-1], err

    return record


@contextmanager
def view(*arguments, cwd="."):
    """A `view` in a process of its own; gives its address."""
    with start("view", *arguments, cwd=cwd) as process:
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def python(endpoint="", **environment):
    """Record one result in a script of the user's; returns the API's address and the link."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(endpoint=endpoint, result=OK)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def names_in(url):
    """The datasets of the store that is served at an address."""
    return [
        dataset["name"] for dataset in requests.get(f"{url}/datasets", headers={"x-api-key": "x"}, timeout=60).json()
    ]


# ---------------------------------------------------------------- which store


def test_store_of_a_folder_above_is_used(record, monkeypatch):
    """As git finds its repository; the message names the file."""
    record()
    Path("deep", "deeper").mkdir(parents=True)
    monkeypatch.chdir(Path("deep", "deeper"))

    _, err = record()

    assert f"the local store {Path('..', '..') / DATABASE}" in err and "Nothing new" in err
    assert os.listdir() == ["a.jsonl"]


def test_nearest_store_is_used(record, monkeypatch):
    """A folder `.localsmith` starts a store of its own."""
    record()
    Path("deep", ".localsmith").mkdir(parents=True)
    monkeypatch.chdir("deep")

    _, err = record()

    assert "1 result recorded" in err and DATABASE.exists()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_store_of_another_user_is_not_used(monkeypatch):
    """Whoever may write above a folder of mine does not decide where I record."""
    Path(".localsmith").mkdir()
    os.chown(".localsmith", 54321, 54321)
    Path("mine").mkdir()
    monkeypatch.chdir("mine")

    assert local.database() == Path.cwd() / DATABASE


# ---------------------------------------------------------------- from Python


@pytest.mark.parametrize(
    "way", ["argument", *(pytest.param(way, marks=pytest.mark.slow) for way in (".env", "environment"))]
)
def test_python_records_in_the_local_store(way):
    """Without a second terminal; what was recorded is there when the process has ended."""
    if way == ".env":
        Path(".env").write_text("LANGSMITH_ENDPOINT=local\n")

    python("'local'" if way == "argument" else "", **({"LANGSMITH_ENDPOINT": "local"} if way == "environment" else {}))

    with local.served(must_exist=True) as (url, _):
        assert names_in(url) == ["capitals"]
    assert not list(Path(".localsmith").glob("*-wal"))  # closed, so that the file alone can be copied


@pytest.mark.slow
def test_python_links_to_where_view_will_serve_the_store():
    """The process that recorded is gone by then."""
    _, link = python("'local'")

    with view() as url:
        page = requests.get(link, timeout=60)

    assert link.startswith(url) and page.status_code == 200 and "Lima" in page.text


@pytest.mark.slow
def test_key_is_not_needed_for_the_local_store_and_not_sent():
    """A key of LangSmith's stays where it is."""
    api = [*python("'local'", LANGSMITH_API_KEY="lsv2-secret")]

    assert api[0].startswith("http://127.0.0.1:")


def test_command_line_takes_the_endpoint_local(record, monkeypatch):
    """A key that is set as well is not used."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "local")
    monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2-secret")

    _, err = record()

    assert err.startswith(f"Recording into the local store {DATABASE}.\n")


# ---------------------------------------------------------------- with `view`


@pytest.mark.slow
def test_running_view_serves_commands_and_python(record):
    """Links lead to its pages at once."""
    record()
    with view("--port", "0") as url:
        link, err = record()
        used, python_link = python("'local'")
        page = requests.get(link, timeout=60)

    assert used == url and link.startswith(f"{url}/o/") and python_link.startswith(f"{url}/o/")
    assert page.status_code == 200 and "Lima" in page.text and "To see the pages" not in err


@pytest.mark.slow
def test_view_that_was_killed_is_forgotten(record):
    """Its address remains beside the database, but nobody holds it."""
    with start("view", "--port", "0") as process:
        process.stdout.readline()
        process.kill()

    _, err = record()

    assert "1 result recorded" in err and "To see the pages" in err


@pytest.mark.slow
def test_links_do_not_lead_to_another_store(record):
    """Where another folder's `view` holds the port, the link names a free one, which `view` here then takes."""
    Path("other", ".localsmith").mkdir(parents=True)
    first, _ = record()
    port = re.match(r"http://127\.0\.0\.1:(\d+)", first)[1]

    with view("--port", port, cwd="other") as taken:
        second, _ = record()
        with view() as url:
            page = requests.get(second, timeout=60)

    assert first.startswith(taken) and not second.startswith(taken) and second.startswith(url)
    assert page.status_code == 200 and "Lima" in page.text


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")
def test_all_that_lies_beside_the_store_is_its_owners_alone(record):
    """Also the file that says where its pages are."""
    before = os.umask(0)
    try:
        record()
    finally:
        os.umask(before)

    assert {path.name: path.stat().st_mode & 0o777 for path in DATABASE.parent.iterdir()} == {
        "localsmith.db": 0o600,
        "view.url": 0o600,
    }


@pytest.mark.slow
def test_view_says_which_store_it_serves_and_how_it_was_typed(capsys):
    """A link to another store explains itself, a second view of the same store shows the first."""
    with view("--port", "0") as url:
        missing = requests.get(f"{url}/o/f51e8722-c21b-4092-a8ce-6f2410645d51/datasets/x/compare", timeout=60)
        page = requests.get(url, timeout=60).text
        assert main.main(["view"]) == 0

    out, err = capsys.readouterr()
    assert missing.status_code == 404 and str(DATABASE.absolute()) in missing.text
    assert "uv run main.py" not in page and "main.py record FILE" in page
    assert out.strip() == url and f"{DATABASE} is being served already." in err


@pytest.mark.slow
def test_loaded_runs_keep_their_times_while_view_is_running(capsys):
    """Its server refuses old runs, as LangSmith does; the command opens the store by itself."""
    file = str(FIXTURES / "production_runs.jsonl")
    with view("--port", "0") as url:
        assert main.main(["backtest", "--load", file, "--project", "p"]) == 0
        out, err = capsys.readouterr()

    assert "moved" not in err and out.startswith(url)


def test_json_goes_to_stdout_alone(capsys):
    """Where it records is said on stderr."""
    assert main.main(["record", write("a.jsonl", OK), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["runs_recorded"] == 1
