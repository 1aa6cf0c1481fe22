"""What list endpoints share: paging, query parameters, and conditions that become parametrised SQL."""

import json
from typing import Any

from werkzeug.datastructures import MultiDict

from localsmith.wire import as_uuid, dumps, invalid

MAX_LIMIT = 100
MAX_OFFSET = 2**53

Query = MultiDict[str, str]


class Where:
    """Conditions joined by AND, with their parameters in order; text of it is a WHERE clause."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.params: list[Any] = []

    def add(self, condition: str, *params: Any) -> None:
        """Add a condition written in this code; values only ever go through `params`."""
        self.conditions.append(condition)
        self.params.extend(params)

    def among(self, column: str, values: list[str]) -> None:
        """Ask for one of `values`; an empty list asks for nothing."""
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
    """Ask that the JSON object in `column` holds `key` with `value`."""
    text = value if isinstance(value, str) else dumps(value)
    # json_each gives texts and numbers as they are, objects as JSON, and true as 1: its type tells it apart.
    shown = "CASE WHEN type IN ('true', 'false', 'null') THEN type ELSE CAST(value AS TEXT) END"
    where.add(f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = ? AND {shown} = ?)", key, text)


def like(text: str) -> str:
    """`text` anywhere, as a pattern for LIKE ... ESCAPE '\\'."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
