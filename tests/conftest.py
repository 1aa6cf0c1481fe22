"""Fixtures shared by the tests."""

import gc
import os
import signal
import sys

import hypothesis
import pytest
from localsmith_api import FUZZ
from places import MAIN
from sent import check_sent, official_contract

import localsmith
from langsmith_rest import connection
from localsmith import store

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # tests in the background: their programs would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.dont_write_bytecode = False  # else each of the hundreds of programs that tests start would compile all of ours
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
gc.disable()  # until everything is collected

# How long an example takes says more of the machine than of our code; other examples are tried where more are wanted.
hypothesis.settings.register_profile(
    "tests",
    max_examples=FUZZ,
    deadline=None,
    derandomize="LOCALSMITH_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers():
    """Two more than there are cores: tests often wait for a program, a server or a browser."""
    return (yield) + 2


@pytest.hookimpl(trylast=True)  # when those that are not asked for are gone
def pytest_collection_modifyitems(items):
    """Each worker begins with what takes long: one with the ports, one with all pages in a browser, so that there is
    one browser, the others with other slow tests. What is quick comes last, and goes to whoever has time."""
    kinds = [[], [], [], []]
    for item in items:
        kinds[kind_of(item)].append(item)
    ports, browser, slow, quick = kinds
    slow.reverse()  # the longest are at the end: those that build and install the package
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    firsts = [ports, browser, *(slow[n :: max(workers - 2, 1)] for n in range(max(workers - 2, 1)))]
    left = len(items)
    items.clear()
    for number, first in enumerate(firsts):
        share = (left - len(items)) // (len(firsts) - number)  # of a worker
        count = max(share - len(first), 0)
        items += first + quick[:count]
        del quick[:count]
    items += quick


def kind_of(item):
    if item.path.name == "test_ports.py":
        return 0
    return 1 if "browser" in item.fixturenames else 2 if item.get_closest_marker("slow") else 3


def pytest_collection_finish():
    """What is imported and collected by now stays: to look for garbage in it is a tenth of what most tests take."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture
def server(tmp_path):
    """A real localsmith over an empty store; `.url` is where it answers."""
    with localsmith.serve(tmp_path / "localsmith.db") as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def quick_stores(tmp_path_factory):
    """New stores are copies of an empty one, and nothing waits for the disk: half of what most tests would take."""
    empty = tmp_path_factory.mktemp("empty") / "localsmith.db"
    store.Store(empty).close()
    made, prepare, connect = empty.read_bytes(), store._prepare, store._connect

    def copied(path):
        if not path.stat().st_size:
            path.write_bytes(made)
        return prepare(path)

    def hasty(path):
        db = connect(path)
        db.execute("PRAGMA synchronous = OFF")
        return db

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_prepare", copied)
        patch.setattr(store, "_connect", hasty)
        yield {"_prepare": prepare, "_connect": connect}


@pytest.fixture(autouse=True)
def sent(monkeypatch):
    """Hold every request of our client against the official contract where that is at hand; yields the operations."""
    found = set()
    send = connection.PatientAdapter.send

    def checked(adapter, request, *args, **kwargs):
        if not request.path_url.endswith("/chat/completions"):  # a judge's, to another server
            found.add(check_sent(request))
        return send(adapter, request, *args, **kwargs)

    if official_contract():
        monkeypatch.setattr(connection.PatientAdapter, "send", checked)
    return found


@pytest.fixture(autouse=True)
def typed_in_a_checkout(monkeypatch):
    """Commands are named as `uv run main.py` names them."""
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.setenv("UV", "uv")


@pytest.fixture(autouse=True)
def forgets_files(tmp_path_factory):
    """Files that a test has loaded by their path are forgotten: the next test may have others of the same name."""
    known, path = set(sys.modules), list(sys.path)
    folders = (str(tmp_path_factory.getbasetemp()), str(MAIN.parent / "fixtures"))
    yield
    for name in sys.modules.keys() - known:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(folders):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def nothing_set(monkeypatch, tmp_path):
    """An empty working directory, and an environment that says nothing about where to record."""
    for name in ("API_KEY", "ENDPOINT", "WORKSPACE_ID", "ALLOW_HTTP", "PATIENCE_SECONDS"):
        monkeypatch.delenv(f"LANGSMITH_{name}", raising=False)
        monkeypatch.delenv(f"LANGCHAIN_{name}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
