"""Which server commands connect to: the configured one, else the local store."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from langsmith_rest import connection, in_process, local
from langsmith_rest.wording import typed

Connect = Callable[..., AbstractContextManager[connection.LangSmith]]  # the type of `connect`
PACKAGE = Path(__file__).parents[1]
# In a wheel the sample files are inside the package, in a checkout beside it.
FIXTURES = next((folder for folder in (PACKAGE / "fixtures", PACKAGE.parent / "fixtures") if folder.is_dir()), PACKAGE)


@contextlib.contextmanager
def connect(
    purpose: str = "recording into", *, must_exist: bool = False, any_age: bool = False
) -> Iterator[connection.LangSmith]:
    """Connect to the configured server; if none is configured, or the endpoint is `local`, to the local store.

    Raises NotFound if that store does not exist and `must_exist` is set, as for reading. With `any_age`, it accepts
    runs that LangSmith would refuse as too old.
    """
    if not is_local():
        yield connection.connect()
        return
    with local.served(must_exist=must_exist, any_age=any_age) as (url, web):
        say_where(purpose)
        api = connection.connect(url, web=web)
        in_process.shorten(api.session, url)
        yield api
    if url != web:  # `view` is not running
        print(f"To see the pages: {typed('view')}", file=sys.stderr, flush=True)


def is_local() -> bool:
    """Whether the settings mean the local store."""
    values = connection.settings()
    endpoint = values.get("LANGSMITH_ENDPOINT")
    return endpoint == local.ENDPOINT or not (endpoint or "LANGSMITH_API_KEY" in values)


def say_where(purpose: str) -> None:
    why = "" if "LANGSMITH_ENDPOINT" in connection.settings() else "No LANGSMITH_API_KEY: "
    hint = " (set one to use LangSmith)" if why else ""
    line = f"{why}{purpose} the local store {local.shown()}{hint}."
    print(line[0].upper() + line[1:], file=sys.stderr, flush=True)


def fetch_extras() -> None:
    """Under `uvx --from PATH langsmith-rest`, start again with the packages that the local store needs, if it is used.

    Nothing installed is changed: `uvx` keeps its packages in its own cache.
    """
    is_uvx = os.environ.get("UV") and os.path.basename(sys.argv[0]).startswith("langsmith-rest")
    if not is_uvx or importlib.util.find_spec("flask") or "LANGSMITH_REST_EXTRAS" in os.environ:
        return
    if not is_local():
        return
    package = importlib.metadata.distribution("langsmith-rest-experiments")
    source = json.loads(package.read_text("direct_url.json") or "{}").get("url")
    wanted = f"{package.name}[local]{f' @ {source}' if source else f'=={package.version}'}"
    os.environ["LANGSMITH_REST_EXTRAS"] = "local"  # once is enough
    uv = os.environ["UV"]
    os.execv(uv, [uv, "tool", "run", "--from", wanted, "langsmith-rest", *sys.argv[1:]])
