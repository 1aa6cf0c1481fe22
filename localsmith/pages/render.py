"""Words, numbers and times made readable; `blocks.py` decides how a value is shown.

Everything here returns plain text, which the templates escape.
"""

import re
import shlex
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import lru_cache
from math import floor, log10
from typing import Any

from langsmith_rest.paired import probability
from localsmith.pages.blocks import pretty
from localsmith.pages.chat import Message, messages_in
from localsmith.pages.json_tree import json_tree
from localsmith.pages.markdown import markdown
from localsmith.wire import iso

MAX_DIFF_WORDS = 1500  # the time a diff takes grows with the square


def gist(value: Any) -> str:
    """The content of a value as one text, for comparing and for one line of a list."""
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, str):
        return value
    if (found := messages_in(value)) and not found.beside:
        return "\n".join(_said(item) for item in found.messages)
    return "" if value is None or value == {} else pretty(value)


def _said(item: Message) -> str:
    calls = [f"{call.name}({_argument_text(call.arguments)})" for call in item.calls]
    return "\n".join(filter(None, [item.text, *calls]))


def _argument_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else "" if arguments is None else pretty(arguments)


def one_line(value: Any, length: int = 160) -> str:
    line = " ".join(gist(value).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def reason(error: str, length: int = 160) -> str:
    """What went wrong, in one line; the last line of a Python traceback."""
    lines = error.strip().splitlines() or [""]
    return one_line(lines[-1] if lines[0].startswith("Traceback (most recent call last)") else error, length)


@lru_cache(10_000)
def natural(name: str) -> tuple[list[Any], str]:
    """Sorts names as people count: score_2 before score_10, and 0.25 before 0.5."""
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", name):
        return ["", float(name)], name
    parts: list[Any] = re.split(r"([0-9]{1,15})", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


# Word by word


def word_diff(before: str, after: str) -> list[tuple[str, str]] | None:
    """What changed from `before`, as (same | removed | added, text); None if the texts are too long."""
    # Blanks belong to the word before them: as separate words they would match everywhere.
    old, new = (re.findall(r"\w+\s*|[^\w\s]\s*|\s+", text) for text in (before, after))
    if len(old) > MAX_DIFF_WORDS or len(new) > MAX_DIFF_WORDS:
        return None
    pieces: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(("same", "".join(old[a:b])))
            continue
        if b > a:
            pieces.append(("removed", "".join(old[a:b])))
        if d > c:
            pieces.append(("added", "".join(new[c:d])))
    return pieces


# Numbers and times

NONE = "–"


def duration(micros: float | None) -> str:
    """A readable duration; a dash for none, and for zero, which means that no times were given."""
    if not micros or micros < 0:
        return NONE
    seconds = micros / 1e6
    if seconds < 0.001:
        return f"{micros:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def number(value: float | None) -> str:
    """A score: three significant digits, as many as a mean shows, without trailing zeros."""
    if value is None:
        return NONE
    if not abs(value) < 1e15:
        return mean(value)
    if value == int(value):
        return _with_minus(f"{int(value):,}")
    return _with_minus(f"{value:.3g}") if abs(value) < 1 else mean(value).rstrip("0")


def mean(value: float | None) -> str:
    """A mean: three decimals, so that a column of them lines up."""
    if value is None:
        return NONE
    if not abs(value) < 1e15:
        return _with_minus(f"{value:.4g}")
    return _with_minus(f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}")


def _with_minus(digits: str) -> str:
    """As `sign` writes it: a minus, which is as wide as a plus, instead of a hyphen."""
    return digits.replace("-", "−")


def signed(value: float | None) -> str:
    return NONE if value is None else sign(value) + mean(abs(value))


def sign(value: float) -> str:
    return "+" if value > 0 else "−" if value < 0 else "±"


def change(value: float) -> str:
    """By how much a single score changed."""
    return sign(value) + number(abs(value))


def amount(value: float | None) -> str:
    return NONE if not value else f"{value:,.0f}"


def cost(picodollars: float | None) -> str:
    if not picodollars:
        return NONE
    dollars = picodollars / 1e12
    if dollars >= 0.001:
        return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}"
    return f"${dollars:.{1 - floor(log10(dollars))}f}"  # two digits that matter


def percent(share: float | None) -> str:
    if share is None:
        return NONE
    shown = f"{share * 100:.1f}"
    return ("<0.1" if share and shown == "0.0" else shown) + " %"


def when(micros: int | None) -> str:
    """A time in UTC, to the minute."""
    return NONE if micros is None else (iso(micros) or "")[:16].replace("T", " ")


def exact_time(micros: int | None) -> str:
    return "" if micros is None else (iso(micros) or "")[:26].replace("T", " ") + " UTC"


FILTERS: dict[str, Callable[..., Any]] = {
    "shell": shlex.quote,  # names are stored text, and somebody will paste the command
    "duration": duration,
    "number": number,
    "mean": mean,
    "signed": signed,
    "p_value": probability,
    "change": change,
    "reason": reason,
    "amount": amount,
    "cost": cost,
    "percent": percent,
    "when": when,
    "exact_time": exact_time,
    "one_line": one_line,
    "gist": gist,
    "pretty": pretty,
    "markdown": markdown,
    "json_tree": json_tree,
}
