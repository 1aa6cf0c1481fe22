"""`main.py evaluators` against a real local server: what it changes, what it refuses, what it asks."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from localsmith_api import Api, contract
from places import FIXTURES
from sent import official_contract

import localsmith
from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.conformance.faults import DROP_AFTER, Answer, Faults, where
from langsmith_rest.evaluation.hosting.upload import KEPT, Target, code_content, create_once, holds

HOSTED = str(FIXTURES / "hosted.py")
CODE = code_content("def perform_eval(run, example):\n    return {'score': 1}\n")
MENTIONS = ("--name", "mentions", "--function", "mentions_reference")


@pytest.fixture
def store(nothing_set, monkeypatch, server):
    """The server that the commands talk to, as an Api; it runs no evaluators."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "5")
    return Api(server.url)


@pytest.fixture
def evaluators(nothing_set, capsys):
    """Run `main.py evaluators` with arguments; returns its exit code and what it printed to stdout and stderr."""

    def evaluators(*arguments):
        capsys.readouterr()
        code = main.main(["evaluators", *arguments])
        return code, *capsys.readouterr()

    return evaluators


@pytest.fixture
def terminal(monkeypatch):
    """A person at a terminal, who gives this answer."""

    def answer(text):
        stdin = io.StringIO(text)
        stdin.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", stdin)

    return answer


def upload(evaluators, *more, dataset="capitals"):
    return evaluators("upload", HOSTED, *MENTIONS, "--dataset", dataset, *more)


def write(name, *lines):
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


# Uploading


def test_a_function_becomes_a_rule_of_its_dataset(store, evaluators):
    dataset = store.dataset("capitals")

    code, out, err = upload(evaluators, "--sample-rate", "0.5")

    (rule,) = store.get("/runs/rules")
    assert (code, out) == (0, "created  mentions  code  dataset capitals  0.5\n")
    assert "main.py view --run-evaluators" in err
    assert (rule["display_name"], rule["dataset_id"], rule["sampling_rate"]) == ("mentions", dataset, 0.5)
    (uploaded,) = rule["code_evaluators"]
    assert uploaded["language"] == "python"
    assert "def perform_eval(run, example):" in uploaded["code"]
    assert "def words(text):" in uploaded["code"] and "brief" not in uploaded["code"]


def test_a_function_of_a_run_becomes_a_rule_of_its_project(store, evaluators):
    project = store.experiment(name="production")

    code, out, _ = evaluators("upload", HOSTED, "--function", "brief", "--project", "production", "--json")

    found = json.loads(out)
    assert (code, found["outcome"], found["kind"]) == (0, "created", "code")
    assert [(rule["display_name"], rule["session_id"]) for rule in store.get("/runs/rules")] == [("brief", project)]


def test_the_file_is_never_run(store, evaluators):
    """Neither by uploading nor by being refused; testing runs what is taken out of it, and nothing else."""
    store.dataset("capitals")
    lines = ["open('trace', 'w').close()", "raise SystemExit", "def exact(run, example):", "    return {'score': 1}"]
    write("evals.py", *lines)

    done = evaluators("upload", "evals.py", "--function", "exact", "--dataset", "capitals")
    refused = evaluators("upload", "evals.py", "--function", "exakt", "--dataset", "capitals")
    main.main(["record", str(FIXTURES / "before.jsonl"), "--dataset", "capitals"])
    tested = evaluators("test", "evals.py", "--function", "exact", "--dataset", "capitals")

    assert (done[0], refused[0], tested[0]) == (0, 2, 0)
    assert "Did you mean 'exact'?" in refused[2]
    assert not Path("trace").exists()


def test_what_would_not_work_is_refused_before_any_request(store, evaluators, sent):
    write("evals.py", "import requests", "def exact(run, example):", "    return {'score': requests.get(URL)}")

    code, out, err = evaluators("upload", "evals.py", "--function", "exact", "--dataset", "capitals")

    assert (code, out, sent) == (2, "", set())
    assert "evals.py, line 1: requests needs a network" in err
    assert "evals.py, line 3: 'URL' would not exist there" in err


def test_one_that_exists_stays_as_it_is(store, evaluators):
    store.dataset("capitals")
    upload(evaluators)
    before = store.get("/runs/rules")

    same = upload(evaluators)
    other = evaluators("upload", HOSTED, "--name", "mentions", "--function", "other", "--dataset", "capitals")
    write("evals.py", "def exact(run, example):", "    return {'score': 1}")
    changed = evaluators("upload", "evals.py", "--name", "mentions", "--function", "exact", "--dataset", "capitals")

    assert (same[0], other[0], changed[0]) == (1, 2, 1)
    assert "exists already on the dataset 'capitals', with exactly this content" in same[2]
    assert "exists already on the dataset 'capitals': nothing was changed" in changed[2]
    assert store.get("/runs/rules") == before


def test_what_a_server_adds_to_code_is_no_other_content():
    """LangSmith keeps settings of its own beside the code."""
    (code,) = CODE["code_evaluators"]
    kept = {**code, "require_attachments": False, "code_evaluator_input": None}

    assert holds({"code_evaluators": [kept]}, CODE)
    assert not holds({"code_evaluators": [{**kept, "code": "pass"}]}, CODE)
    assert not holds({"code_evaluators": None}, CODE)


def test_replacing_changes_the_code_in_place(store, evaluators):
    """The id, the rate and everything else that somebody set stays; the same again changes nothing."""
    store.dataset("capitals")
    upload(evaluators, "--sampling-rate", "0.25")
    (rule,) = store.get("/runs/rules")
    kept = {"is_enabled": False, "filter": 'eq(name, "x")', "use_corrections_dataset": True, "sampling_rate": 0.25}
    store.patch(f"/runs/rules/{rule['id']}", {"display_name": "mentions", **kept})
    write("evals.py", "def exact(run, example):", "    return {'score': 1}")

    arguments = ("upload", "evals.py", "--name", "mentions", "--function", "exact", "--dataset", "capitals")
    code, out, _ = evaluators(*arguments, "--replace", "--yes")
    again = evaluators(*arguments, "--replace", "--yes")

    (after,) = store.get("/runs/rules")
    assert (code, out.split()[0], again[1].split()[0]) == (0, "replaced", "unchanged")
    assert after["id"] == rule["id"]
    assert after["code_evaluators"][0]["code"] == "def perform_eval(run, example):\n    return {'score': 1}\n"
    assert {name: after[name] for name in kept} == kept


@pytest.mark.skipif(not official_contract(), reason="the official contract is not at hand")
def test_a_replacement_sends_back_every_field_that_the_contract_takes():
    """But for what it changes, and what is about the creation of a rule or its evaluator alone."""
    fields = set(contract()["components"]["schemas"]["RunRulesUpdateSchema"]["properties"])

    assert set(KEPT) <= fields
    changed = {"display_name", "sampling_rate", "code_evaluators", "evaluators", "evaluator_id"}
    assert fields - set(KEPT) == changed | {"backfill_from", "create_alignment_queue", "evaluator_version"}


def test_a_failed_replacement_leaves_the_old_one(store, server, evaluators):
    store.dataset("capitals")
    upload(evaluators)
    before = store.get("/runs/rules")
    faults = Faults(server, where("(PATCH|POST|DELETE) .*/runs/rules", Answer(422, '{"detail":"no"}')))

    code, _, err = upload(evaluators, "--replace", "--yes", "--sample-rate", "0.1")

    faults.plan = lambda seen: None
    assert (code, store.get("/runs/rules")) == (1, before)
    assert "422: no" in err


def test_a_lost_answer_makes_no_second_rule(store, server, evaluators):
    """LangSmith chooses the ids of rules, so the request that is sent again makes another; it is taken away."""
    store.dataset("capitals")
    drops = iter([DROP_AFTER])
    faults = Faults(server, lambda seen: next(drops, None) if seen.method == "POST" else None)

    code, out, _ = upload(evaluators)

    assert (code, out.split()[0]) == (0, "created")
    assert faults.count("POST .*/runs/rules") == 2
    assert len(store.get("/runs/rules")) == 1


def test_many_at_once_make_one_rule(store, server):
    """Whoever uploads the same at the same moment, one evaluator is left."""
    dataset = store.dataset("capitals")
    target = Target("dataset", dataset, "capitals")
    start = threading.Barrier(6)

    def one():
        api = connection.connect(server.url)
        start.wait()
        return create_once(api, {"display_name": "x", "sampling_rate": 1, **target.query, **CODE}, target)["id"]

    with ThreadPoolExecutor(6) as pool:
        kept = {future.result() for future in [pool.submit(one) for _ in range(6)]}

    (left,) = store.get("/runs/rules")
    assert left["id"] in kept


def test_another_kind_is_not_replaced(store, evaluators):
    dataset = store.dataset("capitals")
    judge = {"structured": {"hub_ref": "a/b"}}
    store.post(
        "/runs/rules", {"display_name": "mentions", "sampling_rate": 1, "dataset_id": dataset, "evaluators": [judge]}
    )

    code, _, err = upload(evaluators, "--replace", "--yes")

    assert code == 1 and "is a judge evaluator" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "capitols"), "No dataset 'capitols'. Did you mean 'capitals'?"),
        (("--dataset", "capital"), "No dataset 'capital'. Did you mean 'capitals'?"),
        (("--project", "prod"), "No project 'prod'"),
    ],
)
def test_names_are_exact_and_the_near_ones_are_told(store, evaluators, arguments, words):
    store.dataset("capitals")
    store.experiment(name="production")
    function = "brief" if "--project" in arguments else "mentions_reference"

    code, _, err = evaluators("upload", HOSTED, "--function", function, *arguments)

    assert code == 2 and words in err
    assert store.get("/runs/rules") == []


@pytest.mark.parametrize("rate", ["-0.1", "1.5", "nan", "half"])
def test_a_rate_is_a_share(evaluators, rate):
    with pytest.raises(SystemExit) as misuse:
        upload(evaluators, "--sample-rate", rate)

    assert misuse.value.code == 2


# Asking


def test_nothing_is_destroyed_without_a_yes(store, evaluators, terminal):
    """On a terminal it asks, and no is the default; the old rule stays."""
    store.dataset("capitals")
    upload(evaluators)
    before = store.get("/runs/rules")

    terminal("\n")
    deleted = evaluators("delete", "mentions")
    terminal("n\n")
    replaced = upload(evaluators, "--replace", "--sample-rate", "0.5")

    assert (deleted[0], replaced[0], store.get("/runs/rules")) == (1, 1, before)
    assert "Delete 'mentions' of dataset capitals? [y/N]" in deleted[2]
    assert "Replace 'mentions' on the dataset 'capitals'? [y/N]" in replaced[2]
    terminal("y\n")
    assert evaluators("delete", "mentions")[0] == 0
    assert store.get("/runs/rules") == []


@pytest.mark.parametrize("command", ["delete", "replace"])
def test_without_a_terminal_it_takes_yes(store, evaluators, monkeypatch, command):
    """Refused, since nobody can be asked; nothing is changed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    store.dataset("capitals")
    upload(evaluators)
    before = store.get("/runs/rules")

    change = ("--replace", "--sample-rate", "0.5")
    code, _, err = evaluators("delete", "mentions") if command == "delete" else upload(evaluators, *change)

    assert (code, store.get("/runs/rules")) == (2, before)
    assert "Nothing was changed, because there is no terminal to answer at: use --yes." in err


def test_replacing_without_a_terminal_is_refused_only_where_something_would_be_lost(store, evaluators, monkeypatch):
    """The first upload creates, the same one again changes nothing: neither asks."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    store.dataset("capitals")

    created = upload(evaluators, "--replace")
    again = upload(evaluators, "--replace")

    assert (created[0], created[1].split()[0]) == (0, "created")
    assert (again[0], again[1].split()[0]) == (0, "unchanged")


def test_a_replacement_finds_its_place_by_the_name(store, evaluators):
    """With --replace, neither dataset nor project has to be named again; without, one has to be."""
    store.dataset("capitals")
    upload(evaluators)

    replaced = evaluators("upload", HOSTED, *MENTIONS, "--replace", "--yes", "--sample-rate", "0.5")
    nowhere = evaluators("upload", HOSTED, *MENTIONS)

    assert (replaced[0], replaced[1].split()) == (0, ["replaced", "mentions", "code", "dataset", "capitals", "0.5"])
    assert nowhere[0] == 2 and "--dataset NAME or --project NAME" in nowhere[2]


def test_a_replacement_without_a_place_connects_once(nothing_set, evaluators):
    """The store is named once, although the evaluator is looked up before it is replaced."""
    assert main.main(["record", str(FIXTURES / "results.jsonl"), "--dataset", "capitals"]) == 0
    evaluators("upload", HOSTED, *MENTIONS, "--dataset", "capitals")

    code, _, err = evaluators("upload", HOSTED, *MENTIONS, "--replace", "--yes", "--sample-rate", "0.5")

    assert (code, err.count("No LANGSMITH_API_KEY")) == (0, 1)


def test_a_judge_in_code_is_told_of_upload_judge(store, evaluators):
    """The sandbox has no network, so a judge goes up as a prompt and a schema."""
    file = write(
        "judged.py",
        "from langchain_openai import ChatOpenAI",
        "judge = ChatOpenAI(model='m')",
        "def polite(run, example):",
        "    return {'score': judge.invoke('x')}",
    )

    code, _, err = evaluators("upload", file, "--function", "polite", "--dataset", "capitals")

    assert code == 2
    assert "the package 'langchain_openai' is not available" in err and "evaluators upload-judge" in err


def test_deleting_with_yes_asks_nobody(store, evaluators):
    store.dataset("capitals")
    upload(evaluators)

    code, out, err = evaluators("delete", "mentions", "--yes", "--json")
    again = evaluators("delete", "mentions", "--yes")

    assert (code, json.loads(out)["outcome"]) == (0, "deleted")
    assert "existing scores are kept" in err
    assert again[0] == 2 and "No evaluator 'mentions': there are none." in again[2]


def test_several_of_one_name_are_told_apart_by_their_target(store, evaluators):
    for dataset in ("capitals", "rivers"):
        store.dataset(dataset)
        upload(evaluators, dataset=dataset)

    unclear = evaluators("delete", "mentions", "--yes")
    assert unclear[0] == 1
    assert "2 evaluators are named 'mentions': say which with --dataset or --project" in unclear[2]
    assert "dataset capitals" in unclear[2] and "dataset rivers" in unclear[2]
    assert len(store.get("/runs/rules")) == 2

    clear = evaluators("delete", "mentions", "--dataset", "rivers", "--yes")
    assert clear[0] == 0
    (left,) = store.get("/runs/rules")
    assert left["dataset_name"] == "capitals"
    assert left["id"] in unclear[2]
    assert evaluators("delete", left["id"], "--yes")[0] == 0


# Listing, testing, running


def test_list_shows_what_evaluates(store, evaluators):
    """Other rules, which alert or collect, are none of its business."""
    dataset = store.dataset("capitals")
    upload(evaluators, "--sample-rate", "0.5")
    alert = {"display_name": "alert", "sampling_rate": 1, "dataset_id": dataset, "add_to_dataset_id": dataset}
    store.post("/runs/rules", alert)
    store.dataset("empty")

    text = evaluators("list", "--dataset", "capitals")
    found = json.loads(evaluators("list", "--json")[1])["evaluators"]

    head, line = text[1].splitlines()
    assert head.split() == ["name", "kind", "of", "rate", "enabled", "changed"]
    assert re.fullmatch(r"mentions +code +dataset capitals +0\.5 +yes +\d{4}-\d\d-\d\d", line)
    assert [(one["display_name"], one["kind"]) for one in found] == [("mentions", "code")]
    assert json.loads(evaluators("list", "--dataset", "empty", "--json")[1]) == {"evaluators": []}
    code, out, err = evaluators("list", "--dataset", "empty")
    assert (code, out) == (0, "") and "No evaluators yet." in err


@pytest.fixture
def recorded(store):
    main.main(["record", str(FIXTURES / "before.jsonl"), "--dataset", "capitals", "--experiment", "before"])


@pytest.mark.usefixtures("recorded")
def test_an_evaluator_is_tried_on_a_stored_run(store, evaluators):
    """It gets the run and its example as dictionaries; nothing is stored."""
    lines = [
        "def exact(run, example):",
        "    print('seen')",
        "    names = [run['outputs']['answer'], example['outputs']['answer'], run['status'], run['run_type']]",
        "    return {'score': 0.5, 'comment': repr([*names, run['error']])}",
    ]
    write("evals.py", *lines)

    code, out, err = evaluators("test", "evals.py", "--function", "exact", "--dataset", "capitals")

    key, score, comment = out.strip().split("  ")
    assert (code, key, score) == (0, "exact", "0.5")
    assert re.fullmatch(r"\['.+', '.+', 'success', 'llm', None\]", comment)
    assert "of before, example" in err and "seen" in err
    found = json.loads(evaluators("test", "evals.py", "--function", "exact", "--dataset", "capitals", "--json")[1])
    assert found["feedback"] == [{"key": "exact", "score": 0.5, "comment": comment}]
    assert store.get("/runs/rules") == []


@pytest.mark.usefixtures("recorded")
def test_an_evaluator_with_classes_is_tried(evaluators):
    """What it defines belongs to a module that can be looked up, as pickle and dataclasses do."""
    fields = ["from dataclasses import dataclass", "@dataclass", "class Mark:", "    next: 'Mark | None' = None"]
    body = ["def exact(run, example):", "    return {'score': float(pickle.loads(pickle.dumps(Mark())) == Mark())}"]
    write("evals.py", "import pickle", *fields, *body)

    code, out, err = evaluators("test", "evals.py", "--function", "exact", "--dataset", "capitals")

    assert (code, out) == (0, "exact  1.0\n"), err


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("return {'score': run['nothing']}", "line 2, in perform_eval\n    return {'score': run['nothing']}"),
        ("return dict(score='high')", "expected"),
        ("return bool(run)", "It returned True, which is not an object"),
    ],
)
def test_an_evaluator_that_fails_says_where(evaluators, line, words):
    write("evals.py", "def exact(run, example):", f"    {line}")

    code, out, err = evaluators("test", "evals.py", "--function", "exact", "--dataset", "capitals")

    assert (code, out) == (1, "")
    assert words in err


def test_there_must_be_a_run_to_try_it_on(store, evaluators):
    store.dataset("capitals")

    code, _, err = evaluators("test", HOSTED, "--function", "mentions_reference", "--dataset", "capitals")

    assert code == 1 and "There is no run of the dataset 'capitals' to try it on" in err


@pytest.mark.slow
@pytest.mark.usefixtures("recorded")
def test_an_existing_experiment_is_scored_on_demand(store, evaluators, tmp_path):
    """Queued at once, scored by the server that runs evaluators."""
    upload(evaluators)

    code, out, err = evaluators("run", "mentions", "--experiment", "before")

    assert code == 0 and "selectedSessions=" in out
    assert "'mentions' will score the runs of 'before' while it is served by" in err
    session = re.search("selectedSessions=(.+)", out)[1]
    with localsmith.serve(tmp_path / "localsmith.db", run_evaluators=True):
        deadline = time.monotonic() + 60
        while len(found := store.get("/feedback", session=session, source="auto_eval")) < 40:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert {item["key"] for item in found} == {"mentions"}


# Recording


@pytest.mark.usefixtures("recorded")
def test_record_says_that_scores_will_follow(evaluators, capsys):
    """Only where new runs were recorded and an evaluator waits for them."""
    upload(evaluators)
    capsys.readouterr()

    main.main(["record", str(FIXTURES / "after.jsonl"), "--dataset", "capitals", "--experiment", "after"])
    first = capsys.readouterr().err
    main.main(["record", str(FIXTURES / "after.jsonl"), "--dataset", "capitals", "--experiment", "after"])

    assert (
        "Scores will follow from mentions, while the store is served by: uv run main.py view --run-evaluators" in first
    )
    assert "Scores will follow" not in capsys.readouterr().err


@pytest.mark.slow
def test_view_scores_what_was_recorded_before(evaluators):
    """From nothing: upload and record into the embedded store, then serve it with --run-evaluators."""
    main.main(["record", str(FIXTURES / "before.jsonl"), "--dataset", "capitals", "--experiment", "before"])
    upload(evaluators)
    main.main(["record", str(FIXTURES / "after.jsonl"), "--dataset", "capitals", "--experiment", "after"])

    command = [sys.executable, str(FIXTURES.parent / "main.py"), "view", "--port", "0", "--run-evaluators"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    api = Api(process.stdout.readline().strip())
    deadline = time.monotonic() + 60
    while len(found := api.get("/feedback", source="auto_eval")) < 39 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)

    assert "Uploaded evaluators run here" in process.communicate()[1]
    assert len(found) == 39


# Model judges

SCHEMA = {"type": "object", "properties": {"polite": {"type": "integer"}, "comment": {"type": "string"}}}
JUDGE = ("--name", "polite", "--schema", "schema.json", "--model", "gpt-5-mini", "--dataset", "capitals")


@pytest.fixture
def judge(store, evaluators):
    """Upload a judge with this prompt, in the working directory; later options win."""
    store.dataset("capitals")
    write("schema.json", json.dumps(SCHEMA))

    def judge(prompt, *more, name="prompt.txt"):
        return evaluators("upload-judge", "--prompt", write(name, prompt), *JUDGE, *more)

    return judge


def test_a_judge_is_uploaded_in_the_form_of_the_contract(store, judge):
    """Prompt, schema, the mapping of its variables, and a model whose key is a secret of the workspace."""
    code, out, err = judge("Is {output} a polite answer to {input}? Say {{yes}} like {reference}.")

    (rule,) = store.get("/runs/rules")
    (structured,) = [one["structured"] for one in rule["evaluators"]]
    assert (code, out) == (0, "created  polite  judge  dataset capitals  1\n")
    assert "runs it on new runs while it is served with OPENAI_API_KEY or OPENAI_BASE_URL set" in err
    assert structured["prompt"] == [
        ["human", "Is {output} a polite answer to {input}? Say {{yes}} like {reference}.\n"]
    ]
    assert structured["variable_mapping"] == {"output": "output", "input": "input", "reference": "referenceOutput"}
    assert structured["schema"] == {"title": "polite", "description": "The verdict of polite", **SCHEMA}
    assert structured["template_format"] == "f-string"
    assert structured["model"]["kwargs"] == {
        "model_name": "gpt-5-mini",
        "openai_api_key": {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]},
    }


def test_messages_other_providers_and_whole_models(store, judge):
    messages = [["system", "Judge."], ["human", "{outputs}"]]
    model = {"lc": 1, "type": "constructor", "id": ["langchain", "x", "ChatX"], "kwargs": {"model": "x"}}
    write("model.json", json.dumps(model))

    judge(json.dumps(messages), "--model", "anthropic:claude-x", name="prompt.json")
    (rule,) = store.get("/runs/rules")
    judge(json.dumps(messages), "--model", "model.json", "--replace", "--yes", name="prompt.json")
    (replaced,) = store.get("/runs/rules")

    first, second = (one["evaluators"][0]["structured"] for one in (rule, replaced))
    assert (first["prompt"], first["variable_mapping"]) == (messages, {"outputs": "output"})
    assert first["model"]["kwargs"]["anthropic_api_key"]["id"] == ["ANTHROPIC_API_KEY"]
    assert (replaced["id"], second["model"]) == (rule["id"], model)


@pytest.mark.parametrize(
    ("prompt", "more", "words"),
    [
        ("Is it polite?", (), "the prompt does not show the answer"),
        (
            "{answer}",
            (),
            "{answer} is not a variable for a dataset: use {input}, {output}, {reference}",
        ),
        ('{output} {"a": 1}', (), "is not a variable for a dataset"),
        ("{output} {", (), "write {{ and }} for literal braces"),
        ("{output}", ("--model", "mistral:x"), "expected openai:NAME, anthropic:NAME"),
        ("{output}", ("--model", "none.json"), "none.json: there is no such file"),
        ("{output}", ("--schema", "prompt.txt"), "prompt.txt: not JSON"),
        ("{output}", ("--schema", "list.json"), "list.json: expected a JSON schema"),
        ("{output}", ("--prompt", "list.json"), 'list.json: expected [["system", "text"]'),
        ("{output}", ("--prompt", "none.txt"), "none.txt: there is no such file"),
    ],
)
def test_a_judge_that_cannot_work_is_refused_before_any_request(store, judge, sent, prompt, more, words):
    write("list.json", "[1]")

    code, _, err = judge(prompt, *more)

    assert (code, sent) == (2, set())
    assert words in err


def test_a_judge_of_a_project_sees_no_reference(store, evaluators, judge):
    store.experiment(name="production")
    write("prompt.txt", "{output} {reference}")

    code, _, err = evaluators("upload-judge", "--prompt", "prompt.txt", *JUDGE[:-2], "--project", "production")

    assert code == 2 and "{reference} is not a variable for a project" in err
