"""Asking before anything is deleted or replaced."""

import sys


def need_somebody(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise ValueError("This command asks before it changes anything, but there is no terminal: use --yes.")


def ask(question: str) -> None:
    """Ask on the terminal; raises LookupError unless the answer is yes, and ValueError without a terminal."""
    if not sys.stdin.isatty():
        raise ValueError(f"{question} Nothing was changed, because there is no terminal to answer at: use --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise LookupError("Nothing was changed.")


def say_yes(question: str) -> None:
    """Stands in for `ask` with `--yes`."""
