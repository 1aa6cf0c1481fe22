"""Judge experiments side by side: per example, which answer is better, as a comparative experiment."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.evaluation.evaluators.calling import (
    PAIRWISE,
    Await,
    Evaluator,
    Example,
    Preference,
    Run,
    awaited,
    failure,
    preferences,
    ready,
)
from langsmith_rest.evaluation.running import scoring
from langsmith_rest.evaluation.running.scoring import chunks, synchronise
from langsmith_rest.evaluation.running.targets import event_loop
from langsmith_rest.recording import bodies
from langsmith_rest.recording.sending import create_feedback


@dataclass
class Comparison:
    """What evaluators prefer, and where to look at it."""

    comparative_id: str
    name: str
    experiments: list[str]
    url: str
    pairs: int = 0  # examples that all experiments have (as often as all repeat them)
    only_in_some: int = 0  # examples that one of them lacks
    feedback: Counter[str] = field(default_factory=Counter)  # created, updated, deleted
    errors: Counter[str] = field(default_factory=Counter)  # failures of evaluators, by key
    reasons: dict[str, str] = field(default_factory=dict)  # why one failed for the first time, by key
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
                **({"first_error": self.reasons[key]} if key in self.reasons else {}),
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


def judge_pairwise(
    api: LangSmith,
    experiments: Sequence[str],
    evaluators: Sequence[Callable[..., Any]],
    *,
    name: str | None = None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
    randomize_order: bool = False,
    seed: int = 0,
    max_concurrency: int = 4,
) -> Comparison:
    """Let pairwise evaluators see the runs of two or more experiments, and record what they prefer.

    With `randomize_order` each evaluator sees them in an order that follows from `seed` and the example; scores count
    for the right run all the same. The same experiments under the same `name` are the same comparison: doing it again
    corrects it. Repetitions are paired in the order in which they ran.
    """
    bound = ready(evaluators, PAIRWISE)
    if len(experiments) < 2 or not bound:
        raise ValueError("A pairwise evaluation needs two experiments and at least one evaluator.")
    sessions = [wing.find_experiment(api, experiment) for experiment in experiments]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(datasets) > 1 or len({session["id"] for session in sessions}) < len(sessions):
        raise ValueError("A pairwise evaluation needs different experiments of the same dataset.")
    dataset = wing.read_dataset(api, datasets.pop())
    found = create_comparison(api, dataset, sessions, name, description, {**(metadata or {}), "seed": seed})
    steps = any(evaluator.wants("runs") for evaluator in bound)
    names = {session["id"]: session["name"] for session in sessions}
    with event_loop() as await_it, ThreadPoolExecutor(max_concurrency) as pool:
        for pairs in chunks(pairs_of(api, dataset["id"], sessions, found, with_steps=steps), 50):
            judged = [
                (pair, evaluator, pool.submit(prefer, evaluator, in_order(pair, randomize_order, seed), await_it))
                for pair in pairs
                for evaluator in bound
            ]
            made: list[dict] = []
            worked: set[scoring.Worked] = set()
            for pair, evaluator, future in judged:
                order, preferred = future.result()
                made += feedback_bodies(found, names, pair, evaluator, order, preferred)
                if not isinstance(preferred, BaseException):
                    worked |= {
                        (run["id"], key) for run in order for key in (evaluator.key, *(p.key for p in preferred))
                    }
            run_ids = [run["id"] for pair in pairs for run in pair.runs]
            known = [item for some in chunks(run_ids, 100) for item in rest.list_feedback(api, some)]
            ours = [item for item in known if item.get("comparative_experiment_id") == found.comparative_id]
            prefix = f"{found.comparative_id}-"
            found.feedback += synchronise(api, made, ours, worked, partial(create_feedback, api), prefix)
    found.means = {key: [total / found.judged[key] for total in totals] for key, totals in found.means.items()}
    return found


def create_comparison(
    api: LangSmith,
    dataset: dict,
    sessions: list[dict],
    name: str | None,
    description: str | None,
    metadata: dict[str, Any],
) -> Comparison:
    """Create the comparative experiment; its id and name follow from the experiments and the name given."""
    ids, names = [session["id"] for session in sessions], [session["name"] for session in sessions]
    digest = hashlib.sha256("-".join([*ids, name or ""]).encode()).hexdigest()[:8]
    title = f"{name or ' vs. '.join(names)}-{digest}"
    comparative_id = bodies.uuid5(f"{'-'.join(ids)}-{title}")
    body = {"id": comparative_id, "name": title, "experiment_ids": ids, "reference_dataset_id": dataset["id"]}
    extra = {"extra": {"metadata": metadata}, **({"description": description} if description else {})}
    wing.create_comparative(api, {**body, **extra})
    url = rest.experiment_url(api, dataset, "%2C".join(ids))
    return Comparison(comparative_id, title, names, f"{url}&comparativeExperiment={comparative_id}")


def pairs_of(
    api: LangSmith, dataset_id: str, sessions: list[dict], found: Comparison, *, with_steps: bool
) -> Iterator[Pair]:
    """Yield the examples that all experiments have, and count them."""
    steps: dict[str, list[dict]] = {}
    for session in sessions if with_steps else ():
        for step in wing.list_steps(api, session, scoring.SELECTS):
            steps.setdefault((step.get("parent_run_ids") or [""])[-1], []).append(step)
    ids = [session["id"] for session in sessions]
    for example in wing.list_experiment_runs(api, dataset_id, ids, scoring.SELECTS):
        runs = [scoring.by_start([run for run in example["runs"] if run.get("project_id") == i]) for i in ids]
        if not all(runs):
            found.only_in_some += 1
            continue
        for repetition, row in enumerate(zip(*runs, strict=False)):
            seen = [scoring.as_run(run, i, steps) for run, i in zip(row, ids, strict=True)]
            found.pairs += 1
            yield Pair(scoring.as_example(example), seen, repetition)


def in_order(pair: Pair, randomize_order: bool, seed: int) -> tuple[Pair, list[Run]]:
    runs = list(pair.runs)
    if randomize_order:
        random.Random(f"{seed}-{pair.example.id}-{pair.repetition}").shuffle(runs)
    return pair, runs


def prefer(
    evaluator: Evaluator, seen: tuple[Pair, list[Run]], await_it: Await
) -> tuple[list[Run], list[Preference] | BaseException]:
    """What an evaluator says of runs in the order given, or why it failed."""
    pair, runs = seen
    values = {
        "inputs": pair.example.inputs or {},
        "outputs": [run.outputs for run in runs],
        "reference_outputs": pair.example.outputs or {},
        "runs": runs,
        "example": pair.example,
        "attachments": pair.example.attachments,
        "metadata": pair.example.metadata or {},
    }
    try:
        returned = awaited(evaluator(values), await_it)
        return runs, preferences(returned, evaluator.key, [run["id"] for run in runs])
    except (Exception, SystemExit) as error:
        return runs, error


def feedback_bodies(
    found: Comparison,
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
        found.reasons.setdefault(evaluator.key, item["comment"])
        for run in order:
            yield feedback_body(found, names, pair, order, run, item)
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
            yield feedback_body(found, names, pair, order, run, item)


def feedback_body(
    found: Comparison, names: dict[str, str], pair: Pair, order: list[Run], run: Run, item: dict[str, Any]
) -> dict[str, Any]:
    [body] = scoring.feedback_bodies(run, [item])
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
