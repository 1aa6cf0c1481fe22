"""The examples of a dataset: their list, and one with the runs of all experiments on it."""

import json
import sqlite3
from typing import Any

from flask import render_template, request

from localsmith.lists import like
from localsmith.pages.attachments import attachments_of
from localsmith.pages.columns import Kept
from localsmith.pages.common import Order, bounded, find, order_of, page_of, reading, sorted_by
from localsmith.pages.facets import MAX_EXAMPLES, facets_of, index_of_examples, parse_facets
from localsmith.pages.feedback import feedback_of
from localsmith.pages.render import natural
from localsmith.pages.retries import replaced

SCORES_SHOWN = 10


def examples_tab(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, counts: dict[str, int]) -> str:
    query = request.args.get("q", "").strip()
    chosen = parse_facets(
        [*request.args.getlist("facet"), *(f"split:{name}" for name in request.args.getlist("split"))]
    )
    index = index_of_examples(db, kept, dataset["id"]) if counts["examples"] <= MAX_EXAMPLES else {}
    where, args = ["dataset_id = ?", "ended_at IS NULL"], [dataset["id"]]
    if query:
        where.append("(inputs LIKE ? ESCAPE '\\' OR outputs LIKE ? ESCAPE '\\')")
        args += [like(json_text(query))] * 2
    for name, value in chosen:
        if name == "split":
            where.append("EXISTS (SELECT 1 FROM json_each(metadata, '$.dataset_split') s WHERE s.value = ?)")
            args.append(value)
            continue
        where.append("id IN (SELECT value FROM json_each(?))")
        args.append(json.dumps(list(index.get(name, {}).get(value, ()))))
    condition = " AND ".join(where)
    total = db.execute(f"SELECT count(*) FROM examples WHERE {condition}", args).fetchone()[0]
    page = page_of(total)
    sort, down = request.args.get("sort", ""), request.args.get("dir") == "desc"
    order, by = _order(sort, down)
    rows = db.execute(
        f"SELECT id, position, {bounded('inputs')}, {bounded('outputs')}, metadata FROM examples WHERE {condition}"
        f" ORDER BY {order} LIMIT ? OFFSET ?",
        (*args, *by, page.size, page.offset),
    )
    examples = [example_of(row) for row in rows]
    history, graded = _history(db, [example["id"] for example in examples])
    listed = [row[0] for row in db.execute(f"SELECT id FROM examples WHERE {condition}", args)] if index else []
    return render_template(
        "dataset.html",
        dataset=dataset,
        tab="examples",
        counts=counts,
        page=page,
        examples=examples,
        history=history,
        graded=graded,
        facets=facets_of(index, listed, chosen),
        chosen=chosen,
        query=query,
        keys=sorted({key for scores in history.values() for key in scores}, key=natural),
        sort=sort,
        descending=down,
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


def show_example(tenant: str, dataset_id: str, example_id: str) -> str:
    """One example, and the runs of every experiment on it, oldest first."""
    with reading() as (db, _):
        dataset = find(db, "datasets", dataset_id, "dataset")
        row = db.execute(
            "SELECT * FROM examples WHERE id = ? AND dataset_id = ? ORDER BY version DESC LIMIT 1",
            (example_id.lower(), dataset["id"]),
        ).fetchone()
        if row is None:
            find(db, "examples", example_id, "example")
            row = db.execute(
                "SELECT * FROM examples WHERE id = ? ORDER BY version DESC", (example_id.lower(),)
            ).fetchone()
        history = db.execute(
            "SELECT r.id, r.session_id, r.start_time, r.latency, r.total_tokens, r.status, s.name AS experiment,"
            f" s.test_run_number AS number, {bounded('outputs')}, b.error FROM runs r"
            " JOIN sessions s ON s.id = r.session_id LEFT JOIN run_bodies b ON b.seq = r.seq"
            " WHERE r.reference_example_id = ? AND r.is_root = 1"
            " ORDER BY s.created_at, r.start_time, r.seq LIMIT 500",
            (row["id"],),
        ).fetchall()
        feedback = feedback_of(db, [run["id"] for run in history])
        order, history = _sorted_runs(history, feedback)
        gone = replaced(db, "reference_example_id", [row["id"]])
        attached = attachments_of(db, [row["id"]]).get(row["id"], [])
    return render_template(
        "example.html",
        dataset=dataset,
        example=example_of(row),
        deleted=row["ended_at"] is not None,
        attached=attached,
        history=[(run, json.loads(run["outputs"]) if run["outputs"] else None) for run in history],
        has={"latency": any(run["latency"] for run in history), "tokens": any(run["total_tokens"] for run in history)},
        feedback=feedback,
        order=order,
        keys=sorted(
            {item["key"] for items in feedback.values() for item in items if item["score"] is not None}, key=natural
        ),
        replaced=gone,
    )


def _sorted_runs(runs: list[sqlite3.Row], feedback: dict[str, list[dict[str, Any]]]) -> tuple[Order, list[sqlite3.Row]]:
    """The order that the address asks for, and in it the runs of an example, which are given oldest first."""
    asked = request.args.get("sort", "")
    scores = {asked: True} if asked.startswith("score:") else {}
    order = order_of({"experiment": False, "latency": True, "tokens": True} | scores, "experiment", anchor="#results")

    def value(run: sqlite3.Row) -> float | None:
        if order.by not in scores:
            return run["latency" if order.by == "latency" else "total_tokens"] or None
        key = order.by.removeprefix("score:")
        given = [item["score"] for item in feedback.get(run["id"], []) if item["key"] == key]
        known = [score for score in given if score is not None]
        return sum(known) / len(known) if known else None

    if order.by == "experiment":
        return order, runs[::-1] if order.descending else runs
    return order, sorted_by(runs, value, order.descending)
