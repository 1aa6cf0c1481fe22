"""Every request of every scenario is valid against LangSmith's official contract."""

import pytest
import requests
from sent import check_sent, official_contract

from langsmith_rest import connection
from recorder import record_langsmith_experiment

pytestmark = pytest.mark.skipif(not official_contract(), reason="the official contract is not beside the project")

RESULTS = [
    {
        "inputs": {"q": f"{n}?"},
        "outputs": {"a": n},
        "reference_outputs": {"a": 1},
        "start_time": "2025-01-01T00:00:00Z",
        "end_time": "2025-01-01T00:00:02Z",
        "metadata": {"ls_provider": "openai", "usage_metadata": {"input_tokens": 1, "output_tokens": 2}},
        "tags": ["x"],
        "split": ["a", "b"],
        "example_metadata": {"row": n},
        "feedback": [{"key": "good", "score": True, "comment": "é"}, {"key": "tone", "value": {"kind": 1}}],
        "child_runs": [{"inputs": {}, "error": "timeout", "run_type": "tool", "feedback": {"useful": 0.5}}],
    }
    for n in range(3)
]


def test_recording_sends_what_the_contract_knows(server, sent):
    """Recording, recording again, and correcting feedback use only known operations, fields and parameters."""
    api = connection.connect(server.url)

    record_langsmith_experiment("d", RESULTS, langsmith=api, experiment_name="e", description="x", metadata={"m": 1})
    changed = [{**result, "feedback": {"good": 0, "more": "text"}} for result in RESULTS]
    recording = record_langsmith_experiment("d", changed, langsmith=api, experiment_name="e")

    assert recording.runs_existing == 3 and recording.feedback == 6
    assert sent == {
        "GET /api/v1/datasets",
        "POST /api/v1/datasets",
        "POST /api/v1/sessions",
        "GET /api/v1/sessions",
        "GET /api/v1/sessions/{session_id}",
        "PATCH /api/v1/sessions/{session_id}",
        "GET /api/v1/examples",
        "POST /api/v1/examples/bulk",
        "POST /runs/batch",
        "POST /runs/multipart",
        "POST /api/v2/runs/query",
        "GET /api/v1/feedback",
        "PATCH /api/v1/feedback/{feedback_id}",
    }


def test_fallbacks_send_what_the_contract_knows(server, sent):
    """So do the older routes, which are used where a server lacks the newer ones."""
    api = connection.connect(server.url)
    api.missing |= {"runs v2", "multipart"}

    for _ in range(2):
        record_langsmith_experiment("d", RESULTS, langsmith=api, experiment_name="e")

    assert sent >= {"POST /api/v1/feedback", "POST /api/v1/runs/query"}
    assert not sent & {"POST /runs/multipart", "POST /api/v2/runs/query"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/sessions", {"json": {"name": 1}}),
        ("POST", "/sessions", {"json": {"nome": "x"}}),
        ("GET", "/examples", {"params": {"dateset": "x"}}),
        ("GET", "/examples", {"params": {"limit": 101}}),
        ("POST", "/nowhere", {"json": {}}),
    ],
    ids=["wrong type", "unknown field", "unknown parameter", "out of range", "unknown route"],
)
def test_the_check_itself_finds_what_is_wrong(method, path, body):
    """A check that lets everything pass would prove nothing."""
    request = requests.Request(method, f"http://127.0.0.1{path}", **body).prepare()

    with pytest.raises((AssertionError, Exception), match=r".") as found:
        check_sent(request)

    assert type(found.value).__name__ in ("AssertionError", "ValidationError")
