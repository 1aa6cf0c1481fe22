"""Which examples people label, and how labels were drawn: pure functions, standard library only."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RANDOM, FILTERED = "random", "filtered"  # what the metadata of a review queue says under `sampling`


def lot(seed: int, drawn_id: str) -> str:
    """The place of an example, or of a run, in a random order that `seed` chooses.

    The first N in this order are a random sample, and a larger N adds to it. Of examples, other experiments of the same
    dataset get the same ones.
    """
    return hashlib.sha256(f"{seed}-{drawn_id}".encode()).hexdigest()


def sampled(example_ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """A random sample of so many examples, in random order; of all of them where `count` is None."""
    return sorted(example_ids, key=lambda example_id: lot(seed, example_id))[:count]


@dataclass
class Drawn:
    """How labels came about, counted by runs; `chosen_by` names the review queues that were not filled at random."""

    random: int = 0
    chosen: int = 0
    unknown: int = 0  # no review queue says how these were chosen
    chosen_by: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.random + self.chosen + self.unknown


class Queue(NamedTuple):
    """A review queue: how it was filled, its runs, and those that were reviewed in it."""

    name: str
    how: str
    runs: frozenset[str]
    reviewed: frozenset[str] = frozenset()


def drawn(labelled: Collection[str], queues: Sequence[Queue]) -> Drawn:
    """How the labels of these runs came about.

    In a random queue, all runs count as random if all are labelled. Before that, only those that were reviewed in it
    count, and of these none that is in another queue, too: somebody may have labelled just the interesting ones.
    """
    ids = frozenset(labelled)
    at_random = [queue for queue in queues if queue.how == RANDOM]
    others = [queue for queue in queues if queue.how != RANDOM]
    chosen = frozenset[str]().union(*(queue.runs for queue in others))
    certain = frozenset[str]().union(*(queue.runs for queue in at_random if queue.runs <= ids))
    random = ids & (certain | frozenset[str]().union(*(queue.reviewed for queue in at_random)) - chosen)
    unsure = ids - random
    names = [queue.name for queue in others if queue.runs & unsure]
    return Drawn(len(random), len(unsure & chosen), len(unsure - chosen), names)


def is_about(metadata: Any, key: str) -> bool:
    """Whether a queue's metadata says how it was filled, and it may be where labels of this key come from."""
    return isinstance(metadata, dict) and "sampling" in metadata and metadata.get("feedback_key", key) == key


def in_words(found: Drawn) -> str:
    """What a reader has to know of labels before using numbers that need a random sample."""
    unknown = "no review queue says how they were chosen"
    if found.chosen:
        more = f"; for {found.unknown:,} more, {unknown}" if found.unknown else ""
        queues = ", ".join(found.chosen_by)
        return f"{found.chosen:,} of {found.total:,} labels were chosen, not drawn at random ({queues}){more}"
    if found.unknown:
        return f"for {found.unknown:,} of {found.total:,} labels, {unknown}"
    return f"all {found.total:,} labels belong to a random sample"
