"""Exit codes tell what was found, whatever becomes of the output and whatever the user's files do."""

import json
import os
from pathlib import Path

import pytest
from command_line import start, write

EXITS = "import sys\n\n\ndef {name}({parameters}):\n    sys.exit(0)\n"
CALLED = {"run": "inputs", "judge": "outputs", "total": "runs, examples", "prefer": "outputs, inputs", "mask": "text"}
CALLED["hosted"] = "run, example"
ROWS = [{"inputs": {"q": f"{n}"}, "outputs": {"a": "no"}, "feedback": {"good": 0}} for n in range(2)]
FAILING = {  # each found something bad, and ends with 1
    "record": ["record", "bad.jsonl", "--dataset", "lab"],
    "evaluate": ["evaluate", "files.py:fails", "--data", "lab", "--experiment", "failing"],
    "compare": ["compare", "a", "b", "--fail-below", "good=0.5"],
    "backtest": ["backtest", "--project", "prod", "--load", "rows.jsonl", "--dataset", "copied"],
}
FAILING["backtest"] += ["--target", "files.py:works", "--evaluators", "files.py:good", "--fail-below", "good=2"]
FILES = """
def fails(inputs):
    return inputs["missing"]


def works(inputs):
    return {"a": "yes"}


def good(outputs):
    return 1
"""


@pytest.fixture
def files(nothing_set, endpoint, run):
    """A folder with files of a user, and experiments `a` and `b` in a store."""
    write("rows.jsonl", *ROWS)
    write("bad.jsonl", ROWS[0], {**ROWS[1], "example_id": "63d2e490-85ef-4430-ad03-8db4de383784"})
    Path("files.py").write_text(FILES)
    for name, parameters in CALLED.items():
        Path(f"exits_{name}.py").write_text(EXITS.format(name=name, parameters=parameters))
    Path("exits.py").write_text("raise SystemExit(0)\n")
    for name in "ab":
        assert run("record", "rows.jsonl", "--dataset", "lab", "--experiment", name)[0] == 0


def ended(process):
    """The exit code and what was said, of a process whose stdout nobody reads."""
    err = process.stderr.read().decode()
    return process.wait(timeout=60), err


@pytest.mark.slow
@pytest.mark.parametrize("command", FAILING.values(), ids=FAILING)
def test_what_failed_is_told_by_the_exit_code_whoever_reads(files, server, command):
    """Where the reader of stdout has left, and, for one of the commands, where there is no stdout."""
    where = {"LANGSMITH_ENDPOINT": server.url}
    with start(*command, **where) as left:
        left.stdout.close()
        found = [ended(left)]
    if command is FAILING["compare"]:
        with start(*command, closed=1, **where) as none:
            found.append(ended(none))

    assert [code for code, _ in found] == [1] * len(found)
    assert not any('Traceback (most recent call last):\n  File "/' in err for _, err in found)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
@pytest.mark.parametrize("command", [FAILING["record"], FAILING["compare"]], ids=["record", "compare"])
def test_what_failed_is_told_by_the_exit_code_where_the_disk_is_full(files, server, command):
    with open("/dev/full", "wb") as full, start(*command, stdout=full, LANGSMITH_ENDPOINT=server.url) as process:
        code, err = ended(process)

    assert code == 1 and "the output could not be written" in err
    assert 'Traceback (most recent call last):\n  File "/' not in err


@pytest.mark.slow
def test_without_stderr_messages_do_not_get_into_the_result(files, server):
    """With `2>&-`, stdout is one JSON object all the same."""
    with start("record", "rows.jsonl", "--json", closed=2, LANGSMITH_ENDPOINT=server.url) as it:
        out, _ = it.communicate(timeout=60)

    assert it.returncode == 0 and json.loads(out)["runs_recorded"] == 2


OVER = ["--data", "lab"]
WORKS = ["evaluate", "files.py:works", *OVER]
BACKTEST = ["backtest", "--project", "prod", "--load", "rows.jsonl", "--dataset", "copied"]
GOOD = ["--evaluators", "files.py:good"]
LOADED = {
    "target": (["evaluate", "{}:run", *OVER], 1),
    "evaluator": ([*WORKS, "--evaluators", "{}:judge"], 1),
    "summary evaluator": ([*WORKS, *GOOD, "--summary-evaluators", "{}:total"], 1),
    "pairwise evaluator": (["evaluate", "--pairwise", "a", "b", "--evaluators", "{}:prefer"], 1),
    "mask": (["record", "rows.jsonl", "--mask", "{}:mask"], 2),
    "target of a backtest": ([*BACKTEST, *GOOD, "--target", "{}:run"], 1),
    "evaluator of a backtest": ([*BACKTEST, "--target", "files.py:works", "--evaluators", "{}:judge"], 1),
    "mask of a backtest": ([*BACKTEST, *GOOD, "--target", "files.py:works", "--mask", "{}:mask"], 2),
    "what is uploaded": (["evaluators", "test", "{}", "--function", "hosted", "--dataset", "lab"], 1),
}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(*case, id=name, marks=pytest.mark.slow if "backtest" in name else ())
        for name, case in LOADED.items()
    ],
)
def test_no_file_ends_the_command_with_success(files, run, command, code):
    """`sys.exit(0)` while it is loaded is misuse; where it is called, it is a failure of that call."""
    name = next(name for name in CALLED if f"{{}}:{name}" in command or name in command)

    called = run(*(word.format(f"exits_{name}.py") for word in command))
    loaded = run(*(word.format("exits.py") for word in command))

    assert (called[0], loaded[0]) == (code, 2)
    assert "SystemExit: 0" in called[2]
