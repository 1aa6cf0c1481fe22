"""Answers as JSON: messages, models, dataclasses and the like in the form that LangSmith's own clients record."""

import base64
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

MAX_DEPTH = 64
Path = tuple[str | int, ...]


class CannotHold(ValueError):
    """A value that JSON cannot hold; the message says where it is."""


def plain(value: Any, place: str, depth: int = 0) -> Any:
    """A copy of a value in plain JSON types; raises CannotHold, with the place, for a value without such a form.

    Numbers, texts and nesting that LangSmith refuses are left: the checks of a result report them.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > MAX_DEPTH:
        return value if isinstance(value, dict | list) else None
    if isinstance(value, Mapping):
        return {key_of(key, place): plain(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict(), place, depth + 1)
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return [plain(item, f"{place}[{at}]", depth + 1) for at, item in enumerate(in_order(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return plain(fields, place, depth + 1)
    found = as_simple(value)
    if found is not NOT_SIMPLE:
        return found
    return plain(dumped(value, place), place, depth + 1)


def key_of(key: Any, place: str) -> str:
    """A key of an object as text, as JSON writers make it one."""
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return str(key)
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    found = key if isinstance(key, int | float) else as_simple(key)
    if found is NOT_SIMPLE or isinstance(found, dict | list):
        raise CannotHold(f"'{place}' has a key that is a Python {type(key).__name__}, expected text")
    return str(found)


def in_order(values: Any) -> Any:
    """The members of a set in an order that is always the same; other values in their own order."""
    return sorted(values, key=repr) if isinstance(values, set | frozenset) else values


NOT_SIMPLE: Any = object()
AS_TEXT = (
    *(uuid.UUID, pathlib.PurePath, ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
)
SIMPLE: dict[type | tuple[type, ...], Callable[[Any], Any]] = {
    enum.Enum: lambda value: plain(value.value, "value"),
    (datetime.datetime, datetime.date, datetime.time): lambda value: value.isoformat(),
    datetime.timedelta: lambda value: value.total_seconds(),
    datetime.timezone: lambda value: value.tzname(None),
    decimal.Decimal: lambda value: int(value) if value == value.to_integral_value() else float(value),
    (bytes, bytearray): lambda value: base64.b64encode(value).decode(),
    re.Pattern: lambda value: value.pattern,
    BaseException: lambda value: {"error": type(value).__name__, "message": str(value)},
    AS_TEXT: str,
    str: str,
    int: int,
    float: float,
}


def as_simple(value: Any) -> Any:
    """The JSON form of a single value; NOT_SIMPLE for a value that has none, or that contains others."""
    for kind, convert in SIMPLE.items():
        if isinstance(value, kind):
            return convert(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # numbers of NumPy
        return value.item()
    return NOT_SIMPLE


DUMPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {"exclude_none": True, "mode": "json"}),  # pydantic
    ("model_dump", {"exclude_none": True}),  # a model with fields that pydantic cannot write as JSON
    ("dict", {}),  # pydantic 1
    ("to_dict", {}),  # dataclasses-json, pandas
    ("tolist", {}),  # NumPy
)


def dumped(value: Any, place: str) -> Any:
    """The content of an object, through the methods that LangSmith's clients look for."""
    for name, options in DUMPS if not isinstance(value, type) else ():
        method = getattr(value, name, None)
        with contextlib.suppress(Exception):
            if callable(method):
                return method(**options)
    raise CannotHold(f"'{place}' is a Python {type(value).__name__}, which JSON cannot hold")
