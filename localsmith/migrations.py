"""The schema of a store, and the migrations of older stores."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")
AMOUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cost", "completion_cost", "total_cost")

# In two halves: sum() fails where the whole is beyond 64 bits.
SUMS = [f"sum({name} >> 31) * 2147483648 + sum({name} & 2147483647)" for name in AMOUNTS]
# NOT INDEXED: the planner would otherwise walk the whole index that has the order of the groups.
COUNT_RUNS = (  # those whose seq is larger than what it was
    "INSERT INTO run_totals SELECT session_id, count(*), count(end_time), sum(status = 'error'), max(start_time),"
    f" {', '.join(SUMS)}, 1 FROM runs NOT INDEXED WHERE seq > ? AND is_root = 1"
    " GROUP BY session_id"
    " ON CONFLICT (session_id) DO UPDATE SET last_start = max(last_start, excluded.last_start), "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in ("runs", "finished", "errors", *AMOUNTS, "changes"))
)
COUNT_FEEDBACK = (
    "INSERT INTO feedback_totals SELECT session_id, key, run_id IS NULL, count(*), count(score),"
    " count(score) - count(units), coalesce(sum(units), 0), count(value), 1"
    " FROM feedback NOT INDEXED WHERE seq > ? AND session_id IS NOT NULL AND comparative_experiment_id IS NULL"
    " AND (is_root = 1 OR run_id IS NULL) GROUP BY 1, 2, 3 ON CONFLICT (session_id, key, overall) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in "items scored inexact units valued changes".split())
)

Migration = Callable[[sqlite3.Connection], None]


def add_evaluator_jobs(db: sqlite3.Connection) -> None:
    for statement in schema():
        if "evaluator_jobs" in statement:
            db.execute(statement)


def count_attempts(db: sqlite3.Connection) -> None:
    rows = db.execute("SELECT rule_id, run_id, session_id, queued_at FROM evaluator_jobs").fetchall()
    db.execute("DROP TABLE evaluator_jobs")  # rather than altered, so that all files have the same schema
    add_evaluator_jobs(db)
    db.executemany("INSERT INTO evaluator_jobs (rule_id, run_id, session_id, queued_at) VALUES (?, ?, ?, ?)", rows)


def keep_totals(db: sqlite3.Connection) -> None:
    """Add the tables of totals and what they need, and fill them from the existing rows."""
    db.execute("ALTER TABLE feedback RENAME TO feedback_before")
    _make_as_written(db)
    columns = (
        "seq, id, run_id, trace_id, comparative_experiment_id, feedback_group_id, key, score, value, comment,"
        " correction, error, source_type, created_at, modified_at, received"
    )
    db.execute(
        f"INSERT INTO feedback ({columns}, session_id, is_root) SELECT {columns},"
        " coalesce((SELECT session_id FROM runs WHERE runs.id = run_id), session_id),"
        " (SELECT is_root FROM runs WHERE runs.id = run_id) FROM feedback_before ORDER BY seq"
    )
    db.execute("DROP TABLE feedback_before")
    db.execute(
        "INSERT INTO experiment_numbers SELECT reference_dataset_id, max(test_run_number) FROM sessions"
        " WHERE test_run_number IS NOT NULL GROUP BY reference_dataset_id"
    )
    db.execute(COUNT_RUNS, (0,))
    db.execute(COUNT_FEEDBACK, (0,))
    _note_early_usage(db)


def _note_early_usage(db: sqlite3.Connection) -> None:
    own = ", ".join(f"own_{name}" for name in AMOUNTS)
    children = db.execute(
        f"SELECT session_id, dotted_order, {own} FROM runs WHERE is_root = 0 AND (own_total_tokens OR own_total_cost)"
    ).fetchall()
    for session_id, dotted_order, *amounts in children:
        for part in dotted_order.split(".")[:-1]:
            if not db.execute("SELECT 1 FROM runs WHERE id = ?", (part[-36:],)).fetchone():
                add_early_usage(db, part[-36:], session_id, amounts)


def add_early_usage(db: sqlite3.Connection, run_id: str, session_id: str, amounts: list[int]) -> None:
    """Keep what a run adds to an ancestor that has not arrived yet."""
    db.execute(
        "INSERT INTO early_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id) DO UPDATE SET "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS),
        (run_id, session_id, *amounts),
    )


def _make_as_written(db: sqlite3.Connection) -> None:
    """Create what schema.sql has and the file lacks; indexes and triggers that differ are created again."""
    wanted = {statement.split()[2 + ("UNIQUE" in statement.split()[:2])]: statement for statement in schema()}
    there = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    for kind, name, table, sql in there:
        if kind in ("index", "trigger") and (table == "feedback_before" or f"{sql};" != wanted.get(name)):
            db.execute(f"DROP {kind} {name}")
    kept = {row["name"] for row in db.execute("SELECT name FROM sqlite_master")}
    for name, statement in wanted.items():
        if name not in kept:
            db.execute(statement)


# What older files need to become what schema.sql says, oldest first: (name, function). A new file gets
# schema.sql as it is and every name recorded; so a change goes into schema.sql and into this list.
MIGRATIONS: list[tuple[str, Migration]] = [
    ("0002 evaluator jobs", add_evaluator_jobs),
    ("0003 attempts of evaluator jobs", count_attempts),
    ("0004 totals kept with each write", keep_totals),
    ("0005 review queues", _make_as_written),
    ("0006 new rows counted many at a time", _make_as_written),
    ("0007 fewer indexes", _make_as_written),
    ("0008 pairs that people look at", _make_as_written),
]
FIRST = "0001 first schema"


def schema() -> list[str]:
    """The statements of schema.sql, each from its first word on; `executescript` would commit the transaction."""
    found, statement = [], ""
    for line in SCHEMA.read_text(encoding="utf-8").splitlines(keepends=True):
        if statement or not (line.isspace() or line.startswith("--")):
            statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement[: statement.rindex(";") + 1])
            statement = ""
    return found
