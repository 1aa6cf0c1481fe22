"""Running what is queued: a thread that gives runs to evaluators, each in a sandbox, and stores what they return."""

import logging
import math
import os
import sqlite3
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from localsmith.hosted import sandbox
from localsmith.hosted.queue import RULES, WITH_CODE, code_of
from localsmith.routes import example_reads
from localsmith.routes.feedback import MAX_KEY, NAMESPACE, check_feedback, insert_feedback
from localsmith.runs.query import SELECT
from localsmith.runs.reading import V1, StoredRun
from localsmith.store import Store
from localsmith.wire import ApiError, Switches, loads_or_none

log = logging.getLogger("localsmith")

POLL_SECONDS = 0.5  # other processes queue runs, too
WORKERS = min(2 * (os.cpu_count() or 1), 8)  # waiting for a process to end is half of the time
ATTEMPTS = 3  # a run is given up after its evaluation ended the server this often
BATCH = 4 * WORKERS  # evaluations whose scores are stored at once
GIVEN = sorted(V1.keys() - {"s3_urls", "child_run_ids", "direct_child_run_ids", "in_dataset", "feedback_stats"})
ACCEPTED = '{"score": number, "comment": text} or {"metric": number}'


@dataclass(frozen=True)
class Job:
    """One run and the rule that scores it, as they were when the job was taken."""

    rule_id: str
    rule_name: str
    rule_changed: int
    run_id: str
    session_id: str
    trace_id: str
    attempts: int
    code: list[dict[str, Any]]
    arguments: list[Any]


class EvaluatorRunner:
    """Works through the queue until closed; an unfinished item stays queued."""

    def __init__(self, store: Store, switches: Switches) -> None:
        self.store, self.switches = store, switches
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="localsmith: evaluators", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            while not self._stop.is_set():
                try:
                    jobs = take_jobs(self.store)
                    found = list(pool.map(self._evaluate, jobs))
                    if jobs:
                        with self.store.write() as db:
                            for job, feedback in zip(jobs, found, strict=True):
                                if feedback is not None:
                                    finish(db, job, feedback, self.switches.now())
                            leave(db, jobs)
                except Exception:  # a full disk: not the code's fault, so it stays queued
                    log.warning("evaluators wait, and are tried again", exc_info=True)
                    found = []
                if not any(found):
                    self._stop.wait(POLL_SECONDS)

    def _evaluate(self, job: Job) -> list[dict[str, Any]] | None:
        """All feedback of a job; None when it has to be tried again."""
        found: list[dict[str, Any]] = []
        if job.attempts > ATTEMPTS:
            reason = (
                f"It was started {ATTEMPTS} times, but the server stopped or failed each time: it is not tried again."
            )
            return feedback_of(job, {"error": reason})
        for code in job.code:
            if code.get("language") == "javascript":
                outcome: dict[str, Any] | None = {"error": "This server runs evaluators in Python only."}
            else:
                try:
                    outcome = sandbox.evaluate(code["code"], job.arguments, stop=self._stop)
                except OSError:  # no memory for a process: not the code's fault
                    log.warning("evaluators wait, and are tried again", exc_info=True)
                    outcome = None
            if outcome is None:
                return None
            found += feedback_of(job, outcome)
        return found


def take_jobs(store: Store) -> list[Job]:
    """The oldest jobs with everything they need, each counted as started. They stay queued until they are finished.

    A job that an earlier server started comes alone, because it may be what ended that server.
    """
    ours = f"FROM evaluator_jobs WHERE rule_id IN ({WITH_CODE})"
    oldest = f"SELECT * {ours} AND attempts {{}} ORDER BY attempts, queued_at, run_id LIMIT ?"
    with store.read() as db:  # which waits for nobody, unlike writing
        if not db.execute(f"SELECT 1 {ours} LIMIT 1").fetchone():
            return []
    with store.write() as db:
        rows = db.execute(oldest.format("= 0"), (BATCH,)).fetchall()
        rows = rows or db.execute(oldest.format("> 0"), (1,)).fetchall()
        begun = [(row["rule_id"], row["run_id"]) for row in rows]
        db.executemany("UPDATE evaluator_jobs SET attempts = attempts + 1 WHERE rule_id = ? AND run_id = ?", begun)
        return [_job(db, row) for row in rows]


def leave(db: sqlite3.Connection, jobs: list[Job]) -> None:
    """The jobs that are still queued did not end the server."""
    left = [(job.rule_id, job.run_id) for job in jobs]
    db.executemany("UPDATE evaluator_jobs SET attempts = 0 WHERE rule_id = ? AND run_id = ?", left)


def _job(db: sqlite3.Connection, row: sqlite3.Row) -> Job:
    rule = db.execute(f"{RULES} WHERE rules.id = ?", (row["rule_id"],)).fetchone()
    run = db.execute(f"{SELECT} WHERE runs.id = ?", (row["run_id"],)).fetchone()
    stored = StoredRun(run, {})
    arguments: list[Any] = [{name: V1[name](stored) for name in GIVEN}]
    if rule["dataset_id"]:
        newest = f"{example_reads.SELECT} WHERE examples.id = ? ORDER BY version DESC LIMIT 1"
        example = db.execute(newest, (run["reference_example_id"],)).fetchone()
        arguments.append(example_reads.example_json(example, read=loads_or_none) if example else None)
    return Job(
        rule["id"], rule["display_name"], rule["updated_at"], run["id"], run["session_id"], run["trace_id"],
        row["attempts"] + 1, code_of(rule), arguments,
    )  # fmt: skip


def feedback_of(job: Job, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """What an evaluator returned, checked and ready to store; a failure has `error` and the reason."""
    reason = outcome.get("error")
    if reason is None:
        try:
            return [_checked(job, mark) for mark in marks_of(outcome["returned"])]
        except ApiError as error:
            reason = f"It returned {str(outcome['returned'])[:500]}: {error.message}"
    return [_checked(job, {"error": True, "comment": reason})]


def marks_of(returned: Any) -> list[dict[str, Any]]:
    """`{"score", "comment"}` as one mark, `{"metric": score, ..., "comment"}` as one for each metric."""
    if not isinstance(returned, dict) or not returned:
        raise ApiError(422, f"expected {ACCEPTED}")
    if "score" in returned or "value" in returned:
        return [{name: returned.get(name) for name in ("key", "score", "value", "comment")}]
    metrics = {key: mark for key, mark in returned.items() if key != "comment"}
    if not metrics:
        raise ApiError(422, f"a comment without a score, expected {ACCEPTED}")
    return [
        {"key": key, "value" if isinstance(mark, str) else "score": mark, "comment": returned.get("comment")}
        for key, mark in metrics.items()
    ]


def _checked(job: Job, mark: dict[str, Any]) -> dict[str, Any]:
    key = mark.get("key") or job.rule_name[:MAX_KEY]
    if isinstance(mark.get("score"), float) and math.isfinite(mark["score"]):
        mark = {**mark, "score": round(mark["score"], 4)}  # what LangSmith stores
    body = {
        **{name: value for name, value in mark.items() if value is not None},
        "key": key,
        "run_id": job.run_id,
        "session_id": job.session_id,
        "trace_id": job.trace_id,
        "feedback_source": {"type": "auto_eval", "metadata": {"rule_id": job.rule_id, "rule_name": job.rule_name}},
    }
    item = check_feedback(body, ["returned"])
    # One key is one score: the same evaluation, repeated by any server, finds it.
    return {**item, "id": str(uuid.uuid5(NAMESPACE, f"{job.rule_id}-{job.run_id}-{key}"))}


def finish(db: sqlite3.Connection, job: Job, feedback: list[dict[str, Any]], now: int) -> None:
    """Remove a job from the queue and store its scores in place of those that the rule gave before.

    A job that another server finished, or whose rule was deleted or changed since, changes nothing.
    """
    ours = "rule_id = ? AND run_id = ? AND EXISTS (SELECT 1 FROM rules WHERE id = rule_id AND updated_at = ?)"
    if not db.execute(f"DELETE FROM evaluator_jobs WHERE {ours}", (job.rule_id, job.run_id, job.rule_changed)).rowcount:
        return
    db.execute(
        "DELETE FROM feedback WHERE run_id = ? AND source_type = 'auto_eval'"
        " AND json_extract(received, '$.feedback_source.metadata.rule_id') = ?",
        (job.run_id, job.rule_id),
    )
    insert_feedback(db, feedback, now)
