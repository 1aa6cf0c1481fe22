"""Stores that earlier versions wrote open as before; see helpers/old_stores.py."""

import gzip
import json

import pytest
from old_stores import STORES, answers, call, named

import localsmith
from localsmith.store import MIGRATIONS, Store

NAMES = sorted(path.name.removesuffix(".db.gz") for path in STORES.glob("*.db.gz"))


def unpacked(name, folder):
    path = folder / "localsmith.db"
    path.write_bytes(gzip.decompress((STORES / f"{name}.db.gz").read_bytes()))
    return path


def schema_of(path):
    store = Store(path)
    with store.read() as db:
        found = sorted(row["sql"] or "" for row in db.execute("SELECT sql FROM sqlite_master"))
    store.close()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_store_of_an_earlier_version_answers_as_it_did_then(name, tmp_path):
    """Datasets, examples, experiments with their statistics, feedback, rules and runs are all there and the same;
    but for preferences, which are no longer among the scores of a run."""
    then = json.loads((STORES / f"{name}.json").read_text())
    for run in then["runs"]:
        run["feedback_stats"].pop("preferred", None)

    with localsmith.serve(unpacked(name, tmp_path)) as server:
        now = answers(server.url)

    for what, answer in then.items():
        assert now[what] == answer, what


@pytest.mark.parametrize("name", NAMES)
def test_store_of_an_earlier_version_gets_todays_schema(name, tmp_path):
    assert schema_of(unpacked(name, tmp_path)) == schema_of(tmp_path / "new.db")


@pytest.mark.parametrize("name", NAMES)
def test_store_of_an_earlier_version_is_written_on(name, tmp_path):
    """An update that was waiting for its run when the old version ended still meets it."""
    start = json.loads((STORES / f"{name}.json").read_text())["runs"][0]["start_time"]
    order = f"{start[:19].replace('-', '').replace(':', '')}Z{named('late')}"
    run = {"id": named("late"), "trace_id": named("late"), "dotted_order": order, "session_id": named("session 1"),
           "name": "late", "run_type": "chain", "start_time": start, "inputs": {}}  # fmt: skip

    with localsmith.serve(unpacked(name, tmp_path), time_window_hours=None) as server:
        call(server.url, "POST", "/runs/batch", {"post": [run]})
        found = call(server.url, "GET", f"/runs/{named('late')}")

    assert found["outputs"] == {"early": True} and found["status"] == "success"


@pytest.mark.parametrize("name", [name for name in NAMES if name > "0001"])
def test_runs_that_wait_for_evaluators_still_wait_after_a_migration(name, tmp_path):
    store = Store(unpacked(name, tmp_path))

    with store.read() as db:
        jobs = {(row["run_id"], row["attempts"]) for row in db.execute("SELECT * FROM evaluator_jobs")}
    store.close()
    assert jobs == {(named(f"run 1.{n}"), 0) for n in range(3)}


def test_every_change_of_the_schema_keeps_a_store():
    """Whoever adds a migration adds a store that it has been applied to."""
    newest = MIGRATIONS[-1][0].partition(" ")[0]

    assert newest in NAMES, f"make one: python tests/helpers/old_stores.py {newest}"
