"""How fast localsmith is on this machine: `uv run --group dev python bench/localsmith_speed.py`.

Ingests runs in batches of 100 over several connections, then times the first page of the compare calls.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import requests

KEY = {"x-api-key": "speed"}
ANSWER = "Natalia sold 48 clips in April and half as many in May, so she sold 72 altogether. #### 72 " * 8
local = threading.local()


def call(method: str, url: str, body: object = None) -> object:
    """One request on this thread's own connection."""
    if not hasattr(local, "session"):
        local.session = requests.Session()
        local.session.headers.update(KEY)
    response = local.session.request(method, url, data=None if body is None else json.dumps(body))
    assert response.ok, f"{method} {url}: {response.status_code} {response.text[:300]}"
    return response.json()


def batches(items: list, size: int) -> Iterator[list]:
    return (items[i : i + size] for i in range(0, len(items), size))


def run(session_id: str, example_id: str, now: datetime, i: int) -> dict:
    run_id = str(uuid.uuid4())
    usage = {"input_tokens": 90 + i % 20, "output_tokens": 40, "total_tokens": 130 + i % 20, "total_cost": 0.0001}
    return {
        "id": run_id,
        "trace_id": run_id,
        "dotted_order": f"{now:%Y%m%dT%H%M%S%f}Z{run_id}",
        "name": "target",
        "run_type": "llm",
        "session_id": session_id,
        "reference_example_id": example_id,
        "start_time": now.isoformat(),
        "end_time": now.isoformat(),
        "inputs": {"question": f"How many clips did Natalia sell in week {i}?"},
        "outputs": {"answer": ANSWER},
        "extra": {"metadata": {"ls_model_name": "m", "usage_metadata": usage}},
    }


def score(run: dict, i: int) -> dict:
    fields = {"run_id": run["id"], "trace_id": run["trace_id"], "session_id": run["session_id"]}
    return {**fields, "id": str(uuid.uuid4()), "key": "correct", "score": int(i % 3 > 0)}


def multipart(items: list[dict]) -> tuple[bytes, str]:
    parts = []
    for item in items:
        data = json.dumps(item)
        head = f'--x\r\nContent-Disposition: form-data; name="feedback.{item["id"]}"\r\n'
        parts.append(f"{head}Content-Type: application/json; length={len(data)}\r\n\r\n{data}\r\n")
    return ("".join(parts) + "--x--\r\n").encode(), "multipart/form-data; boundary=x"


def peak_memory_mb(process: subprocess.Popen) -> str:
    """The most memory the server ever had, where the system tells."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return "?"
    return str(int(text.partition("VmHWM:")[2].split()[0]) // 1024)


def timed(label: str, count: int, server: subprocess.Popen, work: object) -> None:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    took = time.perf_counter() - start
    print(f"{label:52} {took:8.3f} s {count / took:10.0f} /s   server: {peak_memory_mb(server)} MB", flush=True)


def middle(label: str, work: object, times: int = 5) -> None:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()  # type: ignore[operator]
        took.append((time.perf_counter() - start) * 1000)
    print(f"{label:52} {sorted(took)[times // 2]:8.1f} ms (median of {times})", flush=True)


def measure(server: subprocess.Popen, url: str, size: int, experiments: int, connections: int) -> None:
    dataset = call("POST", f"{url}/datasets", {"name": f"speed-{size}"})["id"]
    ids = [str(uuid.uuid4()) for _ in range(size)]
    examples = [{"id": i, "dataset_id": dataset, "inputs": {"question": i}, "outputs": {"answer": "72"}} for i in ids]
    pool = ThreadPoolExecutor(connections)

    def everything(send: object, items: list) -> None:
        list(pool.map(send, batches(items, 100)))  # type: ignore[arg-type]

    timed(
        f"{size} examples",
        size,
        server,
        lambda: everything(lambda b: call("POST", f"{url}/examples/bulk", b), examples),
    )
    sessions = []
    for n in range(experiments):
        body = {"name": f"speed-{size}-{n}", "reference_dataset_id": dataset}
        sessions.append(call("POST", f"{url}/sessions", body)["id"])
        now = datetime.now(UTC)
        runs = [run(sessions[-1], example_id, now, i) for i, example_id in enumerate(ids)]
        timed(
            f"{size} runs, experiment {n + 1}, {connections} connections",
            size,
            server,
            lambda runs=runs: everything(lambda b: call("POST", f"{url}/runs/batch", {"post": b}), runs),
        )
        scores = [score(one, i) for i, one in enumerate(runs)]

        def send(items: list) -> None:
            body, content_type = multipart(items)
            headers = {**KEY, "Content-Type": content_type}
            assert requests.post(f"{url}/runs/multipart", data=body, headers=headers).status_code == 202

        timed(f"{size} feedback", size, server, lambda scores=scores: everything(send, scores))
    middle("session statistics", lambda: call("GET", f"{url}/sessions?reference_dataset={dataset}&include_stats=true"))
    v2 = f"{url}/api/v2/datasets/{dataset}/experiment-runs"
    selects = ["ID", "STATUS", "OUTPUTS", "FEEDBACK_STATS", "LATENCY_SECONDS", "TOTAL_TOKENS"]
    page = {"experiment_ids": sessions, "page_size": 50, "selects": selects}
    middle("compare, first page of 50", lambda: call("POST", v2, page))
    one = {**page, "experiment_ids": sessions[:1]}
    middle("compare, sorted by feedback", lambda: call("POST", v2, {**one, "sort": {"by": "feedback.correct"}}))
    middle("compare, sorted by latency", lambda: call("POST", v2, {**one, "sort": {"by": "latency"}}))
    wrong = {sessions[0]: ['and(eq(feedback_key, "correct"), lt(feedback_score, 1))']}
    middle("compare, filtered by a score", lambda: call("POST", v2, {**page, "filters": wrong}))
    search = {sessions[0]: ['search("week 77")']}
    middle("compare, text search", lambda: call("POST", v2, {**page, "filters": search}))
    for path in (f"/o/t/datasets/{dataset}/compare?selectedSessions={','.join(sessions)}",):
        if requests.get(url + path).status_code == 200:
            middle("compare page (HTML)", lambda path=path: requests.get(url + path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000], help="examples in the dataset")
    parser.add_argument("--experiments", type=int, default=4)
    parser.add_argument("--connections", type=int, default=8)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "localsmith", "--db", f"{folder}/speed.db", "--port", "0"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                url = (server.stdout or sys.stdin).readline().strip()
                measure(server, url, size, arguments.experiments, arguments.connections)
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
