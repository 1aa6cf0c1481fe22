"""Check what our client sends against the official contract."""

import json
import re
from urllib.parse import parse_qs, urlsplit

from localsmith_api import CONTRACT, contract, operation_of, validate

# Documented operations and fields that are newer than the contract at hand.
NEWER = (
    *("/api/v2/sessions", "/api/v2/runs/rules"),
    "/datasets/comparative/",  # its DELETE
    *("/annotation-queues", "/platform/annotation-queues", "/feedback-configs"),
)
# Without it, LangSmith gives the tokens and cost of a run itself, and a root that calls no model has none.
NEWER_FIELDS = {"POST /api/v2/runs/query": {"include_subtree_usage": bool}}

FEEDBACK = {"$ref": "#/components/schemas/FeedbackCreateSchema"}
RUN = {"$ref": "#/components/schemas/runs.Run"}
APART = ("inputs", "outputs", "events", "error", "extra", "serialized")  # fields that may be parts of their own
PART = re.compile(rb'name="([^"]+)"\r\nContent-Type: [\w/+.-]+; length=(\d+)\r\n\r\n(.*?)\r\n--', re.S)


def check_sent(request, run_fields=None):
    """Validate the operation, query, body and fields of a prepared request; returns "METHOD /template".

    `run_fields` maps fields of runs to the type that they may have, whatever the contract says of them.
    """
    parts = urlsplit(request.url)
    if newer := next(filter(parts.path.removeprefix("/api/v1").startswith, NEWER), None):
        return f"{request.method} {newer}"
    name, operation = operation_of(request.method, parts.path)
    assert name, f"the contract has no {request.method} {parts.path}"
    check_query(parse_qs(parts.query, keep_blank_values=True), operation, name)
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    accepted = operation.get("requestBody", {}).get("content", {})
    assert kind in accepted if request.body else not accepted, f"{name} was sent {kind or 'nothing'}"
    if kind == "application/json":
        schema = accepted[kind]["schema"]
        body = json.loads(request.body)
        for field, kind in NEWER_FIELDS.get(name, {}).items():
            assert isinstance(body.pop(field, kind()), kind), f"{name}: {field} is no {kind.__name__}"
        for run in runs_in(body, name) if run_fields else ():
            leave_out(run, run_fields)
        validate(body, schema)
        check_fields(body, schema, name)
    elif kind == "multipart/form-data":
        check_parts(request.body, name, run_fields or {})
    return name


def runs_in(body, name):
    if name == "POST /runs/batch":
        return [*body.get("post", ()), *body.get("patch", ())]
    return [body] if name in ("POST /runs", "PATCH /runs/{run_id}") else []


def leave_out(run, fields):
    """Drop the fields that have the type given for them."""
    for field, kind in fields.items():
        if isinstance(run.get(field), kind):
            del run[field]


def check_query(query, operation, name):
    declared = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
    for key, values in query.items():
        assert key in declared, f"{name} has no query parameter {key}"
        schema = declared[key]["schema"]
        candidates = [values, values[0], json.loads(values[0]) if values[0].isdigit() else values[0] == "true"]
        assert any(is_valid(candidate, schema) for candidate in candidates), f"{name}: {key}={values}"


def is_valid(value, schema):
    try:
        validate(value, schema)
    except Exception:
        return False
    return True


def check_fields(value, schema, name):
    """No field that the contract does not know: JSON schemas let those pass, a server may not."""
    while "$ref" in schema:
        schema = contract()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            check_fields(item, schema.get("items", {}), name)
    known = schema.get("properties")
    if isinstance(value, dict) and known:
        assert value.keys() <= known.keys(), f"{name} was sent {value.keys() - known.keys()}"
        for key, item in value.items():
            check_fields(item, known[key], name)


def check_parts(body, name, run_fields):
    found, runs = PART.findall(body), {}
    assert found and len(found) == body.count(b"Content-Disposition"), f"{name}: parts without a length"
    for part, length, data in found:
        kind, _, identity = part.decode().partition(".")
        assert int(length) == len(data)
        if kind == "attachment":
            assert identity.count(".") == 1, f"{name}: an attachment belongs to a run and has a name without dots"
            continue
        item = json.loads(data)
        identity, _, field = identity.partition(".")
        if field:
            assert field in APART, f"{name}: {field} is no part of its own"
            runs[kind, identity][field] = item
            continue
        assert identity == item["id"] and item["trace_id"]
        if kind == "feedback":
            validate(item, FEEDBACK)
            check_fields(item, FEEDBACK, name)
            continue
        assert kind in ("post", "patch") and item["dotted_order"]
        runs[kind, identity] = item
    for run in runs.values():
        leave_out(run, run_fields)
        validate(run, RUN)
        check_fields(run, RUN, name)


def official_contract():
    return CONTRACT.exists()
