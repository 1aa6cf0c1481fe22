"""The numbers of experiments, read example by example."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.runs_api import has_failed, list_experiment_runs
from langsmith_rest.paired.estimates import average

Means = dict[str, dict[str, float]]  # metric -> example -> mean over its runs


@dataclass(slots=True)
class RunNumbers:
    """What one run scored and measured; scores that it lacks are absent."""

    failed: bool
    pending: bool
    scores: dict[str, float]
    measures: dict[str, float]
    broken: frozenset[str]  # the metrics whose evaluator failed
    texts: frozenset[str]  # those that have a value, but no number

    def value(self, metric: str) -> float | None:
        return self.measures.get(metric) if metric in MEASURES else self.scores.get(metric)


@dataclass
class ExperimentScores:
    """The numbers of one experiment, by run."""

    id: str
    name: str
    repetitions: int = 1  # runs that each example was to have
    runs: dict[str, list[RunNumbers]] = field(default_factory=dict)  # by example
    inputs: dict[str, Any] = field(default_factory=dict)  # of the examples, where those are kept
    metadata: dict[str, dict] = field(default_factory=dict)  # of the examples
    scores: Means = field(default_factory=lambda: defaultdict(dict))
    measures: Means = field(default_factory=lambda: defaultdict(dict))
    single: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # metric -> example -> several values

    def all_runs(self) -> Iterator[RunNumbers]:
        return (run for runs in self.runs.values() for run in runs)

    @property
    def failed(self) -> int:
        return sum(run.failed for run in self.all_runs())

    @property
    def broken(self) -> Counter[str]:
        """How often each evaluator failed."""
        return Counter(key for run in self.all_runs() if run.broken for key in sorted(run.broken))

    def means(self, metric: str) -> dict[str, float]:
        return (self.measures if metric in MEASURES else self.scores).get(metric, {})


def read_scores(
    api: LangSmith, dataset_id: str, sessions: Sequence[dict], *, keep_inputs: bool
) -> list[ExperimentScores]:
    """Read the runs of experiments, which may be many, keeping numbers only."""
    found = {
        session["id"]: ExperimentScores(session["id"], session["name"], repetitions_of(session)) for session in sessions
    }
    for example in list_experiment_runs(api, dataset_id, list(found)):
        for each in found.values():  # pages may overlap
            each.runs.pop(example["id"], None)
        for run in (run for run in example["runs"] if run["project_id"] in found):
            experiment = found[run["project_id"]]
            experiment.runs.setdefault(example["id"], []).append(numbers_of(run))
            experiment.metadata[example["id"]] = example.get("metadata") or {}
            if keep_inputs:
                experiment.inputs[example["id"]] = example.get("inputs")
    for experiment in found.values():
        add_means(experiment)
    return list(found.values())


def repetitions_of(session: dict) -> int:
    """How many runs of each example an evaluation was to make, as its metadata says; 1 if that says nothing."""
    number = ((session.get("extra") or {}).get("metadata") or {}).get("num_repetitions")
    return number if isinstance(number, int) else 1


def add_means(experiment: ExperimentScores) -> None:
    """Average the repetitions of each example."""
    for example_id, runs in experiment.runs.items():
        if len(runs) == 1:  # nearly always, so without anything else
            for name, value in runs[0].scores.items():
                experiment.scores[name][example_id] = value
            for name, value in runs[0].measures.items():
                experiment.measures[name][example_id] = value
        else:
            add_repeated(experiment, example_id, [run.scores for run in runs], experiment.scores)
            add_repeated(experiment, example_id, [run.measures for run in runs], experiment.measures)


def add_repeated(experiment: ExperimentScores, example_id: str, runs: Sequence[dict[str, float]], means: Means) -> None:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, value in run.items():
            values[name].append(value)
    for name, several in values.items():
        means[name][example_id] = average(several)
        if len(several) > 1:
            experiment.single.setdefault(name, {})[example_id] = several


def numbers_of(run: dict) -> RunNumbers:
    scores, broken, texts = {}, [], []
    for key, of_key in (run.get("feedback_stats") or {}).items():
        if (score := of_key.get("avg")) is not None:
            scores[key] = float(score)
        elif of_key.get("values"):
            texts.append(key)
        if of_key.get("errors"):  # also beside an earlier score
            broken.append(key)
    failed = has_failed(run)
    pending = not failed and run.get("status") == "PENDING"
    measures = {}  # 0 means that it was not measured
    if tokens := run.get("total_tokens"):
        measures["tokens"] = float(tokens)
    if cost := float(run.get("total_cost") or 0):
        measures["cost"] = cost
    if not failed and (latency := run.get("latency_seconds")):
        measures["latency"] = float(latency)  # a failure's latency says nothing about that of answers
    if not pending:
        measures["error_rate"] = float(failed)
    without = [frozenset(keys) if keys else NONE for keys in (broken, texts)]
    return RunNumbers(failed, pending, scores, measures, *without)


NONE: frozenset[str] = frozenset()
MEASURES = ("latency", "tokens", "cost", "error_rate")  # less is better
UNBOUNDED = ("latency", "tokens", "cost")
