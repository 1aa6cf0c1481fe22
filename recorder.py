"""The for loop: results become the examples of a dataset, and the runs and feedback of an experiment."""

import gc
import uuid
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from threading import Event
from time import monotonic, sleep
from typing import Any

import requests

import recorder_bodies as bodies
import rest
from recorder_bodies import EPOCH, parse_time
from recorder_results import Overview, Prepared, Result, check_results, named, prepare, unfit
from rest import LangSmith

BATCH = 100  # results, examples, runs or feedback per request
BATCH_CHARACTERS = 8_000_000
ABREAST, MOST_ABREAST = 2, rest.CONNECTIONS + 2  # batches under way; few are enough for a near server
NEAR_SECONDS = 0.03  # answers that take longer are not waited for one after the other
FLUSH_SECONDS = 2  # a slow stream is recorded as it comes
EXAMPLE_BYTES, RUN_BYTES = 10_000_000, 20_000_000  # per request
LAST_CALL = timedelta(hours=23, minutes=55)  # older runs are refused
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
    a hash of both. `langsmith` is a connection of `rest.connect`, which is also the default. `on_progress` is
    called with the number of results done and of all (None while streaming). `verify` reads the experiment back.

    Raises ValueError for bad results, rest.SetupError without key or endpoint, LookupError when the name belongs to
    another dataset, RecordingError when it had to stop half way. What LangSmith refused is in `rejected`.
    """
    if results is None or isinstance(results, str | bytes | dict):
        raise ValueError(f"results is {named(results)}, expected a list or a generator of results.")
    api = langsmith or rest.connect()
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

    pool = ThreadPoolExecutor(rest.CONNECTIONS)
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
                rest.log.warning("All is recorded, but the experiment could not be closed: %s", failed)
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
    """Keep the garbage collector from going through all that the program holds, again and again: a tenth of the time.

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


class Tally:
    """Counts texts by their hashes, in 8 bytes each, so that a million results need 15 MB."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._buckets = [b""] * 0x4000
        self._again: Counter[bytes] = Counter()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> int:
        """Count `text`, and return how often it was counted before."""
        bits = hash(text)
        mark, bucket = bits.to_bytes(8, signed=True), self._buckets[bits & 0x3FFF]
        if mark in bucket:
            self._again[mark] += 1
            return self._again[mark]
        self._buckets[bits & 0x3FFF] = bucket + mark
        return 0

    def __contains__(self, text: str) -> bool:
        return hash(text).to_bytes(8, signed=True) in self._buckets[hash(text) & 0x3FFF]

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // 8 + self._again.total()


@dataclass(slots=True)
class Item:
    """One result on its way."""

    number: int  # from 1
    result: Mapping[str, Any]
    fields: dict[str, str]  # as canonical JSON
    text: str  # all of them
    example_id: str
    makes_example: bool
    occurrence: int  # how many identical results came before it
    example: bytes = b""  # the body of its example, if it makes one
    root: bodies.Run = field(init=False)
    runs: Sequence[bytes] = ()  # the bodies of its trace, the root last
    feedback: list[dict[str, Any]] = field(default_factory=list)
    is_sent: bool = False  # whether its runs are sent in this call
    state: str = ""  # "recorded" or "rejected" in the end


@dataclass
class Batch:
    """Up to 100 results that travel together, and what became of them."""

    items: list[Item] = field(default_factory=list)
    earlier: list[Event] = field(default_factory=list)  # batches under way that may make examples this one uses
    examples_answered: Event = field(default_factory=Event)
    built_for: tuple[str, datetime] = ("", EPOCH)  # id and start of the session that its traces belong to
    counts: Counter[str] = field(default_factory=Counter)  # by their names in Recording
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def wait_for_earlier(self) -> None:
        for answered in self.earlier:
            answered.wait()

    def reject(self, item: Item, reason: str) -> None:
        item.state = "rejected"
        self.rejected.append({"result": item.number, "reason": reason})


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


# ---------------------------------------------------------------- sending


class TooLate(Exception):
    """The experiment is too old for the runs that it still lacks."""


def open_session(api: LangSmith, session: dict[str, Any]) -> tuple[dict[str, Any], Tally | None]:
    """Create the experiment, or find the one that is there and the ids of the runs it has."""
    try:
        return rest.create_session(api, session), None
    except requests.HTTPError as error:
        if status(error) != 409:
            raise
        found = rest.find_session(api, name=session["name"]) or rest.find_session(api, id=session["id"])
        if not found:
            raise
    dataset_id = found.get("reference_dataset_id")
    if dataset_id != session["reference_dataset_id"]:
        owner = f"dataset {dataset_id}" if dataset_id else "a project without a dataset"
        raise LookupError(f"The experiment name {session['name']!r} is taken by {owner}: record under another name.")
    return found, Tally(rest.list_run_ids(api, found["id"], parse_time(found["start_time"]) or EPOCH))


@dataclass
class Sender:
    """Sends batches, several at once; holds what they share.

    Bodies are made by the thread that loops, in `build`, so that the others do little but wait for the server: threads
    that compute at the same time cost more than they bring.
    """

    api: LangSmith
    dataset_id: str
    is_new_dataset: bool
    expected: dict[str, Any]  # the session as it is unless it was there before
    session: Future[tuple[dict[str, Any], Tally | None]]  # with the ids of its runs if it was there before
    refused_examples: dict[str, str] = field(default_factory=dict)

    def build(self, batch: Batch) -> None:
        """Make the bodies of a batch, for the session if that is known already, else for the expected one."""
        is_known = self.session.done() and not self.session.exception()  # which `send` raises
        session = self.session.result()[0] if is_known else self.expected
        batch.built_for = session_id, start = terms(session)
        for item in batch.items:
            if item.makes_example:
                item.example = bodies.example_body(item.fields, self.dataset_id, item.example_id).encode()
            name = f"{session_id}-{item.example_id}-{item.text}-{item.occurrence}"
            trace = bodies.trace(item.result, item.fields, name, session_id, start, item.example_id)
            item.root, item.runs = trace[-1], [run.body for run in trace]
            item.feedback = [body for run in trace if run.feedback for body in bodies.feedback_bodies(run)]

    def send(self, batch: Batch) -> None:
        """Send the examples, then the runs, then the feedback of a batch; return when all is answered."""
        if any(item.result.get("example_id") for item in batch.items):
            batch.wait_for_earlier()
        try:
            self.send_examples(batch)
        finally:
            batch.examples_answered.set()
        batch.wait_for_earlier()
        self.send_feedback(batch, self.send_runs(batch))
        for item in batch.items:
            item.state = item.state or "recorded"

    def send_examples(self, batch: Batch) -> None:
        given = {item.example_id for item in batch.items if item.result.get("example_id")}
        makers = {item.example_id: item for item in batch.items if item.makes_example}
        known = self.known_examples([*given, *(() if self.is_new_dataset else makers)])
        batch.counts["examples_existing"] += len(known & makers.keys())
        self.refused_examples |= {i: f"example {i} is not in the dataset" for i in given - known - makers.keys()}

        def post(units: list[Unit]) -> None:
            try:
                for encoded in requests_of(units, EXAMPLE_BYTES):
                    rest.create_examples(self.api, encoded)
                batch.counts["examples_created"] += len(units)
            except requests.HTTPError as error:
                known = self.known_examples([item.example_id for item, _ in units]) if status(error) == 409 else set()
                if not known:
                    raise
                batch.counts["examples_existing"] += len(known)  # an answer was lost, or somebody else was quicker
                post([unit for unit in units if unit[0].example_id not in known])

        def refuse(item: Item, reason: str) -> None:
            self.refused_examples[item.example_id] = f"its example was refused: {reason}"

        post_or_halve(post, [(item, (item.example,)) for i, item in makers.items() if i not in known], refuse)

    def known_examples(self, ids: list[str]) -> set[str]:
        pages = (rest.list_examples(self.api, self.dataset_id, some) for some in hundreds(ids))
        return {example["id"] for page in pages for example in page}

    def send_runs(self, batch: Batch) -> list["Unit"]:
        """Send the runs that are not there yet; return the feedback of all that are there now."""
        session, existing = self.session.result()
        if batch.built_for != terms(session):
            self.build(batch)
        too_late = bodies.timestamp(datetime.now(UTC) - LAST_CALL)
        runs: list[Unit] = []
        for item in batch.items:
            if reason := self.refused_examples.get(item.example_id):
                batch.reject(item, reason)
                continue
            if existing and item.root.id in existing:
                batch.counts["runs_existing"] += 1
                continue
            if item.root.start_time < too_late:
                raise TooLate(
                    f"experiment {session['name']!r} started at {session['start_time']}, and LangSmith takes no runs "
                    "that started 24 hours ago or earlier: record under a new experiment name."
                )
            item.is_sent = True
            runs.append((item, item.runs))

        def post(units: list[Unit]) -> None:
            for encoded in requests_of(units, RUN_BYTES):
                rest.create_runs(self.api, encoded)
            batch.counts["runs_recorded"] += len(units)

        post_or_halve(post, runs, batch.reject)
        return [(item, item.feedback) for item in batch.items if item.feedback and not item.state]

    def send_feedback(self, batch: Batch, units: list["Unit"]) -> None:
        if self.session.result()[1] is not None:  # resumed: some may be there, with other content even
            ids = list(dict.fromkeys(body["run_id"] for _, items in units for body in items))
            known = {found["id"]: found for some in hundreds(ids) for found in rest.list_feedback(self.api, some)}
            for body in [body for _, items in units for body in items if body["id"] in known]:
                if any(known[body["id"]].get(name) != body.get(name) for name in ("score", "value", "comment")):
                    rest.update_feedback(self.api, body)
                    batch.counts["feedback"] += 1
            units = [(item, [body for body in items if body["id"] not in known]) for item, items in units]

        def post(units: list[Unit]) -> None:
            for some in hundreds([body for _, items in units for body in items]):
                rest.create_feedback(self.api, some)
            batch.counts["feedback"] += sum(len(items) for _, items in units)

        def refuse(item: Item, reason: str) -> None:
            batch.reject(item, f"recorded, but its feedback was refused: {reason}")

        post_or_halve(post, units, refuse)


def terms(session: dict[str, Any]) -> tuple[str, datetime]:
    """What all runs of a session depend on: its id and its start."""
    return session["id"], parse_time(session["start_time"]) or EPOCH


Unit = tuple[Item, Sequence[Any]]  # what must arrive of one result: all of it or nothing


def status(error: requests.HTTPError) -> int:
    return error.response.status_code


def hundreds(items: list[Any]) -> Iterator[list[Any]]:
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))


def requests_of(units: list[Unit], max_bytes: int) -> Iterator[list[bytes]]:
    """Pack bodies into requests of at most 100 and `max_bytes`; only a result that fits in none is torn apart."""
    packed: list[bytes] = []
    size = 0
    for _, encoded in units:
        fits = len(encoded) <= BATCH and sum(map(len, encoded)) <= max_bytes
        for part in [encoded] if fits else [[body] for body in encoded]:
            weight = sum(map(len, part)) + len(part)
            if packed and (len(packed) + len(part) > BATCH or size + weight > max_bytes):
                yield packed
                packed, size = [], 0
            packed += part
            size += weight
    if packed:
        yield packed


def post_or_halve(post: Callable[[list[Unit]], None], units: list[Unit], refuse: Callable[[Item, str], None]) -> None:
    """Post units at once; if they are refused, in halves, until the guilty one stands alone and is reported."""
    try:
        if units:
            post(units)
    except requests.HTTPError as error:
        if status(error) not in (400, 413, 422):
            raise
        if len(units) == 1:
            refuse(units[0][0], str(error))
            return
        half = len(units) // 2
        post_or_halve(post, units[:half], refuse)
        post_or_halve(post, units[half:], refuse)


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
