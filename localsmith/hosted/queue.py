"""Which runs each rule has yet to score: a queue in the store, so that it survives the server.

The server runs rules that are code. Model judges run in their own process, which reads over HTTP from here what to
score; a run leaves the queue when its feedback arrives.
"""

import json
import logging
import sqlite3
import uuid
from typing import Any

from localsmith.lists import Where
from localsmith.runs.query import FROM, add_filters
from localsmith.wire import ApiError, dumps, iso

log = logging.getLogger("localsmith")

RULES = """
    SELECT rules.*, evaluators.body AS evaluator FROM rules LEFT JOIN evaluators ON evaluators.id = rules.evaluator_id
"""


def code_of(rule: sqlite3.Row) -> list[dict[str, Any]]:
    """The code of a row of RULES: its own, or that of the reusable evaluator it uses; empty for model judges."""
    code = json.loads(rule["body"]).get("code_evaluators")
    if code or rule["evaluator"] is None:
        return code or []
    shared = json.loads(rule["evaluator"]).get("code_evaluator")
    return [shared] if shared else []


# Rules that the server itself runs: those that are code.
WITH_CODE = """
    SELECT rules.id FROM rules LEFT JOIN evaluators ON evaluators.id = rules.evaluator_id
    WHERE json_array_length(rules.body, '$.code_evaluators') > 0 OR evaluators.type = 'code'
"""


def judges_of(rule: sqlite3.Row) -> list[dict[str, Any]]:
    """The model judges of a rule that contain their prompt; a prompt in LangSmith's hub is not available here."""
    judges = [item["structured"] for item in json.loads(rule["body"]).get("evaluators") or []]
    return [judge for judge in judges if judge.get("prompt") and judge.get("schema")]


def waiting_runs(db: sqlite3.Connection, rule_id: str, most: int = 100) -> list[dict[str, Any]]:
    """What a rule has yet to score, the oldest first."""
    rows = db.execute(
        "SELECT j.run_id, j.session_id, r.start_time FROM evaluator_jobs j JOIN runs r ON r.id = j.run_id"
        " WHERE j.rule_id = ? ORDER BY j.queued_at, j.run_id LIMIT ?",
        (rule_id, most),
    )
    return [{**dict(row), "start_time": iso(row["start_time"])} for row in rows]


def queue_new_runs(db: sqlite3.Connection, run_ids: list[str], now: int) -> None:
    """Queue those of these runs that are complete and belong to the dataset or project of a rule."""
    for rule in db.execute(f"{RULES} WHERE rules.is_enabled = 1").fetchall():
        where = Where()
        where.among("runs.id", run_ids)
        if rule["dataset_id"]:
            where.add("sessions.reference_dataset_id = ?", rule["dataset_id"])
        else:
            where.add("runs.session_id = ?", rule["session_id"])
        try:
            add_filters(where, json.loads(rule["body"]))
            if code_of(rule) or judges_of(rule):
                _queue(db, rule, where, now, rule["sampling_rate"])
        except ApiError as error:  # recording goes on whatever is wrong with a rule
            log.warning("the rule %r was not applied: %s", rule["display_name"], error.message)


def queue_experiment(db: sqlite3.Connection, rule_id: str, session_id: str, now: int) -> int:
    """Queue all runs of an experiment for one rule; return how many wait now."""
    rule = db.execute(f"{RULES} WHERE rules.id = ?", (rule_id,)).fetchone()
    if not code_of(rule) and not judges_of(rule):
        raise ApiError(501, "This rule has neither code nor a prompt with a schema, so nothing here can run it")
    where = Where()
    where.add("runs.session_id = ?", session_id)
    return _queue(db, rule, where, now, 1.0)


def _queue(db: sqlite3.Connection, rule: sqlite3.Row, where: Where, now: int, rate: float) -> int:
    where.add("runs.is_root = 1")
    where.add("runs.status <> 'pending'")
    if rule["dataset_id"]:
        where.add("runs.reference_example_id IS NOT NULL")
    runs = db.execute(f"SELECT runs.id, runs.session_id {FROM} {where}", where.params).fetchall()
    picked = [run for run in runs if is_sampled(rule["id"], run["id"], rate)]
    jobs = [(rule["id"], run["id"], run["session_id"], now) for run in picked]
    columns = "rule_id, run_id, session_id, queued_at"
    db.executemany(f"INSERT OR IGNORE INTO evaluator_jobs ({columns}) VALUES (?, ?, ?, ?)", jobs)
    return len(jobs)


def is_sampled(rule_id: str, run_id: str, rate: float) -> bool:
    """Whether a rule with this rate scores the run: random, but always the same for the same rule and run."""
    return uuid.uuid5(uuid.UUID(rule_id), run_id).int < rate * 2**128


def waiting(db: sqlite3.Connection, session_ids: list[str]) -> dict[str, int]:
    """How many scores are still waiting, by experiment or project."""
    rows = db.execute(
        "SELECT session_id, count(*) AS n FROM evaluator_jobs WHERE session_id IN (SELECT value FROM json_each(?))"
        " GROUP BY session_id",
        (dumps(session_ids),),
    )
    return {row["session_id"]: row["n"] for row in rows}
