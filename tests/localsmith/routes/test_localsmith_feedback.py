"""Feedback: on runs and sessions, sent twice, corrected, counted."""

import pytest
from localsmith_api import Api, new_id, run


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def scored(api):
    """A session with one run."""
    session = api.experiment()
    sent = run(session)
    api.runs([sent])
    return session, sent["id"]


def test_feedback_belongs_to_its_runs_session(api, scored):
    """Session and trace are the run's own, whatever was left out."""
    session, run_id = scored

    made = api.post("/feedback", {"run_id": run_id, "key": "correct", "score": True, "comment": "ok"})

    assert (made["session_id"], made["trace_id"], made["score"], made["is_root"]) == (session, run_id, 1.0, True)
    assert api.get(f"/feedback/{made['id']}") == made
    assert api.get("/feedback", session=session) == [made]


def test_feedback_for_an_unknown_run_is_404(api):
    """The SDK retries this, since its run may be on the way."""
    response = api.send("POST", "/feedback", json={"run_id": new_id(), "key": "k", "score": 1})

    assert (response.status_code, response.json()) == (404, {"detail": "Resource not found"})


def test_same_feedback_twice_is_one(api, scored):
    """The same id with the same content changes nothing; other content is a conflict."""
    session, run_id = scored
    body = {"id": new_id(), "run_id": run_id, "key": "k", "score": 1, "value": {"a": [1]}}
    first = api.post("/feedback", body)

    assert api.post("/feedback", {**body, "created_at": "2026-01-01T00:00:00Z", "comment": None}) == first
    assert api.send("POST", "/feedback", json={**body, "score": 0}).status_code == 409
    assert api.get("/feedback", run=run_id) == [first]


def test_two_scores_of_one_key_are_averaged(api, scored):
    """There is no upsert by run and key."""
    session, run_id = scored
    for score in (1, 0):
        api.post("/feedback", {"run_id": run_id, "key": "k", "score": score})

    assert api.get(f"/runs/{run_id}")["feedback_stats"] == {"k": {"n": 2, "avg": 0.5, "values": {}}}


def test_categories_are_counted_apart_from_scores(api, scored):
    """`n` counts scores; a value without a score is in `values` only."""
    session, run_id = scored
    api.post("/feedback", {"run_id": run_id, "key": "tone", "value": "KIND", "comment": "soft"})
    api.post("/feedback", {"run_id": run_id, "key": "tone", "value": "KIND"})

    v1 = api.get(f"/runs/{run_id}")["feedback_stats"]["tone"]
    v2 = api.get(f"/api/v2/runs/{run_id}", project_id=session, selects="FEEDBACK_STATS")["feedback_stats"]["tone"]

    assert v1 == {"n": 0, "avg": None, "values": {"KIND": 2}}
    assert (v2["values"], v2["comments"], v2["errors"]) == ({"KIND": 2}, ["soft"], 0)


def test_details_are_those_of_one_key_however_much_others_have(api, scored):
    """Keys with one score, with several, and with values beside scores, in one answer."""
    session, run_id = scored
    given = [("b", 1, None), ("a", 1, None), ("b", 0, None), ("c", None, "x"), ("c", 0.5, None), ("b", None, "x")]
    for key, score, value in given:
        api.post("/feedback", {"run_id": run_id, "key": key, "score": score, "value": value, "comment": key * 2})

    v2 = api.get(f"/api/v2/runs/{run_id}", project_id=session, selects="FEEDBACK_STATS")["feedback_stats"]

    told = {key: (of["n"], of["min"], of["max"], of["avg"], of["stdev"], of["values"]) for key, of in v2.items()}
    assert told == {
        "a": (1, 1, 1, 1, 0, {}),
        "b": (2, 0, 1, 0.5, 0.5, {"x": 1}),
        "c": (1, 0.5, 0.5, 0.5, 0, {"x": 1}),
    }
    assert [v2[key]["comments"] for key in "abc"] == [["aa"], ["bb"] * 3, ["cc"] * 2]


def test_failed_evaluator_is_an_error_and_no_score(api, scored):
    session, run_id = scored
    api.post("/feedback", {"run_id": run_id, "key": "judge", "error": True, "comment": "Timeout()"})

    stats = api.get(f"/api/v2/runs/{run_id}", project_id=session, selects="FEEDBACK_STATS")["feedback_stats"]

    assert (stats["judge"]["n"], stats["judge"]["errors"], stats["judge"]["avg"]) == (0, 1, None)


def test_patch_corrects_and_delete_removes(api, scored):
    session, run_id = scored
    made = api.post("/feedback", {"run_id": run_id, "key": "k", "score": 0, "comment": "no"})

    api.patch(f"/feedback/{made['id']}", {"score": 1, "correction": {"a": "Lima"}})

    got = api.get(f"/feedback/{made['id']}")
    assert (got["score"], got["comment"], got["correction"]) == (1.0, "no", {"a": "Lima"})
    api.delete(f"/feedback/{made['id']}")
    assert api.send("GET", f"/feedback/{made['id']}").status_code == 404


def test_lists_are_narrowed(api, scored):
    """level, source, has_comment, has_score, key and comparison each narrow the list."""
    session, run_id = scored
    comparison = new_id()
    source = {"type": "model", "metadata": {}}
    api.post("/feedback", {"run_id": run_id, "key": "a", "score": 1, "comment": "c", "feedback_source": source})
    api.post("/feedback", {"session_id": session, "key": "b", "score": 1})
    api.post("/feedback", {"run_id": run_id, "key": "c", "value": "x", "comparative_experiment_id": comparison})

    def keys(**params):
        return "".join(sorted(one["key"] for one in api.get("/feedback", **params)))

    assert keys(level="run") == "ac"
    assert keys(level="session") == "b"
    assert keys(source="model") == keys(has_comment="true") == "a"
    assert keys(has_score="false") == keys(comparative_experiment_id=comparison) == "c"
    assert keys(key=["a", "b"]) == "ab"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"key": None}, "key"),
        ({"key": "k" * 181}, "key"),
        ({"score": "high"}, "score"),
        ({"value": [1]}, "value"),
        ({"id": "7"}, "id"),
        ({"feedback_source": {"type": "ghost"}}, "type"),
        ({"run_id": None}, "body"),
    ],
)
def test_wrong_feedback_is_422_at_its_field(api, scored, change, field):
    body = {"run_id": scored[1], "key": "k", "score": 1, **change}

    response = api.session.post(f"{api.url}/feedback", json=body)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][-1] == field


def test_pairwise_feedback_of_other_comparisons_is_left_out(api):
    """The compare call shows ordinary feedback, and that of the comparison that is named."""
    dataset = api.dataset()
    example = api.examples(dataset, 1)[0]
    session = api.experiment(dataset)
    sent = run(session, reference_example_id=example)
    api.runs([sent])
    mine, other = new_id(), new_id()
    for comparison, score in ((None, 1), (mine, 1), (other, 0)):
        extra = {"comparative_experiment_id": comparison} if comparison else {}
        api.post("/feedback", {"run_id": sent["id"], "key": "pref", "score": score, **extra})
    body = {"session_ids": [session]}

    row = api.post(f"/datasets/{dataset}/runs", {**body, "comparative_experiment_id": mine})[0]["runs"][0]
    ordinary = api.post(f"/datasets/{dataset}/runs", body)[0]["runs"][0]

    assert row["feedback_stats"]["pref"]["n"] == len(row["feedbacks"]) == 2
    assert ordinary["feedback_stats"]["pref"]["n"] == len(ordinary["feedbacks"]) == 1


def test_feedback_sent_again_with_another_spelling_of_its_score_is_the_same(api, scored):
    """1 and 1.0 are one number, in JSON as in Python."""
    body = {"id": new_id(), "run_id": scored[1], "key": "correct", "score": 1}
    api.post("/feedback", body)

    assert api.send("POST", "/feedback", json={**body, "score": 1.0}).status_code == 200
    assert api.send("POST", "/feedback", json={**body, "score": 1.5}).status_code == 409


def test_feedback_of_a_failed_evaluator_that_is_corrected_has_failed_no_longer(api, scored):
    body = {"id": new_id(), "run_id": scored[1], "key": "correct", "error": True, "comment": "timeout"}
    assert api.post("/feedback", body)["error"] is True

    commented = api.patch(f"/feedback/{body['id']}", {"comment": "still broken"})
    corrected = api.patch(f"/feedback/{body['id']}", {"score": 0.5})

    assert commented["error"] is True
    assert "error" not in corrected and corrected["score"] == 0.5


@pytest.mark.parametrize(
    ("scores", "mean", "deviation"),
    [
        ([1.7e308, 1.7e308], 1.7e308, 0),
        ([1.7e308, -1.7e308], 0, 1.7e308),
        ([1e200, -1e200, 1e200], 1e200 / 3, None),
        ([1e9, 1e9 + 1, 1e9 + 2], 1e9 + 1, 0.816496580927726),
        ([0.5], 0.5, 0),
    ],
)
def test_statistics_of_huge_scores_are_numbers(api, scored, scores, mean, deviation):
    """JSON knows no Infinity, and the deviation of large neighbours is not rounded away."""
    session, run_id = scored
    for score in scores:
        api.post("/feedback", {"run_id": run_id, "key": "size", "score": score})

    v1 = api.get(f"/sessions/{session}", include_stats=True)["feedback_stats"]["size"]
    body = {"project_ids": [session], "selects": ["FEEDBACK_STATS"]}
    v2 = api.post("/api/v2/runs/query", body)["items"][0]["feedback_stats"]["size"]

    assert v1["avg"] == v2["avg"] == pytest.approx(mean)
    assert deviation is None or v2["stdev"] == pytest.approx(deviation)


def test_a_number_and_its_text_are_counted_together(api, scored):
    for value in ("1", 1, 1):
        api.post("/feedback", {"run_id": scored[1], "key": "kind", "value": value})

    assert api.get(f"/sessions/{scored[0]}", include_stats=True)["feedback_stats"]["kind"]["values"] == {"1": 3}
