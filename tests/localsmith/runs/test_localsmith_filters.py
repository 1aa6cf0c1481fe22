"""The filter language: what it finds, and how it says what is wrong."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from localsmith_api import Api, run

import localsmith
from localsmith.runs.filters import EXAMPLE, RUN, SESSION, compile_filter
from localsmith.store import Store
from localsmith.wire import ApiError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three runs that differ in everything filters ask for, by name."""
    with localsmith.serve(tmp_path_factory.mktemp("filters") / "lab.db") as server:
        api = Api(server.url)
        session = api.experiment()
        usage = {"input_tokens": 60, "output_tokens": 50, "total_cost": 0.02}
        runs = {
            "fast": run(session, name="fast", tags=["prod"], took=0.5, extra={"metadata": {"env": "eu", "n": 1}}),
            "slow": run(
                session, name="slow", took=7, error="Timeout!", extra={"metadata": {"env": "us", "thread_id": "t1"}}
            ),
            "llm": run(session, name="llm", run_type="llm", took=2, extra={"metadata": {"usage_metadata": usage}}),
        }
        api.runs(list(runs.values()))
        for name, key, score in (("fast", "good", 1), ("fast", "bad", 0), ("slow", "good", 0.2), ("slow", "bad", 1)):
            api.post("/feedback", {"run_id": runs[name]["id"], "session_id": session, "key": key, "score": score})
        ids = {one["id"]: name for name, one in runs.items()}
        yield api, session, ids


CASES = [
    ('eq(name, "fast")', "fast"),
    ("eq(name, 'fast')", "fast"),
    ('neq(name, "fast")', "slow llm"),
    ('eq(run_type, "llm")', "llm"),
    ('eq(status, "error")', "slow"),
    ("neq(error, null)", "slow"),
    ("eq(error, null)", "fast llm"),
    ("gt(latency, 1)", "slow llm"),
    ('gte(latency, "7s")', "slow"),
    ('lt(latency, "2000ms")', "fast"),
    ("gt(total_tokens, 100)", "llm"),
    ("gte(total_cost, 0.02)", "llm"),
    ('has(tags, "prod")', "fast"),
    ("""has(metadata, '{"env": "eu"}')""", "fast"),
    ("""has(metadata, '{"env": "eu", "n": 1}')""", "fast"),
    ("""has(metadata, '{"env": "eu", "n": 2}')""", ""),
    ('eq(thread_id, "t1")', "slow"),
    ('and(eq(metadata_key, "env"), eq(metadata_value, "us"))', "slow"),
    ('and(eq(metadata_key, "n"), eq(metadata_value, "eu"))', ""),
    ('in(metadata_key, ["n", "usage_metadata"])', "fast llm"),
    ('in(name, ["fast", "llm"])', "fast llm"),
    ('and(eq(feedback_key, "good"), gte(feedback_score, 0.5))', "fast"),
    ('and(eq(feedback_key, "good"), lt(feedback_score, 0.5), eq(status, "error"))', "slow"),
    ('or(eq(feedback_key, "good"), eq(run_type, "llm"))', "fast slow llm"),
    ('not(eq(feedback_key, "good"))', "llm"),
    ('not(and(eq(name, "fast"), gt(latency, 0)))', "slow llm"),
    ('search("timeout")', "slow"),
    ('search(name, "as")', "fast"),
    ('search("100%_")', ""),
    ('gt(start_time, "2020-01-01T00:00:00Z")', "fast slow llm"),
    ('and(or(eq(name, "fast"), eq(name, "slow")), neq(error, null))', "slow"),
    ("eq(is_root, true)", "fast slow llm"),
    ('eq(name, "\\"; DROP TABLE runs; --")', ""),
]


@pytest.mark.parametrize(("text", "names"), CASES, ids=[text for text, _ in CASES])
def test_filter_finds(world, text, names):
    """Both generations find the same runs."""
    api, session, ids = world

    v2 = {ids[found] for found in api.query(session, filter=text)}
    v1 = {ids[one["id"]] for one in api.post("/runs/query", {"session": [session], "filter": text})["runs"]}

    assert v1 == v2 == set(names.split())


BROKEN = [
    ("", "condition"),
    ("name", "condition"),
    ('eq(nmae, "x")', "position 3: unknown field 'nmae'"),
    ('eqq(name, "x")', "position 0: unknown function 'eqq'"),
    ('eq(name, "x"', "expected ')'"),
    ('eq(name, "x")) ', "expected the end"),
    ("eq(name, 'x", "unexpected character"),
    ("eq(name)", "two arguments"),
    ("eq(name, [1])", "expected a value"),
    ("eq(name, 5)", "expected text in quotes"),
    ('gt(latency, "soon")', "duration"),
    ('gt(start_time, "soon")', "ISO 8601"),
    ("gt(error, null)", "eq and neq"),
    ("eq(total_tokens, 1e999)", "a number"),
    ("has(name, 'x')", "tags and metadata"),
    ("has(metadata, 'x')", "JSON object"),
    ("and(name)", "condition"),
    ("not(" * 30 + 'eq(name, "x")' + ")" * 30, "deeper than"),
    ("or(" + ",".join(['eq(name, "x")'] * 500) + ")", "more than"),
    ("eq(name, ; DROP TABLE runs)", "unexpected character"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN, ids=[text[:40] for text, _ in BROKEN])
def test_broken_filter_is_explained(text, words):
    """The error is a 400 that names the place and what was expected there."""
    with pytest.raises(ApiError, match=r"Invalid filter") as caught:
        compile_filter(text, RUN)

    assert caught.value.status == 400
    assert words in caught.value.message


def found(api, session, text):
    return {run["name"] for run in api.post("/runs/query", {"session": [session], "filter": text})["runs"]}


PAIRS = [
    (
        'and(and(eq(feedback_key,"good"),eq(feedback_score,1)),and(eq(feedback_key,"bad"),lt(feedback_score,0.5)))',
        "fast",
    ),
    ('and(and(eq(feedback_key,"good"),eq(feedback_score,1)),and(eq(feedback_key,"bad"),gt(feedback_score,0.5)))', ""),
    ('and(or(eq(feedback_key,"good"),eq(feedback_key,"bad")),lt(feedback_score,0.3))', "fast slow"),
    (
        'and(and(eq(metadata_key,"env"),eq(metadata_value,"eu")),and(eq(metadata_key,"n"),eq(metadata_value,"1")))',
        "fast",
    ),
]


@pytest.mark.parametrize(("text", "names"), PAIRS)
def test_each_inner_pair_may_be_met_by_feedback_of_its_own(world, text, names):
    api, session, _ = world

    assert found(api, session, text) == set(names.split())


@pytest.mark.parametrize("text", ['say "hi"', "back\\slash", "two\nlines", "École", "éCOLE", "straße"])
def test_search_finds_quotes_line_ends_and_letters_in_either_case(server, text):
    """What JSON writes with a backslash, and letters beyond ASCII."""
    api = Api(server.url)
    session, dataset = api.experiment(), api.dataset()
    api.runs([run(session, name="it", inputs={"q": 'He: say "hi" back\\slash two\nlines école STRAßE'})])
    api.runs([run(session, name="other", inputs={"q": "ecole"})])
    api.post("/examples", {"dataset_id": dataset, "inputs": {"q": 'say "hi" back\\slash two\nlines école STRAßE'}})

    assert found(api, session, f"search({json.dumps(text)})") == {"it"}
    assert api.get("/examples/count", dataset=dataset, full_text_contains=text) == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lt(total_cost, 10000000)", "fast slow llm"),
        ("gt(total_cost, 99999999999999999999)", ""),
        ("eq(feedback_value, 99999999999999999999)", ""),
        ("in(total_tokens, [110, 99999999999999999999])", "llm"),
        ("eq(latency, 1e-30)", None),
    ],
)
def test_numbers_beyond_the_databases_are_compared_or_refused(world, text, names):
    api, session, _ = world

    response = api.send("POST", "/runs/query", json={"session": [session], "filter": text})

    assert response.status_code == (400 if names is None else 200)
    if names is not None:
        assert {run["name"] for run in response.json()["runs"]} == set(names.split())


@pytest.mark.slow
def test_exact_costs_and_latencies_are_found_by_their_value(server):
    """What is 0.29 is at least 0.29, at most 0.29 and equal to it, whatever a float makes of it."""
    api = Api(server.url)
    session = api.experiment()
    costs = [n / 10_000 for n in range(1, 100, 8)]
    runs = [
        run(
            session,
            run_type="llm",
            name=f"{n}",
            took=n / 1000,
            extra={"metadata": {"usage_metadata": {"total_cost": c}}},
        )
        for n, c in enumerate(costs, 1)
    ]
    api.runs(runs)

    for n, cost in enumerate(costs, 1):
        for function in ("eq", "lte", "gte"):
            assert str(n) in found(
                api, session, f"and({function}(total_cost, {cost!r}), {function}(latency, {n / 1000!r}))"
            )


def test_metadata_is_equal_by_value_and_not_by_spelling(server):
    api = Api(server.url)
    session = api.experiment()
    nested = {"a": [1, {"b": None, "c": 2}], "d": "x"}
    api.runs([run(session, name="it", extra={"metadata": {"big": 1e20, "nested": nested, "whole": 1, "flag": True}})])

    turned = {"d": "x", "a": [1, {"c": 2, "b": None}]}
    for wanted in ({"big": 1e20}, {"nested": turned}, {"whole": 1.0}, {"flag": True}):
        assert found(api, session, f"has(metadata, {json.dumps(json.dumps(wanted))})") == {"it"}
    for other in ({"nested": {"d": "x"}}, {"flag": 1}, {"whole": True}, {"big": 1e21}):
        assert found(api, session, f"has(metadata, {json.dumps(json.dumps(other))})") == set()


def test_broken_filter_is_400_on_the_wire(world):
    api, session, _ = world

    response = api.send("POST", "/runs/query", json={"session": [session], "filter": "eq(x, 1)"})

    assert response.status_code == 400
    assert "position 3" in response.json()["detail"]


def test_sessions_and_examples_have_filters_too(world):
    """The same language over the fields of each."""
    api, _, _ = world
    dataset = api.dataset()
    api.post("/examples", {"dataset_id": dataset, "inputs": {}, "metadata": {"level": "hard"}})
    api.post("/examples", {"dataset_id": dataset, "inputs": {}})
    api.post("/sessions", {"name": "tagged", "extra": {"metadata": {"model": "m1"}}})

    assert api.get("/examples/count", dataset=dataset, filter='exists(metadata, "level")') == 1
    assert api.get("/examples/count", dataset=dataset, filter='not(exists(metadata, "level"))') == 1
    found = api.get("/sessions", filter="""has(metadata, '{"model": "m1"}')""")
    assert [session["name"] for session in found] == ["tagged"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("fuzz") / "lab.db")
    yield store
    store.close()


WORDS = st.sampled_from(
    [
        "and(",
        "or(",
        "not(",
        "eq(",
        "gt(",
        "in(",
        "has(",
        "search(",
        "name",
        "latency",
        "tags",
        "metadata",
        "feedback_key",
    ]
    + ["metadata_value", ",", ")", "[", "]", '"x"', "'y'", "1", "-2.5e3", "null", "true", " ", "\\", '"', "é", "\x00"]
)
FROM = {
    "run": "runs JOIN run_bodies USING (seq)",
    "example": "examples",
    "session": "sessions",
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.lists(WORDS, max_size=14).map("".join), st.text(max_size=60)))
def test_any_text_is_valid_sql_or_a_400(store, text):
    """Nothing a client writes reaches SQLite as anything but a working condition."""
    for target in (RUN, EXAMPLE, SESSION):
        try:
            condition, *params = compile_filter(text, target)
        except ApiError as error:
            assert error.status == 400
            continue
        with store.read() as db:
            db.execute(f"SELECT 1 FROM {FROM[target.name]} WHERE {condition}", params).fetchall()
