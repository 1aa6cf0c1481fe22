"""Reading examples: as they are, or as they were at any moment."""

import sqlite3
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from localsmith.fields import check_choice
from localsmith.lists import Query, Where, flag, mentions, metadata_filter, page, uuids
from localsmith.wire import Call, as_stored, as_time, as_uuid, dumps, iso, not_found

SELECTS = "id created_at modified_at name dataset_id source_run_id metadata inputs outputs attachment_urls".split()
FROM = "FROM examples JOIN datasets ON datasets.id = dataset_id"
SELECT = f"SELECT examples.*, datasets.name AS dataset_name {FROM} "

Example = dict[str, Any]


def example_json(
    row: sqlite3.Row | dict[str, Any],
    attachments: dict[str, Any] | None = None,
    *,
    read: Callable[[str | None], Any] = as_stored,
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


def current_versions(db: sqlite3.Connection, ids: list[str]) -> list[sqlite3.Row]:
    """The current version of each of `ids` that exists."""
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
        from localsmith.runs.filters import EXAMPLE, compile_filter

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
