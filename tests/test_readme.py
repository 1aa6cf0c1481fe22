"""Test that what the README shows to be pasted works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import main

ROOT = Path(main.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    "\n".join(line[4:] for line in block.splitlines())
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", README, re.M)
    if re.search("^    (import|from) ", block, re.M)
]
pytestmark = pytest.mark.usefixtures("nothing_set")


def snippet(name):
    [block] = [block for block in BLOCKS if f" {name}(" in block]
    return block


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
