"""Pushing: an experiment of one store is recorded again in another, with its dataset, steps and feedback."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

import rest
from langsmith_rest.connection import TIMEOUT, LangSmith, call, log
from langsmith_rest.evaluation import api as further
from langsmith_rest.evaluation.backtesting.choosing import Chosen
from langsmith_rest.evaluation.backtesting.traces import SOURCE, as_time, copy_of, read_traces
from langsmith_rest.evaluation.masking import Mask, masked
from langsmith_rest.evaluation.runs_api import RETRY_OF, list_experiment_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches
from langsmith_rest.recording.bodies import EPOCH, parse_time
from langsmith_rest.recording.checking import check_attachments
from langsmith_rest.recording.results import Result
from langsmith_rest.recording.sending import create_examples, known_examples
from langsmith_rest.wording import counted
from recorder import Recording, record_langsmith_experiment

TRACES = 25  # read, and held in memory, at once
ORIGINAL = ("original_start_time", "original_end_time")  # in the metadata of runs that were moved
MARKS = (*bodies.MARKS, "correction", "error")
LOST = (404, 410)  # what a file is answered with that no longer exists
NO_SPLIT = ["base"]  # what an example without a split is in


def push_experiment(
    source: LangSmith,
    target: LangSmith,
    session: dict[str, Any],
    *,
    mask: Mask | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    verify: bool = True,
) -> Recording:
    """Record an experiment of `source` in `target`, with the same name, in a dataset with the same name.

    Examples without runs are included. Pushing again sends only what is new. `mask` gets every text before it is sent;
    attachments are left out then, because it changes only texts. What `target` refuses is in `rejected`, as when
    recording, and so are attachments that a recording cannot hold. Raises ValueError if `target` is the same store.
    """
    dataset = further.read_dataset(source, session["reference_dataset_id"])
    of_target, _ = further.get_or_create_dataset(target, dataset["name"])
    if of_target["id"] == dataset["id"]:  # each run would be recorded once more
        raise ValueError(f"{target.url} is the store to push from, or a copy of it: name another one.")
    created, refused = push_examples(source, target, dataset["id"], of_target["id"], mask)
    metadata = (session.get("extra") or {}).get("metadata") or None
    with tempfile.TemporaryDirectory() as folder:
        results = Results(source, dataset["id"], session, of_target["id"], mask, Path(folder))
        recording = record_langsmith_experiment(
            dataset["name"],
            results,
            experiment_name=session["name"],
            description=hidden(session.get("description"), mask),
            metadata=hidden(metadata, mask),
            langsmith=target,
            on_progress=on_progress,
            verify=verify,
        )
    if results.unmasked:
        what = counted(len(results.unmasked), "run")
        log.warning("The attachments of %s are not pushed, because a mask changes only texts.", what)
    recording.examples_created += created
    recording.rejected += [{"example": i, "reason": reason} for i, reason in refused.items()]
    recording.rejected += [{"run": i, "reason": reason} for i, reason in results.left_out.items()]
    recording.feedback += push_summaries(source, target, session["id"], recording.experiment_id, mask)
    return recording


def hidden(value: Any, mask: Mask | None) -> Any:
    return masked(value, mask) if mask else value


# ---------------------------------------------------------------- examples


def push_examples(
    source: LangSmith, target: LangSmith, dataset_id: str, target_id: str, mask: Mask | None
) -> tuple[int, dict[str, str]]:
    """Create the examples that the target lacks; return how many, and by id why others were refused."""
    created, refused = 0, dict[str, str]()
    examples_there = further.list_examples(source, dataset_id)
    in_order = sorted(examples_there, key=lambda one: (one.get("created_at") or "", one.get("name") or ""))
    for some in in_batches(in_order):
        contents = [bodies.canonical_fields(content_of(example, mask)) for example in some]
        examples = {made.id: made for made in (bodies.new_example(target_id, fields) for fields in contents)}
        known = known_examples(target, target_id, list(examples))
        count, reasons = create_examples(target, target_id, [made for i, made in examples.items() if i not in known])
        created, refused = created + count, refused | reasons
    return created, refused


def content_of(example: dict[str, Any], mask: Mask | None) -> dict[str, Any]:
    """An example as the fields of the result that creates it."""
    metadata = dict(example.get("metadata") or {})
    split = metadata.pop("dataset_split", None)
    content = {
        "inputs": example["inputs"],
        "reference_outputs": example.get("outputs") or None,
        "example_metadata": metadata or None,
    }
    return {
        **{name: hidden(value, mask) for name, value in content.items()},
        "split": split if split != NO_SPLIT else None,
    }


# ---------------------------------------------------------------- runs


@dataclass
class Results:
    """The runs of an experiment as results; read from the store each time they are gone through."""

    api: LangSmith
    dataset_id: str
    session: dict[str, Any]
    target_id: str
    mask: Mask | None
    folder: Path  # for attachments
    left_out: dict[str, str] = field(default_factory=dict)  # by run: why its attachments are not pushed
    unmasked: set[str] = field(default_factory=set)  # runs whose attachments are not pushed since there is a mask

    @property
    def name(self) -> str:
        return str(self.session["name"])

    def __iter__(self) -> Iterator[Result]:
        for some in in_batches(self._roots(), TRACES):
            some.sort(key=lambda one: one[1])
            traces = read_traces(self.api, self.session["id"], [chosen for _, chosen in some], True)
            feedback = self._feedback(traces)
            attachments = self._attachments(list(traces))
            for example, chosen in some:
                if chosen.id in traces:
                    attached = {"attachments": attachments.get(chosen.id)}
                    yield self._result(example, *traces[chosen.id], feedback) | attached

    def _roots(self) -> Iterator[tuple[dict[str, Any], Chosen]]:
        """Each root run with its example; a failed run that a retry has taken the place of is left behind."""
        selects = ("ID", "START_TIME", "END_TIME", "METADATA")
        for example in list_experiment_runs(self.api, self.dataset_id, [self.session["id"]], selects):
            for run in example["runs"]:
                start = as_time(run)
                yield example, Chosen(start, parse_time(run.get("end_time")) or start, run["id"])

    def _feedback(self, traces: dict[str, tuple[dict, dict[str, list[dict]]]]) -> dict[str, list[dict[str, Any]]]:
        """The feedback of runs, in the order in which it came; that of pairwise comparisons belongs to no run alone."""
        ids = [*traces, *(step["id"] for _, steps in traces.values() for below in steps.values() for step in below)]
        found = [item for some in in_batches(ids) for item in rest.list_feedback(self.api, some)]
        found.sort(key=lambda item: (item.get("created_at") or "", item["id"]))
        of_run: dict[str, list[dict[str, Any]]] = {}
        for item in found:
            if not item.get("comparative_experiment_id"):
                of_run.setdefault(item["run_id"], []).append(as_given(item, self.mask))
        return of_run

    def _attachments(self, ids: list[str]) -> dict[str, dict[str, dict[str, str]]]:
        """The attachments of root runs, downloaded, as results name them. Those of steps are no part of a result."""
        # Only v1 tells their types.
        body = {"session": [self.session["id"]], "id": ids, "select": ["id", "s3_urls"], "limit": len(ids)}
        found = {}
        for run in call(self.api, "POST", "/runs/query", json=body)["runs"] if ids else ():
            links = {name: link for name, link in (run.get("s3_urls") or {}).items() if name.startswith("attachment.")}
            if self.mask:
                self.unmasked |= {run["id"]} if links else set()
                continue
            attached, problems = {}, list[str]()
            for name, link in links.items():
                path = self.folder / bodies.uuid5(f"{run['id']}-{name}")
                if download(link["presigned_url"], path):
                    kind = (link.get("mime_type") or "application/octet-stream").partition(";")[0]
                    attached[name.removeprefix("attachment.")] = {"mime_type": kind, "path": str(path)}
                else:
                    problems.append(f"'{name}': the store has lost this file")
            check_attachments(attached, problems)
            if problems:
                self.left_out[run["id"]] = "; ".join(problems)
            elif attached:
                found[run["id"]] = attached
        return found

    def _result(
        self, example: dict[str, Any], root: dict, steps: dict[str, list[dict]], feedback: dict[str, list[dict]]
    ) -> Any:
        runs = {run["id"]: run for run in [root, *(step for below in steps.values() for step in below)]}
        result = restored(copy_of(root, steps, timedelta(0), EPOCH, self.mask), runs, feedback, timedelta(0), self.mask)
        content = content_of(example, self.mask)
        if content["inputs"] == result["inputs"]:
            return {**result, **content}
        # The run's inputs may differ from the example's; the example exists by now.
        return {**result, "example_id": bodies.new_example(self.target_id, bodies.canonical_fields(content)).id}


def download(url: str, path: Path) -> bool:
    """Download a file, unless it exists already; returns whether there is one. No exception shows a signed address."""
    reason = ""
    try:
        if not path.exists():
            with requests.Session() as session:
                session.trust_env = False  # a store of this machine is reached through no proxy
                with session.get(url, stream=True, timeout=TIMEOUT) as response:
                    if response.status_code in LOST:
                        return False
                    response.raise_for_status()
                    with open(path, "wb") as file:
                        for piece in response.iter_content(1_000_000):
                            file.write(piece)
    except requests.HTTPError as error:
        reason = f"answered {error.response.status_code}"
    except requests.RequestException as error:
        reason = f"gave no answer ({type(error).__name__})"
    if reason:  # raised here, for the errors above hold the address
        host = urlsplit(url).netloc
        raise requests.ConnectionError(f"{host} {reason} for an attachment. Push again: it sends only what is new.")
    return True


def restored(
    run: dict[str, Any],
    originals: dict[str, dict],
    feedback: dict[str, list[dict]],
    shift: timedelta,
    mask: Mask | None,
) -> dict[str, Any]:
    """A copied run as it was originally: with its own times, token counts and feedback."""
    metadata = dict(run["metadata"])
    run_id = metadata.pop(SOURCE)
    metadata.pop(RETRY_OF, None)  # the failed run has another id there, if any
    own_usage = (originals[run_id].get("metadata") or {}).get("usage_metadata")
    if isinstance(own_usage, dict):
        metadata["usage_metadata"] = hidden(own_usage, mask)
    start, end = parse_time(run["start_time"]) or EPOCH, parse_time(run["end_time"]) or EPOCH
    if moved_from := as_moment(metadata.get(ORIGINAL[0])):
        shift = start - moved_from
    metadata = {name: value for name, value in metadata.items() if name not in ORIGINAL}
    children = [restored(child, originals, feedback, shift, mask) for child in run.get("child_runs") or ()]
    return {
        **run,
        "metadata": metadata or None,
        "start_time": bodies.timestamp(start - shift),
        "end_time": bodies.timestamp(end - shift),
        "feedback": feedback.get(run_id) or None,
        "child_runs": children or None,
    }


def as_moment(value: Any) -> datetime | None:
    try:
        return parse_time(value)
    except (TypeError, ValueError):
        return None


# ---------------------------------------------------------------- feedback


def as_given(item: dict[str, Any], mask: Mask | None) -> dict[str, Any]:
    """Feedback as a result holds it, with its source, so that a person's remains a person's."""
    origin = item.get("feedback_source") or {}
    said = {name: item[name] for name in ("key", *MARKS) if item.get(name) is not None}
    kept = {name: origin[name] for name in ("type", "metadata") if origin.get(name)}
    return {**{name: hidden(value, mask) for name, value in said.items()}, "feedback_source": kept or None}


def push_summaries(
    source: LangSmith, target: LangSmith, session_id: str, target_session_id: str, mask: Mask | None
) -> int:
    """Copy the feedback of the experiment itself; return how much was sent."""
    known = {item["id"] for item in further.list_session_feedback(target, target_session_id, level="session")}
    counts, sent = Counter[str](), 0
    for item in further.list_session_feedback(source, session_id, level="session"):
        given = as_given(item, mask)
        name = f"{given['key']}-error" if given.get("error") else given["key"]
        feedback_id = bodies.uuid5(f"{target_session_id}-{name}-{counts[name]}")
        counts[name] += 1
        if feedback_id not in known:
            body = {"feedback_source": {"type": "api"}, **{k: v for k, v in given.items() if v is not None}}
            further.create_one_feedback(target, {"id": feedback_id, "session_id": target_session_id, **body})
            sent += 1
    return sent
