"""What `record` says besides its table."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


def recorded(capsys, ages, *flags):
    """What is said when one-second results that ended so long ago are recorded."""
    results = []
    for age in ages:
        end = datetime.now(UTC) - age
        times = {"start_time": (end - timedelta(seconds=1)).isoformat(), "end_time": end.isoformat()}
        results.append({"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}, **times})
    Path("aged.jsonl").write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    assert main.main(["record", "aged.jsonl", *flags]) == 0
    return capsys.readouterr().err


def test_results_that_are_moved_are_counted(capsys):
    """One that is too old for LangSmith takes fresh ones along: they, too, start with the experiment."""
    days = timedelta(days=3)

    said = recorded(capsys, [days, timedelta(minutes=34)])

    assert "aged.jsonl: 2 results recorded, 1 new example. 2 old runs moved to now, since LangSmith refuses" in said


def test_results_that_keep_their_times_are_not_called_moved(capsys):
    """Nor is anything said again of what was recorded before."""
    fresh = [timedelta(hours=5), timedelta(minutes=34)]

    assert "moved to now" not in recorded(capsys, fresh, "--experiment", "fresh")
    assert "moved to now" in recorded(capsys, [timedelta(hours=6)], "--experiment", "fresh")
    assert main.main(["record", "aged.jsonl", "--experiment", "fresh"]) == 0
    assert "moved to now" not in capsys.readouterr().err


def test_scores_given_as_texts_are_doubted(capsys):
    """They become categories, which is said once for each key; other texts are categories on purpose."""
    marks = [{"correct": "1", "said": "yes"}, {"correct": "0.5", "said": "no"}]
    results = [{"inputs": {"q": n}, "outputs": {}, "feedback": mark} for n, mark in enumerate(marks)]
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, results)), encoding="utf-8")

    assert main.main(["record", "texts.jsonl"]) == 0
    err = capsys.readouterr().err

    assert "2 scores of 'correct' are texts that look like numbers, recorded as categories" in err
    assert "'said'" not in err


def test_examples_that_change_are_counted(capsys):
    """Another split is no new result, and still not nothing."""
    for split in ("train", "test"):
        Path("split.jsonl").write_text(json.dumps({"inputs": {"q": 1}, "outputs": {}, "split": split}))
        assert main.main(["record", "split.jsonl"]) == 0

    assert "split.jsonl: 0 results recorded, 1 existing, 1 example updated." in capsys.readouterr().err
