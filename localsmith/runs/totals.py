"""Numbers over many runs: counts, latencies, tokens, cost, error rate."""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from localsmith.lists import Where
from localsmith.runs.checks import PICO, TOKENS
from localsmith.runs.feedback_stats import feedback_stats, session_feedback_stats
from localsmith.wire import dumps, iso

HALF = 2**31
# In two halves: sum() fails where the whole is beyond 64 bits.
SUM = f"sum(runs.{{0}} / {HALF}) AS {{0}}_high, sum(runs.{{0}} % {HALF}) AS {{0}}_low"
SUMS = ", ".join(map(SUM.format, TOKENS))
AGGREGATES = (
    "count(*) AS runs, count(runs.latency) AS finished, max(runs.start_time) AS last_start,"
    f" coalesce(sum(runs.status = 'error'), 0) AS errors, {SUMS}"
)

Percentiles = tuple[float | None, float | None]  # p50, p99


def dollars(picos: int | None) -> str | None:
    """A stored cost as v1 says it: a decimal text, or None where there is none."""
    return f"{Decimal(picos) / PICO:f}" if picos else None


def dollars_number(picos: int | None) -> float | None:
    """A stored cost as v2 and the statistics say it."""
    return picos / 1e12 if picos else None


def percentile(values: Sequence[int], share: float) -> float | None:
    """The value below which `share` of the sorted `values` lie, between neighbours in proportion: NumPy's default."""
    if not values:
        return None
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def seconds(micros: float | None) -> float | None:
    return None if micros is None else micros / 1_000_000


def session_stats(
    db: sqlite3.Connection, session_ids: list[str], since: int | None = None
) -> dict[str, dict[str, Any]]:
    """The statistics of each session over its root runs, with feedback; `since` leaves older runs out of the numbers.

    Every run counts, failed ones that were tried again too: whoever waits for runs to arrive counts them.
    """
    marks = "(SELECT value FROM json_each(?))"
    if since is None:
        rows = db.execute(f"SELECT * FROM run_totals WHERE session_id IN {marks}", (dumps(session_ids),)).fetchall()
    else:
        sql = (
            f"SELECT session_id, {AGGREGATES} FROM runs WHERE session_id IN {marks} AND is_root = 1 AND start_time >= ?"
            " GROUP BY session_id"
        )
        rows = db.execute(sql, (dumps(session_ids), since)).fetchall()
    found = {session_id: _numbers(None, (None, None)) for session_id in session_ids}
    for row in rows:
        found[row["session_id"]] = _numbers(row, _latencies(db, row["session_id"], row["finished"], since))
    for name, overall in (("feedback_stats", False), ("session_feedback_stats", True)):
        stats = session_feedback_stats(db, session_ids, overall=overall)
        for session_id in session_ids:
            found[session_id][name] = stats.get(session_id, {})
    return found


def _latencies(db: sqlite3.Connection, session_id: str, count: int, since: int | None) -> Percentiles:
    """p50 and p99 of a session's roots, found by walking the index instead of fetching every latency."""
    if not count:
        return None, None
    sql = (
        "SELECT latency FROM runs INDEXED BY roots_of_session WHERE session_id = ? AND is_root = 1"
        " AND latency IS NOT NULL AND start_time >= ? ORDER BY latency LIMIT 2 OFFSET ?"
    )
    found = []
    for share in (0.5, 0.99):
        place = share * (count - 1)
        start = -(2**63) if since is None else since
        near = [row[0] for row in db.execute(sql, (session_id, start, int(place)))]
        found.append(near[0] + (near[-1] - near[0]) * (place - int(place)))
    return found[0], found[1]


def _numbers(row: sqlite3.Row | None, latencies: Percentiles) -> dict[str, Any]:
    """TracerSession's numbers, from a row of run_totals or of AGGREGATES; costs are still picos."""
    runs = row["runs"] if row else 0
    return {
        "run_count": runs,
        "latency_p50": seconds(latencies[0]),
        "latency_p99": seconds(latencies[1]),
        "first_token_p50": None,
        "first_token_p99": None,
        **{name: _amount(row, name) if row and runs else 0 for name in TOKENS},
        "last_run_start_time": iso(row["last_start"]) if row and runs else None,
        "error_rate": row["errors"] / runs if row and runs else None,
        "streaming_rate": None,
        "feedback_stats": {},
        "session_feedback_stats": {},
    }


def _amount(row: sqlite3.Row, name: str) -> int:
    return int(row[name] if name in row.keys() else row[f"{name}_high"] * HALF + row[f"{name}_low"])


def run_stats(db: sqlite3.Connection, where: Where) -> dict[str, Any]:
    """RunStats of the runs that `where` picks from runs and run_bodies."""
    source = f"FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq {where}"
    row = db.execute(f"SELECT {AGGREGATES} {source}", where.params).fetchone()
    latencies = _sorted(db, "latency", where)
    found = _numbers(row, (percentile(latencies, 0.5), percentile(latencies, 0.99)))
    found.pop("session_feedback_stats")
    for name in TOKENS[3:]:
        found[name] = dollars_number(found[name])
    tokens = {name: _sorted(db, name, where) for name in TOKENS[:3]}
    found["median_tokens"] = _whole(percentile(tokens["total_tokens"], 0.5))
    found["tokens_p99"] = _whole(percentile(tokens["total_tokens"], 0.99))
    for name in TOKENS[:2]:
        found[f"{name}_p50"] = _whole(percentile(tokens[name], 0.5))
        found[f"{name}_p99"] = _whole(percentile(tokens[name], 0.99))
    costs = _sorted(db, "total_cost", where)
    found["cost_p50"] = dollars_number(_whole(percentile(costs, 0.5)))
    found["cost_p99"] = dollars_number(_whole(percentile(costs, 0.99)))
    runs = Where()
    runs.add(f"feedback.run_id IN (SELECT runs.id {source})", *where.params)
    found["feedback_stats"] = feedback_stats(db, "1", runs).get(1, {})
    found["run_facets"] = []
    return found


def _sorted(db: sqlite3.Connection, column: str, where: Where) -> list[int]:
    sql = (
        f"SELECT runs.{column} FROM runs JOIN run_bodies ON run_bodies.seq = runs.seq"
        f" {where.also(f'runs.{column} IS NOT NULL')} ORDER BY runs.{column}"
    )
    return [row[0] for row in db.execute(sql, where.params)]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
