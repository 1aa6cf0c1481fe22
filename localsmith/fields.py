"""Checking the fields of a request body: `check(body, {"name": "text!", "id": "uuid"})`."""

from collections.abc import Sequence
from typing import Any

from localsmith.alike import Columns, are_ids, as_times, groups, kinds
from localsmith.wire import ApiError, as_time, as_uuid, invalid, is_uuid

# The name of each kind in messages, and its Python types.
KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "text": ("string", (str,)),
    "object": ("dictionary", (dict,)),
    "list": ("list", (list,)),
    "bool": ("boolean", (bool,)),
    "int": ("integer", (int,)),
    "number": ("number", (int, float)),
}

Fields = dict[str, str]
PLAIN: dict[str, type] = {"text": str, "object": dict, "bool": bool, "int": int}


class FixedFields(Fields):
    """Fields that never change, so that what `check` needs to know about them is computed once."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.required = [name for name, kind in fields.items() if kind[-1] == "!"]
        kinds = {name: kind.rstrip("!") for name, kind in fields.items()}
        self.kinds = {name: (kind, PLAIN.get(kind)) for name, kind in kinds.items()}


def check(body: dict[str, Any], fields: Fields, loc: list[str | int] | None = None) -> dict[str, Any]:
    """Return the known fields of `body`, ids in their 36-character form and times in microseconds.

    A kind ends in `!` when the field is required. Null is the same as absent; unknown fields are dropped, as in
    LangSmith. Raises a 422 that points at the first field that is missing or of another kind.
    """
    loc = loc or ["body"]
    fixed = fields if isinstance(fields, FixedFields) else FixedFields(fields)
    for name in fixed.required:
        if body.get(name) is None:
            raise invalid([*loc, name], "Field required", "missing")
    found: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name not in fixed.kinds:
            continue
        kind, plain = fixed.kinds[name]
        # Nearly every value is valid, so this makes no place for a message.
        if kind == "uuid" and is_uuid(value) or type(value) is plain:
            found[name] = value
        else:
            found[name] = check_kind(value, kind, [*loc, name])
    return found


def check_alike(bodies: Sequence[Any], fields: FixedFields) -> list[dict[str, Any]] | None:
    """What `check` returns for each body; None if one of them needs a look for itself."""
    if kinds(bodies) != {dict}:
        return None
    found: list[dict[str, Any]] = [{}] * len(bodies)
    for places, columns in groups(bodies):
        checked = _checked_columns(columns, fields)
        if checked is None:
            return None
        dropped = columns.keys() - checked.keys()
        changed = [(name, values) for name, values in checked.items() if values is not columns[name]]
        for n, place in enumerate(places):
            found[place] = item = bodies[place].copy()
            for name in dropped:
                del item[name]
            for name, values in changed:
                item[name] = values[n]
    return found


def _checked_columns(columns: Columns, fields: FixedFields) -> Columns | None:
    checked: Columns = {}
    for name, values in columns.items():
        if name not in fields.kinds:
            continue
        (kind, plain), of_values = fields.kinds[name], kinds(values)
        if kind == "time":
            times = as_times(values)
            values, fits = times or [], times is not None
        else:
            fits = are_ids(values) if kind == "uuid" else of_values == {plain}
        if fits:
            checked[name] = values
        elif of_values != {type(None)}:
            return None
    return checked if checked.keys() >= set(fields.required) and checked else None


def check_kind(value: Any, kind: str, loc: list[str | int]) -> Any:
    """Return `value` as `kind`, one of KINDS, `uuid`, `time`, `a|b` for a choice, or `[kind]` for a list."""
    if kind == "uuid":
        return as_uuid(value, loc)
    if kind == "time":
        return as_time(value, loc)
    if kind == "any":
        return value
    if kind.startswith("["):
        return [check_kind(item, kind[1:-1], [*loc, i]) for i, item in enumerate(check_kind(value, "list", loc))]
    if kind not in KINDS:
        return check_choice(value, kind.split("|"), loc)
    name, types = KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind in ("int", "number")):
        raise invalid(loc, f"Input should be a valid {name}", f"{name}_type")
    return value


def check_choice(value: Any, choices: list[str], loc: list[str | int]) -> Any:
    if value not in choices:
        raise invalid(loc, f"Input should be {', '.join(map(repr, choices))}", "enum")
    return value


def check_length(text: str, limit: int, loc: list[str | int]) -> str:
    if len(text) > limit:
        raise invalid(loc, f"String should have at most {limit} characters", "string_too_long")
    return text


def conflict(message: str) -> ApiError:
    return ApiError(409, message)
