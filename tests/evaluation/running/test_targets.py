"""What can be a target, how its answers are recorded, and that it cannot spoil the record."""

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import pathlib
import time
import uuid
from collections import namedtuple

import pytest
from squares import ROWS, runs_of, square

from langsmith_rest.evaluation.running import run as running
from langsmith_rest.evaluation.running import targets
from langsmith_rest.evaluation.running.files import load_function
from langsmith_rest.evaluation.running.plain import CannotHold, plain
from langsmith_rest.recording import checking


class Squares:
    """A callable object, as an agent with a client in it may be one."""

    def __init__(self, power):
        self.power = power

    def __call__(self, inputs):
        return {"n": inputs["n"] ** self.power}


class AsyncSquares(Squares):
    async def __call__(self, inputs):
        return super().__call__(inputs)


class Invoked:
    def invoke(self, values, config=None):
        return square(values)


def powered(power, inputs):
    return {"n": inputs["n"] ** power}


@pytest.mark.parametrize(
    "target",
    [Squares(2), AsyncSquares(2), Invoked(), functools.partial(powered, 2), functools.partial(Squares(2))],
    ids=["callable", "async callable", "invoke", "partial", "partial of an object"],
)
def test_whatever_can_be_called_is_a_target(api, run, target):
    """Functions are not the only things that answer."""
    found = run(target)

    assert found.errors == 0
    assert {n: some[0]["outputs"] for n, some in runs_of(api).items()} == {n: {"n": n * n} for n in range(6)}


@pytest.mark.slow
def test_langchain_runnables_are_targets(api, run):
    """Sync and async ones, with a config bound; the answer may hold messages."""
    core = pytest.importorskip("langchain_core")
    assert core
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableLambda

    async def answer(inputs):
        return {"messages": [AIMessage(str(inputs["n"] ** 2))]}

    run(RunnableLambda(square).with_config(tags=["t"]), experiment_name="sync")
    run(RunnableLambda(answer), [], experiment_name="async")

    assert runs_of(api, "sync")[3][0]["outputs"] == {"n": 9}
    [message] = runs_of(api, "async")[3][0]["outputs"]["messages"]
    assert (message["type"], message["content"]) == ("ai", "9")


@pytest.mark.slow
def test_langgraph_graphs_are_targets(api, run):
    """A compiled graph with an async node, which can only be run asynchronously."""
    graphs = pytest.importorskip("langgraph.graph")
    from typing import TypedDict

    class State(TypedDict):
        n: int

    async def node(state):
        return {"n": state["n"] ** 2}

    graph = graphs.StateGraph(State)
    graph.add_node("square", node)
    graph.add_edge(graphs.START, "square")

    found = run(graph.compile(), experiment_name="graph")

    assert (found.errors, runs_of(api, "graph")[4][0]["outputs"]) == (0, {"n": 16})


def test_a_runnable_of_a_file_is_found_by_name(tmp_path):
    """`agent.py:agent` may be any object with `invoke`."""
    file = tmp_path / "agent_of_this_test.py"
    file.write_text("class Agent:\n    def invoke(self, inputs):\n        return inputs\n\n\nagent = Agent()\n")

    assert load_function(f"{file}:agent").invoke(1) == 1


# Answers


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Place:
    name: str
    tags: set


Pair = namedtuple("Pair", "a b")
HELD = {
    "enum": Color.RED,
    "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "date": datetime.date(2026, 1, 2),
    "uuid": uuid.UUID(int=7),
    "bytes": b"ab\xff",
    "path": pathlib.PurePosixPath("a/b"),
    "set": {1},
    "tuple": (1, 2),
    "named tuple": Pair(1, Color.RED),
    "dataclass": Place("Lima", {"x"}),
    "decimal": decimal.Decimal("1.5"),
    "whole decimal": decimal.Decimal("12"),
    "timedelta": datetime.timedelta(seconds=1.5),
    "keys": {1: "a", None: "b"},
    "key": {True: "c"},
    "nested": [{"at": [datetime.date(2026, 1, 2)]}],
}


@pytest.mark.parametrize("value", HELD.values(), ids=HELD.keys())
def test_answers_are_held_as_langsmiths_client_holds_them(value):
    """The same JSON as that of the official SDK."""
    serde = pytest.importorskip("langsmith._internal._serde")

    assert plain(value, "outputs") == json.loads(serde.dumps_json(value))


def test_messages_and_models_are_held_as_langsmiths_client_holds_them():
    """Without what is None, as `model_dump` gives it."""
    serde = pytest.importorskip("langsmith._internal._serde")
    messages = pytest.importorskip("langchain_core.messages")
    pydantic = pytest.importorskip("pydantic")

    class Answer(pydantic.BaseModel):
        text: str
        at: datetime.date
        nothing: str | None = None

    calls = [{"name": "search", "args": {"q": "Peru"}, "id": "1"}]
    value = {"messages": [messages.AIMessage("x", tool_calls=calls), messages.ToolMessage("Lima", tool_call_id="1")]}
    value["answer"] = Answer(text="Lima", at=datetime.date(2026, 1, 2))

    assert plain(value, "outputs") == json.loads(serde.dumps_json(value))


def test_what_cannot_be_held_is_an_error_that_names_the_place(api, run):
    """One such answer, and what keeps it from being recorded."""
    found = run(lambda inputs: {"steps": [{"client": object()}]}, [])

    assert found.errors == 6
    assert "'outputs.steps[0].client' is a Python object, which JSON cannot hold" in runs_of(api)[0][0]["error"]
    with pytest.raises(CannotHold, match=r"'outputs\[1\]'"):
        plain([1, object()], "outputs")


def test_evaluators_see_what_is_recorded(run):
    """The same evaluator works on a live answer and on a recorded one."""
    seen = []
    run(lambda inputs: {"when": datetime.date(2026, 1, 2)}, [lambda outputs: seen.append(outputs["when"])])
    run("first", [lambda outputs: seen.append(outputs["when"])], data=None)

    assert set(seen) == {"2026-01-02"}


# What the target does to what it gets


def test_a_target_that_changes_its_inputs_changes_nothing_else(api, run):
    """Every run gets the example as it is, and is recorded with it."""

    def takes_out(inputs):
        return {"n": inputs.pop("n") ** 2}

    found = run(takes_out, num_repetitions=2)

    assert (found.errors, found.scores.as_json()["exact_match"]["mean"]) == (0, 1.0)
    assert all(one["inputs"] == {"n": n} for n, some in runs_of(api).items() for one in some)


@pytest.mark.parametrize("who", ["target", "evaluator"])
def test_latency_is_not_read_off_the_clock(api, run, monkeypatch, who):
    """A clock that is set back by the target or an evaluator makes no run shorter, ends none before it began, and puts
    none into the future, from which runs are refused."""
    real = datetime.datetime

    class Clock(datetime.datetime):
        back = datetime.timedelta(0)

        @classmethod
        def now(cls, zone=None):
            return real.now(zone) - cls.back

    def set_back(where):
        if where == who:
            Clock.back += datetime.timedelta(hours=1)

    def slow(inputs):
        time.sleep(0.05)
        set_back("target")
        return square(inputs)

    def judge(outputs):
        set_back("evaluator")
        return 1

    for module in (targets, running, checking):
        monkeypatch.setattr(module, "datetime", Clock)
    found = run(slow, [judge], data=ROWS[:2], max_concurrency=1)

    assert (found.errors, found.rejected) == (0, [])
    assert all(0.05 <= some[0]["latency_seconds"] < 5 for some in runs_of(api).values())


def test_data_may_hold_what_json_has_no_form_for(api, run):
    """Examples get the form that answers get."""
    found = run(lambda inputs: inputs, [], data=[{"inputs": {"n": 1, "when": datetime.date(2026, 1, 2)}}])

    assert found.errors == 0
    assert runs_of(api)[1][0]["outputs"] == {"n": 1, "when": "2026-01-02"}
