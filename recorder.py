"""The for loop: results become examples of a dataset, and runs and feedback of an experiment.

The server gives the dataset its id. All other ids are made of content:

    example     uuid5 of the dataset's id, the inputs and the reference outputs
    experiment  uuid5 of the dataset's id and the experiment's name
    run         uuid5 of the experiment's id, the example's id, the result, and how often an equal
                result came before; the first 48 bits are the start time (so it is a UUIDv7)
    child run   the same of the id of the run above it and its place
    feedback    uuid5 of the run's id, the key, and how often that key came before

So all of it can be sent twice: what exists is left alone, or corrected where it may change
(feedback, and an example's split and metadata). Where a create is refused since something exists
(examples: 409), what is missing is sent alone. `Delivery` groups up to 100 results, and sends the
examples of a group, then its runs, then its feedback, in requests of at most 100 and 20 MB;
2 to 16 groups travel at once. The connection repeats what got no answer, for two minutes; then
RecordingError says what is recorded. A group that is refused (400, 413, 422) is halved until the
bad result stands alone and goes to `rejected`; what was stored of it stays. Nothing is kept on
disk: after a crash, the same call finds the experiment by its name, lists its runs and their
feedback, and sends what is missing.

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
    has a name: it is streamed in constant memory, and `rejected` lists its invalid results.
    Without a name, the experiment is named after the dataset and a hash of dataset and results.
    `langsmith` is a connection made by `connect`, which is also the default. `on_progress` is
    called with the number of results done and the total (None while streaming). `verify` waits
    until what was sent can be read back.

    Raises ValueError for bad results, SetupError without a key or endpoint, LookupError when the
    name belongs to another dataset, RecordingError when recording had to stop before the end. What
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
        # 1. The dataset: found or created. Refused when an experiment of this name has another.
        looking = delivery.meanwhile(rest.find_session, api, name=recording.experiment_name)
        dataset, is_new = rest.find_dataset(api, recording.dataset_name), False
        if existing := looking.result():
            # Without a dataset: somebody may have created it, and the experiment, just now.
            dataset = dataset or rest.find_dataset(api, recording.dataset_name)
            refuse_taken(api, existing, dataset["id"] if dataset else None)
        if not dataset:
            dataset, is_new = rest.create_dataset(api, recording.dataset_name)

        # 2. The experiment (the API's session): found too, or created while examples travel.
        start = bodies.session_start(source.earliest, source.longest, datetime.now(UTC))
        name = recording.experiment_name
        session = bodies.session(dataset["id"], name, start, **about)
        delivery.open(dataset, is_new, session, existing)

        for result in source:
            # 3. The example: inputs and reference outputs, one for all results that share them.
            #    (A new field of a result goes into recording/results.py and checking.py, and into
            #    one of these three; ids of results without it stay as they are.)
            result.example = bodies.example(dataset["id"], result)
            # 4. The runs: what the system answered, tied to the example, its steps below it.
            result.runs = bodies.trace(delivery.session, result)
            # 5. The feedback: the scores of these runs.
            result.feedback = bodies.feedback(result.runs)
            delivery.add(result)

        # 6. Link to the experiment, close it, and read it back.
        experiment = delivery.finish()
        recording.dataset_id, recording.experiment_id = dataset["id"], experiment["id"]
        recording.url = rest.experiment_url(api, dataset, experiment["id"])
        if account.has_changed or not experiment.get("end_time"):
            end_time = max(bodies.timestamp(datetime.now(UTC)), account.last_end)
            closing = delivery.meanwhile(rest.close_session, api, experiment["id"], end_time)
            if verify:
                counted = delivery.meanwhile(rest.find_dataset, api, dataset["name"])
                account.read_back(api, dataset, experiment, counted)
            if failed := closing.exception():
                log.warning("All is recorded, but the experiment could not be closed: %s", failed)
    return account.close()
