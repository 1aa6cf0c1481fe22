"""What `evaluate` prints: progress, sums, failures, and what was probably not intended."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from langsmith_rest.commands.progress import shown
from langsmith_rest.evaluation.evaluators.llm import POSITION_BIAS, SHOWN_FIRST
from langsmith_rest.evaluation.evaluators.model_server import total_spent
from langsmith_rest.evaluation.running.evaluation import Evaluation, Progress
from langsmith_rest.evaluation.running.preferences import Judged, Preferences
from langsmith_rest.paired import Mean, probability
from langsmith_rest.wording import Say, alike, clean, counted, shortened, typed

SHOWN_REASONS = 3  # of the failures of one evaluator


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
        head = f"The evaluator {key!r} failed {counted(number, 'time')}{where};"
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
        known = f", {found.existing:,} existing" if found.existing else ""
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
