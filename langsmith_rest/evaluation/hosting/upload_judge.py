"""A model judge as LangSmith runs it itself: a prompt, a schema and a model, in the form of its rules."""

import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The variables of a prompt, and LangSmith's names for them.
VARIABLES = {
    **{"input": "input", "output": "output", "reference": "referenceOutput"},
    **{"inputs": "input", "outputs": "output", "reference_outputs": "referenceOutput"},
}
PROVIDERS = {
    "openai": (["langchain", "chat_models", "openai", "ChatOpenAI"], "model_name", "openai_api_key"),
    "anthropic": (["langchain", "chat_models", "anthropic", "ChatAnthropic"], "model", "anthropic_api_key"),
}
ROLES = ("system", "human", "ai")


def judge_content(prompt: Path, schema: Path, model: str, name: str, kind: str) -> dict[str, Any]:
    """A model judge in LangSmith's form, from a prompt, a JSON schema and the name of a model.

    Raises ValueError that names the file and the problem.
    """
    messages = read_prompt(prompt)
    structured = {
        "prompt": messages,
        "template_format": "f-string",
        "schema": read_schema(schema, name),
        "variable_mapping": variables(messages, prompt, kind),
        "model": model_constructor(model),
    }
    return {"evaluators": [{"structured": structured}]}


def read_prompt(file: Path) -> list[list[str]]:
    """A text file is one message; a JSON file contains [[role, text], ...]."""
    text = read_text(file)
    if file.suffix != ".json":
        return [["human", text]]
    found = parse_json(text, file)
    is_prompt = (
        isinstance(found, list)
        and found
        and all(
            isinstance(message, list) and len(message) == 2 and message[0] in ROLES and isinstance(message[1], str)
            for message in found
        )
    )
    if not is_prompt:
        raise ValueError(
            f'{file}: expected [["system", "text"], ["human", "text"]], the roles being {", ".join(ROLES)}.'
        )
    return [list(message) for message in found]


def variables(messages: Sequence[Sequence[str]], file: Path, kind: str) -> dict[str, str]:
    """How the names in braces are filled; a literal brace is written twice, as in Python's f-strings."""
    try:
        parts = [part for _, text in messages for part in string.Formatter().parse(text)]
    except ValueError as error:
        raise ValueError(f"{file}: {error}; write {{{{ and }}}} for literal braces.") from None
    names = [name for _, name, _, _ in parts if name is not None]
    known = {name: meaning for name, meaning in VARIABLES.items() if kind == "dataset" or "reference" not in name}
    for name in names:
        if name not in known:
            offered = ", ".join(f"{{{one}}}" for one in known)
            raise ValueError(f"{file}: {{{name}}} is not a variable for a {kind}: use {offered}, or {{{{ for a brace.")
    if not names:
        raise ValueError(f"{file}: the prompt does not show the answer: put {{output}} where it belongs.")
    return {name: known[name] for name in names}


def read_schema(file: Path, name: str) -> dict[str, Any]:
    """A JSON schema of an object; each of its properties becomes a score, `comment` and `reasoning` its comment."""
    found = parse_json(read_text(file), file)
    properties = found.get("properties") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or found.get("type") != "object"
        or not isinstance(properties, dict)
        or not properties
    ):
        raise ValueError(f'{file}: expected a JSON schema {{"type": "object", "properties": {{"{name}": ...}}}}.')
    title = re.sub(r"\W+", "_", name)
    return {"title": title, "description": f"The verdict of {name}", **found}


def model_constructor(model: str) -> dict[str, Any]:
    """A model as LangChain serialises it, with its key a secret of the workspace; a .json file is used as it is."""
    if model.endswith(".json"):
        found = parse_json(read_text(Path(model)), Path(model))
        if (
            not isinstance(found, dict)
            or found.get("type") != "constructor"
            or not isinstance(found.get("kwargs"), dict)
        ):
            raise ValueError(f'{model}: expected {{"lc": 1, "type": "constructor", "id": [...], "kwargs": {{...}}}}.')
        return found
    provider, _, name = model.rpartition(":")
    if (provider or "openai") not in PROVIDERS or not name:
        known = ", ".join(f"{one}:NAME" for one in PROVIDERS)
        raise ValueError(f"--model {model}: expected {known}, or a .json file with a serialised model.")
    place, parameter, key = PROVIDERS[provider or "openai"]
    secret = {"lc": 1, "type": "secret", "id": [key.upper()]}
    return {"lc": 1, "type": "constructor", "id": place, "kwargs": {parameter: name, key: secret}}


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{file}: there is no such file.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: this is not UTF-8 text.") from None


def parse_json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file}: not JSON: {error}") from None
