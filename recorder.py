"""The for loop: results become the examples of a dataset, and the runs and feedback of an experiment."""

import gc
import uuid
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic, sleep
from typing import Any

import requests

import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.recording.results import Overview, Prepared, Result, check_results, named, prepare, unfit
from langsmith_rest.recording.sending import BATCH, Batch, Item, Sender, Tally, TooLate, open_session

BATCH_CHARACTERS = 8_000_000
ABREAST, MOST_ABREAST = 2, connection.CONNECTIONS + 2  # batches under way; few are enough for a near server
NEAR_SECONDS = 0.03  # answers that take longer are not waited for one after the other
FLUSH_SECONDS = 2  # a slow stream is recorded as it comes
LONGEST_STREAMED = timedelta(hours=1)  # how much longer than the first result those that follow may take
READ_BACK_SECONDS = 120
TICK: Any = {}  # in a stream this very object is no result, but time to send those that wait


@dataclass
class Recording:
    """What was recorded, and where to look at it."""

    dataset_id: str
    dataset_name: str
    experiment_id: str
    experiment_name: str
    url: str
    results: int = 0
    examples_created: int = 0
    examples_existing: int = 0
    runs_recorded: int = 0  # results whose runs were sent in this call
    runs_existing: int = 0  # results whose runs were there before
    feedback: int = 0  # created or changed in this call
    rejected: list[dict[str, Any]] = field(default_factory=list)  # {"result": number from 1, "reason": text}


class RecordingError(Exception):
    """Recording had to stop; the message says what is recorded and what is not, `recording` holds the counts."""

    def __init__(self, message: str, recording: Recording) -> None:
        super().__init__(message)
        self.recording = recording


def record_langsmith_experiment(
    dataset_name: str,
    results: Iterable[Result],
    *,
    experiment_name: str | None = None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
    langsmith: LangSmith | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    verify: bool = True,
) -> Recording:
    """Record `results` as one experiment of a dataset; doing it again changes nothing.

        results = [{"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, "feedback": {"correct": 1}}]
        recording = record_langsmith_experiment("capitals", results)
        print(recording.url)

    All results are checked before the first request. Only a generator with an `experiment_name` is streamed, in flat
    memory: what is wrong in it is listed in `rejected`. Without a name the experiment is called after the dataset and
    a hash of both. `langsmith` is a connection of `connection.connect`, which is also the default. `on_progress` is
    called with the number of results done and of all (None while streaming). `verify` reads the experiment back.

    Raises ValueError for bad results, SetupError without key or endpoint, LookupError when the name belongs to
    another dataset, RecordingError when it had to stop half way. What LangSmith refused is in `rejected`.
    """
    if results is None or isinstance(results, str | bytes | dict):
        raise ValueError(f"results is {named(results)}, expected a list or a generator of results.")
    api = langsmith or connection.connect()
    options: Any = {"description": description, "metadata": metadata, "on_progress": on_progress, "verify": verify}
    is_iterator = iter(results) is results
    if experiment_name and is_iterator:
        return record(api, dataset_name, results, experiment_name, None, **options)
    if is_iterator or isinstance(results, Sized):
        results = list(results)  # of what may come only once (a progress bar's), or may be changed meanwhile
    with uncollected():
        overview = check_results(results)
        experiment_name = experiment_name or bodies.default_name(dataset_name, dataset_name, overview.hash)
        return record(api, dataset_name, results, experiment_name, overview, **options)


def record(
    api: LangSmith,
    dataset_name: str,
    results: Iterable[Any],
    experiment_name: str,
    overview: Overview | None,
    *,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    verify: bool = True,
) -> Recording:
    """Do what `record_langsmith_experiment` promises, for results that are the same each time they are gone through.

    `overview` is None when they are not checked yet.
    """
    named = {"dataset": dataset_name, "experiment": experiment_name, "description": description, "metadata": metadata}
    problems = [problem for name, value in named.items() for problem in unfit(value, name)]
    if problems or not dataset_name:
        raise ValueError("\n".join(problems) or "The dataset has no name: give it one.")
    recording = Recording("", dataset_name, "", experiment_name, "")
    total = overview.count if overview else None
    prepared: Iterator[Prepared] = sound(results, recording)
    if overview and overview.fields:
        prepared = zip(range(1, overview.count + 1), results, overview.fields, strict=True)
    if overview is None:
        first = next((one for one in prepared if one[1] is not TICK), None)
        if first is None:
            raise ValueError(f"There is nothing to record. {recording.rejected or ''}".strip())
        prepared, overview = chain([first], prepared), Overview()
        overview.add(first[1])
        if overview.earliest:
            overview.longest = max(overview.longest, LONGEST_STREAMED)
    under_way: deque[tuple[Batch, Future[None]]] = deque()
    broken: list[Exception] = []
    sent = Sent()
    abreast = ABREAST

    def settle() -> None:
        nonlocal abreast
        batch, future = under_way[0]
        asked = monotonic()
        future.result()
        if monotonic() - asked > NEAR_SECONDS:
            abreast = min(2 * abreast, MOST_ABREAST)
        under_way.popleft()
        add_up(recording, batch)
        sent.add(batch)
        if on_progress:
            on_progress(recording.results, total)

    pool = ThreadPoolExecutor(connection.CONNECTIONS)
    try:
        asked = monotonic()
        dataset, is_new = rest.get_or_create_dataset(api, dataset_name)
        if monotonic() - asked > NEAR_SECONDS:
            abreast = MOST_ABREAST
        start = bodies.session_start(overview.earliest, overview.longest, datetime.now(UTC))
        session_body = bodies.session_body(dataset["id"], experiment_name, start, description, metadata)
        opening = pool.submit(open_session, api, session_body)
        sender = Sender(api, dataset["id"], is_new, session_body, opening)
        for batch in batches(prepared, dataset["id"], broken):
            if not all(item.makes_example for item in batch.items):
                batch.earlier = [other.examples_answered for other, _ in under_way]
            sender.build(batch)
            under_way.append((batch, pool.submit(sender.send, batch)))
            while len(under_way) > abreast or (under_way and under_way[0][1].done()):
                settle()
        while under_way:
            settle()
        session, existing = opening.result()
        recording.dataset_id, recording.experiment_id = dataset["id"], session["id"]
        recording.url = rest.experiment_url(api, dataset, session["id"])
        if sent.numbers or recording.feedback or not session.get("end_time"):
            end_time = max(bodies.timestamp(datetime.now(UTC)), sent.last_end)
            closing = pool.submit(rest.close_session, api, session["id"], end_time)
            if verify and sent.numbers:
                expected = len(sent.numbers) + (len(existing) if existing else 0)
                recording.rejected += read_back(api, session, expected, sent)
            if failed := closing.exception():
                connection.log.warning("All is recorded, but the experiment could not be closed: %s", failed)
    except Exception as error:
        pool.shutdown(cancel_futures=True)  # waits for what is under way
        if not isinstance(error, requests.RequestException | TooLate):
            raise
        for batch, _ in under_way:
            add_up(recording, batch)
        raise RecordingError(what_is_missing(error, recording, under_way, total), recording) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for nothing
    if broken:
        raise broken[0]
    if overview.is_checked and total != recording.results:
        raise RecordingError(f"{total} results were checked, but {recording.results} came to be recorded.", recording)
    return recording


# ---------------------------------------------------------------- before sending


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from going through all that the program holds, again and again.

    Freezing lasts for the whole process, so a program that did it itself is left alone.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def sound(results: Iterable[Any], recording: Recording) -> Iterator[Prepared]:
    """Prepare the results of a stream; those that are not what they should be are rejected."""
    number = 0
    for result in results:
        if result is TICK:
            yield number, TICK, {}
            continue
        number += 1
        fields, _, problems = prepare(result)
        if problems:
            recording.results += 1
            recording.rejected.append({"result": number, "reason": "; ".join(problems)})
        else:
            yield number, {**result}, fields  # a copy, for a generator may use one object again


def batches(prepared: Iterable[Prepared], dataset_id: str, broken: list[Exception]) -> Iterator[Batch]:
    """Group results into what travels together: up to 100 results or runs, some megabytes, or two seconds' worth.

    When their source breaks, what it gave before is recorded all the same, and its error goes to `broken`.
    """
    examples, results = Tally(), Tally()
    batch, size, runs, deadline = Batch(), 0, 0, monotonic() + FLUSH_SECONDS
    try:
        for number, result, fields in prepared:
            if result is not TICK:
                text = bodies.canonical_result(fields)
                given = result.get("example_id")
                example_id = given or bodies.example_id(dataset_id, fields)
                makes_example = not given and not examples.add(example_id)
                batch.items.append(Item(number, result, fields, text, example_id, makes_example, results.add(text)))
                size, runs = size + len(text), runs + count_runs(result)
            is_full = len(batch.items) == BATCH or runs >= BATCH or size > BATCH_CHARACTERS
            if is_full or (batch.items and monotonic() > deadline):
                yield batch
                batch, size, runs, deadline = Batch(), 0, 0, monotonic() + FLUSH_SECONDS
    except Exception as error:
        broken.append(error)
    if batch.items:
        yield batch


def count_runs(run: Mapping[str, Any]) -> int:
    return 1 + sum(count_runs(child) for child in run.get("child_runs") or ())


# ---------------------------------------------------------------- after sending


class Sent:
    """The results whose runs this call sent, in 24 bytes each, and when the last of these runs ended."""

    def __init__(self) -> None:
        self.numbers, self.ids, self.last_end = array("Q"), bytearray(), bodies.timestamp(EPOCH)

    def add(self, batch: Batch) -> None:
        for item in batch.items:
            if item.is_sent and item.state == "recorded":
                self.numbers.append(item.number)
                self.ids += bytes.fromhex(item.root.id.replace("-", ""))
                self.last_end = max(self.last_end, item.root.end_time)

    def missing_from(self, there: Tally) -> list[int]:
        ids = (str(uuid.UUID(bytes=bytes(self.ids[at : at + 16]))) for at in range(0, len(self.ids), 16))
        return [number for number, i in zip(self.numbers, ids, strict=True) if i not in there]


def add_up(recording: Recording, batch: Batch) -> None:
    """Add what became of a batch to the result of the whole."""
    recording.results += len(batch.items)
    recording.rejected += batch.rejected
    for name, number in batch.counts.items():
        setattr(recording, name, getattr(recording, name) + number)


def read_back(api: LangSmith, session: dict[str, Any], expected: int, sent: Sent) -> list[dict[str, Any]]:
    """Wait until the experiment has the runs that it should have; name the results whose runs do not appear."""
    deadline, pause = monotonic() + READ_BACK_SECONDS, 0.2
    while (count := rest.read_session(api, session["id"]).get("run_count") or 0) != expected:
        is_late = monotonic() + pause > deadline
        if is_late or count > expected:  # when others record here, too, only the ids can tell
            there = Tally(rest.list_run_ids(api, session["id"], parse_time(session["start_time"]) or EPOCH))
            missing = sent.missing_from(there)
            if is_late or not missing:
                reason = f"accepted, but not to be found {READ_BACK_SECONDS} s later, so not confirmed"
                return [{"result": number, "reason": reason} for number in missing]
        sleep(pause)
        pause = min(1.5 * pause, 10)
    return []


def what_is_missing(
    error: Exception, recording: Recording, under_way: Iterable[tuple[Batch, Any]], total: int | None
) -> str:
    """Say why a recording stopped, what is recorded, and what is not."""
    items = [item for batch, _ in under_way for item in batch.items]
    missing = [item.number for item in items if not item.state]
    recorded = recording.results - len(missing) - len(recording.rejected)
    last = items[-1].number if items else recording.results
    named = in_words([*missing, *range(last + 1, (total or last) + 1)]) + ([f"{last + 1}-..."] if total is None else [])
    if not named:
        return f"{error}\nAll {recorded} results were accepted before that. Record the same again to be sure."
    refused = ", ".join(in_words(sorted(rejected["result"] for rejected in recording.rejected)))
    return (
        f"{error}\n{recorded} of {total or 'the'} results are recorded; {refused and f'refused: {refused}; '}"
        f"not, or not completely: {', '.join(named)}. Record the same again: only what is missing will be sent."
    )


def in_words(numbers: Iterable[int]) -> list[str]:
    """Numbers in ascending order as 3, 5-7."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ["-".join(map(str, run)) for run in found]
