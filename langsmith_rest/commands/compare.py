"""`main.py compare`: its options, and a comparison as text, Markdown or JSON."""

import argparse
import html
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from langsmith_rest.commands.connecting import Connect
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.comparison import INCONCLUSIVE, PASSED, Candidate, Check, Comparison, Flip
from langsmith_rest.evaluation.comparing.gate import Limits
from langsmith_rest.paired import Metric
from langsmith_rest.wording import Say, clean, counted, shortened

SHOWN = 10  # changed scores of a metric, up and down each; --json has all
DESCRIPTION = "Compare experiments with a baseline, example by example: what changed, and how sure that is."
EXAMPLES = """The gate: exit code 0 when passed, 1 when failed, that of --inconclusive-exit when the data cannot tell.
Besides feedback keys, METRIC may be latency, tokens, cost or error_rate.

examples:
  %(prog)s before after --flips
  %(prog)s before after --max-regression correct=0.02 --require-pairs 0.9
  %(prog)s before after --fail-below correct=0.8 --markdown >> "$GITHUB_STEP_SUMMARY"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `main.py compare` takes."""
    add = parser.add_argument
    add("baseline", metavar="BASELINE", help="the name or id of an experiment")
    add("candidates", nargs="+", metavar="CANDIDATE", help="one or more to hold against it")
    add("--dataset", metavar="NAME", help="look for the experiments in this dataset only")
    add("--metric", action="append", metavar="KEY", help="of the scores, compare this one only; repeatable")
    add("--flips", action="store_true", help="list the examples whose scores changed")
    add_limits(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--markdown", action="store_true", help="print Markdown, as for $GITHUB_STEP_SUMMARY")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare what decides whether a candidate passes."""
    add, limit = parser.add_argument, "METRIC=NUMBER"
    add("--lower-is-better", action="append", default=[], metavar="KEY", help="for this feedback key; repeatable")
    add("--fail-below", type=pair, action="append", default=[], metavar=limit, help="fail when the mean is lower")
    add("--fail-above", type=pair, action="append", default=[], metavar=limit, help="fail when the mean is higher")
    add("--max-regression", type=pair, action="append", default=[], metavar=limit, help="fail on a larger proven loss")
    add("--require-pairs", type=number, metavar="SHARE", help="fail when fewer examples form pairs, 0.9 for 90 %%")
    add("--inconclusive-exit", type=int, default=0, metavar="CODE", help="exit code when the data cannot tell (0)")


def pair(text: str) -> tuple[str, float]:
    """METRIC=NUMBER; a metric may hold equals signs itself."""
    name, _, value = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r}: expected METRIC=NUMBER")
    return name, number(value)


def number(text: str) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise ValueError
    return value


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Compare, print, and return the exit code that the gate asks for."""
    with connect("reading", must_exist=True) as api:
        comparison = compare_as_told(api, options)
    if options.json:
        print(json.dumps(asdict(comparison)))
    else:
        print("\n".join(map(clean, in_markdown(comparison) if options.markdown else in_text(comparison))))
    return exit_code(comparison, options.inconclusive_exit)


def limits_of(options: argparse.Namespace) -> Limits:
    return Limits(
        dict(options.fail_below), dict(options.fail_above), dict(options.max_regression), options.require_pairs
    )


def compare_as_told(api: LangSmith, options: argparse.Namespace) -> Comparison:
    return compare(
        api,
        options.baseline,
        *options.candidates,
        dataset=options.dataset,
        metrics=options.metric,
        lower_is_better=options.lower_is_better,
        flips=options.flips,
        limits=limits_of(options),
    )


def exit_code(comparison: Comparison, inconclusive: int) -> int:
    """0 without a gate or with a passed one, 1 for a failed one, else what was chosen; failures go to stderr, too."""
    gate = comparison.gate
    if gate is None or gate.verdict == PASSED:
        return 0
    for check in gate.checks:
        if check.verdict == gate.verdict:
            print(clean(in_words(check)), file=sys.stderr)
    return inconclusive if gate.verdict == INCONCLUSIVE else 1


# ---------------------------------------------------------------- text


HEADS = (
    *("metric", "baseline", "candidate", "difference", "95 % interval"),
    *("improved", "regressed", "same", "p", "smallest"),
)


def in_text(comparison: Comparison) -> Iterable[str]:
    """A comparison as lines for a terminal, the link last."""
    for candidate in comparison.candidates:
        yield f"baseline   {comparison.baseline.name}: {counted(comparison.baseline.examples, 'example')}"
        yield f"candidate  {candidate.name}: {counted(candidate.examples, 'example')}"
        yield f"pairs      {pairs_in_words(candidate)}"
        yield ""
        rows = [(*cells(metric), metric.verdict) for metric in candidate.metrics]
        rows += [(*cells(measure), measure.verdict) for measure in candidate.measures]
        yield from aligned([(*HEADS, "verdict"), *rows])
        yield ""
        yield from remarks(candidate)
        for flip in first_flips(candidate):
            change = f"{shown(flip.baseline)} -> {shown(flip.candidate)}"
            yield f"{flip.change:9}  {flip.metric} {change}  {short(flip.inputs)}  {flip.example_id}"
        yield from changed_in_words(candidate)
    if comparison.gate:
        for check in comparison.gate.checks:
            yield in_words(check)
        yield from (f"gate {comparison.gate.verdict}", "")
    yield comparison.url


def pairs_in_words(candidate: Candidate) -> str:
    only = {side: len(ids) for side, ids in candidate.unmatched.items()}
    unmatched = f"{only['baseline']:,} in the baseline only, {only['candidate']:,} in the candidate only"
    return f"{candidate.pairs:,} ({unmatched})"


def cells(metric: Metric) -> tuple[str, ...]:
    interval = f"{signed(metric.low)} to {signed(metric.high)}" if metric.low is not None else "-"
    means = shown(metric.baseline_mean), shown(metric.candidate_mean), signed(metric.difference)
    counts = f"{metric.improved:,}", f"{metric.regressed:,}", f"{metric.same:,}"
    return (metric.name, *means, interval, *counts, probability(metric.p), shown(metric.smallest))


def remarks(candidate: Candidate) -> Iterable[str]:
    """What the rows do not say: scores that are missing on one side."""
    for metric in candidate.metrics:
        if metric.only_baseline or metric.only_candidate:
            missing = f"{metric.only_baseline:,} in the baseline only, {metric.only_candidate:,} in the candidate only"
            means = f"{shown(metric.baseline_overall)} and {shown(metric.candidate_overall)}"
            yield f"{metric.name}: {counted(metric.pairs, 'pair')}, {missing}; means of all scored: {means}"
    if any(metric.only_baseline or metric.only_candidate for metric in candidate.metrics):
        yield ""


def first_flips(candidate: Candidate) -> Iterable[Flip]:
    counts: Counter[tuple[str, str]] = Counter()
    for flip in candidate.flips or ():
        counts[flip.metric, flip.change] += 1
        if counts[flip.metric, flip.change] <= SHOWN:
            yield flip


def changed_in_words(candidate: Candidate) -> Iterable[str]:
    if candidate.flips is None:
        return
    left = len(candidate.flips) - len(list(first_flips(candidate)))
    if left:
        yield f"... and {counted(left, 'more changed score')} (--json lists all)"
    if not candidate.flips:
        yield "No score changed."
    yield ""


def in_words(check: Check) -> str:
    return f"{check.verdict}: {check.experiment}: {check.limit}: {check.reason}"


def shown(value: float | None) -> str:
    """A number as people read it: three decimals, more for small ones, fewer for large ones."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.3f}" if size >= 0.01 or not size else f"{value:.2g}"


def signed(value: float | None) -> str:
    return "-" if value is None else f"{'+' if value > 0 else ''}{shown(value)}"


def probability(p: float | None) -> str:
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def short(value: object) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), 80)


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Rows in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sides: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(row) - 2), str.ljust]
        padded = [side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)]
        yield "  ".join(padded).rstrip()


# ---------------------------------------------------------------- Markdown


def in_markdown(comparison: Comparison) -> Iterable[str]:
    """A comparison as GitHub shows it in a job's summary or a pull request."""
    for candidate in comparison.candidates:
        yield from (f"### {plain(candidate.name)} against {plain(comparison.baseline.name)}", "")
        yield from (f"[{plain(comparison.dataset)}](<{comparison.url}>), pairs: {pairs_in_words(candidate)}", "")
        yield "| " + " | ".join((*HEADS, "verdict")) + " |"
        yield "|" + " --- |" + " ---: |" * (len(HEADS) - 1) + " --- |"
        for metric in (*candidate.metrics, *candidate.measures):
            name, *rest = cells(metric)
            yield "| " + " | ".join((plain(name), *rest, f"**{metric.verdict}**")) + " |"
        yield ""
        for line in remarks(candidate):
            yield from ((f"- {plain(line)}",) if line else ("",))
        if candidate.flips:
            yield from ("| change | metric | baseline | candidate | example |", "| --- | --- | ---: | ---: | --- |")
        for flip in first_flips(candidate):
            before, after = shown(flip.baseline), shown(flip.candidate)
            yield f"| {flip.change} | {plain(flip.metric)} | {before} | {after} | {plain(short(flip.inputs))} |"
        yield ""
        yield from changed_in_words(candidate)
    if comparison.gate:
        yield from (f"**Gate {comparison.gate.verdict}**", "")
        yield from (f"- {plain(in_words(check))}" for check in comparison.gate.checks)


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~#" else c for c in escaped)
