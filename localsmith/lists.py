"""What list endpoints share: paging, query parameters, and conditions that become parametrised SQL."""

import json
from typing import Any

from werkzeug.datastructures import MultiDict

from localsmith.wire import as_uuid, dumps, invalid

MAX_LIMIT = 100
MAX_OFFSET = 2**53

Query = MultiDict[str, str]


class Where:
    """Conditions joined by AND, with their parameters in order; `str()` gives a WHERE clause."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.params: list[Any] = []

    def add(self, condition: str, *params: Any) -> None:
        """Add a condition written in this code; values only ever go through `params`."""
        self.conditions.append(condition)
        self.params.extend(params)

    def among(self, column: str, values: list[str]) -> None:
        """Require one of `values`; an empty list adds no condition."""
        if len(values) == 1:
            self.add(f"{column} = ?", values[0])
        elif values:
            self.add(f"{column} IN (SELECT value FROM json_each(?))", dumps(values))

    def also(self, condition: str) -> str:
        """This clause with one more condition that has no parameters."""
        return "WHERE " + " AND ".join([*self.conditions, condition])

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


def integer(query: Query, name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None or text == "":
        return default
    try:
        value = int(text[:20])
    except ValueError:
        raise invalid(["query", name], "Input should be a valid integer", "int_parsing") from None
    if not low <= value <= high:
        raise invalid(["query", name], f"Input should be between {low} and {high}", "less_than_equal")
    return value


def page(query: Query) -> tuple[int, int]:
    """`limit` and `offset`."""
    return integer(query, "limit", MAX_LIMIT, 1, MAX_LIMIT), integer(query, "offset", 0, 0, MAX_OFFSET)


def flag(query: Query, name: str) -> bool | None:
    text = query.get(name)
    if text is None or text in ("", "null"):
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise invalid(["query", name], "Input should be a valid boolean", "bool_parsing")
    return text.lower() in ("true", "1")


def uuids(query: Query, name: str) -> list[str]:
    return [as_uuid(text, ["query", name]) for text in query.getlist(name)]


def metadata_filter(query: Query, where: Where, column: str) -> None:
    """`metadata`, JSON text: every key in it must be there with that value."""
    text = query.get("metadata")
    if not text:
        return
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise invalid(["query", "metadata"], "Input should be a JSON object", "json_invalid")
    for key, value in wanted.items():
        has_metadata(where, column, key, value)


def has_metadata(where: Where, column: str, key: str, value: Any) -> None:
    """Require that the JSON object in `column` has `key` with `value`."""
    condition, *params = entry_is(value)
    where.add(f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = ? AND {condition})", key, *params)


# A row of json_each as text: it gives texts and numbers as they are, objects as JSON, and true as 1.
ENTRY = "CASE WHEN type IN ('true', 'false', 'null') THEN type ELSE CAST(value AS TEXT) END"


def entry_is(value: Any) -> tuple[Any, ...]:
    """The condition that a row of json_each holds `value`, and its parameters; a text is any value's text."""
    if isinstance(value, dict | list):
        return "(type IN ('object', 'array') AND same_json(value, ?))", dumps(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = "type IN ('integer', 'real') AND value = ?"
        return f"({number} OR type = 'text' AND value = ?)", exact(value), dumps(value)
    return f"{ENTRY} = ?", value if isinstance(value, str) else dumps(value)


def exact(value: Any) -> int | float:
    """An int, float or Decimal as SQLite compares it: whole numbers of 64 bits exactly, others as floats."""
    return int(value) if abs(value) < 2**63 and value == int(value) else float(value)


def like(text: str) -> str:
    """`text` anywhere, as a pattern for LIKE ... ESCAPE '\\'."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def mentions(column: str, text: str, *, in_json: bool = False) -> tuple[str, ...]:
    """The condition that `column` holds `text` in any case, and its parameters; `in_json`, as stored JSON spells it."""
    wanted = json.dumps(text, ensure_ascii=False)[1:-1] if in_json else text
    if wanted.isascii():
        return f"{column} LIKE ? ESCAPE '\\'", like(wanted)
    # SQLite folds only the case of ASCII: it finds candidates, and Python decides.
    rough = "".join(sign if sign.isascii() else "\0" for sign in wanted)
    pattern = like(rough).replace("\0", "_")
    return f"({column} LIKE ? ESCAPE '\\' AND mentions({column}, ?))", pattern, wanted.lower()
