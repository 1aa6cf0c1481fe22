"""Which runs of a production project a backtest uses."""

import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.aligning.sampling import lot
from langsmith_rest.evaluation.api import find_project
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording.bodies import EPOCH, parse_time


class Chosen(NamedTuple):
    """A root run that was chosen."""

    start: datetime
    end: datetime
    id: str


@dataclass
class Runs:
    """Chosen root runs of a project, oldest first: ids and times only, so that thousands take little memory."""

    project: dict
    chosen: list[Chosen] = field(default_factory=list)
    finished: int = 0  # of those asked for, before the sample
    pending: int = 0  # left out, since they have no end yet


def list_runs(
    project: str,
    *,
    filter: str | None = None,
    since: datetime | timedelta | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    langsmith: LangSmith | None = None,
) -> Runs:
    """Choose finished root runs of a project: the newest `limit` that match, or a random `sample` of these.

        runs = list_runs("prod", filter='eq(error, null)', since=timedelta(days=7), limit=1000, sample=100)

    `project` is a name or id. `filter` is LangSmith's filter language; `since` is a time, or a timedelta back from now
    (default: all). The sample depends only on `seed` and the ids of the runs: it is the same every time, and a new
    run changes at most one run of it. Pending runs are left out and counted. Raises LookupError for an unknown project.
    """
    api = langsmith or connection.connect()
    session = find_project(api, project)
    start = datetime.now(UTC) - since if isinstance(since, timedelta) else parse_time(since) or ALL_TIME
    wanted: dict[str, Any] = {"is_root": True, **({"filter": filter} if filter else {})}
    selects = ("ID", "START_TIME", "END_TIME", "STATUS")
    found = Runs(session)
    for run in query_runs(api, session["id"], selects, since=start, page_size=1000, **wanted):
        end = parse_time(run.get("end_time"))
        if end is None or str(run.get("status")).upper() == "PENDING":
            found.pending += 1
            continue
        found.chosen.append(Chosen(parse_time(run["start_time"]) or EPOCH, end, run["id"]))
        if len(found.chosen) == limit:
            break
    found.finished = len(found.chosen)
    if sample is not None:
        found.chosen = heapq.nsmallest(sample, found.chosen, key=lambda one: lot(seed, one.id))
    found.chosen.sort()
    return found


ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)
