"""Backtests: runs of a production project become a dataset, and the baseline that a new system has to beat on it."""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.evaluation.running.scoring import chunks, synchronise
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.recording.sending import create_feedback
from langsmith_rest.recording.sources import Stream
from langsmith_rest.recording.tally import Tally
from recorder import Recording

Mask = Callable[[str], str]
SOURCE = "source_run_id"  # in the metadata of a baseline's runs: the production run that it is a copy of
ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)
MARGIN = timedelta(minutes=5)  # clocks differ, and some servers keep milliseconds only
AFTERWARDS = timedelta(hours=1)  # steps may begin after their root has ended
ROOTS, TREES = 100, 25  # traces that are read, and held in memory, at once: without and with their steps
STILL_GOOD = timedelta(hours=22)  # LangSmith refuses runs that started 24 hours ago
USAGE = {
    **{"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "total_tokens": "total_tokens"},
    **{"input_cost": "prompt_cost", "output_cost": "completion_cost", "total_cost": "total_cost"},
}
SELECTS = (
    *("ID", "TRACE_ID", "PARENT_RUN_IDS", "IS_ROOT", "DOTTED_ORDER", "NAME", "RUN_TYPE", "STATUS", "ERROR", "TAGS"),
    *("START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "METADATA", *(name.upper() for name in USAGE.values())),
)


# ---------------------------------------------------------------- choosing


class Chosen(NamedTuple):
    """A root run that was chosen."""

    start: datetime
    end: datetime
    id: str


@dataclass
class Runs:
    """Root runs of a project: who they are, not what they say, so that thousands take no space. Oldest first."""

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
    """Choose finished root runs of a project: the newest `limit` that pass, of these a random `sample`.

        runs = list_runs("prod", filter='eq(error, null)', since=timedelta(days=7), limit=1000, sample=100)

    `filter` is LangSmith's filter language, `since` a time or how long ago. Which runs are in a sample follows from
    `seed` and their ids: the same every time, and a new run takes the place of at most one other.
    """
    api = langsmith or connection.connect()
    session = wing.find_project(api, project)
    start = datetime.now(UTC) - since if isinstance(since, timedelta) else parse_time(since) or ALL_TIME
    wanted: dict[str, Any] = {"is_root": True, **({"filter": filter} if filter else {})}
    selects = ("ID", "START_TIME", "END_TIME", "STATUS")
    found = Runs(session)
    for run in wing.query_runs(api, session["id"], selects, since=start, page_size=1000, **wanted):
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


def lot(seed: int, run_id: str) -> bytes:
    """The number that a run draws; the lowest are in the sample."""
    return hashlib.sha256(f"{seed}-{run_id}".encode()).digest()


# ---------------------------------------------------------------- converting


def convert_runs_to_test(
    runs: Runs,
    dataset_name: str,
    test_project_name: str | None = None,
    include_outputs: bool = False,
    load_child_runs: bool = False,
    *,
    mask: Mask | None = None,
    copy_feedback: bool = False,
    langsmith: LangSmith | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Recording:
    """Make the inputs of runs the examples of a dataset, and copies of the runs an experiment on it.

        recording = convert_runs_to_test(list_runs("prod", limit=100), "prod-questions", include_outputs=True)

    Runs with the same inputs share an example; `include_outputs` makes what production said its reference. The
    experiment is called after the dataset unless `test_project_name` says otherwise. Copies keep latencies, tokens
    and cost, with `load_child_runs` their steps, with `copy_feedback` their feedback; their metadata has
    `source_run_id` and, when LangSmith would refuse the times as too old, `original_start_time`.

    `mask` gets every text (keys, errors, metadata, comments, too) before anything is derived from it. Doing it again
    changes nothing; what is new in `runs` is added. Raises ValueError when `mask` fails on the first run.
    """
    api = langsmith or connection.connect()
    if not runs.chosen:
        raise LookupError(nothing_found(runs))
    if mask:
        try_mask(api, runs, load_child_runs, mask)
    name = test_project_name or f"{dataset_name}-baseline"
    dataset, _ = rest.get_or_create_dataset(api, dataset_name)
    session = rest.find_session(api, name=name)
    if session and session.get("reference_dataset_id") != dataset["id"]:
        raise LookupError(f"The name {name!r} is taken by another experiment or project: give the baseline another.")
    known = copied(api, session) if session else Tally()
    missing = [run for run in runs.chosen if run.id not in known]
    earliest = moved_to(session, datetime.now(UTC))
    copying = Copying(api, runs.project["id"], dataset["id"], earliest, include_outputs, load_child_runs, mask)
    recording = recorder.record_langsmith_experiment(
        dataset_name,
        Stream(copying.results(missing), len(missing), earliest),
        experiment_name=name,
        metadata={"which": "prod-baseline", "source_project": runs.project["name"]},
        langsmith=api,
        on_progress=on_progress,
    )
    recording.results = len(runs.chosen)
    recording.runs_existing += len(runs.chosen) - len(missing)
    recording.examples_created = copying.examples_created
    for rejected in recording.rejected:
        rejected[SOURCE] = copying.sent[rejected["result"] - 1]
    recording.rejected += copying.rejected
    if copy_feedback:
        recording.feedback += copy_all_feedback(api, recording.experiment_id, mask)
    return recording


def try_mask(api: LangSmith, runs: Runs, with_steps: bool, mask: Mask) -> None:
    """Raise ValueError when the mask fails on the first of the runs, before anything is created."""
    first = runs.chosen[0]
    for root, steps in read_traces(api, runs.project["id"], [first], with_steps).values():
        try:
            copy_of(root, steps, timedelta(0), EPOCH, mask)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"The mask failed on run {first.id}, so nothing was created: {reason}") from error


def nothing_found(runs: Runs) -> str:
    pending = f"; {runs.pending} are pending, so left out" if runs.pending else ""
    return f"No finished root run of project {runs.project['name']!r} is among those asked for{pending}."


def copied(api: LangSmith, session: dict) -> Tally:
    """The ids of the production runs whose copies an experiment has."""
    since = (parse_time(session["start_time"]) or EPOCH) - MARGIN
    found = wing.query_runs(api, session["id"], ("ID", "METADATA"), since=since, page_size=1000, is_root=True)
    return Tally(str((run.get("metadata") or {}).get(SOURCE)) for run in found)


def moved_to(session: dict | None, now: datetime) -> datetime:
    """When the copy of an older run starts: with its experiment, or where LangSmith still takes it.

    A whole hour where it can be, so that a repetition soon after, or at the same time, moves a run to the same place.
    """
    start = parse_time(session["start_time"]) if session else None
    if start and start > now - STILL_GOOD:
        return start
    return (now - timedelta(hours=18)).replace(minute=0, second=0, microsecond=0)


@dataclass
class Copying:
    """Production runs on their way into a dataset and an experiment."""

    api: LangSmith
    project_id: str
    dataset_id: str
    earliest: datetime
    include_outputs: bool
    load_child_runs: bool
    mask: Mask | None
    examples_created: int = 0
    sent: list[str] = field(default_factory=list)  # the ids of the runs that became results, in that order
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def results(self, missing: Sequence[Chosen]) -> Iterator[dict[str, Any]]:
        """Yield each run as a result that is tied to its example, which exists by then."""
        for some in chunks(missing, TREES if self.load_child_runs else ROOTS):
            traces = read_traces(self.api, self.project_id, some, self.load_child_runs)
            for gone in {one.id for one in some} - traces.keys():
                self.reject(gone, "it was there when runs were chosen, but is no longer")
            results = [self.copy(*traces[one.id]) for one in some if one.id in traces]
            tied = [(result, *self.example(result)) for result in results]
            examples = {example_id: body for _, example_id, body in reversed(tied) if example_id}
            created, refused = wing.create_missing_examples(self.api, self.dataset_id, examples)
            self.examples_created += created
            for result, example_id, _ in tied:
                run_id = result["metadata"][SOURCE]
                if example_id in refused:
                    self.reject(run_id, f"its example was refused: {refused[example_id]}")
                    continue
                self.sent.append(run_id)
                yield {**result, "example_id": example_id or None}

    def reject(self, run_id: str, reason: str) -> None:
        self.rejected.append({SOURCE: run_id, "reason": reason})

    def example(self, result: dict[str, Any]) -> tuple[str, bytes]:
        """The id and the body of a result's example; empty when JSON cannot hold it, which the recorder will refuse."""
        outputs = None if result["error"] else result["outputs"]
        try:
            fields = bodies.canonical_fields(
                {"inputs": result["inputs"], "reference_outputs": outputs if self.include_outputs else None}
            )
        except (TypeError, ValueError, RecursionError):
            return "", b""
        example_id, body = bodies.new_example(self.dataset_id, fields)
        return example_id, body[:-1] + f',"source_run_id":"{result["metadata"][SOURCE]}"}}'.encode()

    def copy(self, root: dict, steps: "Steps") -> dict[str, Any]:
        """A root run as a result, moved as a whole to where LangSmith takes it."""
        shift = max(self.earliest - as_time(root), timedelta(0))
        result = copy_of(root, steps, shift, as_time(root), self.mask)
        if not result["child_runs"] and root.get("total_tokens") and result["run_type"] != "llm":
            result["metadata"]["source_run_type"] = result["run_type"]
            result["run_type"] = "llm"  # tokens and cost, here those of steps that stay behind, count in these only
        return result


Steps = dict[str, list[dict]]  # by the id of the run that they are directly below


def read_traces(
    api: LangSmith, project_id: str, some: Sequence[Chosen], with_steps: bool
) -> dict[str, tuple[dict, Steps]]:
    """Read root runs, by their ids, and their steps if asked for."""
    ids = [one.id for one in some]
    until = max(one.end for one in some) + AFTERWARDS if with_steps else some[-1].start + MARGIN
    each = [f'eq(id, "{i}")' for i in ids]
    any_of = f"or({', '.join(each)})" if len(ids) > 1 else each[0]
    wanted: dict[str, Any] = {"trace_filter": any_of} if with_steps else {"ids": ids}
    found = list(wing.query_runs(api, project_id, SELECTS, since=some[0].start - MARGIN, until=until, **wanted))
    known = {run["id"] for run in found}
    steps: dict[str, Steps] = {run["id"]: defaultdict(list) for run in found if wing.is_root(run)}
    for run in found:
        if not wing.is_root(run) and run["trace_id"] in steps:
            parent = run["parent_run_ids"][-1]
            steps[run["trace_id"]][parent if parent in known else run["trace_id"]].append(run)
    return {run["id"]: (run, steps[run["id"]]) for run in found if run["id"] in steps}


def as_time(run: dict, name: str = "start_time") -> datetime:
    return parse_time(run.get(name)) or EPOCH


def copy_of(run: dict, steps: Steps, shift: timedelta, not_before: datetime, mask: Mask | None) -> dict[str, Any]:
    """A run as (a part of) a result: masked, its times moved by `shift`, its id and its own times in the metadata."""
    start = max(as_time(run), not_before)  # clocks differ; what begins before its parent would be refused
    end = max(as_time(run, "end_time"), start)
    has_failed = str(run.get("status")).upper() == "ERROR"
    said: dict[str, Any] = {
        "name": run.get("name") or None,
        "inputs": run.get("inputs") or {},
        "outputs": run.get("outputs"),
        "error": run.get("error") or ("failed without a message" if has_failed else None),
        "tags": run.get("tags") or None,
        "metadata": run.get("metadata") or {},
    }
    if mask:
        said = {name: masked(value, mask) for name, value in said.items()}
    if said["outputs"] is None and not said["error"]:
        said["outputs"] = {}
    said["name"] = said["name"] and said["name"][:128]
    moved = {"original_start_time": run["start_time"], "original_end_time": run.get("end_time")} if shift else {}
    below = sorted(steps.get(run["id"], ()), key=lambda step: (as_time(step), step["dotted_order"]))
    children = [copy_of(step, steps, shift, start, mask) for step in below]
    run_type = str(run.get("run_type") or "chain").lower()
    usage = {} if children else usage_of(run, said)
    return {
        **said,
        "metadata": {**said["metadata"], **usage, SOURCE: run["id"], **moved},
        "run_type": run_type,
        "start_time": bodies.timestamp(start + shift),
        "end_time": bodies.timestamp(end + shift),
        "child_runs": children or None,
    }


def usage_of(run: dict, said: dict[str, Any]) -> dict[str, Any]:
    """Tokens and cost as the metadata says them: what the run says itself, else what the server knows."""
    own = said["metadata"].get("usage_metadata") or (said["outputs"] or {}).get("usage_metadata")
    known = {name: run[field] for name, field in USAGE.items() if run.get(field)}
    usage = {**known, **(own if isinstance(own, dict) else {})}
    return {"usage_metadata": usage} if usage else {}


def masked(value: Any, mask: Mask) -> Any:
    """A JSON value with every text in it, keys included, masked."""
    if isinstance(value, str):
        text = mask(value)
        if not isinstance(text, str):
            raise ValueError(f"The mask returned {type(text).__name__}, expected text.")
        return text
    if isinstance(value, list):
        return [masked(item, mask) for item in value]
    if isinstance(value, dict):
        found = {masked(name, mask): masked(item, mask) for name, item in value.items()}
        if len(found) < len(value):
            raise ValueError("The mask makes two names of one object the same: let it keep them apart.")
        return found
    return value


# ---------------------------------------------------------------- feedback


def copy_all_feedback(api: LangSmith, experiment_id: str, mask: Mask | None) -> int:
    """Give the runs of a baseline the feedback of the runs that they are copies of; returns how much changed."""
    session = rest.find_session(api, id=experiment_id)
    since = as_time(session or {}) - MARGIN
    runs = wing.query_runs(
        api, experiment_id, ("ID", "TRACE_ID", "START_TIME", "METADATA"), since=since, page_size=1000
    )
    copies = ((run, (run.get("metadata") or {}).get(SOURCE)) for run in runs)
    changed = 0
    for some in chunks(((run, source) for run, source in copies if source), 100):
        of_source = {source: run for run, source in some}
        originals = rest.list_feedback(api, list(of_source))
        made = [
            feedback_copy(item, of_source[item["run_id"]], experiment_id, mask)
            for item in originals
            if not item.get("comparative_experiment_id")
        ]
        known = rest.list_feedback(api, [run["id"] for run, _ in some])
        changed += synchronise(api, made, known, set(), lambda items: create_feedback(api, items)).total()
    return changed


def feedback_copy(item: dict, run: dict, experiment_id: str, mask: Mask | None) -> dict[str, Any]:
    """Feedback of a production run as that of its copy, under an id that evaluators of the same key do not use."""
    marks = {name: item[name] for name in (*bodies.MARKS, "correction", "error") if item.get(name) is not None}
    return {
        "id": bodies.uuid5(f"{run['id']}-{item['id']}"),
        "run_id": run["id"],
        "trace_id": run["trace_id"],
        "session_id": experiment_id,
        "start_time": run["start_time"],
        "key": masked(item["key"], mask)[:180] if mask else item["key"],
        **({name: masked(mark, mask) for name, mark in marks.items()} if mask else marks),
        "feedback_source": {"type": "api", "metadata": {"source_feedback_id": item["id"]}},
    }
