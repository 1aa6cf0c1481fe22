"""Runs on their way in: what LangSmith demands of them."""

import re
import sqlite3
import uuid
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

from localsmith.alike import Columns, are_ids, as_times, groups, kinds
from localsmith.wire import (
    UUID,
    ApiError,
    Switches,
    as_time,
    as_uuid,
    invalid,
    is_uuid,
    iso,
)

RUN_TYPES = ("tool", "chain", "llm", "retriever", "embedding", "prompt", "parser")
MAX_NAME = 128
DEFAULT_PROJECT = "default"
PICO = Decimal(10) ** 12  # costs are stored in 1e-12 USD

REQUIRED = ("id", "start_time", "trace_id", "dotted_order", "name", "run_type")
IDS = ("id", "trace_id", "parent_run_id", "session_id", "reference_example_id")
TIMES = ("start_time", "end_time")
OTHER_KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "session_name", "error", "dotted_order"), str),
    **dict.fromkeys(("inputs", "outputs", "extra", "serialized"), dict),
    **dict.fromkeys(("tags", "events"), list),
}
ID, TIME = object(), object()
KINDS: dict[str, object] = {**dict.fromkeys(IDS, ID), **dict.fromkeys(TIMES, TIME), **OTHER_KINDS}
KIND_NAMES: dict[type, str] = {str: "string", dict: "object", list: "array"}
OUTSIDE_REST = {*IDS, *TIMES, *OTHER_KINDS, "run_type", "status", "child_runs"} - {"serialized", "events"}
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cost", "completion_cost", "total_cost")

Run = dict[str, Any]
Times = dict[str, list[int]]  # by their fields, in microseconds


def bad_run(where: str, message: str) -> ApiError:
    return ApiError(400, f"Bad request: {where}: {message}")


def unprocessable(where: str, message: str) -> ApiError:
    return invalid([where], f"Unprocessable entity: {where}: {message}")


# Checking


def check_run(run: Any, where: str, switches: Switches, now: int, *, nulls: bool = False) -> Run:
    """Return a run with ids in their 36-character form and times in microseconds, or refuse it.

    `where` says which run of the request it is. With `nulls`, null is the same as absent: LangSmith is strict in
    JSON bodies, where a null fails its schema, and lenient in multipart ones, where its own SDK sends them.
    """
    run = check_fields(run, where, nulls=nulls)
    for field in REQUIRED:
        if field not in run:
            raise unprocessable(f"{where}.{field}", "is required")
    check_window(run["start_time"], where, switches, now)
    check_order(run, where)
    end_after_start(run)
    return run


def check_runs(runs: dict[str, Any], switches: Switches, now: int, *, nulls: bool = False) -> list[Run]:
    """Return what `check_run` does for each; the keys say which run of the request it is."""
    found = list(runs.values())
    if (usual := _usual_runs(found, switches, now)) is None:
        return [check_run(run, where, switches, now, nulls=nulls) for where, run in runs.items()]
    for places, times in usual:
        for name, values in times.items():
            for place, value in zip(places, values, strict=True):
                found[place][name] = value
    return found


def _usual_runs(runs: list[Any], switches: Switches, now: int) -> list[tuple[Sequence[int], Times]] | None:
    """The places of runs that have the same fields, and their times in microseconds; None if any needs a look."""
    if kinds(runs) != {dict}:
        return None
    found = []
    for places, columns in groups(runs):
        times = _usual_times(columns, switches, now)
        if times is None or not _are_in_order(columns, [runs[place] for place in places]):
            return None
        found.append((places, times))
    return found


def _usual_times(columns: Columns, switches: Switches, now: int) -> Times | None:
    """The times of runs in microseconds; None unless all of their fields are as `check_run` wants them."""
    if not columns.keys() >= set(REQUIRED):
        return None
    times: Times = {}
    for name in columns.keys() & set(TIMES):
        if (of_field := as_times(columns[name])) is None:
            return None
        times[name] = of_field
    for name, values in columns.items():
        kind = KINDS.get(name)
        if kind is ID and not are_ids(values) or isinstance(kind, type) and kinds(values) != {kind}:
            return None
        if kind is None and type(None) in kinds(values):
            return None
    starts = times["start_time"]
    hours = switches.time_window_hours
    if hours is not None and max(now - min(starts), max(starts) - now) > hours * 3_600_000_000:
        return None
    if not all(map(RUN_TYPES.__contains__, columns["run_type"])) or max(map(len, columns["name"])) > MAX_NAME:
        return None
    for name, kind in (("tags", str), ("events", dict)):
        if not kinds(chain.from_iterable(columns.get(name, ()))) <= {kind}:
            return None
    if "end_time" in times:
        times["end_time"] = list(map(max, times["end_time"], starts))
    return times


def end_after_start(run: Run) -> None:
    """Let a run end no earlier than it starts.

    The JavaScript SDK writes a counter into the microseconds of start_time and ends runs at whole milliseconds, so
    its short runs seem to end before they start.
    """
    if run.get("end_time") is not None:
        run["end_time"] = max(run["end_time"], run["start_time"])


def check_fields(run: Any, where: str, *, nulls: bool = True) -> Run:
    """Check the fields that are there."""
    if not isinstance(run, dict):
        raise unprocessable(where, "must be an object")
    checked: Run = {}
    for field, value in run.items():
        if value is None:
            if nulls:
                continue
            raise unprocessable(f"{where}.{field}", "must not be null: leave the field out")
        kind = KINDS.get(field)
        if kind is ID:
            value = value if is_uuid(value) else _run_id(value, where, field)
        elif kind is TIME:
            value = _run_time(value, where, field)
        elif kind and type(value) is not kind:
            raise unprocessable(f"{where}.{field}", f"must be of type {KIND_NAMES[OTHER_KINDS[field]]}")
        checked[field] = value
    if "run_type" in checked and checked["run_type"] not in RUN_TYPES:
        raise unprocessable(f"{where}.run_type", f"must be one of {', '.join(RUN_TYPES)}")
    if len(checked.get("name", "")) > MAX_NAME:
        raise unprocessable(f"{where}.name", f"must have at most {MAX_NAME} characters")
    if "tags" in checked and not all(isinstance(tag, str) for tag in checked["tags"]):
        raise unprocessable(f"{where}.tags", "must be a list of strings")
    if "events" in checked and not all(isinstance(event, dict) for event in checked["events"]):
        raise unprocessable(f"{where}.events", "must be a list of objects")
    return checked


def _run_id(value: Any, where: str, field: str) -> str:
    try:
        return as_uuid(value, [])
    except ApiError:
        raise unprocessable(f"{where}.{field}", "must be a UUID") from None


def _run_time(value: Any, where: str, field: str) -> int:
    try:
        return as_time(value, [])
    except ApiError:
        raise unprocessable(f"{where}.{field}", "must be a time in ISO 8601, or milliseconds since 1970") from None


def check_window(start_time: int, where: str, switches: Switches, now: int) -> None:
    hours = switches.time_window_hours
    if hours is not None and abs(now - start_time) > hours * 3_600_000_000:
        raise bad_run(where, f"start_time {iso(start_time)} is more than {hours:g} hours from now")


ROOT = re.compile(r"\d{8}T\d{12}Z.{36}")
ROOTS = re.compile(r"(?:[0-9]{8}T[0-9]{12}Z)*+")
USUAL_ORDER = re.compile(rf"(?:\d{{8}}T\d{{12}}Z{UUID.pattern}(?:\.(?!\Z)|\Z))+")
SEGMENT = re.compile(r"(\d{8}T\d{6})(\d{0,6})Z([0-9a-fA-F-]{32,36})")


def check_order(run: Run, where: str) -> None:
    """Check dotted_order against the run's ids; write its ids with hyphens and its times with six digits."""
    order = run["dotted_order"]
    if ROOT.fullmatch(order) and order[22:] == run["id"] == run["trace_id"] and "parent_run_id" not in run:
        return  # nearly every run of an experiment
    if not USUAL_ORDER.fullmatch(order):
        order = run["dotted_order"] = _usual_order(order, where)
    parts = order.split(".")
    times, ids = [part[:21] for part in parts], [part[22:] for part in parts]
    parent = ids[-2] if len(ids) > 1 else None
    if ids[-1] != run["id"]:
        raise bad_run(where, "invalid 'dotted_order': its last part must hold the run's id")
    if ids[0] != run["trace_id"]:
        raise bad_run(where, "invalid 'dotted_order': its first part must hold the trace_id")
    if parent != run.get("parent_run_id"):
        raise bad_run(where, "invalid 'dotted_order': its last but one part must hold the parent_run_id")
    if len(set(ids)) != len(ids):
        raise bad_run(where, "invalid 'dotted_order': it holds a run twice")
    if times != sorted(times):
        raise bad_run(where, "invalid 'dotted_order': a run starts before its parent")


def _are_in_order(columns: Columns, runs: list[Run]) -> bool:
    """Whether `check_order` accepts all of these runs, whose ids are in their usual form."""
    orders, ids = columns["dotted_order"], columns["id"]
    if "parent_run_id" not in columns:
        begun = "".join([order[:22] for order in orders])
        return (
            ids == columns["trace_id"]
            and ids == tuple([order[22:] for order in orders])
            and len(begun) == 22 * len(orders)
            and ROOTS.fullmatch(begun) is not None
        )
    try:
        for run in runs:
            check_order(run, "")
    except ApiError:
        return False
    return True


def _usual_order(order: str, where: str) -> str:
    """A dotted_order with hyphens in its ids and six digits in its fractions of seconds."""
    segments = [SEGMENT.fullmatch(segment) for segment in order.split(".")]
    if not all(segments):
        raise bad_run(where, "invalid 'dotted_order': each part must be a time YYYYMMDDTHHMMSSffffffZ and a run id")
    return ".".join(
        f"{match[1]}{match[2].ljust(6, '0')}Z{_run_id(match[3], where, 'dotted_order')}" for match in segments if match
    )


def ancestors(dotted_order: str) -> list[str]:
    """The ids above a run, root first; every id takes the last 36 characters of its part."""
    return [part[-36:] for part in dotted_order.split(".")[:-1]]


def place(db: sqlite3.Connection, run: Run) -> None:
    """Give a lone run the id, trace_id and dotted_order it came without."""
    run_id = run.setdefault("id", str(uuid.uuid4()))
    if "dotted_order" in run or "start_time" not in run:
        if "parent_run_id" not in run:
            run.setdefault("trace_id", run_id)
        return
    moment = iso(_run_time(run["start_time"], "run", "start_time")) or ""
    above = ""
    if "parent_run_id" in run:
        parent = db.execute(
            "SELECT trace_id, dotted_order FROM runs WHERE id = ?", (str(run["parent_run_id"]),)
        ).fetchone()
        if parent is None:
            raise bad_run("run", "dotted_order may be left out only where the parent run is known")
        run.setdefault("trace_id", parent["trace_id"])
        above = parent["dotted_order"] + "."
    run.setdefault("trace_id", run_id)
    run["dotted_order"] = above + re.sub(r"[-:.]", "", moment[:26]) + "Z" + str(run_id)


# Tokens and cost

COUNTS = ("input_tokens", "output_tokens", "total_tokens")


def usage_metadata(run: Run) -> dict[str, Any]:
    """Where a run says its tokens: extra.metadata.usage_metadata, else outputs.usage_metadata."""
    metadata = (run.get("extra") or {}).get("metadata")
    for place in (metadata, run.get("outputs")):
        if isinstance(place, dict) and isinstance(place.get("usage_metadata"), dict):
            return dict(place["usage_metadata"])
    return {}


NOTHING = [0] * 6


def own_usage(run: Run) -> list[int]:
    """The six amounts of TOKENS that a run adds by itself, NOTHING if it gives none: only llm runs do."""
    usage = usage_metadata(run) if run["run_type"] == "llm" else None
    if not usage:
        return NOTHING
    tokens = [_tokens(usage.get(name)) for name in COUNTS]
    costs = [_picos(usage.get(name)) for name in ("input_cost", "output_cost", "total_cost")]
    return [*_with_total(tokens), *_with_total(costs)]


def uncounted(run: Run) -> list[str]:
    """The token counts that a run gives, but not as numbers that can be counted."""
    usage = usage_metadata(run)
    return [name for name in COUNTS if usage.get(name) is not None and _tokens(usage[name]) is None]


def _with_total(amounts: list[int | None]) -> list[int]:
    first, second, total = amounts
    return [first or 0, second or 0, (first or 0) + (second or 0) if total is None else total]


def _tokens(value: Any) -> int | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40
    return int(value) if fits else None


def _picos(value: Any) -> int | None:
    """US dollars as whole 1e-12 USD."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return int(amount * PICO) if amount.is_finite() and 0 <= amount < 1_000_000 else None
