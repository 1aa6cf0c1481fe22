"""Targets and evaluators that misbehave, stopped and cancelled on the way: the store is held against a plain list."""

import asyncio
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from own_loop import run_async
from squares import ROWS

import localsmith
from langsmith_rest import connection
from langsmith_rest.evaluation.api import list_session_feedback
from langsmith_rest.evaluation.running.evaluate import aevaluate, evaluate
from langsmith_rest.evaluation.running.evaluation import Interrupted
from langsmith_rest.evaluation.runs_api import list_experiment_runs
from rest import find_session

pytestmark = pytest.mark.slow
SELECTS = ("ID", "INPUTS", "OUTPUTS", "ERROR", "METADATA", "PROJECT_ID", "START_TIME")
ERRORS = {
    "an exception": ValueError,
    "cancelled": asyncio.CancelledError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
}
BEHAVIOUR = st.sampled_from(["answers", "changes what it gets", "prints", *ERRORS])


class Evaluations(RuleBasedStateMachine):
    """One experiment, evaluated again and again by code that behaves differently each time."""

    @initialize()
    def begin(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.server = localsmith.serve(f"{self.folder.name}/localsmith.db")
        self.server.__enter__()
        self.api = connection.connect(self.server.url)
        self.answered = {}  # n -> what became of its run, as the target saw it; only what was finished
        self.scored = {}  # n -> the score that the evaluator gave it
        self.lock = threading.Lock()

    def teardown(self):
        if hasattr(self, "server"):
            self.server.__exit__(None, None, None)
            self.folder.cleanup()

    def behave(self, behaviour, inputs, stop, stop_at):
        n = inputs["n"]
        if n == stop_at:
            stop.set()
        if behaviour == "changes what it gets":
            inputs.clear()
        if behaviour == "prints":
            print("noise")
        outcome = behaviour if behaviour in ERRORS else "answers"
        with self.lock:
            assert n not in self.answered, "a run that is recorded ran again"
            self.answered[n] = outcome
        if behaviour in ERRORS:
            raise ERRORS[behaviour]()
        return {"n": n * n}

    def evaluator(self, behaviour):
        def judge(outputs, inputs):
            n = inputs["n"]
            if behaviour == "changes what it gets":
                inputs.clear(), outputs.clear()
            if behaviour in ERRORS:
                raise ERRORS[behaviour]()
            with self.lock:
                self.scored[n] = n
            return {"key": "judge", "score": n}

        return judge

    def options(self):
        return {"experiment_name": "x", "dataset_name": "squares", "langsmith": self.api, "max_concurrency": 2}

    @rule(system=BEHAVIOUR, judge=BEHAVIOUR, is_async=st.booleans(), stop_at=st.integers(0, 9))
    def run(self, system, judge, is_async, stop_at):
        """Go on with the experiment; sometimes it is stopped on the way."""
        stop = threading.Event()

        def sync(inputs):
            return self.behave(system, inputs, stop, stop_at)

        async def later(inputs):
            await asyncio.sleep(0)
            return self.behave(system, inputs, stop, stop_at)

        try:
            evaluate(later if is_async else sync, ROWS, [self.evaluator(judge)], stop=stop, **self.options())
        except Interrupted:
            pass

    @rule(cancel_at=st.integers(0, 5))
    def cancel(self, cancel_at):
        """Cancel the caller while one run hangs: that one is missing, the others count."""
        hangs = threading.Event()

        async def target(inputs):
            if inputs["n"] == cancel_at and cancel_at not in self.answered:
                hangs.set()
                await asyncio.sleep(600)
            return self.behave("answers", inputs, threading.Event(), None)

        async def cancels():
            task = asyncio.ensure_future(aevaluate(target, ROWS, [self.evaluator("answers")], **self.options()))
            while not task.done() and not hangs.is_set():
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        before = set(self.answered)
        run_async(cancels())
        for n in self.answered.keys() - before - self.recorded().keys():  # finished just then: it runs again
            del self.answered[n]
            self.scored.pop(n, None)

    @rule(judge=BEHAVIOUR)
    def score_again(self, judge):
        """Score what is recorded, where there is something."""
        if self.answered:
            evaluate("x", None, [self.evaluator(judge)], langsmith=self.api)

    def recorded(self):
        """The runs of the experiment by the number in their inputs."""
        if not (session := find_session(self.api, name="x")):
            return {}
        pages = list_experiment_runs(self.api, session["reference_dataset_id"], [session["id"]], SELECTS)
        return {example["inputs"]["n"]: example["runs"] for example in pages if example["runs"]}

    @invariant()
    def the_record_is_what_happened(self):
        """Every finished run once, with its own inputs and outcome; no other run; every score that was given."""
        session = find_session(self.api, name="x") if hasattr(self, "api") else None
        if not session:
            assert not getattr(self, "answered", {})
            return
        runs = self.recorded()
        assert runs.keys() == self.answered.keys()
        for n, some in runs.items():
            [run] = some
            assert run["inputs"] == {"n": n}
            failed = self.answered[n] in ERRORS
            assert bool(run.get("error")) == failed
            assert failed or run["outputs"] == {"n": n * n}
        scores = {item["run_id"]: item for item in list_session_feedback(self.api, session["id"], key="judge")}
        given = {n: scores[some[0]["id"]] for n, some in runs.items() if some[0]["id"] in scores}
        assert {n: item["score"] for n, item in given.items() if item.get("score") is not None} == self.scored


TestEvaluations = Evaluations.TestCase
TestEvaluations.settings = settings(max_examples=8, stateful_step_count=6, suppress_health_check=list(HealthCheck))
