"""Judging two experiments in pairs."""

import hashlib

import pytest
from squares import prefer_larger, square

from langsmith_rest import connection
from langsmith_rest.commands.evaluate_output import pairwise_lines
from langsmith_rest.evaluation import api as calls
from langsmith_rest.recording import bodies


def prefer_first(outputs):
    return [1, 0]


@pytest.fixture
def pair(run):
    run(lambda inputs: {"n": 0}, experiment_name="a")
    run(square, experiment_name="b")
    return ["a", "b"]


def pairwise_feedback(api, found, run_of):
    session = calls.find_experiment(api, run_of)
    items = calls.list_session_feedback(api, session["id"])
    return [item for item in items if item["comparative_experiment_id"] == found.comparative_id]


def test_two_experiments_are_judged_side_by_side(api, run, pair):
    """A comparative experiment, and for each run a feedback, those of an example bound by a group."""
    found = run(pair, [prefer_larger], None, experiment_name=None, randomize_order=True)

    assert (found.pairs, found.means, found.ties) == (6, {"larger": [0, 5 / 6]}, {"larger": 1})
    [listed] = connection.call(api, "GET", f"/datasets/{calls.find_dataset(api, 'squares')['id']}/comparative")
    assert (listed["id"], listed["name"]) == (found.comparative_id, found.name)
    a, b = (pairwise_feedback(api, found, name) for name in pair)
    assert [sum(item["score"] for item in items) for items in (a, b)] == [0, 5]
    assert {item["feedback_group_id"] for item in a} == {item["feedback_group_id"] for item in b}
    assert len({item["feedback_group_id"] for item in a}) == 6
    assert {item["comment"] for item in a + b} == {"c"}


@pytest.mark.slow
def test_judging_the_same_again_changes_nothing(api, run, pair):
    """One comparison of that name, its feedback created once, corrected when the judge changes its mind."""
    first = run(pair, [prefer_first], None)
    assert first.feedback["created"] == 12

    again = run(pair, [prefer_first], None)
    assert (again.comparative_id, again.feedback.total()) == (first.comparative_id, 0)

    def prefer_second(outputs):
        return {"key": "prefer_first", "scores": [0, 1]}

    assert run(pair, [prefer_second], None).feedback == {"updated": 12}


def test_the_share_of_the_answer_shown_first_is_told(run, pair):
    """Of a judge that likes the first answer it is all; where one experiment is always first, there is none."""
    always = run(pair, [prefer_first], None)
    drawings = (run(pair, [prefer_first], None, randomize_order=True, seed=seed) for seed in range(20))
    drawn = next(one for one in drawings if one.scores["prefer_first"].shown_first)  # one in 32 shows the same first

    assert always.scores["prefer_first"].shown_first is None
    assert drawn.scores["prefer_first"].shown_first.mean == 1
    assert "shown_first" in drawn.as_json()["scores"]["prefer_first"]
    assert "of the preferences went to the answer shown first" in "\n".join(pairwise_lines(drawn))


def test_a_judge_that_says_nothing_is_told(run, pair):
    """Of none of the six pairs: it has a row, and is not just absent."""

    def silent(outputs):
        return None

    found = run(pair, [silent], None)

    assert found.as_json()["scores"]["silent"]["not_scored"] == 6
    assert "silent      6 not scored" in pairwise_lines(found)


def test_an_interrupted_random_comparison_of_an_earlier_version_is_finished(api, run, pair):
    """Its id is made of the experiments and its name alone; other seeds have comparisons of their own."""
    ids = [calls.find_experiment(api, name)["id"] for name in pair]
    digest = hashlib.sha256("-".join([*ids, ""]).encode()).hexdigest()[:8]
    earlier = bodies.uuid5(f"{'-'.join(ids)}-a vs. b-{digest}")

    drawn, other = (
        run(pair, [prefer_first], None, experiment_name=None, randomize_order=True, seed=seed) for seed in (0, 1)
    )

    assert drawn.comparative_id == earlier != other.comparative_id


@pytest.mark.slow
def test_the_order_is_random_by_seed_and_scores_follow_the_runs(api, run, pair):
    """A judge that likes the first answer splits its votes; the order is kept with the feedback."""
    means = []
    for seed in range(6):
        found = run(pair, [prefer_first], None, randomize_order=True, seed=seed)
        means.append(found.means["prefer_first"][0])

    assert 0 < sum(means) < 6
    assert run(pair, [prefer_first], None, randomize_order=True, seed=5).feedback.total() == 0
    for item in pairwise_feedback(api, found, "a"):  # of the last seed: each seed is a comparison of its own
        assert item["feedback_source"]["metadata"]["order"][0 if item["score"] else 1] == "a"
    kept = calls.list_session_feedback(api, calls.find_experiment(api, "a")["id"])
    assert len({item["comparative_experiment_id"] for item in kept} - {None}) == 6


@pytest.mark.slow
def test_a_failing_pairwise_evaluator_is_recorded(api, run, pair):
    """Errors on both runs; a working one takes them back."""

    def judge(outputs):
        raise ValueError("no opinion")

    found = run(pair, [judge, prefer_first], None)
    assert found.errors == {"judge": 6}
    errors = [item for item in pairwise_feedback(api, found, "a") if item.get("error")]
    assert len(errors) == 6 and errors[0]["comment"] == "ValueError: no opinion"

    def works(outputs):
        return {"key": "judge", "scores": [0, 0]}

    assert run(pair, [works], None).feedback == {"created": 12, "deleted": 12}


@pytest.mark.slow
def test_pairs_that_cannot_be(run, pair):
    """Different experiments of one dataset, and an evaluator."""
    run(experiment_name="c", dataset_name="others")
    for experiments, evaluators in ((["a", "a"], [prefer_first]), (["a", "c"], [prefer_first]), (["a", "b"], [])):
        with pytest.raises(ValueError, match="pairwise evaluation needs"):
            run(experiments, evaluators, None)
