"""The content of a dataset and an experiment, read over HTTP, and how two of them differ."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import list_examples, list_session_feedback
from langsmith_rest.evaluation.runs_api import query_runs

RUN_FIELDS = (
    *("ID", "TRACE_ID", "PARENT_RUN_IDS", "DOTTED_ORDER", "REFERENCE_EXAMPLE_ID", "NAME", "RUN_TYPE", "STATUS"),
    *("START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "ERROR", "TAGS", "METADATA"),
)
FIELDS = {
    "example": ("id", "inputs", "outputs", "metadata"),
    "run": tuple(name.lower() for name in RUN_FIELDS),
    "feedback": ("id", "run_id", "key", "score", "value", "comment", "error", "correction", "feedback_source"),
}
SHOWN = 3  # differences that are named

State = dict[str, dict[str, dict[str, Any]]]  # kind -> id -> fields


def read_state(api: LangSmith, dataset_id: str, session_id: str) -> State:
    """All examples, runs and feedback, without what a server chooses itself."""
    found = {
        "example": list_examples(api, dataset_id),
        "run": query_runs(api, session_id, RUN_FIELDS, since=datetime.now(UTC) - timedelta(days=2), page_size=1000),
        "feedback": list_session_feedback(api, session_id),
    }
    return {
        kind: {one["id"]: {name: one.get(name) for name in FIELDS[kind]} for one in items}
        for kind, items in found.items()
    }


def differences(found: State, wanted: State) -> str:
    """In words, how a state differs from the expected one; empty if it does not."""
    named = [words for kind in wanted for words in differences_of(kind, found[kind], wanted[kind])]
    more = [f"{len(named) - SHOWN} more differences"] if len(named) > SHOWN else []
    return "; ".join(named[:SHOWN] + more)


def differences_of(kind: str, found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> Iterator[str]:
    missing, surplus = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing:
        yield f"{len(missing)} of {len(wanted)} {kind} ids missing, such as {shown(wanted[min(missing)])}"
    if surplus:
        yield f"{len(surplus)} {kind} ids too many, such as {shown(found[min(surplus)])}"
    for i in sorted(wanted.keys() & found.keys()):
        for name, value in wanted[i].items():
            if found[i][name] != value:
                yield f"{kind} {i}: {name} is {shown(found[i][name])}, expected {shown(value)}"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}..."
