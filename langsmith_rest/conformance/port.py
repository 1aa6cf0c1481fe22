"""Run a port: its command, with the file, the dataset and the experiment filled in."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KEY = "lsv2_pt_this-key-must-never-be-printed"
TIMEOUT = 150  # seconds; a port may try for 120 s


@dataclass
class Ended:
    """How a port ended: its exit code (None: it was killed) and everything that it printed."""

    code: int | None
    output: str


def arguments(command: Sequence[str], file: Path, dataset: str, experiment: str | None) -> list[str]:
    """The command with its placeholders filled in; without an experiment, `{experiment}` and its flag are left out."""
    filled: list[str] = []
    for argument in command:
        if argument == "{experiment}" and experiment is None:
            if filled and filled[-1].startswith("-"):
                filled.pop()
            continue
        values = {"{file}": str(file), "{dataset}": dataset, "{experiment}": experiment or ""}
        for name, value in values.items():
            argument = argument.replace(name, value)
        filled.append(argument)
    return filled


def run(
    command: Sequence[str],
    url: str,
    kill_when: Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command against a server; `kill_when` is polled, and once it is true the port is killed."""
    names = ("LANGSMITH_", "LANGCHAIN_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    env |= {"LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": KEY, **(environment or {})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, env=env, start_new_session=True, **pipes)  # type: ignore[call-overload]
    ended, stopped = threading.Event(), threading.Event()

    def watch() -> None:
        waited = 0.0
        while not ended.wait(0.01):
            waited += 0.01
            if waited > TIMEOUT or (kill_when and kill_when()):
                stopped.set()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    return Ended(None if stopped.is_set() else process.returncode, output.decode(errors="replace"))
