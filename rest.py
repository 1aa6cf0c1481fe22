"""The HTTP calls that recording needs, one function each."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from langsmith_rest.connection import JSON, LangSmith, SetupError, call, send

# ---------------------------------------------------------------- datasets and examples


def find_dataset(api: LangSmith, name: str) -> dict | None:
    found = call(api, "GET", "/datasets", params={"name": name})
    if not isinstance(found, list):
        raise SetupError(f"{api.url} answers, but not as LangSmith would: is it the address of the API?")
    return next((dataset for dataset in found if dataset["name"] == name), None)


def get_or_create_dataset(api: LangSmith, name: str) -> tuple[dict, bool]:
    """The dataset of that name, and whether it was created just now."""
    if found := find_dataset(api, name):
        return found, False
    try:
        return call(api, "POST", "/datasets", json={"name": name, "data_type": "kv"}), True
    except requests.HTTPError as error:  # somebody else was quicker, or an answer was lost
        found = find_dataset(api, name) if error.response.status_code == 409 else None
        if not found:
            raise
        return found, False


def list_examples(api: LangSmith, dataset_id: str, ids: Sequence[str]) -> list[dict]:
    """Those of up to 100 examples that the dataset has."""
    return call(api, "GET", "/examples", params={"dataset": dataset_id, "id": ids, "limit": 100})


def create_examples(api: LangSmith, examples: Iterable[bytes]) -> None:
    """Create up to 100 examples; 409 when one of them exists, and then none is created."""
    send(api, "POST", "/examples/bulk", data=b"[%b]" % b",".join(examples), headers=JSON)


# ---------------------------------------------------------------- experiments


def create_session(api: LangSmith, session: dict) -> dict:
    return call(api, "POST", "/sessions", json=session)


def find_session(api: LangSmith, **query: str) -> dict | None:
    """The first experiment that has this exact `name`, or this `id`."""
    found = call(api, "GET", "/sessions", params=query)
    return found[0] if found else None


def read_session(api: LangSmith, session_id: str) -> dict:
    return call(api, "GET", f"/sessions/{session_id}", params={"include_stats": "true"})


def close_session(api: LangSmith, session_id: str, end_time: str) -> None:
    send(api, "PATCH", f"/sessions/{session_id}", json={"end_time": end_time})


def experiment_url(api: LangSmith, dataset: dict, session_id: str) -> str:
    return f"{api.web}/o/{dataset['tenant_id']}/datasets/{dataset['id']}/compare?selectedSessions={session_id}"


# ---------------------------------------------------------------- runs


def create_runs(api: LangSmith, runs: Iterable[bytes]) -> None:
    """Create up to 100 runs, whole trees at best. 409 (all known already) is what a repetition gets: fine."""
    try:
        send(api, "POST", "/runs/batch", data=b'{"post":[%b]}' % b",".join(runs), headers=JSON)
    except requests.HTTPError as error:
        if error.response.status_code != 409:
            raise


def list_run_ids(api: LangSmith, session_id: str, start_time: datetime) -> Iterator[str]:
    """Yield the ids of an experiment's root runs, the session's `start_time` being that of its first run."""
    window = [start_time - timedelta(minutes=5), datetime.now(UTC) + timedelta(minutes=5)]  # v2 looks back 24 h only
    bounds = dict(zip(("min_start_time", "max_start_time"), (time.isoformat() for time in window), strict=True))
    new = {"project_ids": [session_id], "is_root": True, "page_size": 1000, "selects": ["ID"], **bounds}
    old = {"session": [session_id], "is_root": True, "limit": 100, "select": ["id"]}
    cursor: dict[str, str] = {}
    while True:
        page = read(api, ("POST", "/api/v2/runs/query", {**new, **cursor}), ("POST", "/runs/query", {**old, **cursor}))
        runs = page["items"] if "items" in page else page["runs"]
        yield from (run["id"] for run in runs)
        following = page.get("next_cursor") or (page.get("cursors") or {}).get("next")
        if not following or not runs:
            return
        cursor = {"cursor": following}


Request = tuple[str, str, dict]


def read(api: LangSmith, v2: Request, v1: Request) -> Any:
    """Ask the v2 API, or v1 (which ends on 31 Jan 2027) where a server does not serve v2; remember what it serves."""
    refused = None
    if "v2" not in api.missing:
        try:
            return call(api, v2[0], v2[1], json=v2[2])
        except requests.HTTPError as error:
            if error.response.status_code not in (200, 404, 405, 501):  # 200: not JSON, so no API
                raise
            refused = error
    try:
        answer = call(api, v1[0], v1[1], json=v1[2])
    except requests.HTTPError as error:
        raise refused or error from None
    api.missing.add("v2")
    return answer


# ---------------------------------------------------------------- feedback


def list_feedback(api: LangSmith, run_ids: Sequence[str]) -> Iterator[dict]:
    """Yield all feedback of up to 100 runs."""
    params: dict[str, Any] = {"run": run_ids, "limit": 100, "offset": 0}
    while page := call(api, "GET", "/feedback", params=params):
        yield from page
        if len(page) < params["limit"]:
            return
        params["offset"] += len(page)


def create_feedback(api: LangSmith, items: Mapping[str, bytes]) -> None:
    """Create feedback (its bodies by id) in one multipart request, or one by one where a server lacks that route."""
    if "multipart" not in api.missing:
        parts = [(f"feedback.{i}", (None, body, f"application/json; length={len(body)}")) for i, body in items.items()]
        try:
            send(api, "POST", "/runs/multipart", files=parts)
            return
        except requests.HTTPError as error:
            if error.response.status_code == 409:  # ids of ours that are there already
                return
            if error.response.status_code not in (404, 405):
                raise
            api.missing.add("multipart")
    for body in items.values():
        create_one_feedback(api, body)


def create_one_feedback(api: LangSmith, body: bytes) -> None:
    """Create one piece of feedback; 409 when it exists, which is fine."""
    for pause in (1, 2, 4, 8, 16, 0):
        try:
            send(api, "POST", "/feedback", data=body, headers=JSON)
        except requests.HTTPError as error:
            if error.response.status_code == 404 and pause:  # its run is queued, but not stored yet
                time.sleep(pause)
                continue
            if error.response.status_code != 409:
                raise
        return


def update_feedback(api: LangSmith, item: dict) -> None:
    changed = {key: item.get(key) for key in ("score", "value", "comment")}
    send(api, "PATCH", f"/feedback/{item['id']}", json=changed)
