"""Running the model judges that a local store holds: over HTTP, in a process of its own."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import create_feedback, delete_feedback
from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.calling import RUN_FAILED, failure
from langsmith_rest.evaluation.evaluators.llm import feedback
from langsmith_rest.evaluation.evaluators.model_server import JudgeError, ModelServer, default_model
from langsmith_rest.evaluation.evaluators.returns import Item, feedback_items
from langsmith_rest.evaluation.hosting.stored_judge import StoredJudge, stored_judge
from langsmith_rest.evaluation.hosting.upload import kind_of, list_rules
from langsmith_rest.evaluation.running.feedback import feedback_bodies
from langsmith_rest.evaluation.running.reading import as_run
from langsmith_rest.evaluation.runs_api import has_failed, query_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.wording import Say, counted

POLL_SECONDS, OUTAGE_SECONDS = 1.0, 30.0
SELECTS = (
    *("ID", "PROJECT_ID", "TRACE_ID", "START_TIME", "STATUS", "ERROR", "INPUTS", "OUTPUTS"),
    *("REFERENCE_EXAMPLE_ID", "IS_ROOT", "PARENT_RUN_IDS"),
)


@dataclass(frozen=True)
class Job:
    """A run that a judge has to score, and its earlier feedback on it."""

    judge: StoredJudge
    run: dict[str, Any]
    reference: Any
    earlier: list[str]  # ids of feedback


@dataclass
class Outcome:
    """What became of the runs, by the judge's name; `stopped` says why others were left."""

    scored: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)  # failed runs, which have no answer to score
    reasons: dict[str, str] = field(default_factory=dict)  # why a judge failed first
    stopped: JudgeError | None = None

    def in_words(self, name: str | None = None) -> str:
        """How many runs were scored, failed, or had nothing to score: of one judge, or of all."""
        scored, failed, unscored = (
            counts.total() if name is None else counts[name] for counts in (self.scored, self.failed, self.unscored)
        )
        parts = [f"{counted(scored, 'run')} scored"]
        parts += [f"{failed:,} failed, with the reason in the feedback"] if failed else []
        parts += [f"{counted(unscored, 'failed run')} not scored"] if unscored else []
        return ", ".join(parts)


@dataclass
class JudgeWorker:
    """Scores what stored judges have still to score.

    What waits is in the store, and goes when its feedback arrives there, under ids that follow from rule, run and key.
    So a worker can end at any time, and several at once give no score twice.
    """

    api: LangSmith
    server: ModelServer
    say: Say
    model: str | None = None  # instead of the one that the rule names
    max_concurrency: int = 4
    outcome: Outcome = field(default_factory=Outcome)
    left_out: set[str] = field(default_factory=set)  # rules that cannot be run here
    gone: set[str] = field(default_factory=set)  # runs

    def work(self, *, once: bool) -> Outcome:
        """Score what waits; then end, or wait for more until interrupted, or until nobody can be asked any longer."""
        told = Outcome().in_words()
        while True:
            jobs = self.next_jobs()
            trouble = self.score(jobs) if jobs else None
            if trouble and (once or trouble.cause in ("settings", "limit")):
                self.outcome.stopped = trouble
                return self.outcome
            if trouble:
                self.say(f"{trouble}. Trying again in {OUTAGE_SECONDS:.0f} s.")
                time.sleep(OUTAGE_SECONDS)
                self.server.given_up = None
            elif not jobs and once:
                return self.outcome
            elif not jobs:
                if (words := self.outcome.in_words()) != told:
                    told = words
                    self.say(f"{words}; {self.server.spent}. Waiting for more.")
                time.sleep(POLL_SECONDS)

    # ---------------------------------------------------------------- what is to be done

    def next_jobs(self) -> list[Job]:
        """Some of what waits, in random order, so that several workers do not begin with the same."""
        waiting = [(stored, run) for stored, runs in self.judges() for run in runs if run["run_id"] not in self.gone]
        random.shuffle(waiting)
        by_session: dict[tuple[str, str], tuple[StoredJudge, list[dict]]] = {}
        for stored, run in waiting[: 4 * self.max_concurrency]:
            by_session.setdefault((stored.rule_id, run["session_id"]), (stored, []))[1].append(run)
        return [job for stored, runs in by_session.values() for job in self.jobs_of(stored, runs)]

    def judges(self) -> Iterator[tuple[StoredJudge, list[dict]]]:
        for rule in list_rules(self.api, include_backfill_progress="true"):
            if kind_of(rule) != "judge" or not rule.get("waiting_runs") or rule["id"] in self.left_out:
                continue
            try:
                yield stored_judge(rule), rule["waiting_runs"]
            except ValueError as error:
                self.left_out.add(rule["id"])
                self.say(f"The judge {rule['display_name']!r} is left out: {error}.")

    def jobs_of(self, stored: StoredJudge, waiting: Sequence[dict]) -> Iterator[Job]:
        """What a judge needs to know of runs of one experiment or project."""
        ids = [run["run_id"] for run in waiting]
        since = min(parse_time(run["start_time"]) or EPOCH for run in waiting) - timedelta(minutes=5)
        runs = list(query_runs(self.api, waiting[0]["session_id"], SELECTS, since=since, ids=ids))
        self.gone |= {*ids} - {run["id"] for run in runs}
        references: dict[str, Any] = {}
        if stored.dataset_id:
            examples = [run["reference_example_id"] for run in runs if run.get("reference_example_id")]
            found = rest.list_examples(self.api, stored.dataset_id, examples) if examples else []
            references = {example["id"]: example.get("outputs") for example in found}
        earlier: dict[str, list[str]] = {}
        for item in rest.list_feedback(self.api, ids):
            if rule_of(item) == stored.rule_id:
                earlier.setdefault(item["run_id"], []).append(item["id"])
        for run in runs:
            reference = references.get(run.get("reference_example_id") or "")
            yield Job(stored, run, reference, earlier.get(run["id"], []))

    # ---------------------------------------------------------------- doing it

    def score(self, jobs: Sequence[Job]) -> JudgeError | None:
        """Ask about runs, several at a time, and record each verdict; returns why some got none, and wait on."""
        trouble: JudgeError | None = None
        pool = ThreadPoolExecutor(self.max_concurrency)
        try:
            futures = {pool.submit(self.ask, job): job for job in jobs}
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                try:
                    self.record(futures[future], future.result())
                except JudgeError as error:
                    trouble = error
                    if error.cause == "settings":
                        pool.shutdown(wait=False, cancel_futures=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return trouble

    def ask(self, job: Job) -> list[Item]:
        """The judge's feedback on a run; raises JudgeError if the server, not the question, is the problem."""
        stored, run = job.judge, job.run
        if has_failed(run):
            return [{"key": stored.name, "comment": RUN_FAILED}]
        values = {"input": run.get("inputs"), "output": run.get("outputs"), "referenceOutput": job.reference}
        try:
            verdict = judge.ask(
                self.server, stored.messages(values), stored.schema, self.model or stored.model or default_model()
            )
            return list(feedback_items(feedback(verdict, stored.name), stored.name))
        except JudgeError as error:
            if error.cause != "question":
                raise
            return [failure(stored.name, error)]
        except ValueError as error:
            return [failure(stored.name, error)]

    def still_waits(self, job: Job) -> bool:
        """Whether the run waits for the judge as it was asked: it may be another by now, or another worker quicker."""
        waiting = (run["run_id"] for stored, runs in self.judges() if stored == job.judge for run in runs)
        return job.run["id"] in waiting

    def record(self, job: Job, items: list[Item]) -> None:
        """Replace the rule's earlier feedback with a verdict, if the run still waits for it."""
        if not self.still_waits(job):
            return
        stored, run = job.judge, job.run
        for feedback_id in job.earlier:
            try:
                delete_feedback(self.api, feedback_id)
            except requests.HTTPError as error:
                if error.response.status_code != 404:  # another worker was quicker
                    raise
        source = {"type": "auto_eval", "metadata": {"rule_id": stored.rule_id, "rule_name": stored.name}}
        made = [
            {**body, "id": bodies.uuid5(f"{stored.rule_id}-{run['id']}-{body['key']}-{n}"), "feedback_source": source}
            for n, body in enumerate(feedback_bodies(as_run(run, run["project_id"]), items))
        ]
        create_feedback(self.api, made)
        errors = [item for item in items if item.get("error")]
        counts = self.outcome.failed if errors else self.outcome.unscored if has_failed(run) else self.outcome.scored
        counts[stored.name] += 1
        if errors:
            self.outcome.reasons.setdefault(stored.name, str(errors[0].get("comment")))


def rule_of(item: Mapping[str, Any]) -> Any:
    """The rule that gave feedback; None where none did."""
    source = item.get("feedback_source") or {}
    return (source.get("metadata") or {}).get("rule_id") if source.get("type") == "auto_eval" else None
