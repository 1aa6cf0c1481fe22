"""Test the command `backtest`: the demo, the verdict, doing it again, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, good
from places import ROOT

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.commands import backtest, main
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation import runs_api

RUNS, TWEETS = ROOT / "fixtures" / "production_runs.jsonl", ROOT / "fixtures" / "tweets.py"
EVALUATORS = """
import asyncio

loops = []  # as a client that is made here has one


async def polite(outputs):
    loops.append(asyncio.get_running_loop())
    assert loops[0] is loops[-1]
    return "please" in outputs["a"]
"""
AGENT = """
def run(inputs):
    return {"a": f"please take {inputs['q']}"}
"""


@pytest.fixture
def command(nothing_set, capsys, monkeypatch):
    """Run `main.py backtest` in a folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def command(*arguments):
        for name in ("tweets", "agent", "evals"):
            sys.modules.pop(name, None)
        code = main.main(["backtest", *map(str, arguments)])
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def store(nothing_set):
    """Read what a command recorded: `with store() as api`."""

    class Store:
        def __enter__(self):
            self.server = localsmith.serve(Path(".localsmith/localsmith.db"), 0)
            return connection.connect(self.server.__enter__().url)

        def __exit__(self, *args):
            self.server.__exit__(*args)

    return Store


@pytest.fixture
def mine(nothing_set):
    """The flags of a small backtest of one's own: 8 runs of production, none of them polite."""
    rows = [{"inputs": {"q": f"{n}"}, "outputs": {"a": f"{n}"}, "metadata": {"n": n}} for n in range(8)]
    Path("runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("agent.py").write_text(AGENT)
    Path("evals.py").write_text(EVALUATORS)
    flags = ["--project", "prod", "--dataset", "lab", "--target", "agent.py:run", "--evaluators", "evals.py"]
    return [*flags, "--load", "runs.jsonl"]


def verdicts(out):
    """What the table says, by candidate and metric."""
    found, name = {}, ""
    for line in out.splitlines():
        if line.startswith("candidate"):
            name = line.split()[1].split("-")[-2]
        for verdict in ("better", "worse", "no difference shown"):
            if line.endswith(verdict):
                found[name, line.split()[0]] = verdict
    return found


# The demo


@pytest.mark.slow
def test_the_demo_shows_a_trade_off_and_changes_nothing_the_second_time(command, store):
    """Grounded tweets without emojis against lively ones that claim more than was found, and are too long; no key, no
    address, a link at the end."""
    code, out, err = command("--demo")
    again, same, _ = command("--demo")

    found = verdicts(out)
    assert (code, again) == (0, 0)
    assert found["terse", "within_280"] == found["lively", "emojis"] == "better"
    assert found["lively", "within_280"] == "worse" and found["terse", "emojis"] != "better"
    assert found["terse", "grounded"] == "better" and found["lively", "grounded"] != "better"
    assert "26 runs loaded" in err and "23 finished runs of tweet-writer" in err
    assert out.splitlines()[-1].startswith("http://127.0.0.1:1984/") and "&baseline=" in out
    assert verdicts(same) == found
    with store() as api:
        dataset = calls.find_dataset(api, "tweet-topics")
        experiments = list(calls.list_sessions(api, reference_dataset=dataset["id"], include_stats="true"))
        assert sorted(session["run_count"] for session in experiments) == [20, 20, 23]
        baseline = next(session for session in experiments if session["name"] == "tweet-topics-baseline")
        runs = list(runs_api.list_steps(api, baseline, ("IS_ROOT", "NAME", "METADATA", "INPUTS", "OUTPUTS")))
        assert {run["name"] for run in runs} == {"plan", "research", "search", "fetch", "write"}
        assert "@example.com" not in json.dumps([runs, list(calls.list_session_feedback(api, baseline["id"]))])


@pytest.mark.slow
def test_the_demo_is_the_command_that_it_prints(command, nothing_set):
    _, out, err = command("--demo")
    line = next(line for line in err.splitlines() if line.startswith("The demo is: uv run main.py backtest "))

    ran = subprocess.run(
        f"{sys.executable} {ROOT / 'main.py'} {line.partition('main.py ')[2]}",
        shell=True,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    assert "0 new examples" in ran.stderr and verdicts(ran.stdout) == verdicts(out)


@pytest.mark.slow
def test_with_a_judge_the_demo_asks_whether_tweets_are_grounded(command, monkeypatch):
    """It sees what the search tool found, in production's steps and in the new systems' messages."""
    with ChatServer(good({"reasoning": "r", "score": True})) as judge:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", judge.url)
        code, out, _ = command("--demo")

    asked = [json.dumps(request) for request in judge.requests]
    assert code == 0 and "groundedness" in out
    assert len(asked) == 23 + 20 + 20
    assert all("tool-results" in request for request in asked)


def test_the_fixture_is_found_on_another_drive(monkeypatch):
    """Of Windows, where no relative path leads from one to the other."""

    def other_drive(*_):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)

    assert backtest.in_fixtures("tweets.py") == str(TWEETS)


def test_the_topics_of_the_fixture_are_enough_to_tell_systems_apart():
    rows = [json.loads(line) for line in RUNS.read_text().splitlines()]

    assert len({row["inputs"]["topic"] for row in rows}) == 20
    assert sum("error" in row for row in rows) == 3


# One's own


def test_a_system_is_compared_with_production(command, mine):
    """The table, and everything as JSON for programs."""
    code, out, err = command(*mine)
    _, as_json, _ = command(*mine, "--json")

    found = json.loads(as_json)
    assert code == 0 and verdicts(out)["run", "polite"] == "better"
    assert "dataset    lab: 8 new examples" in err
    assert found["runs"] == {"project": "prod", "chosen": 8, "finished": 8, "pending": 0}
    assert found["baseline"]["runs_existing"] == 8 and found["baseline"]["experiment_name"] == "lab-baseline"
    assert [one["scores"]["polite"]["mean"] for one in found["evaluations"]] == [0.0, 1.0]
    assert found["comparison"]["candidates"][0]["metrics"][0]["verdict"] == "better"


@pytest.mark.slow
def test_other_code_is_another_experiment_and_the_same_is_not_run_again(command, mine):
    """Known answers would be those of the old code; new production runs are all that the same code has to answer."""
    command(*mine)
    with open("runs.jsonl", "a") as file:
        file.write('\n{"inputs": {"q": "new"}, "outputs": {"a": "new"}}')

    _, _, more = command(*mine)
    Path("agent.py").write_text(AGENT.replace("please", "PLEASE"))
    _, out, changed = command(*mine)

    assert "1 new run, 8 existing, 0 errors" in more
    assert "9 new runs, 0 existing, 0 errors" in changed
    assert verdicts(out)["run", "polite"] == "no difference shown"


@pytest.mark.slow
def test_runs_that_failed_before_are_no_success_now(command, mine):
    """The same command fails again, and says how to repeat them; failed runs of production are none of the target.

    A limit on error_rate judges them instead.
    """
    with open("runs.jsonl", "a") as file:
        file.write('\n{"inputs": {"q": "down"}, "error": "no answer"}')
    Path("agent.py").write_text(AGENT)
    sound, _, _ = command(*mine)
    Path("agent.py").write_text("def run(inputs):\n    return {'a': 'please' * int(inputs['q'])}\n")

    first, _, said = command(*mine)
    again, _, repeated = command(*mine)
    accepted, _, _ = command(*mine, "--fail-above", "error_rate=0.5")
    judged, _, _ = command(*mine, "--fail-above", "error_rate=0.01")

    assert (sound, first, again, accepted, judged) == (0, 1, 1, 0, 1)
    assert "The first: ValueError: " in said
    assert "The target failed in 1 run in lab-run-" in repeated and repeated.rstrip().endswith("--retry-errors")


@pytest.mark.slow
def test_evaluators_that_are_new_score_what_is_known(command, mine):
    command(*mine)
    Path("evals.py").write_text(EVALUATORS + "\ndef short(outputs):\n    return len(outputs['a']) < 3\n")

    code, out, _ = command(*mine)

    assert code == 0
    assert (verdicts(out)["run", "polite"], verdicts(out)["run", "short"]) == ("better", "worse")


@pytest.mark.slow
def test_answers_are_judged_pairwise_on_request(command, mine):
    Path("prefer.py").write_text(
        "def shorter(outputs):\n    return [len(o['a']) == min(len(o['a']) for o in outputs) for o in outputs]\n"
    )

    code, out, _ = command(*mine, "--pairwise", "prefer.py:shorter", "--json")

    [preferred] = json.loads(out)["pairwise"]
    assert code == 0 and preferred["pairs"] == 8
    assert list(preferred["scores"]["shorter"]["means"].values()) == [1.0, 0.0]


@pytest.mark.slow
def test_the_gate_decides_the_exit_code(command, mine):
    """A limit that holds, one that does not, and an evaluator that fails."""
    assert command(*mine, "--fail-below", "polite=0.9")[0] == 0
    code, out, _ = command(*mine, "--fail-above", "polite=0.5")
    assert code == 1 and "fail_above polite=0.5" in out
    Path("evals.py").write_text("def polite(outputs, inputs):\n    return outputs['no' + str(int(inputs['q']) % 2)]\n")
    code, _, err = command(*mine)
    for name in ("lab-baseline", "lab-run-"):  # of each experiment, with the reasons
        head = f"The evaluator 'polite' failed 8 times in {name}"
        reasons = err[err.index(head) :].splitlines()[1:3]
        assert sorted(line[:25] for line in reasons) == ["  4 times: KeyError: 'no0", "  4 times: KeyError: 'no1"]
    assert code == 1


@pytest.mark.slow
def test_a_limit_of_an_unknown_metric_does_not_hide_what_was_found(command, mine):
    """Exit code 2, since the gate cannot tell; the nearest evaluator is offered first, table and link are printed."""
    limits = ("--fail-below", "polit=0.9", "--lower-is-better", "polite")

    code, out, err = command(*mine, *limits)
    again, as_json, _ = command(*mine, *limits, "--json")

    assert code == again == 2
    assert err.index("No evaluator is called 'polit'. Did you mean 'polite'?") < err.index("8 runs loaded")
    assert err.splitlines()[-1] == "main.py backtest: Unknown metric 'polit': did you mean 'polite'?"
    assert verdicts(out)["run", "polite"] == "worse" and "&lowerIsBetter=polite" in out.splitlines()[-1]
    assert json.loads(as_json)["error"] == "Unknown metric 'polit': did you mean 'polite'?"
    assert json.loads(as_json)["comparison"]["gate"] is None


def test_limits_that_cannot_be_are_refused_before_anything_is_connected(command, mine):
    code, out, err = command(*mine, "--require-pairs", "90")

    assert (code, out) == (2, "") and "require_pairs is 90.0" in err
    assert not os.path.exists(".localsmith")


@pytest.mark.slow
def test_another_choice_in_the_same_dataset_is_said(command, mine):
    """The comparison is of both together; the same choice again says nothing."""
    assert "besides" not in command(*mine, "--sample", "6", "--seed", "7")[2]
    assert "besides" not in command(*mine, "--sample", "6", "--seed", "7")[2]

    _, out, err = command(*mine, "--sample", "3", "--seed", "3")
    _, as_json, _ = command(*mine, "--sample", "3", "--seed", "3", "--json")

    others = json.loads(as_json)["baseline"]["other_runs"]
    assert 3 <= others <= 6
    assert f"'lab-baseline' holds {others} other runs besides these 3" in err
    assert f"lab-baseline: {3 + others} examples" in out


def test_samples_filters_and_masks_are_flags(command, mine, store):
    Path("mask.py").write_text("def stars(text):\n    return text.replace('1', '*')\n")
    sampled = ("--limit", 8, "--sample", 3, "--seed", 7, "--since", "1d", "--filter", "eq(error, null)")

    code, _, err = command(*mine, *sampled, "--mask", "mask.py:stars", "--include-outputs", "--baseline", "before")

    assert code == 0 and "3 of 8 finished runs" in err and "baseline   before: 3 new" in err
    with store() as api:
        found = list(calls.list_examples(api, calls.find_dataset(api, "lab")["id"]))
    assert len(found) == 3 and all("1" not in str([one["inputs"], one["outputs"]]) for one in found)


def test_a_file_alone_is_only_loaded(command, mine, store):
    """The link shows the project."""
    code, out, err = command("--load", "runs.jsonl", "--project", "prod")
    again = command("--load", "runs.jsonl", "--project", "prod")

    assert code == 0 and "8 runs loaded from runs.jsonl, 0 existing" in err
    assert "0 runs loaded from runs.jsonl, 8 existing" in again[2]
    with store() as api:
        assert out.strip().endswith(f"/projects/p/{calls.find_project(api, 'prod')['id']}")


@pytest.mark.slow
def test_runs_of_last_year_keep_their_times_here_and_are_moved_elsewhere(command, mine, server, monkeypatch):
    """The local store takes them; a server with LangSmith's limit has them moved, which is said."""
    times = {"start_time": "2025-03-01T10:00", "end_time": "2025-03-01T10:01"}
    rows = [{"inputs": {"q": "old"}, "outputs": {"a": "1"}, **times}]
    Path("old.jsonl").write_text(json.dumps(rows))
    load = [*mine[:-1], "old.jsonl"]

    assert "moved" not in command(*load)[2]
    code, _, err = command(*load, "--since", "7d")
    assert code == 2 and "No finished root run" in err
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    code, _, err = command(*load, "--since", "7d")
    assert code == 0 and "moved      1 of 1 by " in err and "--since, --limit and the pages use their new times" in err


@pytest.mark.slow
def test_the_link_says_of_which_scores_less_is_better(command, mine):
    code, out, _ = command(*mine, "--lower-is-better", "polite")

    assert code == 0 and out.splitlines()[-1].endswith("&lowerIsBetter=polite") and "worse" in out


@pytest.mark.slow
def test_killed_half_way_the_same_command_completes_it(command, mine, store):
    """Killed while the new system answers; then once more: every example has one run of each side, with its score."""
    made = Path("calls")
    made.mkdir()
    slow = f"    os.mkdir(f'{made.absolute()}/{{time.time_ns()}}')\n    time.sleep(0.6)\n    return"
    Path("agent.py").write_text("import os\nimport time\n" + AGENT.replace("    return", slow))
    program = [sys.executable, ROOT / "main.py", "backtest", *mine, "--max-concurrency", "1"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as killed:
        while len(os.listdir(made)) < 7:  # by then, the first are recorded
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL

    code, out, err = command(*mine, "--json")

    assert code == 0
    assert 0 < int(err.partition("run-")[2].split()[1]) < 8
    assert [one["scores"]["polite"]["n"] for one in json.loads(out)["evaluations"]] == [8, 8]
    with store() as api:
        for name in [one["experiment_name"] for one in json.loads(out)["evaluations"]]:
            session = calls.find_experiment(api, name)
            assert rest.read_session(api, session["id"])["run_count"] == 8
