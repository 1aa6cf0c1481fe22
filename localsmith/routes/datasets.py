"""Datasets: create, list, change, delete, and the versions and tags of their examples."""

import sqlite3
import uuid
from typing import Any

from werkzeug.wrappers import Response

from localsmith.fields import Fields, check, check_choice, check_kind, conflict
from localsmith.lists import Query, Where, flag, like, metadata_filter, page, uuids
from localsmith.routes.example_reads import moment_of
from localsmith.routes.examples import apply_updates
from localsmith.runs.deleting import delete_runs
from localsmith.wire import TENANT_ID, Call, answer, dumps, dumps_or_none, invalid, iso, loads_or_none, not_found

DATASET: Fields = {
    "id": "uuid",
    "name": "text!",
    "description": "text",
    "created_at": "time",
    "data_type": "kv|llm|chat",
    "inputs_schema_definition": "object",
    "outputs_schema_definition": "object",
    "transformations": "[object]",
    "externally_managed": "bool",
    "extra": "object",
}
IN_BODY = ("inputs_schema_definition", "outputs_schema_definition", "transformations", "extra")

SELECT = """
    SELECT datasets.*,
        (SELECT count(*) FROM examples WHERE dataset_id = datasets.id AND ended_at IS NULL) AS example_count,
        (SELECT count(*) FROM sessions WHERE reference_dataset_id = datasets.id) AS session_count,
        (SELECT max(start_time) FROM sessions WHERE reference_dataset_id = datasets.id) AS last_session_start_time
    FROM datasets
"""


def dataset_json(row: sqlite3.Row) -> dict[str, Any]:
    body = loads_or_none(row["body"])
    return {
        "id": row["id"],
        "name": row["name"],
        "tenant_id": TENANT_ID,
        "description": row["description"],
        "data_type": row["data_type"],
        "created_at": iso(row["created_at"]),
        "modified_at": iso(row["modified_at"]),
        "example_count": row["example_count"],
        "session_count": row["session_count"],
        "last_session_start_time": iso(row["last_session_start_time"]),
        "baseline_experiment_id": row["baseline_experiment_id"],
        "externally_managed": bool(row["externally_managed"]),
        "metadata": loads_or_none(row["metadata"]),
        **{name: body.get(name) for name in IN_BODY[:3]},
    }


def find_dataset(db: sqlite3.Connection, dataset_id: str) -> sqlite3.Row:
    """The row of a dataset with its counts, or a 404."""
    row: sqlite3.Row | None = db.execute(SELECT + "WHERE id = ?", (dataset_id,)).fetchone()
    if row is None:
        raise not_found("Dataset")
    return row


def create_dataset(call: Call) -> dict[str, Any]:
    fields = check(call.object(), DATASET)
    with call.store.write() as db:
        dataset_id = insert_dataset(db, fields, call.switches.now())
        return dataset_json(find_dataset(db, dataset_id))


def insert_dataset(db: sqlite3.Connection, fields: dict[str, Any], now: int) -> str:
    """Store a new dataset and return its id; 409 when its name or id is taken."""
    dataset_id: str = fields.get("id") or str(uuid.uuid4())
    if db.execute("SELECT 1 FROM datasets WHERE name = ?", (fields["name"],)).fetchone():
        raise conflict("Dataset with this name already exists.")
    if db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset_id,)).fetchone():
        raise conflict("Dataset with this id already exists.")
    metadata = fields.get("extra", {}).get("metadata")
    db.execute(
        "INSERT INTO datasets (id, name, description, data_type, created_at, modified_at, externally_managed, metadata,"
        " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            dataset_id,
            fields["name"],
            fields.get("description"),
            fields.get("data_type", "kv"),
            fields.get("created_at", now),
            now,
            int(fields.get("externally_managed", False)),
            dumps(metadata) if isinstance(metadata, dict) else None,
            dumps({name: fields[name] for name in IN_BODY if name in fields}),
        ),
    )
    return dataset_id


def list_datasets(call: Call) -> list[dict[str, Any]]:
    query = call.request.args
    where, sort = conditions(query), sort_column(query)
    order = "ASC" if flag(query, "sort_by_desc") is False else "DESC"
    sql = f"{SELECT} {where} ORDER BY {sort} {order}, created_at {order}, id LIMIT ? OFFSET ?"
    with call.store.read() as db:
        return [dataset_json(row) for row in db.execute(sql, (*where.params, *page(query)))]


def conditions(query: Query) -> Where:
    where = Where()
    where.among("id", uuids(query, "id"))
    where.among("data_type", query.getlist("data_type"))
    if "name" in query:
        where.add("name = ?", query["name"])
    if query.get("name_contains"):
        where.add("name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    metadata_filter(query, where, "metadata")
    return where


def sort_column(query: Query) -> str:
    columns = ["name", "created_at", "last_session_start_time", "example_count", "session_count", "modified_at"]
    return str(check_choice(query.get("sort_by", "last_session_start_time"), columns, ["query", "sort_by"]))


def get_dataset(call: Call) -> dict[str, Any]:
    with call.store.read() as db:
        return dataset_json(find_dataset(db, call.ids["dataset_id"]))


def update_dataset(call: Call) -> Response:
    """Change the fields that are sent; null clears, the sentinel `__missing__` and absence leave alone."""
    body = {name: v for name, v in call.object().items() if not (isinstance(v, dict) and "__missing__" in v)}
    kinds = {name: kind.rstrip("!") for name, kind in DATASET.items()}
    check(body, {**kinds, "metadata": "object", "baseline_experiment_id": "uuid", "patch_examples": "object"})
    if body.get("name", "") is None:
        raise invalid(["body", "name"], "Input should be a valid string", "string_type")
    dataset_id = call.ids["dataset_id"]
    with call.store.write() as db:
        row = find_dataset(db, dataset_id)
        if db.execute("SELECT 1 FROM datasets WHERE name = ? AND id <> ?", (body.get("name"), dataset_id)).fetchone():
            raise conflict("Dataset with this name already exists.")
        stored = {**loads_or_none(row["body"]), **{name: body[name] for name in IN_BODY[:3] if name in body}}
        metadata = dumps_or_none(body["metadata"]) if "metadata" in body else row["metadata"]
        db.execute(
            "UPDATE datasets SET name = ?, description = ?, baseline_experiment_id = ?, metadata = ?, body = ?,"
            " modified_at = ? WHERE id = ?",
            (
                body.get("name", row["name"]),
                body.get("description", row["description"]),
                body.get("baseline_experiment_id", row["baseline_experiment_id"]),
                metadata,
                dumps(stored),
                call.switches.now(),
                dataset_id,
            ),
        )
        updates = [{**_object(update), "id": key} for key, update in (body.get("patch_examples") or {}).items()]
        changed = apply_updates(db, updates, call.switches.now())
        found = dataset_json(find_dataset(db, dataset_id))
    return answer(found, headers={"X-Updated-Examples-Count": str(len(changed))})


def _object(value: Any) -> dict[str, Any]:
    return dict(check_kind(value, "object", ["body", "patch_examples"]))


def delete_dataset(call: Call) -> dict[str, Any]:
    """Delete a dataset with its examples and experiments."""
    dataset_id = call.ids["dataset_id"]
    with call.store.read() as db:
        find_dataset(db, dataset_id)
        sessions = db.execute("SELECT id FROM sessions WHERE reference_dataset_id = ?", (dataset_id,)).fetchall()
    for session in sessions:
        delete_runs(call.store, session["id"])
    with call.store.write() as db:
        examples = "SELECT id FROM examples WHERE dataset_id = ?"
        db.execute(f"DELETE FROM attachments WHERE owner_id IN ({examples})", (dataset_id,))
        db.execute("DELETE FROM datasets WHERE id = ?", (dataset_id,))
    call.store.shrink()
    return {}


# Versions: every moment at which an example of the dataset was made, changed, deleted, or moved away

MAX_TIME = 2**63 - 1
VERSIONS = """
    SELECT modified_at AS moment FROM examples WHERE dataset_id = ?1 AND modified_at <= ?2
    UNION SELECT ended_at FROM examples WHERE dataset_id = ?1 AND ended_at <= ?2
"""


def _last_version(db: sqlite3.Connection, dataset_id: str, moment: int) -> int | None:
    """The newest version that was there at `moment`."""
    found: int | None = db.execute(f"SELECT max(moment) FROM ({VERSIONS})", (dataset_id, moment)).fetchone()[0]
    return found


def list_versions(call: Call) -> list[dict[str, Any]]:
    """The versions of the dataset, newest first, with the tags set on them."""
    limit, offset = page(call.request.args)
    with call.store.read() as db:
        find_dataset(db, call.ids["dataset_id"])
        sql = f"{VERSIONS} ORDER BY moment DESC LIMIT ? OFFSET ?"
        rows = db.execute(sql, (call.ids["dataset_id"], MAX_TIME, limit, offset)).fetchall()
        tags = _tags(db, call.ids["dataset_id"])
    newest = ["latest"] if not offset else []
    return [
        {"as_of": iso(row["moment"]), "tags": (newest if i == 0 else []) + tags.get(row["moment"], [])}
        for i, row in enumerate(rows)
    ]


def _tags(db: sqlite3.Connection, dataset_id: str) -> dict[int, list[str]]:
    tags: dict[int, list[str]] = {}
    for row in db.execute("SELECT tag, as_of FROM dataset_tags WHERE dataset_id = ? ORDER BY tag", (dataset_id,)):
        tags.setdefault(row["as_of"], []).append(row["tag"])
    return tags


def tag_version(call: Call) -> dict[str, Any]:
    """Name the version that was there at a moment, for as_of."""
    fields = check(call.object(), {"tag": "text!", "as_of": "time!"})
    with call.store.write() as db:
        find_dataset(db, call.ids["dataset_id"])
        moment = _last_version(db, call.ids["dataset_id"], fields["as_of"])
        row = (call.ids["dataset_id"], fields["tag"], moment or fields["as_of"])
        db.execute("INSERT OR REPLACE INTO dataset_tags VALUES (?, ?, ?)", row)
    return {"as_of": iso(row[2]), "tags": [fields["tag"]]}


def get_version(call: Call) -> dict[str, Any]:
    """The version that `as_of` or `tag` names."""
    query = call.request.args
    with call.store.read() as db:
        find_dataset(db, call.ids["dataset_id"])
        moment = moment_of(db, query.get("tag") or query.get("as_of") or "latest", call.ids["dataset_id"])
        last = _last_version(db, call.ids["dataset_id"], MAX_TIME if moment is None else moment)
        if last is None:
            raise not_found("Dataset version")
        return {"as_of": iso(last), "tags": _tags(db, call.ids["dataset_id"]).get(last, [])}


def list_splits(call: Call) -> list[str]:
    with call.store.read() as db:
        find_dataset(db, call.ids["dataset_id"])
        rows = db.execute(
            "SELECT DISTINCT split.value FROM examples, json_each(metadata, '$.dataset_split') AS split"
            " WHERE dataset_id = ? AND ended_at IS NULL ORDER BY split.value",
            (call.ids["dataset_id"],),
        )
        return [row[0] for row in rows]
