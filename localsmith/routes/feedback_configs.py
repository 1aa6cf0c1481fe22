"""Feedback configs: what the scores of a key mean, for the rubrics of review queues."""

import sqlite3
import uuid
from typing import Any

from werkzeug.wrappers import Response

from localsmith.fields import Fields, check
from localsmith.lists import Where, flag, like, page
from localsmith.routes.feedback import MAX_KEY
from localsmith.wire import TENANT_ID, ApiError, Call, dumps, invalid, iso, loads_or_none

CONFIG: Fields = {
    "type": "continuous|categorical|freeform!",
    "min": "number",
    "max": "number",
    "categories": "[object]",
    "allows_multiple_categories": "bool",
}
CATEGORY: Fields = {"value": "number!", "label": "text"}


def config_json(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "feedback_key": row["feedback_key"],
        "feedback_config": loads_or_none(row["body"]),
        "is_lower_score_better": bool(row["is_lower_score_better"]),
        "modified_at": iso(row["modified_at"]),
        "is_enforced": False,
        "is_first": True,
        "is_deleted": False,
    }


def _check_config(config: Any, loc: list[str | int]) -> dict[str, Any]:
    found = check(config, CONFIG, loc)
    categories = [check(item, CATEGORY, [*loc, "categories", i]) for i, item in enumerate(found.get("categories", []))]
    if found["type"] == "categorical" and len(categories) < 2:
        raise invalid([*loc, "categories"], "a categorical key needs at least 2 categories")
    for name in CATEGORY:
        values = [item[name] for item in categories if name in item]
        if len(set(values)) < len(values):
            raise invalid([*loc, "categories"], f"two categories have the same {name}")
    return dict(config)


def find_config(db: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM feedback_configs WHERE feedback_key = ?", (key,)).fetchone()
    return row


def create_config(call: Call) -> dict[str, Any]:
    """Store the config of a key; the same one again changes nothing, another one is refused."""
    wanted = {"feedback_key": "text!", "feedback_config": "object!", "is_lower_score_better": "bool"}
    fields = check(call.object(), wanted)
    key, lower = fields["feedback_key"], fields.get("is_lower_score_better", False)
    if not 0 < len(key) <= MAX_KEY:
        raise invalid(["body", "feedback_key"], f"String should have 1 to {MAX_KEY} characters", "string_length")
    config = _check_config(fields["feedback_config"], ["body", "feedback_config"])
    with call.store.write() as db:
        if old := find_config(db, key):
            if loads_or_none(old["body"]) == config and bool(old["is_lower_score_better"]) == lower:
                return config_json(old)
            raise ApiError(400, "Feedback config already exists")
        row = (key, str(uuid.uuid4()), int(lower), call.switches.now(), dumps(config))
        db.execute("INSERT INTO feedback_configs VALUES (?, ?, ?, ?, ?)", row)
        return _config(db, key)


def _config(db: sqlite3.Connection, key: str) -> dict[str, Any]:
    row = find_config(db, key)
    if row is None:
        raise ApiError(404, "Feedback config not found")
    return config_json(row)


def list_configs(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = Where()
    where.among("feedback_key", query.getlist("key"))
    if query.get("name_contains"):
        where.add("feedback_key LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    if flag(query, "is_enforced"):
        where.add("0")
    order = "DESC" if flag(query, "sort_by_desc") else "ASC"
    sql = f"SELECT * FROM feedback_configs {where} ORDER BY feedback_key {order} LIMIT ? OFFSET ?"
    with call.store.read() as db:
        return [config_json(row) for row in db.execute(sql, (*where.params, *page(query)))]


def update_config(call: Call) -> dict[str, Any]:
    """Replace the config of a key, or add and remove categories."""
    wanted = {"feedback_key": "text!", "feedback_config": "object", "is_lower_score_better": "bool"}
    fields = check(call.object(), {**wanted, "add_categories": "[object]", "remove_categories": "[number]"})
    with call.store.write() as db:
        old = _config(db, fields["feedback_key"])
        config = fields.get("feedback_config", old["feedback_config"])
        if ("add_categories" in fields or "remove_categories" in fields) and config["type"] != "categorical":
            raise invalid(["body", "feedback_config"], "only a categorical key has categories")
        removed = fields.get("remove_categories", [])
        kept = [item for item in config.get("categories") or [] if item.get("value") not in removed]
        if kept or "add_categories" in fields:
            config = {**config, "categories": kept + fields.get("add_categories", [])}
        config = _check_config(config, ["body", "feedback_config"])
        lower = fields.get("is_lower_score_better", old["is_lower_score_better"])
        db.execute(
            "UPDATE feedback_configs SET body = ?, is_lower_score_better = ?, modified_at = ? WHERE feedback_key = ?",
            (dumps(config), int(lower), call.switches.now(), fields["feedback_key"]),
        )
        return _config(db, fields["feedback_key"])


def delete_config(call: Call) -> Response:
    """Delete the config of a key; feedback stays as it is."""
    query = call.request.args
    column = "feedback_key" if "feedback_key" in query else "id"
    if not query.get(column):
        raise invalid(["query", "feedback_key"], "Field required", "missing")
    with call.store.write() as db:
        db.execute(f"DELETE FROM feedback_configs WHERE {column} = ?", (query[column],))
    return Response(status=204)
