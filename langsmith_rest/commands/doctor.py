"""`doctor`: where results would be recorded, whether that works, and whether LangSmith behaves as we assume."""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import dotenv
import requests

from langsmith_rest import connection, local
from langsmith_rest.commands.assumptions import try_all
from langsmith_rest.commands.connecting import Connect, is_local
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import read_page
from langsmith_rest.wording import Say, clean

DESCRIPTION = """Show where the key and the endpoint come from and whether they work, which APIs
answer, the limits, the clock, the proxy, and where the local store is. Without
--write, nothing is changed."""
EXAMPLES = """Exit code 0: all is well. 1: something is wrong.

examples:
  %(prog)s
  %(prog)s --write"""
GOOD, WRONG = "ok", "wrong"
MOST_SKEW = timedelta(minutes=1)  # runs from the future are refused, and ours are stamped by this machine
Check = dict[str, str]  # name, verdict, found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--write", action="store_true", help="also record, read back, change and delete a throwaway dataset")
    add("--json", action="store_true", help="print one JSON object")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Check everything, print a line for each check as it is done, and return 1 when something is wrong."""
    found: dict[str, list[Check]] = {"checks": [], "assumptions": []}

    def note(kind: str, check: Check) -> None:
        found[kind].append(check)
        if not options.json:
            print(clean(f"{check['verdict']:9}  {check['name']}{': ' if check['found'] else ''}{check['found']}"))

    for check in of_this_machine():
        note("checks", check)
    if is_local() and not local.database().exists() and not options.write:
        say("There is no local store yet: recording creates it.")
        return finish(found, None, options)
    with connect("checking") as api:
        for check in of_the_server(api):
            note("checks", check)
        works = all(check["verdict"] != WRONG for check in found["checks"])
        if options.write and works:
            for check in try_all(api):
                note("assumptions", check)
    if options.write and not works:
        say("Nothing was written: first fix what is wrong above.")
    return finish(found, api.url, options)


def finish(found: dict[str, list[Check]], endpoint: str | None, options: argparse.Namespace) -> int:
    """Print the JSON, if asked for, and return the exit code."""
    if options.json:
        print(json.dumps({"endpoint": endpoint, **found}))
    return 1 if any(check["verdict"] == WRONG for kind in found.values() for check in kind) else 0


# ---------------------------------------------------------------- settings


def of_this_machine() -> Iterator[Check]:
    """The settings, and where each comes from; a key is never shown."""
    values, key = connection.settings(), source_of("API_KEY")
    unused = ", which is not used: the endpoint is the local store" if key and is_local() else ""
    yield {"name": "key", "verdict": GOOD, "found": f"{key}{unused}" if key else "not set"}
    endpoint = values.get("LANGSMITH_ENDPOINT")
    default = "the local store" if is_local() else connection.DEFAULT_ENDPOINT
    is_sound = not endpoint or is_local() or connection.ENDPOINT_FORM.fullmatch(endpoint.strip(connection.STRAY))
    shown = endpoint if is_sound else "not an address"  # it may hold a password
    found = f"{shown}, from {source_of('ENDPOINT')}" if endpoint else f"not set, so {default}"
    yield {"name": "endpoint", "verdict": GOOD if is_sound else WRONG, "found": found}
    if workspace := source_of("WORKSPACE_ID"):
        yield {"name": "workspace", "verdict": GOOD, "found": f"from {workspace}"}
    path = local.database()
    view = local.running_view(path)
    state = f"served at {view}" if view else "not served at the moment" if path.exists() else "not created yet"
    yield {"name": "local store", "verdict": GOOD, "found": f"{path}, {state}"}


def source_of(setting: str) -> str | None:
    """The variable that a setting comes from, and whether of the environment or of a file; None if it is not set."""
    file = dotenv.find_dotenv(usecwd=True)
    in_file = dotenv.dotenv_values(file) if file else {}
    for name in (f"LANGSMITH_{setting}", f"LANGCHAIN_{setting}"):
        for value, place in ((os.environ.get(name), "the environment"), (in_file.get(name), file)):
            if value and value.strip(connection.STRAY):
                return f"{name} of {place}"
    return None


# ---------------------------------------------------------------- the server


def of_the_server(api: LangSmith) -> Iterator[Check]:
    """Whether the server is reachable and accepts the key; stops when further checks make no sense."""
    proxies = {scheme: urlsplit(address).hostname or "?" for scheme, address in api.session.proxies.items() if address}
    proxy = proxies.get(urlsplit(api.url).scheme) or proxies.get("all")
    yield {"name": "proxy", "verdict": GOOD, "found": f"through {proxy}" if proxy else "none"}
    begin = time.monotonic()
    try:
        answer = connection.send(api, "GET", "/info")
        info = answer.json()
    except (requests.RequestException, ValueError) as error:
        yield {"name": "server", "verdict": WRONG, "found": f"{error}"}
        return
    seconds = time.monotonic() - begin
    version = info.get("version", "unknown") if isinstance(info, dict) else "unknown"
    found = f"{api.url} answers in {1000 * seconds:.0f} ms, version {version}"
    yield {"name": "server", "verdict": GOOD, "found": found}
    yield clock(answer.headers.get("Date"))
    config = (info.get("batch_ingest_config") if isinstance(info, dict) else None) or {}
    limits = [f"{config['size_limit']} runs"] if config.get("size_limit") else []
    limits += [f"{config['size_limit_bytes'] / 2**20:.0f} MiB"] if config.get("size_limit_bytes") else []
    yield {"name": "limits", "verdict": GOOD, "found": " and ".join(limits) + " per request" if limits else "not told"}
    claim = "key accepted" if source_of("API_KEY") and not is_local() else "no key needed"
    allowed = attempt(claim, lambda: read_page(api, "/datasets", {"limit": 1}))
    yield allowed
    if allowed["verdict"] != WRONG:
        yield from generations(api)


def clock(date: str | None) -> Check:
    """How far this machine's clock is from the server's."""
    try:
        skew = datetime.now(UTC) - parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return {"name": "clock", "verdict": "unknown", "found": "the server does not send the time"}
    off = f"{abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} the server's"
    if abs(skew) > MOST_SKEW:
        return {"name": "clock", "verdict": WRONG, "found": f"{off}: set the clock, or runs may be refused"}
    return {"name": "clock", "verdict": GOOD, "found": f"{off} (whole seconds)"}


def attempt(name: str, ask: Callable[[], Any]) -> Check:
    try:
        ask()
    except (requests.RequestException, connection.SetupError) as error:
        return {"name": name, "verdict": WRONG, "found": str(error)}
    return {"name": name, "verdict": GOOD, "found": ""}


def generations(api: LangSmith) -> Iterator[Check]:
    """Which APIs to read runs answer; one of them is enough."""
    sessions = read_page(api, "/sessions", {"limit": 1})
    if not sessions:
        yield {"name": "reading runs", "verdict": "unknown", "found": "not tried, because there is no project yet"}
        return
    now = datetime.now(UTC)
    window = {"min_start_time": (now - timedelta(hours=1)).isoformat(), "max_start_time": now.isoformat()}
    new = {"project_ids": [sessions[0]["id"]], "page_size": 1, "selects": ["ID"], **window}
    old = {"session": [sessions[0]["id"]], "limit": 1, "select": ["id"]}
    v2 = attempt("v2", lambda: connection.call(api, "POST", "/api/v2/runs/query", json=new))
    v1 = attempt("v1", lambda: connection.call(api, "POST", "/runs/query", json=old))
    works = [check["name"] for check in (v2, v1) if check["verdict"] == GOOD]
    failed = "; ".join(check["found"] for check in (v2, v1) if check["verdict"] == WRONG)
    found = f"{' and '.join(works)} {'answer' if len(works) == 2 else 'answers'}" if works else failed
    yield {"name": "reading runs", "verdict": GOOD if works else WRONG, "found": found}
