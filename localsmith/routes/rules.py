"""Rules and uploaded evaluators: stored, returned, and queued to run."""

import json
import sqlite3
import uuid
from typing import Any

from werkzeug.wrappers import Response

from localsmith.fields import Fields, check, conflict
from localsmith.hosted.queue import queue_experiment, waiting_runs
from localsmith.lists import Where, flag, integer, like, uuids
from localsmith.routes.sessions import find_session
from localsmith.runs.query import add_filters
from localsmith.wire import TENANT_ID, ApiError, Call, answer, as_uuid, dumps, invalid, iso, not_found

RULE: Fields = {
    "display_name": "text!",
    "sampling_rate": "number!",
    "is_enabled": "bool",
    "dataset_id": "uuid",
    "session_id": "uuid",
    "evaluator_id": "uuid",
    "filter": "text",
    "trace_filter": "text",
    "tree_filter": "text",
    "backfill_from": "time",
    "use_corrections_dataset": "bool",
    "num_few_shot_examples": "int",
    "extend_only": "bool",
    "transient": "bool",
    "include_extended_stats": "bool",
    "add_to_annotation_queue_id": "uuid",
    "add_to_dataset_id": "uuid",
    "add_to_dataset_prefer_correction": "bool",
    "evaluators": "[object]",
    "code_evaluators": "[object]",
    "alerts": "[object]",
    "webhooks": "[object]",
    "evaluator_version": "int",
    "group_by": "text",
    "spend_limit": "object",
}
COLUMNS = ("display_name", "dataset_id", "session_id", "evaluator_id", "is_enabled", "sampling_rate")
CODE: Fields = {"code": "text!", "language": "python|javascript"}
EVALUATOR_VERSION = 3

SELECT = """
    SELECT rules.*, datasets.name AS dataset_name, sessions.name AS session_name FROM rules
    LEFT JOIN datasets ON datasets.id = rules.dataset_id LEFT JOIN sessions ON sessions.id = rules.session_id
"""


def rule_json(row: sqlite3.Row) -> dict[str, Any]:
    body = {"webhooks": None, "evaluator_version": EVALUATOR_VERSION, **json.loads(row["body"])}
    return {
        **body,
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "display_name": row["display_name"],
        "sampling_rate": row["sampling_rate"],
        "is_enabled": bool(row["is_enabled"]),
        "dataset_id": row["dataset_id"],
        "dataset_name": row["dataset_name"],
        "session_id": row["session_id"],
        "session_name": row["session_name"],
        "evaluator_id": row["evaluator_id"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }


def _check_rule(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The checked fields, and the others as JSON."""
    fields = check(body, RULE)
    if not 0 <= fields["sampling_rate"] <= 1:
        raise invalid(["body", "sampling_rate"], "Input should be between 0 and 1", "less_than_equal")
    for i, code in enumerate(fields.get("code_evaluators", [])):
        check(code, CODE, ["body", "code_evaluators", i])
    for i, judge in enumerate(fields.get("evaluators", [])):
        check(judge, {"structured": "object!"}, ["body", "evaluators", i])
    add_filters(Where(), fields)  # one that cannot be read is refused now
    rest = {name: body[name] for name in RULE if name not in COLUMNS and body.get(name) is not None}
    return fields, dumps(rest)


def _check_target(db: sqlite3.Connection, fields: dict[str, Any]) -> None:
    if ("dataset_id" in fields) == ("session_id" in fields):
        raise ApiError(400, "A rule needs either dataset_id or session_id")
    for table, what in (("datasets", "dataset"), ("sessions", "session"), ("evaluators", "evaluator")):
        target = fields.get(f"{what}_id")
        if target and not db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (target,)).fetchone():
            raise not_found(what.capitalize())


def create_rule(call: Call) -> dict[str, Any]:
    fields, body = _check_rule(call.object())
    rule_id, now = str(uuid.uuid4()), call.switches.now()
    with call.store.write() as db:
        _check_target(db, fields)
        values = {name: fields.get(name) for name in COLUMNS} | {"is_enabled": int(fields.get("is_enabled", True))}
        db.execute(
            "INSERT INTO rules (id, display_name, dataset_id, session_id, evaluator_id, is_enabled, sampling_rate,"
            " created_at, updated_at, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (rule_id, *(values[name] for name in COLUMNS), now, now, body),
        )
        return _find_rule(db, rule_id)


def _find_rule(db: sqlite3.Connection, rule_id: str) -> dict[str, Any]:
    row = db.execute(SELECT + "WHERE rules.id = ?", (rule_id,)).fetchone()
    if row is None:
        raise not_found("Rule")
    return rule_json(row)


def list_rules(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where = Where()
    for name in ("dataset_id", "session_id", "evaluator_id", "id"):
        where.among(f"rules.{name}", uuids(query, name))
    if query.get("type") in ("dataset", "session"):
        where.add(f"rules.{query['type']}_id IS NOT NULL")
    if query.get("name_contains"):
        where.add("rules.display_name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    with call.store.read() as db:
        rows = db.execute(f"{SELECT} {where} ORDER BY rules.created_at, rules.id", where.params).fetchall()
        if not flag(query, "include_backfill_progress"):
            return [rule_json(row) for row in rows]
        # Not in LangSmith: what a rule has yet to score, for the process that runs model judges.
        return [{**rule_json(row), "waiting_runs": waiting_runs(db, row["id"])} for row in rows]


def update_rule(call: Call) -> dict[str, Any]:
    """Replace the fields that are sent, always display_name and sampling_rate. Disabling a rule ends its queue."""
    fields, body = _check_rule(call.object())
    rule_id = call.ids["rule_id"]
    with call.store.write() as db:
        _find_rule(db, rule_id)
        old = db.execute("SELECT * FROM rules WHERE id = ?", (rule_id,)).fetchone()
        values = {name: fields.get(name, old[name]) for name in COLUMNS}
        _check_target(db, {name: value for name, value in values.items() if value is not None})
        merged = dumps({**json.loads(old["body"]), **json.loads(body)})
        db.execute(
            "UPDATE rules SET display_name = ?, dataset_id = ?, session_id = ?, evaluator_id = ?, is_enabled = ?,"
            " sampling_rate = ?, updated_at = ?, body = ? WHERE id = ?",
            (*(values[name] for name in COLUMNS), call.switches.now(), merged, rule_id),
        )
        if not values["is_enabled"]:
            db.execute("DELETE FROM evaluator_jobs WHERE rule_id = ?", (rule_id,))
        return _find_rule(db, rule_id)


def delete_rule(call: Call) -> dict[str, Any]:
    with call.store.write() as db:
        if not db.execute("DELETE FROM rules WHERE id = ?", (call.ids["rule_id"],)).rowcount:
            raise not_found("Rule")
    return {}


def evaluate_experiment(call: Call) -> dict[str, Any]:
    """Queue the runs an experiment has; those that the rule scored before are scored again, in place."""
    fields = check(call.object(), {"rule_id": "uuid!"})
    with call.store.write() as db:
        find_session(db, call.ids["experiment_id"])
        _find_rule(db, fields["rule_id"])
        return {"queued": queue_experiment(db, fields["rule_id"], call.ids["experiment_id"], call.switches.now())}


# Reusable evaluators


def evaluator_json(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    rules = db.execute(SELECT + "WHERE rules.evaluator_id = ? ORDER BY rules.created_at", (row["id"],)).fetchall()
    names = ("id", "dataset_id", "dataset_name", "session_id", "session_name")
    body = json.loads(row["body"])
    for detail in body.values():
        detail["evaluator_id"] = row["id"]
    return {
        **body,
        "id": row["id"],
        "tenant_id": TENANT_ID,
        "name": row["name"],
        "type": row["type"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "feedback_keys": [row["name"]],
        "run_rules": [{name: rule[name] for name in names if rule[name] is not None} for rule in rules],
    }


def create_evaluator(call: Call) -> dict[str, Any]:
    body = call.object()
    fields = check(body, {"name": "text!", "type": "code|llm!", "code_evaluator": "object", "llm_evaluator": "object"})
    kind = f"{fields['type']}_evaluator"
    if kind not in fields:
        raise ApiError(400, f"{kind} is required for type {fields['type']}")
    if kind == "code_evaluator":
        check(fields[kind], CODE, ["body", kind])
    evaluator_id, now = str(uuid.uuid4()), call.switches.now()
    with call.store.write() as db:
        _refuse_taken(db, fields["name"], evaluator_id)
        row = (evaluator_id, fields["name"], fields["type"], now, now, dumps({kind: fields[kind]}))
        db.execute("INSERT INTO evaluators VALUES (?, ?, ?, ?, ?, ?)", row)
        return {"evaluator": evaluator_json(db, _find_evaluator(db, evaluator_id))}


def _refuse_taken(db: sqlite3.Connection, name: str | None, evaluator_id: str) -> None:
    if db.execute("SELECT 1 FROM evaluators WHERE name = ? AND id <> ?", (name, evaluator_id)).fetchone():
        raise conflict(f"an evaluator named {name!r} already exists")


def _find_evaluator(db: sqlite3.Connection, evaluator_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM evaluators WHERE id = ?", (evaluator_id,)).fetchone()
    if row is None:
        raise ApiError(404, "evaluator not found")
    return row


def list_evaluators(call: Call) -> dict[str, Any]:
    query = call.request.args
    where = Where()
    where.among("type", query.getlist("type"))
    if query.get("name_contains"):
        where.add("name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    if query.get("feedback_key"):
        where.add("name = ?", query["feedback_key"])
    if targets := uuids(query, "resource_id"):
        among = "IN (SELECT value FROM json_each(?))"
        where.add(
            f"id IN (SELECT evaluator_id FROM rules WHERE dataset_id {among} OR session_id {among})",
            dumps(targets),
            dumps(targets),
        )
    limit, offset = integer(query, "limit", 100, 1, 100), integer(query, "offset", 0, 0, 2**53)
    with call.store.read() as db:
        total = db.execute(f"SELECT count(*) FROM evaluators {where}", where.params).fetchone()[0]
        sql = f"SELECT * FROM evaluators {where} ORDER BY created_at, id LIMIT ? OFFSET ?"
        rows = db.execute(sql, (*where.params, limit, offset)).fetchall()
        return {"evaluators": [evaluator_json(db, row) for row in rows], "total": total}


def update_evaluator(call: Call) -> Response:
    """Change an evaluator and all rules that use it; what their code was still scoring is scored again."""
    fields = check(call.object(), {"name": "text", "code_evaluator": "object", "llm_evaluator": "object"})
    now = call.switches.now()
    with call.store.write() as db:
        row = _find_evaluator(db, call.ids["evaluator_id"])
        kind = f"{row['type']}_evaluator"
        body = json.loads(row["body"])
        body[kind] |= fields.get(kind, {})
        _refuse_taken(db, fields.get("name"), row["id"])
        db.execute(
            "UPDATE evaluators SET name = ?, body = ?, updated_at = ? WHERE id = ?",
            (fields.get("name", row["name"]), dumps(body), now, row["id"]),
        )
        db.execute("UPDATE rules SET updated_at = ? WHERE evaluator_id = ?", (now, row["id"]))
        return answer({"evaluator": evaluator_json(db, _find_evaluator(db, row["id"]))})


def delete_evaluators(call: Call) -> dict[str, Any]:
    """Delete several; each that cannot be deleted is reported with its reason."""
    query = call.request.args
    if not query.getlist("evaluator_ids"):
        raise ApiError(400, "evaluator_ids is required")
    ids = [part for text in query.getlist("evaluator_ids") for part in text.split(",")]
    with_rules = query.get("delete_run_rules", "").lower() == "true"
    succeeded, failed = [], []
    with call.store.write() as db:
        for evaluator_id in ids:
            if reason := _delete_evaluator(db, evaluator_id, with_rules):
                failed.append({"id": evaluator_id, "error": reason})
            else:
                succeeded.append(evaluator_id)
    return {"succeeded": succeeded, "failed": failed}


def _delete_evaluator(db: sqlite3.Connection, evaluator_id: str, with_rules: bool) -> str:
    try:
        row = _find_evaluator(db, as_uuid(evaluator_id, ["query", "evaluator_ids"]))
    except ApiError as error:
        return error.message
    if not with_rules and db.execute("SELECT 1 FROM rules WHERE evaluator_id = ?", (row["id"],)).fetchone():
        return "evaluator is used by run rules: pass delete_run_rules=true to delete them too"
    db.execute("DELETE FROM evaluators WHERE id = ?", (row["id"],))  # rules go with it
    return ""


def delete_evaluator(call: Call) -> Response:
    with call.store.write() as db:
        reason = _delete_evaluator(db, call.ids["evaluator_id"], with_rules=True)
    if reason:
        raise ApiError(404, reason)
    return Response(status=204)
