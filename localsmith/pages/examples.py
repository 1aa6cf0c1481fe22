"""The list of a dataset's examples."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from flask import render_template, request

from localsmith.lists import like
from localsmith.pages.columns import Kept
from localsmith.pages.common import bounded, page_of
from localsmith.pages.facets import MAX_EXAMPLES, Index, facets_of, index_of_examples, parse_facets
from localsmith.pages.render import natural
from localsmith.pages.retries import replaced

SCORES_SHOWN = 10


@dataclass(frozen=True)
class Listing:
    """The examples that the address asks for, in its order."""

    query: str
    chosen: list[tuple[str, str]]
    index: Index
    ids: list[str]


def listing_of(db: sqlite3.Connection, kept: Kept, dataset_id: str) -> Listing:
    query = request.args.get("q", "").strip()
    chosen = parse_facets(
        [*request.args.getlist("facet"), *(f"split:{name}" for name in request.args.getlist("split"))]
    )
    count = db.execute("SELECT count(*) FROM examples WHERE dataset_id = ? AND ended_at IS NULL", (dataset_id,))
    index = index_of_examples(db, kept, dataset_id) if count.fetchone()[0] <= MAX_EXAMPLES else {}
    where, values = ["dataset_id = ?", "ended_at IS NULL"], [dataset_id]
    if query:
        where.append("(inputs LIKE ? ESCAPE '\\' OR outputs LIKE ? ESCAPE '\\')")
        values += [like(json_text(query))] * 2
    for name, value in chosen:
        if name == "split":
            where.append("EXISTS (SELECT 1 FROM json_each(metadata, '$.dataset_split') s WHERE s.value = ?)")
            values.append(value)
            continue
        where.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(index.get(name, {}).get(value, ()))))
    order, by = _order(request.args.get("sort", ""), request.args.get("dir") == "desc")
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: there may be 100,000 of them
    ids = cursor.execute(f"SELECT id FROM examples WHERE {' AND '.join(where)} ORDER BY {order}", (*values, *by))
    return Listing(query, chosen, index, [row[0] for row in ids])


def examples_tab(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, counts: dict[str, int]) -> str:
    listing = listing_of(db, kept, dataset["id"])
    page = page_of(len(listing.ids))
    shown = listing.ids[page.offset : page.end]
    examples = examples_of(db, shown)
    history, graded = _history(db, shown)
    return render_template(
        "dataset.html",
        dataset=dataset,
        tab="examples",
        counts=counts,
        page=page,
        examples=[examples[example] for example in shown],
        history=history,
        graded=graded,
        facets=facets_of(listing.index, listing.ids, listing.chosen),
        chosen=listing.chosen,
        query=listing.query,
        keys=sorted({key for scores in history.values() for key in scores}, key=natural),
        sort=request.args.get("sort", ""),
        descending=request.args.get("dir") == "desc",
    )


MEAN = (  # of an example's scores in all experiments
    "(SELECT avg(f.score) FROM runs r JOIN feedback f ON f.run_id = r.id WHERE r.reference_example_id = examples.id"
    " AND r.is_root = 1 AND f.key = ? AND f.comparative_experiment_id IS NULL)"
)


def _order(sort: str, down: bool) -> tuple[str, list[str]]:
    """The order of examples: that of the dataset, or `score:KEY`, its mean, where examples without one come last."""
    way = "DESC" if down else "ASC"
    if not sort.startswith("score:"):
        return f"position {way}, id", []
    key = sort.removeprefix("score:")
    return f"{MEAN} IS NULL, {MEAN} {way}, position, id", [key, key]


History = dict[str, dict[str, list[tuple[str, float]]]]


def _history(db: sqlite3.Connection, examples: list[str]) -> tuple[History, set[str]]:
    """Example -> metric -> its last scores as (experiment, score), oldest first, repetitions averaged; and the metrics
    of which some score is neither 0 nor 1."""
    found: History = {}
    graded: set[str] = set()
    rows = db.execute(
        "SELECT r.reference_example_id, f.key, s.name, avg(f.score), max(f.score NOT IN (0, 1)) FROM runs r"
        " JOIN sessions s ON s.id = r.session_id JOIN feedback f ON f.run_id = r.id"
        " WHERE r.reference_example_id IN (SELECT value FROM json_each(?)) AND r.is_root = 1"
        " AND f.score IS NOT NULL AND f.comparative_experiment_id IS NULL"
        " AND r.id NOT IN (SELECT value FROM json_each(?))"
        " GROUP BY r.reference_example_id, f.key, s.id ORDER BY s.created_at, s.id",
        (json.dumps(examples), json.dumps(list(replaced(db, "reference_example_id", examples)))),
    )
    for example, key, name, score, is_graded in rows:
        scores = found.setdefault(example, {}).setdefault(key, [])
        scores.append((name, score))
        del scores[:-SCORES_SHOWN]
        if is_graded:
            graded.add(key)
    return found, graded


def json_text(text: str) -> str:
    """Text as it appears inside stored JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def examples_of(db: sqlite3.Connection, ids: list[str]) -> dict[str, dict[str, Any]]:
    """These examples by their ids, as they are now."""
    rows = db.execute(
        f"SELECT id, position, {bounded('inputs')}, {bounded('outputs')}, metadata FROM examples"
        " WHERE id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL",
        (json.dumps(ids),),
    )
    return {row["id"]: example_of(row) for row in rows}


def example_of(row: sqlite3.Row) -> dict[str, Any]:
    metadata = json.loads(row["metadata"])
    splits = metadata.pop("dataset_split", None) or []
    return {
        "id": row["id"],
        "position": row["position"],
        "inputs": json.loads(row["inputs"]),
        "outputs": json.loads(row["outputs"]) if row["outputs"] else None,
        "metadata": metadata,
        "splits": [str(split) for split in splits] if isinstance(splits, list) else [str(splits)],
    }
