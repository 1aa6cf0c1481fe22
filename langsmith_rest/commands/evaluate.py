"""The command `evaluate`: its flags, and its exit codes."""

import argparse
import contextlib
import json
import sys
from typing import Any

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.commands.evaluate_output import progress, report
from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, ready
from langsmith_rest.evaluation.running.data import is_file
from langsmith_rest.evaluation.running.estimate import Estimate, estimate
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.evaluation.running.evaluation import Evaluation
from langsmith_rest.evaluation.running.files import load_evaluators, load_function
from langsmith_rest.evaluation.running.preferences import Preferences
from langsmith_rest.wording import Say

DESCRIPTION = """Run a function on the examples of a dataset and score its answers, or score
recorded experiments."""
EXAMPLES = """examples:
  %(prog)s my_agent.py:run --data capitals --evaluators evals.py
  %(prog)s my_agent.py:run --data capitals.jsonl --experiment v2
  %(prog)s v2-1a2b3c4d --evaluators 'langsmith_rest:exact_match,mentions("Lima")'
  %(prog)s --pairwise v1 v2 --evaluators evals.py:prefer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", nargs="?", metavar="TARGET", help="FILE.py:FUNCTION to run, or an experiment to score")
    add("--pairwise", nargs="+", metavar="EXPERIMENT", help="judge these experiments side by side instead")
    add("--data", metavar="DATA", help="the dataset (name or id), or a file that becomes one")
    add("--dataset", metavar="NAME", help="name of the dataset made of a file (default: the file's, without .jsonl)")
    add(
        "--limit",
        type=positive,
        metavar="N",
        help="only the first N: examples in the order of their ids, rows of a file, or runs",
    )
    add("--splits", metavar="NAME,NAME", help="only the examples of these splits")
    add(
        "--evaluators",
        action="append",
        default=[],
        metavar="FILE.py[:NAME,...]",
        help="functions that score an answer; also MODULE:NAME; repeatable",
    )
    add(
        "--summary-evaluators",
        action="append",
        default=[],
        metavar="FILE.py:NAME,...",
        help="functions that score the whole experiment",
    )
    add("--prefix", metavar="TEXT", help="start of the experiment's name (default: the function's name)")
    add("--experiment", metavar="NAME", help="full name of the experiment; an existing experiment is resumed")
    add("--retry-errors", action="store_true", help="repeat the failed runs of an existing experiment")
    add("--ignore-errors", action="store_true", help="do not record runs in which the target failed")
    add("--max-concurrency", type=positive, default=4, metavar="N", help="calls at a time (default: %(default)s)")
    add("--repetitions", type=positive, metavar="N", help="runs of each example (default: 1)")
    add("--description", metavar="TEXT", help="description of the experiment")
    add("--metadata", action="append", default=[], metavar="KEY=VALUE", help="metadata of the experiment; repeatable")
    add("--randomize-order", action="store_true", help="for --pairwise: show the answers in random order")
    add("--seed", type=int, default=0, metavar="N", help="seed of that order; each makes a comparison (default: 0)")
    add("--estimate", action="store_true", help="only estimate what model judges would cost; nothing is run")
    add("--price", type=price, metavar="IN,OUT", help="for --estimate: dollars per million tokens, in and out")
    add("--fresh", action="store_true", help="ask model judges again, ignoring their cache")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def price(text: str) -> tuple[float, float]:
    """Dollars for a million tokens that a model reads, and for a million that it writes."""
    read, comma, written = text.partition(",")
    try:
        return float(read), float(written if comma else read)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a price: expected dollars per million tokens, such as 0.15,0.6"
        ) from None


OF_RUNS = ("experiment", "splits", "dataset", "retry_errors", "ignore_errors", "repetitions")
OF_BOTH = ("prefix", "description", "metadata")  # of what is made, an experiment or a comparison
OF_PAIRS = ("randomize_order", "seed")


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError, before anything is connected, for flags that exclude each other; name the flag to change."""
    runs_target = not options.pairwise and is_function(options.target or "")
    if (options.target or "").endswith(".py"):
        raise ValueError(f"{options.target} names no function: write {options.target}:FUNCTION.")
    if bool(options.target) == bool(options.pairwise):
        raise ValueError("evaluate needs one of FILE.py:FUNCTION, an experiment, or --pairwise EXPERIMENT EXPERIMENT.")
    if runs_target and not options.data:
        raise ValueError("--data is missing: name the dataset, or a file of examples, to run the target on.")
    if not runs_target and not options.evaluators and not options.summary_evaluators:
        raise ValueError("--evaluators is missing: nothing would be scored.")
    if options.pairwise and len(options.pairwise) < 2:
        raise ValueError("--pairwise needs two experiments.")
    why = "with --pairwise" if options.pairwise else "unless a FILE.py:FUNCTION is run"
    idle = [*OF_RUNS, "data", "summary_evaluators"] if options.pairwise else [*OF_RUNS, *OF_BOTH, *OF_PAIRS]
    if runs_target:
        idle, why = [*OF_PAIRS], "without --pairwise"
    if options.splits is not None and not all(split.strip() for split in options.splits.split(",")):
        raise ValueError(f"--splits is {options.splits!r}, but a split has a name: write NAME,NAME or leave it out.")
    if options.price and not options.estimate:
        raise ValueError("--price has no effect without --estimate: drop it.")
    for flag in idle:
        if getattr(options, flag):
            raise ValueError(f"--{flag.replace('_', '-')} has no effect {why}: drop it.")


def is_function(target: str) -> bool:
    return ".py:" in target


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Do what the flags ask for, print it, and return the exit code."""
    check_options(options)
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # stdout is for the result; what the code under test prints goes to stderr
        found = evaluate_as_asked(connect, say, options)
    if isinstance(found, Estimate):
        print(json.dumps(found.as_json()) if options.json else found)
        if found.uses_references:
            say("The answers are not known yet: the estimate uses each reference as the answer.")
        return 0
    return 0 if report(found, say, options.json) else 1


def evaluate_as_asked(connect: Connect, say: Say, options: argparse.Namespace) -> Evaluation | Preferences | Estimate:
    known = PAIRWISE if options.pairwise else RUN
    chosen = [load_evaluators(reference, known=known, say=say) for reference in options.evaluators]
    evaluators = [function for some in chosen for function in some]
    listed = "summary_evaluators"
    summary = [function for reference in options.summary_evaluators for function in load_evaluators(reference, listed)]
    ready(evaluators, known)  # what is wrong with them is said before anything is made
    ready(summary, SUMMARY)
    target: Any = options.pairwise or options.target
    runs_target = not options.pairwise and is_function(options.target)
    if runs_target:
        target = load_function(options.target)
    judge.FRESH.set() if options.fresh else judge.FRESH.clear()
    makes_data = runs_target and is_file(options.data)
    purpose = "recording into" if runs_target else "scoring runs of"
    purpose = "reading" if options.estimate else purpose
    splits = [split.strip() for split in options.splits.split(",")] if options.splits else None
    with connect(purpose, must_exist=not makes_data) as api, progress(say) as on_progress:
        if options.estimate:
            return estimate(
                api, target, options.data, evaluators, splits=splits, limit=options.limit,
                repetitions=options.repetitions or 1, price=options.price,
            )  # fmt: skip
        return evaluate(
            target,
            options.data,
            evaluators,
            summary,
            experiment_prefix=options.prefix,
            experiment_name=options.experiment,
            max_concurrency=options.max_concurrency,
            num_repetitions=options.repetitions or 1,
            metadata=options.metadata,
            description=options.description,
            splits=splits,
            limit=options.limit,
            error_handling="ignore" if options.ignore_errors else "log",
            retry_errors=options.retry_errors,
            dataset_name=options.dataset,
            randomize_order=options.randomize_order,
            seed=options.seed,
            langsmith=api,
            on_progress=on_progress,
        )
