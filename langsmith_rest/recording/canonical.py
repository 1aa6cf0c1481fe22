"""RFC 8785 canonical JSON: the text that ids are made of, the same in every language."""

import json
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring as quoted
from math import isfinite
from typing import Any

TOO_LARGE = "a number beyond 64 bits, expected a smaller one (or text)"


def canonical(value: Any) -> str:
    """RFC 8785 canonical JSON, but integers beyond 2**53 are written as their plain digits.

    Raises ValueError or TypeError with the words for what JSON cannot hold.
    """
    return WRITERS[type(value)](value)


def write_object(value: Mapping[str, Any]) -> str:
    parts = []
    for name, quoted_name in ORDERS[tuple(value)]:
        item = value[name]
        parts.append(quoted_name + WRITERS[type(item)](item))
    return "{" + ",".join(parts) + "}"


def write_list(value: Iterable[Any]) -> str:
    return "[" + ",".join([WRITERS[type(item)](item) for item in value]) + "]"


def write_integer(value: int) -> str:
    if not -(2**63) <= value < 2**63:
        raise ValueError(TOO_LARGE)
    return str(value)


def write_float(value: float) -> str:
    """Write a number as ECMAScript does: the shortest digits, plain from 1e-6 up to 1e21.

    Python's repr finds the same digits, but begins to write exponents earlier.
    """
    if not isfinite(value):
        raise ValueError(f"{json.dumps(value)}, which JSON cannot hold")
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa.removesuffix(".0") if value else "0"
    power = int(exponent)
    sign, digits = "-" if value < 0 else "", mantissa.lstrip("-").replace(".", "")
    if 0 < power < 21:
        if not -(2.0**63) < value < 2.0**63:
            raise ValueError(TOO_LARGE)
        return sign + digits.ljust(power + 1, "0")
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{mantissa}e{power:+d}"


def write_other(value: Any) -> str:
    """Write what else Python code may hold: subclasses, such as an Enum of texts, of which str() gives the name."""
    if isinstance(value, str):
        return quoted(value)
    bases: tuple[Any, ...] = (dict, list, tuple, float, int)
    for base in bases:
        if isinstance(value, base):
            return WRITERS[base](base(value))
    raise TypeError(f"a Python {type(value).__name__} ({str(value)[:40]}), which JSON cannot hold")


class Writers(dict[type, Callable[[Any], str]]):
    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return write_other


WRITERS = Writers({str: quoted, dict: write_object, list: write_list, tuple: write_list})
WRITERS |= {int: write_integer, float: write_float}
WRITERS |= {bool: lambda value: "true" if value else "false", type(None): lambda value: "null"}


def in_order(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names as RFC 8785 sorts them, by UTF-16 units, each also as JSON with a colon."""
    by_units = None if all(map(str.isascii, names)) else lambda name: name.encode("utf-16-be")
    return [(name, quoted(name) + ":") for name in sorted(names, key=by_units)]


class Orders(dict[tuple[str, ...], list[tuple[str, str]]]):
    """The order of names that were seen before: the objects of an experiment look alike."""

    def __missing__(self, names: tuple[str, ...]) -> list[tuple[str, str]]:
        order = in_order(names)
        if len(self) < 1000 and len(names) < 20:
            self[names] = order
        return order


ORDERS = Orders()
