"""The form of a verdict: a JSON schema, a TypedDict or a pydantic model becomes a strict JSON schema."""

import enum
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union

SIMPLE = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
DROPPED = ("title", "default")  # of what pydantic writes


def verdict_schema_of(schema: Any) -> dict[str, Any]:
    """The schema that a judge is asked to answer in; raises ValueError for a type that has none.

    The text in a TypedDict's `Annotated[float, ..., "Confidence 0.0-1.0"]` becomes the description.
    """
    if isinstance(schema, Mapping):
        return dict(schema)
    if hasattr(schema, "model_json_schema"):
        found = schema.model_json_schema()
        return strict_object(inlined(found, found.get("$defs", {})))
    if typing.is_typeddict(schema):
        return of_type(schema, schema.__name__)
    raise ValueError(f"schema is {schema!r}, expected a JSON schema, a TypedDict or a pydantic model.")


def of_type(kind: Any, where: str) -> dict[str, Any]:
    """The schema of a Python type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        texts = [text for text in kind.__metadata__ if isinstance(text, str)]
        return {**of_type(arguments[0], where), **({"description": texts[-1]} if texts else {})}
    if origin in (Required, NotRequired):
        return of_type(arguments[0], where)
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        properties = {name: of_type(hint, f"{where}.{name}") for name, hint in hints.items()}
        return strict_object({"type": "object", "properties": properties})
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if origin is list and len(arguments) == 1:
        return {"type": "array", "items": of_type(arguments[0], where)}
    if origin in (Union, types.UnionType) and all(one in SIMPLE for one in arguments):
        return {"type": [SIMPLE[one] for one in arguments]}
    raise ValueError(f"{where} is {kind!r}, which a verdict cannot hold.")


def strict_object(schema: dict[str, Any]) -> dict[str, Any]:
    """The strict form that OpenAI asks for: every field required, and no others."""
    properties = {name: strict_inside(inner) for name, inner in schema.get("properties", {}).items()}
    return {**schema, "properties": properties, "required": list(properties), "additionalProperties": False}


def strict_inside(schema: dict[str, Any]) -> dict[str, Any]:
    if "items" in schema:
        schema = {**schema, "items": strict_inside(schema["items"])}
    return strict_object(schema) if schema.get("type") == "object" else schema


def inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema of pydantic without references, and with `anyOf` of simple types as a list of types."""
    if isinstance(schema, list):
        return [inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        others = {key: value for key, value in schema.items() if key != "$ref"}
        return inlined({**definitions[name], **others}, {k: v for k, v in definitions.items() if k != name})
    if "anyOf" in schema and all(one.keys() == {"type"} for one in schema["anyOf"]):
        kinds = [one["type"] for one in schema["anyOf"]]
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, "type": kinds}
    names = schema.get("properties", {})
    kept = {key: value for key, value in schema.items() if key not in (*DROPPED, "$defs", "properties")}
    found = {key: inlined(value, definitions) for key, value in kept.items()}
    return {**found, "properties": {n: inlined(one, definitions) for n, one in names.items()}} if names else found
