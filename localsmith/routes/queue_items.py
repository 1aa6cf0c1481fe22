"""The items of review queues: adding, listing, reserving and completing them."""

import sqlite3
import uuid
from dataclasses import dataclass, field
from typing import Any

from localsmith.fields import Fields, check, check_choice, check_kind
from localsmith.lists import Where, integer, page
from localsmith.routes.sessions import find_session
from localsmith.runs.query import SELECT as SELECT_RUNS
from localsmith.runs.query import read_cursor, write_cursor
from localsmith.runs.reading import v1_runs
from localsmith.wire import ApiError, Call, as_uuid, dumps, invalid, iso, loads_or_none, not_found

MAX_ITEMS = 100  # of one request
REVIEWER_HEADER = "x-localsmith-reviewer"
REVIEWER = "local"  # whoever sends no name: here everybody is one user
SECTIONS = ("needs_my_review", "needs_others_review", "archived")
MINUTE = 60_000_000

ITEM: Fields = {
    "item_type": "RUN|THREAD",
    "run_id": "uuid",
    "thread_id": "text",
    "project_id": "uuid",
    "session_id": "uuid",
    "start_time": "time",
    "source_proposed_example_id": "uuid",
}

# Each item of a queue with the section it is in for the caller.
WITH_SECTIONS = """
    WITH caller (queue_id, needed, reviewer, reserved_since) AS (VALUES (?, ?, ?, ?)),
    placed AS (
        SELECT items.*, coalesce(mine.override_added_at, items.added_at) AS effective_added_at, CASE
            WHEN (SELECT count(*) FROM queue_reviews WHERE item_id = items.id AND status = 'completed') >= needed
            THEN 'archived'
            WHEN mine.status = 'completed' OR (
                SELECT count(*) FROM queue_reviews WHERE item_id = items.id AND reviewer <> caller.reviewer
                AND (status = 'completed' OR status = 'viewed' AND changed_at > reserved_since)
            ) >= needed THEN 'needs_others_review'
            ELSE 'needs_my_review' END AS section
        FROM caller JOIN queue_items AS items USING (queue_id)
        LEFT JOIN queue_reviews AS mine ON mine.item_id = items.id AND mine.reviewer = caller.reviewer
    )
"""


@dataclass
class Reviews:
    """How many reviews the items of a queue need, and for how long looking at one reserves it."""

    queue_id: str
    needed: int
    reserved: int  # microseconds; 0: looking reserves nothing


def needed_reviews(queue: sqlite3.Row) -> Reviews:
    body = loads_or_none(queue["body"])
    minutes = body.get("reservation_minutes") or 1
    reserves = body.get("enable_reservations", True)
    return Reviews(queue["id"], body.get("num_reviewers_per_item") or 1, minutes * MINUTE if reserves else 0)


def reviewer_of(call: Call) -> str:
    return call.request.headers.get(REVIEWER_HEADER, "").strip()[:100] or REVIEWER


@dataclass
class Items:
    """The items of one queue as the caller sees them; `where` chooses among them."""

    caller: tuple[str, int, str, int]
    where: Where = field(default_factory=Where)

    @property
    def reserved_since(self) -> int:
        return self.caller[3]

    def rows(self, db: sqlite3.Connection, tail: str, *more: Any) -> list[sqlite3.Row]:
        sql = f"{WITH_SECTIONS} SELECT * FROM placed {self.where} {tail}"
        return db.execute(sql, (*self.caller, *self.where.params, *more)).fetchall()

    def count(self, db: sqlite3.Connection) -> int:
        sql = f"{WITH_SECTIONS} SELECT count(*) FROM placed {self.where}"
        found: int = db.execute(sql, (*self.caller, *self.where.params)).fetchone()[0]
        return found


def items_of(call: Call, reviews: Reviews) -> Items:
    return Items((reviews.queue_id, reviews.needed, reviewer_of(call), call.switches.now() - reviews.reserved))


def _queue(db: sqlite3.Connection, queue_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM annotation_queues WHERE id = ?", (queue_id,)).fetchone()
    if row is None:
        raise ApiError(404, "annotation queue not found")
    return row


def item_json(row: sqlite3.Row) -> dict[str, Any]:
    kind = {"item_type": "RUN", "run_id": row["run_id"]}
    if row["run_id"] is None:
        kind = {"item_type": "THREAD", "thread_id": row["thread_id"]}
    return {
        "id": row["id"],
        "queue_id": row["queue_id"],
        **kind,
        "project_id": row["session_id"],
        "start_time": iso(row["start_time"]),
        "added_at": iso(row["added_at"]),
        "last_reviewed_time": iso(row["last_reviewed_time"]),
        "source_proposed_example_id": row["source_proposed_example_id"],
    }


def _with_reviewers(db: sqlite3.Connection, rows: list[sqlite3.Row], reserved_since: int) -> list[dict[str, Any]]:
    """What a list tells of each item beyond itself: where it stands, and who has it."""
    sql = "SELECT * FROM queue_reviews WHERE item_id IN (SELECT value FROM json_each(?)) ORDER BY changed_at, reviewer"
    reserved: dict[str, list[str]] = {}
    completed: dict[str, list[str]] = {}
    for review in db.execute(sql, (dumps([row["id"] for row in rows]),)):
        if review["status"] == "completed":
            completed.setdefault(review["item_id"], []).append(review["reviewer"])
        elif review["status"] == "viewed" and review["changed_at"] > reserved_since:
            reserved.setdefault(review["item_id"], []).append(review["reviewer"])
    return [
        {
            "effective_added_at": iso(row["effective_added_at"]),
            "reserved_by": reserved.get(row["id"], []),
            "completed_by": completed.get(row["id"], []),
        }
        for row in rows
    ]


# Adding


def add_item(db: sqlite3.Connection, queue_id: str, item: dict[str, Any], now: int) -> sqlite3.Row:
    """Add a run or a thread and return its row; an existing one stays where it is."""
    if "run_id" in item:
        run = db.execute("SELECT session_id, start_time FROM runs WHERE id = ?", (item["run_id"],)).fetchone()
        if run is None:
            raise ApiError(404, f"run not found: {item['run_id']}")
        session_id, start_time, what = run["session_id"], run["start_time"], item["run_id"]
    else:
        session_id = item.get("project_id") or item.get("session_id")
        if not session_id or "thread_id" not in item:
            raise ApiError(400, "an item needs run_id, or thread_id and project_id")
        find_session(db, session_id)
        start_time, what = None, item["thread_id"]
    db.execute(
        "INSERT OR IGNORE INTO queue_items (id, queue_id, session_id, run_id, thread_id, start_time, added_at,"
        " source_proposed_example_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            str(uuid.uuid4()),
            queue_id,
            session_id,
            item.get("run_id"),
            None if "run_id" in item else what,
            start_time,
            now,
            item.get("source_proposed_example_id"),
        ),
    )
    sql = "SELECT * FROM queue_items WHERE queue_id = ? AND session_id = ? AND coalesce(run_id, thread_id) = ?"
    row: sqlite3.Row = db.execute(sql, (queue_id, session_id, what)).fetchone()
    return row


def create_items(call: Call) -> dict[str, Any]:
    wanted = check(call.object(), {"items": "[object]!"})["items"]
    if len(wanted) > MAX_ITEMS:
        raise ApiError(400, f"at most {MAX_ITEMS} items can be added at once")
    items = [check(item, ITEM, ["items", i]) for i, item in enumerate(wanted)]
    with call.store.write() as db:
        queue = _queue(db, call.ids["queue_id"])
        return {"items": [item_json(add_item(db, queue["id"], item, call.switches.now())) for item in items]}


def add_runs(call: Call) -> list[dict[str, Any]]:
    """The older form: a list of run ids, or of objects that hold one."""
    body = check_kind(call.json(), "list", ["body"])
    ids = [item.get("run_id") if isinstance(item, dict) else item for item in body]
    found = [as_uuid(run_id, ["body", i]) for i, run_id in enumerate(ids)]
    with call.store.write() as db:
        queue = _queue(db, call.ids["queue_id"])
        rows = [add_item(db, queue["id"], {"run_id": run_id}, call.switches.now()) for run_id in found]
    names = ("id", "queue_id", "run_id", "added_at", "last_reviewed_time", "source_proposed_example_id")
    return [{name: item_json(row)[name] for name in names} for row in rows]


# Listing


def list_items(call: Call) -> dict[str, Any]:
    """One page of a section, in the order in which its items are to be reviewed."""
    query = call.request.args
    if not query.get("status"):
        raise ApiError(400, "status is required: needs_my_review, needs_others_review or archived")
    section = check_choice(query["status"], list(SECTIONS), ["query", "status"])
    back = (
        check_choice(query.get("direction", "forward"), ["forward", "backward"], ["query", "direction"]) == "backward"
    )
    size = integer(query, "page_size", 20, 1, 100)
    bound = {name: value for name, value in query.to_dict(flat=False).items() if name != "direction"}
    place = read_cursor({**bound, "cursor": query.get("cursor")}, 2)
    if back and place is None:
        raise ApiError(400, "direction backward needs a cursor")
    with call.store.read() as db:
        items = items_of(call, needed_reviews(_queue(db, call.ids["queue_id"])))
        items.where.add("section = ?", section)
        _narrow(items.where, call)
        if place:
            items.where.add(f"(effective_added_at, seq) {'<' if back else '>'} (?, ?)", *place)
        order = "DESC" if back else "ASC"
        rows = items.rows(db, f"ORDER BY effective_added_at {order}, seq {order} LIMIT ?", size + 1)
        more, rows = len(rows) > size, rows[:size]
        rows = rows[::-1] if back else rows
        reviewers = _with_reviewers(db, rows, items.reserved_since)
    ends = [[row["effective_added_at"], row["seq"]] for row in (rows[0], rows[-1])] if rows else [None, None]
    return {
        "items": [{**item_json(row), **who, "assigned_to": []} for row, who in zip(rows, reviewers, strict=True)],
        "previous_cursor": write_cursor(ends[0] if (more if back else place) else None, bound),
        "next_cursor": write_cursor(ends[1] if back or more else None, bound),
    }


def _narrow(where: Where, call: Call) -> None:
    query = call.request.args
    if "item_type" in query:
        kind = check_choice(query["item_type"], ["RUN", "THREAD"], ["query", "item_type"])
        where.add(f"run_id IS {'NOT ' if kind == 'RUN' else ''}NULL")
    for name, sign in (("min_start_time", ">="), ("max_start_time", "<=")):
        if query.get(name):
            where.add(f"start_time {sign} ?", check_kind(query[name].replace(" ", "+"), "time", ["query", name]))
    if query.get("agreement") or query.get("has_unresolved_keys"):
        raise ApiError(501, "agreement between reviewers is not in this embedded store")


def count_items(call: Call) -> dict[str, int]:
    query = call.request.args
    section = check_choice(query.get("status", "all"), [*SECTIONS, "all"], ["query", "status"])
    with call.store.read() as db:
        items = items_of(call, needed_reviews(_queue(db, call.ids["queue_id"])))
        if section != "all":
            items.where.add("section = ?", section)
        _narrow(items.where, call)
        return {"count": items.count(db)}


def get_placement(call: Call) -> dict[str, Any]:
    """Which section an item is in for the caller, and how many stand before it."""
    with call.store.read() as db:
        items = items_of(call, needed_reviews(_queue(db, call.ids["queue_id"])))
        items.where.add("id = ?", call.ids["item_id"])
        found = items.rows(db, "")
        if not found:
            raise ApiError(404, "item not found")
        row = found[0]
        before = items_of(call, needed_reviews(_queue(db, call.ids["queue_id"])))
        before.where.add("section = ?", row["section"])
        before.where.add("(effective_added_at, seq) < (?, ?)", row["effective_added_at"], row["seq"])
        return {"section": row["section"], "position": before.count(db), "item_type": item_json(row)["item_type"]}


def list_runs(call: Call) -> list[dict[str, Any]]:
    """The older form of a list: whole runs, each with its place in the queue."""
    query = call.request.args
    names = {"completed": "archived", **{name: name for name in SECTIONS}}
    status = "archived" if query.get("archived", "").lower() == "true" else query.get("status")
    if status is not None:
        check_choice(status, list(names), ["query", "status"])
    return _runs(call, names[status] if status else None, *page(query))


def _runs(call: Call, section: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
    with call.store.read() as db:
        items = items_of(call, needed_reviews(_queue(db, call.ids["queue_id"])))
        items.where.add("run_id IS NOT NULL")
        if section:
            items.where.add("section = ?", section)
        rows = items.rows(db, "ORDER BY effective_added_at, seq LIMIT ? OFFSET ?", limit, offset)
        reviewers = _with_reviewers(db, rows, items.reserved_since)
        sql = f"{SELECT_RUNS} WHERE runs.id IN (SELECT value FROM json_each(?))"
        stored = db.execute(sql, (dumps([row["run_id"] for row in rows]),)).fetchall()
        runs = {run["id"]: run for run in v1_runs(db, call, stored, set())}
    added = ("added_at", "last_reviewed_time", "source_proposed_example_id")
    return [
        {**runs[row["run_id"]], **{name: item_json(row)[name] for name in added}, **who, "queue_run_id": row["id"]}
        for row, who in zip(rows, reviewers, strict=True)
        if row["run_id"] in runs
    ]


def get_run(call: Call) -> dict[str, Any]:
    index = call.ids["index"]
    if not index.isdigit() or len(index) > 9:
        raise invalid(["path", "index"], "Input should be a valid integer", "int_parsing")
    found = _runs(call, "needs_my_review", 1, int(index))
    if not found:
        raise not_found("Run")
    return found[0]


# Changing


def _find_item(db: sqlite3.Connection, item_id: str, queue_id: str | None = None) -> sqlite3.Row:
    """An item by its id or, in its queue, by that of its run, as the SDKs send it."""
    sql = "SELECT * FROM queue_items WHERE id = :id AND (:queue IS NULL OR queue_id = :queue)"
    sql += " OR run_id = :id AND queue_id = :queue"
    row: sqlite3.Row | None = db.execute(sql, {"id": item_id, "queue": queue_id}).fetchone()
    if row is None:
        raise ApiError(404, "item not found")
    return row


def update_item(call: Call) -> dict[str, Any]:
    fields = check(call.object(), {"added_at": "time", "last_reviewed_time": "time"})
    with call.store.write() as db:
        row = _find_item(db, call.ids["item_id"], call.ids["queue_id"])
        values = [fields.get(name, row[name]) for name in ("added_at", "last_reviewed_time")]
        db.execute("UPDATE queue_items SET added_at = ?, last_reviewed_time = ? WHERE seq = ?", (*values, row["seq"]))
        return item_json(_find_item(db, row["id"]))


def set_status(call: Call) -> dict[str, Any]:
    """Say how far the caller is with an item: `viewed` reserves it, null shows it to the caller again."""
    body = call.object()
    fields = check(body, {"status": "viewed|completed", "override_added_at": "time"})
    status, now = fields.get("status"), call.switches.now()
    with call.store.write() as db:
        row = _find_item(db, call.ids["item_id"])
        old = db.execute(
            "SELECT * FROM queue_reviews WHERE item_id = ? AND reviewer = ?", (row["id"], reviewer_of(call))
        ).fetchone()
        if status == "viewed" and old and old["status"] == "completed":
            status = "completed"  # looking at it again does not undo the review
        moved = fields.get("override_added_at", old["override_added_at"] if old else None)
        review = (row["id"], reviewer_of(call), status, now, moved)
        db.execute("INSERT OR REPLACE INTO queue_reviews VALUES (?, ?, ?, ?, ?)", review)
        if status == "completed":
            db.execute("UPDATE queue_items SET last_reviewed_time = ? WHERE seq = ?", (now, row["seq"]))
        items = items_of(call, needed_reviews(_queue(db, row["queue_id"])))
        items.where.add("id = ?", row["id"])
        section = items.rows(db, "")[0]["section"]
    return {
        "queue_item_id": row["id"],
        "status": status,
        "override_added_at": iso(moved),
        "is_archived": section == "archived",
    }


def delete_items(call: Call) -> dict[str, str]:
    ids = check(call.object(), {"item_ids": "[uuid]!"})["item_ids"]
    with call.store.write() as db:
        queue = _queue(db, call.ids["queue_id"])
        among = "IN (SELECT value FROM json_each(?))"
        db.execute(f"DELETE FROM queue_items WHERE queue_id = ? AND id {among}", (queue["id"], dumps(ids)))
    return {"status": "ok"}


def delete_run(call: Call) -> dict[str, Any]:
    with call.store.write() as db:
        row = _find_item(db, call.ids["item_id"], call.ids["queue_id"])
        db.execute("DELETE FROM queue_items WHERE seq = ?", (row["seq"],))
    return {}


def delete_runs(call: Call) -> dict[str, Any]:
    """Take runs out of a queue: those named, or all but those excluded."""
    fields = check(call.object(), {"delete_all": "bool", "run_ids": "[uuid]", "exclude_run_ids": "[uuid]"})
    with call.store.write() as db:
        queue = _queue(db, call.ids["queue_id"])
        among = "(SELECT value FROM json_each(?))"
        if fields.get("delete_all"):
            which, ids = f"NOT IN {among}", fields.get("exclude_run_ids", [])
        else:
            which, ids = f"IN {among}", fields.get("run_ids", [])
        sql = f"DELETE FROM queue_items WHERE queue_id = ? AND (run_id {which} OR id {which})"
        if fields.get("delete_all"):
            sql = f"DELETE FROM queue_items WHERE queue_id = ? AND coalesce(run_id, '') {which} AND id {which}"
        db.execute(sql, (queue["id"], dumps(ids), dumps(ids)))
    return {}
