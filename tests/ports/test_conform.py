"""The command `conform`: what it says of ports that are right, wrong or not there."""

import json
import re
import shutil
import sys
from collections import Counter

import pytest
from javascript import QUICK
from places import ROOT

from langsmith_rest.commands import main
from langsmith_rest.commands.conform import in_lines
from langsmith_rest.conformance import port, scenarios
from langsmith_rest.conformance.faults import DROP_AFTER, Answer, Seen, by_rules
from langsmith_rest.conformance.origins import Origin, origins
from langsmith_rest.conformance.state import differences
from langsmith_rest.recording import bodies
from langsmith_rest.recording.checking import prepare
from langsmith_rest.recording.files import read_json

LEVEL1 = ROOT / "ports" / "python" / "level1.py"
JAVASCRIPT = ROOT / "ports" / "javascript" / "record.mjs"
PLACES = ("{file}", "{dataset}", "{experiment}")


def conform(*arguments):
    return main.main(["conform", *map(str, arguments)])


def changed(folder, *changes):
    """The program of level 1 with changes, each an old text and a new one, as a command."""
    text = LEVEL1.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    program = folder / "port.py"
    program.write_text(text)
    return ("--", sys.executable, program, *PLACES)


# ---------------------------------------------------------------- ports that are wrong


def test_a_right_port_passes(tmp_path, capsys):
    """Exit code 0, and a line for each scenario."""
    code = conform("--level", 1, "--only", "hours", *changed(tmp_path))

    assert (code, capsys.readouterr().out.splitlines()) == (
        0,
        [
            "1  pass  results of the last hours: exit 0, their times are kept",
            "1 of 1 scenarios passed",
        ],
    )


def test_a_port_may_compress(tmp_path, capsys):
    """What it sent is read as the store reads it."""
    gzip = 'data=__import__("gzip").compress(json.dumps({"post": runs}).encode()), headers={"Content-Encoding": "gzip"}'

    code = conform("--level", 1, "--only", "hours", *changed(tmp_path, ('json={"post": runs}', gzip)))
    assert code == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "change", "problem"),
    [
        ("a new dataset", ('"utf-16-be"', '"utf-8"'), "run ids are wrong"),
        ("a new dataset", ('"original_start_time"', '"began"'), "run metadata (59 differ): that of result"),
        ("a new dataset", ("{next(keys[key])}", "0"), "feedback ids are missing; that of"),
        ("a new dataset", ('json={"post": runs}', 'json={"runs": runs}'), "run ids are missing"),
        ("a new dataset", ("**item, **ties", '**item, **ties, "trace_id": run["session_id"]'), "does not have"),
        ("hours", ("abs(now - first) < window", "False"), "the experiment starts at"),
        ("repeated in the answer", ('.replace(KEY, "<key>")', ""), "it printed the key"),
        ("Retry-After in seconds", ("pause = float(answer", "_ = float(answer"), "asked again after"),
        ("a redirect", ("allow_redirects=False", "allow_redirects=True"), "requests .* /elsewhere, expected 0"),
        ("lost once", ('call("POST", "/runs/batch", (409,)', 'call("POST", "/runs/batch", ()'), "exit 1, expected 0"),
        ("a new dataset", ('{"x-api-key": KEY, ', "{"), "exit 1, expected 0"),
        ("a new dataset", ("application/json; length={len(data)}", "application/json"), "exit 1, expected 0"),
        ("start of its own", ("times(session)[0]", "opened"), "run ids are wrong"),
        ("project", ('session["reference_dataset_id"] != dataset_id', "False"), "exit 0, expected 1"),
        ("time zone", ("datetime.now(UTC)", "datetime.now().replace(tzinfo=UTC)"), "the experiment starts at"),
        ("hours", ("(part, (None, data,", '(part, ("file", data,'), "is sent with a file name"),
        ("without a start", ("now + timedelta(days=9)", "now"), "the experiment starts at"),
        ("an example appears", ("for _ in range(2)", "for _ in range(1)"), "example ids are missing"),
        ("without the v1", ('found["items"] if method == "GET" else found', "found"), "run 2 of 2: exit 1"),
        ("/api/v1/", ('API.removesuffix("/api/v1").removesuffix("/api")', "API"), "POST /api/v2/sessions: 404"),
        ("300 results", ("range(0, len(results), 100)", "range(0, len(results), 20)"), "15 requests POST /runs/batch"),
    ],
)  # fmt: skip
def test_a_wrong_port_is_told_what_happened(tmp_path, capsys, scenario, change, problem):
    """What was expected, and what came instead; exit code 1."""
    code = conform("--level", 1, "--only", scenario, *changed(tmp_path, change))
    out = capsys.readouterr().out

    assert code == 1
    assert "1  FAIL  " in out
    assert problem.replace(".*", "") in out.replace(".*", "")
    assert out.splitlines()[-1].startswith("0 of ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "old", "new", "problem"),
    [
        ("yesterday", "const window = 20n", "const window = 24n", "the experiment starts at"),
        (
            "yesterday",
            "duration(one, isAbsent",
            "duration({ ...one, latency: 0 }, isAbsent",
            "the experiment starts at",
        ),
        ("yesterday", "(b > a ? b : a), timestamp(now())", "a, timestamp(now())", "the experiment's end_time is"),
        ("403 for", "![400, 413, 422]", "![400, 403, 413, 422]", "requests POST /examples, expected 1"),
        ("stored late", "of [1, 2, 4, 8, 16, 0]", "of [0]", "POST /feedback answered 404"),
        ("stored late", "pause ? [404, 409] : [409]", "pause ? [404] : []", "POST /feedback answered 409"),
        ("renamed", " ?? (await findSession({ id: body.id }))", "", "is taken by"),
        ("several workspaces", 'application/json", ...WORKSPACE', 'application/json"', "X-Tenant-Id is missing"),
        ("408, then 425", "[408, 425, 429", "[408, 429", "answered 425"),
        ("trees twice", "isBoolean(score) ? Number(score) : score", "score", "requests PATCH , expected 0"),
        ("trees twice", 'selects: ["ID"], ...window', 'selects: ["ID"]', "only the last 24 hours are searched"),
        ("a tree of", "    runs.push(made);", "    runs.unshift(made);", "is sent after the root of its tree"),
        ("of one example", " && !made.has(id)", "", 'expected {"n": 0, '),
        ("a new dataset", "Buffer.byteLength(text)}`;", "text.length}`;", "bytes long and says"),
        (
            "a new dataset",
            "of hundreds(units.flatMap((unit) => unit.bodies))",
            "of [units.flatMap((unit) => unit.bodies)]",
            "holds 198, expected at most 100",
        ),
        ("a new dataset", "...present(item) });", "...item });", "is sent with null for"),
        ("no Content-Length", "(pages && isPage)", "pages", "exit 1, expected 0"),
    ],
)
def test_a_wrong_port_of_level_2_is_told_what_happened(tmp_path, capsys, scenario, old, new, problem):
    """Each mistake is found by the scenario that is meant for it."""
    if not shutil.which("node"):
        pytest.skip("node is not on this machine")
    text = JAVASCRIPT.read_text()
    assert text.count(old) == 1
    program = tmp_path / "port.mjs"
    program.write_text(text.replace(old, new))

    code = conform("--only", scenario, "--", "node", QUICK, program, *PLACES)
    out = capsys.readouterr().out

    assert (code, out.count("FAIL  ")) == (1, 1)
    assert problem in out


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "nothing"),
        ("POST /runs: 422\nRun the same again.\n", "POST /runs: 422 Run the same again."),
        ("Exception: why\n\tat A\n\tat B\n\tat C\n", "Exception: why ... at B at C"),
    ],
)
def test_first_and_last_lines_of_a_port_are_quoted(output, words):
    """Where the reason stands differs from language to language."""
    assert scenarios.words_of(output) == words


def test_problems_have_a_line_each():
    """The first ten."""
    verdict = scenarios.Verdict(2, "lines", "the same verdict", [f"line {number}" for number in range(12)])

    found = in_lines(verdict).splitlines()

    assert found[:2] == ["2  FAIL  lines: expected the same verdict", "         line 0"]
    assert found[10:] == ["         line 9", "         and 2 more: --json lists all"]


def test_a_port_that_does_not_end_is_stopped(monkeypatch, capsys):
    """Its last request says where it hangs."""
    monkeypatch.setattr(port, "TIMEOUT", 0.05)

    sleeping = (sys.executable, "-c", "import time; time.sleep(60)", "{file}")
    assert conform("--level", 1, "--only", "a redirect", "--", *sleeping) == 1
    assert "still running after 0.05 s; its last request: none" in capsys.readouterr().out


@pytest.mark.slow
def test_json_holds_every_scenario(tmp_path, capsys):
    """For other programs: the level, and of each scenario what was expected and what happened."""
    change = ('"utf-16-be"', '"utf-8"')

    code = conform("--json", "--level", 1, "--only", "a new dataset", *changed(tmp_path, change))
    found = json.loads(capsys.readouterr().out)

    assert (code, found["level"], len(found["scenarios"])) == (1, None, 1)  # a part certifies nothing
    scenario = found["scenarios"][0]
    assert (scenario["name"], scenario["level"], scenario["passed"]) == ("a new dataset", 1, False)
    assert "run ids are wrong" in scenario["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "needs the command of a port"),
        (("--", sys.executable, "port.py"), "no {file}"),
        (("--", "no-such-port", "{file}"), "no-such-port: no such command"),
        (("--", ROOT / "PORTING.md", "{file}"), "this file is not executable: use chmod +x"),
        (("--only", "nothing", "--", sys.executable, "{file}"), "No scenario up to level 2 is left"),
    ],
)
def test_misuse_is_refused(capsys, arguments, problem):
    """Exit code 2 and what to do, before anything is run."""
    assert conform(*arguments) == 2
    assert problem in capsys.readouterr().err


# ---------------------------------------------------------------- the cases


def test_every_line_has_the_verdict_that_our_checks_give_it():
    """lines.json says what ours does, no less and no more."""
    for case in scenarios.load("lines.json"):
        value = read_json(case["line"].encode())
        is_refused = isinstance(value, list) or bool(prepare(value).problems)
        assert ("refused" if is_refused else "recorded") == case["verdict"], case


def test_scenarios_are_named_once_and_say_what_is_expected():
    """Other runners read them, too."""
    found = scenarios.load("scenarios.json")

    assert len({(one["level"], one["name"]) for one in found}) == len(found)
    assert {step["do"] for one in found for step in one["steps"]} == scenarios.STEPS.keys()
    assert all(one["expected"] and one["level"] in (1, 2, 3) for one in found)


def test_porting_md_names_every_scenario_under_its_level():
    """So that a reader knows what is tried before it is run."""
    text = " ".join((ROOT / "PORTING.md").read_text().split())
    parts = dict(re.findall(r"- \*\*Level (\d)\*\*: (.*?)\.(?= - \*\*Level| Every rule)", text))

    for level in (1, 2, 3):
        names = [one["name"] for one in scenarios.load("scenarios.json") if one["level"] == level]
        assert parts[str(level)] == "; ".join(names)


def test_templates_are_filled_in(tmp_path):
    """A number where {n} stands alone, a text elsewhere."""
    wanted = {"of": [{"inputs": {"n": "{n}", "q": "no. {n}"}}, {"inputs": {}}], "count": 3}

    found = scenarios.results_of(wanted, None)

    assert found == [{"inputs": {"n": 0, "q": "no. 0"}}, {"inputs": {}}, {"inputs": {"n": 2, "q": "no. 2"}}]


# ---------------------------------------------------------------- its parts


def test_without_an_experiment_its_flag_is_left_out():
    """So that a port can show how it names experiments itself."""
    command = ["port", "{file}", "--dataset={dataset}", "--experiment", "{experiment}", "--end"]

    assert port.arguments(command, "f", "d", "e") == ["port", "f", "--dataset=d", "--experiment", "e", "--end"]
    assert port.arguments(command, "f", "d", None) == ["port", "f", "--dataset=d", "--end"]


def test_rules_say_which_requests_fail():
    """After some that pass, so many times, for each endpoint alone; the first rule that fits."""
    plan = by_rules(
        [
            {"on": "POST /a", "after": 1, "times": 1, "answer": "close after"},
            {"on": ".*", "each": True, "times": 1, "containing": "x", "answer": {"status": 503}},
        ]
    )

    def ask(call, body=b"x"):
        method, path = call.split()
        return plan(Seen(method, path, body, 0.0))

    assert [ask("POST /a", b"") for _ in range(3)] == [None, DROP_AFTER, None]
    assert [ask("GET /b"), ask("GET /c"), ask("GET /b"), ask("GET /d", b"")] == [Answer(503), Answer(503), None, None]


def test_differing_fields_are_counted_and_one_is_shown():
    """One line for each field, and none where nothing differs."""
    wanted = {"run": {str(n): {"id": str(n), "name": "x" * n, "end": n} for n in range(1, 5)}}
    found = {"run": {i: {**run, "name": "y", "end": min(run["end"], 3)} for i, run in wanted["run"].items()}}

    assert differences(wanted, wanted) == []
    assert differences(found, wanted, {"1": Origin("result 7", ""), "4": Origin("result 8", "")}) == [
        'run name (4 differ): that of result 7 is "y", expected "x"',
        "run end: that of result 8 is 3, expected 4",
    ]


def test_a_number_may_be_written_in_any_form():
    """A double beyond 2**53 is read as another number when it is written without an exponent."""
    wanted = {"run": {"r": {"id": "r", "inputs": 93466864487979900}}}
    assert differences({"run": {"r": {"id": "r", "inputs": 9.34668644879799e16}}}, wanted) == []
    assert differences({"run": {"r": {"id": "r", "inputs": 9.34668644879798e16}}}, wanted)


def test_true_is_another_value_than_one():
    """Python takes them for equal; a port must not send one for the other."""
    wanted = {"run": {"r": {"id": "r", "outputs": {"right": [True, None]}}}}

    assert differences({"run": {"r": {"id": "r", "outputs": {"right": [True, None]}}}}, wanted) == []
    assert differences({"run": {"r": {"id": "r", "outputs": {"right": [1, None]}}}}, wanted)


def test_a_wrong_id_is_explained():
    """By the text that it is made of; the ids that are made of it are not mentioned."""
    wanted = {"example": {"e1": {"id": "e1", "inputs": {}}, "e2": {"id": "e2", "inputs": 1}}, "run": {"r": {"id": "r"}}}
    found = {"example": {"e1": {"id": "e1", "inputs": {}}, "x": {"id": "x", "inputs": 1}}, "run": {}}
    told = "1 of 2 example ids are wrong; that of result 3 is x, expected e2, the uuid5 of a-b"

    assert differences(found, wanted, {"e2": Origin("result 3", "a-b")}) == [told]
    assert differences({**found, "example": {}}, wanted)[0].startswith("2 of 2 example ids are missing; that of {")


def test_the_wrong_id_of_a_parent_is_explained_first():
    """Those of its children are made of it."""
    parent, child = f"{1:036}", f"{2:036}"
    made_of = {parent: Origin("result 1", "a long text"), child: Origin("a child run of result 1", f"{parent}-0")}
    wanted = {"run": {i: {"id": i} for i in (child, parent)}}

    (told,) = differences({"run": {}}, wanted, made_of)
    assert told.startswith("2 of 2 run ids are missing; that of result 1 should be ")


def test_origins_are_the_texts_of_all_ids():
    """Of examples, runs with their children, and feedback; a run's version and its time are made later."""
    session = {"id": "s", "reference_dataset_id": "d", "start_time": "2026-11-30T09:00:00Z"}
    child = {"inputs": {}, "outputs": {}, "feedback": [{"key": "good", "score": 1}] * 2}
    results = [
        {"inputs": {"n": n}, "outputs": {}, "child_runs": [child, child], "feedback": {"good": n}} for n in (1, 1)
    ]

    found = origins(session, results)

    assert all(i[15:] == bodies.uuid5(origin.text)[15:] for i, origin in found.items())
    assert Counter(re.sub("[0-9]", "N", origin.owner) for origin in found.values()) == {
        "result N": 3,  # one example
        "a child run of result N": 4,
        "feedback 'good' of result N": 10,
    }
