"""What the pages calculate and how they read stored values, without a server."""

import json
import random
import subprocess
import sys
import time

import pytest
from pages_seed import Seed, capitals

import localsmith
from langsmith_rest import paired
from localsmith.pages.columns import Cache
from localsmith.pages.intervals import mean_of, t_quantile, wilson
from localsmith.pages.pairing import mcnemar, pair, sign_flip, verdicts
from localsmith.pages.render import block, duration, gist, number, one_line, percent, reason, signed, word_diff
from localsmith.runs.totals import percentile


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_interval(successes, n, low, high):
    """The interval of a rate equals the published examples, and has a width at 0 %, too."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("degrees", "value"), [(1, 12.7062), (3, 3.1824), (5, 2.5706), (10, 2.2281), (100, 1.9840)])
def test_t_quantile(degrees, value):
    """Student's t equals the tables to three digits."""
    assert t_quantile(degrees) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize(
    ("up", "down", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (10, 3, 0.0923), (4, 4, 1.0)]
)
def test_mcnemar(up, down, p):
    """The exact test of flips is the two-sided binomial."""
    assert mcnemar(up, down) == pytest.approx(p, abs=1e-4)


def test_one_value_has_no_interval():
    """A single value says nothing about its spread; no values have no mean."""
    alone = mean_of([0.5])

    assert alone and (alone.mean, alone.low, alone.high) == (0.5, None, None)
    assert mean_of([]) is None


def test_interval_of_bounded_scores_stays_in_bounds():
    """Scores between 0 and 1 have a mean between 0 and 1, whatever the normal approximation thinks."""
    mean = mean_of([0.99, 1.0, 1.0, 0.2])

    assert mean and mean.high == 1.0


def test_pairing_counts_every_example_once():
    """Improved, regressed, unchanged and not comparable add up to the examples."""
    found = pair({"a": 0.2, "b": 0.5, "c": 1.0, "d": 0.3}, {"a": 0.4, "b": 0.5 + 1e-12, "c": 0.1, "e": 1.0}, 6)

    assert (found.improved, found.regressed, found.unchanged, found.incomparable) == (1, 1, 1, 3)
    assert pair({}, {"a": 1.0}, 1).p is None


def word(baseline, candidate, tests=1):
    found = verdicts(dict.fromkeys(range(tests), pair(baseline, candidate, len(baseline))))
    return found[0].word


def test_verdict_needs_enough_flips():
    """Five flips in one direction cannot prove anything, six can; unless six metrics were looked at."""
    before = dict.fromkeys("abcdef", 0.0)

    assert word(before, {**before, **dict.fromkeys("abcde", 1.0)}) == "no difference shown"
    assert word(before, dict.fromkeys("abcdef", 1.0)) == "better"
    assert word(dict.fromkeys("abcdef", 1.0), before) == "worse"
    assert word(before, dict.fromkeys("abcdef", 1.0), tests=6) == "too few pairs"
    assert word({"a": 0.0}, {"a": 1.0}) == "too few pairs"


def test_paired_rates_have_an_interval_with_a_width():
    """Two pairs without a flip do not prove that two systems are equal, and no difference exceeds 1."""
    same = pair({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.0}, 2).difference

    assert same and same.low == pytest.approx(-0.693, abs=1e-3) and same.high == -same.low
    assert pair({"a": 0.0}, {"a": 1.0}, 1).difference.high == 1.0


@pytest.mark.parametrize("size", [1, 7, 23, 24, 25, 40, 250, 2000])
@pytest.mark.parametrize("kind", ["normal", "five points", "one outlier"])
def test_sign_flips_agree_with_the_command_line(size, kind):
    """The p is that of `main.py compare`, few differences or many."""
    chance = random.Random(size)
    draw = {
        "normal": lambda: chance.gauss(2 / size**0.5, 1),
        "five points": lambda: chance.choice([-2, -1, 0, 1, 2]),
        "one outlier": lambda: chance.gauss(1 / size**0.5, 1),
    }[kind]
    differences = [draw() for _ in range(size)]
    if kind == "one outlier":
        differences[0] = 20.0

    ours = sign_flip([d for d in differences if d > 0], [-d for d in differences if d < 0])

    assert ours == pytest.approx(paired.sign_flip(differences), rel=1e-9)
    assert sign_flip([d * 1e300 for d in differences if d > 0], [-d * 1e300 for d in differences if d < 0]) == (
        pytest.approx(ours, abs=1e-9)
    )


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
    """Scores keep what matters of them; differences carry their sign."""
    assert [number(n) for n in (1, 0.5, 0.66667, 1234567.8, None)] == ["1", "0.5", "0.6667", "1,234,567.8", "–"]
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
        ({"role": "user", "content": [{"type": "image_url"}]}, ["user"], ["[image_url, not shown here]"], []),
    ],
    ids=["openai", "list", "anthropic", "langchain", "generations", "completion", "image"],
)  # fmt: skip
def test_chats_are_recognised(value, roles, texts, calls):
    """Messages of OpenAI, Anthropic and LangChain are told from other JSON."""
    shown = block(value)

    assert shown.kind == "messages"
    assert [message.role for message in shown.messages] == roles
    assert [message.body.text for message in shown.messages] == texts
    assert [name for message in shown.messages for name, _, _ in message.calls] == calls


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
    """Chats beside chats beside chats are read in time that grows with their size, not with its power."""
    value = {"k": 1}
    for _ in range(60):
        value = {"a": {"messages": [{"role": "user", "content": "x"}], "rest": value}}

    began = time.monotonic()
    block(value)
    gist(value)

    assert time.monotonic() - began < 1


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
    app = localsmith.create_app(tmp_path / "shared.db")
    capitals(Seed(app.test_client()))
    cache = Cache(tmp_path / "shared.db")
    before = cache.now()
    assert cache.now() is before

    script = f"import sqlite3; db = sqlite3.connect({json.dumps(str(tmp_path / 'shared.db'))}); "
    subprocess.run(
        [sys.executable, "-c", script + "db.execute('UPDATE feedback SET score = 1'); db.commit()"], check=True
    )

    assert cache.now() is not before
    app.extensions["localsmith"].store.close()
