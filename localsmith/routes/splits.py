"""Splits and other metadata of many examples at once, and what changed between two versions of a dataset."""

import sqlite3
from typing import Any

from werkzeug.wrappers import Response

from localsmith.fields import Fields, check
from localsmith.routes.datasets import find_dataset
from localsmith.routes.example_reads import moment_of
from localsmith.routes.examples import apply_updates
from localsmith.wire import ApiError, Call, answer, dumps, invalid, loads_or_none

OPERATION: Fields = {"key": "text!", "operation": "text!", "values": "[text]"}
MAX_EXAMPLES, MAX_OPERATIONS = 10_000, 50
SPLIT = "dataset_split"


def update_metadata(call: Call) -> Response:
    """Apply operations to the metadata of the examples in the dataset; report the others."""
    body = call.object()
    fields = check(body, {"example_ids": "[uuid]!", "operations": "[object]!"})
    ids = fields["example_ids"]
    if len(ids) > MAX_EXAMPLES or len(fields["operations"]) > MAX_OPERATIONS:
        raise ApiError(422, f"at most {MAX_EXAMPLES} examples and {MAX_OPERATIONS} operations a request")
    operations = [_operation(operation, i) for i, operation in enumerate(fields["operations"])]
    with call.store.write() as db:
        _find(db, call.ids["dataset_id"])
        changed = _apply(db, call.ids["dataset_id"], ids, operations, call.switches.now())
    statuses = [{"id": example_id, "status": "UPDATED" if example_id in changed else "NOT_FOUND"} for example_id in ids]
    return answer({"statuses": statuses}, 207)


def _find(db: sqlite3.Connection, dataset_id: str) -> None:
    # The SDKs use these words to tell a deleted dataset from a server without this route.
    if not db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset_id,)).fetchone():
        raise ApiError(404, "dataset not found")


def _operation(operation: dict[str, Any], i: int) -> dict[str, Any]:
    checked = check(operation, OPERATION, ["operations", i])
    checked["operation"] = checked["operation"].upper()  # the SDKs send lower case
    if checked["operation"] not in ("SET", "ARRAY_ADD", "ARRAY_REMOVE"):
        raise invalid(["operations", i, "operation"], "should be SET, ARRAY_ADD or ARRAY_REMOVE", "enum")
    if checked["operation"] != "SET" and "values" not in checked:
        raise invalid(["operations", i, "values"], "Field required", "missing")
    return {**checked, "value": operation.get("value")}


def _apply(
    db: sqlite3.Connection, dataset_id: str, ids: list[str], operations: list[dict[str, Any]], now: int
) -> set[str]:
    """Make new versions of those of the examples that are in the dataset; returns their ids."""
    sql = (
        "SELECT id, metadata FROM examples WHERE dataset_id = ? AND ended_at IS NULL"
        " AND id IN (SELECT value FROM json_each(?))"
    )
    rows = db.execute(sql, (dataset_id, dumps(ids))).fetchall()
    updates = []
    for row in rows:
        metadata = loads_or_none(row["metadata"])
        for operation in operations:
            metadata[operation["key"]] = _applied(metadata, operation)
        updates.append({"id": row["id"], "metadata": metadata})
    apply_updates(db, updates, now)
    return {row["id"] for row in rows}


def _applied(metadata: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The new value of the operation's key."""
    key, values = operation["key"], operation.get("values", [])
    if operation["operation"] == "SET":
        return operation["value"]
    start = ["base"] if key == SPLIT else []
    old = metadata.get(key)
    if key == SPLIT and isinstance(old, str):
        old = [old]
    found = old if isinstance(old, list) else start
    if operation["operation"] == "ARRAY_ADD":
        return [*found, *(value for value in dict.fromkeys(values) if value not in found)]
    return [value for value in found if value not in values]


def update_splits(call: Call) -> list[str]:
    """Add examples to a split or remove them from it: the older form, which the SDKs fall back to."""
    fields = check(call.object(), {"split_name": "text!", "examples": "[uuid]!", "remove": "bool"})
    kind = "ARRAY_REMOVE" if fields.get("remove") else "ARRAY_ADD"
    operation = {"key": SPLIT, "operation": kind, "values": [fields["split_name"]]}
    with call.store.write() as db:
        find_dataset(db, call.ids["dataset_id"])
        changed = _apply(db, call.ids["dataset_id"], fields["examples"], [operation], call.switches.now())
    return [example_id for example_id in fields["examples"] if example_id in changed]


def diff_versions(call: Call) -> dict[str, list[str]]:
    """The ids of the examples in which two versions, each a time or a tag, differ."""
    query, dataset_id = call.request.args, call.ids["dataset_id"]
    with call.store.read() as db:
        find_dataset(db, dataset_id)
        versions = []
        for name in ("from_version", "to_version"):
            if not query.get(name):
                raise invalid(["query", name], "Field required", "missing")
            moment = moment_of(db, query[name], dataset_id)
            versions.append(_versions_at(db, dataset_id, call.switches.now() if moment is None else moment))
    old, new = versions
    return {
        "examples_modified": sorted(example for example in new if old.get(example, new[example]) != new[example]),
        "examples_added": sorted(new.keys() - old.keys()),
        "examples_removed": sorted(old.keys() - new.keys()),
    }


def _versions_at(db: sqlite3.Connection, dataset_id: str, moment: int) -> dict[str, int]:
    """Which version each example of the dataset had at a moment."""
    sql = (
        "SELECT id, version FROM examples WHERE dataset_id = ? AND modified_at <= ?"
        " AND (ended_at IS NULL OR ended_at > ?)"
    )
    return {row["id"]: row["version"] for row in db.execute(sql, (dataset_id, moment, moment))}
