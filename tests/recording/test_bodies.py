"""Ids, times and bodies against the golden files that every port is checked with."""

import json
import uuid
from datetime import datetime, timedelta
from enum import Enum
from operator import itemgetter

import pytest
import rfc8785
import vectors
from hypothesis import given
from hypothesis import strategies as st
from places import FIXTURES

from langsmith_rest.recording import bodies
from langsmith_rest.recording.canonical import canonical
from langsmith_rest.recording.sources import Checked

GOLDEN = json.loads((FIXTURES / "vectors.json").read_text(encoding="utf-8"))
by_name = itemgetter("name")

safe_integers = st.integers(-(2**53) + 1, 2**53 - 1)
# Whole floats from 2**63 up to 1e21, which are written as integers, are refused.
floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not 2**63 <= abs(x) < 1e21)
texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | safe_integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_canonical_json_is_what_rfc8785_says(value):
    """For everything that RFC 8785 covers, the package of that name is the judge."""
    assert canonical(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize("case", GOLDEN["canonical"], ids=by_name)
def test_canonical_json_matches_the_golden_file(case):
    """Every port must produce these bytes."""
    made = canonical(json.loads(case["json"]))

    assert made == case["canonical"]
    assert made.encode().hex() == case["utf8"]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_big_integers_keep_all_their_digits(number):
    """RFC 8785 stops at 2**53, ids of database rows do not."""
    assert canonical({"id": number}) == f'{{"id":{number}}}'


def test_subclasses_of_json_types_are_written_as_their_base():
    """What `json` accepts from Python code gets the same id as what comes back from a file."""

    class Text(str):
        pass

    class Label(Text, Enum):
        YES = "yes"

    class Number(float):
        pass

    value = {"a": Text("x"), "b": Number(1.5), "c": (1, True, None), "d": Label.YES}

    assert canonical(value) == '{"a":"x","b":1.5,"c":[1,true,null],"d":"yes"}' == compact(value)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


@given(texts)
def test_uuid5_is_that_of_the_standard_library(name):
    """Ours is only faster."""
    assert bodies.uuid5(name) == str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


@pytest.mark.parametrize("case", GOLDEN["results"], ids=by_name)
def test_ids_and_bodies_of_a_result_match_the_golden_file(case):
    """Every port must produce these ids and bodies from the same result."""
    assert vectors.vector(case["name"], case["result"], GOLDEN["experiment"]) == case


@pytest.mark.parametrize("case", GOLDEN["results"], ids=by_name)
def test_golden_ids_follow_from_the_rules_alone(case):
    """The golden file itself holds what the rules of PORTING.md say, worked out with other people's code."""
    dataset_id, session_id = GOLDEN["experiment"]["dataset_id"], GOLDEN["experiment"]["id"]
    root = case["runs"][-1]

    def uuid5(name):
        return uuid.uuid5(uuid.NAMESPACE_DNS, name)

    result = json.loads(case["canonical"])
    reference = canonical(result.get("reference_outputs", {}))
    milliseconds = int(datetime.fromisoformat(root["start_time"]).timestamp() * 1000)
    bits = uuid5(f"{session_id}-{case['example_id']}-{case['canonical']}-0").int & ((1 << 76) - 1)

    assert session_id == str(uuid5(f"{dataset_id}-{GOLDEN['experiment']['experiment_name']}"))
    made = str(uuid5(f"{dataset_id}-{canonical(result['inputs'])}-{reference}"))
    assert case["example_id"] == case["result"].get("example_id", made)
    assert uuid.UUID(root["id"]).int == milliseconds << 80 | 7 << 76 | bits
    assert uuid.UUID(root["id"]).version == 7 and uuid.UUID(root["id"]).variant == uuid.RFC_4122


@pytest.mark.parametrize("case", GOLDEN["session_starts"], ids=by_name)
def test_session_start_matches_the_golden_file(case):
    """When an experiment starts decides whether its runs are moved."""
    earliest, now = bodies.parse_time(case["earliest"]), bodies.parse_time(case["now"])

    made = bodies.session_start(earliest, timedelta(seconds=case["longest_s"]), now)

    assert bodies.timestamp(made) == case["start_time"]


def test_name_of_an_unnamed_experiment_matches_the_golden_file():
    """The same results mean the same experiment, whatever their order."""
    results = [case["result"] for case in GOLDEN["results"]]

    assert f"{Checked(results).hash:08x}" == GOLDEN["hash_of_all"]
    assert f"{Checked(results[::-1]).hash:08x}" == GOLDEN["hash_of_all"]
    default = GOLDEN["default_name"]
    made = bodies.default_name(default["prefix"], default["dataset_name"], int(GOLDEN["hash_of_all"], 16))
    assert made == default["name"]


def test_requests_match_the_golden_transcript():
    """With a fixed clock and dataset, every request of a recording is what the transcript shows, byte for byte."""
    assert vectors.transcript() == json.loads((FIXTURES / "transcript.json").read_text(encoding="utf-8"))


def test_golden_vectors_are_what_the_code_makes_today():
    """A changed rule shows in the golden file, and so in every port."""
    assert vectors.vectors() == GOLDEN


def test_moved_trace_keeps_its_latencies_and_its_own_times():
    """All of a trace moves by the same time; what it was before stays in the metadata."""
    result = next(case["result"] for case in GOLDEN["results"] if case["name"] == "times before the session")

    runs = vectors.trace_of(result, {"id": "s", "start_time": "2026-08-21T09:15:30+00:00"})
    sent = [json.loads(run.body) for run in runs]

    assert [run["start_time"][17:26] for run in sent] == ["31.000000", "30.000000", "30.000000", "30.000000"]
    assert sent[-1]["end_time"] == "2026-08-21T09:15:32.250000+00:00"
    assert sent[-1]["extra"]["metadata"] == {
        "original_start_time": "2025-01-01T00:00:00",
        "original_end_time": "2025-01-01T00:00:02.25",
    }


def test_run_within_the_session_stays_as_it_is():
    """Fresh results keep their times, and no metadata is made up."""
    result = {"inputs": {}, "outputs": {}, "start_time": "2026-08-21T09:15:31Z", "end_time": "2026-08-21T09:15:32Z"}

    [run] = vectors.trace_of(result, {"id": "s", "start_time": "2026-08-21T09:15:30+00:00"})

    assert run.start_time == "2026-08-21T09:15:31.000000+00:00"
    assert "extra" not in json.loads(run.body)


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        ({"a": 1, "b": None, "c": "good", "d": False}, [("a", 1), ("c", "good"), ("d", False)]),
        ([{"key": "a", "score": None}, {"key": "a", "score": None, "comment": "no"}], [("a", None)]),
        (None, []),
    ],
    ids=["short form", "nulls only are not scored", "none"],
)
def test_feedback_is_read_in_both_forms(feedback, expected):
    """`{key: score}` is short for a list; what holds only nulls was not scored, which is not zero."""
    found = bodies.feedback_of({"feedback": feedback})

    assert [(item["key"], item.get("score", item.get("value"))) for item in found] == expected
