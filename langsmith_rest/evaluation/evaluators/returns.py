"""What evaluators may return: every common form becomes a list of feedback, or of preferences."""

import contextlib
import dataclasses
import decimal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langsmith_rest.recording import checking

Item = dict[str, Any]  # {"key", "score"?, "value"?, "comment"?, "error"?}

ACCEPTED = (
    "a boolean, a number, a text, None (not scored), {'key', 'score', 'value', 'comment'}, {'metric_name': score}, "
    "a list of such objects, or {'results': [...]}"
)
LEFT_OUT = ("metadata", "evaluator_info", "source_run_id", "feedback_config", "correction", "extra", "target_run_id")


# ---------------------------------------------------------------- one answer


def feedback_items(returned: Any, key: str) -> Iterator[Item]:
    """Any accepted return value as feedback; raises ValueError with the value and what is accepted."""
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
    """`{"key", "score", ...}`, `{"metric_name": score, ..., "comment"}`, or `{"error": text}` of one that failed."""
    if "score" in returned or "value" in returned or not returned.keys() - {"key", "comment"} or only_failed(returned):
        item = {name: value for name, value in returned.items() if name not in LEFT_OUT and value is not None}
        item = as_failure(item) if says_failed(item) else item
        item = {"key": key, **({"comment": item.pop("reasoning")} if "reasoning" in item else {}), **item}
        yield checked({**item, **({"score": as_plain(item["score"])} if "score" in item else {})}, key, returned)
        return
    for metric, mark in returned.items():
        mark = as_plain(mark)
        if metric in ("key", "comment", "reasoning") or mark is None:
            continue
        if not isinstance(mark, bool | int | float | str):
            raise refused(key, returned)
        item = {"key": metric, "value" if isinstance(mark, str) else "score": mark}
        comment = returned.get("comment", returned.get("reasoning"))
        yield checked({**item, **({"comment": comment} if comment else {})}, key, returned)


def says_failed(returned: dict[str, Any]) -> bool:
    error = returned.get("error")
    return error is True or (isinstance(error, str) and error != "")


def only_failed(returned: dict[str, Any]) -> bool:
    """Whether this says that the evaluator failed, and nothing else; beside metrics, `error` is one of them."""
    given = {name for name, value in returned.items() if value is not None}
    return says_failed(returned) and given <= {"error", "key", "comment", "reasoning"}


def as_failure(item: Item) -> Item:
    """The item with `error` as true, and all reasons that it gives as its comment."""
    said = [item[name] for name in ("error", "comment", "reasoning") if item.get(name)]
    reasons = dict.fromkeys(str(reason) for reason in said if reason is not True)
    kept = {name: value for name, value in item.items() if name not in ("comment", "reasoning")}
    return {**kept, "error": True, **({"comment": ": ".join(reasons)} if reasons else {})}


def checked(item: Item, key: str, returned: Any, accepted: str = ACCEPTED) -> Item:
    problems: list[str] = []
    checking.check_feedback([item], "feedback", problems)
    if problems:
        raise refused(key, returned, "; ".join(problems), accepted)
    return item


def refused(key: str, returned: Any, reason: str = "", accepted: str = ACCEPTED) -> ValueError:
    shown = repr(returned)
    shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
    return ValueError(f"'{key}' returned {shown}{reason and f' ({reason})'}, expected {accepted}.")


def as_plain(value: Any) -> Any:
    """Numbers of NumPy, and results of other libraries (models, dataclasses, named tuples), as plain Python."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if not isinstance(value, dict | list | tuple | str | bool | int | float | None) and hasattr(value, "item"):
        with contextlib.suppress(ValueError, RuntimeError, TypeError):  # an array of several numbers
            return value.item()
    return float(value) if isinstance(value, float | decimal.Decimal) else value


# ---------------------------------------------------------------- two answers


@dataclass(frozen=True)
class Preference:
    """What a pairwise evaluator says about runs, by their position in the list it was given."""

    key: str
    scores: list[float]
    comments: list[str | None]


PAIRWISE_ACCEPTED = "{'key', 'scores': [a, b] or {run_id: score}, 'comment'}, [a, b], a list of such objects, or None"


def preferences(returned: Any, key: str, run_ids: Sequence[str]) -> list[Preference]:
    """Any accepted return value of a pairwise evaluator; raises ValueError with the value and what is accepted."""
    returned = as_plain(returned)
    if returned is None:
        return []
    if isinstance(returned, dict) and returned.keys() == {"results"}:
        returned = returned["results"]
    items = [as_plain(item) for item in returned] if isinstance(returned, list | tuple) else []
    if items and all(isinstance(item, dict) for item in items):
        return [found for item in items for found in preferences(item, key, run_ids)]
    given = returned if isinstance(returned, dict) else {"scores": returned}
    comment, scores = given.get("comment"), given.get("scores")
    comments: dict[str, Any] = dict.fromkeys(run_ids, comment)
    if isinstance(comment, dict) and {str(run_id) for run_id in comment} <= {*run_ids}:
        comments = {str(run_id): said for run_id, said in comment.items()}
    if isinstance(scores, dict):
        scores = [{str(run_id): mark for run_id, mark in scores.items()}.get(run_id) for run_id in run_ids]
    scores = getattr(scores, "tolist", lambda: scores)()  # an array of NumPy
    marks = [as_plain(mark) for mark in scores] if isinstance(scores, list | tuple) else []
    if len(marks) != len(run_ids) or not all(isinstance(mark, bool | int | float) for mark in marks):
        raise refused(key, returned, accepted=PAIRWISE_ACCEPTED)
    found = Preference(given.get("key") or key, marks, [comments.get(run_id) for run_id in run_ids])
    for mark, said in zip(found.scores, found.comments, strict=True):
        checked({"key": found.key, "score": mark, "comment": said}, key, returned, accepted=PAIRWISE_ACCEPTED)
    return [found]
