"""Checks examples against the JSON schemas of their dataset, with the keywords that schemas of data classes use.

Other keywords are ignored, as JSON Schema says of unknown ones: an example may pass here that LangSmith refuses, but
none is refused here that LangSmith accepts. The package `jsonschema` is not used, because its work has no bound: one
`pattern` can keep it busy for hours. The tests compare both.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from localsmith.wire import dumps, invalid, loads_or_none

MAX_DEPTH = 64
MAX_LOOKS = 100_000  # checks of a value; a schema that refers to itself twice would never end

TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and value == int(value),
    "number": lambda value: is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
# Keyword -> the kind of value it applies to, and what it requires.
BOUNDS: dict[str, tuple[str, Callable[[Any, float], bool]]] = {
    "minimum": ("number", lambda value, bound: value >= bound),
    "maximum": ("number", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound),
    "exclusiveMaximum": ("number", lambda value, bound: value < bound),
    "minLength": ("string", lambda value, bound: len(value) >= bound),
    "maxLength": ("string", lambda value, bound: len(value) <= bound),
    "minItems": ("array", lambda value, bound: len(value) >= bound),
    "maxItems": ("array", lambda value, bound: len(value) <= bound),
}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def schemas_of(db: sqlite3.Connection, dataset_id: str) -> dict[str, Any]:
    """The schemas of a dataset, for inputs and for outputs."""
    row = db.execute("SELECT body FROM datasets WHERE id = ?", (dataset_id,)).fetchone()
    stored = loads_or_none(row["body"]) or {}
    schemas = {name: stored.get(f"{name}_schema_definition") for name in ("inputs", "outputs")}
    return {name: schema for name, schema in schemas.items() if schema}


def check_against_schemas(schemas: dict[str, Any], inputs: Any, outputs: Any) -> None:
    """Refuse an example that breaks a schema of its dataset with a 422 that says where."""
    values = {"inputs": inputs, "outputs": outputs}
    for name, schema in schemas.items():
        value = values[name]
        if value is not None and (found := next(Look(schema).problems(value, schema, name), None)):
            raise invalid(["body", name], f"The dataset's schema of {name} is not met: {found}")


@dataclass
class Look:
    """One check of a value, bounded; `root` is where references start."""

    root: Any
    left: Iterator[int] = field(default_factory=lambda: iter(range(MAX_LOOKS)))

    def problems(self, value: Any, schema: Any, at: str, depth: int = 0) -> Iterator[str]:
        """How `value`, which is at `at`, does not fit the schema."""
        if schema is False:
            yield f"{at} is not allowed"
        if not isinstance(schema, dict) or depth > MAX_DEPTH or next(self.left, None) is None:
            return
        if "$ref" in schema:
            yield from self.problems(value, referred(schema["$ref"], self.root), at, depth + 1)
            return
        kinds = [schema["type"]] if isinstance(schema.get("type"), str) else texts(schema, "type")
        if kinds and all(kind in TYPES and not TYPES[kind](value) for kind in kinds):
            yield f"{at} should be of type {' or '.join(kinds)}, but is {dumps(value)[:80]}"
            return
        for choices in ([schema["const"]] if "const" in schema else [], items(schema, "enum")):
            if choices and not any(equal(value, choice) for choice in choices):
                yield f"{at} should be {' or '.join(map(dumps, choices))[:200]}, but is {dumps(value)[:80]}"
        for keyword, (kind, holds) in BOUNDS.items():
            if is_number(schema.get(keyword)) and TYPES[kind](value) and not holds(value, schema[keyword]):
                yield f"{at} breaks {keyword} {schema[keyword]}"
        yield from self.inside(value, schema, at, depth + 1)
        for part in items(schema, "allOf"):
            yield from self.problems(value, part, at, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            found = [next(self.problems(value, part, at, depth + 1), None) for part in items(schema, keyword)]
            if found and all(found):
                yield " and ".join(filter(None, found))[:500]

    def inside(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> Iterator[str]:
        if isinstance(value, list) and "prefixItems" not in schema:
            for i, item in enumerate(value):
                yield from self.problems(item, schema.get("items"), f"{at}[{i}]", depth)
        if not isinstance(value, dict):
            return
        known = properties if isinstance(properties := schema.get("properties"), dict) else {}
        yield from (f"{at}.{name} is missing" for name in texts(schema, "required") if name not in value)
        for name, item in value.items():
            if name in known:
                yield from self.problems(item, known[name], f"{at}.{name}", depth)
            elif "patternProperties" not in schema:
                yield from self.problems(item, schema.get("additionalProperties"), f"{at}.{name}", depth)


def items(schema: dict[str, Any], keyword: str) -> list[Any]:
    return found if isinstance(found := schema.get(keyword), list) else []


def texts(schema: dict[str, Any], keyword: str) -> list[str]:
    return [text for text in items(schema, keyword) if isinstance(text, str)]


def equal(value: Any, choice: Any) -> bool:
    """Whether JSON values are equal: 1 equals 1.0, but not true."""
    if isinstance(value, list) and isinstance(choice, list):
        return len(value) == len(choice) and all(map(equal, value, choice))
    if isinstance(value, dict) and isinstance(choice, dict):
        return value.keys() == choice.keys() and all(equal(value[name], choice[name]) for name in value)
    return isinstance(value, bool) == isinstance(choice, bool) and bool(value == choice)


def referred(reference: Any, root: Any) -> Any:
    """What `#/$defs/name` refers to; None for a reference to another document."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    place = root
    for name in reference.split("/")[1:]:
        place = place.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
    return place
