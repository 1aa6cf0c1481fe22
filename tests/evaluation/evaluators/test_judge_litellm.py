"""Judges against LiteLLM's proxy, a server that many teams put before their models; its models here are mocks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from langsmith_rest.evaluation.evaluators import model_server
from langsmith_rest.evaluation.evaluators.llm import llm_judge

LITELLM = shutil.which("litellm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LITELLM, reason="needs LiteLLM: uv run --group guides ..."),
]


@pytest.fixture
def proxy(tmp_path):
    """LiteLLM's proxy on a free port, with a model that always gives one verdict; yields its address."""
    verdict = json.dumps({"reasoning": "It is.", "score": True})
    params = {"model": "openai/gpt-4.1-mini", "api_key": "none", "mock_response": verdict}
    config = {"model_list": [{"model_name": "judge", "litellm_params": params}]}
    (tmp_path / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LITELLM, "--config", str(tmp_path / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if requests.get(f"{url}/health/liveliness", timeout=5).ok:
                    break
            except requests.RequestException:
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(20)


def test_a_judge_asks_through_litellm(proxy, tmp_path):
    """The verdict of its mock model, tokens counted."""
    connection = model_server.connect(proxy, "any-key", cache=tmp_path / "cache")

    [item] = llm_judge("Is it polite?", key="polite", model="judge", connection=connection)(
        inputs={"q": "?"}, outputs={"a": "Yes, please."}, reference_outputs={}
    )

    assert item == {"key": "polite", "score": True, "comment": "It is."}
    assert (connection.spent.calls, connection.spent.input_tokens > 0) == (1, True)
