"""Faults between our client and a real localsmith: `faults = Faults(server)`, then say in `faults.plan` what fails."""

import random
import re
import threading
import time
from dataclasses import dataclass

from waitress.channel import ClientDisconnected


@dataclass(frozen=True)
class Answer:
    """What the client gets instead of the server's answer; the server never hears of the request."""

    status: int
    body: str = ""
    headers: tuple = ()


DROP_BEFORE = "the connection closes, nothing was processed"
DROP_AFTER = "the connection closes, all was processed"
CUT_SHORT = "all was processed, half of the answer arrives"
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
    """One request that reached the server's door."""

    method: str
    path: str
    body: bytes
    began: float
    fault: object = None
    ended: float = 0.0


class Faults:
    """Stands before the app of a running localsmith; `plan(seen)` returns an Answer, a drop or None (no fault)."""

    def __init__(self, server, plan=lambda seen: None, delay=0.0):
        self.plan, self.delay = plan, delay
        self.seen = []
        self.seen_more = threading.Condition()
        self.app, server.app.wsgi_app = server.app.wsgi_app, self

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"].seek(0)
        seen = Seen(environ["REQUEST_METHOD"], path, body, time.monotonic())
        seen.fault = self.plan(seen)
        with self.seen_more:
            self.seen.append(seen)
            self.seen_more.notify_all()
        time.sleep(self.delay)
        try:
            return self.answer(seen.fault, environ, start_response)
        finally:
            seen.ended = time.monotonic()

    def answer(self, fault, environ, start_response):
        if isinstance(fault, Answer):
            body = fault.body.encode()
            start_response(f"{fault.status} Fault", [("Content-Length", str(len(body))), *fault.headers])
            return [body]
        if fault == DROP_BEFORE:
            drop(environ)
        answered = self.app(environ, start_response)
        if fault == DROP_AFTER:
            drop(environ)
        if fault == CUT_SHORT:  # waitress closes the connection of an app that returns less than it announced
            whole = b"".join(answered)
            return [whole[: len(whole) // 2]]
        return answered

    def count(self, pattern):
        """How many requests matched "METHOD /path"."""
        return sum(bool(re.match(pattern, f"{seen.method} {seen.path}")) for seen in self.seen)

    def sent_runs(self):
        """How many runs arrived, those of refused requests included."""
        return sum(seen.body.count(b'"dotted_order":') for seen in self.seen)

    def wait_for(self, requests, timeout=20):
        """Wait until that many requests have arrived."""
        with self.seen_more:
            assert self.seen_more.wait_for(lambda: len(self.seen) >= requests, timeout), f"only {len(self.seen)} came"


def drop(environ):
    """Close the connection under the answer; waitress offers no such thing, so its channel is told."""
    channel = environ["waitress.client_disconnected"].__self__
    channel.cancel()
    channel.server.pull_trigger()
    raise ClientDisconnected


def by_chance(rate, seed, kinds=tuple(PASSING)):
    """A plan by which every request fails with the same chance, in one of several ways."""
    chance = random.Random(seed)
    return lambda seen: PASSING[chance.choice(kinds)] if chance.random() < rate else None


def where(pattern, fault, containing=b""):
    """A plan by which requests that match "METHOD /path" and hold a text fail in one way."""
    return lambda seen: fault if re.match(pattern, f"{seen.method} {seen.path}") and containing in seen.body else None
