"""One evaluation in a process of its own: code and arguments come in on stdin, one JSON object goes out on stdout.

sandbox.py runs this file as a script, apart from everything else: it imports the standard library only.
"""

import ctypes
import json
import linecache
import os
import signal
import sys
import threading
import traceback
import types
from typing import Any

NO_NEW_PRIVILEGES, DIE_WITH_PARENT = 38, 1  # prctl
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # unshare
AF_UNIX = 1  # on every system that has it
NAME = "<evaluator>"
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
SIGNALS = ("os.kill", "signal.pthread_kill")  # os.killpg, too
FILES = {f"os.{name}" for name in "remove rename rmdir mkdir link symlink chmod chown truncate".split()}


def main() -> None:
    request = json.load(sys.stdin.buffer)
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what the code prints goes nowhere
        os.dup2(nowhere, descriptor)
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # one buffer for each thread counts as memory
    threading.stack_size(1 << 20)  # of address space, which is what the limit counts
    leave_network()
    limit(request)
    sys.addaudithook(refuse)
    found = json.dumps(evaluate(request["code"], request["arguments"], request["output_bytes"])).encode()
    while found:
        found = found[os.write(answer, found) :]
    os._exit(0)  # whatever threads the code has left


def leave_network() -> None:
    """Move into a network without any way out, where the system lets us; audit hooks are there in any case."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.unshare(NEW_USER | NEW_NETWORK)


def limit(request: dict[str, Any]) -> None:
    """Have the system end this process rather than let it take more than it may."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(request["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * request["output_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which cannot be taken off again: no network, no processes, no signals, no files changed."""
    # asyncio wakes itself up through a pair of local sockets.
    is_local = event == "socket.__new__" and arguments[1] == AF_UNIX
    if event.startswith("socket.") and not is_local:
        raise PermissionError("an evaluator has no network")
    if event.startswith(PROCESSES):
        raise PermissionError("an evaluator starts no processes")
    if event.startswith(SIGNALS):
        raise PermissionError("an evaluator sends no signals")
    opened = event == "open" and (arguments[2] or 0) & CHANGES and arguments[0] != os.devnull
    if event in FILES or opened or (event == "sqlite3.connect" and arguments[0] != ":memory:"):
        raise PermissionError("an evaluator changes no files")


def evaluate(code: str, arguments: list[Any], output_bytes: int) -> dict[str, Any]:
    """What the code returned, or why it did not."""
    linecache.cache[NAME] = (len(code), None, code.splitlines(keepends=True), NAME)
    module = sys.modules["evaluator"] = types.ModuleType("evaluator")  # dataclasses and pickle look it up
    names = vars(module)
    try:
        exec(compile(code, NAME, "exec", dont_inherit=True), names)
        if not callable(names.get("perform_eval")):
            return {"error": "The code has no function perform_eval."}
        returned = json.dumps(names["perform_eval"](*arguments), allow_nan=False, default=as_plain)
    except MemoryError:
        return {"error": "MemoryError: it needs more memory than it may have."}
    except BaseException as error:
        return {"error": in_words(error)}
    if len(returned) > output_bytes:
        return {"error": f"It returned {len(returned):,} bytes, at most {output_bytes:,} are taken."}
    return {"returned": json.loads(returned)}


def as_plain(value: Any) -> Any:
    """Numbers of NumPy and alike as plain ones."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is nothing that JSON can hold")


def in_words(error: BaseException) -> str:
    """The error, and where in the code it was."""
    text = f"{type(error).__name__}: {error}"[:1500].encode(errors="replace").decode()
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == NAME]
    return f"{text} (line {places[-1].lineno}: {(places[-1].line or '')[:200]})" if places else text


if __name__ == "__main__":
    main()
