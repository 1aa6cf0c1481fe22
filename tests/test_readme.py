"""Test that what the README shows to be pasted works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from langsmith_rest.commands import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    "\n".join(line[4:] for line in block.splitlines())
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", README, re.M)
    if re.search("^    (import|from) ", block, re.M)
]
NAMES = ("Evaluating", "Comparing experiments")
pytestmark = pytest.mark.usefixtures("nothing_set")


def snippet(name):
    return next(block for block in BLOCKS if f" {name}(" in block)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("record_langsmith_experiment", r"http\S+selectedSessions=\S+ 1 \[\]"),
        ("evaluate", r"http\S+ {'exact_match': {'n': 40, 'mean': 0.025, 'errors': 0}}"),
        ("compare", r"better passed"),
    ],
)
def test_python_of_the_readme_runs_as_pasted(server, monkeypatch, name, printed):
    """Imports included; the data is what the commands above it record."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    for experiment in ("before", "after"):
        file = str(ROOT / "fixtures" / f"{experiment}.jsonl")
        assert main.main(["record", file, "--dataset", "capitals", "--experiment", experiment]) == 0

    ran = subprocess.run([sys.executable, "-c", snippet(name)], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(printed, ran.stdout.strip())


def test_sample_result_can_be_pasted_into_a_file(server, monkeypatch, capsys):
    """As it is printed, over several lines."""
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    [sample] = re.findall(r'^    \{"inputs": .*?\}\}\}$', README, re.M | re.S)
    Path("sample.json").write_text(sample, encoding="utf-8")

    assert main.main(["record", "sample.json"]) == 0

    assert "correct     1.000 (mean of 1)" in capsys.readouterr().out


def test_commands_of_the_readme_print_what_is_pasted_below_them(capsys):
    """Those that start, evaluate and compare, in their order, in a folder with nothing but the fixtures."""
    Path("fixtures").symlink_to(ROOT / "fixtures")
    parts = [README.split("\n## ")[0], *(README.split(f"## {name}\n")[1].split("\n## ")[0] for name in NAMES)]
    pasted = 0

    for part in parts:
        for command in re.findall(r"^    (?:\$ )?uv run main\.py *(.*)$", part, re.M):
            fails = command.startswith("evaluate fixtures/agent.py")  # it does not know one of the capitals
            assert main.main(shlex.split(command)) == fails, command

            out = capsys.readouterr().out.splitlines()
            link = re.sub("datasets/.*", "datasets/…/compare?selectedSessions=…", out[-1])
            lines = "\n".join(f"    {line}".rstrip() for line in out[:-1]).rstrip()
            pasted += lines in part and f"    {link}" in part

    assert pasted == 3  # of each part one


def test_commands_about_hosted_evaluators_end_with_the_promised_line(capsys):
    """The last records what is new, so that there is something to score."""
    Path("fixtures").symlink_to(ROOT / "fixtures")
    part = README.split("## Evaluators that LangSmith runs\n")[1]
    first = part.strip("\n").split("\n\n")[0]
    commands = re.findall(r"^    uv run main\.py (.*)$", "\n" + README.split("## Comparing experiments\n")[1], re.M)[:2]
    commands += re.findall(r"^    uv run main\.py (.*)$", first, re.M)

    for command in commands:
        assert main.main(shlex.split(command)) == 0, command
        err = capsys.readouterr().err

    assert len(commands) == 7
    promised = re.search(r"^    (Scores will follow .*)$", part, re.M)[1]
    assert promised in err
