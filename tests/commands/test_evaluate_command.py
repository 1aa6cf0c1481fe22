"""The command `evaluate`: what it says of failures, what it refuses, and what judges would cost."""

import json

import pytest
from chat_server import ChatServer, good
from squares import runs_of

from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.evaluation.evaluators import model_server


@pytest.fixture
def evaluate(server, tmp_path, monkeypatch, capsys, nothing_set):
    """Run the command in a folder with six rows and an agent; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    rows = [{"inputs": {"n": n}, "reference_outputs": {"n": n * n}} for n in range(6)]
    with open("rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    model_server.default_server.cache_clear()

    def run(*words, **files):
        for name, text in files.items():
            with open(f"{name}.py", "w") as file:
                file.write(text)
        code = main.main(["evaluate", *words])
        return code, *capsys.readouterr()

    run.api = connection.connect(server.url)
    return run


AGENT = "def run(inputs):\n    print('hello')\n    return {'n': inputs['n'] ** 2}\n"
PREFER = "def prefer(inputs, outputs):\n    return [0, 1]\n"
EVALS = "def right(outputs, reference_outputs):\n    return outputs == reference_outputs\n"


def test_a_target_that_fails_is_heard(evaluate):
    """How often, why, in which line of the user's file, and exit code 1; no frame of ours in the recorded error."""
    agent = "def run(inputs):\n    return {'n': inputs['nn'] ** 2}\n"

    code, _, err = evaluate(
        "heard_agent.py:run", "--data", "rows.jsonl", "--experiment", "x", "--evaluators", "heard_evals.py",
        heard_agent=agent, heard_evals=EVALS,
    )  # fmt: skip

    assert code == 1
    assert "The target failed in 6 of 6 runs. The first: KeyError: 'nn' (heard_agent.py, line 2)" in err
    assert "The evaluator" not in err.replace("heard_evals.py: evaluators are", "")
    error = runs_of(evaluate.api, "x")[0][0]["error"]
    assert error.count("File ") == 1 and "heard_agent.py" in error


def test_what_code_prints_stays_out_of_the_result(evaluate):
    """`--json` prints one object, whatever the target prints."""
    code, out, err = evaluate(
        "loud_agent.py:run", "--data", "rows.jsonl", "--json", "--evaluators", "loud_evals.py",
        loud_agent=AGENT, loud_evals=EVALS,
    )  # fmt: skip

    assert (code, json.loads(out)["scores"]["right"]["mean"]) == (0, 1.0)
    assert "hello" in err


@pytest.mark.parametrize(
    "text",
    ["import sys\nsys.exit(0)\n", "raise SystemExit\n", "import no_such_package\n"],
    ids=["sys.exit", "SystemExit", "a missing package"],
)
def test_a_file_that_ends_itself_is_misuse(evaluate, text):
    """Nothing was evaluated, and the exit code does not say otherwise."""
    code, _, err = evaluate("ending_agent.py:run", "--data", "rows.jsonl", ending_agent=text)

    assert code == 2
    assert "ending_agent.py cannot be imported" in err
    assert "uv run --with no-such-package" in err or "no_such" not in text


def test_a_list_counts_only_where_the_file_makes_it(evaluate):
    """A star import brings the list of another module, which is not what the file is about."""
    evals = "from langsmith_rest.evaluation.evaluators.answers import *\n" + EVALS
    module = "from langsmith_rest.evaluation import evaluators\n" + EVALS

    for name, text in (("star_evals", evals), ("module_evals", module)):
        code, out, err = evaluate(
            "star_agent.py:run", "--data", "rows.jsonl", "--evaluators", f"{name}.py", star_agent=AGENT, **{name: text}
        )
        assert (code, "right" in out) == (0, True), err


def test_splits_may_have_blanks_and_must_exist(evaluate):
    """An unknown one is refused, with those that exist."""
    code, _, err = evaluate("split_agent.py:run", "--data", "rows.jsonl", "--splits", "base, x", split_agent=AGENT)

    assert code == 2
    assert "is in the split 'x': its splits are base" in err
    assert evaluate("split_agent.py:run", "--data", "rows.jsonl", "--splits", " base ")[0] == 0
    for nothing in ("", ",", "base,"):
        code, _, err = evaluate("split_agent.py:run", "--data", "rows.jsonl", "--splits", nothing)
        assert code == 2 and "a split has a name" in err


def test_an_evaluation_of_nothing_is_no_success(evaluate):
    """An experiment without runs, pairs that no example forms, or a target whose failed runs were all left out."""
    files = {"none_agent": "def run(inputs):\n    return {'n': 1 / (inputs['n'] > 9)}\n", "none_evals": EVALS + PREFER}
    right, prefer = ("--evaluators", "none_evals.py:right"), ("--evaluators", "none_evals.py:prefer")
    runs = ("none_agent.py:run", "--data", "rows.jsonl", *right)

    left_out, _, said = evaluate(*runs, "--ignore-errors", "--experiment", "empty", **files)
    evaluate(*runs, "--experiment", "full")
    unscored, _, empty = evaluate("empty", *right)
    unpaired, _, apart = evaluate("--pairwise", "empty", "full", *prefer)

    assert left_out == 1 and "The target failed in 6 of 6 runs." in said
    assert unscored == 2 and "The experiment 'empty' has no runs, so nothing was scored." in empty
    assert unpaired == 1 and "Nothing was judged: no example has a run in each of these experiments." in apart


def test_numbers_that_are_texts_are_pointed_out(evaluate):
    """They are categories, which have no mean."""
    evals = "def s(outputs):\n    return {'key': 's', 'value': '0.7'}\n"

    _, _, err = evaluate(
        "text_agent.py:run", "--data", "rows.jsonl", "--evaluators", "text_evals.py",
        text_agent=AGENT, text_evals=evals,
    )  # fmt: skip

    assert err.count("6 scores of 's' are texts that look like numbers") == 1


def test_a_limit_tries_a_few_first_and_a_csv_file_is_data(evaluate):
    """The same command without the limit does the rest."""
    with open("rows.csv", "w") as file:
        file.write("input,expected\n2,4\n3,9\n4,16\n")
    agent = "def run(inputs):\n    return {'output': str(int(inputs['input']) ** 2)}\n"
    words = (
        "csv_agent.py:run",
        "--data",
        "rows.csv",
        "--experiment",
        "x",
        "--evaluators",
        "langsmith_rest:exact_match",
    )

    counts = [json.loads(evaluate(*words, *more, "--json", csv_agent=agent)[1]) for more in (("--limit", "2"), ())]

    assert [(one["done"], one["existing"]) for one in counts] == [(2, 0), (1, 2)]
    assert counts[1]["scores"]["exact_match"] == {"n": 3, "mean": 1.0, "errors": 0}


def test_an_estimate_asks_nobody(evaluate, monkeypatch):
    """Calls, tokens and dollars of judges, for a target that has not run and for a recorded experiment."""
    evals = (
        "from langsmith_rest import accuracy\n"
        "def mine(outputs):\n    raise SystemExit('must not run')\n"
        "evaluators = [accuracy(), mine]\n"
    )
    agent = AGENT.replace("print('hello')", "raise SystemExit('must not run')")
    with ChatServer(good({"reasoning": "r", "score": True})) as judge:
        monkeypatch.setenv("OPENAI_BASE_URL", judge.url)
        words = ("--evaluators", "judge_evals.py", "--price", "1,2", "--estimate")
        code, out, err = evaluate(
            "judge_agent.py:run", "--data", "rows.jsonl", *words, judge_agent=agent, judge_evals=evals
        )
        assert (code, out.startswith("6 judge calls on 6 answers: about ")) == (0, True)
        assert "the estimate uses each reference as the answer" in err and "$0.00" in out

        evaluate("quiet_agent.py:run", "--data", "rows.jsonl", "--experiment", "x", quiet_agent=AGENT)
        found = json.loads(evaluate("x", *words, "--limit", "2", "--json")[1])["estimate"]
        assert (found["answers"], found["calls"], found["output_tokens"]) == (2, 2, 200)
        assert found["dollars"] == pytest.approx((found["input_tokens"] + 2 * 200) / 1e6)
        monkeypatch.delenv("LANGSMITH_ENDPOINT")
        assert "reading the local store" in evaluate("quiet_agent.py:run", "--data", "rows.jsonl", *words)[2]
        assert judge.requests == []
    model_server.default_server.cache_clear()
