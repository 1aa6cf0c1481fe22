"""Backtests: runs of a production project become a dataset, and the baseline that a new system has to beat."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import get_or_create_dataset
from langsmith_rest.evaluation.backtesting.choosing import Chosen, Runs
from langsmith_rest.evaluation.backtesting.copied_feedback import copy_all_feedback
from langsmith_rest.evaluation.backtesting.traces import MARGIN, SOURCE, Steps, as_time, copy_of, read_traces
from langsmith_rest.evaluation.masking import Mask
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.recording.results import Example
from langsmith_rest.recording.sending import create_examples, known_examples
from langsmith_rest.recording.sources import Stream
from langsmith_rest.recording.tally import Tally
from recorder import Recording

ROOTS, TREES = 100, 25  # traces read and held in memory at once: without and with their steps
STILL_GOOD = timedelta(hours=22)  # LangSmith refuses runs that started 24 hours ago


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
    """Turn production runs into a dataset of their inputs, and into an experiment with copies of the runs.

        recording = convert_runs_to_test(list_runs("prod", limit=100), "prod-questions", include_outputs=True)

    Runs with the same inputs share an example. With `include_outputs`, production's outputs become the reference.
    The experiment is called `test_project_name`, or DATASET-baseline. Copies keep latency, tokens and cost, with
    `load_child_runs` also their steps, and with `copy_feedback` their feedback. Their metadata has `source_run_id`
    and, where LangSmith would refuse the times as too old, `original_start_time`.

    `mask` is called with every text (also keys, errors, metadata and comments) before anything is sent or hashed.
    Repeating the call only adds runs that are new in `runs`. Returns a Recording; runs that were not copied are in its
    `rejected`. Raises LookupError without runs, and ValueError, before anything is created, if `mask` fails on the
    first run.
    """
    if not isinstance(runs, Runs):
        raise ValueError(f"runs is a {type(runs).__name__}, expected the Runs that list_runs returns.")
    api = langsmith or connection.connect()
    if not runs.chosen:
        raise LookupError(nothing_found(runs))
    if mask:
        try_mask(api, runs, load_child_runs, mask)
    name = test_project_name or f"{dataset_name}-baseline"
    dataset, _ = get_or_create_dataset(api, dataset_name, name)
    session = rest.find_session(api, name=name)
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
        except ValueError as error:
            raise ValueError(f"Run {first.id} cannot be masked, so nothing was created: {error}") from error


def nothing_found(runs: Runs) -> str:
    pending = f"; {runs.pending} are pending, so left out" if runs.pending else ""
    return f"No finished root run of project {runs.project['name']!r} matches what you asked for{pending}."


def copied(api: LangSmith, session: dict) -> Tally:
    """The ids of the production runs that an experiment has copies of."""
    since = (parse_time(session["start_time"]) or EPOCH) - MARGIN
    found = query_runs(api, session["id"], ("ID", "METADATA"), since=since, page_size=1000, is_root=True)
    return Tally(str((run.get("metadata") or {}).get(SOURCE)) for run in found)


def moved_to(session: dict | None, now: datetime) -> datetime:
    """When the copy of an older run starts: with its experiment, or at the earliest time that LangSmith accepts.

    A whole hour where possible, so that a repetition soon after, or at the same time, moves a run to the same place.
    """
    start = parse_time(session["start_time"]) if session else None
    if start and start > now - STILL_GOOD:
        return start
    return (now - timedelta(hours=18)).replace(minute=0, second=0, microsecond=0)


@dataclass
class Copying:
    """Production runs while they are copied into a dataset and an experiment."""

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
        for some in in_batches(missing, TREES if self.load_child_runs else ROOTS):
            traces = read_traces(self.api, self.project_id, some, self.load_child_runs)
            for gone in {one.id for one in some} - traces.keys():
                self.reject(gone, "it existed when runs were chosen, but no longer does")
            results = [result for one in some if one.id in traces and (result := self.copy(*traces[one.id]))]
            tied = [(result, self.example(result)) for result in results]
            examples = {example.id: example for _, example in reversed(tied) if example}
            known = known_examples(self.api, self.dataset_id, list(examples))
            missing_examples = [example for i, example in examples.items() if i not in known]
            created, refused = create_examples(self.api, self.dataset_id, missing_examples)
            self.examples_created += created
            for result, example in tied:
                run_id = result["metadata"][SOURCE]
                if example and example.id in refused:
                    self.reject(run_id, f"its example was refused: {refused[example.id]}")
                    continue
                self.sent.append(run_id)
                yield {**result, "example_id": example.id if example else None}

    def reject(self, run_id: str, reason: str) -> None:
        self.rejected.append({SOURCE: run_id, "reason": reason})

    def example(self, result: dict[str, Any]) -> Example | None:
        """A result's example; None if JSON cannot hold it, so that the recorder refuses it."""
        outputs = None if result["error"] else result["outputs"]
        try:
            fields = bodies.canonical_fields(
                {"inputs": result["inputs"], "reference_outputs": outputs if self.include_outputs else None}
            )
        except (TypeError, ValueError, RecursionError):
            return None
        example_id, body = bodies.new_example(self.dataset_id, fields)
        return Example(example_id, body[:-1] + f',"source_run_id":"{result["metadata"][SOURCE]}"}}'.encode())

    def copy(self, root: dict, steps: "Steps") -> dict[str, Any] | None:
        """A root run as a result, moved as a whole to where LangSmith takes it; None when it cannot be masked."""
        shift = max(self.earliest - as_time(root), timedelta(0))
        try:
            result = copy_of(root, steps, shift, as_time(root), self.mask)
        except ValueError as error:
            self.reject(root["id"], str(error))
            return None
        if not result["child_runs"] and root.get("total_tokens") and result["run_type"] != "llm":
            result["metadata"]["source_run_type"] = result["run_type"]
            result["run_type"] = "llm"  # tokens and cost count only here; also those of steps that are not copied
        return result
