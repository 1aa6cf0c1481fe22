"""Time our recorder against the official SDK and the floor, in one run, on this machine's loopback.

    uv run --group dev --group bench bench/compare.py [--n 1000 10000] [--latency-ms 0 20 100] [--reps 5] [--plot FILE]

ours      record_langsmith_experiment(name, results), ids, checks and read-back included
ours-s    the same, streamed from a generator with an experiment name
sdk       the official SDK: create_dataset, create_examples (bulk), create_project, create_run per result, flush
floor-1   one keep-alive connection and json.dumps: batches of 100 examples, then 100 runs, one after the other
floor-8   ready-made bytes over 8 connections, each doing the examples, then the runs of a batch

Every subject has a process of its own; they take turns. Wall time runs from results in memory until everything is
answered. The table shows medians (minimum to maximum), and what ours takes relative to each.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUBJECTS = ("ours", "ours-s", "sdk", "floor-1", "floor-8")


def make_results(n, size):
    """n chat-like results of about `size` bytes of JSON, the same on every call."""
    rng = random.Random(n)
    words = [f"{rng.getrandbits(24):x}" for _ in range(500)]
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def chat(role):
        text, left = [], (size - 400) // 3
        while left > 0:
            text.append(rng.choice(words))
            left -= len(text[-1]) + 1
        return {"messages": [{"role": role, "content": " ".join(text)}]}

    for i in range(n):
        yield {
            "inputs": chat("user"),
            "outputs": chat("assistant"),
            "reference_outputs": chat("assistant"),
            "metadata": {
                "ls_provider": "openai",
                "ls_model_name": "gpt-5-nano",
                "usage_metadata": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
            },
            "start_time": (start + timedelta(seconds=i)).isoformat(),
            "end_time": (start + timedelta(seconds=i + 3)).isoformat(),
        }


# ---------------------------------------------------------------- subjects


def ours(url, results, streamed):
    sys.path.insert(0, str(ROOT))
    from langsmith_rest import connection
    from recorder import record_langsmith_experiment

    def run():
        given, name = (iter(results), str(uuid.uuid4())) if streamed else (results, None)
        api = connection.connect(url, "key")
        recording = record_langsmith_experiment(str(uuid.uuid4()), given, langsmith=api, experiment_name=name)
        assert recording.runs_recorded == len(results) and not recording.rejected

    return run


def sdk(url, results):
    from langsmith import Client, uuid7

    client = Client(api_url=url, api_key="key")

    def run():
        dataset = client.create_dataset(str(uuid.uuid4()))
        ids = [uuid.uuid4() for _ in results]
        rows = [
            {"id": i, "inputs": r["inputs"], "reference_outputs": r["reference_outputs"]}
            for i, r in zip(ids, results, strict=True)
        ]
        client.create_examples(dataset_id=dataset.id, examples=rows)
        project = str(uuid.uuid4())
        client.create_project(project, reference_dataset_id=dataset.id)
        for example_id, r in zip(ids, results, strict=True):
            run_id, start = uuid7(), datetime.fromisoformat(r["start_time"])
            client.create_run(
                name="result",
                run_type="llm",
                inputs=r["inputs"],
                outputs=r["outputs"],
                start_time=start,
                end_time=datetime.fromisoformat(r["end_time"]),
                id=run_id,
                trace_id=run_id,
                dotted_order=f"{start:%Y%m%dT%H%M%S%fZ}{run_id}",
                reference_example_id=example_id,
                project_name=project,
                extra={"metadata": r["metadata"]},
            )
        client.flush()

    return run


def floor(url, results, connections, encoded_before):
    headers = {"Content-Type": "application/json", "x-api-key": "key"}
    local = threading.local()
    dataset, session = str(uuid.uuid4()), str(uuid.uuid4())

    def post(path, body):
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(url.removeprefix("http://"))
        local.connection.request("POST", path, body, headers)
        local.connection.getresponse().read()

    def bodies(at):
        examples, runs = [], []
        for r in results[at : at + 100]:
            e, i = str(uuid.uuid4()), str(uuid.uuid4())
            examples.append({"id": e, "dataset_id": dataset, "inputs": r["inputs"], "outputs": r["reference_outputs"]})
            runs.append(
                {"id": i, "trace_id": i, "dotted_order": f"20260101T000000000000Z{i}", "name": "result"}
                | {"run_type": "llm", "session_id": session, "reference_example_id": e}
                | {"start_time": r["start_time"], "end_time": r["end_time"], "extra": {"metadata": r["metadata"]}}
                | {"inputs": r["inputs"], "outputs": r["outputs"]}
            )
        return encode(examples), encode({"post": runs})

    def send(item):
        examples, runs = item if encoded_before else bodies(item)
        post("/examples/bulk", examples)
        post("/runs/batch", runs)

    items = [bodies(at) if encoded_before else at for at in range(0, len(results), 100)]

    def run():
        post("/datasets", encode({"name": dataset, "id": dataset}))
        post("/sessions", encode({"name": session, "id": session, "reference_dataset_id": dataset}))
        if connections == 1:
            for item in items:
                send(item)
            return
        with concurrent.futures.ThreadPoolExecutor(connections) as pool:
            list(pool.map(send, items))

    return run


def encode(value):
    return json.dumps(value, separators=(",", ":")).encode()


def child(subject, url, n, size):
    results = json.loads(json.dumps(list(make_results(n, size))))
    if subject.startswith("ours"):
        run = ours(url, results, subject == "ours-s")
    elif subject == "sdk":
        run = sdk(url, results)
    else:
        run = floor(url, results, int(subject[-1]), subject == "floor-8")
    began = time.perf_counter()
    run()
    print(time.perf_counter() - began, flush=True)


# ---------------------------------------------------------------- the run


def measure(subject, url, n, size):
    command = [sys.executable, __file__, "--child", subject, "--url", url, "--n", str(n), "--size", str(size)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LANGSMITH_", "LANGCHAIN_"))}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120, check=True, text=True)
    return float(done.stdout)


def processes(reps, url):
    """Whole processes: three results, and what `import requests` alone takes."""
    script = "import recorder; from langsmith_rest import connection; "
    script += "r = [{'inputs': {'q': i}, 'outputs': {'a': i}} for i in range(3)]; "
    script += f"recorder.record_langsmith_experiment('d', r, langsmith=connection.connect({url!r}, 'key'))"
    times = {"ours, 3 results": [], "import requests": []}
    for _ in range(reps):
        for name, code in zip(times, (script, "import requests"), strict=True):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def shown(times):
    return f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"


def plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(rows), figsize=(3 * len(rows), 3.2), layout="constrained")
    for axis, ((n, latency), times) in zip(axes if len(rows) > 1 else [axes], rows.items(), strict=True):
        middles = [statistics.median(times[subject]) for subject in SUBJECTS]
        errors = [[m - min(times[s]) for m, s in zip(middles, SUBJECTS, strict=True)],
                  [max(times[s]) - m for m, s in zip(middles, SUBJECTS, strict=True)]]  # fmt: skip
        colours = ["#3451c6" if subject.startswith("ours") else "#9aa0a6" for subject in SUBJECTS]
        axis.bar(SUBJECTS, middles, yerr=errors, color=colours, capsize=3)
        axis.set_title(f"{n:,} results, {latency:g} ms", fontsize=9)
        axis.tick_params(axis="x", rotation=60, labelsize=8)
        axis.set_ylabel("seconds", fontsize=8)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 20, 100])
    parser.add_argument("--size", type=int, default=1024, help="bytes per result")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--plot", metavar="FILE", help="draw it, too (.svg or .png)")
    parser.add_argument("--child", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.url, options.n[0], options.size)
    sink = subprocess.Popen([sys.executable, ROOT / "bench" / "sink.py"], stdout=subprocess.PIPE, text=True)
    rows = {}
    try:
        url = sink.stdout.readline().strip()
        print(f"| N | latency | {' | '.join(SUBJECTS)} | ours / sdk | ours / floor-1 | ours / floor-8 | requests |")
        print("|---" * (len(SUBJECTS) + 6) + "|")
        for n in options.n:
            for latency in options.latency_ms:
                times = {subject: [] for subject in SUBJECTS}
                for _ in range(options.reps):
                    for subject in SUBJECTS:
                        reset = urllib.request.Request(f"{url}/__latency/{latency}", method="POST")
                        urllib.request.urlopen(reset).read()
                        times[subject].append(measure(subject, url, n, options.size))
                        if subject == "ours":
                            with urllib.request.urlopen(f"{url}/__stats") as answer:
                                stats = json.load(answer)
                rows[n, latency] = times
                ratios = [
                    statistics.median(times["ours"]) / statistics.median(times[other])
                    for other in ("sdk", "floor-1", "floor-8")
                ]
                cells = [f"{n:,}", f"{latency:g} ms", *(shown(times[subject]) for subject in SUBJECTS)]
                cells += [f"{ratio:.2f}" for ratio in ratios] + [str(stats["requests"])]
                print("|", " | ".join(cells), "|", flush=True)
        urllib.request.urlopen(urllib.request.Request(f"{url}/__latency/0", method="POST")).read()
        whole = processes(max(options.reps, 5), url)
    finally:
        sink.terminate()
        sink.wait()
    ratio = whole["ours, 3 results"] / whole["import requests"]
    print(f"\nWhole process: {', '.join(f'{k} {v:.3f} s' for k, v in whole.items())}; {ratio:.2f} times.")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
