"""The HTTP calls of review queues, one function each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import requests

from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.aligning.sampling import Queue, is_about
from langsmith_rest.evaluation.api import PAGE, pages
from langsmith_rest.recording.batches import in_batches

PLATFORM = "/api/v1/platform/annotation-queues"  # of the host: an endpoint may end in /api/v1, or not
SECTIONS = {"needs_my_review": "needs_my_review", "needs_others_review": "needs_others_review", "archived": "completed"}


def get_or_create_queue(api: LangSmith, queue: dict[str, Any]) -> dict[str, Any]:
    """Create a queue under a deterministic id; return it, or the one that exists, which is left unchanged."""
    try:
        return dict(connection.call(api, "GET", f"/annotation-queues/{queue['id']}"))
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
    connection.send(api, "POST", "/annotation-queues", json=queue, fine=409)
    return queue


def list_queue_runs(api: LangSmith, queue_id: str, sections: Iterable[str] = SECTIONS) -> Iterator[str]:
    """Yield the ids of the runs in a queue: of all, or of those in these sections."""
    for section in sections:
        old_name = SECTIONS[section]
        cursor: dict[str, str] = {}
        offset = 0
        while True:
            new = {"status": section, "page_size": PAGE, **cursor}
            old = {"status": old_name, "limit": PAGE, "offset": offset}
            v2 = ("GET", f"{PLATFORM}/{queue_id}/items", {"params": new})
            v1 = ("GET", f"/annotation-queues/{queue_id}/runs", {"params": old})
            page = connection.either(api, "queue items", v2=v2, v1=v1)
            is_new = isinstance(page, dict)
            items = page["items"] if is_new else page
            yield from (item["run_id"] if is_new else item["id"] for item in items if item.get("run_id") or not is_new)
            following = page.get("next_cursor") if is_new else len(items) == PAGE
            if not following or not items:
                break
            cursor, offset = {"cursor": str(following)} if is_new else {}, offset + PAGE


def filled_queues(api: LangSmith, key: str) -> list[Queue]:
    """The review queues where labels of this key may come from, that say how they were filled.

    None where the server has no queues, or the key may not read them: what they would tell is additional.
    """
    try:
        found = [queue for queue in pages(api, "/annotation-queues", {}) if is_about(queue.get("metadata"), key)]
        return [filled_queue(api, queue) for queue in found]
    except requests.HTTPError as error:
        if error.response.status_code not in connection.GONE | {403}:
            raise
        return []


def filled_queue(api: LangSmith, queue: dict[str, Any]) -> Queue:
    to_review = frozenset(list_queue_runs(api, queue["id"], ["needs_my_review", "needs_others_review"]))
    reviewed = frozenset(list_queue_runs(api, queue["id"], ["archived"]))  # afterwards, or what moves there is missed
    return Queue(queue["name"], queue["metadata"]["sampling"], to_review | reviewed, reviewed)


def add_to_queue(api: LangSmith, queue_id: str, runs: Iterable[dict]) -> int:
    """Put runs into a queue in their order, except those that are in it; return how many were added."""
    known = set(list_queue_runs(api, queue_id))
    missing = [run for run in runs if run["id"] not in known]
    for some in in_batches(missing):
        add_items(api, queue_id, some)
    return len(missing)


def add_items(api: LangSmith, queue_id: str, runs: Sequence[dict]) -> None:
    """Put up to 100 runs into a queue."""
    connection.either(api, "new queue items", v2=new_items(queue_id, runs), v1=new_runs(queue_id, runs))


def delete_queue(api: LangSmith, queue_id: str) -> None:
    connection.send(api, "DELETE", f"/annotation-queues/{queue_id}")


def new_items(queue_id: str, runs: Sequence[dict]) -> connection.Request:
    items = [
        {"item_type": "RUN", "run_id": run["id"], "project_id": run["project_id"], "start_time": run["start_time"]}
        for run in runs
    ]
    return "POST", f"{PLATFORM}/{queue_id}/items", {"json": {"items": items}}


def new_runs(queue_id: str, runs: Sequence[dict]) -> connection.Request:
    return "POST", f"/annotation-queues/{queue_id}/runs", {"json": [run["id"] for run in runs]}


def find_config(api: LangSmith, key: str) -> dict[str, Any] | None:
    """What the scores of a key mean, without fields that are not set; None where nothing is stored."""
    known = connection.call(api, "GET", "/feedback-configs", params={"key": key})
    config = next((item["feedback_config"] for item in known if item["feedback_key"] == key), None)
    return {name: value for name, value in config.items() if value not in (None, False)} if config else None


def create_config(api: LangSmith, key: str, config: dict[str, Any]) -> None:
    connection.send(api, "POST", "/feedback-configs", json={"feedback_key": key, "feedback_config": config})
