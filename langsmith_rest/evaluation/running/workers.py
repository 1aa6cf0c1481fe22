"""How calls are made: several at a time, in threads, until all are done or the user stops."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from langsmith_rest.evaluation.loops import Await

TICK_SECONDS = 0.25  # how often waiting results and Ctrl-C are checked
NOTHING: Any = object()  # no item is left, or none is to begin any more


@dataclass
class Workers:
    """How many calls run at once, how async code is awaited, and whether to stop."""

    count: int
    await_it: Await
    executor: Executor | None = None  # where targets run, if not here
    stop: threading.Event = field(default_factory=threading.Event)

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield what `work` returns for the items, those just finished at a time; now and then an empty list.

        Once `stop` is set, no more calls begin, and those under way are finished.
        """
        waiting, under_way = iter(items), set[Future[Any]]()
        pool = ThreadPoolExecutor(self.count)
        try:
            while True:
                while len(under_way) < self.count and (item := self.next_of(waiting)) is not NOTHING:
                    under_way.add(pool.submit(work, item))
                if not under_way:
                    return
                done, under_way = wait(under_way, TICK_SECONDS, FIRST_COMPLETED)
                failed = [future for future in done if future.exception()]
                yield [future.result() for future in done if future not in failed]
                for future in failed:
                    future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def next_of(self, waiting: Iterator[Any]) -> Any:
        return NOTHING if self.stop.is_set() else next(waiting, NOTHING)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C set `stop`, so that calls in progress can finish; the next one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_interrupt(*_: Any) -> None:
            if self.stop.is_set():
                raise KeyboardInterrupt
            self.stop.set()

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
