"""The file behind localsmith: made, migrated, or refused and left as it was."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import localsmith.store
from localsmith.store import Store, StoreError


def test_new_file_is_durable_and_marked_as_ours(tmp_path):
    """A new store is in WAL mode, flushes every commit and carries our mark."""
    store = Store(tmp_path / "new" / "lab.db")

    with store.read() as db:
        pragmas = [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        mark = db.execute("PRAGMA application_id").fetchone()[0]
    store.close()

    assert pragmas == ["wal", 2, 1]
    assert mark == localsmith.store.APPLICATION_ID


def test_write_is_undone_when_it_raises(tmp_path):
    """A request that fails half-way leaves nothing behind."""
    store = Store(tmp_path / "lab.db")

    with pytest.raises(ZeroDivisionError), store.write() as db:
        db.execute("INSERT INTO migrations VALUES ('half', 1)")
        raise ZeroDivisionError

    with store.read() as db:
        assert "half" not in [row["name"] for row in db.execute("SELECT name FROM migrations")]
    store.close()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    """A file where a folder should be is no traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="lab.db cannot be used .* folder that you may write to"):
        Store(tmp_path / "file" / "lab.db")


def make_other_sqlite(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE precious (x)")
    db.commit()
    db.close()


def make_newer_store(path):
    store = Store(path)
    with store.write() as db:
        db.execute("INSERT INTO migrations VALUES ('9999 from the future', 1)")
    store.close()


def make_read_only(path):
    Store(path).close()
    path.chmod(0o444)


def make_read_only_folder(path):
    """Of a folder of its own, so that pytest can clean up."""
    Store(path).close()
    path.parent.chmod(0o555)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("dear diary\n"), "no SQLite file"),
        (make_other_sqlite, "another program made it"),
        (make_newer_store, "newer localsmith"),
        (make_read_only, "file.db is read-only: make it writable"),
        (make_read_only_folder, "store is read-only, and file.db needs its log beside it: make it writable"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
    ids=["text", "foreign", "newer", "read-only", "read-only folder", "folder"],
)
def test_unusable_file_is_refused_and_left_as_it_was(tmp_path, make, words):
    """The error names the file and the reason; not a byte of it changes."""
    path = tmp_path / "store" / "file.db"
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(StoreError, match=words):
        Store(path)

    assert (path.read_bytes() if path.is_file() else None) == before


def test_the_first_schema_becomes_todays(tmp_path, monkeypatch):
    """A file of the first release keeps its rows and gets every table and index that a new file has."""
    statements = list(localsmith.store._statements(localsmith.store.SCHEMA.read_text()))
    first = tmp_path / "first.sql"
    first.write_text("\n".join(statement for statement in statements if "evaluator_jobs" not in statement))
    with monkeypatch.context() as then:
        then.setattr(localsmith.store, "SCHEMA", first)
        then.setattr(localsmith.store, "MIGRATIONS", [])
        store = Store(tmp_path / "old.db")
        with store.write() as db:
            db.execute("INSERT INTO datasets VALUES ('d', 'kept', NULL, 'kv', 1, 1, NULL, 0, NULL, '{}')")
        store.close()

    stores = [Store(tmp_path / name) for name in ("old.db", "new.db")]

    schemas = []
    for store in stores:
        with store.read() as db:
            names = [row["name"] for row in db.execute("SELECT name FROM datasets")]
            schemas.append(sorted(row["sql"] or "" for row in db.execute("SELECT sql FROM sqlite_master")))
        store.close()
        assert names == (["kept"] if store is stores[0] else [])
    assert schemas[0] == schemas[1]
    assert "evaluator_jobs" in str(schemas[0])


def test_runs_that_wait_for_evaluators_still_wait_after_a_migration(tmp_path, monkeypatch):
    path = tmp_path / "old.db"
    schema = localsmith.store.SCHEMA.read_text()
    old = tmp_path / "old.sql"
    old.write_text("\n".join(line for line in schema.splitlines() if not line.lstrip().startswith("attempts ")))
    with monkeypatch.context() as then:
        then.setattr(localsmith.store, "SCHEMA", old)
        then.setattr(localsmith.store, "MIGRATIONS", localsmith.store.MIGRATIONS[:1])
        store = Store(path)
        with store.write() as db:
            db.execute("INSERT INTO sessions (id, name, start_time, created_at) VALUES ('s', 's', 1, 1)")
            db.execute("INSERT INTO rules VALUES ('r', 'r', NULL, 's', NULL, 1, 1, 1, 1, '{}')")
            db.execute("INSERT INTO evaluator_jobs VALUES ('r', 'run', 's', 1)")
        store.close()

    store = Store(path)

    with store.read() as db:
        assert [tuple(row) for row in db.execute("SELECT * FROM evaluator_jobs")] == [("r", "run", "s", 1, 0)]
    store.close()


def test_older_file_is_migrated_once(tmp_path, monkeypatch):
    """A file made before a schema change gets it, and is not changed again."""
    path = tmp_path / "lab.db"
    Store(path).close()
    note = ("9999 note", lambda db: db.execute("ALTER TABLE datasets ADD COLUMN note"))
    monkeypatch.setattr(localsmith.store, "MIGRATIONS", [*localsmith.store.MIGRATIONS, note])

    Store(path).close()
    store = Store(path)

    with store.read() as db:
        columns = [row["name"] for row in db.execute("PRAGMA table_info(datasets)")]
        names = [row["name"] for row in db.execute("SELECT name FROM migrations ORDER BY name")]
    store.close()
    assert columns[-1] == "note"
    assert names == [localsmith.store.FIRST, *(name for name, _ in localsmith.store.MIGRATIONS)]


def test_failed_migration_changes_nothing(tmp_path, monkeypatch):
    """A migration that breaks half-way leaves the file usable by the old code."""
    path = tmp_path / "lab.db"
    Store(path).close()

    def broken(db):
        db.execute("ALTER TABLE datasets ADD COLUMN note")
        db.execute("ALTER TABLE nowhere ADD COLUMN note")

    migrations = localsmith.store.MIGRATIONS
    monkeypatch.setattr(localsmith.store, "MIGRATIONS", [*migrations, ("9999 broken", broken)])
    with pytest.raises(StoreError, match="nowhere"):
        Store(path)
    monkeypatch.setattr(localsmith.store, "MIGRATIONS", migrations)

    store = Store(path)
    with store.read() as db:
        assert "note" not in [row["name"] for row in db.execute("PRAGMA table_info(datasets)")]
    store.close()


def test_requests_that_wait_when_it_closes_are_dropped_without_a_word(server, caplog):
    """As on Ctrl-C, with all threads busy: the HTTP server's own talk is not for users."""
    app = server.app.extensions["localsmith"]

    def send(n):
        with contextlib.suppress(requests.ConnectionError):
            requests.post(f"{server.url}/datasets", json={"name": f"{n}"}, headers={"x-api-key": "any"}, timeout=10)

    with ThreadPoolExecutor(12) as pool:
        with app.store.write():  # so that all of them wait
            pool.map(send, range(12))
            dispatcher = server._waitress.task_dispatcher
            while not dispatcher.queue:
                time.sleep(0.01)
            closing = threading.Thread(target=server.close)
            closing.start()
            while not dispatcher.stop_count:
                time.sleep(0.01)
        closing.join()

    assert not [record for record in caplog.records if record.name.startswith("waitress")]


def test_module_prints_its_url_and_names_a_taken_port(tmp_path, server):
    """`python -m localsmith` on a taken port says which port and what to do."""
    command = [sys.executable, "-m", "localsmith", "--db", str(tmp_path / "other.db"), "--port", str(server.port)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert f"Port {server.port} is in use" in done.stderr
    assert "--port" in done.stderr
    assert not (tmp_path / "other.db").exists()


def test_command_without_its_packages_names_the_extra(tmp_path):
    """One sentence; a program that imports localsmith gets the usual error."""
    (tmp_path / "flask.py").write_text("raise ModuleNotFoundError('no flask', name='flask')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def run(*words):
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=20)

    command, imported = run("-m", "localsmith"), run("-c", "import localsmith")

    sentence = "localsmith needs flask: install the extra 'local' (langsmith-rest-experiments[local])."
    assert (command.returncode, command.stderr.strip()) == (1, sentence)
    assert imported.returncode == 1 and "ModuleNotFoundError: no flask" in imported.stderr
