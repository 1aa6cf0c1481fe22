"""Data for the tests of the pages, written through the REST API as any client would write it."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape

TENANT = "f51e8722-c21b-4092-a8ce-6f2410645d51"


class Seed:
    """Writes through `post(path, body)`, and remembers nothing but the clock."""

    def __init__(self, client):
        self._client = client
        self.start = datetime.now(UTC) - timedelta(hours=1)

    def post(self, path, body):
        answer = self._client.post(path, json=body, headers={"x-api-key": "any"})
        assert answer.status_code < 300, (path, answer.status_code, answer.data)
        return answer.get_json(silent=True)

    def dataset(self, name="capitals", **fields):
        return self.post("/datasets", {"name": name, **fields})["id"]

    def examples(self, dataset_id, pairs, **fields):
        """Examples from (inputs, reference) pairs; their ids in that order."""
        rows = [
            {"id": str(uuid.uuid4()), "dataset_id": dataset_id, "inputs": inputs, "outputs": outputs, **fields}
            for inputs, outputs in pairs
        ]
        self.post("/examples/bulk", rows)
        return [row["id"] for row in rows]

    def session(self, name, dataset_id=None, **fields):
        body = {"name": name, "start_time": self.start.isoformat(), **fields}
        if dataset_id:
            body["reference_dataset_id"] = dataset_id
        self.start += timedelta(seconds=1)
        return self.post("/sessions", body)["id"]

    def run(
        self, session_id, example_id=None, *, outputs=None, seconds=1.5, after=0.0, parent=None, feedback=(), **fields
    ):
        """One run (below `parent`, a run returned before), with its feedback; the run as it was sent."""
        start = self.start + timedelta(seconds=after)
        run_id = str(uuid.uuid4())
        run = {
            "id": run_id,
            "trace_id": parent["trace_id"] if parent else run_id,
            "name": "target",
            "run_type": "chain",
            "session_id": session_id,
            "start_time": start.isoformat(),
            "inputs": {"question": "?"},
            **fields,
        }
        run["dotted_order"] = f"{start:%Y%m%dT%H%M%S%f}Z{run_id}"
        if seconds is not None:
            run["end_time"] = (start + timedelta(seconds=seconds)).isoformat()
        if parent:
            run["parent_run_id"] = parent["id"]
            run["dotted_order"] = f"{parent['dotted_order']}.{run['dotted_order']}"
        if example_id:
            run["reference_example_id"] = example_id
        if outputs is not None:
            run["outputs"] = outputs
        self.post("/runs/batch", {"post": [run]})
        for item in feedback:
            self.feedback(run, **item)
        return run

    def feedback(self, run, **fields):
        return self.post(
            "/feedback",
            {"run_id": run["id"], "trace_id": run["trace_id"], "session_id": run["session_id"], **fields},
        )


def long_trace(seed, session, example=None, steps=256, failing=180):
    """A trace of many steps, deep and of several kinds, of which one fails; the root, and the step that fails."""
    kinds = [("plan", "chain"), ("gpt", "llm"), ("search_web", "tool"), ("docs", "retriever")]
    root = seed.run(session, example, outputs={"answer": "done"}, seconds=steps, name="long agent")
    parents, runs = [root], []
    for n in range(1, steps):
        name, kind = kinds[n % len(kinds)]
        parent = parents[-1 - n % 2] if len(parents) > 1 else parents[-1]
        start = seed.start + timedelta(seconds=n)
        run = {
            "id": str(uuid.uuid4()), "trace_id": root["id"], "parent_run_id": parent["id"], "session_id": session,
            "name": f"{name} {n}", "run_type": kind, "start_time": start.isoformat(),
            "end_time": (start + timedelta(seconds=0.5)).isoformat(), "inputs": {"step": n}, "outputs": {"step": n},
        }  # fmt: skip
        run["dotted_order"] = f"{parent['dotted_order']}.{start:%Y%m%dT%H%M%S%f}Z{run['id']}"
        if n == failing:
            run["error"] = "ConnectionError: search is down"
        if kind == "chain" and len(parents) < 30:
            parents.append(run)
        runs.append(run)
    for at in range(0, len(runs), 100):
        seed.post("/runs/batch", {"post": runs[at : at + 100]})
    return root, runs[failing - 1]


def four_models(seed):
    """Four models on ten examples with long answers; the fourth does worse than the first on six of them."""
    dataset = seed.dataset("four models")
    examples = seed.examples(dataset, [({"question": f"question {n}"}, {"answer": n}) for n in range(10)])
    falls = {"model 1": [0] * 10, "model 2": [0.1] * 10, "model 3": [-0.1] * 10}
    falls["model 4"] = [0.3, -0.1, 0.8, 0.5, 0, 0.6, 0.2, 0.7, 0, 0]
    sessions = [seed.session(name, dataset) for name in falls]
    for session, name in zip(sessions, falls, strict=True):
        for n, example in enumerate(examples):
            answer = f"Answer of {name} to {n}. " + "It is long. " * 100 + "The end."
            score = {"key": "close", "score": 0.9 - falls[name][n]}
            seed.run(session, example, outputs={"answer": answer}, feedback=[score])
    return {"four models": dataset, "models": sessions, "model 2": sessions[1]}


CHAT = {
    "messages": [
        {"role": "system", "content": "You are a travel desk."},
        {"role": "user", "content": "What is the weather in Lima?"},
    ]
}
CHAT_ANSWER = {
    "messages": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lima"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "overcast", "celsius": 19}'},
        {"role": "assistant", "content": "Overcast, 19 °C."},
    ]
}
HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "javascript:window.hacked=1",
    "</pre></details></script><svg onload=window.hacked=1>",
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://example.invalid")',
    "\u202egnp.exe \u0000 \x1b[31m",
]


def capitals(seed):
    """A dataset of four examples and three experiments: right, partly wrong with an error, and repeated."""
    dataset = seed.dataset(description="Capitals of the world")
    pairs = [("Peru", "Lima"), ("France", "Paris"), ("Chad", "N'Djamena"), ("Nauru", None)]
    examples = seed.examples(dataset, [({"country": c}, {"capital": a} if a else None) for c, a in pairs])
    metadata = {"model": "small", "git": {"commit": "0123456789abcdef", "branch": "main", "dirty": True}}
    first = seed.session("first", dataset, extra={"metadata": metadata})
    second = seed.session("second", dataset, extra={"metadata": {"model": "large"}})
    third = seed.session("third", dataset)
    made = {"dataset": dataset, "examples": examples, "first": first, "second": second, "third": third, "runs": []}
    for example, answer, score in zip(examples, ["Lima", "Lyon", "N'Djamena", "Yaren"], [1, 0, 1, None], strict=True):
        feedback = [] if score is None else [{"key": "correct", "score": score, "comment": f"said {answer}"}]
        usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "total_cost": 0.00012}
        made["runs"].append(
            seed.run(
                first, example, outputs={"capital": answer}, feedback=feedback, run_type="llm",
                extra={"metadata": {"usage_metadata": usage}},
            )
        )  # fmt: skip
    for example, answer, score in zip(examples[:2], ["Cusco", "Paris"], [0, 1], strict=True):
        seed.run(second, example, outputs={"capital": answer}, feedback=[{"key": "correct", "score": score}], seconds=3)
    seed.run(second, examples[2], error="TimeoutError: the model did not answer", seconds=30)
    for score in (1, 0, 1):
        seed.run(
            third, examples[0], outputs={"capital": "Lima"}, seconds=0, feedback=[{"key": "correct", "score": score}]
        )
    return made


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def page(client, path, status=200):
    """The page at `path` below the tenant; any other status than the expected one fails."""
    answer = client.get(path if path == "/" or path.startswith("/o/") else f"/o/{TENANT}/{path}")
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "text/html"
    return answer.text


def words(html):
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
