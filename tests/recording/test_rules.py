"""Test the rules of a result, from Python to the real local store: scores, splits, latency, nulls, numbers, times."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import localsmith
import rest
from langsmith_rest.connection import call, connect
from langsmith_rest.evaluation.runs_api import query_runs
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import packed
from langsmith_rest.recording.bodies import parse_time, rounded
from langsmith_rest.recording.checking import prepare
from recorder import record_langsmith_experiment


@pytest.fixture
def api(tmp_path):
    """A store that refuses what LangSmith refuses, scores of more than 4 decimals among it."""
    with localsmith.serve(tmp_path / "localsmith.db", score_decimals=4, query_days=401) as server:
        yield connect(server.url)


@pytest.fixture
def record(api):
    def run(results, **options):
        return record_langsmith_experiment("d", results, **{"experiment_name": "e", "langsmith": api, **options})

    return run


def examples_of(api, recording):
    return call(api, "GET", "/examples", params={"dataset": recording.dataset_id})


def runs_of(api, recording):
    since = datetime.now(UTC) - timedelta(days=2)
    selects = ("ID", "START_TIME", "END_TIME", "METADATA", "LATENCY_SECONDS", "PARENT_RUN_IDS")
    return list(query_runs(api, recording.experiment_id, selects, since=since))


def problems_of(**fields):
    return prepare({"inputs": {}, "outputs": {}, **fields}).problems


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize(
    ("score", "sent"),
    [
        (0.00005, "0.0001"),
        (1.00005, "1.0001"),
        (2.5e-5, "0.0"),
        (-0.00004, "0.0"),
        (0.03125, "0.0312"),  # a tie, to even
        (0.09375, "0.0938"),
        (1 / 3, "0.3333"),
        (1, "1"),
        (True, "true"),
    ],
)
def test_scores_are_sent_with_at_most_four_decimals(score, sent):
    """LangSmith refuses more precise ones."""
    assert json.dumps(rounded(score)) == sent


def test_precise_scores_are_recorded_and_recording_them_again_changes_nothing(api, record):
    """Whatever the harness computed; big integers, which servers keep as floats, too."""
    given = [{"inputs": {"q": n}, "outputs": {}, "feedback": {"s": s}} for n, s in enumerate([1 / 3, 2 / 7, 2**53 + 1])]

    first, again = record(given), record(given)

    assert (first.feedback, first.rejected) == (3, []) and (again.feedback, again.runs_existing) == (0, 3)
    stored = rest.list_feedback(api, [run["id"] for run in runs_of(api, first)])
    assert sorted(item["score"] for item in stored)[:2] == [0.2857, 0.3333]


# ---------------------------------------------------------------- splits and example metadata


def test_another_split_or_metadata_updates_the_example_and_adds_no_run(api, record):
    """Both describe the example, so no id depends on them."""
    given = {"inputs": {"q": 1}, "outputs": {}}
    record([given])

    moved = record([{**given, "split": "test", "example_metadata": {"source": "web"}}])
    again = record([{**given, "split": ["test"], "example_metadata": {"source": "web"}}])

    [example] = examples_of(api, moved)
    assert example["metadata"] == {"source": "web", "dataset_split": ["test"]}
    assert (moved.examples_updated, moved.runs_recorded, moved.runs_existing) == (1, 0, 1)
    assert (again.examples_updated, again.runs_existing) == (0, 1)


def test_results_that_say_no_split_leave_it_as_it_is(api, record):
    """What somebody gave an example on the pages stays."""
    given = {"inputs": {"q": 1}, "outputs": {}, "split": "test"}
    record([given])

    record([{"inputs": {"q": 1}, "outputs": {"a": 2}}])

    assert examples_of(api, record([given]))[0]["metadata"]["dataset_split"] == ["test"]


def test_default_names_do_not_depend_on_splits(record):
    """Otherwise another split would be another experiment."""
    given = {"inputs": {"q": 1}, "outputs": {}}

    names = {record([{**given, **more}], experiment_name=None).experiment_name for more in ({}, {"split": "test"})}

    assert len(names) == 1


def test_other_tags_and_metadata_are_another_run(record):
    """They describe the run."""
    given = {"inputs": {"q": 1}, "outputs": {}}
    record([given])

    assert record([{**given, "tags": ["new"]}]).runs_recorded == 1


# ---------------------------------------------------------------- latency


def test_latency_stands_for_an_end(api, record):
    """With a start, alone, and in a step."""
    start = datetime.now(UTC) - timedelta(minutes=5)
    steps = [{"inputs": {}, "outputs": {}, "latency": 0.25}]

    recording = record(
        [
            {"inputs": {"q": 1}, "outputs": {}, "start_time": start, "latency": 1.5},
            {"inputs": {"q": 2}, "outputs": {}, "latency": 2, "child_runs": steps},
        ]
    )

    latencies = sorted(run["latency_seconds"] for run in runs_of(api, recording))
    assert latencies == [0.25, 1.5, 2.0]


def test_moved_runs_keep_their_latency_and_say_when_they_ended(api, record):
    """An old result with a latency."""
    recording = record([{"inputs": {}, "outputs": {}, "start_time": "2025-01-01T10:00:00Z", "latency": 90.5}])

    [run] = runs_of(api, recording)
    assert run["latency_seconds"] == 90.5
    assert run["metadata"]["original_end_time"] == "2025-01-01T10:01:30.500000+00:00"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"latency": -1}, "expected a number of seconds from 0 up to 100 years"),
        ({"latency": "1"}, "expected a number of seconds"),
        ({"latency": True}, "expected a number of seconds"),
        ({"latency": float("inf")}, "expected a number of seconds"),
        (
            {"latency": 1, "start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-01T00:00:01Z"},
            "'latency' and 'end_time' both say how long it took: keep one",
        ),
        ({"start_time": "1900-01-01T00:00:00Z", "end_time": "2025-01-01T00:00:01Z"}, "more than 100 years after"),
    ],
)
def test_latency_that_cannot_be_is_refused(fields, problem):
    [found] = problems_of(**fields)
    assert problem in found


# ---------------------------------------------------------------- null, numbers, times


def test_null_means_left_out_everywhere():
    """In results, steps and feedback, for known and unknown fields: ids are those without them."""
    step, score = {"inputs": {}, "outputs": {}}, {"key": "k", "score": 1}
    plain = {"inputs": {}, "outputs": {}, "child_runs": [step], "feedback": [score]}
    with_nulls = {
        **plain,
        "foo": None,
        "latency": None,
        "child_runs": [{**step, "reference_outputs": None, "bar": None}],
        "feedback": [{**score, "comment": None, "baz": None}],
    }

    one, other = prepare(with_nulls), prepare(plain)
    assert (one.fields, one.text, one.problems) == (other.fields, other.text, ())


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 9223372036854775808.0, -9223372036854777856.0, 1e20])
def test_numbers_beyond_64_bits_are_refused(number):
    """A whole float below 1e21 is written as an integer, so it is one."""
    assert problems_of(metadata={"n": number}) == [
        "'metadata.n' is a number beyond 64 bits, expected a smaller one (or text)"
    ]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), -9223372036854774784.0, 9223372036854774784.0, 1e21, 5e-324])
def test_numbers_at_the_edge_of_64_bits_are_recorded(number):
    assert not problems_of(metadata={"n": number})


ACCEPTED = {
    "2026-08-21T09:15:30.123456+00:00": "2026-08-21T09:15:30.123456+00:00",
    "2026-08-21T09:15:30Z": "2026-08-21T09:15:30.000000+00:00",
    "2026-08-21t09:15:30z": "2026-08-21T09:15:30.000000+00:00",
    "2026-08-21 09:15:30": "2026-08-21T09:15:30.000000+00:00",
    "2026-08-21T09:15": "2026-08-21T09:15:00.000000+00:00",
    "2026-08-21": "2026-08-21T00:00:00.000000+00:00",
    "2026-08-21T09:15:30,5Z": "2026-08-21T09:15:30.500000+00:00",
    "2026-08-21T09:15:30.1234569Z": "2026-08-21T09:15:30.123456+00:00",
    "2026-08-21T11:15:30+0200": "2026-08-21T09:15:30.000000+00:00",
    "2026-08-21T11:15:30+02": "2026-08-21T09:15:30.000000+00:00",
}
REFUSED = (
    *("20260821T091530Z", "2026-W34-5", "2026-233", "2026-08-21T24:00:00Z", "2026-08-21T09:15:60Z", "2026-08-21T09Z"),
    *("2026-08-21T09:15:30+02:00:30", "2026-08-21_09:15:30", "2026-02-30", "1787307330", "2026-08-21T09:15:30 Z", ""),
    "２026-08-21",
)


@pytest.mark.parametrize(("text", "sent"), ACCEPTED.items())
def test_times_of_rfc_3339_and_named_extras_are_accepted(text, sent):
    assert bodies.timestamp(parse_time(text)) == sent


@pytest.mark.parametrize("text", REFUSED)
def test_other_times_are_refused_in_every_version_of_python(text):
    """Whatever `datetime.fromisoformat` takes."""
    assert "'start_time' is" in problems_of(start_time=text)[0]


def test_traces_that_fit_into_a_request_are_not_torn_apart():
    """Only a trace that fits in none is; and a step never comes after the root that ends its trace."""
    small, middle, large, huge = ([b"%d-%d" % (size, n) for n in range(size)] for size in (30, 60, 40, 130))

    requests = list(packed([small, middle, large], 1_000_000))

    assert requests == [small, middle + large]
    assert list(packed([huge], 1_000_000)) == [huge[:65], huge[65:]]
    assert list(packed([[b"a" * 60], [b"b" * 60]], 100)) == [[b"a" * 60], [b"b" * 60]]
