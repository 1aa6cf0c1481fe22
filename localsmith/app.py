"""The Flask app: route table and request guard."""

import copy
import hmac
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.http import http_date
from werkzeug.routing import BaseConverter, Rule

from localsmith.errors import answer_error
from localsmith.hosted.token import HEADER
from localsmith.later import Later
from localsmith.pages.blueprint import blueprint
from localsmith.routes import (
    comparative,
    datasets,
    example_reads,
    examples,
    feedback,
    feedback_configs,
    files,
    info,
    ingest,
    lists_v2,
    queue_items,
    queues,
    reads_v1,
    reads_v2,
    rules,
    sessions,
    sessions_v2,
    splits,
    threads,
    uploads,
)
from localsmith.store import Store
from localsmith.wire import MAX_REQUEST_BYTES, ApiError, Call, Family, Switches, answer, as_uuid

Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Route:
    """One route of the API.

    `family` is how it words errors, `reads` the generation that a switch turns off, `ends` the day that LangSmith
    announced as its last.
    """

    method: str
    path: str
    handler: Handler
    family: Family = "python"
    status: int = 200
    reads: str = ""
    ends: str = ""
    open: bool = False  # needs no key
    uploads_code: bool = False  # needs the token of a server that runs evaluators


QUEUES = "/v1/platform/annotation-queues"
ROUTES: list[Route] = [
    Route("GET", "/info", info.get_info, open=True),
    Route("GET", "/settings", info.get_settings),
    Route("GET", "/datasets", datasets.list_datasets),
    Route("POST", "/datasets", datasets.create_dataset),
    Route("POST", "/datasets/upload", files.upload_dataset),
    Route("POST", "/datasets/upload-experiment", uploads.upload_experiment),
    Route("POST", "/datasets/comparative", comparative.create_comparative),
    Route("DELETE", "/datasets/comparative/<comparative_experiment_id>", comparative.delete_comparative),
    Route("GET", "/datasets/<dataset_id>", datasets.get_dataset),
    Route("PATCH", "/datasets/<dataset_id>", datasets.update_dataset),
    Route("DELETE", "/datasets/<dataset_id>", datasets.delete_dataset),
    Route("GET", "/datasets/<dataset_id>/comparative", comparative.list_comparative),
    Route("GET", "/datasets/<dataset_id>/versions", datasets.list_versions),
    Route("GET", "/datasets/<dataset_id>/versions/diff", splits.diff_versions),
    Route("GET", "/datasets/<dataset_id>/version", datasets.get_version),
    Route("PUT", "/datasets/<dataset_id>/tags", datasets.tag_version),
    Route("GET", "/datasets/<dataset_id>/splits", datasets.list_splits),
    Route("PUT", "/datasets/<dataset_id>/splits", splits.update_splits),
    Route("POST", "/datasets/<dataset_id>/runs", reads_v1.list_dataset_runs, reads="v1", ends="2027-01-31"),
    Route("GET", "/examples", example_reads.list_examples),
    Route("POST", "/examples", examples.create_example),
    Route("DELETE", "/examples", examples.delete_examples),
    Route("POST", "/examples/bulk", examples.create_examples),
    Route("PATCH", "/examples/bulk", examples.update_examples),
    Route("POST", "/examples/upload/<dataset_id>", files.upload_examples),
    Route("GET", "/examples/count", example_reads.count_examples),
    Route("GET", "/examples/<example_id>", example_reads.get_example),
    Route("PATCH", "/examples/<example_id>", examples.update_example),
    Route("DELETE", "/examples/<example_id>", examples.delete_example),
    Route("POST", "/v1/platform/datasets/examples/delete", examples.erase_examples, "go"),
    Route("POST", "/v1/platform/datasets/<dataset_id>/examples", uploads.create_examples, "go", 201),
    Route("PATCH", "/v1/platform/datasets/<dataset_id>/examples", uploads.update_examples, "go", 201),
    Route("PATCH", "/v1/platform/datasets/<dataset_id>/examples/metadata", splits.update_metadata, "problem"),
    Route("GET", "/sessions", sessions.list_sessions),
    Route("POST", "/sessions", sessions.create_session, ends="2027-07-01"),
    Route("DELETE", "/sessions", sessions.delete_sessions),
    Route("GET", "/sessions/<session_id>", sessions.get_session, ends="2027-07-01"),
    Route("PATCH", "/sessions/<session_id>", sessions.update_session, ends="2027-07-01"),
    Route("DELETE", "/sessions/<session_id>", sessions.delete_session),
    Route("POST", "/runs", ingest.create_run, "go", 202),
    Route("POST", "/runs/batch", ingest.ingest_batch, "go", 202),
    Route("POST", "/runs/multipart", ingest.ingest_multipart, "go", 202),
    Route("PATCH", "/runs/<run_id>", ingest.update_run, "go", 202),
    Route("GET", "/runs/<run_id>", reads_v1.get_run, reads="v1", ends="2027-01-31"),
    Route("GET", "/runs/threads/<thread_id>", threads.get_thread, reads="v1", ends="2027-01-31"),
    Route("POST", "/runs/query", reads_v1.query_runs, reads="v1", ends="2027-01-31"),
    Route("POST", "/runs/stats", reads_v1.get_run_stats),
    Route("GET", "/runs/rules", rules.list_rules, ends="2027-04-01"),
    Route("POST", "/runs/rules", rules.create_rule, uploads_code=True),
    Route("PATCH", "/runs/rules/<rule_id>", rules.update_rule, uploads_code=True),
    Route("DELETE", "/runs/rules/<rule_id>", rules.delete_rule, uploads_code=True),
    Route("POST", "/runs/experiments/<experiment_id>/evaluate", rules.evaluate_experiment),
    Route("GET", "/feedback", feedback.list_feedback),
    Route("POST", "/feedback", feedback.create_feedback),
    Route("POST", "/feedback/eager", feedback.create_feedback),
    Route("GET", "/feedback/<feedback_id>", feedback.get_feedback),
    Route("PATCH", "/feedback/<feedback_id>", feedback.update_feedback),
    Route("DELETE", "/feedback/<feedback_id>", feedback.delete_feedback),
    Route("GET", "/feedback-configs", feedback_configs.list_configs),
    Route("POST", "/feedback-configs", feedback_configs.create_config),
    Route("PATCH", "/feedback-configs", feedback_configs.update_config),
    Route("DELETE", "/feedback-configs", feedback_configs.delete_config),
    Route("GET", "/annotation-queues", queues.list_queues),
    Route("POST", "/annotation-queues", queues.create_queue),
    Route("DELETE", "/annotation-queues", queues.delete_queues),
    Route("POST", "/annotation-queues/populate", queues.populate),
    Route("GET", "/annotation-queues/<queue_id>", queues.get_queue),
    Route("PATCH", "/annotation-queues/<queue_id>", queues.update_queue),
    Route("DELETE", "/annotation-queues/<queue_id>", queues.delete_queue),
    Route("GET", "/annotation-queues/<run_id>/queues", queues.list_queues_of_run),
    Route("GET", "/annotation-queues/<queue_id>/runs", queue_items.list_runs, ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs", queue_items.add_runs, ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs/by-key", queue_items.add_runs, ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs/delete", queue_items.delete_runs, ends="2027-01-31"),
    Route("PATCH", "/annotation-queues/<queue_id>/runs/<item_id>", queue_items.update_item, ends="2027-01-31"),
    Route("DELETE", "/annotation-queues/<queue_id>/runs/<item_id>", queue_items.delete_run, ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/run/<index>", queue_items.get_run, ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/size", queues.get_size, ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/total_size", queues.get_total_size, ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/total_archived", queues.get_total_archived, ends="2027-01-31"),
    Route("POST", "/annotation-queues/status/<item_id>", queue_items.set_status, ends="2027-01-31"),
    Route("GET", f"{QUEUES}/<queue_id>/items", queue_items.list_items, "problem"),
    Route("POST", f"{QUEUES}/<queue_id>/items", queue_items.create_items, "problem", 201),
    Route("GET", f"{QUEUES}/<queue_id>/items/count", queue_items.count_items, "problem"),
    Route("POST", f"{QUEUES}/<queue_id>/items/delete", queue_items.delete_items, "problem"),
    Route("PATCH", f"{QUEUES}/<queue_id>/items/<item_id>", queue_items.update_item, "problem"),
    Route("GET", f"{QUEUES}/<queue_id>/items/<item_id>/placement", queue_items.get_placement, "problem"),
    Route("POST", f"{QUEUES}/items/<item_id>/status", queue_items.set_status, "problem"),
    Route("GET", "/v1/platform/evaluators", rules.list_evaluators, "go"),
    Route("POST", "/v1/platform/evaluators", rules.create_evaluator, "go", 201, uploads_code=True),
    Route("DELETE", "/v1/platform/evaluators", rules.delete_evaluators, "go", uploads_code=True),
    Route("PATCH", "/v1/platform/evaluators/<evaluator_id>", rules.update_evaluator, "go", uploads_code=True),
    Route("DELETE", "/v1/platform/evaluators/<evaluator_id>", rules.delete_evaluator, "go", uploads_code=True),
    Route("POST", "/api/v2/runs/query", reads_v2.query_runs, "problem", reads="v2"),
    Route("GET", "/api/v2/runs/<run_id>", reads_v2.get_run, "problem", reads="v2"),
    Route("GET", "/api/v2/traces/<trace_id>/runs", reads_v2.list_trace_runs, "problem", reads="v2"),
    Route("POST", "/api/v2/datasets/<dataset_id>/experiment-runs", reads_v2.list_examples, "problem", reads="v2"),
    Route("POST", "/api/v2/traces/query", threads.query_traces, "problem", reads="v2"),
    Route("POST", "/api/v2/threads/query", threads.query_threads, "problem", reads="v2"),
    Route("GET", "/api/v2/threads/<thread_id>/traces", threads.list_thread_traces, "problem", reads="v2"),
    Route("GET", "/api/v2/datasets", lists_v2.list_datasets, "problem", reads="v2"),
    Route("GET", "/api/v2/runs/rules", lists_v2.list_rules, "problem", reads="v2"),
    Route("GET", "/api/v2/sessions", sessions_v2.list_sessions, "problem", reads="v2"),
    Route("POST", "/api/v2/sessions", sessions_v2.create_session, "problem", 201, reads="v2"),
    Route("GET", "/api/v2/sessions/<session_id>", sessions_v2.get_session, "problem", reads="v2"),
    Route("PATCH", "/api/v2/sessions/<session_id>", sessions_v2.update_session, "problem", reads="v2"),
    Route("GET", "/attachments/<owner_id>", uploads.get_attachment, open=True),
]

MAX_DOWNLOADS = 4  # of the server's threads; the others answer everything else
TEXTS = {"thread_id", "index"}  # what paths hold beside ids


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


@dataclass
class Localsmith:
    """What the app carries for the pages: `current_app.extensions["localsmith"]`."""

    store: Store
    switches: Switches
    later: Later
    downloads: Downloads


def create_app(db_path: str | os.PathLike[str], **switches: Any) -> Flask:
    """Make the app for the store at `db_path`; the switches are the fields of `wire.Switches`.

    Raises `StoreError` when the file cannot be used.
    """
    store, chosen = Store(db_path), Switches(**switches)
    with COMPILING:
        app = copy.copy(routed())  # all apps of a process share addresses and templates
    app.extensions = {"localsmith": Localsmith(store, chosen, Later(store, chosen), Downloads())}
    return app


@cache
def routed() -> Flask:
    """The app without a store: compiling its routes takes most of the time of making an app."""
    app = Flask("localsmith", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.url_rule_class = MatchedRule
    app.url_map.converters["id"] = Id
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    for route in ROUTES:
        _register(app, route)
    app.register_blueprint(blueprint)
    app.context_processor(lambda: {"command": served().switches.command, "store_path": str(served().store.path)})
    app.before_request(guard)
    app.before_request(lambda: served().later.catch_up())
    app.after_request(add_security_headers)
    app.after_request(lambda response: served().downloads.admit(response))
    app.register_error_handler(Exception, answer_error)
    app.url_map.update()
    assert app.jinja_env  # makes it, so that copies share it
    return app


def served() -> Localsmith:
    """What the app that answers this request carries."""
    state: Localsmith = current_app.extensions["localsmith"]
    return state


# Two servers made at once: werkzeug compiles each page's address through `ast`, which in Python 3.11 raises SystemError
# when two threads do ("AST constructor recursion depth mismatch").
COMPILING = threading.Lock()


class Id(BaseConverter):
    """An id in a path. A word is not one, so /feedback/tokens is an unknown route rather than a malformed id."""

    regex = r"(?![a-z_-]+\Z).+"


def addresses(path: str) -> list[str]:
    """Every address of a route: clients put /api/v1, /api or nothing before it."""
    for prefix, others in (
        ("/v1/platform/", ["/api/v1/platform/", "/platform/"]),
        ("/api/v2/", ["/v2/"]),
        ("/", ["/api/v1/", "/api/"]),
    ):
        if path.startswith(prefix):
            return [path, *(other + path.removeprefix(prefix) for other in others)]
    raise ValueError(path)


def _register(app: Flask, route: Route) -> None:
    def view(**ids: str) -> Response:
        state = served()
        request.environ["localsmith.family"] = route.family
        if not route.open and not request.headers.get("x-api-key", "").strip():
            # As LangSmith does, so that a client without its key fails here too.
            raise ApiError(401, "Invalid token: send a header x-api-key; this server takes any text for a key")
        if route.uploads_code and state.switches.evaluator_token:
            check_token(state.switches.evaluator_token)
        if refusal := _switched_off(route, state.switches):
            return refusal
        ids = {name: value if name in TEXTS else as_uuid(value, ["path", name]) for name, value in ids.items()}
        result = route.handler(Call(request, state.store, state.switches, ids, state.later.do))
        response = result if isinstance(result, Response) else answer(result, route.status)
        if route.ends:
            last = datetime.combine(date.fromisoformat(route.ends), time(), UTC)
            response.headers.update({"Deprecation": "true", "Sunset": http_date(last)})
        return response

    for address in addresses(route.path):
        rule = re.sub(r"<(\w+)>", lambda match: match[0] if match[1] in TEXTS else f"<id:{match[1]}>", address)
        endpoint = f"{route.method} {address}"
        app.url_map.add(MatchedRule(rule, endpoint=endpoint, methods=[route.method]))
        app.view_functions[endpoint] = view


class MatchedRule(Rule):
    """An address that is matched, never built: compiling what builds them would take most of the start-up.

    Pages link to each other with `pages.common.link`; only the addresses of static files are built.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        return super()._compile_builder(append_unknown) if self.rule.startswith("/static/") else cannot_be_built


def cannot_be_built(rule: Rule, **_: object) -> None:
    raise NotImplementedError(f"{rule} is matched only")


def check_token(token: str) -> None:
    """Refuse an upload without the token: any user of this machine can reach the port, but not the store's folder."""
    if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), token.encode()):
        raise ApiError(
            403,
            "Forbidden: this server runs evaluators, so uploads need its token, which is in localsmith.token beside"
            f" the store: run the command in the store's folder, set LOCALSMITH_TOKEN, or send the header {HEADER}",
        )


def _switched_off(route: Route, switches: Switches) -> Response | None:
    """The answer of a server that no longer has this route, or does not have it yet; None if it is on."""
    if route.ends and switches.works_on and switches.works_on > date.fromisoformat(route.ends):
        return answer({"detail": f"This endpoint ended on {route.ends}: use /api/v2"}, 410)
    status = {"v1": switches.v1_reads, "v2": switches.v2_reads}.get(route.reads, 200)
    if status == 200:
        return None
    if route.reads == "v2":  # a server that does not know the route, so no problem details
        return Response("404 page not found\n" if status == 404 else f"{status}\n", status, mimetype="text/plain")
    return answer({"detail": "This endpoint is not available on this deployment: use /api/v2"}, status)


# The guard: a server on loopback is still reachable from every web page the user opens.

LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guard() -> None:
    """Refuse what another web site makes a browser send: DNS rebinding and cross-site requests."""
    host = request.headers.get("Host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() not in LOCAL_NAMES:
        raise ApiError(403, "Forbidden: this server answers to 127.0.0.1 and localhost only")
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise ApiError(403, "Forbidden: requests from other origins are not answered")
    site = request.headers.get("Sec-Fetch-Site", "none")
    # Following a link from elsewhere is fine: it reads a page and nothing can watch it.
    follows_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if site not in ("none", "same-origin") and not follows_link:
        raise ApiError(403, "Forbidden: cross-site requests are not answered")


def add_security_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
