"""The versions of a dataset: what each moment shows, and the names given to moments."""

import random

import pytest
from localsmith_api import Api


@pytest.fixture
def api(server):
    return Api(server.url)


def ids_as_of(api, dataset, as_of):
    return {example["id"] for example in api.get("/examples", dataset=dataset, as_of=as_of)}


def test_latest_version_after_a_delete_leaves_the_example_deleted(api):
    """`latest`, and a tag set after the delete, name the moment of the delete and not the one before it."""
    dataset = api.dataset()
    kept, gone = api.examples(dataset, 2)
    api.delete(f"/examples/{gone}")

    latest = api.get(f"/datasets/{dataset}/version", tag="latest")["as_of"]
    tagged = api.call("PUT", f"/datasets/{dataset}/tags", json={"tag": "now", "as_of": "2100-01-01T00:00:00Z"})["as_of"]

    assert latest == tagged == api.get(f"/datasets/{dataset}/versions")[0]["as_of"]
    assert ids_as_of(api, dataset, latest) == ids_as_of(api, dataset, "now") == {kept}


@pytest.mark.slow
def test_every_listed_version_is_found_by_its_moment(api):
    """After any history of creates, edits, deletes and moves, a version is what was there at its moment."""
    chance = random.Random(7)
    datasets = [api.dataset("first"), api.dataset("second")]
    alive, states = [], {dataset: [] for dataset in datasets}
    for step in range(60):
        what = chance.choice(["create", "create", "edit", "delete", "move"]) if alive else "create"
        example = chance.choice(alive) if alive else None
        if what == "create":
            dataset = chance.choice(datasets)
            alive.append((api.examples(dataset, 1)[0], dataset))
        elif what == "edit":
            api.patch(f"/examples/{example[0]}", {"outputs": {"step": step}})
        elif what == "delete":
            api.delete(f"/examples/{example[0]}")
            alive.remove(example)
        else:
            alive.remove(example)
            alive.append((example[0], datasets[example[1] == datasets[0]]))
            api.patch(f"/examples/{example[0]}", {"dataset_id": alive[-1][1]})
        for dataset in datasets:
            states[dataset].append({example for example, place in alive if place == dataset})

    for dataset in datasets:
        versions = [version["as_of"] for version in api.get(f"/datasets/{dataset}/versions")]
        found = [api.get(f"/datasets/{dataset}/version", as_of=version)["as_of"] for version in versions]
        shown = [ids_as_of(api, dataset, version) for version in reversed(versions)]
        assert found == versions
        assert shown[-1] == states[dataset][-1]
        wanted = [ids for n, ids in enumerate(states[dataset]) if n == 0 or ids != states[dataset][n - 1]]
        told = [ids for n, ids in enumerate(shown) if n == 0 or ids != shown[n - 1]]
        assert told == [ids for ids in wanted if ids or told[0] == ids or ids != wanted[0]]


def test_examples_changed_by_one_request_are_one_version(api):
    dataset = api.dataset()
    ids = api.examples(dataset, 5)
    before = len(api.get(f"/datasets/{dataset}/versions"))

    api.patch("/examples/bulk", [{"id": example, "outputs": {"a": "new"}} for example in ids])

    assert len(api.get(f"/datasets/{dataset}/versions")) == before + 1
