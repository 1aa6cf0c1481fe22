"""What every page needs: the store, the ids of its address, paging, and links that keep the rest of the query."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from flask import current_app, request
from werkzeug.exceptions import NotFound

from localsmith.pages.addresses import PATHS
from localsmith.pages.columns import Cache, Kept
from localsmith.store import Store
from localsmith.wire import TENANT_ID, UUID

T = TypeVar("T")

PAGE_SIZE = 50
MAX_BODY = 300_000  # characters of one value in a list; pages of a run or an example show more


def store() -> Store:
    found: Store = current_app.extensions["localsmith"].store
    return found


@contextmanager
def reading() -> Iterator[tuple[sqlite3.Connection, Kept]]:
    """A read transaction, and what is cached of the store."""
    extensions = current_app.extensions
    if "localsmith.pages" not in extensions:
        extensions["localsmith.pages"] = Cache(store())
    kept = extensions["localsmith.pages"].now()
    with store().read() as db:
        yield db, kept


def find(db: sqlite3.Connection, table: str, row_id: str, what: str) -> sqlite3.Row:
    """The row with this id; otherwise a 404 that says so."""
    row: sqlite3.Row | None = None
    if UUID.fullmatch(row_id.lower()):
        row = db.execute(f"SELECT * FROM {table} WHERE id = ?", (row_id.lower(),)).fetchone()
    if row is None:
        raise NotFound(f"There is no {what} with the id {row_id[:60]!r} in this store.")
    return row


@dataclass(frozen=True)
class Page:
    """Which part of a list is shown."""

    number: int
    total: int
    size: int = PAGE_SIZE
    name: str = "page"  # its part of the address

    @property
    def last(self) -> int:
        return max(1, -(-self.total // self.size))

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        return min(self.offset + self.size, self.total)

    @property
    def near(self) -> list[int | None]:
        """The pages to link to: the first, the last and those around this one; None where some are left out."""
        shown = sorted({1, self.last, *range(max(1, self.number - 2), min(self.last, self.number + 2) + 1)})
        found: list[int | None] = []
        for number in shown:
            if found and number > (found[-1] or 0) + 1:
                found.append(None)
            found.append(number)
        return found

    def link(self, number: int) -> str:
        return with_query(**{"page": request.args.get("page"), self.name: number})


def page_of(total: int, size: int = PAGE_SIZE, name: str = "page") -> Page:
    """The page that `name` in the address asks for, or the nearest one."""
    number = request.args.get(name, "1")
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 1
    last = max(1, -(-total // size))
    return Page(min(max(wanted, 1), last), total, size, name)


def with_query(**changes: Any) -> str:
    """This address with some of its query changed; None removes a part.

    Every change except of the page goes to the first page, and closes the open row.
    """
    if "page" not in changes:
        changes["page"] = None
    changes |= {"part": None, **({} if "row" in changes else {"row": None})}
    pairs = [(key, value) for key, value in request.args.items(multi=True) if key not in changes]
    pairs += [(key, str(value)) for key, value in changes.items() if value is not None]
    return request.path + ("?" + urlencode(pairs) if pairs else "")


def list_query(**changes: Any) -> str:
    """The query of this address, for a page that belongs to one of the examples in a list."""
    return with_query(**changes).removeprefix(request.path)


def toggled(name: str, value: str) -> str:
    """This address with one of several values of its query added, or removed if it is there."""
    values = request.args.getlist(name)
    left = [item for item in values if item != value] if value in values else [*values, value]
    address = with_query(**{name: None})
    return address + ("&" if "?" in address else "?") + urlencode([(name, item) for item in left]) if left else address


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by one of its columns. Each says whether its largest values come first; other columns,
    as those of scores, put them first."""

    columns: Mapping[str, bool]
    by: str
    descending: bool
    prefix: str  # of the two parts of the query that say so
    anchor: str  # where the list stands on the page

    def link(self, column: str) -> str:
        """This address, sorted by a column; or the other way round, if it is already."""
        largest_first = self.columns.get(column, True)
        is_turned = column == self.by and self.descending == largest_first
        way = "asc" if largest_first else "desc"
        changes = {f"{self.prefix}sort": column, f"{self.prefix}dir": way if is_turned else None}
        if self.prefix:  # a second list, with its own pages
            changes |= {self.prefix.rstrip("_"): None, "page": request.args.get("page")}
        return with_query(**changes) + self.anchor

    def arrow(self, column: str) -> str:
        return "" if column != self.by else " ↓" if self.descending else " ↑"


def order_of(columns: Mapping[str, bool], usual: str, *, prefix: str = "", anchor: str = "") -> Order:
    """The order that the address asks for, or the usual one."""
    by = request.args.get(f"{prefix}sort", "")
    by = by if by in columns else usual
    way = request.args.get(f"{prefix}dir", "")
    return Order(columns, by, way == "desc" if way in ("asc", "desc") else columns[by], prefix, anchor)


def sorted_by(items: Iterable[T], value: Callable[[T], Any], descending: bool) -> list[T]:
    """The items by their values. Those without one come last in either direction: they are neither small nor large."""
    known: list[T] = []
    missing: list[T] = []
    for item in items:
        (missing if value(item) is None else known).append(item)
    return sorted(known, key=value, reverse=descending) + missing


def around(ids: list[str], this: str, among: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """What is before and after `this` in a list; if it has left it, as after a score, by its place `among` all."""
    if this not in ids:
        listed = set(ids)
        ids = [other for other in among if other in listed or other == this]
    at = ids.index(this) if this in ids else len(ids)
    return ids[:at], ids[at + 1 :]


FILTERED_BY = ("q", "show", "of", "min", "max", "sort", "dir", "facet", "row")


def only(**changes: Any) -> str:
    """This address with these filters and no others."""
    return with_query(**{**dict.fromkeys(FILTERED_BY), **changes})


def is_raw() -> bool:
    """Whether texts are shown as they are stored."""
    return request.args.get("raw") == "1"


def is_lower_better(metric: str) -> bool:
    """Whether the address says that less of a metric is better."""
    return metric in request.args.getlist("lowerIsBetter")


def here() -> str:
    """This address, for a form that comes back to it."""
    return with_query(page=request.args.get("page"), row=request.args.get("row"))


def link(view: str, **values: str | list[str] | None) -> str:
    """The address of one of our pages: what is not in its path becomes its query.

    A comparison has hundreds of links, so this is not Flask's `url_for`, which takes ten times as long.
    """
    path = PATHS[view].replace("<tenant>", TENANT_ID)
    query: dict[str, str | list[str]] = {}
    for name, value in values.items():
        if f"<{name}>" in path:
            path = path.replace(f"<{name}>", quote(str(value), safe=""))
        elif value is not None:
            query[name] = value
    return path + ("?" + urlencode(query, doseq=True) if query else "")


def bounded(column: str) -> str:
    """A column of JSON; or its beginning, as text, if it is so long that fifty of them would fill the memory."""
    return (
        f"CASE WHEN length({column}) > {MAX_BODY} THEN json_quote(substr({column}, 1, 2000) || '…')"
        f" ELSE {column} END AS {column}"
    )
