"""`list`, `delete` and `latest`, on a real local store."""

import io
import json
import sys

import pytest

from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


class Terminal(io.StringIO):
    """Standard input at which somebody types an answer."""

    def isatty(self):
        return True


def run(capsys, *argv, code=0):
    assert main.main(list(argv)) == code
    return capsys.readouterr()


def names(capsys, dataset="capitals"):
    """The names of a dataset's experiments, the newest first."""
    found = json.loads(run(capsys, "list", dataset, "--json").out)
    return [experiment["name"] for experiment in found["experiments"]]


@pytest.fixture
def store(tmp_path, capsys):
    """Three experiments of one dataset, which started one day after the other, and one of another dataset."""
    for day, (name, score) in enumerate((("first", 0), ("second", 1), ("third", 0.5)), 27):
        result = {"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, "feedback": {"correct": score}}
        result["start_time"] = f"2026-11-{day}T10:00:00Z"
        write(result, name)
        run(capsys, "record", f"{name}.jsonl", "--dataset", "capitals", "--experiment", name)
    write({"inputs": {"q": "2+2"}, "outputs": {"a": 4}, "error": "late"}, "sums")
    run(capsys, "record", "sums.jsonl", "--dataset", "sums", "--experiment", "sums")


def write(result, name):
    with open(f"{name}.jsonl", "w", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def test_list_shows_datasets(store, capsys):
    """With what they hold."""
    lines = run(capsys, "list").out.splitlines()

    assert lines[0].split() == ["dataset", "examples", "experiments", "last", "experiment"]
    assert sorted(line.split()[:3] for line in lines[1:]) == [["capitals", "1", "3"], ["sums", "1", "1"]]


def test_list_shows_experiments_with_their_scores(store, capsys):
    """The newest first, with runs, errors, age and means."""
    lines = run(capsys, "list", "sums").out.splitlines()
    assert lines[1].split()[:3] == ["sums", "1", "1"]

    out = run(capsys, "list", "capitals", "--json").out
    found = json.loads(out)
    assert {(e["name"], e["feedback_stats"]["correct"]["avg"]) for e in found["experiments"]} == {
        ("first", 0.0),
        ("second", 1.0),
        ("third", 0.5),
    }


def test_list_says_that_there_is_more(store, capsys):
    """`--limit` bounds the table, and what is left out is said."""
    found = run(capsys, "list", "capitals", "--limit", "2")

    assert len(found.out.splitlines()) == 3
    assert "Only the newest 2 experiments are listed" in found.err
    assert "--limit 0: expected 1 or more" in run(capsys, "list", "--limit", "0", code=2).err


def test_list_of_an_unknown_dataset_names_near_ones(store, capsys):
    assert "Did you mean 'capitals'" in run(capsys, "list", "capital", code=2).err


@pytest.mark.slow
def test_latest_is_the_experiment_that_started_last(store, capsys):
    """Wherever an experiment is named; `latest~1` is the one before it."""
    newest = names(capsys)

    out = run(capsys, "compare", "latest~1", "latest", "--dataset", "capitals", "--json").out

    assert newest[1] in out and newest[0] in out and newest[2] not in out
    said = run(capsys, "compare", "latest~7", "latest", "--dataset", "capitals", code=2).err
    assert "No experiment 'latest~7': there are 3 experiments in this dataset." in said


@pytest.mark.slow
def test_an_experiment_that_is_called_latest_goes_first(store, capsys):
    """A name is a name, before it is a place."""
    write({"inputs": {"q": "Chile?"}, "outputs": {"a": "Lima"}, "start_time": "2026-11-01T10:00:00Z"}, "old")
    run(capsys, "record", "old.jsonl", "--dataset", "capitals", "--experiment", "latest~1")

    run(capsys, "delete", "latest~1", "--yes")

    assert "latest~1" not in names(capsys) and len(names(capsys)) == 3


def test_delete_asks_on_a_terminal(store, capsys, monkeypatch):
    """Nothing is lost without a yes, and what would be lost is said."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said = run(capsys, "delete", "first", code=1).err
    assert "Delete experiment 'first' (1 run)? [y/N]" in said and "Nothing was changed." in said
    assert len(names(capsys)) == 3

    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    run(capsys, "delete", "first", "second")
    assert names(capsys) == ["third"]


def test_delete_without_a_terminal_needs_yes(store, capsys, monkeypatch):
    """A script says that it means it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "there is no terminal: use --yes" in run(capsys, "delete", "first", code=2).err

    out = run(capsys, "delete", "first", "first", "--yes", "--json").out

    assert json.loads(out) == {"deleted": {"experiments": ["first"]}}


def test_delete_a_dataset_with_all_it_holds(store, capsys):
    """Its examples and experiments go with it; other datasets stay."""
    said = run(capsys, "delete", "--dataset", "capitals", "--all", "--yes").err

    assert "Deleted dataset 'capitals' with 1 example and 3 experiments." in said
    found = json.loads(run(capsys, "list", "--json").out)
    assert [(dataset["name"], dataset["session_count"]) for dataset in found["datasets"]] == [("sums", 1)]


@pytest.mark.parametrize("argv", [[], ["--dataset", "capitals"], ["--all"], ["first", "--dataset", "d", "--all"]])
def test_delete_needs_to_be_told_what(store, capsys, argv):
    """Neither a slip nor half a command deletes anything."""
    assert "name" in run(capsys, "delete", *argv, "--yes", code=2).err


def test_delete_finds_everything_before_it_deletes_anything(store, capsys):
    """One unknown name, and all stay."""
    assert "No experiment 'nothing'" in run(capsys, "delete", "first", "nothing", "--yes", code=2).err
    assert len(names(capsys)) == 3
