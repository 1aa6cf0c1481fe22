"""The numbers of experiments, read example by example."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.runs_api import list_experiment_runs


@dataclass
class ExperimentScores:
    """The numbers of one experiment by metric and example, repetitions averaged."""

    id: str
    name: str
    runs: int = 0
    examples: dict[str, Any] = field(default_factory=dict)  # their inputs where those are kept
    scores: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    measures: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


def read_scores(
    api: LangSmith, dataset_id: str, sessions: Sequence[dict], *, keep_inputs: bool
) -> list[ExperimentScores]:
    """Read the runs of experiments, which may be many, keeping numbers only."""
    columns = {session["id"]: ExperimentScores(session["id"], session["name"]) for session in sessions}
    for example in list_experiment_runs(api, dataset_id, list(columns)):
        by_session: defaultdict[str, list[dict]] = defaultdict(list)
        for run in example["runs"]:
            by_session[run["project_id"]].append(run)
        for session_id, runs in by_session.items():
            if column := columns.get(session_id):
                column.examples[example["id"]] = example.get("inputs") if keep_inputs else None
                column.runs += len(runs)
                add_means(column.scores, example["id"], [scores_of(run) for run in runs])
                add_means(column.measures, example["id"], [measures_of(run) for run in runs])
    for column in columns.values():
        for name in ("latency", "tokens", "cost"):  # nothing but zeros: not measured
            if not any(column.measures.get(name, {}).values()):
                column.measures.pop(name, None)
    return list(columns.values())


def add_means(into: dict[str, dict[str, float]], example_id: str, repetitions: Sequence[dict[str, float]]) -> None:
    for name in dict.fromkeys(name for numbers in repetitions for name in numbers):
        values = [numbers[name] for numbers in repetitions if name in numbers]
        into[name][example_id] = fmean(values) if len(values) > 1 else values[0]


def scores_of(run: dict) -> dict[str, float]:
    """The mean score of a run by feedback key; what was not scored is not there."""
    stats = run.get("feedback_stats") or {}
    return {key: float(of_key["avg"]) for key, of_key in stats.items() if of_key.get("avg") is not None}


MEASURES: dict[str, Callable[[dict], Any]] = {
    "latency": lambda run: None if is_error(run) else run.get("latency_seconds"),
    "tokens": lambda run: run.get("total_tokens"),
    "cost": lambda run: run.get("total_cost"),
    "error_rate": lambda run: is_error(run),
}  # of all, less is better; a failure's latency says nothing about the answers'


def is_error(run: dict) -> bool:
    return run.get("status") == "ERROR" or bool(run.get("error"))


def measures_of(run: dict) -> dict[str, float]:
    found = {name: measure(run) for name, measure in MEASURES.items()}
    return {name: float(value) for name, value in found.items() if value is not None}
