"""`record --match-examples`: results belong to the examples of the same content that a dataset has already."""

from collections.abc import Iterator
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import list_examples
from langsmith_rest.recording.bodies import example_id
from langsmith_rest.recording.canonical import canonical

Content = tuple[str, str]  # canonical inputs and reference


class Matched:
    """Results that name the example with their inputs and reference, on each iteration."""

    def __init__(self, results: Any, ids: dict[Content, str]) -> None:
        self.results, self.ids = results, ids

    def __getattr__(self, name: str) -> Any:  # its name, and the place that was read last
        return getattr(self.results, name)

    def __iter__(self) -> Iterator[Any]:
        return (self.match(result) for result in self.results)

    def match(self, result: Any) -> Any:
        if not isinstance(result, dict) or result.get("example_id"):
            return result
        content = content_of(result.get("inputs"), result.get("reference_outputs"))
        return {**result, "example_id": self.ids[content]} if content in self.ids else result


def ids_by_content(api: LangSmith, dataset_name: str) -> dict[Content, str]:
    """The ids of the examples of a dataset that others made; of equal ones, the id of the first that was created."""
    if not (dataset := rest.find_dataset(api, dataset_name)):
        return {}
    found = {}
    for example in list_examples(api, dataset["id"], order="recently_created"):
        inputs, reference = content = content_of(example["inputs"], example["outputs"])
        # Results find our own examples by themselves, and naming them would make other runs of the same results.
        if example["id"] != example_id(dataset["id"], {"inputs": inputs, "reference_outputs": reference}):
            found[content] = example["id"]
    return found


def content_of(inputs: Any, reference: Any) -> Content:
    """What makes examples equal; empty for what we cannot record, which no result has that passes the checks."""
    try:
        return canonical(inputs), canonical(reference or {})
    except (TypeError, ValueError):
        return "", ""
