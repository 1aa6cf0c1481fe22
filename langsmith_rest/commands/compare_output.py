"""A comparison as text for a terminal, and as Markdown."""

import html
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from langsmith_rest.evaluation.aligning.sampling import in_words
from langsmith_rest.evaluation.comparing.comparison import (
    INCONCLUSIVE,
    Candidate,
    Check,
    ComparedExperiment,
    Comparison,
    Correction,
    Flip,
)
from langsmith_rest.paired import LEVEL, WITHIN, Metric, probability
from langsmith_rest.wording import counted, shortened

SHOWN = 10  # changed scores of a metric, up and down each; --json has all

COUNTED = "; a limit counts each as the worst score"
HEADS = (
    *("metric", "baseline", "candidate", "difference", "95 % interval"),
    *("improved", "regressed", "same", "p", "adjusted p", "smallest"),
)


def in_text(comparison: Comparison) -> Iterable[str]:
    """A comparison as lines for a terminal, the link last."""
    for candidate in comparison.candidates:
        yield f"baseline   {comparison.baseline.name}: {experiment_in_words(comparison.baseline)}"
        yield f"candidate  {candidate.name}: {experiment_in_words(candidate)}"
        yield f"pairs      {matches_in_words(candidate)}"
        yield ""
        rows = [(*cells(metric), metric.verdict) for metric in (*candidate.metrics, *candidate.measures)]
        yield from aligned([(*HEADS, "verdict"), *rows])
        yield ""
        yield from remarks(comparison, candidate)
        for flip in first_flips(candidate):
            change = f"{shown(flip.baseline)} -> {shown(flip.candidate)}"
            yield f"{flip.change:9}  {flip.metric} {change}  {short(flip.inputs)}  {flip.example_id}"
        yield from changed_in_words(candidate)
    if comparison.gate:
        yield from map(check_in_words, comparison.gate.checks)
        yield from (f"gate {comparison.gate.verdict}", "")
    yield comparison.url


def experiment_in_words(experiment: ComparedExperiment) -> str:
    failed = f", {experiment.failed_runs:,} of {counted(experiment.runs, 'run')} failed"
    return counted(experiment.examples, "example") + (failed if experiment.failed_runs else "")


def matches_in_words(candidate: Candidate) -> str:
    only = {side: len(ids) for side, ids in candidate.unmatched.items()}
    unmatched = f"{only['baseline']:,} in the baseline only, {only['candidate']:,} in the candidate only"
    unmatched += f", {candidate.in_neither:,} in neither" if candidate.in_neither else ""
    return f"{candidate.pairs:,} ({unmatched})"


def cells(metric: Metric) -> tuple[str, ...]:
    interval = f"{signed(metric.low)} to {signed(metric.high)}" if metric.low is not None else "-"
    means = shown(metric.baseline_mean), shown(metric.candidate_mean), signed(metric.difference)
    counts = f"{metric.improved:,}", f"{metric.regressed:,}", f"{metric.same:,}"
    return (
        metric.name,
        *means,
        interval,
        *counts,
        probability(metric.p_alone),
        probability(metric.p),
        shown(metric.smallest),
    )


def remarks(comparison: Comparison, candidate: Candidate) -> Iterable[str]:
    """What the table does not say: scores missing on one side, failed evaluators, clusters, repetitions."""
    found = [remark for metric in candidate.metrics for remark in remarks_on(metric)]
    for side, experiment in (("baseline", comparison.baseline), ("candidate", candidate)):
        if experiment.failed_runs and candidate.metrics:
            left_out = f"{counted(experiment.failed_runs, 'failed run')} of the {side}"
            found.append(f"the means leave out {left_out}, unless scored" + (COUNTED if side == "candidate" else ""))
        for key, runs in experiment.failed_evaluators.items():
            found.append(f"{key}: the evaluator failed on {counted(runs, 'run')} of the {side}")
    found += [line for correction in candidate.corrections for line in correction_in_words(correction)]
    for name in comparison.scores_left_out:
        found.append(f"{name}: scores of this name are left out; {name} is what was measured")
    if comparison.cluster:
        each = f"; {counted(comparison.unclustered, 'example')} without it, each in its own cluster"
        same = f"a cluster is all examples with the same {comparison.cluster}"
        found.append(f"{same}{each if comparison.unclustered else ''}")
    yield from found
    if found:
        yield ""


def remarks_on(metric: Metric) -> Iterable[str]:
    if metric.only_baseline or metric.only_candidate:
        missing = f"{metric.only_baseline:,} in the baseline only, {metric.only_candidate:,} in the candidate only"
        means = f"{shown(metric.baseline_overall)} and {shown(metric.candidate_overall)}"
        yield f"{metric.name}: {counted(metric.pairs, 'pair')}, {missing}; means of all scores: {means}"
    if metric.clusters is not None:
        yield f"{metric.name}: {counted(metric.pairs, 'pair')} in {counted(metric.clusters, 'cluster')}"
    if metric.test == WITHIN:
        counts = " against ".join(f"{count:.3g}" for count in metric.repetitions)
        yield f"{metric.name}: unequal repetitions, {counts} per example; p comes from a {WITHIN}"
    if metric.p_alone is None or metric.low is None or metric.high is None:
        return
    is_shown, holds_zero = metric.p_alone < LEVEL, metric.low <= 0 <= metric.high
    if is_shown == holds_zero:
        p, interval = ("below", "contains 0") if is_shown else ("not below", "leaves out 0")
        differ = f"p is {p} 0.05, but the interval {interval}"
        yield f"{metric.name}: {differ}; trust p for whether anything differs, and the interval for how much"


def correction_in_words(found: Correction) -> Iterable[str]:
    """A judge's numbers as a person would give them."""
    for what, value in (("baseline", found.baseline), ("candidate", found.candidate), ("difference", found.difference)):
        by = f"{found.metric}, {what} corrected by {found.human}"
        if value is None:
            yield f"{by}: too few labels"
            continue
        mean = signed(value.mean) if what == "difference" else shown(value.mean)
        labels = f"{counted(value.labels, 'label')} of {value.labels + value.unlabelled:,}"
        yield f"{by}: {mean} (95 % interval {signed(value.low)} to {signed(value.high)}), {labels}"
    needs = "corrected numbers hold if the labelled examples are a random sample"
    yield f"{found.metric}: {needs}: {in_words(found.drawn)}"


def advice(comparison: Comparison, exit_code: int) -> Iterable[str]:
    """What to do about a gate that is inconclusive, and what the exit code is."""
    checks = comparison.gate.checks if comparison.gate else ()
    unsure = [check for check in checks if check.verdict == INCONCLUSIVE]
    for check in unsure:
        if check.pairs_needed:
            need = f"about {check.pairs_needed:,} pairs with this spread"
            yield f"{check.experiment}: {check.limit}: {need} would rule out a larger loss 4 times out of 5."
    if any(check.missing for check in unsure):
        yield "Scores are missing, so the exit code is 1 whatever --inconclusive-exit says."
    elif comparison.gate and comparison.gate.verdict == INCONCLUSIVE:
        yield f"An inconclusive gate has exit code {exit_code}; --inconclusive-exit CODE chooses another."


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


def check_in_words(check: Check) -> str:
    return f"{check.verdict}: {check.experiment}: {check.limit}: {check.reason}"


def shown(value: float | None) -> str:
    """A number as people read it: three decimals, more for small ones, fewer for large ones."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.3f}" if size >= 0.01 or not size else f"{value:.2g}"


def signed(value: float | None) -> str:
    return "-" if value is None else f"{'+' if value > 0 else ''}{shown(value)}"


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


def in_markdown(comparison: Comparison, inconclusive_exit: int = 0) -> Iterable[str]:
    """A comparison as Markdown for a job summary or a pull request on GitHub."""
    for candidate in comparison.candidates:
        yield from (f"### {plain(candidate.name)} against {plain(comparison.baseline.name)}", "")
        yield from (f"[{plain(comparison.dataset)}](<{comparison.url}>), pairs: {matches_in_words(candidate)}", "")
        yield "| " + " | ".join((*HEADS, "verdict")) + " |"
        yield "|" + " --- |" + " ---: |" * (len(HEADS) - 1) + " --- |"
        for metric in (*candidate.metrics, *candidate.measures):
            name, *rest = cells(metric)
            yield "| " + " | ".join((plain(name), *rest, f"**{metric.verdict}**")) + " |"
        yield ""
        for side, experiment in (("baseline", comparison.baseline), ("candidate", candidate)):
            if experiment.failed_runs:
                yield f"- {side}: {experiment_in_words(experiment)}"
        for line in remarks(comparison, candidate):
            yield f"- {plain(line)}" if line else ""
        yield from flips_in_markdown(candidate)
    if comparison.gate:
        yield from (f"**Gate {comparison.gate.verdict}**", "")
        yield from (f"- {plain(check_in_words(check))}" for check in comparison.gate.checks)
        yield from (f"- {plain(line)}" for line in advice(comparison, inconclusive_exit))


def flips_in_markdown(candidate: Candidate) -> Iterable[str]:
    if candidate.flips:
        yield from ("| change | metric | baseline | candidate | example |", "| --- | --- | ---: | ---: | --- |")
    for flip in first_flips(candidate):
        before, after = shown(flip.baseline), shown(flip.candidate)
        yield f"| {flip.change} | {plain(flip.metric)} | {before} | {after} | {plain(short(flip.inputs))} |"
    yield ""
    yield from changed_in_words(candidate)


def plain(text: str) -> str:
    """Text that Markdown shows unchanged."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~#" else c for c in escaped)
