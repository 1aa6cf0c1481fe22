"""The Flask app of the pages."""

import copy
import threading
from functools import cache
from typing import Any

from flask import Flask, current_app, request
from werkzeug.routing import Rule
from werkzeug.wrappers import Response

from localsmith.api import State
from localsmith.errors import answer_error
from localsmith.guard import add_security_headers, guard
from localsmith.pages.blueprint import blueprint
from localsmith.wire import MAX_REQUEST_BYTES, answer

MAX_DOWNLOADS = 4  # of the server's threads; the others answer everything else


class Downloads:
    """How many answers of any length are sent at once: each occupies a thread until it has been read."""

    def __init__(self, most: int = MAX_DOWNLOADS) -> None:
        self._free = threading.BoundedSemaphore(most)

    def admit(self, response: Response) -> Response:
        """Let a streamed answer pass if there is room for it, and count it until it ends."""
        if not response.is_streamed:
            return response
        if self._free.acquire(blocking=False):
            response.call_on_close(self._free.release)
            return response
        response.close()
        busy = answer({"detail": "Too many downloads at once: try again in a minute"}, 503)
        busy.headers["Retry-After"] = "10"
        return add_security_headers(busy)


def pages_of(state: State) -> Flask:
    """The pages of a store."""
    with COMPILING:
        app = copy.copy(routed())  # all apps of a process share addresses and templates
    app.extensions = {"localsmith": state, "localsmith.downloads": Downloads()}
    return app


@cache
def routed() -> Flask:
    """The app without a store: compiling its addresses takes most of the time of making an app."""
    app = Flask("localsmith", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.url_rule_class = MatchedRule
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.register_blueprint(blueprint)
    app.context_processor(lambda: {"command": served().switches.command, "store_path": str(served().store.path)})
    app.before_request(lambda: guard(request))
    app.before_request(lambda: served().later.catch_up())
    app.after_request(add_security_headers)
    app.after_request(lambda response: current_app.extensions["localsmith.downloads"].admit(response))
    app.register_error_handler(Exception, lambda error: answer_error(error, request))
    app.url_map.update()
    assert app.jinja_env  # makes it, so that copies share it
    return app


def served() -> State:
    """The state of the server that answers this request."""
    state: State = current_app.extensions["localsmith"]
    return state


# Two servers made at once: werkzeug compiles each page's address through `ast`, which in Python 3.11 raises SystemError
# when two threads do ("AST constructor recursion depth mismatch").
COMPILING = threading.Lock()


class MatchedRule(Rule):
    """An address that is matched, never built: compiling what builds them would take most of the start-up.

    Pages link to each other with `pages.common.link`; only the addresses of static files are built.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        return super()._compile_builder(append_unknown) if self.rule.startswith("/static/") else cannot_be_built


def cannot_be_built(rule: Rule, **_: object) -> None:
    raise NotImplementedError(f"{rule} is matched only")
