"""How much memory streaming takes: `uv run bench/memory.py [--n 1000000]`.

Streams results of 1 KB from a generator into a sink on loopback and prints the process's peak on the way.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from langsmith_rest import connection  # noqa: E402
from recorder import record_langsmith_experiment  # noqa: E402

ANSWER = "Natalia sold 48 clips in April and half as many in May, so she sold 72 altogether. " * 10


def results(count):
    began = time.monotonic()
    print(f"{'results':>9}{'peak MB':>9}{'seconds':>9}")
    for number in range(count + 1):
        if number in (1_000, 10_000, 50_000) or (number and number % 100_000 == 0) or number == count:
            print(f"{number:>9,}{peak_megabytes():>9.0f}{time.monotonic() - began:>9.0f}", flush=True)
        if number < count:
            yield {
                "inputs": {"question": f"How many clips did Natalia sell in year {number}?"},
                "outputs": {"answer": ANSWER},
                "reference_outputs": {"answer": f"{number}"},
            }


def peak_megabytes():
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage may tell the peak of the program that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--latency-ms", type=float, default=0, help="of every answer of the sink")
    options = parser.parse_args()
    command = [sys.executable, str(HERE / "sink.py"), "--latency-ms", str(options.latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        try:
            api = connection.connect(sink.stdout.readline().strip(), "any")
            recording = record_langsmith_experiment("memory", results(options.n), experiment_name="e", langsmith=api)
        finally:
            sink.terminate()
    print(f"{recording.runs_recorded:,} results recorded, peak {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
