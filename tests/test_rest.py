"""Settings, links, retries, refusals and fallbacks of the HTTP calls."""

import json
import logging
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import responses

import rest
from langsmith_rest import connection
from langsmith_rest.evaluation.api import create_feedback

KEY = "lsv2_pt_0123456789abcdef"
URL = "https://api.smith.langchain.com"
DATASET = {"id": "26d0b944-a286-4a7f-bb5f-3d86268ecc45", "name": "capitals", "tenant_id": "t"}
SESSION_ID = "c6f8da3e-abe1-4f58-83e0-a813bdc2ae99"
RUN_ID = "01a0239a-9bcb-7c97-8b21-5eea9a79a094"
START = datetime(2026, 8, 21, tzinfo=UTC)
FEEDBACK = [
    {"id": f"63d2e490-85ef-4430-ad03-8db4de38378{n}", "run_id": RUN_ID, "trace_id": RUN_ID, "key": "ä", "score": n}
    for n in range(2)
]


@pytest.fixture(autouse=True)
def quick(nothing_set, monkeypatch):
    """Every test starts with nothing set, and repeats requests soon."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)


@pytest.fixture
def http():
    """Answer only what a test announces; complain about calls never made."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def api():
    return connection.connect(URL, KEY)


@pytest.fixture
def scripted():
    """A real HTTP server that gives the answers put into `.answers`, then 200 and []; `.seen` are the requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.seen.append((self.command, self.path, dict(self.headers), body))
            status, headers, text = server.answers.pop(0) if server.answers else (200, {}, "[]")
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())
            self.close_connection = "Content-Length" in headers

        do_GET = do_POST = do_PATCH = do_CONNECT = answer

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.seen, server.url = [], [], f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def write_env(**values):
    with open(".env", "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())


# ---------------------------------------------------------------- settings


def test_key_of_the_environment_comes_before_that_of_the_file(monkeypatch):
    """Whoever sets a variable for one command means it."""
    write_env(LANGSMITH_API_KEY="from-file", LANGSMITH_ENDPOINT="https://eu.api.smith.langchain.com")
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)

    api = connection.connect()

    assert api.session.headers["x-api-key"] == KEY
    assert api.url == "https://eu.api.smith.langchain.com"


def test_langchain_names_are_fallbacks(monkeypatch):
    """Both name families work, and the message names the one that was used."""
    monkeypatch.setenv("LANGCHAIN_API_KEY", "older")
    monkeypatch.setenv("LANGCHAIN_WORKSPACE_ID", "older")
    monkeypatch.setenv("LANGSMITH_WORKSPACE_ID", "newer")

    api = connection.connect()

    assert (api.session.headers["x-api-key"], api.key_source) == ("older", "LANGCHAIN_API_KEY")
    assert api.session.headers["X-Tenant-Id"] == "newer"


@pytest.mark.parametrize("empty", ["", "  ", '""'])
def test_empty_setting_is_not_set(monkeypatch, empty):
    """An empty variable hides neither the other name nor the file."""
    monkeypatch.setenv("LANGSMITH_API_KEY", empty)
    write_env(LANGCHAIN_API_KEY=KEY)

    assert connection.connect().session.headers["x-api-key"] == KEY
    assert "X-Tenant-Id" not in connection.connect().session.headers


@pytest.mark.parametrize("pasted", ["{}\n", ' "{}" ', "'{}'", "\t{}\r\n"])
def test_settings_lose_what_came_along_when_they_were_copied(monkeypatch, pasted):
    """Blanks, quotes and line ends are never part of them."""
    monkeypatch.setenv("LANGSMITH_API_KEY", pasted.format(KEY))
    monkeypatch.setenv("LANGSMITH_WORKSPACE_ID", pasted.format("w"))
    monkeypatch.setenv("LANGSMITH_ENDPOINT", pasted.format("https://host/api/v1/"))

    from_environment = connection.connect()
    from_arguments = connection.connect(pasted.format("https://host/api/v1/"), pasted.format(KEY), pasted.format("w"))

    for api in (from_environment, from_arguments):
        assert api.url == "https://host/api/v1"
        assert (api.session.headers["x-api-key"], api.session.headers["X-Tenant-Id"]) == (KEY, "w")


def test_arguments_come_first(monkeypatch):
    """What is passed needs no environment."""
    monkeypatch.setenv("LANGSMITH_API_KEY", "other")

    api = connection.connect("https://host", KEY, "w")

    assert (api.session.headers["x-api-key"], api.key_source) == (KEY, "the argument api_key")


def test_missing_key_names_both_ways_out():
    """A key, or a store on this machine."""
    with pytest.raises(connection.SetupError) as caught:
        connection.connect()

    for word in ("LANGSMITH_API_KEY is not set", ".env", "LANGSMITH_ENDPOINT=local"):
        assert word in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1984", "localhost", "[::1]:80"])
def test_endpoint_on_this_machine_needs_no_key(host):
    """And the key may go to it over plain http."""
    assert connection.connect(f"http://{host}").url == f"http://{host}"
    assert connection.connect(f"http://{host}", KEY).session.headers["x-api-key"] == KEY


@pytest.mark.parametrize("host", ["langsmith.example", "127.0.0.1.example", "10.0.0.1", "localhost.example/127.0.0.1"])
@pytest.mark.parametrize("allowed", ["", "0", "1"])
def test_key_goes_over_plain_http_only_where_allowed(monkeypatch, host, allowed):
    """To another machine anybody could read it on the way."""
    monkeypatch.setenv("LANGSMITH_ALLOW_HTTP", allowed)

    if allowed == "1":
        assert connection.connect(f"http://{host}", KEY).url == f"http://{host}"
        return
    with pytest.raises(connection.SetupError, match="unencrypted: use https, or set LANGSMITH_ALLOW_HTTP=1") as caught:
        connection.connect(f"http://{host}", KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "api.smith.langchain.com",
        "ftp://host",
        "https://",
        "https://user:secret@host",
        "https://:secret@host",
        "https://host?key=secret",
        "https://host#secret",
        "https://host/a b",
        "https://[::1",
        "https://host:port",
        "http://127.0.0.1\\@evil.example",
        "https://ho\nst",
    ],
)
def test_endpoint_of_another_form_is_refused_unseen(endpoint):
    """It may hold a password, so it is not repeated."""
    with pytest.raises(connection.SetupError, match="The argument endpoint must look like https://HOST") as caught:
        connection.connect(endpoint, KEY)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "workspace_id", "name"),
    [
        ("secret\nx: y", None, "argument api_key"),
        ("sécret", None, "argument api_key"),
        (KEY, "a\r\nsecret", "WORKSPACE"),
        (KEY, "secret☃", "WORKSPACE"),
    ],
)
def test_setting_that_fits_in_no_header_is_refused_unseen(key, workspace_id, name):
    """The message says which, and does not repeat it."""
    with pytest.raises(
        connection.SetupError, match=f"{name}.* holds characters that no .* has: copy it again"
    ) as caught:
        connection.connect(URL, key, workspace_id)

    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("patience", ["soon", "-1", "1.2.3", "²", "inf"])
def test_patience_must_be_a_number(monkeypatch, patience):
    """The other setting with a form of its own."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", patience)

    with pytest.raises(connection.SetupError, match="LANGSMITH_PATIENCE_SECONDS is .*, expected a number of seconds"):
        connection.connect(URL, KEY)


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("endpoint", "base", "root", "web"),
    [
        (URL, URL, URL, "https://smith.langchain.com"),
        (f"{URL}/", URL, URL, "https://smith.langchain.com"),
        (f"{URL}/api/v1", f"{URL}/api/v1", URL, "https://smith.langchain.com"),
        *(
            (f"https://{region}.api.smith.langchain.com", *[f"https://{region}.api.smith.langchain.com"] * 2, web)
            for region, web in [(region, f"https://{region}.smith.langchain.com") for region in ("eu", "apac", "aws")]
        ),
        ("https://host/api", "https://host/api", "https://host", "https://host"),
        ("https://host/api/v1//", "https://host/api/v1", "https://host", "https://host"),
        ("https://host:8443/api", "https://host:8443/api", "https://host:8443", "https://host:8443"),
        ("https://host", "https://host", "https://host", "https://host"),
    ],
)
def test_endpoint_forms(http, endpoint, base, root, web):
    """v1 routes follow the endpoint as it is, v2 routes its root; pages are where people look."""
    api = connection.connect(endpoint, KEY)
    http.get(f"{base}/datasets", json=[])
    http.post(f"{root}/api/v2/runs/query", json={"items": [], "next_cursor": None})

    rest.find_dataset(api, "capitals")
    list(rest.list_run_ids(api, SESSION_ID, START))

    assert rest.experiment_url(api, DATASET, "s") == f"{web}/o/t/datasets/{DATASET['id']}/compare?selectedSessions=s"


def test_every_call_says_who_asks(http):
    """Key and workspace travel as headers."""
    http.get(f"{URL}/datasets", json=[])

    rest.find_dataset(connection.connect(URL, KEY, "w"), "capitals")

    headers = http.calls[0].request.headers
    assert headers["X-Tenant-Id"] == "w" and headers["User-Agent"] == "langsmith-rest"


@pytest.mark.parametrize("name", ["a&b=c", "a#b", "a/b", 'a"b', "a+b c", "日本 😀", "%41", "x" * 300])
def test_names_travel_in_the_query_unharmed(scripted, name):
    """Values are encoded by the HTTP library, never pasted into the address."""
    scripted.answers = [(200, {}, json.dumps([{"name": "other"}, {"name": name, "id": 1}]))]

    assert rest.find_dataset(connection.connect(scripted.url), name)["id"] == 1
    query = scripted.seen[0][1].partition("?")[2]
    assert dict(requests.compat.unquote_plus(pair).split("=", 1) for pair in query.split("&")) == {"name": name}


CALLS = {
    "find_dataset": lambda api: rest.find_dataset(api, "x"),
    "list_examples": lambda api: rest.list_examples(api, DATASET["id"], [RUN_ID]),
    "create_examples": lambda api: rest.create_examples(api, [b'{"dataset_id":"%s"}' % DATASET["id"].encode()]),
    "create_session": lambda api: rest.create_session(api, {"name": "x"}),
    "find_session": lambda api: rest.find_session(api, name="x"),
    "read_session": lambda api: rest.read_session(api, SESSION_ID),
    "close_session": lambda api: rest.close_session(api, SESSION_ID, START.isoformat()),
    "create_runs": lambda api: rest.create_runs(api, []),
    "list_run_ids": lambda api: list(rest.list_run_ids(api, SESSION_ID, START)),
    "list_feedback": lambda api: list(rest.list_feedback(api, [RUN_ID])),
    "create_feedback": lambda api: create_feedback(api, FEEDBACK),
    "update_feedback": lambda api: rest.update_feedback(api, FEEDBACK[0]),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_a_timeout_and_follows_no_redirect(http, api, name):
    """A silent server must not hang a recording; a redirect would take the key along."""
    api.session.get_adapter(URL).patience = 0
    for method in ("GET", "POST", "PATCH"):
        http.add(method, re.compile(f"{URL}/.*"), status=307, headers={"Location": "https://evil.example/x"})
    http.assert_all_requests_are_fired = False

    with pytest.raises(requests.HTTPError, match=r"answered 307: https://evil.example/x \(set LANGSMITH_ENDPOINT to"):
        CALLS[name](api)

    [call] = http.calls
    assert call.request.req_kwargs["timeout"] == (10, 60)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, '{"detail":"Resource not found"}', "Resource not found"),
        (422, '{"detail":[{"loc":["body","key"],"msg":"field required"}]}', '[{"loc": ["body", "key"], "msg": "field'),
        (400, '{"error":"Bad request: invalid \'dotted_order\'"}\n', "Bad request: invalid 'dotted_order'"),
        (413, "<html>\n413 Too Large\n</html>\n", "<html>\n413 Too Large\n</html>"),
        (422, '{"type":"x","title":"Bad","status":422,"detail":"page_size too big"}', "page_size too big"),
        (400, '{"type":"about:blank","title":"Bad"}', '{"type": "about:blank", "title": "Bad"}'),
        (400, "[1]", "[1]"),
        (400, "null", "null"),
        (400, '"text"', '"text"'),
        (400, "", ""),
        (400, "x" * 10_000, "x" * 500),
        (400, json.dumps({"detail": "y" * 10_000}), "y" * 500),
        (400, "caf\udce9", "caf\ufffd"),
    ],
)
def test_refusal_repeats_the_servers_words(http, api, status, body, words):
    """All error families of LangSmith, and what stands before it."""
    http.get(f"{URL}/datasets", status=status, body=body.encode(errors="surrogateescape"))

    with pytest.raises(requests.HTTPError) as caught:
        rest.find_dataset(api, "capitals")

    message = str(caught.value)
    assert message.startswith(f"GET /datasets answered {status}: {words}") and len(message) < 600
    assert caught.value.response.status_code == status


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_named_by_its_variable(monkeypatch, http, status):
    """The message says which key was used, and what to check."""
    monkeypatch.setenv("LANGCHAIN_API_KEY", KEY)
    http.get(f"{URL}/datasets", status=status, json={"error": "Forbidden"})

    with pytest.raises(requests.HTTPError) as caught:
        rest.find_dataset(connection.connect(), "capitals")

    for word in ("Forbidden", "LANGCHAIN_API_KEY", URL, "region", "LANGSMITH_WORKSPACE_ID"):
        assert word in str(caught.value)


@pytest.mark.parametrize("body", ["<html>login</html>", "", "login", "{"])
def test_answer_that_is_not_json_points_at_the_endpoint(monkeypatch, http, body):
    """A web page at the address of the API is the usual cause; an empty answer is none at all."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")  # what is cut short may be whole the next time
    api = connection.connect(URL, KEY)
    http.get(f"{URL}/examples", body=body)

    if not body:
        assert rest.list_examples(api, RUN_ID, []) is None
        return
    with pytest.raises(
        requests.HTTPError, match=f"GET /examples answered something that is not JSON: is {URL} the address of the API"
    ):
        rest.list_examples(api, RUN_ID, [])


@pytest.mark.parametrize("answer", [{}, None, {"ok": True}])
def test_server_that_is_no_langsmith_is_told_from_one(http, api, answer):
    """Many a server says 200 to everything."""
    http.get(f"{URL}/datasets", json=answer)

    with pytest.raises(connection.SetupError, match=f"{URL} answers, but not as LangSmith would"):
        rest.find_dataset(api, "capitals")


def texts_of(error):
    """Everything that an exception and what led to it could show."""
    while error:
        yield repr(error) + str(error) + repr(vars(error))
        for holder in (getattr(error, "request", None), getattr(error, "response", None)):
            if holder is not None:
                yield repr(vars(holder)) + repr(vars(getattr(holder, "request", None) or holder))
        error = error.__cause__ or error.__context__


def test_key_is_in_no_refusal(caplog, http, api):
    """Not in the message, not in the request of the response, not in the log; not even if the server repeats it."""
    caplog.set_level(logging.DEBUG)
    http.get(f"{URL}/datasets", status=500, headers={"Retry-After": "0"})
    http.get(f"{URL}/datasets", status=401, json={"detail": f"Invalid token {KEY}"})

    with pytest.raises(requests.HTTPError, match="Invalid token <key>") as caught:
        rest.find_dataset(api, "capitals")

    assert "x-api-key" not in caught.value.response.request.headers
    assert KEY not in str(caught.value) + caplog.text + repr(api) + str(api)


def test_key_is_in_no_connection_error(caplog, monkeypatch):
    """What the HTTP library raised holds the request, and with it the key."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.1")
    api = connection.connect("http://127.0.0.1:1", KEY)

    with pytest.raises(requests.ConnectionError, match="GET /datasets: no answer from http://127.0.0.1:1 ") as caught:
        rest.find_dataset(api, "capitals")

    assert KEY not in "".join(texts_of(caught.value)) + caplog.text


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_failure_is_repeated(scripted, status):
    """With the same request, whatever its method."""
    scripted.answers = [(status, {}, "{}"), (status, {}, "<html>"), (202, {}, "{}")]

    rest.create_runs(connection.connect(scripted.url), [b'{"id":"x"}'])

    assert len(scripted.seen) == 3 and len({body for *_, body in scripted.seen}) == 1


@pytest.mark.parametrize(
    "answer",
    [(None, {}, ""), (200, {"Content-Length": "9"}, "[]"), (200, {"Content-Length": None}, '[{"id": "4')],
    ids=["dropped", "cut short", "cut short without a length"],
)
def test_connection_that_breaks_is_repeated(scripted, answer):
    """Before the answer, and within it."""
    scripted.answers = [answer]

    assert rest.find_dataset(connection.connect(scripted.url), "x") is None
    assert len(scripted.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 501])
def test_lasting_failure_is_not_repeated(scripted, status):
    """It would fail again."""
    scripted.answers = [(status, {}, '{"detail":"no"}')]

    with pytest.raises(requests.HTTPError, match=f"{status}: no"):
        rest.find_dataset(connection.connect(scripted.url), "x")

    assert len(scripted.seen) == 1


@pytest.mark.parametrize(
    "body", ['{"error":"tenant exceeded usage limits: Monthly"}', '{"detail":"Monthly Usage limit"}']
)
def test_used_up_quota_is_not_repeated(scripted, body):
    """It looks like throttling, but lasts until the month ends."""
    scripted.answers = [(429, {"Retry-After": "1"}, body)]

    with pytest.raises(requests.HTTPError, match=r"(?i)usage limit"):
        rest.find_dataset(connection.connect(scripted.url), "x")

    assert len(scripted.seen) == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_server_says_how_long_to_wait(scripted, as_date):
    """In seconds, or as an HTTP date."""
    began = time.monotonic()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    scripted.answers = [(429, {"Retry-After": format_datetime(until, usegmt=True) if as_date else "1"}, "")]

    rest.find_dataset(connection.connect(scripted.url), "x")

    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize("wish", ["soon", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 1 Jan 99999 00:00:00 GMT"])
def test_wish_that_makes_no_sense_is_ignored(scripted, wish):
    """Then the pause is our own."""
    scripted.answers = [(503, {"Retry-After": wish}, "")]

    assert rest.find_dataset(connection.connect(scripted.url), "x") is None


def test_wait_beyond_the_patience_is_not_begun(scripted):
    """An hour of waiting is a failure now."""
    scripted.answers = [(429, {"Retry-After": "3600"}, '{"detail":"slow down"}')]

    with pytest.raises(requests.HTTPError, match="429: slow down"):
        rest.find_dataset(connection.connect(scripted.url), "x")


@pytest.mark.parametrize("fault", [(503, {}, '{"detail":"down"}'), (None, {}, "")], ids=["503", "dropped"])
def test_patience_ends(monkeypatch, scripted, fault):
    """With the last answer, or with the reason why there was none."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0.8")
    scripted.answers = [fault] * 100

    with pytest.raises(requests.RequestException, match=r"503: down|no answer from http.*(closed|aborted)"):
        rest.find_dataset(connection.connect(scripted.url), "x")

    assert 1 < len(scripted.seen) < 20


def test_long_wait_is_announced(monkeypatch, caplog, scripted):
    """Whoever watches learns why nothing happens."""
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: None)
    scripted.answers = [(429, {"Retry-After": "7"}, "")]

    rest.find_dataset(connection.connect(scripted.url, KEY), "x")

    assert caplog.messages == ["GET /datasets?name=x answered 429, trying again in 7 s"]


def test_wrong_certificate_is_not_repeated(monkeypatch, scripted):
    """It will not get better; here, the server does not even speak TLS."""
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "60")
    began = time.monotonic()

    with pytest.raises(requests.exceptions.SSLError, match="GET /datasets: no answer from https://127.0.0.1"):
        rest.find_dataset(connection.connect(scripted.url.replace("http:", "https:"), KEY), "x")

    assert time.monotonic() - began < 50


def test_connection_that_is_changed_is_followed(http, api):
    """What is prepared once is prepared again for another key, workspace or address; bodies never mix."""
    for url in (URL, "https://eu.api.smith.langchain.com"):
        http.post(f"{url}/runs/batch", status=202, json={})
    rest.create_runs(api, [b'{"id":"x"}'])
    api.session.headers.update({"x-api-key": "other", "X-Tenant-Id": "w"})
    rest.create_runs(api, [b'{"id":"xx"}'])
    rest.create_runs(replace(api, url="https://eu.api.smith.langchain.com"), [b'{"id":"xxx"}'])
    rest.create_runs(api, [b'{"id":"x"}'])

    sent = [(call.request.body, call.request.headers["Content-Length"], call.request.url) for call in http.calls]
    assert [body for body, *_ in sent] == [b'{"post":[{"id":"%b"}]}' % i for i in (b"x", b"xx", b"xxx", b"x")]
    assert all(len(body) == int(length) for body, length, _ in sent)
    assert [url.startswith(URL) for *_, url in sent] == [True, True, False, True]
    assert [call.request.headers.get("X-Tenant-Id") for call in http.calls] == [None, "w", "w", "w"]


def test_client_certificate_is_used(monkeypatch, api):
    """As a self-hosted LangSmith behind mutual TLS wants it."""
    seen = []
    answer = requests.Response()
    answer.status_code, answer.request, answer._content = 200, requests.Request("GET", URL).prepare(), b"[]"
    answer.request.headers["x-api-key"] = KEY
    monkeypatch.setattr(connection.PatientAdapter, "send", lambda self, request, **how: seen.append(how) or answer)
    api.session.cert, api.session.verify = "client.pem", "ca.pem"

    rest.find_dataset(api, "x")

    assert (seen[0]["cert"], seen[0]["verify"]) == ("client.pem", "ca.pem")


# ---------------------------------------------------------------- proxies and certificates


def test_proxy_of_the_environment_is_used(monkeypatch, scripted):
    """The proxy gets the whole address for http ..."""
    monkeypatch.setenv("HTTP_PROXY", scripted.url)
    monkeypatch.setenv("LANGSMITH_ALLOW_HTTP", "1")

    rest.find_dataset(connection.connect("http://langsmith.example", KEY), "x")

    assert scripted.seen[0][:2] == ("GET", "http://langsmith.example/datasets?name=x")


def test_proxy_never_sees_the_key_of_a_secure_connection(monkeypatch, scripted):
    """... and nothing but the host for https."""
    monkeypatch.setenv("HTTPS_PROXY", scripted.url.replace("//", "//user:secret@"))
    monkeypatch.setenv("LANGSMITH_PATIENCE_SECONDS", "0")
    scripted.answers = [(502, {}, "")]

    with pytest.raises(requests.exceptions.ProxyError) as caught:
        rest.find_dataset(connection.connect("https://langsmith.example", KEY), "x")

    assert scripted.seen[0][:2] == ("CONNECT", "langsmith.example:443")
    assert KEY not in repr(scripted.seen) and "secret" not in str(caught.value)


def test_no_proxy_is_respected(monkeypatch, scripted):
    """A store on this machine is reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert rest.find_dataset(connection.connect(scripted.url), "x") is None


def test_own_certificates_are_respected(monkeypatch, tmp_path):
    """Companies inspect TLS with certificates of their own."""
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))

    assert connection.connect(URL, KEY).session.verify == str(bundle)


def test_netrc_does_not_replace_the_key(monkeypatch, tmp_path, scripted):
    """Nor does any other habit of the HTTP library send what nobody asked for."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    rest.find_dataset(connection.connect(scripted.url, KEY), "x")

    assert "Authorization" not in scripted.seen[0][2]


# ---------------------------------------------------------------- datasets, experiments, runs


def test_dataset_is_found_by_its_exact_name(http, api):
    """A server may give more than was asked for."""
    http.get(f"{URL}/datasets", json=[{"name": "capitals-eu"}, DATASET])

    assert rest.find_dataset(api, "capitals") == DATASET


def test_dataset_is_created_when_missing(http, api):
    http.post(f"{URL}/datasets", json=DATASET)

    assert rest.create_dataset(api, "capitals") == (DATASET, True)


def test_dataset_that_somebody_else_created_first_is_taken(http, api):
    """Two processes may start at once."""
    http.post(f"{URL}/datasets", status=409, json={"detail": "Dataset with this name already exists."})
    http.get(f"{URL}/datasets", json=[DATASET])

    assert rest.create_dataset(api, "capitals") == (DATASET, False)


@pytest.mark.parametrize(("status", "lookups"), [(409, 1), (422, 0)])
def test_dataset_that_cannot_be_created_is_an_error(http, api, status, lookups):
    """In the server's words; only a conflict is worth a second look."""
    for _ in range(lookups):
        http.get(f"{URL}/datasets", json=[])
    http.post(f"{URL}/datasets", status=status, json={"detail": "no"})

    with pytest.raises(requests.HTTPError, match=f"POST /datasets answered {status}: no"):
        rest.create_dataset(api, "capitals")


def test_runs_that_are_there_already_are_fine(http, api):
    """That is what a repetition gets."""
    http.post(f"{URL}/runs/batch", status=409, json={"error": "Conflict: payload already received"})

    rest.create_runs(api, [])


V2, V1 = f"{URL}/api/v2/runs/query", f"{URL}/runs/query"


def test_run_ids_are_read_page_by_page(http, api):
    """With v2, within bounds, because it looks back one day only if none are given."""
    http.post(V2, json={"items": [{"id": "a"}, {"id": "b"}], "next_cursor": "n"})
    http.post(V2, json={"items": [{"id": "c"}], "next_cursor": None})

    assert list(rest.list_run_ids(api, SESSION_ID, START)) == ["a", "b", "c"]
    first, second = (json.loads(call.request.body) for call in http.calls)
    assert first["is_root"] and "cursor" not in first and second == {**first, "cursor": "n"}
    assert first["min_start_time"] == "2026-08-20T23:55:00+00:00"


@pytest.mark.parametrize("answer", [{"status": 404}, {"status": 405}, {"status": 501}, {"body": "<html>"}], ids=str)
def test_server_without_v2_is_asked_with_v1_from_then_on(http, api, answer):
    """Self-hosted ones may be older; one wasted request per connection is enough."""
    http.post(V2, **answer)
    http.post(V1, json={"runs": [{"id": "a"}], "cursors": {"next": "n"}})
    http.post(V1, json={"runs": [{"id": "b"}], "cursors": None})
    http.post(V1, json={"runs": []})

    assert list(rest.list_run_ids(api, SESSION_ID, START)) == ["a", "b"]
    assert list(rest.list_run_ids(api, SESSION_ID, START)) == []
    assert [call.request.url for call in http.calls] == [V2, V1, V1, V1]
    first, second = (json.loads(call.request.body) for call in http.calls[1:3])
    assert first["is_root"] and second == {**first, "cursor": "n"}


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_refusal_of_v2_is_no_reason_to_try_v1(http, api, status):
    """It says that the question is wrong, not that the route is missing."""
    http.post(V2, status=status, json={"title": "Bad", "detail": "no"})

    with pytest.raises(requests.HTTPError, match=f"v2/runs/query answered {status}: no"):
        list(rest.list_run_ids(api, SESSION_ID, START))


def test_throttling_of_v2_is_no_reason_to_try_v1(http, api):
    """A 429 that outlasts the patience is reported as it is."""
    http.post(V2, status=429, headers={"Retry-After": "9999"}, json={"detail": "slow down"})

    with pytest.raises(requests.HTTPError, match="v2/runs/query answered 429: slow down"):
        list(rest.list_run_ids(api, SESSION_ID, START))


def test_refusal_of_both_is_that_of_v2(http, api):
    """And nothing is remembered, since nothing was learnt."""
    http.post(V2, status=404, json={"title": "x", "detail": "project not found"})
    http.post(V1, status=404, json={"detail": "Not Found"})

    with pytest.raises(requests.HTTPError, match="v2/runs/query answered 404: project not found"):
        list(rest.list_run_ids(api, SESSION_ID, START))
    assert api.missing == set()


# ---------------------------------------------------------------- feedback


def test_feedback_travels_in_one_request_of_parts_with_their_lengths(http, api):
    """LangSmith refuses parts whose length is not said; it counts bytes."""
    http.post(f"{URL}/runs/multipart", status=202)

    create_feedback(api, FEEDBACK)

    body = http.calls[0].request.body
    parts = re.findall(
        rb'name="feedback\.(.*?)"\r\nContent-Type: application/json; length=(\d+)\r\n\r\n(.*?)\r\n--', body
    )
    assert [json.loads(data) for _, _, data in parts] == FEEDBACK
    assert [(i.decode(), int(length)) for i, length, _ in parts] == [
        (item["id"], len(data)) for item, (_, _, data) in zip(FEEDBACK, parts, strict=True)
    ]


def test_feedback_that_is_there_already_is_fine(http, api):
    """Its ids are ours."""
    http.post(f"{URL}/runs/multipart", status=409, json={"error": "Conflict: payload already received"})

    create_feedback(api, FEEDBACK)


@pytest.mark.parametrize("status", [404, 405])
def test_server_without_multipart_gets_feedback_one_by_one_from_then_on(http, api, status):
    """What is there already is fine here, too."""
    http.post(f"{URL}/runs/multipart", status=status, json={"detail": "Not Found"})
    http.post(f"{URL}/feedback", json={})
    http.post(f"{URL}/feedback", status=409, json={"detail": "exists"})
    http.post(f"{URL}/feedback", json={})

    create_feedback(api, FEEDBACK)
    create_feedback(api, FEEDBACK[:1])

    assert [json.loads(call.request.body) for call in http.calls[1:]] == [*FEEDBACK, FEEDBACK[0]]


def test_refused_feedback_is_an_error(http, api):
    http.post(f"{URL}/runs/multipart", status=422, json={"error": "no"})

    with pytest.raises(requests.HTTPError, match="422: no"):
        create_feedback(api, FEEDBACK)


@pytest.mark.parametrize("failures", [2, 6])
def test_feedback_waits_until_its_run_is_stored(monkeypatch, http, api, failures):
    """Runs are queued; a 404 means not yet, but not forever."""
    pauses = []
    monkeypatch.setattr(connection.time, "sleep", pauses.append)
    api.missing.add("multipart")
    for _ in range(failures):
        http.post(f"{URL}/feedback", status=404, json={"detail": "Resource not found"})

    if failures == 6:
        with pytest.raises(requests.HTTPError, match="404: Resource not found"):
            create_feedback(api, FEEDBACK[:1])
    else:
        http.post(f"{URL}/feedback", json={})
        create_feedback(api, FEEDBACK[:1])

    assert pauses == [1, 2, 4, 8, 16][:failures]


def test_feedback_is_read_page_by_page(http, api):
    """By offset, until a page is not full."""
    http.get(f"{URL}/feedback", json=[{"id": n} for n in range(100)])
    http.get(f"{URL}/feedback", json=[{"id": 100}])

    assert [found["id"] for found in rest.list_feedback(api, [RUN_ID])] == list(range(101))
    assert [call.request.params["offset"] for call in http.calls] == ["0", "100"]


def test_changed_feedback_loses_what_it_no_longer_says(http, api):
    """Null takes a comment away."""
    http.patch(f"{URL}/feedback/{FEEDBACK[0]['id']}", json={})

    rest.update_feedback(api, FEEDBACK[0])

    assert json.loads(http.calls[0].request.body) == {"score": 0, "value": None, "comment": None}
