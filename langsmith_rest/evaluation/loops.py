"""The event loop of this process, in which all async targets and evaluators, and the clients they share, run."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

Await = Callable[[Awaitable[Any]], Any]

THREADS = 64  # for sync code inside async frameworks; asyncio's default is only a few more than the cores


class Unfinished(BaseException):
    """A call was cancelled from outside: neither an answer nor a failure of the called code."""


class ProcessLoop:
    """One loop in its own thread, created when it is first needed and never closed.

    A client that is made at module level belongs to the loop in which it is first used, so every call has to run there.
    A forked process starts with its own loop.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self.lock:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                self.loop.set_default_executor(ThreadPoolExecutor(THREADS))
                threading.Thread(target=run_for_ever, args=(self.loop,), name="evaluation loop", daemon=True).start()
            return self.loop


def run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        # A task that code under test started may raise SystemExit, which asyncio lets end the loop.
        with contextlib.suppress(BaseException):
            loop.run_forever()


PROCESS = ProcessLoop()
os.register_at_fork(after_in_child=PROCESS.__init__) if hasattr(os, "register_at_fork") else None  # type: ignore[misc]


class Stop(threading.Event):
    """Set it, and no more calls begin; `cancel` also ends the calls that are being awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: set[Future[Any]] = set()
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.set()
        for future in list(self.under_way):
            future.cancel()


@contextlib.contextmanager
def awaiting(loop: asyncio.AbstractEventLoop | None, stop: Stop) -> Iterator[Await]:
    """Give a function that awaits things from any thread: in `loop`, else in the loop of this process.

    What is still being awaited at the end (after an interruption) is cancelled.
    """
    chosen = loop or PROCESS.get()

    def wait(awaitable: Awaitable[Any]) -> Any:
        coroutine = caught(awaitable)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, chosen)
        except RuntimeError:  # the caller's loop is closed
            coroutine.close()
            raise Unfinished from None
        stop.under_way.add(future)
        if stop.is_cancelled:  # meanwhile
            future.cancel()
        try:
            returned, error = future.result()
        except CancelledError:
            raise Unfinished from None
        finally:
            stop.under_way.discard(future)
        if error is not None:
            raise error
        return returned

    try:
        yield wait
    finally:
        for future in list(stop.under_way):
            future.cancel()


async def caught(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """What is returned or raised: an exception that left the task could end the loop. Cancelling passes through."""
    try:
        return await awaitable, None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        return None, error
    except BaseException as error:
        return None, error


def run_here(awaitable: Awaitable[Any]) -> Any:
    """Await something in the loop of this process."""
    with awaiting(None, Stop()) as wait:
        return wait(awaitable)
