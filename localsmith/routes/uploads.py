"""Whole files and whole experiments: examples as multipart, attachments, POST /datasets/upload-experiment."""

import sqlite3
import uuid
from typing import Any

from werkzeug.wrappers import Response

from localsmith.fields import Fields, check, check_kind
from localsmith.multipart import Part, parse_parts
from localsmith.routes.datasets import dataset_json, find_dataset, insert_dataset
from localsmith.routes.examples import apply_updates, check_example, insert_examples
from localsmith.routes.feedback import check_feedback, insert_feedback
from localsmith.routes.sessions import find_session, insert_session, with_stats
from localsmith.runs.writing import insert_runs, prepared
from localsmith.wire import MAX_REQUEST_BYTES, ApiError, Call, as_uuid, invalid, iso, not_found

# Examples as multipart


def create_examples(call: Call) -> dict[str, Any]:
    """Store the examples of a multipart body with their attachments, all or none."""
    bodies, attachments = _read_examples(call)
    for example_id, body in bodies.items():
        if "inputs" not in body and not body.get("use_source_run_io"):
            raise ApiError(400, f"{example_id}.inputs is required")
    dataset_id = call.ids["dataset_id"]
    checked = [check_example({**body, "dataset_id": dataset_id}, [key]) for key, body in bodies.items()]
    with call.store.write() as db:
        find_dataset(db, dataset_id)
        insert_examples(db, checked, call.switches.now())
        _store_attachments(db, attachments)
        return _receipt(db, list(bodies))


def update_examples(call: Call) -> dict[str, Any]:
    """Make new versions of examples of this dataset, all or none."""
    bodies, attachments = _read_examples(call)
    dataset_id = call.ids["dataset_id"]
    with call.store.write() as db:
        find_dataset(db, dataset_id)
        for example_id in bodies:
            row = db.execute(
                "SELECT dataset_id FROM examples WHERE id = ? AND ended_at IS NULL", (example_id,)
            ).fetchone()
            if row is None:
                raise not_found(f"example {example_id}")
            if row["dataset_id"] != dataset_id:
                raise ApiError(409, f"example {example_id} belongs to another dataset")
        apply_updates(db, list(bodies.values()), call.switches.now())
        for example_id, body in bodies.items():
            _change_attachments(db, example_id, body.get("attachments_operations"))
        _store_attachments(db, attachments)
        return _receipt(db, list(bodies))


def _receipt(db: sqlite3.Connection, ids: list[str]) -> dict[str, Any]:
    moment = db.execute(
        "SELECT max(modified_at) FROM examples WHERE id IN (SELECT value FROM json_each(?))", (_json_list(ids),)
    ).fetchone()[0]
    return {"count": len(ids), "example_ids": ids, "as_of": iso(moment) or ""}


def _json_list(ids: list[str]) -> str:
    return "[" + ",".join(f'"{example_id}"' for example_id in ids) + "]"


def _read_examples(call: Call) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str, Part]]]:
    """The examples by id, and their attachments as (example id, name, part)."""
    content_type = call.request.headers.get("Content-Type", "")
    parts = parse_parts(call.body(MAX_REQUEST_BYTES), content_type, lengths=False)
    bodies: dict[str, dict[str, Any]] = {}
    others: list[tuple[str, str, Part]] = []
    for part in parts:
        text, _, field = part.name.partition(".")
        example_id = as_uuid(text, [part.name[:200]])
        if field:
            others.append((example_id, field, part))
        else:
            bodies[example_id] = {**_object(part), "id": example_id}
    attachments = []
    for example_id, field, part in others:
        kind, _, name = field.partition(".")
        if example_id not in bodies:
            raise ApiError(400, f"part {part.name[:200]!r} has no part {example_id!r}")
        if kind in ("attachment", "attachments") and name:
            attachments.append((example_id, name, part))
        elif field in ("inputs", "outputs", "attachments_operations"):
            bodies[example_id][field] = part.json()
        else:
            raise ApiError(400, f"unknown part {part.name[:200]!r}")
    if not bodies:
        raise ApiError(400, "the request holds no examples")
    return bodies, attachments


def _object(part: Part) -> dict[str, Any]:
    return dict(check_kind(part.json(), "object", [part.name[:200]]))


def _change_attachments(db: sqlite3.Connection, example_id: str, operations: Any) -> None:
    """Keep what is renamed or retained, drop the rest; without operations, keep all."""
    if operations is None:
        return
    wanted = check(operations, {"rename": "object", "retain": "[text]"}, [example_id, "attachments_operations"])
    renamed = wanted.get("rename", {})
    rows = db.execute("SELECT * FROM attachments WHERE owner_id = ?", (example_id,)).fetchall()
    db.execute("DELETE FROM attachments WHERE owner_id = ?", (example_id,))
    for row in rows:
        if row["name"] in renamed or row["name"] in wanted.get("retain", []):
            name = str(renamed.get(row["name"], row["name"]))
            values = (example_id, name, row["mime_type"], row["data"])
            db.execute("INSERT OR REPLACE INTO attachments VALUES (?, ?, ?, ?)", values)


def _store_attachments(db: sqlite3.Connection, attachments: list[tuple[str, str, Part]]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO attachments VALUES (?, ?, ?, ?)",
        [(example_id, name, part.content_type, part.data) for example_id, name, part in attachments],
    )


def get_attachment(call: Call) -> Response:
    """The bytes of an attachment, always as a download: it may be hostile HTML or SVG."""
    with call.store.read() as db:
        row = db.execute(
            "SELECT data FROM attachments WHERE owner_id = ? AND name = ?",
            (call.ids["owner_id"], call.request.args.get("name", "")),
        ).fetchone()
    if row is None:
        raise not_found("Attachment")
    headers = {"Content-Disposition": "attachment", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(row["data"], headers=headers, mimetype="application/octet-stream")


# A finished experiment in one call

EXPERIMENT: Fields = {
    "experiment_name": "text!",
    "experiment_description": "text",
    "dataset_id": "uuid",
    "dataset_name": "text",
    "dataset_description": "text",
    "summary_experiment_scores": "[object]",
    "results": "[object]!",
    "experiment_start_time": "time!",
    "experiment_end_time": "time!",
    "experiment_metadata": "object",
}
ROW: Fields = {
    "row_id": "uuid",
    "inputs": "object!",
    "expected_outputs": "object",
    "actual_outputs": "object",
    "evaluation_scores": "[object]",
    "start_time": "time!",
    "end_time": "time!",
    "run_name": "text",
    "error": "text",
    "run_metadata": "object",
}


def upload_experiment(call: Call) -> dict[str, Any]:
    """Store dataset, examples, experiment, runs and scores of one request, all or none.

    The 24-hour window does not apply: this route is for results from elsewhere.
    """
    upload = check(call.object(), EXPERIMENT)
    rows = [_check_row(row, i, upload) for i, row in enumerate(upload["results"])]
    if "dataset_id" not in upload and "dataset_name" not in upload:
        raise invalid(["body", "dataset_id"], "dataset_id or dataset_name is required", "missing")
    now = call.switches.now()
    with call.store.write() as db:
        dataset_id = _external_dataset(db, upload, now)
        session_id = insert_session(
            db,
            {
                "name": upload["experiment_name"],
                "description": upload.get("experiment_description"),
                "start_time": upload["experiment_start_time"],
                "end_time": upload["experiment_end_time"],
                "reference_dataset_id": dataset_id,
                "extra": {"metadata": upload.get("experiment_metadata", {})},
            },
            now,
        )
        _store_rows(db, rows, dataset_id, session_id, now)
        summary = upload.get("summary_experiment_scores", [])
        _store_scores(db, [({"session_id": session_id}, score) for score in summary], now)
        dataset = dataset_json(find_dataset(db, dataset_id))
        return {"dataset": dataset, "experiment": with_stats(db, [find_session(db, session_id)])[0]}


def _check_row(row: dict[str, Any], i: int, upload: dict[str, Any]) -> dict[str, Any]:
    loc: list[str | int] = ["body", "results", i]
    checked = check(row, ROW, loc)
    first, last = upload["experiment_start_time"], upload["experiment_end_time"]
    if not first <= checked["start_time"] <= checked["end_time"] <= last:
        raise invalid([*loc, "start_time"], "start_time and end_time must lie inside the experiment's times")
    return checked


def _external_dataset(db: sqlite3.Connection, upload: dict[str, Any], now: int) -> str:
    """The externally managed dataset of the upload, created if missing."""
    column = "id" if "dataset_id" in upload else "name"
    row = db.execute(f"SELECT * FROM datasets WHERE {column} = ?", (upload[f"dataset_{column}"],)).fetchone()
    if row is None:
        dataset_id = upload.get("dataset_id") or str(uuid.uuid4())
        name = upload.get("dataset_name") or dataset_id
        fields = {"id": dataset_id, "name": name, "description": upload.get("dataset_description")}
        return insert_dataset(db, {**fields, "externally_managed": True}, now)
    if not row["externally_managed"]:
        raise ApiError(400, "Experiments cannot be uploaded to a dataset that is not externally managed.")
    return str(row["id"])


def _store_rows(db: sqlite3.Connection, rows: list[dict[str, Any]], dataset_id: str, session_id: str, now: int) -> None:
    for row in rows:
        row.setdefault("row_id", str(uuid.uuid4()))
    here = {
        row["id"]: row["dataset_id"]
        for row in db.execute(
            "SELECT id, dataset_id FROM examples WHERE ended_at IS NULL AND id IN (SELECT value FROM json_each(?))",
            (_json_list([row["row_id"] for row in rows]),),
        )
    }
    if set(here.values()) - {dataset_id}:
        raise ApiError(409, "Example with this id already exists in another dataset.")
    fresh = {row["row_id"]: row for row in rows if row["row_id"] not in here}
    insert_examples(db, [_example(row, dataset_id) for row in fresh.values()], now)
    runs = [_run(row, session_id) for row in rows]
    insert_runs(db, [prepared(run) for run in runs], now)
    scores = [
        ({"run_id": run["id"], "session_id": session_id}, score)
        for run, row in zip(runs, rows, strict=True)
        for score in row.get("evaluation_scores", [])
    ]
    _store_scores(db, scores, now)


def _example(row: dict[str, Any], dataset_id: str) -> dict[str, Any]:
    return {
        "id": row["row_id"],
        "dataset_id": dataset_id,
        "inputs": row["inputs"],
        "outputs": row.get("expected_outputs"),
    }


def _run(row: dict[str, Any], session_id: str) -> dict[str, Any]:
    run_id = str(uuid.uuid4())
    moment = "".join(c for c in (iso(row["start_time"]) or "")[:26] if c not in "-:.")
    run = {
        "id": run_id,
        "trace_id": run_id,
        "dotted_order": f"{moment}Z{run_id}",
        "session_id": session_id,
        "reference_example_id": row["row_id"],
        "name": row.get("run_name", "uploaded"),
        "run_type": "chain",
        "start_time": row["start_time"],
        "end_time": row["end_time"],
        "inputs": row["inputs"],
        "outputs": row.get("actual_outputs"),
        "error": row.get("error"),
        "extra": {"metadata": row["run_metadata"]} if "run_metadata" in row else None,
    }
    return {name: value for name, value in run.items() if value is not None}


def _store_scores(db: sqlite3.Connection, scores: list[tuple[dict[str, str], dict[str, Any]]], now: int) -> None:
    items = [check_feedback({**score, **owner}, ["body", "scores", i]) for i, (owner, score) in enumerate(scores)]
    for item in items:
        item["id"] = item["id"] or str(uuid.uuid4())
    insert_feedback(db, items, now)
