"""The command line: what it prints where, its exit codes, and what it sends."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests
from places import MAIN

import localsmith
from langsmith_rest import local
from langsmith_rest.commands import main

FIXTURES = MAIN.parent / "fixtures"
OK = {"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}}
LINK = r"http://127\.0\.0\.1:1984/o/[0-9a-f-]{36}/datasets/[0-9a-f-]{36}/compare\?selectedSessions=[0-9a-f-]{36}"
pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.fixture
def run(capsys):
    """Run main with arguments; returns its exit code and what it printed to stdout and stderr."""

    def run(*arguments):
        code = main.main(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def endpoint(monkeypatch, server):
    """Record in the real server of a test; returns a function that reads from it."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def read(path, **params):
        return requests.get(server.url + path, params=params, headers={"x-api-key": "any"}, timeout=10).json()

    return read


@pytest.fixture
def unreachable(monkeypatch):
    """An endpoint where every request fails at once."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")


def write(name, *results):
    Path(name).write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    return name


def start(*arguments, **variables):
    """Start the command as users do."""
    return subprocess.Popen(
        [sys.executable, str(MAIN), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
    )


# ---------------------------------------------------------------- without any settings


def test_first_run_records_the_fixture_and_ends_with_the_link(run):
    """On a fresh machine, with nothing said and nothing set."""
    code, out, err = run()

    assert code == 0
    assert err.splitlines()[0].startswith("No LANGSMITH_API_KEY: recording into the local store .localsmith/localsmith")
    assert "results.jsonl: 5 results recorded, 0 known; 5 new examples, 0 known; 4 feedback." in err
    assert re.fullmatch(LINK, out.splitlines()[-1])


def test_printed_link_leads_to_the_results(run):
    """It points to where `view` serves the store."""
    *_, link = run()[1].splitlines()

    with localsmith.serve(local.DATABASE) as server:
        page = requests.get(link.replace(local.PAGES, server.url), timeout=10)

    assert page.status_code == 200 and "Canberra" in page.text


def test_second_run_records_nothing_new_and_says_so(run):
    """The same results are the same experiment."""
    first = run()[1].splitlines()[-1]

    code, out, err = run()

    assert code == 0 and re.search("Nothing new: all 5 of .*results.jsonl were recorded before", err)
    assert out.splitlines()[-1] == first


def test_flags_alone_record_the_fixture_too(run):
    """No command and no file: the default is meant."""
    code, out, _ = run("--json", "--dataset", "capitals")

    assert code == 0 and json.loads(out)["dataset_name"] == "capitals"


def test_table_sums_the_results_up(run):
    """Per metric the mean, then latency, tokens and errors."""
    file = write(
        "a.jsonl",
        {**OK, "feedback": {"ok": True, "tone": "good"}, "metadata": {"usage_metadata": {"total_tokens": 1200}}},
        {**OK, "feedback": {"ok": 0}, "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:02.5Z"},
        {**OK, "outputs": None, "error": "timeout", "child_runs": [
            {**OK, "metadata": {"usage_metadata": {"input_tokens": 10, "output_tokens": 24}}}
        ]},
    )  # fmt: skip

    _, out, _ = run(file)

    assert out.splitlines()[1:-2] == [
        "results     3",
        "ok          0.500 (mean of 2)",
        "tone        good: 1",
        "latency     2.50 s (p50), 2.50 s (p99)",
        "tokens      1,234",
        "errors      1",
    ]


def test_table_counts_texts_and_failed_evaluators(run):
    """Texts by how frequent they are, shortened and on one line; failures apart from scores."""
    tones = ["rude"] + ["kind"] * 3 + ["a\x1b[31m\n" + "long " * 20]
    failed = [{"key": "judge", "error": True, "comment": "no model"}, {"key": "tone", "value": {"a": 1}}]
    results = [{**OK, "inputs": {"n": n}, "feedback": {"tone": tone, "judge": 1}} for n, tone in enumerate(tones)]
    more = [{**OK, "inputs": {"x": n}, "feedback": {"tone": f"{n}"}} for n in range(3)]

    _, out, _ = run(write("a.jsonl", *results, *more, {**OK, "feedback": failed}))

    assert out.splitlines()[2:4] == [
        "judge       1.000 (mean of 5), 1 failed",
        "tone        kind: 3, rude: 1, a?[31m long long long long ...: 1, 0: 1, 1: 1, and 2 more values",
    ]


def test_percentiles_are_those_of_the_pages(run, endpoint):
    """Between neighbours in proportion, as `localsmith` and its pages have them."""
    seconds = [0.5, 1, 2, 4, 9]
    times = [{"start_time": "2026-01-01T00:00:00Z", "end_time": f"2026-01-01T00:00:{s:09.6f}Z"} for s in seconds]

    _, out, _ = run("--json", write("a.jsonl", *[{**OK, "inputs": {"n": n}, **time} for n, time in enumerate(times)]))

    found = json.loads(out)
    stats = endpoint(f"/sessions/{found['experiment_id']}", include_stats="true")
    assert [found["summary"][name] for name in ("latency_p50", "latency_p99")] == [2, pytest.approx(8.8)]
    assert [stats[name] for name in ("latency_p50", "latency_p99")] == [2, pytest.approx(8.8)]


@pytest.mark.parametrize("usage", ["12", [1], {"total_tokens": "12"}, {"input_tokens": None, "output_tokens": {}}])
def test_metadata_of_another_kind_does_not_break_the_table(run, usage):
    """Metadata is free; what looks like no token count is none."""
    code, out, _ = run(write("a.jsonl", {**OK, "metadata": {"usage_metadata": usage}}))

    assert code == 0 and "tokens" not in out


def test_store_that_is_none_is_left_alone(run):
    """A file that somebody put there is neither read nor overwritten."""
    local.DATABASE.parent.mkdir()
    local.DATABASE.write_text("my notes", encoding="utf-8")

    code, out, err = run(write("a.jsonl", OK))

    assert (code, out) == (2, "") and "localsmith.db" in err.splitlines()[-1]
    assert local.DATABASE.read_text(encoding="utf-8") == "my notes"


# ---------------------------------------------------------------- record


def test_each_file_is_an_experiment_and_the_link_compares_them(run, endpoint):
    """Named after the file's stem and a hash of its results."""
    code, out, _ = run("record", write("a.jsonl", OK), write("b.x.json", {**OK, "outputs": {"a": 2}}), "--dataset", "c")

    names = re.findall(r"^experiment +(.*)$", out, re.M)
    sessions = [endpoint("/sessions", name=name)[0]["id"] for name in names]
    assert code == 0
    assert re.fullmatch("a-[0-9a-f]{8}", names[0]) and re.fullmatch(r"b\.x-[0-9a-f]{8}", names[1])
    assert out.splitlines()[-1].endswith(f"compare?selectedSessions={'%2C'.join(sessions)}")


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


@pytest.mark.parametrize("pairs", [["model"], ["=x"], ["a=1", "a=2"]])
def test_metadata_of_another_form_is_refused(run, unreachable, pairs):
    """A key, an equals sign and a value, each key once."""
    flags = [flag for pair in pairs for flag in ("--metadata", pair)]

    code, out, err = run("record", write("a.jsonl", OK), *flags)

    assert (code, out) == (2, "")
    assert err == f"main.py record: --metadata {pairs[-1]!r}: expected KEY=VALUE, each key once.\n"


@pytest.mark.parametrize("flag", ["--dataset", "--experiment"])
@pytest.mark.parametrize("name", ["", " "])
@pytest.mark.parametrize("words", [["record", "a.jsonl"], ["evaluate", "a.py:run", "--data", "d"]])
def test_empty_names_are_refused(run, unreachable, words, flag, name):
    """A script's variable that is not set is no name."""
    write("a.jsonl", OK)

    code, _, err = run(*words, flag, name)

    assert code == 2 and f"{flag} is empty: give it a name, or leave it out." in err


def test_filter_that_the_server_refuses_is_misuse(run, endpoint):
    """Any other refusal is not."""
    words = ["backtest", "--project", "p", "--dataset", "d", "--target", f"{FIXTURES / 'tweets.py'}:terse"]
    words += ["--evaluators", str(FIXTURES / "tweets.py")]
    run(*words[:3], "--dataset", "d", "--load", str(FIXTURES / "production_runs.jsonl"), *words[5:])

    code, _, err = run(*words, "--filter", "eq(")

    assert code == 2 and "Invalid filter" in err


def test_one_name_for_two_experiments_is_refused(run, unreachable):
    """The second would become part of the first."""
    code, out, err = run("record", write("a.jsonl", OK), write("b.jsonl", OK), "--experiment", "e")

    assert (code, out) == (2, "")
    assert "--experiment names one experiment, but several files were given: drop it, or give one file." in err


NAMES = {
    "dataset_id", "dataset_name", "experiment_id", "experiment_name", "url", "results", "examples_created",
    "examples_existing", "runs_recorded", "runs_existing", "feedback", "rejected", "other_runs", "summary",
}  # fmt: skip


def test_json_is_one_object_with_all_that_is_known(run, endpoint):
    """For programs; what people read goes to stderr."""
    code, out, _ = run("record", write("a.jsonl", OK, {**OK, "feedback": {"ok": 1}}), "--json", "--dataset", "ü")

    recording = json.loads(out)
    assert code == 0 and recording.keys() == NAMES and out.isascii()
    assert [recording[name] for name in ("dataset_name", "results", "runs_recorded", "feedback")] == ["ü", 2, 2, 1]
    assert recording["url"].endswith(f"?selectedSessions={recording['experiment_id']}")


def test_json_has_the_numbers_of_the_table(run, endpoint):
    """Per metric, latency, tokens and errors."""
    usage = {"metadata": {"usage_metadata": {"total_tokens": 12}}, "feedback": {"ok": 1, "tone": "kind"}}
    failed = {"inputs": {}, "error": "no", "feedback": [{"key": "ok", "error": True, "comment": "down"}]}

    _, out, _ = run("record", write("a.jsonl", {**OK, **usage}, failed), "--json")

    assert json.loads(out)["summary"] == {
        "scores": {
            "ok": {"n": 1, "mean": 1.0, "errors": 1, "first_error": "down"},
            "tone": {"n": 0, "mean": None, "errors": 0, "values": {"kind": 1}},
        },
        "latency_p50": None,
        "latency_p99": None,
        "tokens": 12,
        "errors": 1,
    }


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


def test_experiment_that_holds_other_runs_says_so(run, endpoint):
    """Two nights under one name are one experiment; the same night again is no other."""
    first, second = write("a.jsonl", OK), write("b.jsonl", {**OK, "outputs": {"a": "Cusco"}}, OK)
    quiet = run("record", first, "--experiment", "nightly")[2] + run("record", first, "--experiment", "nightly")[2]

    _, out, err = run("record", second, "--experiment", "nightly", "--json")
    back = run("record", first, "--experiment", "nightly")[2]

    assert "other run" not in quiet
    assert json.loads(out)["other_runs"] == 0 and "other run" not in err  # it holds the first result as well
    assert "The experiment 'nightly' holds 1 other run besides these results" in back


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


# ---------------------------------------------------------------- dry run


def test_dry_run_prints_the_requests_and_sends_none(run, unreachable):
    """In the order in which they would be sent."""
    file = write("a.jsonl", {**OK, "feedback": {"ok": 1}}, OK)

    code, out, err = run("record", file, "--dry-run")

    assert code == 0 and err.startswith("Dry run: nothing was sent.")
    assert [" ".join(line.split()[:2]) for line in out.splitlines()] == [
        "GET /datasets?name=langsmith-rest-experiments",
        "POST /datasets",
        "POST /sessions",
        "POST /examples/bulk",
        "POST /runs/batch",
        "POST /runs/multipart",
        out.splitlines()[-1].partition("  ")[0],
    ]
    assert out.splitlines()[-1].startswith("PATCH /sessions/")
    assert out.splitlines()[4].endswith(" bytes, 2 items") and "POST /examples/bulk" in out
    assert err.endswith("With --json, the bodies are shown, too.\n")


def test_dry_run_needs_nothing_and_leaves_nothing(run):
    """Not even a store."""
    assert run("record", write("a.jsonl", OK), "--dry-run")[0] == 0

    assert os.listdir() == ["a.jsonl"]


def test_dry_run_as_json_holds_the_bodies(run):
    """So that somebody can look before anything is sent."""
    result = {**OK, "feedback": {"ok": 1}}

    _, out, _ = run("record", write("a.jsonl", result), "--dry-run", "--json")

    found = json.loads(out)["requests"]
    bodies = {request["path"]: request.get("body", request.get("parts")) for request in found}
    assert bodies["/examples/bulk"][0]["inputs"] == OK["inputs"]
    assert bodies["/runs/batch"]["post"][0]["outputs"] == OK["outputs"]
    assert bodies["/runs/multipart"][0]["key"] == "ok"


def test_dry_run_of_bad_results_is_refused_like_a_real_one(run):
    """Checking is what it is for."""
    code, out, err = run("record", write("a.jsonl", {}), "--dry-run")

    assert (code, out) == (2, "") and "2 problems in a.jsonl, nothing was sent:" in err


# ---------------------------------------------------------------- no store, or none that can be used


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

    assert (code, out) == (1 if arguments[0] == "view" else 2, "") and os.listdir() == []
    assert f"There is no local store here ({local.DATABASE.absolute()}): go to the folder you recorded in." in err


def test_folder_that_cannot_be_made_is_said(run):
    """A file stands in its place."""
    write("a.jsonl", OK)
    local.DATABASE.parent.touch()

    code, out, err = run("record", "a.jsonl")

    assert (code, out) == (2, "")
    assert f"{local.DATABASE.parent.absolute()} cannot be made (File exists): go to a folder you can write to." in err


def test_store_that_is_read_only_is_said(run):
    """It is named, and it stays as it is."""
    run()
    local.DATABASE.chmod(0o444)

    code, out, err = run()

    assert (code, out) == (2, "") and re.search("localsmith.db is read-only: make it writable", err)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.jsonl", "missing.jsonl: there is no such file."),
        (f"{'x' * 300}.jsonl", f"{'x' * 300}.jsonl cannot be read (File name too long)."),
        ("folder", "folder is a directory: name a file of results."),
        ("empty.jsonl", "There is nothing to record in empty.jsonl, nothing was sent."),
        ("bad.jsonl", "1 problem in bad.jsonl, nothing was sent:\n  bad.jsonl, line 1: not JSON (Expecting value at c"),
        (os.devnull, f"There is nothing to record in {os.devnull}, nothing was sent."),
    ],
)
def test_file_that_cannot_be_used_is_misuse(run, name, problem):
    """Exit code 2, nothing on stdout, and no store is made."""
    os.mkdir("folder")
    Path("empty.jsonl").touch()
    Path("bad.jsonl").write_text("x\n", encoding="utf-8")

    code, out, err = run("record", write("good.jsonl", OK), name)

    assert (code, out) == (2, "") and err.startswith(f"main.py record: {problem}")
    assert not local.DATABASE.parent.exists()


def test_problems_of_all_files_are_told_at_once(run, unreachable):
    """Before the first request."""
    code, _, err = run("record", write("a.jsonl", {}), write("b.jsonl", OK), write("c.jsonl", 3))

    assert code == 2
    assert [line for line in err.splitlines() if line[0] != " "] == [
        "main.py record: 2 problems in a.jsonl, nothing was sent:",
        "1 problem in c.jsonl, nothing was sent:",
    ]


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
    assert "0 of 2 results are recorded; not, or not completely: 1-2. Record the same again" in err


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
        (["view", "--port", "x"], "usage: uv run main.py view", "'x' is no port: expected 0 to 65535"),
        (["view", "--port", "-1"], "usage: uv run main.py view", "'-1' is no port"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_said_with_the_usage_of_its_command(run, capsys, arguments, usage, said):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)

    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.startswith(usage) and said in err


def test_store_that_is_none_is_to_be_moved(run):
    """There is no option to name another file, so none is advised."""
    local.DATABASE.parent.mkdir()
    local.DATABASE.write_text("these are notes")

    code, out, err = run()

    assert (code, out) == (2, "") and "it is no SQLite file. Move it away, or use a store in another folder." in err


@pytest.mark.parametrize("arguments", [["--help"], ["record", "--help"], ["view", "--help"]])
def test_help_ends_with_an_example_to_paste(capsys, arguments):
    """The last lines are commands."""
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)

    assert caught.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1].lstrip().startswith("uv run main.py ")


# ---------------------------------------------------------------- as a process


def test_view_serves_the_store_until_interrupted(run):
    """It prints the address first, for people and scripts."""
    link = run()[1].splitlines()[-1]

    with start("view", "--port", "0") as process:
        url = process.stdout.readline().decode().strip()
        page = requests.get(link.replace(local.PAGES, url), timeout=10)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert page.status_code == 200 and "Canberra" in page.text
    assert process.returncode == 0 and f"LANGSMITH_ENDPOINT={url}" in err.decode()


def test_view_interrupted_while_it_starts_does_not_speak_of_recording(run, monkeypatch):
    """Nothing was being recorded."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(localsmith, "serve", interrupted)

    assert run("view") == (130, "", "Interrupted.\n")
    assert "What was answered is recorded" in run("record", write("a.jsonl", OK))[2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_output_that_cannot_be_written_is_no_misuse(server, endpoint, flags):
    """The results are recorded by then; only the words got lost."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, str(MAIN), "record", write("a.jsonl", OK), *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=20,
        )

    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == (
        "main.py record: the output could not be written (No space left on device). "
        "What was answered before is recorded."
    )
    assert [one["run_count"] for one in endpoint("/sessions", include_stats="true")] == [1]


def test_port_in_use_is_misuse(run, server):
    """Most often because `view` runs already."""
    code, out, err = run("view", "--port", str(server.port))

    assert (code, out) == (2, "")
    assert err.startswith(f"main.py view: Port {server.port} is in use by another program: choose another with --port")


def test_reader_that_has_seen_enough_gets_no_traceback(server):
    """As in `main.py ... | head -1`."""
    write("a.jsonl", OK)

    with start("record", "a.jsonl", LANGSMITH_ENDPOINT=server.url) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
        process.wait(timeout=10)

    assert (
        process.returncode == 0 and err == "a.jsonl: 1 result recorded, 0 known; 1 new example, 0 known; 0 feedback.\n"
    )


def test_terminal_without_unicode_shows_names_escaped(server):
    """After recording is no time to fail."""
    write("a.jsonl", OK)

    with start("a.jsonl", "--experiment", "é😀", LANGSMITH_ENDPOINT=server.url, PYTHONIOENCODING="ascii") as process:
        out, _ = process.communicate(timeout=10)

    assert process.returncode == 0 and rb"experiment  \xe9\U0001f600" in out


@pytest.mark.skipif(not shutil.which("script"), reason="script(1) gives a command a terminal")
def test_on_a_terminal_there_is_a_progress_bar_and_a_table(server):
    """Both go where they belong; the link is still last."""
    write("a.jsonl", *[OK] * 3)
    command = f"{sys.executable} {MAIN} record a.jsonl"

    shown = subprocess.run(
        ["script", "-qec", command, os.devnull],
        env={**os.environ, "LANGSMITH_ENDPOINT": server.url, "TERM": "xterm", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    ).stdout.decode()

    assert "3/3" in shown and "│ results" in shown
    assert "compare?selectedSessions=" in shown.strip().splitlines()[-1]


# ---------------------------------------------------------------- view --export


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


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--export", "out.html", "c"], 1, "No experiment 'c'"),
        (["--export", "out.html"], 2, "name experiments"),
        (["--export", "out.csv", "a", "b"], 2, "name one experiment"),
        (["--export", "out.pdf", "a"], 2, "must end in .html"),
        (
            ["--export", "missing/out.csv", "a"],
            2,
            "--export missing/out.csv: there is no folder missing, make it first",
        ),
        (["--export", "taken.csv", "a"], 2, "--export taken.csv: it cannot be written (Is a directory)."),
        (["--export", "a.jsonl", "a"], 2, "--export a.jsonl: it is there already: remove it, or choose another name."),
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


def test_same_file_goes_into_two_datasets(tmp_path, monkeypatch, capsys):
    """Experiment names are unique over all datasets, so the default name depends on the dataset, too."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(json.dumps(OK), encoding="utf-8")

    assert main.main(["record", "a.jsonl", "--dataset", "one"]) == 0
    assert main.main(["record", "a.jsonl", "--dataset", "two"]) == 0
