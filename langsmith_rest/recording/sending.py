"""One batch on its way: its examples, then its runs, then its feedback, and what to do when something is refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import requests

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import EPOCH, parse_time

BATCH = 100  # results, examples, runs or feedback per request
EXAMPLE_BYTES, RUN_BYTES = 10_000_000, 20_000_000  # per request
LAST_CALL = timedelta(hours=23, minutes=55)  # older runs are refused


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
