"""Feedback on recorded runs: its ids, and keeping the stored feedback equal to what evaluators return."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import delete_feedback
from langsmith_rest.evaluation.evaluators.calling import RUN_FAILED, Said
from langsmith_rest.evaluation.evaluators.records import Run
from langsmith_rest.evaluation.evaluators.returns import Item
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches
from langsmith_rest.recording.results import SentRun
from langsmith_rest.recording.sending import differs

Worked = tuple[str, str]  # the id of a run or experiment, and a key under which no evaluator failed


def feedback_bodies(run: Run, items: list[Item]) -> Iterator[dict[str, Any]]:
    """Feedback on a recorded run, with the ids it would have had if it had been recorded with the run."""
    start = bodies.timestamp(run.start_time or bodies.EPOCH)
    marks = bodies.feedback_of({"feedback": items})
    return bodies.feedback_bodies(SentRun(run["id"], run.trace_id, run.session_id, start, "", "", marks, b""))


def working(owner_id: str, said: Said) -> set[Worked]:
    """The names and keys of evaluators that did not fail, under which an earlier failure may be deleted."""
    good = [(name, items) for name, items in said if not any(item.get("error") for item in items)]
    return {(owner_id, key) for name, items in good for key in (name, *(item["key"] for item in items))}


def synchronise(
    api: LangSmith,
    made: list[dict],
    existing: Iterable[dict],
    worked: set[Worked],
    create: Callable[[list[dict]], None],
    prefix: str = "",
) -> Counter[str]:
    """Create missing feedback, correct feedback that differs, and delete failures of evaluators that work by now.

    `prefix` comes before the run's id in what the ids of this feedback are made of.
    """
    known = {found["id"]: found for found in existing}
    missing = [body for body in made if body["id"] not in known]
    changed = [body for body in made if body["id"] in known and is_changed(known[body["id"]], body)]
    ours = {body["id"] for body in made}
    over = [found["id"] for found in known.values() if found["id"] not in ours and is_over(found, worked, prefix)]
    for some in in_batches(missing):
        create(some)
    for body in changed:
        rest.update_feedback(api, body)
    for feedback_id in over:
        delete_feedback(api, feedback_id)
    return Counter(created=len(missing), updated=len(changed), deleted=len(over))


def is_over(known: Mapping[str, Any], worked: set[Worked], prefix: str) -> bool:
    """Whether this is a failure that we recorded, of an evaluator that has worked since."""
    owner_id, key = known.get("run_id") or known.get("session_id") or "", known["key"]
    ids = (bodies.uuid5(f"{prefix}{owner_id}-{key}-error-{number}") for number in range(10))
    return bool(known.get("error")) and (owner_id, key) in worked and known["id"] in ids


def is_changed(known: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether to correct stored feedback. An evaluator that fails on a failed run takes no earlier score back."""
    if body.get("comment") == RUN_FAILED and known.get("score") is not None:
        return False
    return differs(known, body)
