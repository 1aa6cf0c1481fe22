"""Filling a review queue with the answers of an experiment that tell the most, or with a random sample."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.aligning.ranking import NEEDED, Answers, Criteria, choose, scores_of
from langsmith_rest.evaluation.aligning.report import label_of
from langsmith_rest.evaluation.aligning.sampling import FILTERED, RANDOM
from langsmith_rest.evaluation.api import find_dataset, find_experiment, offer
from langsmith_rest.evaluation.comparing.correcting import PREFIX
from langsmith_rest.evaluation.queues_api import add_to_queue, create_config, find_config, get_or_create_queue
from langsmith_rest.evaluation.runs_api import NUMBERS, has_failed, list_experiment_runs
from langsmith_rest.recording import bodies

YES_OR_NO = {"type": "categorical", "categories": [{"value": 0, "label": "no"}, {"value": 1, "label": "yes"}]}


@dataclass
class Filled:
    """A review queue, and what was put into it."""

    queue_id: str
    name: str
    human: str  # the feedback key that people's scores get
    chosen: int  # answers that were chosen
    added: int  # of these, how many were not in the queue before
    url: str
    has_ended: bool = True  # whether the experiment has; else a random sample lacks what is recorded later


def fill_queue(
    api: LangSmith,
    experiment: str,
    *,
    by: str = RANDOM,
    sample: int | None = None,
    seed: int = 0,
    judges: Sequence[str] = (),
    human: str | None = None,
    baseline: str | None = None,
    lower_is_better: Sequence[str] = (),
    scale: dict[str, Any] | None = None,
    question: str | None = None,
    dataset: str | None = None,
) -> Filled:
    """Choose answers of an experiment and put them into a review queue, where people score them.

        filled = fill_queue(connect(), "after", by="uncertain", judges=["correct"], sample=50)

    `by` is random, disagreement, uncertain or regressed (than `baseline`). `sample` counts examples. The same call
    again finds the same queue and adds nothing twice; a larger `sample` adds to it. `scale` is a feedback config of
    `human`, the key of people's scores. Raises LookupError for an unknown experiment, ValueError for keys that do not
    fit.
    """
    dataset_id = find_dataset(api, dataset)["id"] if dataset else None
    session = find_experiment(api, experiment, dataset_id)
    before = find_experiment(api, baseline, session["reference_dataset_id"]) if baseline else None
    answers = read_answers(api, session, before)
    runs = [run for of in answers for run in of.runs]
    keys = keys_of(runs, by, judges, human, session["name"])
    chosen = choose(answers, by, Criteria(keys.compared, frozenset(lower_is_better)), sample, seed)
    identity = [session["id"], by, *keys.compared, keys.human, before["id"] if before else "", str(seed)]
    identity += sorted(lower_is_better)
    queue_id = bodies.uuid5("review-" + "-".join(identity))
    name = f"{keys.human} of {session['name']} ({by}{f', seed {seed}' if seed else ''})"
    url = f"{api.web}/o/{session['tenant_id']}/annotation-queues/{queue_id}"
    filled = Filled(queue_id, name, keys.human, len(chosen), 0, url, session.get("end_time") is not None)
    if chosen:
        set_scale(api, runs, keys, scale)
        facts = {"sampling": RANDOM if by == RANDOM else FILTERED, "by": by, "seed": seed, "feedback_key": keys.human}
        open_queue(api, {"id": queue_id, "name": name, "metadata": facts}, keys.human, question)
        filled.added = add_to_queue(api, queue_id, chosen)
    return filled


def open_queue(api: LangSmith, body: dict[str, Any], key: str, question: str | None) -> None:
    """Create a queue that asks for `key`, unless it exists; raises ValueError if it asks another question."""
    rubric = [{"feedback_key": key, "description": question or "Is the answer right?"}]
    queue = get_or_create_queue(api, {**body, "rubric_items": rubric})
    asked = [item.get("description") for item in queue.get("rubric_items") or []]
    if question and asked and question not in asked:
        raise ValueError(f"{body['name']!r} already asks {asked}: drop --question, or use another --human or --seed.")


def read_answers(api: LangSmith, session: dict, before: dict | None) -> list[Answers]:
    """The answers of an experiment by example, with the scores that another experiment has for the same."""
    ids = [session["id"], *([before["id"]] if before else [])]
    found = []
    for example in list_experiment_runs(api, session["reference_dataset_id"], ids, (*NUMBERS, "START_TIME")):
        runs = [run for run in example["runs"] if not has_failed(run)]
        ours = [run for run in runs if run["project_id"] == session["id"]]
        theirs = [run for run in runs if run["project_id"] != session["id"]]
        if ours:
            keys = {key for run in theirs for key in run.get("feedback_stats") or {}}
            found.append(Answers(example["id"], ours, scores_of(theirs, keys)))
    return found


@dataclass
class Keys:
    """Feedback keys: of people's scores, of the judges, and those that are compared to choose answers."""

    human: str
    judges: list[str]
    compared: list[str]


def keys_of(runs: Sequence[dict], by: str, judges: Sequence[str], human: str | None, experiment: str) -> Keys:
    """Which keys are meant; raises ValueError when that is not clear."""
    known = sorted({key for run in runs for key in run.get("feedback_stats") or {}})
    for key in judges:
        if key not in known:
            raise ValueError(f"No run of {experiment!r} has feedback {key!r}{offer(key, known) or ': there is none.'}")
    if human in judges:
        raise ValueError(
            f"People's scores need a key of their own: {human!r} is the judge's. Change --human, or drop it."
        )
    machine = [key for key in known if key != human and not key.startswith(PREFIX)]
    named = list(judges) or (machine if len(machine) == 1 else [])
    human = human or (f"{PREFIX}{named[0]}" if len(named) == 1 else "human")
    compared = named
    if by == "disagreement":
        compared = [*named, *([human] if human in known else [])] or (known if len(known) == 2 else [])
    if len(compared) < NEEDED[by]:
        pairs = "two scores of the same runs: name them with --judge KEY --judge KEY, or --judge KEY --human KEY"
        what = pairs if NEEDED[by] == 2 else "a score: name it with --judge KEY"
        there = f"has {', '.join(known)}" if known else "has no scores yet"
        raise ValueError(f"--by {by} needs {what}. {experiment!r} {there}.")
    return Keys(human, named, compared if NEEDED[by] else [])


def set_scale(api: LangSmith, runs: Sequence[dict], keys: Keys, wanted: dict[str, Any] | None) -> None:
    """Store how people score, unless that is known; raises ValueError when something else is wanted."""
    known = find_config(api, keys.human)
    if known is None:
        create_config(api, keys.human, wanted or scale_of(api, runs, keys.judges))
    elif wanted and known != wanted:
        raise ValueError(
            f"{keys.human} already has another scale ({json.dumps(known)}): drop --scale, or use another --human."
        )


def scale_of(api: LangSmith, runs: Sequence[dict], keys: Sequence[str]) -> dict[str, Any]:
    """The scale of a judge for people: what is stored about it, else yes or no if that is all it says."""
    for key in keys:
        if config := find_config(api, key):
            return config
    labels = {label for run in runs for key in keys if (label := label_of(run, key)) is not None}
    if labels <= {0.0, 1.0}:
        return YES_OR_NO
    shown = ", ".join(str(label) for label in sorted(labels, key=str)[:4])
    raise ValueError(f"{keys[0]} has scores other than 0 and 1 ({shown}): add --scale, such as 1-5.")
