"""Run a function on the examples of a dataset and score it, score an experiment, or judge two in pairs."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, ready
from langsmith_rest.evaluation.loops import Stop, awaiting
from langsmith_rest.evaluation.running.data import load_data
from langsmith_rest.evaluation.running.evaluation import Progress
from langsmith_rest.evaluation.running.pairwise import Asked, judge_pairs
from langsmith_rest.evaluation.running.run import Wanted, run_experiment
from langsmith_rest.evaluation.running.scoring import score_experiment, summarise
from langsmith_rest.evaluation.running.targets import as_target
from langsmith_rest.evaluation.running.workers import Workers


def evaluate(
    target: Any,
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
    limit: int | None = None,
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
    """Run `target` on every example of `data`, score its answers, and record both as an experiment while it runs.

        found = evaluate(my_agent, "capitals", [exact_match], experiment_prefix="v2")
        print(found.url, found.scores.as_json())

    `target` is one of:
    - a function of the example's inputs (a dict), sync or async, or an object with `invoke` or `ainvoke`;
    - the name or id of an experiment, whose recorded runs are scored (again);
    - two or more experiments, whose answers are judged in pairs by pairwise evaluators.

    `data` is the name or id of a dataset, a file (JSON lines, JSON or CSV), or a list of examples: those of the API,
    or dicts with `inputs` and optionally `reference_outputs`, `metadata` and `split`. A file or list becomes a
    dataset, called `dataset_name` or after the file. `splits` takes only examples of these splits, and `limit` only
    the first ones: of a dataset in the order of their ids, otherwise in the order of the file or list. Each example
    runs `num_repetitions` times.

    `evaluators` score one answer each, `summary_evaluators` the whole experiment. An evaluator that fails is recorded
    as failed feedback, not as 0; ready-made evaluators do not score failed runs.

    The experiment is called `experiment_name`, or `experiment_prefix` (default: the function's name) and a random
    suffix. The same call with the same `experiment_name` resumes: it runs only what is missing, and with
    `retry_errors` also repeats failed runs (the new run replaces the failed one, which no longer counts).
    With `error_handling="ignore"`, failed runs are not recorded, so they stay missing.

    `max_concurrency` calls run at the same time, in threads or on `executor` (concurrent.futures, Dask, Ray, ...);
    evaluators always run in this process. Async code runs in `loop` or, by default, in one event loop of this call.
    `on_progress` is called with the Evaluation so far. Setting `stop` ends the evaluation as Ctrl-C does.

    Returns an Evaluation, or Preferences for pairs. Raises ValueError for what cannot be called or read, LookupError
    for a dataset or experiment that does not exist, and Interrupted after Ctrl-C; what was finished is then recorded.
    """
    if max_concurrency < 1 or num_repetitions < 1 or (limit is not None and limit < 1):
        raise ValueError("max_concurrency, num_repetitions and limit must be 1 or more.")
    if error_handling not in ("log", "ignore"):
        raise ValueError(f"error_handling is {error_handling!r}, expected 'log' or 'ignore'.")
    api = langsmith or connection.connect()
    calls = stop if isinstance(stop, Stop) else Stop()
    with awaiting(loop, calls) as await_it:
        workers = Workers(max_concurrency, await_it, executor, stop or calls)
        if isinstance(target, list | tuple):
            asked = Asked(experiment_name or experiment_prefix, description, metadata, randomize_order, seed)
            return judge_pairs(api, list(target), ready(evaluators, PAIRWISE), asked, workers)
        bound, summary = ready(evaluators, RUN), ready(summary_evaluators, SUMMARY)
        if isinstance(target, str):
            found = score_experiment(api, target, data, bound, workers, on_progress, limit)
        else:
            work = as_target(target)
            asks_files = any(one.wants("attachments") for one in (work, *bound))
            dataset, examples = load_data(api, data, splits, dataset_name, asks_files, limit, experiment_name)
            wanted = Wanted(
                experiment_name, experiment_prefix, description, metadata or {}, splits, num_repetitions,
                retry_errors, error_handling == "ignore",
            )  # fmt: skip
            found = run_experiment(api, work, (dataset, examples), bound, wanted, workers, on_progress)
        if summary:
            summarise(api, found, summary, await_it)
    return found


async def aevaluate(target: Any, data: Any = None, evaluators: Any = (), summary_evaluators: Any = (), **options: Any):  # type: ignore[no-untyped-def]
    """Evaluate as `evaluate` does, without blocking; async targets and evaluators run in the caller's event loop.

    If it is cancelled, the calls in progress are cancelled too. Runs that were finished before are recorded.
    """
    stop = Stop()
    options = {"stop": stop, **options, "loop": asyncio.get_running_loop()}

    def work() -> tuple[Any, BaseException | None]:
        try:
            return evaluate(target, data, evaluators, summary_evaluators, **options), None
        except (
            BaseException
        ) as error:  # a future would lose a StopIteration, and a KeyboardInterrupt would end the loop
            return None, error

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        found, error = await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.cancel()
        options["stop"].set()
        await working
        raise
    if error is not None:
        raise error
    return found
