"""The file behind localsmith: made, migrated, or refused and left as it was."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import localsmith.store
from localsmith.store import Store, StoreError


@pytest.fixture(autouse=True, scope="module")
def stores_as_users_have_them(quick_stores):
    with pytest.MonkeyPatch.context() as patch:
        for name, real in quick_stores.items():
            patch.setattr(localsmith.store, name, real)
        yield


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


def test_log_is_as_long_for_pages_of_any_size(tmp_path, monkeypatch):
    """An older store keeps its small pages, and its log its length in bytes."""
    found = []
    for size in (4096, localsmith.store.PAGE_BYTES):
        monkeypatch.setattr(localsmith.store, "PAGE_BYTES", size)
        Store(tmp_path / f"{size}.db").close()
    for size in (4096, 8192):
        store = Store(tmp_path / f"{size}.db")
        with store.read() as db:
            names = ("page_size", "wal_autocheckpoint", "journal_size_limit")
            found.append([db.execute(f"PRAGMA {name}").fetchone()[0] for name in names])
        store.close()

    assert found == [[4096, 4000, 16_384_000], [8192, 2000, 16_384_000]]


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
        (lambda path: path.write_text("dear diary\n"), "not an SQLite file"),
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


def test_requests_that_wait_share_a_commit_and_each_keeps_its_own(tmp_path):
    """One that fails takes nothing of the others with it."""
    store = Store(tmp_path / "lab.db")
    commits, first_is_in, all_wait = [], threading.Event(), threading.Event()
    connect = store._take

    def watched():
        db = connect()
        db.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
        return db

    store._take = watched

    def write(name):
        with store.write() as db:
            db.execute("INSERT INTO migrations VALUES (?, 1)", (name,))
            if name == "first":
                first_is_in.set()
                all_wait.wait(60)
            if name == "bad":
                raise ZeroDivisionError

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(write, "first")
        first_is_in.wait(60)
        others = {name: pool.submit(write, name) for name in ("a", "bad", "b")}
        while store._waiting < 3:
            time.sleep(0.01)
        all_wait.set()
        results = {name: future.exception(10) for name, future in {"first": first, **others}.items()}

    with store.read() as db:
        names = {row["name"] for row in db.execute("SELECT name FROM migrations WHERE applied_at = 1")}
    store.close()
    assert names == {"first", "a", "b"}
    assert {name for name, error in results.items() if error} == {"bad"}
    assert len(commits) == 1


def test_failed_commit_fails_every_request_that_shared_it(tmp_path):
    """Nobody is told that something is stored which is not."""
    store = Store(tmp_path / "lab.db")
    with store.write() as db:
        db.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        db.execute("CREATE TABLE children (id REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
    go, ready = threading.Event(), threading.Event()

    def write(name, parent):
        with store.write() as db:
            db.execute("INSERT INTO migrations VALUES (?, 1)", (name,))
            if parent:
                db.execute("INSERT INTO children VALUES (?)", (parent,))  # found wrong by COMMIT, and not before
                ready.set()
                go.wait(60)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(write, "breaks", 404)]
        ready.wait(60)
        futures += [pool.submit(write, name, None) for name in ("x", "y")]
        while store._waiting < 2:
            time.sleep(0.01)
        go.set()
        errors = [future.exception(10) for future in futures]

    with store.read() as db:
        assert not db.execute("SELECT 1 FROM migrations WHERE applied_at = 1").fetchall()
    with store.write() as db:
        db.execute("INSERT INTO migrations VALUES ('after', 1)")
    store.close()
    assert [type(error) for error in errors] == [sqlite3.IntegrityError] * 3


def test_closed_store_is_whole_without_its_log(tmp_path):
    """A copy of the file alone holds everything, pages looked at or not."""
    path = tmp_path / "lab.db"
    with localsmith.serve(path) as server:
        requests.post(f"{server.url}/datasets", json={"name": "kept"}, headers={"x-api-key": "any"}, timeout=60)
        assert requests.get(server.url, timeout=60).status_code == 200
        cursor = server.app.state.store.read()
        cursor.__enter__()  # a download that is still going on

    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    with contextlib.closing(Store(copy)) as store, store.read() as db:
        assert [row["name"] for row in db.execute("SELECT name FROM datasets")] == ["kept"]
    cursor.__exit__(None, None, None)


def test_store_is_backed_up_while_it_is_written_to(tmp_path, server):
    """The copy is whole, its owner's alone, and never in the place of another file."""
    path = tmp_path / "localsmith.db"
    (tmp_path / "no.db.part").write_text("mine")
    requests.post(f"{server.url}/datasets", json={"name": "kept"}, headers={"x-api-key": "any"}, timeout=60)

    with server.app.state.store.write() as db:
        db.execute("DELETE FROM datasets")
        localsmith.store.backup(path, tmp_path / "copy.db")

    store = Store(tmp_path / "copy.db")
    with store.read() as db:
        assert [row["name"] for row in db.execute("SELECT name FROM datasets")] == ["kept"]
        assert db.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    store.close()
    for source, target, words in (
        (path, tmp_path / "copy.db", "copy.db exists: name another"),
        (tmp_path / "none.db", tmp_path / "x.db", "none.db does not exist"),
        (path, tmp_path / "no" / "x.db", "was not backed up"),
    ):
        with pytest.raises(StoreError, match=words):
            localsmith.store.backup(source, target)
    localsmith.store.backup(path, tmp_path / "no.db")
    assert (tmp_path / "no.db.part").read_text() == "mine"
    assert os.name == "nt" or stat.S_IMODE((tmp_path / "no.db").stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir() if "localsmith" not in path.name} == {
        *("copy.db", "no.db", "no.db.part")
    }


@pytest.mark.slow
@pytest.mark.parametrize("numbered", [True, False], ids=["new", "made before pages were numbered"])
def test_deletes_give_space_back_to_the_disk(tmp_path, numbered):
    path = tmp_path / "lab.db"
    store = Store(path)
    if not numbered:
        with store._alone() as db:
            db.execute("PRAGMA auto_vacuum = NONE")
            db.execute("VACUUM")
    with store.write() as db:
        db.execute("INSERT INTO sessions (id, name, start_time, created_at) VALUES ('s', 's', 1, 1)")
        rows = [(f"{n}", "s", "x" * 4000) for n in range(5000)]
        db.executemany("INSERT INTO attachments VALUES (?, ?, 'text/plain', ?)", rows)
    with store.write() as db:
        db.execute("DELETE FROM attachments")
    store.shrink()
    sizes = path.stat().st_size, path.with_name("lab.db-wal").stat().st_size
    store.close()

    assert sizes[0] < 3_000_000 and sizes[1] == 0


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
    store = server.app.state.store

    def send(n):
        with contextlib.suppress(requests.ConnectionError):
            requests.post(f"{server.url}/datasets", json={"name": f"{n}"}, headers={"x-api-key": "any"}, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        with store.write():  # so that all of them wait
            pool.map(send, range(12))
            while not (server._waitress and server._waitress.task_dispatcher.queue):
                time.sleep(0.01)
            dispatcher = server._waitress.task_dispatcher
            closing = threading.Thread(target=server.close)
            closing.start()
            while not dispatcher.stop_count:
                time.sleep(0.01)
        closing.join()

    assert not [record for record in caplog.records if record.name.startswith("waitress")]


@pytest.mark.slow
def test_module_prints_its_url_and_names_a_taken_port(tmp_path, server):
    """`python -m localsmith` on a taken port says which port and what to do."""
    command = [sys.executable, "-m", "localsmith", "--db", str(tmp_path / "other.db"), "--port", str(server.port)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert f"Port {server.port} is in use" in done.stderr
    assert "--port" in done.stderr
    assert not (tmp_path / "other.db").exists()


HIDES = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == {package!r} else find(name, *more)
"""


@pytest.mark.parametrize("package", ["flask", "orjson"])
def test_command_without_its_packages_names_the_extra(tmp_path, package):
    """One sentence, also for what is loaded later; a program that imports localsmith gets the usual error."""
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(package=package))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def run(*words):
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60)

    command, imported = run("-m", "localsmith"), run("-c", "import localsmith")

    sentence = f"localsmith needs {package}: install the extra 'local' (langsmith-rest-experiments[local])."
    assert (command.returncode, command.stderr.strip()) == (1, sentence)
    assert imported.returncode == 1 and f"No module named {package!r}" in imported.stderr


def test_a_damaged_file_says_how_to_go_on(tmp_path):
    """A backup, or what SQLite can recover."""
    path = tmp_path / "localsmith.db"
    Store(path).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\x07" * 3996
    path.write_bytes(content)

    with pytest.raises(StoreError, match=r"malformed.*a copy made by `view --backup`.*\.recover"):
        Store(path)


def test_a_file_that_cannot_be_used_is_closed_again(tmp_path, monkeypatch):
    """Else it would stay open until the garbage is collected."""
    path, opened, connect = tmp_path / "lab.db", [], sqlite3.connect
    path.write_bytes(b"SQLite format 3\0" + b"?" * 4096)
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **how: opened.append(connect(*args, **how)) or opened[-1])

    with pytest.raises(StoreError, match="cannot be used as a store"):
        Store(path)

    for db in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            db.execute("SELECT 1")
    assert opened
