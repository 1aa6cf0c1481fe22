"""Record LLM experiments in LangSmith or in a local store, evaluate them, and compare them.

    from langsmith_rest import compare, connect, evaluate, exact_match, record_langsmith_experiment

    results = [{"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, "reference_outputs": {"a": "Lima"}}]
    before = record_langsmith_experiment("capitals", results, experiment_name="before")
    evaluate("before", evaluators=[exact_match])
    after = evaluate(lambda inputs: {"a": "Lima"}, "capitals", [exact_match], experiment_name="after")
    print(compare(connect(), "before", "after").candidates[0].metrics[0].verdict)

Where results go: `connect` reads LANGSMITH_API_KEY and LANGSMITH_ENDPOINT from the environment or from `.env`.
LANGSMITH_ENDPOINT=local is the local store.

Record      record_langsmith_experiment -> Recording
Evaluate    evaluate, aevaluate -> Evaluation
Compare     compare -> Comparison; Limits decide whether a candidate passes
Backtest    list_runs, then convert_runs_to_test -> Recording
Connect     connect -> LangSmith, a connection that every function takes
Errors      SetupError: no usable key or endpoint; RecordingError: recording stopped before its end

Evaluators are functions that score one answer. They take any of the parameters `inputs`, `outputs`,
`reference_outputs`, `run`, `example`, `attachments` and `metadata`, by name, and return a number, a boolean, a text,
`{"key", "score", "value", "comment"}`, a list of these, or None for "not scored". Ready to use:

of the answer        exact_match, exact, json_match, mentions, length_limit, at_least_emojis
of the run           latency_limit, token_limit
of an agent's steps  trajectory_match, single_step_match, schema_before_query, extract_tool_calls
by a model           llm_judge, accuracy, groundedness; of two answers: pairwise_judge, conciseness

The names are loaded when they are first used, so recording alone imports no more than it needs.
The command line is `python -m langsmith_rest --help`; longer explanations are in docs/.
"""

import importlib
import os
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langsmith_rest.connection import LangSmith as LangSmith
    from langsmith_rest.connection import SetupError as SetupError
    from langsmith_rest.connection import connect as connect
    from langsmith_rest.evaluation.backtesting.backtest import convert_runs_to_test as convert_runs_to_test
    from langsmith_rest.evaluation.backtesting.choosing import list_runs as list_runs
    from langsmith_rest.evaluation.comparing.compare import compare as compare
    from langsmith_rest.evaluation.comparing.gate import Limits as Limits
    from langsmith_rest.evaluation.evaluators.answers import at_least_emojis as at_least_emojis
    from langsmith_rest.evaluation.evaluators.answers import exact as exact
    from langsmith_rest.evaluation.evaluators.answers import exact_match as exact_match
    from langsmith_rest.evaluation.evaluators.answers import json_match as json_match
    from langsmith_rest.evaluation.evaluators.answers import latency_limit as latency_limit
    from langsmith_rest.evaluation.evaluators.answers import length_limit as length_limit
    from langsmith_rest.evaluation.evaluators.answers import mentions as mentions
    from langsmith_rest.evaluation.evaluators.answers import token_limit as token_limit
    from langsmith_rest.evaluation.evaluators.llm import accuracy as accuracy
    from langsmith_rest.evaluation.evaluators.llm import conciseness as conciseness
    from langsmith_rest.evaluation.evaluators.llm import groundedness as groundedness
    from langsmith_rest.evaluation.evaluators.llm import llm_judge as llm_judge
    from langsmith_rest.evaluation.evaluators.llm import pairwise_judge as pairwise_judge
    from langsmith_rest.evaluation.evaluators.trajectories import extract_tool_calls as extract_tool_calls
    from langsmith_rest.evaluation.evaluators.trajectories import schema_before_query as schema_before_query
    from langsmith_rest.evaluation.evaluators.trajectories import single_step_match as single_step_match
    from langsmith_rest.evaluation.evaluators.trajectories import trajectory_match as trajectory_match
    from langsmith_rest.evaluation.running.evaluate import aevaluate as aevaluate
    from langsmith_rest.evaluation.running.evaluate import evaluate as evaluate
    from langsmith_rest.evaluation.running.evaluation import Evaluation as Evaluation
    from recorder import Recording as Recording
    from recorder import RecordingError as RecordingError
    from recorder import record_langsmith_experiment as record_langsmith_experiment

MODULES = {  # module -> the names of it that this package has
    "recorder": "record_langsmith_experiment Recording RecordingError",
    "langsmith_rest.connection": "connect LangSmith SetupError",
    "langsmith_rest.evaluation.running.evaluate": "evaluate aevaluate",
    "langsmith_rest.evaluation.running.evaluation": "Evaluation",
    "langsmith_rest.evaluation.comparing.compare": "compare",
    "langsmith_rest.evaluation.comparing.gate": "Limits",
    "langsmith_rest.evaluation.backtesting.choosing": "list_runs",
    "langsmith_rest.evaluation.backtesting.backtest": "convert_runs_to_test",
    "langsmith_rest.evaluation.evaluators.answers": (
        "exact_match exact json_match mentions length_limit at_least_emojis latency_limit token_limit"
    ),
    "langsmith_rest.evaluation.evaluators.trajectories": (
        "trajectory_match single_step_match schema_before_query extract_tool_calls"
    ),
    "langsmith_rest.evaluation.evaluators.llm": "llm_judge accuracy groundedness conciseness pairwise_judge",
}
BESIDE = ("recorder", "rest")  # our modules beside this package
HOME = {name: module for module, names in MODULES.items() for name in names.split()}
__all__ = list(HOME)


def refuse_namesakes() -> None:
    """Raise ImportError when one of the user's files hides our module `recorder` or `rest`."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in BESIDE:
        spec = PathFinder.find_spec(name)
        if spec and spec.origin and os.path.dirname(os.path.abspath(spec.origin)) != home:
            problem = f"{spec.origin} hides the module {name!r} of langsmith-rest-experiments"
            raise ImportError(f"{problem}: rename that file, or run from another folder.")


refuse_namesakes()


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOME})
