"""What an experiment already has, and which runs and scores it still lacks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import list_session_feedback
from langsmith_rest.evaluation.evaluators.calling import Said
from langsmith_rest.evaluation.evaluators.signatures import Evaluator
from langsmith_rest.evaluation.running.evaluation import Evaluation
from langsmith_rest.evaluation.running.reading import by_start
from langsmith_rest.evaluation.runs_api import has_failed, list_experiment_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.sending import refuse_taken

RESUME_SELECTS = (*("ID", "STATUS", "ERROR", "METADATA", "START_TIME", "IS_ROOT", "PARENT_RUN_IDS", "PROJECT_ID"),)


Missing = tuple[dict, str | None]  # an example to run, and the failed run that the new one replaces


@dataclass
class Plan:
    """The missing runs, and the ids of runs that lack scores."""

    missing: list[Missing] = field(default_factory=list)
    unscored: set[str] = field(default_factory=set)


def plan_runs(
    api: LangSmith,
    found: Evaluation,
    session: dict | None,
    examples: list[dict],
    num_repetitions: int,
    retry_errors: bool,
    evaluators: Sequence[Evaluator],
) -> Plan:
    """Look at what the experiment has: every example should have `num_repetitions` runs, failed ones counting or not.

    Runs that lack feedback of these evaluators are scored again; with `retry_errors`, also those on which one failed.
    """
    names = {evaluator.key for evaluator in evaluators}
    runs, feedback = known_runs(api, found, session)
    plan = Plan()
    replaced: dict[str, list[str]] = {}
    lacking: Counter[str] = Counter()
    for example in examples:
        there = runs.get(example["id"], [])
        failed = [run["id"] for run in there if retry_errors and has_failed(run)]
        kept = [run for run in there if run["id"] not in failed]
        replaced[example["id"]], lacking[example["id"]] = failed, num_repetitions - len(kept)
        found.existing += len(kept)
        found.errors += sum(map(has_failed, kept))  # errors and sums are those of the whole experiment
        for run in kept:
            items = feedback.get(run["id"], [])
            failing = retry_errors and any(item.get("error") and item["key"] in names for item in items)
            if failing or lacks_scores(run, {item["key"] for item in items}, names):
                plan.unscored.add(run["id"])
                continue
            for item in items:
                found.scores.add(item, of_others=item["key"] not in names)
    for repetition in range(num_repetitions):
        for example in examples:
            if repetition < lacking[example["id"]]:
                failed = replaced[example["id"]]
                plan.missing.append((example, failed.pop(0) if failed else None))
    found.planned = len(plan.missing)
    return plan


EVALUATED = "evaluated"  # in a run's metadata: the evaluators that saw it, and the keys that each returned


def evaluated(said: Said) -> dict[str, Any]:
    """What a run's metadata says about its evaluators: resuming does not call one again that returned nothing."""
    keys = {name: sorted({item["key"] for item in bodies.feedback_of({"feedback": items})}) for name, items in said}
    return {EVALUATED: keys} if keys else {}


def lacks_scores(run: Mapping[str, Any], keys: set[str], names: set[str]) -> bool:
    """Whether a run lost feedback, or was never shown to some of the evaluators with these names."""
    known: dict[str, list[str]] = (run.get("metadata") or {}).get(EVALUATED) or {}
    if any(not keys.issuperset(known[name]) for name in names & known.keys()):
        return True
    others = names - known.keys()  # scored later, or by an older version: only their feedback is known
    return len(keys - {key for some in known.values() for key in some}) < len(others)


def find_own(api: LangSmith, found: Evaluation) -> dict | None:
    """The experiment with this name, if it exists; its id may not be the one that we would give it."""
    session = rest.find_session(api, name=found.experiment_name)
    if not session:
        return None
    refuse_taken(api, session, found.dataset_id)
    found.experiment_id = session["id"]
    found.url = rest.experiment_url(api, {"id": found.dataset_id, "tenant_id": session["tenant_id"]}, session["id"])
    return session


def facts_of(session: dict | None) -> dict[str, Any]:
    """The metadata that an experiment was started with."""
    return ((session or {}).get("extra") or {}).get("metadata") or {}


def known_runs(
    api: LangSmith, found: Evaluation, session: dict | None
) -> tuple[dict[str, list[dict]], dict[str, list[dict]]]:
    """The runs of an experiment by example, and their feedback by run."""
    runs: dict[str, list[dict]] = {}
    feedback: dict[str, list[dict]] = {}
    if not session:
        return runs, feedback
    for example in list_experiment_runs(api, found.dataset_id, [session["id"]], RESUME_SELECTS):
        runs[example["id"]] = by_start(example["runs"])
    for item in list_session_feedback(api, session["id"], level="run"):
        if not item.get("comparative_experiment_id"):
            feedback.setdefault(item["run_id"], []).append(item)
    return runs, feedback


def count_doubled(api: LangSmith, found: Evaluation, examples: list[dict], wanted: int) -> int:
    """How many examples have more runs than `wanted`, as when two processes run the same at once."""
    ids = {example["id"] for example in examples}
    runs = list_experiment_runs(api, found.dataset_id, [found.experiment_id], RESUME_SELECTS)
    return sum(example["id"] in ids and len(example["runs"]) > wanted for example in runs)
