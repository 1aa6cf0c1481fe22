"""Put the runs of a file into a tracing project, where production runs are; for trying backtests, and for imports."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import requests

import recorder_bodies as bodies
import rest
from evaluation.scoring import chunks
from recorder import BATCH, LAST_CALL, READ_BACK_SECONDS, Tally
from recorder_bodies import EPOCH, parse_time
from recorder_results import CLOCK_SKEW, ResultFile, check_results
from rest import LangSmith

Trace = list[bodies.Run]


def load_runs(api: LangSmith, file: ResultFile, project: str) -> tuple[dict, int, int]:
    """Put results of a file into a project, made when missing; doing it again changes nothing.

    LangSmith takes no runs of yesterday, so older ones are moved: all by the same time, such that the last one has
    just ended; those that began 20 hours before that begin with the project. Original times stay in the metadata.
    Returns the project, how many traces were sent, and how many were there already.
    """
    overview = check_results(file)
    ends = (parse_time(result.get("end_time") or result.get("start_time")) for result in file)
    last = max((end for end in ends if end), default=EPOCH)
    span = last - (overview.earliest or last)
    now = datetime.now(UTC)
    session = open_project(api, project, bodies.session_start(overview.earliest, span, now))
    start = parse_time(session["start_time"]) or EPOCH
    shift = max(start + min(span, bodies.WINDOW) - last, timedelta(0))
    if last + shift > now + CLOCK_SKEW:
        reason = (
            f"The last run of {file.name} would end {(last + shift - now).total_seconds() / 60:.0f} minutes from now"
        )
        raise LookupError(f"{reason}, so long after the first ones, which {project!r} has: name another project.")
    known = Tally(rest.list_run_ids(api, session["id"], start))
    traces = traces_of(file, session["id"], start, shift)
    there = 0
    for some in chunks(traces, BATCH // 4):
        new = [trace for trace in some if trace[-1].id not in known]
        there += len(some) - len(new)
        if any(trace[-1].start_time < bodies.timestamp(now - LAST_CALL) for trace in new):
            raise LookupError(f"Project {project!r} is of {start:%d %B}, too old for the runs it lacks: name another.")
        for part in chunks((run.body.encode() for trace in new for run in trace), BATCH):
            rest.create_runs(api, part)
        load_feedback(api, some)
    await_runs(api, session["id"], overview.count)
    return session, overview.count - there, there


def open_project(api: LangSmith, name: str, start: datetime) -> dict:
    """Create a tracing project, or find the one of that name."""
    session = {"id": bodies.uuid5(f"project-{name}"), "name": name, "start_time": bodies.timestamp(start)}
    try:
        return rest.create_session(api, session)
    except requests.HTTPError as error:
        found = rest.find_session(api, name=name) if error.response.status_code == 409 else None
        if not found:
            raise
    if found.get("reference_dataset_id"):
        raise LookupError(f"{name!r} is an experiment, not a project: name another.")
    return found


def traces_of(file: ResultFile, session_id: str, start: datetime, shift: timedelta) -> Iterator[Trace]:
    """Yield the runs of each result, the root last, moved by `shift` but not to before `start`."""
    counts = Tally()
    for result in file:
        fields = bodies.canonical_fields(result)
        text = bodies.canonical_result(fields)
        own_start = parse_time(result.get("start_time"))
        begins = max(own_start + shift, start) if own_start else start
        name = f"{session_id}-{text}-{counts.add(text)}"
        *steps, root = bodies.trace(result, fields, name, session_id, begins, "")
        root.body = root.body.replace(',"reference_example_id":""', "", 1)  # production knows no examples
        yield [*steps, root]


def load_feedback(api: LangSmith, traces: list[Trace]) -> None:
    """Create the feedback of runs that lack it."""
    items = [body for trace in traces for run in trace if run.feedback for body in bodies.feedback_bodies(run)]
    for some in chunks(items, BATCH):
        known = {item["id"] for item in rest.list_feedback(api, list({item["run_id"] for item in some}))}
        if missing := [item for item in some if item["id"] not in known]:
            rest.create_feedback(api, missing)


def await_runs(api: LangSmith, session_id: str, expected: int) -> None:
    """Wait until what was sent can be read; LangSmith queues it first."""
    deadline, pause = time.monotonic() + READ_BACK_SECONDS, 0.2
    while (rest.read_session(api, session_id).get("run_count") or 0) < expected and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(1.5 * pause, 10)
