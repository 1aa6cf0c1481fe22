"""The token that uploads of evaluators must carry, so that only users who can read the store have code executed."""

import os
import secrets
import stat
from pathlib import Path

from localsmith.store import StoreError

HEADER = "x-localsmith-token"


def token_path(db_path: Path) -> Path:
    return db_path.with_suffix(".token")


def read_or_make_token(db_path: Path) -> str:
    """Return the token beside the database, created at the first call; only the owner can read its file.

    Raises `StoreError` for a file that others could have written or read.
    """
    path = token_path(db_path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
    token = secrets.token_urlsafe(32)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def _read(path: Path) -> str:
    found = path.lstat()
    is_ours = os.name == "nt" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)
    if not stat.S_ISREG(found.st_mode) or not is_ours:
        raise StoreError(f"{path} is not a file of yours alone: remove it, and a new token is made.")
    token = path.read_text(encoding="ascii").strip()
    if len(token) < 32:
        raise StoreError(f"{path} holds no token: remove it, and a new one is made.")
    return token
