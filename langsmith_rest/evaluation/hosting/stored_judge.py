"""A model judge as a rule holds it, turned into questions for our own judge."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langsmith_rest.evaluation.evaluators.judge import DATA_RULE, tagged
from langsmith_rest.evaluation.evaluators.model_server import Message
from langsmith_rest.evaluation.evaluators.verdicts import check_schema
from langsmith_rest.importers.parts import LONGEST_KEY

ROLES = {"system": "system", "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}
# LangSmith's names of a prompt's variables, and what each is called as a part of the question.
PARTS = {"input": "inputs", "output": "answer", "referenceOutput": "reference"}


@dataclass
class StoredJudge:
    """A rule's judge: what to ask which model about each run."""

    rule_id: str
    name: str
    dataset_id: str | None
    prompt: list[list[str]]
    variables: dict[str, str]
    schema: dict[str, Any]
    model: str

    def messages(self, values: Mapping[str, Any]) -> list[Message]:
        """The prompt about one run; `values` are its input, output and referenceOutput.

        They stand in the prompt as data, so that an answer cannot give the judge instructions.
        """
        found = {variable: value_at(values, place) for variable, place in self.variables.items()}
        names = [(PARTS.get(place.partition(".")[0], "data"), found[name]) for name, place in self.variables.items()]
        blocks = dict(zip(found, tagged(names), strict=True))
        filled = [{"role": ROLES[role], "content": fill(text, blocks)} for role, text in self.prompt]
        return [{"role": "system", "content": DATA_RULE}, *filled]


def stored_judge(rule: Mapping[str, Any]) -> StoredJudge:
    """The judge of a rule; raises ValueError, which says why, for one that cannot be run here."""
    judges = [item["structured"] for item in rule.get("evaluators") or []]
    if len(judges) != 1 or not judges[0].get("prompt") or not judges[0].get("schema"):
        raise ValueError("it does not hold one prompt and one schema")
    [judge] = judges
    if judge.get("template_format", "f-string") != "f-string":
        raise ValueError(f"its prompt has the format {judge['template_format']!r}, expected 'f-string'")
    check_schema(judge["schema"])
    for key in (rule["display_name"], *judge["schema"].get("properties", {})):
        if len(key) > LONGEST_KEY:
            raise ValueError(f"{key[:20]!r}... is longer than {LONGEST_KEY} characters, so it cannot be a feedback key")
    arguments = (judge.get("model") or {}).get("kwargs") or {}
    model = arguments.get("model_name") or arguments.get("model") or ""
    found = StoredJudge(
        rule["id"], rule["display_name"], rule.get("dataset_id"), judge["prompt"],
        judge.get("variable_mapping") or {}, judge["schema"], model,
    )  # fmt: skip
    try:
        found.messages({})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its prompt cannot be filled in ({type(error).__name__}: {error})") from None
    return found


def value_at(values: Any, place: str) -> Any:
    """The value of `input`, or of a part of it such as `input.question`; None where there is none."""
    for name in place.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def fill(template: str, blocks: Mapping[str, str]) -> str:
    """A template with blocks in place of its variables; nothing of a block is read as a template."""
    pieces = string.Formatter().parse(template)
    return "".join(text + (blocks[name] if name is not None else "") for text, name, _, _ in pieces)
