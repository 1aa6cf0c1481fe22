"""A judge's numbers, corrected by a person's labels on some examples."""

from collections.abc import Mapping, Sequence

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.aligning.sampling import drawn
from langsmith_rest.evaluation.api import list_session_feedback
from langsmith_rest.evaluation.comparing.comparison import Correction
from langsmith_rest.evaluation.comparing.reading import ExperimentScores
from langsmith_rest.evaluation.queues_api import filled_queues
from langsmith_rest.paired import corrected_by, paired_differences

PREFIX = "human_"


def metrics_of(human: Sequence[str], known: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Which metric each key of a person's labels corrects, given as METRIC=KEY or KEY.

    A KEY alone corrects the metric that its name ends with (human_METRIC), else the only metric that is compared.
    """
    found: dict[str, str] = {}
    for text in human:
        metric, _, key = text.rpartition("=") if text not in known else ("", "", text)
        if key not in known:
            raise ValueError(f"Unknown feedback key {key!r}: no run has such labels.")
        if not metric and key.removeprefix(PREFIX) in known and key.startswith(PREFIX):
            metric = key.removeprefix(PREFIX)
        if not metric and len([name for name in wanted if name != key]) == 1:
            [metric] = [name for name in wanted if name != key]
        if metric not in known or metric == key:
            advice = f"write METRIC={key}, where METRIC is a feedback key"
            raise ValueError(f"{key!r} does not say which metric it corrects: {advice}.")
        found[metric] = key
    return found


def corrections(
    api: LangSmith, baseline: ExperimentScores, candidate: ExperimentScores, humans: Mapping[str, str]
) -> list[Correction]:
    """Both means and the difference, as a person would give them."""
    found = []
    for metric, human in humans.items():
        ids = (baseline.id, candidate.id)
        given = [item for i in ids for item in list_session_feedback(api, i, key=human, level="run")]
        labelled = {item["run_id"] for item in given if item["score"] is not None or item["value"] is not None}
        sides = [(side.means(metric), side.means(human)) for side in (baseline, candidate)]
        differences = [paired_differences(*both) for both in zip(*sides, strict=True)]
        ours, theirs, difference = (corrected_by(judge, person) for judge, person in (*sides, differences))
        found.append(Correction(metric, human, ours, theirs, difference, drawn(labelled, filled_queues(api, human))))
    return found
