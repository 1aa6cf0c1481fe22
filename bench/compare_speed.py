"""Time and memory of comparing 10,000 pairs in five metrics: statistics alone, and with a local server to read from.

uv run --group dev python bench/compare_speed.py --server
"""

import argparse
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from langsmith_rest.paired import give_verdicts, metric_of

PAIRS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="store_true", help="record, read and compare through a local server, too")
    if parser.parse_args().server:
        with_server()
    chance = random.Random(7)
    ids = [f"example-{i}" for i in range(PAIRS)]
    draws = {
        "correct": lambda: float(chance.random() < 0.7),
        "safe": lambda: float(chance.random() < 0.99),
        "grade": lambda: chance.choice((0.0, 0.25, 0.5, 0.75, 1.0)),
        "similarity": lambda: chance.random(),
        "tokens": lambda: float(chance.randint(1, 4000)),
    }
    columns = {name: [{i: draw() for i in ids} for _ in range(2)] for name, draw in draws.items()}
    before = peak_megabytes()

    start = time.perf_counter()
    metrics = [metric_of(name, *sides) for name, sides in columns.items()]
    give_verdicts(metrics)
    seconds = time.perf_counter() - start

    for metric in metrics:
        print(f"{metric.name:12} {metric.difference:+.4f}  {metric.low:+.4f} to {metric.high:+.4f}  p {metric.p:.4f}")
    print(f"statistics of {PAIRS:,} pairs, {len(metrics)} metrics: {seconds:.2f} s")
    print(f"peak memory: {peak_megabytes():.0f} MB ({before:.0f} MB before)")


def with_server() -> None:
    """Record two experiments with a server of its own process, then read and compare them, and say how long it took."""
    import tempfile

    import recorder
    from langsmith_rest import connection
    from langsmith_rest.evaluation.comparing.compare import compare

    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "localsmith", "--port", "0", "--db", f"{folder}/lab.db"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            api = connection.connect(server.stdout.readline().split()[-1])
            for name in ("before", "after"):
                keys = ("correct", "safe", "grade", "similarity", "style")
                results = [
                    {"inputs": {"i": i}, "outputs": {}, "feedback": {key: round(chance.random(), 2) for key in keys}}
                    for i in range(PAIRS)
                ]
                recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api, verify=False)
            del results
            before = peak_megabytes()
            start, computing = time.perf_counter(), time.process_time()
            found = compare(api, "before", "after")
            seconds, computing = time.perf_counter() - start, time.process_time() - computing
            print(f"{found.candidates[0].pairs:,} pairs read from a local server and compared: {seconds:.1f} s,")
            print(f"of which in this process {computing:.1f} s; peak {peak_megabytes():.0f} MB (before: {before:.0f})")
        finally:
            server.terminate()
            server.wait()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
