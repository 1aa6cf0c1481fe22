"""The command `evaluate`: its flags, what it prints, and what it says when it is interrupted."""

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.commands.progress import shown
from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.llm import POSITION_BIAS, SHOWN_FIRST
from langsmith_rest.evaluation.evaluators.model_server import total_spent
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, ready
from langsmith_rest.evaluation.running.data import is_file
from langsmith_rest.evaluation.running.estimate import Estimate, estimate
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.evaluation.running.evaluation import Evaluation, Progress
from langsmith_rest.evaluation.running.files import load_evaluators, load_function
from langsmith_rest.evaluation.running.preferences import Judged, Preferences
from langsmith_rest.paired import Mean, probability
from langsmith_rest.wording import Say, alike, clean, counted, shortened, typed

DESCRIPTION = """Run a function on the examples of a dataset and score its answers, or score
recorded experiments."""
EXAMPLES = """examples:
  %(prog)s my_agent.py:run --data capitals --evaluators evals.py
  %(prog)s my_agent.py:run --data capitals.jsonl --experiment v2
  %(prog)s v2-1a2b3c4d --evaluators 'langsmith_rest:exact_match,mentions("Lima")'
  %(prog)s --pairwise v1 v2 --evaluators evals.py:prefer"""
SHOWN_REASONS = 3  # of the failures of one evaluator


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


@contextmanager
def progress(say: Say) -> Iterator[Progress]:
    """Counts, errors and rate: one line that is rewritten on a terminal, a line every 10 s elsewhere."""
    with shown(say) as show:
        yield lambda found: show(lambda: progress_line(found))


def progress_line(found: Evaluation) -> str:
    done, errors = found.done + found.left_out + found.scored, found.errors + found.left_out
    of = f" of {found.planned}" if found.planned else ""
    rate = done / max(monotonic() - found.started, 0.001)
    failed = f", {counted(errors, 'error')}" if errors else ""
    failing = f", {counted(found.evaluator_errors, 'evaluator error')}" if found.evaluator_errors else ""
    return f"{found.experiment_name}: {done}{of} done{failed}{failing}, {rate:.1f}/s"


# ---------------------------------------------------------------- output


def report(found: Evaluation | Preferences, say: Say, as_json: bool) -> bool:
    """Print what was found, the link last; returns whether everything went well."""
    spent = total_spent()
    if spent.calls or spent.cached:
        say(str(spent))
    if as_json:
        tokens = {"input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens}
        print(json.dumps({**found.as_json(), "judge": {"calls": spent.calls, "cached": spent.cached, **tokens}}))
    elif isinstance(found, Preferences):
        print("\n".join([*pairwise_lines(found), "", found.url]))
    else:
        print("\n".join([*lines(found), "", found.url]))
    if isinstance(found, Preferences):
        say_failures(found.errors, found.reasons, say)
        if not found.pairs:
            say("Nothing was judged: no example has a run in each of these experiments.")
        return found.pairs > 0 and not found.errors
    for line in alike((f"result {rejected['result']}", rejected["reason"]) for rejected in found.rejected):
        say(line)
    say_failures(found.scores.failures, found.scores.reasons, say)
    is_failed = say_failed_runs(found, say)
    say_doubts(found, say)
    for name in found.silent:
        again = typed(f"evaluate {found.experiment_name} --evaluators ...")
        say(f"No feedback is called {name!r}. If that evaluator is new, let it score what is recorded: {again}")
    is_stale = found.target_changed and not found.done
    return not (found.rejected or found.evaluator_errors or is_failed or is_stale)


def say_failed_runs(found: Evaluation, say: Say) -> bool:
    """Report in how many runs the target failed, and the first reason.

    Returns whether such runs are recorded, or no other ones.
    """
    runs = found.done + found.existing + found.left_out
    if found.first_error:
        why = clean(shortened(found.first_error, 300))
        say(f"The target failed in {found.errors + found.left_out:,} of {counted(runs, 'run')}. The first: {why}")
    elif runs and found.errors:
        say(f"The target failed in {found.errors:,} of {counted(runs, 'run')}; --retry-errors runs these again.")
    return bool(runs and found.errors) or 0 < found.left_out == runs


def say_failures(errors: Mapping[str, int], reasons: Mapping[str, Counter[str]], say: Say, where: str = "") -> None:
    """Report which evaluators failed how often, and the most frequent reasons; `where` names the experiment."""
    for key, number in errors.items():
        head = f"The evaluator {key} failed {counted(number, 'time')}{where};"
        [first, *others] = reasons[key].most_common(SHOWN_REASONS)
        if not others:
            say(f"{head} the reason is in its feedback: {clean(shortened(first[0], 300))}")
            continue
        lines = [f"  {counted(times, 'time')}: {clean(shortened(why, 300))}" for why, times in (first, *others)]
        more = len(reasons[key]) - len(lines)
        say(
            "\n".join(
                [
                    f"{head} the reasons are in its feedback:",
                    *lines,
                    *([f"  and {counted(more, 'other reason')}"] if more > 0 else []),
                ]
            )
        )


def say_doubts(found: Evaluation, say: Say) -> None:
    """Report what worked but was probably not intended."""
    name = found.experiment_name
    if found.bare:
        nothing = f", {found.nothing:,} of them None: does the target return its answer?" if found.nothing else "."
        are = "is not a dictionary: it is" if found.bare == 1 else "are not dictionaries: they are"
        say(f"{counted(found.bare, 'answer')} {are} recorded as {{'output': ...}}{nothing}")
    for doubt in found.scores.doubts():
        say(doubt)
    if found.target_changed:
        old = "It was not run: the answers are those of the old target. To run it, choose another --experiment."
        both = "The experiment now holds answers of both. To keep them apart, choose another --experiment."
        say(f"The target has changed since {name!r} was started. {both if found.done else old}")
    if found.doubled:
        more = f"{counted(found.doubled, 'example')} of {name!r} {'has' if found.doubled == 1 else 'have'} more runs"
        advice = "was this command started twice at once? To start again, choose another --experiment."
        say(f"{more} than asked for, and all count: {advice}")


def lines(found: Evaluation) -> list[str]:
    """What happened to the runs, and the sums of the feedback of the whole experiment."""
    rows = [("experiment", found.experiment_name)]
    if found.done or found.existing or found.left_out:
        known = f", {found.existing:,} known" if found.existing else ""
        left_out = f", {found.left_out:,} failed and not recorded" if found.left_out else ""
        rows.append(("runs", f"{found.done:,} new{known}{left_out}"))
    if found.scored:
        changes = ", ".join(f"{found.feedback[name]} {name}" for name in ("created", "updated", "deleted"))
        rows.append(("scored", f"{counted(found.scored, 'recorded run')}; feedback: {changes}"))
    rows += [*found.scores.rows(), ("errors", f"{found.errors:,}")]
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}" for name, value in rows]


def pairwise_lines(found: Preferences) -> list[str]:
    unmatched = f"{counted(found.only_in_some, 'example')} not in all"
    rows = [("comparison", found.name), ("pairs", f"{found.pairs:,} ({unmatched})")]
    for key in found.keys:
        parts = [judged_words(key, found.scores[key], found.experiments)] if key in found.scores else []
        if key in found.scores and f"{key}{SHOWN_FIRST}" not in found.scores:  # else the judge chose the order itself
            parts += first_words(found.scores[key].shown_first)
        parts += [f"{found.errors[key]} failed"] if found.errors[key] else []
        parts += [f"{found.unscored[key]:,} not scored"] if found.unscored[key] else []
        rows.append((clean(key), ", ".join(parts)))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}" for name, value in rows]


def judged_words(key: str, judged: Judged, experiments: list[str]) -> str:
    """Which experiment was preferred, by example, with ties separate; or the value of a rate."""
    rate, n = judged.rate, len(judged.judgements)
    if key.endswith(POSITION_BIAS) and rate:
        changed = sum(scores[0] for scores in judged.judgements)
        return f"{rate.mean:.3f} ({changed:,.0f} of {n:,} preferences changed with the order)"
    if key.endswith(SHOWN_FIRST) and rate:
        return first_words(rate)[0]
    ties = f"ties {judged.winners.count(None):,} of {n:,}"
    found = [judged.preferred(place) for place in range(len(experiments))]
    last = found[-1]
    if not last:
        return f"no preference, {ties}"
    named = zip(experiments, found, strict=True)
    shares = [f"{name} {one.share.mean:.3f}{interval(one.share)}" for name, one in named if one]
    p = f", p {probability(last.p)}" if len(found) == 2 else ""
    return f"{', '.join(shares)} of {counted(last.share.n, 'decided example')}{p}, {ties}"


def first_words(share: Mean | None) -> list[str]:
    """What a share of preferences for the answer shown first says; nothing without one."""
    return [f"{share.mean:.3f}{interval(share)} of the preferences went to the answer shown first"] if share else []


def interval(mean: Mean) -> str:
    return "" if mean.low is None or mean.high is None else f" ({mean.low:.3f} to {mean.high:.3f})"
