"""Runs and examples as evaluators see them."""

import difflib
from datetime import timedelta
from typing import Any


class Record(dict[str, Any]):
    """A run or an example whose fields are read as `run["outputs"]` or `run.outputs`; fields it lacks are None."""

    FIELDS: tuple[str, ...] = ()

    def __missing__(self, name: str) -> Any:
        if name in self.FIELDS:
            return None
        raise KeyError(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle look for these
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            near = difflib.get_close_matches(name, {*self, *self.FIELDS}, 1)
            advice = f", did you mean '{near[0]}'?" if near else ""
            raise AttributeError(f"{type(self).__name__.lower()} has no '{name}'{advice}") from None


class Run(Record):
    """One run with its steps (`child_runs`, Runs themselves, in the order in which they started)."""

    FIELDS = (
        *("id", "name", "run_type", "inputs", "outputs", "error", "start_time", "end_time", "tags", "metadata"),
        *("reference_example_id", "session_id", "trace_id", "dotted_order", "child_runs"),
        *("total_tokens", "prompt_tokens", "completion_tokens", "total_cost", "feedback_stats"),
    )

    @property
    def latency(self) -> float | None:
        """Seconds from start to end."""
        if not (self.start_time and self.end_time):
            return None
        took: timedelta = self.end_time - self.start_time
        return took.total_seconds()


class Example(Record):
    """One example; `outputs` is its reference."""

    FIELDS = ("id", "dataset_id", "name", "inputs", "outputs", "metadata", "created_at", "modified_at", "attachments")
