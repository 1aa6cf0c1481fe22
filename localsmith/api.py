"""The REST API: its routes, and how they are answered.

It does without Flask, which the pages use: a command that records in its own process starts in two thirds of the time.
"""

import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from importlib import import_module
from typing import Any

from werkzeug.exceptions import MethodNotAllowed
from werkzeug.http import http_date
from werkzeug.wrappers import Request, Response

from localsmith.errors import answer_error, family_of
from localsmith.guard import add_security_headers, guard
from localsmith.hosted.token import HEADER
from localsmith.later import Later
from localsmith.store import Store
from localsmith.wire import MAX_REQUEST_BYTES, ApiError, Call, Family, Switches, answer, as_uuid


@dataclass(frozen=True)
class Route:
    """One route of the API.

    `handler` is a function in `localsmith.routes`, whose module is loaded when it is first asked for. `family` is how
    it words errors, `reads` the generation that a switch turns off, `ends` the last day that LangSmith announced.
    """

    method: str
    path: str
    handler: str
    family: Family = "python"
    status: int = 200
    reads: str = ""
    ends: str = ""
    open: bool = False  # needs no key
    uploads_code: bool = False  # needs the token of a server that runs evaluators


QUEUES = "/v1/platform/annotation-queues"
ROUTES: list[Route] = [
    Route("GET", "/info", "info.get_info", open=True),
    Route("GET", "/settings", "info.get_settings"),
    Route("GET", "/datasets", "datasets.list_datasets"),
    Route("POST", "/datasets", "datasets.create_dataset"),
    Route("POST", "/datasets/upload", "files.upload_dataset"),
    Route("POST", "/datasets/upload-experiment", "uploads.upload_experiment"),
    Route("POST", "/datasets/comparative", "comparative.create_comparative"),
    Route("DELETE", "/datasets/comparative/<comparative_experiment_id>", "comparative.delete_comparative"),
    Route("GET", "/datasets/<dataset_id>", "datasets.get_dataset"),
    Route("PATCH", "/datasets/<dataset_id>", "datasets.update_dataset"),
    Route("DELETE", "/datasets/<dataset_id>", "datasets.delete_dataset"),
    Route("GET", "/datasets/<dataset_id>/comparative", "comparative.list_comparative"),
    Route("GET", "/datasets/<dataset_id>/versions", "datasets.list_versions"),
    Route("GET", "/datasets/<dataset_id>/versions/diff", "splits.diff_versions"),
    Route("GET", "/datasets/<dataset_id>/version", "datasets.get_version"),
    Route("PUT", "/datasets/<dataset_id>/tags", "datasets.tag_version"),
    Route("GET", "/datasets/<dataset_id>/splits", "datasets.list_splits"),
    Route("PUT", "/datasets/<dataset_id>/splits", "splits.update_splits"),
    Route("POST", "/datasets/<dataset_id>/runs", "reads_v1.list_dataset_runs", reads="v1", ends="2027-01-31"),
    Route("GET", "/examples", "example_reads.list_examples"),
    Route("POST", "/examples", "examples.create_example"),
    Route("DELETE", "/examples", "examples.delete_examples"),
    Route("POST", "/examples/bulk", "examples.create_examples"),
    Route("PATCH", "/examples/bulk", "examples.update_examples"),
    Route("POST", "/examples/upload/<dataset_id>", "files.upload_examples"),
    Route("GET", "/examples/count", "example_reads.count_examples"),
    Route("GET", "/examples/<example_id>", "example_reads.get_example"),
    Route("PATCH", "/examples/<example_id>", "examples.update_example"),
    Route("DELETE", "/examples/<example_id>", "examples.delete_example"),
    Route("POST", "/v1/platform/datasets/examples/delete", "examples.erase_examples", "go"),
    Route("POST", "/v1/platform/datasets/<dataset_id>/examples", "uploads.create_examples", "go", 201),
    Route("PATCH", "/v1/platform/datasets/<dataset_id>/examples", "uploads.update_examples", "go", 201),
    Route("PATCH", "/v1/platform/datasets/<dataset_id>/examples/metadata", "splits.update_metadata", "problem"),
    Route("GET", "/sessions", "sessions.list_sessions"),
    Route("POST", "/sessions", "sessions.create_session", ends="2027-07-01"),
    Route("DELETE", "/sessions", "sessions.delete_sessions"),
    Route("GET", "/sessions/<session_id>", "sessions.get_session", ends="2027-07-01"),
    Route("PATCH", "/sessions/<session_id>", "sessions.update_session", ends="2027-07-01"),
    Route("DELETE", "/sessions/<session_id>", "sessions.delete_session"),
    Route("POST", "/runs", "ingest.create_run", "go", 202),
    Route("POST", "/runs/batch", "ingest.ingest_batch", "go", 202),
    Route("POST", "/runs/multipart", "ingest.ingest_multipart", "go", 202),
    Route("PATCH", "/runs/<run_id>", "ingest.update_run", "go", 202),
    Route("GET", "/runs/<run_id>", "reads_v1.get_run", reads="v1", ends="2027-01-31"),
    Route("GET", "/runs/threads/<thread_id>", "threads.get_thread", reads="v1", ends="2027-01-31"),
    Route("POST", "/runs/query", "reads_v1.query_runs", reads="v1", ends="2027-01-31"),
    Route("POST", "/runs/stats", "reads_v1.get_run_stats"),
    Route("GET", "/runs/rules", "rules.list_rules", ends="2027-04-01"),
    Route("POST", "/runs/rules", "rules.create_rule", uploads_code=True),
    Route("PATCH", "/runs/rules/<rule_id>", "rules.update_rule", uploads_code=True),
    Route("DELETE", "/runs/rules/<rule_id>", "rules.delete_rule", uploads_code=True),
    Route("POST", "/runs/experiments/<experiment_id>/evaluate", "rules.evaluate_experiment"),
    Route("GET", "/feedback", "feedback.list_feedback"),
    Route("POST", "/feedback", "feedback.create_feedback"),
    Route("POST", "/feedback/eager", "feedback.create_feedback"),
    Route("GET", "/feedback/<feedback_id>", "feedback.get_feedback"),
    Route("PATCH", "/feedback/<feedback_id>", "feedback.update_feedback"),
    Route("DELETE", "/feedback/<feedback_id>", "feedback.delete_feedback"),
    Route("GET", "/feedback-configs", "feedback_configs.list_configs"),
    Route("POST", "/feedback-configs", "feedback_configs.create_config"),
    Route("PATCH", "/feedback-configs", "feedback_configs.update_config"),
    Route("DELETE", "/feedback-configs", "feedback_configs.delete_config"),
    Route("GET", "/annotation-queues", "queues.list_queues"),
    Route("POST", "/annotation-queues", "queues.create_queue"),
    Route("DELETE", "/annotation-queues", "queues.delete_queues"),
    Route("POST", "/annotation-queues/populate", "queues.populate"),
    Route("GET", "/annotation-queues/<queue_id>", "queues.get_queue"),
    Route("PATCH", "/annotation-queues/<queue_id>", "queues.update_queue"),
    Route("DELETE", "/annotation-queues/<queue_id>", "queues.delete_queue"),
    Route("GET", "/annotation-queues/<run_id>/queues", "queues.list_queues_of_run"),
    Route("GET", "/annotation-queues/<queue_id>/runs", "queue_items.list_runs", ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs", "queue_items.add_runs", ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs/by-key", "queue_items.add_runs", ends="2027-01-31"),
    Route("POST", "/annotation-queues/<queue_id>/runs/delete", "queue_items.delete_runs", ends="2027-01-31"),
    Route("PATCH", "/annotation-queues/<queue_id>/runs/<item_id>", "queue_items.update_item", ends="2027-01-31"),
    Route("DELETE", "/annotation-queues/<queue_id>/runs/<item_id>", "queue_items.delete_run", ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/run/<index>", "queue_items.get_run", ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/size", "queues.get_size", ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/total_size", "queues.get_total_size", ends="2027-01-31"),
    Route("GET", "/annotation-queues/<queue_id>/total_archived", "queues.get_total_archived", ends="2027-01-31"),
    Route("POST", "/annotation-queues/status/<item_id>", "queue_items.set_status", ends="2027-01-31"),
    Route("GET", f"{QUEUES}/<queue_id>/items", "queue_items.list_items", "problem"),
    Route("POST", f"{QUEUES}/<queue_id>/items", "queue_items.create_items", "problem", 201),
    Route("GET", f"{QUEUES}/<queue_id>/items/count", "queue_items.count_items", "problem"),
    Route("POST", f"{QUEUES}/<queue_id>/items/delete", "queue_items.delete_items", "problem"),
    Route("PATCH", f"{QUEUES}/<queue_id>/items/<item_id>", "queue_items.update_item", "problem"),
    Route("GET", f"{QUEUES}/<queue_id>/items/<item_id>/placement", "queue_items.get_placement", "problem"),
    Route("POST", f"{QUEUES}/items/<item_id>/status", "queue_items.set_status", "problem"),
    Route("GET", "/v1/platform/evaluators", "rules.list_evaluators", "go"),
    Route("POST", "/v1/platform/evaluators", "rules.create_evaluator", "go", 201, uploads_code=True),
    Route("DELETE", "/v1/platform/evaluators", "rules.delete_evaluators", "go", uploads_code=True),
    Route("PATCH", "/v1/platform/evaluators/<evaluator_id>", "rules.update_evaluator", "go", uploads_code=True),
    Route("DELETE", "/v1/platform/evaluators/<evaluator_id>", "rules.delete_evaluator", "go", uploads_code=True),
    Route("POST", "/api/v2/runs/query", "reads_v2.query_runs", "problem", reads="v2"),
    Route("GET", "/api/v2/runs/<run_id>", "reads_v2.get_run", "problem", reads="v2"),
    Route("GET", "/api/v2/traces/<trace_id>/runs", "reads_v2.list_trace_runs", "problem", reads="v2"),
    Route("POST", "/api/v2/datasets/<dataset_id>/experiment-runs", "reads_v2.list_examples", "problem", reads="v2"),
    Route("POST", "/api/v2/traces/query", "threads.query_traces", "problem", reads="v2"),
    Route("POST", "/api/v2/threads/query", "threads.query_threads", "problem", reads="v2"),
    Route("GET", "/api/v2/threads/<thread_id>/traces", "threads.list_thread_traces", "problem", reads="v2"),
    Route("GET", "/api/v2/datasets", "lists_v2.list_datasets", "problem", reads="v2"),
    Route("GET", "/api/v2/runs/rules", "lists_v2.list_rules", "problem", reads="v2"),
    Route("GET", "/api/v2/sessions", "sessions_v2.list_sessions", "problem", reads="v2"),
    Route("POST", "/api/v2/sessions", "sessions_v2.create_session", "problem", 201, reads="v2"),
    Route("GET", "/api/v2/sessions/<session_id>", "sessions_v2.get_session", "problem", reads="v2"),
    Route("PATCH", "/api/v2/sessions/<session_id>", "sessions_v2.update_session", "problem", reads="v2"),
    Route("GET", "/attachments/<owner_id>", "uploads.get_attachment", open=True),
]


@dataclass
class State:
    """What a server keeps while it runs."""

    store: Store
    switches: Switches
    later: Later


class ApiRequest(Request):
    max_content_length = MAX_REQUEST_BYTES


def answer_api(environ: dict[str, Any], state: State) -> Response | None:
    """The answer of the API to a request; None for an address that it does not have."""
    request = ApiRequest(environ)
    parts = [part for part in request.path.split("/") if part]
    found = [(routes, ids) for routes, ids in matches(tree(), parts) if routes]
    if not found:
        return None
    family = family_of(request.path)
    try:
        guard(request)
        state.later.catch_up()
        route, ids = pick(found, request.method)
        family = route.family
        response = respond(request, route, ids, state)
    except Exception as error:
        response = answer_error(error, request, family)
    return add_security_headers(response)


def respond(request: Request, route: Route, ids: list[str], state: State) -> Response:
    if not route.open and not request.headers.get("x-api-key", "").strip():
        # As LangSmith does, so that a client without its key fails here too.
        raise ApiError(401, "Invalid token: send a header x-api-key; this server takes any text for a key")
    if route.uploads_code and state.switches.evaluator_token:
        check_token(request, state.switches.evaluator_token)
    if refusal := _switched_off(route, state.switches):
        return refusal
    names = NAMED.findall(route.path)
    checked = {
        name: value if name in TEXTS else as_uuid(value, ["path", name]) for name, value in zip(names, ids, strict=True)
    }
    module, _, function = route.handler.partition(".")
    handler: Callable[[Call], Any] = getattr(import_module(f"localsmith.routes.{module}"), function)
    result = handler(Call(request, state.store, state.switches, checked, state.later.do))
    response = result if isinstance(result, Response) else answer(result, route.status)
    if route.ends:
        last = datetime.combine(date.fromisoformat(route.ends), time(), UTC)
        response.headers.update({"Deprecation": "true", "Sunset": http_date(last)})
    return response


def check_token(request: Request, token: str) -> None:
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


# ---------------------------------------------------------------- which route an address means

Tree = dict[str, Any]  # part of an address -> what may follow it; END: the routes by their methods
Match = tuple[dict[str, Route], list[str]]  # routes by their methods, and the ids in the address
END, ID, TEXT = "", "/id", "/text"  # as no part is
NAMED = re.compile(r"<(\w+)>")
TEXTS = {"thread_id", "index"}  # what paths hold beside ids
WORD = re.compile(r"[a-z_-]+")


@cache
def tree() -> Tree:
    """The addresses of all routes."""
    root: Tree = {}
    for route in ROUTES:
        for address in addresses(route.path):
            node = root
            for part in address.split("/")[1:]:
                name = NAMED.fullmatch(part)
                node = node.setdefault((TEXT if name[1] in TEXTS else ID) if name else part, {})
            methods = node.setdefault(END, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
    return root


def matches(node: Tree, parts: list[str]) -> Iterator[Match]:
    """What an address may mean; exact words come first.

    A word is no id, so /feedback/tokens is an unknown route rather than a malformed id.
    """
    if not parts:
        yield node.get(END, {}), []
        return
    part, *rest = parts
    if part in node:
        yield from matches(node[part], rest)
    for kind in (ID, TEXT):
        if kind in node and (kind == TEXT or not WORD.fullmatch(part)):
            yield from ((routes, [part, *ids]) for routes, ids in matches(node[kind], rest))


def pick(found: list[Match], method: str) -> tuple[Route, list[str]]:
    for routes, ids in found:
        if method in routes:
            return routes[method], ids
    raise MethodNotAllowed(sorted({method for routes, _ in found for method in routes}))


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
