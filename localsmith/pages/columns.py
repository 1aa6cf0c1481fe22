"""What the pages know of every run of an experiment, read without opening a single JSON body, and kept until
the store changes."""

import json
import sqlite3
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from localsmith.pages.intervals import Mean, mean_of, percentile

KEPT_RUNS = 600_000  # runs whose columns are kept in memory, roughly 300 bytes each
KEPT_OTHERS = 100


@dataclass(frozen=True)
class Columns:
    """One experiment by columns: the n-th item of each sequence belongs to its n-th root run, oldest first."""

    examples: Sequence[str | None]
    run_ids: Sequence[str]
    seqs: Sequence[int]
    statuses: Sequence[str]
    latencies: Sequence[int | None]  # microseconds; None or 0: not known
    tokens: Sequence[int]
    costs: Sequence[int]  # 1e-12 USD
    at: dict[str, list[int]]  # example -> its runs; several are repetitions
    scores: dict[str, dict[str, float]]  # metric -> example -> mean over repetitions; not scored is not there
    labels: dict[str, Counter[str]]  # metric -> values given without a score
    broken: Counter[str]  # metric -> how often its evaluator failed
    overall: list[tuple[str, float | None, Any, str | None]]  # feedback on the experiment as a whole

    def latency_of(self, example: str) -> float | None:
        return _average(self.latencies[i] for i in self.at.get(example, ()))

    def tokens_of(self, example: str) -> float | None:
        return _average(self.tokens[i] for i in self.at.get(example, ()))

    def cost_of(self, example: str) -> float | None:
        return _average(self.costs[i] for i in self.at.get(example, ()))

    def failed(self, example: str) -> bool:
        return any(self.statuses[i] == "error" for i in self.at.get(example, ()))


def _average(values: Any) -> float | None:
    known = [value for value in values if value]
    return sum(known) / len(known) if known else None


def load_columns(db: sqlite3.Connection, session_id: str) -> Columns:
    """Read the columns of one experiment."""
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: there may be 100,000 of them
    rows = cursor.execute(
        "SELECT reference_example_id, id, seq, status, latency, total_tokens, total_cost FROM runs"
        " WHERE session_id = ? AND is_root = 1 ORDER BY seq",
        (session_id,),
    ).fetchall()
    examples, run_ids, seqs, statuses, latencies, tokens, costs = zip(*rows, strict=True) if rows else ((),) * 7
    at: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        if example in at:
            at[example].append(index)
        elif example is not None:
            at[example] = [index]
    labels, broken = _unscored(cursor, session_id)
    return Columns(
        examples,
        run_ids,
        seqs,
        statuses,
        latencies,
        tokens,
        costs,
        at,
        _scores(cursor, session_id, dict(zip(run_ids, examples, strict=True)), len(at) < len(rows)),
        labels,
        broken,
        _overall(cursor, session_id),
    )


NOT_PAIRWISE = "comparative_experiment_id IS NULL"


def _scores(
    cursor: sqlite3.Cursor, session_id: str, example_of: dict[str, str | None], repeated: bool
) -> dict[str, dict[str, float]]:
    query = "SELECT key, run_id, score FROM feedback WHERE session_id = ? AND score IS NOT NULL"
    compared = cursor.execute("SELECT 1 FROM comparative_members WHERE session_id = ? LIMIT 1", (session_id,))
    if compared.fetchone():
        # Preferences of a pairwise comparison mean nothing outside of it. Asked for only here, since without
        # this condition an index alone answers the query.
        query += f" AND {NOT_PAIRWISE}"
    rows = cursor.execute(f"{query} ORDER BY key", (session_id,))
    found = {}
    for key, group in groupby(rows, key=itemgetter(0)):
        given = [(example_of.get(run_id), score) for _, run_id, score in group]
        scores = dict(given)
        if repeated or len(scores) < len(given):
            scores = _means(given)
        scores.pop(None, None)  # feedback on child runs, on the experiment, and on runs without an example
        if scores:
            found[key] = scores
    return found  # type: ignore[return-value]  # the one None is gone


def _means(given: list[tuple[str | None, float]]) -> dict[str | None, float]:
    by_example = defaultdict(list)
    for example, score in given:
        by_example[example].append(score)
    return {example: sum(scores) / len(scores) for example, scores in by_example.items()}


def _unscored(cursor: sqlite3.Cursor, session_id: str) -> tuple[dict[str, Counter[str]], Counter[str]]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    broken: Counter[str] = Counter()
    rows = cursor.execute(
        "SELECT key, value, error, count(*) FROM feedback"
        f" WHERE session_id = ? AND score IS NULL AND run_id IS NOT NULL AND {NOT_PAIRWISE} GROUP BY key, value, error",
        (session_id,),
    )
    for key, value, error, count in rows:
        if error:
            broken[key] += count
        elif value is not None:
            label = json.loads(value)
            labels[key][label if isinstance(label, str) else value] += count
    return dict(labels), broken


def _overall(cursor: sqlite3.Cursor, session_id: str) -> list[tuple[str, float | None, Any, str | None]]:
    rows = cursor.execute(
        "SELECT key, score, value, comment FROM feedback WHERE session_id = ? AND run_id IS NULL ORDER BY key, seq",
        (session_id,),
    )
    return [(key, score, json.loads(value) if value else None, comment) for key, score, value, comment in rows]


@dataclass(frozen=True)
class Summary:
    """What one line of a table says about an experiment."""

    runs: int
    examples: int
    strays: int  # root runs without an example
    errors: int
    pending: int
    p50: float | None
    p99: float | None
    tokens: int
    cost: int
    means: dict[str, Mean]
    labels: dict[str, Counter[str]]
    broken: Counter[str]
    overall: list[tuple[str, float | None, Any, str | None]]

    @property
    def repetitions(self) -> float:
        return (self.runs - self.strays) / self.examples if self.examples else 0


def summarize(columns: Columns) -> Summary:
    latencies = sorted(latency for latency in columns.latencies if latency)
    means = {key: mean_of(list(scores.values())) for key, scores in columns.scores.items()}
    return Summary(
        runs=len(columns.run_ids),
        examples=len(columns.at),
        strays=columns.examples.count(None),
        errors=columns.statuses.count("error"),
        pending=columns.statuses.count("pending"),
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        tokens=sum(columns.tokens),
        cost=sum(columns.costs),
        means={key: mean for key, mean in means.items() if mean},
        labels=columns.labels,
        broken=columns.broken,
        overall=columns.overall,
    )


class Kept:
    """Columns and summaries of one state of the store."""

    def __init__(self) -> None:
        self._columns: OrderedDict[str, Columns] = OrderedDict()
        self._summaries: dict[str, Summary] = {}
        self._others: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def columns(self, db: sqlite3.Connection, session_id: str) -> Columns:
        found = self._columns.get(session_id)
        if found is None:
            found = load_columns(db, session_id)
            with self._lock:
                self._columns[session_id] = found
                total = sum(len(columns.run_ids) for columns in self._columns.values())
                while total > KEPT_RUNS and len(self._columns) > 1:
                    _, dropped = self._columns.popitem(last=False)
                    total -= len(dropped.run_ids)
        return found

    def summary(self, db: sqlite3.Connection, session_id: str) -> Summary:
        if session_id not in self._summaries:
            self._summaries[session_id] = summarize(self.columns(db, session_id))
        return self._summaries[session_id]

    def other(self, key: Any, make: Callable[[], Any]) -> Any:
        """Anything else that follows from the store alone, under a key of the caller's."""
        found = self._others.get(key)
        if found is None:
            if len(self._others) > KEPT_OTHERS:
                self._others.clear()
            found = self._others[key] = make()
        return found


class Cache:
    """Hands out what is `Kept`, and drops it as soon as anyone, in any process, commits to the store."""

    def __init__(self, path: Path) -> None:
        # This connection never writes, so its data_version moves with every commit of any other.
        self._watch = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._version: int | None = None
        self._kept = Kept()

    def now(self) -> Kept:
        """What is kept of the store as it is. Call it before the read transaction begins: then what is put in
        can be newer than the state it stands for, which the next call notices, but never older."""
        with self._lock:
            version = self._watch.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._version, self._kept = version, Kept()
            return self._kept
