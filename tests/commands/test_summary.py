"""What results come to: the table of `record`, its numbers as JSON, and progress on a terminal."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from command_line import OK, write
from places import MAIN

pytestmark = pytest.mark.usefixtures("nothing_set")


def test_table_sums_the_results_up(run):
    """Errors and tokens, then the mean of each metric, then latency."""
    file = write(
        "a.jsonl",
        {**OK, "feedback": {"ok": True, "tone": "good"}, "metadata": {"usage_metadata": {"total_tokens": 1200}}},
        {**OK, "feedback": {"ok": 0}, "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:02.5Z"},
        {**OK, "outputs": None, "error": "timeout", "child_runs": [
            {**OK, "metadata": {"usage_metadata": {"input_tokens": 10, "output_tokens": 24}}}
        ]},
    )  # fmt: skip

    _, out, _ = run(file)

    assert out.splitlines()[1:-1] == [
        "results     3 (1 error, 1,234 tokens)",
        "ok          0.500 (mean of 2)",
        "tone        good: 1",
        "latency     2.50 s (p50), 2.50 s (p99)",
    ]


def test_table_counts_texts_and_failed_evaluators(run):
    """Texts by how frequent they are, shortened and on one line; failures apart from scores."""
    tones = ["rude"] + ["kind"] * 3 + ["a\x1b[31m\n" + "long " * 20]
    failed = [{"key": "judge", "error": True, "comment": "no model"}, {"key": "tone", "value": {"a": 1}}]
    results = [{**OK, "inputs": {"n": n}, "feedback": {"tone": tone, "judge": 1}} for n, tone in enumerate(tones)]
    more = [{**OK, "inputs": {"x": n}, "feedback": {"tone": f"{n}"}} for n in range(3)]

    _, out, _ = run(write("a.jsonl", *results, *more, {**OK, "feedback": failed}))

    assert out.splitlines()[2:4] == [
        "judge       1.000 (mean of 5), 1 failed",
        "tone        kind: 3, rude: 1, a\\x1b[31m long long long long ...: 1, 0: 1, 1: 1, and 2 more values",
    ]


def test_percentiles_are_those_of_the_pages(run, endpoint):
    """Between neighbours in proportion, as `localsmith` and its pages have them."""
    seconds = [0.5, 1, 2, 4, 9]
    times = [{"start_time": "2026-01-01T00:00:00Z", "end_time": f"2026-01-01T00:00:{s:09.6f}Z"} for s in seconds]

    _, out, _ = run("--json", write("a.jsonl", *[{**OK, "inputs": {"n": n}, **time} for n, time in enumerate(times)]))

    found = json.loads(out)
    stats = endpoint(f"/sessions/{found['experiment_id']}", include_stats="true")
    assert [found["summary"][name] for name in ("latency_p50", "latency_p99")] == [2, pytest.approx(8.8)]
    assert [stats[name] for name in ("latency_p50", "latency_p99")] == [2, pytest.approx(8.8)]


@pytest.mark.parametrize("usage", ["12", [1], {"total_tokens": "12"}, {"input_tokens": None, "output_tokens": {}}])
def test_metadata_of_another_kind_does_not_break_the_table(run, usage):
    """Metadata is free; what looks like no token count is none."""
    code, out, _ = run(write("a.jsonl", {**OK, "metadata": {"usage_metadata": usage}}))

    assert code == 0 and "tokens" not in out


def test_json_has_the_numbers_of_the_table(run, endpoint):
    """Per metric, latency, tokens and errors."""
    usage = {"metadata": {"usage_metadata": {"total_tokens": 12}}, "feedback": {"ok": 1, "tone": "kind"}}
    failed = {"inputs": {}, "error": "no", "feedback": [{"key": "ok", "error": True, "comment": "down"}]}

    _, out, _ = run("record", write("a.jsonl", {**OK, **usage}, failed), "--json")

    assert json.loads(out)["summary"] == {
        "scores": {
            "ok": {"n": 1, "mean": 1.0, "errors": 1, "first_error": "down"},
            "tone": {"n": 0, "mean": None, "errors": 0, "values": {"kind": 1}},
        },
        "latency_p50": None,
        "latency_p99": None,
        "tokens": 12,
        "errors": 1,
    }


def test_experiment_that_holds_other_runs_says_so(run, endpoint):
    """Two nights under one name are one experiment; the same night again is no other."""
    first, second = write("a.jsonl", OK), write("b.jsonl", {**OK, "outputs": {"a": "Cusco"}}, OK)
    quiet = run("record", first, "--experiment", "nightly")[2] + run("record", first, "--experiment", "nightly")[2]

    _, out, err = run("record", second, "--experiment", "nightly", "--json")
    back = run("record", first, "--experiment", "nightly")[2]

    assert "other run" not in quiet
    assert json.loads(out)["other_runs"] == 0 and "other run" not in err  # it holds the first result as well
    assert "The experiment 'nightly' holds 1 other run besides these results" in back


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("script"), reason="script(1) gives a command a terminal")
def test_on_a_terminal_a_line_shows_the_progress(server):
    """It is erased at the end; the link is last."""
    write("a.jsonl", *[OK] * 3)
    command = f"{sys.executable} {MAIN} record a.jsonl"

    shown = subprocess.run(
        ["script", "-qec", command, os.devnull],
        env={**os.environ, "LANGSMITH_ENDPOINT": server.url, "TERM": "xterm", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    ).stdout.decode()

    assert "\ra.jsonl: results recorded: 3 of 3 done\x1b[K\r\x1b[K" in shown and "results     3" in shown
    assert "compare?selectedSessions=" in shown.strip().splitlines()[-1]
