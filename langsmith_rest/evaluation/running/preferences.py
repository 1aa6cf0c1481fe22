"""What pairwise evaluators prefer: the sums, and the feedback that says so."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langsmith_rest.evaluation.evaluators.calling import failure
from langsmith_rest.evaluation.evaluators.records import Example, Run
from langsmith_rest.evaluation.evaluators.returns import Preference
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.running.feedback import feedback_bodies
from langsmith_rest.recording import bodies


@dataclass
class Preferences:
    """What evaluators prefer, and where to look at it."""

    comparative_id: str
    name: str
    experiments: list[str]
    url: str
    pairs: int = 0  # examples that all experiments have (as often as all repeat them)
    only_in_some: int = 0  # examples that one of them lacks
    feedback: Counter[str] = field(default_factory=Counter)  # created, updated, deleted
    errors: Counter[str] = field(default_factory=Counter)  # failures of evaluators, by key
    reasons: dict[str, Counter[str]] = field(default_factory=dict)  # why they failed, by key, the first reason first
    means: dict[str, list[float]] = field(default_factory=dict)  # by key, in the order of the experiments
    ties: Counter[str] = field(default_factory=Counter)  # by key: all scores equal
    judged: Counter[str] = field(default_factory=Counter)  # by key
    counts: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)  # feedback by run id and key

    def as_json(self) -> dict[str, Any]:
        names = ("comparative_id", "name", "experiments", "url", "pairs", "only_in_some")
        keys = sorted({*self.judged, *self.errors})
        scores = {
            key: {
                "n": self.judged[key],
                "means": dict(zip(self.experiments, self.means.get(key, []), strict=False)),
                "ties": self.ties[key],
                "errors": self.errors[key],
                **({"first_error": next(iter(self.reasons[key]))} if key in self.reasons else {}),
            }
            for key in keys
        }
        return {**{name: getattr(self, name) for name in names}, "feedback": dict(self.feedback), "scores": scores}


@dataclass
class Pair:
    """One example's runs, one of each experiment, in the order of the experiments."""

    example: Example
    runs: list[Run]
    repetition: int


def preference_bodies(
    found: Preferences,
    names: dict[str, str],
    pair: Pair,
    evaluator: Evaluator,
    order: list[Run],
    preferred: list[Preference] | BaseException,
) -> Iterator[dict[str, Any]]:
    """One feedback per run and preference, bound together by a group id; and what they add to the sums."""
    if isinstance(preferred, BaseException):
        found.errors[evaluator.key] += 1
        item = failure(evaluator.key, preferred)
        found.reasons.setdefault(evaluator.key, Counter())[item["comment"]] += 1
        for run in order:
            yield preference_body(found, names, pair, order, run, item)
        return
    for preference in preferred:
        by_run = {run["id"]: mark for run, mark in zip(order, preference.scores, strict=True)}
        sums = found.means.setdefault(preference.key, [0.0] * len(order))
        for place, run in enumerate(pair.runs):
            sums[place] += float(by_run[run["id"]])
        found.judged[preference.key] += 1
        found.ties[preference.key] += len(set(map(float, preference.scores))) == 1
        for run, mark, comment in zip(order, preference.scores, preference.comments, strict=True):
            item = {"key": preference.key, "score": mark, **({"comment": comment} if comment else {})}
            yield preference_body(found, names, pair, order, run, item)


def preference_body(
    found: Preferences, names: dict[str, str], pair: Pair, order: list[Run], run: Run, item: dict[str, Any]
) -> dict[str, Any]:
    [body] = feedback_bodies(run, [item])
    key = f"{item['key']}-error" if item.get("error") else item["key"]
    number = found.counts[run["id"], key]
    found.counts[run["id"], key] += 1
    return {
        **body,
        "id": bodies.uuid5(f"{found.comparative_id}-{run['id']}-{key}-{number}"),
        "comparative_experiment_id": found.comparative_id,
        "feedback_group_id": bodies.uuid5(f"{found.comparative_id}-{pair.example.id}-{pair.repetition}-{item['key']}"),
        "feedback_source": {"type": "api", "metadata": {"order": [names[run.session_id] for run in order]}},
    }
