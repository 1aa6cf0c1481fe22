"""Words that messages share; this module reads and prints nothing."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

Say = Callable[[str], None]  # tells people something; commands write it to stderr


def typed(words: str = "") -> str:
    """How to run one of our commands, in the form the user typed: `uv run main.py view` or `langsmith-rest view`."""
    program = sys.argv[0]
    name = os.path.basename(program)
    if name == "__main__.py" and os.path.basename(os.path.dirname(program)) == "langsmith_rest":
        command = "python -m langsmith_rest"
    elif name == "main.py":
        command = f"{'uv run' if 'UV' in os.environ else 'python'} {program}"  # `uv run` sets UV for what it starts
    else:  # `langsmith-rest`, or a program of the user's
        command = "langsmith-rest"
    return f"{command} {words}".rstrip()


def program() -> str:
    """The name of this program before its errors: `main.py` or `langsmith-rest`."""
    return os.path.basename(typed().split()[-1])


def counted(count: int, thing: str) -> str:
    """A number with what it counts: 1 result, 2,000 results."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def alike(problems: Iterable[tuple[str, str]], most: int = 20) -> Iterator[str]:
    """Problems, each a place and a reason, as at most `most` lines; equal reasons share a line.

    Places end with a number: `a.jsonl, line 3, 7, 8, 12 and 41 more: not JSON`.
    """
    places: dict[str, list[str]] = {}
    for place, reason in problems:
        places.setdefault(reason, []).append(place)
    for reason, (first, *others) in list(places.items())[:most]:
        named = [place.rpartition(" ")[2] for place in others[:3]]
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        yield f"{', '.join([first, *named])}{more}: {reason}"
    if len(places) > most:
        yield f"and {counted(len(places) - most, 'other problem')}"


def nothing_sent(problems: Sequence[tuple[str, str]], source: str) -> ValueError:
    """The error for results that are refused: it lists all problems, each a place and a reason; none: no results."""
    if not problems:
        return ValueError(f"There is nothing to record in {source}; nothing was sent.")
    return ValueError(
        "\n  ".join([f"{counted(len(problems), 'problem')} in {source}; nothing was sent:", *alike(problems)])
    )


def clean(line: str) -> str:
    """A line whose characters that control a terminal, start another line or cannot be encoded are spelled out."""
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def shortened(text: str, most: int) -> str:
    """Text on one line of at most `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
