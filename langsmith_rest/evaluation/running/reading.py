"""Recorded runs and their examples, read as evaluators see them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.evaluators.records import Example, Run
from langsmith_rest.evaluation.runs_api import list_experiment_runs, list_steps
from langsmith_rest.recording.bodies import parse_time

SELECTS = (
    *("ID", "NAME", "RUN_TYPE", "STATUS", "ERROR", "START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "METADATA", "TAGS"),
    *("PROJECT_ID", "TRACE_ID", "IS_ROOT", "PARENT_RUN_IDS", "DOTTED_ORDER", "REFERENCE_EXAMPLE_ID", "FEEDBACK_STATS"),
    *("TOTAL_TOKENS", "PROMPT_TOKENS", "COMPLETION_TOKENS", "TOTAL_COST"),
)
Scored = tuple[Run, Example]


def read_runs(api: LangSmith, dataset_id: str, session: dict, *, with_steps: bool) -> Iterator[Scored]:
    """Yield the runs of an experiment with their examples, those of one example in the order in which they ran."""
    steps: dict[str, list[dict]] = {}
    if with_steps:
        for step in list_steps(api, session, SELECTS):
            steps.setdefault((step.get("parent_run_ids") or [""])[-1], []).append(step)
    for example in list_experiment_runs(api, dataset_id, [session["id"]], SELECTS):
        for run in by_start(example["runs"]):
            yield as_run(run, session["id"], steps), as_example(example)


def by_start(runs: Sequence[dict]) -> list[dict]:
    return sorted(runs, key=lambda run: run.get("start_time") or "")


def as_run(run: dict, session_id: str, steps: Mapping[str, list[dict]] | None = None) -> Run:
    """A run of the v2 API as evaluators see it, with its steps below it."""
    children = sorted((steps or {}).get(run["id"], ()), key=lambda step: step.get("dotted_order") or "")
    found = {name: run.get(name) for name in Run.FIELDS}
    found |= {"session_id": session_id, "run_type": str(run.get("run_type") or "").lower()}
    found |= {"start_time": as_time(run.get("start_time")), "end_time": as_time(run.get("end_time"))}
    found |= {"outputs": run.get("outputs") or {}, "trace_id": run.get("trace_id") or run["id"]}
    return Run(found, child_runs=[as_run(child, session_id, steps) for child in children])


def as_time(value: Any) -> datetime | None:
    return parse_time(value) if value else None


def as_example(example: Mapping[str, Any]) -> Example:
    found = {name: example.get(name) for name in Example.FIELDS}
    return Example(found, attachments=attachments_of(example))


def attachments_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """The files of an example by name, each with an address that works for a while."""
    urls = example.get("attachment_urls") or {}
    return {name.removeprefix("attachment."): found for name, found in urls.items()}


def values_of(run: Run, example: Example) -> dict[str, Any]:
    """The values that an evaluator may ask for, by name."""
    return {
        "inputs": example.inputs or {},
        "outputs": run.outputs or {},
        "reference_outputs": example.outputs or {},
        "run": run,
        "example": example,
        "attachments": example.attachments or {},
        "metadata": example.metadata or {},
    }
