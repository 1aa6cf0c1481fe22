"""What `record` prints: what was recorded, a summary of the results, or what a dry run would send."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.evaluation.running.scores import Scores
from langsmith_rest.recording.bodies import feedback_of, parse_time, times
from langsmith_rest.wording import Say, alike, clean, counted, typed

OLD = "moved to now, since LangSmith refuses runs that are a day old; the metadata has the original times"


def other_runs(api: connection.LangSmith, recording: recorder.Recording) -> int:
    """How many other runs the experiment has: somebody may have used its name before."""
    with contextlib.suppress(requests.RequestException):  # all is recorded, whether this is known or not
        there = rest.read_session(api, recording.experiment_id).get("run_count") or 0
        return max(there - recording.runs_recorded - recording.runs_existing, 0)
    return 0


def report(source: Any, recording: recorder.Recording, others: int, moved: int, say: Say) -> None:
    """Report what was recorded of `source`; `others` are other runs of the experiment."""
    for line in alike((f"{source.name}, result {one['result']}", one["reason"]) for one in recording.rejected):
        say(line)
    changes = recording.runs_recorded or recording.feedback or recording.examples_updated
    if not changes and not recording.rejected:
        all_of_it = "the one result" if recording.results == 1 else f"all {recording.results:,}"
        say(f"Nothing new: {all_of_it} of {source.name} {'was' if recording.results == 1 else 'were'} recorded before.")
    else:
        parts = [f"{counted(recording.runs_recorded, 'result')} recorded"]
        parts += [f"{recording.runs_existing:,} existing"] if recording.runs_existing else []
        parts += [counted(recording.examples_created, "new example")] if recording.examples_created else []
        parts += [f"{counted(recording.examples_updated, 'example')} updated"] if recording.examples_updated else []
        parts += [counted(recording.feedback, "feedback item")] if recording.feedback else []
        old = f" {counted(moved, 'old run')} {OLD}." if moved else ""
        say(f"{source.name}: {', '.join(parts)}.{old}")
    if others > 0:
        held = f"{recording.experiment_name!r} holds {counted(others, 'other run')} besides these results"
        say(f"The experiment {held}; another name would keep them apart.")


def count_moved(
    api: connection.LangSmith, source: Any, recording: recorder.Recording, earliest: datetime | None
) -> int:
    """How many results began before their experiment, and so are recorded as if they began with it."""
    if not earliest or not recording.runs_recorded:
        return 0
    with contextlib.suppress(requests.RequestException):  # all is recorded, whether this is known or not
        session = rest.find_session(api, id=recording.experiment_id) or {}
        start = parse_time(session.get("start_time"))
        if start and earliest < start:
            return sum((parse_time(result.get("start_time")) or start) < start for result in source)
    return 0


# ---------------------------------------------------------------- summary of results


@dataclass
class Summary:
    """Feedback by key, latency, tokens and errors of results."""

    scores: Scores = field(default_factory=Scores)
    latencies: list[float] = field(default_factory=list)  # seconds
    tokens: int = 0
    errors: int = 0

    def percentile(self, share: float) -> float | None:
        """The latency below which `share` of the results lie, interpolated between neighbours, as on the pages."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else None
        from statistics import quantiles  # only where it is needed

        return quantiles(self.latencies, n=100, method="inclusive")[round(100 * share) - 1]

    def as_json(self) -> dict[str, Any]:
        latency = {"latency_p50": self.percentile(0.5), "latency_p99": self.percentile(0.99)}
        return {"scores": self.scores.as_json(), **latency, "tokens": self.tokens, "errors": self.errors}


def summary(results: Iterable[Any]) -> Summary:
    found = Summary()
    for result in results:
        for item in feedback_of(result):
            found.scores.add_new(item)
        if result.get("end_time") or result.get("latency") is not None:
            found.latencies.append(times(result)[1].total_seconds())
        found.tokens += count_tokens(result)
        found.errors += bool(result.get("error"))
    return found


def count_tokens(run: dict[str, Any]) -> int:
    """The tokens of a trace, counted where they were used."""
    if below := sum(count_tokens(child) for child in run.get("child_runs") or ()):
        return below
    usage = (run.get("metadata") or {}).get("usage_metadata")
    if not isinstance(usage, dict):
        return 0
    counts = (usage.get(f"{kind}_tokens") for kind in ("total", "input", "output"))
    total, *parts = (count if isinstance(count, int) else 0 for count in counts)
    return total or sum(parts)


def print_table(recording: recorder.Recording, found: Summary) -> None:
    """Print a summary of the results of one experiment."""
    besides = [counted(found.errors, "error"), *([counted(found.tokens, "token")] if found.tokens else [])]
    rows = [
        ("experiment", clean(recording.experiment_name)),
        ("results", f"{recording.results:,} ({', '.join(besides)})"),
        *found.scores.rows(),
    ]
    if found.latencies:
        rows.append(("latency", f"{found.percentile(0.5):.2f} s (p50), {found.percentile(0.99):.2f} s (p99)"))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))


# ---------------------------------------------------------------- dry run


def print_requests(sent: list[dict[str, Any]], verdicts: list[dict[str, Any]], say: Say) -> None:
    """Print what would be sent; as JSON when there are verdicts on the results."""
    say(
        "Dry run: nothing was sent. Ids are made with a dataset id of zeros; existing examples would not be sent again."
    )
    if verdicts:
        print(json.dumps({"results": verdicts, "requests": sent}))
        return
    for request in sent:
        body = request.get("parts") or request.get("body")
        items = body["post"] if isinstance(body, dict) and "post" in body else body
        count = f", {counted(len(items), 'item')}" if isinstance(items, list) else ""
        print(f"{request['method']} {request['path']}  {counted(request['bytes'], 'byte')}{count}")
    say("With --json, the bodies are shown as well.")


def say_what_follows(api: connection.LangSmith, dataset_id: str, dataset: str, say: Say) -> None:
    """Say which evaluators of the local store will score new runs of a dataset; nothing for other servers.

    LangSmith is not asked, so that recording there makes no extra calls.
    """
    if not connection.is_loopback(api.url):
        return
    from langsmith_rest.evaluation.hosting import upload  # only where it is needed

    try:
        rules = upload.list_evaluators(api, upload.Target("dataset", dataset_id, dataset))
    except requests.RequestException:
        return
    names = [rule["display_name"] for rule in rules if rule.get("is_enabled", True)]
    if names:
        say(f"Scores will follow from {', '.join(names)}, while the store is served by: {typed(upload.VIEW)}")
