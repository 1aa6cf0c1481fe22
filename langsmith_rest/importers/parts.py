"""What all importers share: the experiments they return, reading JSON, and the parts of a result."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from langsmith_rest.wording import counted, shortened

REFERENCES = ("expected", "expected_output", "reference", "ideal", "correct_label", "ground_truth")
LONGEST_KEY = 180  # characters that LangSmith takes
LONGEST_NAME = 80  # characters, before the hash


@dataclass
class Experiment:
    """One experiment of a file: the results of one system."""

    name: str  # the recorder adds a hash of the results, so the same file always means the same experiment
    results: list[dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None  # the name that the file gives to its examples


@dataclass
class Found:
    """What an importer found in a file, in one sentence and as experiments."""

    summary: str
    experiments: list[Experiment]


def summarize(what: str, experiments: list[Experiment], left_out: Iterable[str] = ()) -> Found:
    """One sentence: `what` (the tool and its rows), what they become, and what is left out."""
    results = [result for experiment in experiments for result in experiment.results]
    shared = {key_of(result) for result in results}
    errors = sum(bool(result.get("error")) for result in results)
    made = f"{counted(len(experiments), 'experiment')} of {counted(len(shared), 'example')}"
    lost = [text for text in left_out if text]
    end = f". Left out: {', '.join(lost)}." if lost else "."
    return Found(f"{what}: {made}, {counted(errors, 'error')}{end}", experiments)


# ---------------------------------------------------------------- reading


def read_json(data: bytes) -> Any:
    """Parse JSON as other tools write it: NaN and Infinity, which are not JSON, become null."""
    return json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)


def read_objects(file: IO[bytes]) -> list[dict[str, Any]]:
    """The objects of a file: JSON lines, one JSON array, or a single document."""
    file.seek(0)
    data = file.read()
    try:
        value = read_json(data)
    except json.JSONDecodeError:
        return list(read_lines(data.splitlines()))
    return value if isinstance(value, list) else [value]


def read_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines; an error names the line of the file, not the place within its line."""
    for number, line in enumerate(lines):
        try:
            if line.strip():
                yield read_json(line)
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, "\n" * number + error.doc, number + error.pos) from None


# ---------------------------------------------------------------- pieces of a result


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have a value; 0 and False are values."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def as_object(value: Any, name: str) -> dict[str, Any]:
    """An object is returned unchanged; any other value goes under `name`."""
    return value if isinstance(value, dict) else {name: value}


def score(key: str, value: Any, comment: Any = None) -> list[dict[str, Any]]:
    """Feedback under a tool's own key: numbers and booleans as scores, texts as values; otherwise nothing."""
    item: dict[str, Any] = {"key": key[:LONGEST_KEY]}
    if isinstance(value, bool | int | float) and math.isfinite(value):
        item["score"] = value
    elif isinstance(value, str) and value:
        item["value"] = value
    else:
        return []
    return [item | ({"comment": str(comment)} if comment else {})]


def failed(key: str, comment: Any) -> dict[str, Any]:
    """Feedback that says an evaluator failed, so that its score of 0 is not a verdict."""
    return {"key": key[:LONGEST_KEY], "error": True, **({"comment": str(comment)} if comment else {})}


def usage(
    input_tokens: Any = None, output_tokens: Any = None, total_tokens: Any = None, cost: Any = None, cached: Any = None
) -> dict[str, Any] | None:
    """Token counts and cost as LangSmith wants them in a run's metadata; zeros mean that a tool does not know."""
    counts = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total_tokens}
    found: dict[str, Any] = {name: int(count) for name, count in counts.items() if count}
    if found and "total_tokens" not in found:
        found["total_tokens"] = sum(found.values())
    if cached:
        found["input_token_details"] = {"cache_read": int(cached)}
    return (found | ({"total_cost": cost} if cost else {})) or None


def at(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601; raises OverflowError beyond the years that a date can have."""
    return None if seconds is None else (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()


def key_of(result: dict[str, Any]) -> str:
    """What makes the example of a result: its inputs and its reference."""
    return json.dumps([result["inputs"], result.get("reference_outputs")], sort_keys=True)


def number_repetitions(results: Iterable[dict[str, Any]]) -> None:
    """Number the results of one example in their metadata, where an example has several."""
    results = list(results)
    totals = Counter(map(key_of, results))
    seen: Counter[str] = Counter()
    for result in results:
        seen[key := key_of(result)] += 1
        if totals[key] > 1:
            result["metadata"] = {**result.get("metadata", {}), "repetition": seen[key]}


def unique_names(names: Iterable[str]) -> Iterator[str]:
    """The names on one line and not too long; a repeated name gets a number."""
    seen: Counter[str] = Counter()
    for name in (shortened(name, LONGEST_NAME) for name in names):
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} #{seen[name]}"


def pick_reference(rows: list[dict[str, Any]], given: str | None) -> str | None:
    """The field of the inputs that holds the reference: the given one, else a common name.

    Raises ValueError with the existing fields if none has the given name.
    """
    known = dict.fromkeys(name for row in rows for name in row)
    if given and given not in known:
        raise ValueError(f"--reference {given}: no row has that field; they have {', '.join(known)}.")
    return given or next((name for name in REFERENCES if name in known), None)


def split_reference(row: dict[str, Any], name: str | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The inputs of a row, and its reference outputs."""
    if not name or row.get(name) is None:
        return row, None
    return {field: value for field, value in row.items() if field != name}, {name: row[name]}


def refuse_reference(tool: str, place: str, given: str | None) -> None:
    """Raise ValueError if a reference is named, but the format has its own field for it."""
    if given:
        raise ValueError(f"--reference {given}: {tool} has references of its own ({place}): drop the flag.")
