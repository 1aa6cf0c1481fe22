"""What the commands share. Each is a module with HELP, DESCRIPTION, EXAMPLES, add_arguments(parser) and run(...)."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import requests

from langsmith_rest.connection import LangSmith
from recorder import Recording
from rest import read_session

Connect = Callable[..., AbstractContextManager[LangSmith]]  # connect("reading"): LangSmith, or the local store
Say = Callable[[str], None]  # talk, which goes to stderr


def counted(count: int, thing: str) -> str:
    """A number and what it counts: 1 result, 2,000 results."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def alike(problems: Iterable[tuple[str, str]], most: int = 20) -> Iterator[str]:
    """Problems, each a place and a reason, as at most so many lines: what goes wrong many times is said once."""
    places: dict[str, list[str]] = {}
    for place, reason in problems:
        places.setdefault(reason, []).append(place)
    for reason, (first, *others) in list(places.items())[:most]:
        yield f"{first}{f' and {len(others):,} more' if others else ''}: {reason}"
    if len(places) > most:
        yield f"and {counted(len(places) - most, 'other problem')}"


def other_runs(api: LangSmith, recording: Recording) -> int:
    """How many runs the experiment holds besides those of these results: somebody may have used its name before."""
    with contextlib.suppress(requests.RequestException):  # all is recorded, whether this is known or not
        there = read_session(api, recording.experiment_id).get("run_count") or 0
        return max(there - recording.runs_recorded - recording.runs_existing, 0)
    return 0


def clean(line: str) -> str:
    """A line without what would control a terminal or begin another line."""
    return "".join(c if c.isprintable() else "?" for c in line)


def shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
