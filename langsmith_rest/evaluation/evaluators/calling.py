"""Calling evaluators: sync or async, and what becomes of one that fails."""

import copy
import inspect
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from langsmith_rest.evaluation.evaluators.returns import Item, feedback_items
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.loops import Await, Unfinished, run_here


def score(evaluator: Evaluator, values: Mapping[str, Any], wait: Await = run_here) -> list[Item]:
    """What an evaluator says, as feedback; one that fails says so with `error` and the reason, and stops nothing.

    It gets a copy of the values, so that it cannot change what others see, or what is recorded.
    """
    try:
        returned = awaited(evaluator(copied(evaluator, values)), wait)
        return list(feedback_items(returned, evaluator.key))
    except Unfinished:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        return [failure(evaluator.key, error)]


def copied(evaluator: Evaluator, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of those of the values that an evaluator asks for."""
    return copy.deepcopy({name: value for name, value in values.items() if evaluator.wants(name)})


def is_interrupt(error: BaseException) -> bool:
    """Whether this is a Ctrl-C of the user: only the main thread gets one, so elsewhere the code itself raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def awaited(returned: Any, wait: Await) -> Any:
    return wait(returned) if inspect.isawaitable(returned) else returned


def failure(key: str, error: BaseException) -> Item:
    return {"key": key, "error": True, "comment": reason_of(error)[:2000]}


def reason_of(error: BaseException) -> str:
    """`ValueError: what it says`, also of an exception that cannot be made a text."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = "".join(traceback.format_exception_only(error)).strip()
    return plain_text(text)


def plain_text(text: str) -> str:
    """A text that JSON can hold."""
    return text.encode(errors="replace").decode()
