"""Targets and evaluators that misbehave, stopped, cancelled and killed on the way: the store is held against a list."""

import asyncio
import datetime
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from own_loop import run_async
from places import MAIN

import localsmith
from langsmith_rest import connection
from langsmith_rest.evaluation.api import list_session_feedback
from langsmith_rest.evaluation.running.evaluate import aevaluate, evaluate
from langsmith_rest.evaluation.running.evaluation import Interrupted
from langsmith_rest.evaluation.runs_api import list_experiment_runs
from langsmith_rest.recording.checking import CLOCK_SKEW
from rest import find_session

EXAMPLES = 20
ROWS = [{"inputs": {"n": n}} for n in range(EXAMPLES)]
SELECTS = ("ID", "INPUTS", "OUTPUTS", "ERROR", "METADATA", "PROJECT_ID", "START_TIME", "END_TIME")
REAL = datetime.datetime


class Rude(BaseException):
    """What is no Exception, and has no text either."""

    def __str__(self):
        raise ValueError("no text")


ERRORS = {
    "raises": ValueError,
    "is cancelled": asyncio.CancelledError,
    "exits": SystemExit,
    "interrupts": KeyboardInterrupt,
    "ends a generator": GeneratorExit,
    "stops an iteration": StopIteration,
    "is rude": Rude,
}
WAYS = ("answers", "changes what it gets", "prints", "sets the clock back", *ERRORS)
SEVERAL = st.lists(st.sampled_from(WAYS), min_size=1, max_size=4)  # example n is met by the one at n % length


class Clocks(type):
    def __instancecheck__(cls, value):
        return isinstance(value, REAL)


class Clock(REAL, metaclass=Clocks):
    """The clock of the client, which code under test sets back; the server's goes on."""

    back = datetime.timedelta(0)

    @classmethod
    def now(cls, zone=None):
        return REAL.now(zone) - cls.back


def clients_clocks():
    """Our modules that look at the clock."""
    ours = [
        module for name, module in sys.modules.items() if name.split(".")[0] in ("langsmith_rest", "recorder", "rest")
    ]
    return [module for module in ours if getattr(module, "datetime", None) is REAL]


CHILD = """
import os, sys, threading
from langsmith_rest import connection, evaluate

url, log, number, at, first = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
once = threading.Lock()


def note(*words):
    with open(log, "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


def target(inputs):
    note("ran", inputs["n"])
    if inputs["n"] >= at and once.acquire(blocking=False):  # twice is another request: not to wait for anything
        os.kill(os.getpid(), number)
    return {"n": inputs["n"] ** 2}


def judge(inputs):
    note("scored", inputs["n"])
    return {"key": "judge", "score": inputs["n"]}


evaluate(
    target, [{"inputs": {"n": n}} for n in range(first)], [judge], experiment_name="x", dataset_name="squares",
    langsmith=connection.connect(url), max_concurrency=2,
)
"""


class Evaluations(RuleBasedStateMachine):
    """One experiment, evaluated again and again by code that behaves differently each time."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.server = localsmith.serve(f"{self.folder.name}/localsmith.db")
        self.server.__enter__()
        self.api = connection.connect(self.server.url)
        self.answered = {}  # n -> what became of its run, as the target saw it; only what was finished
        self.scored = {}  # n -> the score that the evaluator gave it
        self.lock = threading.Lock()
        Clock.back = datetime.timedelta(0)
        self.patches = [mock.patch.object(module, "datetime", Clock) for module in clients_clocks()]
        for patch in self.patches:
            patch.start()

    def teardown(self):
        if hasattr(self, "server"):
            for patch in self.patches:
                patch.stop()
            self.server.__exit__(None, None, None)
            self.folder.cleanup()

    def misbehave(self, way, *values):
        """Do what is no error yet."""
        if way == "changes what it gets":
            for value in values:
                value.clear()
        if way == "prints":
            print("noise")
        if way == "sets the clock back":
            Clock.back = min(Clock.back + CLOCK_SKEW / 4, 0.9 * CLOCK_SKEW)  # farther, and runs are not found again

    def behave(self, way, inputs):
        n = inputs["n"]
        self.misbehave(way, inputs)
        with self.lock:
            assert n not in self.answered, "a run that is recorded ran again"
            self.answered[n] = way
        if way in ERRORS:
            raise ERRORS[way]()
        return {"n": n * n}

    def evaluator(self, ways):
        def judge(outputs, inputs, run, example):
            n = inputs["n"]
            way = ways[n % len(ways)]
            self.misbehave(way, inputs, outputs, run["inputs"], run, example["inputs"])
            if way in ERRORS:
                raise ERRORS[way]()
            with self.lock:
                self.scored[n] = n
            return {"key": "judge", "score": n}

        return judge

    def options(self):
        return {"experiment_name": "x", "dataset_name": "squares", "langsmith": self.api, "max_concurrency": 2}

    @rule(systems=SEVERAL, judges=SEVERAL, is_async=st.booleans(), most=st.integers(1, 8))
    def run(self, systems, judges, is_async, most):
        """Go on with the experiment, until it is stopped after so many calls, as Ctrl-C does it."""
        stop, calls = threading.Event(), []

        def sync(inputs):
            calls.append(inputs["n"])
            if len(calls) >= most:
                stop.set()
            return self.behave(systems[inputs["n"] % len(systems)], inputs)

        async def later(inputs):
            await asyncio.sleep(0)
            return sync(inputs)

        try:
            evaluate(later if is_async else sync, ROWS, [self.evaluator(judges)], stop=stop, **self.options())
        except Interrupted:
            pass

    @rule(ahead=st.integers(0, 3))
    def cancel(self, ahead):
        """Cancel the caller while one run hangs: that one is missing, the others count."""
        hangs, at = threading.Event(), len(self.answered) + ahead

        async def target(inputs):
            if inputs["n"] == at:
                hangs.set()
                await asyncio.sleep(600)
            return self.behave("answers", inputs)

        async def cancels():
            task = asyncio.ensure_future(aevaluate(target, ROWS, [self.evaluator(["answers"])], **self.options()))
            while not task.done() and not hangs.is_set():
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        before = set(self.answered)
        run_async(cancels())
        self.forget_unfinished(self.answered.keys() - before)

    @rule(number=st.sampled_from([signal.SIGINT, signal.SIGKILL]), ahead=st.integers(0, 3))
    def end(self, number, ahead):
        """Ctrl-C, or kill, a process that evaluates: with Ctrl-C, all that it began is finished."""
        if len(self.answered) == EXAMPLES:
            return
        script, log = Path(self.folder.name, "child.py"), Path(self.folder.name, "log")
        script.write_text(CHILD)
        log.write_text("")
        words = [script, self.server.url, log, int(number), len(self.answered) + ahead, EXAMPLES]
        subprocess.run([sys.executable, *map(str, words)], cwd=MAIN.parent, capture_output=True, timeout=120)
        happened = [line.split() for line in log.read_text().splitlines()]
        ran = {int(n) for what, n in happened if what == "ran"}
        assert not ran & self.answered.keys(), "a run that is recorded ran again"
        self.answered |= dict.fromkeys(ran, "answers")
        self.scored |= {int(n): int(n) for what, n in happened if what == "scored"}
        if number == signal.SIGKILL:
            self.forget_unfinished(ran)

    def forget_unfinished(self, some):
        """What was under way may be recorded, with its score or without, or not; it runs again, or is scored."""
        recorded = self.recorded()
        stored = {item["run_id"] for item in self.feedback() if item["score"] is not None}
        for n in some:
            if n not in recorded:
                del self.answered[n]
            if n not in recorded or recorded[n][0]["id"] not in stored:
                self.scored.pop(n, None)

    @rule(judges=SEVERAL)
    def score_again(self, judges):
        """Score what is recorded, where there is something."""
        if self.answered:
            evaluate("x", None, [self.evaluator(judges)], langsmith=self.api)

    def recorded(self):
        """The runs of the experiment by the number in their inputs."""
        if not (session := find_session(self.api, name="x")):
            return {}
        pages = list_experiment_runs(self.api, session["reference_dataset_id"], [session["id"]], SELECTS)
        return {example["inputs"]["n"]: example["runs"] for example in pages if example["runs"]}

    def feedback(self):
        session = find_session(self.api, name="x")
        return list(list_session_feedback(self.api, session["id"], key="judge")) if session else []

    @invariant()
    def the_record_is_what_happened(self):
        """Every finished run once, with its own inputs and outcome; no other run; every score that was given."""
        if not hasattr(self, "api"):
            return
        runs = self.recorded()
        assert runs.keys() == self.answered.keys()
        for n, some in runs.items():
            [run] = some
            assert run["inputs"] == {"n": n}
            failed = self.answered[n] in ERRORS
            assert bool(run.get("error")) == failed
            assert failed or run["outputs"] == {"n": n * n}
            assert run["start_time"] <= run["end_time"]
        by_id = {some[0]["id"]: n for n, some in runs.items()}
        scores = [(by_id[item["run_id"]], item["score"]) for item in self.feedback() if item["score"] is not None]
        assert sorted(scores) == sorted(self.scored.items())


@pytest.fixture
def evaluations():
    machine = Evaluations()
    machine.begin()
    yield machine
    machine.teardown()


@pytest.mark.slow
def test_the_record_is_what_happened_one_way_after_the_other(evaluations):
    """Targets and evaluators behave in each way; a process is interrupted, one killed, a call cancelled."""
    ways = list(WAYS)
    for step in (
        lambda: evaluations.run(systems=ways, judges=ways[4:] + ways[:4], is_async=False, most=EXAMPLES // 2),
        lambda: evaluations.end(number=signal.SIGINT, ahead=1),
        lambda: evaluations.cancel(ahead=1),
        lambda: evaluations.end(number=signal.SIGKILL, ahead=1),
        lambda: evaluations.run(systems=ways, judges=ways[7:] + ways[:7], is_async=True, most=EXAMPLES),
        lambda: evaluations.score_again(judges=ways),
    ):
        step()
        evaluations.the_record_is_what_happened()
    assert len(evaluations.answered) == EXAMPLES and 0 < len(evaluations.scored) < EXAMPLES


TestEvaluations = pytest.mark.slow(Evaluations.TestCase)
TestEvaluations.settings = settings(
    max_examples=2, stateful_step_count=6, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
