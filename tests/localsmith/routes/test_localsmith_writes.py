"""Run writes: what is stored, what is refused, and what sending twice does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from localsmith_api import Api, multipart, new_id, run

import localsmith
from localsmith.runs.checks import check_run
from localsmith.runs.writing import insert_runs, prepared
from localsmith.store import Store
from localsmith.wire import ApiError, Switches

ALREADY = {"error": "Conflict: payload already received: payloads already received"}


@pytest.fixture
def api(server):
    return Api(server.url)


def test_batch_comes_back_as_it_was_sent(api):
    """Everything in a run survives the trip, under the names of v1."""
    session = api.experiment()
    sent = run(session, tags=["a"], extra={"metadata": {"k": [1, None]}}, events=[{"name": "start"}], error="boom")

    api.runs([sent])

    got = api.get(f"/runs/{sent['id']}")
    assert {name: got[name] for name in ("inputs", "outputs", "tags", "extra", "events", "error")} == {
        name: sent[name] for name in ("inputs", "outputs", "tags", "extra", "events", "error")
    }
    assert got["status"] == "error"
    assert datetime.fromisoformat(got["start_time"]) == datetime.fromisoformat(sent["start_time"])


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, "success"), ({"error": "x"}, "error"), ({"end_time": None}, "pending")],
    ids=["success", "error", "pending"],
)
def test_status_follows_from_error_and_end(api, fields, status):
    """error beats end_time, and without either a run is pending."""
    sent = run(api.experiment(), **fields)

    api.runs([sent])

    assert api.get(f"/runs/{sent['id']}")["status"] == status


def test_batch_of_known_runs_is_a_conflict(api):
    """The same batch again says 409 and changes nothing."""
    sent = run(api.experiment())
    api.runs([sent])

    again = api.send("POST", "/runs/batch", json={"post": [{**sent, "outputs": {"a": "changed"}}]})

    assert (again.status_code, again.json()) == (409, ALREADY)
    assert api.get(f"/runs/{sent['id']}")["outputs"] == sent["outputs"]


def test_batch_with_some_known_runs_adds_the_new_ones(api):
    """A half-known batch is accepted: old runs stay as they are, new ones are written."""
    session = api.experiment()
    old, new = run(session), run(session)
    api.runs([old])

    api.runs([{**old, "outputs": {"a": "changed"}}, new])

    assert api.get(f"/runs/{old['id']}")["outputs"] == old["outputs"]
    assert set(api.query(session)) == {old["id"], new["id"]}


def broken(**changes):
    def make(good, session):
        return {**good, **changes}

    return make


def child_of_nobody(good, session):
    return {**good, "dotted_order": good["dotted_order"] + "." + good["dotted_order"][:22] + new_id()}


def earlier_child(good, session):
    child = run(session, parent=good)
    earlier = f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%dT%H%M%S%f}Z{child['id']}"
    return {**child, "dotted_order": f"{good['dotted_order']}.{earlier}"}


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (broken(session_id=None), 422, "post.1.session_id"),
        (broken(outputs=None), 422, "post.1.outputs"),
        (broken(run_type="banana"), 422, "run_type"),
        (broken(name="x" * 129), 422, "128"),
        (broken(id="7"), 422, "post.1.id"),
        (broken(start_time="yesterday"), 422, "ISO 8601"),
        (broken(inputs=[1]), 422, "post.1.inputs"),
        (broken(outputs={"n": 2**63}), 422, "int too big to convert"),
        (broken(session_id=new_id()), 422, "no session"),
        (broken(trace_id=new_id()), 400, "trace_id"),
        (broken(parent_run_id=new_id()), 400, "parent_run_id"),
        (broken(dotted_order="now"), 400, "invalid 'dotted_order'"),
        (child_of_nobody, 400, "dotted_order"),
        (earlier_child, 400, "before its parent"),
        (broken(start_time=(datetime.now(UTC) - timedelta(hours=25)).isoformat()), 400, "24 hours"),
        (broken(start_time=(datetime.now(UTC) + timedelta(hours=25)).isoformat()), 400, "24 hours"),
    ],
)
def test_one_bad_run_refuses_the_whole_batch(api, spoil, status, words):
    """The answer points at the run and the field, and the good run beside it is not stored either."""
    session = api.experiment()
    good = run(session)

    response = api.session.post(f"{api.url}/runs/batch", json={"post": [good, spoil(run(session), session)]})

    assert response.status_code == status
    assert words in response.json()["error"]
    assert api.query(session) == []


@pytest.mark.parametrize("path", ["/runs/batch", "/runs/multipart", "/runs"])
def test_times_may_be_milliseconds(api, path):
    """The JavaScript SDK sends Date.now() as end_time, and as start_time of a run made by hand."""
    session = api.experiment()
    sent = run(session)
    start = int(datetime.fromisoformat(sent["start_time"]).timestamp() * 1000)

    send_by(api, path, {**sent, "start_time": start, "end_time": start + 1500})

    found = api.get(f"/runs/{sent['id']}")
    assert datetime.fromisoformat(found["start_time"]).timestamp() * 1000 == start
    assert datetime.fromisoformat(found["end_time"]).timestamp() * 1000 == start + 1500


def send_by(api, path, sent):
    body, headers = multipart([(f"post.{sent['id']}", sent)])
    known = {"/runs/batch": {"json": {"post": [sent]}}, "/runs/multipart": {"data": body, "headers": headers}}
    response = api.session.post(api.url + path, **known.get(path, {"json": sent}))
    assert response.status_code == 202, response.text


@pytest.mark.parametrize("moment", [1_764_000_000, 1_764_000_000_000.5, 10**15, True], ids=str)
def test_other_numbers_are_no_times(api, moment):
    """Seconds would be 1970, so they are refused as is what no calendar holds."""
    response = api.session.post(f"{api.url}/runs/batch", json={"post": [{**run(), "end_time": moment}]})

    assert response.status_code == 422
    assert "post.0.end_time: must be a time in ISO 8601, or milliseconds" in response.text


@pytest.mark.parametrize("order", ["post", "patch", "patch first"])
def test_run_that_ends_before_it_starts_takes_no_time(api, order):
    """Whole milliseconds at the end and a counter in the microseconds of the start: latency 0, in any order."""
    session = api.experiment()
    start = datetime.now(UTC).replace(microsecond=123_004)
    end = (start - timedelta(microseconds=4)).isoformat()
    sent = run(session, start_time=start.isoformat(), end_time=end if order == "post" else None)
    sent["dotted_order"] = f"{start:%Y%m%dT%H%M%S%f}Z{sent['id']}"
    update = {"id": sent["id"], "trace_id": sent["id"], "dotted_order": sent["dotted_order"], "end_time": end}

    if order == "patch first":
        api.post("/runs/batch", {"patch": [update]})
    api.runs([sent])
    if order == "patch":
        api.post("/runs/batch", {"patch": [update]})

    found = api.get(f"/runs/{sent['id']}")
    assert found["status"] == "success"
    assert found["end_time"] == found["start_time"]


def test_run_without_start_time_is_told_so(api):
    """Not that its dotted_order is missing, which is made from the start."""
    response = api.session.post(f"{api.url}/runs", json={"name": "r", "run_type": "chain", "inputs": {}})

    assert (response.status_code, "run.start_time: is required" in response.text) == (422, True)


def test_more_than_a_hundred_runs_are_refused(api):
    """size_limit of /info is enforced."""
    session = api.experiment()

    response = api.send("POST", "/runs/batch", json={"post": [run(session) for _ in range(101)]})

    assert response.status_code == 400
    assert "100" in response.json()["error"]


def test_old_runs_are_taken_when_the_window_is_off(tmp_path):
    """`time_window_hours=None` records history."""
    with localsmith.serve(tmp_path / "old.db", time_window_hours=None) as server:
        api = Api(server.url)
        sent = run(seconds_ago=400 * 86_400)

        api.runs([sent])

        assert api.get(f"/runs/{sent['id']}")["start_time"][:4] == sent["start_time"][:4]


def test_lone_run_gets_its_place(api):
    """POST /runs makes trace_id and dotted_order, for a child out of its parent's."""
    keep = ("id", "name", "run_type", "start_time", "inputs")
    root = {name: run()[name] for name in keep}
    child = {**{name: run(seconds_ago=1)[name] for name in keep}, "parent_run_id": root["id"]}

    api.post("/runs", root)
    api.post("/runs", child)

    got = api.get(f"/runs/{child['id']}")
    assert got["trace_id"] == root["id"]
    assert got["parent_run_ids"] == [root["id"]]
    assert got["dotted_order"].startswith(api.get(f"/runs/{root['id']}")["dotted_order"] + ".")


def test_unknown_session_name_makes_a_project(api):
    """A run that names a project creates it; without a name it goes to `default`."""
    named, lone = run(session_name="mine"), run()

    api.runs([named, lone])

    sessions = [api.get(f"/runs/{one['id']}")["session_id"] for one in (named, lone)]
    names = {api.get(f"/sessions/{session}")["name"] for session in sessions}
    assert names == {"mine", "default"}


@pytest.mark.parametrize(("path", "status"), [("/runs/{}", 202), ("/api/v1/runs/{}", 200)])
def test_update_completes_a_run(api, path, status):
    """An update adds the end of a run and keeps its beginning; metadata is added to."""
    sent = run(api.experiment(), end_time=None, outputs=None, extra={"metadata": {"a": 1}})
    api.runs([sent])
    end = datetime.now(UTC).isoformat()

    response = api.send(
        "PATCH", path.format(sent["id"]), json={"end_time": end, "outputs": {"a": 1}, "extra": {"metadata": {"b": 2}}}
    )

    got = api.get(f"/runs/{sent['id']}")
    assert response.status_code == status
    assert (got["status"], got["outputs"], got["inputs"]) == ("success", {"a": 1}, sent["inputs"])
    assert got["extra"]["metadata"] == {"a": 1, "b": 2}


def test_second_end_of_a_run_is_a_conflict(api):
    """A run that has ended is not ended again."""
    sent = run(api.experiment())
    api.runs([sent])

    response = api.send("PATCH", f"/runs/{sent['id']}", json={"outputs": {"a": "other"}})

    assert (response.status_code, response.json()) == (409, ALREADY)


def test_update_of_an_unknown_run_is_404(api):
    """PATCH needs the run; the error has the form of the ingest service."""
    response = api.send("PATCH", f"/runs/{new_id()}", json={"outputs": {}})

    assert response.status_code == 404
    assert "not found" in response.json()["error"]


def test_update_that_overtakes_its_run_is_applied_later(api):
    """In a batch an update may come first; it was acknowledged, so it is not lost."""
    sent = run(api.experiment(), outputs=None, end_time=None)
    api.post("/runs/batch", {"patch": [{"id": sent["id"], "outputs": {"a": 1}, "end_time": run()["end_time"]}]})

    api.runs([sent])

    assert api.get(f"/runs/{sent['id']}")["outputs"] == {"a": 1}


def llm(session, parent, **usage):
    return run(session, parent=parent, run_type="llm", extra={"metadata": {"usage_metadata": usage}})


@pytest.mark.parametrize("order", [1, -1], ids=["parents first", "children first"])
def test_tokens_and_cost_add_up_to_every_ancestor(api, order):
    """Whatever order a tree arrives in, each run counts all llm runs below it."""
    session = api.experiment()
    root = run(session)
    step = run(session, parent=root)
    first = llm(session, step, input_tokens=10, output_tokens=5, total_tokens=15, total_cost=0.1)
    second = llm(session, root, input_tokens=1, output_tokens=2, total_cost=0.2)

    for one in [root, step, first, second][::order]:
        api.runs([one])

    totals = {one["id"]: api.get(f"/runs/{one['id']}") for one in (root, step, first)}
    assert [totals[one["id"]]["total_tokens"] for one in (root, step, first)] == [18, 15, 15]
    assert [totals[one["id"]]["total_cost"] for one in (root, step)] == ["0.3", "0.1"]


def test_update_of_usage_corrects_the_totals(api):
    """Tokens that come with the end of a run are added once."""
    session = api.experiment()
    root = run(session)
    child = run(session, parent=root, run_type="llm", end_time=None, outputs=None)
    api.runs([root, child])

    usage = {"input_tokens": 7, "output_tokens": 3}
    api.patch(f"/runs/{child['id']}", {"outputs": {"usage_metadata": usage}, "end_time": child["start_time"]})

    assert api.get(f"/runs/{root['id']}")["total_tokens"] == 10


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    "id trace_id parent_run_id session_id reference_example_id session_name name run_type start_time end_time inputs"
    " outputs error extra tags events serialized dotted_order status custom".split()
)
USAGE = st.dictionaries(
    st.sampled_from(
        ["input_tokens", "output_tokens", "total_tokens", "input_cost", "total_cost", "input_token_details"]
    ),
    JSON,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("fuzz") / "lab.db")
    yield store
    store.close()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(FIELDS, JSON, max_size=4), usage=USAGE)
def test_any_run_is_stored_or_refused(store, changes, usage):
    """A run made of arbitrary JSON never gets half-way, and never breaks the server."""
    sent = {**run(run_type="llm", extra={"metadata": {"usage_metadata": usage}}), **changes}
    switches = Switches()
    try:
        checked = check_run(sent, "run", switches, switches.now(), nulls=True)
        with store.write() as db:
            assert insert_runs(db, [prepared(checked)], switches.now()) == 1
    except ApiError as error:
        assert error.status in (400, 422)


@pytest.mark.parametrize("field", ["trace_id", "parent_run_id", "session_id", "outputs"])
def test_lone_run_refuses_null(api, field):
    response = api.session.post(f"{api.url}/runs", json={**run(), field: None})

    assert response.status_code == 422
    assert f"run.{field}" in response.json()["error"]
