"""How many batches travel at once. Nothing else in the recorder knows of threads."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

import requests

from langsmith_rest.connection import CONNECTIONS, LangSmith
from langsmith_rest.recording import batches
from langsmith_rest.recording.account import Account
from langsmith_rest.recording.batches import Batch
from langsmith_rest.recording.results import Prepared
from langsmith_rest.recording.sending import Sender, open_session
from langsmith_rest.recording.sources import Source
from langsmith_rest.recording.tally import Tally

ABREAST, MOST_ABREAST = 2, CONNECTIONS  # batches under way; few are enough for a near server
NEAR_SECONDS = 0.03  # answers that take longer are not waited for one after the other


class Delivery(AbstractContextManager["Delivery"]):
    """Sends results in batches, several at once, and tells the account what became of them.

    The thread that loops makes all bodies, so that the others do little but wait for the server: threads that compute
    at the same time cost more than they bring.
    """

    def __init__(self, api: LangSmith, source: Source, account: Account) -> None:
        self.api, self.source, self.account = api, source, account
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self.meanwhile = self._pool.submit  # does something while the loop goes on
        self._batch, self._under_way = Batch(), deque[tuple[Batch, Future[None]]]()
        self._examples = Tally()
        self._abreast, self._began = ABREAST, monotonic()
        self._lock, self._over = Lock(), Event()

    def open(
        self, dataset: Mapping[str, Any], is_new: bool, session: dict[str, Any], found: dict[str, Any] | None
    ) -> None:
        """Create the experiment unless it was found, while examples travel already."""
        if monotonic() - self._began > NEAR_SECONDS:
            self._abreast = MOST_ABREAST
        opening = self._pool.submit(open_session, self.api, session, found)
        # As it is, or as it will be: if it turns out to exist with another start, the sender makes runs again.
        # A result that may change meanwhile waits instead.
        self.session: Mapping[str, Any] = found or session if self.source.is_stable else opening.result()[0]
        self._sender = Sender(self.api, dataset["id"], is_new, self.session, opening)
        Thread(target=self._flush_in_time, daemon=True).start()

    def add(self, result: Prepared) -> None:
        """Take a result along; waits while too many batches are under way."""
        with self._lock:
            result.makes_example = bool(result.example.body) and not self._examples.add(result.example.id)
            if self._batch.add(result):
                self._send()
        if len(self._batch.results) < 2:  # one was sent just now, or between two results
            self._settle(self._abreast)

    def finish(self) -> Mapping[str, Any]:
        """Send what is left, wait until all is answered, and return the experiment."""
        with self._lock:
            self._over.set()
            if self._batch.results:
                self._send()
        self._settle(0)
        session, existing = self._sender.opening.result()
        self.account.known_runs = None if existing is None else len(existing)
        return session

    def _send(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not all(result.makes_example for result in batch.results):
            under_way = list(self._under_way)  # in one step: `_settle` may shorten it meanwhile
            batch.earlier = [other.examples_answered for other, _ in under_way]
        self._under_way.append((batch, self._pool.submit(self._sender.send, batch)))

    def _settle(self, most: int) -> None:
        """Add up what is answered, and wait until at most `most` batches are under way."""
        while self._under_way and (len(self._under_way) > most or self._under_way[0][1].done()):
            batch, future = self._under_way[0]
            asked = monotonic()
            future.result()
            if monotonic() - asked > NEAR_SECONDS:
                self._abreast = min(2 * self._abreast, MOST_ABREAST)
            self._under_way.popleft()
            self.account.add(batch)

    def _flush_in_time(self) -> None:
        """Send what waits for too long while the source is slow."""
        while not self._over.wait(batches.FLUSH_SECONDS / 2):
            with self._lock:
                if self._batch.is_due and not self._over.is_set():
                    self._send()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with self._lock:
            self._over.set()
        # An error waits for what is under way; Ctrl-C waits for nothing.
        self._pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        if isinstance(error, requests.RequestException | TimeoutError):
            raise self.account.stopped(error, [batch for batch, _ in self._under_way]) from error
