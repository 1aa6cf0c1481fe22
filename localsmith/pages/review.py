"""Reviewing: one answer of a queue at a time, with the questions of its rubric beside it."""

import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

from flask import current_app, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from localsmith.pages.attachments import attachments_of
from localsmith.pages.common import find, link, reading, store
from localsmith.pages.comparison import MAX_EXPERIMENTS
from localsmith.pages.feedback import feedback_of
from localsmith.pages.rubric import Question, rubric_of
from localsmith.pages.scores import parse_score, refuse_foreign
from localsmith.routes.feedback import check_feedback, insert_feedback
from localsmith.routes.queue_items import Items, needed_reviews
from localsmith.wire import loads_or_none

COOKIE = "localsmith-reviewer"
NAMESPACE = uuid.UUID("2b0f9a5e-4a0c-5c50-9a3d-1c1c6f0d7a11")


@dataclass(frozen=True)
class Given:
    """One answer to one question."""

    key: str
    score: float | None = None
    value: str | None = None
    comment: str | None = None


def reviewer() -> str:
    """Who reviews: every browser is one person, so that two never get the same item."""
    return request.cookies.get(COOKIE, "")[:40] or f"browser-{uuid.uuid4().hex[:8]}"


def _now() -> int:
    now: int = current_app.extensions["localsmith"].switches.now()
    return now


def _items(queue: sqlite3.Row, who: str, now: int) -> Items:
    reviews = needed_reviews(queue)
    items = Items((reviews.queue_id, reviews.needed, who, now - reviews.reserved))
    items.where.add("run_id IS NOT NULL")
    return items


def show_review(tenant: str, queue_id: str) -> Response:
    """The next answer to review, reserved for this browser; or the one that the address names."""
    who, now = reviewer(), _now()
    with store().write() as db:  # choosing and reserving are one step, or two browsers would get the same item
        queue = find(db, "annotation_queues", queue_id, "review queue")
        item = _next(db, queue, who, now)
        if item is not None:
            _mark(db, item["id"], who, "viewed", now)
    with reading() as (db, _):
        total, done = _items(queue, who, now), _items(queue, who, now)
        reviewed = "SELECT item_id FROM queue_reviews WHERE reviewer = ? AND status = 'completed'"
        done.where.add(f"(section = 'archived' OR id IN ({reviewed}))", who)
        counts = {"total": total.count(db), "done": done.count(db)}
        instructions, questions = rubric_of(db, queue)
        shown = _shown(db, item["run_id"]) if item is not None else None
        experiments = _experiments(db, queue["id"]) if item is None else []
    html = render_template(
        "review.html",
        queue=queue,
        item=item,
        shown=shown,
        counts=counts,
        instructions=instructions,
        questions=questions,
        is_open=request.args.get("open") == "1",
        last=request.args.get("last", ""),
        experiments=experiments,
    )
    response = make_response(html)
    response.set_cookie(COOKIE, who, max_age=365 * 86400, httponly=True, samesite="Strict")
    return response


def _next(db: sqlite3.Connection, queue: sqlite3.Row, who: str, now: int) -> sqlite3.Row | None:
    items = _items(queue, who, now)
    if wanted := request.args.get("item"):
        items.where.add("id = ?", wanted)
    else:
        items.where.add("section = 'needs_my_review'")
    found = items.rows(db, "ORDER BY effective_added_at, seq LIMIT 1")
    return found[0] if found else None


def _experiments(db: sqlite3.Connection, queue_id: str) -> list[sqlite3.Row]:
    """The experiments whose answers are in a queue, if one comparison can show them all."""
    rows = db.execute(
        "SELECT DISTINCT s.id, s.reference_dataset_id FROM queue_items i JOIN runs r ON r.id = i.run_id"
        " JOIN sessions s ON s.id = r.session_id WHERE i.queue_id = ? LIMIT ?",
        (queue_id, MAX_EXPERIMENTS + 1),
    ).fetchall()
    datasets = {row["reference_dataset_id"] for row in rows}
    return rows if len(rows) <= MAX_EXPERIMENTS and len(datasets) == 1 and None not in datasets else []


def _mark(
    db: sqlite3.Connection, item_id: str, who: str, status: str | None, now: int, moved: int | None = None
) -> None:
    """Note how far a reviewer is with an item. Looking at a reviewed one again does not undo the review."""
    db.execute(
        "INSERT INTO queue_reviews VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET"
        " status = iif(?3 = 'viewed' AND status = 'completed', status, ?3), changed_at = ?4,"
        " override_added_at = coalesce(?5, override_added_at)",
        (item_id, who, status, now, moved),
    )
    if status == "completed":
        db.execute("UPDATE queue_items SET last_reviewed_time = ? WHERE id = ?", (now, item_id))


def _shown(db: sqlite3.Connection, run_id: str) -> dict[str, Any] | None:
    """What there is to review; None when the run is gone."""
    run = db.execute(
        "SELECT r.*, b.inputs, b.outputs, b.error, s.name AS experiment, e.inputs AS asked, e.outputs AS reference"
        " FROM runs r LEFT JOIN run_bodies b ON b.seq = r.seq JOIN sessions s ON s.id = r.session_id"
        " LEFT JOIN examples e ON e.id = r.reference_example_id AND e.ended_at IS NULL WHERE r.id = ?",
        (run_id,),
    ).fetchone()
    if run is None:
        return None
    inputs, outputs, reference = (loads_or_none(run[name]) for name in ("inputs", "outputs", "reference"))
    return {
        "run": run,
        "inputs": loads_or_none(run["asked"]) or inputs,
        "outputs": outputs,
        "reference": reference,
        "attached": attachments_of(db, [run_id]).get(run_id, []),
        "feedback": feedback_of(db, [run_id]).get(run_id, []),
    }


def give_review(tenant: str, queue_id: str, item_id: str) -> Response:
    """Save what a person answered and go to the next item; or skip this one, or undo its review."""
    refuse_foreign()
    who, now = reviewer(), _now()
    action = request.form.get("action", "save")
    with store().write() as db:
        queue = find(db, "annotation_queues", queue_id, "review queue")
        item = find(db, "queue_items", item_id, "item of a review queue")
        run = find(db, "runs", item["run_id"] or "", "run")
        questions = rubric_of(db, queue)[1]
        if action == "save":
            for given in _given(questions):
                _store(db, item, run, given, who, now)
            _mark(db, item["id"], who, "completed", now)
        elif action == "skip":
            _mark(db, item["id"], who, None, now, moved=now)
        else:
            keys = [*(question.key for question in questions), "note"]
            db.executemany("DELETE FROM feedback WHERE id = ?", [(_feedback_id(item, key, who),) for key in keys])
            _mark(db, item["id"], who, None, now)
    kept = {name: request.form.get(name) or None for name in ("open", "raw")}
    where = {"item" if action == "undo" else "last": item["id"]}
    response = redirect(link("show_review", queue_id=queue["id"], **kept, **where), 303)
    response.set_cookie(COOKIE, who, max_age=365 * 86400, httponly=True, samesite="Strict")
    return response


def _given(questions: list[Question]) -> list[Given]:
    """What the form answers; a required question without an answer is refused."""
    found = []
    for n, question in enumerate(questions):
        text = request.form.get(f"q{n}", "").strip()
        if not text and question.is_required and question.kind != "text":
            raise BadRequest(f"{question.key!r} is not answered: choose an answer, or skip this item.")
        if not text:
            continue
        if question.kind == "text":
            found.append(Given(question.key, comment=text))
            continue
        score = parse_score(text)
        if question.kind == "number" and not question.takes(score):
            ends = f"{question.low:g} to {question.high:g}"
            raise BadRequest(f"{question.key!r} is {text}, expected a number from {ends}.")
        value = next((choice.value for choice in question.choices if choice.score == score), None)
        found.append(Given(question.key, score, value))
    if note := request.form.get("note", "").strip():
        found.append(Given("note", comment=note))
    return found


def _feedback_id(item: sqlite3.Row, key: str, who: str) -> str:
    """The same for the same answer, so that sending a form twice gives one score."""
    return str(uuid.uuid5(NAMESPACE, f"{item['id']}/{who}/{key}"))


def _store(db: sqlite3.Connection, item: sqlite3.Row, run: sqlite3.Row, given: Given, who: str, now: int) -> None:
    body = {
        "id": _feedback_id(item, given.key, who),
        "run_id": run["id"],
        "session_id": run["session_id"],
        "trace_id": run["trace_id"],
        "key": given.key,
        "score": given.score,
        "value": given.value,
        "comment": given.comment,
        "feedback_source": {"type": "app", "metadata": {"reviewer": who}},
    }
    db.execute("DELETE FROM feedback WHERE id = ?", (body["id"],))
    insert_feedback(db, [check_feedback(body, ["form"])], now)
