"""Fixtures of the tests of commands."""

import pytest
import requests

from langsmith_rest.commands import main


@pytest.fixture
def run(capsys):
    """Run main with arguments; returns its exit code and what it printed to stdout and stderr."""

    def run(*arguments):
        code = main.main(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def endpoint(monkeypatch, server):
    """Record in the real server of a test; returns a function that reads from it."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def read(path, **params):
        return requests.get(server.url + path, params=params, headers={"x-api-key": "any"}, timeout=60).json()

    return read


@pytest.fixture
def unreachable(monkeypatch):
    """An endpoint where every request fails at once."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
