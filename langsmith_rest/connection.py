"""The connection that every call goes through: settings, patience, errors in the server's words."""

import json
import logging
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import dotenv
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from langsmith_rest import local
from langsmith_rest.errors import SetupError as SetupError

DEFAULT_ENDPOINT = "https://api.smith.langchain.com"
TIMEOUT = (10, 60)  # seconds to connect, seconds to wait for bytes
PATIENCE = 120.0  # seconds of outage that are ridden out
FIRST_PAUSE = 0.25  # seconds before a request is sent again; the next pauses double, up to 15
CONNECTIONS = 16
PASSING = {408, 425, 429, 500, 502, 503, 504}
QUOTA = (b"usage limit", b"insufficient_quota")  # what LangSmith says, and what OpenAI says
STRAY = " \t\r\n\"'"  # what comes along when a setting is copied
LOOPBACK = local.LOOPBACK
ENDPOINT_FORM = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)

log = logging.getLogger("langsmith-rest")


# ---------------------------------------------------------------- connection


@dataclass
class LangSmith:
    """An open connection: where the API and its pages are, and the HTTP session that carries the key."""

    url: str
    web: str
    session: requests.Session
    key_source: str  # the variable that the key came from, for messages
    missing: set[str] = field(default_factory=set)  # routes this server turned out to lack
    prepared: dict[Any, requests.PreparedRequest] = field(default_factory=dict, repr=False)  # holds the key

    @property
    def root(self) -> str:
        """The endpoint without a trailing /api/v1 or /api; routes of the v2 API start here."""
        return self.url.removesuffix("/api/v1").removesuffix("/api")


def connect(
    endpoint: str | None = None, api_key: str | None = None, workspace_id: str | None = None, *, web: str | None = None
) -> LangSmith:
    """Open a connection with what is given, else with LANGSMITH_* of the environment, else of `.env`.

    LANGCHAIN_* names are fallbacks; an endpoint on this machine needs no key. `web` is where the pages are when that
    does not follow from the endpoint. Nothing is sent yet. Raises SetupError when key or endpoint cannot be used.
    """
    values = settings()
    source, key = next(((name, values[name]) for name in names("API_KEY") if name in values), ("LANGSMITH_API_KEY", ""))
    source, key = ("the argument api_key", api_key.strip(STRAY)) if api_key else (source, key)
    endpoint = (endpoint or pick(values, "ENDPOINT") or DEFAULT_ENDPOINT).strip(STRAY).rstrip("/")
    if endpoint == local.ENDPOINT:
        (endpoint, web), key = local.stay_open(), ""
    workspace_id = (workspace_id or pick(values, "WORKSPACE_ID") or "").strip(STRAY)
    if not ENDPOINT_FORM.fullmatch(endpoint):
        raise SetupError("LANGSMITH_ENDPOINT must look like https://HOST or https://HOST/api, without user or query.")
    parts = urlsplit(endpoint)
    on_loopback = parts.hostname in LOOPBACK
    if not key and not on_loopback:
        raise SetupError(
            "LANGSMITH_API_KEY is not set. Put it into the environment or into .env (see .env.example) to record in "
            "LangSmith; or set LANGSMITH_ENDPOINT=local for the local store, or the address of another server."
        )
    if not (key.isascii() and key.isprintable()):
        raise SetupError(f"{source} holds characters that no key has: copy it again.")
    if not (workspace_id.isascii() and workspace_id.isprintable()):
        raise SetupError("LANGSMITH_WORKSPACE_ID holds characters that no id has: copy it again.")
    if parts.scheme == "http" and key and not on_loopback and pick(values, "ALLOW_HTTP") != "1":
        raise SetupError(f"A key would go to {endpoint} unencrypted: use https, or set LANGSMITH_ALLOW_HTTP=1.")
    patience = pick(values, "PATIENCE_SECONDS") or str(PATIENCE)
    if not patience.replace(".", "", 1).isdecimal():
        raise SetupError(f"LANGSMITH_PATIENCE_SECONDS is {patience!r}, expected a number of seconds.")
    session = requests.Session()
    session.headers.update({"x-api-key": key or "no-key", "Accept": "application/json", "User-Agent": "langsmith-rest"})
    if workspace_id:
        session.headers["X-Tenant-Id"] = workspace_id
    session.proxies, session.verify = proxies_and_certificates(session, endpoint)
    session.trust_env = False  # read once, here, not with every request
    session.mount(f"{parts.scheme}://", PatientAdapter(float(patience)))
    return LangSmith(endpoint, web or web_url(endpoint), session, source)


def proxies_and_certificates(session: requests.Session, endpoint: str) -> tuple[Any, Any]:
    """What HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and alike mean for this endpoint."""
    merged = session.merge_environment_settings(endpoint, {}, None, None, None)
    return merged["proxies"], merged["verify"]


def names(setting: str) -> tuple[str, str]:
    return f"LANGSMITH_{setting}", f"LANGCHAIN_{setting}"


def settings() -> dict[str, str]:
    """What `.env` and, before it, the environment say; nothing else in the core looks there. Empty means not set."""
    found: dict[str, str] = {}
    for source in (dotenv.dotenv_values(dotenv.find_dotenv(usecwd=True)), os.environ):
        found |= {name: value.strip(STRAY) for name, value in source.items() if value and value.strip(STRAY)}
    return found


def pick(values: dict[str, str], setting: str) -> str | None:
    return next((values[name] for name in names(setting) if name in values), None)


def web_url(endpoint: str) -> str:
    """Where the pages of an endpoint are: the cloud has hosts of their own for them, any other server shows its own."""
    host = urlsplit(endpoint).netloc
    if host.endswith("api.smith.langchain.com"):
        return f"https://{host.replace('api.smith.', 'smith.')}"
    return endpoint.removesuffix("/api/v1").removesuffix("/api")


class PatientAdapter(HTTPAdapter):
    """Sends a request again while the failure may pass, until `patience` seconds are over.

    That is safe because every id that is posted is chosen by the caller, so a repeated POST cannot create twice.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        super().__init__(pool_maxsize=CONNECTIONS + 1)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            wait = pause * random.uniform(0.5, 1)
            try:
                response = super().send(request, *args, **kwargs)
                # Read here, so that an answer cut short is repeated as well; and at once, not 10 KB at a time.
                response._content = b"".join(response.iter_content(1 << 20))
                if response.status_code not in PASSING or is_quota(response):
                    return response
                reason = f"answered {response.status_code}"
                left = deadline - time.monotonic()
                wait = retry_after(response) or min(wait, left)
                if left <= 0 or wait > left:
                    return response
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                left = deadline - time.monotonic()
                wait = min(wait, left)
                if isinstance(error, requests.exceptions.SSLError) or left <= 0:
                    raise
                reason = f"got no answer ({type(error).__name__})"
            if wait > 4:
                log.warning("%s %s %s, trying again in %.0f s", request.method, request.path_url[:60], reason, wait)
            time.sleep(wait)
            pause = min(2 * pause, 15)


def is_quota(response: requests.Response) -> bool:
    """Whether a 429 says that the plan's quota is used up, which no waiting helps."""
    said = response.content.lower()
    return response.status_code == 429 and any(words in said for words in QUOTA)


def retry_after(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return None


def call(api: LangSmith, method: str, path: str, **kwargs: Any) -> Any:
    """Send one request and return its decoded answer, None for an empty one.

    Raises what `send` raises, and requests.HTTPError for an answer that is not JSON.
    """
    response = send(api, method, path, **kwargs)
    try:
        return response.json() if response.content else None
    except requests.JSONDecodeError:
        reason = f"something that is not JSON: is {api.url} the address of the API?"
        raise requests.HTTPError(f"{method} {path} answered {reason}", response=response) from None


def send(
    api: LangSmith, method: str, path: str, headers: Mapping[str, str] | None = None, **kwargs: Any
) -> requests.Response:
    """Send one request and return the answer, whose body means nothing to the caller.

    Raises requests.HTTPError with the server's own words for any other answer than 2xx; a redirect is none, since the
    key would travel with it. No exception carries the key.
    """
    url = (api.root if path.startswith("/api/v2/") else api.url) + path
    session = api.session
    how: Any = {"timeout": TIMEOUT, "verify": session.verify, "cert": session.cert, "proxies": session.proxies}
    try:
        request = prepare(api, method, url, {**session.headers, **(headers or {})}, **kwargs)
        # Not through the session, which would follow redirects and keep cookies.
        response = session.get_adapter(url).send(request, **how)
    except requests.RequestException as error:
        if error.request is not None:
            error.request.headers.pop("x-api-key", None)
        cause = getattr(error.args[0] if error.args else error, "reason", error)
        raise type(error)(f"{method} {path}: no answer from {api.url} ({cause})") from None
    del response.request.headers["x-api-key"]
    if not 200 <= response.status_code < 300:
        words = server_words(response).replace(str(api.session.headers["x-api-key"]), "<key>")[:500]
        reason = f"{response.status_code}: {words}{advice(api, response)}"
        raise requests.HTTPError(f"{method} {path} answered {reason}", response=response)
    return response


def prepare(
    api: LangSmith, method: str, url: str, headers: dict[str, Any], data: bytes | None = None, **kwargs: Any
) -> requests.PreparedRequest:
    """A request as it is sent; what differs from an earlier one in its body only takes the rest from there."""
    if data is None or kwargs:
        return requests.Request(method, url, headers, data=data, **kwargs).prepare()
    key = (method, url, *headers.values())
    if key not in api.prepared:
        api.prepared[key] = requests.Request(method, url, headers).prepare()
    request = api.prepared[key].copy()
    request.prepare_body(data, None)
    return request


def server_words(response: requests.Response) -> str:
    """The reason a server gives: JSON `detail`, else JSON `error`, else the first 500 characters."""
    try:
        body = response.json()
        words = body.get("detail") or body.get("error") or body
    except (ValueError, AttributeError):
        words = response.headers.get("Location") or response.content.decode(errors="replace").strip()
    return words if isinstance(words, str) else json.dumps(words)


def advice(api: LangSmith, response: requests.Response) -> str:
    if response.status_code in (401, 403):
        return (
            f" (key from {api.key_source}, endpoint {api.url}: is it a current key of this region and workspace, "
            "and is LANGSMITH_WORKSPACE_ID set when the key has several?)"
        )
    return " (set LANGSMITH_ENDPOINT to the address it points to)" if response.is_redirect else ""


JSON = {"Content-Type": "application/json"}
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: Any) -> bytes:
    return ENCODER.encode(value).encode()
