"""The report card of a judge: how far its scores agree with those of people, on the runs that both have scored."""

import json
import sqlite3
from typing import Any

from flask import render_template, request

from langsmith_rest.evaluation.aligning.agreement import (
    Label,
    agreement,
    confusion,
    is_yes_or_no,
    kappa,
    labels_of,
    more_labels,
    sensitivity,
    specificity,
)
from localsmith.pages.common import find, page_of, reading
from localsmith.pages.dataset import experiment_of, name_of

PRECISION = 0.05


def show_agreement(tenant: str, session_id: str) -> str:
    """Two scores of an experiment held against each other; without a choice, one that people gave and one more."""
    with reading() as (db, _):
        session = find(db, "sessions", session_id, "experiment or project")
        keys = _keys(db, session["id"])
        judge, human = _chosen(keys)
        both = _both(db, session["id"], judge, human)
        pairs = [(row["judge"], row["human"]) for row in both]
        dataset_name = name_of(db, session["reference_dataset_id"])
    labels = labels_of(pairs)
    apart = [row for row in both if row["judge"] != row["human"]]
    page = page_of(len(apart))
    yes_or_no = bool(pairs) and is_yes_or_no(pairs)
    is_scale = len(labels) > 2 and not any(isinstance(label, str) for label in labels)
    return render_template(
        "agreement.html",
        session=experiment_of(session),
        dataset_name=dataset_name,
        keys=keys,
        judge=judge,
        human=human,
        n=len(pairs),
        labels=labels,
        confusion=confusion(pairs),
        agreement=agreement(pairs),
        kappa=kappa(pairs),
        weighted=kappa(pairs, power=2) if is_scale else None,
        sensitivity=sensitivity(pairs) if yes_or_no else None,
        specificity=specificity(pairs) if yes_or_no else None,
        more=more_labels(pairs, PRECISION),
        precision=PRECISION,
        groups=_groups(both),
        apart=apart[page.offset : page.end],
        page=page,
    )


def _keys(db: sqlite3.Connection, session_id: str) -> dict[str, bool]:
    """The keys of an experiment's scores; True: people gave some."""
    rows = db.execute(
        "SELECT key, max(source_type IS 'app') FROM feedback WHERE session_id = ? AND run_id IS NOT NULL"
        " AND comparative_experiment_id IS NULL AND coalesce(score, value) IS NOT NULL GROUP BY key ORDER BY key",
        (session_id,),
    )
    return {key: bool(by_hand) for key, by_hand in rows}


def _chosen(keys: dict[str, bool]) -> tuple[str, str]:
    given = [name for name, by_hand in keys.items() if by_hand]
    human = request.args.get("human") or next(iter(given), "")
    judge = request.args.get("judge") or next((name for name in keys if name != human), "")
    return judge, human


def _both(db: sqlite3.Connection, session_id: str, judge: str, human: str) -> list[dict[str, Any]]:
    """Every root run that has both scores, the newest of each, in the order of the dataset."""
    rows = db.execute(
        "SELECT f.run_id, f.key, f.score, f.value, e.id AS example, e.position, e.metadata FROM feedback f"
        " JOIN runs r ON r.id = f.run_id AND r.is_root = 1"
        " LEFT JOIN examples e ON e.id = r.reference_example_id AND e.ended_at IS NULL"
        " WHERE f.session_id = ? AND f.key IN (?, ?) AND f.comparative_experiment_id IS NULL"
        " AND coalesce(f.score, f.value) IS NOT NULL ORDER BY e.position IS NULL, e.position, f.seq",
        (session_id, judge, human),
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        item = found.setdefault(row["run_id"], dict(row))
        if row["key"] in (judge, human):
            item["judge" if row["key"] == judge else "human"] = _label(row)
    return [item for item in found.values() if "judge" in item and "human" in item]


def _label(row: sqlite3.Row) -> Label:
    if row["score"] is not None:
        return float(row["score"])
    value = json.loads(row["value"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _groups(both: list[dict[str, Any]]) -> list[tuple[str, int, Any, float | None]]:
    """Agreement and kappa by split: (split, runs, agreement, kappa)."""
    members: dict[str, list[tuple[Label, Label]]] = {}
    for row in both:
        splits = json.loads(row["metadata"]).get("dataset_split") if row["metadata"] else None
        for split in splits if isinstance(splits, list) else []:
            members.setdefault(str(split), []).append((row["judge"], row["human"]))
    return [(name, len(of), agreement(of), kappa(of)) for name, of in sorted(members.items()) if len(members) > 1]
