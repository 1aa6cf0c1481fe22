"""What each id of an experiment belongs to, and the text that it is made of, so that a wrong id can be explained."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

from langsmith_rest.recording import bodies
from langsmith_rest.recording.results import Prepared
from langsmith_rest.recording.sources import Source, prepared


class Origin(NamedTuple):
    """What an id belongs to, in words, and the text of which it is the version 5 UUID."""

    owner: str
    text: str


Origins = dict[str, Origin]


def origins(session: dict[str, Any], results: Iterable[Any]) -> Origins:
    """The origin of every example, run and feedback that results make; the first result of an example stands for it."""
    found: Origins = {}
    for result in Source(prepared(results)):
        result.example = bodies.example(session["reference_dataset_id"], result)
        result.runs = bodies.trace(session, result)
        for i, origin in origins_of(session, result):
            found.setdefault(i, origin)
    return found


def origins_of(session: dict[str, Any], result: Prepared) -> Iterator[tuple[str, Origin]]:
    owner, fields, example = f"result {result.number}", result.fields, result.example.id
    reference = fields.get("reference_outputs", "{}")
    yield example, Origin(owner, f"{session['reference_dataset_id']}-{fields['inputs']}-{reference}")
    yield result.root.id, Origin(owner, f"{session['id']}-{example}-{result.text}-{result.occurrence}")
    numbers: defaultdict[str, count[int]] = defaultdict(count)  # of the children of a run, or of the feedback of a key
    for child in result.runs[:-1]:
        parent = json.loads(child.body)["parent_run_id"]
        yield child.id, Origin(f"a child run of {owner}", f"{parent}-{next(numbers[parent])}")
    for item in bodies.feedback(list(result.runs)):
        sent = json.loads(item.body)
        base = f"{item.run_id}-{sent['key']}{'-error' if sent.get('error') else ''}"
        yield item.id, Origin(f"feedback {sent['key']!r} of {owner}", f"{base}-{next(numbers[base])}")
