"""What an experiment says of the code that made it."""

import subprocess

import pytest

from langsmith_rest.evaluation.running.provenance import git_state, without_credentials


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:secret@example.com:8443/a/b.git", "https://example.com:8443/a/b.git"),
        ("https://token@example.com/a.git", "https://example.com/a.git"),
        ("git@example.com:a/b.git", "example.com:a/b.git"),
        ("/a/path", "/a/path"),
        ("https://example.com:port/", None),
    ],
)
def test_no_credentials_of_a_remote_are_recorded(remote, shown):
    """User, password and token are cut."""
    assert without_credentials(remote) == shown


def test_git_state(tmp_path, monkeypatch):
    """Commit, branch and dirty flag; nothing outside of git or without it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-b", "trunk"], ["add", "a"], [*who, "commit", "-m", "m"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    state = git_state()
    assert (len(state["commit"]), state["branch"], state["dirty"]) == (40, "trunk", False)
    (tmp_path / "a").write_text("2")
    assert git_state()["dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
