"""The program that PORTING.md begins with: printed as it is, and as good as its word."""

import json
import re
import subprocess
import sys

import pytest
from places import ROOT

from langsmith_rest import connection
from langsmith_rest.conformance.faults import DROP_AFTER, PASSING, Answer, Faults
from recorder import record_langsmith_experiment

LEVEL1 = ROOT / "ports" / "python" / "level1.py"


def result(number):
    """Results of all ages and kinds that level 1 knows."""
    made = {"inputs": {"q": f"{number} ½?", "n": [number, number / 8, 1e-7, 1e21, 1.0]}, "outputs": {"a": number}}
    if number % 2:
        made |= {"start_time": f"2025-01-01T00:{number % 60:02}:00.000001Z", "end_time": "2025-01-01T01:00:00+00:00"}
    if number % 3:
        made |= {"reference_outputs": {"a": 1}, "feedback": {"good": number % 2, "said": "so"}, "tags": ["x"]}
    if number % 5 == 0:
        made |= {"outputs": None, "error": "timeout", "feedback": [{"key": "good", "error": True, "comment": "no"}]}
    if number % 7 == 0:
        made |= {"metadata": {"usage_metadata": {"input_tokens": 1}}, "example_metadata": {"n": number}}
    return made


RESULTS = [result(number % 120) for number in range(130)]  # the last ten are repetitions


def level1(folder, url):
    """Run the program on the results."""
    file = folder / "results.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in RESULTS))
    env = {"LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": "lsv2_secret"}
    command = [sys.executable, LEVEL1, file, "d", "e"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_text_and_program_are_the_same():
    """What PORTING.md prints is the program, line by line, and short enough to be read."""
    text, program = (ROOT / "PORTING.md").read_text(), LEVEL1.read_text()

    assert f"```python\n{program}```\n" in text
    assert len(program.splitlines()) <= 120


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, PASSING["503"], DROP_AFTER], ids=["undisturbed", "503", "lost answers"])
def test_what_it_records_is_what_the_recorder_would(tmp_path, server, fault):
    """The recorder finds nothing new afterwards, whatever failed the first time it was asked."""
    faults, failed = Faults(server), set()

    def plan(seen):
        endpoint = seen.method, re.sub("[0-9a-f-]{36}", "ID", seen.path)
        return None if endpoint in failed or failed.add(endpoint) else fault

    faults.plan = plan
    for _ in range(2):
        ended = level1(tmp_path, server.url)
        assert (ended.returncode, ended.stderr) == (0, "")
    faults.seen.clear()
    recording = record_langsmith_experiment("d", RESULTS, experiment_name="e", langsmith=connection.connect(server.url))

    assert (recording.runs_existing, recording.runs_recorded, recording.rejected) == (130, 0, [])
    assert (recording.examples_existing, recording.examples_created, recording.feedback) == (120, 0, 0)
    assert not faults.count("POST /runs")


def test_refusal_is_said_without_the_key(tmp_path, server):
    """A server that repeats the key in its answer does not make the program print it."""
    faults = Faults(server)
    faults.plan = lambda seen: Answer(403, "lsv2_secret may not do this")

    ended = level1(tmp_path, server.url)

    assert ended.returncode == 1
    assert "GET /datasets: 403 <key> may not do this" in ended.stderr
    assert "lsv2_secret" not in ended.stderr
