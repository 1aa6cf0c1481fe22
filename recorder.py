"""The for loop: results become examples of a dataset, and runs and feedback of an experiment."""

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

    All results are checked before the first request. Only a generator with an `experiment_name` is
    streamed, in constant memory: what is wrong in it is listed in `rejected`. Without a name, the
    experiment is called after the dataset and a hash of both. `langsmith` is a connection made by
    `connect`, which is also the default. `on_progress` is called with the number of results done
    and of all (None while streaming). `verify` reads the experiment back.

    Raises ValueError for bad results, SetupError without a key or endpoint, LookupError when the
    name belongs to another dataset, RecordingError when recording had to stop half way. What
    LangSmith refused is in `rejected`.
    """
    api = langsmith or connect()
    source = source_of(results, is_named=bool(experiment_name))
    experiment_name = experiment_name or source.default_name(dataset_name)
    check_names(dataset_name, experiment_name, description, metadata)
    account = Account(Recording("", dataset_name, "", experiment_name, ""), source, on_progress)
    return record(api, source, account, description, metadata, verify)


def record(
    api: LangSmith,
    source: Source,
    account: Account,
    description: str | None,
    metadata: dict[str, Any] | None,
    verify: bool,
) -> Recording:
    """Send checked results. Ids follow from what is recorded, so all of it can be sent twice."""
    recording = account.recording
    with Delivery(api, source, account) as delivery:
        # 1. The dataset: found by its name, or created, unless the experiment's name is taken.
        looking = delivery.meanwhile(rest.find_session, api, name=recording.experiment_name)
        dataset, is_new = rest.find_dataset(api, recording.dataset_name), False
        if earlier := looking.result():
            refuse_taken(earlier, dataset["id"] if dataset else None)
        if not dataset:
            dataset, is_new = rest.create_dataset(api, recording.dataset_name)

        # 2. The experiment (the API's session): found too, or created while examples travel.
        start = bodies.session_start(source.earliest, source.longest, datetime.now(UTC))
        name = recording.experiment_name
        session = bodies.session(dataset["id"], name, start, description, metadata)
        delivery.open(dataset, is_new, session, earlier)

        for result in source:
            # 3. The example: inputs and reference outputs, one for all results that share them.
            result.example = bodies.example(dataset["id"], result)
            # 4. The runs: what the system answered, tied to the example, its steps below it.
            result.runs = bodies.trace(delivery.session, result)
            # 5. The feedback: the scores of these runs.
            result.feedback = bodies.feedback(result.runs)
            delivery.add(result)

        # 6. Close the experiment, read it back, and link to it.
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
