"""Code as people write it after LangSmith's guides runs here, and the page on them has each of their headings."""

import asyncio
import re

import pytest
from places import ROOT, SHARED

from langsmith_rest import aevaluate, compare, connect, convert_runs_to_test, evaluate, list_runs
from langsmith_rest.commands import main

HEADINGS = {
    "sample-recorder.txt": [
        *("Setup", "Usage", "LLM-as-judge evaluators", "Using your own data", "Project Structure", "How It Works"),
    ],
    "backtesting.txt": [
        *("Setup", "Configure the environment", "Define the application", "Simulate production data"),
        *("Convert Production Traces to Experiment", "Select runs to backtest on", "Convert runs to experiment"),
        *("Benchmark against new system", "Define evaluators", "Evaluate baseline", "Define and evaluate new system"),
        "Comparing the results",
    ],
    "evaluators.txt": [
        *("Overview", "Schema Validation", "schemaBeforeQuery()", "Schema Query Detection", "Pairwise Comparison"),
        *("concisenessEvaluator()", "Running Pairwise Evaluation", "Simple Evaluators", "mentionsOfficeflow()"),
        *("Evaluation Types", "Code-Based Evaluators", "LLM-as-Judge Evaluators", "Pairwise Evaluators"),
        *("Integration with LangSmith", "Running Evaluations", "Evaluation Results", "Best Practices"),
    ],
    "evaluator-skill.txt": [
        *("Setup", "Environment Variables", "Dependencies", "Evaluator Format", "Method 1", "Method 2"),
        *("LLM as Judge Evaluators", "Custom Code Evaluators", "Exact Match", "Trajectory Validation"),
        *("Single Step Validation", "Running Evaluations", "Upload Evaluators to LangSmith", "Create Evaluator File"),
        *("Upload", "Best Practices", "Example Workflow"),
    ],
}
SECTIONS = ("The sample recorder", "Run backtests on a new agent", "Evaluators (the reference", "The evaluator skill")


@pytest.mark.parametrize(("guide", "section"), [*zip(HEADINGS, SECTIONS, strict=True)], ids=HEADINGS)
def test_the_page_has_each_heading_of_the_guides(guide, section):
    """In the part on that guide; and the guides have them, where they are at hand."""
    page = (ROOT / "docs" / "langsmith-guides.md").read_text()
    part = page[page.index(f"## {section}") :]
    part = part[: part.find("\n## ", 3)]

    assert [heading for heading in HEADINGS[guide] if heading not in part] == []
    if not (SHARED / "guides" / guide).exists():
        pytest.skip("the guides are not at hand")
    text = (SHARED / "guides" / guide).read_text()
    assert [heading for heading in HEADINGS[guide] if heading not in text] == []


@pytest.fixture
def traced(nothing_set, server, monkeypatch):
    """LangChain and the official SDK trace into the store; returns what waits until that is stored."""
    pytest.importorskip("langchain_core")
    langsmith = pytest.importorskip("langsmith")
    client = langsmith.Client(api_url=server.url, api_key="any")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def traced(project, work):
        with langsmith.tracing_context(enabled=True, project_name=project, client=client):
            work()
        client.flush()

    yield traced
    client.cleanup()


FOUND = {"llamas": "Llamas hum.", "tea": "Tea grows on bushes.", "rain": "Rain falls.", "snow": "Snow is cold."}


def tweet_writer():
    """An agent whose model is part of its config; each model has a way of its own with what a search finds."""
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.runnables import RunnableLambda

    async def write(inputs, config):
        topic = inputs["topic"]
        if topic == "nothing":
            raise ValueError("nothing to write about")
        model = config["configurable"].get("model", "gpt-3.5-turbo")
        said = {"gpt-3.5-turbo": FOUND[topic], "gpt-4o": f"\U0001f999\U0001f999\U0001f999 {topic} is a planet!"}[model]
        return {"messages": [ToolMessage(FOUND[topic], tool_call_id="1"), AIMessage(said)]}

    return RunnableLambda(write, name="tweet-writer")


class Grader:
    """A client made at module level, which belongs to the loop of its first call."""

    loop = None

    async def grade(self, claim, facts):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return claim in facts


grader = Grader()


def has_three_emojis(outputs):
    said = outputs["messages"][-1]["content"]
    return {"key": "three_emojis", "score": len(re.findall("[\U0001f300-\U0001faff]", said)) >= 3}


async def is_grounded(outputs):
    *found, last = outputs["messages"]
    return {"key": "grounded", "score": await grader.grade(last["content"], [one["content"] for one in found])}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the SDK announces the end of its v1 reads
def test_the_backtest_of_the_guide(traced):
    """Production is traced, becomes a dataset with its baseline; a new model is better in form, worse in truth."""
    agent = tweet_writer()
    topics = [{"topic": topic} for topic in FOUND] * 2 + [{"topic": "nothing"}]
    traced("tweets", lambda: asyncio.run(agent.abatch(topics, return_exceptions=True)))

    baseline = convert_runs_to_test(list_runs("tweets", filter="eq(error, null)"), "topics", "tweets-gpt-3.5")
    evaluate(baseline.experiment_name, "topics", [has_three_emojis, is_grounded])
    new = agent.with_config(configurable={"model": "gpt-4o"})
    found = evaluate(new, "topics", [has_three_emojis, is_grounded], experiment_name="tweets-gpt-4o")
    comparison = compare(connect(), baseline.experiment_name, found.experiment_name)

    means = {one.name: (one.baseline_mean, one.candidate_mean) for one in comparison.candidates[0].metrics}
    assert (baseline.examples_created, baseline.runs_recorded, found.done, found.errors) == (4, 8, 4, 0)
    assert means == {"three_emojis": (0.0, 1.0), "grounded": (1.0, 0.0)}


STEPS = """
def steps_match(run, example):
    made = run["outputs"].get("expected_trajectory", [])
    wanted = example["outputs"].get("expected_trajectory", [])
    extra = len(made) - len(wanted)
    return {"steps_match": 1 if made == wanted else 0, "comment": f"all: {set(wanted) <= set(made)}, extra: {extra}"}


def node_right(run, example):
    output, expected = run["outputs"].get("output", {}), example["outputs"].get("expected_output", {})
    if "classification" in run["outputs"].get("node_name", ""):
        right = output.get("classification", "").lower() == expected.get("classification", "").lower()
        return {"classification_correct": int(right), "comment": output.get("classification", "")}
    return {"output_match": int(output == expected), "comment": ""}
"""


@pytest.mark.slow
def test_the_evaluators_of_the_skill_run_here_and_are_uploaded(nothing_set, server, monkeypatch, capsys, tmp_path):
    """Written for (run, example), with their metric as the key: awaited, uploaded as they are, and tried there."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    file = tmp_path / "work" / "skill_evals.py"
    file.write_text(STEPS)
    names = {}
    exec(STEPS, names)
    right = {
        "expected_trajectory": ["search", "answer"],
        "node_name": "classification",
        "output": {"classification": "A"},
    }
    rows = [{"inputs": {"n": n}, "outputs": {**right, "expected_output": {"classification": "a"}}} for n in range(2)]

    def run_agent(inputs: dict) -> dict:
        return right if inputs["n"] else {**right, "expected_trajectory": ["answer"], "node_name": "final"}

    both = [names["steps_match"], names["node_right"]]
    found = asyncio.run(aevaluate(run_agent, rows, both, dataset_name="skill", max_concurrency=4))
    assert {key: (one["mean"], one["n"]) for key, one in found.scores.as_json().items() if one["n"]} == {
        "steps_match": (0.5, 2), "classification_correct": (1.0, 1), "output_match": (0.0, 1),
    }  # fmt: skip
    for name in ("steps_match", "node_right"):
        words = ["--name", name.title(), "--function", name, "--dataset", "skill"]
        assert main.main(["evaluators", "upload", str(file), *words]) == 0
        assert main.main(["evaluators", "test", str(file), "--function", name, "--dataset", "skill"]) == 0
    assert main.main(["evaluators", "delete", "Steps_Match", "--yes"]) == 0
    assert main.main(["evaluators", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()[-1]
    assert listed.startswith("Node_Right") and "dataset skill" in listed
