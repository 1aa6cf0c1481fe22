"""Metadata and splits of many examples at once."""

import pytest
from localsmith_api import Api, new_id


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def dataset(api):
    return api.dataset()


def patch(api, dataset_id, ids, *operations):
    path = f"{api.url}/v1/platform/datasets/{dataset_id}/examples/metadata"
    return api.session.patch(path, json={"example_ids": ids, "operations": list(operations)})


def test_operations_are_applied_in_order(api, dataset):
    """SET, then additions and removals of lists; the answer has a status for each id, in order."""
    first, second = api.examples(dataset, 2)
    unknown, elsewhere = new_id(), api.examples(api.dataset("other"), 1)[0]

    answer = patch(
        api,
        dataset,
        [unknown, first, elsewhere],
        {"key": "owner", "operation": "SET", "value": {"team": "qa"}},
        {"key": "labels", "operation": "ARRAY_ADD", "values": ["a", "b", "a"]},
        {"key": "labels", "operation": "array_remove", "values": ["b"]},
        {"key": "dataset_split", "operation": "ARRAY_ADD", "values": ["hard"]},
    )

    statuses = [(item["id"], item["status"]) for item in answer.json()["statuses"]]
    assert answer.status_code == 207
    assert statuses == [(unknown, "NOT_FOUND"), (first, "UPDATED"), (elsewhere, "NOT_FOUND")]
    changed = {"owner": {"team": "qa"}, "labels": ["a"], "dataset_split": ["base", "hard"]}
    assert api.get(f"/examples/{first}")["metadata"] == changed
    assert api.get(f"/examples/{second}")["metadata"] == {"dataset_split": ["base"]}


def test_example_may_leave_its_last_split(api, dataset):
    (example,) = api.examples(dataset, 1)

    patch(api, dataset, [example], {"key": "dataset_split", "operation": "ARRAY_REMOVE", "values": ["base"]})
    api.patch(f"/examples/{example}", {"outputs": {"a": 5}})

    assert api.get(f"/examples/{example}")["metadata"] == {"dataset_split": []}
    assert api.get(f"/datasets/{dataset}/splits") == []


def test_older_form_of_splits(api, dataset):
    first, second = api.examples(dataset, 2)
    body = {"split_name": "hard", "examples": [first, second], "remove": False}

    assert api.call("PUT", f"/datasets/{dataset}/splits", json=body) == [first, second]
    api.call("PUT", f"/datasets/{dataset}/splits", json={**body, "examples": [second], "remove": True})

    assert [row["id"] for row in api.get("/examples", dataset=dataset, splits="hard")] == [first]


def test_unknown_dataset_is_named_as_the_clients_expect(api):
    """Other words would make them fall back to the older form."""
    answer = patch(api, new_id(), [new_id()], {"key": "a", "operation": "SET", "value": 1})

    assert (answer.status_code, answer.json()["detail"]) == (404, "dataset not found")


@pytest.mark.parametrize(
    "operation",
    [{"key": "a", "operation": "DROP"}, {"key": "a", "operation": "ARRAY_ADD"}, {"operation": "SET"}],
    ids=str,
)
def test_unknown_operations_change_nothing(api, dataset, operation):
    (example,) = api.examples(dataset, 1)

    answer = patch(api, dataset, [example], {"key": "b", "operation": "SET", "value": 1}, operation)

    assert answer.status_code == 422
    assert api.get(f"/examples/{example}")["metadata"] == {"dataset_split": ["base"]}


def test_difference_of_two_tags(api, dataset):
    first, second = api.examples(dataset, 2)
    moment = api.get(f"/datasets/{dataset}/version", tag="latest")["as_of"]
    api.call("PUT", f"/datasets/{dataset}/tags", json={"tag": "v1", "as_of": moment})
    api.patch(f"/examples/{first}", {"outputs": {"a": 5}})
    api.delete(f"/examples/{second}")
    (third,) = api.examples(dataset, 1)

    found = api.get(f"/datasets/{dataset}/versions/diff", from_version="v1", to_version="latest")

    assert found == {"examples_modified": [first], "examples_added": [third], "examples_removed": [second]}
    assert api.send("GET", f"/datasets/{dataset}/versions/diff", params={"from_version": "v1"}).status_code == 422
