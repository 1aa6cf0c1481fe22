"""The command `evaluate`: its results, exit codes and warnings, and what judges cost."""

import json
import sys
import time
import uuid

import pytest
from chat_server import ChatServer, completion, good
from places import FIXTURES

from langsmith_rest.commands import main
from langsmith_rest.commands.evaluate_output import progress_line, report
from langsmith_rest.evaluation.evaluators import judge, model_server
from langsmith_rest.evaluation.evaluators.llm import accuracy
from langsmith_rest.evaluation.evaluators.signatures import RUN, ready
from langsmith_rest.evaluation.running.evaluation import Evaluation


def test_progress_says_how_many_how_many_failed_and_how_fast():
    """Counts, errors of the target and of evaluators, and the rate."""
    found = Evaluation("", "", "", "v1", planned=40, done=20, errors=2, started=time.monotonic() - 10)
    found.scores.add({"key": "k", "error": True})

    assert progress_line(found) == "v1: 20 of 40 done, 2 errors, 1 evaluator error, 2.0/s"


@pytest.fixture
def command(monkeypatch, server, tmp_path, capsys):
    """Run main.py here; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def command(*words):
        code = main.main(["evaluate", *map(str, words)])
        return code, *capsys.readouterr()

    return command


def test_the_commands_of_the_readme(command):
    """Run, go on, score, judge."""
    agent, evals, data = (FIXTURES / name for name in ("agent.py", "evals.py", "capitals.jsonl"))

    code, out, _ = command(f"{agent}:run", "--data", data, "--evaluators", evals, "--experiment", "v1")
    assert code == 1  # the agent does not know one of the capitals
    assert out.splitlines()[:5] == [
        "experiment  v1",
        "runs        5 new",
        "correct     0.600 (mean of 5)",
        "short       1.000 (mean of 4), 1 not scored",
        "errors      1",
    ]
    assert out.splitlines()[-1].startswith("http")

    command(f"{agent}:chatty", "--data", "capitals", "--evaluators", evals, "--prefix", "v2")
    code, out, _ = command("v1", "--summary-evaluators", evals, "--json")
    assert code == 0 and json.loads(out)["scores"] == {"pass_rate": {"n": 1, "mean": 0.6, "errors": 0}}
    code, out, _ = command("--pairwise", "v1", "v2", "--evaluators", f"{evals}:shorter")
    assert code == 2  # there is no v2, but v2-1a2b3c4d


def test_position_bias_of_a_judge_is_a_rate(command, tmp_path, monkeypatch):
    """Not two means that are the same and a tie everywhere."""
    (tmp_path / "judges.py").write_text(
        "from langsmith_rest.evaluation.evaluators.llm import pairwise_judge\n"
        "likes_the_first = pairwise_judge('Prefer ...', key='clear', model='m', both_orders=True)\n"
    )
    for name in ("run", "chatty"):
        command(f"{FIXTURES / 'agent.py'}:{name}", "--data", FIXTURES / "capitals.jsonl", "--experiment", name)
    with ChatServer(good({"reasoning": "first!", "better": "A"})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        code, out, _ = command("--pairwise", "run", "chatty", "--evaluators", "judges.py")

    assert code == 0
    assert "clear                no preference, ties 5 of 5\n" in out
    assert "clear_position_bias  1.000 (5 of 5 preferences changed with the order)\n" in out


@pytest.mark.slow
def test_judges_are_counted_cached_and_asked_afresh_on_request(command, monkeypatch, tmp_path):
    """The command says what its judges cost; the same again costs nothing, unless --fresh."""
    (tmp_path / "judging.py").write_text(
        "from langsmith_rest.evaluation.evaluators.llm import accuracy, llm_judge\n"
        "evaluators = [accuracy(), llm_judge('Kind?', key='kind')]\n"
    )
    words = ["v1", "--evaluators", "judging.py"]
    command(f"{FIXTURES / 'agent.py'}:run", "--data", FIXTURES / "capitals.jsonl", "--experiment", "v1")
    with ChatServer(good({"reasoning": "r", "score": True}, prompt_tokens=100, completion_tokens=7)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for extra, said in (
            ([], "8 judge calls (800 tokens in, 56 out), 0 verdicts from the cache"),
            ([], "0 judge calls (0 tokens in, 0 out), 8 verdicts from the cache"),
            (["--fresh"], "8 judge calls (800 tokens in, 56 out), 0 verdicts from the cache"),
        ):
            model_server.default_server.cache_clear()
            model_server.SPENT.clear()
            code, out, err = command(*words, *extra)
            assert (code, said in err) == (0, True)
            assert "accuracy    1.000 (mean of 4), 1 not scored" in out  # one run failed
        server.answers[:] = [(200, completion({"refusal": "no"}))]
        model_server.default_server.cache_clear()
        code, out, err = command(*words, "--fresh")
    model_server.default_server.cache_clear()
    judge.FRESH.clear()
    assert code == 1
    assert "The evaluator 'kind' failed 4 times; the reason is in its feedback: JudgeError: " in err
    assert "refused to judge: no" in err


def test_exit_codes_and_messages_of_the_command(command, tmp_path):
    """2 for flags that cannot be and names that are not there, 1 when an evaluator failed."""
    (tmp_path / "bad_evals.py").write_text("def fails(outputs):\n    raise KeyError(1)\n")
    agent = f"{FIXTURES / 'agent.py'}:run"

    code, out, err = command(agent, "--data", FIXTURES / "capitals.jsonl", "--evaluators", "bad_evals.py")
    assert code == 1 and "fails       4 failed, 1 not scored" in out
    assert "The evaluator 'fails' failed 4 times; the reason is in its feedback: KeyError: 1" in err
    assert command(agent)[0] == 2
    assert "--data is missing" in command(agent)[2]
    assert "--evaluators is missing" in command("v1")[2]
    assert "--retry-errors has no effect" in command("v1", "--evaluators", "bad_evals.py", "--retry-errors")[2]
    assert command()[0] == 2
    code, _, err = command(agent, "--data", "capital")
    assert code == 2 and "Did you mean 'capitals'" in err
    unknown = str(uuid.uuid4())
    code, _, err = command(agent, "--data", unknown)
    assert code == 2 and f"No dataset has the id {unknown}." in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agent.py", "--data", "d"], "agent.py names no function: write agent.py:FUNCTION."),
        (["v1", "--evaluators", "e.py", "--repetitions", "3"], "--repetitions has no effect unless a FILE.py:FUNCTION"),
        (["v1", "--evaluators", "e.py", "--metadata", "a=1"], "--metadata has no effect unless a FILE.py:FUNCTION"),
        (["v1", "--evaluators", "e.py", "--randomize-order"], "--randomize-order has no effect unless"),
        (["--pairwise", "a", "b", "--evaluators", "e.py", "--data", "d"], "--data has no effect with --pairwise"),
        (["agent.py:run", "--data", "d", "--seed", "3"], "--seed has no effect without --pairwise"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(command, words, said):
    """Before a file is loaded or a request is sent."""
    code, _, err = command(*words)

    assert code == 2 and said in err


def test_doubts_are_said(command, tmp_path):
    """A target without return, and another version of it under the same name."""
    (tmp_path / "silent_agent.py").write_text("def run(inputs):\n    pass\n\n\ndef other(inputs):\n    return {}\n")
    words = ["--data", FIXTURES / "capitals.jsonl", "--experiment", "v1"]

    _, _, first = command("silent_agent.py:run", *words)
    stale, _, second = command("silent_agent.py:other", *words)
    code, _, third = command("silent_agent.py:other", *words, "--repetitions", "2")

    assert (
        "5 answers are not dictionaries: they are recorded as {'output': ...}, 5 of them None: does the target" in first
    )
    assert "has changed" not in first
    assert "since 'v1' was started. It was not run: the answers are those of the old target." in second
    assert stale == 1
    assert code == 0 and "was started. The experiment now holds answers of both." in third


def test_doubles_are_said(capsys):
    """With what to do."""
    report(Evaluation("", "", "", "v1", doubled=2), lambda text: print(text, file=sys.stderr), False)

    assert "2 examples of 'v1' have more runs than asked for, and all count" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[f"{FIXTURES / 'agent.py'}:run", "--data", "capitals.jsonl"], ["v1"]])
def test_a_judge_without_a_key_is_found_before_anything_runs(command, monkeypatch, tmp_path, form):
    """The setup is refused, no request is sent, and a judge that is given its connection needs no settings."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")  # where nothing answers
    model_server.default_server.cache_clear()

    code, out, err = command(*form, "--evaluators", "langsmith_rest:accuracy()")
    assert (code, out) == (2, "") and "OPENAI_API_KEY is not set: a judge needs it, or OPENAI_BASE_URL" in err
    connection = model_server.connect("http://127.0.0.1:1/v1", cache=None)
    assert len(ready([accuracy(connection=connection)], RUN)) == 1


def test_an_evaluator_that_was_not_asked_yet_scores_what_is_recorded(command):
    """Going on with an experiment runs what is missing: runs, and the scores of the evaluators that are asked for."""
    agent = [f"{FIXTURES / 'agent.py'}:run", "--data", FIXTURES / "capitals.jsonl", "--experiment", "v1"]
    command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:correct")

    _, same, _ = command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:correct")
    _, other, _ = command(*agent, "--evaluators", f"{FIXTURES / 'evals.py'}:short")

    assert "recorded runs" not in same and "runs        0 new, 5 existing" in same
    assert "scored      5 recorded runs; feedback: 5 created" in other and "short       1.000 (mean of 4)" in other


@pytest.mark.parametrize("limit", ["x", "0", "-1", "1.5"])
def test_a_limit_that_is_no_count_is_refused(command, capsys, limit):
    """The message says what is expected."""
    with pytest.raises(SystemExit):
        command("agent.py:run", "--data", "d", f"--limit={limit}")

    assert f"argument --limit: '{limit}': expected a whole number from 1" in capsys.readouterr().err
