"""Run reads of both generations over the same data, and their switches."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from localsmith_api import Api, new_id, run

import localsmith
import rest
from langsmith_rest import connection
from localsmith.runs.reading import V2
from recorder import record_langsmith_experiment


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def five(api):
    """A session with five roots, the first the oldest."""
    session = api.experiment()
    runs = [run(session, seconds_ago=100 - i) for i in range(5)]
    api.runs(runs)
    return session, [one["id"] for one in runs]


@pytest.mark.parametrize("prefix", ["", "/api/v1", "/api"])
def test_every_prefix_reaches_the_v1_routes(server, prefix):
    """Clients put /api/v1, /api or nothing before a route."""
    api = Api(server.url, prefix=prefix)

    dataset = api.dataset()

    assert api.get(f"/datasets/{dataset}")["id"] == dataset


@pytest.mark.parametrize("path", ["/v2/runs/query", "/api/v2/runs/query"])
def test_both_v2_addresses_answer(api, five, path):
    session, ids = five

    assert len(api.post(path, {"project_ids": [session]})["items"]) == 5


def test_v1_pages_newest_first_until_there_is_no_cursor(api, five):
    """Following cursors.next visits every run once."""
    session, ids = five
    body = {"session": [session], "limit": 2, "select": ["id"]}
    seen, cursor = [], None

    for _ in range(3):
        page = api.post("/runs/query", {**body, **({"cursor": cursor} if cursor else {})})
        seen += [one["id"] for one in page["runs"]]
        cursor = page["cursors"]["next"]

    assert seen == ids[::-1]
    assert cursor is None


def test_v2_pages_newest_first_until_there_is_no_cursor(api, five):
    session, ids = five
    body = {"project_ids": [session], "page_size": 3}

    first = api.post("/api/v2/runs/query", body)
    second = api.post("/api/v2/runs/query", {**body, "cursor": first["next_cursor"]})

    assert [one["id"] for one in first["items"] + second["items"]] == ids[::-1]
    assert not second["next_cursor"]


def test_runs_that_arrive_while_paging_move_no_page(api, five):
    """A cursor names a place in time, not a count."""
    session, ids = five
    body = {"project_ids": [session], "page_size": 3}
    first = api.post("/api/v2/runs/query", body)
    api.runs([run(session, seconds_ago=1)])

    second = api.post("/api/v2/runs/query", {**body, "cursor": first["next_cursor"]})

    assert [one["id"] for one in second["items"]] == ids[1::-1]


@pytest.mark.parametrize("cursor", ["nonsense", "e30=", "WzEsMiwzXQ==", "é"])
def test_foreign_cursor_is_400(api, five, cursor):
    session, _ = five

    response = api.send("POST", "/api/v2/runs/query", json={"project_ids": [session], "cursor": cursor})

    assert response.status_code == 400
    assert "cursor" in response.json()["detail"]


def test_v2_without_selects_gives_ids_only(api, five):
    session, _ = five

    items = api.post("/api/v2/runs/query", {"project_ids": [session]})["items"]

    assert {tuple(one) for one in items} == {("id",)}


def test_v2_shows_its_own_forms(api):
    """Upper-case enums, number costs, wrapped details, parents as a list, metadata in two places."""
    session = api.experiment()
    usage = {"input_tokens": 3, "output_tokens": 2, "total_cost": 0.25, "input_token_details": {"cache_read": 1}}
    root = run(session, took=2.5)
    child = run(session, parent=root, run_type="llm", extra={"metadata": {"usage_metadata": usage}}, end_time=None)
    api.runs([root, child])

    selects = "RUN_TYPE STATUS TOTAL_COST PROMPT_TOKEN_DETAILS PARENT_RUN_IDS METADATA EXTRA END_TIME ERROR".split()
    got = api.get(f"/api/v2/runs/{child['id']}", project_id=session, selects=selects)
    top = api.get(f"/api/v2/runs/{root['id']}", project_id=session, selects=["LATENCY_SECONDS", "IS_ROOT"])

    assert got == {
        "run_type": "LLM",
        "status": "PENDING",
        "total_cost": 0.25,
        "prompt_token_details": {"raw": {"cache_read": 1}},
        "parent_run_ids": [root["id"]],
        "metadata": {"usage_metadata": usage},
        "extra": {"metadata": {"usage_metadata": usage}},
        "end_time": None,
    }
    assert top == {"latency_seconds": 2.5, "is_root": True}


def test_v2_looks_back_one_day_unless_told(tmp_path):
    """The default window hides older runs, for ids too; bounds are inclusive."""
    with localsmith.serve(tmp_path / "old.db", time_window_hours=None) as server:
        api = Api(server.url)
        session = api.experiment()
        old = run(session, seconds_ago=2 * 86_400)
        api.runs([old])

        assert api.query(session) == api.query(session, ids=[old["id"]]) == []
        assert api.query(session, min_start_time=old["start_time"], max_start_time=old["start_time"]) == [old["id"]]
        assert api.post("/runs/query", {"session": [session]})["runs"][0]["id"] == old["id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"project_ids": []}, 400),
        ({"project_ids": ["x"]}, 422),
        ({"project_ids": [new_id()]}, 404),
        ({"page_size": 0}, 400),
        ({"page_size": 1001}, 400),
        ({"selects": ["NOPE"]}, 400),
        ({"filter": "eq("}, 400),
    ],
)
def test_v2_errors_are_problem_details(api, five, body, status):
    session, _ = five
    body = body if not body or "project_ids" in body else {"project_ids": [session], **body}

    response = api.send("POST", "/api/v2/runs/query", json=body)

    assert response.status_code == response.json()["status"] == status
    assert {"type", "title", "detail", "instance"} <= response.json().keys()


def test_v1_query_needs_a_scope(api):
    response = api.send("POST", "/runs/query", json={"is_root": True})

    assert response.status_code == 400
    assert response.json()["detail"].startswith("At least one of 'session', 'id', 'parent_run', 'trace'")


def test_v1_limit_beyond_a_hundred_is_400(api, five):
    response = api.session.post(f"{api.url}/runs/query", json={"session": [five[0]], "limit": 101})

    assert (response.status_code, response.json()) == (400, {"detail": "Limit exceeds maximum allowed value of 100"})


def test_trace_comes_as_a_tree_in_order(api):
    """Root and children by start time; two bounds or none."""
    session = api.experiment()
    root = run(session)
    child = run(session, parent=root, seconds_ago=30)
    leaf = run(session, parent=child, seconds_ago=20)
    api.runs([leaf, root, child])
    path = f"/api/v2/traces/{root['id']}/runs"

    items = api.get(path, project_id=session, selects=["ID", "PARENT_RUN_IDS"])["items"]

    assert [one["parent_run_ids"] for one in items] == [[], [root["id"]], [root["id"], child["id"]]]
    half = api.send("GET", path, params={"project_id": session, "min_start_time": root["start_time"]})
    assert half.status_code == 400


def test_trace_filter_returns_whole_trees(api):
    """The condition is on the root, the answer holds all its runs."""
    session = api.experiment()
    wanted, other = run(session, name="wanted"), run(session, name="other")
    trees = [wanted, run(session, parent=wanted), other, run(session, parent=other)]
    api.runs(trees)

    found = api.query(session, trace_filter='eq(name, "wanted")')
    above = api.query(session, tree_filter='eq(name, "other")', is_root=True)

    assert set(found) == {one["id"] for one in trees[:2]}
    assert above == [other["id"]]


@pytest.fixture
def compared(api):
    """Three examples, two experiments, one run each; the first experiment has a score per run."""
    dataset = api.dataset()
    examples = api.examples(dataset, 3)
    sessions = [api.experiment(dataset, name) for name in "ab"]
    runs = [
        [run(session, reference_example_id=example, took=i) for i, example in enumerate(examples)]
        for session in sessions
    ]
    for some in runs:
        api.runs(some)
    for one, score in zip(runs[0], (1, 0, 0.5), strict=True):
        api.post("/feedback", {"run_id": one["id"], "session_id": sessions[0], "key": "correct", "score": score})
    return dataset, examples, sessions, runs


def test_experiment_runs_come_by_example(api, compared):
    """One item per example, with the runs of every experiment asked for."""
    dataset, examples, sessions, runs = compared
    body = {"experiment_ids": sessions, "page_size": 2, "selects": ["ID", "PROJECT_ID", "FEEDBACK_STATS"]}
    path = f"/api/v2/datasets/{dataset}/experiment-runs"

    first = api.post(path, body)
    second = api.post(path, {**body, "cursor": first["next_cursor"]})

    items = first["items"] + second["items"]
    assert [item["id"] for item in items] == examples
    assert {one["project_id"] for one in items[0]["runs"]} == set(sessions)
    assert items[0]["runs"][0]["feedback_stats"]["correct"]["avg"] == 1
    assert not second["next_cursor"]


def test_each_field_is_the_same_alone_and_among_all(api, compared):
    """Only the columns that a field is made of are read."""
    dataset, examples, sessions, _ = compared
    usage = {"input_tokens": 4, "input_token_details": {"cached": 1}, "input_cost_details": {"cached": 0.5}}
    extra = {"metadata": {"thread_id": new_id(), "usage_metadata": usage}}
    events = [{"name": "new_token", "time": "2026-01-01T00:00:00Z"}]
    more = {"extra": extra, "error": "boom", "tags": ["a"], "events": events, "serialized": {"id": ["x"]}}
    api.runs([run(sessions[0], run_type="llm", reference_example_id=examples[0], **more)])

    def select(*names):
        body = {"experiment_ids": sessions, "selects": names}
        items = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", body)["items"]
        return [run for item in items for run in item["runs"]]

    whole = select(*(name.upper() for name in V2))

    for name in V2:
        expected = [{name: run[name]} if name in run else {} for run in whole]
        assert select(name.upper()) == expected, name


@pytest.mark.parametrize(
    ("by", "order", "expected"), [("feedback.correct", "ASC", [1, 2, 0]), ("latency", "DESC", [2, 1, 0])]
)
def test_experiment_runs_are_sorted_by_feedback_or_numbers(api, compared, by, order, expected):
    dataset, examples, sessions, _ = compared
    body = {"experiment_ids": sessions[:1], "sort": {"by": by, "order": order}}

    items = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", body)["items"]

    assert [examples.index(item["id"]) for item in items] == expected


@pytest.mark.parametrize(
    ("sort", "expected"), [({}, [0, 1, 2]), ({"by": "feedback.correct", "order": "ASC"}, [1, 2, 0])]
)
def test_following_the_cursor_visits_every_example_once(api, compared, sort, expected):
    """Examples without a run in the experiment are passed over."""
    dataset, examples, sessions, _ = compared
    api.examples(dataset, 2)
    body = {"experiment_ids": sessions[:1], "page_size": 1, "sort": sort}
    seen, cursor = [], None

    while cursor is not None or not seen:
        following = {"cursor": cursor} if cursor else {}
        page = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {**body, **following})
        seen += [examples.index(item["id"]) for item in page["items"]]
        cursor = page["next_cursor"]

    assert seen == expected


def test_compare_call_of_v1_holds_single_feedback(api, compared):
    dataset, examples, sessions, _ = compared
    good = {sessions[0]: ['and(eq(feedback_key, "correct"), gte(feedback_score, 0.5))']}

    rows = api.post(f"/datasets/{dataset}/runs", {"session_ids": sessions[:1], "limit": 50, "filters": good})

    assert [row["id"] for row in rows] == [examples[0], examples[2]]
    assert [one["score"] for one in rows[1]["runs"][0]["feedbacks"]] == [0.5]


def test_deleted_example_stays_in_its_experiment(api, compared):
    """The experiment was run on it, so the comparison still shows it."""
    dataset, examples, sessions, _ = compared

    api.delete(f"/examples/{examples[0]}")

    items = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {"experiment_ids": sessions})["items"]
    assert [item["id"] for item in items] == examples


def test_session_statistics_count_roots(api, compared):
    """Children change tokens, not run_count; feedback is apart for runs and session."""
    _, _, (session, _), runs = compared
    usage = {"input_tokens": 4, "output_tokens": 2, "total_cost": 0.5}
    child = run(session, parent=runs[0][0], run_type="llm", extra={"metadata": {"usage_metadata": usage}})
    api.runs([child, run(session, error="boom", took=3)])
    api.post("/feedback", {"session_id": session, "key": "pass_rate", "score": 0.9})

    got = api.get(f"/sessions/{session}", include_stats="true")

    assert (got["run_count"], got["error_rate"], got["total_tokens"], got["total_cost"]) == (4, 0.25, 6, "0.5")
    assert got["latency_p50"] == 1.5
    assert got["feedback_stats"] == {"correct": {"n": 3, "avg": 0.5, "values": {}}}
    assert got["session_feedback_stats"]["pass_rate"]["avg"] == 0.9


def test_run_statistics_need_a_session(api, compared):
    _, _, (session, _), _ = compared

    assert api.send("POST", "/runs/stats", json={}).status_code == 422
    got = api.post("/runs/stats", {"session": [session], "is_root": True})
    assert (got["run_count"], got["latency_p50"], got["feedback_stats"]["correct"]["n"]) == (3, 1.0, 3)


V1_READS = [("POST", "/runs/query"), ("GET", f"/runs/{new_id()}"), ("POST", f"/datasets/{new_id()}/runs")]


def test_v1_reads_say_that_they_end(api, five):
    """Deprecation and Sunset stand on the v1 run reads and nowhere else."""
    response = api.send("POST", "/runs/query", json={"session": [five[0]]})

    assert (response.headers["Deprecation"], response.headers["Sunset"][5:16]) == ("true", "31 Jan 2027")
    assert "Sunset" not in api.send("GET", "/sessions").headers


@pytest.mark.parametrize("status", [404, 405, 501])
def test_v2_can_be_off(tmp_path, status):
    """A server before the v2 reads answers no JSON, and /info says so."""
    with localsmith.serve(tmp_path / "v1.db", v2_reads=status) as server:
        api = Api(server.url)

        response = api.send("POST", "/api/v2/runs/query", json={"project_ids": [new_id()]})

        assert response.status_code == status
        assert "json" not in response.headers["Content-Type"]
        assert api.get("/info")["instance_flags"]["sdb_query_enabled"] is False
        assert api.post("/runs/query", {"id": [new_id()]})["runs"] == []


def test_runs_can_become_visible_slowly(tmp_path):
    """With the switch, what was answered with 202 is read some time later, in order; closing loses none of it."""
    now = [time.time()]
    switches = {"visible_after_seconds": 30, "clock": lambda: now[0]}
    with localsmith.serve(tmp_path / "slow.db", **switches) as server:
        api = Api(server.url)
        session = api.experiment()
        first, second = run(session, end_time=None), run(session)
        api.runs([first])
        at_once = api.query(session)
        feedback = api.send("POST", "/feedback", json={"run_id": first["id"], "key": "k", "score": 1})
        now[0] += 29
        change = {"id": first["id"], "end_time": first["start_time"], "outputs": {"a": 1}}
        assert api.send("PATCH", f"/runs/{first['id']}", json=change).status_code == 202
        before = api.query(session)
        now[0] += 1
        then = api.get(f"/runs/{first['id']}")
        now[0] += 29
        later = api.get(f"/runs/{first['id']}")
        assert api.get(f"/sessions/{session}", include_stats=True)["run_count"] == 1
        api.runs([second])

    with localsmith.serve(tmp_path / "slow.db") as server:
        kept = Api(server.url).query(session)

    assert (at_once, feedback.status_code, before) == ([], 404, [])
    assert (then["status"], later["status"], later["outputs"]) == ("pending", "success", {"a": 1})
    assert set(kept) == {first["id"], second["id"]}


@pytest.mark.slow
def test_recorder_waits_for_slow_runs(tmp_path):
    """A recording is read back until everything is there."""
    with localsmith.serve(tmp_path / "slow.db", visible_after_seconds=1) as server:
        results = [{"inputs": {"q": n}, "outputs": {}, "feedback": {"k": n}} for n in range(3)]

        recording = record_langsmith_experiment("lab", results, langsmith=connection.connect(server.url))

        session = rest.read_session(connection.connect(server.url), recording.experiment_id)
    assert (recording.runs_recorded, recording.rejected) == (3, [])
    assert (session["run_count"], session["feedback_stats"]["k"]["n"]) == (3, 3)


def test_v1_can_be_off(tmp_path):
    """Where only the new store is on, v1 run reads and feedback without a session are 501."""
    with localsmith.serve(tmp_path / "v2.db", v1_reads=501) as server:
        api = Api(server.url)

        statuses = {api.send(method, path, json={}).status_code for method, path in V1_READS}
        feedback = api.send("POST", "/feedback", json={"run_id": new_id(), "key": "k"})

        assert statuses == {501}
        assert feedback.status_code == 501
        assert api.get("/info")["instance_flags"]["ch_query_enabled"] is False


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/nothing/here", "detail"),
        ("/api/v1/nothing", "detail"),
        ("/v1/platform/nothing", "error"),
        ("/api/v2/nothing", "title"),
    ],
)
def test_unknown_routes_are_404_in_their_family(api, path, field):
    response = api.send("GET", path)

    assert response.status_code == 404
    assert field in response.json()


def test_wrong_method_is_405(api):
    response = api.send("PUT", "/sessions")

    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


def test_window_edge(api):
    """23 hours back and ahead are inside the window."""
    session = api.experiment()
    ahead = datetime.now(UTC) + timedelta(hours=23)

    api.runs([run(session, seconds_ago=23 * 3600), run(session, seconds_ago=-23 * 3600)])

    assert len(api.query(session, max_start_time=(ahead + timedelta(hours=1)).isoformat())) == 2


def scored_examples(api, count):
    """An experiment with one scored run for each example; returns dataset, session and the ids of feedback."""
    dataset = api.dataset()
    session = api.experiment(dataset)
    runs = [run(session, reference_example_id=example) for example in api.examples(dataset, count)]
    api.runs(runs)
    bodies = [{"id": new_id(), "run_id": one["id"], "key": "k", "score": n / 100} for n, one in enumerate(runs)]
    for body in bodies[: count - 3]:  # three have no score
        api.post("/feedback", body)
    return dataset, session, bodies[: count - 3], [one["reference_example_id"] for one in runs]


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_sorted_pages_hold_every_example_once_while_others_change(api, order):
    """Only an example whose own score changes may be seen twice or not at all."""
    dataset, session, feedback, examples = scored_examples(api, 30)
    body = {"experiment_ids": [session], "page_size": 5, "sort": {"by": "feedback.k", "order": order}}
    seen, cursor = [], None

    for n in range(10):
        following = {"cursor": cursor} if cursor else {}
        page = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {**body, **following})
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
        # One that was seen becomes the last, or the first: with an offset, its neighbours would move.
        changed, score = (feedback[n], 5) if order == "ASC" else (feedback[-1 - n], -5)
        api.patch(f"/feedback/{changed['id']}", {"score": score})

    moved = examples[: n + 1] if order == "ASC" else examples[27 - n - 1 : 27]
    for example in set(examples) - set(moved):
        assert seen.count(example) == 1


def test_example_that_was_moved_stays_in_its_old_comparison(api):
    """With the inputs that the experiment was run on; and edits made elsewhere do not show."""
    dataset, other = api.dataset(), api.dataset("other")
    (example,) = api.examples(dataset, 1)
    session = api.experiment(dataset)
    api.runs([run(session, reference_example_id=example)])

    api.patch(f"/examples/{example}", {"dataset_id": other, "inputs": {"q": "elsewhere"}})

    v2 = api.post(f"/api/v2/datasets/{dataset}/experiment-runs", {"experiment_ids": [session]})["items"]
    v1 = api.post(f"/datasets/{dataset}/runs", {"session_ids": [session]})
    assert [(item["id"], item["inputs"]) for item in v1] == [(example, {"q": 0})]
    assert [(item["id"], item["inputs"]) for item in v2] == [(example, {"q": 0})]


def test_none_of_no_ids_is_found(api, five):
    """An empty list of ids asks for nothing, not for everything."""
    session, _ = five

    assert api.query(session, ids=[]) == []
    assert api.query(session, reference_examples=[]) == []
    assert api.post("/runs/query", {"session": [session], "id": []})["runs"] == []
    assert len(api.post("/runs/query", {"session": [session]})["runs"]) == 5


def test_lone_child_may_spell_its_parents_id_as_it_likes(api, five):
    """Upper case, or without hyphens, as everywhere."""
    session, (first, *_) = five
    started = {"start_time": run()["start_time"], "session_id": session, "name": "child", "run_type": "tool"}

    for parent in (first.upper(), first.replace("-", "")):
        body = {**started, "id": new_id(), "parent_run_id": parent, "inputs": {}}
        api.post("/runs", body)
        assert api.get(f"/runs/{body['id']}")["parent_run_id"] == first
