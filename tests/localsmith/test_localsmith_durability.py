"""What was acknowledged stays: killed servers, full disks, two servers on one file."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
import requests
from localsmith_api import KEY, Api, new_id, run

import localsmith
import localsmith.store

# Each round costs about a second; `LOCALSMITH_KILL_ROUNDS=50` for the long proof.
ROUNDS = int(os.environ.get("LOCALSMITH_KILL_ROUNDS", "6"))


def start(path):
    command = [sys.executable, "-m", "localsmith", "--db", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def write_until_refused(url, session_id, acknowledged):
    """Send batches until the server is gone; note the ids of those it answered with 202."""
    with requests.Session() as session:
        session.headers.update(KEY)
        while True:
            batch = [run(session_id) for _ in range(5)]
            try:
                answer = session.post(f"{url}/runs/batch", json={"post": batch}, timeout=60)
            except requests.RequestException:
                return
            if answer.status_code == 202:
                acknowledged.extend(one["id"] for one in batch)


@pytest.mark.slow
def test_acknowledged_writes_survive_kill_9(tmp_path):
    """Killed in the middle of concurrent ingest, again and again, the file keeps every acknowledged run."""
    path, acknowledged, session_id = tmp_path / "killed.db", [], new_id()
    for i in range(ROUNDS):
        process, url = start(path)
        if i == 0:
            Api(url).post("/sessions", {"name": "survivor", "id": session_id})
        threads = [threading.Thread(target=write_until_refused, args=(url, session_id, acknowledged)) for _ in range(3)]
        for thread in threads:
            thread.start()
        before = len(acknowledged)
        while len(acknowledged) < before + 20 * (i % 4 + 1):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for thread in threads:
            thread.join()

        db = sqlite3.connect(path)
        stored = {row[0] for row in db.execute("SELECT id FROM runs")}
        bodies = db.execute(
            "SELECT count(*) FROM runs LEFT JOIN run_bodies USING (seq) WHERE inputs IS NULL"
        ).fetchone()
        check = db.execute("PRAGMA integrity_check").fetchone()[0]
        db.close()
        assert check == "ok"
        assert set(acknowledged) <= stored
        assert bodies == (0,)


def test_full_disk_is_a_clear_error_and_damages_nothing(tmp_path, monkeypatch):
    """507 and nothing stored; once there is room, the same request works."""
    connect = localsmith.store._connect
    limit = {"pages": 150}

    def small(path):
        db = connect(path)
        db.execute(f"PRAGMA max_page_count = {limit['pages']}")
        return db

    monkeypatch.setattr(localsmith.store, "_connect", small)
    with localsmith.serve(tmp_path / "full.db") as server:
        api = Api(server.url)
        session = api.experiment()
        batch = [run(session, outputs={"a": "x" * 50_000}) for _ in range(20)]
        full = api.send("POST", "/runs/batch", json={"post": batch})
        left = api.query(session)

    limit["pages"] = 1_000_000
    with localsmith.serve(tmp_path / "full.db") as server:
        api = Api(server.url)
        api.runs(batch)
        assert len(api.query(session)) == 20

    assert (full.status_code, left) == (507, [])
    assert "disk is full" in full.json()["error"]


def test_locked_file_is_503_with_retry_after(server, monkeypatch):
    """Another program that keeps the write lock makes writers wait, then try again later."""
    api = Api(server.url)
    session = api.experiment()
    other = sqlite3.connect(server.app.state.store.path, isolation_level=None)
    monkeypatch.setattr(localsmith.store, "BUSY_TIMEOUT_MS", 50)
    store = server.app.state.store
    store._idle.get_nowait().close()  # the next connection waits 50 ms only
    other.execute("BEGIN IMMEDIATE")

    response = api.send("POST", "/runs/batch", json={"post": [run(session)]})
    readable = api.query(session)
    other.execute("ROLLBACK")
    other.close()

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert readable == []
    api.runs([run(session)])


def test_store_that_became_read_only_says_so_at_once(server):
    """507, which no client sends again for minutes, and what to do; reading goes on."""
    api = Api(server.url)
    session = api.experiment()
    store = server.app.state.store
    with store.read() as db:
        db.execute("PRAGMA query_only = ON")

    response = api.send("POST", "/runs/batch", json={"post": [run(session)]})

    assert response.status_code == 507
    assert "has become read-only: make the file and its folder writable" in response.json()["error"]
    assert api.query(session) == []


@pytest.mark.slow
def test_two_servers_share_a_file(tmp_path):
    """Both write at once, both read everything."""
    path = tmp_path / "shared.db"
    with localsmith.serve(path) as one, localsmith.serve(path) as two:
        session = Api(one.url).experiment()

        def write(server):
            api = Api(server.url)
            for _ in range(20):
                api.runs([run(session) for _ in range(5)])

        threads = [threading.Thread(target=write, args=(server,)) for server in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        counts = [len(Api(server.url).query(session, page_size=1000)) for server in (one, two)]
    assert counts == [400, 400]


def test_same_batch_from_many_connections_is_stored_once(server):
    """Concurrent retries: one is accepted, the others are told that it is there."""
    api = Api(server.url)
    session = api.experiment()
    batch = [run(session) for _ in range(10)]
    statuses = []

    def send():
        statuses.append(Api(server.url).send("POST", "/runs/batch", json={"post": batch}).status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [202] + [409] * 7
    assert len(api.query(session)) == 10


def test_failed_request_leaves_nothing_of_itself(server):
    """A batch whose last run is refused in the database does not keep its project either."""
    api = Api(server.url)

    response = api.send("POST", "/runs/batch", json={"post": [run(session_name="half"), run(new_id())]})

    assert response.status_code == 422
    assert api.get("/sessions") == []
