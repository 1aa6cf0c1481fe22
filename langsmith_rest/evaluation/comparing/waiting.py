"""Wait for judges that run by themselves: LangSmith's, or those of the local store."""

import time
from collections.abc import Callable, Sequence

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.comparing.compare import find_sessions
from langsmith_rest.evaluation.runs_api import NUMBERS, has_failed, list_experiment_runs

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # seconds between two looks


def wait_for_scores(
    api: LangSmith,
    experiments: Sequence[str],
    key: str,
    *,
    seconds: float,
    dataset: str | None = None,
    on_progress: Callable[[int, int], None] = lambda scored, due: None,
) -> int:
    """Wait until every run that did not fail has `key`, or the time is up; return how many runs still lack it."""
    found, sessions = find_sessions(api, experiments, dataset)
    until, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        scored, due = count_scored(api, found["id"], [session["id"] for session in sessions], key)
        on_progress(scored, due)
        left = until - time.monotonic()
        if scored == due or left <= 0:
            return due - scored
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def count_scored(api: LangSmith, dataset_id: str, session_ids: Sequence[str], key: str) -> tuple[int, int]:
    """How many runs have feedback of this key, a failed evaluator's included, and how many should have."""
    scored = due = 0
    for example in list_experiment_runs(api, dataset_id, session_ids, NUMBERS):
        for run in example["runs"]:
            if not has_failed(run):
                due += 1
                scored += key in (run.get("feedback_stats") or {})
    return scored, due
