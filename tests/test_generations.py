"""What we do with a server works whichever generations of LangSmith's API it has."""

import json
import uuid
from datetime import date
from pathlib import Path

import pytest
from places import FIXTURES
from squares import ROWS, square

import localsmith
import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.evaluation.backtesting.backtest import convert_runs_to_test
from langsmith_rest.evaluation.backtesting.choosing import list_runs
from langsmith_rest.evaluation.backtesting.projects import load_runs
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.evaluators.answers import exact_match
from langsmith_rest.evaluation.hosting import upload
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.recording.files import ResultFile

SERVERS = {
    "v1 only": {"v2_reads": 404},
    "July 2027": {"works_on": date(2027, 7, 2)},
    "February 2027": {"works_on": date(2027, 2, 1)},
    "April 2027": {"works_on": date(2027, 4, 2)},
}
AGENT = """
def run(inputs):
    return {"a": f"please take {inputs['q']}"}
"""
EVALUATORS = """
def polite(outputs):
    return "please" in outputs["a"]
"""


EXTREMES, BETWEEN = list(SERVERS.values())[:2], list(SERVERS.values())[2:]


@pytest.fixture(params=[*EXTREMES, *(pytest.param(one, marks=pytest.mark.slow) for one in BETWEEN)], ids=SERVERS)
def api(request, nothing_set, monkeypatch, tmp_path):
    """A connection to a server that lacks some of the API, which commands use too."""
    with localsmith.serve(tmp_path / "generations.db", **request.param) as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        yield connection.connect(server.url)


def test_recording_again_continues_the_experiment(api):
    """A second recording finds what the first has recorded, and adds what is new."""
    results = [{"inputs": {"q": n}, "outputs": {"a": n}, "feedback": {"good": 0.5}} for n in range(4)]

    first = recorder.record_langsmith_experiment("d", results[:3], experiment_name="e", langsmith=api)
    again = recorder.record_langsmith_experiment("d", results, experiment_name="e", langsmith=api)

    assert (first.runs_recorded, again.runs_recorded, again.rejected) == (3, 1, [])


def test_experiments_are_evaluated_scored_and_compared(api):
    """Running a target, resuming it, scoring its experiment, judging two side by side and comparing them."""
    options = {"dataset_name": "squares", "langsmith": api}

    def larger(outputs):
        return {"key": "larger", "scores": [output["n"] for output in outputs]}

    def zero(inputs):
        return {"n": 0}

    first = evaluate(square, ROWS, [exact_match], experiment_name="first", **options)
    resumed = evaluate(square, ROWS, [exact_match], experiment_name="first", **options)
    evaluate(zero, ROWS, [], experiment_name="second", **options)
    scored = evaluate("second", evaluators=[exact_match], langsmith=api)
    judged = evaluate(["first", "second"], evaluators=[larger], langsmith=api)
    (metric,) = compare(api, "first", "second", metrics=["exact_match"]).candidates[0].metrics

    assert (first.done, resumed.done, resumed.existing, scored.scored) == (6, 0, 6, 6)
    assert judged.pairs == 6
    assert (metric.baseline_mean, metric.candidate_mean) == (1, 1 / 6)


@pytest.mark.slow
def test_production_is_backtested(api, capsys):
    """Runs of a project become a dataset, over which a candidate runs and is compared with them."""
    rows = [{"inputs": {"q": f"{n}"}, "outputs": {"a": f"{n}"}, "metadata": {"n": n}} for n in range(8)]
    Path("runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("agent.py").write_text(AGENT)
    Path("evals.py").write_text(EVALUATORS)

    code = main.main(
        ["backtest", "--project", "prod", "--dataset", "lab", "--load", "runs.jsonl"]
        + ["--target", "agent.py:run", "--evaluators", "evals.py"]
    )

    out = capsys.readouterr().out
    assert code == 0, out
    assert any(line.startswith("polite") and line.endswith("better") for line in out.splitlines())


def test_tokens_are_those_of_the_whole_trace(api):
    """A root that calls no model has the tokens of the steps below it, in a comparison and in a backtest."""
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0.25}
    step = {"name": "model", "run_type": "llm", "inputs": {}, "outputs": {}, "metadata": {"usage_metadata": usage}}
    rows = [{"inputs": {"q": n}, "outputs": {"a": n}, "child_runs": [step]} for n in range(8)]
    Path("runs.jsonl").write_text("\n".join(map(json.dumps, rows)))

    with open("runs.jsonl", "rb") as file:
        load_runs(api, ResultFile("runs.jsonl", file), "prod")
    convert_runs_to_test(list_runs("prod", langsmith=api), "lab", "baseline", langsmith=api)
    recorder.record_langsmith_experiment("lab", rows, experiment_name="recorded", langsmith=api)
    comparison = compare(api, "baseline", "recorded")

    found = {measure.name: measure for measure in comparison.candidates[0].measures}
    assert (found["tokens"].baseline_mean, found["tokens"].candidate_mean) == (15, 15)
    assert (found["cost"].baseline_mean, found["cost"].candidate_mean) == (0.25, 0.25)


@pytest.mark.slow
def test_evaluators_are_uploaded_listed_replaced_and_deleted(api, capsys, monkeypatch):
    """A rule of a dataset and one of a project, in the same words whichever list answers, on several pages."""
    monkeypatch.setattr(upload, "PAGE", 1)
    rest.create_dataset(api, "capitals")
    rest.create_session(api, {"id": str(uuid.uuid4()), "name": "production"})

    def evaluators(*arguments):
        capsys.readouterr()
        return main.main(["evaluators", *arguments]), capsys.readouterr().out

    hosted = str(FIXTURES / "hosted.py")
    mentions = ("upload", hosted, "--name", "mentions", "--function", "mentions_reference", "--dataset", "capitals")
    created, same = evaluators(*mentions), evaluators(*mentions, "--replace", "--yes")
    changed = evaluators(*mentions, "--replace", "--yes", "--sample-rate", "0.5")
    brief = evaluators("upload", hosted, "--function", "brief", "--project", "production")
    of_project, (_, all_of_them) = evaluators("list", "--project", "production"), evaluators("list", "--json")
    deleted, (_, left) = evaluators("delete", "mentions", "--yes"), evaluators("list")

    assert created == (0, "created  mentions  code  dataset capitals  1\n")
    assert same == (0, "unchanged  mentions  code  dataset capitals  1\n")
    assert changed == (0, "replaced  mentions  code  dataset capitals  0.5\n")
    assert brief == (0, "created  brief  code  project production  1\n")
    assert "brief" in of_project[1] and "mentions" not in of_project[1]
    found = {rule["display_name"]: rule for rule in json.loads(all_of_them)["evaluators"]}
    assert (found.keys(), found["brief"]["session_name"]) == ({"brief", "mentions"}, "production")
    assert found["mentions"]["code_evaluators"][0]["language"] == "python"
    assert deleted[0] == 0 and "brief" in left and "mentions" not in left
