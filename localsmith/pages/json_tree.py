"""JSON as a tree that folds without scripts. The text of its HTML, without the counts, is the JSON itself."""

import json
from typing import Any

from markupsafe import Markup, escape

SHORT = 60  # characters of an object or a list that stands on one line
MAX_NODES = 5000
MAX_DEPTH = 40
OPEN_LINES = 200  # larger trees begin folded below their first level


def json_tree(value: Any) -> Markup | None:
    """The tree of a value; None if it is too large or too deep."""
    if _nodes(value, 0) > MAX_NODES:
        return None
    lines = json.dumps(value, indent=0).count("\n")
    return Markup("".join(_lines(value, "", "", 0, lines <= OPEN_LINES)))


def _nodes(value: Any, depth: int) -> int:
    """How many values there are; a number beyond the limit for values that are too deep."""
    if depth > MAX_DEPTH:
        return MAX_NODES + 1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    total = 1
    for item in items:
        total += _nodes(item, depth + 1)
        if total > MAX_NODES:
            break
    return total


def _lines(value: Any, key: str, end: str, depth: int, is_open: bool) -> list[str]:
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(short) <= SHORT:
        return [f"<div>{key}{_leaf(value, short)}{end}</div>"]
    first, last = "{}" if isinstance(value, dict) else "[]"
    kind = ("key" if isinstance(value, dict) else "item") + "s" * (len(value) != 1)
    shown = " open" if is_open or depth < 1 else ""
    found = [f'<details{shown}><summary data-n="{len(value)} {kind}">{key}{first}</summary><div class="in">']
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    left = len(value)
    for name, item in pairs:
        left -= 1
        label = "" if name is None else f"<b>{escape(json.dumps(name, ensure_ascii=False))}</b>: "
        found += _lines(item, label, "," if left else "", depth + 1, is_open)
    return [*found, f"</div>{last}{end}</details>"]


def _leaf(value: Any, text: str) -> str:
    kind = "s" if isinstance(value, str) else "v"
    return str(escape(text)) if isinstance(value, dict | list) else f'<span class="{kind}">{escape(text)}</span>'
