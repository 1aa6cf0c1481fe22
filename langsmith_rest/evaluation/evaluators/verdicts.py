"""The verdict of a model: found in its reply, and checked against the JSON schema."""

import functools
import json
from typing import Any

from langsmith_rest.connection import log

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
CHECKED = {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "minimum", "maximum"}
IGNORED = {"title", "description", "default", "examples", "$schema"}


def read_verdict(reply: str, schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The object in a reply, also in a fence of Markdown or between other words; and what is wrong with it."""
    start, end = reply.find("{"), reply.rfind("}")
    try:
        verdict = json.loads(reply[start : end + 1] if start >= 0 else reply)
    except (ValueError, RecursionError) as error:
        return {}, [f"it is not JSON ({error})" if reply.strip() else "it is empty"]
    kept, dropped = without_surplus(verdict, schema)
    if dropped:
        warn_of(", ".join(dropped))
    return kept, misfits(kept, schema)


@functools.cache
def warn_of(fields: str) -> None:
    """Warn once, not for each verdict."""
    log.warning("A judge answered with fields that are not in its schema; they are left out: %s", fields)


def without_surplus(value: Any, schema: dict[str, Any]) -> tuple[Any, list[str]]:
    """A value without the fields that its schema does not allow, and the names of these."""
    if isinstance(value, list) and "items" in schema:
        found = [without_surplus(item, schema["items"]) for item in value]
        return [item for item, _ in found], [name for _, names in found for name in names]
    if not isinstance(value, dict):
        return value, []
    properties = schema.get("properties", {})
    surplus = [] if schema.get("additionalProperties") is not False else [n for n in value if n not in properties]
    kept, dropped = {}, list(surplus)
    for name in value:
        if name not in surplus:
            kept[name], names = without_surplus(value[name], properties.get(name, {}))
            dropped += names
    return kept, dropped


def check_schema(schema: dict[str, Any]) -> None:
    """Raise ValueError for a schema that this module cannot check a verdict against."""
    if unknown := schema.keys() - CHECKED - IGNORED:
        raise ValueError(f"a judge's schema may not use {', '.join(sorted(unknown))}: known are {', '.join(CHECKED)}")
    for inner in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        check_schema(inner)


def misfits(value: Any, schema: dict[str, Any], where: str = "the answer") -> list[str]:
    """Everything in which a value does not fit a schema, in words."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_kind(value, kind) for kind in kinds):
        return [f"{where} is {json.dumps(value)[:60]}, expected {' or '.join(kinds)}"]
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is not None and not any(value == one and type(value) is type(one) for one in allowed):
        return [f"{where} is {json.dumps(value)[:60]}, expected one of {json.dumps(allowed)[:200]}"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return [] if low <= value <= high else [f"{where} is {value}, expected {low} to {high}"]
    if isinstance(value, list) and "items" in schema:
        return [wrong for at, item in enumerate(value) for wrong in misfits(item, schema["items"], f"{where}[{at}]")]
    if not isinstance(value, dict):
        return []
    properties = schema.get("properties", {})
    missing = [f"'{name}' is missing" for name in schema.get("required", []) if name not in value]
    known = [name for name in value if name in properties]
    extra = [name for name in value if name not in properties]
    inner = [wrong for name in known for wrong in misfits(value[name], properties[name], f"'{name}'")]
    unknown = [f"'{name}' is unknown" for name in extra] if schema.get("additionalProperties") is False else []
    return [*missing, *unknown, *inner]


def is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float):
        return kind == "number" and value - value == 0  # neither infinite nor NaN
    return isinstance(value, KINDS[kind])
