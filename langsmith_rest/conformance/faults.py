"""Faults between a client and a real localsmith: `faults = Faults(server)`, then set in `faults.plan` what fails."""

import json
import random
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from waitress.channel import ClientDisconnected


@dataclass(frozen=True)
class Answer:
    """What the client gets instead of the server's answer; the server does not see the request."""

    status: int
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


DROP_BEFORE = "the connection closes, nothing was processed"
DROP_AFTER = "the connection closes, all was processed"
CUT_SHORT = "all was processed, half of the answer arrives"
CUT_UNNOTICED = "all was processed, half of the answer arrives, and no Content-Length says so"
PASSING = {
    "500": Answer(500, '{"detail":"Internal server error"}'),
    "502": Answer(502, "<html>502 Bad Gateway</html>"),
    "503": Answer(503, "no healthy upstream"),
    "429": Answer(429, '{"detail":"Rate limit exceeded"}'),
    "429-retry-after": Answer(429, '{"error":"Too many requests"}', (("Retry-After", "1"),)),
    "drop-before": DROP_BEFORE,
    "drop-after": DROP_AFTER,
    "cut-short": CUT_SHORT,
}
QUOTA = "Too many requests: tenant exceeded usage limits: Monthly unique traces usage limit exceeded"


@dataclass
class Seen:
    """One request that arrived."""

    method: str
    path: str
    body: bytes
    began: float
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Any = None
    ended: float = 0.0

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def sent(self) -> Any:
        """What the body says; None if it is not JSON, which a store refuses."""
        return said(self.body)


def said(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was compressed."""
    try:
        return zlib.decompress(body, wbits=31) if encoding == "gzip" else body
    except zlib.error:
        return body


Plan = Callable[[Seen], Any]


class Faults:
    """Wraps the app of a running localsmith; `plan(seen)` returns an Answer, a drop or None (no fault)."""

    def __init__(self, server: Any, plan: Plan = lambda seen: None, delay: float = 0.0) -> None:
        self.plan, self.delay = plan, delay
        self.seen: list[Seen] = []
        self.seen_more = threading.Condition()
        self.app, server.app.wsgi_app = server.app.wsgi_app, self

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"].seek(0)
        headers = {name[5:].replace("_", "-"): text for name, text in environ.items() if name.startswith("HTTP_")}
        content = unpacked(body, headers.get("CONTENT-ENCODING", ""))
        seen = Seen(environ["REQUEST_METHOD"], path, content, time.monotonic(), headers)
        seen.fault = self.plan(seen)
        with self.seen_more:
            self.seen.append(seen)
            self.seen_more.notify_all()
        time.sleep(self.delay)
        try:
            return self.answer(seen.fault, environ, start_response)
        finally:
            seen.ended = time.monotonic()

    def answer(self, fault: Any, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if isinstance(fault, Answer):
            body = fault.body.encode()
            start_response(f"{fault.status} Fault", [("Content-Length", str(len(body))), *fault.headers])
            return [body]
        if fault == DROP_BEFORE:
            drop(environ)
        if fault == CUT_UNNOTICED:
            self.cut_unnoticed(environ)
        answered = self.app(environ, start_response)
        if fault == DROP_AFTER:
            drop(environ)
        if fault == CUT_SHORT:  # waitress closes the connection of an app that returns less than it announced
            whole = b"".join(answered)
            return [whole[: len(whole) // 2]]
        return answered

    def cut_unnoticed(self, environ: dict[str, Any]) -> None:
        """Answer as servers do that mark the end of an answer by closing the connection; waitress never does."""
        heads: list[tuple[str, list[tuple[str, str]]]] = []
        whole = b"".join(self.app(environ, lambda status, headers, *_: heads.append((status, headers))))
        status, headers = heads[-1]
        kept = [f"{name}: {value}" for name, value in headers if name.lower() != "content-length"]
        head = "\r\n".join([f"HTTP/1.1 {status}", *kept, "Connection: close", "", ""])
        environ["waitress.client_disconnected"].__self__.write_soon(head.encode() + whole[: len(whole) // 2])
        raise ClientDisconnected  # waitress then sends what was written, and closes the connection

    def count(self, pattern: str) -> int:
        """How many requests matched "METHOD /path"."""
        return sum(bool(re.match(pattern, seen.call)) for seen in self.seen)

    def sent_runs(self) -> int:
        """How many runs arrived, including those of refused requests."""
        return sum(seen.body.count(b'"dotted_order":') for seen in self.seen)

    def wait_for(self, requests: int, timeout: float = 20) -> None:
        """Wait until that many requests have arrived."""
        with self.seen_more:
            if not self.seen_more.wait_for(lambda: len(self.seen) >= requests, timeout):
                raise TimeoutError(f"only {len(self.seen)} of {requests} requests came")


def drop(environ: dict[str, Any]) -> None:
    """Close the connection without an answer; waitress has no way to do that, so its channel is told."""
    channel = environ["waitress.client_disconnected"].__self__
    channel.cancel()
    channel.server.pull_trigger()
    raise ClientDisconnected


def by_chance(rate: float, seed: int, kinds: Iterable[str] = tuple(PASSING)) -> Plan:
    """A plan by which every request fails with the same probability, in one of several ways."""
    chance, kinds = random.Random(seed), tuple(kinds)
    return lambda seen: PASSING[chance.choice(kinds)] if chance.random() < rate else None


def where(pattern: str, fault: Any, containing: bytes = b"") -> Plan:
    """A plan by which requests that match "METHOD /path" and contain a text fail in one way."""
    return lambda seen: fault if re.match(pattern, seen.call) and containing in seen.body else None


# ---------------------------------------------------------------- faults as rules in JSON

DROPS = {
    "close before": DROP_BEFORE,
    "close after": DROP_AFTER,
    "cut short": CUT_SHORT,
    "cut short, without a length": CUT_UNNOTICED,
}
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def by_rules(rules: list[dict[str, Any]]) -> Plan:
    """A plan of rules, of which the first that matches a request counts.

    `on` is a pattern of "METHOD /path", `containing` a text of the body, `runs` the most runs that may come at once,
    `lacking` the headers with which a request is fine, `without` a text in the body with which it is fine.
    `times` is how often it fails (default: always), `after` how many requests pass before, and `seconds` how long it
    lasts from then on; with `each` true, every endpoint is counted separately. `answer` is an object with `status`,
    `body` and `headers`, or one of "close before", "close after", "cut short", "cut short, without a length".
    """
    counts: Counter[tuple[int, str]] = Counter()
    began: dict[int, float] = {}
    lock = threading.Lock()

    def plan(seen: Seen) -> Any:
        for index, rule in enumerate(rules):
            if not fits(rule, seen):
                continue
            with lock:
                counted = (index, ID.sub("ID", seen.call) if rule.get("each") else "")
                counts[counted] += 1
                late = counts[counted] - rule.get("after", 0)
                if late < 1 or late > rule.get("times", late):
                    continue
                if seen.began - began.setdefault(index, seen.began) > rule.get("seconds", seen.began):
                    continue
            return fault_of(rule["answer"])
        return None

    return plan


def fits(rule: dict[str, Any], seen: Seen) -> bool:
    if not re.match(rule["on"], seen.call) or rule.get("containing", "").encode() not in seen.body:
        return False
    if "without" in rule and rule["without"].encode() in seen.body:
        return False
    if "lacking" in rule and all(seen.headers.get(name.upper()) == text for name, text in rule["lacking"].items()):
        return False
    return seen.body.count(b'"dotted_order":') > rule.get("runs", -1)


def fault_of(answer: Any) -> Any:
    if isinstance(answer, str):
        return DROPS[answer]
    headers = {name: text.replace("{date}", in_two_seconds()) for name, text in answer.get("headers", {}).items()}
    return Answer(answer["status"], answer.get("body", ""), tuple(headers.items()))


def in_two_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
