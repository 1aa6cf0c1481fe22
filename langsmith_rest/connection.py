"""How a call gets through: where it goes, with which key, how long we try, and what counts as an answer."""

import functools
import json
import logging
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dotenv
import requests
import urllib3.exceptions
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry

from langsmith_rest.errors import SetupError as SetupError

DEFAULT_ENDPOINT = "https://api.smith.langchain.com"
TIMEOUT = (10, 60)  # seconds to connect, seconds to wait for bytes
PATIENCE = 120.0  # seconds of outage that are ridden out
FIRST_PAUSE = 0.25  # seconds before a request is sent again; the next pauses double, up to 15
CONNECTIONS = 16
PASSING = {408, 425, 429, 500, 502, 503, 504}
GONE = {404, 405, 410, 501}  # how servers answer for an API generation that they do not have
QUOTA = (b"usage limit", b"insufficient_quota")  # what LangSmith says, and what OpenAI says
API_KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
STRAY = " \t\r\n\"'"  # what comes along when a setting is copied
ENDPOINT_FORM = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.ASCII)
JSON = {"Content-Type": "application/json"}
LONGEST_QUERY = timedelta(days=400)  # v2 run queries refuse more than 401 days

log = logging.getLogger("langsmith-rest")


@dataclass
class LangSmith:
    """An open connection: where the API and its pages are, and the HTTP session that sends the key."""

    url: str
    web: str
    session: requests.Session
    key_source: str  # the variable that the key came from, for messages
    missing: set[str] = field(default_factory=set)  # what this server turned out to lack

    @property
    def root(self) -> str:
        """Where the routes of the v2 API start, and the pages unless they have a host of their own."""
        return self.url.removesuffix("/api/v1").removesuffix("/api")


def connect(
    endpoint: str | None = None, api_key: str | None = None, workspace_id: str | None = None, *, web: str | None = None
) -> LangSmith:
    """Open a connection. Arguments go before LANGSMITH_* in the environment, and these before `.env`.

    LANGCHAIN_* names work, too. An endpoint on this machine needs no key. `web` is the address of the pages, if it does
    not follow from the endpoint. Nothing is sent yet. Raises SetupError when key or endpoint cannot be used.
    """
    values = settings()
    key = (api_key or values.get("LANGSMITH_API_KEY", "")).strip(STRAY)
    source = "LANGCHAIN_API_KEY" if values.get("LANGCHAIN_API_KEY") == key else "LANGSMITH_API_KEY"
    source = "the argument api_key" if api_key else source
    name = "The argument endpoint" if endpoint else "LANGSMITH_ENDPOINT"
    endpoint = (endpoint or values.get("LANGSMITH_ENDPOINT", DEFAULT_ENDPOINT)).strip(STRAY).rstrip("/")
    workspace_id = (workspace_id or values.get("LANGSMITH_WORKSPACE_ID", "")).strip(STRAY)
    if is_here := endpoint == "local":
        from langsmith_rest import in_process, local  # only where they are needed: that is 4 ms faster

        (endpoint, web), key = local.stay_open(), ""
    check_address(name, endpoint, source, key, values)
    if not key and not is_loopback(endpoint):
        raise SetupError(
            "LANGSMITH_API_KEY is not set. To record in LangSmith, put it into the environment or into .env. To record "
            "elsewhere, set LANGSMITH_ENDPOINT=local for the local store, or the address of another server."
        )
    if not (workspace_id.isascii() and workspace_id.isprintable()):
        raise SetupError("LANGSMITH_WORKSPACE_ID holds characters that no id has: copy it again.")
    headers = {"x-api-key": key or "no-key"} | ({"X-Tenant-Id": workspace_id} if workspace_id else {})
    api = LangSmith(endpoint, web or "", open_session(endpoint, headers, values), source)
    if is_here:
        in_process.shorten(api.session, endpoint)
    api.web = web or api.root.replace("api.smith.langchain.com", "smith.langchain.com")
    return api


def check_address(name: str, url: str, key_name: str, key: str, values: Mapping[str, str]) -> None:
    """Raise SetupError when an endpoint, the setting `name`, is none, or when the key must not go there."""
    if not ENDPOINT_FORM.fullmatch(url):
        raise SetupError(f"{name} must look like https://HOST or https://HOST/api, without user or query.")
    if not (key.isascii() and key.isprintable()):
        raise SetupError(f"{key_name} holds characters that no key has: copy it again.")
    if url.startswith("http:") and key and not is_loopback(url) and values.get("LANGSMITH_ALLOW_HTTP") != "1":
        raise SetupError(f"The key would be sent to {url} unencrypted: use https, or set LANGSMITH_ALLOW_HTTP=1.")


def open_session(
    url: str, headers: Mapping[str, str], values: Mapping[str, str], patience: float | None = None
) -> requests.Session:
    """An HTTP session for one server; LANGSMITH_PATIENCE_SECONDS holds unless `patience` is given.

    HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE are read once, here. No proxy hears of what stays on this machine.
    """
    told = values.get("LANGSMITH_PATIENCE_SECONDS", str(PATIENCE))
    if not told.replace(".", "", 1).isdecimal():
        raise SetupError(f"LANGSMITH_PATIENCE_SECONDS is {told!r}, expected a number of seconds.")
    session = requests.Session()
    session.headers.update({"Accept": "application/json", "User-Agent": "langsmith-rest", **headers})
    merged = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = {} if is_loopback(url) else merged["proxies"], merged["verify"]
    session.trust_env = False
    session.mount(f"{urlsplit(url).scheme}://", PatientAdapter(float(told) if patience is None else patience))
    return session


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return bool(LOOPBACK.fullmatch(urlsplit(url).hostname or ""))


def settings() -> dict[str, str]:
    """What `.env` and, before it, the environment say; nothing else in the core looks there. Empty means not set.

    LANGSMITH_* names that are not set have the values of LANGCHAIN_* names. Raises SetupError when a `.env` above this
    folder would send the environment's key elsewhere.
    """
    path = dotenv.find_dotenv(usecwd=True)
    try:
        file, environment = stripped(dotenv.dotenv_values(path)), stripped(os.environ)
    except UnicodeDecodeError:
        raise SetupError(f"{path} is not UTF-8: save it as UTF-8.") from None
    given = file | environment
    values = {name.replace("LANGCHAIN_", "LANGSMITH_"): text for name, text in given.items()} | given
    endpoint, has_key = values.get("LANGSMITH_ENDPOINT", "local"), environment.keys() & set(API_KEYS)
    is_from_above = endpoint not in environment.values() and Path(path).parent != Path.cwd()
    if is_from_above and has_key and not (endpoint == "local" or is_loopback(endpoint)):
        raise SetupError(
            f"{path} would send the environment's key to {endpoint}. If you want this, set LANGSMITH_ENDPOINT "
            "in the environment as well. Otherwise, unset LANGSMITH_API_KEY, or put it into that file."
        )
    return values


def stripped(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, value in values.items() if (text := (value or "").strip(STRAY))}


class PatientAdapter(BaseAdapter):
    """Sends a request again while the failure may pass, until `patience` seconds are over.

    That is safe because every id that is posted is chosen by the caller, so a repeated POST cannot create twice.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.is_known = False  # whether an API has answered here
        self.inner = HTTPAdapter(pool_maxsize=CONNECTIONS + 1)  # sends a request once

    def close(self) -> None:
        self.inner.close()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline, pause = time.monotonic() + self.patience, FIRST_PAUSE
        while True:
            try:
                response = read(self.inner.send(request, *args, **kwargs), deadline)
                is_page = response.ok and not is_json(response)
                is_passing = response.status_code in PASSING and not is_quota(response)
                # A page in place of an API that was here before may pass; but a server may lack v2.
                is_passing |= is_page and self.is_known and "/api/v2/" not in request.path_url
                is_passing |= response.ok and is_cut(response)
                self.is_known |= response.ok and not is_page
                if not is_passing or time.monotonic() + (wait := retry_after(response)) >= deadline:
                    return response
                reason = f"answered {response.status_code}"
            except (requests.ConnectionError, requests.Timeout) as error:
                is_final = isinstance(error, requests.exceptions.SSLError) or is_nobody(error) and not self.is_known
                if is_final or time.monotonic() >= deadline:
                    raise
                reason, wait = f"got no answer ({type(error).__name__})", 0.0
            left = max(deadline - time.monotonic(), 0)
            wait = wait or min(pause * random.uniform(0.5, 1), left)
            if wait > 4:
                log.warning("%s %s %s, trying again in %.0f s", request.method, request.path_url[:60], reason, wait)
            time.sleep(wait)
            pause = min(2 * pause, 15)


def read(response: requests.Response, deadline: float) -> requests.Response:
    """Read an answer to its end, so that one cut short is repeated, too, and one that trickles in ends in time."""
    pieces, until = [], max(deadline, time.monotonic() + TIMEOUT[0])
    some = getattr(response.raw, "read1", response.raw.read)  # what has arrived
    try:
        while piece := some(1 << 20, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > until:
                response.close()
                raise requests.Timeout("the answer came too slowly")
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from None
    response._content = b"".join(pieces)  # as requests does when it reads by itself
    return response


def is_json(response: requests.Response) -> bool:
    """Whether this may be an answer of an API: JSON, or nothing."""
    kind = response.headers.get("Content-Type", "")
    return not response.content or kind.startswith("application/json") or response.content.lstrip()[:1] in b"{["


def is_cut(response: requests.Response) -> bool:
    """Whether JSON breaks off; where a length or chunks tell, reading it has failed already."""
    if response.headers.keys() & {"Content-Length", "Transfer-Encoding"} or not response.content:
        return False
    try:
        response.json()
        return False
    except requests.JSONDecodeError:
        return is_json(response)


def is_quota(response: requests.Response) -> bool:
    """Whether a 429 says that the plan's quota is used up, which no waiting helps."""
    return response.status_code == 429 and any(words in response.content.lower() for words in QUOTA)


def is_nobody(error: requests.RequestException) -> bool:
    """Whether nobody listens at an address of this machine."""
    return "new connection" in str(error) and is_loopback(getattr(error.request, "url", ""))


def retry_after(response: requests.Response) -> float:
    """The seconds that a server wants us to wait; 0 unless it says so in a way that makes sense."""
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (urllib3.exceptions.InvalidHeader, ValueError):
        return 0


def call(api: LangSmith, method: str, path: str, **kwargs: Any) -> Any:
    """Send one request and return its decoded answer, None for an empty one. Raises what `send` raises."""
    response = send(api, method, path, **kwargs)
    try:
        return response.json() if response.content else None
    except requests.JSONDecodeError:
        raise no_api(api, f"{method} {path}", response) from None


def send(
    api: LangSmith, method: str, path: str, *, fine: int = 200, params: Any = None, headers: Any = None, **body: Any
) -> requests.Response:
    """Send one request and return the answer. `params` and `body` (data, files or json) are those of requests.

    Raises requests.HTTPError with the server's own words for any other answer than 2xx (or the status that is `fine`)
    with JSON or nothing in it; a redirect is refused, since the key would travel with it. No exception carries the key.
    """
    url = (api.root if path.startswith("/api/") else api.url) + path
    session, key, failed = api.session, str(api.session.headers["x-api-key"]), None
    how: Any = {"timeout": TIMEOUT, "verify": session.verify, "cert": session.cert, "proxies": session.proxies}
    try:
        request = addressed(method, url).copy()
        if params:
            request.prepare_url(url, params)
        request.prepare_headers({**session.headers, **(headers or {})})
        request.prepare_body(**{"data": None, "files": None} | body)
        # Not through the session, which would follow redirects and keep cookies.
        response = session.get_adapter(url).send(request, **how)
    except requests.RequestException as error:
        cause = getattr(error.args[0] if error.args else error, "reason", error)
        hint = ": is it running? `langsmith-rest view` starts the local store" if is_nobody(error) else ""
        reason = f"{method} {path}: no answer from {api.url} ({cause}){hint}"
        failed = type(error)(reason.replace(key, "<key>"))  # a server or proxy may have echoed it
    if failed:  # raised here, for the error above holds the request, and so the key
        raise failed
    del response.request.headers["x-api-key"]
    if response.status_code != fine and not 200 <= response.status_code < 300:
        words = f"{response.status_code}: {server_words(response)[:500]}"
        if response.status_code in (401, 403):
            words += f" (key from {api.key_source}, endpoint {api.url}: is the key still valid, and "
            words += "does it belong to this region and workspace (LANGSMITH_WORKSPACE_ID)?)"
        elif response.is_redirect:
            words += " (set LANGSMITH_ENDPOINT to the address it points to)"
        raise requests.HTTPError(f"{method} {path} answered {words}".replace(key, "<key>"), response=response)
    if not is_json(response):
        raise no_api(api, f"{method} {path}", response)
    return response


def no_api(api: LangSmith, what: str, response: requests.Response) -> requests.HTTPError:
    words = f"answered something that is not JSON: is {api.url} the address of the API?"
    return requests.HTTPError(f"{what} {words}", response=response)


@functools.lru_cache(64)
def addressed(method: str, url: str) -> requests.PreparedRequest:
    """A request without headers and body. Preparing the address takes most of the time, so it is done once."""
    return requests.Request(method, url).prepare()


def server_words(response: requests.Response) -> str:
    """The reason a server gives: JSON `detail`, else JSON `error`, else its text."""
    try:
        body = response.json()
        words = body.get("detail") or body.get("error") or body
    except (ValueError, AttributeError):
        words = response.headers.get("Location") or response.content.decode(errors="replace").strip()
    return words if isinstance(words, str) else json.dumps(words)


Request = tuple[str, str, dict[str, Any]]  # method, path, and what `send` takes besides


def either(api: LangSmith, what: str, **generations: Request) -> Any:
    """The answer of the first API generation that the server has, for it may have only one; that is remembered.

    When it has none, the first refusal is raised. A generation that turned out to be gone is asked last.
    """
    refusals: dict[str, requests.HTTPError] = {}
    for name in sorted(generations, key=lambda name: f"{what} {name}" in api.missing):
        method, path, kwargs = generations[name]
        try:
            answer = call(api, method, path, **kwargs)
        except requests.HTTPError as error:
            if error.response.status_code not in GONE | {200}:  # 200: a page, so no API
                raise
            refusals[f"{what} {name}"] = error
        else:
            api.missing = api.missing - {f"{what} {name}"} | refusals.keys()
            return answer
    raise next(iter(refusals.values()))


def spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A time in pieces that one query may ask for."""
    while start < end:
        yield start, min(start + LONGEST_QUERY, end)
        start += LONGEST_QUERY
