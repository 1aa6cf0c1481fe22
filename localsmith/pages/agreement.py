"""The report on a judge: how far its scores agree with people's, on the runs that both have scored."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import render_template, request

from langsmith_rest.evaluation.aligning.agreement import (
    SPLIT,
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
from localsmith.pages.common import Order, bounded, find, order_of, page_of, reading, sorted_by
from localsmith.pages.dataset import experiment_of, name_of
from localsmith.pages.labels import drawn_of
from localsmith.pages.render import natural
from localsmith.wire import loads_or_none

PRECISION = 0.05
MOST_GROUPS = 50  # a key with more is no group, but an id or a text


@dataclass(frozen=True)
class Agreement:
    """What the address asks of two scores: `both` are the runs that have them, `apart` those where they differ."""

    keys: dict[str, tuple[int, int]]
    judge: str
    human: str
    both: list[dict[str, Any]]
    choices: list[str]  # what can divide the runs into groups
    by: str
    group: str
    order: Order
    apart: list[dict[str, Any]]


def agreement_of(db: sqlite3.Connection, session_id: str) -> Agreement:
    """Two scores of an experiment; without a choice, one that people gave and one more."""
    keys = _keys(db, session_id)
    judge, human = _chosen(keys)
    both = _both(db, session_id, judge, human)
    choices = _group_keys(both)
    by, group = request.args.get("by", ""), request.args.get("group", "")
    by = by if by in choices else next(iter(choices), "")
    apart = [row for row in both if row["judge"] != row["human"]]
    if group:
        apart = [row for row in apart if group in groups_of(row["metadata"], by)]
    order = order_of({"run": False, "difference": True, "judge": True, "human": True}, "run", anchor="#apart")
    apart = sorted_by(apart, VALUES[order.by], order.descending)
    return Agreement(keys, judge, human, both, choices, by, group, order, apart)


def show_agreement(tenant: str, session_id: str) -> str:
    """Two scores of an experiment held against each other."""
    with reading() as (db, _):
        session = find(db, "sessions", session_id, "experiment or project")
        found = agreement_of(db, session["id"])
        page = page_of(len(found.apart))
        about = {
            "session": experiment_of(session),
            "dataset_name": name_of(db, session["reference_dataset_id"]),
            "drawn": drawn_of(db, [session["id"]], found.human),
            "apart": _with_texts(db, found.apart[page.offset : page.end]),
        }
    return render_template(
        "agreement.html",
        page=page,
        groups=_groups(found.both, found.by),
        **vars(found) | about,
        **_numbers([(row["judge"], row["human"]) for row in found.both]),
    )


def _with_texts(db: sqlite3.Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These runs with what they were asked and answered, to read what the two disagree about."""
    found = db.execute(
        f"SELECT r.id, {bounded('inputs')}, {bounded('outputs')} FROM runs r JOIN run_bodies b ON b.seq = r.seq"
        " WHERE r.id IN (SELECT value FROM json_each(?))",
        (json.dumps([row["run_id"] for row in rows]),),
    )
    texts = {run_id: (loads_or_none(inputs), loads_or_none(outputs)) for run_id, inputs, outputs in found}
    nothing = (None, None)
    return [{**row, "difference": _difference(row), "texts": texts.get(row["run_id"], nothing)} for row in rows]


def _difference(row: dict[str, Any]) -> float | None:
    """How much more the judge gave than the person; None for labels."""
    judge, human = row["judge"], row["human"]
    return None if isinstance(judge, str) or isinstance(human, str) else judge - human


def _size(difference: float | None) -> float | None:
    return None if difference is None else abs(difference)


VALUES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "run": lambda row: row["position"],
    "judge": lambda row: (isinstance(row["judge"], str), row["judge"]),  # numbers before labels
    "human": lambda row: (isinstance(row["human"], str), row["human"]),
    "difference": lambda row: _size(_difference(row)),
}


def _numbers(pairs: list[tuple[Label, Label]]) -> dict[str, Any]:
    labels = labels_of(pairs)
    yes_or_no = bool(pairs) and is_yes_or_no(pairs)
    return {
        "n": len(pairs),
        "labels": labels,
        "confusion": confusion(pairs),
        "agreement": agreement(pairs),
        "kappa": kappa(pairs),
        "weighted": kappa(pairs, power=2) if is_scale(pairs) else None,
        "sensitivity": sensitivity(pairs) if yes_or_no else None,
        "specificity": specificity(pairs) if yes_or_no else None,
        "more": more_labels(pairs, PRECISION),
        "precision": PRECISION,
    }


def _keys(db: sqlite3.Connection, session_id: str) -> dict[str, tuple[int, int]]:
    """The keys of an experiment's scores: how many of them people gave, and how many others."""
    rows = db.execute(
        "SELECT key, sum(source_type IS 'app'), sum(source_type IS NOT 'app') FROM feedback"
        " WHERE session_id = ? AND run_id IS NOT NULL"
        " AND comparative_experiment_id IS NULL AND coalesce(score, value) IS NOT NULL GROUP BY key",
        (session_id,),
    )
    found = {key: (by_hand, by_others) for key, by_hand, by_others in rows}
    return {key: found[key] for key in sorted(found, key=natural)}


def _chosen(keys: dict[str, tuple[int, int]]) -> tuple[str, str]:
    given = sorted((name for name, (by_hand, _) in keys.items() if by_hand), key=lambda name: -keys[name][0])
    named = [name for name in keys if name.startswith("human")]
    human = request.args.get("human") or next(iter([*given, *named]), "")
    others = [name for name in keys if name != human]
    others.sort(key=lambda name: (human != f"human_{name}", keys[name][1] == 0))
    return request.args.get("judge") or next(iter(others), ""), human


def _both(db: sqlite3.Connection, session_id: str, judge: str, human: str) -> list[dict[str, Any]]:
    """Every root run without an error that has both scores, the newest of each, in the order of the dataset."""
    rows = db.execute(
        "SELECT f.run_id, f.key, f.score, f.value, e.id AS example, e.position, e.metadata FROM feedback f"
        " JOIN runs r ON r.id = f.run_id AND r.is_root = 1 AND r.status <> 'error'"
        " LEFT JOIN examples e ON e.id = r.reference_example_id AND e.ended_at IS NULL"
        " WHERE f.session_id = ? AND f.key IN (?, ?) AND f.comparative_experiment_id IS NULL"
        " AND coalesce(f.score, f.value) IS NOT NULL ORDER BY e.position IS NULL, e.position, f.seq",
        (session_id, judge, human),
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        item = found.setdefault(row["run_id"], {**row, "metadata": loads_or_none(row["metadata"]) or {}})
        if row["key"] in (judge, human):
            item["judge" if row["key"] == judge else "human"] = _label(row)
    return [item for item in found.values() if "judge" in item and "human" in item]


def _label(row: sqlite3.Row) -> Label:
    if row["score"] is not None:
        return float(row["score"])
    value = json.loads(row["value"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _group_keys(both: list[dict[str, Any]]) -> list[str]:
    """What divides the examples into groups: their splits, and keys of metadata with a few values."""
    found: dict[str, set[str]] = {SPLIT: set()}
    for row in both:
        for key in row["metadata"]:
            name = SPLIT if key == "dataset_split" else key
            found.setdefault(name, set()).update(groups_of(row["metadata"], name))
    return [
        name for name in [SPLIT, *sorted(found.keys() - {SPLIT}, key=natural)] if 1 < len(found[name]) <= MOST_GROUPS
    ]


def _groups(both: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Agreement, kappa and how often both differ, for each group."""
    members: dict[str, list[tuple[Label, Label]]] = {}
    for row in both:
        for name in groups_of(row["metadata"], by):
            members.setdefault(name, []).append((row["judge"], row["human"]))
    return [
        {
            "name": name,
            "n": len(of),
            "agreement": agreement(of),
            "kappa": kappa(of),
            "apart": sum(judge != human for judge, human in of),
        }
        for name, of in sorted(members.items(), key=lambda item: natural(item[0]))
    ]
