"""Which answers of an experiment a person should look at first."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from langsmith_rest.evaluation.aligning.report import label_of
from langsmith_rest.evaluation.aligning.sampling import lot
from langsmith_rest.paired import SAME

Scores = dict[str, list[float]]  # key -> the scores of some runs


@dataclass
class Answers:
    """The runs of one example that did not fail, and the scores of its runs in the baseline."""

    example_id: str
    runs: list[dict[str, Any]]
    before: Scores


@dataclass
class Criteria:
    """What to compare: feedback keys, and which of them are better when lower."""

    keys: Sequence[str]
    lower: frozenset[str]


Ranked = tuple[float, list[dict[str, Any]]]  # the lowest comes first; the runs of the example to look at


def scores_of(runs: Iterable[dict], keys: Iterable[str]) -> Scores:
    labels = {key: [label_of(run, key) for run in runs] for key in keys}
    return {key: [float(x) for x in of if isinstance(x, int | float)] for key, of in labels.items()}


def rank_all(answers: Sequence[Answers], criteria: Criteria) -> list[Ranked | None]:
    return [(0.0, of.runs) for of in answers]


def rank_by_disagreement(answers: Sequence[Answers], criteria: Criteria) -> list[Ranked | None]:
    """The runs whose scores differ from one key to the other; the largest difference first."""

    def spread(run: dict) -> float:
        labels = [label for key in criteria.keys if (label := label_of(run, key)) is not None]
        if any(isinstance(label, str) for label in labels):
            return float(len(set(labels)) > 1)
        numbers = [float(label) for label in labels]
        return max(numbers) - min(numbers) if numbers else 0.0

    def rank(of: Answers) -> Ranked | None:
        apart = [run for run in of.runs if spread(run) > SAME]
        return (-max(map(spread, apart)), apart) if apart else None

    return [rank(of) for of in answers]


def rank_by_uncertainty(answers: Sequence[Answers], criteria: Criteria) -> list[Ranked | None]:
    """The examples whose mean score lies between the ends of what was given; the nearest to the middle first."""
    every = scores_of([run for of in answers for run in of.runs], criteria.keys)
    ends = {key: (min(scores), max(scores)) for key, scores in every.items() if scores and min(scores) < max(scores)}

    def rank(of: Answers) -> Ranked | None:
        scores = scores_of(of.runs, ends)
        places = [(s - low) / (high - low) for key, (low, high) in ends.items() for s in scores[key]]
        distance = abs(fmean(places) - 0.5) if places else 0.5
        return (distance, of.runs) if distance < 0.5 - SAME else None

    return [rank(of) for of in answers]


def rank_by_regression(answers: Sequence[Answers], criteria: Criteria) -> list[Ranked | None]:
    """The examples that score worse than in the baseline; the largest loss first."""

    def loss(of: Answers, key: str, scores: list[float]) -> float:
        before = of.before.get(key)
        change = fmean(before) - fmean(scores) if before and scores else 0.0
        return -change if key in criteria.lower else change

    def rank(of: Answers) -> Ranked | None:
        largest = max(loss(of, key, scores) for key, scores in scores_of(of.runs, criteria.keys).items())
        return (-largest, of.runs) if largest > SAME else None

    return [rank(of) for of in answers]


Rank = Callable[[Sequence[Answers], Criteria], list[Ranked | None]]
WAYS: dict[str, Rank] = {
    "random": rank_all,
    "disagreement": rank_by_disagreement,
    "uncertain": rank_by_uncertainty,
    "regressed": rank_by_regression,
}
NEEDED = {"random": 0, "disagreement": 2, "uncertain": 1, "regressed": 1}  # how many keys are compared, at least


def choose(
    answers: Sequence[Answers], by: str, criteria: Criteria, count: int | None, seed: int
) -> list[dict[str, Any]]:
    """The runs to look at, of at most `count` examples, the most telling first; ties are in random order."""
    ranked = zip(answers, WAYS[by](answers, criteria), strict=True)
    found = [(rank[0], lot(seed, of.example_id), rank[1]) for of, rank in ranked if rank]
    found.sort(key=lambda item: item[:2])
    return [run for *_, runs in found[:count] for run in runs]
