"""A project's traces, newest first, with LangSmith's filter language."""

import json
import sqlite3
from typing import Any

from flask import render_template, request

from localsmith.pages.common import bounded, find, page_of, reading
from localsmith.pages.dataset import experiment_of, name_of
from localsmith.pages.retries import replaced
from localsmith.runs.filters import RUN, compile_filter
from localsmith.wire import ApiError

EXAMPLES = (
    'eq(status, "error")',
    'gt(latency, "5s")',
    'search("refund")',
    'and(eq(feedback_key, "correct"), lt(feedback_score, 1))',
)


def show_project(tenant: str, session_id: str) -> str:
    text = request.args.get("filter", "").strip()
    with reading() as (db, _):
        session = find(db, "sessions", session_id, "project")
        dataset_name = name_of(db, session["reference_dataset_id"])
        everything = "runs.session_id = ? AND runs.is_root = 1"
        where, args, problem = everything, [session["id"]], ""
        if text:
            try:
                condition, *values = compile_filter(text, RUN)
                where, args = f"{everything} AND ({condition})", [session["id"], *values]
            except ApiError as error:
                problem = error.message
        traces = "FROM runs LEFT JOIN run_bodies ON run_bodies.seq = runs.seq WHERE"
        total = db.execute(f"SELECT count(*) {traces if text else 'FROM runs WHERE'} {where}", args).fetchone()[0]
        page = page_of(total)
        rows = db.execute(
            f"SELECT runs.*, {bounded('inputs')}, {bounded('outputs')}, run_bodies.error {traces} {where}"
            " ORDER BY runs.start_time DESC, runs.id DESC LIMIT ? OFFSET ?",
            (*args, page.size, page.offset),
        ).fetchall()
        gone = replaced(db, "id", [row["id"] for row in rows])
    return render_template(
        "project.html",
        session=experiment_of(session),
        dataset_name=dataset_name,
        runs=[(row, _loads(row, "inputs"), _loads(row, "outputs")) for row in rows],
        replaced=gone,
        page=page,
        filter=text,
        problem=problem,
        filter_examples=EXAMPLES,
    )


def _loads(row: sqlite3.Row, column: str) -> Any:
    return json.loads(row[column]) if row[column] else None
