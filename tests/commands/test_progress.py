"""Long work shows itself, and leaves logs readable."""

import pytest

from langsmith_rest.commands import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_logs_get_a_line_every_ten_seconds(clock):
    """Not one for each result."""
    said = []

    with progress.counting("a.jsonl: results checked", said.append) as on_progress:
        for second in range(25):
            clock[0] += 1
            on_progress(1000 * (second + 1), 60_000)

    assert said == [
        "a.jsonl: results checked: 10,000 of 60,000 done",
        "a.jsonl: results checked: 20,000 of 60,000 done",
    ]


def test_terminal_shows_one_line_that_is_erased_at_the_end(clock, monkeypatch, capsys):
    """What is printed next starts on a clean line."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    with progress.counting("a.jsonl", print) as on_progress:
        on_progress(1, None)

    out, err = capsys.readouterr()
    assert (out, err) == ("", "\ra.jsonl: 1 done\x1b[K\r\x1b[K")
