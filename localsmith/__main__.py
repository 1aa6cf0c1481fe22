"""`python -m localsmith`: serve a store until interrupted."""

import argparse
import sys
from datetime import date
from typing import Any

from localsmith.hosted.token import HEADER
from localsmith.server import serve
from localsmith.store import StoreError


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; print the URL first, so that a script can read it."""
    parser = argparse.ArgumentParser(
        prog="python -m localsmith",
        description="Serve LangSmith's REST API from one SQLite file, on this machine only.",
        epilog="example: python -m localsmith --db localsmith.db --port 1984",
    )
    parser.add_argument("--db", default=".localsmith/localsmith.db", help="the SQLite file (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1984, help="0 means any free port (default: %(default)s)")
    parser.add_argument(
        "--no-time-window", action="store_true", help="accept runs of any age; LangSmith refuses those beyond 24 hours"
    )
    parser.add_argument(
        "--visible-after", type=float, default=0, metavar="SECONDS", help="how long new runs stay invisible"
    )
    parser.add_argument("--run-evaluators", action="store_true", help="run uploaded evaluators, executing their code")
    parser.add_argument(
        "--works-on",
        type=date.fromisoformat,
        metavar="DATE",
        help="answer as LangSmith will on that day, without the routes that will have ended (for example 2027-02-01)",
    )
    arguments = parser.parse_args(argv)
    switches: dict[str, Any] = {"time_window_hours": None} if arguments.no_time_window else {}
    switches["visible_after_seconds"] = arguments.visible_after
    switches["run_evaluators"] = arguments.run_evaluators
    switches["works_on"] = arguments.works_on
    try:
        server = serve(arguments.db, arguments.port, **switches)
    except (StoreError, OSError) as error:
        print(f"localsmith: {error.strerror if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    if server.token:
        print(f"Uploads of evaluators need the header {HEADER}: {server.token}", file=sys.stderr)
    print(server.url, flush=True)
    server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
