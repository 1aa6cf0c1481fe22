"""Filters, compiled to parametrised SQL: what each field of a run, an example or a session is there."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from localsmith.lists import ENTRY, entry_is, exact, mentions
from localsmith.runs.filter_language import Name, Node, Value, bad_filter, parse
from localsmith.wire import dumps, micros

COMPARISONS = {"eq": "=", "neq": "IS NOT", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
LOGICAL = ("and", "or", "not")

# What a field is in SQL. `{r}` is the table of the rows, `{b}` that of their bodies.


@dataclass
class Field:
    sql: str
    convert: Callable[[Any], Any] = lambda value: value
    # Conditions on feedback or metadata hold for one feedback or one metadata entry together.
    group: str = ""
    is_key: bool = False  # names the feedback or the entry, of which the others say more


@dataclass
class Target:
    """What a filter can be about."""

    name: str
    fields: dict[str, Field]
    searched: list[tuple[str, bool]]  # columns, and whether they hold JSON
    tags: str
    metadata: str


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("text in quotes")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number")
    return exact(value)


def _dollars(value: Any) -> Any:
    # As it was written: 0.29 as a float times a million million is less than what is stored.
    return exact(Decimal(str(_number(value))) * 10**12)


def _time(value: Any) -> Any:
    try:
        return micros(_text(value))
    except (ValueError, OverflowError):
        raise ValueError("a time in ISO 8601") from None


MICROSECONDS = {"": 10**6, "s": 10**6, "ms": 1000, "m": 60 * 10**6, "h": 3600 * 10**6}


def _duration(value: Any) -> Any:
    """Seconds as a number, or a text such as "5s", as microseconds."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|m|h|)", str(value))
    if match is None or isinstance(value, bool):
        raise ValueError('a duration such as 2 or "5s"')
    return exact(Decimal(match[1]) * MICROSECONDS[match[2]])


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return int(value)


def _entry(value: Any) -> Any:
    return value if isinstance(value, str) else dumps(value)


def _any(value: Any) -> Any:
    return value if isinstance(value, str | bool) else _number(value)


THREAD = (
    "coalesce({b}.extra ->> '$.metadata.thread_id', {b}.extra ->> '$.metadata.session_id',"
    " {b}.extra ->> '$.metadata.conversation_id')"
)
TEXT_COLUMNS = "id name run_type status trace_id parent_run_id session_id reference_example_id dotted_order".split()

RUN = Target(
    "run",
    {
        **{name: Field(f"{{r}}.{name}", _text) for name in TEXT_COLUMNS},
        **{name: Field(f"{{r}}.{name}", _number) for name in ("total_tokens", "prompt_tokens", "completion_tokens")},
        **{name: Field(f"{{r}}.{name}", _dollars) for name in ("total_cost", "prompt_cost", "completion_cost")},
        "start_time": Field("{r}.start_time", _time),
        "end_time": Field("{r}.end_time", _time),
        "latency": Field("{r}.latency", _duration),
        "is_root": Field("{r}.is_root", _flag),
        "error": Field("{b}.error", _text),
        "execution_order": Field("(1)", _number),  # every client sends 1
        "thread_id": Field(THREAD, _text),
        "feedback_key": Field("feedback.key", _text, "feedback", is_key=True),
        "feedback_score": Field(
            "feedback.score",
            lambda value: _number(int(value) if value is True or value is False else value),
            "feedback",
        ),
        "feedback_value": Field("feedback.value ->> '$'", _any, "feedback"),
        "feedback_comment": Field("feedback.comment", _text, "feedback"),
        "feedback_source": Field("feedback.source_type", _text, "feedback"),
        "metadata_key": Field("key", _text, "metadata", is_key=True),
        "metadata_value": Field(ENTRY, _entry, "metadata"),
    },
    [
        *(("{r}.name", False), ("{b}.error", False)),
        *((f"{{b}}.{name}", True) for name in ("inputs", "outputs", "tags", "extra")),
    ],
    tags="{b}.tags",
    metadata="{b}.extra -> '$.metadata'",
)
EXAMPLE = Target(
    "example",
    {
        "id": Field("examples.id", _text),
        "dataset_id": Field("examples.dataset_id", _text),
        "source_run_id": Field("examples.source_run_id", _text),
        "created_at": Field("examples.created_at", _time),
        "modified_at": Field("examples.modified_at", _time),
        "metadata_key": Field("key", _text, "metadata", is_key=True),
        "metadata_value": Field(ENTRY, _entry, "metadata"),
    },
    [("examples.inputs", True), ("examples.outputs", True), ("examples.metadata", True)],
    tags="'[]'",
    metadata="examples.metadata",
)
SESSION = Target(
    "session",
    {
        "id": Field("sessions.id", _text),
        "name": Field("sessions.name", _text),
        "description": Field("sessions.description", _text),
        "reference_dataset_id": Field("sessions.reference_dataset_id", _text),
        "start_time": Field("sessions.start_time", _time),
        "end_time": Field("sessions.end_time", _time),
        "metadata_key": Field("key", _text, "metadata", is_key=True),
        "metadata_value": Field(ENTRY, _entry, "metadata"),
    },
    [("sessions.name", False), ("sessions.description", False), ("sessions.extra", True)],
    tags="'[]'",
    metadata="sessions.extra -> '$.metadata'",
)


# Compiling


@dataclass
class Sql:
    """A condition with its parameters; `group` says which EXISTS it still has to be put into.

    `speaks` says what of the group it is about, of "key" and "rest"; with both it needs nothing more.
    """

    text: str
    params: list[Any]
    group: str = ""
    speaks: frozenset[str] = frozenset()


def compile_filter(text: str, target: Target, r: str = "runs", b: str = "run_bodies") -> tuple[Any, ...]:
    """Return an SQL condition followed by its parameters; 400 for what the language does not know.

    `r` and `b` are the names that the query gives to runs and run_bodies.
    """
    sql = _Compiler(text, target, r, b).compile(parse(text))
    return sql.text, *sql.params


class _Compiler:
    def __init__(self, text: str, target: Target, r: str, b: str) -> None:
        self.text = text
        self.target = target
        self.names = {"r": r, "b": b}

    def sql(self, template: str) -> str:
        return template.format(**self.names)

    def compile(self, node: Node) -> Sql:
        return self.wrap(self.condition(node))

    def wrap(self, sql: Sql) -> Sql:
        if sql.group == "feedback":
            return Sql(
                self.sql(f"EXISTS (SELECT 1 FROM feedback WHERE feedback.run_id = {{r}}.id AND {sql.text})"), sql.params
            )
        if sql.group == "metadata":
            return Sql(
                self.sql(f"EXISTS (SELECT 1 FROM json_each({self.target.metadata}) WHERE {sql.text})"), sql.params
            )
        return sql

    def condition(self, node: Any) -> Sql:
        if not isinstance(node, Node):
            raise bad_filter('expected a condition such as eq(name, "x")', self.text, node.at)
        if node.name in LOGICAL:
            return self.logical(node)
        if node.name in COMPARISONS:
            return self.comparison(node)
        other = {"in": self.among, "has": self.has, "search": self.search, "exists": self.exists}.get(node.name)
        if other is None:
            known = ", ".join([*LOGICAL, *COMPARISONS, "in", "has", "search", "exists"])
            raise bad_filter(f"unknown function '{node.name}' (known: {known})", self.text, node.at)
        return other(node)

    def logical(self, node: Node) -> Sql:
        conditions = [self.condition(arg) for arg in node.args]
        if node.name == "not":
            if len(conditions) != 1:
                raise bad_filter("not() takes one condition", self.text, node.at)
            inner = self.wrap(conditions[0])
            return Sql(f"NOT coalesce({inner.text}, 0)", inner.params)
        if node.name == "and":
            # and(and(key, score), and(key, score)) means two feedbacks, and(key, score) one.
            conditions = [self.wrap(sql) if len(sql.speaks) > 1 else sql for sql in conditions]
        groups = {sql.group for sql in conditions}
        if len(groups) == 1:
            return _join(node.name, conditions)
        if node.name == "or":
            return _join("or", [self.wrap(sql) for sql in conditions])
        together = [
            self.wrap(_join("and", [sql for sql in conditions if sql.group == group])) for group in sorted(groups)
        ]
        return _join("and", together)

    def field(self, arg: Any) -> Field:
        if not isinstance(arg, Name):
            raise bad_filter("expected a field", self.text, arg.at)
        if arg.text not in self.target.fields:
            known = ", ".join(sorted(self.target.fields))
            raise bad_filter(f"unknown field '{arg.text}' (known: {known})", self.text, arg.at)
        return self.target.fields[arg.text]

    def two(self, node: Node) -> tuple[Any, Any]:
        if len(node.args) != 2:
            raise bad_filter(f"{node.name}() takes two arguments", self.text, node.at)
        return node.args[0], node.args[1]

    def value(self, field: Field, value: Any, at: int) -> Any:
        try:
            return field.convert(value)
        except ValueError as error:
            raise bad_filter(f"expected {error}", self.text, at) from None

    def comparison(self, node: Node) -> Sql:
        name, value = self.two(node)
        if isinstance(name, Name) and name.text == "tags" and node.name == "eq":
            return self.has(node)
        field = self.field(name)
        if not isinstance(value, Value) or isinstance(value.value, list):
            raise bad_filter("expected a value", self.text, value.at)
        column = self.sql(field.sql)
        if value.value is None:
            if node.name not in ("eq", "neq"):
                raise bad_filter("null can be compared with eq and neq only", self.text, value.at)
            return _about(field, f"{column} IS {'NOT ' if node.name == 'neq' else ''}NULL", [])
        return _about(field, f"{column} {COMPARISONS[node.name]} ?", [self.value(field, value.value, value.at)])

    def among(self, node: Node) -> Sql:
        name, values = self.two(node)
        field = self.field(name)
        if not isinstance(values, Value) or not isinstance(values.value, list):
            raise bad_filter('expected a list such as ["a", "b"]', self.text, values.at)
        wanted = [self.value(field, value, values.at) for value in values.value]
        return _about(field, f"{self.sql(field.sql)} IN (SELECT value FROM json_each(?))", [dumps(wanted)])

    def has(self, node: Node) -> Sql:
        name, value = self.two(node)
        if not isinstance(name, Name) or name.text not in ("tags", "metadata"):
            raise bad_filter("has() is for tags and metadata", self.text, name.at)
        if not isinstance(value, Value) or not isinstance(value.value, str):
            raise bad_filter("expected text in quotes", self.text, value.at)
        if name.text == "tags":
            return Sql(self.sql(f"EXISTS (SELECT 1 FROM json_each({self.target.tags}) WHERE value = ?)"), [value.value])
        try:
            wanted = json.loads(value.value)
        except (ValueError, RecursionError):
            wanted = None
        if not isinstance(wanted, dict):
            raise bad_filter('expected a JSON object such as \'{"k": "v"}\'', self.text, value.at)
        entries = []
        for key, entry in wanted.items():
            condition, *params = entry_is(entry)
            entries.append(self.wrap(Sql(f"key = ? AND {condition}", [key, *params], "metadata")))
        return _join("and", entries or [Sql("1", [])])

    def exists(self, node: Node) -> Sql:
        name, value = self.two(node)
        if not isinstance(name, Name) or name.text != "metadata" or not isinstance(getattr(value, "value", None), str):
            raise bad_filter('exists() is written exists(metadata, "key")', self.text, node.at)
        return self.wrap(Sql("key = ?", [value.value], "metadata"))

    def search(self, node: Node) -> Sql:
        *names, value = node.args
        if not isinstance(value, Value) or not isinstance(value.value, str) or len(names) > 1:
            raise bad_filter('search() is written search("text")', self.text, node.at)
        places = [(self.field(names[0]).sql, False)] if names else self.target.searched
        found = [mentions(self.sql(place), value.value, in_json=in_json) for place, in_json in places]
        return Sql(f"({' OR '.join(sql for sql, *_ in found)})", [param for _, *params in found for param in params])


def _join(word: str, conditions: list[Sql]) -> Sql:
    text = f" {word.upper()} ".join(sql.text for sql in conditions)
    params = [param for sql in conditions for param in sql.params]
    return Sql(f"({text})", params, conditions[0].group, frozenset().union(*(sql.speaks for sql in conditions)))


def _about(field: Field, text: str, params: list[Any]) -> Sql:
    speaks = frozenset(["key" if field.is_key else "rest"] if field.group else [])
    return Sql(text, params, field.group, speaks)
