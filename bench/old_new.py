"""Time this recorder against an older checkout of itself, and the older one against itself, interleaved.

    git worktree add ../before COMMIT
    uv run bench/old_new.py ../before [--n 10000] [--latency-ms 0 20] [--reps 7]
    uv run bench/old_new.py ../before --commands [--n 10000] [--reps 7]

Each recording is a process of its own; wall time runs from results in memory until everything is answered. The ratio of
the old one to itself says how far two equal programs come apart on this machine.

With --commands, whole processes with the local store: `main.py --help`; `main.py` in a folder where it was run before;
`main.py compare` of two experiments with --n results each. CPU seconds; --help also against a Python that only imports
argparse and json.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHILD = """
import json, sys, time, uuid
sys.path[:0] = [{checkout!r}, {bench!r}]
from compare import make_results
from recorder import record_langsmith_experiment
try:
    from langsmith_rest.connection import connect
except ImportError:
    from rest import connect
results = json.loads(json.dumps(list(make_results({n}, 1024))))
began = time.perf_counter()
recording = record_langsmith_experiment(str(uuid.uuid4()), results, langsmith=connect({url!r}, "key"))
assert recording.runs_recorded == {n} and not recording.rejected
print(time.perf_counter() - began)
"""


def measure(checkout: Path, url: str, n: int) -> float:
    code = CHILD.format(checkout=str(checkout), bench=str(ROOT / "bench"), n=n, url=url)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LANGSMITH_", "LANGCHAIN_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return float(done.stdout)


IMPORTS = ["-c", "import argparse, json"]


def cpu(arguments: list[str], folder: str) -> float:
    """The CPU seconds of a Python process; code is loaded from bytecode, as it is from the second time on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LANGSMITH_", "LANGCHAIN_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(main: str, folder: str, n: int) -> None:
    """Two experiments of one dataset, and the sample."""
    for name in ("before", "after"):
        chance = random.Random(name)
        with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as file:
            for i in range(n):
                scores = {"correct": chance.randrange(2), "close": round(chance.random(), 2)}
                result = {"inputs": {"i": i}, "outputs": {"a": "x" * 300}, "feedback": scores}
                file.write(json.dumps(result) + "\n")
        cpu([main, "record", f"{name}.jsonl", "--dataset", "lab", "--experiment", name], folder)
    cpu([main], folder)


def time_commands(old: Path, n: int, reps: int) -> None:
    """Print what each command takes, by turns."""
    mains = [str(checkout / "main.py") for checkout in (old, ROOT, old)]
    with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as now:
        places = list(zip(mains, (before, now, before), strict=True))
        for main, folder in places[:2]:
            fill(main, folder, n)
        for command in (["--help"], [], ["compare", "before", "after"]):
            rounds = [[cpu([main, *command], folder) for main, folder in places] for _ in range(reps)]
            first, new, again = map(statistics.median, zip(*rounds, strict=True))
            print(
                f"main.py {' '.join(command)}: old {first:.3f} s, new {new:.3f} s; new/old {new / first:.3f},"
                f" old/old {again / first:.3f}",
                flush=True,
            )
        pairs = [[cpu(arguments, now) for arguments in (IMPORTS, [mains[1], "--help"])] for _ in range(reps)]
        imports, helped = map(statistics.median, zip(*pairs, strict=True))
        print(f"--help {helped:.3f} s, importing argparse and json {imports:.3f} s: {helped / imports:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 20])
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--commands", action="store_true", help="time whole commands with the local store")
    options = parser.parse_args()
    old = options.old.resolve()
    if options.commands:
        time_commands(old, options.n, options.reps)
        return
    sink = subprocess.Popen([sys.executable, ROOT / "bench" / "sink.py"], stdout=subprocess.PIPE, text=True)
    try:
        url = sink.stdout.readline().strip()
        for latency in options.latency_ms:
            urllib.request.urlopen(urllib.request.Request(f"{url}/__latency/{latency}", method="POST")).read()
            rounds = [[measure(path, url, options.n) for path in (old, ROOT, old)] for _ in range(options.reps)]
            first, new, again = map(statistics.median, zip(*rounds, strict=True))
            print(
                f"{options.n:,} results, {latency:g} ms: old {first:.3f} s, new {new:.3f} s; "
                f"old/new {first / new:.3f}, old/old {first / again:.3f}",
                flush=True,
            )
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
