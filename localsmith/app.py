"""The application: the API, and behind it the pages, which are loaded when one is first asked for."""

import copy
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from localsmith.api import State, answer_api
from localsmith.later import Later
from localsmith.store import Store
from localsmith.wire import Switches

if TYPE_CHECKING:
    from flask import Flask


class App:
    """A WSGI application. As in Flask, `wsgi_app` is there to be replaced by whoever wants to see requests first."""

    def __init__(self, db_path: str | os.PathLike[str], **switches: Any) -> None:
        """The switches are the fields of `wire.Switches`. Raises `StoreError` when the file cannot be used."""
        store, chosen = Store(db_path), Switches(**switches)
        self.state = State(store, chosen, Later(store, chosen))
        self.wsgi_app: Callable[..., Iterable[bytes]] = self._answer
        self._pages: Flask | None = None
        self._loading = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.wsgi_app(environ, start_response)

    def pages(self) -> "Flask":
        """The Flask app of the pages."""
        with self._loading:
            if not self._pages:
                from localsmith.pages.app import pages_of

                self._pages = pages_of(self.state)
            return self._pages

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answered = answer_api(environ, self.state) or self.pages()
        return answered(environ, start_response)


def create_app(db_path: str | os.PathLike[str], **switches: Any) -> "Flask":
    """The same as a Flask app, for its test client and for servers that expect one."""
    app = App(db_path, **switches)
    whole = copy.copy(app.pages())
    whole.wsgi_app = app  # type: ignore[method-assign]
    return whole
