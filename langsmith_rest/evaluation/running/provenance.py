"""Where an experiment comes from: the version of its data, the state of git, and its target."""

import functools
import hashlib
import inspect
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langsmith_rest.evaluation.running.data import splits_of

TARGET_HASH = "target_hash"  # in an experiment's metadata

GIT_SECONDS = 10


def provenance(examples: list[dict], splits: list[str] | None, repetitions: int) -> dict[str, Any]:
    """What an experiment's metadata says about its data and its code, under the names that LangSmith's SDK uses."""
    found: dict[str, Any] = {"num_repetitions": repetitions}
    if times := [example["modified_at"] for example in examples if example.get("modified_at")]:
        found["dataset_version"] = max(times)
    found["dataset_splits"] = splits or sorted({split for example in examples for split in splits_of(example)})
    if state := git_state():
        found |= {"git": state, "revision_id": state["commit"] + ("-dirty" if state.get("dirty") else "")}
    return found


def target_hash(target: Any) -> dict[str, str]:
    """What tells one target from another, and a file from its next version; empty without a file."""
    while isinstance(target, functools.partial):
        target = target.func
    named = target if hasattr(target, "__qualname__") else type(target)
    try:
        content = Path(inspect.getsourcefile(named) or "").read_bytes()
    except (OSError, TypeError):
        return {}
    return {TARGET_HASH: hashlib.sha256(named.__qualname__.encode() + b"\n" + content).hexdigest()[:8]}


def git_state() -> dict[str, Any] | None:
    """Commit, branch, remote (without credentials) and whether there are uncommitted changes; None outside of git."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    remote = git("remote", "get-url", "origin")
    branch = git("rev-parse", "--abbrev-ref", "HEAD")
    state = {"commit": commit, "commit_time": git("show", "-s", "--format=%cI", "HEAD"), "branch": branch}
    state |= {"remote_url": without_credentials(remote) if remote else None}
    found: dict[str, Any] = {name: value for name, value in state.items() if value}
    changes = git("status", "--porcelain", "--untracked-files=no")
    return found if changes is None else {**found, "dirty": bool(changes)}


def git(*arguments: str) -> str | None:
    """What git prints; None if it fails or takes too long."""
    try:
        found = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def without_credentials(remote: str) -> str | None:
    """A remote's address without user and password; None for one that cannot be read."""
    if "://" not in remote:
        return remote.rpartition("@")[2]  # git@host:path
    try:
        parts = urlsplit(remote)
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return None
    return f"{parts.scheme}://{host}{parts.path}"
