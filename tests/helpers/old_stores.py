"""Stores as earlier versions wrote them: `python tests/helpers/old_stores.py NAME`, run with the code of that version.

Writes tests/localsmith/stores/NAME.db.gz, and NAME.json with what that version answered. Add a pair for every change
of the schema, named after the last migration; never make an old one again.
"""

import gzip
import json
import sys
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

STORES = Path(__file__).parents[1] / "localsmith" / "stores"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def named(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"old store {name}"))


def call(url, method, path, body=None, **params):
    response = requests.request(method, url + path, json=body, params=params, headers={"x-api-key": "any"}, timeout=60)
    assert response.ok, f"{method} {path} answered {response.status_code}: {response.text[:500]}"
    return response.json() if response.content else None


def trace(session, example, name, *, score):
    """A root with a model call below it, and the feedback on the root."""
    root, child = named(name), named(f"{name} child")
    begin = START + timedelta(seconds=score)
    order = f"{begin:%Y%m%dT%H%M%S%f}Z{root}"
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0.0012}
    shared = {"trace_id": root, "session_id": session, "start_time": begin.isoformat()}
    shared["end_time"] = (begin + timedelta(seconds=1 + score)).isoformat()
    runs = [
        {**shared, "id": root, "dotted_order": order, "name": name, "run_type": "chain", "inputs": {"q": name},
         "outputs": {"a": f"naïve {name}"}, "reference_example_id": example, "tags": ["old"]},
        {**shared, "id": child, "parent_run_id": root, "dotted_order": f"{order}.{order[:21]}Z{child}",
         "name": "model", "run_type": "llm", "inputs": {"messages": []}, "error": "timeout",
         "extra": {"metadata": {"usage_metadata": usage}}},
    ]  # fmt: skip
    fields = {"run_id": root, "trace_id": root, "session_id": session}
    scores = [
        {**fields, "id": named(f"{name} correct"), "key": "correct", "score": score, "comment": "by hand"},
        {**fields, "id": named(f"{name} kind"), "key": "kind", "value": "blue"},
    ]
    return runs, scores


def fill(url):
    """Write something of everything that the first version can hold."""
    dataset, examples = named("dataset"), [named(f"example {n}") for n in range(4)]
    call(url, "POST", "/datasets", {"id": dataset, "name": "capitals", "extra": {"metadata": {"team": "maps"}}})
    rows = [{"id": e, "dataset_id": dataset, "inputs": {"q": n}, "outputs": {"a": n}} for n, e in enumerate(examples)]
    call(url, "POST", "/examples/bulk", rows)
    call(url, "PATCH", f"/examples/{examples[0]}", {"outputs": {"a": "edited"}, "split": "test"})
    call(url, "DELETE", f"/examples/{examples[3]}")
    for number in (1, 2):
        session = {"id": named(f"session {number}"), "name": f"experiment {number}", "reference_dataset_id": dataset}
        call(url, "POST", "/sessions", {**session, "start_time": START.isoformat()})
        for n, example in enumerate(examples[:3]):
            runs, scores = trace(session["id"], example, f"run {number}.{n}", score=n % 2)
            call(url, "POST", "/runs/batch", {"post": runs})
            for item in scores:
                call(url, "POST", "/feedback", item)
        overall = {"id": named(f"overall {number}"), "session_id": session["id"], "key": "precision", "score": 0.75}
        call(url, "POST", "/feedback", overall)
    sessions = [named("session 1"), named("session 2")]
    call(url, "POST", "/datasets/comparative", {"name": "pairs", "experiment_ids": sessions, "id": named("pairs"),
                                                "reference_dataset_id": dataset})  # fmt: skip
    preferred = {"run_id": named("run 1.0"), "key": "preferred", "score": 1, "id": named("preferred")}
    call(url, "POST", "/feedback", {**preferred, "comparative_experiment_id": named("pairs")})
    code = {"code": "def perform_eval(run, example):\n    return {'key': 'fine', 'score': 1}", "language": "python"}
    made = call(url, "POST", "/v1/platform/evaluators", {"name": "fine", "type": "code", "code_evaluator": code})
    rule = {"display_name": "fine", "sampling_rate": 1, "dataset_id": dataset, "evaluator_id": made["evaluator"]["id"]}
    rule_id = call(url, "POST", "/runs/rules", rule)["id"]
    evaluate = f"{url}/runs/experiments/{sessions[0]}/evaluate"  # refused by the first version
    requests.post(evaluate, json={"rule_id": rule_id}, headers={"x-api-key": "any"}, timeout=60)
    late = {"id": named("late"), "trace_id": named("late"), "end_time": START.isoformat(), "outputs": {"early": True}}
    call(url, "POST", "/runs/batch", {"patch": [{**late, "dotted_order": f"{START:%Y%m%dT%H%M%S%f}Z{late['id']}"}]})


def answers(url):
    """What a store of `fill` says, as far as every version says the same."""
    dataset, sessions = named("dataset"), [named("session 1"), named("session 2")]
    rows = {
        "dataset": call(url, "GET", f"/datasets/{dataset}"),
        "examples": call(url, "GET", "/examples", dataset=dataset, order="id"),
        "versions": call(url, "GET", f"/datasets/{dataset}/versions"),
        "sessions": call(url, "GET", "/sessions", reference_dataset=dataset, include_stats=True, sort_by="name"),
        "feedback": sorted(call(url, "GET", "/feedback", session=sessions), key=lambda item: item["id"]),
        "comparisons": call(url, "GET", f"/datasets/{dataset}/comparative"),
        "rules": call(url, "GET", "/runs/rules"),
        "runs": call(url, "POST", "/runs/query", {"session": sessions, "order": "asc"})["runs"],
    }
    for run in rows["runs"]:
        run.pop("s3_urls")  # may name the port
    for session in rows["sessions"]:
        session["feedback_stats"].pop("preferred", None)  # pairwise; the first versions counted it
    return rows


def main(name):
    import localsmith

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "localsmith.db"
        with localsmith.serve(path) as server:
            fill(server.url)
        with localsmith.serve(path) as server:  # the closed store holds all; beside a page's reader it did not
            found = answers(server.url)
        STORES.mkdir(exist_ok=True)
        (STORES / f"{name}.db.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        (STORES / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
