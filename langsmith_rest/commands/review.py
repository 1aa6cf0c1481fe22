"""`review`: put answers into a review queue, where people score them one by one."""

import argparse
import json
import re
from dataclasses import asdict
from typing import Any

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.evaluation.aligning.filling import Filled, fill_queue
from langsmith_rest.evaluation.aligning.ranking import WAYS
from langsmith_rest.wording import Say, clean

DESCRIPTION = """Put answers of an experiment into a review queue, where people score them one
by one."""
EXAMPLES = """--by random        a random sample: the only labels to use with compare --human
--by disagreement  answers on which judges, or judge and person, disagree
--by uncertain     answers whose mean score is in the middle of the scale
--by regressed     answers that score worse than those of --baseline

If you repeat the command, nothing is added twice; a larger --sample adds to the
queue.

examples:
  %(prog)s after --sample 50
  %(prog)s after --by disagreement --judge correct --human human_correct
  %(prog)s after --by regressed --baseline before --judge correct"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help="by name or id; latest is the newest")
    add(
        "--by",
        choices=list(WAYS),
        default="random",
        metavar="WAY",
        help="how to choose the answers, see below (default: random)",
    )
    add("--sample", type=int, metavar="N", help="at most N examples (default: all that qualify)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the random order (default: %(default)s)")
    add("--judge", action="append", default=[], metavar="KEY", help="feedback key of a judge; repeatable")
    add("--human", metavar="KEY", help="feedback key of people's scores (default: human_JUDGE, or human)")
    add("--baseline", metavar="EXPERIMENT", help="for --by regressed: the experiment to compare with")
    add("--lower-is-better", action="append", default=[], metavar="KEY", help="lower scores of KEY are better")
    add("--scale", type=scale, metavar="SCALE", help="what people choose from: 1-5, or kind,rude (default: no or yes)")
    add("--question", metavar="TEXT", help="what people are asked (default: Is the answer right?)")
    add("--dataset", metavar="NAME", help="look for the experiment in this dataset only")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def scale(text: str) -> dict[str, Any]:
    """LOW-HIGH, or categories, as the config of a feedback key."""
    if bounds := re.fullmatch(r"(\d{1,2})-(\d{1,2})", text):
        low, high = map(int, bounds.groups())
        if low < high:
            return {"type": "continuous", "min": low, "max": high}
    labels = [label.strip() for label in text.split(",")]
    if len(labels) < 2 or not all(labels) or len({*labels}) < len(labels):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a scale: expected two numbers, such as 1-5, or names, such as kind,rude"
        )
    return {"type": "categorical", "categories": [{"value": n, "label": label} for n, label in enumerate(labels)]}


def check_options(options: argparse.Namespace) -> None:
    if options.sample is not None and options.sample < 1:
        raise ValueError(f"--sample {options.sample}: expected 1 or more.")
    if options.by == "regressed" and not options.baseline:
        raise ValueError("--by regressed needs --baseline EXPERIMENT.")
    if options.by != "regressed" and (options.baseline or options.lower_is_better):
        flag = "baseline" if options.baseline else "lower-is-better"
        raise ValueError(f"--{flag} has no effect without --by regressed: drop it.")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Fill the queue and print the link to it; exit code 1 when no answer fits."""
    check_options(options)
    with connect("filling a review queue of", must_exist=True) as api:
        filled = fill_queue(
            api,
            options.experiment,
            by=options.by,
            sample=options.sample,
            seed=options.seed,
            judges=options.judge,
            human=options.human,
            baseline=options.baseline,
            lower_is_better=options.lower_is_better,
            scale=options.scale,
            question=options.question,
            dataset=options.dataset,
        )
    if options.json:
        print(json.dumps(asdict(filled)))
    elif filled.chosen:
        print("\n".join(map(clean, in_text(filled))))
    if filled.chosen and options.by == "random" and not filled.has_ended:
        later = "answers recorded later are not in this sample. Start the review when the experiment has ended."
        say(f"{options.experiment!r} has not ended: {later}")
    if not filled.chosen:
        say(f"No answer of {options.experiment!r} {NOTHING[options.by]}: there is nothing to review.")
    return int(not filled.chosen)


NOTHING = {
    "random": "is without an error",
    "disagreement": "has scores that differ",
    "uncertain": "has a score between the ends of its scale (repeat the runs, or name several judges)",
    "regressed": "scores worse than the baseline's",
}


def in_text(filled: Filled) -> list[str]:
    known = filled.chosen - filled.added
    there = f", {known:,} existing" if known else ""
    return [
        f"queue    {filled.name}",
        f"answers  {filled.added:,} new{there}",
        f"scores   are recorded as {filled.human}",
        "",
        filled.url,
    ]
