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

    assert "aged.jsonl: 2 results recorded, 1 new example. 2 old runs moved to now: see docs/record.md" in said


def test_results_that_keep_their_times_are_not_called_moved(capsys):
    """Nor is anything said again of what was recorded before."""
    fresh = [timedelta(hours=5), timedelta(minutes=34)]

    assert "moved to now" not in recorded(capsys, fresh, "--experiment", "fresh")
    assert "moved to now" in recorded(capsys, [timedelta(hours=6)], "--experiment", "fresh")
    assert main.main(["record", "aged.jsonl", "--experiment", "fresh"]) == 0
    assert "moved to now" not in capsys.readouterr().err
