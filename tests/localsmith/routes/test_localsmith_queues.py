"""Review queues: who is shown which item, and what is kept."""

import time

import pytest
from localsmith_api import Api, new_id, run

import localsmith

PLATFORM = "/v1/platform/annotation-queues"


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def queue(api):
    return api.post("/annotation-queues", {"name": "q"})["id"]


def fill(api, queue, count=3):
    """Runs of one project in the queue; returns the items in order."""
    session = api.experiment(name=new_id())
    sent = [run(session, seconds_ago=100 - i) for i in range(count)]
    api.runs(sent)
    body = {"items": [{"item_type": "RUN", "run_id": item["id"]} for item in sent]}
    return [item["id"] for item in api.post(f"{PLATFORM}/{queue}/items", body)["items"]]


def section(api, queue, status="needs_my_review", reviewer=None, **query):
    headers = {"x-localsmith-reviewer": reviewer} if reviewer else None
    page = api.call("GET", f"{PLATFORM}/{queue}/items", params={"status": status, **query}, headers=headers)
    return [item["id"] for item in page["items"]]


def mark(api, item, status, reviewer=None, **fields):
    headers = {"x-localsmith-reviewer": reviewer} if reviewer else None
    return api.call("POST", f"{PLATFORM}/items/{item}/status", json={"status": status, **fields}, headers=headers)


def test_completed_item_leaves_the_section(api, queue):
    first, second, third = fill(api, queue)

    done = mark(api, first, "completed")

    assert done["is_archived"] is True
    assert section(api, queue) == [second, third]
    assert section(api, queue, "archived") == [first]
    assert api.get(f"{PLATFORM}/{queue}/items/count", status="needs_my_review") == {"count": 2}
    assert api.get(f"{PLATFORM}/{queue}/items/{third}/placement")["position"] == 1


def test_item_that_is_looked_at_is_nobody_elses(api, queue):
    """Two reviewers take from one queue without getting the same item."""
    first, second, _ = fill(api, queue)

    mark(api, first, "viewed", reviewer="ann")

    assert section(api, queue, reviewer="ann")[0] == first
    assert section(api, queue, reviewer="bob")[0] == second
    assert section(api, queue, "needs_others_review", reviewer="bob") == [first]
    shown = api.get(f"{PLATFORM}/{queue}/items", status="needs_my_review")
    assert first not in [item["id"] for item in shown["items"]]


def test_reservation_ends_by_itself(tmp_path):
    """After reservation_minutes the item is offered to others again."""
    now = time.time()
    with localsmith.serve(tmp_path / "localsmith.db", clock=lambda: now) as server:
        api = Api(server.url)
        queue = api.post("/annotation-queues", {"name": "q", "reservation_minutes": 2})["id"]
        first, second, _ = fill(api, queue)
        mark(api, first, "viewed", reviewer="ann")
        before = section(api, queue, reviewer="bob")[0]
        now += 121

        assert (before, section(api, queue, reviewer="bob")[0]) == (second, first)


def test_two_reviews_are_needed_where_the_queue_says_so(api):
    queue = api.post("/annotation-queues", {"name": "q", "num_reviewers_per_item": 2})["id"]
    (item,) = fill(api, queue, 1)

    one = mark(api, item, "completed", reviewer="ann")
    seen = [section(api, queue, reviewer=name) for name in ("ann", "bob")]
    two = mark(api, item, "completed", reviewer="bob")

    assert (one["is_archived"], two["is_archived"]) == (False, True)
    assert seen == [[], [item]]
    (listed,) = api.get(f"{PLATFORM}/{queue}/items", status="archived")["items"]
    assert listed["completed_by"] == ["ann", "bob"]
    assert listed["last_reviewed_time"]


def test_item_is_shown_again_or_later(api, queue):
    """Null takes a review back; override_added_at moves an item to the end for its reviewer."""
    first, second, third = fill(api, queue)
    mark(api, first, "completed")
    mark(api, first, None)
    mark(api, second, None, override_added_at="2999-01-01T00:00:00Z")

    assert section(api, queue) == [first, third, second]
    assert section(api, queue, reviewer="ann") == [first, second, third]


def test_pages_go_both_ways_while_items_leave(api, queue):
    """A cursor is a place in the queue: what is completed meanwhile makes nothing be skipped."""
    items = fill(api, queue, 6)
    path, query = f"{PLATFORM}/{queue}/items", {"status": "needs_my_review", "page_size": 2}
    first = api.get(path, **query)
    mark(api, items[0], "completed")
    second = api.get(path, **query, cursor=first["next_cursor"])
    third = api.get(path, **query, cursor=second["next_cursor"])
    back = api.get(path, **query, cursor=third["previous_cursor"], direction="backward")

    pages = [[item["id"] for item in page["items"]] for page in (first, second, third, back)]
    assert pages == [items[:2], items[2:4], items[4:], items[2:4]]
    assert (first["previous_cursor"], third["next_cursor"]) == (None, None)


def test_run_that_is_added_twice_is_one_item(api, queue):
    session = api.experiment()
    sent = run(session)
    api.runs([sent])

    for path, body in (
        (f"{PLATFORM}/{queue}/items", {"items": [{"item_type": "RUN", "run_id": sent["id"]}]}),
        (f"/annotation-queues/{queue}/runs", [sent["id"]]),
        (f"/annotation-queues/{queue}/runs/by-key", [{"run_id": sent["id"], "session_id": session}]),
    ):
        api.post(path, body)

    assert api.get(f"/annotation-queues/{queue}/total_size") == {"size": 1}
    assert [found["id"] for found in api.get(f"/annotation-queues/{sent['id']}/queues")] == [queue]


def test_threads_are_items_too(api, queue):
    session = api.experiment()
    body = {"items": [{"item_type": "THREAD", "thread_id": "t 1", "project_id": session}]}

    (item,) = api.post(f"{PLATFORM}/{queue}/items", body)["items"]

    assert (item["item_type"], item["thread_id"], item["project_id"]) == ("THREAD", "t 1", session)
    assert "run_id" not in item
    assert api.get(f"/annotation-queues/{queue}/runs") == []


def test_experiments_fill_a_queue(api):
    """By session_ids when it is made, or by populate later; a project is refused."""
    experiments = [api.experiment(api.dataset(name), name) for name in ("a", "b")]
    for session in experiments:
        api.runs([run(session), run(session)])
    queue = api.post("/annotation-queues", {"name": "q", "session_ids": experiments[:1]})["id"]

    api.post("/annotation-queues/populate", {"queue_id": queue, "session_ids": experiments})
    refused = api.send(
        "POST", "/annotation-queues/populate", json={"queue_id": queue, "session_ids": [api.experiment(name="p")]}
    )

    assert api.get(f"/annotation-queues/{queue}/size") == {"size": 4}
    assert refused.status_code == 400


def test_deleted_experiment_leaves_no_items(api, queue):
    session = api.experiment()
    api.runs([sent := run(session)])
    api.post(f"/annotation-queues/{queue}/runs", [sent["id"]])

    api.delete(f"/sessions/{session}")

    assert api.get(f"{PLATFORM}/{queue}/items/count", status="all") == {"count": 0}


def test_rubric_is_replaced_as_a_whole(api):
    """Absent fields of the queue stay, null clears them."""
    body = {"name": "q", "description": "d", "rubric_instructions": "i", "rubric_items": [{"feedback_key": "a"}]}
    queue = api.post("/annotation-queues", body)["id"]

    api.patch(f"/annotation-queues/{queue}", {"rubric_items": [{"feedback_key": "b", "is_required": True}]})
    api.patch(f"/annotation-queues/{queue}", {"description": None})

    found = api.get(f"/annotation-queues/{queue}")
    assert (found["name"], found["description"], found["rubric_instructions"]) == ("q", None, "i")
    assert [(item["feedback_key"], item["is_required"]) for item in found["rubric_items"]] == [("b", True)]
    assert found["rubric_items"][0]["feedback_config"] is None


def test_config_of_a_key_is_made_once(api):
    config = {"type": "categorical", "categories": [{"value": 0, "label": "no"}, {"value": 1, "label": "yes"}]}
    body = {"feedback_key": "correct", "feedback_config": config}

    first, again = api.post("/feedback-configs", body), api.post("/feedback-configs", body)
    other = api.send("POST", "/feedback-configs", json={**body, "feedback_config": {"type": "freeform"}})
    last = api.send("PATCH", "/feedback-configs", json={"feedback_key": "correct", "remove_categories": [1]})
    changed = api.patch("/feedback-configs", {"feedback_key": "correct", "is_lower_score_better": True})

    assert first == again
    assert (other.status_code, other.json()["detail"]) == (400, "Feedback config already exists")
    assert last.status_code == 422
    assert (changed["is_lower_score_better"], changed["feedback_config"]) == (True, config)
    assert api.send("DELETE", "/feedback-configs", params={"feedback_key": "correct"}).status_code == 204
    assert api.get("/feedback-configs") == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": [{"item_type": "RUN", "run_id": new_id()}]}, 404),
        ({"items": [{"item_type": "THREAD", "thread_id": "t"}]}, 400),
        ({"items": [{"run_id": new_id()}] * 101}, 400),
        ({}, 422),
    ],
    ids=["unknown run", "no project", "too many", "nothing"],
)
def test_items_that_cannot_be_are_refused(api, queue, body, status):
    answer = api.send("POST", f"{PLATFORM}/{queue}/items", json=body)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert api.get(f"{PLATFORM}/{queue}/items/count", status="all") == {"count": 0}


def test_what_is_not_there_is_404(api, queue):
    assert api.send("GET", f"{PLATFORM}/{new_id()}/items", params={"status": "archived"}).status_code == 404
    answer = api.send("POST", f"{PLATFORM}/items/{new_id()}/status", json={"status": "viewed"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "item not found")
    assert api.send("GET", f"/annotation-queues/{queue}/run/0").status_code == 404
    assert api.send("GET", f"{PLATFORM}/{queue}/items").status_code == 400
