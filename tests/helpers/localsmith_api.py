"""Talk to a localsmith over HTTP; every answer that the official contract describes is checked against it."""

import json
import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache

import jsonschema_rs
import requests
from places import SHARED

CONTRACT = SHARED / "langsmith-openapi-subset.json"
KEY = {"x-api-key": "any"}
FUZZ = int(os.environ.get("LOCALSMITH_FUZZ_EXAMPLES", "50"))  # per property; 100000 takes about an hour


def new_id():
    return str(uuid.uuid4())


class Api:
    """`api.get("/datasets", name="x")`; `.seen` collects the contract's operations that were answered."""

    def __init__(self, url, *, prefix=""):
        self.url = url
        self.prefix = prefix
        self.session = requests.Session()
        self.session.headers.update(KEY)
        self.seen = set()

    def send(self, method, path, **kwargs):
        response = self.session.request(method, self.url + self.prefix + path, timeout=60, **kwargs)
        if CONTRACT.exists():
            self.seen.add(check_answer(method, path, response))
            if response.ok and "json" in kwargs:
                check_request(method, path, kwargs["json"])
        return response

    def call(self, method, path, **kwargs):
        response = self.send(method, path, **kwargs)
        assert response.ok, f"{method} {path} answered {response.status_code}: {response.text[:500]}"
        return response.json() if response.content else None

    def get(self, path, **params):
        return self.call("GET", path, params=params)

    def post(self, path, body):
        return self.call("POST", path, json=body)

    def patch(self, path, body):
        return self.call("PATCH", path, json=body)

    def delete(self, path, **params):
        return self.call("DELETE", path, params=params)

    # What most tests need

    def dataset(self, name="capitals", **fields):
        return self.post("/datasets", {"name": name, **fields})["id"]

    def examples(self, dataset_id, count=3):
        rows = [
            {"id": new_id(), "dataset_id": dataset_id, "inputs": {"q": i}, "outputs": {"a": i}} for i in range(count)
        ]
        return [row["id"] for row in self.post("/examples/bulk", rows)]

    def experiment(self, dataset_id=None, name="first"):
        body = {"name": name, **({"reference_dataset_id": dataset_id} if dataset_id else {})}
        return self.post("/sessions", body)["id"]

    def runs(self, runs):
        return self.post("/runs/batch", {"post": runs})

    def query(self, session_id, **fields):
        """The ids of the runs that match, newest first, as v2 finds them."""
        body = {"project_ids": [session_id], "selects": ["ID"], **fields}
        return [run["id"] for run in self.post("/api/v2/runs/query", body)["items"]]


def run(session_id=None, *, parent=None, seconds_ago=60.0, took=1.0, **fields):
    """A finished run as a recorder sends it; a child of `parent` when there is one."""
    run_id = fields.pop("id", None) or new_id()
    start = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    if parent:
        start = max(start, datetime.fromisoformat(parent["start_time"]))
    order = f"{start:%Y%m%dT%H%M%S%f}Z{run_id}"
    found = {
        "id": run_id,
        "trace_id": parent["trace_id"] if parent else run_id,
        "dotted_order": f"{parent['dotted_order']}.{order}" if parent else order,
        "name": "target",
        "run_type": "chain",
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(seconds=took)).isoformat(),
        "inputs": {"q": "capital of Peru?"},
        "outputs": {"a": "Lima"},
        **({"parent_run_id": parent["id"]} if parent else {}),
        **({"session_id": session_id} if session_id else {}),
        **fields,
    }
    return {name: value for name, value in found.items() if value is not None}


def multipart(parts, *, boundary="b0undary"):
    """Body and headers of a multipart request; `parts` are (name, JSON value or bytes)."""
    body = b""
    for name, value in parts:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        body += f"Content-Type: {kind}; length={len(data)}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


# The contract


@cache
def contract():
    return json.loads(CONTRACT.read_text())


@cache
def operations():
    """(method, pattern, template, operation), those with fewer variables first."""
    found = [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", template)), template, operation)
        for template, methods in contract()["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda item: item[2].count("{"))


def operation_of(method, path):
    path = path.partition("?")[0]
    plain = re.sub(r"^/api(/v1)?(?!/v2|/v1)", "", path)
    for candidate in (path, plain, f"/api/v1{plain}", f"/v1{path}"):
        for verb, pattern, template, operation in operations():
            if verb == method and pattern.fullmatch(candidate):
                return f"{method} {template}", operation
    return None, None


validators = {}  # by the id of their schema, with the schema, so that no other gets the same id


def validate(value, schema):
    """Raise ValueError where a value breaks a schema of the contract."""
    if id(schema) not in validators:
        refers = "$ref" in json.dumps(schema)  # else it is compiled in a tenth of the time
        root = {"components": contract()["components"], **schema} if refers else schema
        validators[id(schema)] = schema, jsonschema_rs.Draft202012Validator(root, validate_formats=True)
    validators[id(schema)][1].validate(value)


def check_answer(method, path, response):
    """Validate an answer's body; return the operation it belongs to."""
    name, operation = operation_of(method, path)
    answers = (operation or {}).get("responses", {})
    content = answers.get(str(response.status_code), {}).get("content", {})
    if "application/json" in content and "json" in response.headers["Content-Type"]:
        validate(response.json(), content["application/json"]["schema"])
    elif name and response.ok:
        assert str(response.status_code) in answers, f"{name} answered {response.status_code}"
    return name


def check_request(method, path, body):
    _, operation = operation_of(method, path)
    content = (operation or {}).get("requestBody", {}).get("content", {})
    if "application/json" in content:
        validate(body, content["application/json"]["schema"])
