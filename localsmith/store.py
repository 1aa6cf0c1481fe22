"""The SQLite file behind localsmith: opening it safely, and one transaction per request."""

import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APPLICATION_ID = 0x4C534D31  # "LSM1": marks a file as ours, see PRAGMA application_id
BUSY_TIMEOUT_MS = 15_000  # another process may hold the write lock; its transactions take milliseconds
ELSEWHERE = "Move it away, or use a store in another folder."
SCHEMA = Path(__file__).with_name("schema.sql")

Migration = Callable[[sqlite3.Connection], None]


def add_evaluator_jobs(db: sqlite3.Connection) -> None:
    for statement in _statements(SCHEMA.read_text(encoding="utf-8")):
        if "evaluator_jobs" in statement:
            db.execute(statement)


def count_attempts(db: sqlite3.Connection) -> None:
    rows = db.execute("SELECT rule_id, run_id, session_id, queued_at FROM evaluator_jobs").fetchall()
    db.execute("DROP TABLE evaluator_jobs")  # rather than altered, so that all files have the same schema
    add_evaluator_jobs(db)
    db.executemany("INSERT INTO evaluator_jobs (rule_id, run_id, session_id, queued_at) VALUES (?, ?, ?, ?)", rows)


# What older files need to become what schema.sql says, oldest first: (name, function). A new file gets
# schema.sql as it is and every name recorded; so a change goes into schema.sql and into this list.
MIGRATIONS: list[tuple[str, Migration]] = [
    ("0002 evaluator jobs", add_evaluator_jobs),
    ("0003 attempts of evaluator jobs", count_attempts),
]
FIRST = "0001 first schema"


class StoreError(Exception):
    """The file cannot be used as a store; the message names it and says what to do."""


class Store:
    """A pool of connections to one file; `read()` and `write()` are the only ways in."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path`, making or migrating it where needed.

        Raises `StoreError` for a file that is not ours, newer than this code, or not writable, and leaves it as
        it was.
        """
        self.path = Path(path).absolute()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        # SQLite's own queue for writers is sleeping and trying again; in one process a lock is fairer and faster.
        self._writer = threading.Lock()
        self._closed = False
        try:
            _check(self.path)
            self._idle.put(_prepare(self.path))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be used as a store: {error}.") from error
        except OSError as error:
            advice = "use a store in a folder that you may write to"
            raise StoreError(f"{self.path} cannot be used as a store: {error.strerror}: {advice}.") from error

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a read transaction: everything read belongs to one moment."""
        with self._connection() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a write transaction: on disk when the block ends, undone when it raises."""
        with self._connection() as db, self._writer:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself; then there is nothing left to undo.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close every idle connection; those still lent out are closed when they come back."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except queue.Empty:
            db = _connect(self.path)
        try:
            yield db
        finally:
            if self._closed:
                db.close()
            else:
                self._idle.put(db)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL may lose the last commits on power loss
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cache_size = -16000")  # 16 MB a connection at most
    db.create_function("mentions", 2, _mentions, deterministic=True)
    db.create_function("same_json", 2, _same_json, deterministic=True)
    return db


def _mentions(text: Any, lowered: str) -> bool:
    return lowered in str(text).lower()


def _same_json(text: str, other: str) -> bool:
    return bool(json.loads(text) == json.loads(other))


def _check(path: Path) -> None:
    """Refuse a file that is not ours, without opening it for writing."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file, for example {path / 'localsmith.db'}.")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
    for place, why in ((path.parent, f", and {path.name} needs its log beside it"), (path, "")):
        # Asked of the mode, too: for root everything is writable.
        if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
            raise StoreError(f"{place} is read-only{why}: make it writable, or use a store in another folder.")
    if not path.exists():
        return
    with open(path, "rb") as file:
        header = file.read(16)
    if header and header != b"SQLite format 3\0":
        raise StoreError(f"{path} is not a localsmith store: it is no SQLite file. {ELSEWHERE}")


def _prepare(path: Path) -> sqlite3.Connection:
    """Open the first connection and bring the file up to this code's schema."""
    db = _connect(path)
    try:
        # The header of the file does not do: what a killed server wrote last is still in the write-ahead log.
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path} is not a localsmith store: another program made it. {ELSEWHERE}")
        db.execute("BEGIN IMMEDIATE")  # two processes may open a new file at the same moment
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            _create(db)
        else:
            _migrate(db, path)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()  # rolls back
        raise
    return db


def _create(db: sqlite3.Connection) -> None:
    for statement in _statements(SCHEMA.read_text(encoding="utf-8")):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for name in (FIRST, *(name for name, _ in MIGRATIONS)):
        _record(db, name)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    applied = {row["name"] for row in db.execute("SELECT name FROM migrations")}
    unknown = applied - {FIRST} - {name for name, _ in MIGRATIONS}
    if unknown:
        raise StoreError(f"{path} was written by a newer localsmith ({max(unknown)}): update this one.")
    for name, migration in MIGRATIONS:
        if name not in applied:
            migration(db)
            _record(db, name)


def _record(db: sqlite3.Connection, name: str) -> None:
    db.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time_ns() // 1000))


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements; `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
