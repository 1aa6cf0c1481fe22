"""What many results take under LangSmith's documented limits: `python bench/limits.py`.

Prints the table of docs/past-one-machine.md. The limits are those of LangSmith's cloud; a self-hosted LangSmith has
none of them.
"""

import argparse

PER_REQUEST = 100  # examples, runs or feedback
REQUESTS = {"POST /examples/bulk": 2000, "POST /runs/batch": 5000, "POST /runs/multipart": 5000}  # allowed per minute
# Per clock hour and workspace, by plan: run events (a run sent whole is one), and gigabytes of runs.
PLANS = {"smallest": (50_000, 0.5), "middle": (250_000, 2.5), "largest": (500_000, 5.0)}
BASE_MB, BYTES_PER_RESULT = 60, 31  # of memory: an interpreter with our code, and what is kept of each result


def hours(results: int, runs: int, kilobytes: float, events_per_hour: int, gigabytes_per_hour: float) -> float:
    """How long it takes when nothing but the limits slows it."""
    batches = -(-results * runs // PER_REQUEST)
    by_requests = max(batches / (per_minute * 60) for per_minute in REQUESTS.values())
    return max(results * runs / events_per_hour, results * kilobytes / 1e6 / gigabytes_per_hour, by_requests)


def row(results: int, runs: int, kilobytes: float, processes: int) -> list[str]:
    requests = 2 * -(-results // PER_REQUEST) + -(-results * runs // PER_REQUEST)
    memory = BASE_MB + BYTES_PER_RESULT * results / processes / 1e6
    took = [hours(results, runs, kilobytes, *limits) for limits in PLANS.values()]
    days = [f"{value:,.0f} h" if value < 100 else f"{value / 24:,.0f} days" for value in took]
    return [f"{results:,}", f"{requests:,}", *days, f"{processes}", f"{memory:,.0f} MB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="runs in each result, its steps included")
    parser.add_argument("--kilobytes", type=float, default=1.2, help="of each result as a run")
    arguments = parser.parse_args()
    head = ["results", "requests", *(f"{plan} plan" for plan in PLANS), "processes", "memory of each"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for results, processes in ((1_000_000, 1), (100_000_000, 100)):
        print(f"| {' | '.join(row(results, arguments.runs, arguments.kilobytes, processes))} |")


if __name__ == "__main__":
    main()
