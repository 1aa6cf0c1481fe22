"""Compare experiments example by example: what changed, how sure that is, and whether a candidate may pass."""

import difflib
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import find_dataset, find_experiment, read_dataset
from langsmith_rest.evaluation.comparing.comparison import Candidate, ComparedExperiment, Comparison, Flip
from langsmith_rest.evaluation.comparing.gate import Limits, check_limits, gate_of
from langsmith_rest.evaluation.comparing.reading import MEASURES, ExperimentScores, read_scores
from langsmith_rest.paired import SAME, Metric, give_verdicts, metric_of


def compare(
    api: LangSmith,
    baseline: str,
    *candidates: str,
    dataset: str | None = None,
    metrics: Sequence[str] | None = None,
    lower_is_better: Iterable[str] = (),
    flips: bool = False,
    limits: Limits | None = None,
) -> Comparison:
    """Compare experiments, given by name or id, with a baseline, example by example.

        comparison = compare(connection.connect(), "before", "after", limits=Limits(max_regression={"correct": 0.02}))
        print(comparison.candidates[0].metrics[0].verdict, comparison.gate.verdict)

    Repetitions are averaged first. A missing score is missing, never zero. The chance that this calls any metric
    better or worse although nothing differs is at most 5 % for all metrics of all candidates together, and again for
    latency, tokens, cost and error rate. `metrics` names those wanted (default: all). Raises LookupError for an
    unknown experiment or dataset, ValueError for an unknown metric.
    """
    limits = limits or Limits()
    check_limits(limits)
    dataset_id = find_dataset(api, dataset)["id"] if dataset else None
    sessions = [find_experiment(api, name, dataset_id) for name in (baseline, *candidates)]
    ids = [session["id"] for session in sessions]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(sessions) < 2 or len(set(ids)) < len(ids):
        raise ValueError("A comparison needs two or more different experiments.")
    if len(datasets) > 1:
        raise LookupError("These experiments belong to different datasets: only those of one have examples in common.")
    found = read_dataset(api, datasets.pop())
    first, *others = read_scores(api, found["id"], sessions, keep_inputs=flips)
    known = sorted({name for column in (first, *others) for name in column.scores})
    limited = [*limits.fail_below, *limits.fail_above, *limits.max_regression]
    lower = {*lower_is_better}
    refuse_unknown(metrics or (), known)
    refuse_unknown([*limited, *lower], [*known, *MEASURES])
    names = [name for name in known if not metrics or name in (*metrics, *limited)]
    turned = [f"lowerIsBetter={quote(name, safe='')}" for name in names if name in lower]  # for the local store's page
    result = Comparison(
        found["id"],
        found["name"],
        "&".join([rest.experiment_url(api, found, "%2C".join(ids)), f"baseline={ids[0]}", *turned]),
        ComparedExperiment(first.id, first.name, len(first.examples), first.runs),
        [beside(first, other, names, lower) for other in others],
    )
    give_verdicts([metric for candidate in result.candidates for metric in candidate.metrics])
    give_verdicts([measure for candidate in result.candidates for measure in candidate.measures])
    if flips:
        for candidate, other in zip(result.candidates, others, strict=True):
            candidate.flips = flips_of(first, other, candidate.metrics)
    if limits:
        result.gate = gate_of(result.candidates, limits)
    return result


def refuse_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name in MEASURES and name not in known:
            raise ValueError(f"{name!r} is no score: {', '.join(MEASURES)} are compared always, where they are known.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            offer = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}."
            raise ValueError(f"Unknown metric {name!r}: {offer}")


def beside(first: ExperimentScores, other: ExperimentScores, names: Sequence[str], lower: set[str]) -> Candidate:
    """A candidate beside the baseline, without verdicts yet."""
    pairs = len(first.examples.keys() & other.examples.keys())
    unmatched = {
        "baseline": [i for i in first.examples if i not in other.examples],
        "candidate": [i for i in other.examples if i not in first.examples],
    }
    scores = [
        metric_of(name, first.scores.get(name, {}), other.scores.get(name, {}), lower=name in lower) for name in names
    ]
    measures = [
        metric_of(name, first.measures[name], other.measures[name], lower=True)
        for name in MEASURES
        if name in first.measures and name in other.measures
    ]
    return Candidate(other.id, other.name, len(other.examples), other.runs, pairs, unmatched, scores, measures)


def flips_of(first: ExperimentScores, other: ExperimentScores, metrics: Sequence[Metric]) -> list[Flip]:
    """The examples whose scores changed: by metric, regressions first, the largest change first."""
    found: list[Flip] = []
    for metric in metrics:
        before, after = first.scores.get(metric.name, {}), other.scores.get(metric.name, {})
        sign = -1 if metric.lower_is_better else 1
        gains = {i: sign * (after[i] - before[i]) for i in before if i in after}
        regressed = sorted((i for i in gains if gains[i] < -SAME), key=gains.__getitem__)
        improved = sorted((i for i in gains if gains[i] > SAME), key=gains.__getitem__, reverse=True)
        for change, ids in (("regressed", regressed), ("improved", improved)):
            found += [Flip(metric.name, i, first.examples[i], before[i], after[i], change) for i in ids]
    return found
