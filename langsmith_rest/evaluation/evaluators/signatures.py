"""How a function is called: which of the available values its parameters ask for, by name or by position."""

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUN = ("inputs", "outputs", "reference_outputs", "run", "example", "attachments", "metadata")
PAIRWISE = ("inputs", "outputs", "reference_outputs", "runs", "example", "attachments", "metadata")
SUMMARY = ("inputs", "outputs", "reference_outputs", "runs", "examples")
TARGET = ("inputs", "attachments", "metadata")
BY_POSITION = {
    RUN: ("run", "example"),
    PAIRWISE: ("runs", "example"),
    SUMMARY: ("runs", "examples"),
    TARGET: ("inputs",),
}
MEANT = {  # other tools' names for our values; not passed by position, which would be another value
    **dict.fromkeys(("answer", "prediction", "predictions", "response", "completion", "actual"), "outputs"),
    **dict.fromkeys(("reference", "references", "expected", "ground_truth", "label", "target"), "reference_outputs"),
    **dict.fromkeys(("question", "query", "prompt"), "inputs"),
}
KNOWN_ELSEWHERE = {*RUN, *PAIRWISE, *SUMMARY}  # `run` in a pairwise evaluator means one of another kind
NAMELESS = "evaluator"  # what a lambda is called


@dataclass(frozen=True)
class Evaluator:
    """A function, and which of the available values it wants."""

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
    """Find out how to call `function`: by the names in `known`, else by position: one (run), or two (run, example).

    Raises ValueError for a signature that cannot be called this way, or whose names suggest other values than it would
    get by position, so that the mistake is found before anything runs.
    """
    if not callable(function):
        raise ValueError(f"{function!r} is not an evaluator: expected a function.")
    key = name_of(function, "target" if known is TARGET else NAMELESS)
    parameters = [p for p in signature_of(function).parameters.values() if p.name not in bound_names(function)]
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
    places = BY_POSITION[known]
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
    by_place = f"positionally: {', '.join(places)}"
    raise ValueError(f"'{key}' has the parameter '{wrong}': {advice} (or {by_place}).")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature, its annotations as texts: from Python 3.14 on, reading them may need what is not imported."""
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.STRING
    try:
        return inspect.signature(function, **options)
    except (TypeError, ValueError) as error:  # of functions written in C
        name = name_of(function, NAMELESS)
        raise ValueError(f"'{name}' does not say which parameters it takes: call it in a function of yours.") from error


def bound_names(function: Any) -> set[str]:
    """The parameters that `functools.partial` has already set."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names |= function.keywords.keys()
        function = function.func
    return names


def meant_by(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that a parameter's name stands for, if that can be told."""
    near = [MEANT[name]] if name in MEANT else difflib.get_close_matches(name, known, 1, 0.75)
    return near[0] if near else None


def ready(functions: Sequence[Callable[..., Any]], known: tuple[str, ...]) -> list[Evaluator]:
    """Evaluators that can be called: signatures and names are valid, and what they need (a judge's key) is there.

    Raises ValueError, or what an evaluator's own `setup` raises, before anything runs.
    """
    if callable(functions) or isinstance(functions, str):
        raise ValueError(f"evaluators is {functions!r}, expected a list of functions.")
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
    """The key of a score that is returned without one: the function's name."""
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    return nameless if name == "<lambda>" else name
