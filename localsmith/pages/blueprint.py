"""The addresses of the pages, and how they answer errors. Rendered on the server, readable without JavaScript."""

import gzip
import logging
import sqlite3
from collections.abc import Callable

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

from langsmith_rest.evaluation.aligning.sampling import in_words
from localsmith.errors import answer_error as answer_in_json
from localsmith.pages.agreement import show_agreement
from localsmith.pages.attachments import show_attachment
from localsmith.pages.blocks import block
from localsmith.pages.common import PATHS, here, is_raw, link, only, toggled, with_query
from localsmith.pages.compare import show_comparison
from localsmith.pages.dataset import show_dataset, show_example
from localsmith.pages.datasets import show_datasets
from localsmith.pages.export import export_csv, export_json_lines
from localsmith.pages.pairs import give_pair, make_pairs, show_pair
from localsmith.pages.project import show_project
from localsmith.pages.queueing import fill_queue
from localsmith.pages.render import FILTERS
from localsmith.pages.report import show_report
from localsmith.pages.review import give_review, show_review
from localsmith.pages.run import show_run
from localsmith.pages.scores import give_score
from localsmith.wire import ApiError

log = logging.getLogger("localsmith")

blueprint = Blueprint(
    "pages", __name__, template_folder="../templates", static_folder="../static", static_url_path="/static"
)
for name, template_filter in {**FILTERS, "drawn": in_words, "block": lambda value: block(value, is_raw())}.items():
    blueprint.add_app_template_filter(template_filter, name)
for function in (here, is_raw, link, only, toggled, with_query):
    blueprint.add_app_template_global(function)

VIEWS: list[Callable[..., str | WerkzeugResponse]] = [
    show_datasets,
    show_dataset,
    show_example,
    show_comparison,
    show_report,
    show_project,
    export_json_lines,
    export_csv,
    show_run,
    show_attachment,
    show_review,
    show_pair,
    show_agreement,
]
for view in VIEWS:
    blueprint.add_url_rule(PATHS[view.__name__], endpoint=view.__name__, view_func=view)
for path in ("/", "/o/<tenant>", "/o/<tenant>/projects"):
    blueprint.add_url_rule(path, endpoint="show_datasets", view_func=show_datasets)
FORMS: list[Callable[..., WerkzeugResponse]] = [give_score, give_review, fill_queue, make_pairs, give_pair]
for view in FORMS:
    blueprint.add_url_rule(PATHS[view.__name__], endpoint=view.__name__, view_func=view, methods=["POST"])


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
    status, message = describe(error)
    return make_response(render_template("error.html", status=status, message=message), status)


@blueprint.app_errorhandler(NotFound)
def answer_nowhere(error: NotFound) -> Response:
    """Answer an address that is neither a page nor of the API: browsers get a page, programs JSON."""
    if request.blueprint == blueprint.name:
        return answer_error(error)
    accepted = request.accept_mimetypes
    if accepted.quality("text/html") > accepted.quality("application/json"):
        return answer_error(ApiError(404, "This page does not exist."))
    return answer_in_json(error)


def describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, ApiError):
        return error.status, error.message
    if isinstance(error, HTTPException):
        return error.code or 500, error.description or error.name
    if isinstance(error, sqlite3.OperationalError):
        return 503, f"The store cannot be read at the moment: {error}. Try again."
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return 500, "Something went wrong. The server's log has the details."
