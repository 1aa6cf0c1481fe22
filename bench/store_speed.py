"""How fast the embedded store takes results, against plain SQLite: `uv run --group dev python bench/store_speed.py`.

Records a file of results with `main.py record`, in turns with a program that only decodes each line, encodes it again
and writes it (WAL, synchronous=FULL, two transactions for each hundred). Prints one JSON object: the medians of both in
seconds of wall clock and of CPU, their ratio, the parts of ours, and with --sizes how both grow. Python loads our code
from bytecode, as it does from the second time on.
"""

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
BATCH = 100
NAMES = ("LANGSMITH_API_KEY", "LANGSMITH_ENDPOINT", "LANGCHAIN_API_KEY", "LANGCHAIN_ENDPOINT")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in (*NAMES, "PYTHONDONTWRITEBYTECODE")}
Times = tuple[float, float]  # wall, CPU


def write_results(path: Path, count: int, steps: int) -> None:
    """Results of about 1 KB; with steps, each is a trace of so many runs."""
    chance = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for n in range(count):
            text = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=400))
            result = {
                "inputs": {"question": f"{n} {text}"},
                "outputs": {"answer": text},
                "feedback": {"correct": n % 2},
            }
            result |= {"reference_outputs": {"answer": f"{n}"}, "metadata": {"n": n}}
            if steps > 1:
                step = {"name": "step", "run_type": "tool", "inputs": {"n": n}, "outputs": {"text": text[:200]}}
                result["child_runs"] = [step] * (steps - 1)
            file.write(json.dumps(result) + "\n")


def floor(results: Path, folder: Path) -> None:
    """Plain SQLite: rows of examples and of runs, an index, nothing else."""
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE examples (id TEXT PRIMARY KEY, body TEXT)",
        "CREATE TABLE runs (id TEXT PRIMARY KEY, session_id TEXT, start_time TEXT, body TEXT)",
        "CREATE INDEX runs_of_session ON runs (session_id, start_time)",
    ):
        db.execute(statement)
    with open(results, encoding="utf-8") as file:
        lines = file.readlines()
    for at in range(0, len(lines), BATCH):
        rows = [json.loads(line) for line in lines[at : at + BATCH]]
        runs = [run for row in rows for run in [row, *row.pop("child_runs", [])]]
        examples = [(str(uuid.uuid4()), json.dumps([row["inputs"], row["reference_outputs"]])) for row in rows]
        for statement, values in (
            ("INSERT INTO examples VALUES (?, ?)", examples),
            ("INSERT INTO runs VALUES (?, ?, ?, ?)", [(str(uuid.uuid4()), "s", "", json.dumps(run)) for run in runs]),
        ):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(statement, values)
            db.execute("COMMIT")
    db.close()


def timed(work: Callable[[], object], who: int) -> Times:
    """Wall clock, and the CPU of this process or of the children that ended meanwhile."""
    before, start = resource.getrusage(who), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, resource.getrusage(who)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def record(results: Path, folder: Path, endpoint: str | None = None) -> None:
    """The command as a user runs it, with the embedded store or another server."""
    environment = ENVIRONMENT | ({"LANGSMITH_ENDPOINT": endpoint} if endpoint else {})
    command = [sys.executable, str(ROOT / "main.py"), "record", str(results), "--dataset", "speed", "--json"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def against_a_server(results: Path, folder: Path) -> tuple[Times, float]:
    """The client's times, and the CPU of a store that is a process of its own."""
    command = [sys.executable, "-m", "localsmith", "--db", str(folder / "lab.db"), "--port", "0", "--no-time-window"]
    server = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        url = server.stdout.readline().strip()
        begun = cpu_of(server.pid)
        client = timed(lambda: record(results, folder, url), resource.RUSAGE_CHILDREN)
        return client, cpu_of(server.pid) - begun
    finally:
        server.terminate()
        server.wait()


def cpu_of(pid: int) -> float:
    """CPU seconds of a running process, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_a_folder(work: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="store_speed-", dir=".") as folder:
        work(Path(folder).resolve())


def measure(count: int, steps: int, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="store_speed-", dir=".") as folder:
        results, one = Path(folder).resolve() / "results.jsonl", Path(folder).resolve() / "one.jsonl"
        write_results(results, count, steps)
        write_results(one, 1, 1)
        in_a_folder(lambda f: record(one, f))  # leaves the bytecode
        seen: dict[str, list[Times]] = {"sqlite": [], "ours": [], "start-up": [], "client": [], "server": []}
        for _ in range(rounds):
            seen["sqlite"].append(timed(lambda: in_a_folder(lambda f: floor(results, f)), resource.RUSAGE_SELF))
            seen["ours"].append(timed(lambda: in_a_folder(lambda f: record(results, f)), resource.RUSAGE_CHILDREN))
            seen["start-up"].append(timed(lambda: in_a_folder(lambda f: record(one, f)), resource.RUSAGE_CHILDREN))
            with tempfile.TemporaryDirectory(dir=folder) as place:
                client, server = against_a_server(results, Path(place))
            seen["client"].append(client)
            seen["server"].append((client[0], server))
    medians = {name: [statistics.median(column) for column in zip(*times, strict=True)] for name, times in seen.items()}
    ratios = {name: round(medians["ours"][n] / medians["sqlite"][n], 2) for n, name in enumerate(("wall", "cpu"))}
    parts = {name: round(medians[name][1], 3) for name in ("start-up", "client", "server")}
    return {
        "results": count,
        "runs": count * steps,
        **{f"{name}_s": [round(value, 3) for value in medians[name]] for name in ("sqlite", "ours")},
        "ratio": ratios,
        "cpu_s_of_parts": parts,
        "us_per_run": round(medians["ours"][1] / count / steps * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000], help="results in the file")
    parser.add_argument("--steps", type=int, default=1, help="runs in each trace")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found = [measure(size, arguments.steps, arguments.rounds) for size in arguments.sizes]
    print(json.dumps(found[0] if len(found) == 1 else {"growth": found}, indent=1))


if __name__ == "__main__":
    main()
