"""A project's traces, newest first, with LangSmith's filter language."""

import json
import sqlite3
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from flask import render_template, request

from localsmith.pages.charts import ranges
from localsmith.pages.common import Order, bounded, find, order_of, page_of, reading
from localsmith.pages.dataset import experiment_of, name_of
from localsmith.pages.facets import MAX_KEYS, MAX_VALUES
from localsmith.pages.feedback import feedback_of
from localsmith.pages.render import natural, number
from localsmith.pages.retries import replaced
from localsmith.runs.filters import RUN, compile_filter
from localsmith.wire import ApiError

EXAMPLES = (
    'eq(status, "error")',
    'gt(latency, "5s")',
    'search("refund")',
    'and(eq(feedback_key, "correct"), lt(feedback_score, 1))',
)
ORDERS = {
    "started": "runs.start_time",
    "name": "runs.name COLLATE NOCASE",
    "latency": "runs.latency",
    "tokens": "runs.total_tokens",
    "cost": "runs.total_cost",
}
SCORE = (  # of a trace, the mean if it was scored several times
    "(SELECT avg(score) FROM feedback WHERE run_id = runs.id AND key = ? AND comparative_experiment_id IS NULL)"
)
MAX_COUNTED = 30_000  # traces of which facets are counted
MAX_SCORES = 6  # a score with more values is divided into ranges


@dataclass(frozen=True)
class Facet:
    """`values` are (text, how many traces, the filter that leaves them, whether it is chosen)."""

    name: str
    values: list[tuple[str, int, str | None, bool]]


@dataclass(frozen=True)
class Traces:
    """The traces of a project that the address asks for, as SQL; all of them if its filter has a problem."""

    text: str
    problem: str
    where: str
    args: list[Any]
    order: Order
    sorting: str
    by: list[str]

    def select(self, columns: str, rest: str = "") -> tuple[str, list[Any]]:
        """The statement that reads these columns of them, in order."""
        bodies = " LEFT JOIN run_bodies ON run_bodies.seq = runs.seq" if self.text or "bodies" in columns else ""
        order = f"ORDER BY {self.sorting}, runs.start_time DESC, runs.id DESC {rest}"
        return f"SELECT {columns} FROM runs{bodies} WHERE {self.where} {order}", [*self.args, *self.by]

    def ids(self, db: sqlite3.Connection) -> list[str]:
        cursor = db.cursor()
        cursor.row_factory = None  # plain tuples: there may be 100,000 of them
        return [row[0] for row in cursor.execute(*self.select("runs.id"))]


def traces_of(session_id: str) -> Traces:
    text = request.args.get("filter", "").strip()
    where, args, problem = "runs.session_id = ? AND runs.is_root = 1", [session_id], ""
    if text:
        try:
            condition, *values = compile_filter(text, RUN)
            where, args = f"{where} AND ({condition})", [session_id, *values]
        except ApiError as error:
            problem = error.message
    return Traces(text, problem, where, args, *_order())


def show_project(tenant: str, session_id: str) -> str:
    with reading() as (db, kept):
        session = find(db, "sessions", session_id, "project")
        dataset_name = name_of(db, session["reference_dataset_id"])
        traces = traces_of(session["id"])
        bodies = "LEFT JOIN run_bodies ON run_bodies.seq = runs.seq" if traces.text else ""
        count = db.execute(f"SELECT count(*) FROM runs {bodies} WHERE {traces.where}", traces.args)
        page = page_of(count.fetchone()[0])
        sql, args = traces.select(
            f"runs.*, {bounded('inputs')}, {bounded('outputs')}, run_bodies.error", "LIMIT ? OFFSET ?"
        )
        rows = db.execute(sql, (*args, page.size, page.offset)).fetchall()
        ids = [row["id"] for row in rows]
        gone, feedback = replaced(db, "id", ids), feedback_of(db, ids)
        text = "" if traces.problem else traces.text
        facets = _facets(db, traces.where, traces.args, text) if page.total <= MAX_COUNTED else []
        summary, means = kept.summary(db, session["id"]), _means(db, session["id"])
    return render_template(
        "project.html",
        session=experiment_of(session),
        dataset_name=dataset_name,
        runs=[(row, _loads(row, "inputs"), _loads(row, "outputs")) for row in rows],
        feedback=feedback,
        facets=facets,
        summary=summary,
        means=means,
        order=traces.order,
        replaced=gone,
        page=page,
        filter=traces.text,
        problem=traces.problem,
        filter_examples=EXAMPLES,
    )


def _order() -> tuple[Order, str, list[str]]:
    """The order that the address asks for, and the same in SQL with its arguments; what has no value comes last."""
    asked = request.args.get("sort", "")
    scores = {asked: True} if asked.startswith("score:") else {}
    order = order_of({name: name != "name" for name in ORDERS} | scores, "started")
    way = "DESC" if order.descending else "ASC"
    if order.by in scores:
        return order, f"{SCORE} {way} NULLS LAST", [order.by.removeprefix("score:")]
    return order, f"{ORDERS[order.by]} {way}" + ("" if order.by == "started" else " NULLS LAST"), []


def _loads(row: sqlite3.Row, column: str) -> Any:
    return json.loads(row[column]) if row[column] else None


def _means(db: sqlite3.Connection, session_id: str) -> list[sqlite3.Row]:
    """The mean of each score over all traces of a project."""
    rows = db.execute(
        "SELECT key, avg(score) AS mean, count(*) AS n FROM feedback WHERE session_id = ? AND run_id IS NOT NULL"
        " AND score IS NOT NULL AND comparative_experiment_id IS NULL GROUP BY key ORDER BY key LIMIT 20",
        (session_id,),
    ).fetchall()
    return sorted(rows, key=lambda row: natural(row["key"]))


GROUPS = {  # name -> expression to group by, further tables, filter of a value
    "status": ("runs.status", "", "eq(status, {})"),
    "name": ("runs.name", "", "eq(name, {})"),
    "tag": ("tag.value", ", json_each(run_bodies.tags) tag", "has(tags, {})"),
    "model": (
        "run_bodies.extra ->> '$.metadata.ls_model_name'",
        "",
        'and(eq(metadata_key, "ls_model_name"), eq(metadata_value, {}))',
    ),
}


def _facets(db: sqlite3.Connection, where: str, args: list[Any], text: str) -> list[Facet]:
    """What the listed traces have in common, each value with the filter that leaves only its traces."""
    found = []
    for name, (column, source, condition) in GROUPS.items():
        rows = db.execute(
            f"SELECT {column}, count(*) FROM runs LEFT JOIN run_bodies ON run_bodies.seq = runs.seq{source}"
            f" WHERE {where} GROUP BY 1 ORDER BY 2 DESC LIMIT {MAX_VALUES + 1}",
            args,
        ).fetchall()
        named = [(str(value), count) for value, count in rows if value is not None and len(str(value)) <= 100]
        values = [(value, count, condition.format(json.dumps(value, ensure_ascii=False))) for value, count in named]
        if len(rows) <= MAX_VALUES:
            found += _facet(name, values, text)
    by_key, few = _facets_by_key(db, where, args, text)
    return found + by_key + _ranges(db, where, args, text, few)


def _facet(name: str, values: list[tuple[str, int, str]], text: str) -> list[Facet]:
    """The facet of these values, given with their counts and filters; nothing if it does not divide the traces."""
    shown = [(value, count, *_with(text, expression)) for value, count, expression in values]
    return [Facet(name, shown)] if len(shown) > 1 or any(chosen for *_, chosen in shown) else []


ENTRIES = {  # what has a key and a value: further tables, its key and value, the entries that count, the most values
    "score": (
        " JOIN feedback f ON f.run_id = runs.id",
        "f.key, f.score",
        "f.score IS NOT NULL AND f.comparative_experiment_id IS NULL",
        MAX_SCORES,
    ),
    "metadata": (
        ", json_each(run_bodies.extra, '$.metadata') m",
        "m.key, iif(m.type IN ('true', 'false'), m.type, CAST(m.value AS TEXT))",
        "m.type NOT IN ('object', 'array', 'null') AND m.key NOT LIKE 'ls\\_%' ESCAPE '\\' AND length(m.value) <= 100",
        MAX_VALUES,
    ),
}


def _facets_by_key(db: sqlite3.Connection, where: str, args: list[Any], text: str) -> tuple[list[Facet], list[str]]:
    """The facets of scores and of metadata, one for each key with a few values; and which scores these are."""
    found: list[Facet] = []
    few: list[str] = []
    for kind, (source, entry, counted, most) in ENTRIES.items():
        rows = db.execute(
            f"WITH entries (run, key, value) AS MATERIALIZED (SELECT runs.id, {entry} FROM runs"
            f" LEFT JOIN run_bodies ON run_bodies.seq = runs.seq{source} WHERE {where} AND {counted}),"
            f" usable AS (SELECT key FROM entries GROUP BY key HAVING count(DISTINCT value) <= {most}"
            f" ORDER BY key LIMIT {MAX_KEYS})"
            " SELECT key, value, count(DISTINCT run) FROM entries WHERE key IN usable GROUP BY 1, 2 ORDER BY 1, 2",
            args,
        ).fetchall()
        rows.sort(key=lambda row: (natural(row[0]), natural(row[1]) if kind == "metadata" else row[1]))
        for key, group in groupby(rows, key=itemgetter(0)):
            entries = list(group)
            if kind == "score":
                few.append(key)
            if kind == "metadata" and len(entries) > 1 and all(count == 1 for *_, count in entries):
                continue  # ids, which have nothing in common
            values = [(_shown(value), count, _filter_of(kind, key, value)) for _, value, count in entries]
            found += _facet(key, values, text)
    return found, few


def _ranges(db: sqlite3.Connection, where: str, args: list[Any], text: str, few: list[str]) -> list[Facet]:
    """The facets of the other scores, which have many values: a few ranges of each, which touch each other."""
    found: dict[str, dict[str, list[float]]] = {}
    rows = db.execute(
        "SELECT f.key, runs.id, f.score FROM runs LEFT JOIN run_bodies ON run_bodies.seq = runs.seq"
        f" JOIN feedback f ON f.run_id = runs.id WHERE {where} AND f.score IS NOT NULL"
        " AND f.comparative_experiment_id IS NULL AND f.key NOT IN (SELECT value FROM json_each(?)) ORDER BY f.key",
        (*args, json.dumps(few)),
    )
    for key, run, score in rows:
        found.setdefault(key, {}).setdefault(run, []).append(score)
    facets: list[Facet] = []
    for key, runs in found.items():
        scores = {score for given in runs.values() for score in given}
        if len(scores) <= MAX_SCORES:
            continue
        values = []
        for low, high in ranges(scores):
            count = sum(any(low <= score <= high for score in given) for given in runs.values())
            within = f"gte(feedback_score, {low!r}), lte(feedback_score, {high!r})"
            expression = f"and(eq(feedback_key, {json.dumps(key, ensure_ascii=False)}), {within})"
            values.append((f"{number(low)} … {number(high)}", count, expression))
        facets += _facet(key, [value for value in values if value[1]], text)
    return facets[:MAX_KEYS]


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else number(value)


def _filter_of(kind: str, key: str, value: str | float) -> str:
    """The filter that leaves the traces with this score, or this metadata."""
    if kind == "score":
        return f"and(eq(feedback_key, {json.dumps(key, ensure_ascii=False)}), eq(feedback_score, {value!r}))"
    return f"has(metadata, {json.dumps(json.dumps({key: value}, ensure_ascii=False), ensure_ascii=False)})"


def _with(text: str, expression: str) -> tuple[str | None, bool]:
    """The filter `text` with one more condition, or without it if it is the last; and whether it contains it."""
    if not text:
        return expression, False
    if text == expression:
        return None, True
    if text.endswith(f", {expression})") and text.startswith("and("):
        return text[len("and(") : -len(f", {expression})")], True
    return f"and({text}, {expression})", False
