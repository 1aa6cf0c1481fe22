"""Test evaluation/choosing.py: what is taken of a whole file of evaluators, and what is said about the rest."""

import uuid

import pytest

from langsmith_rest.commands import main
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE
from langsmith_rest.evaluation.running.files import load_evaluators

MIXED = """
import json
from functools import partial
from typing import Dict

from langsmith_rest.evaluation.evaluators.answers import exact, exact_match, length_limit
from langsmith_rest.evaluation.evaluators.llm import llm_judge, pairwise_judge

LIMIT = 5
Json = dict[str, object]
OldJson = Dict[str, object]

def norm(s): return s.lower()
def text_of(answer): return norm(answer)
def correct(outputs, reference_outputs): return text_of(outputs["a"]) == reference_outputs["a"]
async def slow(run, example): return 1
def keyed(outputs): return {"key": "k", "score": outputs["scores"]}
def size(outputs): return len(outputs) > LIMIT
def no_answer(inputs): return 1
def _hidden(outputs): return 1

def shorter(outputs):
    lengths = [len(answer["a"]) for answer in outputs]
    return {"scores": [int(length == min(lengths)) for length in lengths]}

def longer(inputs: dict, outputs: list[dict]): return [0, 1]
def prefer(runs): return [0, 1]
def accuracy(outputs, reference_outputs): return sum(o == r for o, r in zip(outputs, reference_outputs))
def pass_rate(outputs: "list", reference_outputs: "list"): return 1
def spread(examples): return 1
def listed(outputs): return 1

short = length_limit(5)
of_a = partial(exact(field="a"))
polite = llm_judge("Is it polite?", key="polite")
again = correct
anonymous = lambda outputs: 1
better = pairwise_judge("Prefer the shorter one.")
parse = json.loads
summary_evaluators = [listed]
"""


@pytest.fixture
def load(tmp_path):
    """Load the evaluators of a file with this content; returns their names, and what was said."""

    def load(content, **options):
        file = tmp_path / f"evals_{uuid.uuid4().hex}.py"
        file.write_text(content)
        heard = []
        found = load_evaluators(str(file), say=heard.append, **options)
        return [getattr(one, "__name__", "partial") for one in found], [line.replace(str(file), "F") for line in heard]

    return load


def test_a_whole_file_gives_its_evaluators_of_single_answers(load):
    """Functions written there and what factories made; what is left out is said, with the reason, in one line."""
    taken, heard = load(MIXED)

    made = ["length_limit", "partial", "polite", "anonymous"]
    assert taken == ["correct", "slow", "keyed", "size", *made]
    assert heard == [
        "F: evaluators are correct, slow, keyed, size, short, of_a, polite, anonymous; left out are exact_match "
        "(imported), norm, text_of, no_answer (no evaluator), _hidden (private), shorter, longer, prefer, better "
        "(of pairs), accuracy, pass_rate, spread, listed (of whole experiments)."
    ]


def test_a_whole_file_gives_its_pairwise_evaluators_for_pairs(load):
    """The same file, asked for the other kind."""
    taken, heard = load(MIXED, known=PAIRWISE)

    assert taken == ["shorter", "longer", "prefer", "preference"]
    assert "correct, slow, keyed, size, short, of_a, polite, anonymous (of single answers)" in heard[0]
    assert "Json" not in heard[0] and "parse" not in heard[0] and "again" not in heard[0]


@pytest.mark.parametrize("content", ["evaluators = [len]", "evaluators = [len]\ndef wrong(output): return 1"])
def test_the_list_of_a_file_is_taken_as_it_is(load, content):
    """Nothing is chosen, so nothing is said."""
    assert load(content) == (["len"], [])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("wrong(output)", "'wrong' has the parameter 'output': did you mean 'outputs'"),
        ("wrong(output, expected)", "'wrong' has the parameter 'output': did you mean 'outputs'"),
        ("wrong(outputs, expected)", "'wrong' has the parameter 'expected': did you mean 'reference_outputs'"),
        ("wrong(*, prediction)", "'wrong' has the parameter 'prediction': did you mean 'outputs'"),
    ],
)
def test_parameters_that_are_nearly_known_are_refused(load, function, words):
    """An evaluator that would be left out for its spelling is said, alone in a file or among others."""
    for others in ("", "def good(outputs): return 1\n"):
        with pytest.raises(ValueError, match=f"{words}.*If it is a helper, rename it to _wrong"):
            load(f"{others}def {function}: return 1\n")


def test_a_file_without_evaluators_says_what_it_has(load):
    """The error names the remedy, the line before it the reasons."""
    with pytest.raises(ValueError, match="has no evaluators: name them"):
        load("def helper(text, limit, more): return 1\n")


def test_nothing_runs_when_a_function_of_the_file_is_refused(tmp_path, monkeypatch, capsys):
    """Exit code 2, the hint on stderr, and no store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGSMITH_API_KEY", "")
    stem = f"wrong_{uuid.uuid4().hex}"
    (tmp_path / f"{stem}.py").write_text("def run(inputs): return inputs\ndef bad(output): return 1\n")
    (tmp_path / "data.jsonl").write_text('{"inputs": {"a": 1}}\n')

    code = main.main(["evaluate", f"{stem}.py:run", "--data", "data.jsonl", "--evaluators", f"{stem}.py"])

    assert code == 2
    assert "did you mean 'outputs'?" in capsys.readouterr().err
    assert not (tmp_path / ".localsmith").exists()
