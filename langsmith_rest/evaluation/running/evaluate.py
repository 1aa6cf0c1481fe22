"""Run a system over a dataset and score it, score an experiment that is there, or judge two of them pairwise."""

import asyncio
import contextlib
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.evaluation.evaluators.calling import RUN, SUMMARY, TARGET, Await, Evaluator, Run, bind, ready, score
from langsmith_rest.evaluation.running import scoring
from langsmith_rest.evaluation.running.resume import Plan, count_doubled, facts_of, find_own, has_failed, plan_runs
from langsmith_rest.evaluation.running.scoring import Tally
from langsmith_rest.evaluation.running.targets import (
    TARGET_HASH,
    event_loop,
    load_data,
    provenance,
    run_target,
    target_hash,
)
from langsmith_rest.recording import bodies
from langsmith_rest.recording.sources import Stream
from langsmith_rest.wording import counted

POLL_SECONDS = 0.25  # how often results that wait to be sent, and Ctrl-C, are looked at

Progress = Callable[["Evaluation"], None]


@dataclass
class Evaluation:
    """What was run and scored, and where to look at it."""

    dataset_id: str
    dataset_name: str
    experiment_id: str
    experiment_name: str
    url: str = ""
    planned: int = 0  # runs of the target, or of the experiment, that this call is about
    done: int = 0  # of these, those that were run or scored in this call
    existing: int = 0  # runs that were there before and are not run again
    errors: int = 0  # runs of the experiment in which the target failed
    left_out: int = 0  # runs of this call in which it failed, and that are not recorded
    scored: int = 0  # recorded runs that were scored in this call
    feedback: Counter[str] = field(default_factory=Counter)  # created, updated, deleted
    rejected: list[dict[str, Any]] = field(default_factory=list)  # {"result": number, "reason": text}
    tally: Tally = field(default_factory=Tally)
    silent: list[str] = field(default_factory=list)  # evaluators of this call whose name no feedback has
    doubled: int = 0  # examples with more runs than were asked for: somebody else ran them at the same time
    target_changed: bool = False  # the experiment was begun with another target, or another version of its file
    bare: int = 0  # answers of this call that were no dictionaries
    nothing: int = 0  # of these, those that were None
    started: float = field(default_factory=monotonic)

    @property
    def evaluator_errors(self) -> int:
        return self.tally.failures.total()

    def as_json(self) -> dict[str, Any]:
        names = ("dataset_id", "dataset_name", "experiment_id", "experiment_name", "url", "planned", "done", "existing")
        more = ("errors", "left_out", "scored", "evaluator_errors", "rejected", "doubled", "target_changed")
        found = {name: getattr(self, name) for name in (*names, *more)}
        return {**found, "feedback": dict(self.feedback), "scores": self.tally.as_json()}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: what was finished is recorded, and the message says how to go on."""


class ExecutorError(RuntimeError):
    """The executor could not run the target, or lost it; the message says how to go on."""


def evaluate(
    target: Callable[..., Any] | str | Sequence[str],
    data: Any = None,
    evaluators: Sequence[Callable[..., Any]] = (),
    summary_evaluators: Sequence[Callable[..., Any]] = (),
    *,
    experiment_prefix: str | None = None,
    experiment_name: str | None = None,
    max_concurrency: int = 4,
    num_repetitions: int = 1,
    metadata: dict[str, Any] | None = None,
    description: str | None = None,
    splits: list[str] | None = None,
    error_handling: str = "log",
    executor: Executor | None = None,
    retry_errors: bool = False,
    dataset_name: str | None = None,
    randomize_order: bool = False,
    seed: int = 0,
    langsmith: LangSmith | None = None,
    on_progress: Progress | None = None,
    stop: threading.Event | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Any:
    """Run `target` over `data`, score what it answers, and record both as an experiment, as they come.

        found = evaluate(my_agent, "capitals", [exact_match], experiment_prefix="v2")
        print(found.url, found.tally.as_json())

    `target` is a function of inputs, sync or async; the name or id of an experiment, which is scored (again); or two
    or more of these, which are judged pairwise (see `evaluation.pairwise`). `data` is a dataset's name or id, a JSON
    lines file, or a list of examples. The same call with the same `experiment_name` goes on where it stopped: only
    what is missing is run, with `retry_errors` what failed, too (the new run names the failed one, which then no
    longer counts). `error_handling="ignore"` leaves failed runs out, so that they are missing still.

    `executor` (of concurrent.futures, Dask, Ray, ...) runs the target elsewhere, `max_concurrency` calls at a time;
    evaluators run here. Setting `stop` ends it as Ctrl-C does. Returns an Evaluation (a Comparison for a pair).
    Raises ValueError for what cannot be called or read, LookupError for what is not there, Interrupted after Ctrl-C.
    """
    if max_concurrency < 1 or num_repetitions < 1:
        raise ValueError("max_concurrency and num_repetitions are numbers from 1.")
    if error_handling not in ("log", "ignore"):
        raise ValueError(f"error_handling is {error_handling!r}, expected 'log' or 'ignore'.")
    api = langsmith or connection.connect()
    if isinstance(target, list | tuple):
        from langsmith_rest.evaluation.running.pairwise import judge_pairwise

        return judge_pairwise(
            api, list(target), evaluators, name=experiment_name or experiment_prefix, description=description,
            metadata=metadata, randomize_order=randomize_order, seed=seed, max_concurrency=max_concurrency,
        )  # fmt: skip
    bound, summary = ready(evaluators, RUN), ready(summary_evaluators, SUMMARY)
    with event_loop(loop) as await_it:
        if isinstance(target, str):
            session, of_dataset = find_experiment(api, target, data)
            found = start(api, of_dataset, session["id"], session["name"])
            found.planned = rest.read_session(api, session["id"]).get("run_count") or 0
            rescore(api, session, found, bound, max_concurrency, await_it, on_progress)
        else:
            if not callable(target):
                raise ValueError(f"The target is {target!r}, expected a function, an experiment, or a pair of these.")
            work = bind(target, TARGET)
            asks_files = any(one.wants("attachments") for one in [work, *bound])
            of_dataset, examples = load_data(api, data, splits, dataset_name, asks_files)
            name = experiment_name or f"{experiment_prefix or work.key}-{uuid.uuid4().hex[:8]}"
            found = start(api, of_dataset, bodies.experiment_id(of_dataset["id"], name), name)
            begun_before = find_own(api, found)
            begun = facts_of(begun_before)
            plan = plan_runs(api, found, begun_before, examples, num_repetitions, retry_errors, bound)
            facts = {**provenance(examples, splits, num_repetitions), **target_hash(target), **(metadata or {})}
            hashes = {known[TARGET_HASH] for known in (begun, facts) if TARGET_HASH in known}
            found.target_changed = len(hashes) > 1
            running = Running(work, bound, await_it, executor, max_concurrency, error_handling == "ignore", found)
            running.on_progress, running.stop = on_progress, stop or threading.Event()
            record_runs(api, running, plan, description, facts)
            session = wing.find_experiment(api, name, of_dataset["id"])
            earlier = begun.get("num_repetitions")  # or whatever the caller put there
            wanted = max(num_repetitions, earlier if isinstance(earlier, int) else 1)
            found.doubled = count_doubled(api, found, examples, wanted)
            if plan.unscored and bound:
                rescore(api, session, found, bound, max_concurrency, await_it, on_progress, plan.unscored)
        if summary:
            runs = list(scoring.read_runs(api, of_dataset["id"], session, with_steps=asks_for_runs(summary)))
            found.feedback += scoring.summarise(api, session, runs, summary, await_it, found.tally)
    if found.existing and not (found.done or found.scored):
        found.silent = [evaluator.key for evaluator in bound if evaluator.key not in found.tally.as_json()]
    return found


async def aevaluate(target: Any, data: Any = None, evaluators: Any = (), summary_evaluators: Any = (), **options: Any):  # type: ignore[no-untyped-def]
    """Do what `evaluate` does without blocking; async targets and evaluators run in the event loop of the caller."""
    options = {"stop": threading.Event(), **options, "loop": asyncio.get_running_loop()}
    try:
        return await asyncio.to_thread(evaluate, target, data, evaluators, summary_evaluators, **options)
    except asyncio.CancelledError:
        options["stop"].set()
        raise


def start(api: LangSmith, dataset: dict, experiment_id: str, name: str) -> Evaluation:
    url = rest.experiment_url(api, dataset, experiment_id)
    return Evaluation(dataset["id"], dataset["name"], experiment_id, name, url)


def asks_for_runs(evaluators: Sequence[Evaluator]) -> bool:
    """Whether the steps of runs have to be read, which takes as long as there are steps."""
    return any(evaluator.wants("run", "runs") for evaluator in evaluators)


# ---------------------------------------------------------------- an experiment that is there


def find_experiment(api: LangSmith, name: str, data: Any) -> tuple[dict, dict]:
    if data is not None and not isinstance(data, str):
        raise ValueError("The experiment says what its data is: leave `data` out, or give the name of its dataset.")
    dataset = None
    if data is not None:
        dataset = wing.read_dataset(api, data) if wing.UUID.fullmatch(data) else wing.find_dataset(api, data)
    session = wing.find_experiment(api, name, dataset["id"] if dataset else None)
    return session, dataset or wing.read_dataset(api, session["reference_dataset_id"])


def rescore(
    api: LangSmith,
    session: dict,
    found: Evaluation,
    evaluators: Sequence[Evaluator],
    max_concurrency: int,
    await_it: Await,
    on_progress: Progress | None,
    only: set[str] | None = None,
) -> None:
    """Score recorded runs: all of an experiment, or `only` some of them."""

    lock = threading.Lock()

    def count(run: Run) -> None:
        with lock:
            found.scored += 1
            found.errors += only is None and has_failed(run)
        if on_progress:
            on_progress(found)

    runs = scoring.read_runs(api, found.dataset_id, session, with_steps=asks_for_runs(evaluators))
    chosen = (pair for pair in runs if only is None or pair[0]["id"] in only)
    found.feedback += scoring.score_runs(
        api, chosen, evaluators, max_concurrency, await_it, found.tally, count, with_others=only is not None
    )


# ---------------------------------------------------------------- running


@dataclass
class Running:
    """A target at work: what is called, how, and what became of it so far."""

    target: Evaluator
    evaluators: Sequence[Evaluator]
    await_it: Await
    executor: Executor | None
    max_concurrency: int
    leaves_out_errors: bool
    found: Evaluation
    on_progress: Progress | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    def run(self, example: dict, retry_of: str | None) -> dict[str, Any] | None:
        """Call the target with an example and score its answer; returns a result to be recorded."""
        seen = scoring.as_example(example)
        values = {"inputs": seen.inputs or {}, "attachments": seen.attachments, "metadata": seen.metadata or {}}
        outcome = self.elsewhere(values) if self.executor else run_target(self.target, values, self.await_it)
        is_bare = outcome.pop("bare", False)
        result = {"inputs": seen.inputs or {}, **outcome, "name": self.target.key[:128], "run_type": "chain"}
        result |= {"example_id": example["id"], "metadata": {wing.RETRY_OF: retry_of} if retry_of else None}
        if self.leaves_out_errors and "error" in outcome:
            with self.lock:
                self.found.left_out += 1
                self.show_progress()
            return None
        run = Run({**result, "outputs": result.get("outputs") or {}, "child_runs": []})
        run |= {"reference_example_id": example["id"], "metadata": result["metadata"] or {}}
        at_hand = scoring.values_of(run, seen)
        said = [(evaluator.key, score(evaluator, at_hand, self.await_it)) for evaluator in self.evaluators]
        self.count(outcome, is_bare, said)
        return {**result, "feedback": [item for _, items in said for item in items]}

    def elsewhere(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Call the target through the executor; what goes wrong with that is no answer of the target."""
        assert self.executor
        try:
            return self.executor.submit(run_target, self.target, values).result()
        except Exception as error:
            reason = f"The executor lost a call of the target ({type(error).__name__}: {error})."
            raise ExecutorError(f"{reason} What was finished is recorded. {how_to_go_on(self.found)}") from error

    def count(self, outcome: Mapping[str, Any], is_bare: bool, said: scoring.Said) -> None:
        with self.lock:
            self.found.done += 1
            self.found.bare += is_bare
            self.found.nothing += is_bare and outcome.get("outputs") == {"output": None}
            self.found.errors += "error" in outcome
            self.found.tally.add_said(said)
            self.show_progress()

    def show_progress(self) -> None:
        if self.on_progress:
            self.on_progress(self.found)


def results_of(running: Running, missing: Iterable[tuple[dict, str | None]]) -> Generator[Any, None, None]:
    """Yield results as they are finished, at most `max_concurrency` under way; ends early, but whole, on `stop`."""
    waiting, under_way = iter(missing), set[Future[Any]]()
    pool = ThreadPoolExecutor(running.max_concurrency)
    try:
        while True:
            while len(under_way) < running.max_concurrency and not running.stop.is_set():
                task = next(waiting, None)
                if task is None:
                    break
                under_way.add(pool.submit(running.run, *task))
            if not under_way:
                return
            done, under_way = wait(under_way, POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                if (result := future.result()) is not None:
                    yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def record_runs(
    api: LangSmith, running: Running, plan: Plan, description: str | None, metadata: dict[str, Any]
) -> None:
    """Run what is missing and record it while it comes."""
    found = running.found
    if not plan.missing:
        return
    how = how_to_go_on(found)
    results = results_of(running, plan.missing)
    stream = Stream(results, len(plan.missing), earliest=datetime.now(UTC))  # no run starts before this
    try:
        with interruptible(running.stop):
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
    if running.stop.is_set() and found.done + found.left_out < found.planned:
        recorded = recording.runs_recorded + found.existing
        is_recorded = f"{counted(recorded, 'run')} recorded, {found.planned - found.done:,} missing"
        raise Interrupted(f"Interrupted: {is_recorded}. {how}")


def how_to_go_on(found: Evaluation) -> str:
    return (
        f"To go on, do the same with the experiment name {found.experiment_name!r}: only what is missing will be run."
    )


@contextlib.contextmanager
def interruptible(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C set `stop`, so that what is under way can finish; the next one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
