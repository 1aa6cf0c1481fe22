"""What the commands share. Each is a module with HELP, DESCRIPTION, EXAMPLES, add_arguments(parser) and run(...)."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from rest import LangSmith

Connect = Callable[..., AbstractContextManager[LangSmith]]  # connect("reading"): LangSmith, or the local store
Say = Callable[[str], None]  # talk, which goes to stderr


def counted(count: int, thing: str) -> str:
    """A number and what it counts: 1 result, 2,000 results."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def clean(line: str) -> str:
    """A line without what would control a terminal or begin another line."""
    return "".join(c if c.isprintable() else "?" for c in line)


def shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
