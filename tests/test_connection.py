"""Test how a call gets through: where keys and traffic may go, what counts as an answer, and how long we wait."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import requests

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.connection import SetupError, connect, spans
from langsmith_rest.recording.bodies import parse_time
from recorder import record_langsmith_experiment

KEY = "lsv2_pt_0123456789abcdef"
RUN = "01a227ca-8b8e-7010-9f93-f2bb310e252c"


@contextmanager
def raw_server(answer, keeps_open=False):
    """A server that sends these bytes for every request; yields its URL and the first lines of what it got."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen = []

        def serve():
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    seen.append(client.recv(65536).decode(errors="replace"))
                    for piece in answer if isinstance(answer, list) else [answer]:
                        time.sleep(0.2 if isinstance(answer, list) else 0)
                        try:
                            client.sendall(piece)
                        except OSError:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen


# ---------------------------------------------------------------- where traffic and keys go


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_traffic_to_this_machine_passes_no_proxy(nothing_set, monkeypatch, tmp_path, name):
    """A company's proxy sees neither the results nor the key; no NO_PROXY is needed."""
    with raw_server(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as (proxy, seen):
        monkeypatch.setenv(name, proxy)
        with localsmith.serve(tmp_path / "localsmith.db") as server:
            api = connect(server.url, KEY)
            recording = record_langsmith_experiment("d", [{"inputs": {}, "outputs": {}}], langsmith=api)

    assert recording.runs_recorded == 1 and seen == []


def test_other_traffic_goes_through_the_proxy(nothing_set, monkeypatch):
    """As `requests` does it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    assert connect("https://api.smith.langchain.com", KEY).session.proxies["https"] == "http://127.0.0.1:9"


def test_a_judge_on_this_machine_is_asked_without_a_proxy(nothing_set, monkeypatch):
    """Its key stays here, too."""
    from langsmith_rest.evaluation.evaluators import model_server

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert model_server.connect("http://127.0.0.1:11434/v1", KEY, cache=None).session.proxies == {}


def test_a_dot_env_above_may_not_send_the_environments_key_elsewhere(nothing_set, monkeypatch, tmp_path):
    """Key and endpoint belong together; the message names the file."""
    (tmp_path / ".env").write_text("LANGSMITH_ENDPOINT=https://evil.example\n")
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)

    with pytest.raises(SetupError, match=r"\.env would send the environment's key to https://evil\.example") as caught:
        connect()

    assert str(tmp_path) in str(caught.value) and KEY not in str(caught.value)


def test_only_the_endpoint_in_use_confirms_a_dot_env_above(nothing_set, monkeypatch, tmp_path):
    """LANGCHAIN_ENDPOINT of the environment is not used where the file has LANGSMITH_ENDPOINT."""
    (tmp_path / ".env").write_text("LANGSMITH_ENDPOINT=https://evil.example\n")
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    monkeypatch.setenv("LANGCHAIN_ENDPOINT", "https://eu.api.smith.langchain.com")

    with pytest.raises(SetupError, match="would send the environment's key to https://evil"):
        connect()


@pytest.mark.parametrize("name", ["LANGSMITH_API_KEY", "LANGSMITH_WORKSPACE_ID"])
def test_a_dot_env_above_may_not_weave_in_the_environments_key(nothing_set, monkeypatch, tmp_path, name):
    """Its own key beside it makes no difference: a variable that it names may hold any other."""
    lines = ["LANGSMITH_ENDPOINT=https://evil.example", "LANGSMITH_API_KEY=own", f"{name}=x${{LANGCHAIN_API_KEY}}"]
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("LANGCHAIN_API_KEY", KEY)

    with pytest.raises(SetupError, match="would send the environment's key to https://evil"):
        connect()


@pytest.mark.parametrize("own", ["here", "both in it", "said twice", "loopback"])
def test_a_dot_env_that_means_it_is_followed(nothing_set, monkeypatch, tmp_path, own):
    """In this folder, with a key of its own, confirmed by the environment, or leading to this machine."""
    endpoint = "http://127.0.0.1:1984" if own == "loopback" else "https://eu.api.smith.langchain.com"
    folder = tmp_path / "work" if own == "here" else tmp_path
    key = f"LANGSMITH_API_KEY={KEY}\n" if own == "both in it" else ""
    (folder / ".env").write_text(f"LANGSMITH_ENDPOINT={endpoint}\n{key}")
    if own != "both in it":
        monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    if own == "said twice":
        monkeypatch.setenv("LANGSMITH_ENDPOINT", endpoint)

    assert connect().url == endpoint


def test_a_dot_env_above_may_name_the_local_store(nothing_set, monkeypatch, tmp_path):
    """The key of the environment stays here."""
    (tmp_path / ".env").write_text("LANGSMITH_ENDPOINT=local\n")
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)

    api = connect()

    assert connection.is_loopback(api.url) and api.session.headers["x-api-key"] == "no-key"


def test_a_dot_env_that_is_not_utf_8_is_named(nothing_set, tmp_path):
    (tmp_path / "work" / ".env").write_bytes(b"LANGSMITH_API_KEY=\xff\xfe\n")

    with pytest.raises(SetupError, match=r"\.env is not UTF-8: save it as UTF-8"):
        connect()


# ---------------------------------------------------------------- what counts as an answer


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 200 {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n",
        f"HTTP/1.1 {KEY}\r\n\r\n",
        f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(KEY)}\r\n\r\n{KEY}",
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(KEY)}\r\n\r\n{KEY}",
    ],
    ids=["chunk header", "status line", "body", "page"],
)
def test_a_key_that_is_echoed_gets_into_no_exception(nothing_set, monkeypatch, answer):
    """Neither into its text nor into what it holds."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.1")
    with raw_server(answer.encode()) as (url, _), pytest.raises(requests.RequestException) as caught:
        rest.find_dataset(connect(url, KEY), "d")

    error = caught.value
    while error:
        assert KEY not in str(error) and KEY not in repr(getattr(error, "request", None) and error.request.headers)
        error = error.__cause__ or error.__context__


def test_an_answer_that_trickles_in_ends(nothing_set, monkeypatch):
    """A byte now and then keeps no timeout from being reached."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.2")
    monkeypatch.setattr(connection, "TIMEOUT", (0.5, 60))
    drops = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b" "] * 100]

    with raw_server(drops) as (url, _), pytest.raises(requests.RequestException, match="the answer came too slowly"):
        rest.find_dataset(connect(url), "d")


def test_nobody_at_an_address_of_this_machine_is_told_at_once(nothing_set):
    """With the address and the command that starts the store, before any patience."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    began = time.monotonic()

    with pytest.raises(requests.ConnectionError, match=f"{url}.* is it running.* view. starts the local store"):
        rest.find_dataset(connect(url), "d")

    assert time.monotonic() - began < connection.PATIENCE / 4


def test_nobody_is_told_in_any_language(nothing_set, monkeypatch):
    """Windows says in its user's language that a connection was refused."""

    def refuse(*_, **__):
        raise ConnectionRefusedError(10061, "Es konnte keine Verbindung hergestellt werden")

    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)

    with pytest.raises(requests.ConnectionError, match="keine Verbindung.* is it running"):
        rest.find_dataset(connect("http://127.0.0.1:9"), "d")


@pytest.mark.slow
def test_a_server_that_goes_away_for_a_while_is_waited_for(nothing_set, tmp_path):
    """Once it has answered, a refused connection is an outage."""
    with localsmith.serve(tmp_path / "localsmith.db") as server:
        api, port = connect(server.url), server.port
        rest.find_dataset(api, "d")

    restarted = []

    def restart():
        time.sleep(0.5)
        restarted.append(localsmith.serve(tmp_path / "localsmith.db", port))

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        assert rest.find_dataset(api, "d") is None
    finally:
        thread.join()
        restarted[0].close()


# ---------------------------------------------------------------- pages, and API generations


def test_queries_ask_for_at_most_400_days():
    """v2 refuses more than 401; the pieces leave no gap."""
    start, end = parse_time("2020-01-01"), parse_time("2026-11-29")

    pieces = list(spans(start, end))

    assert pieces[0][0] == start and pieces[-1][1] == end
    assert all((last - first).days <= 400 for first, last in pieces)
    assert all(a[1] == b[0] for a, b in zip(pieces, pieces[1:], strict=False))


@pytest.mark.parametrize("status", [404, 405, 410, 501])
@pytest.mark.parametrize("gone", ["v1", "v2"])
def test_either_generation_of_session_calls_will_do(api_of, status, gone):
    """Whichever a server has; what it lacks is not asked again."""
    api, calls = api_of(gone, status)

    for _ in range(2):
        assert rest.read_session(api, "s")["id"] == "s"
    rest.close_session(api, "s", "2026-08-21T09:15:30+00:00")

    lacking = [path for path in calls if ("/api/v2/" in path) == (gone == "v2")]
    assert len(lacking) == (1 if gone == "v1" else 0)


def test_a_missing_session_is_missing_in_both(api_of):
    """A 404 of every generation is the answer, and nothing is taken for lacking."""
    api, _ = api_of("both", 404)

    with pytest.raises(requests.HTTPError, match="404"):
        rest.read_session(api, "s")

    assert api.missing == set()


@pytest.fixture
def api_of(monkeypatch):
    """A LangSmith of which a generation is gone, and the paths that were asked for."""
    import responses

    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
    mock = responses.RequestsMock(assert_all_requests_are_fired=False)

    def make(gone, status):
        for generation, path in (("v1", "/sessions/s"), ("v2", "/api/v2/sessions/s")):
            is_gone = gone in (generation, "both")
            for method in ("GET", "PATCH"):
                mock.add(method, f"https://x.example{path}", status=status if is_gone else 200, json={"id": "s"})
        return connect("https://x.example", KEY), Paths(mock.calls)

    with mock:
        yield make


class Paths(list):
    def __init__(self, calls):
        self.calls = calls

    def __iter__(self):
        return iter([call.request.path_url for call in self.calls])


def test_feedback_of_a_server_that_ignores_the_offset_ends(api_of):
    """It would be read for ever."""
    import responses

    page = [{"id": str(n)} for n in range(100)]
    with responses.RequestsMock() as mock:
        mock.get("https://x.example/feedback", json=page)
        assert len(list(rest.list_feedback(connect("https://x.example", KEY), [RUN]))) == 100


def test_runs_of_a_server_that_repeats_its_cursor_end():
    """Likewise."""
    import responses

    with responses.RequestsMock() as mock:
        mock.post("https://x.example/api/v2/runs/query", json={"items": [{"id": "r"}], "next_cursor": "again"})
        api = connect("https://x.example", KEY)
        start = parse_time("2026-11-01")
        assert list(rest.list_run_ids(api, RUN, start)) == ["r", "r"]
