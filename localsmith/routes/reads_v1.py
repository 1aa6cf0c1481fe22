"""The v1 run reads: POST /runs/query, GET /runs/{id}, POST /datasets/{id}/runs, and POST /runs/stats."""

from typing import Any

from localsmith.fields import Fields, check
from localsmith.lists import MAX_OFFSET
from localsmith.routes.example_reads import example_json
from localsmith.routes.feedback import SELECT as SELECT_FEEDBACK
from localsmith.routes.feedback import feedback_json
from localsmith.runs.checks import RUN_TYPES
from localsmith.runs.experiments import SORTS, experiment_examples, experiment_rows
from localsmith.runs.query import SELECT, page_of_runs, read_cursor, run_conditions, write_cursor
from localsmith.runs.reading import V1, feedback_where, select_v1, v1_runs
from localsmith.runs.totals import run_stats
from localsmith.wire import ApiError, Call, invalid, not_found

RUN_QUERY: Fields = {
    "id": "[uuid]",
    "session": "[uuid]",
    "trace": "uuid",
    "parent_run": "uuid",
    "reference_example": "[uuid]",
    "run_type": "|".join(RUN_TYPES),
    "is_root": "bool",
    "error": "bool",
    "start_time": "time",
    "end_time": "time",
    "filter": "text",
    "trace_filter": "text",
    "tree_filter": "text",
    "search_filter": "text",
    "query": "text",
    "limit": "int",
    "order": "asc|desc",
    "select": "[text]",
    "cursor": "text",
}
SCOPES = ("session", "id", "parent_run", "trace", "reference_example")


def query_runs(call: Call) -> dict[str, Any]:
    body = call.object()
    wanted = check(body, RUN_QUERY)
    limit = wanted.get("limit", 100)
    if limit > 100:
        raise ApiError(400, "Limit exceeds maximum allowed value of 100")
    if limit < 1:
        raise invalid(["body", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")
    if not any(wanted.get(scope) is not None for scope in SCOPES):
        raise ApiError(
            400, "At least one of 'session', 'id', 'parent_run', 'trace' or 'reference_example' must be specified"
        )
    if wanted.get("query"):
        raise ApiError(400, "'query' in natural language is not available on this server: use 'filter'")
    where = run_conditions({"id": wanted["id"]} if "id" in wanted else wanted)
    order = wanted.get("order", "desc")
    with call.store.read() as db:
        rows, place = page_of_runs(db, where, limit, order=order, after=read_cursor(body, 2))
        runs = v1_runs(db, call, rows, set(wanted.get("select", ())))
    return {
        "runs": runs,
        "cursors": {"next": write_cursor(place, body), "prev": None},
        "search_cursors": None,
        "parsed_query": None,
    }


def get_run(call: Call) -> dict[str, Any]:
    """One run with everything, including the ids of the runs below it."""
    with call.store.read() as db:
        rows = db.execute(f"{SELECT} WHERE runs.id = ?", (call.ids["run_id"],)).fetchall()
        if not rows:
            raise not_found("Run")
        return v1_runs(db, call, rows, set(V1))[0]


def get_run_stats(call: Call) -> dict[str, Any]:
    body = call.object()
    wanted = check(body, RUN_QUERY)
    if not wanted.get("session"):
        raise invalid(["body", "session"], "Field required", "missing")
    if body.get("group_by") or body.get("groups"):
        raise ApiError(400, "'group_by' is not available on this server")
    with call.store.read() as db:
        found = run_stats(db, run_conditions(wanted))
    if select := set(body.get("select") or ()):
        return {name: value for name, value in found.items() if name in select}
    return found


# The compare view's call

COMPARE: Fields = {
    "session_ids": "[uuid]!",
    "offset": "int",
    "limit": "int",
    "preview": "bool",
    "comparative_experiment_id": "uuid",
    "sort_params": "object",
    "filters": "object",
    "example_ids": "[uuid]",
}
PREVIEW_FIELDS = set(V1) - {"inputs", "outputs", "events", "serialized", "child_run_ids", "direct_child_run_ids"}
FULL_FIELDS = PREVIEW_FIELDS | {"inputs", "outputs"}


def list_dataset_runs(call: Call) -> list[dict[str, Any]]:
    """Examples with their runs in the given experiments, single feedback included."""
    wanted = check(call.object(), COMPARE)
    limit, offset = wanted.get("limit", 100), wanted.get("offset", 0)
    if not 1 <= limit <= 100 or not 0 <= offset <= MAX_OFFSET:
        raise invalid(["body", "limit"], "limit should be between 1 and 100, offset 0 or more", "less_than_equal")
    sort = check(wanted.get("sort_params", {}), SORTS["v1"], ["body", "sort_params"])
    order = (sort.get("sort_by"), sort.get("sort_order"))
    comparative = wanted.get("comparative_experiment_id")
    select = PREVIEW_FIELDS if wanted.get("preview") else FULL_FIELDS
    with call.store.read() as db:
        examples = experiment_examples(db, call.ids["dataset_id"], wanted["session_ids"], wanted, limit, offset, order)
        ids = [example["id"] for example in examples]
        rows = experiment_rows(db, select_v1(select), ids, wanted["session_ids"])
        runs = v1_runs(db, call, rows, select, comparative=comparative)
        where = feedback_where([row["id"] for row in rows], comparative)
        sql = f"{SELECT_FEEDBACK} {where} ORDER BY feedback.seq"
        feedbacks = [feedback_json(row) for row in db.execute(sql, where.params)]
    by_run: dict[str, list[dict[str, Any]]] = {}
    for feedback in feedbacks:
        by_run.setdefault(feedback["run_id"], []).append(feedback)
    by_example: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        run["feedbacks"] = by_run.get(run["id"], [])
        by_example.setdefault(run["reference_example_id"], []).append(run)
    return [{**example_json(example), "runs": by_example.get(example["id"], [])} for example in examples]
