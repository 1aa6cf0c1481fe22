"""How evaluators are called and what they may return: any common signature, any common form, one list of feedback."""

import asyncio
import difflib
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from langsmith_rest.recording import checking

Item = dict[str, Any]  # {"key", "score"?, "value"?, "comment"?, "error"?}
Await = Callable[[Awaitable[Any]], Any]

RUN = ("inputs", "outputs", "reference_outputs", "run", "example", "attachments", "metadata")
PAIRWISE = ("inputs", "outputs", "reference_outputs", "runs", "example", "attachments", "metadata")
SUMMARY = ("inputs", "outputs", "reference_outputs", "runs", "examples")
TARGET = ("inputs", "attachments", "metadata")
BY_PLACE = {RUN: ("run", "example"), PAIRWISE: ("runs", "example"), SUMMARY: ("runs", "examples"), TARGET: ("inputs",)}
ACCEPTED = (
    "a boolean, a number, a text, None (not scored), {'key', 'score', 'value', 'comment'}, {'metric_name': score}, "
    "a list of such objects, or {'results': [...]}"
)
MEANT = {  # what other tools call what evaluators are given here: not taken by place, which would be something else
    **dict.fromkeys(("answer", "prediction", "predictions", "response", "completion", "actual"), "outputs"),
    **dict.fromkeys(("reference", "references", "expected", "ground_truth", "label", "target"), "reference_outputs"),
    **dict.fromkeys(("question", "query", "prompt"), "inputs"),
}
KNOWN_ELSEWHERE = {*RUN, *PAIRWISE, *SUMMARY}  # `run` in a pairwise evaluator means one of another kind
NAMELESS = "evaluator"  # what a lambda is called
LEFT_OUT = ("metadata", "evaluator_info", "source_run_id", "feedback_config", "correction", "extra", "target_run_id")


# ---------------------------------------------------------------- runs and examples as evaluators see them


class Record(dict[str, Any]):
    """A run or an example whose fields are read as `run["outputs"]` or `run.outputs`; fields it lacks are None."""

    FIELDS: tuple[str, ...] = ()

    def __missing__(self, name: str) -> Any:
        if name in self.FIELDS:
            return None
        raise KeyError(name)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = difflib.get_close_matches(name, {*self, *self.FIELDS}, 1)
            advice = f", did you mean '{near[0]}'?" if near else ""
            raise AttributeError(f"{type(self).__name__.lower()} has no '{name}'{advice}") from None


class Run(Record):
    """One run with its steps (`child_runs`, Runs themselves, in the order in which they started)."""

    FIELDS = (
        *("id", "name", "run_type", "inputs", "outputs", "error", "start_time", "end_time", "tags", "metadata"),
        *("reference_example_id", "session_id", "trace_id", "dotted_order", "child_runs"),
        *("total_tokens", "prompt_tokens", "completion_tokens", "total_cost", "feedback_stats"),
    )

    @property
    def latency(self) -> float | None:
        """Seconds from start to end."""
        if not (self.start_time and self.end_time):
            return None
        took: timedelta = self.end_time - self.start_time
        return took.total_seconds()


class Example(Record):
    """One example; `outputs` is its reference."""

    FIELDS = ("id", "dataset_id", "name", "inputs", "outputs", "metadata", "created_at", "modified_at", "attachments")


# ---------------------------------------------------------------- signatures


@dataclass(frozen=True)
class Evaluator:
    """A function, and which of the values at hand it wants."""

    key: str
    function: Callable[..., Any]
    by_place: tuple[str, ...]
    by_name: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        named = {name: values[name] for name in self.by_name}
        return self.function(*(values[name] for name in self.by_place), **named)

    def wants(self, *names: str) -> bool:
        return any(name in (*self.by_place, *self.by_name) for name in names)


def bind(function: Callable[..., Any], known: tuple[str, ...]) -> Evaluator:
    """Find out how to call `function`: by the names in `known`, else by place: one (run), or two (run, example).

    Raises ValueError for a signature that cannot be served, or that means something else than it would get by place,
    so that it is found before anything runs.
    """
    if not callable(function):
        raise ValueError(f"{function!r} is not an evaluator: expected a function.")
    key = name_of(function, "target" if known is TARGET else NAMELESS)
    parameters = list(inspect.signature(function).parameters.values())
    if known is TARGET and not parameters:
        raise ValueError(f"'{key}' takes no parameters: a target is called with the inputs of each example.")
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in required if p.name not in known or p.kind is p.POSITIONAL_ONLY]
    if not unknown:
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        by_name = known if takes_all else tuple(p.name for p in parameters if p.name in known)
        if parameters and not by_name:
            raise ValueError(
                f"'{key}' takes none of {', '.join(known)}: if it makes a function that does, write {key}(...)."
            )
        return Evaluator(key, function, (), by_name)
    places = BY_PLACE[known]
    names = [p.name for p in required]
    can_be_placed = len(required) <= len(places) and all(p.kind is not p.KEYWORD_ONLY for p in required)
    misplaced = [
        name
        for name, place in zip(names, places, strict=False)
        if meant_by(name, known) not in (None, place) or (name in KNOWN_ELSEWHERE and name not in known)
    ]
    if can_be_placed and (known is TARGET or not misplaced):
        return Evaluator(key, function, places[: len(required)], ())
    wrong = next((name for name in misplaced if name in unknown), unknown[0])
    meant = meant_by(wrong, known)
    advice = f"did you mean '{meant}'?" if meant else f"known are {', '.join(known)}"
    by_place = f"{len(places)} by place: {', '.join(places)}" if len(places) > 1 else f"one by place: {places[0]}"
    raise ValueError(f"'{key}' has the parameter '{wrong}': {advice} (or {by_place}).")


def meant_by(name: str, known: tuple[str, ...]) -> str | None:
    """Which of the known names a parameter's name stands for, as far as can be told."""
    near = [MEANT[name]] if name in MEANT else difflib.get_close_matches(name, known, 1, 0.75)
    return near[0] if near else None


def ready(functions: Sequence[Callable[..., Any]], known: tuple[str, ...]) -> list[Evaluator]:
    """Evaluators that can be called: signatures and names are sound, and what they need (a judge's key) is there.

    Raises ValueError, or what an evaluator's own `setup` raises, before anything runs.
    """
    bound = [bind(function, known) for function in functions]
    names = [evaluator.key for evaluator in bound]
    for name in names:
        if names.count(name) > 1:
            as_all = ", as every lambda is" if name == NAMELESS else ""
            raise ValueError(f"{names.count(name)} evaluators are named '{name}'{as_all}: give each a name of its own.")
    for evaluator in bound:
        getattr(evaluator.function, "setup", lambda: None)()
    return bound


def name_of(function: Any, nameless: str) -> str:
    """The key of what an evaluator returns without one: the function's name."""
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    return nameless if name == "<lambda>" else name


# ---------------------------------------------------------------- calls and returns


def run_alone(coroutine: Any) -> Any:
    """Run a coroutine in an event loop of its own."""
    return asyncio.run(coroutine)


def score(evaluator: Evaluator, values: Mapping[str, Any], wait: Await = run_alone) -> list[Item]:
    """What an evaluator says, as feedback; one that fails says so with `error` and the reason, and stops nothing."""
    try:
        return list(feedback_items(awaited(evaluator(values), wait), evaluator.key))
    except (Exception, SystemExit) as error:
        return [failure(evaluator.key, error)]


def awaited(returned: Any, wait: Await) -> Any:
    return wait(returned) if inspect.isawaitable(returned) else returned


def failure(key: str, error: BaseException) -> Item:
    reason = f"{type(error).__name__}: {error}"
    return {"key": key, "error": True, "comment": plain_text(reason)[:2000]}


def plain_text(text: str) -> str:
    """A text that JSON can hold."""
    return text.encode(errors="replace").decode()


def feedback_items(returned: Any, key: str) -> Iterator[Item]:
    """Any accepted return value as feedback; raises ValueError that shows the value and what is accepted."""
    returned = as_plain(returned)
    if returned is None:
        return
    if isinstance(returned, bool | int | float):
        item: Item = {"key": key, "score": returned}
    elif isinstance(returned, str) and returned:
        item = {"key": key, "value": returned}
    elif isinstance(returned, dict) and returned.keys() == {"results"} and isinstance(returned["results"], list):
        yield from several(returned["results"], key, returned)
        return
    elif isinstance(returned, list | tuple) and returned:
        yield from several(returned, key, returned)
        return
    elif isinstance(returned, dict) and returned:
        yield from of_object(returned, key)
        return
    else:
        raise refused(key, returned)
    yield checked(item, key, returned)


def several(items: Sequence[Any], key: str, returned: Any) -> Iterator[Item]:
    for item in map(as_plain, items):
        if not isinstance(item, dict):
            raise refused(key, returned)
        yield from of_object(item, key)


def of_object(returned: dict[str, Any], key: str) -> Iterator[Item]:
    """`{"key", "score", ...}`, or `{"metric_name": score, ..., "comment"}`."""
    if "score" in returned or "value" in returned or not returned.keys() - {"key", "comment"}:
        item = {name: value for name, value in returned.items() if name not in LEFT_OUT and value is not None}
        item = {"key": key, **({"comment": item.pop("reasoning")} if "reasoning" in item else {}), **item}
        yield checked({**item, **({"score": as_plain(item["score"])} if "score" in item else {})}, key, returned)
        return
    for metric, mark in returned.items():
        mark = as_plain(mark)
        if metric in ("comment", "reasoning") or mark is None:
            continue
        if not isinstance(mark, bool | int | float | str):
            raise refused(key, returned)
        item = {"key": metric, "value" if isinstance(mark, str) else "score": mark}
        comment = returned.get("comment", returned.get("reasoning"))
        yield checked({**item, **({"comment": comment} if comment else {})}, key, returned)


def checked(item: Item, key: str, returned: Any) -> Item:
    problems: list[str] = []
    checking.check_feedback([item], "", problems)
    if problems:
        raise refused(key, returned, "; ".join(problems))
    return item


def refused(key: str, returned: Any, reason: str = "") -> ValueError:
    shown = repr(returned)
    shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
    return ValueError(f"'{key}' returned {shown}{reason and f' ({reason})'}, expected {ACCEPTED}.")


def as_plain(value: Any) -> Any:
    """Numbers of NumPy and alike, and results of other libraries (anything with `model_dump`), as plain Python."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if not isinstance(value, dict | list | tuple | str | bool | int | float | None) and hasattr(value, "item"):
        return value.item()
    return float(value) if isinstance(value, float) else value


# ---------------------------------------------------------------- pairwise


@dataclass(frozen=True)
class Preference:
    """What a pairwise evaluator says of runs, by their place in the list it was given."""

    key: str
    scores: list[float]
    comments: list[str | None]


PAIRWISE_ACCEPTED = "{'key', 'scores': [a, b] or {run_id: score}, 'comment'}, [a, b], a list of such objects, or None"


def preferences(returned: Any, key: str, run_ids: Sequence[str]) -> list[Preference]:
    """Any accepted return value of a pairwise evaluator; raises ValueError that shows it and what is accepted."""
    if returned is None:
        return []
    if isinstance(returned, dict) and returned.keys() == {"results"}:
        returned = returned["results"]
    if isinstance(returned, list | tuple) and returned and all(isinstance(item, dict) for item in returned):
        return [found for item in returned for found in preferences(item, key, run_ids)]
    given = returned if isinstance(returned, dict) else {"scores": returned}
    comment, scores = given.get("comment"), given.get("scores")
    comments = comment if isinstance(comment, dict) else dict.fromkeys(run_ids, comment)
    if isinstance(scores, dict):
        scores = [{str(run_id): mark for run_id, mark in scores.items()}.get(run_id) for run_id in run_ids]
    if not isinstance(scores, list | tuple) or len(scores) != len(run_ids) or not all(map(is_score, scores)):
        raise ValueError(f"'{key}' returned {str(returned)[:200]}, expected {PAIRWISE_ACCEPTED}.")
    return [Preference(given.get("key") or key, list(scores), [comments.get(run_id) for run_id in run_ids])]


def is_score(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)
