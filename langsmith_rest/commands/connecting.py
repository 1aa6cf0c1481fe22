"""What commands connect to: what is configured, else the local store."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from langsmith_rest import connection, local
from langsmith_rest.wording import typed

Connect = Callable[..., AbstractContextManager[connection.LangSmith]]  # the type of `connect`
PACKAGE = Path(__file__).parents[1]
# In a wheel the sample files lie inside of the package, in a checkout beside it.
FIXTURES = next((folder for folder in (PACKAGE / "fixtures", PACKAGE.parent / "fixtures") if folder.is_dir()), PACKAGE)


@contextlib.contextmanager
def connect(purpose: str = "recording into", *, must_exist: bool = False) -> Iterator[connection.LangSmith]:
    """Connect to what is configured; when nothing is, to the local store, which this process serves meanwhile.

    Raises LookupError when that store does not exist and `must_exist`, as for reading.
    """
    values = connection.settings()
    if connection.pick(values, "API_KEY") or connection.pick(values, "ENDPOINT"):
        yield connection.connect()
        return
    where = f"{purpose} the local store {local.DATABASE}"
    print(f"No LANGSMITH_API_KEY: {where} (see .env.example for LangSmith).", file=sys.stderr, flush=True)
    with local.served(0, must_exist=must_exist, time_window_hours=None) as server:
        yield connection.connect(server.url, web=local.PAGES)
    print(f"To look at it: {typed('view')}", file=sys.stderr, flush=True)
