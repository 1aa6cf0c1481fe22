"""Every port under ports/ is certified for the level that its head names, and keeps the shape of its head."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from javascript import QUICK
from places import FIXTURES, MAIN, ROOT
from together import IN_ONE_RUN, IN_ONE_STORE, RESULTS, together

import localsmith
from langsmith_rest.commands import main
from langsmith_rest.conformance import scenarios
from langsmith_rest.conformance.faults import Faults

PORTS = ROOT / "ports"
PLACES = ("{file}", "{dataset}", "{experiment}")


@pytest.fixture(autouse=True)
def sent():
    """Other tests hold what our recorder sends against the contract."""


def python(folder):
    return (sys.executable, PORTS / "python" / "level1.py")


def javascript(folder):
    return ("node", QUICK, PORTS / "javascript" / "record.mjs")


def go(folder):
    subprocess.run(["go", "build", "-o", folder / "level1", PORTS / "go" / "level1.go"], check=True, cwd=folder)
    return (folder / "level1",)


def java(folder):
    """It is started many times, so what it loads is read from an archive that the first start makes."""
    classes, jar, archive = folder / "classes", folder / "level1.jar", folder / "level1.jsa"
    quick = "-J-XX:TieredStopAtLevel=1"
    source = PORTS / "java" / "Level1.java"
    subprocess.run(["javac", quick, "-XDstringConcat=inline", "-d", classes, source], check=True)
    subprocess.run(["jar", quick, "--create", "--file", jar, "-C", classes, "."], check=True)
    no_tls = "-Djavax.net.ssl.trustStore=NONE"  # our server has none, and to read what Java trusts takes long
    options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", no_tls, "-cp", jar, "Level1")
    (folder / "results.jsonl").write_text('{"inputs": {"q": 1}, "outputs": {"a": 2}, "feedback": {"good": 1}}\n')
    with localsmith.serve(folder / "first.db") as server:
        environment = os.environ | {"LANGSMITH_ENDPOINT": server.url, "LANGSMITH_API_KEY": "any"}
        first = ["java", f"-XX:ArchiveClassesAtExit={archive}", *options, folder / "results.jsonl", "d", "e"]
        subprocess.run(first, env=environment, check=True)
    return ("java", f"-XX:SharedArchiveFile={archive}", *options)


def bash(folder):
    return ("bash", PORTS / "bash" / "level1.sh")


# The command of each port, its file, its level, and what it needs on this machine.
CERTIFIED = [
    pytest.param(python, "python/level1.py", 1, (), id="python"),
    pytest.param(javascript, "javascript/record.mjs", 2, ("node",), id="javascript"),
    pytest.param(go, "go/level1.go", 1, ("go",), id="go"),
    pytest.param(java, "java/Level1.java", 1, ("javac", "jar", "java"), id="java"),
    pytest.param(bash, "bash/level1.sh", 1, ("curl", "jq", "awk", "sha1sum"), id="bash"),
]


def need(tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not on this machine")


@pytest.mark.parametrize("text", ["README.md", "PORTING.md"])
def test_tables_say_how_long_each_port_is(text):
    """The number of lines beside each link to a port is that of its file."""
    said = re.findall(r"\]\((ports/[^)]+)\) \| (\d+) \|", (ROOT / text).read_text())

    assert said == [(port, str(len((ROOT / port).read_text().splitlines()))) for port, _ in said]
    assert len(said) == len(list(PORTS.iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "file", "level", "tools"), CERTIFIED)
def test_port_is_certified(tmp_path, capsys, monkeypatch, command, file, level, tools):
    """`conform` finds nothing wrong with it, at its level, given every 64th line that is refused (below, it is all)."""
    need(tools)
    load = scenarios.load
    files = {
        "lines.json": a_few(load("lines.json")),
        "scenarios.json": together([one for one in load("scenarios.json") if one["level"] <= level], load),
    }
    monkeypatch.setattr(scenarios, "load", lambda name: files.get(name) or load(name))

    code = main.main(["conform", "--level", str(level), "--", *map(str, command(tmp_path)), *PLACES])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0, [line for line in lines if "FAIL" in line]
    assert lines[-1] == f"{len(lines) - 1} of {len(lines) - 1} scenarios passed: level {level}"


def test_scenarios_that_are_tried_together_are_there():
    """A wrong name would leave them apart; each is part of one alone, and none gets lost."""
    found = scenarios.load("scenarios.json")
    others = [name for _, *others in (*IN_ONE_RUN, *IN_ONE_STORE) for name in others]

    assert {*RESULTS, *others, *(group[0] for group in (*IN_ONE_RUN, *IN_ONE_STORE))} <= {one["name"] for one in found}
    assert len(together(found, scenarios.load)) == len(found) - len(others)


def a_few(lines):
    """What is refused takes a process for each line."""
    refused = [case for case in lines if case["verdict"] == "refused"]
    return [case for case in lines if case["verdict"] == "recorded"] + refused[::64]


@pytest.mark.slow
def test_javascript_port_knows_every_line(tmp_path):
    """Those that ours takes and no others."""
    need(("node",))
    lines = scenarios.load("lines.json")
    file = tmp_path / "lines.json"
    file.write_text(json.dumps([case["line"] for case in lines]))

    done = subprocess.run(
        ["node", PORTS.parent / "tests" / "ports" / "lines.mjs", file], capture_output=True, text=True
    )

    assert [lines[number]["line"] for number in json.loads(done.stdout)] == [
        case["line"] for case in lines if case["verdict"] == "recorded"
    ]


HELD_ELSEWHERE = re.compile(
    "lines that|at the first request to|each connection closes|each answer|killed at|an outage|Retry-After"
)


@pytest.mark.slow
def test_our_own_recorder_is_certified(capsys, monkeypatch):
    """At all levels, but for its own verdicts on lines (test_conform has them), passing faults (test_rest and
    test_reliability) and kills (test_reliability)."""
    load = scenarios.load
    asked = together([one for one in load("scenarios.json") if not HELD_ELSEWHERE.search(one["name"])], load)
    monkeypatch.setattr(scenarios, "load", lambda name: asked if name == "scenarios.json" else load(name))
    ours = [sys.executable, str(MAIN), "record", "{file}", "--dataset", "{dataset}", "--experiment", "{experiment}"]

    main.main(["conform", "--level", "3", "--json", "--", *ours])
    found = json.loads(capsys.readouterr().out)

    assert [(one["name"], one["problems"]) for one in found["scenarios"] if one["problems"]] == []
    assert {one["level"] for one in found["scenarios"]} == {1, 2, 3}


@pytest.mark.parametrize(("command", "file", "level", "tools"), CERTIFIED)
def test_head_of_a_port_says_how_it_is_run(command, file, level, tools):
    """What it is, how to run it, its level, what it leaves out, its exit codes: in five lines."""
    head = (PORTS / file).read_text().splitlines()[:6]

    assert any(re.search(r"Run: +LANGSMITH_ENDPOINT=", line) for line in head)
    assert any(re.search(rf"Level: +{level} of PORTING.md", line) for line in head)
    assert any("Leaves out: " in line for line in head)


def test_ports_are_those_that_are_certified():
    """No file lies there untested, and PORTING.md and the README name each with its lines and its level."""
    files = {path.relative_to(PORTS).as_posix() for path in PORTS.rglob("*") if path.is_file()}
    assert files == {param.values[1] for param in CERTIFIED}

    for page in ("PORTING.md", "README.md"):
        text = (ROOT / page).read_text()
        for param in CERTIFIED:
            _, file, level, _ = param.values
            row = rf"\(ports/{re.escape(file)}\) \| {len((PORTS / file).read_text().splitlines())} \| {level} \|"
            assert re.search(row, text), f"{page}: {row}"


def test_javascript_port_agrees_with_the_golden_vectors():
    """Canonical JSON, ids, times and bodies, case by case."""
    need(("node",))
    command = ["node", PORTS.parent / "tests" / "ports" / "vectors.mjs", FIXTURES / "vectors.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d{3} vectors agree\n", done.stdout), done.stdout


def test_bash_port_refuses_keys_with_line_breaks(tmp_path, server):
    """It makes ids line by line, so such a key would give all that follows another's id."""
    need(("curl", "jq", "awk", "sha1sum"))
    file = tmp_path / "results.jsonl"
    lines = [{"inputs": {}, "outputs": {}, "feedback": given} for given in ({"a": 1}, {"a\nb": 1}, [{"key": "c"}])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = {**os.environ, "LANGSMITH_ENDPOINT": server.url, "LANGSMITH_API_KEY": "any"}
    faults = Faults(server)

    done = subprocess.run(
        ["bash", PORTS / "bash" / "level1.sh", file, "d", "e"], env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (1, "A feedback key holds a line break: this port cannot record it.\n")
    assert not faults.seen
