"""The feedback of an experiment, summed up by key."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langsmith_rest.wording import clean, counted, shortened

if TYPE_CHECKING:  # importing it takes `record`, which only sums up, as long as asyncio
    from langsmith_rest.evaluation.evaluators.calling import Said

SHOWN_VALUES = 5


@dataclass
class Scores:
    """By key: how many scores and their sum, how often which value, and how often the evaluator failed."""

    numbers: Counter[str] = field(default_factory=Counter)  # how many scores
    sums: dict[str, float] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    unscored: Counter[str] = field(default_factory=Counter)  # what has neither, and what an evaluator said nothing of
    errors: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)  # why evaluators failed, the first reason first
    texts: Counter[str] = field(default_factory=Counter)  # new values that are texts, but look like numbers
    errors_of_others: Counter[str] = field(default_factory=Counter)  # those of evaluators that nobody asked for now

    @property
    def failures(self) -> Counter[str]:
        """The failures, by key, of the evaluators that were asked for."""
        return self.errors - self.errors_of_others

    def add(self, item: Mapping[str, Any], *, of_others: bool = False) -> None:
        key, value = item["key"], item.get("value")
        if item.get("error"):
            self.errors[key] += 1
            self.errors_of_others[key] += of_others
            self.reasons.setdefault(key, Counter())[item.get("comment") or "it does not say why"] += 1
        elif item.get("score") is not None:
            self.numbers[key] += 1
            self.sums[key] = self.sums.get(key, 0.0) + float(item["score"])
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self.values.setdefault(key, Counter())[text] += 1
        else:
            self.unscored[key] += 1

    def add_new(self, item: Mapping[str, Any]) -> None:
        """Add what was given now, which its author can still correct."""
        self.add(item)
        if looks_numeric(item.get("value")):
            self.texts[item["key"]] += 1

    def add_said(self, said: "Said") -> None:
        """Add what evaluators returned; each of them leaves a trace, even if it returned nothing."""
        for name, items in said:
            for item in items:
                self.add_new(item)
            self.unscored[name] += not items

    def doubts(self) -> Iterator[str]:
        """What was recorded, but probably meant otherwise, in words."""
        for key, number in (+self.texts).items():
            are = "is a text that looks like a number" if number == 1 else "are texts that look like numbers"
            what = f"{counted(number, 'score')} of {clean(key)!r}"
            yield f"{what} {are}, recorded as categories: only numbers have a mean."

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in sorted({*self.numbers, *self.values, *self.errors, *+self.unscored}):
            number = self.numbers[key]
            found[key] = {"n": number, "mean": self.sums[key] / number if number else None, "errors": self.errors[key]}
            if key in self.values:
                found[key]["values"] = dict(self.values[key].most_common())
            if self.unscored[key]:
                found[key]["not_scored"] = self.unscored[key]
            if key in self.reasons:
                found[key]["first_error"] = next(iter(self.reasons[key]))
        return found

    def rows(self) -> list[tuple[str, str]]:
        """Each key with its feedback in words: the mean, the most frequent values, the failures."""
        rows = []
        for key, sums in self.as_json().items():
            parts = [f"{sums['mean']:.3f} (mean of {sums['n']:,})"] if sums["n"] else []
            values = list(sums.get("values", {}).items())
            parts += [f"{clean(shortened(value, 30))}: {number:,}" for value, number in values[:SHOWN_VALUES]]
            more = len(values) - SHOWN_VALUES
            parts += [f"and {counted(more, 'more value')}"] if more > 0 else []
            parts += [f"{sums['errors']:,} failed"] if sums["errors"] else []
            if not_scored := sums.get("not_scored"):
                parts += [f"{not_scored:,} not scored"] if parts else [f"not scored ({not_scored:,})"]
            rows.append((clean(key), ", ".join(parts)))
        return rows


def looks_numeric(value: Any) -> bool:
    """Whether a value is a text that was meant as a score, such as "1" or "0.7"."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False
