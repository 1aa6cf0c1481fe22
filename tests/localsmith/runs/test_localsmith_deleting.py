"""Deleting many runs: a piece at a time, and nothing of them stays."""

import sqlite3
from contextlib import contextmanager

import pytest
from localsmith_api import Api, run

from localsmith.runs import deleting


@pytest.mark.parametrize("what", ["session", "dataset"])
def test_large_delete_lets_others_write_in_between(server, monkeypatch, what):
    """Whoever waits gets a turn after each piece; in the end no row of runs, feedback or totals is left."""
    store, api = server.app.state.store, Api(server.url)
    dataset = api.dataset()
    session = api.experiment(dataset)
    runs = [run(session) for _ in range(7)]
    api.runs(runs)
    for one in runs:
        api.post("/feedback", {"run_id": one["id"], "key": "k", "score": 1})
    monkeypatch.setattr(deleting, "RUNS_AT_ONCE", 2)
    write, left = store.write, []

    @contextmanager
    def watched():
        with write() as db:
            yield db
        with sqlite3.connect(store.path) as other:
            other.execute("UPDATE migrations SET applied_at = applied_at + 1")  # would wait for a lock, and fail
            left.append(other.execute("SELECT count(*) FROM runs").fetchone()[0])
        other.close()

    monkeypatch.setattr(store, "write", watched)

    api.delete(f"/sessions/{session}" if what == "session" else f"/datasets/{dataset}")

    assert left[:4] == [5, 3, 1, 0]
    with store.read() as db:
        for table in ("runs", "run_bodies", "feedback", "run_totals", "feedback_totals", "sessions"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table
