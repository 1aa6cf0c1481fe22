"""What a notebook shows, and what a data frame is made of."""

import pytest

from langsmith_rest import compare, connect, evaluate, notebooks, record_langsmith_experiment

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.fixture
def api(server):
    return connect(server.url)


def results(score, name="<b>"):
    return [
        {"inputs": {"q": n}, "outputs": {"a": n}, "feedback": {name: score}, "reference_outputs": {"a": 1}}
        for n in range(3)
    ]


def test_a_recording_is_a_row_and_a_table(api):
    """Its counts, and a link to the pages."""
    recording = record_langsmith_experiment("d", results(1), experiment_name="first", langsmith=api)

    (row,) = recording.rows()
    assert (row["experiment"], row["runs_recorded"], row["feedback"], row["rejected"]) == ("first", 3, 3, 0)
    html = recording._repr_html_()
    assert f'<a href="{recording.url}" target="_blank">first in d</a>' in html and "<td>3</td>" in html


def test_an_evaluation_is_a_row_per_score(api):
    """Key, count, mean, failures."""
    record_langsmith_experiment("d", results(1), experiment_name="first", langsmith=api)

    def right(outputs, reference_outputs):
        return outputs["a"] == reference_outputs["a"]

    found = evaluate(
        lambda inputs: {"a": inputs["q"]}, data="d", evaluators=[right], experiment_name="e", langsmith=api
    )

    (row,) = found.rows()
    assert (row["experiment"], row["score"], row["n"], row["errors"]) == ("e", "right", 3, 0)
    assert row["mean"] == pytest.approx(1 / 3)
    assert "<td>0.3333</td>" in found._repr_html_()


def test_a_comparison_is_a_row_per_metric(api):
    """Flat, so that a data frame has a column for each number; and nothing in it is taken as HTML."""
    record_langsmith_experiment("d", results(0), experiment_name="first", langsmith=api)
    record_langsmith_experiment("d", results(1), experiment_name="second", langsmith=api)

    comparison = compare(api, "first", "second")

    rows = comparison.rows()
    (score,) = [row for row in rows if row["is_score"]]
    assert (score["candidate"], score["baseline"], score["metric"]) == ("second", "first", "<b>")
    assert (score["baseline_mean"], score["candidate_mean"], score["pairs"]) == (0, 1, 3)
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    assert "error_rate" in {row["metric"] for row in rows if not row["is_score"]}
    html = comparison._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert comparison.url.replace("&", "&amp;") in html


def test_only_addresses_become_links():
    assert "<a " not in notebooks.table([], "x", "javascript:alert(1)")
