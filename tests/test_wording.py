"""Words that messages share."""

import pytest

from langsmith_rest.wording import clean, counted, program, shortened, typed


@pytest.mark.parametrize(
    ("argv0", "uv", "command", "name"),
    [
        ("main.py", True, "uv run main.py view", "main.py"),
        ("../main.py", True, "uv run ../main.py view", "main.py"),
        ("main.py", False, "python main.py view", "main.py"),
        ("/usr/bin/langsmith-rest", True, "langsmith-rest view", "langsmith-rest"),
        ("/lib/langsmith_rest/__main__.py", False, "python -m langsmith_rest view", "langsmith_rest"),
        ("my_script.py", False, "langsmith-rest view", "langsmith-rest"),
    ],
)
def test_command_is_named_as_it_was_typed(monkeypatch, argv0, uv, command, name):
    """A hint can be pasted where the first command was."""
    monkeypatch.setattr("sys.argv", [argv0])
    if not uv:
        monkeypatch.delenv("UV")

    assert typed("view") == command
    assert program() == name


def test_counts_and_lines_read_well():
    """One is singular, control characters are spelled out, long text ends in dots."""
    assert [counted(1, "run"), counted(2000, "run")] == ["1 run", "2,000 runs"]
    assert clean("a\x1b[1m\n") == r"a\x1b[1m\n"
    assert shortened("a  b\nc", 10) == "a b c" and shortened("abcdefgh", 6) == "abc..."
