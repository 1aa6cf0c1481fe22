"""What a comparison says; `compare --json` prints it as it is."""

from dataclasses import asdict, dataclass, field
from typing import Any

from langsmith_rest import notebooks
from langsmith_rest.evaluation.aligning.sampling import Drawn
from langsmith_rest.paired import Corrected, Metric

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass
class ComparedExperiment:
    """What is known of each experiment of a comparison."""

    id: str
    name: str
    examples: int
    runs: int
    failed_runs: int
    failed_evaluators: dict[str, int]  # how many runs each could not score


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
class Correction:
    """A judge's means and difference as a person would have them; they hold if the labelled examples are a random
    sample. None: fewer than five labels."""

    metric: str
    human: str  # the key of the person's labels
    baseline: Corrected | None
    candidate: Corrected | None
    difference: Corrected | None  # of the examples that are labelled on both sides
    drawn: Drawn  # whether the labels of both are a random sample


@dataclass
class Candidate(ComparedExperiment):
    """An experiment compared with the baseline."""

    pairs: int = 0  # examples that both have run
    unmatched: dict[str, list[str]] = field(default_factory=dict)  # ids of the others: "baseline", "candidate"
    in_neither: int = 0  # examples of the dataset that neither has run
    metrics: list[Metric] = field(default_factory=list)
    measures: list[Metric] = field(default_factory=list)  # latency, tokens, cost, error rate
    flips: list[Flip] | None = None
    corrections: list[Correction] = field(default_factory=list)


@dataclass
class Check:
    """One limit held against one candidate.

    `missing` are the scores without which the limit cannot be called kept; then waiting for more examples does not
    help, and the exit code is 1. `pairs_needed` is about how many pairs would show that the limit is kept.
    """

    experiment: str
    limit: str
    verdict: str  # "passed", "failed" or "inconclusive"
    reason: str
    missing: int = 0
    pairs_needed: int | None = None


@dataclass
class Gate:
    """Whether the candidates keep to the limits: the worst verdict, and all checks."""

    verdict: str  # the worst of the checks
    checks: list[Check]


@dataclass
class Comparison:
    """A baseline, its candidates, and the `url` of the page that shows them side by side."""

    dataset_id: str
    dataset: str
    url: str
    baseline: ComparedExperiment
    candidates: list[Candidate]
    cluster: str | None = None  # the key of example metadata whose values are the units of the statistics
    unclustered: int = 0  # examples without that key, each a unit of its own
    scores_left_out: list[str] = field(default_factory=list)  # those that have the name of a measure, such as latency
    gate: Gate | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per candidate and metric, for a data frame; `is_score` is False for latency etc."""
        return [
            row_of(self.baseline, candidate, metric, is_score)
            for candidate in self.candidates
            for is_score, metrics in ((True, candidate.metrics), (False, candidate.measures))
            for metric in metrics
        ]

    def _repr_html_(self) -> str:
        shown = [{title: row[name] for name, title in SHOWN.items()} for row in self.rows()]
        return notebooks.table(shown, f"{self.dataset}: compared with {self.baseline.name}", self.url)


def row_of(baseline: ComparedExperiment, candidate: Candidate, metric: Metric, is_score: bool) -> dict[str, Any]:
    numbers = {name: value for name, value in asdict(metric).items() if not isinstance(value, dict | list)}
    names = {"candidate": candidate.name, "baseline": baseline.name, "metric": numbers.pop("name")}
    return {**names, "is_score": is_score, **numbers}


SHOWN = {  # in a notebook: field of a row -> title
    "candidate": "candidate",
    "metric": "metric",
    "baseline_mean": "baseline",
    "candidate_mean": "mean",
    "difference": "difference",
    "low": "from",
    "high": "to",
    "verdict": "verdict",
}
