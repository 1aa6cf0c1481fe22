"""A LangSmith that is empty and stores nothing, to see what recording would send."""

import json
import re
import threading
from collections.abc import Iterable
from typing import Any

import requests

from langsmith_rest import connection
from langsmith_rest.recording.checking import prepare


class DryRun(requests.adapters.BaseAdapter):
    """Answers like an empty LangSmith, and keeps the requests."""

    def __init__(self, dataset: dict[str, str]) -> None:
        super().__init__()
        self.dataset = dataset
        self.requests: list[dict[str, Any]] = []
        self._created: dict[str, Any] = {}
        self._roots = self._feedback = 0
        self._lock = threading.Lock()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        body: Any = request.body or b""
        is_json = request.headers.get("Content-Type") == "application/json"
        sent: dict[str, Any] = {"method": request.method, "path": request.path_url, "bytes": len(body)}
        if is_json:
            sent["body"] = json.loads(body)
        elif body:
            sent["parts"] = [part_of(*found.groups()) for found in PART.finditer(body)]
        with self._lock:
            self.requests.append(sent)
            self._roots += sum(run["id"] == run["trace_id"] for run in runs_in(sent))
            self._feedback += sum("key" in part for part in sent.get("parts", ()))
            if sent["path"] == "/datasets" and is_json:
                self._created = {**sent["body"], **self.dataset, "example_count": 0}
            elif sent["path"] == "/examples/bulk":
                self._created["example_count"] += len(sent["body"])
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer._content = json.dumps(self._answer(sent)).encode()
        answer.headers["Content-Type"] = "application/json"
        return answer

    def _answer(self, sent: dict[str, Any]) -> Any:
        if "include_stats" in sent["path"]:
            return {"run_count": self._roots, "feedback_stats": {"all": {"n": self._feedback}}}
        if sent["method"] == "GET":
            return [self._created] if sent["path"].startswith("/datasets") and self._created else []
        return {**self._created, "example_count": 0} if sent["path"] == "/datasets" else sent.get("body")

    def close(self) -> None:
        pass


def runs_in(sent: dict[str, Any]) -> list[dict[str, Any]]:
    body = sent.get("body")
    with_files = [part for part in sent.get("parts", ()) if "trace_id" in part and "key" not in part]
    return body.get("post", []) if isinstance(body, dict) else with_files


PART = re.compile(rb'name="([^"]+)"\r\nContent-Type: ([^;]+); length=\d+\r\n\r\n(.*?)\r\n--', re.DOTALL)


def part_of(name: bytes, kind: bytes, data: bytes) -> dict[str, Any]:
    """A part of a multipart request, as JSON shows it."""
    if not name.startswith(b"attachment."):
        return dict(json.loads(data))
    return {"attachment": name.decode(errors="replace"), "mime_type": kind.decode(), "bytes": len(data)}


NO_ID = "00000000-0000-0000-0000-000000000000"
NO_DATASET = {"id": NO_ID, "tenant_id": NO_ID}
STAGES = (
    "GET /datasets",
    "GET /sessions?name",
    "POST /datasets",
    "POST /sessions",
    "POST /examples",
    "POST /runs/batch",
    "POST /runs",
    "PATCH",
)


def connect(dataset: dict[str, str]) -> connection.LangSmith:
    """A connection whose requests go nowhere; `dataset` is added to the answer of `POST /datasets`."""
    session = requests.Session()
    session.headers["x-api-key"] = "dry-run"
    session.mount("http://", DryRun(dataset))
    return connection.LangSmith("http://dry-run", "http://dry-run", session, "")


def sent_requests(api: connection.LangSmith) -> list[dict[str, Any]]:
    """What a dry run would have sent, in the order of its stages; within a stage, requests overlap."""
    adapter: Any = api.session.get_adapter(api.url)
    lines = [f"{sent['method']} {sent['path']}" for sent in adapter.requests]
    order = []
    for at, line in enumerate(lines):
        stage = next((stage for stage, start in enumerate(STAGES) if line.startswith(start)), len(STAGES))
        is_last = stage == len(STAGES) or line in lines[:at] and not stage  # reads that follow the recording
        order.append((len(STAGES), line, at) if is_last else (stage, "", at))
    return [adapter.requests[at] for *_, at in sorted(order)]


def verdicts(sources: Iterable[Iterable[Any]]) -> list[dict[str, Any]]:
    """For each result of some files: whether it would be recorded, where it is, and all its problems."""
    found = []
    for results in sources:
        for number, result in enumerate(results, 1):
            problems = prepare(result, number).problems
            place = getattr(results, "place", f"result {number}")
            found.append({"place": place, "verdict": "refused" if problems else "recorded", "problems": problems})
    return found
