"""What `evaluate --pairwise` says of preferences: shares and p by example, ties apart."""

import json
import sys

import pytest
from squares import square

from langsmith_rest.commands import main

JUDGE = """
def clear(outputs, reference_outputs):
    wins = reference_outputs["wins"]
    return {"scores": [int(wins == "old"), int(wins == "new")]}
"""


@pytest.fixture
def judge(run, monkeypatch, server, tmp_path, capsys):
    """Judge `old` and `new` by the command, over one example for each given winner; returns what is printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    (tmp_path / "preferring.py").write_text(JUDGE)
    sys.modules.pop("preferring", None)

    def judge(winners, *flags, repetitions=1):
        data = [{"inputs": {"n": n}, "reference_outputs": {"wins": wins}} for n, wins in enumerate(winners)]
        for name in ("old", "new"):
            run(square, [], data, experiment_name=name, num_repetitions=repetitions)
        capsys.readouterr()
        assert main.main(["evaluate", "--pairwise", "old", "new", "--evaluators", "preferring.py", *flags]) == 0
        return capsys.readouterr().out

    return judge


@pytest.mark.slow
def test_repetitions_are_no_further_evidence(judge):
    """8 examples judged five times, of which 6 prefer the new one, are 8 examples: p is not that of 30 against 10."""
    winners = ["old"] * 2 + ["new"] * 6

    found = json.loads(judge(winners, "--json", repetitions=5))["scores"]["clear"]

    assert (found["n"], found["examples"], found["ties"]) == (40, 8, 0)
    assert found["p_exact"] == pytest.approx(0.289, abs=0.0005)
    assert found["p"] == pytest.approx(0.1797, abs=0.0001)  # the mid-p, which the page shows
    assert found["shares"]["new"]["mean"] == 0.75 and found["shares"]["new"]["n"] == 8
    assert found["means"] == {"old": 0.25, "new": 0.75}


def test_the_command_prints_what_the_page_shows(judge):
    out = judge(["old"] * 2 + ["new"] * 6, repetitions=5)

    shares = "old 0.250 (0.071 to 0.591), new 0.750 (0.409 to 0.929) of 8 decided examples"
    assert f"clear       {shares}, p 0.1797, ties 0 of 40\n" in out


def test_ties_are_left_out_of_the_shares(judge):
    """They count neither for nor against an experiment, and stand beside the shares."""
    out = judge(["new"] * 3 + ["tie"] * 3)

    assert "new 1.000 (0.439 to 1.000) of 3 decided examples, p 0.1250, ties 3 of 6\n" in out


def test_nothing_but_ties_is_no_preference(judge):
    assert "clear       no preference, ties 2 of 2\n" in judge(["tie"] * 2)
