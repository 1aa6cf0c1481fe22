"""What people see of `record`: progress, what became of results, what they come to, and what a dry run would send."""

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.evaluation.running.scores import Scores
from langsmith_rest.recording.bodies import feedback_of, parse_time
from langsmith_rest.recording.sources import CheckedFile
from langsmith_rest.wording import Say, clean, counted


def other_runs(api: connection.LangSmith, recording: recorder.Recording) -> int:
    """How many runs the experiment holds besides these: somebody may have used its name before."""
    with contextlib.suppress(requests.RequestException):  # all is recorded, whether this is known or not
        there = rest.read_session(api, recording.experiment_id).get("run_count") or 0
        return max(there - recording.runs_recorded - recording.runs_existing, 0)
    return 0


def report(source: Any, recording: recorder.Recording, others: int, say: Say) -> None:
    """Say what happened, and above all what did not; `others` are runs of the experiment that are not of `source`."""
    for rejected in recording.rejected[:20]:
        say(f"{source.name}, result {rejected['result']}: {rejected['reason']}")
    if (more := len(recording.rejected) - 20) > 0:
        were = "was" if more == 1 else "were"
        say(f"{source.name}: {counted(more, 'more result')} {were} refused (--json lists all)")
    if not recording.runs_recorded and not recording.feedback and not recording.rejected:
        is_one = recording.results == 1
        results = (
            f"the one result of {source.name} was" if is_one else f"all {recording.results:,} of {source.name} were"
        )
        say(f"Nothing new: {results} recorded before.")
    else:
        examples = f"{counted(recording.examples_created, 'new example')}, {recording.examples_existing:,} known"
        runs = f"{counted(recording.runs_recorded, 'result')} recorded, {recording.runs_existing:,} known"
        say(f"{source.name}: {runs}; {examples}; {recording.feedback:,} feedback.")
    if others > 0:
        held = f"{recording.experiment_name!r} holds {counted(others, 'other run')} besides these results"
        say(f"The experiment {held}; another name would keep them apart.")


def say_moved(
    api: connection.LangSmith, source: Any, recording: recorder.Recording, checked: CheckedFile, say: Say
) -> None:
    """Say how many results began before their experiment, and from when to when they were moved."""
    if not checked.earliest or not recording.runs_recorded:
        return
    with contextlib.suppress(requests.RequestException):  # all is recorded, whether this is known or not
        session = rest.find_session(api, id=recording.experiment_id) or {}
        start = parse_time(session.get("start_time"))
        if start and checked.earliest < start:
            moved = sum((parse_time(result.get("start_time")) or start) < start for result in source)
            oldest = f"{'the oldest ' if moved > 1 else ''}at {checked.earliest:%Y-%m-%d %H:%M:%S} UTC"
            say(
                f"{source.name}: {counted(moved, 'result')} began before the experiment, {oldest}: moved to its start, "
                f"{start:%Y-%m-%d %H:%M:%S} UTC, latencies kept, original times in the metadata."
            )


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar on a terminal; elsewhere nothing, so that logs stay readable."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda done, total: print(f"\r{name}: {done} of {total}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# ---------------------------------------------------------------- what results come to


@dataclass
class Summary:
    """Feedback by key, latency, tokens and errors of results."""

    scores: Scores = field(default_factory=Scores)
    latencies: list[float] = field(default_factory=list)  # seconds
    tokens: int = 0
    errors: int = 0

    def percentile(self, share: float) -> float | None:
        """The latency below which `share` of the results lie, between neighbours in proportion, as on the pages."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else None
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[round(100 * share) - 1]

    def as_json(self) -> dict[str, Any]:
        latency = {"latency_p50": self.percentile(0.5), "latency_p99": self.percentile(0.99)}
        return {"scores": self.scores.as_json(), **latency, "tokens": self.tokens, "errors": self.errors}


def summary(results: Iterable[Any]) -> Summary:
    found = Summary()
    for result in results:
        for item in feedback_of(result):
            found.scores.add(item)
        start, end = parse_time(result.get("start_time")), parse_time(result.get("end_time"))
        if start and end:
            found.latencies.append((end - start).total_seconds())
        found.tokens += count_tokens(result)
        found.errors += bool(result.get("error"))
    return found


def count_tokens(run: dict[str, Any]) -> int:
    """The tokens of a trace, which count where they were used."""
    usage = (run.get("metadata") or {}).get("usage_metadata")
    counts = usage if isinstance(usage, dict) else {}
    total, *parts = (
        count if isinstance(count := counts.get(f"{kind}_tokens"), int) else 0 for kind in ("total", "input", "output")
    )
    return sum(count_tokens(child) for child in run.get("child_runs") or []) or total or sum(parts)


def print_table(recording: recorder.Recording, found: Summary) -> None:
    """Print what the results of one experiment come to."""
    rows = [
        ("experiment", clean(recording.experiment_name)),
        ("results", f"{recording.results:,}"),
        *found.scores.rows(),
    ]
    if found.latencies:
        rows.append(("latency", f"{found.percentile(0.5):.2f} s (p50), {found.percentile(0.99):.2f} s (p99)"))
    rows += [("tokens", f"{found.tokens:,}")] if found.tokens else []
    rows.append(("errors", f"{found.errors:,}"))
    try:
        if sys.stdout.isatty():
            print_rich(rows)
            return
    except ImportError:
        pass
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows) + "\n")


def print_rich(rows: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    Console().print(table)


# ---------------------------------------------------------------- dry run


def print_requests(sent: list[dict[str, Any]], as_json: bool, say: Say) -> None:
    say("Dry run: nothing was sent. Ids follow from a dataset id of zeros; examples that exist would be left out.")
    if as_json:
        print(json.dumps({"requests": sent}))
        return
    for request in sent:
        body = request.get("parts") or request.get("body")
        items = body["post"] if isinstance(body, dict) and "post" in body else body
        count = f", {counted(len(items), 'item')}" if isinstance(items, list) else ""
        print(f"{request['method']} {request['path']}  {counted(request['bytes'], 'byte')}{count}")
    say("With --json, the bodies are shown, too.")
