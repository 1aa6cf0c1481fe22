"""Examples: every write makes a version, reads may ask for any moment, deletes keep the past."""

import sqlite3
import uuid
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from localsmith.fields import Fields, FixedFields, check, check_choice, conflict
from localsmith.lists import Query, Where, flag, mentions, metadata_filter, page, uuids
from localsmith.runs.filters import EXAMPLE, compile_filter
from localsmith.schemas import check_against_schemas, schemas_of
from localsmith.wire import (
    Call,
    as_stored,
    as_time,
    as_uuid,
    dumps,
    dumps_or_none,
    invalid,
    iso,
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
SELECTS = "id created_at modified_at name dataset_id source_run_id metadata inputs outputs attachment_urls".split()

Example = dict[str, Any]
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


def _with_split(metadata: dict[str, Any], split: list[str] | None, default: Any) -> str:
    known = metadata.get("dataset_split")  # an empty list is kept: the example was taken out of its last split
    return dumps({**metadata, "dataset_split": split or (default if known is None else known)})


def example_json(
    row: sqlite3.Row | Row, attachments: dict[str, Any] | None = None, *, read: Callable[[str | None], Any] = as_stored
) -> Example:
    """An example as it is answered; `read` makes values of the JSON in the row, which is not looked into otherwise."""
    return {
        "id": row["id"],
        "dataset_id": row["dataset_id"],
        "name": f"#{row['position']:04} @ {row['dataset_name']}",
        "inputs": read(row["inputs"]),
        "outputs": read(row["outputs"]),
        "metadata": read(row["metadata"]),
        "source_run_id": row["source_run_id"],
        "created_at": iso(row["created_at"]),
        "modified_at": iso(row["modified_at"]),
        "attachment_urls": attachments,
    }


# Writing


def create_example(call: Call) -> Example:
    (example,) = _create(call, [check_example(call.object(), ["body"])])
    return example


def create_examples(call: Call) -> list[Example]:
    """Store a list of examples, all or none."""
    body = call.json()
    if not isinstance(body, list):
        raise invalid(["body"], "Input should be a valid list", "list_type")
    return _create(call, [check_example(item, ["body", i]) for i, item in enumerate(body)])


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
    return {
        "id": example.get("id") or str(uuid.uuid4()),
        "dataset_id": example["dataset_id"],
        "created_at": example.get("created_at"),
        "source_run_id": example.get("source_run_id"),
        "inputs": dumps(example.get("inputs", {})),
        "outputs": dumps_or_none(example.get("outputs")),
        "metadata": _with_split(example.get("metadata", {}), example.get("split"), ["base"]),
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
        positions[dataset_id] += 1
        row |= {"position": positions[dataset_id], "modified_at": now, "created_at": example.get("created_at", now)}
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
    rows = _select(db, ids)
    if len(rows) < len(set(ids)):
        raise not_found("Example")
    datasets = {row["dataset_id"] for row in rows} | {f["dataset_id"] for f in checked if "dataset_id" in f}
    if datasets - known_datasets(db, datasets):
        raise not_found("Dataset")
    moment = _next_moment(db, datasets, max([now, *(row["modified_at"] + 1 for row in rows)]))
    for fields in checked:
        _new_version(db, _select(db, [fields["id"]])[0], fields, moment)
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
        rows = _select(db, ids)
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
        rows = _select(db, fields["example_ids"])
        now = _next_moment(db, {row["dataset_id"] for row in rows}, call.switches.now())
        db.executemany("UPDATE examples SET ended_at = ? WHERE version = ?", [(now, row["version"]) for row in rows])
        if fields.get("hard_delete"):
            among = "IN (SELECT value FROM json_each(?))"
            db.execute(
                f"UPDATE examples SET inputs = '{{}}', outputs = NULL, metadata = '{{}}' WHERE id {among}", (ids,)
            )
            db.execute(f"DELETE FROM attachments WHERE owner_id {among}", (ids,))
    return {"count": len(rows), "example_ids": [row["id"] for row in rows]}


# Reading

FROM = "FROM examples JOIN datasets ON datasets.id = dataset_id"
SELECT = f"SELECT examples.*, datasets.name AS dataset_name {FROM} "


def _select(db: sqlite3.Connection, ids: list[str]) -> list[sqlite3.Row]:
    """The current version of each of `ids` that is there."""
    sql = SELECT + "WHERE ended_at IS NULL AND examples.id IN (SELECT value FROM json_each(?))"
    return db.execute(sql, (dumps(ids),)).fetchall()


def moment_of(db: sqlite3.Connection, as_of: str, dataset_id: str | None) -> int | None:
    """The moment that `as_of` names, a time or a tag; None for the present."""
    if as_of == "latest":
        return None
    tagged = db.execute(
        "SELECT as_of FROM dataset_tags WHERE dataset_id IS ? AND tag = ?", (dataset_id, as_of)
    ).fetchone()
    # A '+' that came unescaped in a URL is a blank by now.
    return tagged["as_of"] if tagged else as_time(as_of.replace(" ", "+"), ["query", "as_of"])


def _conditions(db: sqlite3.Connection, query: Query) -> Where:
    where = Where()
    dataset_id = as_uuid(query["dataset"], ["query", "dataset"]) if query.get("dataset") else None
    if dataset_id:
        where.add("dataset_id = ?", dataset_id)
    where.among("examples.id", uuids(query, "id"))
    add_moment(where, moment_of(db, query.get("as_of") or "latest", dataset_id))
    metadata_filter(query, where, "examples.metadata")
    if splits := query.getlist("splits"):
        # dataset_split may be a list or, in metadata written by hand, a single name: json_each takes both.
        where.add(
            "EXISTS (SELECT 1 FROM json_each(examples.metadata, '$.dataset_split')"
            " WHERE value IN (SELECT value FROM json_each(?)))",
            dumps(splits),
        )
    for text in query.getlist("full_text_contains"):
        found = [mentions(column, text, in_json=True) for column in ("inputs", "outputs")]
        where.add(f"({' OR '.join(sql for sql, *_ in found)})", *(param for _, *params in found for param in params))
    if query.get("filter"):
        where.add(*compile_filter(query["filter"], EXAMPLE))
    return where


def add_moment(where: Where, moment: int | None) -> None:
    if moment is None:
        where.add("ended_at IS NULL")
    else:
        where.add("examples.modified_at <= ? AND (ended_at IS NULL OR ended_at > ?)", moment, moment)


ORDERS = {
    "recent": "examples.modified_at {desc}, position",
    "recently_created": "examples.created_at {desc}, position",
    "id": "examples.id {asc}",
}


def list_examples(call: Call) -> list[Example]:
    query = call.request.args
    order = check_choice(query.get("order", "recent"), [*ORDERS, "random"], ["query", "order"])
    descending = flag(query, "descending")
    asc, desc = ("DESC" if descending else "ASC"), ("ASC" if descending is False else "DESC")
    by = ORDERS[order].format(asc=asc, desc=desc) if order != "random" else "random_order(examples.id)"
    select = query.getlist("select") or SELECTS[:-1]
    for name in select:
        check_choice(name, SELECTS, ["query", "select"])
    with call.store.read() as db:
        if order == "random":
            _define_random(db, query.get("random_seed", "0"))
        where = _conditions(db, query)
        # First which, from an index alone, then what: the pages before this one are skipped without being read.
        chosen = f"SELECT version FROM examples {where} ORDER BY {by} LIMIT ? OFFSET ?"
        sql = f"{SELECT} WHERE examples.version IN ({chosen}) ORDER BY {by}"
        rows = db.execute(sql, (*where.params, *page(query))).fetchall()
        urls = attachment_urls(db, call, [row["id"] for row in rows]) if "attachment_urls" in select else {}
    # The contract requires these four whatever is selected.
    keep = {*select, "id", "name", "dataset_id", "inputs"}
    found = (example_json(row, urls.get(row["id"])) for row in rows)
    return [{name: value for name, value in example.items() if name in keep} for example in found]


def _define_random(db: sqlite3.Connection, seed: str) -> None:
    """Make an order that looks random and is the same on every page of one seed."""
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, seed[:40])
    db.create_function("random_order", 1, lambda text: str(uuid.uuid5(namespace, text)), deterministic=True)


def get_example(call: Call) -> Example:
    query = call.request.args
    where = Where()
    where.add("examples.id = ?", call.ids["example_id"])
    with call.store.read() as db:
        dataset = as_uuid(query["dataset"], ["query", "dataset"]) if query.get("dataset") else None
        add_moment(where, moment_of(db, query.get("as_of") or "latest", dataset))
        row = db.execute(f"{SELECT} {where}", where.params).fetchone()
        if row is None:
            raise not_found("Example")
        return example_json(row, attachment_urls(db, call, [row["id"]]).get(row["id"]))


def count_examples(call: Call) -> int:
    with call.store.read() as db:
        where = _conditions(db, call.request.args)
        found: int = db.execute(f"SELECT count(*) FROM examples {where}", where.params).fetchone()[0]
    return found


def attachment_urls(db: sqlite3.Connection, call: Call, owners: list[str]) -> dict[str, dict[str, Any]]:
    """Links to the attachments of runs or examples, by owner."""
    rows = db.execute(
        "SELECT owner_id, name, mime_type FROM attachments WHERE owner_id IN (SELECT value FROM json_each(?))"
        " ORDER BY name",
        (dumps(owners),),
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        url = f"{call.request.host_url}attachments/{row['owner_id']}?name={quote(row['name'], safe='')}"
        link = {"presigned_url": url, "s3_url": url, "mime_type": row["mime_type"]}
        found.setdefault(row["owner_id"], {})[f"attachment.{row['name']}"] = link
    return found
