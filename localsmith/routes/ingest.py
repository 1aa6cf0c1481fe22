"""The run writes: POST /runs, PATCH /runs/{id}, /runs/batch, /runs/multipart."""

import json
import sqlite3
import uuid
from typing import Any

from werkzeug.wrappers import Response

from localsmith.multipart import Part, parse_parts
from localsmith.routes.feedback import NAMESPACE, check_decimals, check_feedback, check_feedbacks, insert_feedback
from localsmith.routes.info import MAX_RUNS_PER_REQUEST
from localsmith.runs.checks import IDS, Run, bad_run, check_fields, check_run, check_runs, place, unprocessable
from localsmith.runs.writing import Row, insert_runs, prepared, update_runs
from localsmith.wire import MAX_REQUEST_BYTES, ApiError, Call, answer, parse_each

OUT_OF_BAND = {"inputs", "outputs", "events", "error", "extra", "serialized"}
# The contract asks each value to be a text and an object at once, so only an empty object fits.
ACCEPTED: dict[str, Any] = {}


def already_received() -> ApiError:
    return ApiError(409, "Conflict: payload already received: payloads already received")


def create_run(call: Call) -> dict[str, Any]:
    """Store one run; trace_id and dotted_order may be left out."""
    body = call.json()
    if not isinstance(body, dict):
        raise unprocessable("run", "must be an object")
    body |= {name: value for name, value in check_fields(body, "run", nulls=False).items() if name in IDS}
    now = call.switches.now()

    def write(db: sqlite3.Connection) -> None:
        place(db, body)
        if not insert_runs(db, [prepared(check_run(body, "run", call.switches, now))], now):
            raise already_received()

    call.write_runs(write)
    return ACCEPTED


def update_run(call: Call) -> Response:
    """Apply an update to an existing run."""
    body = call.json()
    if isinstance(body, dict):
        body["id"] = call.ids["run_id"]
    change = check_fields(body, "run")

    def write(db: sqlite3.Connection) -> None:
        if not db.execute("SELECT 1 FROM runs WHERE id = ?", (change["id"],)).fetchone():
            raise ApiError(404, "run not found: resource not found")
        if not update_runs(db, [change], call.switches.now()):
            raise already_received()

    call.write_runs(write)
    # The route under /api/v1 is another service in LangSmith and says 200.
    return answer(ACCEPTED, 200 if call.request.path.startswith("/api/v1/") else 202)


def ingest_batch(call: Call) -> dict[str, Any]:
    """Store up to 100 runs and updates, all or none."""
    body = call.json()
    if not isinstance(body, dict):
        raise unprocessable("batch", "must be an object with 'post' and 'patch'")
    posts, patches = (_list_of_runs(body, name) for name in ("post", "patch"))
    if len(posts) + len(patches) > MAX_RUNS_PER_REQUEST:
        raise bad_run("batch", f"{len(posts) + len(patches)} runs, the limit is {MAX_RUNS_PER_REQUEST}")
    now = call.switches.now()
    named = {f"post.{i}": run for i, run in enumerate(posts)}
    rows = [prepared(run) for run in check_runs(named, call.switches, now)]
    patches = [_check_patch(run, f"patch.{i}") for i, run in enumerate(patches)]

    def write(db: sqlite3.Connection) -> None:
        if not _store_runs(db, rows, patches, now) and (posts or patches):
            raise already_received()

    call.write_runs(write)
    return ACCEPTED


def _list_of_runs(body: dict[str, Any], name: str) -> list[Any]:
    runs = body.get(name)
    if runs is None:
        return []
    if not isinstance(runs, list):
        raise unprocessable(name, "must be a list")
    return runs


def _check_patch(run: Any, where: str) -> Run:
    checked = check_fields(run, where)
    if "id" not in checked:
        raise unprocessable(f"{where}.id", "is required")
    return checked


def _store_runs(db: sqlite3.Connection, rows: list[Row], patches: list[Run], now: int) -> int:
    """Store runs and updates; return how many brought something new."""
    return insert_runs(db, rows, now) + update_runs(db, patches, now)


# Multipart


def ingest_multipart(call: Call) -> dict[str, Any]:
    """Store runs, updates, feedback and attachments of one request, all or none."""
    parts = parse_parts(call.body(MAX_REQUEST_BYTES), call.request.headers.get("Content-Type", ""), lengths=True)
    now = call.switches.now()
    runs, feedback, attachments = _sort_parts(parts)
    named = {f"post.{run_id}": run for (event, run_id), run in runs.items() if event == "post"}
    posts = [prepared(run) for run in check_runs(named, call.switches, now, nulls=True)]
    patches = [_check_patch(run, f"patch.{run_id}") for (event, run_id), run in runs.items() if event == "patch"]
    items = _parts_feedback(feedback)
    for part, item in zip(feedback, items, strict=True):
        if isinstance(item["score"], float):
            check_decimals(item["score"], [part.name[:200]], call.switches)

    def write(db: sqlite3.Connection) -> None:
        new = _store_runs(db, posts, patches, now)
        new += len(items) - len(insert_feedback(db, items, now))
        new += _store_attachments(db, attachments)
        if not new and runs:
            raise already_received()

    call.write_runs(write)
    return ACCEPTED


def _sort_parts(parts: list[Part]) -> tuple[dict[tuple[str, str], Run], list[Part], list[Part]]:
    runs: dict[tuple[str, str], Any] = {}
    fields: list[tuple[str, str, str, Part]] = []
    others: dict[str, list[Part]] = {"feedback": [], "attachment": []}
    for part in parts:
        event, run_id, field = (*part.name.split(".", 2), "", "")[:3]
        if event in others:
            others[event].append(part)
        elif event not in ("post", "patch") or not run_id:
            raise bad_run("multipart", f"unknown part {part.name[:200]!r}")
        elif field:
            fields.append((event, run_id, field, part))
        else:
            runs[event, run_id] = _part_run(part, run_id)
    for event, run_id, field, part in fields:
        if field not in OUT_OF_BAND:
            raise bad_run("multipart", f"unknown field in part {part.name[:200]!r}")
        if (event, run_id) not in runs:
            raise bad_run("multipart", f"part {part.name[:200]!r} has no part '{event}.{run_id}'")
        runs[event, run_id][field] = part.json()
    return runs, others["feedback"], others["attachment"]


def _part_run(part: Part, run_id: str) -> Run:
    run = part.json()
    if not isinstance(run, dict):
        raise unprocessable(part.name[:200], "must be an object")
    if str(run.setdefault("id", run_id)).replace("-", "") != run_id.replace("-", ""):
        raise bad_run("multipart", f"part {part.name[:200]!r} holds the run {str(run['id'])[:40]!r}")
    return run


def _parts_feedback(parts: list[Part]) -> list[dict[str, Any]]:
    """Feedback of parts, each named after the feedback (SDK) or after its run (contract)."""
    names = [part.name.removeprefix("feedback.") for part in parts]
    bodies = parse_each([(part.data, part.name[:200]) for part in parts])
    for part, body, named in zip(parts, bodies, names, strict=True):
        if not isinstance(body, dict) or not body.get("trace_id"):
            raise unprocessable(part.name[:200], "must be an object with a trace_id")
        if not isinstance(body.get("start_time"), str | None):  # unlike POST /feedback, which takes milliseconds too
            raise unprocessable(part.name[:200], "start_time must be a time in ISO 8601")
        if body.get("session_id") is None or body.get("run_id") is not None:
            body["run_id"] = body.get("run_id") or named
    locs: list[list[str | int]] = [[part.name[:200]] for part in parts]
    items = check_feedbacks(bodies, locs)
    for item, body, named, loc in zip(items, bodies, names, locs, strict=True):
        if item["id"] is None and named != item.get("run_id"):
            item["id"] = check_feedback({**body, "id": named}, loc)["id"]
        # Named after its run and without an id: the same content is the same feedback, so that a retry adds nothing.
        item["id"] = item["id"] or str(uuid.uuid5(NAMESPACE, json.dumps(body, sort_keys=True)))
    return items


def _store_attachments(db: sqlite3.Connection, parts: list[Part]) -> int:
    new = 0
    for part in parts:
        _, run_id, name = (*part.name.split(".", 2), "", "")[:3]
        if not name or "." in name:
            raise bad_run("multipart", f"part {part.name[:200]!r}: an attachment needs a name without dots")
        owner = check_fields({"id": run_id}, part.name[:200])["id"]
        row = (owner, name, part.content_type, part.data)
        new += db.execute("INSERT OR IGNORE INTO attachments VALUES (?, ?, ?, ?)", row).rowcount
    return new
