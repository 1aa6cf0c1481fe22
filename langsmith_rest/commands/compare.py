"""The command `compare`: its flags, and its exit codes."""

import argparse
import json
import math
from dataclasses import asdict
from functools import partial

from langsmith_rest.commands.compare_output import advice, check_in_words, in_markdown, in_text
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.commands.junit import remove_old, write_junit
from langsmith_rest.commands.progress import waiting
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.comparison import INCONCLUSIVE, PASSED, Comparison
from langsmith_rest.evaluation.comparing.gate import Limits
from langsmith_rest.evaluation.comparing.waiting import wait_for_scores
from langsmith_rest.wording import Say, clean, counted

WAIT_SECONDS = 300
DESCRIPTION = """Compare experiments with a baseline, example by example: what changed, and how
certain that is."""
EXAMPLES = """METRIC is a feedback key, or latency, tokens, cost or error_rate.

Exit code 0: all limits hold. 1: a limit fails. 2: misuse. --max-regression
passes when a larger loss is ruled out, and fails when one is shown. Otherwise
it is inconclusive: exit code 0, or CODE. A failed run counts as the worst
score. If other scores are missing, a limit passes only if it also holds with
the worst scores in their place; otherwise, the exit code is 1.

examples:
  %(prog)s before after --flips
  %(prog)s before after --max-regression correct=0.02
  %(prog)s before after --fail-below correct=0.8 --markdown
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `main.py compare` takes."""
    add = parser.add_argument
    add(
        "baseline",
        metavar="BASELINE",
        help="an experiment, by name or id; latest is the newest, latest~1 the one before it",
    )
    add("candidates", nargs="+", metavar="CANDIDATE", help="an experiment to compare with the baseline; repeatable")
    add("--dataset", metavar="NAME", help="look for the experiments in this dataset only")
    add("--metric", action="append", metavar="KEY", help="compare only this feedback key; repeatable")
    add("--cluster", metavar="KEY", help="treat examples with the same value of this metadata key as one unit")
    add(
        "--human",
        action="append",
        default=[],
        metavar="[METRIC=]KEY",
        help="correct the judge's score METRIC with people's labels KEY",
    )
    add(
        "--wait",
        type=key_and_seconds,
        metavar="KEY[=SECONDS]",
        help=f"first wait until all runs are scored with KEY, at most SECONDS (default: {WAIT_SECONDS})",
    )
    add("--flips", action="store_true", help="list the examples whose scores changed")
    add_limits(parser)
    add("--junit", metavar="FILE", help="also write the checks as JUnit XML, for CI systems that show tests")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--markdown", action="store_true", help="print Markdown, for example for $GITHUB_STEP_SUMMARY")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare what decides whether a candidate passes."""
    add, limit = parser.add_argument, "METRIC=NUMBER"
    add(
        "--lower-is-better",
        action="append",
        default=[],
        metavar="KEY",
        help="lower scores of KEY are better; repeatable",
    )
    add("--fail-below", type=pair, action="append", default=[], metavar=limit, help="fail when the mean is lower")
    add("--fail-above", type=pair, action="append", default=[], metavar=limit, help="fail when the mean is higher")
    add(
        "--max-regression",
        type=pair,
        action="append",
        default=[],
        metavar=limit,
        help="fail when a larger loss is shown",
    )
    add(
        "--require-pairs",
        type=number,
        metavar="SHARE",
        help="fail when less than this share (0 to 1) of examples form pairs",
    )
    add(
        "--inconclusive-exit",
        type=exit_status,
        default=0,
        metavar="CODE",
        help="exit code when there are too few pairs to tell (default: 0)",
    )


def pair(text: str) -> tuple[str, float]:
    """METRIC=NUMBER; a metric may hold equals signs itself."""
    name, _, value = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r}: expected METRIC=NUMBER")
    return name, number(value)


def exit_status(text: str) -> int:
    if not text.isdecimal() or int(text) > 255:  # of others, systems keep the last eight bits: 256 would be 0
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 to 255")
    return int(text)


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        hint = ": write 0.02 for 2 %" if text.endswith("%") else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a number{hint}") from None
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def key_and_seconds(text: str) -> tuple[str, float]:
    """KEY or KEY=SECONDS; a key may hold equals signs itself, but what looks like a time has to be one."""
    name, _, value = text.rpartition("=")
    if name and value.replace(".", "", 1).isdecimal():
        return name, float(value)
    if name and (not value or value.lstrip("+-")[:1].isdecimal()):  # nothing: a variable that is not set
        raise argparse.ArgumentTypeError(f"{text!r}: {value!r} is not a number of seconds")
    return text, WAIT_SECONDS


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Compare, print, and return the exit code that the gate asks for."""
    if options.junit:
        remove_old(options.junit)
    with connect("reading", must_exist=True) as api:
        if options.wait:
            wait(api, say, options)
        with waiting("reading the runs", say):
            comparison = compare_as_told(api, options)
    if options.json:
        print(json.dumps(asdict(comparison)))
    elif options.markdown:
        print("\n".join(map(clean, in_markdown(comparison, options.inconclusive_exit))))
    else:
        print("\n".join(map(clean, in_text(comparison))))
    if options.junit:
        write_junit(options.junit, comparison, options.inconclusive_exit)
    in_result = not (options.json or options.markdown)
    return exit_code(comparison, options.inconclusive_exit, say, shown=in_result)


def wait(api: LangSmith, say: Say, options: argparse.Namespace) -> None:
    """Wait for judges that run by themselves; scores that are still missing then count as missing."""
    key, seconds = options.wait
    experiments = [options.baseline, *options.candidates]
    missing = wait_for_scores(
        api, experiments, key, seconds=seconds, dataset=options.dataset, on_progress=partial(say_scored, say, key)
    )
    if missing:
        gaps = counted(missing, "run")
        say(f"{key} is still missing on {gaps} after {math.ceil(seconds):,} s: comparing without {them(missing)}.")


def them(count: int) -> str:
    return "it" if count == 1 else "them"


def say_scored(say: Say, key: str, scored: int, due: int) -> None:
    say(f"waiting for {key}: {scored:,} of {due:,} runs scored" if scored < due else f"{key}: all {due:,} runs scored")


def limits_of(options: argparse.Namespace) -> Limits:
    below, above, regression = (
        limits_by_metric(options, flag) for flag in ("fail_below", "fail_above", "max_regression")
    )
    return Limits(below, above, regression, options.require_pairs)


def limits_by_metric(options: argparse.Namespace, flag: str) -> dict[str, float]:
    """Metric -> number; two for the same metric are refused, as one of them would have no effect."""
    names = [name for name, _ in getattr(options, flag)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--{flag.replace('_', '-')} is given twice for {twice[0]!r}: keep one limit.")
    return dict(getattr(options, flag))


def compare_as_told(api: LangSmith, options: argparse.Namespace) -> Comparison:
    return compare(
        api,
        options.baseline,
        *options.candidates,
        dataset=options.dataset,
        metrics=options.metric,
        lower_is_better=options.lower_is_better,
        cluster=options.cluster,
        human=options.human,
        flips=options.flips,
        limits=limits_of(options),
    )


def exit_code(comparison: Comparison, inconclusive: int, say: Say, *, shown: bool) -> int:
    """0 without a gate or when it passed, 1 when it failed or lacks scores, otherwise --inconclusive-exit.

    The checks that decide are told unless they are `shown` in the result already.
    """
    gate = comparison.gate
    if gate is None or gate.verdict == PASSED:
        return 0
    deciding = [check for check in gate.checks if check.verdict == gate.verdict]
    for check in () if shown else deciding:
        say(clean(check_in_words(check)))
    if gate.verdict != INCONCLUSIVE:
        return 1
    for line in advice(comparison, inconclusive):
        say(clean(line))
    return 1 if any(check.missing for check in deciding) else inconclusive
