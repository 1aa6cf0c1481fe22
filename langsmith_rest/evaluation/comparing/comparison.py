"""What a comparison says; `--json` prints it as it is."""

from dataclasses import dataclass, field
from typing import Any

from langsmith_rest.paired import Metric

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass
class ComparedExperiment:
    """The baseline; a candidate has more to say."""

    id: str
    name: str
    examples: int
    runs: int


@dataclass
class Flip:
    """An example whose score changed."""

    metric: str
    example_id: str
    inputs: Any
    baseline: float
    candidate: float
    change: str  # "improved" or "regressed"


@dataclass
class Candidate(ComparedExperiment):
    """An experiment beside the baseline."""

    pairs: int = 0  # examples that both have run
    unmatched: dict[str, list[str]] = field(default_factory=dict)  # ids of the others: "baseline", "candidate"
    metrics: list[Metric] = field(default_factory=list)
    measures: list[Metric] = field(default_factory=list)  # latency, tokens, cost, error rate
    flips: list[Flip] | None = None


@dataclass
class Check:
    """One limit held against one candidate."""

    experiment: str
    limit: str
    verdict: str  # "passed", "failed" or "inconclusive"
    reason: str


@dataclass
class Gate:
    verdict: str  # the worst of the checks
    checks: list[Check]


@dataclass
class Comparison:
    dataset_id: str
    dataset: str
    url: str
    baseline: ComparedExperiment
    candidates: list[Candidate]
    gate: Gate | None = None
