"""The HTTP calls beyond recording, one function each. Runs have the v2 form, whichever API served them."""

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

import rest
from langsmith_rest import connection
from langsmith_rest.connection import LangSmith
from langsmith_rest.errors import NotFound, SetupError
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import in_batches
from langsmith_rest.recording.sending import refuse_taken
from langsmith_rest.wording import counted

PAGE = 100  # the most that a list endpoint gives at once
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
LATEST = re.compile(r"latest(?:~(\d{1,6}))?")


# ---------------------------------------------------------------- datasets and examples


def read_dataset(api: LangSmith, dataset_id: str) -> dict:
    """The dataset with this id; raises LookupError if there is none."""
    if found := rest.find_dataset(api, dataset_id.lower(), "id"):
        return found
    raise NotFound(f"No dataset has the id {dataset_id}.")


def find_dataset(api: LangSmith, name: str) -> dict:
    """The dataset with this name; raises LookupError with similar names if there is none."""
    if found := rest.find_dataset(api, name):
        return found
    known = [dataset["name"] for _, dataset in zip(range(1000), list_datasets(api), strict=False)]
    raise NotFound(f"No dataset {name!r}{offer(name, known) or ': there are none yet.'}")


def get_or_create_dataset(api: LangSmith, name: str, experiment: str | None = None) -> tuple[dict, bool]:
    """The dataset of that name, and whether it was created just now.

    Raises LookupError, and creates nothing, if another dataset has the `experiment` that is to be recorded.
    """
    found = rest.find_dataset(api, name)
    if experiment and (session := rest.find_session(api, name=experiment)):
        refuse_taken(api, session, found["id"] if found else None)
    return (found, False) if found else rest.create_dataset(api, name)


def server_time(api: LangSmith) -> datetime:
    """The server's clock, rounded up to a second; ours if the server does not say."""
    said = connection.send(api, "GET", "/info").headers.get("Date")
    try:
        return parsedate_to_datetime(said or "") + timedelta(seconds=1)
    except ValueError:
        return datetime.now(UTC)


def list_datasets(api: LangSmith) -> Iterator[dict]:
    """Yield all datasets, the one with the newest experiment first."""
    return pages(api, "/datasets", {})


def list_examples(api: LangSmith, dataset_id: str, **query: Any) -> Iterator[dict]:
    """Yield every example of a dataset; `splits`, `as_of`, `order`, `select`, ... are those of the API."""
    return pages(api, "/examples", {"dataset": dataset_id, **query})


# ---------------------------------------------------------------- experiments


def list_sessions(api: LangSmith, **query: Any) -> Iterator[dict]:
    """Yield experiments; filter by `name`, `name_contains`, `reference_dataset` (an id), ..."""
    return pages(api, "/sessions", query)


def find_experiment(api: LangSmith, name: str, dataset_id: str | None = None) -> dict:
    """The experiment with this name or id, of one dataset if `dataset_id` is given.

    `latest` is the one that started last and `latest~1` the one before it, unless an experiment has that very name.

    Raises LookupError with similar names if there is none, and with the datasets if there are several.
    """
    of_dataset = {"reference_dataset": dataset_id} if dataset_id else {}
    found = list(list_sessions(api, name=name, **of_dataset))
    if not found and UUID.fullmatch(name):
        found = list(list_sessions(api, id=name, **of_dataset))
    found = [session for session in found if session.get("reference_dataset_id")]  # others are tracing projects
    if len(found) > 1:
        datasets = ", ".join(sorted(session["reference_dataset_id"] for session in found))
        raise LookupError(f"Experiment {name!r} exists in several datasets ({datasets}): say which with --dataset.")
    if not found and (back := LATEST.fullmatch(name)):
        return find_latest(api, int(back[1] or 0), dataset_id)
    if not found:
        raise NotFound(f"No experiment {name!r}{near_names(api, name, dataset_id)}")
    return found[0]


def find_latest(api: LangSmith, back: int, dataset_id: str | None) -> dict:
    """The experiment that started last, or `back` before it; raises LookupError if there are too few."""
    query = {"reference_dataset": dataset_id} if dataset_id else {"reference_free": "false"}
    newest = list(itertools.islice(list_sessions(api, sort_by="start_time", **query), back + 1))
    if len(newest) > back:
        return newest[back]
    where = "in this dataset" if dataset_id else "here"
    count = counted(len(newest), "experiment") if newest else "no experiment"
    raise NotFound(f"No experiment 'latest~{back}': there {'is' if len(newest) < 2 else 'are'} {count} {where}.")


def near_names(api: LangSmith, name: str, dataset_id: str | None) -> str:
    """The end of an error message: similar names among the newest 1,000 experiments."""
    query = {"reference_dataset": dataset_id} if dataset_id else {"reference_free": "false"}
    known = [session["name"] for _, session in zip(range(1000), list_sessions(api, **query), strict=False)]
    nothing = " in this dataset: it has no experiments." if dataset_id else ": there are no experiments yet."
    return offer(name, known) or nothing


def find_project(api: LangSmith, name: str) -> dict:
    """The tracing project or experiment with this name or id; raises LookupError with similar names."""
    found = rest.find_session(api, name=name)
    if not found and UUID.fullmatch(name):
        found = rest.find_session(api, id=name)
    if found:
        return found
    known = [
        session["name"] for _, session in zip(range(1000), list_sessions(api, reference_free="true"), strict=False)
    ]
    raise NotFound(f"No project {name!r}{offer(name, known) or ': there are none yet.'}")


def offer(name: str, known: Sequence[str]) -> str:
    """The end of an error message: the most similar names, else the first ones; empty if there are none."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [other for other in known if other.startswith(name) and other not in near][: 3 - len(near)]
    if near:
        return f". Did you mean {' or '.join(map(repr, near))}?"
    return f"; there are, for example, {', '.join(map(repr, known[:3]))}." if known else ""


# ---------------------------------------------------------------- feedback


def list_session_feedback(api: LangSmith, session_id: str, **query: Any) -> Iterator[dict]:
    """Yield the feedback of an experiment's runs and of the experiment; `key`, `level`, ... filter it."""
    return pages(api, "/feedback", {"session": session_id, **query})


def create_feedback(api: LangSmith, items: Iterable[Mapping[str, Any]]) -> None:
    """Create up to 100 pieces of feedback."""
    rest.create_feedback(api, {item["id"]: bodies.encode(item) for item in items})


def create_one_feedback(api: LangSmith, item: dict) -> None:
    """Create feedback of an experiment itself, under a deterministic id."""
    try:
        connection.send(api, "POST", "/feedback", json=item)
    except requests.HTTPError as error:
        if error.response.status_code != 409:  # there already
            raise


def delete_experiments(api: LangSmith, session_ids: Sequence[str]) -> None:
    """Delete experiments with their runs and feedback."""
    for some in in_batches(session_ids):
        connection.send(api, "DELETE", "/sessions", params={"session_ids": some})


def delete_dataset(api: LangSmith, dataset_id: str) -> None:
    """Delete a dataset with its examples; its experiments may stay."""
    connection.send(api, "DELETE", f"/datasets/{dataset_id}")


def delete_feedback(api: LangSmith, feedback_id: str) -> None:
    connection.send(api, "DELETE", f"/feedback/{feedback_id}")


def create_comparative(api: LangSmith, comparative: dict) -> None:
    """Create a comparative experiment under a deterministic id; an existing one is left unchanged."""
    try:
        connection.send(api, "POST", "/datasets/comparative", json=comparative)
    except requests.HTTPError as error:
        if error.response.status_code != 409:
            raise


def read_page(api: LangSmith, path: str, query: dict[str, Any]) -> list[dict]:
    """One page of a list endpoint; raises SetupError when another kind of server answers."""
    page = connection.call(api, "GET", path, params=query) or []
    if not isinstance(page, list):
        raise SetupError(f"{api.url} answers {path}, but not as LangSmith would: is it the address of the API?")
    return page


def pages(api: LangSmith, path: str, query: dict[str, Any]) -> Iterator[dict]:
    """Yield the items of a list endpoint, page by page."""
    offset = 0
    while page := read_page(api, path, {**query, "limit": PAGE, "offset": offset}):
        yield from page
        if len(page) < PAGE:
            return
        offset += PAGE
