"""The guard: a server on loopback is still reachable from every web page the user opens."""

from typing import TypeVar

from werkzeug.wrappers import Request, Response

from localsmith.wire import ApiError

R = TypeVar("R", bound=Response)

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


def guard(request: Request) -> None:
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


def add_security_headers(response: R) -> R:
    own = {name.lower() for name, _ in response.headers}
    response.headers.extend([(name, value) for name, value in SECURITY_HEADERS.items() if name.lower() not in own])
    return response
