"""Scoring a recorded experiment: its runs, and the experiment as a whole."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.errors import NotFound
from langsmith_rest.evaluation.api import (
    UUID,
    create_feedback,
    create_one_feedback,
    find_dataset,
    find_experiment,
    list_session_feedback,
    read_dataset,
)
from langsmith_rest.evaluation.evaluators.calling import Said, score_all
from langsmith_rest.evaluation.evaluators.records import Run
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.loops import Await, Unfinished
from langsmith_rest.evaluation.running.evaluation import Evaluation, Interrupted, Progress, new_evaluation
from langsmith_rest.evaluation.running.feedback import Worked, feedback_bodies, is_over, synchronise, working
from langsmith_rest.evaluation.running.reading import Scored, read_runs, values_of
from langsmith_rest.evaluation.running.workers import Workers
from langsmith_rest.evaluation.runs_api import has_failed
from langsmith_rest.recording import bodies
from langsmith_rest.wording import counted

AT_ONCE, FLUSH_SECONDS = 100, 2.0  # verdicts are recorded once there are this many, or after this long


def score_experiment(
    api: LangSmith,
    name: str,
    data: Any,
    evaluators: Sequence[Evaluator],
    workers: Workers,
    on_progress: Progress | None,
    limit: int | None,
) -> Evaluation:
    """Score the runs of a recorded experiment, of the first `limit` of them if given."""
    session, dataset = experiment_and_dataset(api, name, data)
    found = new_evaluation(api, dataset, session["id"], session["name"])
    count = rest.read_session(api, session["id"]).get("run_count") or 0
    found.planned = count if limit is None else min(count, limit)
    score_recorded(api, session, found, evaluators, workers, on_progress, limit=limit)
    if not found.scored:
        raise NotFound(f"The experiment {session['name']!r} has no runs, so nothing was scored.")
    return found


def experiment_and_dataset(api: LangSmith, name: str, data: Any) -> tuple[dict, dict]:
    if data is not None and not isinstance(data, str):
        raise ValueError("An experiment already has its data: leave `data` out, or give the name of its dataset.")
    dataset = None
    if data is not None:
        dataset = read_dataset(api, data) if UUID.fullmatch(data) else find_dataset(api, data)
    session = find_experiment(api, name, dataset["id"] if dataset else None)
    return session, dataset or read_dataset(api, session["reference_dataset_id"])


def score_recorded(
    api: LangSmith,
    session: dict,
    found: Evaluation,
    evaluators: Sequence[Evaluator],
    workers: Workers,
    on_progress: Progress | None,
    *,
    only: set[str] | None = None,
    limit: int | None = None,
) -> None:
    """Let evaluators score recorded runs: all of an experiment, or `only` some of them.

    Feedback is created, or updated where it differs. Raises Interrupted on Ctrl-C.
    """
    runs = read_runs(api, found.dataset_id, session, with_steps=asks_for_runs(evaluators))
    chosen = itertools.islice((pair for pair in runs if only is None or pair[0]["id"] in only), limit)
    scoring = Scoring(api, found, with_others=only is not None)

    def work(pair: Scored) -> tuple[Run, Said] | None:
        with contextlib.suppress(Unfinished):
            values = values_of(*pair)
            return pair[0], score_all(evaluators, values, workers.await_it)
        return None

    try:
        with workers.interruptible():
            for finished in workers.each(work, chosen):
                scoring.add_all(filter(None, finished), on_progress)
    finally:
        scoring.flush()
    if workers.stop.is_set() and (only is not None or found.scored < found.planned):
        raise Interrupted(f"Interrupted: {counted(found.scored, 'run')} scored. Run the same again to score the rest.")


@dataclass
class Scoring:
    """Verdicts while they are recorded."""

    api: LangSmith
    found: Evaluation
    with_others: bool  # of a resumed evaluation: count other feedback, too; failed runs are counted already
    waiting: list[tuple[Run, Said]] = field(default_factory=list)
    flushed: float = field(default_factory=monotonic)

    def add_all(self, finished: Iterable[tuple[Run, Said]], on_progress: Progress | None) -> None:
        """Add what was scored just now; record it if it is time."""
        for run, said in finished:
            self.waiting.append((run, said))
            self.found.scored += 1
            self.found.errors += not self.with_others and has_failed(run)
            self.found.scores.add_said(said)
            if on_progress:
                on_progress(self.found)
        if len(self.waiting) >= AT_ONCE or monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        while self.waiting:
            some, self.waiting = self.waiting[:AT_ONCE], self.waiting[AT_ONCE:]
            self.record(some)
        self.flushed = monotonic()

    def record(self, some: list[tuple[Run, Said]]) -> None:
        """Record the verdicts on up to a hundred runs."""
        made: list[dict] = []
        worked: set[Worked] = set()
        for run, said in some:
            made += feedback_bodies(run, [item for _, items in said for item in items])
            worked |= working(run["id"], said)
        known = list(rest.list_feedback(self.api, [run["id"] for run, _ in some]))
        if self.with_others:
            ours = {body["id"] for body in made}
            for item in known:
                if not (item["id"] in ours or item.get("comparative_experiment_id") or is_over(item, worked, "")):
                    self.found.scores.add(item, of_others=True)
        self.found.feedback += synchronise(self.api, made, known, worked, partial(create_feedback, self.api))


def asks_for_runs(evaluators: Sequence[Evaluator]) -> bool:
    """Whether the steps of runs have to be read, which takes longer the more steps there are."""
    return any(evaluator.wants("run", "runs") for evaluator in evaluators)


# ---------------------------------------------------------------- the whole experiment


def summarise(api: LangSmith, found: Evaluation, evaluators: Sequence[Evaluator], wait: Await) -> None:
    """Let summary evaluators see all runs at once; what they return is feedback on the experiment."""
    session = find_experiment(api, found.experiment_name, found.dataset_id)
    runs = list(read_runs(api, found.dataset_id, session, with_steps=asks_for_runs(evaluators)))
    values = {
        "inputs": [example.inputs or {} for _, example in runs],
        "outputs": [run.outputs or {} for run, _ in runs],
        "reference_outputs": [example.outputs or {} for _, example in runs],
        "runs": [run for run, _ in runs],
        "examples": [example for _, example in runs],
    }
    said = score_all(evaluators, values, wait)
    found.scores.add_said(said)
    made = summary_bodies(session["id"], said)

    def create(some: list[dict]) -> None:
        for body in some:
            create_one_feedback(api, body)

    known = list_session_feedback(api, session["id"], level="session")
    found.feedback += synchronise(api, made, known, working(session["id"], said), create)


def summary_bodies(session_id: str, said: Said) -> list[dict[str, Any]]:
    """Feedback on an experiment as it is sent; items with the same key are told apart by their order."""
    made, counts = [], Counter[str]()
    for item in bodies.feedback_of({"feedback": [item for _, found in said for item in found]}):
        name = f"{item['key']}-error" if item.get("error") else item["key"]
        owner = {"id": bodies.uuid5(f"{session_id}-{name}-{counts[name]}"), "session_id": session_id}
        made.append({**owner, **item, "feedback_source": {"type": "api"}})
        counts[name] += 1
    return made
