"""One dataset: its experiments with their numbers, and charts of their metrics."""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import render_template, request

from langsmith_rest.paired import SAME
from localsmith.hosted.queue import waiting
from localsmith.lists import like
from localsmith.pages.charts import Chart, chart, ranges
from localsmith.pages.columns import Kept, Summary
from localsmith.pages.common import Order, find, link, order_of, page_of, reading, sorted_by
from localsmith.pages.examples import examples_tab
from localsmith.pages.facets import (
    MAX_KEYS,
    Index,
    facets_of,
    index_of_experiments,
    parse_facets,
)
from localsmith.pages.render import natural, number

EXPERIMENTS_PER_PAGE = 25
EXPERIMENTS_PER_CHART = 20
MOST_DIVIDED = 100  # of more experiments, the numbers are not read to divide them
FEWEST_RANGED = 6  # fewer experiments are seen at once


@dataclass(frozen=True)
class Experiment:
    """A session that belongs to a dataset, as the pages show it."""

    id: str
    name: str
    number: int | None
    start_time: int
    end_time: int | None
    description: str | None
    metadata: dict[str, Any]
    dataset_id: str | None
    planned: int | None  # how many examples it will run, if its client said so

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """The metadata worth showing, as (key, what to show, all of it): what a person set, and the commit."""
        facts = [(key, *_short(value)) for key, value in self.metadata.items() if key not in HIDDEN]
        git = self.metadata.get("git")
        if isinstance(git, dict):
            commit, branch = str(git.get("commit") or ""), str(git.get("branch") or "")
            shown = " ".join(filter(None, [commit[:8], branch, "(dirty)" if git.get("dirty") else ""]))
            facts.append(("commit", shown, commit))
        return [fact for fact in facts if fact[1]]


HASH = re.compile("[0-9a-f]{20,}")
# What clients write about themselves.
HIDDEN = {"dataset_version", "dataset_splits", "num_repetitions", "__ls_runner", "git", "runtime"}


def _short(value: Any) -> tuple[str, str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    most = 12 if HASH.fullmatch(text) else 80
    return (text if len(text) <= most else text[: most - 1] + "…"), text[:2000]


def facts_beside(experiments: list[Experiment]) -> dict[str, list[tuple[str, str, str]]]:
    """The facts of each of these experiments by its id; those in which they differ come first."""
    shared = Counter((key, whole) for experiment in experiments for key, _, whole in experiment.facts)

    def is_shared(fact: tuple[str, str, str]) -> bool:
        return shared[fact[0], fact[2]] == len(experiments)

    return {experiment.id: sorted(experiment.facts, key=is_shared) for experiment in experiments}


def experiment_of(row: sqlite3.Row) -> Experiment:
    extra = json.loads(row["extra"]) if row["extra"] else {}
    metadata = extra.get("metadata") if isinstance(extra, dict) else None
    progress = extra.get("__progress") if isinstance(extra, dict) else None
    planned = progress.get("num_examples") if isinstance(progress, dict) else None
    return Experiment(
        row["id"],
        row["name"],
        row["test_run_number"],
        row["start_time"],
        row["end_time"],
        row["description"],
        metadata if isinstance(metadata, dict) else {},
        row["reference_dataset_id"],
        planned if type(planned) is int and planned > 0 else None,
    )


def name_of(db: sqlite3.Connection, dataset_id: str | None) -> str | None:
    row = db.execute("SELECT name FROM datasets WHERE id = ?", (dataset_id,)).fetchone()
    return row["name"] if row else None


RUNNING_SECONDS = 600  # after this time without a new run, an experiment is no longer called running


def progress_of(db: sqlite3.Connection, experiment: Experiment, summary: Summary) -> str | None:
    """The progress of a running experiment, as "16 of 40"; None if it has ended or was abandoned."""
    if experiment.end_time is not None:
        return None
    last, total = db.execute(
        "SELECT (SELECT max(start_time) FROM runs WHERE session_id = ?),"
        " (SELECT count(*) FROM examples WHERE dataset_id = ? AND ended_at IS NULL)",
        (experiment.id, experiment.dataset_id),
    ).fetchone()
    total = experiment.planned or total
    idle = time.time() * 1e6 - max(last or 0, experiment.start_time)
    is_running = idle < RUNNING_SECONDS * 1e6 and summary.examples < total
    return f"{summary.examples:,} of {total:,}" if is_running else None


def show_dataset(tenant: str, dataset_id: str) -> str:
    with reading() as (db, kept):
        dataset = find(db, "datasets", dataset_id, "dataset")
        counts = {
            "examples": db.execute(
                "SELECT count(*) FROM examples WHERE dataset_id = ? AND ended_at IS NULL", (dataset["id"],)
            ).fetchone()[0],
            "experiments": db.execute(
                "SELECT count(*) FROM sessions WHERE reference_dataset_id = ?", (dataset["id"],)
            ).fetchone()[0],
        }
        if request.args.get("tab") == "examples":
            return examples_tab(db, kept, dataset, counts)
        return _experiments_tab(db, kept, dataset, counts)


# Experiments in the order in which they were created, like their numbers. Their start times are no order: recorded
# results start in the same second, or earlier the longer they took.


def _experiments_tab(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, counts: dict[str, int]) -> str:
    query, chosen = request.args.get("q", "").strip(), parse_facets(request.args.getlist("facet"))
    index = _index_of_experiments(db, kept, dataset["id"])
    rows = _found(db, dataset["id"], query, [index.get(name, {}).get(value, set()) for name, value in chosen])
    newest = ",".join(row["id"] for row in rows[:2][::-1]) if len(rows) > 1 else ""
    order, rows = _sorted(db, kept, rows)
    page = page_of(len(rows), EXPERIMENTS_PER_PAGE)
    shown = rows[page.offset : page.end]
    experiments = [(experiment, kept.summary(db, experiment.id)) for experiment in map(experiment_of, shown)]
    created = {row["id"]: row["created_at"] for row in shown}
    oldest_first = sorted(reversed(experiments), key=lambda item: created[item[0].id])
    comparative = db.execute(
        "SELECT c.id, c.name, c.created_at, (SELECT group_concat(session_id) FROM comparative_members m"
        " WHERE m.comparative_experiment_id = c.id) AS members"
        " FROM comparative_experiments c WHERE reference_dataset_id = ? ORDER BY created_at DESC LIMIT 50",
        (dataset["id"],),
    ).fetchall()
    metrics = metric_names(summary for _, summary in experiments)
    return render_template(
        "dataset.html",
        waiting=waiting(db, [experiment.id for experiment, _ in experiments]),
        dataset=dataset,
        tab="experiments",
        counts=counts,
        page=page,
        experiments=experiments,
        facts=facts_beside([experiment for experiment, _ in experiments]),
        metrics=metrics,
        has={name: any(getattr(summary, name) for _, summary in experiments) for name in ("cost", "tokens", "p50")},
        progress={experiment.id: progress_of(db, experiment, summary) for experiment, summary in experiments},
        query=query,
        chosen=chosen,
        facets=facets_of(index, [row["id"] for row in rows], chosen),
        order=order,
        newest=newest,
        charts=_charts(dataset["id"], oldest_first, metrics),
        pairwise=comparative,
    )


def _found(db: sqlite3.Connection, dataset_id: str, query: str, having: list[set[str]]) -> list[sqlite3.Row]:
    """The experiments with this text in their name or metadata that are in all of these sets, newest first."""
    found = "SELECT * FROM sessions WHERE reference_dataset_id = :dataset"
    if query:
        found += " AND (name LIKE :text ESCAPE '\\' OR extra LIKE :text ESCAPE '\\')"
    if having:
        found += " AND id IN (SELECT value FROM json_each(:having))"
    both = json.dumps(list(set.intersection(*having)) if having else [])
    args = {"dataset": dataset_id, "text": like(query), "having": both}
    return db.execute(f"{found} ORDER BY created_at DESC, id", args).fetchall()


def _index_of_experiments(db: sqlite3.Connection, kept: Kept, dataset_id: str) -> Index:
    """What divides the experiments: metadata, whether runs failed, and, if there are several, ranges of their means."""
    index = index_of_experiments(db, dataset_id, HIDDEN)
    rows = db.execute("SELECT id FROM sessions WHERE reference_dataset_id = ?", (dataset_id,)).fetchall()
    if len(rows) > MOST_DIVIDED:
        return index
    summaries = {row["id"]: kept.summary(db, row["id"]) for row in rows}
    failed = {i for i, summary in summaries.items() if summary.errors}
    index["failed runs"] = {"none": summaries.keys() - failed, "some": failed}
    for metric in [name for name in metric_names(summaries.values()) if ":" not in name][:MAX_KEYS]:
        means = {i: mean.mean for i, summary in summaries.items() if (mean := summary.means.get(metric))}
        if len(means) >= FEWEST_RANGED and len(set(means.values())) > 1:
            index[f"mean of {metric}"] = {
                f"{number(low)} … {number(high)}": {i for i, mean in means.items() if low - SAME <= mean <= high + SAME}
                for low, high in ranges(means.values())
            }
    return index


COLUMNS = {"started": True, "name": False} | dict.fromkeys(("runs", "errors", "p50", "p99", "tokens", "cost"), True)


def _sorted(db: sqlite3.Connection, kept: Kept, rows: list[sqlite3.Row]) -> tuple[Order, list[sqlite3.Row]]:
    """The order that the address asks for, and in it the experiments, which are given newest first."""
    asked = request.args.get("sort", "")
    order = order_of(COLUMNS | ({asked: True} if asked.startswith("score:") else {}), "started")

    def value(row: sqlite3.Row) -> Any:
        if order.by == "name":
            return natural(row["name"].casefold())
        summary = kept.summary(db, row["id"])
        if order.by in COLUMNS:
            found = getattr(summary, order.by)
            return found if found or order.by in ("runs", "errors") else None  # no tokens: not known
        mean = summary.means.get(order.by.removeprefix("score:"))
        return mean.mean if mean else None

    if order.by == "started":
        return order, rows if order.descending else rows[::-1]
    return order, sorted_by(rows, value, order.descending)


def metric_names(summaries: Iterable[Summary]) -> list[str]:
    """Every metric with a score or a label, by name."""
    names = {name for summary in summaries for name in [*summary.means, *summary.labels, *summary.broken]}
    return sorted(names, key=natural)


def _charts(dataset_id: str, experiments: list[tuple[Experiment, Summary]], metrics: list[str]) -> list[Chart]:
    if len(experiments) < 2:
        return []
    shown = experiments[-EXPERIMENTS_PER_CHART:]
    charts: list[Chart | None] = []
    for metric in metrics[:8]:
        points = [
            (
                f"#{experiment.number}" if experiment.number else experiment.name[:8],
                experiment.name,
                summary.means.get(metric),
                link("show_comparison", dataset_id=dataset_id, selectedSessions=experiment.id),
            )
            for experiment, summary in shown
        ]
        charts.append(chart(metric, points))
    return [drawn for drawn in charts if drawn]
