"""Run a target on examples: make, score and record the runs that are missing."""

import threading
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import recorder
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import find_experiment
from langsmith_rest.evaluation.evaluators.calling import Said, score_all
from langsmith_rest.evaluation.evaluators.records import Run
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.loops import Unfinished
from langsmith_rest.evaluation.running.evaluation import (
    Evaluation,
    ExecutorError,
    Interrupted,
    Progress,
    how_to_go_on,
    new_evaluation,
)
from langsmith_rest.evaluation.running.provenance import TARGET_HASH, provenance, target_hash
from langsmith_rest.evaluation.running.reading import as_example, values_of
from langsmith_rest.evaluation.running.resume import Missing, count_doubled, evaluated, facts_of, find_own, plan_runs
from langsmith_rest.evaluation.running.scoring import score_recorded
from langsmith_rest.evaluation.running.targets import run_target
from langsmith_rest.evaluation.running.workers import Workers
from langsmith_rest.evaluation.runs_api import RETRY_OF
from langsmith_rest.recording import bodies
from langsmith_rest.recording.sources import Stream
from langsmith_rest.wording import counted


@dataclass
class Wanted:
    """The experiment to run."""

    name: str | None
    prefix: str | None
    description: str | None
    metadata: dict[str, Any]
    splits: list[str] | None
    repetitions: int
    retry_errors: bool
    leaves_out_errors: bool


def run_experiment(
    api: LangSmith,
    target: Evaluator,
    data: tuple[dict, list[dict]],
    evaluators: Sequence[Evaluator],
    wanted: Wanted,
    workers: Workers,
    on_progress: Progress | None,
) -> Evaluation:
    """Run what the experiment lacks, and score runs that lost their scores."""
    dataset, examples = data
    name = wanted.name or f"{wanted.prefix or target.key}-{uuid.uuid4().hex[:8]}"
    found = new_evaluation(api, dataset, bodies.experiment_id(dataset["id"], name), name)
    begun_before = find_own(api, found)
    plan = plan_runs(api, found, begun_before, examples, wanted.repetitions, wanted.retry_errors, evaluators)
    begun = facts_of(begun_before)
    facts = {**provenance(examples, wanted.splits, wanted.repetitions), **target_hash(target.function)}
    facts |= wanted.metadata
    found.target_changed = len({known[TARGET_HASH] for known in (begun, facts) if TARGET_HASH in known}) > 1
    if plan.missing:
        running = Running(target, evaluators, workers, wanted.leaves_out_errors, found, on_progress)
        record_runs(api, running, plan.missing, wanted.description, facts)
    session = find_experiment(api, name, dataset["id"])
    earlier = begun.get("num_repetitions")  # or whatever the caller put there
    most = max(wanted.repetitions, earlier if isinstance(earlier, int) else 1)
    found.doubled = count_doubled(api, found, examples, most)
    if plan.unscored and evaluators:
        score_recorded(api, session, found, evaluators, workers, on_progress, only=plan.unscored)
    if found.existing and not (found.done or found.scored):
        found.silent = [evaluator.key for evaluator in evaluators if evaluator.key not in found.scores.as_json()]
    return found


@dataclass
class Running:
    """A target at work: what is called, how, and what was done so far."""

    target: Evaluator
    evaluators: Sequence[Evaluator]
    workers: Workers
    leaves_out_errors: bool
    found: Evaluation
    on_progress: Progress | None
    lock: Any = field(default_factory=threading.Lock)

    def run(self, missing: Missing) -> dict[str, Any] | None:
        """Call the target with an example and score its answer; return the result to record, if there is one."""
        example, retry_of = missing
        seen = as_example(example)
        inputs = seen.inputs or {}
        values = {"inputs": inputs, "attachments": seen.attachments, "metadata": seen.metadata or {}}
        try:
            outcome = self.elsewhere(values) if self.workers.executor else self.here(values)
            is_bare, reason = outcome.pop("bare", False), outcome.pop("reason", "")
            self.found.first_error = self.found.first_error or reason
            if self.leaves_out_errors and "error" in outcome:
                self.count_left_out()
                return None
            result = {"inputs": inputs, **outcome, "name": self.target.key[:128], "run_type": "chain"}
            result |= {"example_id": example["id"], "metadata": {RETRY_OF: retry_of} if retry_of else None}
            run = Run({**result, "outputs": result.get("outputs") or {}, "child_runs": []})
            run |= {"reference_example_id": example["id"], "metadata": result["metadata"] or {}}
            at_hand = values_of(run, seen)
            said = score_all(self.evaluators, at_hand, self.workers.await_it)
        except Unfinished:
            return None
        self.count(outcome, is_bare, said)
        metadata = {**(result["metadata"] or {}), **evaluated(said)} or None
        return {**result, "metadata": metadata, "feedback": [item for _, items in said for item in items]}

    def here(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return run_target(self.target, values, self.workers.await_it)

    def elsewhere(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Call the target through the executor; failures of the executor are not answers of the target."""
        assert self.workers.executor
        try:
            return self.workers.executor.submit(run_target, self.target, values).result()
        except Exception as error:
            reason = f"The executor lost a call of the target ({type(error).__name__}: {error})."
            raise ExecutorError(f"{reason} What was finished is recorded. {how_to_go_on(self.found)}") from error

    def count(self, outcome: Mapping[str, Any], is_bare: bool, said: Said) -> None:
        with self.lock:
            self.found.done += 1
            self.found.bare += is_bare
            self.found.nothing += is_bare and outcome.get("outputs") == {"output": None}
            self.found.errors += "error" in outcome
            self.found.scores.add_said(said)
            self.show_progress()

    def count_left_out(self) -> None:
        with self.lock:
            self.found.left_out += 1
            self.show_progress()

    def show_progress(self) -> None:
        if self.on_progress:
            self.on_progress(self.found)


def results_of(running: Running, missing: Iterable[Missing]) -> Generator[Any, None, None]:
    """Yield results as they are finished; after `stop`, only those of calls in progress."""
    for results in running.workers.each(running.run, missing):
        yield from (no_later_than_now(result) for result in results if result is not None)


def no_later_than_now(result: dict[str, Any]) -> dict[str, Any]:
    """A result with times that the clock has reached: once it is set back, they would be refused as future ones."""
    ahead = result["end_time"] - datetime.now(UTC)
    if ahead <= timedelta(0):
        return result
    return {**result, **{name: result[name] - ahead for name in ("start_time", "end_time")}}


def record_runs(
    api: LangSmith,
    running: Running,
    missing: Sequence[Missing],
    description: str | None,
    metadata: dict[str, Any],
) -> None:
    """Run what is missing and record it as it comes."""
    found, workers = running.found, running.workers
    how = how_to_go_on(found)
    results = results_of(running, missing)
    stream = Stream(results, len(missing), earliest=datetime.now(UTC))
    try:
        with workers.interruptible():
            recording = recorder.record_langsmith_experiment(
                found.dataset_name,
                stream,
                experiment_name=found.experiment_name,
                description=description,
                metadata=metadata,
                langsmith=api,
            )
    except recorder.RecordingError as error:
        raise recorder.RecordingError(f"{error}\n{how}", error.recording) from error
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {how}") from None
    finally:
        results.close()
    found.experiment_id, found.url = recording.experiment_id, recording.url
    found.rejected = recording.rejected
    found.feedback["created"] += recording.feedback
    if workers.stop.is_set() and found.done + found.left_out < found.planned:
        recorded = recording.runs_recorded + found.existing
        is_recorded = f"{counted(recorded, 'run')} recorded, {found.planned - found.done:,} missing"
        raise Interrupted(f"Interrupted: {is_recorded}. {how}")
