"""What pairwise evaluators prefer: the sums, and the feedback that records it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from langsmith_rest.evaluation.evaluators.calling import failure
from langsmith_rest.evaluation.evaluators.llm import POSITION_BIAS, SHOWN_FIRST
from langsmith_rest.evaluation.evaluators.records import Example, Run
from langsmith_rest.evaluation.evaluators.returns import Preference
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.running.feedback import feedback_bodies
from langsmith_rest.paired import SAME, Mean, Preferred, mean_of, preferred
from langsmith_rest.recording import bodies


def is_rate(key: str) -> bool:
    """Whether such scores are the same for all answers, so that they prefer none."""
    return key.endswith((POSITION_BIAS, SHOWN_FIRST))


@dataclass
class Judged:
    """The judgements under one key: the scores of each judgement in the order of the experiments, by example."""

    by_example: dict[str, list[list[float]]] = field(default_factory=dict)
    first_wins: dict[str, list[float]] = field(default_factory=dict)  # of each preference: 1 if the first shown won
    firsts: set[int] = field(default_factory=set)  # which experiments were shown first

    def add(self, example: str, scores: list[float], first: int) -> None:
        """Add a judgement in which the answer of experiment `first` was shown first."""
        self.by_example.setdefault(example, []).append(scores)
        if (best := winner(scores)) is not None:
            self.firsts.add(first)
            self.first_wins.setdefault(example, []).append(float(best == first))

    @property
    def shown_first(self) -> Mean | None:
        """The share of preferences for the answer shown first, where every answer was at least once."""
        if not self.judgements or len(self.firsts) < len(self.judgements[0]):
            return None
        return mean_of([fmean(some) for some in self.first_wins.values()])

    @property
    def judgements(self) -> list[list[float]]:
        return [scores for some in self.by_example.values() for scores in some]

    @property
    def winners(self) -> list[int | None]:
        return [winner(scores) for scores in self.judgements]

    @property
    def means(self) -> list[float]:
        examples = [[fmean(of) for of in zip(*some, strict=True)] for some in self.by_example.values()]
        return [fmean(of) for of in zip(*examples, strict=True)]

    @property
    def rate(self) -> Mean | None:
        """Of a rate, whose scores are the same for all answers: its mean by example."""
        return mean_of([fmean(scores[0] for scores in some) for some in self.by_example.values()])

    def preferred(self, place: int) -> Preferred | None:
        """How often this experiment was preferred, by example; None without any preference."""
        leans = {None: 0, place: 1}
        return preferred(
            {example: [leans.get(winner(scores), -1) for scores in some] for example, some in self.by_example.items()}
        )

    def as_json(self, experiments: list[str], is_rate: bool) -> dict[str, Any]:
        found: dict[str, Any] = {"n": len(self.judgements), "examples": len(self.by_example)}
        found |= {"means": dict(zip(experiments, self.means, strict=False)), "ties": self.winners.count(None)}
        if is_rate:
            return found | {"rate": asdict(self.rate) if self.rate else None}
        of = [self.preferred(place) for place in range(len(experiments))]
        shares = {name: asdict(one.share) for name, one in zip(experiments, of, strict=True) if one}
        two = of[-1] if len(of) == 2 else None  # of more, no p says which one
        first = self.shown_first
        found |= {"shown_first": asdict(first)} if first else {}
        return found | {"shares": shares, "p": two and two.p, "p_exact": two and two.p_exact}


def winner(scores: list[float]) -> int | None:
    """The position of the best score; None for a tie."""
    best = [place for place, score in enumerate(scores) if max(scores) - score < SAME]
    return best[0] if len(best) == 1 else None


@dataclass
class Preferences:
    """What evaluators prefer, and the `url` of the page that shows it."""

    comparative_id: str
    name: str
    experiments: list[str]
    url: str
    pairs: int = 0  # examples that all experiments have run (as often as all of them did)
    only_in_some: int = 0  # examples that one of them lacks
    feedback: Counter[str] = field(default_factory=Counter)  # created, updated, deleted
    errors: Counter[str] = field(default_factory=Counter)  # failures of evaluators, by key
    reasons: dict[str, Counter[str]] = field(default_factory=dict)  # why they failed, by key, the first reason first
    unscored: Counter[str] = field(default_factory=Counter)  # pairs of which an evaluator said nothing
    scores: dict[str, Judged] = field(default_factory=dict, repr=False)  # by key
    counts: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)  # feedback by run id and key

    @property
    def means(self) -> dict[str, list[float]]:
        """The mean scores by key, in the order of the experiments; repetitions of an example are one score."""
        return {key: judged.means for key, judged in self.scores.items()}

    @property
    def ties(self) -> dict[str, int]:
        """How many judgements preferred nobody, by key."""
        return {key: judged.winners.count(None) for key, judged in self.scores.items()}

    @property
    def keys(self) -> list[str]:
        """The keys of all scores, and the names of evaluators that failed or returned nothing."""
        return sorted({*self.scores, *self.errors, *+self.unscored})

    def as_json(self) -> dict[str, Any]:
        names = ("comparative_id", "name", "experiments", "url", "pairs", "only_in_some")
        scores = {
            key: {
                **self.scores.get(key, Judged()).as_json(self.experiments, is_rate(key)),
                "errors": self.errors[key],
                **({"not_scored": self.unscored[key]} if self.unscored[key] else {}),
                **({"first_error": next(iter(self.reasons[key]))} if key in self.reasons else {}),
            }
            for key in self.keys
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
    verdict: list[Preference] | BaseException,
) -> Iterator[dict[str, Any]]:
    """One feedback per run and preference, tied together by a group id; and what they add to the sums."""
    if isinstance(verdict, BaseException):
        found.errors[evaluator.key] += 1
        item = failure(evaluator.key, verdict)
        found.reasons.setdefault(evaluator.key, Counter())[item["comment"]] += 1
        for run in order:
            yield preference_body(found, names, pair, order, run, item)
        return
    found.unscored[evaluator.key] += not verdict
    for preference in verdict:
        by_run = {run["id"]: mark for run, mark in zip(order, preference.scores, strict=True)}
        scores = [float(by_run[run["id"]]) for run in pair.runs]
        found.scores.setdefault(preference.key, Judged()).add(pair.example.id, scores, pair.runs.index(order[0]))
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
