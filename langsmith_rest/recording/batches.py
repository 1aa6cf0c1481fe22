"""What travels together: up to 100 results or runs, some megabytes, or two seconds' worth; and halving it."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import Any

import requests

from langsmith_rest.recording.results import Prepared

BATCH = 100  # results, examples, runs or feedback per request
BATCH_CHARACTERS = 8_000_000
REFUSED = (400, 413, 422)  # the server does not take something in the request
FLUSH_SECONDS = 2  # a slow stream is recorded as it comes


@dataclass
class Batch:
    """Results that travel together, and what became of them."""

    results: list[Prepared] = field(default_factory=list)
    began: float = 0  # when the first result came
    runs: int = 0
    size: int = 0  # characters
    earlier: list[Event] = field(default_factory=list)  # batches under way that may make examples this one uses
    examples_answered: Event = field(default_factory=Event)
    counts: Counter[str] = field(default_factory=Counter)  # by their names in Recording
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Prepared) -> bool:
        """Take a result along; returns whether the batch is full."""
        self.began = self.began or monotonic()
        self.results.append(result)
        self.runs += len(result.runs)
        self.size += len(result.text)
        return len(self.results) == BATCH or self.runs >= BATCH or self.size > BATCH_CHARACTERS

    @property
    def is_due(self) -> bool:
        return bool(self.results) and monotonic() > self.began + FLUSH_SECONDS

    def reject(self, result: Prepared, reason: str) -> None:
        result.state = "rejected"
        self.rejected.append({"result": result.number, "reason": reason})

    def deliver(self, post: Callable[[Sequence[Prepared]], None], results: Sequence[Prepared], words: str = "") -> None:
        """Post results; those that are refused are rejected with these words before the server's."""
        post_or_halve(post, results, lambda result, reason: self.reject(result, words + reason))

    def wait_for_earlier(self) -> None:
        for answered in self.earlier:
            answered.wait()


def in_batches(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Yield the items in lists of `size`; the last one may be shorter."""
    iterator = iter(items)
    while some := list(itertools.islice(iterator, size)):
        yield some


def packed(units: Sequence[Sequence[bytes]], max_bytes: int) -> Iterator[list[bytes]]:
    """Pack bodies into requests of at most 100 and `max_bytes`; only a unit that fits in none is torn apart."""
    whole = [body for unit in units for body in unit]
    if len(whole) < 2 or len(whole) <= BATCH and sum(map(len, whole)) + len(whole) <= max_bytes:
        yield from [whole] if whole else []
        return
    parts = units if len(units) > 1 else [[body] for body in whole]
    for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
        yield from packed(half, max_bytes)


def post_or_halve(post: Callable[[Sequence[Any]], None], units: Sequence[Any], refuse: Callable[..., None]) -> None:
    """Post units at once; if they are refused, in halves, until what is refused stands alone and is reported."""
    try:
        if units:
            post(units)
    except OSError as error:  # a refusal (those of `requests` are OSErrors), or a file that cannot be read any more
        if isinstance(error, requests.RequestException) and status_of(error) not in REFUSED:
            raise
        if len(units) == 1:
            refuse(units[0], f"{error.filename}: {error.strerror}" if error.filename else str(error))
            return
        half = len(units) // 2
        post_or_halve(post, units[:half], refuse)
        post_or_halve(post, units[half:], refuse)


def status_of(error: requests.RequestException) -> int:
    """The status that an error was answered with; 0 when there was no answer."""
    return error.response.status_code if error.response is not None else 0
