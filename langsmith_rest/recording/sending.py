"""One batch on its way: its examples, then its runs, then its feedback, and what to do when something is refused."""

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

import rest
from langsmith_rest.connection import GONE, LangSmith
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import Batch, in_batches, packed, post_or_halve, status_of
from langsmith_rest.recording.results import Example, Prepared
from langsmith_rest.recording.tally import Tally

EXAMPLE_BYTES, RUN_BYTES = 10_000_000, 20_000_000  # per request
LAST_CALL = timedelta(hours=23, minutes=55)  # older runs are refused
Opened = tuple[dict[str, Any], Tally | None]  # an experiment, and the ids of the runs that it had; None if it is new


def open_session(api: LangSmith, session: dict[str, Any], found: dict[str, Any] | None) -> Opened:
    """Create the experiment, unless it was `found` before; then, and if somebody else is quicker, find its runs."""
    try:
        if not found:
            return rest.create_session(api, session), None
    except requests.HTTPError as error:
        if status_of(error) != 409:
            raise
        found = rest.find_session(api, name=session["name"]) or rest.find_session(api, id=session["id"])
        if not found:
            raise
        refuse_taken(api, found, session["reference_dataset_id"])
    return found, Tally(rest.list_run_ids(api, found["id"], bodies.start_of(found)))


def refuse_taken(api: LangSmith, session: Mapping[str, Any], dataset_id: str | None) -> None:
    """Raise LookupError when an experiment does not belong to this dataset."""
    owner = session.get("reference_dataset_id")
    if owner and owner == dataset_id:
        return
    by = "a deleted dataset" if owner else "a project without a dataset"
    if owner and (dataset := rest.find_dataset(api, owner, "id")):
        by = f"the dataset {dataset['name']!r}"
    raise LookupError(f"The experiment name {session['name']!r} is taken by {by}: record under another name.")


@dataclass
class Sender:
    """Sends batches, several at once; holds what they share."""

    api: LangSmith
    dataset_id: str
    is_new_dataset: bool
    session: Mapping[str, Any]  # the experiment that runs are made for
    opening: Future[Opened]
    refused_examples: dict[str, str] = field(default_factory=dict)  # by id: why no run may name it

    def send(self, batch: Batch) -> None:
        """Send the examples, then the runs, then the feedback of a batch; return when all is answered."""
        if any(not result.example.body for result in batch.results):
            batch.wait_for_earlier()  # they may make the examples that these results name
        try:
            self.send_examples(batch)
        finally:
            batch.examples_answered.set()
        batch.wait_for_earlier()
        self.send_runs(batch)
        self.send_feedback(batch)
        for result in batch.results:
            result.state = result.state or "recorded"

    def send_examples(self, batch: Batch) -> None:
        """Create the examples that are missing, and give the others the split and metadata that results now say."""
        given = {result.example.id for result in batch.results if not result.example.body}
        made = {result.example.id: result for result in batch.results if result.makes_example}
        known = known_examples(self.api, self.dataset_id, [*given, *(() if self.is_new_dataset else made)])
        existing = [(i, result.fields) for i, result in made.items() if i in known]
        changes = {i: change for i, fields in existing if (change := bodies.changed_example(known[i], fields))}

        def update(results: Sequence[Prepared]) -> None:
            rest.update_examples(self.api, [changes[result.example.id] for result in results])
            batch.counts["examples_updated"] += len(results)

        batch.deliver(update, [made[i] for i in changes], "its split or example_metadata was refused: ")
        missing = [result.example for i, result in made.items() if i not in known]
        created, refused = create_examples(self.api, self.dataset_id, missing)
        batch.counts["examples_created"] += created
        batch.counts["examples_existing"] += len(made) - created - len(refused)
        self.refused_examples |= {i: f"its example was refused: {reason}" for i, reason in refused.items()}
        self.refused_examples |= {i: f"example {i} is not in the dataset" for i in given - known.keys() - made.keys()}

    def send_runs(self, batch: Batch) -> None:
        session, existing = self.opening.result()
        if any(session[name] != self.session[name] for name in ("id", "start_time")):
            for result in batch.results:  # somebody else made the experiment: its start decides times and ids
                result.runs = bodies.trace(session, result)
                result.feedback = bodies.feedback(result.runs)
        too_late = bodies.timestamp(datetime.now(UTC) - LAST_CALL)
        for result in batch.results:
            if result.state:
                continue
            if reason := self.refused_examples.get(result.example.id):
                batch.reject(result, reason)
            elif existing is not None and result.root.id in existing:
                batch.counts["runs_existing"] += 1
            elif result.root.start_time < too_late:
                raise TimeoutError(
                    f"experiment {session['name']!r} started at {session['start_time']}, and LangSmith takes no runs "
                    "that started 24 hours ago or earlier: record under a new experiment name."
                )
            else:
                result.is_sent = True

        def post(results: Sequence[Prepared]) -> None:
            flat = [[run.body for run in result.runs] for result in results if not result.given.get("attachments")]
            for request in packed(flat, RUN_BYTES):
                rest.create_runs(self.api, request)
            for result in results:
                if result.given.get("attachments"):
                    self.create_with_attachments(result)
            batch.counts["runs_recorded"] += len(results)

        batch.deliver(post, [result for result in batch.results if result.is_sent])

    def create_with_attachments(self, result: Prepared) -> None:
        """Create the runs of a result; raises OSError, as for a lost file, if the server takes no attachments."""
        try:
            rest.create_parts(self.api, parts_of(result))
        except requests.HTTPError as error:
            if status_of(error) not in GONE:
                raise
            raise OSError(0, "this server takes no attachments", "POST /runs/multipart") from None

    def send_feedback(self, batch: Batch) -> None:
        """Create the feedback that is missing; an experiment that existed may have it, perhaps with other content.

        Its runs may exist but not be listed yet, so the feedback of runs that were sent now is looked up as well.
        """
        is_new = self.opening.result()[1] is None
        scored = [result for result in batch.results if result.feedback and not result.state]
        run_ids = {item.run_id: None for result in scored if not is_new for item in result.feedback}
        known = {found["id"]: found for some in in_batches(run_ids) for found in rest.list_feedback(self.api, some)}
        for result in scored:
            for body in [json.loads(item.body) for item in result.feedback if item.id in known]:
                if differs(known[body["id"]], body):
                    rest.update_feedback(self.api, body)
                    batch.counts["feedback"] += 1
            result.feedback = [item for item in result.feedback if item.id not in known]

        def post(results: Sequence[Prepared]) -> None:
            items = [item for result in results for item in result.feedback]
            for some in in_batches(items):
                rest.create_feedback(self.api, {item.id: item.body for item in some})
            batch.counts["feedback"] += len(items)
            for result in results:
                result.feedback_sent = sum(item.run_id == result.root.id for item in result.feedback)

        batch.deliver(post, scored, "recorded, but its feedback was refused: ")


def differs(known: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether feedback says something else than it does on the server, which keeps numbers as 64-bit floats."""
    return any(as_kept(known.get(name)) != as_kept(body.get(name)) for name in bodies.MARKS)


def as_kept(mark: Any) -> Any:
    return float(mark) if isinstance(mark, int) else mark


def parts_of(result: Prepared) -> list[tuple[str, bytes, str]]:
    """The runs of a result, and the files of its root, as the parts of one request."""
    runs = [(f"post.{run.id}", run.body, "application/json") for run in result.runs]
    files = [(name, Path(given["path"]), given["mime_type"]) for name, given in result.given["attachments"].items()]
    return runs + [(f"attachment.{result.root.id}.{name}", path.read_bytes(), kind) for name, path, kind in files]


def known_examples(api: LangSmith, dataset_id: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the examples that a dataset has, by their ids."""
    return {found["id"]: found for some in in_batches(ids) for found in rest.list_examples(api, dataset_id, some)}


def create_examples(api: LangSmith, dataset_id: str, examples: Collection[Example]) -> tuple[int, dict[str, str]]:
    """Create examples that are missing; returns how many were created, and why others were refused, by id.

    What somebody else creates at the same time counts as existing.
    """
    existing, refused = set[str](), dict[str, str]()

    def post(some: Sequence[Example]) -> None:
        try:
            for request in packed([[example.body] for example in some], EXAMPLE_BYTES):
                rest.create_examples(api, request)
        except requests.HTTPError as error:
            ids = [example.id for example in some]
            known = known_examples(api, dataset_id, ids) if status_of(error) == 409 else {}
            if not known:
                raise
            existing.update(known)
            post([example for example in some if example.id not in known])

    post_or_halve(post, list(examples), lambda example, reason: refused.update({example.id: reason}))
    return len(examples) - len(existing) - len(refused), refused
