"""The content of a dataset and an experiment, read over HTTP, and how two of them differ."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from langsmith_rest.conformance.origins import Origins
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import list_examples, list_session_feedback
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording.canonical import canonical

RUN_FIELDS = (
    *("ID", "TRACE_ID", "PARENT_RUN_IDS", "DOTTED_ORDER", "REFERENCE_EXAMPLE_ID", "NAME", "RUN_TYPE", "STATUS"),
    *("START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "ERROR", "TAGS", "METADATA"),
)
FIELDS = {
    "example": ("id", "inputs", "outputs", "metadata"),
    "run": tuple(name.lower() for name in RUN_FIELDS),
    "feedback": ("id", "run_id", "key", "score", "value", "comment", "error", "correction", "feedback_source"),
}
ID_LENGTH = 36
MADE_OF_ITS_ID = ("id", "trace_id", "parent_run_ids", "dotted_order")

Items = dict[str, dict[str, Any]]  # id -> fields
State = dict[str, Items]  # kind -> items


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


def differences(found: State, wanted: State, origins: Origins | None = None) -> list[str]:
    """In words, how a state differs from the expected one; empty if it does not.

    Ids are made of other ids, so only the first kind with wrong ids is explained.
    """
    words: list[str] = []
    for kind in wanted:
        wrong_ids = list(differences_of_ids(kind, found[kind], wanted[kind], origins or {}))
        words += wrong_ids + list(differences_of_fields(kind, found[kind], wanted[kind], origins or {}))
        if wrong_ids:
            break
    return words


def differences_of_ids(kind: str, found: Items, wanted: Items, origins: Origins) -> Iterator[str]:
    missing, surplus = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if not missing:
        if surplus:
            yield f"{len(surplus)} {kind} ids too many, such as {shown(found[min(surplus)])}"
        return
    counts = Counter(content(found[i]) for i in surplus)
    by_content = {content(found[i]): i for i in surplus if counts[content(found[i])] == 1}
    texts = {i: origins[i].text if i in origins else "" for i in missing}

    def how_clear(i: str) -> tuple[bool, bool, int, str]:
        is_consequence = texts[i][:ID_LENGTH] in missing  # a child run of one with a wrong id
        return is_consequence, content(wanted[i]) not in by_content, len(texts[i]), i

    sample = min(missing, key=how_clear)
    other = by_content.get(content(wanted[sample]))
    how = f"is {other}, expected {sample}" if other else f"should be {sample}"
    version = ", as version 7," if kind == "run" else ""
    made_of = f", the uuid5{version} of {texts[sample]}" if texts[sample] else ""
    count = f"{len(missing)} of {len(wanted)} {kind} ids are {'wrong' if surplus else 'missing'}"
    yield f"{count}; that of {owner(sample, wanted, origins)} {how}{made_of}"


def differences_of_fields(kind: str, found: Items, wanted: Items, origins: Origins) -> Iterator[str]:
    """One sentence for each field, with how often it differs."""
    differing: dict[str, list[str]] = {}
    for i in sorted(wanted.keys() & found.keys()):
        for name, value in wanted[i].items():
            if not are_same(found[i][name], value):
                differing.setdefault(name, []).append(i)
    for name, ids in differing.items():
        first = min(ids, key=lambda i: (len(shown(wanted[i][name])), i))
        count = f" ({len(ids)} differ)" if len(ids) > 1 else ""
        is_value, expected = shown(found[first][name]), shown(wanted[first][name])
        what = f"{kind} {name}{count}: that of {owner(first, wanted, origins)}"
        yield f"{what} is {is_value}, expected {expected}"


def are_same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1e17 is 100000000000000000, and true is not 1, whatever Python says."""
    return one == other if isinstance(one, str) else as_text(one) == as_text(other)


def as_text(value: Any) -> str:
    try:
        return canonical(value)
    except ValueError:  # a number that no recorder sends
        return json.dumps(value)


def content(item: dict[str, Any]) -> str:
    """What does not depend on its id, so that an item with a wrong id is also found."""
    return as_text({name: value for name, value in item.items() if name not in MADE_OF_ITS_ID})


def owner(i: str, wanted: Items, origins: Origins) -> str:
    return origins[i].owner if i in origins else shown(wanted[i])


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}..."
