"""The v2 lists of datasets and rules, over the data of v1."""

from typing import Any

from werkzeug.datastructures import MultiDict

from localsmith.fields import check_choice
from localsmith.lists import Where, integer, like, uuids
from localsmith.routes import datasets, rules
from localsmith.runs.query import read_cursor, write_cursor
from localsmith.wire import ApiError, Call


class Pages:
    """Paging of a GET list: `page_size` and `cursor` of the query; `answer` makes the body."""

    def __init__(self, call: Call, default: int = 100, most: int = 100) -> None:
        args = call.request.args
        self.query: dict[str, Any] = {**args.to_dict(flat=False), "cursor": args.get("cursor")}
        self.size = integer(args, "page_size", default, 1, most)
        (self.offset,) = read_cursor(self.query, 1) or [0]
        if self.offset < 0:
            raise ApiError(400, "invalid cursor: it belongs to another query")
        self.limits = (self.size + 1, self.offset)  # one more tells whether there is a next page

    def answer(self, items: list[Any]) -> dict[str, Any]:
        place = [self.offset + self.size] if len(items) > self.size else None
        return {"items": items[: self.size], "next_cursor": write_cursor(place, self.query)}


def order(query: MultiDict[str, str]) -> str:
    """`sort_order` as SQL."""
    return check_choice(query.get("sort_order", "desc"), ["asc", "desc"], ["query", "sort_order"]).upper()


def list_datasets(call: Call) -> dict[str, Any]:
    query, pages = call.request.args, Pages(call)
    where, sort = datasets.conditions(query), datasets.sort_column(query)
    by = f"{sort} IS NULL, {sort} {order(query)}, id"  # those without a value come last both ways
    with call.store.read() as db:
        rows = db.execute(f"{datasets.SELECT} {where} ORDER BY {by} LIMIT ? OFFSET ?", (*where.params, *pages.limits))
        items = [datasets.dataset_json(row) for row in rows]
    if "example_count" in query.getlist("exclude"):
        items = [{**item, "example_count": None} for item in items]
    return pages.answer(items)


# What v2 calls a rule's fields, and those it always has.
RENAMED = {"session_id": "project_id", "session_name": "project_name"}
FLAGS = (
    *("use_corrections_dataset", "include_extended_stats", "transient", "extend_only", "is_tracing_disabled"),
    *("is_managed_evaluator", "add_to_dataset_prefer_correction"),
)


def rule_json(row: Any) -> dict[str, Any]:
    rule = {RENAMED.get(name, name): value for name, value in rules.rule_json(row).items()}
    for code in rule.get("code_evaluators") or ():
        code["language"] = str(code.get("language", "python")).upper()
    if rule.get("group_by"):
        rule["group_by"] = str(rule["group_by"]).upper()
    return {**dict.fromkeys(FLAGS, False), **rule}


def list_rules(call: Call) -> dict[str, Any]:
    query, pages = call.request.args, Pages(call)
    where = Where()
    columns = {"id": "id", "project_id": "session_id", "dataset_id": "dataset_id", "evaluator_id": "evaluator_id"}
    for name, column in columns.items():
        where.among(f"rules.{column}", uuids(query, name))
    if "type" in query:
        kind = check_choice(query["type"], ["PROJECT", "DATASET"], ["query", "type"])
        where.add(f"rules.{'session' if kind == 'PROJECT' else 'dataset'}_id IS NOT NULL")
    if query.get("name_contains"):
        where.add("rules.display_name LIKE ? ESCAPE '\\'", like(query["name_contains"]))
    sql = f"{rules.SELECT} {where} ORDER BY rules.updated_at DESC, rules.id DESC LIMIT ? OFFSET ?"
    with call.store.read() as db:
        return pages.answer([rule_json(row) for row in db.execute(sql, (*where.params, *pages.limits))])
