"""Calling a target: its answer, or why there is none, and how long it took."""

import copy
import inspect
import os
import sysconfig
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from langsmith_rest.evaluation.evaluators.calling import awaited, ends_evaluation, plain_text, reason_of
from langsmith_rest.evaluation.evaluators.signatures import TARGET, Evaluator, bind
from langsmith_rest.evaluation.loops import Await, run_here
from langsmith_rest.evaluation.running.plain import CannotHold, plain
from langsmith_rest.recording import checking

OURS = os.path.join(str(Path(__file__).resolve().parents[2]), "")  # where the files of this package are


def as_target(target: Any) -> Evaluator:
    """What is called with the inputs of each example: a function, a callable object, or an object with (a)invoke.

    Raises ValueError for anything else.
    """
    if invoke := invoke_of(target):
        name = getattr(target, "name", None) or type(target).__name__
        return Evaluator(str(name), invoke, ("inputs",), ())
    if not callable(target) or isinstance(target, type):
        expected = "a function, an object with invoke or ainvoke, an experiment, or a pair of experiments"
        raise ValueError(f"The target is {target!r}, expected {expected}.")
    return bind(target, TARGET)


def invoke_of(target: Any) -> Callable[..., Any] | None:
    """How to call a Runnable: asynchronously where possible, since some have no other way."""
    if inspect.isroutine(target) or isinstance(target, type):
        return None
    methods = (getattr(target, name, None) for name in ("ainvoke", "invoke"))
    return next((method for method in methods if callable(method)), None)


def run_target(target: Evaluator, values: Mapping[str, Any], wait: Await = run_here) -> dict[str, Any]:
    """Call the target; return outputs or error, and the times. An exception becomes the error of the run.

    An answer that is not a dictionary becomes one, and is marked with `bare`.
    """
    given = copy.deepcopy(dict(values))  # the target may change what it gets
    began = time.perf_counter()
    try:
        answer = awaited(target(given), wait)
        took = time.perf_counter() - began
        found = held(answer)
    except BaseException as error:
        if ends_evaluation(error):
            raise
        took = time.perf_counter() - began
        found = {"error": users_traceback(error), "reason": with_line(error)}
    # Only the end comes from the clock, which may be adjusted while the target runs.
    end = datetime.now(UTC)
    return {**found, "start_time": end - timedelta(seconds=took), "end_time": end}


def held(answer: Any) -> dict[str, Any]:
    """An answer as it is recorded, or an error that says why it cannot be."""
    try:
        outputs = plain(answer, "outputs")
    except CannotHold as error:
        return not_recordable(str(error))
    is_bare = not isinstance(outputs, dict)
    outputs = {"output": outputs} if is_bare else outputs
    if problems := list(checking.unfit(outputs, "outputs")):
        return not_recordable("; ".join(problems[:5]))
    return {"outputs": outputs, **({"bare": True} if is_bare else {})}


def not_recordable(why: str) -> dict[str, Any]:
    reason = f"The target returned a value that cannot be recorded: {why}"
    return {"error": reason, "reason": reason}


def with_line(error: BaseException) -> str:
    """Why a target failed, and in which line of the user's code: the innermost frame outside of packages."""
    packages = [sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((OURS, *packages))]
    where = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return f"{reason_of(error)}{where}"


def users_traceback(error: BaseException) -> str:
    """The traceback of an error, from the first frame that is the user's."""
    first: TracebackType | None = error.__traceback__
    while first and os.path.abspath(first.tb_frame.f_code.co_filename).startswith(OURS):
        first = first.tb_next
    return plain_text("".join(traceback.format_exception(error.with_traceback(first))))
