"""The command `view`: serving the store, and exporting from it."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import requests
from command_line import OK, start, write

import localsmith
from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.mark.slow
def test_view_serves_the_store_until_interrupted(run):
    """It prints the address first, for people and scripts."""
    link = run()[1].splitlines()[-1]

    with start("view", "--port", "0") as process:
        url = process.stdout.readline().decode().strip()
        page = requests.get(re.sub(r"^http://[^/]+", url, link), timeout=60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert page.status_code == 200 and "Canberra" in page.text
    assert process.returncode == 0 and f"LANGSMITH_ENDPOINT={url}" in err.decode()


def test_view_interrupted_while_it_starts_does_not_speak_of_recording(run, monkeypatch):
    """Nothing was being recorded."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(localsmith, "serve", interrupted)

    assert run("view") == (130, "", "Interrupted.\n")
    assert "What was sent is recorded" in run("record", write("a.jsonl", OK))[2]


def test_port_in_use_is_misuse(run, server):
    """Most often because `view` runs already."""
    code, out, err = run("view", "--port", str(server.port))

    assert (code, out) == (2, "")
    assert err.startswith(f"main.py view: Port {server.port} is in use by another program: choose another with --port")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no such signal")
def test_view_that_is_told_to_end_leaves_a_store_that_can_be_copied(run):
    """SIGTERM, as from a service manager: the file alone holds everything."""
    run()

    with start("view", "--port", "0") as process:
        url = process.stdout.readline().decode().strip()
        requests.get(url, timeout=60)
        process.terminate()
        process.communicate(timeout=60)

    assert process.returncode == 0
    assert not Path(".localsmith/localsmith.db-wal").exists()


@pytest.mark.slow
def test_backup_of_a_store_that_is_served_is_a_store(run):
    """The copy holds what was recorded, and a second one does not replace it."""
    run()

    with start("view", "--port", "0") as process:
        process.stdout.readline()
        done, again = run("view", "--backup", "copy.db"), run("view", "--backup", "copy.db")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert done[:2] == (0, "copy.db\n")
    assert again[0] == 2 and "copy.db exists: name another file" in again[2]
    store = localsmith.Store("copy.db")
    with store.read() as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone()[0] > 0
    store.close()


@pytest.fixture
def recorded(tmp_path, monkeypatch, capfd):
    """A store in a temporary directory that holds two experiments of one dataset, named a and b."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        result = {"inputs": {"q": 1}, "outputs": {"a": name}, "feedback": {"good": 1}, "metadata": {"m": name}}
        Path(f"{name}.jsonl").write_text(json.dumps(result), encoding="utf-8")
        assert main.main(["record", f"{name}.jsonl", "--experiment", name, "--dataset", "d"]) == 0
    capfd.readouterr()


def test_comparison_is_exported_as_one_file(recorded, capfd):
    """report.html needs no server: it refers to nothing outside of itself."""
    assert main.main(["view", "--export", "report.html", "a", "b"]) == 0

    html = Path("report.html").read_text(encoding="utf-8")
    assert capfd.readouterr().out == "report.html\n"
    assert "<html" in html and "good" in html
    assert "src=" not in html and "<link" not in html


def test_exported_experiment_is_read_back_by_record(recorded, capfd):
    """What one store exports as JSON lines, another one records."""
    assert main.main(["view", "--export", "out.jsonl", "b"]) == 0
    assert main.main(["record", "out.jsonl", "--dataset", "copy", "--json"]) == 0

    recording = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (recording["runs_recorded"], recording["examples_created"], recording["feedback"]) == (1, 1, 1)


def test_experiment_is_exported_to_stdout_as_csv(recorded, capfd):
    """`--export=-.csv` is for pipes."""
    assert main.main(["view", "--export=-.csv", "a"]) == 0

    head, row = capfd.readouterr().out.splitlines()[:2]
    assert "good" in head and "1" in row


def test_export_passes_no_proxy(recorded, capfd, monkeypatch):
    """What the store holds stays on this machine; a proxy's page is never taken for it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert main.main(["view", "--export=-.csv", "a"]) == 0

    assert "good" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--export", "out.html", "c"], 2, "No experiment 'c'"),
        (["--export", "out.html"], 2, "name the experiments to compare"),
        (["--export", "out.csv", "a", "b"], 2, "name one experiment"),
        (["--export", "out.pdf", "a"], 2, "must end in .html"),
        (
            ["--export", "missing/out.csv", "a"],
            2,
            "--export missing/out.csv: there is no folder missing: create it first",
        ),
        (["--export", "taken.csv", "a"], 2, "--export taken.csv: it cannot be written (Is a directory)."),
        (["--export", "a.jsonl", "a"], 2, "--export a.jsonl: it exists already: remove it, or choose another name."),
        (["a"], 2, "--export"),
    ],
    ids=["unknown", "none", "two in one table", "other format", "no folder", "a folder", "taken", "without --export"],
)
def test_export_that_cannot_be_done_says_why(recorded, capfd, arguments, code, words):
    """No file is left behind or changed, and the message says what to write instead."""
    Path("taken.csv").mkdir()
    before = Path("a.jsonl").read_bytes()

    assert main.main(["view", *arguments]) == code

    assert Path("a.jsonl").read_bytes() == before
    assert words in capfd.readouterr().err
    assert not list(Path().glob("out*")) and not list(Path().glob("*.part"))
