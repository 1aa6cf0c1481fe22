"""The command line as a whole: choosing a command, misuse, exit codes, and output that nobody reads."""

import json
import os
import subprocess
import sys

import pytest
from command_line import OK, start, write
from places import FIXTURES, MAIN

from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.mark.parametrize(
    "arguments",
    [
        ["record", "a", "--datset", "x"],
        ["--port", "1"],
        ["view", "--port", "65536"],
        ["record", "a", "--json=1"],
    ],
)
def test_wrong_flags_are_misuse(run, capsys, arguments):
    """With the usage, as everywhere."""
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)

    assert caught.value.code == 2
    assert "usage: uv run main.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        (["recrod", "x"], "usage: uv run main.py [-h]", "recrod: there is no such file or command. Did you mean 'rec"),
        (["comapre", "a", "b"], "usage: uv run main.py [-h]", "Did you mean 'compare'?"),
        (["record", "a", "--datset", "x"], "usage: uv run main.py record", "error: unrecognized arguments: --datset x"),
        (["compare", "a", "b", "--seeed", "1"], "usage: uv run main.py compare", "unrecognized arguments: --seeed 1"),
        (["view", "--port", "x"], "usage: uv run main.py view", "'x' is not a port: expected 0 to 65535"),
        (["view", "--port", "-1"], "usage: uv run main.py view", "'-1' is not a port"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_said_with_the_usage_of_its_command(run, capsys, arguments, usage, said):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)

    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.startswith(usage) and said in err


ACTIONS = [["evaluators", name] for name in ("list", "test", "upload", "upload-judge", "delete", "run")]


@pytest.mark.parametrize("arguments", [[], *([name] for name in main.COMMANDS), *ACTIONS], ids=" ".join)
def test_help_fits_on_a_screen_and_ends_with_an_example(capsys, monkeypatch, arguments):
    """The last lines are commands to paste."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        main.main([*arguments, "--help"])

    lines = capsys.readouterr().out.splitlines()
    command = " ".join(["uv run main.py", *arguments])
    assert caught.value.code == 0 and len(lines) <= 45
    assert "example" in "".join(lines) and any(line.startswith(f"  {command}") for line in lines[-3:])


def test_flags_alone_record_the_fixture_too(run):
    """No command and no file: the default is meant."""
    code, out, _ = run("--json", "--dataset", "capitals")

    assert code == 0 and json.loads(out)["dataset_name"] == "capitals"


@pytest.mark.parametrize("flag", ["--dataset", "--experiment"])
@pytest.mark.parametrize("name", ["", " "])
@pytest.mark.parametrize("words", [["record", "a.jsonl"], ["evaluate", "a.py:run", "--data", "d"]])
def test_empty_names_are_refused(run, unreachable, words, flag, name):
    """A script's variable that is not set is no name."""
    write("a.jsonl", OK)

    code, _, err = run(*words, flag, name)

    assert code == 2 and f"{flag} is empty: give it a name, or leave it out." in err


@pytest.mark.parametrize("pairs", [["model"], ["=x"], ["a=1", "a=2"]])
def test_metadata_of_another_form_is_refused(run, unreachable, pairs):
    """A key, an equals sign and a value, each key once."""
    flags = [flag for pair in pairs for flag in ("--metadata", pair)]

    code, out, err = run("record", write("a.jsonl", OK), *flags)

    assert (code, out) == (2, "")
    assert err == f"main.py record: --metadata {pairs[-1]!r}: expected KEY=VALUE, each key once.\n"


@pytest.mark.slow
def test_filter_that_the_server_refuses_is_misuse(run, endpoint):
    """Any other refusal is not."""
    words = ["backtest", "--project", "p", "--dataset", "d", "--target", f"{FIXTURES / 'tweets.py'}:terse"]
    words += ["--evaluators", str(FIXTURES / "tweets.py")]
    run(*words[:3], "--dataset", "d", "--load", str(FIXTURES / "production_runs.jsonl"), *words[5:])

    code, _, err = run(*words, "--filter", "eq(")

    assert code == 2 and "Invalid filter" in err


def test_missing_key_is_misuse(monkeypatch, run):
    """An endpoint elsewhere needs one; the embedded store is no substitute for it."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://langsmith.example")

    code, out, err = run("record", write("a.jsonl", OK))

    assert (code, out) == (2, "") and err.startswith("main.py record: LANGSMITH_API_KEY is not set.")


def test_server_that_cannot_be_reached_is_no_misuse(run, unreachable):
    """Exit code 1, and an account of what is recorded."""
    code, out, err = run("record", write("a.jsonl", OK, OK))

    assert (code, out) == (1, "")
    assert err.startswith("main.py record: GET /datasets: no answer from http://127.0.0.1:1 (")
    assert "0 of 2 results are recorded. Missing or incomplete: 1-2. Run the same again" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["record", "bad.jsonl"], 2, "2 problems in bad.jsonl"),
        (["record", "a.jsonl", "--experiment", "e", "--dataset", "other"], 1, "is taken by"),
        (["compare", "e", "f"], 2, "No experiment 'f'"),
        (["evaluate", "e"], 2, "--evaluators is missing"),
    ],
)
def test_json_tells_why_nothing_was_done(run, endpoint, arguments, code, words):
    """For programs, a refusal is an object as well."""
    write("bad.jsonl", {})
    run("record", write("a.jsonl", OK), "--experiment", "e")

    found, out, err = run(*arguments, "--json")

    assert found == code
    assert json.loads(out)["exit_code"] == code and words in json.loads(out)["error"] and words in err


def test_json_of_an_outage_holds_what_is_recorded(run, unreachable):
    """The counts as far as they are known."""
    _, out, _ = run("record", write("a.jsonl", OK), "--json")

    found = json.loads(out)
    assert "no answer" in found["error"] and found["recording"]["runs_recorded"] == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")
@pytest.mark.parametrize("flags", [[], pytest.param(["--json"], marks=pytest.mark.slow)])
def test_output_that_cannot_be_written_is_no_misuse(server, endpoint, flags):
    """The results are recorded by then; only the words got lost."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, str(MAIN), "record", write("a.jsonl", OK), *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )

    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == (
        "main.py record: the output could not be written (No space left on device). What was sent is recorded."
    )
    assert [one["run_count"] for one in endpoint("/sessions", include_stats="true")] == [1]


@pytest.mark.slow
def test_reader_that_has_seen_enough_gets_no_traceback(server):
    """As in `main.py ... | head -1`."""
    write("a.jsonl", OK)

    with start("record", "a.jsonl", LANGSMITH_ENDPOINT=server.url) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
        process.wait(timeout=60)

    assert process.returncode == 0 and err == "a.jsonl: 1 result recorded, 1 new example.\n"


@pytest.mark.slow
def test_terminal_without_unicode_shows_names_escaped(server):
    """After recording is no time to fail."""
    write("a.jsonl", OK)

    with start("a.jsonl", "--experiment", "é😀", LANGSMITH_ENDPOINT=server.url, PYTHONIOENCODING="ascii") as process:
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0 and rb"experiment  \xe9\U0001f600" in out


@pytest.mark.slow
def test_failed_gate_counts_although_its_reader_has_seen_enough(run, server, endpoint):
    """As in `compare ... | head -1`: the exit code is that of the gate."""
    run("record", write("a.jsonl", {**OK, "feedback": {"ok": 1}}), "--experiment", "a")
    run("record", write("b.jsonl", {**OK, "feedback": {"ok": 0}}), "--experiment", "b")

    with start("compare", "a", "b", "--fail-below", "ok=0.5") as process:
        process.stdout.close()
        err = process.stderr.read().decode()
        process.wait(timeout=60)

    assert process.returncode == 1 and "Traceback" not in err


def test_bug_is_no_misuse(run, monkeypatch, endpoint):
    """A KeyError of ours is shown whole, so that it can be reported."""
    monkeypatch.setattr("langsmith_rest.commands.compare.compare_as_told", lambda *_: {}["missing"])

    with pytest.raises(KeyError):
        run("compare", "a", "b")


def test_hints_are_written_once():
    """No message spells out how commands are run: `typed` knows how this one was."""
    package = MAIN.parent / "langsmith_rest"
    spelt = [path.name for path in package.rglob("*.py") if "uv run main.py" in path.read_text()]

    assert spelt == ["wording.py"]
