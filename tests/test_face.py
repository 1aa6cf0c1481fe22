"""Test the package `langsmith_rest` itself: its names, and files of the user's that hide modules of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

import langsmith_rest

pytestmark = pytest.mark.usefixtures("nothing_set")


def python(code):
    """Run Python in the current folder, whose files come before ours, as in a script of the user's."""
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


def test_every_name_can_be_imported_and_is_listed():
    """What `dir` shows is there."""
    for name in langsmith_rest.__all__:
        assert getattr(langsmith_rest, name) is not None and name in dir(langsmith_rest)


def test_recording_imports_no_more_than_it_needs():
    """Neither evaluators, nor the command line, nor the store."""
    done = python(
        "import sys\n"
        "from langsmith_rest import record_langsmith_experiment, connect\n"
        "unneeded = ('langsmith_rest.evaluation', 'langsmith_rest.commands', 'localsmith', 'rich', 'flask')\n"
        "print([name for name in sys.modules if name.startswith(unneeded)])"
    )

    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_recording_into_the_local_store_loads_no_pages_no_server_and_no_evaluators():
    """The command starts quickly: each is loaded when it is used."""
    Path("results.jsonl").write_text('{"inputs": {"q": 1}, "outputs": {"a": 2}}\n')
    done = python(
        "import sys\n"
        "from langsmith_rest.commands.main import main\n"
        "assert main(['record', 'results.jsonl', '--json']) == 0\n"
        "slow = ('localsmith.pages.', 'localsmith.hosted.r', 'langsmith_rest.evaluation.evalu', 'asyncio')\n"
        "print([name for name in sys.modules if name.startswith((*slow, 'flask', 'waitress'))])"
    )

    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda api: langsmith_rest.compare("before", "after"), r"compare\(connect\(\), 'before', 'after'\)"),
        (lambda api: langsmith_rest.evaluate(len, None, langsmith=api), "data is None, expected the name of a dataset"),
        (lambda api: langsmith_rest.convert_runs_to_test([], "d", langsmith=api), "expected the Runs that list_runs"),
        (lambda api: langsmith_rest.llm_judge("Is it kind?", scale=5), "scale is 5, expected bool"),
    ],
    ids=["a name as connection", "no data", "a list of runs", "a number as scale"],
)
def test_argument_of_another_kind_is_refused_with_what_is_expected(call, expected):
    """Before anything is sent: nothing listens at this address."""
    with pytest.raises(ValueError, match=expected):
        call(langsmith_rest.connect("http://127.0.0.1:1"))


@pytest.mark.parametrize("name", ["rest", "recorder"])
@pytest.mark.parametrize("wanted", ["langsmith_rest", "recorder"])
def test_file_that_hides_one_of_ours_is_named(name, wanted):
    """One error says which file it is and what to do, instead of names that are missing somewhere."""
    Path(f"{name}.py").write_text("" if name == "rest" else "from langsmith_rest import *\n")

    done = python(f"from {wanted} import record_langsmith_experiment")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {Path(f'{name}.py').absolute()} hides the module {name!r} of langsmith-rest-experiments: "
        "rename that file, or run from another folder."
    )
