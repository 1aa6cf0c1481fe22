"""The HTTP calls that recording needs, one function each.

`send` sends a request and raises what is not 2xx, or the status that is `fine`; `call` does so and
returns the JSON; `either` asks the first of two API versions that the server has.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from langsmith_rest.connection import GONE, JSON, LangSmith, SetupError, call, either, send, spans


def find_dataset(api: LangSmith, value: str, field: str = "name") -> dict | None:
    """The dataset that has this name, or this `id`."""
    found = call(api, "GET", "/datasets", params={field: value})
    if not isinstance(found, list):
        hint = "is it the address of the API?"
        raise SetupError(f"{api.url} answers, but not as LangSmith would: {hint}")
    return next((dataset for dataset in found if dataset[field] == value), None)


def create_dataset(api: LangSmith, name: str) -> tuple[dict, bool]:
    """The dataset of that name, and whether it is new: somebody else may have been quicker."""
    try:
        return call(api, "POST", "/datasets", json={"name": name, "data_type": "kv"}), True
    except requests.HTTPError as error:
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


def update_examples(api: LangSmith, examples: Sequence[dict]) -> None:
    """Change up to 100 examples; what a body leaves out stays."""
    send(api, "PATCH", "/examples/bulk", json=examples)


# Experiments are the API's "sessions". v1 is asked first: LangSmith serves these calls until
# 1 July 2027. v2 needs a type.


def create_session(api: LangSmith, session: dict) -> dict:
    kind = "EXPERIMENT" if session.get("reference_dataset_id") else "PROJECT"
    v2 = ("POST", "/api/v2/sessions", {"json": {**session, "type": kind}})
    return either(api, "sessions", v1=("POST", "/sessions", {"json": session}), v2=v2)


def find_session(api: LangSmith, **query: str) -> dict | None:
    """The first experiment that has this exact `name`, or this `id`."""
    how = {"params": query}
    v1, v2 = ("GET", "/sessions", how), ("GET", "/api/v2/sessions", how)
    found = either(api, "list of sessions", v1=v1, v2=v2)
    return next(iter(found["items"] if isinstance(found, dict) else found), None)


def read_session(api: LangSmith, session_id: str) -> dict:
    """An experiment with its statistics."""
    path, how = f"/sessions/{session_id}", {"params": {"include_stats": "true"}}
    return either(api, "session", v1=("GET", path, how), v2=("GET", f"/api/v2{path}", how))


def close_session(api: LangSmith, session_id: str, end_time: str) -> None:
    path, how = f"/sessions/{session_id}", {"json": {"end_time": end_time}}
    either(api, "session", v1=("PATCH", path, how), v2=("PATCH", f"/api/v2{path}", how))


def experiment_url(api: LangSmith, dataset: dict, session_id: str) -> str:
    """The page of an experiment."""
    page = f"{api.web}/o/{dataset['tenant_id']}/datasets/{dataset['id']}/compare"
    return f"{page}?selectedSessions={session_id}"


def create_runs(api: LangSmith, runs: Iterable[bytes]) -> None:
    """Create up to 100 runs, of whole traces where they fit.

    Those that exist stay as they are; 409 is fine: all of them exist.
    """
    body = b'{"post":[%b]}' % b",".join(runs)
    send(api, "POST", "/runs/batch", data=body, headers=JSON, fine=409)


def create_parts(api: LangSmith, parts: Iterable[tuple[str, bytes, str]]) -> None:
    """Create runs, their attachments, and feedback: parts of one request, each with its type.

    Their names are `post.<run id>`, `attachment.<run id>.<name>` and `feedback.<feedback id>`.
    """
    boundary, form = secrets.token_hex(16), bytearray()
    for name, data, kind in parts:
        form += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        form += f"Content-Type: {kind}; length={len(data)}\r\n\r\n".encode() + data + b"\r\n"
    form += f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    send(api, "POST", "/runs/multipart", data=bytes(form), headers=headers, fine=409)


def list_run_ids(api: LangSmith, session_id: str, start_time: datetime) -> Iterator[str]:
    """Yield the ids of an experiment's root runs; `start_time` is that of its first run."""
    return (run_id for run_id, _ in list_run_examples(api, session_id, start_time))


def list_run_examples(api: LangSmith, session_id: str, start: datetime) -> Iterator[list[str]]:
    """Yield an experiment's root runs and their examples, by ids."""
    minutes = timedelta(minutes=5)  # clocks differ
    for span in spans(start - minutes, datetime.now(UTC) + minutes):
        first, last = map(datetime.isoformat, span)
        v2 = {"project_ids": [session_id], "is_root": True, "page_size": 1000}
        v2 |= {"selects": ["ID", "REFERENCE_EXAMPLE_ID"]}
        v2 |= {"min_start_time": first, "max_start_time": last}
        v1 = {"session": [session_id], "is_root": True, "limit": 100}
        v1 |= {"select": ["id", "reference_example_id"]}
        for run in run_pages(api, v2, v1, lambda: None):
            yield [run["id"], run.get("reference_example_id") or ""]
        if "runs v2" in api.missing:  # noted by `either`; v1 was asked without times, for all runs
            return


def run_pages(api: LangSmith, v2: dict, v1: dict, wait: Callable[[], None]) -> Iterator[dict]:
    """Yield the runs of a query, worded for v2, which is asked first, and for v1.

    `wait` is called before each request. LangSmith serves v1 until 31 January 2027.
    """
    cursor: dict[str, str] = {}
    while True:
        wait()
        in_v2 = ("POST", "/api/v2/runs/query", {"json": {**v2, **cursor}})
        in_v1 = ("POST", "/runs/query", {"json": {**v1, **cursor}})
        page = either(api, "runs", v2=in_v2, v1=in_v1)
        runs = page["items"] if "items" in page else page["runs"]
        yield from runs
        following = page.get("next_cursor") or (page.get("cursors") or {}).get("next")
        if not following or not runs or following == cursor.get("cursor"):
            return
        cursor = {"cursor": following}


def list_feedback(api: LangSmith, run_ids: Sequence[str]) -> Iterator[dict]:
    """Yield all feedback of up to 100 runs."""
    params: dict[str, Any] = {"run": run_ids, "limit": 100, "offset": 0}
    known = set[str]()
    while page := call(api, "GET", "/feedback", params=params):
        new = [item for item in page if item["id"] not in known]
        yield from new
        if len(page) < 100 or not new:  # nothing new: a server that ignores the offset
            return
        known = {item["id"] for item in page}
        params["offset"] += len(page)


def create_feedback(api: LangSmith, items: Mapping[str, bytes]) -> None:
    """Create feedback, given as bodies by id, in one request; what exists already is fine.

    A server without multipart gets them one by one.
    """
    parts = [(f"feedback.{i}", body, "application/json") for i, body in items.items()]
    if "multipart" not in api.missing:
        try:
            create_parts(api, parts)
            return
        except requests.HTTPError as error:
            if error.response.status_code not in GONE:
                raise
            api.missing.add("multipart")
    for body in items.values():
        create_one_feedback(api, body)


def create_one_feedback(api: LangSmith, body: bytes) -> None:
    """Create one piece of feedback, once its run is stored: LangSmith queues runs first."""
    for pause in (1, 2, 4, 8, 16, 0):  # seconds; after the last try, it is refused
        try:
            send(api, "POST", "/feedback", data=body, headers=JSON, fine=409)
            return
        except requests.HTTPError as error:
            if error.response.status_code != 404 or not pause:
                raise
            time.sleep(pause)


def update_feedback(api: LangSmith, item: dict) -> None:
    """Give feedback this score, value and comment; what is None is cleared."""
    changed = {key: item.get(key) for key in ("score", "value", "comment")}
    send(api, "PATCH", f"/feedback/{item['id']}", json=changed)
