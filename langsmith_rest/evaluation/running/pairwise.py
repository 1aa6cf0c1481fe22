"""Judge experiments in pairs: which answer to each example is better, recorded as a comparative experiment."""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import create_comparative, create_feedback, find_experiment, read_dataset
from langsmith_rest.evaluation.evaluators.calling import awaited, copied, ends_evaluation
from langsmith_rest.evaluation.evaluators.records import Run
from langsmith_rest.evaluation.evaluators.returns import Preference, preferences
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.loops import Await, Unfinished
from langsmith_rest.evaluation.running.evaluation import Interrupted
from langsmith_rest.evaluation.running.feedback import Worked, synchronise
from langsmith_rest.evaluation.running.preferences import Pair, Preferences, preference_bodies
from langsmith_rest.evaluation.running.reading import SELECTS, as_example, as_run, by_start
from langsmith_rest.evaluation.running.scoring import AT_ONCE, FLUSH_SECONDS
from langsmith_rest.evaluation.running.workers import Workers
from langsmith_rest.evaluation.runs_api import list_experiment_runs, list_steps
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches


@dataclass
class Asked:
    """How a comparison is named and shown."""

    name: str | None
    description: str | None
    metadata: dict[str, Any] | None
    randomize_order: bool
    seed: int


Verdict = tuple[Evaluator, list[Run], list[Preference] | BaseException]  # who judged runs in which order, and how


def judge_pairs(
    api: LangSmith, experiments: Sequence[str], evaluators: Sequence[Evaluator], asked: Asked, workers: Workers
) -> Preferences:
    """Let pairwise evaluators see the runs of two or more experiments, and record what they prefer.

    With `randomize_order`, they see them in an order that depends on `seed` and the example; scores still go to the
    right run. The same experiments under the same `name`, in the same order, are the same comparison: doing it again
    corrects it. Repetitions are paired in the order in which they ran. Raises Interrupted on Ctrl-C.
    """
    dataset, sessions = experiments_to_judge(api, experiments, evaluators)
    found = create_comparison(api, dataset, sessions, asked)
    judging = Judging(api, found, {session["id"]: session["name"] for session in sessions})
    steps = any(evaluator.wants("runs") for evaluator in evaluators)

    def work(pair: Pair) -> tuple[Pair, list[Verdict]] | None:
        runs = in_order(pair, asked.randomize_order, asked.seed)
        with contextlib.suppress(Unfinished):
            return pair, [(one, runs, prefer(one, pair, runs, workers.await_it)) for one in evaluators]
        return None

    try:
        with workers.interruptible():
            for finished in workers.each(work, pairs_of(api, dataset["id"], sessions, found, with_steps=steps)):
                judging.waiting += filter(None, finished)
                judging.flush_if_due()
    finally:
        judging.flush()
    if workers.stop.is_set():
        raise Interrupted("Interrupted: the verdicts so far are recorded. Run the same again to judge the rest.")
    return found


def experiments_to_judge(
    api: LangSmith, experiments: Sequence[str], evaluators: Sequence[Evaluator]
) -> tuple[dict, list[dict]]:
    """The experiments and their dataset; raises ValueError if they cannot be compared."""
    if len(experiments) < 2 or not evaluators:
        raise ValueError("A pairwise evaluation needs two experiments and at least one evaluator.")
    sessions = [find_experiment(api, experiment) for experiment in experiments]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(datasets) > 1 or len({session["id"] for session in sessions}) < len(sessions):
        raise ValueError("A pairwise evaluation needs different experiments of the same dataset.")
    return read_dataset(api, datasets.pop()), sessions


@dataclass
class Judging:
    """Preferences while they are recorded in a comparison."""

    api: LangSmith
    found: Preferences
    names: dict[str, str]  # of the experiments, by id
    waiting: list[tuple[Pair, list[Verdict]]] = field(default_factory=list)
    flushed: float = field(default_factory=monotonic)

    def flush_if_due(self) -> None:
        if len(self.waiting) >= AT_ONCE // 2 or monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Record what is waiting."""
        waiting, self.waiting, self.flushed = self.waiting, [], monotonic()
        made: list[dict] = []
        worked: set[Worked] = set()
        for pair, verdicts in waiting:
            for evaluator, order, preferred in verdicts:
                made += preference_bodies(self.found, self.names, pair, evaluator, order, preferred)
                if not isinstance(preferred, BaseException):
                    keys = (evaluator.key, *(preference.key for preference in preferred))
                    worked |= {(run["id"], key) for run in order for key in keys}
        run_ids = [run["id"] for pair, _ in waiting for run in pair.runs]
        known = [item for some in in_batches(run_ids) for item in rest.list_feedback(self.api, some)]
        ours = [item for item in known if item.get("comparative_experiment_id") == self.found.comparative_id]
        create, prefix = partial(create_feedback, self.api), f"{self.found.comparative_id}-"
        self.found.feedback += synchronise(self.api, made, ours, worked, create, prefix)


def create_comparison(api: LangSmith, dataset: dict, sessions: list[dict], asked: Asked) -> Preferences:
    """Create the comparative experiment; its id and name depend on the experiments, the given name and the seed.

    Feedback keeps the order in which it was first given, so another seed is another comparison. The default seed, 0,
    adds nothing to the id: comparisons of earlier versions are found again.
    """
    ids, names = [session["id"] for session in sessions], [session["name"] for session in sessions]
    order = [f"seed {asked.seed}"] if asked.randomize_order and asked.seed else []
    digest = hashlib.sha256("-".join([*ids, asked.name or "", *order]).encode()).hexdigest()[:8]
    title = f"{asked.name or ' vs. '.join(names)}-{digest}"
    comparative_id = bodies.uuid5(f"{'-'.join(ids)}-{title}")
    body = {"id": comparative_id, "name": title, "experiment_ids": ids, "reference_dataset_id": dataset["id"]}
    extra = {"extra": {"metadata": {**(asked.metadata or {}), "seed": asked.seed}}}
    described = {"description": asked.description} if asked.description else {}
    create_comparative(api, {**body, **extra, **described})
    url = rest.experiment_url(api, dataset, "%2C".join(ids))
    return Preferences(comparative_id, title, names, f"{url}&comparativeExperiment={comparative_id}")


def pairs_of(
    api: LangSmith, dataset_id: str, sessions: list[dict], found: Preferences, *, with_steps: bool
) -> Iterator[Pair]:
    """Yield the examples that all experiments have, and count them."""
    steps: dict[str, list[dict]] = {}
    for session in sessions if with_steps else ():
        for step in list_steps(api, session, SELECTS):
            steps.setdefault((step.get("parent_run_ids") or [""])[-1], []).append(step)
    ids = [session["id"] for session in sessions]
    for example in list_experiment_runs(api, dataset_id, ids, SELECTS):
        runs = [by_start([run for run in example["runs"] if run.get("project_id") == i]) for i in ids]
        if not all(runs):
            found.only_in_some += 1
            continue
        for repetition, row in enumerate(zip(*runs, strict=False)):
            seen = [as_run(run, i, steps) for run, i in zip(row, ids, strict=True)]
            found.pairs += 1
            yield Pair(as_example(example), seen, repetition)


def in_order(pair: Pair, randomize_order: bool, seed: int) -> list[Run]:
    runs = list(pair.runs)
    if randomize_order:
        random.Random(f"{seed}-{pair.example.id}-{pair.repetition}").shuffle(runs)
    return runs


def prefer(evaluator: Evaluator, pair: Pair, runs: list[Run], await_it: Await) -> list[Preference] | BaseException:
    """What an evaluator says about runs in the given order, or why it failed."""
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
        returned = awaited(evaluator(copied(evaluator, values)), await_it)
        return preferences(returned, evaluator.key, [run["id"] for run in runs])
    except BaseException as error:
        if ends_evaluation(error):
            raise
        return error
