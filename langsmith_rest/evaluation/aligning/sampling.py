"""Which examples people label, and how labels were drawn: pure functions, standard library only."""

import hashlib
from collections.abc import Iterable

RANDOM, FILTERED = "random", "filtered"  # what the metadata of a review queue says under `sampling`


def lot(seed: int, example_id: str) -> str:
    """The place of an example in a random order that `seed` chooses.

    The first N examples in this order are a random sample. A larger N adds to it, and other experiments of the same
    dataset get the same examples.
    """
    return hashlib.sha256(f"{seed}-{example_id}".encode()).hexdigest()


def sampled(example_ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """A random sample of so many examples, in random order; of all of them where `count` is None."""
    return sorted(example_ids, key=lambda example_id: lot(seed, example_id))[:count]
