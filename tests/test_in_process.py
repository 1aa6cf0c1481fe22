"""Test requests to a store of this process: they are answered as over HTTP, without a socket."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from command_line import OK, write
from places import ROOT
from requests.adapters import HTTPAdapter
from werkzeug.wsgi import ClosingIterator

import rest
from langsmith_rest import connection, in_process, local
from langsmith_rest.commands import main
from recorder import record_langsmith_experiment

pytestmark = pytest.mark.usefixtures("nothing_set")


def in_a_thread(work, *arguments, **named):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments, **named).result()


def connected(url, web):
    api = connection.connect(url, web=web)
    in_process.shorten(api.session, url)
    return api


def answer(adapter, method, url, **content):
    """What a request gets in a thread that is not the main one."""
    with requests.Session() as session:
        session.mount(url, adapter)
        content["headers"] = {"x-api-key": "any", **content.get("headers", {})}
        found = in_a_thread(session.request, method, url, timeout=60, **content)
    kept = {name: found.headers.get(name) for name in ("Content-Type", "Content-Length", "Deprecation", "Retry-After")}
    return found.status_code, found.reason.lower(), kept, found.content


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/info", {}),
        ("GET", "/datasets", {"params": {"name": "Größe & 100 %"}}),
        ("GET", "/attachments/%C3%A4", {}),
        ("GET", "/nowhere", {"headers": {"Accept": "text/html"}}),
        ("POST", "/datasets", {"json": {"name": 1}}),
        ("POST", "/runs/batch", {"data": b'{"post":[{}]}', "headers": connection.JSON}),
        ("POST", "/runs/multipart", {"files": [("feedback.1", (None, b"{}", "application/json; length=2"))]}),
        ("DELETE", "/runs/batch", {}),
    ],
)
def test_answer_is_the_one_over_http(method, path, content):
    """Status, headers and body are the same, and so are refusals."""
    with local.served() as (url, _):
        found = [answer(adapter, method, url + path, **content) for adapter in (HTTPAdapter(), in_process.Direct())]

    assert found[0] == found[1]


def test_main_thread_calls_nothing():
    """Ctrl-C reaches the main thread alone, which waits while another thread does the work of the server."""
    seen = []

    def application(environment, start_response):
        seen.append(threading.current_thread())
        return served(environment, start_response)

    with local.served() as (url, web):
        api = connected(url, web)
        served, local.applications[url] = local.applications[url], application
        rest.find_dataset(api, "none")
        in_a_thread(rest.find_dataset, api, "none")

    assert len(seen) == 2 and threading.main_thread() not in seen


def test_answer_cut_short_is_refused(monkeypatch):
    """As one that comes over HTTP."""

    def application(environment, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        return ClosingIterator([b'[{"id": '])

    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
    with local.served() as (url, web):
        api = connected(url, web)
        monkeypatch.setitem(local.applications, url, application)
        with pytest.raises(requests.HTTPError, match="GET /datasets answered something that is not JSON"):
            rest.find_dataset(api, "none")


def test_recording_uses_no_socket(monkeypatch):
    """Nothing that the command or a program sends is seen by the server's own threads."""
    seen = []
    send = HTTPAdapter.send
    monkeypatch.setattr(HTTPAdapter, "send", lambda *args, **how: seen.append(args[1].url) or send(*args, **how))

    assert main.main(["record", write("a.jsonl", OK)]) == 0
    assert record_langsmith_experiment("d", [{"inputs": {}, "outputs": {}}], langsmith=connection.connect("local")).url
    assert not seen


def test_closed_store_is_not_called():
    """Requests after the end are refused as those to any server that is gone."""
    with local.served() as (url, web):
        api = connected(url, web)

    with pytest.raises(requests.ConnectionError):
        in_a_thread(rest.find_dataset, api, "none")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_calls_nothing():
    """It would use the database's connections of the process that it was copied from."""
    code = """
import os
from langsmith_rest import local
with local.served():
    child = os.fork()
    if not child:
        os._exit(len(local.applications))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(local.applications))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "0 1\n", done.stderr
