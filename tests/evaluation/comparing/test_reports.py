"""Waiting for judges before a comparison, and its report as JUnit XML."""

from xml.etree import ElementTree

import pytest

from langsmith_rest import connection
from langsmith_rest.commands import main


def test_compare_waits_for_a_judge_that_runs_by_itself(api, record, run, monkeypatch):
    """It compares as soon as the last run is scored."""
    record("before", [1] * 6)
    after = record("after", [None] * 6)
    looks = []

    def score(seconds):
        looks.append(seconds)
        session = {"session": after.experiment_id}
        [query] = [connection.call(api, "POST", "/runs/query", json={"session": [session["session"]]})]
        for item in query["runs"]:
            connection.call(api, "POST", "/feedback", json={"run_id": item["id"], "key": "correct", "score": 1})

    monkeypatch.setattr("langsmith_rest.evaluation.comparing.waiting.time.sleep", score)

    code, out, err = run("before", "after", "--wait", "correct=60", "--fail-below", "correct=1")

    assert (code, len(looks)) == (0, 1)
    assert "waiting for correct: 6 of 12 runs scored" in err and "correct: all 12 runs scored" in err


def test_what_is_missing_after_the_wait_is_missing(record, run):
    """When the time is up, the gate says what it lacks."""
    record("before", [1] * 6)
    record("after", [1] * 5 + [None])

    code, out, err = run("before", "after", "--wait", "correct=0", "--fail-below", "correct=1")

    assert code == 1 and "correct is still missing on 1 run after 0 s: comparing without it." in err
    assert "1 score missing (1 not scored)" in out


def test_markdown_of_a_failed_gate_tells_no_other_exit_code(record, run):
    """An inconclusive limit beside it decides nothing."""
    record("before", [1, 0] * 20)
    record("after", [1, 0] * 20)
    unsure = ["--max-regression", "correct=0.0001", "--markdown"]

    _, alone, _ = run("before", "after", *unsure)
    _, failed, _ = run("before", "after", *unsure, "--fail-below", "correct=1")

    assert "An inconclusive gate has exit code 0" in alone
    assert "**Gate failed**" in failed and "An inconclusive gate" not in failed


def test_junit_has_a_case_for_each_check(record, run, tmp_path):
    """Failures and missing scores fail; too few pairs are skipped unless the exit code says otherwise."""
    record("before", [1, 0] * 20)
    record("after", [0, 1] * 5 + [1, 0] * 15)
    flags = ["--fail-below", "correct=0.8", "--max-regression", "correct=0.02", "--require-pairs", "0.9"]

    run("before", "after", *flags, "--junit", str(tmp_path / "reports" / "gate.xml"))
    suite = ElementTree.parse(tmp_path / "reports" / "gate.xml").getroot()
    run("before", "after", *flags, "--inconclusive-exit", "1", "--junit", str(tmp_path / "strict.xml"))
    strict = ElementTree.parse(tmp_path / "strict.xml").getroot()

    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "skipped": "1",
    }
    assert strict.get("failures") == "2"
    assert [case.get("name") for case in suite.iter("testcase")][0] == "fail_below correct=0.8"
    assert "below 0.8" in suite.find("testcase/failure").get("message")


def test_junit_without_limits_lists_the_metrics(record, run, tmp_path):
    """Every metric is a case that passes, with its verdict."""
    record("before", [0] * 12)
    record("after", [1] * 12)

    run("before", "after", "--junit", str(tmp_path / "all.xml"))

    suite = ElementTree.parse(tmp_path / "all.xml").getroot()
    assert suite.get("failures") == "0"
    assert suite.find("testcase[@name='correct']/system-out").text.startswith("better: +1")


def test_a_report_of_an_earlier_comparison_does_not_stay(record, run, tmp_path):
    """Where nothing could be compared, a CI system would show the checks of that one as passed."""
    record("before", [1] * 8)
    record("after", [1] * 8)
    report = tmp_path / "gate.xml"
    assert run("before", "after", "--fail-below", "correct=1", "--junit", str(report))[0] == 0

    code, _, _ = run("before", "after", "--fail-below", "corect=1", "--junit", str(report))

    assert code == 2 and not report.exists()


def test_a_limit_in_percent_is_told_how_it_is_written(capsys):
    """The message says what a limit looks like."""
    with pytest.raises(SystemExit):
        main.main(["compare", "a", "b", "--max-regression", "correct=2%"])

    assert "'2%' is not a number: write 0.02 for 2 %" in capsys.readouterr().err
