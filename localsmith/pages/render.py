"""Stored values made readable: what a template shows of JSON, texts, messages, numbers and times.

Everything here returns plain text and plain structures; escaping is the template's, always.
"""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from localsmith.wire import iso

MAX_DIFF_WORDS = 1500  # the time a diff takes grows with the square


@dataclass
class Block:
    """One thing to show. `kind` is nothing, text, json, fields or messages."""

    kind: str
    text: str = ""
    fields: list[tuple[str, "Block"]] = field(default_factory=list)
    messages: list["Message"] = field(default_factory=list)


@dataclass
class Message:
    role: str
    body: Block
    calls: list[tuple[str, str, str]] = field(default_factory=list)  # name, arguments, id
    answers: str = ""  # the id of the call this is the result of


def block(value: Any) -> Block:
    """Choose how to show a value: messages as messages, text as text, small objects by field, the rest as JSON."""
    if value is None or value == {} or value == []:
        return Block("nothing")
    if isinstance(value, str):
        return Block("text", value)
    if not isinstance(value, dict | list):
        return Block("text", json.dumps(value))
    if found := messages_in(value):
        return found
    if isinstance(value, dict) and len(value) <= 12 and all(_plain(item) for item in value.values()):
        return Block("fields", fields=[(name, block(item)) for name, item in value.items()])
    return Block("json", pretty(value))


def _plain(value: Any) -> bool:
    return not isinstance(value, dict | list) or value in ({}, []) or _chat(value) is not None


def pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


# Chat messages, as OpenAI, Anthropic and LangChain write them


def messages_in(value: Any) -> Block | None:
    """The chat in a value, with whatever stands beside it as fields; None when there is none."""
    found = _chat(value)
    if found is None:
        return None
    key, messages = found
    rest = {name: item for name, item in value.items() if name != key} if key else {}
    fields = [(name, block(item)) for name, item in rest.items() if item not in (None, {}, [])]
    return Block("messages", messages=messages, fields=fields)


def _chat(value: Any) -> tuple[str, list[Message]] | None:
    """The messages of a value and the key they stand under, '' for none. Looks at nothing beside them: a value
    that asks for its neighbours at every level would take time without end."""
    if isinstance(value, list):
        messages = _messages(value)
        return ("", messages) if messages else None
    if not isinstance(value, dict):
        return None
    if single := message(value):
        return "", [single]
    for key in ("messages", "choices", "generations"):
        items = value.get(key)
        if not isinstance(items, list) or not items:
            continue
        if key != "messages":
            items = [item.get("message") if isinstance(item, dict) else item for item in _flat(items)]
        elif len(items) == 1 and isinstance(items[0], list):
            items = items[0]  # LangChain records a batch of one
        if messages := _messages(items):
            return key, messages
    return None


def _messages(items: list[Any]) -> list[Message]:
    """All of them, or none when one is no message."""
    found = [message(item) for item in items]
    return [item for item in found if item] if all(found) else []


def _flat(items: list[Any]) -> list[Any]:
    return [inner for item in items for inner in (item if isinstance(item, list) else [item])]


LANGCHAIN_ROLES = {"human": "user", "ai": "assistant", "HumanMessage": "user", "AIMessage": "assistant"}


def message(value: Any) -> Message | None:
    """One chat message, or None for anything else."""
    if not isinstance(value, dict):
        return None
    if value.get("lc") == 1 and isinstance(value.get("kwargs"), dict) and isinstance(value.get("id"), list):
        name = str(value["id"][-1]) if value["id"] else "message"
        role = LANGCHAIN_ROLES.get(name) or name.removesuffix("Chunk").removesuffix("Message").lower()
        return message({**value["kwargs"], "role": role})
    if value.get("type") in ("human", "ai", "system", "tool") and "content" in value and "role" not in value:
        value = {**value, "role": LANGCHAIN_ROLES.get(value["type"], value["type"])}
    role = value.get("role")
    if not isinstance(role, str) or not ("content" in value or "tool_calls" in value):
        return None
    shown = Message(role[:40], Block("nothing"), answers=_text(value.get("tool_call_id")))
    content = value.get("content")
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        _take_part(part, texts, shown)
    tool_calls = value.get("tool_calls")
    for call in tool_calls if isinstance(tool_calls, list) else []:
        _take_call(call, shown)
    if texts:
        shown.body = Block("text", "\n".join(texts))
    return shown


def _take_part(part: Any, texts: list[str], shown: Message) -> None:
    if part is None or part == "":
        return
    if not isinstance(part, dict):
        texts.append(part if isinstance(part, str) else pretty(part))
    elif part.get("type") in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        texts.append(part["text"])
    elif part.get("type") == "tool_use":
        shown.calls.append((_text(part.get("name")), _arguments(part.get("input")), _text(part.get("id"))))
    elif part.get("type") == "tool_result":
        shown.answers = _text(part.get("tool_use_id"))
        inner = part.get("content")
        for item in inner if isinstance(inner, list) else [inner]:
            _take_part(item, texts, shown)
    elif part.get("type") in ("image", "image_url", "input_image", "audio", "input_audio", "file"):
        texts.append(f"[{part['type']}, not shown here]")
    else:
        texts.append(pretty(part))


def _take_call(call: Any, shown: Message) -> None:
    if not isinstance(call, dict):
        return
    function = call.get("function")
    if not isinstance(function, dict):
        function = call
    arguments = function.get("arguments", function.get("args"))
    shown.calls.append((_text(function.get("name")), _arguments(arguments), _text(call.get("id"))))


def _arguments(arguments: Any) -> str:
    """Arguments as JSON to read; models write them as JSON text, not always valid."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    return "" if arguments is None else pretty(arguments)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def gist(value: Any) -> str:
    """What a value says, as one text: for comparing, and for one line of a list."""
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, str):
        return value
    if (found := messages_in(value)) and not found.fields:
        return "\n".join(_said(item) for item in found.messages)
    return "" if value is None or value == {} else pretty(value)


def _said(item: Message) -> str:
    calls = [f"{name}({arguments})" for name, arguments, _ in item.calls]
    return "\n".join(filter(None, [item.body.text, *calls]))


def one_line(value: Any, length: int = 160) -> str:
    line = " ".join(gist(value).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def reason(error: str, length: int = 160) -> str:
    """What went wrong, in one line; of a Python traceback that is the last."""
    lines = error.strip().splitlines() or [""]
    return one_line(lines[-1] if lines[0].startswith("Traceback (most recent call last)") else error, length)


# Word by word


def word_diff(before: str, after: str) -> list[tuple[str, str]] | None:
    """What became of `before`, as (same | removed | added, text); None when the texts are too long for it."""
    # Blanks go with the word before them: as words of their own they would match everywhere.
    old, new = (re.findall(r"\w+\s*|[^\w\s]\s*|\s+", text) for text in (before, after))
    if len(old) > MAX_DIFF_WORDS or len(new) > MAX_DIFF_WORDS:
        return None
    pieces: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(("same", "".join(old[a:b])))
            continue
        if b > a:
            pieces.append(("removed", "".join(old[a:b])))
        if d > c:
            pieces.append(("added", "".join(new[c:d])))
    return pieces


# Numbers and times

NONE = "–"


def duration(micros: float | None) -> str:
    """A duration to read; none, and zero, which means that no times were given, are a dash."""
    if not micros or micros < 0:
        return NONE
    seconds = micros / 1e6
    if seconds < 0.001:
        return f"{micros:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def number(value: float | None) -> str:
    """A score: three digits that matter, as many as a mean shows, without trailing zeros."""
    if value is None:
        return NONE
    if not abs(value) < 1e15:
        return f"{value:.4g}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1 else mean(value).rstrip("0")


def mean(value: float | None) -> str:
    """A mean: three decimals, so that a column of them lines up."""
    if value is None:
        return NONE
    if not abs(value) < 1e15:
        return f"{value:.4g}"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"


def signed(value: float | None) -> str:
    return NONE if value is None else sign(value) + mean(abs(value))


def sign(value: float) -> str:
    return "+" if value > 0 else "−" if value < 0 else "±"


def change(value: float) -> str:
    """What a single score changed by."""
    return sign(value) + number(abs(value))


def amount(value: float | None) -> str:
    return NONE if not value else f"{value:,.0f}"


def cost(picodollars: float | None) -> str:
    if not picodollars:
        return NONE
    dollars = picodollars / 1e12
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}" if dollars >= 0.001 else f"${dollars:.2g}"


def percent(share: float | None) -> str:
    if share is None:
        return NONE
    shown = f"{share * 100:.1f}"
    return ("<0.1" if share and shown == "0.0" else shown) + " %"


def when(micros: int | None) -> str:
    """A time in UTC, to the minute."""
    return NONE if micros is None else (iso(micros) or "")[:16].replace("T", " ")


def exact_time(micros: int | None) -> str:
    return "" if micros is None else (iso(micros) or "")[:26].replace("T", " ") + " UTC"


FILTERS: dict[str, Callable[..., Any]] = {
    "shell": shlex.quote,  # names are stored text, and somebody will paste the command
    "duration": duration,
    "number": number,
    "mean": mean,
    "signed": signed,
    "change": change,
    "reason": reason,
    "amount": amount,
    "cost": cost,
    "percent": percent,
    "when": when,
    "exact_time": exact_time,
    "one_line": one_line,
    "gist": gist,
    "block": block,
    "pretty": pretty,
}
