"""Calling evaluators, sync or async, and recording those that fail."""

import copy
import inspect
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from langsmith_rest.evaluation.evaluators.returns import Item, feedback_items
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.loops import Await, Unfinished, run_here

Said = list[tuple[str, list[Item]]]  # what each evaluator said, by its name
RUN_FAILED = "not scored: the run failed"


def score(evaluator: Evaluator, values: Mapping[str, Any], wait: Await = run_here) -> list[Item]:
    """What an evaluator returns, as feedback; one that fails becomes feedback with `error` and the reason.

    It gets a copy of the values, so that it cannot change what others see or what is recorded. A failed run has no
    answer: ready-made evaluators do not score it, and an evaluator that fails on it does not count as failed.
    """
    has_failed = bool((values.get("run") or {}).get("error"))
    not_scored: list[Item] = [{"key": evaluator.key, "comment": RUN_FAILED}]
    if has_failed and getattr(evaluator.function, "needs_an_answer", False):
        return not_scored
    try:
        returned = awaited(evaluator(copied(evaluator, values)), wait)
        return list(feedback_items(returned, evaluator.key))
    except BaseException as error:
        if ends_evaluation(error):
            raise
        return not_scored if has_failed else [failure(evaluator.key, error)]


def score_all(evaluators: Sequence[Evaluator], values: Mapping[str, Any], wait: Await = run_here) -> Said:
    """What each evaluator returns; a key that another one returned already is a failure."""
    said: Said = []
    owners: dict[str, str] = {}
    for evaluator in evaluators:
        items = score(evaluator, values, wait)
        taken = next((item["key"] for item in items if owners.get(item["key"], evaluator.key) != evaluator.key), None)
        if taken is not None:
            reason = f"the evaluator {owners[taken]!r} also returns the key {taken!r}: return another key"
            items = [{"key": evaluator.key, "error": True, "comment": f"ValueError: {reason}"}]
        owners |= {item["key"]: evaluator.key for item in items}
        said.append((evaluator.key, items))
    return said


def copied(evaluator: Evaluator, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the values that an evaluator asks for."""
    return copy.deepcopy({name: value for name, value in values.items() if evaluator.wants(name)})


def ends_evaluation(error: BaseException) -> bool:
    """Whether an error is no failure of the code that was called: the call was cancelled, or the user pressed Ctrl-C.

    Only the main thread gets a Ctrl-C; elsewhere the code raised KeyboardInterrupt itself.
    """
    is_interrupt = isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
    return is_interrupt or isinstance(error, Unfinished)


def awaited(returned: Any, wait: Await) -> Any:
    return wait(returned) if inspect.isawaitable(returned) else returned


def failure(key: str, error: BaseException) -> Item:
    return {"key": key, "error": True, "comment": reason_of(error)[:2000]}


def reason_of(error: BaseException) -> str:
    """`ValueError: message`, or the name alone; also for an exception whose text cannot be made."""
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:
        text = "".join(traceback.format_exception_only(error)).strip()
    return plain_text(text)


def plain_text(text: str) -> str:
    """A text that JSON can hold."""
    return text.encode(errors="replace").decode()
