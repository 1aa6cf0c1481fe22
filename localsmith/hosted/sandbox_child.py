"""One evaluation in its own process: code and arguments come in on stdin, one JSON object goes out on stdout.

sandbox.py runs this file as a script on its own: it imports only the standard library.
"""

import ctypes
import json
import linecache
import os
import signal
import struct
import sys
import threading
import traceback
import types
from typing import Any

NO_NEW_PRIVILEGES, DIE_WITH_PARENT = 38, 1  # prctl
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # unshare
TASKS = 64  # processes and threads
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls of Landlock, alike on every machine
WRITE_FILE, READ_FILE, READ_FOLDER = 1 << 1, 1 << 2, 1 << 3  # what Landlock can refuse; executing is 1
NAME = "<evaluator>"
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
SIGNALS = ("os.kill", "signal.pthread_kill")  # os.killpg, too
FILES = frozenset(f"os.{name}" for name in "remove rename rmdir mkdir link symlink chmod chown truncate".split())
OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")


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
    """Move into a network namespace without a way out, where the system allows it; audit hooks apply in any case."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    is_alone = libc.unshare(NEW_USER | NEW_NETWORK) == 0
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if is_alone and version > 1:  # older kernels count all processes of the user, not only this one's
        import resource

        resource.setrlimit(resource.RLIMIT_NPROC, (TASKS, TASKS))
    if version > 0:
        lock_files(libc, version)


def lock_files(libc: Any, version: int) -> None:
    """Let the kernel refuse to change files, start programs and signal other processes (Landlock)."""
    rights = 13 + min(version - 1, 2) + (version > 4)  # each version knows more
    changes = ((1 << rights) - 1) & ~(READ_FILE | READ_FOLDER)
    network, signals = (3 if version > 3 else 0), (3 if version > 5 else 0)
    rules = struct.pack("=QQQ", changes, network, signals)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    null = os.open(os.devnull, os.O_PATH)
    libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", WRITE_FILE, null), 0)
    libc.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(null)
    os.close(ruleset)


def limit(request: dict[str, Any]) -> None:
    """Let the system end this process if it takes more than it may."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(request["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * request["output_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def refuse(
    event: str,
    arguments: tuple[Any, ...],
    # The hook keeps what it needs as its own constants: the module's names can be reassigned.
    changes: int = CHANGES,
    processes: tuple[str, ...] = PROCESSES,
    signals: tuple[str, ...] = SIGNALS,
    files: frozenset[str] = FILES,
    of_functions: tuple[str, ...] = OF_FUNCTIONS,
    devnull: str = os.devnull,
    text: type = str,
    error: type[Exception] = PermissionError,
    frame: Any = sys._getframe,
) -> None:
    """An audit hook, which cannot be removed: no network, no processes, no signals, no changed files."""
    # asyncio wakes itself up through a pair of local sockets.
    is_local = event == "socket.__new__" and arguments[1] == 1  # AF_UNIX, on every system that has it
    if event.startswith("socket.") and not is_local:
        raise error("an evaluator has no network")
    if event.startswith(processes):
        raise error("an evaluator starts no processes")
    if event.startswith(signals):
        raise error("an evaluator sends no signals")
    # A subclass of str could claim to be equal to anything.
    name = arguments[0] if arguments and type(arguments[0]) is text else None
    opened = event == "open" and (arguments[2] or 0) & changes and name != devnull
    if event in files or opened or (event == "sqlite3.connect" and name != ":memory:"):
        raise error("an evaluator changes no files")
    if event == "object.__setattr__" and arguments[1] in of_functions:
        if arguments[0].__code__ is frame().f_code:
            raise error("an evaluator changes nothing of its sandbox")


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
        return {"error": "MemoryError: it needs more memory than it is allowed."}
    except BaseException as error:
        return {"error": in_words(error)}
    if len(returned) > output_bytes:
        return {"error": f"It returned {len(returned):,} bytes, at most {output_bytes:,} are accepted."}
    return {"returned": json.loads(returned)}


def as_plain(value: Any) -> Any:
    """Numbers of NumPy as plain numbers."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is not something that JSON can hold")


def in_words(error: BaseException) -> str:
    """The error, and its line in the code."""
    text = f"{type(error).__name__}: {error}"[:1500].encode(errors="replace").decode()
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == NAME]
    return f"{text} (line {places[-1].lineno}: {(places[-1].line or '')[:200]})" if places else text


if __name__ == "__main__":
    main()
