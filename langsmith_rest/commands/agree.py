"""`agree`: how far a judge and a person agree about the same runs."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.evaluation.aligning.agreement import Label
from langsmith_rest.evaluation.aligning.report import Agreement, agree
from langsmith_rest.evaluation.aligning.sampling import in_words
from langsmith_rest.paired import Mean
from langsmith_rest.wording import Say, clean, counted

DESCRIPTION = """Compare a judge's scores with a person's: agreement, kappa, and the runs on
which they disagree."""
EXAMPLES = """examples:
  %(prog)s after --judge correct --human human_correct
  %(prog)s after --judge correct --human human_correct --by split"""
SHOWN = 20  # disagreements; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help="by name or id; latest is the newest")
    add("--judge", required=True, metavar="KEY", help="feedback key of the judge (required)")
    add("--human", required=True, metavar="KEY", help="feedback key of the person (required)")
    add("--by", metavar="KEY", help="also show each group: split, or a key of the example metadata")
    add(
        "--precision",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="how precisely to know the agreement; says how many labels that needs (default: 0.05)",
    )
    add("--dataset", metavar="NAME", help="look for the experiment in this dataset only")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Print the report; exit code 1 when no run has both labels."""
    with connect("reading", must_exist=True) as api:
        found = agree(
            api,
            options.experiment,
            judge=options.judge,
            human=options.human,
            by=options.by,
            precision=options.precision,
            dataset=options.dataset,
        )
    print(json.dumps(asdict(found)) if options.json else "\n".join(map(clean, in_text(found))))
    if not found.both:
        say(f"No run has both {found.judge} and {found.human}: label some of the judged runs.")
    return int(not found.both)


def in_text(found: Agreement) -> Iterator[str]:
    """The report as lines for a terminal."""
    yield f"experiment   {found.experiment}: {counted(found.runs, 'run')} without an error"
    yield f"judge        {found.judge}: {found.judged:,}"
    yield f"person       {found.human}: {found.labelled:,}, both {found.both:,}"
    if not found.both:
        return
    yield f"agreement    {share(found.agreement)}"
    yield f"kappa        {number(found.kappa)}"
    if found.weighted_kappa is not None:
        yield f"weighted     {number(found.weighted_kappa)} (quadratic)"
    if found.sensitivity or found.specificity:
        yield f"sensitivity  {share(found.sensitivity)}: of what the person accepts, the judge accepts this share"
        yield f"specificity  {share(found.specificity)}: of what the person rejects, the judge rejects this share"
    yield more_in_words(found)
    yield f"sample       {in_words(found.drawn)}"
    yield ""
    yield from table_of(found)
    if found.groups:
        yield ""
        yield from (
            f"{group.name}: agreement {share(group.agreement)}, kappa {number(group.kappa)}" for group in found.groups
        )
    if found.disagreements:
        yield ""
    for item in found.disagreements[:SHOWN]:
        yield f"judge {shown(item.judge)}, person {shown(item.human)}  {item.url}"
    if len(found.disagreements) > SHOWN:
        yield f"... and {len(found.disagreements) - SHOWN:,} more (--json lists all)"


def more_in_words(found: Agreement) -> str:
    known = f"the agreement is known to within {found.precision:g}"
    more = f"about {counted(found.more_labels, 'more label')} to know the agreement to within {found.precision:g}"
    return f"precision    {more if found.more_labels else known}"


def table_of(found: Agreement) -> Iterator[str]:
    """The confusion matrix: a row for each of the person's labels, a column for each of the judge's."""
    if not found.confusion:
        yield f"{len(found.labels):,} different labels are too many for a table of them"
        return
    heads = [f"judge {shown(label)}" for label in found.labels]
    rows = [[f"{count:,}" for count in row] for row in found.confusion]
    sides = [f"person {shown(label)}" for label in found.labels]
    widths = [max(len(head), *(len(row[at]) for row in rows)) for at, head in enumerate(heads)]
    margin = max(map(len, sides))
    yield " " * margin + "".join(f"  {head:>{width}}" for head, width in zip(heads, widths, strict=True))
    for side, row in zip(sides, rows, strict=True):
        yield f"{side:{margin}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))


def share(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    interval = "" if mean.low is None else f" (95 % interval {mean.low:.3f} to {mean.high:.3f})"
    return f"{mean.mean:.3f} of {mean.n:,}{interval}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def shown(label: Label) -> str:
    return label if isinstance(label, str) else f"{label:g}"
