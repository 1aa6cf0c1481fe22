"""Examples with their runs in one or more experiments: what both compare calls and the pages read."""

import sqlite3
from typing import Any

from localsmith.fields import Fields
from localsmith.lists import Where
from localsmith.routes.example_reads import FROM
from localsmith.routes.sessions import find_session
from localsmith.wire import ApiError, as_uuid, dumps, invalid, not_found

MAX_EXAMPLE_IDS = 1000
SORTS: dict[str, Fields] = {
    "v1": {"sort_by": "text", "sort_order": "ASC|DESC"},
    "v2": {"by": "text", "order": "ASC|DESC"},
}
# What may be sorted by besides feedback keys; a run's name in either generation.
COLUMNS = {
    "start_time": "start_time",
    "latency": "latency",
    "latency_seconds": "latency",
    **{name: name for name in ("total_tokens", "prompt_tokens", "completion_tokens", "total_cost")},
}
ROOTS = "runs.reference_example_id = examples.id AND runs.is_root = 1 AND runs.session_id"


def experiment_examples(
    db: sqlite3.Connection,
    dataset_id: str,
    session_ids: list[str],
    wanted: dict[str, Any],
    limit: int,
    offset: int = 0,
    sort: tuple[str | None, str | None] = (None, None),
    after: list[Any] | None = None,
) -> list[sqlite3.Row]:
    """A page of the dataset's examples that have a root run in one of the sessions.

    Each comes in its last version in this dataset, deleted or moved away since or not, as the experiment was run on it.
    `wanted` may hold `filters` by session and `example_ids`. `after` is the `place` of the example before the page.
    """
    if not db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset_id,)).fetchone():
        raise not_found("Dataset")
    if not session_ids:
        raise ApiError(400, "at least one experiment is required")
    for session_id in session_ids:
        find_session(db, session_id)
    where = Where()
    where.add("dataset_id = ?", dataset_id)
    where.add(
        "version = (SELECT max(version) FROM examples AS later"
        " WHERE later.id = examples.id AND later.dataset_id = examples.dataset_id)"
    )
    where.add(f"EXISTS (SELECT 1 FROM runs WHERE {ROOTS} IN (SELECT value FROM json_each(?)))", dumps(session_ids))
    if len(wanted.get("example_ids") or ()) > MAX_EXAMPLE_IDS:
        raise ApiError(400, f"at most {MAX_EXAMPLE_IDS} example_ids are allowed")
    where.among("examples.id", wanted.get("example_ids") or [])
    _add_filters(where, wanted.get("filters") or {})
    if not sort[0]:
        return _page_by_position(db, where, limit, offset, after)
    value, direction, params = _sort_value(sort, session_ids)
    following, place = _following(direction, after)
    sql = (
        f"WITH found AS MATERIALIZED (SELECT version AS chosen, position AS p, id AS i, ({value}) AS sort_value"
        f" FROM examples {where}) SELECT examples.*, datasets.name AS dataset_name, sort_value {FROM}"
        f" JOIN found ON chosen = version {following}"
        f" ORDER BY sort_value {direction} NULLS LAST, position, examples.id LIMIT ? OFFSET ?"
    )
    return db.execute(sql, (*params, *where.params, *place, limit, offset)).fetchall()


def _page_by_position(
    db: sqlite3.Connection, where: Where, limit: int, offset: int, after: list[Any] | None
) -> list[sqlite3.Row]:
    """A page in the order of the dataset, which an index is in: it takes the same time wherever it is."""
    if after:
        where.add("position >= ? AND (position > ? OR examples.id > ?)", after[1], *after[1:])
    chosen = (
        f"SELECT version FROM examples INDEXED BY examples_of_dataset {where} ORDER BY position, id LIMIT ? OFFSET ?"
    )
    sql = (
        f"SELECT examples.*, datasets.name AS dataset_name, NULL AS sort_value {FROM} WHERE version IN ({chosen})"
        " ORDER BY position, examples.id"
    )
    return db.execute(sql, (*where.params, limit, offset)).fetchall()


def place_of(example: sqlite3.Row) -> list[Any]:
    """Where an example stands in the order of its page, for a cursor."""
    return [example["sort_value"], example["position"], example["id"]]


def _following(direction: str, after: list[Any] | None) -> tuple[str, list[Any]]:
    """The condition for what comes after a place, whatever has come or gone before it; no value is last."""
    if after is None:
        return "", []
    value, *place = after
    if value is None:
        return "WHERE sort_value IS NULL AND (p, i) > (?, ?)", place
    sign = "<" if direction == "DESC" else ">"
    later = f"sort_value {sign} ? OR sort_value IS NULL OR sort_value = ? AND (p, i) > (?, ?)"
    return f"WHERE ({later})", [value, value, *place]


def _add_filters(where: Where, filters: dict[str, Any]) -> None:
    if not filters:
        return
    from localsmith.runs.filters import RUN, compile_filter

    for session, texts in filters.items():
        loc: list[str | int] = ["body", "filters", session]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise invalid(loc, "Input should be a valid list of strings", "list_type")
        conditions = [compile_filter(text, RUN) for text in texts]
        matching = " AND ".join(["1", *(str(condition[0]) for condition in conditions)])
        where.add(
            "EXISTS (SELECT 1 FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq"
            f" WHERE {ROOTS} = ? AND {matching})",
            as_uuid(session, loc),
            *(param for condition in conditions for param in condition[1:]),
        )


def _sort_value(sort: tuple[str | None, str | None], session_ids: list[str]) -> tuple[str, str, list[Any]]:
    """What to sort by, as SQL with its parameters, and in which direction."""
    by, direction = sort
    assert by
    if len(session_ids) > 1:
        raise ApiError(400, "sorting is possible with one experiment only")
    direction = "ASC" if direction == "ASC" else "DESC"  # never text of the request
    if by in COLUMNS:
        return f"SELECT avg(runs.{COLUMNS[by]}) FROM runs WHERE {ROOTS} = ?", direction, [session_ids[0]]
    # CROSS JOIN keeps the order: first the example's run, then its feedback. SQLite would guess the other way.
    value = (
        f"SELECT avg(score) FROM runs CROSS JOIN feedback ON feedback.run_id = runs.id WHERE {ROOTS} = ? AND key = ?"
    )
    return value, direction, [session_ids[0], by.removeprefix("feedback.")]


def experiment_rows(
    db: sqlite3.Connection, select: str, example_ids: list[str], session_ids: list[str]
) -> list[sqlite3.Row]:
    """The root runs of these examples in these sessions, in the order they began; `select` names their columns."""
    sql = (
        f"{select} WHERE runs.reference_example_id IN (SELECT value FROM json_each(?)) AND runs.is_root = 1"
        " AND runs.session_id IN (SELECT value FROM json_each(?)) ORDER BY runs.start_time, runs.seq"
    )
    return db.execute(sql, (dumps(example_ids), dumps(session_ids))).fetchall()
