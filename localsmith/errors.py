"""Errors as answers: in the wording of the route's family, without anything that belongs only in the log."""

import logging
import sqlite3

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from localsmith.damage import REPAIR, is_damage
from localsmith.wire import ApiError, Family, error_answer

log = logging.getLogger("localsmith")


def family_of(path: str) -> Family:
    """The family of errors for an address that no route answers."""
    if path.startswith(("/v2/", "/api/v2/")):
        return "problem"
    if "/platform/" in path:
        return "go"
    return "python"


def answer_error(error: Exception, request: Request, family: Family | None = None) -> Response:
    """Turn any exception into JSON; unexpected ones go to the log, never into the answer."""
    return error_answer(family or family_of(request.path), _as_api_error(error, request), request.path)


def _as_api_error(error: Exception, request: Request) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _from_http(error, request)
    if isinstance(error, sqlite3.OperationalError):
        return _from_sqlite(error)
    if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
        return ApiError(507, f"The store is damaged ({error}): {REPAIR}. Nothing of this request was stored")
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return ApiError(500, "Internal server error: see the server's log")


def _from_http(error: HTTPException, request: Request) -> ApiError:
    status = error.code or 500
    route = f"{request.method} {request.path[:200]}"
    messages = {
        404: f"Not Found: {route} is not in this embedded store; docs/clients.md lists what is",
        405: f"Method Not Allowed: {route}",
    }
    found = ApiError(status, messages.get(status, f"{error.name}: {error.description}"))
    if allowed := getattr(error, "valid_methods", None):
        found.headers["Allow"] = ", ".join(allowed)
    return found


# SQLite's limits on one statement, as it words them.
TOO_COMPLEX = ("too large", "too complex", "too many", "stack overflow")


def _from_sqlite(error: sqlite3.OperationalError) -> ApiError:
    if any(words in str(error) for words in TOO_COMPLEX):
        return ApiError(400, f"The query is too complex: {error}")
    if "full" in str(error):
        return ApiError(507, "The store cannot grow: the disk is full. Nothing of this request was stored")
    if "readonly" in str(error):
        advice = "make the file and its folder writable again"
        return ApiError(507, f"The store has become read-only: {advice}. Nothing of this request was stored")
    busy = ApiError(503, f"The store cannot be used now: {error}. Nothing of this request was stored")
    busy.headers["Retry-After"] = "1"
    return busy
