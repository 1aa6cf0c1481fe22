"""Time this recorder against an older checkout of itself, and the older one against itself, interleaved.

    git worktree add ../before COMMIT
    uv run bench/old_new.py ../before [--n 10000] [--latency-ms 0 20] [--reps 7]

Each recording is a process of its own; wall time runs from results in memory until everything is answered. The ratio of
the old one to itself says how far two equal programs come apart on this machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 20])
    parser.add_argument("--reps", type=int, default=7)
    options = parser.parse_args()
    old = options.old.resolve()
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
