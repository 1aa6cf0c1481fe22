"""Masking: no text of production leaves it as it was."""

from collections.abc import Callable
from typing import Any

Mask = Callable[[str], str]


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
