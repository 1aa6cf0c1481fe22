"""Test that every page of docs/ is true: its commands and its Python run, and print what stands below them.

A page is Markdown with fenced blocks. `sh` blocks run in order, each with `bash -e`, in one empty folder per page that
holds only `main.py` and `fixtures/`, with its own local store. A command that ends with another code than 0 is written
`command || echo "exit code $?"`. `python` blocks run with LANGSMITH_ENDPOINT set to that store. A `text` block
directly below one of them holds lines that it prints, to stdout or stderr, in that order; `...` stands for any text
within a line, and alone on a line for any lines. `<!-- not run: reason -->` above a block leaves it out. Blocks of
other languages (`json`, `yaml`) are not run.
"""

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import FIXTURES, MAIN, ROOT

import langsmith_rest
import localsmith
from langsmith_rest.commands.main import parser_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+-->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$\n?", re.M | re.S)
LONGEST_LINE = 120
SECONDS = 120  # for one block


@dataclass
class Block:
    """A fenced block of a page, and the lines that the page says it prints."""

    language: str
    text: str
    line: int  # of the page
    printed: str = ""


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page that are to be run."""
    found: list[Block] = []
    end = 0
    for match in BLOCK.finditer(page):
        is_below = not page[end : match.start()].strip() and bool(found) and not found[-1].printed
        if match["language"] in ("sh", "python"):
            found.append(Block(match["language"], match["text"], page.count("\n", 0, match.start("language")) + 1))
            if match["skip"]:
                found[-1].language = "skipped"
        elif match["language"] == "text" and is_below:
            found[-1].printed = match["text"]
        end = match.end()
    return [block for block in found if block.language != "skipped"]


def missing_line(promised: str, printed: str) -> str | None:
    """The first promised line that is not printed, after those before it; None when all are."""
    lines = iter(line.rstrip() for line in printed.splitlines())
    for line in promised.splitlines():
        if not line.strip() or line.strip() == "...":
            continue
        words = re.escape(line.rstrip()).replace(r"\.\.\.", ".*").replace("…", ".*")
        pattern = re.compile(words.replace(":1984", r":\d+"))  # another process may hold that port
        if not any(pattern.fullmatch(candidate) for candidate in lines):
            return line
    return None


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder for PATH, in which uv and langsmith-rest run this checkout with this Python."""
    folder = tmp_path_factory.mktemp("bin")
    scripts = {
        "langsmith-rest": f'exec "{sys.executable}" "{MAIN}" "$@"',
        "uv": f"""
case "$1 $2" in "run "*.py) ;; *) echo "this test runs 'uv run FILE.py' only, not: uv $*" >&2; exit 2;; esac
shift; UV=uv exec "{sys.executable}" "$@"
""",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def folder(nothing_set, programs, monkeypatch):
    """The current folder, which is empty but for what a checkout has; what runs there finds our programs first."""
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # stdout and stderr in the order in which they are written
    for path in (MAIN, FIXTURES):
        Path(path.name).symlink_to(path)
    return Path.cwd()


def run(block: Block, folder: Path) -> tuple[int, str]:
    """Run a block; return its exit code and what it prints. What it leaves in the background is ended."""
    if block.language == "sh":
        return run_command(["bash", "-e", "-o", "pipefail", "-c", block.text], folder)
    with localsmith.serve(folder / ".localsmith" / "localsmith.db") as server:
        return run_command([sys.executable, "-c", block.text], folder, LANGSMITH_ENDPOINT=server.url)


def run_command(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    with open(folder.with_name("printed.txt"), "w+", encoding="utf-8") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        finally:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        out.seek(0)
        return code, out.read()


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=[page.stem for page in PAGES])
def test_page_runs_and_prints_what_it_says(path, folder):
    """Every command and every Python block of a page works as pasted, and prints the lines below it."""
    blocks = blocks_of(path.read_text(encoding="utf-8"))

    for block in blocks:
        code, printed = run(block, folder)

        place = f"{path.name}, line {block.line}"
        assert code == 0, f"{place}: exit code {code}\n{printed}"
        missing = missing_line(block.printed, printed)
        assert missing is None, f"{place} does not print, in this order:\n{missing}\nbut:\n{printed}"


@pytest.mark.slow
def test_example_of_the_package_runs(folder):
    """`python -m pydoc langsmith_rest` begins with a program that works as pasted."""
    lines = [line for line in (langsmith_rest.__doc__ or "").splitlines() if line.startswith("    ")]

    code, printed = run(Block("python", textwrap.dedent("\n".join(lines)), 1), folder)

    assert (code, printed) == (0, "too few pairs\n")


PROSE = [*PAGES, ROOT / "PORTING.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("path", PROSE, ids=[page.stem for page in PROSE])
def test_lines_are_short_and_links_lead_somewhere(path):
    """Short enough for a diff; links lead to files, and to headings in them."""
    page = path.read_text(encoding="utf-8")

    long = [number for number, line in enumerate(page.splitlines(), 1) if len(line) > LONGEST_LINE]
    dead = [link for link in re.findall(r"\]\(([^):]+)\)", page) if not leads_somewhere(path, link)]

    assert not long, f"lines longer than {LONGEST_LINE} characters: {long}"
    assert not dead, f"links to nothing: {dead}"


def leads_somewhere(page, link):
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists() or not anchor:
        return target.exists()
    heads = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
    return anchor in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]


@pytest.mark.parametrize("path", PAGES, ids=[page.stem for page in PAGES])
def test_page_begins_with_a_command_and_what_it_prints(path):
    first = blocks_of(path.read_text(encoding="utf-8"))[0]

    assert first.language == "sh" and first.printed


@pytest.mark.parametrize("path", PAGES, ids=[page.stem for page in PAGES])
def test_commands_of_workflows_are_sound(path):
    """What stands in YAML is not run, but its commands and flags exist."""
    blocks = [
        match["text"] for match in BLOCK.finditer(path.read_text(encoding="utf-8")) if match["language"] == "yaml"
    ]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()

    for words in re.findall(r"langsmith-rest ([a-z]+ .*)", "\n".join(lines)):
        name, *arguments = shlex.split(words.partition(" >")[0])
        module = importlib.import_module(f"langsmith_rest.commands.{name}")
        parser_of(module, name).parse_args(arguments)


def test_a_promised_line_that_is_not_printed_is_found():
    """Order counts, `...` stands for anything within its line, and other lines may stand between."""
    printed = "one 1\nbetween\ntwo 2f\n"

    assert missing_line("one ...\n...\ntwo ...f", printed) is None
    assert missing_line("two ...\none ...", printed) == "one ..."
    assert missing_line("one", printed) == "one"
