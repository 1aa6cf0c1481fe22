"""Fixtures shared by the tests."""

import pytest

import localsmith


@pytest.fixture
def server(tmp_path):
    """A real localsmith over an empty store; `.url` is where it answers."""
    with localsmith.serve(tmp_path / "localsmith.db") as server:
        yield server
