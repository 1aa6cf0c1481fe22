"""What a command of this wing gets from `main.py`: each has HELP, DESCRIPTION, EXAMPLES, add_arguments and run."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from rest import LangSmith

Connect = Callable[
    ..., AbstractContextManager[LangSmith]
]  # connect("reading"): LangSmith, or the local store
Say = Callable[[str], None]  # talk, which goes to stderr
