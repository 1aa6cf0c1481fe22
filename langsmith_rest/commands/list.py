"""`list`: the datasets, or the experiments of one dataset."""

import argparse
import json
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import find_dataset, list_datasets, list_sessions
from langsmith_rest.recording.bodies import parse_time
from langsmith_rest.wording import Say, clean, counted

DESCRIPTION = "List datasets, or the experiments on a dataset, newest first."
EXAMPLES = """examples:
  %(prog)s
  %(prog)s capitals
  %(prog)s capitals --json"""
SHOWN_SCORES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", nargs="?", metavar="DATASET", help="list the experiments on this dataset (name or id)")
    add("--limit", type=int, default=20, metavar="N", help="list at most N (default: %(default)s)")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Print what there is, and say when there is more."""
    if options.limit < 1:
        raise ValueError(f"--limit {options.limit}: expected 1 or more.")
    with connect("reading", must_exist=True) as api:
        if options.dataset:
            kind, found = "experiment", experiments_of(api, options.dataset, options.limit + 1)
        else:
            kind, found = "dataset", datasets_of(api, options.limit + 1)
    shown = found[: options.limit]
    if options.json:
        print(json.dumps({f"{kind}s": shown, "has_more": len(found) > len(shown)}))
        return 0
    if not found:
        say(f"No {kind}s{f' in {options.dataset!r}' if options.dataset else ''} yet.")
    elif options.dataset:
        print_table([("experiment", "runs", "errors", "started", "scores"), *map(experiment_row, shown)])
    else:
        print_table([("dataset", "examples", "experiments", "last experiment"), *map(dataset_row, shown)])
    if len(found) > len(shown):
        say(f"Only the newest {counted(len(shown), kind)} are listed: --limit N lists more.")
    return 0


def datasets_of(api: LangSmith, limit: int) -> list[dict[str, Any]]:
    names = ("id", "name", "example_count", "session_count", "last_session_start_time", "created_at")
    return [{name: found.get(name) for name in names} for found in islice(list_datasets(api), limit)]


def experiments_of(api: LangSmith, dataset: str, limit: int) -> list[dict[str, Any]]:
    of_dataset = find_dataset(api, dataset)["id"]
    names = ("id", "name", "start_time", "run_count", "error_rate", "latency_p50", "total_tokens", "feedback_stats")
    found = list_sessions(api, reference_dataset=of_dataset, sort_by="start_time", include_stats="true")
    return [{name: session.get(name) for name in names} for session in islice(found, limit)]


def dataset_row(found: dict[str, Any]) -> tuple[str, ...]:
    last = found["last_session_start_time"]
    counts = (f"{found[name]:,}" if found[name] is not None else "" for name in ("example_count", "session_count"))
    return (found["name"], *counts, age(last) if last else "")


def experiment_row(found: dict[str, Any]) -> tuple[str, ...]:
    runs = found["run_count"] or 0
    errors = round((found["error_rate"] or 0) * runs)
    means = [(key, stats.get("avg")) for key, stats in sorted((found["feedback_stats"] or {}).items())]
    scores = [f"{key} {mean:.3g}" for key, mean in means if mean is not None]
    more = [f"and {len(scores) - SHOWN_SCORES} more"] if len(scores) > SHOWN_SCORES else []
    return (
        found["name"],
        f"{runs:,}",
        f"{errors:,}",
        age(found["start_time"]),
        ", ".join(scores[:SHOWN_SCORES] + more),
    )


def age(text: str) -> str:
    """How long ago a time was, in its largest unit."""
    seconds = (datetime.now(UTC) - (parse_time(text) or datetime.now(UTC))).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "just now"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows below a head; columns are as wide as their longest cell, the last one as long as it is."""
    rows = [tuple(map(clean, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
