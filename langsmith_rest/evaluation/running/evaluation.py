"""What an evaluation found, and how it may end early."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import rest
from langsmith_rest import notebooks
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.running.scores import Scores


@dataclass
class Evaluation:
    """What was run and scored, and the `url` of the page that shows it.

    This call had `planned` runs to make, and made `done` of them; `existing` were recorded before. `errors` counts the
    runs of the experiment in which the target failed. `scores` has the mean, number and failures of each feedback key,
    and `feedback` how many items were created, updated and deleted. `rejected` lists what the server refused, as
    {"result": number, "reason": text}.
    """

    dataset_id: str
    dataset_name: str
    experiment_id: str
    experiment_name: str
    url: str = ""
    planned: int = 0  # runs of the target, or of the experiment, that this call covers
    done: int = 0  # runs of the target that this call made
    existing: int = 0  # runs that the experiment had before
    errors: int = 0  # runs of the experiment in which the target failed
    first_error: str = ""  # why the target failed for the first time in this call
    left_out: int = 0  # failed runs of this call that are not recorded
    scored: int = 0  # recorded runs that this call scored
    feedback: Counter[str] = field(default_factory=Counter)  # created, updated, deleted
    rejected: list[dict[str, Any]] = field(default_factory=list)  # {"result": number, "reason": text}
    scores: Scores = field(default_factory=Scores)
    silent: list[str] = field(default_factory=list)  # evaluators of this call whose name no feedback has
    doubled: int = 0  # examples with more runs than asked for: somebody else ran them at the same time
    target_changed: bool = False  # the experiment was started with another target, or another version of its file
    bare: int = 0  # answers of this call that are not dictionaries
    nothing: int = 0  # of these, those that are None
    started: float = field(default_factory=monotonic)

    @property
    def evaluator_errors(self) -> int:
        """How often an evaluator failed."""
        return self.scores.failures.total()

    def as_json(self) -> dict[str, Any]:
        """The counts and scores as a dict that JSON can hold, as `evaluate --json` prints it."""
        names = ("dataset_id", "dataset_name", "experiment_id", "experiment_name", "url", "planned", "done", "existing")
        more = ("errors", "left_out", "scored", "evaluator_errors", "rejected", "doubled", "target_changed")
        found = {name: getattr(self, name) for name in (*names, *more)}
        found |= {"first_error": self.first_error} if self.first_error else {}
        return {**found, "feedback": dict(self.feedback), "scores": self.scores.as_json()}

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per feedback key (experiment, score, n, mean, errors), for a data frame."""
        return [
            {
                "experiment": self.experiment_name,
                "score": key,
                **{name: found[name] for name in ("n", "mean", "errors")},
            }
            for key, found in self.scores.as_json().items()
        ]

    def _repr_html_(self) -> str:
        return notebooks.table(self.rows(), f"{self.experiment_name} on {self.dataset_name}", self.url)


Progress = Callable[[Evaluation], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: what was finished is recorded, and the message says how to resume."""


class ExecutorError(RuntimeError):
    """The executor could not run the target, or lost it; the message says how to resume."""


def new_evaluation(api: LangSmith, dataset: Mapping[str, Any], experiment_id: str, name: str) -> Evaluation:
    url = rest.experiment_url(api, dict(dataset), experiment_id)
    return Evaluation(dataset["id"], dataset["name"], experiment_id, name, url)


def how_to_go_on(found: Evaluation) -> str:
    return f"To resume, use the experiment name {found.experiment_name!r} again: only what is missing will be run."
