"""What the pages calculate and how they read stored values, without a server."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages_seed import Seed, capitals

import localsmith
from localsmith.pages.blocks import block
from localsmith.pages.columns import Cache
from localsmith.pages.render import duration, gist, mean, number, one_line, percent, reason, signed, word_diff
from localsmith.pages.scores import parse_score
from localsmith.runs.totals import percentile


def test_scripts_of_one_page_share_no_name():
    """A function of one script would silently replace that of another."""
    texts = {path.name: path.read_text() for path in (Path(localsmith.__file__).parent / "static").glob("*.js")}
    names = {name: re.findall(r"^(?:async )?(?:function|const|let) (\w+)", text, re.M) for name, text in texts.items()}
    everywhere = names.pop("pages.js") + names.pop("live.js")

    assert len(everywhere) > 8 and len(names) == 3
    for own in names.values():
        assert len({*everywhere, *own}) == len(everywhere) + len(own)


def test_percentiles():
    """Percentiles lie between neighbours where they fall between them."""
    assert percentile([], 0.5) is None
    assert percentile([10], 0.99) == 10
    assert percentile([0, 10, 20, 30], 0.5) == 15


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(None, "–"), (0, "–"), (250, "250 µs"), (2_000, "2 ms"), (1_234_000, "1.23 s"), (61_000_000, "61.0 s"),
     (150_000_000, "2 min 30 s"), (7_300_000_000, "2 h 01 min")],
)  # fmt: skip
def test_durations(micros, shown):
    """Durations are short, and never a zero that means 'not known'."""
    assert duration(micros) == shown


def test_numbers():
    """Scores keep what matters of them; differences carry their sign; below zero stands a minus, not a hyphen."""
    assert [number(n) for n in (1, 0.5, 0.66667, 1234567.8, None)] == ["1", "0.5", "0.667", "1,234,567.8", "–"]
    assert [number(n) for n in (-2, -0.05, 1.5e20, -1.5e20)] == ["−2", "−0.05", "1.5e+20", "−1.5e+20"]
    assert [mean(n) for n in (-0.05, 2, -12345.6)] == ["−0.050", "2.000", "−12,345.6"]
    assert [signed(n) for n in (0.25, -0.25, 0)] == ["+0.250", "−0.250", "±0.000"]
    assert [percent(n) for n in (0, 0.00001, 0.5)] == ["0.0 %", "<0.1 %", "50.0 %"]


ANTHROPIC = {
    "role": "assistant",
    "content": [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "Lima"}},
    ],
}
LANGCHAIN = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "schema", "messages", "AIMessage"],
    "kwargs": {"content": "Hi.", "tool_calls": [{"name": "add", "args": {"a": 1}, "id": "c1"}]},
}


@pytest.mark.parametrize(
    ("value", "roles", "texts", "calls"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, ["user"], ["Hi"], []),
        ([{"type": "human", "content": "Hi"}, {"type": "ai", "content": "o"}], ["user", "assistant"], ["Hi", "o"], []),
        (ANTHROPIC, ["assistant"], ["Let me look."], ["search"]),
        ({"messages": [[LANGCHAIN]]}, ["assistant"], ["Hi."], ["add"]),
        ({"generations": [[{"text": "Hi.", "message": LANGCHAIN}]]}, ["assistant"], ["Hi."], ["add"]),
        ({"choices": [{"message": {"role": "assistant", "content": "Hi"}}], "model": "m"}, ["assistant"], ["Hi"], []),
        ({"role": "user", "content": [{"type": "image_url"}]}, ["user"], ["[image not shown: no address]"], []),
    ],
    ids=["openai", "list", "anthropic", "langchain", "generations", "completion", "image"],
)  # fmt: skip
def test_chats_are_recognised(value, roles, texts, calls):
    """Messages of OpenAI, Anthropic and LangChain are told from other JSON."""
    shown = block(value)

    assert shown.kind == "messages"
    assert [message.role for message in shown.messages] == roles
    assert [message.body.text for message in shown.messages] == texts
    assert [call.name for message in shown.messages for call in message.calls] == calls


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "nothing"), ({}, "nothing"), ("text", "text"), (0, "text"), (False, "text"), ({"a": 1, "b": "x"}, "fields"),
     ({"a": {"b": 1}}, "json"), ([1, 2], "json"), ({"messages": "none"}, "fields"), ({"messages": [1]}, "json"),
     ({"role": "user"}, "fields"), ({"role": 1, "content": 2}, "fields"), ({"choices": [None]}, "json")],
)  # fmt: skip
def test_other_values_are_no_chat(value, kind):
    """What only looks like a chat is shown as what it is."""
    assert block(value).kind == kind


def test_nesting_takes_no_longer_than_it_must():
    """Chats beside chats beside chats are read in time that grows with their size: 2 ** 60 steps would never end."""
    value = {"k": 1}
    for _ in range(60):
        value = {"a": {"messages": [{"role": "user", "content": "x"}], "rest": value}}

    assert block(value) and gist(value)


def test_word_diff_keeps_both_texts():
    """What is same or removed is the old text, what is same or added the new one."""
    old, new = "The answer is 42, I think.", "The right answer is 43."

    pieces = word_diff(old, new)

    assert "".join(text for kind, text in pieces if kind != "added") == old
    assert "".join(text for kind, text in pieces if kind != "removed") == new
    assert word_diff("word " * 5000, "other") is None


def test_one_line_says_the_gist():
    """A list shows the one text of a value, or its JSON, on a line of bounded length."""
    assert one_line({"answer": "first\nsecond"}) == "first second"
    assert len(one_line({"answer": "x" * 500})) == 160


def test_the_reason_of_a_traceback_is_its_last_line():
    """Of other errors it is the error, in one line."""
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in run\n    x()\nValueError: no answer\n'

    assert reason(trace) == "ValueError: no answer"
    assert reason("Timeout:\n the model\n did not answer") == "Timeout: the model did not answer"
    assert reason("") == ""


def test_kept_columns_follow_other_processes(tmp_path):
    """A commit by another process is noticed: nothing kept is older than the store."""
    app = localsmith.create_app(tmp_path / "shared.db", score_decimals=None)
    capitals(Seed(app.test_client()))
    cache = Cache(app.extensions["localsmith"].store)
    before = cache.now()
    assert cache.now() is before

    script = f"import sqlite3; db = sqlite3.connect({json.dumps(str(tmp_path / 'shared.db'))}); "
    subprocess.run(
        [sys.executable, "-c", script + "db.execute('UPDATE feedback SET score = 1'); db.commit()"], check=True
    )

    assert cache.now() is not before
    app.extensions["localsmith"].store.close()


def test_scores_by_hand_have_at_most_four_decimals():
    """As all scores that are sent."""
    assert [parse_score(text) for text in ("0.33333", "-0.00001", "1")] == [0.3333, 0, 1]
