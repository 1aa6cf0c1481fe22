"""The addresses of the pages, and how they answer errors. Rendered on the server, readable without JavaScript."""

import gzip
import logging
import sqlite3
from collections.abc import Callable
from importlib import import_module

from flask import Blueprint, Response, current_app, make_response, render_template, request
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

from localsmith.errors import answer_error as answer_in_json
from localsmith.pages.addresses import FORMS, PATHS, VIEWS
from localsmith.wire import ApiError

log = logging.getLogger("localsmith")

blueprint = Blueprint(
    "pages", __name__, template_folder="../templates", static_folder="../static", static_url_path="/static"
)


def view_of(name: str, module: str) -> Callable[..., str | WerkzeugResponse]:
    """A page whose module is loaded when it is first asked for: a process that only records shows none."""

    def view(**ids: str) -> str | WerkzeugResponse:
        found: str | WerkzeugResponse = getattr(import_module(f"localsmith.pages.{module}"), name)(**ids)
        return found

    return view


for name, module in VIEWS.items():
    blueprint.add_url_rule(PATHS[name], endpoint=name, view_func=view_of(name, module))
for path in ("/", "/o/<tenant>", "/o/<tenant>/projects"):
    blueprint.add_url_rule(path, endpoint="show_datasets")
for name, module in FORMS.items():
    blueprint.add_url_rule(PATHS[name], endpoint=name, view_func=view_of(name, module), methods=["POST"])


@blueprint.before_request
def prepare_templates() -> None:
    """Give the templates what they use; all apps of a process share them."""
    environment = current_app.jinja_env
    if "drawn" in environment.filters:
        return
    from langsmith_rest.evaluation.aligning.sampling import in_words
    from localsmith.pages.blocks import block
    from localsmith.pages.common import here, is_lower_better, is_raw, link, list_query, only, toggled, with_query
    from localsmith.pages.render import FILTERS

    environment.globals.update(
        {f.__name__: f for f in (here, is_lower_better, is_raw, link, list_query, only, toggled, with_query)}
    )
    environment.filters.update(FILTERS, block=lambda value: block(value, is_raw()), drawn=in_words)


@blueprint.route("/o/<path:rest>")
def show_nothing(rest: str) -> Response:
    return answer_error(ApiError(404, "This page does not exist."))


@blueprint.after_request
def allow_forms(response: Response) -> Response:
    """Let our own forms say where they come from: with no-referrer, browsers send them with `Origin: null`."""
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@blueprint.after_request
def compress(response: Response) -> Response:
    """Send long pages compressed: tables repeat themselves, so a tenth remains."""
    if response.mimetype != "text/html" or response.is_streamed or not request.accept_encodings.quality("gzip"):
        return response
    if len(page := response.get_data()) > 4000:
        response.set_data(gzip.compress(page, 4))
        response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
    return response


@blueprint.errorhandler(Exception)
def answer_error(error: Exception) -> Response:
    """Show an error as a page; unexpected ones go to the log, never onto the page."""
    prepare_templates()  # an address that is nowhere has no page of its own
    status, message = describe(error)
    return make_response(render_template("error.html", status=status, message=message), status)


@blueprint.app_errorhandler(NotFound)
def answer_nowhere(error: NotFound) -> WerkzeugResponse:
    """Answer an address that is neither a page nor of the API: browsers get a page, programs JSON."""
    if request.blueprint == blueprint.name:
        return answer_error(error)
    accepted = request.accept_mimetypes
    if accepted.quality("text/html") > accepted.quality("application/json"):
        return answer_error(ApiError(404, "This page does not exist."))
    return answer_in_json(error, request)


def describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, ApiError):
        return error.status, error.message
    if isinstance(error, HTTPException):
        return error.code or 500, error.description or error.name
    if isinstance(error, sqlite3.OperationalError):
        return 503, f"The store cannot be read at the moment: {error}. Try again."
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return 500, "Something went wrong. The server's log has the details."
