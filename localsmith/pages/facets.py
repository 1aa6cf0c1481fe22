"""Facets: what examples or experiments have in common, as values to choose from, each with its count."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from localsmith.pages.columns import Kept, stamp_of
from localsmith.pages.render import natural

MAX_EXAMPLES = 30_000  # with more, reading their metadata would take longer than the page
MAX_VALUES = 12  # a key with more values is an id or a text rather than a facet
MAX_KEYS = 8
MAX_SPLITS = 100

Index = dict[str, dict[str, set[str]]]  # kind -> value -> the ids that have it


@dataclass(frozen=True)
class Facet:
    name: str
    values: list[tuple[str, int, int, bool]]  # value, how many of those listed have it, and of all, and if it is chosen


def index_of_examples(db: sqlite3.Connection, kept: Kept, dataset_id: str) -> Index:
    """Splits and metadata of a dataset's examples."""
    # Moves with every change of an example.
    modified = db.execute("SELECT modified_at FROM datasets WHERE id = ?", (dataset_id,)).fetchone() or (0,)
    found: Index = kept.other(("facets", dataset_id), lambda: _of_examples(db, dataset_id), (modified[0],))
    return found


def index_of_tags(db: sqlite3.Connection, kept: Kept, sessions: list[str]) -> Index:
    """Tags of the runs of experiments."""
    runs = tuple(number for session in sessions for number in stamp_of(db, session).runs)
    found: Index = kept.other(("tags", *sessions), lambda: _of_runs(db, sessions), runs)
    return found


def index_of_experiments(db: sqlite3.Connection, dataset_id: str, hidden: Iterable[str]) -> Index:
    """Metadata of a dataset's experiments except the `hidden` keys, the splits they ran, and the branch of the code:
    kind -> value -> experiments.
    """
    metadata = "json_each(s.extra, '$.metadata') m WHERE s.reference_dataset_id = ?1"
    rows = db.execute(
        "SELECT 'split', v.value, s.id FROM sessions s, json_each(s.extra, '$.metadata.dataset_splits') v"
        " WHERE s.reference_dataset_id = ?1 AND v.value IS NOT NULL"
        f" UNION ALL SELECT m.key, iif(m.type IN ('true', 'false'), m.type, m.value), s.id FROM sessions s, {metadata}"
        " AND m.type NOT IN ('object', 'array', 'null') AND m.key NOT LIKE '%:%'"
        " AND m.key NOT IN (SELECT value FROM json_each(?2))"
        f" UNION ALL SELECT 'branch', m.value ->> '$.branch', s.id FROM sessions s, {metadata}"
        " AND m.key = 'git' AND m.type = 'object' AND m.value ->> '$.branch' IS NOT NULL",
        (dataset_id, json.dumps(list(hidden))),
    )
    return index_of_rows(rows)


def parse_facets(given: Iterable[str]) -> list[tuple[str, str]]:
    """Facets as they are in an address: `split:dev`, `topic:money`."""
    return [(name, value) for name, colon, value in (item.partition(":") for item in given) if colon][:20]


def _of_examples(db: sqlite3.Connection, dataset_id: str) -> Index:
    rows = db.execute(
        "SELECT 'split', s.value, e.id FROM examples e, json_each(e.metadata, '$.dataset_split') s"
        " WHERE e.dataset_id = ?1 AND e.ended_at IS NULL"
        " UNION ALL SELECT m.key, iif(m.type IN ('true', 'false'), m.type, m.value), e.id"
        " FROM examples e, json_each(e.metadata) m WHERE e.dataset_id = ?1 AND e.ended_at IS NULL"
        " AND m.type NOT IN ('object', 'array', 'null') AND m.key NOT LIKE '%:%'",
        (dataset_id,),
    )
    return index_of_rows(rows)


def _of_runs(db: sqlite3.Connection, sessions: list[str]) -> Index:
    marks = ",".join("?" * len(sessions))
    rows = db.execute(
        "SELECT 'tag', t.value, r.reference_example_id FROM runs r JOIN run_bodies b ON b.seq = r.seq,"
        f" json_each(b.tags) t WHERE r.session_id IN ({marks}) AND r.is_root = 1"
        " AND r.reference_example_id IS NOT NULL AND b.tags IS NOT NULL",
        sessions,
    )
    return index_of_rows(rows)


def index_of_rows(rows: Iterable[tuple[str, object, str]]) -> Index:
    """The index of (kind, value, id): kinds with a few values, and splits."""
    found: Index = {}
    for name, value, example in rows:
        values = found.setdefault(name, {})
        if len(values) <= (MAX_SPLITS if name == "split" else MAX_VALUES):
            values.setdefault(str(value)[:100], set()).add(example)
    found = {name: dict(sorted(found[name].items(), key=_name)) for name in sorted(found, key=natural)}
    kept = {name: values for name, values in found.items() if len(values) <= MAX_VALUES and name != "split"}
    # A split that holds everything, as LangSmith's "base" does, divides nothing.
    splits = {value: examples for value, examples in found.get("split", {}).items() if value != "base"}
    first = {"split": splits} if splits else {}
    return {**first, **dict(list(kept.items())[:MAX_KEYS])}


def _name(item: tuple[str, set[str]]) -> Any:
    return natural(item[0])


def facets_of(
    index: Index, ids: list[str], chosen: list[tuple[str, str]], among: list[str] | None = None
) -> list[Facet]:
    """The facets of these examples or experiments that divide all of them (`among`), and those that are chosen.

    Where each of several values stands only once, it is an id.
    """
    listed = set(ids)
    everything = listed if among is None or len(among) == len(ids) else set(among)
    found = []
    for name, values in index.items():
        counted = [
            (value, len(listed & having), len(everything & having), (name, value) in chosen)
            for value, having in values.items()
        ]
        shown = [item for item in counted if item[1] or item[-1]]
        is_id = len(counted) > 2 and all(of <= 1 for _, _, of, _ in counted)
        if any(is_chosen or (of < len(everything) and not is_id) for _, _, of, is_chosen in shown):
            found.append(Facet(name, shown))
    return found
