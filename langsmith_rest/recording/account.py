"""What became of every result: the counts, what was refused, what is missing, and whether it can be read back."""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from time import monotonic, sleep
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import Batch, in_batches
from langsmith_rest.recording.sending import known_examples
from langsmith_rest.recording.sources import Source
from langsmith_rest.recording.tally import Tally

READ_BACK_SECONDS = 120
SENT = struct.Struct("=I16sB")  # a result's number, the id of its root, how much feedback of it: 21 bytes
Json = Mapping[str, Any]


@dataclass
class Recording:
    """What was recorded, and where to look at it."""

    dataset_id: str
    dataset_name: str
    experiment_id: str
    experiment_name: str
    url: str
    results: int = 0
    examples_created: int = 0
    examples_existing: int = 0
    examples_updated: int = 0  # given another split or metadata
    runs_recorded: int = 0  # results whose runs were sent in this call
    runs_existing: int = 0  # results whose runs were there before
    feedback: int = 0  # created or changed in this call
    rejected: list[dict[str, Any]] = field(default_factory=list)  # {"result": number from 1, "reason": text}

    def rows(self) -> list[dict[str, Any]]:
        """The counts of this recording as one flat row, for a data frame."""
        counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return [{"experiment": self.experiment_name, **counts, "rejected": len(self.rejected)}]

    def _repr_html_(self) -> str:
        from langsmith_rest import notebooks  # only where it is needed: that is 2 ms faster

        return notebooks.table(self.rows(), f"{self.experiment_name} in {self.dataset_name}", self.url)


class RecordingError(Exception):
    """Recording had to stop. The message says what is recorded and what is not; `recording` holds the counts."""

    def __init__(self, message: str, recording: Recording) -> None:
        super().__init__(message)
        self.recording = recording


class Account:
    """Adds up what became of the results of one experiment."""

    def __init__(
        self, recording: Recording, source: Source, on_progress: Callable[[int, int | None], None] | None
    ) -> None:
        self.recording, self.source, self.on_progress = recording, source, on_progress
        self.known_runs: int | None = None  # that the experiment had before this call; None if it is new
        self.last_end = bodies.timestamp(bodies.EPOCH)
        self._sent = bytearray()  # SENT of each result that this call sent

    def add(self, batch: Batch) -> None:
        """Add what became of a batch to what became of all."""
        for name, number in batch.counts.items():
            setattr(self.recording, name, getattr(self.recording, name) + number)
        for result in batch.results:
            if (result.is_sent or result.feedback_sent) and result.state == "recorded":
                root = result.root
                run_id = bytes.fromhex(root.id.replace("-", ""))
                self._sent += SENT.pack(result.number, run_id, min(result.feedback_sent, 255))
                self.last_end = max(self.last_end, root.end_time)
        self.recording.rejected += batch.rejected
        self.recording.results += len(batch.results)
        if self.on_progress:
            self.on_progress(self.recording.results + len(self.source.rejected), self.source.count)

    @property
    def has_changed(self) -> bool:
        """Whether this call sent anything."""
        return bool(self._sent) or self.recording.feedback > 0

    def close(self) -> Recording:
        """Return the recording once all is said and done; raises what broke the source, or says what never came."""
        recording, expected = self._complete(), self.source.count
        if self.source.broken:
            raise self.source.broken
        if expected is not None and self.source.is_stable and expected != recording.results:
            message = f"{expected} results were checked, but {recording.results} came to be recorded."
            raise RecordingError(message, recording)
        return recording

    def _complete(self) -> Recording:
        """The recording with the results that the source refused."""
        self.recording.results += len(self.source.rejected)
        self.recording.rejected += self.source.rejected
        self.recording.rejected.sort(key=lambda one: one["result"])
        return self.recording

    def read_back(self, api: LangSmith, dataset: Json, session: Json, counted: Future[Any]) -> None:
        """Wait until all that was sent can be read; reject the results of which something does not appear."""
        deadline, pause = monotonic() + READ_BACK_SECONDS, 0.2
        while self._sent:
            is_late = monotonic() + pause > deadline
            missing = self._missing(api, dataset, session, counted, is_late)
            if is_late or not missing:
                reason = f"accepted, but not found {READ_BACK_SECONDS} s later, so not confirmed"
                self.recording.rejected += [{"result": number, "reason": reason} for number in missing]
                self.recording.feedback -= sum(scores for number, _, scores in self._each_sent() if number in missing)
                return
            sleep(pause)
            pause = min(1.5 * pause, 10)

    def _missing(self, api: LangSmith, dataset: Json, session: Json, counted: Future[Any], is_late: bool) -> set[int]:
        """The results of which something cannot be read; before it is late, none in particular if runs are too few.

        Counts tell while nobody else records here; else, and where a server does not count, ids do. `counted` is the
        dataset as it is now.
        """
        stats = rest.read_session(api, session["id"])
        start, missing = bodies.start_of(session), set[int]()
        runs, expected = stats.get("run_count"), (self.known_runs or 0) + self.recording.runs_recorded
        if runs is not None and runs < expected and not is_late:
            return {0}
        if runs != expected:
            known = Tally(rest.list_run_ids(api, session["id"], start))
            missing |= {number for number, i, _ in self._each_sent() if i not in known}

        counts = [found.get("n") or 0 for found in (stats.get("feedback_stats") or {}).values()]
        if self.recording.feedback and (self.known_runs is not None or sum(counts) != self.recording.feedback):
            scored = (i for _, i, scores in self._each_sent() if scores)
            listed = (item for some in in_batches(scored) for item in rest.list_feedback(api, some))
            found = Counter(item["run_id"] for item in listed)
            missing |= {number for number, i, scores in self._each_sent() if found[i] < scores}

        created = self.recording.examples_created
        before, after = dataset.get("example_count") or 0, (counted.result() or {}).get("example_count")
        if created and after != before + created:
            of_run = dict(rest.list_run_examples(api, session["id"], start))
            known = Tally(known_examples(api, dataset["id"], sorted(set(of_run.values()))))
            missing |= {number for number, i, _ in self._each_sent() if of_run.get(i, i) not in known}
        return missing

    def _each_sent(self) -> Iterator[tuple[int, str, int]]:
        return ((number, bodies.hyphened(i.hex()), scores) for number, i, scores in SENT.iter_unpack(self._sent))

    def stopped(self, cause: Exception, under_way: list[Batch]) -> RecordingError:
        """The error that says why recording stopped, what is recorded, and what is not."""
        for batch in under_way:
            self.add(batch)
        recording, total = self._complete(), self.source.count
        results = [result for batch in under_way for result in batch.results]
        last = results[-1].number if results else recording.results
        missing = [result.number for result in results if not result.state]
        recorded = recording.results - len(missing) - len(recording.rejected)
        missing += range(last + 1, (total or last) + 1)
        done = "recorded" if missing or total is None else "accepted, but not read back"
        numbers = {
            "Refused": in_words(rejected["result"] for rejected in recording.rejected),
            "Missing or incomplete": in_words(missing) + ([f"{last + 1}-..."] if total is None else []),
        }
        account = [f"{what}: {', '.join(words)}. " for what, words in numbers.items() if words]
        return RecordingError(
            f"{cause}\n{recorded} of {total or 'the'} results are {done}. {''.join(account)}"
            "Run the same again: it sends only what is missing.",
            recording,
        )


def in_words(numbers: Iterable[int]) -> list[str]:
    """Numbers in ascending order as 3, 5-7."""
    groups = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return [f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs]
