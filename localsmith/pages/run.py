"""One run with its tree, and the list of a project's runs."""

import json
import sqlite3
from typing import Any

from flask import render_template, request

from localsmith.pages.attachments import attachments_of
from localsmith.pages.common import find, reading
from localsmith.pages.dataset import experiment_of, name_of
from localsmith.pages.feedback import feedback_of
from localsmith.pages.retries import replaced
from localsmith.pages.trace import steps_of
from localsmith.pages.walk import walk_of_run
from localsmith.runs.checks import uncounted
from localsmith.wire import micros


def show_run(tenant: str, session_id: str, run_id: str) -> str:
    with reading() as (db, kept):
        run = find(db, "runs", run_id, "run")
        session = find(db, "sessions", run["session_id"], "experiment or project")
        is_part = request.args.get("part") == "step"
        steps = None if is_part else steps_of(db, run["trace_id"])
        body = db.execute("SELECT * FROM run_bodies WHERE seq = ?", (run["seq"],)).fetchone()
        feedback = feedback_of(db, [run["id"]], pairwise=True).get(run["id"], [])
        root = run if run["is_root"] else db.execute("SELECT * FROM runs WHERE id = ?", (run["trace_id"],)).fetchone()
        example_id = root["reference_example_id"] if root else None
        example = _example(db, example_id)
        dataset_name = name_of(db, session["reference_dataset_id"])
        others = [other for other in _others(db, example_id, session["id"]) if other["id"] != run["trace_id"]]
        waiting = db.execute("SELECT count(*) FROM evaluator_jobs WHERE run_id = ?", (run["id"],)).fetchone()[0]
        walk = walk_of_run(db, kept, root, example, session["name"]) if root and not is_part else None
        attached = attachments_of(db, [run["id"]]).get(run["id"], [])
        gone = replaced(db, "id", [run["id"], *(other["id"] for other in others)])
    read = {key: _loads(body[key]) for key in ("inputs", "outputs", "extra", "tags", "rest")} if body else {}
    return render_template(
        "run_step.html" if is_part else "run.html",
        run=run,
        uncounted=uncounted(read) if run["run_type"] == "llm" else [],
        original=original_start(read.get("extra")),
        session=experiment_of(session),
        dataset_name=dataset_name,
        trace=steps,
        walk=walk,
        reference=_loads(example["outputs"]) if example else None,
        body=read,
        error=body["error"] if body else None,
        feedback=feedback,
        example=example,
        example_id=example_id,
        others=others,
        attached=attached,
        replaced=gone,
        waiting=waiting,
    )


def original_start(extra: Any) -> int | None:
    """When a run that was moved into LangSmith's time window really began, in microseconds since 1970."""
    metadata = extra.get("metadata") if isinstance(extra, dict) else None
    text = metadata.get("original_start_time") if isinstance(metadata, dict) else None
    try:
        return micros(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def _loads(text: str | None) -> Any:
    return json.loads(text) if text else None


def _example(db: sqlite3.Connection, example_id: str | None) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT id, dataset_id, position, outputs FROM examples WHERE id = ? ORDER BY version DESC LIMIT 1",
        (example_id,),
    ).fetchone()
    return row


def _others(db: sqlite3.Connection, example_id: str | None, session_id: str) -> list[sqlite3.Row]:
    """Runs of the same example in other experiments, and its repetitions in this one."""
    if example_id is None:
        return []
    return db.execute(
        "SELECT r.id, r.session_id, r.status, r.latency, s.name, s.test_run_number AS number FROM runs r"
        " JOIN sessions s ON s.id = r.session_id WHERE r.reference_example_id = ? AND r.is_root = 1"
        " ORDER BY r.session_id = ? DESC, s.created_at DESC, r.seq LIMIT 30",
        (example_id, session_id),
    ).fetchall()
