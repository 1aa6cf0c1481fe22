"""Items of one request with the same fields, checked a field at a time: many times as fast as one after the other.

Nearly everything that programs send passes. Where anything is unusual, each item has to be looked at for itself, which
finds what is wrong with it or makes it usual.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from localsmith.wire import micros

Columns = dict[str, Sequence[Any]]  # the values of each field

# Every digit of an id becomes 0, and what has no place in one becomes '!'.
SHAPE = bytes(48 if c in b"0123456789abcdef" else c if c in b"-," else 33 for c in range(256))
ID = b"00000000-0000-0000-0000-000000000000,"


def groups(items: Sequence[Any]) -> list[tuple[Sequence[int], Columns]]:
    """Objects by their fields: where those with the same ones are among the items, and the values of each field."""
    names_of = list(map(tuple, items))
    if len(set(names_of)) == 1:
        return [(range(len(items)), _columns(names_of[0], items))]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, names in enumerate(names_of):
        places.setdefault(names, []).append(place)
    return [(found, _columns(names, [items[place] for place in found])) for names, found in places.items()]


def _columns(names: tuple[str, ...], items: Sequence[dict[str, Any]]) -> Columns:
    return dict(zip(names, zip(*map(dict.values, items), strict=True), strict=True))


def kinds(values: Iterable[Any]) -> set[type]:
    return set(map(type, values))


def are_ids(values: Sequence[Any]) -> bool:
    """Whether all are ids in their 36-character form. A comma inside of one would make the whole too long."""
    if kinds(values) != {str}:
        return False
    text = f"{','.join(values)},".encode("utf-8", "replace")
    return len(text) == len(values) * len(ID) and text.translate(SHAPE) == ID * len(values)


def as_times(values: Sequence[Any]) -> list[int] | None:
    """ISO 8601 in microseconds since 1970, if that is what all are."""
    try:
        return list(map(micros, values)) if kinds(values) == {str} else None
    except (ValueError, OverflowError):
        return None
