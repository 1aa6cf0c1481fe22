"""The command `backtest`: from production runs to a verdict. Every step can be repeated."""

import argparse
import contextlib
import difflib
import functools
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from langsmith_rest.commands import evaluate_output
from langsmith_rest.commands.compare import add_limits, exit_code, limits_of
from langsmith_rest.commands.compare_output import in_text
from langsmith_rest.commands.connecting import FIXTURES, Connect
from langsmith_rest.commands.evaluate import positive
from langsmith_rest.commands.progress import counting
from langsmith_rest.commands.record_output import other_runs
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.backtesting.backtest import convert_runs_to_test
from langsmith_rest.evaluation.backtesting.choosing import Runs, list_runs
from langsmith_rest.evaluation.backtesting.projects import load_runs
from langsmith_rest.evaluation.backtesting.traces import SOURCE
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.comparison import Comparison
from langsmith_rest.evaluation.comparing.gate import check_limits
from langsmith_rest.evaluation.comparing.reading import MEASURES
from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.model_server import total_spent
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, ready
from langsmith_rest.evaluation.masking import Mask
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.evaluation.running.evaluation import Evaluation
from langsmith_rest.evaluation.running.files import load_evaluators, load_function
from langsmith_rest.evaluation.running.preferences import Preferences
from langsmith_rest.recording.bodies import parse_time
from langsmith_rest.recording.files import ResultFile
from langsmith_rest.wording import Say, clean, counted, program, shortened, typed
from recorder import Recording

DESCRIPTION = """Turn runs of a production project into a dataset and a baseline experiment, run
new systems on the dataset, score everything and compare. If you repeat the
command, it does only what is missing."""
EXAMPLES = """examples:
  %(prog)s --demo
  %(prog)s --project prod --since 7d --sample 100 \\
      --dataset prod-july --target my_agent.py:run --evaluators evals.py"""
DEMO = ("load", "project", "filter", "mask", "dataset", "children", "feedback", "target", "evaluators")
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--demo", action="store_true", help="load a small project and backtest two systems on it; needs no key")
    add("--project", metavar="NAME", help="take the root runs of this project (name or id)")
    add("--load", metavar="FILE", help="first load the results of FILE into the project (alone: only load them)")
    add("--filter", metavar="FILTER", help="only runs that match, in LangSmith's language: 'eq(error, null)'")
    add("--since", type=moment, metavar="WHEN", help="only runs since then: 90m, 24h, 7d, or an ISO 8601 time")
    add("--limit", type=positive, metavar="N", help="at most the newest N of these")
    add("--sample", type=positive, metavar="N", help="N of these at random, the same every time")
    add("--seed", type=int, default=0, metavar="N", help="seed of the random choices (default: %(default)s)")
    add("--mask", metavar="FILE.py:FUNCTION", help="a function that changes every text before it is sent")
    add("--dataset", metavar="NAME", help="name of the dataset made of the inputs")
    add("--baseline", metavar="NAME", help="name of the experiment made of the runs (default: DATASET-baseline)")
    add("--include-outputs", action="store_true", help="use the production outputs as reference outputs")
    add("--children", action="store_true", help="also copy the steps of the runs")
    add("--feedback", action="store_true", help="also copy the feedback of the runs")
    add("--target", action="append", default=[], metavar="FILE.py:FUNCTION", help="a new system; repeatable")
    add(
        "--experiment",
        metavar="NAME",
        help="name of the new system's experiment (default: dataset, function and a hash of its file)",
    )
    add(
        "--evaluators", action="append", default=[], metavar="FILE.py[:NAME,...]", help="functions that score an answer"
    )
    add("--pairwise", action="append", default=[], metavar="FILE.py:NAME,...", help="functions that judge two answers")
    add("--max-concurrency", type=positive, default=4, metavar="N", help="calls at a time (default: 4)")
    add_limits(parser)
    add("--json", action="store_true", help="print one JSON object")


def moment(text: str) -> datetime | timedelta:
    """Parse a time, or how long ago: 90m, 24h, 7d, 2w."""
    if ago := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return int(ago[1]) * UNITS[ago[2]]
    try:
        return parse_time(text) or timedelta()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: expected 90m, 24h, 7d or 2026-08-21T09:15") from None


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError, before anything is connected, for flags that are missing or have no effect."""
    if options.demo:
        if given := [name for name in DEMO if getattr(options, name)]:
            raise ValueError(f"--demo sets --{given[0]} itself: drop one of them.")
        options.project, options.load = "tweet-writer", in_fixtures("production_runs.jsonl")
        options.dataset, options.filter = "tweet-topics", "eq(error, null)"
        options.children = options.feedback = True
        options.mask, options.evaluators = in_tweets("without_addresses"), [in_fixtures("tweets.py")]
        options.target = [in_tweets("terse"), in_tweets("lively")]
    if not options.project:
        raise ValueError("--project is missing: name the project whose runs are taken (or try --demo).")
    if options.load and not Path(options.load).is_file():
        raise ValueError(f"{options.load}: there is no such file.")
    if options.load and not options.dataset and not options.target:
        return
    for flag, why in (
        ("dataset", "name the dataset for the inputs."),
        ("target", "name the new system to run."),
        ("evaluators", "nothing would be scored."),
    ):
        if not getattr(options, flag):
            raise ValueError(f"--{flag} is missing: {why}")
    check_limits(limits_of(options), options.lower_is_better)
    if options.experiment and len(options.target) > 1:
        raise ValueError("--experiment names one experiment, but there are several targets: drop it, or name one.")
    if options.experiment == (options.baseline or f"{options.dataset}-baseline"):
        raise ValueError(f"--experiment {options.experiment!r} is the name of the baseline: choose another.")


def flags_of(options: argparse.Namespace) -> Iterator[str]:
    """The flags that the demo stands for."""
    for name in DEMO:
        value = getattr(options, name)
        for text in value if isinstance(value, list) else [value]:
            yield from [f"--{name}"] if text is True else [f"--{name}", text]


def in_tweets(name: str) -> str:
    return f"{in_fixtures('tweets.py')}:{name}"


def in_fixtures(name: str) -> str:
    """The path of a sample file: relative, except on another drive of Windows."""
    with contextlib.suppress(ValueError):
        return os.path.relpath(FIXTURES / name)
    return str(FIXTURES / name)


@dataclass
class Backtest:
    """What all steps together found."""

    runs: Runs
    baseline: Recording
    evaluations: list[Evaluation]  # of the baseline, then of the new systems
    preferences: list[Preferences]
    comparison: Comparison
    others: int  # runs of the baseline besides those that were chosen
    problem: str | None  # why the gate could not tell: a limit is of an unknown metric


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Run every step that is not done yet, print the comparison, and return the exit code."""
    check_options(options)
    if options.demo:
        say(f"The demo is: {typed('backtest')} {shlex.join(flags_of(options))}")
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # stdout is for the result; what the code under test prints goes to stderr
        found = run_steps(connect, say, options)
    if isinstance(found, str):
        print(found)
        return 0
    went_well = report(found, say, options)
    if found.problem:
        say(f"{program()} backtest: {found.problem}")
        return 2
    code = exit_code(found.comparison, options.inconclusive_exit, say, shown=not options.json)
    return code or int(not went_well)


def run_steps(connect: Connect, say: Say, options: argparse.Namespace) -> "Backtest | str":
    """Load what is to be loaded, then do the steps; the address of the project when that is all."""
    evaluators = [function for reference in options.evaluators for function in load_evaluators(reference)]
    pairwise = [function for one in options.pairwise for function in load_evaluators(one, known=PAIRWISE, say=say)]
    say_near_misses(options, [evaluator.key for evaluator in ready(evaluators, RUN)], say)
    ready(pairwise, PAIRWISE)
    targets = {
        options.experiment or name_of(target, options.dataset): load_function(target) for target in options.target
    }
    mask = load_function(options.mask) if options.mask else None
    judge.FRESH.clear()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(options.load, "rb")) if options.load else None
        api = stack.enter_context(connect(any_age=bool(options.load)))
        if file:
            loaded = load_runs(api, ResultFile(options.load, file), options.project)
            new, known = counted(loaded.new, "run"), f"{loaded.there:,} existing"
            say(f"project    {options.project}: {new} loaded from {options.load}, {known}")
            if loaded.moved:
                say(f"moved      {loaded}")
            if not targets:
                return project_url(api, loaded.project)
        return backtest(api, options, targets, evaluators, pairwise, mask, say)


def say_near_misses(options: argparse.Namespace, keys: list[str], say: Say) -> None:
    """Report limits whose metric may be misspelt: that only shows for certain after everything is scored."""
    limited = [name for limit in (options.fail_below, options.fail_above, options.max_regression) for name, _ in limit]
    for name in dict.fromkeys([*limited, *options.lower_is_better]):
        near = difflib.get_close_matches(name, keys, n=1)
        if near and name not in (*keys, *MEASURES):
            hint = "Ignore this if an evaluator returns that key."
            say(f"No evaluator is called {name!r}. Did you mean {near[0]!r}? {hint}")


def name_of(target: str, dataset: str) -> str:
    """The experiment of a target that has no name: changed code in its file makes another experiment."""
    path, _, function = target.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"{path or target}: there is no such file. A target is written FILE.py:FUNCTION.")
    return f"{dataset}-{function}-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"


def project_url(api: LangSmith, session: dict) -> str:
    return f"{api.web}/o/{session['tenant_id']}/projects/p/{session['id']}"


def backtest(
    api: LangSmith,
    options: argparse.Namespace,
    targets: dict[str, Callable[..., Any]],
    evaluators: list[Callable[..., Any]],
    pairwise: list[Callable[..., Any]],
    mask: Mask | None,
    say: Say,
) -> Backtest:
    """Choose, convert, score, run, judge and compare; each step finds what it did before."""
    runs = list_runs(
        options.project, filter=options.filter, since=options.since, limit=options.limit, sample=options.sample,
        seed=options.seed, langsmith=api,
    )  # fmt: skip
    drawn = f" of {runs.finished:,}" if options.sample else ""
    say(f"chosen     {len(runs.chosen):,}{drawn} finished runs of {options.project}, {runs.pending:,} pending left out")
    baseline = copy_runs(api, options, runs, mask, say)
    if others := other_runs(api, baseline):
        held = f"{baseline.experiment_name!r} holds {counted(others, 'other run')} besides these {len(runs.chosen):,}"
        say(f"{held}, and all are compared. To compare only these, use another --dataset.")
    evaluations = evaluate_all(api, options, baseline, targets, evaluators, say)
    preferences = [
        evaluate(
            [baseline.experiment_name, name], None, pairwise, randomize_order=True, seed=options.seed,
            max_concurrency=options.max_concurrency, langsmith=api,
        )
        for name in (targets if pairwise else ())
    ]  # fmt: skip
    comparison, problem = compare_all(api, baseline.experiment_name, targets, options)
    for candidate in comparison.candidates:  # feedback that only production has, as from users, compares nothing
        candidate.metrics = [metric for metric in candidate.metrics if metric.pairs or metric.only_candidate]
    return Backtest(runs, baseline, evaluations, preferences, comparison, others, problem)


def copy_runs(api: LangSmith, options: argparse.Namespace, runs: Runs, mask: Mask | None, say: Say) -> Recording:
    """Turn production runs into the dataset and the baseline."""
    with counting(f"{options.dataset}: runs copied", say) as on_copied:
        baseline = convert_runs_to_test(
            runs, options.dataset, options.baseline, options.include_outputs, options.children,
            mask=mask, copy_feedback=options.feedback, langsmith=api, on_progress=on_copied,
        )  # fmt: skip
    copies = f"{baseline.runs_recorded:,} new, {baseline.runs_existing:,} existing"
    say(f"dataset    {options.dataset}: {counted(baseline.examples_created, 'new example')}")
    say(f"baseline   {baseline.experiment_name}: {copies}; {counted(baseline.feedback, 'feedback item')} copied")
    return baseline


def evaluate_all(
    api: LangSmith,
    options: argparse.Namespace,
    baseline: Recording,
    targets: dict[str, Callable[..., Any]],
    evaluators: list[Callable[..., Any]],
    say: Say,
) -> list[Evaluation]:
    """Score the baseline, then run and score the new systems."""
    with evaluate_output.progress(say) as on_progress:

        def score(target: Any, name: str | None = None) -> Evaluation:
            return evaluate(
                target, baseline.dataset_id, evaluators, experiment_name=name,
                max_concurrency=options.max_concurrency, langsmith=api, on_progress=on_progress,
            )  # fmt: skip

        evaluations = [score(baseline.experiment_name)]
        for name, target in targets.items():
            found = score(target, name)
            said = f"{counted(found.done, 'new run')}, {found.existing:,} existing"
            say(f"candidate  {name}: {said}, {counted(found.errors, 'error')}")
            # Known runs may have been scored by other evaluators, or by the same ones before these were changed.
            evaluations.append(score(name) if found.existing else found)
    return evaluations


def compare_all(
    api: LangSmith, baseline: str, targets: Iterable[str], options: argparse.Namespace
) -> tuple[Comparison, str | None]:
    """The comparison, and what is wrong with the limits, so that bad limits do not hide the results."""
    told = functools.partial(compare, api, baseline, *targets, dataset=options.dataset)
    try:
        return told(lower_is_better=options.lower_is_better, limits=limits_of(options)), None
    except ValueError as error:
        known = {metric.name for metric in told().candidates[0].metrics}
        return told(lower_is_better=known & {*options.lower_is_better}), str(error)


# ---------------------------------------------------------------- output


def report(found: Backtest, say: Say, options: argparse.Namespace) -> bool:
    """Print the verdict, the link last; returns whether all runs were copied and nothing failed.

    A limit on error_rate judges failed runs instead.
    """
    spent = total_spent()
    if spent.calls or spent.cached:
        say(str(spent))
    if options.json:
        print(json.dumps(in_json(found)))
    else:
        for preferred in found.preferences:
            print("\n".join([*evaluate_output.pairwise_lines(preferred), preferred.url, ""]))
        print("\n".join(map(clean, in_text(found.comparison))))
    went_well = say_problems(found, say)
    return went_well and (limits_of(options).on_errors or not any(one.errors for one in found.evaluations[1:]))


def say_problems(found: Backtest, say: Say) -> bool:
    """Report what was not copied, and what failed; returns whether all went well, apart from failed targets."""
    for rejected in found.baseline.rejected[:20]:
        say(f"run {rejected[SOURCE]} was not copied: {clean(rejected['reason'])}")
    for evaluation in found.evaluations:
        where = f" in {evaluation.experiment_name}"
        evaluate_output.say_failures(evaluation.scores.failures, evaluation.scores.reasons, say, where)
    for evaluation in found.evaluations[1:]:  # that runs of production failed is no failure of the backtest
        say_failed_target(evaluation, say)
    for preferred in found.preferences:
        evaluate_output.say_failures(preferred.errors, preferred.reasons, say, f" in {preferred.name}")
    failed = any(one.evaluator_errors or one.rejected for one in found.evaluations)
    return not (found.baseline.rejected or failed or any(one.errors for one in found.preferences))


def say_failed_target(found: Evaluation, say: Say) -> None:
    """Report in how many runs the target failed, now or when the experiment was made."""
    failed = f"The target failed in {counted(found.errors, 'run')} in {found.experiment_name}."
    if found.first_error:
        say(f"{failed} The first: {clean(shortened(found.first_error, 300))}")
    elif found.errors:
        again = f"evaluate FILE.py:FUNCTION --data {found.dataset_name} --experiment {found.experiment_name}"
        say(f"{failed} To repeat these: {typed(again)} --retry-errors")


def in_json(found: Backtest) -> dict[str, Any]:
    runs = {"project": found.runs.project["name"], "chosen": len(found.runs.chosen)}
    return {
        "runs": {**runs, "finished": found.runs.finished, "pending": found.runs.pending},
        "baseline": {**asdict(found.baseline), "other_runs": found.others},
        "evaluations": [evaluation.as_json() for evaluation in found.evaluations],
        "pairwise": [preferred.as_json() for preferred in found.preferences],
        "comparison": asdict(found.comparison),
        **({"error": found.problem, "exit_code": 2} if found.problem else {}),
    }
