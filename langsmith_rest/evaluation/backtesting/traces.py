"""Production runs with their steps, as (parts of) results."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.backtesting.choosing import Chosen
from langsmith_rest.evaluation.masking import Mask, masked
from langsmith_rest.evaluation.runs_api import has_failed, is_root, query_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import EPOCH, parse_time

SOURCE = "source_run_id"  # in the metadata of a baseline's run: the production run it was copied from
MARGIN = timedelta(minutes=5)  # clocks differ, and some servers keep milliseconds only
USAGE = {
    **{"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "total_tokens": "total_tokens"},
    **{"input_cost": "prompt_cost", "output_cost": "completion_cost", "total_cost": "total_cost"},
}
SELECTS = (
    *("ID", "TRACE_ID", "PARENT_RUN_IDS", "IS_ROOT", "DOTTED_ORDER", "NAME", "RUN_TYPE", "STATUS", "ERROR", "TAGS"),
    *("START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "METADATA", *(name.upper() for name in USAGE.values())),
)
Steps = dict[str, list[dict]]  # by the id of the run that they are directly below


def read_traces(
    api: LangSmith, project_id: str, some: Sequence[Chosen], with_steps: bool
) -> dict[str, tuple[dict, Steps]]:
    """Read root runs, by their ids, and their steps if asked for."""
    ids = [one.id for one in some]
    until = max(one.end for one in some) + AFTERWARDS if with_steps else some[-1].start + MARGIN
    each = [f'eq(id, "{i}")' for i in ids]
    any_of = f"or({', '.join(each)})" if len(ids) > 1 else each[0]
    wanted: dict[str, Any] = {"trace_filter": any_of} if with_steps else {"ids": ids}
    found = list(query_runs(api, project_id, SELECTS, since=some[0].start - MARGIN, until=until, **wanted))
    known = {run["id"] for run in found}
    steps: dict[str, Steps] = {run["id"]: defaultdict(list) for run in found if is_root(run)}
    for run in found:
        if not is_root(run) and run["trace_id"] in steps:
            parent = run["parent_run_ids"][-1]
            steps[run["trace_id"]][parent if parent in known else run["trace_id"]].append(run)
    return {run["id"]: (run, steps[run["id"]]) for run in found if run["id"] in steps}


def as_time(run: dict, name: str = "start_time") -> datetime:
    return parse_time(run.get(name)) or EPOCH


AFTERWARDS = timedelta(hours=1)  # steps may begin after their root has ended


def copy_of(run: dict, steps: Steps, shift: timedelta, not_before: datetime, mask: Mask | None) -> dict[str, Any]:
    """A run as (part of) a result: masked, moved by `shift`, with its id and its original times in the metadata."""
    start = max(as_time(run), not_before)  # clocks differ; a step that begins before its parent would be refused
    end = max(as_time(run, "end_time"), start)
    said: dict[str, Any] = {
        "name": run.get("name") or None,
        "inputs": run.get("inputs") or {},
        "outputs": run.get("outputs"),
        "error": run.get("error") or ("failed without a message" if has_failed(run) else None),
        "tags": run.get("tags") or None,
        "metadata": run.get("metadata") or {},
    }
    if mask:
        said = {name: masked(value, mask) for name, value in said.items()}
    if said["outputs"] is None and not said["error"]:
        said["outputs"] = {}
    said["name"] = said["name"] and said["name"][:128]
    moved = {"original_start_time": run["start_time"], "original_end_time": run.get("end_time")} if shift else {}
    below = sorted(steps.get(run["id"], ()), key=lambda step: (as_time(step), step["dotted_order"]))
    children = [copy_of(step, steps, shift, start, mask) for step in below]
    run_type = str(run.get("run_type") or "chain").lower()
    usage = {} if children else usage_of(run, said)
    return {
        **said,
        "metadata": {**said["metadata"], **usage, SOURCE: run["id"], **moved},
        "run_type": run_type,
        "start_time": bodies.timestamp(start + shift),
        "end_time": bodies.timestamp(end + shift),
        "child_runs": children or None,
    }


def usage_of(run: dict, said: dict[str, Any]) -> dict[str, Any]:
    """Tokens and cost for the metadata: what the run says itself, else what the server computed."""
    own = said["metadata"].get("usage_metadata") or (said["outputs"] or {}).get("usage_metadata")
    known = {name: run[field] for name, field in USAGE.items() if run.get(field)}
    usage = {**known, **(own if isinstance(own, dict) else {})}
    return {"usage_metadata": usage} if usage else {}
