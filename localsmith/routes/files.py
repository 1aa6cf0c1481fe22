"""Files of examples: CSV and JSON lines become a dataset, or examples of an existing one."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from localsmith.fields import check, check_kind
from localsmith.multipart import Part, parse_parts
from localsmith.routes.datasets import DATASET, dataset_json, find_dataset, insert_dataset
from localsmith.routes.example_reads import SELECT, example_json
from localsmith.routes.examples import insert_examples
from localsmith.wire import MAX_JSON_BYTES, ApiError, Call, dumps, invalid, parse_json

csv.field_size_limit(MAX_JSON_BYTES)  # the default refuses cells beyond 128 KB
KEYS = {"inputs": "input_keys", "outputs": "output_keys", "metadata": "metadata_keys"}
JSON_FIELDS = ("inputs_schema_definition", "outputs_schema_definition", "transformations")

Rows = list[dict[str, Any]]


def upload_dataset(call: Call) -> dict[str, Any]:
    """Make a dataset of a file, all or nothing; without `name` it is named after the file."""
    file, fields = _form(call)
    body: dict[str, Any] = {name: values[0] for name, values in fields.items() if name in DATASET}
    body |= {name: parse_json(body[name].encode(), name) for name in JSON_FIELDS if body.get(name)}
    dataset = check({**body, "name": body.get("name") or file.filename}, DATASET)
    rows = _rows(file, fields)
    now = call.switches.now()
    with call.store.write() as db:
        dataset_id = insert_dataset(db, dataset, now)
        insert_examples(db, [{**row, "dataset_id": dataset_id} for row in rows], now)
        return dataset_json(find_dataset(db, dataset_id))


def upload_examples(call: Call) -> list[dict[str, Any]]:
    """Add the examples of a file to a dataset, all or none."""
    file, fields = _form(call)
    rows = _rows(file, fields)
    dataset_id = call.ids["dataset_id"]
    with call.store.write() as db:
        find_dataset(db, dataset_id)
        ids = insert_examples(db, [{**row, "dataset_id": dataset_id} for row in rows], call.switches.now())
        sql = SELECT + "WHERE ended_at IS NULL AND examples.id IN (SELECT value FROM json_each(?)) ORDER BY position"
        return [example_json(row) for row in db.execute(sql, (dumps(ids),))]


def _form(call: Call) -> tuple[Part, dict[str, list[str]]]:
    """The file, and the other fields of the form, each with its values in order."""
    parts = parse_parts(call.body(MAX_JSON_BYTES), call.request.headers.get("Content-Type", ""), lengths=False)
    fields: dict[str, list[str]] = {}
    file = None
    for part in parts:
        if part.name == "file":
            file = part
        else:
            fields.setdefault(part.name, []).append(_text(part))
    if file is None:
        raise invalid(["body", "file"], "Field required", "missing")
    for name in fields:
        if name.endswith("_key_mappings"):
            raise ApiError(501, f"{name} is not in this embedded store: name the columns as the examples' keys")
    return file, fields


def _text(part: Part) -> str:
    try:
        return part.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid(["body", part.name[:200]], "should be text in UTF-8") from None


def _rows(file: Part, fields: dict[str, list[str]]) -> Rows:
    """Every row of the file as inputs, outputs and metadata, split by the names of its columns."""
    if not fields.get("input_keys"):
        raise invalid(["body", "input_keys"], "Field required", "missing")
    found = []
    for line, row in _read(file):
        example: dict[str, Any] = {}
        for place, name in KEYS.items():
            keys = fields.get(name, [])
            missing = [key for key in keys if key not in row]
            if missing:
                raise invalid(["body", name], f"line {line} of the file has no {missing[0]!r}", "missing")
            if keys or place == "inputs":
                example[place] = {key: row[key] for key in keys}
        found.append(example)
    return found


def _read(file: Part) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with the numbers of their lines; the values of CSV are texts."""
    text = _text(file)
    if file.filename.lower().endswith((".jsonl", ".ndjson")) or "json" in file.content_type:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, check_kind(parse_json(line.encode(), f"line {number}"), "object", ["body", "file"])
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                message = f"line {reader.line_num} has {len(row)} cells, the header has {len(header)}"
                raise invalid(["body", "file"], message)
            if row:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise invalid(["body", "file"], f"line {reader.line_num} is not valid CSV: {error}") from None
