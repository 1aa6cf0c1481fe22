"""A report card for a judge: its labels held against a person's, run by run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.aligning.agreement import (
    Label,
    agreement,
    confusion,
    groups_of,
    is_scale,
    is_yes_or_no,
    kappa,
    labels_of,
    more_labels,
    sensitivity,
    specificity,
)
from langsmith_rest.evaluation.aligning.sampling import Drawn, drawn
from langsmith_rest.evaluation.api import find_dataset, find_experiment, offer
from langsmith_rest.evaluation.queues_api import filled_queues
from langsmith_rest.evaluation.runs_api import NUMBERS, has_failed, list_experiment_runs
from langsmith_rest.paired import Mean


@dataclass
class Labelled:
    """One run that both have labelled."""

    run_id: str
    example_id: str
    judge: Label
    human: Label
    groups: list[str]  # the splits, or the value of a metadata key, of its example
    url: str


@dataclass
class Group:
    name: str
    agreement: Mean | None
    kappa: float | None


@dataclass
class Agreement:
    """What a judge and a person make of the same runs of an experiment.

    `confusion` counts by the person's label (rows) and the judge's (columns), both in the order of `labels`; it is
    empty for more than 50 labels.
    """

    experiment: str
    judge: str
    human: str
    runs: int
    judged: int
    labelled: int
    both: int
    labels: list[Label]
    confusion: list[list[int]]
    agreement: Mean | None
    kappa: float | None
    weighted_kappa: float | None  # quadratic weights; of scales with three numbers or more
    sensitivity: Mean | None  # of scores of 0 and 1
    specificity: Mean | None
    precision: float
    more_labels: int  # to know the agreement to within `precision`
    drawn: Drawn  # whether the labels are a random sample
    groups: list[Group]
    disagreements: list[Labelled]


def agree(
    api: LangSmith,
    experiment: str,
    *,
    judge: str,
    human: str,
    by: str | None = None,
    precision: float = 0.05,
    dataset: str | None = None,
) -> Agreement:
    """Compare the scores of `judge` with those of `human`, two feedback keys, on an experiment's runs.

        found = agree(connect(), "after", judge="correct", human="human_correct")
        print(found.agreement.mean, found.kappa)

    `by` is a key of example metadata, or "split". Raises LookupError for an unknown experiment, ValueError for a key
    that no run has.
    """
    dataset_id = find_dataset(api, dataset)["id"] if dataset else None
    session = find_experiment(api, experiment, dataset_id)
    runs = [run for run in read_runs(api, session) if not has_failed(run)]
    known = sorted({key for run in runs for key in run.get("feedback_stats") or {}})
    for key in (judge, human):
        if key not in known:
            raise ValueError(
                f"No run of {session['name']!r} has feedback {key!r}{offer(key, known) or ': there is none.'}"
            )
    if judge == human:
        raise ValueError(f"Judge and person have the same key, {judge!r}: name two keys.")
    labelled = [found for run in runs if (found := labels_of_run(api, session, run, judge, human, by))]
    how = drawn([item.run_id for item in labelled], filled_queues(api, human))
    return report_card(session["name"], judge, human, runs, labelled, how, precision)


def report_card(
    experiment: str,
    judge: str,
    human: str,
    runs: Sequence[dict],
    labelled: Sequence[Labelled],
    how: Drawn,
    precision: float,
) -> Agreement:
    """The numbers of runs, of which some are labelled by both."""
    pairs = [(item.judge, item.human) for item in labelled]
    labels = labels_of(pairs)
    yes_or_no = is_yes_or_no(pairs)
    names = sorted({name for item in labelled for name in item.groups})
    members = {name: [(i.judge, i.human) for i in labelled if name in i.groups] for name in names}
    return Agreement(
        experiment,
        judge,
        human,
        runs=len(runs),
        judged=sum(label_of(run, judge) is not None for run in runs),
        labelled=sum(label_of(run, human) is not None for run in runs),
        both=len(pairs),
        labels=labels,
        confusion=confusion(pairs),
        agreement=agreement(pairs),
        kappa=kappa(pairs),
        weighted_kappa=kappa(pairs, power=2) if is_scale(pairs) else None,
        sensitivity=sensitivity(pairs) if yes_or_no else None,
        specificity=specificity(pairs) if yes_or_no else None,
        precision=precision,
        more_labels=more_labels(pairs, precision),
        drawn=how,
        groups=[Group(name, agreement(of), kappa(of)) for name, of in members.items()],
        disagreements=[item for item in labelled if item.judge != item.human],
    )


def read_runs(api: LangSmith, session: dict) -> Iterator[dict[str, Any]]:
    """The runs of an experiment, each with its example's metadata."""
    for example in list_experiment_runs(api, session["reference_dataset_id"], [session["id"]], NUMBERS):
        for run in example["runs"]:
            yield {**run, "example_id": example["id"], "example_metadata": example.get("metadata") or {}}


def label_of(run: dict, key: str) -> Label | None:
    """The score of a run, or its category where it has no score, or None."""
    stats = (run.get("feedback_stats") or {}).get(key) or {}
    if stats.get("avg") is not None:
        return float(stats["avg"])
    values = list(stats.get("values") or {})
    return values[0] if len(values) == 1 else None


def labels_of_run(api: LangSmith, session: dict, run: dict, judge: str, human: str, by: str | None) -> Labelled | None:
    ours, theirs = label_of(run, judge), label_of(run, human)
    if ours is None or theirs is None or isinstance(ours, str) != isinstance(theirs, str):
        return None
    url = f"{api.web}/o/{session['tenant_id']}/projects/p/{session['id']}/r/{run['id']}"
    return Labelled(run["id"], run["example_id"], ours, theirs, groups_of(run["example_metadata"], by), url)
