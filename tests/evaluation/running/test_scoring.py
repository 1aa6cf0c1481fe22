"""Scoring an experiment that is there."""

from datetime import UTC, datetime, timedelta

import pytest
from squares import ROWS, feedback_of, prefer_larger, square

import localsmith
from langsmith_rest import connection
from langsmith_rest.evaluation.evaluators.answers import exact_match, length_limit
from langsmith_rest.evaluation.evaluators.trajectories import trajectory_match
from langsmith_rest.evaluation.running.evaluate import evaluate
from recorder import record_langsmith_experiment


def test_an_experiment_is_scored_and_its_feedback_corrected(api, run):
    """The target is not needed; ids are those of recording, so nothing doubles; what is the same is left alone."""
    run()
    first = run("first", [exact_match, length_limit(1)], None)
    assert (first.planned, first.scored, first.feedback) == (6, 6, {"created": 6})

    again = run("first", [length_limit(99)], None)
    assert again.feedback == {"updated": 6}
    assert len(feedback_of(api, again)) == 12
    with pytest.raises(LookupError, match="'firts'. Did you mean 'first'"):
        run("firts", [exact_match], None)


def test_a_failure_goes_when_the_evaluator_works_and_a_score_stays_when_it_does_not(api, run):
    """A failing judge destroys no score; a working one takes back its earlier failure."""
    is_broken = [True]

    def sometimes(outputs):
        if is_broken[0]:
            raise TimeoutError("model down")
        return {"key": "fine", "score": 1}

    run(evaluators=[sometimes])
    is_broken[0] = False
    found = run("first", [sometimes], None)
    assert found.feedback == {"created": 6, "deleted": 6}
    assert {item["key"] for item in feedback_of(api, found)} == {"fine"}

    is_broken[0] = True
    found = run("first", [sometimes], None)
    assert sorted(item["key"] for item in feedback_of(api, found)) == ["fine"] * 6 + ["sometimes"] * 6


def test_recorded_steps_are_seen_by_evaluators(api):
    """Child runs are read, in order and at every level, and only when an evaluator asks for the run."""
    second = timedelta(seconds=1)
    now = datetime.now(UTC) - 9 * second
    steps = [
        {"name": name, "run_type": "tool", "inputs": {"q": name}, "outputs": {}, "start_time": now + second * at,
         "child_runs": [{"name": "inner", "run_type": "llm", "inputs": {}, "outputs": {}}]}
        for at, name in enumerate(("search", "read"))
    ]  # fmt: skip
    result = {"inputs": {"q": 1}, "outputs": {"a": 1}, "reference_outputs": {"trajectory": ["search", "read"]}}
    result |= {
        "start_time": now,
        "end_time": now + 2 * second,
        "child_runs": steps,
        "metadata": {"usage_metadata": {"total_tokens": 7}},
    }
    record_langsmith_experiment("agents", [result], experiment_name="agent", langsmith=api)

    def seen(run):
        return {"key": "seen", "score": 1, "comment": f"{run.child_runs[0].child_runs[0].name}, {run.latency}"}

    found = evaluate("agent", evaluators=[trajectory_match(), seen], langsmith=api)
    assert found.scores.sums == {"trajectory_match": 1, "seen": 1}
    assert feedback_of(api, found, key="seen")[0]["comment"] == "inner, 2.0"


@pytest.mark.slow
def test_servers_without_v2_are_read_by_v1(tmp_path):
    """Going on, scoring, steps and pairs work on both generations of the API."""
    with localsmith.serve(tmp_path / "old.db", v2_reads=404) as server:
        options = {"langsmith": connection.connect(server.url), "dataset_name": "squares"}
        evaluate(square, ROWS[:2], experiment_name="first", **options)
        evaluate(square, ROWS, experiment_name="second", **options)

        assert evaluate(square, ROWS, [exact_match], experiment_name="first", **options).existing == 2
        assert evaluate("first", None, [trajectory_match(), length_limit(1)], **options).scored == 6
        assert evaluate(["first", "second"], None, [prefer_larger], **options).pairs == 6
