"""Fixtures shared by the tests."""

import pytest
from sent import check_sent, official_contract

import localsmith
import rest


@pytest.fixture
def server(tmp_path):
    """A real localsmith over an empty store; `.url` is where it answers."""
    with localsmith.serve(tmp_path / "localsmith.db") as server:
        yield server


@pytest.fixture(autouse=True)
def sent(monkeypatch):
    """Hold every request of our client against the official contract where that is at hand; yields the operations."""
    found = set()
    send = rest.PatientAdapter.send

    def checked(adapter, request, *args, **kwargs):
        found.add(check_sent(request))
        return send(adapter, request, *args, **kwargs)

    if official_contract():
        monkeypatch.setattr(rest.PatientAdapter, "send", checked)
    return found
