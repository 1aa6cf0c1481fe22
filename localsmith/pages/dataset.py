"""One dataset: its experiments with their numbers, charts of their metrics, and its examples."""

import json
import re
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import render_template, request

from langsmith_rest.paired import SAME
from localsmith.hosted.queue import waiting
from localsmith.lists import like
from localsmith.pages.attachments import attachments_of
from localsmith.pages.charts import Chart, chart, ranges
from localsmith.pages.columns import Kept, Summary
from localsmith.pages.common import Order, bounded, find, link, order_of, page_of, reading, sorted_by
from localsmith.pages.facets import (
    MAX_EXAMPLES,
    MAX_KEYS,
    Index,
    facets_of,
    index_of_examples,
    index_of_experiments,
    parse_facets,
)
from localsmith.pages.render import number
from localsmith.pages.retries import replaced

EXPERIMENTS_PER_PAGE = 25
EXPERIMENTS_PER_CHART = 20
SCORES_SHOWN = 10
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
            return _examples_tab(db, kept, dataset, counts)
        return _experiments_tab(db, kept, dataset, counts)


# Experiments in the order in which they were created, like their numbers. Their start times are no order: recorded
# results start in the same second, or earlier the longer they took.


def _experiments_tab(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, counts: dict[str, int]) -> str:
    query = request.args.get("q", "").strip()
    found = "FROM sessions WHERE reference_dataset_id = :dataset"
    if query:
        found += " AND (name LIKE :text ESCAPE '\\' OR extra LIKE :text ESCAPE '\\')"
    chosen = parse_facets(request.args.getlist("facet"))
    index = _index_of_experiments(db, kept, dataset["id"])
    if chosen:
        found += " AND id IN (SELECT value FROM json_each(:having))"
    having = [index.get(name, {}).get(value, set()) for name, value in chosen]
    both = json.dumps(list(set.intersection(*having)) if having else [])
    args = {"dataset": dataset["id"], "text": like(query), "having": both}
    rows = db.execute(f"SELECT * {found} ORDER BY created_at DESC, id", args).fetchall()
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
        metrics=metrics,
        has={name: any(getattr(summary, name) for _, summary in experiments) for name in ("cost", "tokens", "p50")},
        progress={experiment.id: progress_of(db, experiment, summary) for experiment, summary in experiments},
        query=query,
        chosen=chosen,
        facets=facets_of(index, [row["id"] for row in rows], chosen),
        order=order,
        charts=_charts(dataset["id"], oldest_first, metrics),
        pairwise=comparative,
    )


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
        if len(means) >= FEWEST_RANGED:
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
            return row["name"].casefold()
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
    """Every metric with a score or a label, in alphabetical order."""
    return sorted({name for summary in summaries for name in [*summary.means, *summary.labels, *summary.broken]})


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


# Examples


def _examples_tab(db: sqlite3.Connection, kept: Kept, dataset: sqlite3.Row, counts: dict[str, int]) -> str:
    query = request.args.get("q", "").strip()
    chosen = parse_facets(
        [*request.args.getlist("facet"), *(f"split:{name}" for name in request.args.getlist("split"))]
    )
    index = index_of_examples(db, kept, dataset["id"]) if counts["examples"] <= MAX_EXAMPLES else {}
    where, args = ["dataset_id = ?", "ended_at IS NULL"], [dataset["id"]]
    if query:
        where.append("(inputs LIKE ? ESCAPE '\\' OR outputs LIKE ? ESCAPE '\\')")
        args += [like(json_text(query))] * 2
    for name, value in chosen:
        if name == "split":
            where.append("EXISTS (SELECT 1 FROM json_each(metadata, '$.dataset_split') s WHERE s.value = ?)")
            args.append(value)
            continue
        where.append("id IN (SELECT value FROM json_each(?))")
        args.append(json.dumps(list(index.get(name, {}).get(value, ()))))
    condition = " AND ".join(where)
    total = db.execute(f"SELECT count(*) FROM examples WHERE {condition}", args).fetchone()[0]
    page = page_of(total)
    sort, down = request.args.get("sort", ""), request.args.get("dir") == "desc"
    order, by = _order(sort, down)
    rows = db.execute(
        f"SELECT id, position, {bounded('inputs')}, {bounded('outputs')}, metadata FROM examples WHERE {condition}"
        f" ORDER BY {order} LIMIT ? OFFSET ?",
        (*args, *by, page.size, page.offset),
    )
    examples = [example_of(row) for row in rows]
    history, graded = _history(db, [example["id"] for example in examples])
    listed = [row[0] for row in db.execute(f"SELECT id FROM examples WHERE {condition}", args)] if index else []
    return render_template(
        "dataset.html",
        dataset=dataset,
        tab="examples",
        counts=counts,
        page=page,
        examples=examples,
        history=history,
        graded=graded,
        facets=facets_of(index, listed, chosen),
        chosen=chosen,
        query=query,
        keys=sorted({key for scores in history.values() for key in scores}),
        sort=sort,
        descending=down,
    )


MEAN = (  # of an example's scores in all experiments
    "(SELECT avg(f.score) FROM runs r JOIN feedback f ON f.run_id = r.id WHERE r.reference_example_id = examples.id"
    " AND r.is_root = 1 AND f.key = ? AND f.comparative_experiment_id IS NULL)"
)


def _order(sort: str, down: bool) -> tuple[str, list[str]]:
    """The order of examples: that of the dataset, or `score:KEY`, its mean, where examples without one come last."""
    way = "DESC" if down else "ASC"
    if not sort.startswith("score:"):
        return f"position {way}, id", []
    key = sort.removeprefix("score:")
    return f"{MEAN} IS NULL, {MEAN} {way}, position, id", [key, key]


History = dict[str, dict[str, list[tuple[str, float]]]]


def _history(db: sqlite3.Connection, examples: list[str]) -> tuple[History, set[str]]:
    """Example -> metric -> its last scores as (experiment, score), oldest first, repetitions averaged; and the metrics
    of which some score is neither 0 nor 1."""
    found: History = {}
    graded: set[str] = set()
    rows = db.execute(
        "SELECT r.reference_example_id, f.key, s.name, avg(f.score), max(f.score NOT IN (0, 1)) FROM runs r"
        " JOIN sessions s ON s.id = r.session_id JOIN feedback f ON f.run_id = r.id"
        " WHERE r.reference_example_id IN (SELECT value FROM json_each(?)) AND r.is_root = 1"
        " AND f.score IS NOT NULL AND f.comparative_experiment_id IS NULL"
        " AND r.id NOT IN (SELECT value FROM json_each(?))"
        " GROUP BY r.reference_example_id, f.key, s.id ORDER BY s.created_at, s.id",
        (json.dumps(examples), json.dumps(list(replaced(db, "reference_example_id", examples)))),
    )
    for example, key, name, score, is_graded in rows:
        scores = found.setdefault(example, {}).setdefault(key, [])
        scores.append((name, score))
        del scores[:-SCORES_SHOWN]
        if is_graded:
            graded.add(key)
    return found, graded


def json_text(text: str) -> str:
    """Text as it appears inside stored JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def example_of(row: sqlite3.Row) -> dict[str, Any]:
    metadata = json.loads(row["metadata"])
    splits = metadata.pop("dataset_split", None) or []
    return {
        "id": row["id"],
        "position": row["position"],
        "inputs": json.loads(row["inputs"]),
        "outputs": json.loads(row["outputs"]) if row["outputs"] else None,
        "metadata": metadata,
        "splits": [str(split) for split in splits] if isinstance(splits, list) else [str(splits)],
    }


def show_example(tenant: str, dataset_id: str, example_id: str) -> str:
    """One example, and the runs of every experiment on it, oldest first."""
    with reading() as (db, _):
        dataset = find(db, "datasets", dataset_id, "dataset")
        row = db.execute(
            "SELECT * FROM examples WHERE id = ? AND dataset_id = ? ORDER BY version DESC LIMIT 1",
            (example_id.lower(), dataset["id"]),
        ).fetchone()
        if row is None:
            find(db, "examples", example_id, "example")
            row = db.execute(
                "SELECT * FROM examples WHERE id = ? ORDER BY version DESC", (example_id.lower(),)
            ).fetchone()
        history = db.execute(
            "SELECT r.id, r.session_id, r.start_time, r.latency, r.total_tokens, r.status, s.name AS experiment,"
            f" s.test_run_number AS number, {bounded('outputs')}, b.error FROM runs r"
            " JOIN sessions s ON s.id = r.session_id LEFT JOIN run_bodies b ON b.seq = r.seq"
            " WHERE r.reference_example_id = ? AND r.is_root = 1"
            " ORDER BY s.created_at, r.start_time, r.seq LIMIT 500",
            (row["id"],),
        ).fetchall()
        feedback = feedback_of(db, [run["id"] for run in history])
        order, history = _sorted_runs(history, feedback)
        gone = replaced(db, "reference_example_id", [row["id"]])
        attached = attachments_of(db, [row["id"]]).get(row["id"], [])
    return render_template(
        "example.html",
        dataset=dataset,
        example=example_of(row),
        deleted=row["ended_at"] is not None,
        attached=attached,
        history=[(run, json.loads(run["outputs"]) if run["outputs"] else None) for run in history],
        has={"latency": any(run["latency"] for run in history), "tokens": any(run["total_tokens"] for run in history)},
        feedback=feedback,
        order=order,
        keys=sorted({item["key"] for items in feedback.values() for item in items if item["score"] is not None}),
        replaced=gone,
    )


def _sorted_runs(runs: list[sqlite3.Row], feedback: dict[str, list[dict[str, Any]]]) -> tuple[Order, list[sqlite3.Row]]:
    """The order that the address asks for, and in it the runs of an example, which are given oldest first."""
    asked = request.args.get("sort", "")
    scores = {asked: True} if asked.startswith("score:") else {}
    order = order_of({"experiment": False, "latency": True, "tokens": True} | scores, "experiment", anchor="#results")

    def value(run: sqlite3.Row) -> float | None:
        if order.by not in scores:
            return run["latency" if order.by == "latency" else "total_tokens"] or None
        key = order.by.removeprefix("score:")
        given = [item["score"] for item in feedback.get(run["id"], []) if item["key"] == key]
        known = [score for score in given if score is not None]
        return sum(known) / len(known) if known else None

    if order.by == "experiment":
        return order, runs[::-1] if order.descending else runs
    return order, sorted_by(runs, value, order.descending)


def feedback_of(
    db: sqlite3.Connection, run_ids: list[str], *, pairwise: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """The feedback on each of these runs; pairwise preferences only if they are asked for."""
    found: dict[str, list[dict[str, Any]]] = {}
    rows = db.execute(
        "SELECT * FROM feedback WHERE run_id IN (SELECT value FROM json_each(?))"
        " AND (? OR comparative_experiment_id IS NULL) ORDER BY key, seq",
        (json.dumps(run_ids), pairwise),
    ).fetchall()
    graded = _graded(db, {row["session_id"] for row in rows}, {row["key"] for row in rows})
    for row in rows:
        found.setdefault(row["run_id"], []).append(_feedback_item(row, row["key"] in graded))
    return found


MOST_LOOKED_AT = 2000  # scores of one key in one experiment; with 100,000, looking at all takes 40 ms


def _graded(db: sqlite3.Connection, session_ids: set[str], keys: set[str]) -> set[str]:
    """Those of these keys whose scores in these experiments are not all 0 or 1, or have another scale: there, 1 does
    not mean yes."""
    rows = db.execute(
        "SELECT k.value FROM json_each(?) k WHERE EXISTS (SELECT 1 FROM json_each(?) s WHERE EXISTS ("
        "  SELECT 1 FROM (SELECT score FROM feedback WHERE session_id = s.value AND key = k.value LIMIT ?)"
        "  WHERE score NOT IN (0, 1)))"
        " OR EXISTS (SELECT 1 FROM feedback_configs WHERE feedback_key = k.value AND body ->> '$.type' = 'continuous'"
        "  AND (coalesce(body ->> '$.min', 0) <> 0 OR coalesce(body ->> '$.max', 1) <> 1))",
        (json.dumps(list(keys)), json.dumps(list(session_ids)), MOST_LOOKED_AT),
    )
    return {row[0] for row in rows}


def _feedback_item(row: sqlite3.Row, graded: bool) -> dict[str, Any]:
    """Feedback as the templates show it; `was` is the score before a person changed it."""
    first = json.loads(row["received"]).get("score") if row["source_type"] == "app" else None
    return {
        "was": first if first is not None and first != row["score"] else None,
        "id": row["id"],
        "key": row["key"],
        "score": row["score"],
        "is_graded": graded,
        "value": json.loads(row["value"]) if row["value"] is not None else None,
        "comment": row["comment"],
        "correction": json.loads(row["correction"]) if row["correction"] else None,
        "error": bool(row["error"]),
        "by": row["source_type"],
    }
