"""The reads of evaluation/api.py, against localsmith with either generation of run reads."""

import pytest

import localsmith
import recorder
from langsmith_rest import connection
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation import runs_api

RESULTS = [
    {
        "inputs": {"q": i},
        "outputs": {"a": i},
        "reference_outputs": {"a": i},
        "metadata": {"model": "m1"},
        "feedback": {"correct": i % 2, "tone": "kind"},
        "start_time": "2026-01-15T09:00:00Z",
        "end_time": "2026-01-15T09:00:01.5Z",
        "child_runs": [
            {
                "inputs": {},
                "outputs": {},
                "metadata": {"usage_metadata": {"input_tokens": 2, "output_tokens": i, "total_tokens": 2 + i}},
            }
        ],
    }
    for i in range(120)
]
EVERYTHING = (*runs_api.NUMBERS, "INPUTS", "OUTPUTS", "METADATA", "RUN_TYPE", "TRACE_ID", "EXTRA")


@pytest.fixture(params=["v2", pytest.param("v1", marks=pytest.mark.slow)])
def api(request, tmp_path):
    with localsmith.serve(tmp_path / "lab.db", v2_reads=200 if request.param == "v2" else 404) as server:
        yield connection.connect(server.url)


def test_runs_come_in_the_v2_form_whichever_api_serves_them(api):
    """120 examples take two pages; each has its one root run with numbers, enums and names as v2 has them."""
    recording = recorder.record_langsmith_experiment("lab", RESULTS, experiment_name="first", langsmith=api)

    session = calls.find_experiment(api, "first")
    examples = list(
        runs_api.list_experiment_runs(api, session["reference_dataset_id"], [recording.experiment_id], EVERYTHING)
    )

    assert len({example["id"] for example in examples}) == 120
    for example in examples:
        (run,) = example["runs"]
        assert run["outputs"] == {"a": example["inputs"]["q"]}
        assert run["project_id"] == recording.experiment_id
        assert (run["status"], run["run_type"], run["latency_seconds"]) == ("SUCCESS", "CHAIN", 1.5)
        assert run["total_tokens"] == 2 + example["inputs"]["q"]
        assert run["feedback_stats"]["correct"]["avg"] == example["inputs"]["q"] % 2
        assert run["metadata"]["model"] == "m1"
        assert not {"session_id", "parent_run_id"} & run.keys()


def test_an_experiment_is_found_by_name_and_by_id(api):
    """Both ways lead to the same experiment, within its dataset only."""
    recording = recorder.record_langsmith_experiment("lab", RESULTS[:2], experiment_name="first", langsmith=api)
    other, _ = calls.get_or_create_dataset(api, "other")

    by_name, by_id = calls.find_experiment(api, "first"), calls.find_experiment(api, recording.experiment_id)

    assert by_name["id"] == by_id["id"] == recording.experiment_id
    with pytest.raises(LookupError, match="it has no experiments"):
        calls.find_experiment(api, "first", other["id"])


def test_an_unknown_name_is_answered_with_near_ones(api):
    """Who misspells a name, or gives its beginning, is offered what there is."""
    with pytest.raises(LookupError, match="there are no experiments yet"):
        calls.find_experiment(api, "nightly")
    recorder.record_langsmith_experiment("lab", RESULTS[:2], experiment_name="nightly-1", langsmith=api)
    recorder.record_langsmith_experiment("lab", RESULTS[:2], experiment_name="a-long-name-of-a-model", langsmith=api)

    with pytest.raises(LookupError, match="Did you mean 'nightly-1'"):
        calls.find_experiment(api, "nigthly-1")
    with pytest.raises(LookupError, match="Did you mean 'a-long-name-of-a-model'"):
        calls.find_experiment(api, "a-long")
    with pytest.raises(LookupError, match="there are, for example, "):
        calls.find_experiment(api, "zzz")


def test_feedback_and_examples_are_read_in_pages(api):
    """240 pieces of feedback are three pages, and can be narrowed to a key."""
    recording = recorder.record_langsmith_experiment("lab", RESULTS, experiment_name="first", langsmith=api)

    assert len(list(calls.list_session_feedback(api, recording.experiment_id))) == 240
    tones = list(calls.list_session_feedback(api, recording.experiment_id, key="tone"))
    assert {item["value"] for item in tones} == {"kind"} and len(tones) == 120
    assert len(list(calls.list_examples(api, recording.dataset_id))) == 120
    assert calls.read_dataset(api, recording.dataset_id)["name"] == "lab"
