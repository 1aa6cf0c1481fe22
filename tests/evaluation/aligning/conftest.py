"""Fixtures of the tests that hold judges against people."""

import pytest

from langsmith_rest import connection
from langsmith_rest.commands import main


@pytest.fixture
def api(server):
    return connection.connect(server.url)


@pytest.fixture
def run(monkeypatch, server, capsys):
    """Run a command on the server of a test; returns its exit code and what it printed to stdout and stderr."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def run(*arguments):
        code = main.main(list(arguments))
        return code, *capsys.readouterr()

    return run
