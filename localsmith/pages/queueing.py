"""Putting rows of a comparison into a review queue: those that the filters leave, or a random sample of them."""

import json
import re
import sqlite3
import uuid

from flask import current_app, redirect, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from langsmith_rest.evaluation.aligning.sampling import FILTERED, RANDOM, sampled
from localsmith.pages.common import find, link, reading, store
from localsmith.pages.compare_facets import with_facets
from localsmith.pages.comparison import ComparisonPage, compare, question_of
from localsmith.pages.review import NAMESPACE
from localsmith.pages.scores import feedback_key, refuse_foreign
from localsmith.pages.selection import chosen
from localsmith.routes.queue_items import add_item
from localsmith.wire import dumps

MOST = 5000


def fill_queue(tenant: str, dataset_id: str) -> Response:
    """Make a queue of the rows that this address shows and go to review it; the same again adds nothing twice."""
    refuse_foreign()
    key, name = feedback_key("human"), request.form.get("name", "").strip()
    sample, seed = _number("sample"), _number("seed") or 0
    with reading() as (db, kept):
        dataset = find(db, "datasets", dataset_id, "dataset")
        comparison = compare(db, kept, dataset["id"], question_of(request.args))
        if comparison is None:
            raise BadRequest("None of these experiments belongs to this dataset.")
        examples = with_facets(db, kept, comparison, chosen(db, kept, comparison))
        is_random = len(examples) == len(comparison.examples)
        if sample is not None or is_random:  # in random order, so that those reviewed first are a random sample, too
            examples = sampled(examples, sample, seed)
        runs = _runs(db, comparison, examples)
    if not 0 < len(runs) <= MOST:
        raise BadRequest(f"{len(runs):,} answers do not make a queue: choose between 1 and {MOST:,}.")
    question = request.form.get("question", "").strip() or "Is the answer right?"
    body = {
        "rubric_items": [{"feedback_key": key, "description": question}],
        "metadata": {"sampling": RANDOM if is_random else FILTERED, "seed": seed, "feedback_key": key},
    }
    asked = sorted((field, value) for field, value in request.args.items(multi=True) if field != "page")
    queue_id = str(uuid.uuid5(NAMESPACE, json.dumps([dataset["id"], asked, is_random, key, seed, question])))
    now = current_app.extensions["localsmith"].switches.now()
    with store().write() as db:
        row = (queue_id, name or f"{key} of {dataset['name']}", now, now, dumps(body))
        db.execute("INSERT OR IGNORE INTO annotation_queues VALUES (?, ?, ?, ?, ?)", row)
        for run_id in runs:
            add_item(db, queue_id, {"run_id": run_id}, now)
    return redirect(link("show_review", queue_id=queue_id), 303)


def _number(field: str) -> int | None:
    text = request.form.get(field, "")
    if text and not re.fullmatch(r"[0-9]{1,18}", text):  # which fit into 64 bits
        raise BadRequest(f"The {field} is a whole number of at most 18 digits.")
    return int(text) if text else None


def _runs(db: sqlite3.Connection, comparison: ComparisonPage, examples: list[str]) -> list[str]:
    """The last run of each of these examples, of the experiment that the filter is about, or of every candidate."""
    looked_at = comparison.looked_at
    sides = [side for side in looked_at if not side.is_baseline] or looked_at
    seqs = [
        side.columns.seqs[side.columns.runs_of(e)[-1]] for e in examples for side in sides if side.columns.runs_of(e)
    ]
    rows = db.execute("SELECT seq, id FROM runs WHERE seq IN (SELECT value FROM json_each(?))", (json.dumps(seqs),))
    ids = {row["seq"]: row["id"] for row in rows}
    return [ids[seq] for seq in seqs if seq in ids]
