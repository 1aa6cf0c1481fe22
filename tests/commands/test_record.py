"""The command `record`: files, options, what it prints for people and for programs."""

import io
import json
import os
import re
import sys
import threading
from pathlib import Path

import pytest
import requests
from command_line import DATABASE, LINK, OK, write

import localsmith
from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


def test_first_run_records_the_fixture_and_ends_with_the_link(run):
    """On a fresh machine, with nothing said and nothing set."""
    code, out, err = run()

    assert code == 0
    assert err.splitlines()[0].startswith("No LANGSMITH_API_KEY: recording into the local store .localsmith/localsmith")
    assert "results.jsonl: 5 results recorded, 5 new examples, 4 feedback items." in err
    assert len((out + err).splitlines()) == 8
    assert re.fullmatch(LINK, out.splitlines()[-1])


def test_printed_link_leads_to_the_results(run):
    """It points to where `view` serves the store."""
    *_, link = run()[1].splitlines()

    with localsmith.serve(DATABASE) as server:
        page = requests.get(re.sub(r"^http://[^/]+", server.url, link), timeout=60)

    assert page.status_code == 200 and "Canberra" in page.text


def test_second_run_records_nothing_new_and_says_so(run):
    """The same results are the same experiment."""
    first = run()[1].splitlines()[-1]

    code, out, err = run()

    assert code == 0 and re.search("Nothing new: all 5 of .*results.jsonl were recorded before", err)
    assert out.splitlines()[-1] == first


def test_each_file_is_an_experiment_and_the_link_compares_them(run, endpoint):
    """Named after the file's stem and a hash of its results."""
    code, out, _ = run("record", write("a.jsonl", OK), write("b.x.json", {**OK, "outputs": {"a": 2}}), "--dataset", "c")

    names = re.findall(r"^experiment +(.*)$", out, re.M)
    sessions = [endpoint("/sessions", name=name)[0]["id"] for name in names]
    assert code == 0
    assert re.fullmatch("a-[0-9a-f]{8}", names[0]) and re.fullmatch(r"b\.x-[0-9a-f]{8}", names[1])
    assert out.splitlines()[-1].endswith(f"compare?selectedSessions={'%2C'.join(sessions)}")


def test_same_file_goes_into_two_datasets(tmp_path, monkeypatch, capsys):
    """Experiment names are unique over all datasets, so the default name depends on the dataset, too."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(json.dumps(OK), encoding="utf-8")

    assert main.main(["record", "a.jsonl", "--dataset", "one"]) == 0
    assert main.main(["record", "a.jsonl", "--dataset", "two"]) == 0


@pytest.mark.parametrize(
    "content", [json.dumps([OK, OK]), f"{json.dumps(OK)}\n{json.dumps(OK)}\n"], ids=["array", "lines"]
)
@pytest.mark.parametrize("arguments", [["-"], ["record", "-"]])
def test_standard_input_is_a_file_like_any_other(monkeypatch, run, endpoint, content, arguments):
    """JSON lines or one array; named stdin where no name is given."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))

    code, out, err = run(*arguments, "--json")

    recording = json.loads(out)
    assert code == 0 and err.startswith("standard input: 2 results recorded")
    assert recording["results"] == 2 and recording["experiment_name"].startswith("stdin-")


def test_terminal_is_told_that_it_is_read(monkeypatch, run, endpoint):
    """Nobody should wait for a program that waits for them."""
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(OK).encode()))
    monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)

    _, _, err = run("record", "-")

    assert err.startswith("Reading results from standard input; Ctrl-D ends them.\n")


def test_pipe_is_read_like_a_file(run, endpoint):
    """What a shell writes as <(command) can be read only once."""
    os.mkfifo("pipe.jsonl")
    writer = threading.Thread(target=write, args=("pipe.jsonl", OK))
    writer.start()

    code, out, _ = run("record", "pipe.jsonl", "--json")

    writer.join()
    assert code == 0 and json.loads(out)["runs_recorded"] == 1


def test_options_describe_the_experiment(run, endpoint):
    """Values of metadata are JSON where they can be, else text."""
    pairs = ["model=gpt-5", "n=3", "ok=true", "x=0.5", "list=[1]", "none=null", "e=", "eq=a=b", "nan=NaN", "big=1e999"]
    flags = [flag for pair in pairs for flag in ("--metadata", pair)]

    code, _, _ = run(
        "record", write("a.jsonl", OK), "--dataset", "a&b/#ü", "--experiment", "e 1", "--description", "d", *flags
    )

    [session] = endpoint("/sessions", name="e 1")
    [dataset] = endpoint("/datasets", name="a&b/#ü")
    assert code == 0
    assert session["reference_dataset_id"] == dataset["id"] and session["description"] == "d"
    assert session["extra"]["metadata"] == {
        "model": "gpt-5", "n": 3, "ok": True, "x": 0.5, "list": [1], "none": None, "e": "", "eq": "a=b", "nan": "NaN",
        "big": "1e999",
    }  # fmt: skip


def test_one_name_for_two_experiments_is_refused(run, unreachable):
    """The second would become part of the first."""
    code, out, err = run("record", write("a.jsonl", OK), write("b.jsonl", OK), "--experiment", "e")

    assert (code, out) == (2, "")
    assert "--experiment names one experiment, but several files were given: drop it, or give one file." in err


NAMES = {
    "dataset_id", "dataset_name", "experiment_id", "experiment_name", "url", "results", "examples_created",
    "examples_existing", "examples_updated", "runs_recorded", "runs_existing", "feedback", "rejected",
    "other_runs", "summary",
}  # fmt: skip


def test_json_is_one_object_with_all_that_is_known(run, endpoint):
    """For programs; what people read goes to stderr."""
    code, out, _ = run("record", write("a.jsonl", OK, {**OK, "feedback": {"ok": 1}}), "--json", "--dataset", "ü")

    recording = json.loads(out)
    assert code == 0 and recording.keys() == NAMES and out.isascii()
    assert [recording[name] for name in ("dataset_name", "results", "runs_recorded", "feedback")] == ["ü", 2, 2, 1]
    assert recording["url"].endswith(f"?selectedSessions={recording['experiment_id']}")


def test_json_of_several_files_holds_them_all(run, endpoint):
    """And the link that compares them."""
    _, out, _ = run("record", write("a.jsonl", OK), write("b.jsonl", OK), "--json")

    found = json.loads(out)
    first, second = found["experiments"]
    assert found.keys() == {"experiments", "url"} and first.keys() == NAMES
    assert found["url"] == f"{first['url']}%2C{second['experiment_id']}"


@pytest.mark.parametrize(("flags", "reads"), [([], 1), (["--no-verify"], 0)])
def test_experiment_is_read_back_unless_told_otherwise(run, server, endpoint, flags, reads):
    """Run counts are asked for until they are right."""
    seen = []
    app = server.app.wsgi_app
    server.app.wsgi_app = lambda environ, start: (seen.append(environ["QUERY_STRING"]), app(environ, start))[1]

    assert run("record", write("a.jsonl", OK), *flags)[0] == 0

    assert seen.count("include_stats=true") >= reads and bool(reads) == ("include_stats=true" in seen)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.jsonl", "missing.jsonl: there is no such file."),
        (f"{'x' * 300}.jsonl", f"{'x' * 300}.jsonl cannot be read (File name too long)."),
        ("folder", "folder holds no result file of promptfoo, inspect, "),
        ("empty.jsonl", "There is nothing to record in empty.jsonl; nothing was sent."),
        ("bad.jsonl", "1 problem in bad.jsonl; nothing was sent:\n  bad.jsonl, line 1: not JSON (Expecting value at c"),
        (os.devnull, f"There is nothing to record in {os.devnull}; nothing was sent."),
    ],
)
def test_file_that_cannot_be_used_is_misuse(run, name, problem):
    """Exit code 2, nothing on stdout, and no store is made."""
    os.mkdir("folder")
    Path("empty.jsonl").touch()
    Path("bad.jsonl").write_text("x\n", encoding="utf-8")

    code, out, err = run("record", write("good.jsonl", OK), name)

    assert (code, out) == (2, "") and err.startswith(f"main.py record: {problem}")
    assert not DATABASE.parent.exists()


def test_problems_of_all_files_are_told_at_once(run, unreachable):
    """Before the first request."""
    code, _, err = run("record", write("a.jsonl", {}), write("b.jsonl", OK), write("c.jsonl", 3))

    assert code == 2
    assert [line for line in err.splitlines() if line[0] != " "] == [
        "main.py record: 2 problems in a.jsonl; nothing was sent:",
        "1 problem in c.jsonl; nothing was sent:",
    ]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_rejected_result_is_named_and_the_others_recorded(run, endpoint, flags):
    """Exit code 1, so that scripts notice."""
    unknown = {**OK, "example_id": "63d2e490-85ef-4430-ad03-8db4de383784"}

    code, out, err = run("record", write("a.jsonl", OK, unknown), *flags)

    assert code == 1 and "a.jsonl: 1 result recorded" in err
    assert f"a.jsonl, result 2: example {unknown['example_id']} is not in the dataset" in err
    assert not flags or [rejected["result"] for rejected in json.loads(out)["rejected"]] == [2]


def test_experiment_of_another_dataset_is_refused(run, endpoint):
    """The message says what to do."""
    file = write("a.jsonl", OK)
    run("record", file, "--dataset", "one", "--experiment", "e")

    code, out, err = run("record", file, "--dataset", "two", "--experiment", "e")

    assert (code, out) == (1, "") and re.search(
        "The experiment name 'e' is taken by .*: record under another name", err
    )
