"""The for loop: results become examples of a dataset, and runs and feedback of an experiment.

Ids are uuid5 of content: an example's of dataset, inputs and reference; the experiment's of
dataset and name; a run's of experiment, example, result and how often the same result came
before, with its start time in front; a step's of the run above it and its place; feedback's of
run, key and how often that key came before. So all of it can be sent twice: what exists is left
alone. Delivery groups up to 100 results, and sends a group's examples, then runs, then feedback;
several groups travel at once. The connection repeats what got no answer, for two minutes. A group
that is refused is halved until the bad result stands alone and goes to `rejected`. Nothing is
kept on disk: after a crash, the same call finds the experiment by its name, lists its runs, and
sends the rest.

A port translates this loop, the calls of rest.py, and the ids and bodies of recording/bodies.py
and canonical.py, byte for byte. Threads, halving, checks and reading back can come later: see
PORTING.md.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import rest
from langsmith_rest.connection import LangSmith, connect, log
from langsmith_rest.recording import bodies
from langsmith_rest.recording.account import Account, Recording, RecordingError
from langsmith_rest.recording.checking import check_names
from langsmith_rest.recording.delivery import Delivery
from langsmith_rest.recording.results import Result
from langsmith_rest.recording.sending import refuse_taken
from langsmith_rest.recording.sources import Source, source_of

__all__ = ["Recording", "RecordingError", "record_langsmith_experiment"]


def record_langsmith_experiment(
    dataset_name: str,
    results: Iterable[Result] | Source,
    *,
    experiment_name: str | None = None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
    langsmith: LangSmith | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    verify: bool = True,
) -> Recording:
    """Record `results` as one experiment of a dataset. Recording them again changes nothing.

        results = [{"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, "feedback": {"correct": 1}}]
        recording = record_langsmith_experiment("capitals", results)
        print(recording.url)

    All results are checked before the first request, except those of a generator whose experiment
    has a name: it is streamed in constant memory, and what is wrong in it is listed in `rejected`.
    Without a name, the experiment is called after the dataset and a hash of dataset and results.
    `langsmith` is a connection made by `connect`, which is also the default. `on_progress` is
    called with the number of results done and of all (None while streaming). `verify` waits until
    what was sent can be read back.

    Raises ValueError for bad results, SetupError without a key or endpoint, LookupError when the
    name belongs to another dataset, RecordingError when recording had to stop half way. What
    LangSmith refused is in `rejected`.
    """
    api = langsmith or connect()
    source = source_of(results, is_named=bool(experiment_name))
    experiment_name = experiment_name or source.default_name(dataset_name)
    about = {"description": description, "metadata": metadata}
    check_names(dataset_name, experiment_name, **about)
    account = Account(Recording("", dataset_name, "", experiment_name, ""), source, on_progress)
    return record(api, source, account, about, verify)


def record(api: LangSmith, source: Source, account: Account, about: Any, verify: bool) -> Recording:
    """Send checked results."""
    recording = account.recording
    with Delivery(api, source, account) as delivery:
        # 1. The dataset: found or created, unless another one has an experiment of this name.
        looking = delivery.meanwhile(rest.find_session, api, name=recording.experiment_name)
        dataset, is_new = rest.find_dataset(api, recording.dataset_name), False
        if earlier := looking.result():  # somebody may have made both in between
            dataset = dataset or rest.find_dataset(api, recording.dataset_name)
            refuse_taken(earlier, dataset["id"] if dataset else None)
        if not dataset:
            dataset, is_new = rest.create_dataset(api, recording.dataset_name)

        # 2. The experiment (the API's session): found too, or created while examples travel.
        start = bodies.session_start(source.earliest, source.longest, datetime.now(UTC))
        name = recording.experiment_name
        session = bodies.session(dataset["id"], name, start, **about)
        delivery.open(dataset, is_new, session, earlier)

        for result in source:
            # 3. The example: inputs and reference outputs, one for all results that share them.
            #    (A new field of a result goes into `Result`, the checks, and one of these three.)
            result.example = bodies.example(dataset["id"], result)
            # 4. The runs: what the system answered, tied to the example, its steps below it.
            result.runs = bodies.trace(delivery.session, result)
            # 5. The feedback: the scores of these runs.
            result.feedback = bodies.feedback(result.runs)
            delivery.add(result)

        # 6. Link to the experiment, close it, and read it back.
        found = delivery.finish()
        recording.dataset_id, recording.experiment_id = dataset["id"], found["id"]
        recording.url = rest.experiment_url(api, dataset, found["id"])
        if account.has_changed or not found.get("end_time"):
            end_time = max(bodies.timestamp(datetime.now(UTC)), account.last_end)
            closing = delivery.meanwhile(rest.close_session, api, found["id"], end_time)
            if verify:
                counted = delivery.meanwhile(rest.find_dataset, api, dataset["name"])
                account.read_back(api, dataset, found, counted)
            if failed := closing.exception():
                log.warning("All is recorded, but the experiment could not be closed: %s", failed)
    return account.close()
