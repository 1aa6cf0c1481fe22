"""The HTTP calls beyond recording, one function each; runs come out in the v2 form, whichever API served them."""

import difflib
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.recording.bodies import EPOCH, parse_time

PAGE = 100  # the most that a list endpoint gives at once
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
RETRY_OF = "retry_of"  # in a run's metadata: the failed run that it takes the place of
# What a comparison needs of a run; scores come as `feedback_stats`. Add INPUTS and OUTPUTS to see what was said.
NUMBERS = (
    *("ID", "PROJECT_ID", "IS_ROOT", "PARENT_RUN_IDS", "STATUS", "ERROR", "START_TIME", "LATENCY_SECONDS"),
    *("TOTAL_TOKENS", "TOTAL_COST", "FEEDBACK_STATS", "METADATA"),
)


# ---------------------------------------------------------------- datasets and examples


def read_dataset(api: LangSmith, dataset_id: str) -> dict:
    """The dataset of that id; raises LookupError when there is none."""
    try:
        return connection.call(api, "GET", f"/datasets/{dataset_id}")
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
        raise LookupError(f"No dataset has the id {dataset_id}.") from None


def find_dataset(api: LangSmith, name: str) -> dict:
    """The dataset of that name; raises LookupError with near names when there is none."""
    if found := rest.find_dataset(api, name):
        return found
    known = [dataset["name"] for _, dataset in zip(range(1000), pages(api, "/datasets", {}), strict=False)]
    raise LookupError(f"No dataset {name!r}{offer(name, known) or ': there are none yet.'}")


def list_examples(api: LangSmith, dataset_id: str, **query: Any) -> Iterator[dict]:
    """Yield every example of a dataset; `splits`, `as_of`, `order`, `select` and alike narrow or change what comes."""
    return pages(api, "/examples", {"dataset": dataset_id, **query})


def create_missing_examples(api: LangSmith, dataset_id: str, wanted: dict[str, bytes]) -> tuple[int, dict[str, str]]:
    """Create those of up to 100 examples (bodies by id) that the dataset lacks.

    Returns how many were created, and by their ids why others were refused.
    """
    there = {example["id"] for example in rest.list_examples(api, dataset_id, list(wanted))} if wanted else set()
    missing = [example_id for example_id in wanted if example_id not in there]
    try:
        if missing:
            rest.create_examples(api, [wanted[example_id] for example_id in missing])
        return len(missing), {}
    except requests.HTTPError as error:
        status = error.response.status_code
        if status not in (400, 409, 413, 422):  # 409: an answer was lost, or somebody else was quicker
            raise
        if len(missing) == 1:
            return 0, {} if status == 409 else {missing[0]: str(error)}
    halves = missing[: len(missing) // 2], missing[len(missing) // 2 :]
    parts = [create_missing_examples(api, dataset_id, {i: wanted[i] for i in half}) for half in halves]
    return sum(created for created, _ in parts), parts[0][1] | parts[1][1]


# ---------------------------------------------------------------- experiments


def list_sessions(api: LangSmith, **query: Any) -> Iterator[dict]:
    """Yield the experiments that `name`, `name_contains`, `reference_dataset` (an id) and alike ask for."""
    return pages(api, "/sessions", query)


def find_experiment(api: LangSmith, name: str, dataset_id: str | None = None) -> dict:
    """The experiment of that name or id, of that dataset if one is given.

    Raises LookupError with near names when there is none, and with the datasets when there are several.
    """
    of_dataset = {"reference_dataset": dataset_id} if dataset_id else {}
    found = list(list_sessions(api, name=name, **of_dataset))
    if not found and UUID.fullmatch(name):
        found = list(list_sessions(api, id=name, **of_dataset))
    found = [session for session in found if session.get("reference_dataset_id")]  # others are tracing projects
    if len(found) > 1:
        datasets = ", ".join(sorted(session["reference_dataset_id"] for session in found))
        raise LookupError(f"Experiment {name!r} exists in several datasets ({datasets}): say which by --dataset.")
    if not found:
        raise LookupError(f"No experiment {name!r}{near_names(api, name, dataset_id)}")
    return found[0]


def near_names(api: LangSmith, name: str, dataset_id: str | None) -> str:
    """The end of a sentence that says which experiment may have been meant, of the newest 1,000."""
    query = {"reference_dataset": dataset_id} if dataset_id else {"reference_free": "false"}
    known = [session["name"] for _, session in zip(range(1000), list_sessions(api, **query), strict=False)]
    nothing = " in this dataset: it has no experiments." if dataset_id else ": there are no experiments yet."
    return offer(name, known) or nothing


def find_project(api: LangSmith, name: str) -> dict:
    """The tracing project (or experiment) of that name or id; raises LookupError with near names when there is none."""
    found = rest.find_session(api, name=name)
    if not found and UUID.fullmatch(name):
        found = rest.find_session(api, id=name)
    if found:
        return found
    known = [
        session["name"] for _, session in zip(range(1000), list_sessions(api, reference_free="true"), strict=False)
    ]
    raise LookupError(f"No project {name!r}{offer(name, known) or ': there are none yet.'}")


def offer(name: str, known: Sequence[str]) -> str:
    """The end of a sentence that offers the names nearest to one, else the first; empty when there are none."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [other for other in known if other.startswith(name) and other not in near][: 3 - len(near)]
    if near:
        return f". Did you mean {' or '.join(map(repr, near))}?"
    return f"; there are, for example, {', '.join(map(repr, known[:3]))}." if known else ""


# ---------------------------------------------------------------- runs


def list_experiment_runs(
    api: LangSmith,
    dataset_id: str,
    session_ids: Sequence[str],
    selects: Sequence[str] = NUMBERS,
    *,
    with_replaced: bool = False,
) -> Iterator[dict]:
    """Yield each example that has runs in these experiments, its root runs of all of them in `runs`, in the v2 form.

    `selects` are fields of a run as v2 names them; a field may be absent, which means the same as null. With METADATA
    among them, failed runs that a retry has taken the place of (`main.py evaluate --retry-errors`) are left out.
    """
    new: dict[str, Any] = {"experiment_ids": list(session_ids), "page_size": PAGE, "selects": list(selects)}
    preview = not {"INPUTS", "OUTPUTS"} & set(selects)
    old: dict[str, Any] = {"session_ids": list(session_ids), "limit": PAGE, "offset": 0, "preview": preview}
    while True:
        page = rest.read(
            api,
            ("POST", f"/api/v2/datasets/{dataset_id}/experiment-runs", new),
            ("POST", f"/datasets/{dataset_id}/runs", old),
        )
        is_new = isinstance(page, dict)
        examples = page["items"] if is_new else page
        for example in examples:
            runs = example.get("runs") or []
            runs = runs if is_new else [v2_run(run) for run in runs]
            roots = [run for run in runs if is_root(run)]
            replaced = set() if with_replaced else {(run.get("metadata") or {}).get(RETRY_OF) for run in roots}
            yield {**example, "runs": [run for run in roots if run["id"] not in replaced]}
        following = page.get("next_cursor") if is_new else len(examples) == PAGE
        if not following or not examples:
            return
        new = {**new, "cursor": following}
        old = {**old, "offset": old["offset"] + PAGE}


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

    `conditions` are `is_root`, `ids`, `filter`, `trace_filter` and alike, as v2 names them. `until` saves time where
    v2 is served; v1 knows no such bound, so more may come.
    """
    until = until or datetime.now(UTC) + timedelta(minutes=5)
    bounds = {"min_start_time": since.isoformat(), "max_start_time": until.isoformat()}  # v2 looks back 24 h only
    new = {"project_ids": [project_id], "page_size": page_size, "selects": list(selects), **bounds, **conditions}
    old = {"session": [project_id], "limit": PAGE, "start_time": since.isoformat()}
    old |= {"select": [V1_SELECTS.get(name, name.lower()) for name in selects if name not in V2_ONLY]}
    old |= {V1_CONDITIONS.get(name, name): value for name, value in conditions.items()}
    cursor: dict[str, str] = {}
    while True:
        take_turn(api)
        v2, v1 = ("POST", "/api/v2/runs/query", {**new, **cursor}), ("POST", "/runs/query", {**old, **cursor})
        page = rest.read(api, v2, v1)
        runs = page["items"] if "items" in page else [v2_run(run) for run in page["runs"]]
        yield from runs
        following = page.get("next_cursor") or (page.get("cursors") or {}).get("next")
        if not following or not runs:
            return
        cursor = {"cursor": following}


V1_SELECTS = {"METADATA": "extra", "PROJECT_ID": "session_id"}
V1_CONDITIONS = {"ids": "id", "trace_id": "trace"}
V2_ONLY = ("IS_ROOT", "LATENCY_SECONDS")
QUERIES, QUERY_SECONDS = 15, 10.0  # LangSmith takes so many run queries in so many seconds
queried: deque[float] = deque(maxlen=QUERIES)  # when the last ones were sent, by this process


def take_turn(api: LangSmith) -> None:
    """Wait until another run query is within LangSmith's rate limit; a server on this machine has none."""
    if urlsplit(api.url).hostname in connection.LOOPBACK:
        return
    if len(queried) == QUERIES:
        time.sleep(max(0.0, queried[0] + QUERY_SECONDS - time.monotonic()))
    queried.append(time.monotonic())


def is_root(run: dict) -> bool:
    return run.get("is_root") is not False and not run.get("parent_run_ids")


def v2_run(run: dict) -> dict:
    """A run of the v1 API in the form of v2; what v2 lacks is left out, what v1 lacks is absent."""
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


# ---------------------------------------------------------------- feedback


def list_session_feedback(api: LangSmith, session_id: str, **query: Any) -> Iterator[dict]:
    """Yield the single feedback of an experiment's runs and of itself; `key`, `level` (run, session), ... narrow it."""
    return pages(api, "/feedback", {"session": session_id, **query})


def create_one_feedback(api: LangSmith, item: dict) -> None:
    """Create feedback that belongs to no run (an experiment's), under an id of ours."""
    try:
        connection.send(api, "POST", "/feedback", json=item)
    except requests.HTTPError as error:
        if error.response.status_code != 409:  # there already
            raise


def delete_feedback(api: LangSmith, feedback_id: str) -> None:
    connection.send(api, "DELETE", f"/feedback/{feedback_id}")


def create_comparative(api: LangSmith, comparative: dict) -> None:
    """Create a comparative experiment; one that is there already, under an id of ours, stays as it is."""
    try:
        connection.send(api, "POST", "/datasets/comparative", json=comparative)
    except requests.HTTPError as error:
        if error.response.status_code != 409:
            raise


def pages(api: LangSmith, path: str, query: dict[str, Any]) -> Iterator[dict]:
    """Yield what a list endpoint has, asking for one page at a time."""
    offset = 0
    while page := connection.call(api, "GET", path, params={**query, "limit": PAGE, "offset": offset}):
        yield from page
        if len(page) < PAGE:
            return
        offset += PAGE
