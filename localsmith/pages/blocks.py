"""How a stored value is shown: as text, Markdown, code, JSON, fields, an image, or a chat.

Everything here returns plain structures; the templates escape their content.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from localsmith.pages.chat import Message, chat, messages_in
from localsmith.pages.markdown import is_image, is_markdown

MAX_FIELDS = 12  # an object with more is shown as JSON
MAX_JSON_TEXT = 200_000  # characters of a text that are looked at as JSON
STACK = re.compile(r"^Traceback \(most recent call last\)|^\s+at \S+.*[:(]\d+", re.MULTILINE)


@dataclass
class Block:
    """One thing to show. `kind` is nothing, text, markdown, code, json, image, fields, parts or messages."""

    kind: str
    text: str = ""
    value: Any = None  # of JSON
    fields: list[tuple[str, "Block"]] = field(default_factory=list)
    parts: list["Block"] = field(default_factory=list)
    messages: list["Shown"] = field(default_factory=list)


@dataclass
class ShownCall:
    name: str
    id: str
    arguments: Block
    result: Block | None


@dataclass
class Shown:
    """A message of a chat."""

    role: str
    body: Block
    calls: list[ShownCall]
    answers: str


def block(value: Any, raw: bool = False) -> Block:
    """Choose how to show a value: messages as messages, text as what it is, small objects by field, the rest as JSON.
    With `raw`, texts are shown as they are stored, and everything else as JSON."""
    if value is None or value == {} or value == []:
        return Block("nothing")
    if isinstance(value, str):
        return Block("text", value) if raw else text_block(value)
    if not isinstance(value, dict | list):
        return Block("text", json.dumps(value))
    if not raw and (found := messages_in(value)):
        shown = [_shown(item) for item in found.messages]
        return Block("messages", messages=shown, fields=[(name, block(item)) for name, item in found.beside.items()])
    if isinstance(value, dict) and len(value) <= MAX_FIELDS and all(map(_is_field, value.values())):
        return Block("fields", fields=[(name, block(item, raw)) for name, item in value.items()])
    return Block("json", pretty(value), value)


def text_block(text: str) -> Block:
    if is_image(text):
        return Block("image", text)
    if STACK.search(text):
        return Block("code", text)
    if (found := _json_in(text)) is not None:
        return Block("json", pretty(found), found)
    return Block("markdown" if is_markdown(text) else "text", text)


def _json_in(text: str) -> Any:
    """The object or list that a text contains as JSON, or None."""
    stripped = text.strip()
    if len(text) > MAX_JSON_TEXT or not stripped or stripped[0] + stripped[-1] not in ("{}", "[]"):
        return None
    try:
        found = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return found or None


def _is_field(value: Any) -> bool:
    return not isinstance(value, dict | list) or value in ({}, []) or chat(value) is not None


def _shown(item: Message) -> Shown:
    parts = [_part(part) for part in item.parts]
    body = parts[0] if len(parts) == 1 else Block("parts", parts=parts) if parts else Block("nothing")
    calls = [
        ShownCall(call.name, call.id, _part(call.arguments), None if call.result is None else _part(call.result))
        for call in item.calls
    ]
    return Shown(item.role, body, calls, item.answers)


def _part(part: Any) -> Block:
    """A part of a message. It is not searched for chats of its own, which could go on without end."""
    if isinstance(part, tuple):
        return (
            Block("image", part[1])
            if is_image(part[1])
            else Block("text", f"[image not shown: {part[1][:300] or 'no address'}]")
        )
    if isinstance(part, str):
        return text_block(part)
    if isinstance(part, list) and part and all(isinstance(item, str | tuple) for item in part):
        return Block("parts", parts=[_part(item) for item in part])
    return Block("nothing") if part in (None, {}, []) else Block("json", pretty(part), part)


def pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
