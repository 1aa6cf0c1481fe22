"""Comparative experiments: two or more experiments of one dataset, judged side by side."""

import sqlite3
import uuid
from typing import Any

from localsmith.fields import Fields, check, check_choice, conflict
from localsmith.lists import Where, flag, like, page, uuids
from localsmith.routes.datasets import find_dataset
from localsmith.routes.sessions import find_session
from localsmith.runs.feedback_stats import feedback_stats
from localsmith.wire import TENANT_ID, ApiError, Call, dumps_or_none, iso, loads_or_none, not_found

COMPARATIVE: Fields = {
    "id": "uuid",
    "experiment_ids": "[uuid]!",
    "name": "text",
    "description": "text",
    "created_at": "time",
    "modified_at": "time",
    "reference_dataset_id": "uuid",
    "extra": "object",
}


def comparative_json(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "reference_dataset_id": row["reference_dataset_id"],
        "name": row["name"],
        "description": row["description"],
        "created_at": iso(row["created_at"]),
        "modified_at": iso(row["modified_at"]),
        "extra": loads_or_none(row["extra"]),
    }


def create_comparative(call: Call) -> dict[str, Any]:
    fields = check(call.object(), COMPARATIVE)
    comparative_id = fields.get("id") or str(uuid.uuid4())
    with call.store.write() as db:
        if not insert_comparative(db, {**fields, "id": comparative_id}, call.switches.now()):
            raise conflict("Comparative experiment with this id already exists.")
        found = db.execute("SELECT * FROM comparative_experiments WHERE id = ?", (comparative_id,)).fetchone()
    return comparative_json(found)


def insert_comparative(db: sqlite3.Connection, fields: dict[str, Any], now: int) -> bool:
    """Store a comparative experiment; False if its id exists, and nothing changes."""
    dataset_id = _common_dataset(db, fields)
    if db.execute("SELECT 1 FROM comparative_experiments WHERE id = ?", (fields["id"],)).fetchone():
        return False
    created = fields.get("created_at", now)
    extra, modified = dumps_or_none(fields.get("extra")), fields.get("modified_at", created)
    row = (fields["id"], dataset_id, fields.get("name"), fields.get("description"), created, modified, extra)
    db.execute("INSERT INTO comparative_experiments VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    db.executemany(
        "INSERT OR IGNORE INTO comparative_members VALUES (?, ?, ?)",
        [(fields["id"], session_id, i) for i, session_id in enumerate(fields["experiment_ids"])],
    )
    return True


def _common_dataset(db: sqlite3.Connection, fields: dict[str, Any]) -> str:
    """The dataset that all experiments belong to."""
    sessions = [find_session(db, session_id) for session_id in fields["experiment_ids"]]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(set(fields["experiment_ids"])) < 2:
        raise ApiError(400, "A comparative experiment needs at least two experiments")
    if len(datasets) > 1 or None in datasets or fields.get("reference_dataset_id", *datasets) not in datasets:
        raise ApiError(400, "All experiments of a comparison must belong to the same dataset")
    return str(datasets.pop())


def list_comparative(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = Where()
    where.add("reference_dataset_id = ?", call.ids["dataset_id"])
    where.among("id", uuids(query, "id"))
    if "name" in query:
        where.add("name = ?", query["name"])
    if query.get("name_contains"):
        where.add("name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    sort = check_choice(query.get("sort_by", "created_at"), ["name", "created_at"], ["query", "sort_by"])
    order = "ASC" if flag(query, "sort_by_desc") is False else "DESC"
    sql = f"SELECT * FROM comparative_experiments {where} ORDER BY {sort} {order}, id LIMIT ? OFFSET ?"
    with call.store.read() as db:
        find_dataset(db, call.ids["dataset_id"])
        rows = db.execute(sql, (*where.params, *page(query))).fetchall()
        return [{**comparative_json(row), **_details(db, row["id"])} for row in rows]


def _details(db: sqlite3.Connection, comparative_id: str) -> dict[str, Any]:
    members = db.execute(
        "SELECT id, name FROM comparative_members JOIN sessions ON id = session_id"
        " WHERE comparative_experiment_id = ? ORDER BY position",
        (comparative_id,),
    )
    where = Where()
    where.add("comparative_experiment_id = ?", comparative_id)
    # By experiment and key, so that it is clear whose preference it is.
    return {
        "experiments_info": [dict(row) for row in members],
        "feedback_stats": feedback_stats(db, "session_id", where),
    }


def delete_comparative(call: Call) -> dict[str, Any]:
    """Delete a comparison with the feedback given in it."""
    comparative_id = call.ids["comparative_experiment_id"]
    with call.store.write() as db:
        if not db.execute("DELETE FROM comparative_experiments WHERE id = ?", (comparative_id,)).rowcount:
            raise not_found("Comparative experiment")
        db.execute("DELETE FROM feedback WHERE comparative_experiment_id = ?", (comparative_id,))
    return {}
