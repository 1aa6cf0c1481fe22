"""Opening the embedded store; `localsmith` is started here and nowhere else."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langsmith_rest.connection import SetupError

DATABASE = Path(".localsmith") / "localsmith.db"
PAGES = "http://127.0.0.1:1984"


def package() -> Any:
    """The package `localsmith`; raises SetupError where what it needs is not installed."""
    try:
        import localsmith
    except ImportError as error:
        needed = f"The local store needs {error.name}: install the extra 'local', or set LANGSMITH_API_KEY."
        raise SetupError(needed) from None
    return localsmith


@contextlib.contextmanager
def served(port: int, *, must_exist: bool = False, **switches: Any) -> Iterator[Any]:
    """Serve the local store at a port of this machine, 0 being any free one."""
    if must_exist and not DATABASE.exists():
        raise LookupError(f"There is no local store here ({DATABASE.absolute()}): go to the folder you recorded in.")
    localsmith = package()
    try:
        DATABASE.parent.mkdir(exist_ok=True)
    except OSError as error:
        folder = DATABASE.parent.absolute()
        raise SetupError(f"{folder} cannot be made ({error.strerror}): go to a folder you can write to.") from None
    try:
        server = localsmith.serve(DATABASE, port, **switches)
    except (localsmith.StoreError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not os.access(DATABASE.parent, os.W_OK):
            reason += f" Make its folder {DATABASE.parent} writable, too."
        raise SetupError(reason) from None
    with server:
        yield server
