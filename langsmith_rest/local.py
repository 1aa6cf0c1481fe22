"""The embedded store, from any folder: finding it, opening it, and the address of its pages.

`localsmith` is started only here. The file `view.url` beside the database holds the address of the pages; `view` locks
it while it serves them.
"""

import atexit
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from langsmith_rest.errors import NotFound, SetupError

try:
    import fcntl
except ImportError:  # Windows: a running `view` is not noticed, and every process opens the store by itself
    fcntl = None  # type: ignore[assignment]

ENDPOINT = "local"  # the value of LANGSMITH_ENDPOINT that means this store
FOLDER = ".localsmith"
HOST, PORT = "127.0.0.1", 1984
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOKEN_HEADER = "x-localsmith-token"
PORTS = 100  # how many are tried
opened: dict[Path, Any] = {}  # servers that this process keeps until it ends
applications: dict[str, Any] = {}  # of servers that this process runs for itself, by their addresses
if hasattr(os, "register_at_fork"):  # a child has copies of them, which must not touch the database
    os.register_at_fork(after_in_child=applications.clear)


def folder() -> Path:
    """The nearest `.localsmith` of this folder and its parents; if there is none, where it will be: in this folder."""
    here = Path.cwd()
    for parent in (here, *here.parents):
        if (found := parent / FOLDER).is_dir() and is_mine(found):
            return found
    return here / FOLDER


def is_mine(path: Path) -> bool:
    """Whether this user owns it; a store that another user put into a parent folder is not used."""
    return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()


def database() -> Path:
    return folder() / "localsmith.db"


def shown() -> str:
    """The database's path as messages show it."""
    return os.path.relpath(database())


def stay_open() -> tuple[str, str]:
    """The addresses of the API and of the pages: of a running `view`, else of this process until it ends.

    Raises SetupError when the store cannot be opened.
    """
    path = database()
    if url := running_view(path):
        return url, url
    if path not in opened:
        if not opened:
            atexit.register(close_all)
        opened[path] = start(path, 0)
        applications[opened[path].url] = opened[path].app
    return opened[path].url, pages(path)


def close_all() -> None:
    while opened:
        server = opened.popitem()[1]
        applications.pop(server.url, None)
        server.close()


def token_headers(url: str) -> dict[str, str]:
    """The header that a local store with evaluators requires for uploads; empty for any other server.

    The token is LOCALSMITH_TOKEN, else the one beside the database of this folder's store.
    """
    if urlsplit(url).hostname not in LOOPBACK:
        return {}
    token = os.environ.get("LOCALSMITH_TOKEN", "")
    with contextlib.suppress(OSError):
        token = token or database().with_suffix(".token").read_text(encoding="utf-8").strip()
    return {TOKEN_HEADER: token} if token else {}


@contextlib.contextmanager
def served(*, must_exist: bool = False, any_age: bool = False) -> Iterator[tuple[str, str]]:
    """The addresses of the API and of the pages, while the context lasts.

    With `any_age`, it accepts runs that LangSmith would refuse as too old. Raises NotFound if there is no store and it
    `must_exist`, as for reading, and SetupError when it cannot be opened.
    """
    path = database()
    if must_exist and not path.exists():
        looked = f"There is no local store in {Path.cwd()} or in a folder above it"
        raise NotFound(f"{looked}: record something first, or go to the folder you recorded in.")
    if (url := running_view(path)) and not any_age:
        yield url, url
        return
    with start(path, 0, **({"time_window_hours": None} if any_age else {})) as server:
        applications[server.url] = server.app
        try:
            yield server.url, pages(path)
        finally:
            applications.pop(server.url, None)


def package() -> Any:
    """The package `localsmith`; raises SetupError if one of its requirements is not installed."""
    try:
        import localsmith
    except ImportError as error:
        needed = (
            f"The local store needs {error.name}: install langsmith-rest-experiments[local], or set LANGSMITH_API_KEY."
        )
        raise SetupError(needed) from None
    return localsmith


def start(path: Path, port: int, **switches: Any) -> Any:
    """Serve a store at a port of this machine (0: any free one); the server is a context manager."""
    localsmith = package()
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"{path.parent} cannot be created ({error.strerror}): go to a folder you can write to."
        ) from None
    try:
        return localsmith.serve(path, port, **switches)
    except (localsmith.StoreError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not os.access(path.parent, os.W_OK):
            reason += f" Make its folder {path.parent} writable as well."
        raise SetupError(reason) from None


def back_up(file: Path) -> None:
    """Copy the store, in its present state, into a new file; servers may go on writing to it."""
    localsmith = package()
    try:
        localsmith.backup(database(), file)
    except localsmith.StoreError as error:
        raise SetupError(str(error)) from None


# ---------------------------------------------------------------- where the pages are


def pages(path: Path) -> str:
    """The address of a store's pages, now or once `view` is started."""
    if url := running_view(path):
        return url
    remembered = remembered_port(path)
    port = next((port for port in candidates(remembered) if not is_taken(port)), PORT)
    url = f"http://{HOST}:{port}"
    if port != remembered:
        with contextlib.suppress(OSError), open(address_file(path), "w", encoding="ascii", opener=private) as file:
            file.write(url)
    return url


def serve_pages(path: Path, port: int | None, **switches: Any) -> Any:
    """Serve a store at `port`, else at the port that its links name, else at the next free one."""
    if port is not None:
        return start(path, port, **switches)
    for candidate in candidates(remembered_port(path)):
        if not is_taken(candidate):
            return start(path, candidate, **switches)
    return start(path, 0, **switches)


def candidates(first: int | None) -> list[int]:
    return [*([first] if first else []), *range(PORT, PORT + PORTS)]


def is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def address_file(path: Path) -> Path:
    return path.with_name("view.url")


def private(path: str, flags: int) -> int:
    """Open a file, which others on this machine cannot read if it is new."""
    return os.open(path, flags, 0o600)


def remembered_port(path: Path) -> int | None:
    """The port in earlier links to the pages of a store."""
    with contextlib.suppress(OSError, ValueError):
        return urlsplit(address_file(path).read_text(encoding="ascii")).port
    return None


def running_view(path: Path) -> str | None:
    """The address at which `view` serves this store now; None if it does not."""
    with contextlib.suppress(OSError), open(address_file(path), encoding="ascii") as file:
        if not lock(file, exclusive=False):
            return file.read().strip() or None
    return None


@contextlib.contextmanager
def leave_address(path: Path, url: str) -> Iterator[None]:
    """Let others find the pages at `url` while the context lasts, unless another `view` already serves this store."""
    with open(address_file(path), "a+", encoding="ascii", opener=private) as file:
        tries = 10  # somebody may be reading it
        while not (is_ours := lock(file, exclusive=True)) and (tries := tries - 1):
            time.sleep(0.01)
        if is_ours:
            file.truncate(0)
            file.write(url)
            file.flush()
        yield


def lock(file: IO[str], *, exclusive: bool) -> bool:
    """Take a lock that ends with the file or the process; False if another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
