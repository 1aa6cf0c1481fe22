"""One example with the runs of all experiments on it."""

import json
import sqlite3
from typing import Any

from flask import render_template, request

from localsmith.pages.attachments import attachments_of
from localsmith.pages.common import Order, bounded, find, order_of, reading, sorted_by
from localsmith.pages.examples import example_of
from localsmith.pages.feedback import feedback_of
from localsmith.pages.render import natural
from localsmith.pages.retries import replaced
from localsmith.pages.walk import walk_of_example


def show_example(tenant: str, dataset_id: str, example_id: str) -> str:
    """One example, and the runs of every experiment on it, oldest first."""
    with reading() as (db, kept):
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
        walk = walk_of_example(db, kept, dataset["id"], row["id"])
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
        walk=walk,
        keys=sorted(
            {item["key"] for items in feedback.values() for item in items if item["score"] is not None}, key=natural
        ),
        replaced=gone,
    )


def _sorted_runs(runs: list[sqlite3.Row], feedback: dict[str, list[dict[str, Any]]]) -> tuple[Order, list[sqlite3.Row]]:
    """The order that the address asks for, and in it the runs of an example, which are given oldest first."""
    asked = request.args.get("runs_sort", "")  # `sort` is that of the list that leads here
    columns = {"experiment": False, "latency": True, "tokens": True}
    scores = {asked: True} if asked.startswith("score:") else {}
    order = order_of(columns | scores, "experiment", prefix="runs_", anchor="#results")

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
