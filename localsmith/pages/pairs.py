"""Judging pairs: two answers side by side in random order, without the names of their experiments.

What people prefer is stored as a judge's preferences are: one feedback per run, in a comparative experiment.
"""

import hashlib
import json
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

from flask import current_app, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response

from localsmith.pages.attachments import attachments_of
from localsmith.pages.columns import SUCCESS, Kept
from localsmith.pages.common import find, link, reading, store
from localsmith.pages.dataset import Experiment, experiment_of
from localsmith.pages.review import COOKIE, NAMESPACE, reviewer
from localsmith.pages.scores import feedback_key, refuse_foreign
from localsmith.routes.comparative import insert_comparative
from localsmith.routes.feedback import check_feedback, insert_feedback
from localsmith.wire import loads_or_none

KEY, QUESTION = "human_preference", "Which answer is better?"
RESERVED = 5 * 60 * 1_000_000  # microseconds for which a pair is left to the browser that looks at it
CHOICES = {"1": (1, 0), "2": (0, 1), "0": (0, 0)}  # what is chosen -> the scores of the left and the right answer


@dataclass
class Pairs:
    """What is judged: two experiments, and the runs of every example that both answered."""

    row: sqlite3.Row
    members: list[Experiment]
    key: str
    question: str
    runs: dict[str, list[int]]  # example -> the seq of a run of each experiment


def now() -> int:
    found: int = current_app.extensions["localsmith"].switches.now()
    return found


def make_pairs(tenant: str, dataset_id: str) -> Response:
    """Make a comparative experiment for people and go to judge its pairs; the same again finds it."""
    refuse_foreign()
    ids = request.form.get("experiments", "").split(",")
    key = feedback_key(KEY)
    question = request.form.get("question", "").strip() or QUESTION
    if len(set(ids)) != 2:
        raise BadRequest("Pairs are the answers of two different experiments.")
    with store().write() as db:
        names = [find(db, "sessions", session_id, "experiment")["name"] for session_id in ids]
        comparative_id = str(uuid.uuid5(NAMESPACE, json.dumps([sorted(ids), key, question])))
        facts = {"feedback_key": key, "question": question}
        fields = {"experiment_ids": ids, "name": f"{' vs. '.join(names)}: {key}", "extra": {"metadata": facts}}
        insert_comparative(db, {**fields, "id": comparative_id}, now())
    return redirect(link("show_pair", dataset_id=dataset_id, comparative_id=comparative_id), 303)


def pairs_of(db: sqlite3.Connection, kept: Kept, comparative_id: str) -> Pairs:
    row = find(db, "comparative_experiments", comparative_id, "pairwise comparison")
    sessions = db.execute(
        "SELECT s.* FROM comparative_members m JOIN sessions s ON s.id = m.session_id"
        " WHERE comparative_experiment_id = ? ORDER BY m.position",
        (row["id"],),
    ).fetchall()
    if len(sessions) != 2:
        raise BadRequest("Pairs are the answers of two experiments.")
    columns = [kept.columns(db, session["id"]) for session in sessions]
    runs: dict[str, list[int]] = {}
    for example in columns[0].at:
        answers = [[i for i in of.runs_of(example) if of.statuses[i] == SUCCESS] for of in columns]
        if all(answers):
            runs[example] = [of.seqs[some[-1]] for of, some in zip(columns, answers, strict=True)]
    facts = (loads_or_none(row["extra"]) or {}).get("metadata") or {}
    key, question = facts.get("feedback_key"), facts.get("question")
    return Pairs(row, [experiment_of(s) for s in sessions], str(key or KEY), str(question or QUESTION), runs)


def judged(db: sqlite3.Connection, pairs: Pairs) -> set[str]:
    """The examples that somebody has judged."""
    rows = db.execute(
        "SELECT DISTINCT r.reference_example_id FROM feedback f JOIN runs r ON r.id = f.run_id"
        " WHERE f.comparative_experiment_id = ? AND f.key = ?",
        (pairs.row["id"], pairs.key),
    )
    return {row[0] for row in rows}


def coin(*parts: str) -> str:
    return hashlib.sha256("-".join(parts).encode()).hexdigest()


def next_pair(db: sqlite3.Connection, pairs: Pairs, done: set[str], who: str) -> str | None:
    """The pair that the address names, else the next one that is free; it is left to this browser for a while."""
    wanted = request.args.get("item", "")
    example = wanted if wanted in pairs.runs else _first_free(db, pairs, done, who)
    if example is not None:
        sql = "INSERT INTO pair_reviews VALUES (?1, ?2, ?3, ?4, NULL) ON CONFLICT DO UPDATE SET viewed_at = ?4"
        db.execute(sql, (pairs.row["id"], example, who, now()))
    return example


def _first_free(db: sqlite3.Connection, pairs: Pairs, done: set[str], who: str) -> str | None:
    """An example in this person's random order that nobody else looks at; those put off come last."""
    since, taken, mine, put_off = now() - RESERVED, set[str](), set[str](), dict[str, int]()
    rows = db.execute("SELECT * FROM pair_reviews WHERE comparative_experiment_id = ?", (pairs.row["id"],))
    for row in rows:
        example, viewed_at = row["example_id"], row["viewed_at"] or 0
        if row["reviewer"] == who:
            put_off[example] = row["put_off_at"] or 0
            mine |= {example} if viewed_at else set()
        elif viewed_at >= since:
            taken.add(example)
    free = pairs.runs.keys() - done - taken
    return min(free, key=lambda one: (put_off.get(one, 0), one not in mine, coin(one, who)), default=None)


def show_pair(tenant: str, dataset_id: str, comparative_id: str) -> Response:
    """The next pair to judge, left to this browser; or the one that the address names."""
    who = reviewer()
    with reading() as (db, kept):
        dataset = find(db, "datasets", dataset_id, "dataset")
        pairs = pairs_of(db, kept, comparative_id)
    with store().write() as db:  # choosing and reserving are one step, or two browsers would get the same pair
        done = judged(db, pairs) & pairs.runs.keys()
        example = next_pair(db, pairs, done, who)
    with reading() as (db, _):
        shown = None if example is None else _shown(db, pairs, example, who)
    html = render_template(
        "pair.html",
        dataset=dataset,
        pairs=pairs,
        example=example,
        shown=shown,
        counts={"total": len(pairs.runs), "done": len(done)},
        last=request.args.get("last", ""),
    )
    response = make_response(html)
    response.set_cookie(COOKIE, who, max_age=365 * 86400, httponly=True, samesite="Strict")
    return response


def _runs(db: sqlite3.Connection, pairs: Pairs, example: str) -> list[sqlite3.Row]:
    """The runs of a pair, in the order of the experiments."""
    sql = "SELECT r.*, b.inputs, b.outputs FROM runs r LEFT JOIN run_bodies b ON b.seq = r.seq WHERE r.seq = ?"
    return [db.execute(sql, (seq,)).fetchone() for seq in pairs.runs[example]]


def _shown(db: sqlite3.Connection, pairs: Pairs, example: str, who: str) -> dict[str, Any]:
    runs = _runs(db, pairs, example)
    if int(coin(pairs.row["id"], example, who)[-1], 16) % 2:  # by chance, but always the same for one person
        runs.reverse()
    row = db.execute("SELECT inputs, outputs FROM examples WHERE id = ? AND ended_at IS NULL", (example,)).fetchone()
    attached = attachments_of(db, [run["id"] for run in runs])
    return {
        "inputs": loads_or_none(row["inputs"]) if row else loads_or_none(runs[0]["inputs"]),
        "reference": loads_or_none(row["outputs"]) if row else None,
        "left": runs[0]["id"],
        "sides": [{"outputs": loads_or_none(r["outputs"]), "attached": attached.get(r["id"], [])} for r in runs],
    }


def give_pair(tenant: str, dataset_id: str, comparative_id: str, example_id: str) -> Response:
    """Save which answer is better and go to the next pair; or put this one off, or undo its judgement."""
    refuse_foreign()
    who, action = reviewer(), request.form.get("action", "save")
    with reading() as (db, kept):
        pairs = pairs_of(db, kept, comparative_id)
        if example_id not in pairs.runs:
            raise NotFound("There is no such pair.")
        runs = _runs(db, pairs, example_id)
    if action == "save":
        runs.sort(key=lambda run: bool(run["id"] != request.form.get("left")))
        if runs[0]["id"] != request.form.get("left"):
            raise BadRequest("These answers have changed: load the page again.")
        scores = CHOICES.get(request.form.get("q0", ""))
        if scores is None:
            raise BadRequest("Nothing is chosen: choose an answer, or skip this pair.")
        bodies = _feedback(pairs, example_id, runs, scores, who)
    with store().write() as db:
        ids = [(_feedback_id(pairs, run["id"], who),) for run in runs]
        if action != "skip":
            db.executemany("DELETE FROM feedback WHERE id = ?", ids)
        if action == "save":
            insert_feedback(db, [check_feedback(body, ["form"]) for body in bodies], now())
        if action == "skip":
            _put_off(db, pairs, who, example_id)
    where = {"item" if action == "undo" else "last": example_id, "raw": request.form.get("raw")}
    response = redirect(link("show_pair", dataset_id=dataset_id, comparative_id=comparative_id, **where), 303)
    response.set_cookie(COOKIE, who, max_age=365 * 86400, httponly=True, samesite="Strict")
    return response


def _put_off(db: sqlite3.Connection, pairs: Pairs, who: str, example: str) -> None:
    """Let a pair come after all others, also after those put off before."""
    sql = (
        "INSERT INTO pair_reviews VALUES (?1, ?2, ?3, NULL, ?4)"
        " ON CONFLICT DO UPDATE SET viewed_at = NULL, put_off_at = ?4"
    )
    db.execute(sql, (pairs.row["id"], example, who, now()))


def _feedback_id(pairs: Pairs, run_id: str, who: str) -> str:
    """The same for the same judgement, so that sending a form twice gives one."""
    return str(uuid.uuid5(NAMESPACE, f"{pairs.row['id']}/{run_id}/{who}/{pairs.key}"))


def _feedback(
    pairs: Pairs, example: str, runs: list[sqlite3.Row], scores: tuple[int, int], who: str
) -> list[dict[str, Any]]:
    """One feedback per run, bound together by a group, with the order in which the answers stood."""
    names = {member.id: member.name for member in pairs.members}
    note = request.form.get("note", "").strip()
    return [
        {
            "id": _feedback_id(pairs, run["id"], who),
            "run_id": run["id"],
            "session_id": run["session_id"],
            "trace_id": run["trace_id"],
            "key": pairs.key,
            "score": score,
            "comment": note or None,
            "comparative_experiment_id": pairs.row["id"],
            "feedback_group_id": str(uuid.uuid5(NAMESPACE, f"{pairs.row['id']}/{example}/{who}/{pairs.key}")),
            "feedback_source": {
                "type": "app",
                "metadata": {"order": [names[one["session_id"]] for one in runs], "reviewer": who},
            },
        }
        for run, score in zip(runs, scores, strict=True)
    ]
