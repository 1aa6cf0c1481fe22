"""What a review asks of a person: the items of a queue's rubric, each with the answers to choose from."""

import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from localsmith.routes.feedback_configs import find_config
from localsmith.wire import loads_or_none

MOST_CHOICES = 10  # of a range, one for each digit; a longer one is a number to type


@dataclass(frozen=True)
class Choice:
    """`key` chooses it on the keyboard; empty for what comes after the tenth category."""

    score: float
    label: str
    key: str
    value: str | None  # stored beside the score, as LangSmith does for categories


@dataclass(frozen=True)
class Question:
    """`kind` is choice, number or text; a number may have a `low` and a `high` end."""

    key: str
    description: str
    kind: str
    choices: list[Choice]
    is_required: bool
    low: float = -math.inf
    high: float = math.inf

    def takes(self, score: float | None) -> bool:
        return score is None or self.low <= score <= self.high


def rubric_of(db: sqlite3.Connection, queue: sqlite3.Row) -> tuple[str, list[Question]]:
    """The instructions and the questions of a queue; one without a rubric asks whether the answer is right."""
    body = loads_or_none(queue["body"])
    items = body.get("rubric_items") or [{"feedback_key": "human", "description": "Is the answer right?"}]
    return body.get("rubric_instructions") or "", [_question(db, item) for item in items]


def _question(db: sqlite3.Connection, item: dict[str, Any]) -> Question:
    row = find_config(db, item["feedback_key"])
    config = loads_or_none(row["body"]) if row else {}
    described = {**(item.get("score_descriptions") or {}), **(item.get("value_descriptions") or {})}
    choices = _choices(config, described)
    kind = "text" if config.get("type") == "freeform" else "choice" if choices else "number"
    return Question(
        item["feedback_key"],
        item.get("description") or "",
        kind,
        choices,
        bool(item.get("is_required", True)),
        -math.inf if config.get("min") is None else config["min"],
        math.inf if config.get("max") is None else config["max"],
    )


def _choices(config: dict[str, Any], described: dict[str, str]) -> list[Choice]:
    if config.get("type") == "categorical":
        categories = [(item["value"], item.get("label") or f"{item['value']:g}") for item in config["categories"]]
        are_digits = all(value in range(10) for value, _ in categories)
        return [
            Choice(
                value,
                _label(label, described, label),
                f"{value:g}" if are_digits else str(n)[-1] if n <= 10 else "",
                label,
            )
            for n, (value, label) in enumerate(categories, 1)
        ]
    if config.get("type") == "freeform":
        return []
    low, high = config.get("min"), config.get("max")
    if low is None or high is None:
        low, high = (0, 1) if not config else (low, high)
    if low is None or high is None or low != int(low) or high != int(high) or not 0 <= high - low < MOST_CHOICES:
        return []
    names = {0: "no", 1: "yes"} if (low, high) == (0, 1) else {}
    return [
        Choice(n, _label(names.get(n, str(n)), described, str(n)), str(n)[-1], None)
        for n in range(int(low), int(high) + 1)
    ]


def _label(label: str, described: dict[str, str], name: str) -> str:
    return f"{label}: {described[name]}" if described.get(name) else label
