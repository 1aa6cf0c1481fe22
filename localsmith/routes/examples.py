"""Writing examples: every write makes a version, and deletes keep the past."""

import sqlite3
import uuid
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from localsmith.fields import Fields, FixedFields, check, check_alike, conflict
from localsmith.lists import uuids
from localsmith.routes.example_reads import Example, current_versions, example_json
from localsmith.schemas import check_against_schemas, schemas_of
from localsmith.wire import (
    Call,
    dumps,
    dumps_or_none,
    invalid,
    loads_or_none,
    not_found,
)

EXAMPLE_FIELDS = FixedFields(
    {
        "id": "uuid",
        "dataset_id": "uuid!",
        "inputs": "object",
        "outputs": "object",
        "metadata": "object",
        "source_run_id": "uuid",
        "use_source_run_io": "bool",
        "created_at": "time",
    }
)
UPDATE_FIELDS: Fields = {
    "id": "uuid!",
    "dataset_id": "uuid",
    "inputs": "object",
    "outputs": "object",
    "metadata": "object",
}

Row = dict[str, Any]


def check_example(body: Any, loc: list[str | int]) -> Example:
    if not isinstance(body, dict):
        raise invalid(loc, "Input should be a valid dictionary", "dict_type")
    return {**check(body, EXAMPLE_FIELDS, loc), "split": _split(body, loc)}


def _split(body: dict[str, Any], loc: list[str | int]) -> list[str] | None:
    split = body.get("split")
    names = [split] if isinstance(split, str) else split
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise invalid([*loc, "split"], "Input should be a valid string or list of strings", "string_type")
    return names


BASE_SPLIT = '{"dataset_split":["base"]}'


def _with_split(metadata: dict[str, Any], split: list[str] | None, default: Any) -> str:
    known = metadata.get("dataset_split")  # an empty list is kept: the example was taken out of its last split
    return dumps({**metadata, "dataset_split": split or (default if known is None else known)})


def create_example(call: Call) -> Example:
    (example,) = _create(call, [check_example(call.object(), ["body"])])
    return example


def create_examples(call: Call) -> list[Example]:
    """Store a list of examples, all or none."""
    body = call.json()
    if not isinstance(body, list):
        raise invalid(["body"], "Input should be a valid list", "list_type")
    return _create(call, _check_examples(body))


def _check_examples(bodies: list[Any]) -> list[Example]:
    if (alike := check_alike(bodies, EXAMPLE_FIELDS)) is None:
        return [check_example(body, ["body", i]) for i, body in enumerate(bodies)]
    for i, (example, body) in enumerate(zip(alike, bodies, strict=True)):
        if "split" in body:
            example["split"] = _split(body, ["body", i])
    return alike


def _create(call: Call, examples: list[Example]) -> list[Example]:
    """Store examples and return them as they are answered."""
    rows = [encoded(example) for example in examples]
    ids = {example["dataset_id"] for example in examples}
    with call.store.write() as db:
        sql = "SELECT id, name FROM datasets WHERE id IN (SELECT value FROM json_each(?))"
        names = {row["id"]: row["name"] for row in db.execute(sql, (dumps(list(ids)),))}
        if ids - names.keys():
            raise not_found("Dataset")
        insert_rows(db, rows, call.switches.now())
    for row in rows:
        row["dataset_name"] = names[row["dataset_id"]]
    return [example_json(row) for row in rows]


def encoded(example: Example) -> Row:
    """A checked example as a row: what can be made of it before it is its turn to be written."""
    get = example.get
    metadata, split, outputs = get("metadata"), get("split"), get("outputs")
    return {
        "id": get("id") or str(uuid.uuid4()),
        "dataset_id": example["dataset_id"],
        "created_at": get("created_at"),
        "source_run_id": get("source_run_id"),
        "inputs": dumps(get("inputs", {})),
        "outputs": None if outputs is None else dumps(outputs),
        "metadata": _with_split(metadata or {}, split, ["base"]) if metadata or split else BASE_SPLIT,
        "example": example,
    }


def insert_examples(db: sqlite3.Connection, examples: list[Example], now: int) -> list[str]:
    """Store new examples of datasets that are there and return their ids; 409 when one is taken."""
    rows = [encoded(example) for example in examples]
    insert_rows(db, rows, now)
    return [row["id"] for row in rows]


COLUMNS = "id dataset_id position created_at modified_at source_run_id inputs outputs metadata".split()
INSERT = f"INSERT INTO examples ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def insert_rows(db: sqlite3.Connection, rows: list[Row], now: int) -> None:
    """Store encoded examples of datasets that are there, with their positions and times; 409 when an id is taken."""
    datasets = {row["dataset_id"] for row in rows}
    now = _next_moment(db, datasets, now)
    ids = [row["id"] for row in rows]
    sql = "SELECT min(id) FROM examples WHERE ended_at IS NULL AND id IN (SELECT value FROM json_each(?))"
    known = db.execute(sql, (dumps(ids),)).fetchone()[0]
    if known or len(set(ids)) < len(ids):
        raise conflict(f"Example with this id already exists: {known or 'sent twice'}. Nothing was stored.")
    positions = {dataset_id: _last_position(db, dataset_id) for dataset_id in datasets}
    schemas = {dataset_id: schemas_of(db, dataset_id) for dataset_id in datasets}
    for row in rows:
        example, dataset_id = row["example"], row["dataset_id"]
        positions[dataset_id] = row["position"] = positions[dataset_id] + 1
        row["modified_at"] = now
        if row["created_at"] is None:
            row["created_at"] = now
        if example.get("use_source_run_io") and example.get("source_run_id"):
            example = {**example, **_run_io(db, example["source_run_id"])}
            row |= {"inputs": dumps(example["inputs"]), "outputs": dumps_or_none(example["outputs"])}
        if schemas[dataset_id]:
            check_against_schemas(schemas[dataset_id], example.get("inputs", {}), example.get("outputs"))
    db.executemany(INSERT, map(itemgetter(*COLUMNS), rows))


def _next_moment(db: sqlite3.Connection, dataset_ids: set[str], now: int) -> int:
    """`now`, or just after the last version where the clock has not moved on."""
    last = db.execute(
        "SELECT max(modified_at) FROM datasets WHERE id IN (SELECT value FROM json_each(?))",
        (dumps(list(dataset_ids)),),
    ).fetchone()[0]
    moment = max(now, (last or 0) + 1)
    db.execute(
        "UPDATE datasets SET modified_at = ? WHERE id IN (SELECT value FROM json_each(?))",
        (moment, dumps(list(dataset_ids))),
    )
    return moment


def _last_position(db: sqlite3.Connection, dataset_id: str) -> int:
    found: int = db.execute(
        "SELECT coalesce(max(position), 0) FROM examples WHERE dataset_id = ?", (dataset_id,)
    ).fetchone()[0]
    return found


def _run_io(db: sqlite3.Connection, run_id: str) -> dict[str, Any]:
    row = db.execute("SELECT inputs, outputs FROM runs JOIN run_bodies USING (seq) WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise not_found("Run")
    return {"inputs": loads_or_none(row["inputs"]) or {}, "outputs": loads_or_none(row["outputs"])}


def update_example(call: Call) -> dict[str, Any]:
    body = {**call.object(), "id": call.ids["example_id"]}
    with call.store.write() as db:
        apply_updates(db, [body], call.switches.now())
    return {"message": f"Example {call.ids['example_id']} updated"}


def update_examples(call: Call) -> dict[str, Any]:
    body = call.json()
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise invalid(["body"], "Input should be a valid list of dictionaries", "list_type")
    with call.store.write() as db:
        changed = apply_updates(db, body, call.switches.now())
    return {"message": f"{len(changed)} examples updated", "count": len(changed)}


def apply_updates(db: sqlite3.Connection, updates: list[dict[str, Any]], now: int) -> list[str]:
    """Make new versions of examples, all at one moment: fields left out stay as they are. 404 for an unknown one."""
    checked = []
    for i, update in enumerate(updates):
        loc: list[str | int] = ["body", i]
        checked.append({**check(update, UPDATE_FIELDS, loc), "split": _split(update, loc)})
    ids = [fields["id"] for fields in checked]
    rows = current_versions(db, ids)
    if len(rows) < len(set(ids)):
        raise not_found("Example")
    datasets = {row["dataset_id"] for row in rows} | {f["dataset_id"] for f in checked if "dataset_id" in f}
    if datasets - known_datasets(db, datasets):
        raise not_found("Dataset")
    moment = _next_moment(db, datasets, max([now, *(row["modified_at"] + 1 for row in rows)]))
    for fields in checked:
        _new_version(db, current_versions(db, [fields["id"]])[0], fields, moment)
    return ids


def known_datasets(db: sqlite3.Connection, ids: Iterable[str]) -> set[str]:
    rows = db.execute("SELECT id FROM datasets WHERE id IN (SELECT value FROM json_each(?))", (dumps(list(ids)),))
    return {row["id"] for row in rows}


def _new_version(db: sqlite3.Connection, old: sqlite3.Row, fields: dict[str, Any], now: int) -> None:
    dataset_id = fields.get("dataset_id", old["dataset_id"])
    inputs = fields.get("inputs", loads_or_none(old["inputs"]))
    check_against_schemas(schemas_of(db, dataset_id), inputs, fields.get("outputs", loads_or_none(old["outputs"])))
    moved = dataset_id != old["dataset_id"]
    metadata = loads_or_none(old["metadata"])
    db.execute("UPDATE examples SET ended_at = ? WHERE version = ?", (now, old["version"]))
    db.execute(
        "INSERT INTO examples (id, dataset_id, position, created_at, modified_at, source_run_id, inputs, outputs,"
        " metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            old["id"],
            dataset_id,
            _last_position(db, dataset_id) + 1 if moved else old["position"],
            old["created_at"],
            now,
            old["source_run_id"],
            dumps(fields["inputs"]) if "inputs" in fields else old["inputs"],
            dumps(fields["outputs"]) if "outputs" in fields else old["outputs"],
            _with_split(fields.get("metadata", metadata), fields["split"], metadata.get("dataset_split")),
        ),
    )


def delete_example(call: Call) -> dict[str, Any]:
    return _delete(call, [call.ids["example_id"]])


def delete_examples(call: Call) -> dict[str, Any]:
    ids = uuids(call.request.args, "example_ids")
    if not ids:
        raise invalid(["query", "example_ids"], "Field required", "missing")
    return _delete(call, ids)


def _delete(call: Call, ids: list[str]) -> dict[str, Any]:
    """End the current version; earlier moments still show the examples."""
    with call.store.write() as db:
        rows = current_versions(db, ids)
        if len(rows) < len(set(ids)):
            raise not_found("Example")
        now = _next_moment(db, {row["dataset_id"] for row in rows}, call.switches.now())
        db.executemany("UPDATE examples SET ended_at = ? WHERE version = ?", [(now, row["version"]) for row in rows])
    return {"message": f"{len(rows)} examples deleted"}


def erase_examples(call: Call) -> dict[str, Any]:
    """Delete examples; with hard_delete their content is gone from every version."""
    fields = check(call.object(), {"example_ids": "[uuid]!", "hard_delete": "bool"})
    ids = dumps(fields["example_ids"])
    with call.store.write() as db:
        rows = current_versions(db, fields["example_ids"])
        now = _next_moment(db, {row["dataset_id"] for row in rows}, call.switches.now())
        db.executemany("UPDATE examples SET ended_at = ? WHERE version = ?", [(now, row["version"]) for row in rows])
        if fields.get("hard_delete"):
            among = "IN (SELECT value FROM json_each(?))"
            db.execute(
                f"UPDATE examples SET inputs = '{{}}', outputs = NULL, metadata = '{{}}' WHERE id {among}", (ids,)
            )
            db.execute(f"DELETE FROM attachments WHERE owner_id {among}", (ids,))
    return {"count": len(rows), "example_ids": [row["id"] for row in rows]}
