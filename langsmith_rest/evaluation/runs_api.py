"""Reading runs: from the v2 API where it is served, else from v1, always in the form of v2."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import PAGE
from langsmith_rest.recording.bodies import EPOCH, parse_time

RETRY_OF = "retry_of"  # in a run's metadata: the failed run that it replaces
# What a comparison needs of a run; scores come as `feedback_stats`. Add INPUTS and OUTPUTS to see what was said.
NUMBERS = (
    *("ID", "PROJECT_ID", "IS_ROOT", "STATUS", "ERROR", "LATENCY_SECONDS", "TOTAL_TOKENS", "TOTAL_COST"),
    *("FEEDBACK_STATS", "METADATA"),
)


def list_experiment_runs(
    api: LangSmith,
    dataset_id: str,
    session_ids: Sequence[str],
    selects: Sequence[str] = NUMBERS,
    *,
    with_replaced: bool = False,
) -> Iterator[dict]:
    """Yield each example that has runs in these experiments, with its root runs of all of them in `runs`, in v2 form.

    `selects` are fields of a run as v2 names them; a field may be absent, which means the same as null. If METADATA is
    among them, failed runs that were retried (`main.py evaluate --retry-errors`) are left out.
    """
    new: dict[str, Any] = {"experiment_ids": list(session_ids), "page_size": PAGE, "selects": list(selects)}
    preview = not {"INPUTS", "OUTPUTS"} & set(selects)
    old: dict[str, Any] = {"session_ids": list(session_ids), "limit": PAGE, "offset": 0, "preview": preview}
    while True:
        v2 = ("POST", f"/api/v2/datasets/{dataset_id}/experiment-runs", {"json": new})
        v1 = ("POST", f"/datasets/{dataset_id}/runs", {"json": old})
        page = connection.either(api, "experiment runs", v2=v2, v1=v1)
        is_new = isinstance(page, dict)
        examples = page["items"] if is_new else page
        for example in examples:
            runs = example.get("runs") or []
            example["runs"] = roots_of(runs if is_new else map(v2_run, runs), with_replaced)
            yield example
        following = page.get("next_cursor") if is_new else len(examples) == PAGE
        if not following or not examples:
            return
        new = {**new, "cursor": following}
        old = {**old, "offset": old["offset"] + PAGE}


def roots_of(runs: Iterable[dict], with_replaced: bool) -> list[dict]:
    """The root runs among these; without `with_replaced`, without those that another one replaces."""
    roots = [run for run in runs if is_root(run)]
    replaced = {metadata[RETRY_OF] for run in roots if (metadata := run.get("metadata")) and RETRY_OF in metadata}
    return [run for run in roots if run["id"] not in replaced] if replaced and not with_replaced else roots


def list_steps(api: LangSmith, session: dict, selects: Sequence[str]) -> Iterator[dict]:
    """Yield all runs below the root runs of an experiment, newest first, in the v2 form."""
    start = (parse_time(session["start_time"]) or EPOCH) - timedelta(minutes=5)
    runs = query_runs(api, session["id"], selects, since=start, page_size=1000, is_root=False)
    return (run for run in runs if not is_root(run))


def query_runs(
    api: LangSmith,
    project_id: str,
    selects: Sequence[str],
    *,
    since: datetime,
    until: datetime | None = None,
    page_size: int = PAGE,
    **conditions: Any,
) -> Iterator[dict]:
    """Yield the runs of a project that started since then, newest first, in the v2 form.

    `conditions` are `is_root`, `ids`, `filter`, `trace_filter`, ... as v2 names them. `until` saves time where v2 is
    served; v1 has no such bound, so more runs may come.
    """
    until = until or datetime.now(UTC) + timedelta(minutes=5)
    new = {"project_ids": [project_id], "page_size": page_size, "selects": list(selects), **conditions}
    if USAGE & set(selects):
        new["include_subtree_usage"] = (
            True  # as v1 and experiment runs count; otherwise only the run's own, which may be none
        )
    old = {"session": [project_id], "limit": PAGE, "start_time": since.isoformat()}
    old |= {"select": [V1_SELECTS.get(name, name.lower()) for name in selects if name not in V2_ONLY]}
    old |= {V1_CONDITIONS.get(name, name): value for name, value in conditions.items()}
    for first, last in reversed(list(connection.spans(since, until))):  # v2 looks back 24 h unless it is told
        bounds = {"min_start_time": first.isoformat(), "max_start_time": last.isoformat()}
        for run in rest.run_pages(api, {**new, **bounds}, old, lambda: take_turn(api)):
            yield v2_run(run) if "runs v2" in api.missing else run
        if "runs v2" in api.missing:  # v1 was asked for all of the time
            return


V1_SELECTS = {"METADATA": "extra", "PROJECT_ID": "session_id"}
V1_CONDITIONS = {"ids": "id", "trace_id": "trace"}
V2_ONLY = ("IS_ROOT", "LATENCY_SECONDS")
USAGE = {f"{side}_{what}" for side in ("PROMPT", "COMPLETION", "TOTAL") for what in ("TOKENS", "COST")}
QUERIES, QUERY_SECONDS = 15, 10.0  # LangSmith's limit: this many run queries in this time
queried: deque[float] = deque(maxlen=QUERIES)  # when the last ones were sent, by this process


def take_turn(api: LangSmith) -> None:
    """Wait until another run query is within LangSmith's rate limit; a server on this machine has none."""
    if connection.is_loopback(api.url):
        return
    if len(queried) == QUERIES:
        time.sleep(max(0.0, queried[0] + QUERY_SECONDS - time.monotonic()))
    queried.append(time.monotonic())


def is_root(run: dict) -> bool:
    return run.get("is_root") is not False and not run.get("parent_run_ids")


def has_failed(run: Mapping[str, Any]) -> bool:
    return str(run.get("status") or "").upper() == "ERROR" or bool(run.get("error"))


def v2_run(run: dict) -> dict:
    """A run of the v1 API in the form of v2; fields that v2 lacks are dropped, and fields that v1 lacks are absent."""
    found = {name: value for name, value in run.items() if name not in V1_ONLY and value is not None}
    for name, convert in CONVERSIONS.items():
        if name in found:
            found[name] = convert(found[name])
    for old, name in RENAMED.items():
        if run.get(old) is not None:
            found[name] = run[old]
    parents = run.get("parent_run_ids") or ([run["parent_run_id"]] if run.get("parent_run_id") else [])
    found |= {"is_root": not parents, "parent_run_ids": parents}
    if isinstance(metadata := (run.get("extra") or {}).get("metadata"), dict):
        found["metadata"] = metadata
    failures = Counter(item["key"] for item in run.get("feedbacks") or () if item.get("error"))
    for key, errors in failures.items():  # v1 has no count of them
        stats = found["feedback_stats"] = dict(found.get("feedback_stats") or {})
        stats[key] = {"n": 0, "avg": None, **(stats.get(key) or {}), "errors": errors}
    start, end = parse_time(run.get("start_time")), parse_time(run.get("end_time"))
    if start and end:
        found["latency_seconds"] = (end - start).total_seconds()
    return found


RENAMED = {"session_id": "project_id", "in_dataset": "is_in_dataset", "serialized": "manifest"}
V1_ONLY = {
    *RENAMED,
    *("parent_run_id", "child_run_ids", "direct_child_run_ids", "child_runs", "feedbacks"),
    *("execution_order", "manifest_id", "share_token", "s3_urls"),
}
CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("run_type", "status"), str.upper),
    **dict.fromkeys(("prompt_cost", "completion_cost", "total_cost"), float),
    **dict.fromkeys(
        [f"{side}_{what}_details" for side in ("prompt", "completion") for what in ("token", "cost")],
        lambda details: {"raw": details},
    ),
}
