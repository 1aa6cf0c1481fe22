"""Serving the app on loopback, in a thread of this process."""

import contextlib
import errno
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from localsmith.app import App
from localsmith.hosted.token import read_or_make_token
from localsmith.wire import MAX_REQUEST_BYTES

# waitress warns whenever a request waits for a thread, which under load is always.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)

HOST = "127.0.0.1"
# More than the cores: a request that waits for the disk or the write lock occupies a thread.
THREADS = 8
RECEIVED_BYTES = 262_144  # at once: a request of a hundred runs comes in one or two pieces
STALLED_SECONDS = 60  # a client that reads nothing for so long is cut off


class Server:
    """A running server; `url` is its address, `close()` stops it. Also a context manager."""

    def __init__(self, db_path: str | os.PathLike[str], port: int = 0, **switches: Any) -> None:
        self._listener = _listen(port)
        with contextlib.ExitStack() as opened:  # closed again if the rest fails
            opened.callback(self._listener.close)
            self.app = App(db_path, **switches)
            state = self.app.state
            opened.callback(state.store.close)
            if state.switches.run_evaluators:
                state.switches.evaluator_token = read_or_make_token(state.store.path)
            opened.pop_all()
        self._waitress: Any = None  # until somebody connects: a command calls the app of its own server
        self._channels: dict[int, Any] = {}
        self._ended, self._end = socket.socketpair()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._stopping = False
        self._evaluators = None
        if state.switches.run_evaluators:
            from localsmith.hosted.runner import EvaluatorRunner  # only where it is needed: most servers run none

            self._evaluators = EvaluatorRunner(state.store, state.switches)
        self._thread = threading.Thread(target=self._run, name=f"localsmith:{self.port}", daemon=True)
        self._thread.start()

    @property
    def token(self) -> str | None:
        """What uploads of evaluators must send in the header x-localsmith-token; None if no evaluators are run."""
        return self.app.state.switches.evaluator_token

    def wait(self) -> None:
        """Block until the server ends, or Ctrl-C or a signal interrupts the main thread; then close it."""
        with _signals_interrupt():
            try:
                self._thread.join()
            except KeyboardInterrupt:
                self.close()

    def close(self) -> None:
        """Answer the requests that have arrived, then release the port and the file."""
        if self._stopping:
            return
        self._stopping = True
        if self._evaluators:
            self._evaluators.close()
        self._end.close()
        if self._waitress:
            self._waitress.pull_trigger()
        self._thread.join()
        if self._waitress:
            from waitress import wasyncore

            wasyncore.close_all(self._channels)  # here, so that the trigger pulled above was still open
        self._ended.close()
        self._listener.close()
        self.app.state.later.catch_up(all_of_it=True)
        self.app.state.store.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for place in (self._listener, self._ended):
                waiting.register(place, selectors.EVENT_READ)
            waiting.select()
        if not self._stopping:
            self._serve()

    def _serve(self) -> None:
        from waitress.server import create_server

        self._waitress = create_server(
            self.app,
            map=self._channels,
            sockets=[self._listener],
            threads=THREADS,
            connection_limit=1000,
            asyncore_use_poll=True,
            ident=None,
            max_request_body_size=MAX_REQUEST_BYTES,
            recv_bytes=RECEIVED_BYTES,
            clear_untrusted_proxy_headers=True,
        )
        # waitress's own run() can only be ended by an exception from outside.
        while not self._stopping:
            self._poll(seconds=1)
            self._cut_off_stalled()
        self._waitress.accepting = False
        dispatcher = self._waitress.task_dispatcher
        dispatcher.logger = dispatcher.queue_logger  # its talk of what it cancels is not for users
        dispatcher.shutdown()
        deadline = time.monotonic() + 5
        while any(c.total_outbufs_len for c in self._waitress.active_channels.values()) and time.monotonic() < deadline:
            self._poll(seconds=0.05)

    def _cut_off_stalled(self) -> None:
        """Close what has data to send and a reader that takes none, which would keep a thread for ever."""
        cutoff = time.time() - STALLED_SECONDS
        for channel in list(self._waitress.active_channels.values()):
            if channel.total_outbufs_len and channel.last_activity < cutoff:
                channel.handle_close()

    def _poll(self, seconds: float) -> None:
        from waitress import wasyncore

        wasyncore.loop(timeout=seconds, use_poll=True, map=self._channels, count=1)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(db_path: str | os.PathLike[str], port: int = 0, **switches: Any) -> Server:
    """Serve the store at `db_path` on a loopback port (0: any free one) until closed.

    The switches are those of `App`. Raises `StoreError` for a file that cannot be used and `OSError` with a
    message to show when the port is taken.
    """
    return Server(db_path, port, **switches)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let the signals that end a process do what Ctrl-C does, except an ignored one: nohup ignores SIGHUP."""
    named = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in named if is_main and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "is in use by another program" if error.errno == errno.EADDRINUSE else "is reserved by the system"
            raise OSError(
                error.errno, f"Port {port} {reason}: choose another with --port, or 0 for any free one."
            ) from error
        raise
    return listener
