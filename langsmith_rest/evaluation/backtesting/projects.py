"""Put the runs of a file into a tracing project, as production would; for trying backtests, and for imports."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import requests

import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import create_feedback
from langsmith_rest.recording import bodies
from langsmith_rest.recording.account import READ_BACK_SECONDS
from langsmith_rest.recording.batches import BATCH, in_batches
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.recording.checking import CLOCK_SKEW
from langsmith_rest.recording.files import ResultFile
from langsmith_rest.recording.results import SentRun
from langsmith_rest.recording.sending import LAST_CALL
from langsmith_rest.recording.sources import Checked
from langsmith_rest.recording.tally import Tally

Runs = list[SentRun]
DAY = timedelta(days=1)


@dataclass
class Loaded:
    """What was loaded."""

    project: dict
    new: int  # traces that were sent
    there: int  # traces that were there already
    moved: list[timedelta] = field(default_factory=list)  # of the sent ones, by how much

    def __str__(self) -> str:
        """How many runs were moved by how much, and what that means."""
        least, most = (f"{by / DAY:.1f}" for by in (min(self.moved), max(self.moved)))
        days = f"{most} days" if least == most else f"{least} to {most} days, so closer together"
        return f"{len(self.moved):,} of {self.new:,} by {days}: --since, --limit and the pages use their new times"


class Placing(NamedTuple):
    """Where in time the runs of a file go: not before `start`, which stands for `first`, distances times `rate`."""

    start: datetime
    first: datetime
    rate: float = 1.0

    def of(self, time: datetime) -> datetime:
        return max(time, self.start, self.start + (time - self.first) * self.rate)

    def as_json(self) -> list[Any]:
        return [bodies.timestamp(self.start), bodies.timestamp(self.first), self.rate]

    @staticmethod
    def read(kept: list[Any]) -> "Placing":
        return Placing(parse_time(kept[0]) or EPOCH, parse_time(kept[1]) or EPOCH, kept[2])


AS_THEY_WERE = Placing(EPOCH, EPOCH)


def load_runs(api: LangSmith, file: ResultFile, project: str) -> Loaded:
    """Put the results of a file into a project, which is created if missing. Doing it again changes nothing.

    LangSmith refuses runs of yesterday, so older ones are moved: all by the same time, so that the last one has just
    ended; runs of more than 20 hours move closer together and keep their order. Original times stay in the metadata.
    Servers that accept runs of any age, such as the local store of the command line, get the original times.
    """
    checked = Checked(file, keep=0)
    now = datetime.now(UTC)
    longest, last = extremes(file)
    first = checked.earliest or last
    takes_any = (connection.call(api, "GET", "/info").get("instance_flags") or {}).get("runs_of_any_age", False)
    start = first.replace(microsecond=0) if takes_any else bodies.session_start(checked.earliest, last - first, now)
    placing = AS_THEY_WERE if takes_any else Placing(start, first)
    if last - first > bodies.WINDOW and not takes_any:
        placing = Placing(start, first, round(max(bodies.WINDOW - longest, timedelta(0)) / (last - first), 9))
    # Stored in the project: a file that has grown finds its runs, and other files keep their order.
    kept = {"placing": placing.as_json()} if takes_any or placing.rate < 1 else {}
    session = open_project(api, project, start, kept)
    start = parse_time(session["start_time"]) or EPOCH
    kept = (session.get("extra") or {}).get("metadata") or {}
    placing = Placing.read(kept["placing"]) if "placing" in kept else Placing(start, first, placing.rate)
    if placing.of(last) > now + CLOCK_SKEW:
        minutes = (placing.of(last) - now).total_seconds() / 60
        reason = f"The last run of {file.name} would end {minutes:.0f} minutes from now"
        raise LookupError(f"{reason}, because {project!r} already has its first runs: name another project.")
    known = Tally(rest.list_run_ids(api, session["id"], min(start, first)))
    loaded = Loaded(session, 0, 0)
    for some in in_batches(traces_of(file, session["id"], start, placing), BATCH // 4):
        new = [(trace, by) for trace, by in some if trace[-1].id not in known]
        too_old = bodies.timestamp(now - LAST_CALL)
        if not takes_any and any(trace[-1].start_time < too_old for trace, _ in new):
            began = f"Project {project!r} began on {start:%d %B}, and the runs that it lacks would be too old"
            raise LookupError(f"{began}: name another project.")
        for part in in_batches(run.body for trace, _ in new for run in trace):
            rest.create_runs(api, part)
        load_feedback(api, [trace for trace, _ in some])
        loaded.new += len(new)
        loaded.there += len(some) - len(new)
        loaded.moved += [by for _, by in new if by]
    await_runs(api, session["id"], checked.count or 0)
    return loaded


def extremes(file: ResultFile) -> tuple[timedelta, datetime]:
    """How long the longest result took, and when the last one ended; now, if no times are given."""
    longest, last = timedelta(0), None
    for result in file:
        start = parse_time(result.get("start_time"))
        end = parse_time(result.get("end_time")) or start
        if start and end:
            longest, last = max(longest, end - start), max(last or end, end)
    return longest, last or datetime.now(UTC)


def open_project(api: LangSmith, name: str, start: datetime, metadata: dict[str, Any]) -> dict:
    """Create a tracing project, or find the one with this name."""
    session = {
        "id": bodies.uuid5(f"project-{name}"),
        "name": name,
        "start_time": bodies.timestamp(start),
        "extra": {"metadata": metadata},
    }
    try:
        return rest.create_session(api, session)
    except requests.HTTPError as error:
        found = rest.find_session(api, name=name) if error.response.status_code == 409 else None
        if not found:
            raise
    if found.get("reference_dataset_id"):
        raise LookupError(f"{name!r} is an experiment, not a project: name a project.")
    return found


def traces_of(file: ResultFile, session_id: str, start: datetime, placing: Placing) -> Iterator[tuple[Runs, timedelta]]:
    """Yield the runs of each result, the root last, and by how much they move; without times they start at `start`."""
    counts = Tally()
    for result in file:
        fields = bodies.canonical_fields(result)
        text = bodies.canonical_result(fields)
        own_start, _ = own_times = bodies.times(result)
        begins = placing.of(own_start) if own_start else start
        name = f"{session_id}-{text}-{counts.add(text)}"
        shared = bodies.Shared(session_id, begins - (own_start or begins))  # production knows no examples
        yield bodies.runs_of(shared, result, fields, own_times, name, begins), shared.shift


def load_feedback(api: LangSmith, traces: list[Runs]) -> None:
    """Create the feedback of runs that lack it."""
    items = [body for trace in traces for run in trace if run.feedback for body in bodies.feedback_bodies(run)]
    for some in in_batches(items):
        known = {item["id"] for item in rest.list_feedback(api, list({item["run_id"] for item in some}))}
        if missing := [item for item in some if item["id"] not in known]:
            create_feedback(api, missing)


def await_runs(api: LangSmith, session_id: str, expected: int) -> None:
    """Wait until what was sent can be read; LangSmith queues it first."""
    deadline, pause = time.monotonic() + READ_BACK_SECONDS, 0.2
    while (rest.read_session(api, session_id).get("run_count") or 0) < expected and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(1.5 * pause, 10)
