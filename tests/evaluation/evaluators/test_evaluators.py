"""Test evaluation/calling.py, evaluators.py and trajectory.py: signatures, returns and every ready-made evaluator."""

import collections
import dataclasses
import decimal
import functools
import sys
from datetime import UTC, datetime, timedelta

import pytest

from langsmith_rest.evaluation.evaluators.answers import (
    at_least_emojis,
    exact,
    exact_match,
    json_match,
    latency_limit,
    length_limit,
    mentions,
    text_of,
    token_limit,
)
from langsmith_rest.evaluation.evaluators.calling import score
from langsmith_rest.evaluation.evaluators.emojis import count_emojis
from langsmith_rest.evaluation.evaluators.records import Example, Run
from langsmith_rest.evaluation.evaluators.returns import feedback_items, preferences
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, TARGET, bind, ready
from langsmith_rest.evaluation.evaluators.trajectories import (
    extract_tool_calls,
    schema_before_query,
    single_step_match,
    trajectory_match,
)

START = datetime(2026, 1, 15, 9, tzinfo=UTC)
VALUES = {
    "inputs": {"q": 1},
    "outputs": {"a": 2},
    "reference_outputs": {"a": 3},
    "run": Run(outputs={"a": 2}, error=None),
    "example": Example(outputs={"a": 3}),
    "attachments": {},
    "metadata": {"row": 7},
}


# Signatures


async def asynchronous(outputs):
    return outputs["a"]


class Callable:
    def __call__(self, *, outputs):
        return outputs["a"]


def test_annotations_that_only_type_checkers_import_are_not_read():
    """They are texts, as `from __future__` makes them, and as Python 3.14 does by itself."""
    lazy = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    imports = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nowhere import Answer, Score\n"
    names = {}
    exec(f"{lazy}{imports}def judge(outputs: Answer) -> Score:\n    return outputs['a']\n", names)

    assert score(bind(names["judge"], RUN), VALUES) == [{"key": "judge", "score": 2}]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda outputs: outputs["a"], 2),
        (lambda outputs, reference_outputs: outputs["a"] + reference_outputs["a"], 5),
        (lambda *, metadata, inputs: metadata["row"] + inputs["q"], 8),
        (lambda run, example: run.outputs["a"] + example.outputs["a"], 5),
        (lambda r, e: r["outputs"]["a"] + e["outputs"]["a"], 5),
        (lambda root_run, example: root_run.outputs["a"] + example.outputs["a"], 5),
        (lambda run: run["outputs"]["a"], 2),
        (lambda anything: anything.outputs["a"], 2),
        (lambda outputs, threshold=10: outputs["a"] + threshold, 12),
        (lambda outputs, **others: len(others), 6),
        (lambda: 1, 1),
        (functools.partial(lambda factor, outputs: factor * outputs["a"], 4), 8),
        (asynchronous, 2),
        (Callable(), 2),
    ],
)
def test_every_common_signature_is_served(function, expected):
    """Any subset of names, two by place, one by place, defaults, **others, partial, async, an object."""
    [item] = score(bind(function, RUN), VALUES)

    assert item["score"] == expected


@pytest.mark.parametrize(
    ("function", "known", "message"),
    [
        (lambda ouputs: 1, RUN, "parameter 'ouputs': did you mean 'outputs'"),
        (lambda output, reference: 1, RUN, "parameter 'output': did you mean 'outputs'"),
        (lambda prediction, ground_truth: 1, RUN, "parameter 'prediction': did you mean 'outputs'"),
        (lambda run, expected: 1, RUN, "parameter 'expected': did you mean 'reference_outputs'"),
        (lambda outputs, reference: 1, RUN, "parameter 'reference': did you mean 'reference_outputs'"),
        (length_limit, RUN, "'length_limit' takes none of inputs, .*: if it makes .*, write length_limit"),
        (lambda a, b, c: 1, RUN, "parameter 'a'"),
        (lambda *, foo: 1, RUN, "parameter 'foo'"),
        (lambda outputs, run: 1, SUMMARY, "parameter 'run': did you mean 'runs'"),
        ("exact_match", RUN, "expected a function"),
        (max, RUN, "'max' does not say which parameters it takes: call it in a function of yours"),
    ],
)
def test_other_signatures_are_refused_before_anything_runs(function, known, message):
    """The unknown parameter is named, with the known one it may mean; none is taken by place for something else."""
    with pytest.raises(ValueError, match=message):
        bind(function, known)


def test_a_target_of_one_parameter_gets_the_inputs_whatever_its_name():
    """`answer`, `question` or `input` is a natural name there."""
    for target in (lambda question: question, lambda answer: answer, lambda input: input):
        assert bind(target, TARGET)({"inputs": {"q": 1}}) == {"q": 1}


@pytest.mark.parametrize("evaluators", [length_limit(3), "correct"], ids=["a function", "a name"])
def test_evaluators_are_a_list(evaluators):
    """One evaluator alone is refused with what is expected."""
    with pytest.raises(ValueError, match="evaluators is .*, expected a list of functions"):
        ready(evaluators, RUN)


def test_evaluators_of_the_same_name_are_refused():
    """Their scores would be mixed up under one key; lambdas have no name of their own."""
    with pytest.raises(ValueError, match="2 evaluators are named 'mentions': give each a name of its own"):
        ready([mentions("a"), mentions("b")], RUN)
    with pytest.raises(ValueError, match="2 evaluators are named 'evaluator', as every lambda is"):
        ready([lambda outputs: 1, lambda outputs: 2], RUN)
    assert len(ready([mentions("a"), mentions("b", key="b"), lambda outputs: 1], RUN)) == 3


def test_pairwise_and_summary_signatures_have_lists():
    """(runs, example), (inputs, runs), (inputs, outputs, reference_outputs); (runs, examples) in a summary."""
    assert bind(lambda runs, example: 1, PAIRWISE).by_name == ("runs", "example")
    assert bind(lambda inputs, runs: 1, PAIRWISE).by_name == ("inputs", "runs")
    assert bind(lambda a, b: 1, PAIRWISE).by_place == ("runs", "example")
    assert bind(lambda a, b: 1, SUMMARY).by_place == ("runs", "examples")


def test_a_run_is_read_both_ways_and_names_a_typo():
    """run["outputs"] and run.outputs are the same; what it lacks is None; what no run has is an error."""
    run = Run(outputs={"a": 1}, start_time=START, end_time=START + timedelta(seconds=2))

    assert run["outputs"] is run.outputs
    assert (run.error, run["error"], run.latency) == (None, None, 2.0)
    with pytest.raises(AttributeError, match="run has no 'output', did you mean 'outputs'"):
        run.output  # noqa: B018
    with pytest.raises(KeyError):
        run["output"]


# Returns


class Scalar:
    """Like a number of NumPy."""

    def item(self):
        return True


class Tensor:
    """Like a tensor of PyTorch, whose size is a method."""

    def item(self):
        return 0.5

    def size(self):
        return ()


class Scores:
    """Like an array of NumPy, or a tensor of PyTorch, with two numbers."""

    def __init__(self, error=ValueError):
        self.error = error

    def item(self):
        raise self.error("only an array of one number can be converted")


class Model:
    """Like an evaluation result of another library."""

    def model_dump(self):
        return {"key": "k", "score": 1, "value": None, "evaluator_info": {}}


@dataclasses.dataclass
class Verdict:
    score: float
    comment: str


@pytest.mark.parametrize(
    ("returned", "items"),
    [
        (True, [{"key": "f", "score": True}]),
        (0.5, [{"key": "f", "score": 0.5}]),
        ("good", [{"key": "f", "value": "good"}]),
        (None, []),
        ({"score": 1}, [{"key": "f", "score": 1}]),
        ({"key": "k", "score": 1, "comment": "c"}, [{"key": "k", "score": 1, "comment": "c"}]),
        ({"key": "k", "value": "v", "score": None}, [{"key": "k", "value": "v"}]),
        ({"score": 1, "reasoning": "why"}, [{"key": "f", "score": 1, "comment": "why"}]),
        ({"key": "k", "score": None, "comment": "no reference"}, [{"key": "k", "comment": "no reference"}]),
        ({"recall": 0.5, "comment": "c"}, [{"key": "recall", "score": 0.5, "comment": "c"}]),
        ({"recall": 0.5, "tone": "kind"}, [{"key": "recall", "score": 0.5}, {"key": "tone", "value": "kind"}]),
        ([{"key": "a", "score": 1}, {"b": 0}], [{"key": "a", "score": 1}, {"key": "b", "score": 0}]),
        ({"results": [{"key": "a", "score": 1}]}, [{"key": "a", "score": 1}]),
        ({"results": []}, []),
        (Scalar(), [{"key": "f", "score": True}]),
        (Tensor(), [{"key": "f", "score": 0.5}]),
        ({"score": Tensor()}, [{"key": "f", "score": 0.5}]),
        ({"recall": Tensor()}, [{"key": "recall", "score": 0.5}]),
        (Model(), [{"key": "k", "score": 1}]),
        (Verdict(0.5, "c"), [{"key": "f", "score": 0.5, "comment": "c"}]),
        (collections.namedtuple("Pair", "key score")("k", 1), [{"key": "k", "score": 1}]),
        (decimal.Decimal("0.5"), [{"key": "f", "score": 0.5}]),
        ({"key": "k", "recall": 0.5}, [{"key": "recall", "score": 0.5}]),
        ({"key": "k", "error": "no answer"}, [{"key": "k", "error": True, "comment": "no answer"}]),
        ({"error": True, "reasoning": "no key"}, [{"key": "f", "error": True, "comment": "no key"}]),
        ({"error": "late", "comment": "30 s"}, [{"key": "f", "error": True, "comment": "late: 30 s"}]),
        ({"key": "k", "error": "late", "score": None}, [{"key": "k", "error": True, "comment": "late"}]),
        ({"score": 1, "error": True, "comment": "c"}, [{"key": "f", "score": 1, "error": True, "comment": "c"}]),
        ({"score": 1, "error": "late"}, [{"key": "f", "score": 1, "error": True, "comment": "late"}]),
        (
            {"accuracy": 0.9, "error": "2 timeouts"},
            [{"key": "accuracy", "score": 0.9}, {"key": "error", "value": "2 timeouts"}],
        ),
        ({"accuracy": 0.9, "error": True}, [{"key": "accuracy", "score": 0.9}, {"key": "error", "score": True}]),
        ({"error": 0.25}, [{"key": "error", "score": 0.25}]),
    ],
)
def test_every_accepted_return_value(returned, items):
    """Whatever the form, it becomes a list of {key, score, value, comment}."""
    assert list(feedback_items(returned, "f")) == items


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("", "returned ''"),
        ({}, "returned {}"),
        ([1, 2], r"returned \[1, 2\]"),
        (object(), "returned <object"),
        (Scores(), "returned <.*Scores"),
        (Scores(RuntimeError), "returned <.*Scores"),
        (float("nan"), "NaN, which JSON cannot hold"),
        ({"score": "high"}, "expected a number"),
        ({"score": 1, "colour": "red"}, "unknown field"),
        ({"recall": [1]}, "returned {'recall'"),
        ({"key": "k" * 181, "score": 1}, "1 to 180 characters"),
    ],
)
def test_other_return_values_are_errors_that_show_them(returned, reason):
    """What was returned is shown, and what is accepted."""
    with pytest.raises(ValueError, match=reason) as caught:
        list(feedback_items(returned, "f"))

    assert "expected a boolean, a number, a text, None" in str(caught.value)


def test_a_failing_evaluator_is_feedback_under_its_name():
    """The reason is the comment, without what JSON cannot hold."""

    def grade(outputs):
        raise KeyError("missing \ud800")

    assert score(bind(grade, RUN), VALUES) == [
        {"key": "grade", "error": True, "comment": "KeyError: 'missing \\ud800'"}
    ]


def test_pairwise_returns_by_id_and_by_place():
    """Scores are a list in the order given, or an object by run id; comments may be, too."""
    [by_place] = preferences({"key": "k", "scores": [1, 0], "comment": "c"}, "f", ["x", "y"])
    [by_id] = preferences({"scores": {"y": 1, "x": 0}, "comment": {"y": "shorter"}}, "f", ["x", "y"])

    assert (by_place.key, by_place.scores, by_place.comments) == ("k", [1, 0], ["c", "c"])
    assert (by_id.key, by_id.scores, by_id.comments) == ("f", [0, 1], [None, "shorter"])
    assert [p.key for p in preferences([{"key": "a", "scores": [0, 0]}, {"scores": [1, 0]}], "f", ["x", "y"])] == [
        "a",
        "f",
    ]
    assert preferences(None, "f", ["x", "y"]) == []
    [of_numpy] = preferences({"scores": [Scalar(), Scalar()]}, "f", ["x", "y"])
    assert of_numpy.scores == [True, True]


@pytest.mark.parametrize(
    "bad",
    [
        *(
            [1],
            {"scores": {"x": 1}},
            1,
            {"scores": [1, None]},
            {"scores": [1, float("nan")]},
            [10**400, 0],
            [10**30, 0],
        ),
        *({"key": 5, "scores": [1, 0]}, {"key": "k" * 181, "scores": [1, 0]}),
        *({"scores": [1, 0], "comment": 7}, {"scores": [1, 0], "comment": {"z": "of no run"}}),
    ],
    ids=lambda bad: str(bad)[:30],
)
def test_other_returns_of_a_pairwise_evaluator_are_its_failure(bad):
    """What the server would refuse fails one judgement, not all that are sent with it."""
    with pytest.raises(ValueError, match="'f' returned .*, expected {'key', 'scores'"):
        preferences(bad, "f", ["x", "y"])


# Against a reference


@pytest.mark.parametrize(
    ("options", "outputs", "reference", "expected"),
    [
        ({}, {"a": "Lima"}, {"a": "Lima"}, 1),
        ({}, {"a": "lima"}, {"a": "Lima"}, 0),
        ({}, {"a": 1}, {"a": 1.0}, 1),
        ({}, {"a": 1}, {"a": True}, 0),
        ({}, None, {"a": 1}, 0),
        ({}, {"a": 1}, {}, None),
        ({"ignore_case": True}, {"a": ["LIMA"]}, {"a": ["Lima"]}, 1),
        ({"ignore_blanks": True}, {"a": " New \n York "}, {"a": "New York"}, 1),
        ({"ignore_blanks": True}, {"a": "NewYork"}, {"a": "New York"}, 0),
        ({"field": "a"}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, 1),
        ({"field": "c"}, {"a": 1}, {"a": 1}, None),
    ],
)
def test_exact_match(options, outputs, reference, expected):
    """Equal is equal as JSON; case and blanks on request; no reference is not scored."""
    assert exact(**options)(outputs=outputs, reference_outputs=reference)["score"] == expected


def test_exact_match_is_ready_as_it_is():
    """It needs no factory."""
    assert exact_match(outputs={"a": 1}, reference_outputs={"a": 1}) == {"key": "exact_match", "score": 1}


@pytest.mark.parametrize(
    ("fields", "outputs", "reference", "expected", "comment"),
    [
        ((), {"a": 1, "b": 2}, {"a": 1, "b": 3}, 0.5, "b: 2, expected 3"),
        (("a.b",), {"a": {"b": 1}}, {"a": {"b": 1}, "c": 2}, 1, None),
        (("items.0.sku",), {"items": []}, {"items": [{"sku": "x"}]}, 0, 'items.0.sku: missing, expected "x"'),
        (("z",), {"a": 1}, {"a": 1}, None, "no field of the reference to compare with"),
        ((), {"answer": '```json\n{"a": 1}\n```'}, {"a": 1}, 1, None),
        ((), {"answer": "not JSON"}, {"a": 1}, 0, "a: missing, expected 1"),
        ((), {"a": None}, {"a": None}, 1, None),
    ],
)
def test_json_match(fields, outputs, reference, expected, comment):
    """The share of fields that are equal, the others named."""
    found = json_match(*fields)(outputs=outputs, reference_outputs=reference)

    assert (found["score"], found.get("comment")) == (expected, comment)


# Of the text


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"answer": "a", "note": "n"}, "a"),
        ({"other": "o", "n": 1}, "o"),
        ({"messages": [{"role": "user", "content": "q"}, {"content": [{"type": "text", "text": "hi"}]}]}, "hi"),
        ({"n": 1}, '{"n": 1}'),
        (None, ""),
        ("plain", "plain"),
    ],
)
def test_the_text_of_outputs(outputs, text):
    """The usual field, the only text, the last message, else everything."""
    assert text_of(outputs) == text


def test_mentions():
    """All texts, as whole words, in any case unless told otherwise."""
    assert mentions("Lima")(outputs={"answer": "It is LIMA."}) == {"key": "mentions", "score": 1}
    assert mentions("Lima")(outputs={"answer": "Limassol"})["comment"] == "not mentioned: Lima"
    assert mentions("Lima", ignore_case=False)(outputs={"answer": "lima"})["score"] == 0
    assert mentions("C++", "50 %")(outputs={"answer": "C++: 50 %"})["score"] == 1
    with pytest.raises(ValueError):
        mentions("")


def test_length_limit():
    """Characters or words; an empty answer is within any limit."""
    assert length_limit(4)(outputs={"answer": "Lima"}) == {
        "key": "length_limit",
        "score": 1,
        "comment": "4 of 4 characters",
    }
    assert length_limit(words=2)(outputs={"answer": "one two three"})["score"] == 0
    assert length_limit(0)(outputs={})["score"] == 1
    with pytest.raises(ValueError):
        length_limit()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("1 # © ™ ☎ →", 0),  # characters that are emojis only when asked for
        ("🎉 yes ✅", 2),
        ("👨‍👩‍👧‍👦", 1),
        ("👍🏽👍", 2),
        ("🇵🇪🇫🇷", 2),
        ("1️⃣ ☎️ ❤️ ❤", 4),
        ("🏳️‍🌈", 1),
        ("🧑🏻‍💻", 1),
    ],
)
def test_emojis_are_counted_as_a_reader_sees_them(text, count):
    """Flags, families, skin tones and keycaps are one each."""
    assert count_emojis(text) == count
    assert at_least_emojis(1)(outputs={"answer": text})["score"] == int(count >= 1)


# Of the run


def test_latency_and_token_limits():
    """Not scored when the run does not say; tokens of steps count where they were used."""
    run = Run(start_time=START, end_time=START + timedelta(seconds=3))
    child = {"metadata": {"usage_metadata": {"input_tokens": 20, "output_tokens": 5}}}

    assert latency_limit(3)(run=run) == {"key": "latency_limit", "score": 1, "comment": "3.00 of 3 s"}
    assert latency_limit(2)(run=run)["score"] == 0
    assert latency_limit(2)(run=Run())["score"] is None
    assert token_limit(25)(run=Run(child_runs=[child]))["score"] == 1
    assert token_limit(24)(run=Run(total_tokens=25))["score"] == 0
    assert token_limit(24)(run=Run())["score"] is None


# Agents


def called(*names, **args):
    return [{"function": {"name": name, "arguments": args or "{}"}} for name in names]


OPENAI = {
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "search", "arguments": '{"q": "x"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "found"},
        {"role": "assistant", "content": "done"},
    ]
}


# A message as LangChain's tracer writes it down.
SERIALISED = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "schema", "messages", "AIMessage"],
    "kwargs": {"content": "", "tool_calls": [{"name": "search", "args": {"q": "x"}, "id": "1", "type": "tool_call"}]},
}


@pytest.mark.parametrize(
    "run",
    [
        OPENAI,
        Run(outputs=OPENAI),
        Run(outputs={"choices": [{"message": OPENAI["messages"][1]}]}),
        Run(outputs={"output": [{"type": "function_call", "name": "search", "arguments": '{"q": "x"}'}]}),
        Run(outputs={"content": [{"type": "tool_use", "name": "search", "input": {"q": "x"}}]}),
        Run(outputs={"messages": [{"tool_calls": [{"name": "search", "args": {"q": "x"}}]}]}),
        Run(child_runs=[Run(child_runs=[Run(run_type="tool", name="search", inputs={"q": "x"})])]),
        Run(child_runs=[Run(run_type="TOOL", name="search", inputs={"q": "x"}), Run(run_type="llm", outputs=OPENAI)]),
        Run(child_runs=[Run(run_type="llm", outputs=OPENAI)]),
        Run(child_runs=[Run(run_type="llm", outputs={"generations": [[{"message": SERIALISED}]]})]),
    ],
)
def test_tool_calls_are_found_wherever_they_stand(run):
    """Messages of all common forms, tool steps, messages of model steps; nothing is counted twice."""
    assert extract_tool_calls(run) == [{"name": "search", "args": {"q": "x"}, "arguments": '{"q": "x"}'}]


def test_odd_tool_calls_do_not_break():
    """Arguments that are no JSON are kept as they are; what is no call is passed over."""
    assert extract_tool_calls({"messages": [{"tool_calls": called("f")}, None, {"tool_calls": [None]}]}) == [
        {"name": "f", "args": {}, "arguments": "{}"}
    ]
    assert extract_tool_calls({"tool_calls": [{"name": "f", "arguments": "{broken"}]})[0]["args"] == {
        "arguments": "{broken"
    }
    assert extract_tool_calls(None) == []


@pytest.mark.parametrize(
    ("given", "wanted", "scores", "comment"),
    [
        ("abc", "abc", (1, 1, 1, 1), "exact: yes; all tools: yes; extra steps: 0"),
        ("acb", "abc", (0, 1, 1, 1), "exact: no; all tools: yes; extra steps: 0"),
        ("ab", "abc", (0, 0, 1, 0), "exact: no; all tools: no (1 missing); extra steps: 0"),
        ("abcc", "abc", (0, 0, 0, 1), "exact: no; all tools: yes; extra steps: 1"),
        ("", "a", (0, 0, 1, 0), "exact: no; all tools: no (1 missing); extra steps: 0"),
        ("", "", (1, 1, 1, 1), "exact: yes; all tools: yes; extra steps: 0"),
    ],
)
def test_trajectory_match(given, wanted, scores, comment):
    """Four modes, and one comment that says the same for all of them."""
    for mode, expected in zip(("strict", "unordered", "subset", "superset"), scores, strict=True):
        found = trajectory_match(mode)(
            outputs={"trajectory": list(given)}, reference_outputs={"trajectory": list(wanted)}
        )
        assert (found["score"], found["comment"]) == (expected, comment), mode


def test_trajectories_compare_arguments_on_request():
    """The agent's calls come from its run when the outputs state none."""
    reference = {"trajectory": [{"name": "search", "args": {"q": "y"}}]}
    run = Run(outputs={"answer": "x"}, child_runs=[Run(run_type="tool", name="search", inputs={"q": "x"})])
    values = {"outputs": run.outputs, "reference_outputs": reference, "run": run}

    assert trajectory_match()(**values)["score"] == 1
    assert trajectory_match(compare_args=True)(**values)["score"] == 0
    assert trajectory_match()(outputs={}, reference_outputs={"answer": "x"})["score"] is None
    with pytest.raises(ValueError, match="use one of strict"):
        trajectory_match("exact")


def test_single_step_of_a_node_that_classifies():
    """The decision is compared without case; a node that was not called scores 0."""
    check = single_step_match("triage", label="route")
    run = Run(outputs={}, child_runs=[Run(name="triage", outputs={"route": "Refund "})])

    assert check(outputs={}, reference_outputs={"route": "refund"}, run=run)["score"] == 1
    assert check(outputs={}, reference_outputs={"triage": {"route": "other"}}, run=run)["score"] == 0
    assert check(outputs={}, reference_outputs={"route": "refund"}, run=Run())["comment"] == "triage was not called"
    assert check(outputs={}, reference_outputs={}, run=run)["score"] is None
    assert check(outputs={}, reference_outputs={"route": "refund"}, run=run)["key"] == "triage_match"


def test_single_step_of_any_other_node():
    """Tool calls when the reference has some, else every field of the reference."""
    wanted = {"tool_calls": [{"name": "search", "args": {"q": "x"}}]}
    other = {"tool_calls": [{"name": "search", "args": {"q": "y"}}]}

    assert single_step_match()(outputs=OPENAI, reference_outputs=wanted)["score"] == 1
    assert single_step_match()(outputs=OPENAI, reference_outputs=other)["score"] == 0
    assert single_step_match(compare_args=False)(outputs=OPENAI, reference_outputs=other)["score"] == 1
    assert single_step_match()(outputs={"a": 1, "b": 2}, reference_outputs={"a": 1})["score"] == 1
    assert single_step_match()(outputs={"a": 1}, reference_outputs={"a": 2})["comment"] == "differs in a"


def sql(*queries):
    return {"messages": [{"tool_calls": [{"name": "run_sql", "args": {"query": query}} for query in queries]}]}


@pytest.mark.parametrize(
    "look",
    [
        "PRAGMA table_info(songs)",
        "SELECT name FROM sqlite_master",
        "PRAGMA database_list",
        ".schema songs",
        "select * from information_schema.columns",
        "SHOW TABLES",
        "show full columns from songs",
        "DESCRIBE songs",
    ],
)
def test_looking_at_the_schema_first(look):
    """Each dialect's way to look counts, before the query, not after it."""
    assert schema_before_query(outputs=sql(look, "SELECT * FROM songs"))["score"] == 1
    assert schema_before_query(outputs=sql(f"{look}; SELECT * FROM songs"))["score"] == 1
    assert schema_before_query(outputs=sql("SELECT * FROM songs", look))["score"] == 0
    assert schema_before_query(outputs=sql(look))["score"] is None


def test_what_is_no_look_and_no_query():
    """A comment, a column name or a sort order is no look; without SQL nothing is scored; a tool may look, too."""
    assert schema_before_query(outputs=sql("SELECT schema FROM songs -- PRAGMA table_info"))["score"] == 0
    assert schema_before_query(outputs=sql("SELECT a FROM songs ORDER BY a DESC LIMIT 1"))["score"] == 0
    assert schema_before_query(outputs=sql("what is a table?"))["comment"] == "no data query"
    calls = {"tool_calls": [{"name": "list_tables"}, {"name": "q", "args": {"sql": ["SELECT 1 FROM songs"]}}]}
    assert schema_before_query(outputs=calls)["score"] == 1
