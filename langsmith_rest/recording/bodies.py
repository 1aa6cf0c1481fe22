"""Ids, times and request bodies: pure functions, which every port must match byte for byte (fixtures/vectors.json)."""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring as quoted
from typing import Any, NamedTuple

from langsmith_rest.recording.canonical import ORDERS, WRITERS
from langsmith_rest.recording.results import Example, Feedback, Prepared, SentRun

Json = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DNS = bytes.fromhex("6ba7b8109dad11d180b400c04fd430c8")  # the namespace of all our uuid5
VARIANT = dict(zip("0123456789abcdef", 4 * "89ab", strict=True))  # the digit of a UUID that says how it is laid out
ZERO, MILLISECOND = timedelta(0), timedelta(milliseconds=1)
WINDOW = timedelta(hours=20)  # LangSmith refuses runs that started some 24 hours ago; this leaves time to resume
HOUR, MINUTE = r"(?:[01]\d|2[0-3])", r"[0-5]\d"
CLOCK = rf"{HOUR}:{MINUTE}(?::{MINUTE}(?:[.,]\d+)?)?(?:[Zz]|[+-]{HOUR}(?::?{MINUTE})?)?"
TIME = re.compile(rf"\d{{4}}-\d\d-\d\d(?:[Tt ]{CLOCK})?", re.ASCII)
MARKS = ("score", "value", "comment")
LATER = ("feedback", "attachments")  # what is recorded with a run, but is no part of it
OF_THE_EXAMPLE = ("split", "example_metadata")  # these may change later, so no id depends on them
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def canonical_fields(run: Json) -> dict[str, str]:
    """The sorted fields of a result as canonical JSON, without nulls, feedback and attachments."""
    fields = {}
    for name, _ in ORDERS[tuple(run)]:
        value = run[name]
        if value is None or name in LATER:
            continue
        if name == "child_runs" and value:
            fields[name] = "[" + ",".join([canonical_result(canonical_fields(child)) for child in value]) + "]"
        elif isinstance(value, datetime):
            fields[name] = quoted(value.isoformat())
        else:
            fields[name] = WRITERS[type(value)](value)
    return fields


def run_text(fields: Mapping[str, str]) -> str:
    """The text that the id of a result's run is made of."""
    return canonical_result({name: text for name, text in fields.items() if name not in OF_THE_EXAMPLE})


def canonical_result(fields: Mapping[str, str]) -> str:
    return "{" + ",".join([f'"{name}":{text}' for name, text in fields.items()]) + "}"


def uuid5(name: str) -> str:
    """The version 5 UUID of a text in the DNS namespace, as the standard library makes it, but in half the time."""
    i = hashlib.sha1(DNS + name.encode()).hexdigest()
    return f"{i[:8]}-{i[8:12]}-5{i[13:16]}-{VARIANT[i[16]]}{i[17:20]}-{i[20:32]}"


def hyphened(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def example_id(dataset_id: str, fields: Mapping[str, str]) -> str:
    """The id of a result's example, from its canonical fields: one example for the same inputs and reference."""
    return uuid5(f"{dataset_id}-{fields['inputs']}-{fields.get('reference_outputs', '{}')}")


def experiment_id(dataset_id: str, experiment_name: str) -> str:
    return uuid5(f"{dataset_id}-{experiment_name}")


def default_name(prefix: str, dataset_name: str, results_hash: int) -> str:
    """The experiment name of results that were given none: it stands for these results in this dataset."""
    return f"{prefix}-{(results_hash + short_hash(dataset_name.encode(errors='replace'))) % 2**32:08x}"


def short_hash(text: bytes) -> int:
    """The first 4 bytes of the SHA-256; those of all results add up to one that does not depend on their order."""
    return int.from_bytes(hashlib.sha256(text).digest()[:4])


@functools.lru_cache(16)  # results without times start at the same moment, and so do those that are moved
def moment(time: datetime) -> tuple[str, str, str]:
    """A time as it is sent, as a `dotted_order` has it, and as a UUIDv7 begins: with its milliseconds and a 7."""
    text, milliseconds = timestamp(time), f"{(time - EPOCH) // MILLISECOND:012x}"
    digits = text[:26].replace("-", "").replace(":", "").replace(".", "")
    return text, f"{digits}Z", f"{milliseconds[:8]}-{milliseconds[8:]}-7"


@functools.lru_cache(16)  # the times of a result are looked at several times
def parse_time(value: str | datetime | None) -> datetime | None:
    """Read a text of RFC 3339 or a datetime as a time in UTC, which is also meant by one without offset; None stays.

    Also read are: a date alone, no seconds, a space or `t` instead of `T`, a comma, `z`, `+0200` and `+02`. Digits
    beyond microseconds are dropped. Raises ValueError for any other text.
    """
    if isinstance(value, str):
        if not TIME.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is not a time")
        value = datetime.fromisoformat(value.upper())
    if value is None or value.tzinfo is UTC:
        return value
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def times(run: Json) -> tuple[datetime | None, timedelta]:
    """When a run says it started, and how long it took: by its end, or by its `latency` in seconds."""
    start, end, latency = parse_time(run.get("start_time")), parse_time(run.get("end_time")), run.get("latency")
    if start and end:
        return start, end - start
    return start, timedelta(seconds=latency) if latency else ZERO


def timestamp(time: datetime) -> str:
    """A time in UTC (as `parse_time` gives it) as it is sent."""
    return time.isoformat(timespec="microseconds")


def start_of(session: Json) -> datetime:
    return parse_time(session["start_time"]) or EPOCH


def session_start(earliest: datetime | None, longest: timedelta, now: datetime) -> datetime:
    """When an experiment starts: with its first run, or so late that its runs can be moved into LangSmith's window.

    Whole seconds, so that a server that keeps fewer digits gives the same time back, and a resume the same ids.
    """
    start = earliest if earliest and earliest > now - WINDOW else now - min(longest, WINDOW)
    return start.replace(microsecond=0)


def session(
    dataset_id: str, name: str, start: datetime, description: str | None, metadata: dict[str, Any] | None
) -> dict[str, Any]:
    """The body of an experiment."""
    body = {"id": experiment_id(dataset_id, name), "name": name, "start_time": timestamp(start)}
    about = {"description": description, "extra": {"metadata": metadata} if metadata else None}
    return body | {"reference_dataset_id": dataset_id} | {field: value for field, value in about.items() if value}


def example(dataset_id: str, result: Prepared) -> Example:
    """The example of a result; without a body when the result names one that exists."""
    given = result.given.get("example_id")
    return Example(given, b"") if given else new_example(dataset_id, result.fields)


def new_example(dataset_id: str, fields: Mapping[str, str]) -> Example:
    """The example that canonical fields make."""
    i = example_id(dataset_id, fields)
    parts = [f'{{"dataset_id":"{dataset_id}","id":"{i}","inputs":{fields["inputs"]}']
    for name, field in (("metadata", "example_metadata"), ("outputs", "reference_outputs"), ("split", "split")):
        if field in fields:
            parts.append(f'"{name}":{fields[field]}')
    return Example(i, (",".join(parts) + "}").encode())


def changed_example(known: Json, fields: Mapping[str, str]) -> dict[str, Any] | None:
    """The change that gives an example the split and metadata of a result; None when it has them."""
    metadata = dict(known.get("metadata") or {})
    splits = metadata.pop("dataset_split", ["base"])
    wanted = json.loads(fields["split"]) if "split" in fields else splits
    wanted = [wanted] if isinstance(wanted, str) else wanted
    wanted_metadata = json.loads(fields["example_metadata"]) if "example_metadata" in fields else metadata
    if sorted(wanted) == sorted(splits) and wanted_metadata == metadata:
        return None
    return {"id": known["id"], "metadata": wanted_metadata, "split": wanted}


class Shared(NamedTuple):
    """What the runs of a trace have in common."""

    session_id: str
    shift: timedelta  # how much later than they say they start
    example: str = ""  # what ties the root to its example


def trace(session: Json, result: Prepared) -> list[SentRun]:
    """The runs of a result, the root last: once that is recorded, the whole tree is.

    A trace that started before its session is moved to the session's start, with its latencies kept and its times in
    the metadata; one without times starts there.
    """
    start, session_id, example = start_of(session), session["id"], result.example.id
    shift = max(start - result.start, ZERO) if result.start else ZERO
    shared = Shared(session_id, shift, f'"reference_example_id":"{example}",')
    name = f"{session_id}-{example}-{result.text}-{result.occurrence}"
    return runs_of(shared, result.given, result.fields, (result.start, result.took), name, start)


def runs_of(
    shared: Shared,
    run: Json,
    fields: Mapping[str, str],
    own_times: tuple[datetime | None, timedelta],
    name: str,
    start: datetime,
    parent: SentRun | None = None,
) -> list[SentRun]:
    """A run after those below it; `name` is what its id is made of, `start` when it starts unless it says so."""
    session_id, shift, example = shared
    (own_start, took), metadata = own_times, fields.get("metadata", "{}")
    if own_start:
        start = own_start + shift
        if shift:
            metadata = with_original_times(metadata, fields, own_start + took)
    start_time, order, beginning = moment(start)
    i = beginning + uuid5(name)[15:]  # a UUIDv7 that is the same every time
    end_time = timestamp(start + took) if took else start_time
    trace_id, order = (parent.trace_id, f"{parent.dotted_order}.{order}{i}") if parent else (i, order + i)
    children = run.get("child_runs") or ()
    run_type = fields.get("run_type") or ('"chain"' if children else '"llm"')
    others = f',"parent_run_id":"{parent.id}"' if parent else ""
    for field in ("inputs", "outputs", "error", "tags"):
        if field in fields:
            others += f',"{field}":{fields[field]}'
    if metadata != "{}":
        others += f',"extra":{{"metadata":{metadata}}}'
    body = (
        f'{{"id":"{i}","trace_id":"{trace_id}","dotted_order":"{order}","session_id":"{session_id}",'
        f'{"" if parent else example}"name":{fields.get("name", run_type)},"run_type":{run_type},'
        f'"start_time":"{start_time}","end_time":"{end_time}"{others}}}'
    ).encode()
    made = SentRun(i, trace_id, session_id, start_time, end_time, order, feedback_of(run), body)
    below: list[SentRun] = []
    for index, child in enumerate(children):
        below += runs_of(shared, child, canonical_fields(child), times(child), f"{i}-{index}", start, made)
    return [*below, made]


def with_original_times(metadata: str, fields: Mapping[str, str], end: datetime) -> str:
    """The metadata of a run that was moved, with the times that it had, as they were given."""
    end_time = fields.get("end_time") or (f'"{timestamp(end)}"' if "latency" in fields else fields["start_time"])
    original = f'"original_start_time":{fields["start_time"]},"original_end_time":{end_time}'
    return f"{metadata[:-1]}{',' if len(metadata) > 2 else ''}{original}}}"


def feedback_of(result: Json) -> list[dict[str, Any]]:
    """The feedback of a result as a list; `{key: score}` is the short form. What holds only nulls was not scored."""
    given = result.get("feedback")
    if not given:
        return []
    items = []
    for item in long_form(given) if isinstance(given, dict) else given:
        if item.get("error") or [name for name in MARKS if item.get(name) is not None]:
            items.append({**item, "score": rounded(item["score"])} if "score" in item else dict(item))
    return items


def rounded(score: Any) -> Any:
    """A score as LangSmith takes it: with at most 4 decimals, ties to even; it refuses more precise ones."""
    return round(score, 4) + 0.0 if isinstance(score, float) else score  # + 0.0: no minus zero


def long_form(scores: Json) -> Iterator[dict[str, Any]]:
    """`{key: score}` as a list; a text is a `value`, for it cannot be averaged."""
    return ({"key": key, "value" if isinstance(score, str) else "score": score} for key, score in scores.items())


def feedback(runs: list[SentRun]) -> list[Feedback]:
    """The feedback of a trace as it is sent."""
    return [Feedback(body["id"], run.id, encode(body)) for run in runs if run.feedback for body in feedback_bodies(run)]


def feedback_bodies(run: SentRun) -> Iterator[dict[str, Any]]:
    """The feedback of a run; several of one key are told apart by their order.

    That an evaluator failed has an id of its own, since a score that comes later cannot take the mark away.
    """
    counts: dict[str, int] = {}
    for item in run.feedback:
        key = f"{item['key']}-error" if item.get("error") else item["key"]
        counts[key] = count = counts.get(key, -1) + 1
        yield {
            "id": uuid5(f"{run.id}-{key}-{count}"),
            "run_id": run.id,
            "trace_id": run.trace_id,
            "session_id": run.session_id,
            "start_time": run.start_time,
            "feedback_source": {"type": "api"},  # unless it says otherwise
            **{name: value for name, value in item.items() if value is not None},
        }
