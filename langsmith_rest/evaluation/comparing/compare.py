"""Compare experiments example by example: what changed, how sure that is, and whether a candidate may pass."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any
from urllib.parse import quote

import rest
from langsmith_rest import paired
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.wording import counted

BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "better", "worse", "no difference shown", "too few pairs"
PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
LEVEL = 0.05


@dataclass
class Metric:
    """One metric of a candidate beside the baseline's; means and difference are those of the pairs.

    `p` is adjusted for how many metrics are tested; `smallest` is the true difference that such data show four times
    out of five. None means that it cannot be said.
    """

    name: str
    kind: str  # "binary" or "numeric"
    lower_is_better: bool
    pairs: int
    only_baseline: int  # examples with this score in the baseline only
    only_candidate: int
    baseline_mean: float | None
    candidate_mean: float | None
    difference: float | None  # candidate - baseline
    low: float | None  # its 95 % interval
    high: float | None
    test: str
    p_alone: float | None
    improved: int
    regressed: int
    same: int
    smallest: float | None
    baseline_overall: float | None  # the mean of all examples with this score, paired or not
    candidate_overall: float | None
    p: float | None = None
    verdict: str = TOO_FEW


@dataclass
class Experiment:
    id: str
    name: str
    examples: int
    runs: int


@dataclass
class Flip:
    """An example whose score changed."""

    metric: str
    example_id: str
    inputs: Any
    baseline: float
    candidate: float
    change: str  # "improved" or "regressed"


@dataclass
class Candidate(Experiment):
    """An experiment beside the baseline."""

    pairs: int = 0  # examples that both have run
    unmatched: dict[str, list[str]] = field(default_factory=dict)  # ids of the others: "baseline", "candidate"
    metrics: list[Metric] = field(default_factory=list)
    measures: list[Metric] = field(default_factory=list)  # latency, tokens, cost, error rate
    flips: list[Flip] | None = None


@dataclass
class Limits:
    """What a candidate must keep to. Metrics are feedback keys, or latency, tokens, cost, error_rate."""

    fail_below: dict[str, float] = field(default_factory=dict)
    fail_above: dict[str, float] = field(default_factory=dict)
    max_regression: dict[str, float] = field(default_factory=dict)
    require_pairs: float | None = None

    def __bool__(self) -> bool:
        return bool(self.fail_below or self.fail_above or self.max_regression or self.require_pairs is not None)


@dataclass
class Check:
    """One limit held against one candidate."""

    experiment: str
    limit: str
    verdict: str  # "passed", "failed" or "inconclusive"
    reason: str


@dataclass
class Gate:
    verdict: str  # the worst of the checks
    checks: list[Check]


@dataclass
class Comparison:
    dataset_id: str
    dataset: str
    url: str
    baseline: Experiment
    candidates: list[Candidate]
    gate: Gate | None = None


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
    dataset_id = wing.find_dataset(api, dataset)["id"] if dataset else None
    sessions = [wing.find_experiment(api, name, dataset_id) for name in (baseline, *candidates)]
    ids = [session["id"] for session in sessions]
    datasets = {session["reference_dataset_id"] for session in sessions}
    if len(sessions) < 2 or len(set(ids)) < len(ids):
        raise ValueError("A comparison needs two or more different experiments.")
    if len(datasets) > 1:
        raise LookupError("These experiments belong to different datasets: only those of one have examples in common.")
    found = wing.read_dataset(api, datasets.pop())
    first, *others = read_columns(api, found["id"], sessions, keep_inputs=flips)
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
        Experiment(first.id, first.name, len(first.examples), first.runs),
        [beside(first, other, names, lower) for other in others],
    )
    give_verdicts([metric for candidate in result.candidates for metric in candidate.metrics])
    give_verdicts([measure for candidate in result.candidates for measure in candidate.measures])
    if flips:
        for candidate, other in zip(result.candidates, others, strict=True):
            candidate.flips = flips_of(first, other, candidate.metrics)
    if limits:
        checks = [check for candidate in result.candidates for check in checks_of(candidate, limits)]
        verdicts = {check.verdict for check in checks}
        worst = next(verdict for verdict in (FAILED, INCONCLUSIVE, PASSED) if verdict in verdicts)
        result.gate = Gate(worst, checks)
    return result


# ---------------------------------------------------------------- reading


@dataclass
class Columns:
    """The numbers of one experiment by metric and example, repetitions averaged."""

    id: str
    name: str
    runs: int = 0
    examples: dict[str, Any] = field(default_factory=dict)  # their inputs where those are kept
    scores: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    measures: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


def read_columns(api: LangSmith, dataset_id: str, sessions: Sequence[dict], *, keep_inputs: bool) -> list[Columns]:
    """Read the runs of experiments, which may be many, keeping numbers only."""
    columns = {session["id"]: Columns(session["id"], session["name"]) for session in sessions}
    for example in wing.list_experiment_runs(api, dataset_id, list(columns)):
        by_session: defaultdict[str, list[dict]] = defaultdict(list)
        for run in example["runs"]:
            by_session[run["project_id"]].append(run)
        for session_id, runs in by_session.items():
            if column := columns.get(session_id):
                column.examples[example["id"]] = example.get("inputs") if keep_inputs else None
                column.runs += len(runs)
                add_means(column.scores, example["id"], [scores_of(run) for run in runs])
                add_means(column.measures, example["id"], [measures_of(run) for run in runs])
    for column in columns.values():
        for name in ("latency", "tokens", "cost"):  # nothing but zeros: not measured
            if not any(column.measures.get(name, {}).values()):
                column.measures.pop(name, None)
    return list(columns.values())


def add_means(into: dict[str, dict[str, float]], example_id: str, repetitions: Sequence[dict[str, float]]) -> None:
    for name in dict.fromkeys(name for numbers in repetitions for name in numbers):
        values = [numbers[name] for numbers in repetitions if name in numbers]
        into[name][example_id] = fmean(values) if len(values) > 1 else values[0]


def scores_of(run: dict) -> dict[str, float]:
    """The mean score of a run by feedback key; what was not scored is not there."""
    stats = run.get("feedback_stats") or {}
    return {key: float(of_key["avg"]) for key, of_key in stats.items() if of_key.get("avg") is not None}


MEASURES: dict[str, Callable[[dict], Any]] = {
    "latency": lambda run: None if is_error(run) else run.get("latency_seconds"),
    "tokens": lambda run: run.get("total_tokens"),
    "cost": lambda run: run.get("total_cost"),
    "error_rate": lambda run: is_error(run),
}  # of all, less is better; a failure's latency says nothing about the answers'


def is_error(run: dict) -> bool:
    return run.get("status") == "ERROR" or bool(run.get("error"))


def measures_of(run: dict) -> dict[str, float]:
    found = {name: measure(run) for name, measure in MEASURES.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def refuse_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name in MEASURES and name not in known:
            raise ValueError(f"{name!r} is no score: {', '.join(MEASURES)} are compared always, where they are known.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            offer = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}."
            raise ValueError(f"Unknown metric {name!r}: {offer}")


# ---------------------------------------------------------------- comparing


def beside(first: Columns, other: Columns, names: Sequence[str], lower: set[str]) -> Candidate:
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


def metric_of(
    name: str, baseline: Mapping[str, float], candidate: Mapping[str, float], *, lower: bool = False
) -> Metric:
    """Compare one metric, given by example, over the examples that have it on both sides."""
    both = [i for i in baseline if i in candidate]
    before, after = [baseline[i] for i in both], [candidate[i] for i in both]
    differences = [new - old for old, new in zip(before, after, strict=True)]
    up = sum(difference > paired.SAME for difference in differences)
    down = sum(difference < -paired.SAME for difference in differences)
    binary = paired.is_binary(before) and paired.is_binary(after)
    low, high = paired.bootstrap_interval(differences, binary=binary) or (None, None)
    p = paired.mcnemar(up, down) if binary else paired.sign_flip(differences)
    return Metric(
        name=name,
        kind="binary" if binary else "numeric",
        lower_is_better=lower,
        pairs=len(both),
        only_baseline=len(baseline) - len(both),
        only_candidate=len(candidate) - len(both),
        baseline_mean=mean(before),
        candidate_mean=mean(after),
        difference=mean(differences),
        low=low,
        high=high,
        test="exact McNemar" if binary else "sign-flip permutation",
        p_alone=p if both else None,
        improved=down if lower else up,
        regressed=up if lower else down,
        same=len(both) - up - down,
        smallest=paired.smallest_difference(differences, binary=binary),
        baseline_overall=mean(baseline.values()),
        candidate_overall=mean(candidate.values()),
    )


def mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


def give_verdicts(family: Sequence[Metric]) -> None:
    """Adjust the p of metrics for each other and say in words what follows."""
    tested = [metric for metric in family if metric.p_alone is not None]
    for metric, p in zip(tested, paired.holm([metric.p_alone or 0.0 for metric in tested]), strict=True):
        metric.p = p
        if paired.lowest_p(metric.pairs) * len(tested) > LEVEL:
            metric.verdict = TOO_FEW
        elif p >= LEVEL or not metric.difference:
            metric.verdict = NO_DIFFERENCE
        else:
            metric.verdict = WORSE if (metric.difference > 0) == metric.lower_is_better else BETTER


def flips_of(first: Columns, other: Columns, metrics: Sequence[Metric]) -> list[Flip]:
    """The examples whose scores changed: by metric, regressions first, the largest change first."""
    found: list[Flip] = []
    for metric in metrics:
        before, after = first.scores.get(metric.name, {}), other.scores.get(metric.name, {})
        sign = -1 if metric.lower_is_better else 1
        gains = {i: sign * (after[i] - before[i]) for i in before if i in after}
        regressed = sorted((i for i in gains if gains[i] < -paired.SAME), key=gains.__getitem__)
        improved = sorted((i for i in gains if gains[i] > paired.SAME), key=gains.__getitem__, reverse=True)
        for change, ids in (("regressed", regressed), ("improved", improved)):
            found += [Flip(metric.name, i, first.examples[i], before[i], after[i], change) for i in ids]
    return found


# ---------------------------------------------------------------- the gate


def check_limits(limits: Limits) -> None:
    for name, number in limits.max_regression.items():
        if number < 0:
            raise ValueError(f"max_regression of {name!r} is {number}, expected 0 or more.")
    if limits.require_pairs is not None and not 0 < limits.require_pairs <= 1:
        raise ValueError(f"require_pairs is {limits.require_pairs}, expected a share above 0, at most 1.")


def checks_of(candidate: Candidate, limits: Limits) -> Iterable[Check]:
    """Hold every limit against a candidate."""
    known = {metric.name: metric for metric in (*candidate.measures, *candidate.metrics)}
    for name, number in limits.fail_below.items():
        yield Check(candidate.name, f"fail_below {name}={number:g}", *check_mean(known.get(name), number, above=False))
    for name, number in limits.fail_above.items():
        yield Check(candidate.name, f"fail_above {name}={number:g}", *check_mean(known.get(name), number, above=True))
    for name, number in limits.max_regression.items():
        yield Check(candidate.name, f"max_regression {name}={number:g}", *check_regression(known.get(name), number))
    if limits.require_pairs is not None:
        shares = {"examples": (candidate.pairs, sum(map(len, candidate.unmatched.values())))}
        for name in limits.max_regression:
            if metric := known.get(name):
                shares[name] = (metric.pairs, metric.only_baseline + metric.only_candidate)
        for name, (pairs, unmatched) in shares.items():
            enough = pairs > 0 and pairs >= limits.require_pairs * (pairs + unmatched) - paired.SAME
            reason = f"{pairs:,} of {pairs + unmatched:,} {'examples' if name == 'examples' else name} form pairs"
            yield Check(candidate.name, f"require_pairs {limits.require_pairs:g}", PASSED if enough else FAILED, reason)


def check_mean(metric: Metric | None, number: float, *, above: bool) -> tuple[str, str]:
    """Hold the mean of all scored examples, paired or not, against a number."""
    if metric is None or metric.candidate_overall is None:
        return FAILED, "the candidate has no such score"
    value, scored = metric.candidate_overall, metric.pairs + metric.only_candidate
    misses = value > number + paired.SAME if above else value < number - paired.SAME
    side = ("above" if above else "below") if misses else ("not above" if above else "not below")
    return FAILED if misses else PASSED, f"the mean of {counted(scored, 'example')} is {value:.4g}, {side} {number:g}"


def check_regression(metric: Metric | None, number: float) -> tuple[str, str]:
    """Fail on a loss that is proven and larger than allowed; pass when the interval holds no larger loss."""
    if metric is None or metric.difference is None:
        return INCONCLUSIVE, "no example has this score on both sides"
    loss = metric.difference if metric.lower_is_better else -metric.difference
    worst = metric.high if metric.lower_is_better else None if metric.low is None else -metric.low
    change = f"{metric.difference:+.4g} over {counted(metric.pairs, 'pair')}"
    if metric.verdict == TOO_FEW or worst is None or metric.low is None or metric.high is None:
        return INCONCLUSIVE, f"{change}, too few to tell"
    change += f" (95 % interval {metric.low:+.4g} to {metric.high:+.4g})"
    if loss > number + paired.SAME and metric.verdict == WORSE:
        return FAILED, f"{change}, shown to be worse, by more than {number:g}"
    if worst <= number + paired.SAME:
        return PASSED, f"{change}, so no loss of more than {number:g}"
    return INCONCLUSIVE, f"{change}, so a loss of more than {number:g} is neither shown nor ruled out"
