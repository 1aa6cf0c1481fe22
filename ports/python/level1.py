"""Record a file of JSON lines as one experiment, with `requests` alone, one request after the other.
Run:        LANGSMITH_ENDPOINT=... LANGSMITH_API_KEY=... python level1.py FILE DATASET EXPERIMENT
Level:      1 of PORTING.md
Leaves out: checks, attachments, child_runs, example_id, default names, changed scores, halving, reading back
"""

import json
import os
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import NAMESPACE_DNS, uuid5

import requests

API, KEY = os.environ["LANGSMITH_ENDPOINT"].rstrip("/"), os.environ.get("LANGSMITH_API_KEY", "no-key")
HTTP = requests.Session()
HTTP.headers = {"x-api-key": KEY, "Accept": "application/json"}
HTTP.trust_env = "//127.0.0.1" not in API and "//localhost" not in API  # no proxy on the way to this machine


def call(method, path, fine=(), **content):
    """The JSON of a 2xx answer, None for a `fine` status; what may pass is sent again for two minutes."""
    url = (API.removesuffix("/api/v1").removesuffix("/api") if path.startswith("/api/v2/") else API) + path
    for pause in (0.25, 0.5, 1, 2, 4, 8, *[15] * 7, 0):
        try:
            answer = HTTP.request(method, url, timeout=60, allow_redirects=False, **content)
            status, why = answer.status_code, f"{answer.status_code} {answer.text[:500]}"
            if status in fine or 200 <= status < 300:  # json() raises ValueError for the page of a proxy
                return None if status in fine else answer.json() if answer.content else {}
            if status in (404, 405, 410, 501) and path.startswith("/sessions"):  # v1 of these ends on 1 July 2027
                kind = {"json": {"type": "EXPERIMENT", **content["json"]}} if method == "POST" else {}
                found = call(method, f"/api/v2{path}", fine, **content | kind)
                return found["items"] if method == "GET" else found
            if status not in (408, 425, 429, 500, 502, 503, 504) or "usage limit" in answer.text:
                break
            pause = float(answer.headers.get("Retry-After", pause))
        except (requests.RequestException, ValueError) as error:
            why = str(error)
        time.sleep(pause)
    sys.exit(f"{method} {path}: {why}\nRun the same again: it sends what is missing.".replace(KEY, "<key>"))


def jcs(x):
    if isinstance(x, dict):
        names = sorted(x, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{jcs(name)}:{jcs(x[name])}" for name in names) + "}"
    if isinstance(x, list):
        return f"[{','.join(map(jcs, x))}]"
    if isinstance(x, float) and (x == 0 or 1e-6 <= abs(x) < 1e21):
        return f"{Decimal(repr(x or 0.0)):f}".removesuffix(".0")
    return repr(x).replace("e-0", "e-") if isinstance(x, float) else json.dumps(x, ensure_ascii=False)


def times(result, default=None):
    found = [datetime.fromisoformat(result[name].upper()) for name in ("start_time", "end_time") if result.get(name)]
    found = [time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC) for time in found] or [default]
    return found[0], found[-1] + timedelta(seconds=result.get("latency", 0))


file, dataset_name, name = sys.argv[1:]
with open(file, encoding="utf-8-sig") as lines:
    results = [{k: v for k, v in json.loads(line).items() if v is not None} for line in lines if line.strip()]
named, now, window = {"name": dataset_name}, datetime.now(UTC), timedelta(hours=20)
found = call("GET", "/datasets", params=named) or [call("POST", "/datasets", (409,), json={**named, "data_type": "kv"})]
dataset_id = (found[0] or call("GET", "/datasets", params=named)[0])["id"]
spans = [times(result, now + timedelta(days=9)) for result in results]  # no start: never the first
first, longest = min(start for start, _ in spans), max(end - start for start, end in spans)
opened = (first if abs(now - first) < window else now - min(longest, window)).replace(microsecond=0)
session = {"id": str(uuid5(NAMESPACE_DNS, f"{dataset_id}-{name}")), "name": name, "start_time": opened.isoformat()}
session |= {"reference_dataset_id": dataset_id}
session = call("POST", "/sessions", (409,), json=session) or call("GET", "/sessions", params={"name": name})[0]
if session["reference_dataset_id"] != dataset_id:
    sys.exit(f"The name {name!r} is taken by an experiment of another dataset.")
opened, repetitions, ends = times(session)[0], defaultdict(count), [now.isoformat()]

for at in range(0, len(results), 100):
    examples, runs, feedback = {}, [], []
    for result in results[at : at + 100]:
        content = f"{dataset_id}-{jcs(result['inputs'])}-{jcs(result.get('reference_outputs', {}))}"
        example = {"id": str(uuid5(NAMESPACE_DNS, content)), "dataset_id": dataset_id, "inputs": result["inputs"]}
        fields = (("outputs", "reference_outputs"), ("metadata", "example_metadata"), ("split", "split"))
        examples.setdefault(example["id"], example | {to: result[field] for to, field in fields if field in result})
        own, own_end = times(result, opened)
        start, metadata = max(own, opened), dict(result.get("metadata", {}))
        if start > own:
            end = own_end.isoformat(timespec="microseconds") if "latency" in result else result["start_time"]
            metadata |= {"original_start_time": result["start_time"], "original_end_time": result.get("end_time", end)}
        ends += [end := (start + (own_end - own)).isoformat()]
        text = jcs({k: result[k] for k in result.keys() - {"feedback", "attachments", "split", "example_metadata"}})
        seed = f"{session['id']}-{example['id']}-{text}-{next(repetitions[text])}"
        digits = f"{(start - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1):012x}"
        i, kind = f"{digits[:8]}-{digits[8:]}-7{str(uuid5(NAMESPACE_DNS, seed))[15:]}", result.get("run_type", "llm")
        ties = {"trace_id": i, "session_id": session["id"], "start_time": start.isoformat()}
        run = {"id": i, "dotted_order": f"{start:%Y%m%dT%H%M%S%fZ}{i}", "name": kind, "run_type": kind, **ties}
        run |= {"end_time": end, "reference_example_id": example["id"], "extra": {"metadata": metadata}}
        runs.append(run | {k: result[k] for k in result.keys() & {"name", "inputs", "outputs", "error", "tags"}})
        given, keys = result.get("feedback", []), defaultdict(count)
        if isinstance(given, dict):  # {key: score}
            given = [{"key": key, "value" if isinstance(mark, str) else "score": mark} for key, mark in given.items()]
        for item in given:
            item = {k: round(v, 4) if k == "score" else v for k, v in item.items() if v is not None}
            if item.get("error") or item.keys() & {"score", "value", "comment"}:
                key = f"{item['key']}-error" if item.get("error") else item["key"]
                item |= {"id": str(uuid5(NAMESPACE_DNS, f"{i}-{key}-{next(keys[key])}")), "run_id": i}
                feedback.append({"feedback_source": {"type": "api"}, **item, **ties})
    for _ in range(2):  # the second time for those that were there after all: 409, and then none is created
        there = call("GET", "/examples", params={"dataset": dataset_id, "id": list(examples), "limit": 100})
        if missing := [examples[i] for i in examples if i not in {example["id"] for example in there}]:
            call("POST", "/examples/bulk", (409,), json=missing)
    call("POST", "/runs/batch", (409,), json={"post": runs})
    for first in range(0, len(feedback), 100):
        parts = [(f"feedback.{item['id']}", json.dumps(item)) for item in feedback[first : first + 100]]
        files = [(part, (None, data, f"application/json; length={len(data)}")) for part, data in parts]
        call("POST", "/runs/multipart", (409,), files=files)

call("PATCH", f"/sessions/{session['id']}", json={"end_time": max(ends)})
