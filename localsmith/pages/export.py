"""An experiment as files: JSON lines that `main.py record` reads back, and CSV for a spreadsheet."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from flask import Response, stream_with_context

from localsmith.pages.common import find, store
from localsmith.pages.render import natural
from localsmith.pages.retries import replaced
from localsmith.wire import dumps, iso, micros

ADDED = ("original_start_time", "original_end_time")  # by a recorder that had to move a trace
AT_ONCE = 100  # traces read into memory at a time

Result = dict[str, Any]
Results = Callable[[], Iterable[Result]]  # the same ones each time, so that none has to be kept


def export_json_lines(tenant: str, session_id: str) -> Response:
    return _send(session_id, "jsonl", "application/jsonl; charset=utf-8", json_lines)


def export_csv(tenant: str, session_id: str) -> Response:
    return _send(session_id, "csv", "text/csv; charset=utf-8", csv_lines)


def _send(session_id: str, suffix: str, mimetype: str, lines: Any) -> Response:
    with store().read() as db:
        session = find(db, "sessions", session_id, "experiment or project")

    def stream() -> Iterator[str]:
        with store().read() as db:  # one moment of the store from the first line to the last
            yield from lines(lambda: results_of(db, session["id"]))

    name = re.sub(r"[^A-Za-z0-9._-]+", "_", session["name"])[:100].strip("._") or "experiment"
    headers = {"Content-Disposition": f'attachment; filename="{name}.{suffix}"'}
    return Response(stream_with_context(stream()), headers=headers, content_type=mimetype)


def json_lines(results: Results) -> Iterator[str]:
    for result in results():
        yield dumps(result) + "\n"


def results_of(db: sqlite3.Connection, session_id: str) -> Iterator[Result]:
    """Every trace of an experiment as a result, in the order of the dataset's examples; of a failed run that was
    tried again, the newer one alone."""
    gone = replaced(db, "session_id", [session_id])
    session_start = db.execute("SELECT start_time FROM sessions WHERE id = ?", (session_id,)).fetchone()[0]
    traces = db.execute(
        "SELECT r.trace_id FROM runs r LEFT JOIN examples e ON e.id = r.reference_example_id AND e.ended_at IS NULL"
        " WHERE r.session_id = ? AND r.is_root = 1 ORDER BY e.position IS NULL, e.position, r.start_time, r.seq",
        (session_id,),
    )
    while some := traces.fetchmany(AT_ONCE):  # so that an export takes the same memory however long it is
        yield from _results(db, [row[0] for row in some if row[0] not in gone], session_start)


OF_TRACES = (
    "(r.id IN (SELECT value FROM json_each(?1)) OR r.trace_id IN (SELECT value FROM json_each(?1)) AND r.is_root = 0)"
)


def _results(db: sqlite3.Connection, traces: list[str], session_start: int) -> Iterator[Result]:
    wanted = json.dumps(traces)
    runs = db.execute(
        "SELECT r.*, b.inputs, b.outputs, b.error, b.extra, b.tags FROM runs r LEFT JOIN run_bodies b ON b.seq = r.seq"
        f" WHERE {OF_TRACES} ORDER BY r.dotted_order",
        (wanted,),
    ).fetchall()
    feedback: dict[str, list[Result]] = {}
    for row in db.execute(
        "SELECT run_id, key, score, value, comment, error FROM feedback WHERE run_id IN"
        f" (SELECT id FROM runs r WHERE {OF_TRACES})"
        " AND comparative_experiment_id IS NULL ORDER BY seq",
        (wanted,),
    ):
        feedback.setdefault(row["run_id"], []).append(_feedback(row))
    examples = _versions(db, [run["reference_example_id"] for run in runs if run["is_root"]])
    made: dict[str, Result] = {}
    shifts: dict[str, int | None] = {}
    for run in runs:
        if run["is_root"]:
            shifts[run["trace_id"]] = _shift(run, session_start)
        result = _result(run, feedback.get(run["id"], []), shifts.get(run["trace_id"]))
        made[run["id"]] = result
        parent = made.get(run["parent_run_id"] or "")
        if run["is_root"]:
            _add_example(result, _version_of(run, examples.get(run["reference_example_id"], [])))
        elif parent is not None:
            parent.setdefault("child_runs", []).append(result)
    yield from (made[trace] for trace in traces if trace in made)


def _versions(db: sqlite3.Connection, ids: list[str]) -> dict[str, list[sqlite3.Row]]:
    """Every version of these examples, oldest first, but for those whose content is erased."""
    found: dict[str, list[sqlite3.Row]] = {}
    for row in db.execute(
        "SELECT id, modified_at, inputs, outputs, metadata FROM examples"
        " WHERE id IN (SELECT value FROM json_each(?)) AND metadata <> '{}' ORDER BY version",
        (json.dumps(ids),),
    ):
        found.setdefault(row["id"], []).append(row)
    return found


def _version_of(run: sqlite3.Row, versions: list[sqlite3.Row]) -> sqlite3.Row | None:
    """The version that a run was made with: one with its inputs where there is one, and the newest before it began."""
    same = [version for version in versions if version["inputs"] == run["inputs"]] or versions
    before = [version for version in same if version["modified_at"] <= run["start_time"]]
    return before[-1] if before else same[0] if same else None


def _shift(root: sqlite3.Row, session_start: int) -> int | None:
    """How far a trace was moved when it was recorded; None when its times were made up by the recorder."""
    metadata = _metadata(root)
    try:
        return micros(metadata["original_start_time"]) - int(root["start_time"])
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    return None if root["start_time"] == root["end_time"] == session_start else 0


def _metadata(run: sqlite3.Row) -> dict[str, Any]:
    extra = json.loads(run["extra"]) if run["extra"] else {}
    metadata = extra.get("metadata") if isinstance(extra, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _result(run: sqlite3.Row, feedback: list[Result], shift: int | None) -> Result:
    metadata = {key: value for key, value in _metadata(run).items() if key not in ADDED}
    result: Result = {
        "name": run["name"],
        "run_type": run["run_type"],
        "inputs": json.loads(run["inputs"]) if run["inputs"] else {},
        "outputs": json.loads(run["outputs"]) if run["outputs"] else None,
        "error": run["error"],
        "start_time": None if shift is None else iso(run["start_time"] + shift),
        "end_time": None if shift is None or run["end_time"] is None else iso(run["end_time"] + shift),
        "metadata": metadata,
        "tags": json.loads(run["tags"]) if run["tags"] else None,
        "feedback": feedback,
    }
    if result["outputs"] is None and result["error"] is None:
        result["outputs"] = {}  # still pending; a result has one of the two
    return {key: value for key, value in result.items() if value not in (None, []) and (key != "metadata" or value)}


def _feedback(row: sqlite3.Row) -> Result:
    score = row["score"]
    if score is not None and abs(score) < 2**53 and score == int(score):
        score = int(score)  # as it was given, most likely; SQLite keeps every score as a float
    value = json.loads(row["value"]) if row["value"] is not None else None
    error = True if row["error"] else None
    item = {"key": row["key"], "score": score, "value": value, "comment": row["comment"], "error": error}
    return {key: value for key, value in item.items() if value is not None}


def _add_example(result: Result, example: sqlite3.Row | None) -> None:
    """Add what a result says of its example. The example's own inputs win: they are what made it that example."""
    if example is None:
        return
    result["inputs"] = json.loads(example["inputs"])
    if example["outputs"] is not None:
        result["reference_outputs"] = json.loads(example["outputs"])
    metadata = json.loads(example["metadata"])
    splits = metadata.pop("dataset_split", None)
    if isinstance(splits, list) and splits != ["base"]:
        result["split"] = [str(split) for split in splits]
    if metadata:
        result["example_metadata"] = metadata


# CSV

COMMENT = " comment"
SEPARATES = re.compile('[,;|\t\r\n"]')
FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = ("inputs", "reference_outputs", "outputs", "error", "start_time", "end_time", "latency_s", "metadata")
# What a reader of the file takes for something else than a metric: the fields of a result, and other names for them.
RESERVED = {
    *COLUMNS,
    *("feedback", "name", "run_type", "tags", "child_runs", "example_id", "split", "example_metadata", "latency"),
    *("input", "output", "actual_output", "actual_outputs", "expected", "expected_output", "expected_outputs"),
    *("target", "scores", "reference"),
}


def csv_lines(results: Results) -> Iterator[str]:
    """One line per trace, with a column for the score and one for the comment of each metric.

    Where a column could not be read back as it was (a text that looks like a number, a metric called "error", two
    scores of one name), all scores stand in one column, `feedback`, as JSON.
    """
    metrics: set[str] = set()
    plain = True
    for row in results():
        keys = [item["key"] for item in row.get("feedback", [])]
        metrics.update(keys)
        plain = plain and len(set(keys)) == len(keys) and all(map(_is_plain, row.get("feedback", [])))
    plain = plain and not any(n in RESERVED or n.endswith(COMMENT) or n[:1] in FORMULA for n in metrics)
    names = (
        [name for metric in sorted(metrics, key=natural) for name in (metric, f"{metric}{COMMENT}")]
        if plain
        else ["feedback"]
    )
    yield "\ufeff"  # without it, Excel takes UTF-8 for something else
    yield _line([*COLUMNS, *names])
    for row in results():
        cells = {column: row.get(column) for column in (*COLUMNS, "feedback")} | {"latency_s": _seconds(row)}
        for item in row.get("feedback", []) if plain else ():
            failed = "error" if "error" in item else None
            cells[item["key"]] = item.get("score", item.get("value", failed))
            cells[f"{item['key']}{COMMENT}"] = item.get("comment")
        yield _line([_cell(cells.get(name)) for name in (*COLUMNS, *names)])


def _is_plain(item: Result) -> bool:
    """Whether a cell of a score says all of it: a number, a text that is read as nothing else, or a failure."""
    said = [item[name] for name in ("score", "value", "error") if name in item]
    if len(said) != 1 or "score" in item or "error" in item:
        return len(said) < 2
    value = item["value"]
    try:
        return isinstance(value, str) and value not in ("", "error") and json.loads(value) is NotImplemented
    except ValueError:
        return value[:1] not in FORMULA and value[:1] not in "{['"
    except RecursionError:
        return False


def _line(cells: list[Any]) -> str:
    """One row; cells with any usual separator are quoted, since spreadsheets of some countries split at these."""
    texts = ["" if cell is None else str(cell) for cell in map(_harmless, cells)]
    quoted = ['"' + text.replace('"', '""') + '"' if SEPARATES.search(text) else text for text in texts]
    return ",".join(quoted) + "\r\n"


def _cell(value: Any) -> Any:
    return dumps(value) if isinstance(value, dict | list) else value


def _harmless(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(cell, str) and cell[:1] in FORMULA:
        return "'" + cell
    return cell


def _seconds(row: Result) -> float | None:
    if "start_time" not in row or "end_time" not in row:
        return None
    took = datetime.fromisoformat(row["end_time"]) - datetime.fromisoformat(row["start_time"])
    return took.total_seconds()
