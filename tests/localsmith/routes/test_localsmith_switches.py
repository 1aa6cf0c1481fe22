"""What the server refuses as LangSmith does, and what it answers once announced ends have come."""

from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from localsmith_api import Api, multipart, new_id, run

import localsmith
import recorder
from langsmith_rest.connection import connect


@pytest.fixture
def api_with(tmp_path):
    """An Api of a server with these switches."""

    @contextmanager
    def start(**switches):
        with localsmith.serve(tmp_path / "localsmith.db", **switches) as server:
            yield Api(server.url)

    return start


SCORES = {0: 200, 1: 200, -3.5: 200, 0.3333: 200, 0.0001: 200, 123456.7891: 200, 1e300: 200}
LONG = {1 / 3: 422, 0.00005: 422, 2.5e-5: 422, 0.03125: 422, 1.00005: 422, -0.00004: 422}


@pytest.mark.parametrize(("score", "status"), [*SCORES.items(), *LONG.items()], ids=str)
def test_scores_have_at_most_four_decimals(api_with, score, status):
    """In all three ways that feedback is sent, as LangSmith stores no more and rejects what is longer."""
    with api_with(score_decimals=4) as api:
        sent = run(api.experiment())
        api.runs([sent])
        plain = api.post("/feedback", {"key": "plain", "run_id": sent["id"], "score": 1})
        body = {"key": "k", "run_id": sent["id"], "trace_id": sent["id"], "score": score, "id": new_id()}
        parts, headers = multipart([(f"feedback.{body['id']}", body)])

        answers = [
            api.send("POST", "/feedback", json=body),
            api.send("PATCH", f"/feedback/{plain['id']}", json={"score": score}),
            api.session.post(f"{api.url}/runs/multipart", data=parts, headers=headers),
        ]

        assert [answer.status_code for answer in answers] == ([422] * 3 if status == 422 else [200, 200, 202])
        assert all("at most 4 decimals" in answer.text for answer in answers if status == 422)


def test_v2_queries_span_at_most_401_days(api_with):
    """Longer ones are refused, except for experiments; those without a start, or of 401 days, are answered."""
    end = datetime.now(UTC)
    with api_with(query_days=401) as api:
        project, experiment = api.experiment(), api.experiment(api.dataset(), "second")
        bodies = {
            "/api/v2/runs/query": {"project_ids": [project]},
            "/api/v2/traces/query": {"project_id": project},
            "/api/v2/threads/query": {"project_id": project},
        }
        for path, body in bodies.items():
            for days, status in ((401, 200), (402, 400)):
                times = {"min_start_time": (end - timedelta(days=days)).isoformat(), "max_start_time": end.isoformat()}
                answer = api.send("POST", path, json={**body, **times})
                assert answer.status_code == status, answer.text
            assert answer.json()["detail"] == "time_range duration exceeds maximum of 401 days"
            assert api.send("POST", path, json=body).status_code == 200
        since = {"project_ids": [experiment], "min_start_time": "2000-01-01T00:00:00Z"}
        assert api.send("POST", "/api/v2/runs/query", json=since).status_code == 200


def test_own_usage_is_what_v2_queries_give(api_with):
    """A parent's tokens are its own, which are none, unless the subtree's are asked for, or the switch is off."""
    with api_with() as api:
        session = api.experiment()
        usage = {"input_tokens": 5, "output_tokens": 7, "total_cost": 0.5}
        root = run(session)
        child = run(session, parent=root, run_type="llm", extra={"metadata": {"usage_metadata": usage}})
        api.runs([root, child])
        body = {"project_ids": [session], "is_root": True, "selects": ["TOTAL_TOKENS", "TOTAL_COST"]}

        (own,) = api.session.post(f"{api.url}/api/v2/runs/query", json=body).json()["items"]
        body["include_subtree_usage"] = True
        (whole,) = api.session.post(f"{api.url}/api/v2/runs/query", json=body).json()["items"]

        with api_with(own_usage=False) as other:
            del body["include_subtree_usage"]
            (unasked,) = other.session.post(f"{other.url}/api/v2/runs/query", json=body).json()["items"]

        assert (own["total_tokens"], own.get("total_cost")) == (0, None)
        assert (unasked["total_tokens"], unasked["total_cost"]) == (12, 0.5)
        assert (whole["total_tokens"], whole["total_cost"]) == (12, 0.5)


ENDS = {
    "2027-01-31": [("POST", "/runs/query"), ("GET", "/runs/{id}"), ("POST", "/datasets/{id}/runs")],
    "2027-04-01": [("GET", "/runs/rules")],
    "2027-07-01": [("POST", "/sessions"), ("GET", "/sessions/{id}"), ("PATCH", "/sessions/{id}")],
}


@pytest.mark.parametrize("last", ENDS)
def test_routes_are_gone_after_their_last_day(api_with, last):
    """They answer on that day and 410 from the next, when those that end later still answer."""
    day = date.fromisoformat(last)
    for works_on, gone in ((day, []), (day + timedelta(days=1), ENDS[last])):
        with api_with(works_on=works_on) as api:
            answers = {
                route: api.session.request(route[0], api.url + route[1].format(id=new_id()), json={})
                for end, routes in ENDS.items()
                if end >= last
                for route in routes
            }
        assert [route for route, answer in answers.items() if answer.status_code == 410] == gone
        assert all("Sunset" in answer.headers for answer in answers.values() if answer.status_code == 200)


def test_results_are_recorded_when_the_old_reads_are_gone(api_with):
    """Recording, recording again and the read-back work on 1 February 2027."""
    results = [{"inputs": {"q": n}, "outputs": {"a": n}, "feedback": {"good": 0.5}} for n in range(3)]
    with api_with(works_on=date(2027, 2, 1)) as api:
        first = recorder.record_langsmith_experiment(
            "d", results, experiment_name="e", langsmith=connect(api.url, "any")
        )
        again = recorder.record_langsmith_experiment(
            "d", results, experiment_name="e", langsmith=connect(api.url, "any")
        )

        assert (first.runs_recorded, first.rejected, again.rejected) == (3, [], [])
        assert api.get("/sessions", name="e")[0]["run_count"] == 3
