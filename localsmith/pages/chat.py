"""Chat messages in stored values, as OpenAI, Anthropic, Google and LangChain write them."""

import json
from dataclasses import dataclass, field
from typing import Any

LANGCHAIN_ROLES = {"human": "user", "ai": "assistant", "HumanMessage": "user", "AIMessage": "assistant"}
KEYS = ("messages", "choices", "generations", "output", "input", "contents")


@dataclass
class Call:
    """A call of a tool, with its result if the chat contains it; both as they are stored."""

    name: str
    arguments: Any
    id: str = ""
    result: Any = None


@dataclass
class Message:
    """One message: `parts` are texts, images as ("image", address), and everything else."""

    role: str
    parts: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    answers: str = ""  # the id of the call that this is the result of

    @property
    def text(self) -> str:
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass
class Chat:
    messages: list[Message]
    beside: dict[str, Any]  # what else there is beside the messages


def messages_in(value: Any) -> Chat | None:
    """The chat in a value; None when there is none."""
    found = chat(value)
    if found is None:
        return None
    key, messages = found
    rest = {name: item for name, item in value.items() if name != key} if key else {}
    return Chat(_with_results(messages), {name: item for name, item in rest.items() if item not in (None, {}, [])})


def chat(value: Any) -> tuple[str, list[Message]] | None:
    """The messages of a value and the key they are under, '' for none.

    Looks at nothing beside them: a value that repeats itself at every level would take time without end.
    """
    if isinstance(value, list):
        messages = _messages(value)
        return ("", messages) if messages else None
    if not isinstance(value, dict):
        return None
    if single := message(value):
        return "", [single]
    for key in KEYS:
        items = value.get(key)
        if not isinstance(items, list) or not items:
            continue
        if key in ("choices", "generations"):
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


def _with_results(messages: list[Message]) -> list[Message]:
    """The messages, with the results of tools moved to the calls they answer."""
    open_calls: dict[str, Call] = {}
    kept = []
    for item in messages:
        open_calls.update({call.id: call for call in item.calls if call.id})
        call = open_calls.pop(item.answers, None) if item.answers else None
        if call is None or item.calls:
            kept.append(item)
        else:
            call.result = item.parts[0] if len(item.parts) == 1 else item.parts
    return kept


def message(value: Any) -> Message | None:
    """One chat message, or None for anything else."""
    if not isinstance(value, dict):
        return None
    if value.get("lc") == 1 and isinstance(value.get("kwargs"), dict) and isinstance(value.get("id"), list):
        name = str(value["id"][-1]) if value["id"] else "message"
        role = LANGCHAIN_ROLES.get(name) or name.removesuffix("Chunk").removesuffix("Message").lower()
        return message({**value["kwargs"], "role": role})
    if found := _item(value):
        return found
    if value.get("type") in ("human", "ai", "system", "tool") and "content" in value and "role" not in value:
        value = {**value, "role": LANGCHAIN_ROLES.get(value["type"], value["type"])}
    role = value.get("role")
    content = value.get("content", value.get("parts"))
    if not isinstance(role, str) or not ("content" in value or "tool_calls" in value or isinstance(content, list)):
        return None
    shown = Message(role[:40], answers=_text(value.get("tool_call_id")))
    for part in content if isinstance(content, list) else [content]:
        _take_part(part, shown)
    tool_calls = value.get("tool_calls")
    for call in tool_calls if isinstance(tool_calls, list) else []:
        _take_call(call, shown)
    return shown


def _item(value: dict[str, Any]) -> Message | None:
    """An item of OpenAI's Responses API that is no plain message."""
    kind = value.get("type")
    if kind == "function_call" and isinstance(value.get("name"), str):
        call = Call(value["name"], _arguments(value.get("arguments")), _text(value.get("call_id")))
        return Message("assistant", calls=[call])
    if kind == "function_call_output" and "output" in value:
        return Message("tool", [value["output"]], answers=_text(value.get("call_id")))
    if kind == "reasoning" and isinstance(value.get("summary"), list):
        return Message("reasoning", [part.get("text", "") for part in value["summary"] if isinstance(part, dict)])
    return None


def _take_part(part: Any, shown: Message) -> None:
    if part is None or part == "":
        return
    if not isinstance(part, dict):
        shown.parts.append(part)
    elif isinstance(part.get("text"), str) and part.get("type", "text") in ("text", "input_text", "output_text"):
        shown.parts.append(part["text"])
    elif part.get("type") == "thinking" and isinstance(part.get("thinking"), str):
        shown.parts.append({"thinking": part["thinking"]})
    elif part.get("type") == "tool_use":
        shown.calls.append(Call(_text(part.get("name")), _arguments(part.get("input")), _text(part.get("id"))))
    elif part.get("type") == "tool_result":
        shown.answers = _text(part.get("tool_use_id"))
        inner = part.get("content")
        for item in inner if isinstance(inner, list) else [inner]:
            _take_part(item, shown)
    elif (address := _image(part)) is not None:
        shown.parts.append(("image", address))
    elif part.get("type") in ("audio", "input_audio", "file"):
        shown.parts.append(f"[{part['type']}, not shown here]")
    else:
        shown.parts.append(part)


def _image(part: dict[str, Any]) -> str | None:
    """The address of an image, as OpenAI, Anthropic or Google send it; None for other parts."""
    source = part.get("image_url") or part.get("source") or part.get("inline_data") or part.get("inlineData")
    if isinstance(source, str):
        return source
    if not isinstance(source, dict):
        return "" if part.get("type") in ("image", "image_url", "input_image") else None
    if isinstance(source.get("url"), str):
        return str(source["url"])
    kind = source.get("media_type") or source.get("mime_type") or source.get("mimeType")
    return f"data:{kind};base64,{source['data']}" if kind and isinstance(source.get("data"), str) else ""


def _take_call(call: Any, shown: Message) -> None:
    if not isinstance(call, dict):
        return
    function = call.get("function")
    if not isinstance(function, dict):
        function = call
    arguments = function.get("arguments", function.get("args"))
    shown.calls.append(Call(_text(function.get("name")), _arguments(arguments), _text(call.get("id"))))


def _arguments(arguments: Any) -> Any:
    """Arguments as they were meant; models write them as JSON text, which is not always valid."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
