"""One walk through every operation of the official contract; requests and answers are valid against it."""

import pytest
from localsmith_api import CONTRACT, Api, multipart, new_id, operations, run

pytestmark = pytest.mark.skipif(not CONTRACT.exists(), reason=f"the official contract is not at {CONTRACT.name}")


def test_every_operation_is_answered_as_the_contract_says(server):
    """No operation of the contract is missing, and each success has the contract's form."""
    api = Api(server.url)
    dataset = api.post("/datasets", {"name": "d", "extra": {"metadata": {}}, "data_type": "kv"})["id"]
    example = walk_examples(api, dataset)
    a, b = api.experiment(dataset, "a"), api.experiment(dataset, "b")
    sent = walk_writes(api, a, example)
    walk_feedback(api, a, sent)
    walk_reads(api, dataset, a, sent)
    walk_rules(api, dataset, a)
    api.post("/datasets/comparative", {"experiment_ids": [a, b], "name": "a vs. b"})
    api.get(f"/datasets/{dataset}/comparative")
    walk_upload(api)
    walk_sessions(api, a, b)
    api.patch(f"/datasets/{dataset}", {"description": "x"})
    api.get(f"/datasets/{dataset}")
    api.get("/datasets", name="d")
    api.get("/api/v1/info")
    api.delete(f"/examples/{example}")
    api.delete(f"/datasets/{dataset}")

    expected = {f"{method} {template}" for method, _, template, _ in operations()}
    assert expected - api.seen == set()


def walk_examples(api, dataset):
    example = api.post("/examples", {"dataset_id": dataset, "inputs": {"q": 1}})["id"]
    api.examples(dataset, 2)
    api.get("/examples", dataset=dataset)
    api.get("/examples/count", dataset=dataset)
    api.get(f"/examples/{example}")
    api.patch(f"/examples/{example}", {"outputs": {"a": 1}})
    api.patch("/examples/bulk", [{"id": example, "split": "test"}])
    for method, row in (("POST", new_id()), ("PATCH", example)):
        body, headers = multipart([(row, {}), (f"{row}.inputs", {"q": 2})])
        api.call(method, f"/v1/platform/datasets/{dataset}/examples", data=body, headers=headers)
    return example


def walk_writes(api, session, example):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_cost": 0.001, "input_token_details": {"cache_read": 1}}
    sent = run(session, reference_example_id=example, run_type="llm", extra={"metadata": {"usage_metadata": usage}})
    pending = run(session, end_time=None, outputs=None, tags=["t"])
    part = run(session, error="boom")
    api.runs([sent])
    api.post("/runs", pending)
    body, headers = multipart([(f"post.{part['id']}", part)])
    api.call("POST", "/runs/multipart", data=body, headers=headers)
    api.patch(f"/runs/{pending['id']}", {"outputs": {}, "end_time": sent["end_time"]})
    api.patch(f"/api/v1/runs/{pending['id']}", {"tags": ["u"]})
    return sent


def walk_feedback(api, session, sent):
    fields = {"score": 1, "comment": "ok", "feedback_source": {"type": "model", "metadata": {}}}
    made = api.post("/feedback", {"run_id": sent["id"], "key": "correct", **fields})
    api.post("/feedback", {"session_id": session, "key": "pass_rate", "value": "GOOD"})
    api.get("/feedback", session=session)
    api.get(f"/feedback/{made['id']}")
    api.patch(f"/feedback/{made['id']}", {"score": 0})
    other = api.post("/feedback", {"run_id": sent["id"], "key": "x", "value": {"a": 1}})
    api.delete(f"/feedback/{other['id']}")


def walk_reads(api, dataset, session, sent):
    selects = sorted(api_selects())
    api.post("/runs/query", {"session": [session]})
    api.get(f"/api/v1/runs/{sent['id']}")
    api.post("/runs/stats", {"session": [session]})
    api.post(f"/datasets/{dataset}/runs", {"session_ids": [session], "limit": 10})
    api.post(f"/datasets/{dataset}/runs", {"session_ids": [session], "preview": True})
    api.post("/api/v2/runs/query", {"project_ids": [session], "selects": selects})
    api.post("/api/v2/runs/query", {"reference_dataset_id": dataset})
    api.get(f"/api/v2/runs/{sent['id']}", project_id=session, selects=selects)
    api.get(f"/api/v2/traces/{sent['trace_id']}/runs", project_id=session, selects=selects)
    api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {"experiment_ids": [session], "selects": selects})


def api_selects():
    from localsmith_api import contract

    return contract()["components"]["schemas"]["query.RunSelectField"]["enum"]


def walk_rules(api, dataset, session):
    body = {"display_name": "r", "sampling_rate": 1, "dataset_id": dataset, "code_evaluators": [{"code": "x"}]}
    rule = api.post("/runs/rules", body)
    api.get("/runs/rules")
    api.patch(f"/runs/rules/{rule['id']}", {"display_name": "r", "sampling_rate": 0.5})
    api.post(f"/runs/experiments/{session}/evaluate", {"rule_id": rule["id"]})
    api.delete(f"/runs/rules/{rule['id']}")
    path = "/v1/platform/evaluators"
    made = api.post(path, {"name": "e", "type": "code", "code_evaluator": {"code": "x", "language": "python"}})
    api.get(path)
    api.delete(path, evaluator_ids=made["evaluator"]["id"])


def walk_upload(api):
    times = {"start_time": "2026-01-01T00:00:01Z", "end_time": "2026-01-01T00:00:02Z"}
    body = {
        "experiment_name": "up",
        "dataset_name": "up",
        "experiment_start_time": "2026-01-01T00:00:00Z",
        "experiment_end_time": "2026-01-01T00:01:00Z",
        "results": [{"row_id": new_id(), "inputs": {}, **times}],
    }
    api.post("/datasets/upload-experiment", body)


def walk_sessions(api, a, b):
    api.get("/sessions", include_stats="true")
    api.get(f"/sessions/{a}", include_stats="true")
    api.patch(f"/sessions/{a}", {"end_time": "2030-01-01T00:00:00Z"})
    api.delete(f"/sessions/{b}")
    api.delete("/sessions", session_ids=a)
