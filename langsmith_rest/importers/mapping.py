"""`--map FIELD=SOURCE`: rows of any shape become results, for example outputs.answer=completion."""

import ast
import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langsmith_rest.importers.parts import at
from langsmith_rest.recording.checking import FIELDS
from langsmith_rest.recording.results import ALIASES

OBJECTS = ("inputs", "outputs", "reference_outputs", "metadata", "example_metadata")
TIMES = ("start_time", "end_time")
SECONDS = {"latency": 1, "latency_ms": 1000}  # how many of them make a second
PARTS = ("score", "value", "comment", "error")
AS_NUMBERS = ("feedback", "metadata", "example_metadata", "latency", "latency_ms", *TIMES)  # where texts of CSV may be
TARGETS = (*FIELDS, "latency_ms", *ALIASES)
MILLISECONDS = 1e11  # a time since 1970 beyond this counts milliseconds
FINE = ("ok", "success", "succeeded", "passed", "completed", "finished")  # states that are not errors
MISSING: Any = object()


@dataclass(frozen=True)
class Rule:
    """One `--map`: the field of a result, as its parts, and the field of the row that it is read from."""

    target: tuple[str, ...]
    source: str

    def __str__(self) -> str:
        return f"--map {'.'.join(self.target)}={self.source}"


def parse_rules(pairs: list[str]) -> list[Rule]:
    """The rules of `--map` flags; raises ValueError for an invalid one."""
    rules = []
    for pair in pairs:
        target, equals, source = pair.partition("=")
        root, *rest = target.split(".")
        if not equals or not source or not all([root, *rest]):
            raise ValueError(f"--map {pair!r}: expected FIELD=SOURCE, such as outputs.answer=completion.")
        root, key = ALIASES.get(root, (root, None))
        if root not in TARGETS:
            raise ValueError(f"--map {pair!r}: a result has no field {root!r}; it has {', '.join(FIELDS)}.")
        if rest and root not in (*OBJECTS, "feedback"):
            raise ValueError(f"--map {pair!r}: {root!r} is not an object: leave out '.{'.'.join(rest)}'.")
        if root == "feedback" and not rest:
            raise ValueError(f"--map {pair!r}: name the score, such as feedback.correct={source}.")
        rules.append(Rule((root, *([key] if key and not rest else rest)), source))
    return rules


@dataclass
class Mapper:
    """Turns rows into results by rules; knows which sources it never saw, and which fields it left out."""

    rules: list[Rule]
    is_text: bool = False  # rows of CSV, whose cells are texts
    seen: set[str] = field(default_factory=set)
    left_out: dict[str, Any] = field(default_factory=dict)  # field -> its first value
    fields: dict[str, None] = field(default_factory=dict)  # of all rows, in order

    def __call__(self, row: Any) -> Any:
        """The result that a row stands for; a row that is not an object is left for the check to report."""
        if not isinstance(row, dict):
            return row
        self.fields |= dict.fromkeys(row)
        used = {rule.source for rule in self.rules}
        used |= {source.split(".")[0] for source in used if source not in row}
        kept = {name: value for name, value in row.items() if name in (*FIELDS, *ALIASES) and name not in used}
        for name, value in row.items():
            if name not in used and name not in kept:
                self.left_out.setdefault(name, value)
        result = {name: from_text(name, value) if self.is_text else value for name, value in kept.items()}
        for rule in self.rules:
            value = find(row, rule.source)
            if value is MISSING:
                continue
            self.seen.add(rule.source)
            if self.is_text:
                value = from_text(rule.target[0], value)
            if value is not None and not (self.is_text and value == "") and not is_nan(value):
                put(result, rule.target, value)
        return result

    def problems(self) -> list[str]:
        """What is wrong with the rules, known once all rows are through."""
        missing = [rule for rule in self.rules if rule.source not in self.seen]
        return [f"{rule}: no row has the field {rule.source!r}; they have {', '.join(self.fields)}" for rule in missing]


def find(row: Mapping[str, Any], source: str) -> Any:
    """The value of the field with exactly this name, else at the place that its dots lead to."""
    if source in row:
        return row[source]
    value: Any = row
    for part in source.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def put(result: dict[str, Any], target: tuple[str, ...], value: Any) -> None:
    """Set a field of a result; dots lead into objects, and feedback is a list with one item per key.

    Where the result holds something else already, that stays, and the check of results reports it.
    """
    root, *rest = target
    if root == "error" and str(value).lower() in FINE:
        return
    if root == "feedback":
        add_feedback(result, rest, value)
    elif root in SECONDS or (root in TIMES and isinstance(value, int | float)):
        result["latency" if root in SECONDS else root] = value
        with contextlib.suppress(OverflowError):  # a number that no time or float can be
            result |= timed(root, value)
    elif not rest:
        result[root] = value
    else:
        put_inside(result, target, value)


def timed(root: str, value: Any) -> dict[str, Any]:
    """A latency in seconds, or a time since 1970 as text."""
    if root in SECONDS:
        return {"latency": value / SECONDS[root] if isinstance(value, int | float) else value}
    return {root: at(value / 1000 if value > MILLISECONDS else value)}


def put_inside(result: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set the value at the end of a path of objects, in copies of those that are there."""
    name, *rest = path
    if not rest:
        result[name] = value
    elif isinstance(inner := result.get(name) or {}, dict):
        result[name] = dict(inner)
        put_inside(result[name], rest, value)


def add_feedback(result: dict[str, Any], path: list[str], value: Any) -> None:
    """`feedback.correct` is a score, or a value if it is text; `feedback.correct.comment` is its comment."""
    part = path[-1] if len(path) > 1 and path[-1] in PARTS else None
    key = ".".join(path[:-1] if part else path)
    items = result.setdefault("feedback", [])
    if isinstance(items, dict):  # the short form
        items = result["feedback"] = [{"key": name, "score": one} for name, one in items.items()]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return
    item = next((item for item in items if item.get("key") == key), None)
    if item is None:
        items.append(item := {"key": key})
    if part == "error" and isinstance(value, str):  # what the evaluator failed with
        item |= {"error": True, "comment": value}
    else:
        item[part or ("value" if isinstance(value, str | dict) else "score")] = value


def from_text(root: str, value: Any) -> Any:
    """The value of a CSV cell: an object or list in JSON or Python notation, a number where one may be, or text."""
    if not isinstance(value, str):
        return value
    if value[:1] in ("{", "["):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value)
            except (ValueError, SyntaxError):
                continue
    if root not in AS_NUMBERS:
        return value
    if value in ("True", "False"):  # as Python writes them
        return value == "True"
    try:
        number = json.loads(value)
    except ValueError:
        return value
    return number if isinstance(number, int | float) else value


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


# ---------------------------------------------------------------- proposing


NAMES = {
    "inputs": (
        "prompt",
        "question",
        "query",
        "user_input",
        "request",
        "instruction",
        "text",
        "messages",
        "retrieved_contexts",
    ),
    "outputs": ("completion", "answer", "response", "prediction", "generated", "generation", "result", "reply"),
    "reference_outputs": ("gold", "reference", "ground_truth", "label", "ideal", "correct_answer", "expected_response"),
    "latency": ("latency", "latency_s", "duration", "duration_s", "seconds", "elapsed", "time_s"),
    "latency_ms": ("latency_ms", "latencyms", "duration_ms", "execution_duration", "elapsed_ms", "ms"),
    "start_time": ("timestamp", "request_time", "started_at", "created_at"),
    "end_time": ("completed_at", "finished_at", "ended_at"),
    "metadata.ls_model_name": ("model", "model_name"),
    "metadata.usage_metadata.total_tokens": ("tokens", "total_tokens"),
    "metadata.usage_metadata.input_tokens": ("input_tokens", "prompt_tokens"),
    "metadata.usage_metadata.output_tokens": ("output_tokens", "completion_tokens"),
    "metadata.usage_metadata.total_cost": ("cost", "total_cost"),
    "error": ("exception", "error_message"),
}
REASONS = ("explanation", "rationale", "reason", "reasoning", "justification")
JUDGED = {"value": "", "rationale": ".comment", "error_message": ".error"}  # what MLflow calls a scorer's columns
OF_ANOTHER_KIND = {  # where the values of these fields go when they are not what a result has there
    "inputs": "inputs.input",
    "outputs": "outputs.output",
    "reference_outputs": "reference_outputs.output",
    "tags": "metadata.tags",
    "start_time": "start_time",  # as a number
    "end_time": "end_time",
}
KNOWN = {source: target for target, sources in NAMES.items() for source in sources}


def propose(rows: Iterator[Any] | list[Any], is_text: bool = False) -> list[str]:
    """The `--map` flags that would record these rows, guessed from the names and values of their fields."""
    given: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, dict) else ():
            given.setdefault(name, []).extend([] if value is None or value == "" else [value])
    flags = [found for name, values in given.items() if (found := flag(name, values, is_text))]
    scores = [target for target, _, _ in (found.partition("=") for found in flags) if target.startswith("feedback.")]
    reasons = [name for name in given if name in REASONS and given[name] and are_texts(given[name], is_text)]
    if len(scores) != 1 or not reasons:
        return flags
    reason = reasons[0]  # a score has one comment
    comment = {f"metadata.{reason}={reason}": f"{scores[0]}.comment={reason}"}
    return [comment.get(found, found) for found in flags]


def are_texts(values: list[Any], is_text: bool) -> bool:
    return all(isinstance(from_text("feedback", value) if is_text else value, str) for value in values)


def are_numbers(values: list[Any], is_text: bool) -> bool:
    read = [from_text("latency", value) if is_text else value for value in values]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in read)


def flag(name: str, values: list[Any], is_text: bool) -> str:
    """The flag for one field with these values; empty if it needs none.

    Fields go by their name if it is common. Otherwise numbers are scores, and everything else is metadata.
    """
    value = values[0] if values else None
    if name in FIELDS or name in ALIASES:
        return flag_of_known(name, from_text(name, value) if is_text else value)
    stem, slash, part = name.partition("/")
    target = KNOWN.get((stem if part == "value" else name).lower())
    value = from_text("feedback", value) if is_text else value
    if target in SECONDS and not are_numbers(values, is_text):
        target = f"metadata.{name}"
    if target in OBJECTS:
        target = f"{target}.{stem}"
    elif slash and part in JUDGED:
        target = f"feedback.{stem}{JUDGED[part]}"
    elif name == "state" and str(value).lower() in (*FINE, "error"):
        target = "error"
    elif not target:
        target = f"{'feedback' if isinstance(value, int | float) else 'metadata'}.{name}"
    return f"{target}={name}"


def flag_of_known(name: str, value: Any) -> str:
    """The flag for a field of a result whose value is of another kind, if a mapping helps; else empty."""
    if name not in OF_ANOTHER_KIND or value in (None, "") or FIELDS[name][0](value):
        return ""
    return f"{OF_ANOTHER_KIND[name]}={name}"
