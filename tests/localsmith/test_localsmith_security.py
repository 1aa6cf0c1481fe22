"""Hostile requests: other sites, missing keys, injections, oversized and broken bodies."""

import gzip
import json
import socket
import threading

import pytest
from localsmith_api import Api, new_id, run

import localsmith.api
import localsmith.wire

HOSTILE = [
    "'; DROP TABLE runs; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%00",
    "\x00",
    "\U0001f4a5é",
]


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:1984"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_only_local_and_same_origin_requests_are_answered(api, headers, status):
    """DNS rebinding and requests that other sites make a browser send end at the door."""
    assert api.session.get(f"{api.url}/sessions", headers=headers).status_code == status


def test_own_origin_is_answered(api):
    assert api.session.get(f"{api.url}/sessions", headers={"Origin": api.url}).status_code == 200


def test_cross_site_post_is_refused_even_as_a_navigation(api):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}

    response = api.session.post(f"{api.url}/datasets", json={"name": "planted"}, headers=headers)

    assert response.status_code == 403
    assert api.get("/datasets") == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/sessions", "detail"),
        ("/v1/platform/evaluators", "error"),
    ],
)
@pytest.mark.parametrize("key", [None, ""])
def test_api_needs_a_key(api, path, field, key):
    """LangSmith's words, and what to do; any key will do."""
    response = api.session.get(f"{api.url}{path}", headers={"x-api-key": key})

    assert response.status_code == 401
    assert response.json()[field].startswith("Invalid token: send a header x-api-key")
    assert api.session.get(f"{api.url}{path}", headers={"x-api-key": "any"}).status_code == 200


def test_info_needs_no_key_and_every_answer_has_the_headers(api):
    for path in ("/info", "/nothing"):
        response = api.session.get(f"{api.url}{path}", headers={"x-api-key": None})

        assert response.status_code in (200, 404)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Server" not in response.headers


def test_server_listens_on_loopback_only(server):
    """Another address of this machine finds nothing on the port."""
    address = server._listener.getsockname()[0]

    assert address == "127.0.0.1"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_stored_and_found_as_text(api, text):
    """Whatever a field holds, it is a value: in names, keys, filters, paths and queries."""
    dataset = api.dataset(text)
    session = api.experiment(dataset, text)
    api.runs([run(session, name=text, outputs={text: text}, tags=[text])])
    api.post("/feedback", {"session_id": session, "key": text, "value": text})

    assert [one["id"] for one in api.get("/datasets", name=text)] == [dataset]
    assert [one["id"] for one in api.get("/sessions", name_contains=text)] == [session]
    assert len(api.query(session, filter=f"eq(name, {json.dumps(text, ensure_ascii=False)})")) == 1
    assert api.get("/feedback", key=text)[0]["value"] == text
    sort = {"by": text, "order": "ASC"}
    assert (
        api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {"experiment_ids": [session], "sort": sort})["items"]
        == []
    )


@pytest.mark.parametrize("path", ["/datasets/{}", "/runs/{}", "/api/v2/runs/{}", "/attachments/{}", "/feedback/{}"])
@pytest.mark.parametrize("text", ["..%2f..%2fetc%2fpasswd", "%00", "1%27%20OR%201=1", "x" * 3000])
def test_hostile_paths_are_refused(api, path, text):
    response = api.session.get(api.url + path.format(text), params={"project_id": new_id()})

    assert response.status_code in (400, 404, 422)
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "text",
    [
        "has(metadata, '{" + ",".join(f'"k{i}": 1' for i in range(1500)) + "}')",
        'search("' + "\U0001f4a5" * 15_000 + '")',
        "and(" + ",".join(['search("x")'] * 390) + ")",
    ],
    ids=["many keys", "long pattern", "many searches"],
)
def test_queries_beyond_the_databases_limits_are_400(api, text):
    session = api.experiment()

    response = api.send("POST", "/runs/query", json={"session": [session], "filter": text})

    assert response.status_code in (200, 400)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00"])
def test_times_outside_the_calendar_are_refused(api, moment):
    response = api.send("POST", "/sessions", json={"name": "x", "start_time": moment})

    assert response.status_code == 422
    assert api.get("/sessions") == []


@pytest.mark.parametrize("params", [{"sort_by": "id; DROP TABLE runs"}, {"sort_by": "password"}])
def test_sort_columns_are_a_list(api, params):
    assert api.send("GET", "/sessions", params=params).status_code == 422
    assert api.send("GET", "/datasets", params=params).status_code == 422


def test_too_large_bodies_are_refused(api):
    """20 MB of JSON is the limit of a batch; the answer is JSON."""
    body = b'{"post": ["' + b"x" * localsmith.wire.MAX_JSON_BYTES + b'"]}'

    response = api.session.post(f"{api.url}/runs/batch", data=body)

    assert response.status_code == 413
    assert "20971520" in response.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"post": 1}', b'{"post": [1]}', b'{"post": [NaN]}']
)
def test_broken_bodies_are_refused_in_json(api, body):
    for path, field in (("/runs/batch", "error"), ("/datasets", "detail"), ("/api/v2/runs/query", "detail")):
        response = api.session.post(f"{api.url}{path}", data=body)

        assert response.status_code in (400, 422)
        assert field in response.json()


@pytest.mark.parametrize("text", [r'"\ud800"', "1e999", "1" * 30, "-Infinity"])
def test_json_that_others_cannot_read_is_refused(api, text):
    """Lone surrogates, infinities and huge integers never reach the store."""
    body = '{"name": "x", "extra": {"metadata": {"k": TEXT}}}'.replace("TEXT", text)

    response = api.session.post(f"{api.url}/datasets", data=body)

    assert response.status_code == 422
    assert api.get("/datasets") == []


def test_unforeseen_errors_show_no_traceback(server, monkeypatch, caplog):
    """The client reads one sentence, the log has the rest."""
    store = server.app.state.store
    monkeypatch.setattr(store, "read", lambda: 1 / 0)

    response = Api(server.url).session.get(f"{server.url}/sessions")

    assert (response.status_code, response.json()) == (500, {"detail": "Internal server error: see the server's log"})
    assert "ZeroDivisionError" in caplog.text


def raw(server, request):
    """Send bytes as they are; return what comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /info HTTP/1.1\r\n\r\n",
        b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["garbage", "no host", "negative length", "both lengths", "long line"],
)
def test_server_survives_broken_http(server, request_bytes):
    answer = raw(server, request_bytes)

    assert b"Traceback" not in answer
    assert answer == b"" or int(answer.split()[1]) >= 400
    assert Api(server.url).get("/info")["version"]


def test_slow_readers_do_not_block_others(server):
    """Connections that send nothing hold no worker."""
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for one in idle:
        one.sendall(b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")

    assert Api(server.url).get("/info")["version"]
    for one in idle:
        one.close()


def test_threads_end_with_the_server(tmp_path):
    """A closed server leaves no thread and no open file behind."""
    before = threading.active_count()

    with localsmith.serve(tmp_path / "x.db") as server:
        Api(server.url).get("/info")

    assert threading.active_count() == before
    assert not (tmp_path / "x.db-wal").exists()


def test_many_empty_gzip_members_take_no_time(api):
    """Unpacking is linear in the body's length, and a body of more members than any client makes is refused."""
    member = gzip.compress(b"")
    body = member * 9_990 + gzip.compress(b'{"post": []}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}

    taken = api.session.post(f"{api.url}/runs/batch", data=body, headers=headers, timeout=10)
    refused = api.session.post(f"{api.url}/runs/batch", data=member * 400_000, headers=headers, timeout=10)

    assert (taken.status_code, refused.status_code) == (202, 400)
    assert "more than 10000 members" in refused.text
