"""A connection to an OpenAI-compatible server: chat completions, retries, and what was spent."""

import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import requests

from langsmith_rest import connection
from langsmith_rest.wording import counted

DEFAULT_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4.1-mini"
CACHE = Path(".localsmith") / "judge-cache"
TIMEOUT = (10, 120)  # seconds to connect, seconds to wait for an answer
OUTAGE_SECONDS = 300  # after a server did not answer until patience ended, no more questions for this long
FORMATS = ("json_schema", "json_object", "none")  # what a server may be asked for, the strictest first
Message = dict[str, str]


class JudgeError(Exception):
    """The model gave no usable verdict; the message says why, and never contains the key.

    `cause` is "question" (only this one), "server" (it may answer later), "settings" (no question will be answered) or
    "limit" (too many calls).
    """

    def __init__(self, reason: str, cause: str = "question") -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass
class Spent:
    """What the judges of this process used."""

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __str__(self) -> str:
        tokens = f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        return f"{counted(self.calls, 'judge call')} ({tokens}), {counted(self.cached, 'verdict')} from the cache"


SPENT: list[Spent] = []  # one for each connection of this process


def total_spent() -> Spent:
    names = ("calls", "cached", "input_tokens", "output_tokens")
    return Spent(*(sum(getattr(spent, name) for spent in SPENT) for name in names))


@dataclass
class ModelServer:
    """A connection to a model server, what it turned out not to support, and what was spent. Thread-safe."""

    url: str
    session: requests.Session
    key: str = field(repr=False)
    cache: Path | None = CACHE
    fresh: bool = False  # ask again, whatever the cache has
    timeout: tuple[float, float] = TIMEOUT
    spent: Spent = field(default_factory=Spent)
    lacking: dict[str, set[str]] = field(default_factory=dict)  # by model
    given_up: tuple[float, str] | None = None  # when, and why
    calls_left: int | None = None  # None: no limit
    answered: float = 0.0  # when the server last gave an answer other than "try again"
    lock: Any = field(default_factory=threading.Lock, repr=False)


def connect(
    url: str | None = None,
    api_key: str | None = None,
    *,
    cache: Path | str | None = CACHE,
    fresh: bool = False,
    timeout: tuple[float, float] = TIMEOUT,
    patience: float | None = None,
) -> ModelServer:
    """Open a connection with the given settings, else with OPENAI_API_KEY and OPENAI_BASE_URL; nothing is sent yet.

    A base URL alone is enough for servers without keys (Ollama, vLLM). `cache` is a folder, None for none; `patience`
    defaults to LANGSMITH_PATIENCE_SECONDS. Raises SetupError if there is neither a key nor a URL.
    """
    values = connection.settings()
    base = url or values.get("OPENAI_BASE_URL")
    key = (values.get("OPENAI_API_KEY") or "" if api_key is None else api_key).strip(connection.STRAY)
    if not key and not base:
        raise connection.SetupError(
            "OPENAI_API_KEY is not set: a judge needs it, or OPENAI_BASE_URL for a server of your own "
            "(Ollama: http://127.0.0.1:11434/v1). Put it into the environment or into .env."
        )
    base = (base or DEFAULT_URL).rstrip("/")
    connection.check_address("OPENAI_BASE_URL", base, "OPENAI_API_KEY", key, values)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    session = connection.open_session(base, headers, values, patience)
    opened = ModelServer(base, session, key, Path(cache) if cache else None, fresh, timeout)
    SPENT.append(opened.spent)
    return opened


@cache
def default_server() -> ModelServer:
    """The connection that evaluators share; it is opened when it is first needed."""
    return connect()


def default_model() -> str:
    return connection.settings().get("OPENAI_MODEL") or DEFAULT_MODEL


# ---------------------------------------------------------------- asking


def complete(judge: ModelServer, messages: list[Message], schema: dict[str, Any], model: str) -> str:
    """The text that the model answers; options that its server does not support are dropped and remembered."""
    lacking = judge.lacking.setdefault(model, set())
    while True:
        response = post(judge, request_body(messages, schema, model, lacking))
        if 200 <= response.status_code < 300:  # a redirect is no answer, and the key does not follow it
            return reply_text(judge, response, model)
        missing = unsupported(response, lacking)
        if missing is None:
            reason = f"POST /chat/completions answered {response.status_code}: {words(judge, response)}"
            raise JudgeError(reason, cause_of(response))
        lacking.add(missing)


def cause_of(response: requests.Response) -> str:
    if response.status_code in (401, 402, 403, 404) or connection.is_quota(response):
        return "settings"
    return "server" if response.status_code in connection.PASSING else "question"


def request_body(messages: list[Message], schema: dict[str, Any], model: str, lacking: set[str]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": messages}
    if "temperature" not in lacking:
        body["temperature"] = 0
    if "json_schema" not in lacking:
        strict = {"name": "verdict", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": strict}
    elif "json_object" not in lacking:
        body["response_format"] = {"type": "json_object"}
    return body


def unsupported(response: requests.Response, lacking: set[str]) -> str | None:
    """What a server that refused a request may not support: the temperature, or one answer format after the other."""
    if response.status_code not in (400, 404, 415, 422, 501):
        return None
    said = response.text.lower()
    if "temperature" in said:
        return None if "temperature" in lacking else "temperature"
    if not any(word in said for word in ("response_format", "json_schema", "json_object", "json schema", "schema")):
        return None
    return next((form for form in FORMATS[:2] if form not in lacking), None)


def post(judge: ModelServer, body: dict[str, Any]) -> requests.Response:
    """Send one question. If a server stayed away until patience ended, the next questions do not wait for it again."""
    if judge.given_up and time.monotonic() < judge.given_up[0] + OUTAGE_SECONDS:
        raise JudgeError(f"{judge.given_up[1]}; not asked again", "server")
    take_call(judge)
    began = time.monotonic()
    try:
        url = f"{judge.url}/chat/completions"
        response = judge.session.post(url, json=body, timeout=judge.timeout, allow_redirects=False)
    except requests.RequestException as error:
        reason = f"POST /chat/completions: no answer from {judge.url} ({type(error).__name__})"
        if isinstance(error, requests.ConnectionError):  # and not one question that takes too long
            give_up(judge, began, reason)
        raise JudgeError(reason, "server" if isinstance(error, requests.ConnectionError) else "question") from None
    if response.status_code in connection.PASSING:
        give_up(judge, began, f"POST /chat/completions answered {response.status_code}")
    else:
        judge.answered = time.monotonic()
    return response


def take_call(judge: ModelServer) -> None:
    """Count a call against the limit, if there is one."""
    with judge.lock:
        if judge.calls_left == 0:
            raise JudgeError("the limit on calls is reached; not asked", "limit")
        if judge.calls_left is not None:
            judge.calls_left -= 1


def give_up(judge: ModelServer, began: float, reason: str) -> None:
    """Stop asking for a while, unless other questions were answered meanwhile: then only this one has a problem."""
    if judge.answered < began:
        judge.given_up = time.monotonic(), reason


def words(judge: ModelServer, response: requests.Response) -> str:
    """The server's reason, without the key."""
    try:
        said = response.json().get("error")
        said = said.get("message") if isinstance(said, dict) else said
    except (ValueError, AttributeError):
        said = None
    said = str(said or connection.server_words(response))
    return (said.replace(judge.key, "<key>") if judge.key else said)[:500]


def reply_text(judge: ModelServer, response: requests.Response, model: str) -> str:
    """The text of an answer; raises JudgeError for a refusal, an answer cut short, or something that is no answer."""
    try:
        answer = response.json()
        choice = answer["choices"][0]
        message = choice["message"]
        add_up(judge, answer.get("usage") or {})
        refusal, content, reason = message.get("refusal"), message.get("content"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise JudgeError(f"{judge.url} did not answer with a chat completion: is it the right address?") from None
    if refusal:
        raise JudgeError(f"{model} refused to judge: {str(refusal)[:300]}")
    if reason in ("length", "content_filter"):
        raise JudgeError(f"{model} stopped before its verdict was complete ({reason})")
    return content if isinstance(content, str) else ""


def add_up(judge: ModelServer, usage: dict[str, Any]) -> None:
    with judge.lock:
        judge.spent.calls += 1
        judge.spent.input_tokens += usage.get("prompt_tokens") or 0
        judge.spent.output_tokens += usage.get("completion_tokens") or 0
