"""Progress of long work: one line that is rewritten on a terminal, otherwise a line every 10 seconds."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic

from langsmith_rest.wording import Say

LINE_SECONDS = 10  # between two lines where there is no terminal
REWRITE_SECONDS = 0.1  # between two states of the line on a terminal
OnProgress = Callable[[int, int | None], None]  # told how many are done, and of how many


@contextlib.contextmanager
def shown(say: Say) -> Iterator[Callable[[Callable[[], str]], None]]:
    """Yield a function to call as often as you like; the text it is given is made only when it is time for one."""
    on_terminal = sys.stderr.isatty()
    last = 0.0 if on_terminal else monotonic()

    def show(make_line: Callable[[], str]) -> None:
        nonlocal last
        if monotonic() - last < (REWRITE_SECONDS if on_terminal else LINE_SECONDS):
            return
        last = monotonic()
        print(f"\r{make_line()}\x1b[K", end="", file=sys.stderr, flush=True) if on_terminal else say(make_line())

    try:
        yield show
    finally:
        if on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def counting(what: str, say: Say) -> Iterator[OnProgress]:
    """An `on_progress` that shows how many are done: `a.jsonl: 2,000 of 60,000 recorded`."""
    with shown(say) as show:
        yield lambda done, total: show(lambda: f"{what}: {done:,}{f' of {total:,}' if total else ''} done")


@contextlib.contextmanager
def waiting(what: str, say: Say) -> Iterator[None]:
    """Show that something is running, and for how long; its progress is unknown."""
    ended, begin = threading.Event(), monotonic()

    def run() -> None:
        with shown(say) as show:
            while not ended.wait(REWRITE_SECONDS):
                if (seconds := monotonic() - begin) > 1:
                    show(lambda: f"{what}: {seconds:.0f} s")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
