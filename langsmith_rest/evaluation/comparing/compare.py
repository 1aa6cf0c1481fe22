"""Compare experiments example by example: what changed, how sure that is, and whether a candidate may pass."""

import difflib
import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import find_dataset, find_experiment, read_dataset
from langsmith_rest.evaluation.comparing.comparison import Candidate, ComparedExperiment, Comparison, Flip
from langsmith_rest.evaluation.comparing.correcting import corrections, metrics_of
from langsmith_rest.evaluation.comparing.gate import Limits, check_limits, gate_of
from langsmith_rest.evaluation.comparing.reading import MEASURES, UNBOUNDED, ExperimentScores, read_scores
from langsmith_rest.paired import SAME, Metric, give_verdicts, metric_of


def compare(
    api: LangSmith,
    baseline: str,
    *candidates: str,
    dataset: str | None = None,
    metrics: Sequence[str] | None = None,
    lower_is_better: Iterable[str] = (),
    cluster: str | None = None,
    human: Sequence[str] = (),
    flips: bool = False,
    limits: Limits | None = None,
) -> Comparison:
    """Compare experiments with a baseline, example by example. Experiments are given by name or id.

        comparison = compare(connect(), "before", "after", limits=Limits(max_regression={"correct": 0.02}))
        print(comparison.candidates[0].metrics[0].verdict, comparison.gate.verdict)

    For each candidate and metric, the result has the means of the pairs, the mean difference (candidate - baseline)
    with its 95 % interval, p, and a verdict: "better", "worse", "no difference shown" or "too few pairs". Latency is
    in seconds, cost in dollars. `comparison.rows()` gives flat rows for a data frame.

    The unit is the example: repetitions are averaged first. A missing score is missing, never zero. If nothing
    differs, the chance of calling any metric of any candidate better or worse is at most 5 % in total, and again for
    latency, tokens, cost and error rate.

    - `dataset`: look for the experiments only in this dataset.
    - `metrics`: only these feedback keys (default: all).
    - `lower_is_better`: feedback keys whose lower scores are better, as with latency, tokens, cost and error rate.
    - `cluster`: a key of example metadata; examples with the same value are one unit of the statistics.
    - `human`: feedback keys of people's labels that correct a judge's METRIC, as METRIC=KEY or human_METRIC.
    - `flips`: also list the examples whose scores changed.
    - `limits`: decide a gate, in `comparison.gate`; None without limits. Missing scores never help a candidate.

    Raises LookupError for an unknown experiment or dataset, ValueError for an unknown metric or a bad limit.
    """
    if not isinstance(api, LangSmith):
        raise ValueError(f"api is {api!r}, expected a connection: compare(connect(), 'before', 'after').")
    limits = limits or Limits()
    lower = {*lower_is_better}
    check_limits(limits, lower)
    found, sessions = find_sessions(api, (baseline, *candidates), dataset)
    first, *others = read_scores(api, found["id"], sessions, keep_inputs=flips)
    given = {name for side in (first, *others) for name in (*side.scores, *side.broken)}
    known = sorted(given.difference(MEASURES))
    limited = [*limits.fail_below, *limits.fail_above, *limits.max_regression]
    refuse_unknown(metrics or (), known)
    refuse_unknown([*limited, *lower], [*known, *MEASURES])
    names = [name for name in known if not metrics or name in (*metrics, *limited)]
    humans = metrics_of(human, known, names)
    clusters = clusters_of(cluster, (first, *others)) if cluster else None
    unclustered = len({*first.runs}.union(*(other.runs for other in others)) - clusters.keys()) if clusters else 0
    url = page_url(api, found, sessions, names if metrics else [], lower & {*names}, cluster, humans)
    beside_it = [beside(first, other, names, lower, clusters) for other in others]
    hidden = sorted(given.intersection(MEASURES))
    result = Comparison(found["id"], found["name"], url, compared(first), beside_it, cluster, unclustered, hidden)
    give_verdicts([metric for candidate in beside_it for metric in candidate.metrics])
    give_verdicts([measure for candidate in beside_it for measure in candidate.measures])
    for candidate, other in zip(beside_it, others, strict=True):
        candidate.in_neither = max((found.get("example_count") or 0) - len({*first.runs, *other.runs}), 0)
        candidate.flips = flips_of(first, other, candidate.metrics) if flips else None
        candidate.corrections = corrections(api, first, other, humans)
    if limits:
        result.gate = gate_of(first, list(zip(beside_it, others, strict=True)), limits, lower, clusters)
    return result


def find_sessions(api: LangSmith, names: Sequence[str], dataset: str | None) -> tuple[dict, list[dict]]:
    """The experiments of these names or ids, and the dataset that they have in common."""
    dataset_id = find_dataset(api, dataset)["id"] if dataset else None
    sessions = [find_experiment(api, name, dataset_id) for name in names]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(sessions) < 2 or len({session["id"] for session in sessions}) < len(sessions):
        raise ValueError("A comparison needs two or more different experiments.")
    if len(datasets) > 1:
        raise LookupError("These experiments belong to different datasets: compare experiments on the same dataset.")
    return read_dataset(api, datasets.pop()), sessions


def page_url(
    api: LangSmith,
    dataset: dict,
    sessions: list[dict],
    names: list[str],
    lower: Iterable[str],
    cluster: str | None,
    humans: dict[str, str],
) -> str:
    """The page that shows this comparison; for the local store, with the same options."""
    ids = [session["id"] for session in sessions]
    asked = [("baseline", ids[0]), *(("lowerIsBetter", name) for name in sorted(lower))]
    asked += [("metrics", name) for name in names] + ([("cluster", cluster)] if cluster else [])
    asked += [("human", f"{metric}={key}") for metric, key in humans.items()]
    url = rest.experiment_url(api, dataset, "%2C".join(ids))
    return "&".join([url, *(f"{name}={quote(value, safe='')}" for name, value in asked)])


def refuse_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name in MEASURES and name not in known:
            raise ValueError(f"{name!r} is not a score: {', '.join(MEASURES)} are always compared, if they are known.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            there = f"the metrics are {', '.join(known)}." if known else "no run is scored."
            offer = f"did you mean {near[0]!r}?" if near else there
            raise ValueError(f"Unknown metric {name!r}: {offer}")


def clusters_of(key: str, sides: Iterable[ExperimentScores]) -> dict[str, str]:
    """Example -> the value of a key of its metadata, as JSON; examples without the key are left out."""
    metadata = {example: of for side in sides for example, of in side.metadata.items()}
    found = {
        example: json.dumps(of[key], sort_keys=True) for example, of in metadata.items() if of.get(key) is not None
    }
    if not found:
        keys = sorted({name for of in metadata.values() for name in of})
        there = f"the keys are {', '.join(keys)}." if keys else "these examples have no metadata."
        raise ValueError(f"No example has the metadata key {key!r}: {there}")
    return found


def compared(side: ExperimentScores) -> ComparedExperiment:
    return ComparedExperiment(
        side.id, side.name, len(side.runs), sum(map(len, side.runs.values())), side.failed, dict(side.broken)
    )


def beside(
    first: ExperimentScores,
    other: ExperimentScores,
    names: Sequence[str],
    lower: set[str],
    clusters: dict[str, str] | None,
) -> Candidate:
    """A candidate beside the baseline, without verdicts yet."""

    def metric(name: str, less: bool) -> Metric:
        single = first.single.get(name, {}), other.single.get(name, {})
        sides = first.means(name), other.means(name)
        return metric_of(name, *sides, lower=less, single=single, clusters=clusters, bounded=name not in UNBOUNDED)

    measured = [name for name in MEASURES if name in first.measures and name in other.measures]
    return Candidate(
        **vars(compared(other)),
        pairs=len(first.runs.keys() & other.runs.keys()),
        unmatched={
            "baseline": [i for i in first.runs if i not in other.runs],
            "candidate": [i for i in other.runs if i not in first.runs],
        },
        metrics=[metric(name, name in lower) for name in names],
        measures=[metric(name, True) for name in measured],
    )


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
            found += [Flip(metric.name, i, first.inputs[i], before[i], after[i], change) for i in ids]
    return found
