"""Queries use the indexes that were made for them: the plans of what reads really ask, without a single row."""

import re

import pytest
from localsmith_api import Api, new_id

SCANNED = re.compile(r"SCAN (runs|feedback|examples|run_bodies|r|f|e)\b(?! USING COVERING INDEX \w*recent)")


@pytest.fixture
def plans(server, monkeypatch):
    """Call the API and get the plans of the statements that this took, as (statement, steps)."""
    store = server.app.state.store
    api = Api(server.url)
    take, statements = store._take, []

    def watched():
        db = take()
        db.set_trace_callback(statements.append)
        return db

    def call(work):
        monkeypatch.setattr(store, "_take", watched)
        work(api)
        monkeypatch.setattr(store, "_take", take)
        asked = [statement for statement in statements if statement.lstrip().startswith(("SELECT", "WITH"))]
        with store.read() as db:
            db.set_trace_callback(None)
            return [(sql, [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]) for sql in asked]

    return call


@pytest.fixture
def world(server):
    api = Api(server.url)
    dataset = api.dataset()
    return dataset, api.experiment(dataset)


def steps_of(found, text):
    return [step for sql, steps in found if text in sql for step in steps]


def test_statistics_of_a_session_read_totals_and_one_index(plans, world, server):
    """Counts are kept, and percentiles walk an index that is in the order of latencies."""
    from localsmith_api import run

    Api(server.url).runs([run(world[1])])
    found = plans(lambda api: api.get("/sessions", reference_dataset=world[0], include_stats=True))

    assert [step for step in steps_of(found, "FROM run_totals") if "SCAN run_totals" in step] == []
    latencies = steps_of(found, "SELECT latency")
    assert latencies and all("roots_of_session" in step for step in latencies)
    assert not [step for _, steps in found for step in steps if SCANNED.search(step)]


@pytest.mark.parametrize(
    ("path", "params", "index"),
    [("/feedback", "session", "feedback_recent"), ("/examples", "dataset", "examples_recent")],
)
def test_later_pages_of_a_list_are_found_in_an_index(plans, world, path, params, index):
    """The rows before the page are skipped without being read, and nothing is sorted but the page."""
    owner = world[1] if params == "session" else world[0]

    found = plans(lambda api: api.get(path, offset=1000, **{params: owner}))

    (steps,) = [steps for sql, steps in found if "OFFSET 1000" in sql]
    inner = [step for step in steps if index in step]
    assert inner and inner[0].startswith("SEARCH")
    assert sum("TEMP B-TREE" in step for step in steps) <= 1  # the page itself
    assert not [step for step in steps if SCANNED.search(step)]


def test_a_page_of_a_comparison_stops_where_it_is_full(plans, world):
    """Its examples come in the order of an index, so that those after the page are not looked at."""
    dataset, session = world

    found = plans(lambda api: api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {"experiment_ids": [session]}))

    steps = steps_of(found, "LIMIT")
    assert any("USING INDEX examples_of_dataset (dataset_id=?)" in step for step in steps)
    assert not [step for step in steps if "MATERIALIZE" in step]


def test_no_read_of_runs_goes_through_all_of_them(plans, world):
    """By session, id, example, trace, parent, and as the compare calls ask."""
    dataset, session = world
    v2 = {"project_ids": [session], "selects": ["ID", "FEEDBACK_STATS"]}
    calls = [
        lambda api: api.post("/runs/query", {"session": [session]}),
        lambda api: api.post("/runs/query", {"id": [new_id(), new_id()]}),
        lambda api: api.post("/runs/query", {"trace": new_id()}),
        lambda api: api.post("/runs/query", {"parent_run": new_id()}),
        lambda api: api.post("/runs/query", {"reference_example": [new_id()]}),
        lambda api: api.post("/api/v2/runs/query", v2),
        lambda api: api.post("/api/v2/runs/query", {**v2, "filter": 'eq(feedback_key, "k")'}),
        lambda api: api.post(f"/datasets/{dataset}/runs", {"session_ids": [session]}),
    ]
    for call in calls:
        for sql, steps in plans(call):
            assert not [step for step in steps if SCANNED.search(step)], (sql, steps)
