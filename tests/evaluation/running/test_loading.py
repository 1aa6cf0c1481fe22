"""Functions and evaluators from files and modules."""

import pytest
from places import FIXTURES

from langsmith_rest.evaluation.running.files import load_evaluators, load_function


def test_functions_and_evaluators_from_files(tmp_path):
    """By name, by the list `evaluators`, or all that look like evaluators; what is wrong is named."""
    file = tmp_path / "some_evals.py"
    file.write_text(
        "from os.path import join\n"
        "def one(outputs): return 1\n"
        "def two(run): return 1\n"
        "def helper(text): return 1\n"
        "def _hidden(outputs): return 1\n"
        "def target(inputs): return inputs\n"
    )

    assert [function.__name__ for function in load_evaluators(str(file))] == ["one", "two"]
    assert [function.__name__ for function in load_evaluators(f"{file}:two,helper")] == ["two", "helper"]
    assert load_function(f"{file}:target")({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="has no function 'targte'. Did you mean 'target'"):
        load_function(f"{file}:targte")
    with pytest.raises(ValueError, match="there is no such file"):
        load_evaluators(str(tmp_path / "none.py"))
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ValueError, match="name of a module that is in use"):
        load_evaluators(str(tmp_path / "json.py"))
    (tmp_path / "broken_evals.py").write_text("1 / 0")
    with pytest.raises(ValueError, match="cannot be imported: ZeroDivisionError"):
        load_evaluators(str(tmp_path / "broken_evals.py"))


def test_evaluators_of_modules_and_calls_that_make_them(tmp_path, monkeypatch):
    """`package.module:name`, `make("text", key="k")`, and no helpers of the ready-made modules."""
    (tmp_path / "my_evals.py").write_text("mine = lambda outputs: 1\nHALF = 0.5\ndef made(): return 3\n")
    monkeypatch.chdir(tmp_path)
    names = {
        "langsmith_rest.evaluation.evaluators.answers": ["exact_match"],
        "langsmith_rest:exact_match,length_limit(280)": ["exact_match", "length_limit"],
        'langsmith_rest:mentions("a: b, c", key="m")': ["m"],
        "langsmith_rest.evaluation.evaluators.trajectories": ["schema_before_query"],
        "langsmith_rest.evaluation.evaluators.llm": ["accuracy", "groundedness"],
        'langsmith_rest:llm_judge("Is it kind?", key="kind", scale=(1, 5))': ["kind"],
        str(FIXTURES.parent / "langsmith_rest" / "evaluation" / "evaluators" / "answers.py"): ["exact_match"],
        "my_evals:mine": ["mine"],
    }
    for reference, wanted in names.items():
        assert [function.__name__ for function in load_evaluators(reference)] == wanted
    assert load_evaluators('langsmith_rest:mentions("Lima")')[0](outputs={"a": "Lima!"})["score"] == 1


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_module:one", "no_such_module cannot be imported.* a file is written no_such_module.py"),
        (
            "langsmith_rest:exact_macth",
            "has no function 'exact_macth'. Did you mean 'exact_match'",
        ),
        (
            "langsmith_rest:length_limit()",
            r"length_limit\(\): ValueError: length_limit needs either characters or words",
        ),
        ("langsmith_rest:length_limit(size=3)", "unexpected keyword argument 'size'"),
        (
            "langsmith_rest:mentions(open('x'))",
            r"mentions\(open\('x'\)\): open\('x'\) is neither a number nor a text in quotes",
        ),
        (
            "langsmith_rest.evaluation.evaluators.answers:text_of('x')",
            "makes no evaluator: name the function alone, text_of",
        ),
        ("langsmith_rest.evaluation.evaluators.answers:a.b", "expected NAME"),
        ("langsmith_rest:mentions(", "expected NAME"),
        ("my evals", "expected FILE.py"),
    ],
)
def test_references_that_mean_no_evaluator(reference, words):
    """What was written, what is wrong with it, and what was expected."""
    with pytest.raises(ValueError, match=words):
        load_evaluators(reference)
