"""What a result is: what people write, and what becomes of it on its way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NotRequired, TypedDict


class Result(TypedDict):
    """One answer of the system under test. Only `inputs` is required, and `outputs` unless there is an `error`.

    A field that is None is one that is left out.
    """

    inputs: dict[str, Any]
    outputs: NotRequired[dict[str, Any] | None]
    reference_outputs: NotRequired[dict[str, Any] | None]
    start_time: NotRequired[str | datetime | None]  # RFC 3339; without an offset it means UTC
    end_time: NotRequired[str | datetime | None]
    latency: NotRequired[float | None]  # seconds, instead of end_time
    error: NotRequired[str | None]
    metadata: NotRequired[dict[str, Any] | None]  # ls_provider, ls_model_name, usage_metadata give tokens and cost
    # [{key, score, value, comment}] or {key: score}; {key, error: True, comment} where an evaluator failed
    feedback: NotRequired[list[dict[str, Any]] | dict[str, Any] | None]
    name: NotRequired[str | None]
    run_type: NotRequired[str | None]  # "llm", or "chain" when there are child runs
    tags: NotRequired[list[str] | None]
    child_runs: NotRequired[list[dict[str, Any]] | None]
    example_id: NotRequired[str | None]  # an example that exists already: none is made
    split: NotRequired[str | list[str] | None]
    example_metadata: NotRequired[dict[str, Any] | None]
    attachments: NotRequired[dict[str, dict[str, str]] | None]  # {name: {"mime_type": ..., "path": ...}}


ALIASES = {  # spellings of other tools, taken from files: field -> the key under which a bare value goes
    "input": ("inputs", "input"),
    "output": ("outputs", "output"),
    "actual_output": ("outputs", "output"),
    "actual_outputs": ("outputs", "output"),
    "expected": ("reference_outputs", "output"),
    "expected_output": ("reference_outputs", "output"),
    "expected_outputs": ("reference_outputs", "output"),
    "target": ("reference_outputs", "output"),
    "scores": ("feedback", None),
}


class Unreadable(str):
    """Stands in a file's results for what could not be read, and says why; checking reports it."""


class Example(NamedTuple):
    """The example of a result, as it is sent."""

    id: str
    body: bytes  # empty when the example exists already


@dataclass(slots=True)
class SentRun:
    """One run of a trace, as it is sent."""

    id: str
    trace_id: str
    session_id: str
    start_time: str
    end_time: str
    dotted_order: str
    feedback: list[dict[str, Any]]
    body: bytes


class Feedback(NamedTuple):
    """One piece of feedback, as it is sent."""

    id: str
    run_id: str
    body: bytes


@dataclass(slots=True)
class Prepared:
    """A result on its way: checking fills in the first part, the source its place, and the recorder's loop the rest."""

    given: Any
    number: int  # from 1
    fields: dict[str, str] = field(default_factory=dict)  # as canonical JSON
    text: str = ""  # all that the run's id is made of
    start: datetime | None = None  # when it says it started, in UTC
    took: timedelta = timedelta(0)
    problems: Sequence[str] = ()  # what is wrong with it
    occurrence: int = 0  # how many identical results came before it
    example: Example = Example("", b"")
    runs: Sequence[SentRun] = ()  # the root last
    feedback: Sequence[Feedback] = ()
    makes_example: bool = False  # whether it is the first result of its example
    is_sent: bool = False  # whether its runs are sent in this call
    feedback_sent: int = 0  # how much feedback of its root is sent in this call
    state: str = ""  # "recorded" or "rejected" in the end

    @property
    def root(self) -> SentRun:
        return self.runs[-1]
