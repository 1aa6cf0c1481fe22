"""What is refused before the first request, and in which words."""

import difflib
import json
import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from langsmith_rest.recording.attachments import problems_with
from langsmith_rest.recording.bodies import canonical_fields, long_form, parse_time, run_text
from langsmith_rest.recording.results import ALIASES, Unreadable
from langsmith_rest.wording import alike, counted

MAX_RUN_BYTES = 20_000_000  # LangSmith takes 20 MiB per request
MAX_DEPTH = 64
LISTED_PROBLEMS = 20
CLOCK_SKEW = timedelta(minutes=5)
LONGEST = timedelta(days=36525)  # nanoseconds in 64 bits hold 292 years
RUN_TYPES = ("chain", "embedding", "llm", "parser", "prompt", "retriever", "tool")

Kind = tuple[Callable[[Any], bool], str]  # whether a value is of it, and what is expected


def is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_time(value: Any) -> bool:
    try:
        return parse_time(value) is not None
    except (AttributeError, OverflowError, TypeError, ValueError):
        return False


def is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def is_latency(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST.total_seconds()


OBJECT: Kind = (is_a(dict), "an object")
TIME: Kind = (is_time, "an ISO 8601 time, such as 2026-08-21T09:15:30.123456+00:00")
FIELDS: dict[str, Kind] = {
    "inputs": OBJECT,
    "outputs": OBJECT,
    "reference_outputs": OBJECT,
    "start_time": TIME,
    "end_time": TIME,
    "latency": (is_latency, "a number of seconds from 0 up to 100 years"),
    "error": (is_a(str), "text"),
    "metadata": OBJECT,
    "feedback": (is_a(list, dict), "a list of {key, score, value, comment} or {key: score}"),
    "name": (lambda value: isinstance(value, str) and 0 < len(value) <= 128, "text of 1 to 128 characters"),
    "run_type": (lambda value: value in RUN_TYPES, f"one of {', '.join(RUN_TYPES)}"),
    "tags": (are_texts, "a list of texts"),
    "child_runs": (is_a(list), "a list of runs"),
    "example_id": (is_uuid, "the UUID of an example, in lower case"),
    "split": (lambda value: isinstance(value, str) or are_texts(value), "text or a list of texts"),
    "example_metadata": OBJECT,
    "attachments": (is_a(dict), "an object of {name: {mime_type, path}}"),
}
TIMES = {"start_time", "end_time", "latency"}
RESULT_ONLY = ("reference_outputs", "example_id", "split", "example_metadata", "attachments")
CHILD_FIELDS = tuple(name for name in FIELDS if name not in RESULT_ONLY)
JSON_FIELDS = FIELDS.keys() - TIMES - {"child_runs", "feedback"}
FEEDBACK_FIELDS = ("key", "score", "value", "comment", "error", "correction", "feedback_source")
SOURCES = ("api", "app", "auto_eval", "model")
ELSEWHERE = {  # what is no field here, but has a place: field -> the field it goes to, and how
    **{name: ("inputs", f"put it into 'inputs': {{'{name}': ...}}") for name in ("question", "query", "prompt")},
    **{name: ("outputs", f"put it into 'outputs': {{'{name}': ...}}") for name in ("answer", "prediction", "response")},
    **{
        name: ("reference_outputs", f"put it into 'reference_outputs': {{'{name}': ...}}")
        for name in ("ground_truth", "reference", "label")
    },
    **{name: ("feedback", f"put it into 'feedback': {{'{name}': ...}}") for name in ("score", "correct", "rating")},
    "duration": ("latency", "give 'latency' in seconds, or 'start_time' and 'end_time'"),
    "model": ("metadata", "put it into 'metadata' as 'ls_model_name'"),
    "tokens": ("metadata", "put them into 'metadata': {'usage_metadata': {'total_tokens': ...}}"),
    "results": ("inputs", "put its objects alone into the file, one per line, or as one array"),
}


# ---------------------------------------------------------------- checking


def listed(problems: list[str], source: str) -> str:
    """One message with every problem, equal ones on one line, and at most 20 lines."""
    pairs = (problem.partition(": ")[::2] for problem in problems)
    lines = alike(((place, reason) for place, reason in pairs), LISTED_PROBLEMS)
    return "\n  ".join([f"{counted(len(problems), 'problem')} in {source}, nothing was sent:", *lines])


def prepare(result: Any) -> tuple[dict[str, str], str, list[str]]:
    """The canonical fields of a sound result, and what its run's id is made of; or all that is wrong with it."""
    if isinstance(result, Unreadable):
        return {}, "", [str(result)]
    fields, text, problems = {}, "", list[str]()
    check_run(result, "", None, problems)
    try:
        if not problems:
            fields = canonical_fields(result)
            text = run_text(fields)
            size = len(text.encode()) + len(fields.get("example_metadata", "").encode())
            if size < MAX_RUN_BYTES and text.count("{") + text.count("[") < MAX_DEPTH:
                return fields, text, problems
    except (AttributeError, TypeError, ValueError, RecursionError, StopIteration):
        pass
    check_json(result, "", problems)  # slower, but it knows where
    if not text and not problems:
        problems.append("this cannot be written as JSON")
    return fields, text, [printable(problem) for problem in problems]


def check_run(run: Any, where: str, parent_start: datetime | None, problems: list[str]) -> None:
    if not isinstance(run, dict):
        place = f"'{where[:-1]}'" if where else "this"
        problems.append(f"{place} is {named(run)}, expected an object with 'inputs' and 'outputs'")
        return
    bad = []
    for name, value in run.items():
        if value is None and isinstance(name, str):  # as if it were left out
            continue
        if name not in FIELDS or where and name in RESULT_ONLY:
            problems.append(unknown_field(name, CHILD_FIELDS if where else tuple(FIELDS), where))
            bad.append(name)
        elif not FIELDS[name][0](value):
            problems.append(f"'{where}{name}' is {named(value)}, expected {FIELDS[name][1]}")
            bad.append(name)
    if run.get("inputs") is None:
        problems.append(f"'{where}inputs' is missing, expected an object")
    if run.get("outputs") is None and run.get("error") is None:
        problems.append(f"'{where}outputs' is missing, expected an object (or text in 'error' when the system failed)")
    if run.get("attachments") and "attachments" not in bad:
        problems += problems_with(run["attachments"])
    start = check_times(run, where, parent_start, problems) if TIMES.isdisjoint(bad) else None
    if run.get("feedback") and "feedback" not in bad:
        check_feedback(run["feedback"], where, problems)
    for index, child in enumerate(run.get("child_runs") or () if "child_runs" not in bad else ()):
        here = f"{where}child_runs[{index}]."
        if where.count("child_runs") >= MAX_DEPTH // 2:
            problems.append(f"'{here[:40]}...' is nested deeper than {MAX_DEPTH // 2} levels")
            continue
        if not run.get("start_time") and isinstance(child, dict) and child.get("start_time"):
            problems.append(f"'{here}start_time' needs a 'start_time' on its parent, too")
        check_run(child, here, start, problems)


def check_times(run: dict[str, Any], where: str, parent_start: datetime | None, problems: list[str]) -> datetime | None:
    start, end = parse_time(run.get("start_time")), parse_time(run.get("end_time"))
    now = datetime.now(UTC) + CLOCK_SKEW
    if end and not start:
        problems.append(f"'{where}end_time' needs a 'start_time'")
        return None
    if end and run.get("latency") is not None:
        problems.append(f"'{where}latency' and 'end_time' both say how long it took: keep one")
    for field, time in (("start_time", start), ("end_time", end)):
        if time and time > now:
            problems.append(f"'{where}{field}' {run[field]} is in the future (a time without an offset is read as UTC)")
    if not start:
        return None
    took = end - start if end else timedelta(seconds=run.get("latency") or 0)
    if not end and start < now < start + took:
        problems.append(f"'{where}latency' {run['latency']} ends in the future")
    if took < timedelta(0):
        problems.append(f"'{where}end_time' is earlier than 'start_time'")
    elif took > LONGEST:
        problems.append(f"'{where}end_time' is more than 100 years after 'start_time'")
    elif parent_start and start < parent_start:
        problems.append(f"'{where}start_time' is earlier than that of its parent")
    return start


def check_feedback(feedback: Any, where: str, problems: list[str]) -> None:
    is_short = isinstance(feedback, dict)
    for index, item in enumerate(long_form(feedback) if is_short else feedback):
        if not isinstance(item, dict):
            problems.append(f"'{where}feedback[{index}]' is {named(item)}, expected an object with 'key' and 'score'")
            continue
        key, score, comment = item.get("key"), item.get("score"), item.get("comment")
        here = f"{where}feedback" + (f".{key}"[:100] if is_short else f"[{index}]")
        for field, value in item.items():
            if field not in FEEDBACK_FIELDS and value is not None:
                problems.append(unknown_field(field, FEEDBACK_FIELDS, f"{here}."))
        if not isinstance(key, str) or not 0 < len(key) <= 180:
            problems.append(f"'{here}.key' is {named(key)}, expected text of 1 to 180 characters")
        if not isinstance(score, int | float | None):
            problems.append(f"'{here}.score' is {named(score)}, expected a number, a boolean or null")
            continue
        if isinstance(item.get("value"), list | tuple):
            problems.append(f"'{here}.value' is a list, expected a number, a boolean, text, an object or null")
        if not isinstance(item.get("error"), bool | None):
            problems.append(f"'{here}.error' is {named(item['error'])}, expected true when the evaluator failed")
        source = item.get("feedback_source")
        if source is not None and not (isinstance(source, dict) and source.get("type") in SOURCES):
            problems.append(f"'{here}.feedback_source' is no object with a 'type' of {', '.join(SOURCES)}")
        if not isinstance(item.get("correction"), dict | str | None):
            problems.append(f"'{here}.correction' is {named(item['correction'])}, expected an object or text")
        if not isinstance(comment, str | None):
            problems.append(f"'{here}.comment' is {named(comment)}, expected text")
            continue
        json_size(item, (here,), problems)


def check_json(run: Any, where: str, problems: list[str]) -> None:
    """Find what JSON, or LangSmith, cannot hold in the fields of a run."""
    size = 0
    for name, value in run.items() if isinstance(run, dict) else ():
        if name in JSON_FIELDS and (value is None or FIELDS[name][0](value)):
            size += json_size(value, (where + name,), problems)
    if size > MAX_RUN_BYTES:
        most = f"LangSmith takes at most {MAX_RUN_BYTES / 1e6:.0f} MB"
        problems.append(f"{repr(where[:-1]) if where else 'this'} has {size / 1e6:.0f} MB, {most}")
    children = run.get("child_runs") if isinstance(run, dict) and where.count("child_runs") < MAX_DEPTH // 2 else None
    for index, child in enumerate(children if isinstance(children, list) else ()):
        check_json(child, f"{where}child_runs[{index}].", problems)


def check_names(
    dataset_name: str, experiment_name: str, description: str | None, metadata: dict[str, Any] | None
) -> None:
    """Raise ValueError for a name, description or metadata that cannot be sent."""
    values = {"dataset": dataset_name, "experiment": experiment_name, "description": description, "metadata": metadata}
    problems = [problem for name, value in values.items() for problem in unfit(value, name)]
    if problems or not dataset_name:
        raise ValueError("\n".join(problems) or "The dataset has no name: give it one.")


def unfit(value: Any, name: str) -> list[str]:
    """What keeps a value from being sent, in words."""
    problems: list[str] = []
    json_size(value, (name,), problems)
    return [printable(problem) for problem in problems]


Path = tuple[Any, ...]  # (path of the container, name or index): put into words only when there is a problem


def json_size(value: Any, path: Path, problems: list[str], depth: int = 1) -> int:
    """Add what JSON cannot hold to `problems`; return about how many bytes the value takes."""
    if isinstance(value, str):
        return text_size(value, path, problems)
    if isinstance(value, (dict, list, tuple)):
        if depth > MAX_DEPTH:
            problems.append(f"{in_words(path)} is nested deeper than {MAX_DEPTH} levels")
            return 0
        size = 2
        if isinstance(value, dict):
            for name in value:
                size += text_size(name, path, problems, "has a key with")
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if type(item) is str and item.isascii():
                size += len(item) + 4
            else:
                size += json_size(item, (path, name), problems, depth + 1) + 2
        return size
    if isinstance(value, int):  # booleans, too
        if not -(2**63) <= value < 2**63:
            problems.append(f"{in_words(path)} is a number beyond 64 bits, expected a smaller one (or text)")
    elif isinstance(value, float):
        if not math.isfinite(value):
            problems.append(f"{in_words(path)} is {json.dumps(value)}, which JSON cannot hold")
        elif abs(value) < 1e21 and not -(2.0**63) < value < 2.0**63:  # canonical JSON writes it as an integer
            problems.append(f"{in_words(path)} is a number beyond 64 bits, expected a smaller one (or text)")
    elif value is not None:
        problems.append(f"{in_words(path)} is {named(value)}, which JSON cannot hold")
    return 8


def text_size(text: Any, path: Path, problems: list[str], has: str = "has") -> int:
    if not isinstance(text, str):
        problems.append(f"{in_words(path)} has the key {str(text)[:40]}, expected only texts as keys")
        return 0
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        where = f"at character {error.start + 1}"
        problems.append(f"{in_words(path)} {has} a lone surrogate {where}, expected valid Unicode")
    return 0


def in_words(path: Path) -> str:
    parts = []
    while len(path) == 2:
        path, name = path
        parts.append(f".{name}" if isinstance(name, str) else f"[{name}]")
    words = path[0] + "".join(reversed(parts))
    return f"'{words}'" if len(words) <= 100 else f"'{words[:100]}...'"


def unknown_field(field: Any, known: Sequence[str], where: str) -> str:
    name = str(field)[:60]
    if where and field in FIELDS and known is CHILD_FIELDS:
        return f"'{where}{name}' belongs to the result, not to a child run"
    if name in ELSEWHERE and ELSEWHERE[name][0] in known:
        return f"unknown field '{where}{name}': {ELSEWHERE[name][1]}"
    meant = [ours for ours in ALIASES.get(name, ()) if ours in known] or difflib.get_close_matches(name, known, 1)
    advice = f"did you mean '{meant[0]}'?" if meant else f"known are {', '.join(known)}"
    return f"unknown field '{where}{name}': {advice}"


def printable(text: str) -> str:
    """A message without what would break a line, move a cursor or not be encodable."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def named(value: Any) -> str:
    """A value as an error message shows it: its kind, and the value itself when that is short."""
    kinds = {
        dict: "an object",
        list: "a list",
        bool: "a boolean",
        type(None): "null",
        int: "a number",
        float: "a number",
    }
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"a text of {len(value)} characters"
    kind = kinds.get(type(value), f"a Python {type(value).__name__}")
    return kind if isinstance(value, dict | list | None) else f"{kind} ({str(value)[:40]})"
