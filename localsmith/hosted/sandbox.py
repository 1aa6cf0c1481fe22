"""Running an evaluator's code apart from the server: a process with limited time, memory and output, and no network.

It keeps honest code from doing harm by mistake. It does not protect against malicious code: docs/hosted-evaluators.md
says what an evaluator can and cannot do.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localsmith.wire import ApiError, parse_json

CHILD = Path(__file__).with_name("sandbox_child.py")
# Windows finds no sockets, and so no asyncio, without it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if os.name == "nt" and name.upper() == "SYSTEMROOT"}
ENVIRONMENT["MALLOC_ARENA_MAX"] = "1"  # otherwise each thread reserves 64 MB of address space


@dataclass(frozen=True)
class Limits:
    seconds: float = 10.0
    memory_bytes: int = 1 << 30  # of address space: pandas alone takes a third of it
    output_bytes: int = 1 << 16


def evaluate(
    code: str, arguments: list[Any], limits: Limits = Limits(), stop: threading.Event | None = None
) -> dict[str, Any] | None:
    """Call `perform_eval` of `code`: `{"returned": ...}` or `{"error": reason}`; None when `stop` was set before.

    Raises OSError when no process can be started, which says nothing about the code.
    """
    request = json.dumps({"code": code, "arguments": arguments, **vars(limits)}).encode()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
        given.write(request)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD)],
            stdin=given,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd=os.sep,
            start_new_session=True,
        )
        deadline = time.monotonic() + limits.seconds
        try:
            while not ended(process):
                if stop is not None and stop.is_set():
                    return None
                if time.monotonic() > deadline:
                    return {"error": f"It took longer than {limits.seconds:g} s."}
        finally:
            end(process)
        output.seek(0)
        return outcome(process.returncode, output.read(), limits)


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait a little for the process; return whether it has ended."""
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS has the other error
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def outcome(status: int, output: bytes, limits: Limits) -> dict[str, Any]:
    if output.endswith(b"}"):
        try:
            found: dict[str, Any] = parse_json(output, "returned")
            return found
        except ApiError as error:  # a number or a text that no JSON reader takes
            return {"error": f"It returned something that cannot be stored: {error.message}"}
    if status == -getattr(signal, "SIGXCPU", 24):
        return {"error": f"It took longer than {limits.seconds:g} s."}
    why = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    memory = f"{limits.memory_bytes >> 20:,} MB"
    return {"error": f"Its process ended without an answer ({why}); it may take {memory} of memory."}
