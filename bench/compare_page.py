"""How long the compare page takes: `uv run --group dev python bench/compare_page.py`.

Fills a store with experiments over 100 to 100,000 examples (two metrics each, every tenth example repeated in the last
of several experiments) and takes the CPU time of the page inside the server: first, when nothing is kept in memory, and
again. `select` is one plain SELECT of what the page is made of, `MB` what the first view adds to the memory.
"""

import argparse
import gc
import json
import multiprocessing
import random
import resource
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path

import localsmith
from localsmith.migrations import COUNT_FEEDBACK, COUNT_RUNS

TENANT = "f51e8722-c21b-4092-a8ce-6f2410645d51"
ANSWER = "Natalia sold 48 clips in April and half as many in May, so she sold 72 altogether. #### 72 " * 5
EXPERIMENTS = 4
KEY = {"x-api-key": "speed"}


def fill(path, examples, experiments=EXPERIMENTS):
    """Write straight into the tables, as ingest would leave them; return the address of the compare page."""
    chance = random.Random(examples)
    app = localsmith.create_app(path)
    store, now = app.extensions["localsmith"].store, time.time_ns() // 1000
    dataset = str(uuid.uuid4())
    sessions = [str(uuid.uuid4()) for _ in range(experiments)]
    ids = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(examples)]
    with store.write() as db:
        db.execute(
            "INSERT INTO datasets (id, name, created_at, modified_at, body) VALUES (?, ?, ?, ?, '{}')",
            (dataset, f"speed-{examples}", now, now),
        )
        db.executemany(
            "INSERT INTO examples (id, dataset_id, position, created_at, modified_at, inputs, outputs, metadata)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '{}')",
            (
                (
                    e,
                    dataset,
                    n,
                    now,
                    now,
                    json.dumps({"question": f"{n}? {ANSWER[:200]}"}),
                    json.dumps({"answer": ANSWER}),
                )
                for n, e in enumerate(ids, 1)
            ),
        )
        for number, session in enumerate(sessions, 1):
            db.execute(
                "INSERT INTO sessions (id, name, reference_dataset_id, test_run_number, start_time, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (session, f"experiment-{number}-of-{examples}", dataset, number, now, now),
            )
            repeated = ids[::10] if number == experiments > 2 else []
            fill_runs(db, session, ids + repeated, now, chance)
    store.close()
    return f"/o/{TENANT}/datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"


def fill_runs(db, session, ids, now, chance):
    def state():
        return "error" if chance.random() < 0.02 else "success"

    def latency():
        return chance.randrange(10**5, 10**7)

    tops = [db.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchone()[0] for table in ("runs", "feedback")]
    first = tops[0] + 1
    runs = [(first + n, str(uuid.UUID(int=chance.getrandbits(128))), example) for n, example in enumerate(ids)]
    db.executemany(
        "INSERT INTO runs (seq, id, session_id, trace_id, is_root, reference_example_id, dotted_order, name, run_type,"
        " status, start_time, end_time, total_tokens) VALUES (?, ?, ?, ?, 1, ?, ?, 'target', 'llm', ?, ?, ?, ?)",
        (
            (seq, run, session, run, example, f"20260821T091530123456Z{run}", state(), now, now + latency(), seq % 500)
            for seq, run, example in runs
        ),
    )
    bodies = ((seq, json.dumps({"question": "?"}), json.dumps({"answer": ANSWER + run})) for seq, run, _ in runs)
    db.executemany("INSERT INTO run_bodies (seq, inputs, outputs) VALUES (?, ?, ?)", bodies)
    for key, score in (("correct", lambda: chance.randrange(2)), ("closeness", lambda: round(chance.random(), 4))):
        db.executemany(
            "INSERT INTO feedback (id, run_id, session_id, is_root, trace_id, key, score, created_at, modified_at,"
            " received) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, '{}')",
            (
                (str(uuid.UUID(int=chance.getrandbits(128))), run, session, run, key, score(), now, now)
                for _, run, _ in runs
            ),
        )
    db.execute(COUNT_RUNS, tops[:1])
    db.execute(COUNT_FEEDBACK, tops[1:])


def milliseconds(client, address):
    began = time.process_time()
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return (time.process_time() - began) * 1000


def select(path):
    """The time of reading from plain SQLite what the page counts: each run and each score."""
    began = time.process_time()
    db = sqlite3.connect(path)
    db.execute(
        "SELECT session_id, reference_example_id, id, status, latency, total_tokens, total_cost FROM runs"
    ).fetchall()
    db.execute("SELECT session_id, key, run_id, score FROM feedback").fetchall()
    db.close()
    return (time.process_time() - began) * 1000


QUERIES = {"again": "", "regressed": "&show=regressed", "sorted": "&sort=change:2", "last page": "&page=100000"}
SLOWER = {"text search": "&q=altogether", "differs": "&show=differs"}


def measure(path, small, address, repeat):
    """The best of `repeat` times for each way of asking; every 'first' with a new app, so with nothing kept."""
    times = {"select": [], "first": [], "MB": []}
    for _ in range(repeat):
        client = localsmith.create_app(path).test_client()
        client.get(small)  # templates are compiled once in the life of a server
        gc.collect()  # what the app before this one leaves is not this one's work
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times["first"].append(milliseconds(client, address))
        times["MB"].append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
        times["select"].append(select(path))
        for name, query in (QUERIES | SLOWER).items():
            times.setdefault(name, []).append(milliseconds(client, address + query))
        client.get(address)
        score = client.get("/feedback", query_string={"limit": 1}, headers=KEY).get_json()[0]
        client.patch(f"/feedback/{score['id']}", json={"score": 1 - score["score"]}, headers=KEY)
        times.setdefault("one score", []).append(milliseconds(client, address))
    return {name: max(found) if name == "MB" else min(found) for name, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    names = ["select", "first", "MB", *QUERIES, *SLOWER, "one score"]  # the last: the page after one score has changed
    print(f"milliseconds of CPU in the server, {arguments.experiments} experiments, best of {arguments.repeat}")
    print(f"{'examples':>9}" + "".join(f"{name:>12}" for name in names))
    for examples in arguments.examples:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speed.db"
            small, address = fill(path, 1), fill(path, examples, arguments.experiments)
            with multiprocessing.get_context("spawn").Pool(1) as fresh:  # whose memory knows nothing of the filling
                times = fresh.apply(measure, (path, small, address, arguments.repeat))
        print(f"{examples:>9,}" + "".join(f"{times[name]:>12.1f}" for name in names), flush=True)


if __name__ == "__main__":
    main()
