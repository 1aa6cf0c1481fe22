"""Experiments with chosen scores, recorded into a server of the test's own."""

import pytest

import recorder
from langsmith_rest import connection
from langsmith_rest.commands import main


@pytest.fixture
def api(server):
    return connection.connect(server.url)


@pytest.fixture
def record(api):
    def record(name, scores, *, dataset="lab", **fields):
        """Record one result for each score; None is an answer that nobody scored, an exception a failed run."""
        results = [
            {
                "inputs": {"q": i},
                "outputs": {"a": name},
                "start_time": "2026-01-15T09:00:00Z",
                "end_time": "2026-01-15T09:00:01Z",
                **scored(score),
                **fields,
            }
            for i, score in enumerate(scores)
        ]
        return recorder.record_langsmith_experiment(dataset, results, experiment_name=name, langsmith=api)

    return record


def scored(score):
    if score is None:
        return {}
    if isinstance(score, Exception):
        return {"error": repr(score)}
    if isinstance(score, list):
        return {"feedback": score}
    return {"feedback": {"correct": score}}


@pytest.fixture
def run(monkeypatch, server, capsys):
    """Run `main.py compare` on the server of the test; returns exit code, stdout and stderr."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)

    def run(*arguments):
        code = main.main(["compare", *arguments])
        return code, *capsys.readouterr()

    return run
