"""The throwaway dataset and experiment on which `doctor` tries assumptions, and how trials talk to them."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

import rest
from langsmith_rest.connection import LangSmith, call, send
from langsmith_rest.evaluation import api as more
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording.bodies import encode, timestamp

PAUSES = (0, 1, 2, 4, 8, 15, 30)  # seconds before each attempt to read what may be stored after its 2xx


class Wrong(Exception):
    """An assumption does not hold; the message says what happened instead."""


class Bench:
    """A throwaway dataset with an experiment, and what the trials need to talk to it."""

    def __init__(self, api: LangSmith) -> None:
        self.api = api
        self.name = f"langsmith-rest-doctor-{uuid.uuid4().hex[:8]}"
        self.now = datetime.now(UTC)
        self.dataset = call(api, "POST", "/datasets", json={"name": self.name, "data_type": "kv"})
        self.example = self.new_example(1)
        self.session: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "name": self.name,
            "start_time": timestamp(self.now - timedelta(hours=21)),
            "reference_dataset_id": self.dataset["id"],
        }
        self.other = {**self.session, "id": str(uuid.uuid4()), "name": f"{self.name}-other"}  # has no runs
        self.comparison = {"id": str(uuid.uuid4()), "reference_dataset_id": self.dataset["id"]}
        self.runs: list[dict[str, Any]] = []  # that were accepted
        self.feedback = {"id": str(uuid.uuid4()), "key": "doctor", "score": 0.3333, "comment": "to be cleared"}

    def new_example(self, number: int) -> dict[str, Any]:
        fields = {"inputs": {"number": number}, "outputs": {"number": number}}
        return {"id": str(uuid.uuid4()), "dataset_id": self.dataset["id"], **fields}

    def new_run(self, age: timedelta, parent: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        start = self.now - age
        run_id = str(uuid.uuid4())
        order = f"{start:%Y%m%dT%H%M%S%f}Z{run_id}"
        tree = {"trace_id": run_id, "dotted_order": order, "reference_example_id": self.example["id"]}
        if parent:
            tree = {"trace_id": parent["trace_id"], "dotted_order": f"{parent['dotted_order']}.{order}"}
            tree["parent_run_id"] = parent["id"]
        times = {"start_time": timestamp(start), "end_time": timestamp(start + timedelta(seconds=1))}
        what = {"name": "doctor", "run_type": "chain", "inputs": {"number": 1}, "outputs": {"number": 1}}
        return {"id": run_id, "session_id": self.session["id"], **tree, **times, **what, **fields}

    def send_runs(self, *runs: dict[str, Any]) -> None:
        rest.create_runs(self.api, [encode(run) for run in runs])
        known = {run["id"] for run in self.runs}
        self.runs += [run for run in runs if run["id"] not in known]

    def roots(self) -> list[dict[str, Any]]:
        return [run for run in self.runs if "parent_run_id" not in run]

    def answer(self, method: str, path: str, **kwargs: Any) -> tuple[int, str]:
        """The status of an answer, and the server's words when it refuses."""
        try:
            return send(self.api, method, path, **kwargs).status_code, ""
        except requests.HTTPError as error:
            return error.response.status_code, str(error)

    def refused(self, statuses: tuple[int, ...], method: str, path: str, **kwargs: Any) -> str:
        status, words = self.answer(method, path, **kwargs)
        if status not in statuses:
            raise Wrong(words or f"answered {status}")
        return f"answered {status}"

    def refused_session(self, other: dict[str, Any]) -> str:
        """The answer to creating the experiment again, with another id or name."""
        try:
            rest.create_session(self.api, {**self.session, **other})
        except requests.HTTPError as error:
            if error.response.status_code == 409:
                return "answered 409"
            raise Wrong(str(error)) from None
        raise Wrong("it was created a second time")

    def clean_up(self) -> None:
        self.answer("DELETE", f"/datasets/comparative/{self.comparison['id']}")
        known = [one["id"] for one in (self.session, self.other) if rest.find_session(self.api, id=one["id"])]
        more.delete_experiments(self.api, known)
        more.delete_dataset(self.api, self.dataset["id"])


def attempts() -> Iterator[None]:
    """Wait a little longer before each attempt."""
    for pause in PAUSES:
        time.sleep(pause)
        yield


def query(bench: Bench, run: dict[str, Any], *selects: str) -> Iterator[dict[str, Any]]:
    since = bench.now - timedelta(hours=21)
    return query_runs(bench.api, bench.session["id"], ["ID", *selects], since=since, ids=[run["id"]])


def read_root(bench: Bench, run: dict[str, Any], *selects: str) -> dict[str, Any]:
    found = next(query(bench, run, *selects), None)
    if not found:
        raise Wrong("the run is not found by its id")
    return found


def ties(run: dict[str, Any]) -> dict[str, Any]:
    """The fields that tie feedback to its run."""
    place = {name: run[name] for name in ("trace_id", "session_id", "start_time")}
    return {"run_id": run["id"], **place, "feedback_source": {"type": "api"}}


def send_feedback(bench: Bench, *items: dict[str, Any]) -> None:
    run = bench.roots()[-1]
    rest.create_feedback(bench.api, {item["id"]: encode({**item, **ties(run)}) for item in items})


def await_feedback(bench: Bench, key: str, wanted: list[float]) -> list[dict[str, Any]]:
    """Wait until the scores of a key are as wanted, and return its feedback."""
    found: list[dict[str, Any]] = []
    for _ in attempts():
        listed = rest.list_feedback(bench.api, [bench.roots()[-1]["id"]])
        found = sorted((item for item in listed if item["key"] == key), key=lambda item: item["score"])
        if [item["score"] for item in found] == wanted:
            return found
    raise Wrong(f"the scores are {[item['score'] for item in found]}, not {wanted}")
