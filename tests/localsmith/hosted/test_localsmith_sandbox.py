"""What an evaluator cannot do, even one that works around Python."""

import ctypes
import os
import subprocess
import sys

import pytest

from localsmith.hosted.sandbox import evaluate

LANDLOCK = 444  # the system call that makes a ruleset, and tells the version
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or ctypes.CDLL(None).syscall(LANDLOCK, None, 0, 1) < 1,
    reason="needs a Linux kernel with Landlock",
)

DISARM = {
    "its code": "sys.modules['__main__'].refuse.__code__ = (lambda event, arguments: None).__code__",
    "its code, found in memory": (
        "[f for f in gc.get_objects() if getattr(f, '__name__', '') == 'refuse'][0].__code__ = nothing.__code__"
    ),
    "its defaults": (
        "sys.modules['__main__'].refuse.__defaults__ = (0, (), (), frozenset(), (), FILE, str, OSError, None)"
    ),
    "what it is compared with": "vars(sys.modules['__main__']).update(CHANGES=0, FILES=(), PROCESSES=(), SIGNALS=())",
    "the name of nothing": "os.devnull = FILE",
    "its error": "sys.modules['__main__'].PermissionError = builtins.PermissionError = print",
}


@pytest.mark.parametrize("disarm", DISARM.values(), ids=DISARM)
def test_guard_cannot_be_disarmed(tmp_path, disarm):
    """Whatever is replaced in its process, a file that is opened for writing is refused."""
    file = tmp_path / "owned"
    code = f"""
import builtins, gc, os, sys
FILE = {str(file)!r}

def nothing(event, arguments):
    return None

def perform_eval(run):
    try:
        {disarm}
    except PermissionError:
        pass
    open(FILE, "w").close()
    return {{"score": 1}}
"""
    found = evaluate(code, [{}])

    assert "PermissionError" in found["error"] or "TypeError" in found["error"]
    assert not file.exists()


def test_texts_that_equal_everything_open_nothing(tmp_path):
    """A path that claims to be the null device is none."""
    file = tmp_path / "owned"
    code = f"""
class Sly(str):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = str.__hash__

def perform_eval(run):
    open(Sly({str(file)!r}), "w").close()
"""
    assert "changes no files" in evaluate(code, [{}])["error"]
    assert not file.exists()


AROUND = {
    "a file through C": "libc.close(libc.open(FILE, os.O_CREAT | os.O_WRONLY, 0o644))",
    "a folder through C": "libc.mkdir(FILE, 0o755)",
    "a database": (
        "sqlite3.connect(':memory:').execute('ATTACH ? AS a', (FILE.decode(),)).execute('CREATE TABLE a.t(x)')"
    ),
    "another program": (
        "_posixsubprocess.fork_exec([b'/bin/sh', b'-c', b'echo > ' + FILE], [b'/bin/sh'], True, (w,), None, None,"
        " -1, -1, -1, -1, -1, -1, r, w, False, False, -1, None, None, None, -1, None, True)"
    ),
}


@pytest.mark.slow
@linux
@pytest.mark.parametrize("way", AROUND.values(), ids=AROUND)
def test_kernel_refuses_what_python_does_not_see(tmp_path, way):
    """C functions change no files and start no programs."""
    file = tmp_path / "owned"
    code = f"""
import _posixsubprocess, ctypes, os, sqlite3, time
FILE = {os.fsencode(file)!r}

def perform_eval(run):
    libc = ctypes.CDLL(None)
    r, w = os.pipe()
    try:
        {way}
    except Exception:
        pass
    time.sleep(0.2)
    return {{"score": 1}}
"""
    assert evaluate(code, [{}]) == {"returned": {"score": 1}}
    assert not file.exists()


@linux
def test_privileges_signals_and_tasks_are_bounded():
    """No new rights, no signals to others, and a number of threads and processes where that can be counted."""
    code = """
import ctypes, os, resource

def perform_eval(run):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    libc = ctypes.CDLL(None)
    found = {"no_new_privileges": int(status["NoNewPrivs"]), "tasks": resource.getrlimit(resource.RLIMIT_NPROC)[0]}
    return {**found, "signalled": libc.kill(os.getppid(), 0) == 0}
"""
    libc = ctypes.CDLL(None)
    namespace = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000 | 0x40000000) != 0)"
    may = subprocess.run([sys.executable, "-c", namespace]).returncode == 0

    found = evaluate(code, [{}])["returned"]

    assert found["no_new_privileges"] == 1
    assert found["tasks"] == 64 or not may
    assert not found["signalled"] or libc.syscall(LANDLOCK, None, 0, 1) < 6


HONEST = {
    "numbers": "import numpy\n    return {'score': float(numpy.mean([0, 1]))}",
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor as P\n    return {'score': sum(P(4).map(int, '01')) / 2}"
    ),
    "asyncio": "import asyncio\n    return {'score': asyncio.run(asyncio.sleep(0, 0.5))}",
    "output": "print('x', file=open(os.devnull, 'w'))\n    return {'score': 0.5}",
    "named tuples": (
        "from collections import namedtuple\n    return {'score': namedtuple('P', 'a b', defaults=(0.5,))(1).b}"
    ),
}


@pytest.mark.parametrize("work", HONEST.values(), ids=HONEST)
def test_honest_work_goes_on(work):
    assert evaluate(f"import os\ndef perform_eval(run):\n    {work}\n", [{}]) == {"returned": {"score": 0.5}}
