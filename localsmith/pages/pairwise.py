"""A pairwise comparison: which experiment's answer a judge preferred, example by example."""

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from flask import render_template, request

from langsmith_rest.paired import SAME, Mean, Preferred, mean_of, preferred
from localsmith.pages.columns import Kept
from localsmith.pages.common import Order, find, order_of, page_of, reading, sorted_by
from localsmith.pages.dataset import Experiment, experiment_of
from localsmith.pages.examples import example_of
from localsmith.pages.render import natural

TIE = "tie"
# Such keys say the same of both answers: whether the verdict changed with their order (1 or 0), and the share of the
# verdicts that the answer shown first won.
RATE, FIRST = "_position_bias", "_shown_first"


@dataclass
class Judgement:
    """One judgement of one example: the scores of the runs, the comments, and the order of the answers."""

    key: str
    example: str | None
    scores: dict[str, float] = field(default_factory=dict)  # session -> score
    runs: dict[str, str] = field(default_factory=dict)  # session -> run
    comments: dict[str, str] = field(default_factory=dict)  # session -> comment; '' when all say the same
    facts: dict[str, Any] = field(default_factory=dict)  # what else the judge noted, the order shown among it
    failed: bool = False

    def shown_first(self, members: list[Experiment]) -> str | None:
        """The session whose answer was shown first, if that was recorded."""
        order = self.facts.get("order")
        first = order[0] if isinstance(order, list) and order else None
        return next((member.id for member in members if member.name == first), None)

    @property
    def is_rate(self) -> bool:
        return self.key.endswith((RATE, FIRST))

    @property
    def is_biased(self) -> bool:
        return self.key.endswith(RATE) and any(self.scores.values())

    @property
    def winner(self) -> str | None:
        """A session's id, 'tie', or None if fewer than two runs are scored, or none is preferred."""
        if len(self.scores) < 2 or self.is_rate:
            return None
        best = max(self.scores.values())
        first = [session for session, score in self.scores.items() if best - score < SAME]
        return first[0] if len(first) == 1 else TIE


@dataclass
class Tally:
    """How often each experiment was preferred on one metric; or, of a rate, its values. By example, repetitions of
    one are no further evidence."""

    key: str
    wins: dict[str, int]
    ties: int = 0
    undecided: int = 0
    verdicts: dict[str | None, list[str]] = field(default_factory=dict)  # example -> who won, ties included
    rates: dict[str | None, list[float]] = field(default_factory=dict)  # example -> values of a rate
    first_wins: dict[str | None, list[float]] = field(default_factory=dict)  # example -> 1: the first shown won
    firsts: set[str] = field(default_factory=set)  # who was shown first at least once

    @property
    def total(self) -> int:
        return sum(self.wins.values()) + self.ties

    def preferred(self, session: str) -> Preferred | None:
        """How often a session won against the others, by example."""
        return preferred(
            {
                example: [0 if winner == TIE else 1 if winner == session else -1 for winner in winners]
                for example, winners in self.verdicts.items()
            }
        )

    @property
    def p(self) -> float | None:
        """Of no preference; for two experiments."""
        found = self.preferred(next(iter(self.wins))) if len(self.wins) == 2 else None
        return found.p if found else None

    @property
    def is_first(self) -> bool:
        return self.key.endswith(FIRST)

    @property
    def rate(self) -> Mean | None:
        return _by_example(self.rates)

    @property
    def first(self) -> Mean | None:
        """The share of preferences for the answer shown first, where every answer was at least once."""
        return _by_example(self.first_wins) if len(self.firsts) == len(self.wins) else None


def _by_example(values: dict[str | None, list[float]]) -> Mean | None:
    return mean_of([sum(of) / len(of) for of in values.values()])


def show_pairwise(dataset_id: str, comparative_id: str) -> str:
    metric, winner = request.args.get("metric", ""), request.args.get("winner", "")
    with reading() as (db, kept):
        dataset = find(db, "datasets", dataset_id, "dataset")
        comparative = find(db, "comparative_experiments", comparative_id, "pairwise comparison")
        members = [
            experiment_of(row)
            for row in db.execute(
                "SELECT s.* FROM comparative_members m JOIN sessions s ON s.id = m.session_id"
                " WHERE comparative_experiment_id = ? ORDER BY m.position",
                (comparative["id"],),
            )
        ]
        judgements = kept.other(("judgements", comparative["id"]), lambda: _judgements(db, comparative["id"]))
        tallies = _tallies(judgements, members)
        shown = [
            judgement
            for judgement in judgements
            if metric in ("", judgement.key) and winner in ("", judgement.winner or ("none", RATE)[judgement.is_rate])
        ]
        order, shown = _sorted(shown, members)
        page = page_of(len(shown))
        rows = _rows(db, kept, shown[page.offset : page.end], members)
    return render_template(
        "pairwise.html",
        dataset=dataset,
        comparative=comparative,
        members=members,
        tallies=tallies,
        rows=rows,
        page=page,
        order=order,
        metric=metric,
        winner=winner,
        tie=TIE,
    )


def _sorted(judgements: list[Judgement], members: list[Experiment]) -> tuple[Order, list[Judgement]]:
    """The order that the address asks for, and in it the judgements, which are given in the order of the dataset."""
    names = {member.id: member.name for member in members}
    columns = {"example": False, "winner": False} | {f"score:{n}": True for n in range(1, len(members) + 1)}
    order = order_of(columns, "example", anchor="#judgements")
    if order.by == "example":
        return order, judgements[::-1] if order.descending else judgements
    if order.by == "winner":
        return order, sorted_by(
            judgements, lambda found: found.winner and names.get(found.winner, TIE), order.descending
        )
    member = members[int(order.by.removeprefix("score:")) - 1]
    return order, sorted_by(judgements, lambda found: found.scores.get(member.id), order.descending)


def _judgements(db: sqlite3.Connection, comparative_id: str) -> list[Judgement]:
    found: dict[tuple[str, str | None], Judgement] = {}
    rows = db.execute(
        "SELECT f.key, f.score, f.comment, f.error, f.feedback_group_id, f.run_id, f.received, r.session_id,"
        " r.reference_example_id AS example, e.position FROM feedback f JOIN runs r ON r.id = f.run_id"
        " LEFT JOIN examples e ON e.id = r.reference_example_id AND e.ended_at IS NULL"
        " WHERE f.comparative_experiment_id = ? ORDER BY e.position IS NULL, e.position, f.key, f.seq",
        (comparative_id,),
    )
    for row in rows:
        # Without a group, which not every client sends, all scores of one key on one example are one judgement.
        group = row["feedback_group_id"] or row["example"] or row["run_id"]
        judgement = found.setdefault((row["key"], group), Judgement(row["key"], row["example"]))
        session = row["session_id"]
        judgement.runs[session] = row["run_id"]
        judgement.failed = judgement.failed or bool(row["error"])
        if row["score"] is not None:
            judgement.scores[session] = row["score"]
        if row["comment"]:
            judgement.comments[session] = row["comment"]
        judgement.facts |= _facts(json.loads(row["received"]))
    for judgement in found.values():
        if len(judgement.comments) > 1 and len(set(judgement.comments.values())) == 1:
            judgement.comments = {"": next(iter(judgement.comments.values()))}
    return list(found.values())


def _facts(received: dict[str, Any]) -> dict[str, Any]:
    """The notes of a judge: `extra`, and its metadata without what clients add for themselves."""
    source = received.get("feedback_source") or {}
    notes = [received.get("extra"), source.get("metadata") if isinstance(source, dict) else None]
    return {
        key: value
        for note in notes
        if isinstance(note, dict)
        for key, value in note.items()
        if not key.startswith("__") and value is not None
    }


def _tallies(judgements: list[Judgement], members: list[Experiment]) -> list[Tally]:
    tallies: dict[str, Tally] = {}
    for judgement in judgements:
        tally = tallies.setdefault(judgement.key, Tally(judgement.key, {member.id: 0 for member in members}))
        winner = judgement.winner
        if judgement.is_rate and judgement.scores:
            tally.rates.setdefault(judgement.example, []).append(max(judgement.scores.values()))
        elif winner is None:
            tally.undecided += 1
        elif winner == TIE:
            tally.ties += 1
            tally.verdicts.setdefault(judgement.example, []).append(TIE)
        elif winner in tally.wins:
            tally.wins[winner] += 1
            tally.verdicts.setdefault(judgement.example, []).append(winner)
            if first := judgement.shown_first(members):
                tally.firsts.add(first)
                tally.first_wins.setdefault(judgement.example, []).append(float(first == winner))
    for key, tally in tallies.items():
        if f"{key}{FIRST}" in tallies:  # the judge chose the order itself, and says so there
            tally.first_wins.clear()
    return [tallies[key] for key in sorted(tallies, key=natural)]


def _rows(
    db: sqlite3.Connection, kept: Kept, judgements: list[Judgement], members: list[Experiment]
) -> list[dict[str, Any]]:
    runs = json.dumps([run for judgement in judgements for run in judgement.runs.values()])
    bodies = {
        row["id"]: row
        for row in db.execute(
            "SELECT r.id, b.outputs, b.error FROM runs r JOIN run_bodies b ON b.seq = r.seq"
            " WHERE r.id IN (SELECT value FROM json_each(?))",
            (runs,),
        )
    }
    examples = {
        row["id"]: example_of(row)
        for row in db.execute(
            "SELECT * FROM examples WHERE ended_at IS NULL AND id IN (SELECT value FROM json_each(?))",
            (json.dumps([judgement.example for judgement in judgements if judgement.example]),),
        )
    }
    rows = []
    for judgement in judgements:
        example = examples.get(judgement.example or "")
        sides = [_side(judgement, bodies.get(judgement.runs.get(member.id, "")), member.id) for member in members]
        inputs = example["inputs"] if example else None
        rows.append({"judgement": judgement, "example": example, "inputs": inputs, "sides": sides})
    return rows


def _side(judgement: Judgement, body: sqlite3.Row | None, session: str) -> dict[str, Any]:
    return {
        "session": session,
        "run": judgement.runs.get(session),
        "outputs": json.loads(body["outputs"]) if body and body["outputs"] else None,
        "error": body["error"] if body else None,
        "score": judgement.scores.get(session),
        "comment": judgement.comments.get(session),
        "preferred": judgement.winner == session,
    }
