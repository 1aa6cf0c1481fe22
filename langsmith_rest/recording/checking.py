"""What is refused before the first request, and in which words."""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from langsmith_rest.recording import bodies
from langsmith_rest.recording.canonical import canonical
from langsmith_rest.recording.results import ALIASES, Prepared, Unreadable
from langsmith_rest.wording import clean

MAX_RUN_BYTES = 20_000_000  # LangSmith takes 20 MiB per request
MAX_DEPTH = 64
CLOCK_SKEW = timedelta(minutes=5)
LONGEST = timedelta(days=36525)  # nanoseconds in 64 bits hold 292 years
LONGEST_SECONDS = LONGEST.total_seconds()
RUN_TYPES = ("chain", "embedding", "llm", "parser", "prompt", "retriever", "tool")
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MIME_TYPE = r"[\w.+-]+/[\w.+-]+"
ATTACHMENT_NAME = r'[^."\\]{1,128}'
SOURCES = ("api", "app", "auto_eval", "model")
NO_TIMES = (None, bodies.ZERO)

Times = tuple[datetime | None, timedelta]
Kind = tuple[Callable[[Any], bool], str]  # whether a value is of it, and what is expected


def is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def is_text(longest: int) -> Kind:
    return lambda value: isinstance(value, str) and 0 < len(value) <= longest, f"text of 1 to {longest} characters"


def are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_time(value: Any) -> bool:
    try:
        return bodies.parse_time(value) is not None
    except (AttributeError, OverflowError, TypeError, ValueError):
        return False


def matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


OBJECT: Kind = (is_a(dict), "an object")
TIME: Kind = (is_time, "an ISO 8601 time, such as 2026-08-21T09:15:30.123456+00:00")
CHILD_FIELDS: dict[str, Kind] = {
    "inputs": OBJECT,
    "outputs": OBJECT,
    "start_time": TIME,
    "end_time": TIME,
    "latency": (
        lambda value: type(value) is not bool and isinstance(value, int | float) and 0 <= value <= LONGEST_SECONDS,
        "a number of seconds from 0 up to 100 years",
    ),
    "error": (is_a(str), "text"),
    "metadata": OBJECT,
    "feedback": (is_a(list, dict), "a list of {key, score, value, comment} or {key: score}"),
    "name": is_text(128),
    "run_type": (lambda value: value in RUN_TYPES, f"one of {', '.join(RUN_TYPES)}"),
    "tags": (are_texts, "a list of texts"),
    "child_runs": (is_a(list), "a list of runs"),
}
FIELDS: dict[str, Kind] = {
    **CHILD_FIELDS,
    "reference_outputs": OBJECT,
    "example_id": (matches(UUID), "the UUID of an example, in lower case"),
    "split": (lambda value: isinstance(value, str) or are_texts(value), "text or a list of texts"),
    "example_metadata": OBJECT,
    "attachments": (is_a(dict), "an object of {name: {mime_type, path}}"),
}
FEEDBACK_FIELDS: dict[str, Kind] = {
    "key": is_text(180),
    "score": (is_a(int, float), "a number, a boolean or null"),
    "value": (lambda value: not isinstance(value, list | tuple), "a number, a boolean, text, an object or null"),
    "comment": (is_a(str), "text"),
    "error": (is_a(bool), "true when the evaluator failed"),
    "correction": (is_a(dict, str), "an object or text"),
    "feedback_source": (
        lambda value: isinstance(value, dict) and value.get("type") in SOURCES,
        f"an object with a 'type' of {', '.join(SOURCES)}",
    ),
}
ATTACHMENT_FIELDS: dict[str, Kind] = {
    "mime_type": (matches(MIME_TYPE), "a type such as image/png"),
    "path": (lambda value: isinstance(value, str) and os.path.isfile(value), "the path of a file"),
}
TIMES = {"start_time", "end_time", "latency"}
JSON_FIELDS = FIELDS.keys() - TIMES - {"child_runs", "feedback"}
SYNONYMS = {"duration": "latency", **{name: field for name, (field, _) in ALIASES.items()}}


def prepare(given: Any, number: int = 1) -> Prepared:
    """A result with its canonical fields, its times, and what its run's id is made of; or with all its problems."""
    if isinstance(given, Unreadable):
        return Prepared(given, number, problems=[str(given)])
    problems: list[str] = []
    text = ""
    start, took = check_run(given, "", None, problems)
    try:
        if not problems:
            fields = bodies.canonical_fields(given)
            whole = bodies.canonical_result(fields)
            text = whole if fields.keys().isdisjoint(bodies.OF_THE_EXAMPLE) else bodies.run_text(fields)
            if len(whole.encode()) < MAX_RUN_BYTES and whole.count("{") + whole.count("[") < MAX_DEPTH:
                return Prepared(given, number, fields, text, start, took)
    except (AttributeError, TypeError, ValueError, RecursionError):
        pass
    problems += check_values(given, "")  # slower, but it knows where
    if text and not problems:
        return Prepared(given, number, fields, text, start, took)
    return Prepared(given, number, problems=problems or ["this cannot be written as JSON"])


def check_run(run: Any, where: str, parent_start: datetime | None, problems: list[str]) -> Times:
    """Add what is wrong with a run and those below it, except for what its values hold; return its times."""
    if not isinstance(run, dict):
        place = f"'{where[:-1]}'" if where else "this"
        problems.append(f"{place} is {named(run)}, expected an object with 'inputs' and 'outputs'")
        return NO_TIMES
    bad = check_fields(run, CHILD_FIELDS if where else FIELDS, where, problems)
    if run.get("inputs") is None:
        problems.append(f"'{where}inputs' is missing, expected an object")
    if run.get("outputs") is None and run.get("error") is None:
        problems.append(f"'{where}outputs' is missing, expected an object (or text in 'error' when the system failed)")
    if run.get("attachments") and "attachments" not in bad:
        check_attachments(run["attachments"], problems)
    times = check_times(run, where, parent_start, problems) if TIMES.isdisjoint(bad) else NO_TIMES
    if run.get("feedback") and "feedback" not in bad:
        check_feedback(run["feedback"], f"{where}feedback", problems)
    for index, child in enumerate(run.get("child_runs") or () if "child_runs" not in bad else ()):
        here = f"{where}child_runs[{index}]."
        if where.count("child_runs") >= MAX_DEPTH // 2:
            problems.append(f"'{here[:40]}...' is nested deeper than {MAX_DEPTH // 2} levels")
            continue
        if not run.get("start_time") and isinstance(child, dict) and child.get("start_time"):
            problems.append(f"'{here}start_time' also needs a 'start_time' on its parent")
        check_run(child, here, times[0], problems)
    return times


def check_fields(given: Mapping[Any, Any], known: Mapping[str, Kind], where: str, problems: list[str]) -> list[Any]:
    """Add fields that are unknown or of another kind, and return their names; None counts as left out."""
    bad = []
    for name, value in given.items():
        kind = known.get(name)
        if not (kind and kind[0](value)) and (value is not None or not isinstance(name, str)):
            bad.append(name)
    unknown = [str(name)[:60] for name in bad if name not in known]
    for name in bad:
        if name in known:
            problems.append(f"'{where}{name}' is {named(given[name])}, expected {known[name][1]}")
    if unknown:
        problems += unknown_fields(unknown, known, where)
    return bad


def check_times(run: Mapping[str, Any], where: str, earliest: datetime | None, problems: list[str]) -> Times:
    """Add what is wrong with the times of a run, and return them."""
    start, took = times = bodies.times(run)
    has_end = run.get("end_time") is not None
    if has_end and run.get("latency") is not None:
        problems.append(f"'{where}latency' and 'end_time' both say how long it took: keep one")
    if not start:
        if has_end:
            problems.append(f"'{where}end_time' needs a 'start_time'")
        return times
    now = datetime.now(UTC) + CLOCK_SKEW
    late = "start_time" if start > now else ("end_time" if has_end else "latency") if start + took > now else ""
    if late:
        problems.append(f"'{where}{late}' {run[late]} is in the future (a time without an offset is read as UTC)")
    if took < bodies.ZERO:
        problems.append(f"'{where}end_time' is earlier than 'start_time'")
    elif took > LONGEST:
        problems.append(f"'{where}end_time' is more than 100 years after 'start_time'")
    elif earliest and start < earliest:
        problems.append(f"'{where}start_time' is earlier than that of its parent")
    return times


def check_feedback(feedback: Any, where: str, problems: list[str]) -> None:
    """Add what is wrong with feedback, which is a list or `{key: score}`."""
    is_short = isinstance(feedback, dict)
    for index, item in enumerate(bodies.long_form(feedback) if is_short else feedback):
        if not isinstance(item, dict):
            problems.append(f"'{where}[{index}]' is {named(item)}, expected an object with 'key' and 'score'")
        elif mark_problems(item, ""):  # its place is put into words only now
            place = clean(f".{item['key']}"[:100]) if is_short else f"[{index}]"
            problems += mark_problems(item, where + place)


def mark_problems(item: Mapping[Any, Any], where: str) -> list[str]:
    """What is wrong with one piece of feedback."""
    problems = [f"'{where}.key' is missing, expected {FEEDBACK_FIELDS['key'][1]}"] if item.get("key") is None else []
    if not check_fields(item, FEEDBACK_FIELDS, f"{where}.", problems) and (found := [*unfit(item, where)]):
        score = item.get("score")
        if isinstance(score, float) and not math.isfinite(score):
            found[0] += ": leave it out (or null) if there is no score, and set 'error': true if the evaluator failed"
        problems += found
    return problems


def check_attachments(attachments: Mapping[Any, Any], problems: list[str]) -> None:
    """Add what keeps attachments from being recorded; files are looked at, but not read."""
    bad = False
    for name, given in attachments.items():
        place = f"attachments.{name}"
        if not (matches(ATTACHMENT_NAME)(name) and name.isprintable()):
            problems.append(f"'{clean(place)}': a name has 1 to 128 characters, no dot, double quote or backslash")
        elif not isinstance(given, dict) or given.keys() != ATTACHMENT_FIELDS.keys():
            problems.append(f"'{place}': expected {{'mime_type': ..., 'path': ...}}")
        elif not check_fields(given, ATTACHMENT_FIELDS, f"{place}.", problems):
            continue
        bad = True
    size = 0 if bad else sum(os.path.getsize(given["path"]) for given in attachments.values())
    if size > MAX_RUN_BYTES:  # they travel in one request
        problems.append(f"'attachments' have {size / 1e6:.0f} MB, at most {MAX_RUN_BYTES / 1e6:.0f} MB are recorded")


def check_values(run: Any, where: str) -> Iterator[str]:
    """What JSON, or LangSmith, cannot hold in the fields of a run and of those below it."""
    if not isinstance(run, dict) or where.count("child_runs") > MAX_DEPTH // 2:
        return
    values = {name: run[name] for name in run if name in JSON_FIELDS and FIELDS[name][0](run[name])}
    problems = [problem for name, value in values.items() for problem in unfit(value, where + name)]
    yield from problems
    size = 0 if problems else len(canonical(values).encode())
    if size > MAX_RUN_BYTES:
        place = f"'{where[:-1]}'" if where else "this"
        yield f"{place} has {size / 1e6:.0f} MB, LangSmith takes at most {MAX_RUN_BYTES / 1e6:.0f} MB"
    for index, child in enumerate(run["child_runs"] if isinstance(run.get("child_runs"), list) else ()):
        yield from check_values(child, f"{where}child_runs[{index}].")


def unfit(value: Any, path: str, depth: int = 0) -> Iterator[str]:
    """What JSON, or LangSmith, cannot hold in a value, and where it stands."""
    is_nested = isinstance(value, dict | list | tuple)
    reason = f"is nested deeper than {MAX_DEPTH} levels"
    try:
        text = canonical(value)
        text.encode()
        if not is_nested or text.count("{") + text.count("[") <= MAX_DEPTH - depth:
            return
    except RecursionError:
        pass
    except UnicodeEncodeError:
        reason = "has a lone surrogate, expected valid Unicode"
    except (AttributeError, TypeError, ValueError) as error:
        reason = f"is {error}"
    if not is_nested or depth == MAX_DEPTH:
        yield clean(f"'{path}' {reason}" if len(path) <= 100 else f"'{path[:100]}...' {reason}")
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if not isinstance(value, dict):
            yield from unfit(item, f"{path}[{name}]", depth + 1)
        elif isinstance(name, str):
            yield from unfit(name, f"{path}.{name}", depth)
            yield from unfit(item, f"{path}.{name}", depth + 1)
        else:
            yield clean(f"'{path}' has the key {str(name)[:40]}, expected only texts as keys")


def check_names(dataset_name: str, experiment_name: str, **others: Any) -> None:
    """Raise ValueError for a name, description or metadata that cannot be sent."""
    values = {"dataset": dataset_name, "experiment": experiment_name, **others}
    problems = [problem for name, value in values.items() for problem in unfit(value, name)]
    if problems or not dataset_name:
        raise ValueError("\n".join(problems) or "The dataset has no name: give it one.")


def unknown_fields(names: list[str], known: Mapping[str, Kind], where: str) -> Iterator[str]:
    """A problem for each name that is like a known one, and one for all others."""
    import difflib  # only where it is needed: that is 1 ms faster

    others = []
    for name in names:
        like = [SYNONYMS[name]] if SYNONYMS.get(name) in known else difflib.get_close_matches(name, known, 1)
        if like:
            yield clean(f"unknown field '{where}{name}': did you mean '{like[0]}'?")
        else:
            others.append(f"'{where}{name}'")
    if others:
        named_ones = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
        yield clean(f"unknown field{'s'[: len(others) - 1]} {named_ones}: known are {', '.join(known)}")


def named(value: Any) -> str:
    """A value as an error message shows it: its kind, and the value itself when that is short."""
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"a text of {len(value)} characters"
    kinds = {dict: "an object", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    kind = "null" if value is None else kinds.get(type(value), f"a Python {type(value).__name__}")
    return kind if isinstance(value, dict | list | None) else f"{kind} ({str(value)[:40]})"
