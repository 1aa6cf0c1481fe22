"""A stored run as v1 and as v2 show it: field by field, so that only what is selected is built."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from localsmith.lists import Where
from localsmith.routes.example_reads import attachment_urls
from localsmith.runs.checks import ancestors, usage_metadata
from localsmith.runs.feedback_stats import detailed_stats, feedback_stats
from localsmith.runs.query import FROM
from localsmith.runs.totals import dollars, dollars_number, seconds
from localsmith.wire import TENANT_ID, UUID, Call, dumps, iso, loads_or_none

PREVIEW = 300  # characters
THREAD_KEYS = ("thread_id", "session_id", "conversation_id")


class StoredRun:
    """A row of run_query.SELECT with what other tables add, each looked up once for the whole page."""

    def __init__(self, row: sqlite3.Row, more: dict[str, dict[str, Any]]) -> None:
        self.row = row
        self.more = more

    def __getitem__(self, name: str) -> Any:
        return self.row[name]

    def json(self, name: str) -> Any:
        return loads_or_none(self.row[name])

    def rest(self, name: str) -> Any:
        return (self.json("rest") or {}).get(name)

    def added(self, name: str) -> Any:
        return self.more.get(name, {}).get(self.row["id"])

    def metadata(self) -> dict[str, Any]:
        extra = self.row["extra"]
        found = orjson.loads(extra).get("metadata") if extra else None
        return found if isinstance(found, dict) else {}

    def thread_id(self) -> str | None:
        metadata = self.metadata()
        return next((str(metadata[key]) for key in THREAD_KEYS if metadata.get(key)), None)

    def first_token_time(self) -> str | None:
        for event in self.rest("events") or ():
            if event.get("name") == "new_token":
                return str(event.get("time"))
        return None

    def details(self, name: str, convert: Callable[[Any], Any]) -> dict[str, Any] | None:
        """One of the four maps of usage_metadata, its numbers converted."""
        found = usage_metadata({"extra": self.json("extra"), "outputs": self.json("outputs")}).get(name)
        if not isinstance(found, dict):
            return None
        numbers = {key: n for key, n in found.items() if isinstance(n, int | float) and not isinstance(n, bool)}
        return {key: convert(n) for key, n in numbers.items()} or None

    def app_path(self) -> str:
        return f"/o/{TENANT_ID}/projects/p/{self['session_id']}/r/{self['id']}?trace_id={self['trace_id']}"


@dataclass(frozen=True)
class Column:
    """A field that is a column, perhaps converted: for a page of runs, all at once."""

    columns: str
    convert: Callable[[Any], Any] | None = None

    def __call__(self, run: StoredRun) -> Any:
        return self.of([run.row])[0]

    def of(self, rows: list[sqlite3.Row]) -> list[Any]:
        at = rows[0].keys().index(self.columns) if rows else 0  # an index is faster than a name
        values = [row[at] for row in rows]
        return list(map(self.convert, values)) if self.convert else values


@dataclass(frozen=True)
class Made:
    """A field that is made of some columns, or of what other tables add."""

    columns: str
    make: Callable[[StoredRun], Any]

    def __call__(self, run: StoredRun) -> Any:
        return self.make(run)


Field = Column | Made


def _preview(name: str) -> Made:
    return Made(name, lambda run: run[name][:PREVIEW] if run[name] else None)


def _details(name: str, convert: Callable[[Any], Any], *, raw: bool = False) -> Made:
    def make(run: StoredRun) -> dict[str, Any] | None:
        found = run.details(name, convert)
        return {"raw": found} if raw and found is not None else found

    return Made("extra outputs", make)


def _nothing() -> Made:
    return Made("", lambda run: None)


def _cost_text(number: float) -> str:
    return f"{number:.12f}".rstrip("0").rstrip(".")


SHARED: dict[str, Field] = {
    **{name: Column(name) for name in "id name error trace_id dotted_order reference_example_id".split()},
    **{name: Column(name) for name in "reference_dataset_id prompt_tokens completion_tokens total_tokens".split()},
    **{name: Column(name, loads_or_none) for name in ("inputs", "outputs", "extra", "tags")},
    "start_time": Column("start_time", iso),
    "end_time": Column("end_time", iso),
    "inputs_preview": _preview("inputs"),
    "outputs_preview": _preview("outputs"),
    "events": Made("rest", lambda run: run.rest("events")),
    "first_token_time": Made("rest", StoredRun.first_token_time),
    "parent_run_ids": Made(
        "is_root dotted_order", lambda run: [] if run["is_root"] else ancestors(run["dotted_order"])
    ),
    "app_path": Made("session_id trace_id", StoredRun.app_path),
    "feedback_stats": Made("", lambda run: run.added("feedback_stats") or {}),
}
V1: dict[str, Field] = {
    **SHARED,
    **{name: Column(name) for name in ("run_type", "status", "parent_run_id", "session_id")},
    "prompt_cost": Column("prompt_cost", dollars),
    "completion_cost": Column("completion_cost", dollars),
    "total_cost": Column("total_cost", dollars),
    "serialized": Made("rest", lambda run: run.rest("serialized")),
    "thread_id": Made("extra", StoredRun.thread_id),
    "prompt_token_details": _details("input_token_details", int),
    "completion_token_details": _details("output_token_details", int),
    "prompt_cost_details": _details("input_cost_details", _cost_text),
    "completion_cost_details": _details("output_cost_details", _cost_text),
    "child_run_ids": Made("trace_id dotted_order", lambda run: run.added("child_run_ids") or []),
    "direct_child_run_ids": Made("trace_id dotted_order", lambda run: run.added("direct_child_run_ids") or []),
    "in_dataset": Made("", lambda run: bool(run.added("in_dataset"))),
    "s3_urls": Made("", lambda run: run.added("attachments")),
    "share_token": _nothing(),
    "price_model_id": _nothing(),
    "last_queued_at": _nothing(),
    "execution_order": Made("", lambda run: 1),
    "manifest_id": _nothing(),
}
V1_REQUIRED = {"id", "name", "start_time", "run_type", "status", "trace_id", "dotted_order", "session_id", "app_path"}
V2: dict[str, Field] = {
    **SHARED,
    "run_type": Column("run_type", str.upper),
    "status": Column("status", str.upper),
    "latency_seconds": Column("latency", seconds),
    "error_preview": _preview("error"),
    "metadata": Made("extra", StoredRun.metadata),
    "manifest": Made("rest", lambda run: run.rest("serialized")),
    "project_id": Column("session_id"),
    "thread_id": Made("extra", lambda run: thread if UUID.fullmatch(thread := run.thread_id() or "") else None),
    "is_root": Column("is_root", bool),
    "prompt_cost": Column("prompt_cost", dollars_number),
    "completion_cost": Column("completion_cost", dollars_number),
    "total_cost": Column("total_cost", dollars_number),
    "prompt_token_details": _details("input_token_details", int, raw=True),
    "completion_token_details": _details("output_token_details", int, raw=True),
    "prompt_cost_details": _details("input_cost_details", float, raw=True),
    "completion_cost_details": _details("output_cost_details", float, raw=True),
    "attachments": Made("", lambda run: _plain_links(run.added("attachments") or {})),
    "is_in_dataset": Made("", lambda run: bool(run.added("in_dataset"))),
    "price_model_id": _nothing(),
    "share_url": _nothing(),
    "thread_evaluation_time": _nothing(),
    "last_queued_at": _nothing(),
}


def _plain_links(links: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("attachment."): link["presigned_url"] for name, link in links.items()}


BODY = ("inputs", "outputs", "error", "extra", "tags", "rest")


def select_v1(select: set[str]) -> str:
    """The SELECT of the columns that `v1_runs` needs."""
    return _select([V1[name] for name in _v1_names(select)])


def select_v2(selects: set[str]) -> str:
    """The SELECT of the columns that `v2_runs` needs."""
    return _select([V2[name] for name in _v2_names(selects)])


def _select(fields: list[Field]) -> str:
    columns = {"id", "reference_example_id", *" ".join(field.columns for field in fields).split()}
    tables = {**dict.fromkeys(BODY, "run_bodies"), "reference_dataset_id": "sessions"}
    named = [f"{tables.get(column, 'runs')}.{column}" for column in sorted(columns)]
    return f"SELECT {', '.join(named)} {FROM} "


def _v1_names(select: set[str]) -> set[str]:
    return (select & V1.keys()) | V1_REQUIRED if select else V1.keys() - {"child_run_ids", "direct_child_run_ids"}


def _v2_names(selects: set[str]) -> set[str]:
    return {name.lower() for name in selects} or {"id"}


def v1_runs(
    db: sqlite3.Connection, call: Call, rows: list[sqlite3.Row], select: set[str], **how: Any
) -> list[dict[str, Any]]:
    """Rows as RunSchema with the selected fields, or all of them when none is selected."""
    names = _v1_names(select)
    more = _look_up(db, call, rows, names, **how)
    chosen = [name for name in V1 if name in names]
    items: list[dict[str, Any]] = [{} for _ in rows]
    for name, values in _values(V1, chosen, rows, more):
        for item, value in zip(items, values, strict=True):
            item[name] = value
    return items


def v2_runs(
    db: sqlite3.Connection, call: Call, rows: list[sqlite3.Row], selects: set[str], **how: Any
) -> list[dict[str, Any]]:
    """Rows as query.RunResponse with the selected fields; only `id` when none is selected."""
    names = _v2_names(selects)
    more = _look_up(db, call, rows, names, detailed=True, **how)
    chosen = [name for name in V2 if name in names]
    items: list[dict[str, Any]] = [{} for _ in rows]
    for name, values in _values(V2, chosen, rows, more):
        for item, value in zip(items, values, strict=True):
            if value is not None or name == "end_time":
                item[name] = value
    return items


def _values(
    fields: dict[str, Field], names: list[str], rows: list[sqlite3.Row], more: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Iterable[Any]]]:
    """Each field of all rows."""
    runs = [StoredRun(row, more) for row in rows]
    for name in names:
        field = fields[name]
        yield name, field.of(rows) if isinstance(field, Column) else map(field.make, runs)


def _look_up(
    db: sqlite3.Connection,
    call: Call,
    rows: list[sqlite3.Row],
    names: set[str],
    *,
    detailed: bool = False,
    comparative: str | None = None,
) -> dict[str, dict[str, Any]]:
    """What other tables say about a page of runs, by name and run id."""
    ids = [row["id"] for row in rows]
    more: dict[str, dict[str, Any]] = {}
    if "feedback_stats" in names:
        stats = detailed_stats if detailed else feedback_stats
        more["feedback_stats"] = stats(db, "run_id", feedback_where(ids, comparative))
    if names & {"s3_urls", "attachments"}:
        more["attachments"] = attachment_urls(db, call, ids)
    if names & {"in_dataset", "is_in_dataset"}:
        sql = (
            "SELECT source_run_id FROM examples WHERE ended_at IS NULL"
            " AND source_run_id IN (SELECT value FROM json_each(?))"
        )
        more["in_dataset"] = {row[0]: True for row in db.execute(sql, (dumps(ids),))}
    if names & {"child_run_ids", "direct_child_run_ids"}:
        _add_children(db, rows, more)
    return more


def feedback_where(run_ids: list[str], comparative: str | None) -> Where:
    """Feedback of these runs; of pairwise feedback, only that of the comparison that is named.

    Preferences mean nothing outside of their comparison.
    """
    where = Where()
    where.add("run_id IN (SELECT value FROM json_each(?))", dumps(run_ids))
    if comparative:
        where.add("(comparative_experiment_id IS NULL OR comparative_experiment_id = ?)", comparative)
    else:
        where.add("comparative_experiment_id IS NULL")
    return where


def _add_children(db: sqlite3.Connection, rows: list[sqlite3.Row], more: dict[str, dict[str, Any]]) -> None:
    sql = (
        "SELECT id, parent_run_id FROM runs WHERE trace_id = ? AND is_root = 0"
        " AND dotted_order > ? || '.' AND dotted_order < ? || '/' ORDER BY dotted_order"
    )
    more["child_run_ids"], more["direct_child_run_ids"] = {}, {}
    for row in rows:
        below = db.execute(sql, (row["trace_id"], row["dotted_order"], row["dotted_order"])).fetchall()
        more["child_run_ids"][row["id"]] = [child["id"] for child in below]
        more["direct_child_run_ids"][row["id"]] = [c["id"] for c in below if c["parent_run_id"] == row["id"]]
