"""`judge-worker`: run the model judges that the local store holds."""

import argparse
import json
import os
import signal
import threading

from langsmith_rest import connection
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.commands.evaluate import positive
from langsmith_rest.evaluation.evaluators import model_server
from langsmith_rest.evaluation.hosting.judge_worker import JudgeWorker, Outcome
from langsmith_rest.wording import Say, clean, shortened

DESCRIPTION = """Run the model judges that were uploaded to the local store, on the runs that
wait for them, until Ctrl-C."""
EXAMPLES = """The model is asked with OPENAI_API_KEY and OPENAI_BASE_URL. Cached verdicts cost
nothing. `view --run-evaluators` starts this command by itself. Several workers
never record a score twice.

examples:
  %(prog)s --once --max-judge-calls 100
  %(prog)s --model gpt-5-mini"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--once", action="store_true", help="end when no run is waiting")
    add("--max-judge-calls", type=positive, metavar="N", help="ask the model at most N times (default: no limit)")
    add("--max-concurrency", type=positive, default=4, metavar="N", help="calls at a time (default: %(default)s)")
    add("--model", metavar="NAME", help="ask this model instead of the one that each judge names")
    add("--json", action="store_true", help="print one JSON object at the end")
    add("--while-stdin-is-open", action="store_true", help=argparse.SUPPRESS)  # for `view`


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Score until interrupted, or until nothing waits or nobody can be asked; print what was scored."""
    if options.while_stdin_is_open:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    server = model_server.connect()
    server.calls_left = options.max_judge_calls
    with connect("running the judges of", must_exist=True) as api:
        if not connection.is_loopback(api.url):
            raise ValueError(
                "LangSmith runs its judges itself: this is for the local store (LANGSMITH_ENDPOINT=local)."
            )
        worker = JudgeWorker(api, server, say, options.model, options.max_concurrency)
        try:
            worker.work(once=options.once)
        except KeyboardInterrupt:
            report(worker.outcome, server, say, options.json)
            raise KeyboardInterrupt("Interrupted: runs without a score wait for the next judge-worker.") from None
        report(worker.outcome, server, say, options.json)
    stopped = worker.outcome.stopped
    if stopped and stopped.cause == "limit":
        say(f"--max-judge-calls {options.max_judge_calls} is reached: the other runs wait for the next judge-worker.")
    elif stopped:
        say(f"{stopped}. The other runs wait for the next judge-worker.")
    return int(bool(worker.outcome.failed or worker.left_out) or bool(stopped and stopped.cause != "limit"))


def end_with_stdin() -> None:
    """End this process as soon as the one that holds the other end of stdin has ended."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def report(outcome: Outcome, server: model_server.ModelServer, say: Say, as_json: bool) -> None:
    if server.spent.calls or server.spent.cached:
        say(str(server.spent))
    if as_json:
        judge = {"calls": server.spent.calls, "cached": server.spent.cached}
        counts = {"scored": dict(outcome.scored), "failed": dict(outcome.failed), "not_scored": dict(outcome.unscored)}
        print(json.dumps({**counts, "judge": judge}), flush=True)
        return
    for name in sorted({*outcome.scored, *outcome.failed, *outcome.unscored}):
        print(clean(f"{name}  {outcome.in_words(name)}"), flush=True)
        if reason := outcome.reasons.get(name):
            say(clean(f"The first failure of {name}: {shortened(reason, 300)}"))
