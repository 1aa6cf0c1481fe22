"""What commands connect to: what is configured, else the local store."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
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


def fetch_extras() -> None:
    """Under `uvx --from PATH langsmith-rest`, start again with the packages that the local store needs, if it is meant.

    What is installed stays as it is: `uvx` keeps its packages in its own cache.
    """
    is_uvx = os.environ.get("UV") and os.path.basename(sys.argv[0]).startswith("langsmith-rest")
    if not is_uvx or importlib.util.find_spec("flask") or "LANGSMITH_REST_EXTRAS" in os.environ:
        return
    values = connection.settings()
    if connection.pick(values, "API_KEY") or connection.pick(values, "ENDPOINT"):
        return
    package = importlib.metadata.distribution("langsmith-rest-experiments")
    source = json.loads(package.read_text("direct_url.json") or "{}").get("url")
    wanted = f"{package.name}[local,cli]{f' @ {source}' if source else f'=={package.version}'}"
    os.environ["LANGSMITH_REST_EXTRAS"] = "local,cli"  # once is enough
    uv = os.environ["UV"]
    os.execv(uv, [uv, "tool", "run", "--from", wanted, "langsmith-rest", *sys.argv[1:]])
