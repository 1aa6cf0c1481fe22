"""Slow visibility: LangSmith answers 202 to what it only queues, so runs can be read some time after they were sent."""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable

from localsmith.store import Store
from localsmith.wire import ApiError, Switches

log = logging.getLogger("localsmith")

Write = Callable[[sqlite3.Connection], None]


class Later:
    """Does writes at once, or in their order once `visible_after_seconds` have passed.

    Those that wait are in memory alone: a server that is killed loses them, as LangSmith's queue may.
    """

    def __init__(self, store: Store, switches: Switches) -> None:
        self._store, self._switches = store, switches
        self._waiting: deque[tuple[int, Write]] = deque()
        self._lock = threading.Lock()

    def do(self, write: Write) -> None:
        if not self._switches.visible_after_seconds:
            with self._store.write() as db:
                write(db)
            return
        due = self._switches.now() + int(self._switches.visible_after_seconds * 1_000_000)
        with self._lock:
            self._waiting.append((due, write))

    def catch_up(self, *, all_of_it: bool = False) -> None:
        """Do what is due; whoever is about to read calls this."""
        with self._lock:
            while self._waiting and (all_of_it or self._waiting[0][0] <= self._switches.now()):
                _, write = self._waiting.popleft()
                try:
                    with self._store.write() as db:
                        write(db)
                except ApiError as error:  # answered with 202 long ago
                    log.warning("A write that was accepted is lost: %s", error.message)
