"""The feedback of production runs, copied to the runs of a baseline."""

from functools import partial
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import create_feedback
from langsmith_rest.evaluation.backtesting.traces import MARGIN, SOURCE, as_time
from langsmith_rest.evaluation.masking import Mask, masked
from langsmith_rest.evaluation.running.feedback import synchronise
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches


def copy_all_feedback(api: LangSmith, experiment_id: str, mask: Mask | None) -> int:
    """Give the runs of a baseline the feedback of the runs they were copied from; return how much changed."""
    session = rest.find_session(api, id=experiment_id)
    since = as_time(session or {}) - MARGIN
    runs = query_runs(api, experiment_id, ("ID", "TRACE_ID", "START_TIME", "METADATA"), since=since, page_size=1000)
    copies = ((run, (run.get("metadata") or {}).get(SOURCE)) for run in runs)
    changed = 0
    for some in in_batches((run, source) for run, source in copies if source):
        of_source = {source: run for run, source in some}
        originals = rest.list_feedback(api, list(of_source))
        made = [
            feedback_copy(item, of_source[item["run_id"]], experiment_id, mask)
            for item in originals
            if not item.get("comparative_experiment_id")
        ]
        known = rest.list_feedback(api, [run["id"] for run, _ in some])
        changed += synchronise(api, made, known, set(), partial(create_feedback, api)).total()
    return changed


def feedback_copy(item: dict, run: dict, experiment_id: str, mask: Mask | None) -> dict[str, Any]:
    """Feedback of a production run for its copy, under an id that evaluators of the same key do not use."""
    try:
        return masked_copy(item, run, experiment_id, mask)
    except ValueError as error:
        raise ValueError(f"Feedback {item['key']!r} of run {item['run_id']} cannot be copied: {error}") from error


def masked_copy(item: dict, run: dict, experiment_id: str, mask: Mask | None) -> dict[str, Any]:
    names = [name for name in (*bodies.MARKS, "correction", "error") if item.get(name) is not None]
    marks = {name: bodies.rounded(item[name]) for name in names}  # older local stores hold longer scores
    return {
        "id": bodies.uuid5(f"{run['id']}-{item['id']}"),
        "run_id": run["id"],
        "trace_id": run["trace_id"],
        "session_id": experiment_id,
        "start_time": run["start_time"],
        "key": masked(item["key"], mask)[:180] if mask else item["key"],
        **({name: masked(mark, mask) for name, mark in marks.items()} if mask else marks),
        "feedback_source": {"type": "api", "metadata": {"source_feedback_id": item["id"]}},
    }
