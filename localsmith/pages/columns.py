"""What the pages know of every run of an experiment, read without opening a single JSON body, and kept until
the store changes."""

import gc
import json
import sqlite3
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from langsmith_rest.paired import Mean, mean_of
from localsmith.pages.render import natural
from localsmith.pages.retries import replaced
from localsmith.runs.totals import percentile
from localsmith.store import Store

KEPT_RUNS = 450_000  # runs whose columns are kept in memory, roughly 500 bytes each
KEPT_OTHERS = 400


SUCCESS, ERROR, PENDING = range(3)
Overall = tuple[str, float | None, Any, str | None]  # key, score, value, comment


@dataclass(frozen=True)
class Columns:
    """One experiment by columns: the n-th item of each sequence belongs to its n-th root run, in no order."""

    examples: Sequence[str | None]
    seqs: Sequence[int]
    statuses: Sequence[int]
    latencies: Sequence[int | None]  # microseconds; None or 0: not known
    tokens: Sequence[int]
    costs: Sequence[int]  # 1e-12 USD
    at: dict[str, int]  # example -> its run, or one of them
    repeats: dict[str, list[int]]  # examples that were run several times -> all their runs, oldest first
    scores: dict[str, dict[str, float]]  # metric -> example -> mean over repetitions; not scored is not there
    single: dict[str, dict[str, list[float]]]  # metric -> example -> scores of its runs, where several are scored
    labels: dict[str, Counter[str]]  # metric -> values given without a score
    broken: Counter[str]  # metric -> how often its evaluator failed
    overall: list[Overall]  # feedback on the experiment as a whole
    replaced: int  # failed runs that were tried again; they are in none of the above

    def runs_of(self, example: str) -> list[int]:
        if example in self.repeats:
            return self.repeats[example]
        return [self.at[example]] if example in self.at else []

    def latency_of(self, example: str) -> float | None:
        return _average(self.latencies[i] for i in self.runs_of(example))

    def tokens_of(self, example: str) -> float | None:
        return _average(self.tokens[i] for i in self.runs_of(example))

    def cost_of(self, example: str) -> float | None:
        return _average(self.costs[i] for i in self.runs_of(example))


def _average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value and value > 0]
    return sum(known) / len(known) if known else None


def load_columns(db: sqlite3.Connection, session_id: str) -> Columns:
    """Read the columns of one experiment."""
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples, turned into columns at once: there may be 100,000 of them
    rows = cursor.execute(
        "SELECT reference_example_id, id, seq, CASE status WHEN 'success' THEN 0 WHEN 'error' THEN 1 ELSE 2 END,"
        " latency, total_tokens, total_cost FROM runs WHERE session_id = ? AND is_root = 1",
        (session_id,),
    ).fetchall()
    # Only a second run of an example can take the place of a first.
    repeated = len({*map(itemgetter(0), rows)}) < len(rows)
    gone = replaced(db, "session_id", [session_id]) if repeated else set()
    if gone:
        rows = [row for row in rows if row[1] not in gone]
    examples, run_ids, seqs, *others = list(zip(*rows, strict=True)) or [()] * 7
    statuses, latencies, tokens, costs = others
    at = dict(zip(examples, range(len(rows)), strict=True))
    at.pop(None, None)
    found = _feedback(cursor, session_id, dict(zip(run_ids, examples, strict=True)), gone)
    repeats = _repeats(examples, seqs) if len(at) < len(rows) else {}
    return Columns(examples, seqs, statuses, latencies, tokens, costs, at, repeats, *found, len(gone))


def reload_columns(db: sqlite3.Connection, session_id: str, old: Columns, keys: set[str]) -> Columns:
    """The columns as they are now, when nothing but the feedback of these metrics is new."""
    cursor = db.cursor()
    cursor.row_factory = None
    sql = "SELECT id, reference_example_id FROM runs WHERE session_id = ? AND is_root = 1"
    example_of = dict(cursor.execute(sql, (session_id,)).fetchall())
    scores, single, labels, broken, overall = _feedback(cursor, session_id, example_of, set(), keys)

    def others(found: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in found.items() if key not in keys}

    return replace(
        old,
        scores=others(old.scores) | scores,
        single=others(old.single) | single,
        labels=others(old.labels) | labels,
        broken=Counter(others(old.broken) | broken),
        overall=sorted([item for item in old.overall if item[0] not in keys] + overall, key=itemgetter(0)),
    )


@dataclass(frozen=True)
class Stamp:
    """What tells whether the columns of an experiment are still those of the store; see `changes` in schema.sql."""

    runs: tuple[int, int | None]  # when the experiment was made, and the changes of its runs
    feedback: dict[str, int]  # metric -> changes of its feedback


def stamp_of(db: sqlite3.Connection, session_id: str) -> Stamp:
    runs = db.execute(
        "SELECT created_at, changes FROM sessions LEFT JOIN run_totals ON session_id = id WHERE id = ?", (session_id,)
    ).fetchone()
    feedback = "SELECT key, sum(changes) FROM feedback_totals WHERE session_id = ? GROUP BY key"
    return Stamp(tuple(runs), {key: changes for key, changes in db.execute(feedback, (session_id,))})


def _repeats(examples: Sequence[str | None], seqs: Sequence[int]) -> dict[str, list[int]]:
    repeated = _doubles(examples)
    found: dict[str, list[int]] = {example: [] for example in repeated}
    for index in sorted((i for i, example in enumerate(examples) if example in repeated), key=seqs.__getitem__):
        found[examples[index]].append(index)  # type: ignore[index]
    return found


def _doubles(examples: Iterable[str | None]) -> set[str]:
    counts = Counter(examples)
    counts.pop(None, None)
    return {example for example, times in counts.items() if times > 1 and example}


NOT_PAIRWISE = "comparative_experiment_id IS NULL"
# One step in the index for each key there is, where DISTINCT would read it from end to end.
KEYS = """
    WITH RECURSIVE keys (key) AS (
        SELECT min(key) FROM feedback WHERE session_id = ?1 UNION ALL
        SELECT (SELECT min(key) FROM feedback WHERE session_id = ?1 AND key > keys.key) FROM keys WHERE key IS NOT NULL
    ) SELECT key FROM keys WHERE key IS NOT NULL
"""


def _feedback(
    cursor: sqlite3.Cursor,
    session_id: str,
    example_of: dict[str, str | None],
    gone: set[str],
    keys: Iterable[str] | None = None,
) -> tuple[
    dict[str, dict[str, float]],
    dict[str, dict[str, list[float]]],
    dict[str, Counter[str]],
    Counter[str],
    list[Overall],
]:
    """Scores, single scores, labels, failures of evaluators, and feedback on the whole experiment; see `Columns`.

    Of all metrics, or of `keys`.
    """
    compared = cursor.execute("SELECT 1 FROM comparative_members WHERE session_id = ? LIMIT 1", (session_id,))
    # Preferences of a pairwise comparison mean nothing outside of it. They are only ruled out where there are
    # any, since without this condition an index alone answers the query.
    condition = f" AND {NOT_PAIRWISE}" if compared.fetchone() else ""
    scores, single, labels, broken, overall = {}, {}, {}, Counter[str](), []
    for key in sorted(keys) if keys is not None else [row[0] for row in cursor.execute(KEYS, (session_id,)).fetchall()]:
        rows = cursor.execute(
            f"SELECT run_id, score FROM feedback WHERE session_id = ? AND key = ?{condition}",
            (session_id, key),
        ).fetchall()
        if not rows:
            continue
        run_ids, given = zip(*rows, strict=True)
        if None in run_ids:
            overall += _overall(cursor, session_id, key)
        if None in given:
            labels[key], broken[key] = _unscored(cursor, session_id, key, gone)
            run_ids, given = zip(*[row for row in rows if row[1] is not None] or [(None, 0.0)], strict=True)
        if len(set(run_ids)) < len(run_ids):
            run_ids, given = _means_of_runs(run_ids, given)
        scores[key], single[key] = _means(list(map(example_of.get, run_ids)), given)
    return (
        {key: found for key, found in scores.items() if found},
        {key: found for key, found in single.items() if found},
        {key: found for key, found in labels.items() if found},
        broken,
        overall,
    )


def _means_of_runs(run_ids: Sequence[str], scores: Sequence[float]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """One score for each run: several of one key on a run, as of a judge and a person, are averaged."""
    several: dict[str, list[float]] = {}
    for run_id, score in zip(run_ids, scores, strict=True):
        several.setdefault(run_id, []).append(score)
    return tuple(several), tuple(sum(given) / len(given) for given in several.values())


def _means(examples: list[str | None], scores: Sequence[float]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Example -> score, the mean where there are several; and these. Feedback on child runs, on the experiment, and on
    runs without an example has no example here, and is left out."""
    found = dict(zip(examples, scores, strict=True))
    several: dict[str, list[float]] = {}
    if len(found) < len(examples):
        several = {example: [] for example in _doubles(examples)}
        for example, score in zip(examples, scores, strict=True):
            if example in several:
                several[example].append(score)
        found.update({example: sum(given) / len(given) for example, given in several.items()})
    found.pop(None, None)
    return found, several  # type: ignore[return-value]  # the one None is gone


def _unscored(cursor: sqlite3.Cursor, session_id: str, key: str, gone: set[str]) -> tuple[Counter[str], int]:
    labels: Counter[str] = Counter()
    broken = 0
    rows = cursor.execute(
        "SELECT value, error, count(*) FROM feedback WHERE session_id = ? AND key = ? AND score IS NULL"
        f" AND run_id IS NOT NULL AND {NOT_PAIRWISE} AND run_id NOT IN (SELECT value FROM json_each(?))"
        " GROUP BY value, error",
        (session_id, key, json.dumps(list(gone))),
    )
    for value, error, count in rows:
        if error:
            broken += count
        elif value is not None:
            label = json.loads(value)
            labels[label if isinstance(label, str) else value] += count
    return labels, broken


def _overall(cursor: sqlite3.Cursor, session_id: str, key: str) -> list[Overall]:
    rows = cursor.execute(
        "SELECT key, score, value, comment FROM feedback WHERE session_id = ? AND key = ? AND run_id IS NULL"
        " ORDER BY seq",
        (session_id, key),
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
    replaced: int  # failed runs that were tried again, counted nowhere else
    p50: float | None
    p99: float | None
    tokens: int
    cost: int
    means: dict[str, Mean]
    labels: dict[str, Counter[str]]
    broken: Counter[str]
    overall: list[Overall]

    @property
    def repetitions(self) -> float:
        return (self.runs - self.strays) / self.examples if self.examples else 0


def summarize(columns: Columns) -> Summary:
    latencies = sorted(latency for latency in columns.latencies if latency and latency > 0)
    means = {key: mean_of(list(scores.values())) for key, scores in columns.scores.items()}
    return Summary(
        runs=len(columns.seqs),
        examples=len(columns.at),
        strays=columns.examples.count(None),
        errors=columns.statuses.count(ERROR),
        pending=columns.statuses.count(PENDING),
        replaced=columns.replaced,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        tokens=sum(columns.tokens),
        cost=sum(columns.costs),
        means={key: mean for key, mean in means.items() if mean},
        labels=columns.labels,
        broken=columns.broken,
        overall=sorted(columns.overall, key=lambda item: natural(item[0])),
    )


@contextmanager
def _collector_resting() -> Iterator[None]:
    """Keep Python's collector of cycles from running: it would look again and again at the tens of thousands of
    rows that are just being read, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Lasting:
    """What was made of earlier states of the store, with what tells whether it is true of a later one."""

    def __init__(self) -> None:
        self.columns: OrderedDict[str, tuple[Stamp, Columns]] = OrderedDict()
        self.others: dict[Any, tuple[tuple[Any, ...], Any]] = {}
        self.lock = threading.Lock()

    def keep(self, session_id: str, stamp: Stamp, columns: Columns) -> None:
        with self.lock:
            self.columns[session_id] = stamp, columns
            self.columns.move_to_end(session_id)
            total = sum(len(columns.seqs) for _, columns in self.columns.values())
            while total > KEPT_RUNS and len(self.columns) > 1:
                _, (_, dropped) = self.columns.popitem(last=False)
                total -= len(dropped.seqs)


class Kept:
    """Columns and summaries of one state of the store; what did not change since an earlier one is not made again."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting = lasting
        self._columns: dict[str, Columns] = {}
        self._others: dict[Any, Any] = {}

    def columns(self, db: sqlite3.Connection, session_id: str) -> Columns:
        found = self._columns.get(session_id)
        if found is None:
            if sum(len(columns.seqs) for columns in self._columns.values()) > KEPT_RUNS:
                self._columns.clear()
            found = self._columns[session_id] = self._load(db, session_id)
        return found

    def _load(self, db: sqlite3.Connection, session_id: str) -> Columns:
        stamp = stamp_of(db, session_id)
        old_stamp, old = self._lasting.columns.get(session_id, (None, None))
        if old and stamp == old_stamp:
            return old
        with _collector_resting():
            if old and old_stamp and stamp.runs == old_stamp.runs and not old.replaced:
                changed = {key for key, _ in stamp.feedback.items() ^ old_stamp.feedback.items()}
                found = reload_columns(db, session_id, old, changed)
            else:
                found = load_columns(db, session_id)
        self._lasting.keep(session_id, stamp, found)
        return found

    def summary(self, db: sqlite3.Connection, session_id: str) -> Summary:
        columns = self.columns(db, session_id)
        found: Summary = self.other(("summary", session_id), lambda: summarize(columns), of=(columns,))
        return found

    def other(self, key: Any, make: Callable[[], Any], of: tuple[Any, ...] | None = None) -> Any:
        """Anything else that follows from the store, under a key of the caller's; from `of` alone where that is given,
        so that it lasts as long as these very objects, or numbers, do."""
        if key in self._others:
            return self._others[key]
        if len(self._others) > KEPT_OTHERS:
            self._others.clear()
        made_of, found = self._lasting.others.get(key, (None, None))
        if of is None or made_of is None or not all(map(_is_same, of, made_of)):
            found = make()
        if of is not None:
            if len(self._lasting.others) > KEPT_OTHERS:
                self._lasting.others.clear()
            self._lasting.others[key] = of, found
        self._others[key] = found
        return found


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, int) and one == other)


class Cache:
    """Hands out what is `Kept`, and begins anew as soon as anyone, in any process, commits to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._version: int | None = None
        self._lasting = Lasting()
        self._kept = Kept(self._lasting)

    def now(self) -> Kept:
        """What is kept of the store as it is. Call it before the read transaction begins: then what is put in
        can be newer than the state it stands for, which the next call notices, but never older."""
        with self._lock:
            version = self._store.version()
            if version != self._version:
                self._version, self._kept = version, Kept(self._lasting)
            return self._kept
