"""Review queues: making, changing and filling them."""

import sqlite3
import uuid
from typing import Any

from localsmith.fields import Fields, check, check_choice, conflict
from localsmith.lists import Where, flag, like, page, uuids
from localsmith.routes.feedback_configs import config_json, find_config
from localsmith.routes.queue_items import add_item, items_of, needed_reviews
from localsmith.routes.sessions import find_session
from localsmith.wire import TENANT_ID, ApiError, Call, dumps, invalid, iso, loads_or_none, not_found

QUEUE: Fields = {
    "id": "uuid",
    "name": "text!",
    "description": "text",
    "default_dataset": "uuid",
    "num_reviewers_per_item": "int",
    "enable_reservations": "bool",
    "reservation_minutes": "int",
    "reviewer_access_mode": "any|assigned",
    "rubric_instructions": "text",
    "rubric_items": "[object]",
    "session_ids": "[uuid]",
    "metadata": "object",
    "created_at": "time",
    "updated_at": "time",
}
DEFAULTS = {
    "description": None,
    "default_dataset": None,
    "num_reviewers_per_item": 1,
    "enable_reservations": True,
    "reservation_minutes": 1,
    "reviewer_access_mode": "any",
    "metadata": None,
}
RUBRIC: Fields = {
    "feedback_key": "text!",
    "description": "text",
    "value_descriptions": "object",
    "score_descriptions": "object",
    "is_required": "bool",
    "is_assertion": "bool",
    "required_if": "object",
    "visible_if": "object",
    "regex_validator": "text",
    "feedback_config_id": "uuid",
}
DETAILS = ("rubric_items", "rubric_instructions")
IN_BODY = (*DEFAULTS, *DETAILS)


def queue_json(row: sqlite3.Row) -> dict[str, Any]:
    body = loads_or_none(row["body"])
    return {
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "name": row["name"],
        "queue_type": "single",
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        **DEFAULTS,
        **{name: value for name, value in body.items() if name not in DETAILS},
        "source_rule_id": None,
        "run_rule_id": None,
        "assigned_reviewers": [],
    }


def find_queue(db: sqlite3.Connection, queue_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM annotation_queues WHERE id = ?", (queue_id,)).fetchone()
    if row is None:
        raise not_found("Annotation queue")
    return row


def create_queue(call: Call) -> dict[str, Any]:
    body = call.object()
    fields = check(body, QUEUE)
    _check_queue(fields)
    queue_id, now = fields.get("id") or str(uuid.uuid4()), call.switches.now()
    with call.store.write() as db:
        if db.execute("SELECT 1 FROM annotation_queues WHERE id = ?", (queue_id,)).fetchone():
            raise conflict("Annotation queue with this id already exists.")
        created = fields.get("created_at", now)
        stored = {name: fields[name] for name in IN_BODY if name in fields}
        if body.get("num_reviewers_per_item", 1) is None:  # everybody there is
            stored["num_reviewers_per_item"] = None
        row = (queue_id, fields["name"], created, fields.get("updated_at", created), dumps(stored))
        db.execute("INSERT INTO annotation_queues VALUES (?, ?, ?, ?, ?)", row)
        for session_id in fields.get("session_ids", []):
            _add_experiment(db, queue_id, session_id, now)
        return queue_json(find_queue(db, queue_id))


def _check_queue(fields: dict[str, Any]) -> None:
    for i, item in enumerate(fields.get("rubric_items", [])):
        check(item, RUBRIC, ["body", "rubric_items", i])
    for name in ("num_reviewers_per_item", "reservation_minutes"):
        if fields.get(name, 1) < 1:
            raise invalid(["body", name], "Input should be greater than or equal to 1", "greater_than_equal")


def list_queues(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = Where()
    where.among("id", uuids(query, "ids"))
    if "name" in query:
        where.add("name = ?", query["name"])
    if query.get("name_contains"):
        where.add("name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    if query.get("dataset_id"):
        where.among("body ->> '$.default_dataset'", uuids(query, "dataset_id"))
    if check_choice(query.get("queue_type", "single"), ["single", "pairwise"], ["query", "queue_type"]) == "pairwise":
        where.add("0")
    sort = check_choice(query.get("sort_by", "created_at"), ["name", "created_at", "updated_at"], ["query", "sort_by"])
    order = "ASC" if flag(query, "sort_by_desc") is False else "DESC"
    total = "(SELECT count(*) FROM queue_items WHERE queue_id = annotation_queues.id) AS total_runs"
    sql = f"SELECT *, {total} FROM annotation_queues {where} ORDER BY {sort} {order}, id LIMIT ? OFFSET ?"
    with call.store.read() as db:
        rows = db.execute(sql, (*where.params, *page(query))).fetchall()
    return [{**queue_json(row), "total_runs": row["total_runs"]} for row in rows]


def get_queue(call: Call) -> dict[str, Any]:
    """A queue with its rubric, each item with the config of its key."""
    with call.store.read() as db:
        row = find_queue(db, call.ids["queue_id"])
        body = loads_or_none(row["body"])
        rubric = [_rubric_item(db, item) for item in body.get("rubric_items") or []]
    return {**queue_json(row), "rubric_instructions": body.get("rubric_instructions"), "rubric_items": rubric}


def _rubric_item(db: sqlite3.Connection, item: dict[str, Any]) -> dict[str, Any]:
    config = find_config(db, item["feedback_key"])
    found = {name: item.get(name) for name in RUBRIC}
    return {**found, "feedback_config": config_json(config) if config else None}


def update_queue(call: Call) -> dict[str, Any]:
    """Replace the fields that are sent, the rubric as a whole; absent ones stay, null clears."""
    body = call.object()
    fields = check(body, {name: kind.rstrip("!") for name, kind in QUEUE.items()})
    _check_queue(fields)
    with call.store.write() as db:
        row = find_queue(db, call.ids["queue_id"])
        changed = {name: body[name] for name in IN_BODY if name in body}
        stored = dumps({**loads_or_none(row["body"]), **changed})
        values = (fields.get("name", row["name"]), call.switches.now(), stored, row["id"])
        db.execute("UPDATE annotation_queues SET name = ?, updated_at = ?, body = ? WHERE id = ?", values)
    return {"message": f"Annotation queue {row['id']} updated"}


def delete_queue(call: Call) -> dict[str, Any]:
    return _delete(call, [call.ids["queue_id"]])


def delete_queues(call: Call) -> dict[str, Any]:
    ids = uuids(call.request.args, "queue_ids")
    if not ids:
        raise invalid(["query", "queue_ids"], "Field required", "missing")
    return _delete(call, ids)


def _delete(call: Call, ids: list[str]) -> dict[str, Any]:
    with call.store.write() as db:
        for queue_id in ids:
            find_queue(db, queue_id)
            db.execute("DELETE FROM annotation_queues WHERE id = ?", (queue_id,))
    return {}


def list_queues_of_run(call: Call) -> list[dict[str, Any]]:
    sql = "SELECT * FROM annotation_queues WHERE id IN (SELECT queue_id FROM queue_items WHERE run_id = ?) ORDER BY id"
    with call.store.read() as db:
        return [queue_json(row) for row in db.execute(sql, (call.ids["run_id"],))]


def populate(call: Call) -> dict[str, Any]:
    """Add the root runs of experiments."""
    fields = check(call.object(), {"queue_id": "uuid!", "session_ids": "[uuid]!"})
    with call.store.write() as db:
        find_queue(db, fields["queue_id"])
        added = sum(
            _add_experiment(db, fields["queue_id"], session, call.switches.now()) for session in fields["session_ids"]
        )
    return {"added": added}


def _add_experiment(db: sqlite3.Connection, queue_id: str, session_id: str, now: int) -> int:
    session = find_session(db, session_id)
    if session["reference_dataset_id"] is None:
        raise ApiError(400, f"Session {session_id} is not an experiment on a dataset")
    sql = "SELECT id FROM runs WHERE session_id = ? AND is_root = 1 ORDER BY start_time, seq"
    runs = db.execute(sql, (session_id,)).fetchall()
    for run in runs:
        add_item(db, queue_id, {"run_id": run["id"]}, now)
    return len(runs)


# Sizes


def get_size(call: Call) -> dict[str, int]:
    """How many items wait for the caller, or are in the section that `status` names."""
    sections = ["needs_my_review", "needs_others_review", "completed", "archived"]
    status = check_choice(call.request.args.get("status", "needs_my_review"), sections, ["query", "status"])
    return _count(call, "archived" if status == "completed" else status)


def get_total_size(call: Call) -> dict[str, int]:
    return _count(call, None)


def get_total_archived(call: Call) -> dict[str, int]:
    return _count(call, "archived")


def _count(call: Call, section: str | None) -> dict[str, int]:
    with call.store.read() as db:
        items = items_of(call, needed_reviews(find_queue(db, call.ids["queue_id"])))
        if section:
            items.where.add("section = ?", section)
        return {"size": items.count(db)}
