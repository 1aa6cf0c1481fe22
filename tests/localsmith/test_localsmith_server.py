"""The server as a process on a machine with other users: readers that stall, files, tokens, signals."""

import ast
import functools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from localsmith_api import Api, new_id, run
from places import MAIN, ROOT

import localsmith
import localsmith.server
from langsmith_rest import connection, local
from langsmith_rest.evaluation.hosting import upload
from localsmith.app import create_app
from localsmith.pages.app import routed

CODE = "def perform_eval(run, example):\n    return {'score': 1}\n"


# Readers that stall


def ask_and_read_nothing(server, path):
    reader = socket.create_connection(("127.0.0.1", server.port))
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: any\r\n\r\n".encode())
    return reader


def ask_for(url):
    with requests.get(url, headers={"x-api-key": "any"}, timeout=60, stream=True) as answer:
        if answer.status_code != 200:
            assert answer.content  # read while it is open
    return answer


@pytest.fixture
def export(server):
    """The address of an export that is longer than what the server keeps ready."""
    api = Api(server.url)
    session = api.experiment()
    for _ in range(2):
        api.runs([run(session, outputs={"text": "x" * 900_000}) for _ in range(20)])
    tenant = api.get("/settings")["id"]
    return f"/o/{tenant}/projects/p/{session}/export.jsonl"


@pytest.mark.slow
def test_readers_that_stall_hold_nobody_up(server, export):
    """While 32 downloads are asked for and none is read, everything else is answered at once."""
    readers = [ask_and_read_nothing(server, export) for _ in range(32)]
    deadline = time.monotonic() + 60
    try:
        while (one_more := ask_for(server.url + export)).status_code == 200 and time.monotonic() < deadline:
            pass  # the server has not come to four of the others yet
        answers = [requests.get(f"{server.url}/info", timeout=60).status_code for _ in range(3)]
    finally:
        for reader in readers:
            reader.close()

    assert answers == [200] * 3
    assert (one_more.status_code, "try again" in one_more.text) == (503, True)
    assert one_more.headers["Retry-After"]


@pytest.mark.slow
def test_reader_that_takes_nothing_is_cut_off(server, export, monkeypatch):
    """After a minute, here a second: then there is room for another download."""
    monkeypatch.setattr(localsmith.server, "STALLED_SECONDS", 1)
    readers = [ask_and_read_nothing(server, export) for _ in range(4)]
    deadline = time.monotonic() + 60
    status = 503
    while status == 503 and time.monotonic() < deadline:
        time.sleep(0.5)
        with requests.get(server.url + export, headers={"x-api-key": "any"}, timeout=60) as answer:
            status, length = answer.status_code, len(answer.content)
    for reader in readers:
        reader.close()

    assert (status, length > 35_000_000) == (200, True)


# Files


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_store_is_its_owners_alone(tmp_path, umask):
    """Folder, database, log and token, from the first moment and whatever the umask."""
    before = os.umask(umask)
    try:
        with localsmith.serve(tmp_path / "new" / ".localsmith" / "localsmith.db", run_evaluators=True) as server:
            Api(server.url).dataset()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    finally:
        os.umask(before)

    assert modes.pop(".localsmith") == 0o700
    assert {"localsmith.db", "localsmith.db-wal", "localsmith.token"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")
def test_older_store_becomes_private(tmp_path):
    """What others could read is closed when it is opened; a folder of another name is left as it is."""
    folder = tmp_path / ".localsmith"
    for path in (folder / "localsmith.db", tmp_path / "other" / "lab.db"):
        localsmith.Store(path).close()
        path.chmod(0o644)
        path.parent.chmod(0o755)
        localsmith.Store(path).close()

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "localsmith.db", tmp_path / "other")]
    assert modes == [0o700, 0o600, 0o755]


# The token


def rule(dataset_id):
    return {"display_name": "one", "sampling_rate": 1, "dataset_id": dataset_id, "code_evaluators": [{"code": CODE}]}


def test_evaluators_are_uploaded_with_the_token_alone(tmp_path):
    """Where they are run, whoever reaches the port could else run code as the store's owner."""
    with localsmith.serve(tmp_path / "localsmith.db", run_evaluators=True) as server:
        api = Api(server.url)
        body = rule(api.dataset())
        evaluator = {"name": "e", "type": "code", "code_evaluator": {"code": CODE, "language": "python"}}
        known = api.send("POST", "/runs/rules", json=body, headers={"x-localsmith-token": server.token}).json()["id"]
        writes = [
            ("POST", "/runs/rules", body),
            ("PATCH", f"/runs/rules/{known}", body),
            ("DELETE", f"/runs/rules/{known}", None),
            ("POST", "/v1/platform/evaluators", evaluator),
            ("PATCH", f"/v1/platform/evaluators/{new_id()}", {}),
            ("DELETE", f"/v1/platform/evaluators/{new_id()}", None),
            ("DELETE", f"/v1/platform/evaluators?evaluator_ids={new_id()}", None),
        ]
        for token in ({}, {"x-localsmith-token": "no"}, {"x-localsmith-token": server.token + "x"}):
            for method, path, sent in writes:
                answer = api.session.request(method, server.url + path, json=sent, headers=token)
                assert (answer.status_code, "localsmith.token" in answer.text) == (403, True)
        assert [item["id"] for item in api.get("/runs/rules")] == [known]


def test_our_commands_find_the_token(tmp_path, nothing_set, monkeypatch):
    """In the store's folder, or in LOCALSMITH_TOKEN; it is sent to this machine only."""
    with localsmith.serve(local.database(), run_evaluators=True) as server:
        langsmith = connection.connect(server.url, "any")
        target = upload.Target("dataset", Api(server.url).dataset(), "capitals")

        _, how = upload.upload(langsmith, "one", target, upload.code_content(CODE))
        found = local.token_headers(server.url)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(requests.HTTPError, match="LOCALSMITH_TOKEN"):
            upload.upload(langsmith, "two", target, upload.code_content(CODE))
        monkeypatch.setenv("LOCALSMITH_TOKEN", server.token)
        upload.upload(langsmith, "two", target, upload.code_content(CODE))

    assert (how, found) == ("created", {"x-localsmith-token": server.token})
    assert local.token_headers("https://api.smith.langchain.com") == {}


def test_token_stays_and_is_no_file_of_others(tmp_path):
    """The next server takes the same one; a file that others can read or a link is refused."""
    tokens = []
    for _ in range(2):
        with localsmith.serve(tmp_path / "localsmith.db", run_evaluators=True) as server:
            tokens.append(server.token)
    with localsmith.serve(tmp_path / "localsmith.db") as server:
        assert server.token is None
    (tmp_path / "localsmith.token").chmod(0o644)

    with pytest.raises(localsmith.StoreError, match="not a file of yours alone"):
        localsmith.serve(tmp_path / "localsmith.db", run_evaluators=True)
    assert not (tmp_path / "localsmith.db-wal").exists()  # the store is closed again
    assert len(set(tokens)) == 1 and len(tokens[0]) > 40


# Signals


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))]
)
@pytest.mark.parametrize(
    "program",
    ["-m localsmith --db .localsmith/localsmith.db", pytest.param("{main} view", marks=pytest.mark.slow)],
    ids=["m", "view"],
)
def test_signals_to_end_close_the_store(tmp_path, nothing_set, number, program):
    """Ctrl-C, TERM and HUP alike: exit code 0, everything answered, and nothing left beside the database."""
    command = [sys.executable, *program.format(main=MAIN).split(), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    heard = functools.partial(signal.signal, number, signal.SIG_DFL)  # whoever runs the tests may ignore it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heard) as process:
        try:
            Api(process.stdout.readline().strip()).dataset()
            process.send_signal(number)
            assert process.wait(60) == 0
        finally:
            process.kill()

    left = {path.name for path in Path(".localsmith").iterdir()}
    assert left - {"view.url"} == {"localsmith.db"}


@pytest.mark.slow
def test_servers_made_at_once_parse_one_after_the_other(tmp_path, monkeypatch):
    """In Python 3.11, `ast.parse` in two threads at once can raise SystemError; werkzeug parses for each page."""
    parse, busy, overlaps = ast.parse, threading.Lock(), []

    def watched(*args, **kwargs):
        overlaps.append(not busy.acquire(blocking=False))
        try:
            time.sleep(0.0001)  # lets another thread go on
            return parse(*args, **kwargs)
        finally:
            if busy.locked():
                busy.release()

    monkeypatch.setattr(ast, "parse", watched)
    routed.cache_clear()  # as in a new process
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create_app, [tmp_path / f"{n}.db" for n in range(4)]))

    assert overlaps and not any(overlaps)
