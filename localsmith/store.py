"""The SQLite file behind localsmith: opening it safely, and one transaction for requests that come together."""

import json
import os
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from localsmith.damage import REPAIR, is_damage
from localsmith.migrations import FIRST, MIGRATIONS, schema

FOLDER = ".localsmith"
APPLICATION_ID = 0x4C534D31  # "LSM1": marks a file as ours, see PRAGMA application_id
BUSY_TIMEOUT_MS = 15_000  # another process may hold the write lock; its transactions take milliseconds
PAGE_BYTES = 8192  # of new stores: fewer, larger pages take less work to write than those of 4096 bytes
LOG_BYTES = 16_384_000  # the log is written into the file when it is that long, and kept no longer than that
BYTES_AT_ONCE = 8_192_000
KEPT_BYTES = 1_024_000  # free pages that stay in the file for what comes next
ELSEWHERE = "Move it away, or use a store in another folder."


class StoreError(Exception):
    """The file cannot be used as a store; the message names it and says what to do."""


class Group:
    """Requests whose writes are committed together; `error` says why they were not."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.members = 0  # that have written
        self.error: Exception | None = None
        self.done = threading.Event()

    def end(self, error: Exception | None = None) -> None:
        self.error = error
        self.done.set()


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
        self._group: Group | None = None  # begun, and not yet committed: guarded by the lock above
        self._waiting = 0  # for that lock
        self._counting = threading.Lock()
        self._closed = False
        try:
            _make_folder(self.path)
            _check(self.path)
            _make_private(self.path)
            self._idle.put(_prepare(self.path))
            # It never writes, so its data_version moves with every commit of any other connection.
            self._watch = _connect(self.path)
        except sqlite3.Error as error:
            advice = f" {REPAIR[0].upper()}{REPAIR[1:]}." if is_damage(error) else ""
            raise StoreError(f"{self.path} cannot be used as a store: {error}.{advice}") from error
        except OSError as error:
            advice = "use a store in a folder that you may write to"
            raise StoreError(f"{self.path} cannot be used as a store: {error.strerror}: {advice}.") from error

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a read transaction: everything read belongs to one moment."""
        with self._lent() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for writing: on disk when the block ends, undone when it raises.

        Those that wait for each other share one commit, which is most of the time that a small write takes. Whoever
        finds nobody waiting commits for all. When that fails, it fails for all.
        """
        refused: BaseException | None = None
        with self._turn():
            group = self._group = self._group or self._begin()
            try:
                if group.members:  # whose writes must stay when this request fails
                    group.db.execute("SAVEPOINT request")
                yield group.db
                group.members += 1
            except BaseException as error:
                self._undo(group, error)
                refused = error
            finally:
                if self._group and not self._waiting:
                    self._commit(self._group)
        if refused:
            if group.members:  # it may be refused for what another of the group wrote, which is not on disk yet
                group.done.wait()
            raise refused
        group.done.wait()
        if group.error:
            raise type(group.error)(*group.error.args) from group.error

    def version(self) -> int:
        """A number that is another one whenever anyone, in any process, has committed to the file."""
        with self._counting:
            found: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
        return found

    def shrink(self) -> None:
        """Give the pages that deletes left free back to the disk, a piece at a time, so that others can write."""
        with self._alone() as db:
            free, pages, mode = (_number(db, name) for name in ("freelist_count", "page_count", "auto_vacuum"))
            page = _number(db, "page_size")
            if mode == 0 and free * 4 > pages:  # a store from before they were numbered: once, and as a whole
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                db.execute("VACUUM")
        while mode and free * page > KEPT_BYTES:
            with self.write() as db:
                db.execute(f"PRAGMA incremental_vacuum({BYTES_AT_ONCE // page})").fetchall()
                free = _number(db, "freelist_count")
        with self._alone() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Move the log into the file, and close every idle connection; those still lent out close when they return."""
        with self._alone() as db:
            self._closed = True
            with suppress(sqlite3.Error):  # a full disk, or one that is read-only by now
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._watch.close()
            while not self._idle.empty():
                self._idle.get_nowait().close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._counting:
            self._waiting += 1
        with self._writer:
            with self._counting:
                self._waiting -= 1
            yield

    def _begin(self) -> Group:
        db = self._take()
        try:
            db.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._give_back(db)
            raise
        return Group(db)

    def _undo(self, group: Group, error: BaseException) -> None:
        """Take back what one request of a group wrote; or what all did, where SQLite has done so by itself."""
        if group.members and group.db.in_transaction:
            group.db.execute("ROLLBACK TO request")
            return
        if group.db.in_transaction:
            group.db.execute("ROLLBACK")
        self._group = None
        self._give_back(group.db)
        group.end(error if isinstance(error, Exception) else sqlite3.OperationalError("interrupted"))

    def _commit(self, group: Group) -> None:
        failure = None
        try:
            group.db.execute("COMMIT")
        except Exception as error:
            failure = error
            # A full disk makes SQLite roll back by itself; then there is nothing left to undo.
            if group.db.in_transaction:
                group.db.execute("ROLLBACK")
        self._group = None
        self._give_back(group.db)
        group.end(failure)

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection outside of a transaction while nobody of this process writes."""
        with self._turn():
            if self._group:
                self._commit(self._group)
            with self._lent() as db:
                yield db

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        db = self._take()
        try:
            yield db
        finally:
            self._give_back(db)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _connect(self.path)

    def _give_back(self, db: sqlite3.Connection) -> None:
        if self._closed:
            db.close()
        else:
            self._idle.put(db)


def backup(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a copy of a store into a new file that others cannot read, as it is now; servers may go on writing to it.

    Raises `StoreError` when there is no store, or a file of that name.
    """
    source, copy = Path(path).absolute(), Path(target).absolute()
    if not source.exists():
        raise StoreError(f"{source} does not exist: there is nothing to back up.")
    if copy.exists():
        raise StoreError(f"{copy} exists: name another file.")
    unfinished = None
    try:
        with closing(_connect(source)) as db:
            if _number(db, "application_id") != APPLICATION_ID:
                raise StoreError(f"{source} is not a localsmith store: another program made it.")
            descriptor, unfinished = tempfile.mkstemp(dir=copy.parent, prefix=f"{copy.name}.")
            os.close(descriptor)
            db.execute("VACUUM INTO ?", (unfinished,))
        os.replace(unfinished, copy)
    except (sqlite3.Error, OSError) as error:
        if unfinished:
            Path(unfinished).unlink(missing_ok=True)
        raise StoreError(f"{source} was not backed up to {copy}: {error}.") from error


def _number(db: sqlite3.Connection, pragma: str) -> int:
    found: int = db.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        _set_up(db)
    except BaseException:
        db.close()
        raise
    return db


def _set_up(db: sqlite3.Connection) -> None:
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL may lose the last commits on power loss
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cache_size = -16000")  # 16 MB a connection at most
    db.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // _number(db, 'page_size')}")
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    db.create_function("mentions", 2, _mentions, deterministic=True)
    db.create_function("same_json", 2, _same_json, deterministic=True)


def _mentions(text: Any, lowered: str) -> bool:
    return lowered in str(text).lower()


def _same_json(text: str, other: str) -> bool:
    return bool(json.loads(text) == json.loads(other))


def _make_folder(path: Path) -> None:
    """Make the folder of a new store, which others on this machine cannot read, whatever the umask."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)


def _make_private(path: Path) -> None:
    """Let nobody else on this machine read a store, or its folder if its name shows that it is ours."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    ours = [path.parent] if path.parent.name == FOLDER else []
    for place in (*ours, path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(OSError):  # somebody else's, or not there
            if (mode := place.stat().st_mode) & 0o077:
                place.chmod(mode & 0o700)


def _check(path: Path) -> None:
    """Refuse a file that is not ours, without opening it for writing."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file, for example {path / 'localsmith.db'}.")
    for place, why in ((path.parent, f", and {path.name} needs its log beside it"), (path, "")):
        # Asked of the mode, too: for root everything is writable.
        if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
            raise StoreError(f"{place} is read-only{why}: make it writable, or use a store in another folder.")
    if not path.exists():
        return
    with open(path, "rb") as file:
        header = file.read(16)
    if header and header != b"SQLite format 3\0":
        raise StoreError(f"{path} is not a localsmith store: it is not an SQLite file. {ELSEWHERE}")


def _prepare(path: Path) -> sqlite3.Connection:
    """Open the first connection and bring the file up to this code's schema."""
    db = _connect(path)
    try:
        # The header of the file does not do: what a killed server wrote last is still in the write-ahead log.
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path} is not a localsmith store: another program made it. {ELSEWHERE}")
        if not tables:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that deletes can give space back
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
    for statement in schema():
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
