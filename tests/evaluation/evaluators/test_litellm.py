"""Judges, and the `openai` client in an evaluator, through LiteLLM's proxy in front of mock models."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest
import requests
from chat_server import ChatServer, good

from langsmith_rest import connection
from langsmith_rest.commands import main
from langsmith_rest.evaluation.evaluators import model_server
from langsmith_rest.evaluation.loops import run_here
from langsmith_rest.evaluation.running import evaluate as evaluations

KEY = "sk-of-this-test"
START_SECONDS = 300  # it takes ten seconds of one processor, and tests that run beside it want that, too
VERDICT = {"reasoning": "It says Lima.", "is_accurate": True, "mood": "fine"}
ROWS = [{"inputs": {"n": n}, "reference_outputs": {"answer": "Lima"}} for n in range(3)]
AGENT = "def run(inputs):\n    return {'answer': 'Lima', 'n': inputs['n']}\n"
JUDGES = '''
from typing import Annotated, TypedDict

from langsmith_rest import llm_judge


class Grade(TypedDict):
    """The verdict of a judge."""

    reasoning: Annotated[str, ..., "Explain your reasoning"]
    is_accurate: Annotated[bool, ..., "Whether the answer is accurate"]


mocked = llm_judge("Is it accurate?", schema=Grade, model="mocked")
passed_on = llm_judge("Is it accurate?", schema=Grade, model="passed-on", key="passed")
'''


class Proxy:
    """A running proxy with two models: one answers by itself, the other passes questions on to `upstream`."""

    def __init__(self, folder, upstream):
        models = {
            "mocked": {"model": "openai/any", "api_key": "none", "mock_response": json.dumps(VERDICT)},
            "passed-on": {"model": "openai/any", "api_key": "none", "api_base": upstream},
        }
        listed = [{"model_name": name, "litellm_params": how} for name, how in models.items()]
        config = folder / "litellm.yaml"  # JSON is YAML
        config.write_text(json.dumps({"model_list": listed, "general_settings": {"master_key": KEY}}))
        self.log = folder / "litellm.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["litellm", "--config", config, "--host", "127.0.0.1", "--port", "0"],
                stdout=log,
                stderr=log,
                env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUNBUFFERED": "1"},
            )

    def __enter__(self):
        until = time.monotonic() + START_SECONDS
        while not (self.url and self.is_ready()):
            if self.process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                pytest.fail(f"The proxy did not start: {self.log.read_text()}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log.read_text())
        return found and found[1]

    def is_ready(self):
        try:
            return requests.get(f"{self.url}/health/readiness", timeout=60).ok
        except requests.RequestException:
            return False


@pytest.fixture
def evaluate(server, nothing_set, monkeypatch, capsys, tmp_path):
    """Run `evaluate agent.py:run` over three rows with evaluators of judges.py; returns (code, result, stderr)."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    for name, text in (("lite_agent.py", AGENT), ("lite_judges.py", JUDGES)):
        (tmp_path / "work" / name).write_text(text)
    (tmp_path / "work" / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))

    def run(names, *words):
        command = ["evaluate", "lite_agent.py:run", "--data", "rows.jsonl", "--evaluators", f"lite_judges.py:{names}"]
        code = main.main([*command, "--json", *words])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    model_server.default_server.cache_clear()
    monkeypatch.setattr(model_server, "SPENT", [])  # what other tests spent in this process
    run.api = connection.connect(server.url)
    yield run
    model_server.default_server.cache_clear()


def means_with(client, api):
    """The means of an evaluator that asks with this client, in two evaluations after each other."""

    async def says_lima(outputs):
        question = [{"role": "user", "content": str(outputs)}]
        said = await client.chat.completions.create(model="mocked", messages=question)
        return "Lima" in said.choices[0].message.content

    names = ("openai-1", "openai-2")
    rows, how = [{"inputs": row["inputs"]} for row in ROWS], {"dataset_name": "openai", "langsmith": api}
    found = [
        evaluations.evaluate(lambda inputs: inputs, rows, [says_lima], experiment_name=one, **how) for one in names
    ]
    run_here(client.close())
    return [one.scores.as_json()["says_lima"]["mean"] for one in found]


@pytest.mark.slow
def test_judges_are_asked_through_litellms_proxy(evaluate, monkeypatch, tmp_path, caplog):
    """An estimate asks nobody; --limit asks so often; surplus fields are dropped; the schema arrives as it was made."""
    if not shutil.which("litellm"):
        pytest.skip("no litellm on the PATH: uv tool install 'litellm[proxy]'")
    openai = pytest.importorskip("openai")

    with ChatServer(good(VERDICT)) as upstream, Proxy(tmp_path, upstream.url) as proxy:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{proxy.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)

        _, estimated, _ = evaluate("mocked,passed_on", "--estimate", "--price", "1,2")
        assert (estimated["estimate"]["calls"], upstream.requests) == (6, [])
        assert estimated["estimate"]["dollars"] > 0

        code, tried, _ = evaluate("passed_on", "--limit", "2", "--experiment", "tried")
        assert (code, tried["judge"]["calls"], len(upstream.requests)) == (0, 2, 2)
        asked = upstream.requests[0]["response_format"]["json_schema"]
        assert (asked["strict"], asked["schema"]["additionalProperties"]) == (True, False)
        assert asked["schema"]["properties"]["is_accurate"]["description"] == "Whether the answer is accurate"

        code, all_of_it, _ = evaluate("mocked", "--experiment", "mocked")
        assert (code, all_of_it["scores"]["is_accurate"]["n"]) == (0, 3)
        assert all_of_it["scores"]["is_accurate"]["mean"] == tried["scores"]["is_accurate"]["mean"] == 1.0
        assert "left out: mood" in caplog.text

        assert means_with(openai.AsyncOpenAI(), evaluate.api) == [1.0, 1.0]

        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        model_server.default_server.cache_clear()
        code, _, err = evaluate("mocked", "--experiment", "refused", "--fresh")
        assert (code, "answered 4" in err, "sk-wrong" in err) == (1, True, False)
