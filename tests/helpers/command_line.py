"""Running commands in tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

from places import MAIN

DATABASE = Path(".localsmith", "localsmith.db")
OK = {"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}}
LINK = r"http://127\.0\.0\.1:\d+/o/[0-9a-f-]{36}/datasets/[0-9a-f-]{36}/compare\?selectedSessions=[0-9a-f-]{36}"


def write(name, *results):
    Path(name).write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    return name


def start(*arguments, cwd=None, stdout=subprocess.PIPE, closed=None, **variables):
    """Start the command as users do, with these variables in its environment; `closed` is a stream, 1 or 2."""
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh"] if closed else []
    return subprocess.Popen(
        [*shell, sys.executable, str(MAIN), *arguments],
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
    )
