"""Masking: every text of production goes through the user's function."""

from collections.abc import Callable
from typing import Any

from langsmith_rest.evaluation.evaluators.calling import reason_of

Mask = Callable[[str], str]


def masked(value: Any, mask: Mask) -> Any:
    """A JSON value with every text in it, keys included, masked."""
    if isinstance(value, str):
        try:
            text = mask(value)
        except (Exception, SystemExit) as error:
            raise ValueError(f"the mask failed: {reason_of(error)}") from error
        if not isinstance(text, str):
            raise ValueError(f"the mask returned {type(text).__name__}, expected text.")
        return text
    if isinstance(value, list):
        return [masked(item, mask) for item in value]
    if isinstance(value, dict):
        found = {masked(name, mask): masked(item, mask) for name, item in value.items()}
        if len(found) < len(value):
            raise ValueError("the mask turns two keys of an object into the same text: make it keep keys different.")
        return found
    return value


SAID = ("name", "inputs", "outputs", "reference_outputs", "error", "metadata", "tags", "example_metadata")
SAID_OF_FEEDBACK = ("key", "value", "comment", "correction")


def masked_result(result: Any, mask: Mask) -> Any:
    """A result with every text masked, also those of its steps; anything else is returned unchanged."""
    if not isinstance(result, dict):
        return result
    said = {name: masked(result[name], mask) for name in SAID if name in result}
    if feedback := result.get("feedback"):
        said["feedback"] = masked_feedback(feedback, mask)
    steps = result.get("child_runs")
    if isinstance(steps, list):
        said["child_runs"] = [masked_result(step, mask) for step in steps]
    return {**result, **said}


def masked_feedback(feedback: Any, mask: Mask) -> Any:
    """Feedback with its texts masked, but not the names of its fields."""
    if not isinstance(feedback, list):
        return masked(feedback, mask)
    return [
        {name: masked(value, mask) if name in SAID_OF_FEEDBACK else value for name, value in item.items()}
        if isinstance(item, dict)
        else item
        for item in feedback
    ]
