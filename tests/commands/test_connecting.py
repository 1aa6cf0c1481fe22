"""What commands connect to, and a local store that is missing or cannot be used."""

import os
import re
from pathlib import Path

import pytest
from command_line import DATABASE, OK, write
from places import MAIN

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a", "b"],
        ["view", "--export", "a.jsonl", "a"],
        ["evaluate", "a", "--evaluators", "langsmith_rest:exact_match"],
        ["evaluate", "--pairwise", "a", "b", "--evaluators", str(MAIN.parent / "fixtures" / "evals.py:shorter")],
    ],
    ids=["compare", "export", "score", "judge"],
)
def test_reading_makes_no_store(run, arguments):
    """In another folder than the one recorded in there is nothing to read, and the message says where it looked."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "") and os.listdir() == []
    assert f"There is no local store in {Path.cwd()} or in a folder above it: record something first" in err


def test_folder_that_cannot_be_made_is_said(run):
    """A file stands in its place."""
    write("a.jsonl", OK)
    DATABASE.parent.touch()

    code, out, err = run("record", "a.jsonl")

    assert (code, out) == (2, "")
    assert f"{DATABASE.parent.absolute()} cannot be created (File exists): go to a folder you can write to." in err


def test_store_that_is_read_only_is_said(run):
    """It is named, and it stays as it is."""
    run()
    DATABASE.chmod(0o444)

    code, out, err = run()

    assert (code, out) == (2, "") and re.search("localsmith.db is read-only: make it writable", err)


def test_store_that_is_none_is_left_alone(run):
    """A file that somebody put there is neither read nor overwritten."""
    DATABASE.parent.mkdir()
    DATABASE.write_text("my notes", encoding="utf-8")

    code, out, err = run(write("a.jsonl", OK))

    assert (code, out) == (2, "") and "localsmith.db" in err.splitlines()[-1]
    assert DATABASE.read_text(encoding="utf-8") == "my notes"


def test_store_that_is_none_is_to_be_moved(run):
    """There is no option to name another file, so none is advised."""
    DATABASE.parent.mkdir()
    DATABASE.write_text("these are notes")

    code, out, err = run()

    assert (code, out) == (2, "") and "it is not an SQLite file. Move it away, or use a store in another folder." in err
