"""How objects look in a notebook: a small HTML table with a link; all content is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def table(rows: Sequence[Mapping[str, Any]], title: str, url: str) -> str:
    """Rows with the same fields as a table, with a title that links to the pages."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{shown(row[name])}</td>' for name in names)}</tr>" for row in rows)
    is_link = url.startswith(("http://", "https://"))
    caption = f'<a href="{escape(url)}" target="_blank">{escape(title)}</a>' if is_link else escape(title)
    return f"<p>{caption}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def shown(value: Any) -> str:
    """A value as a cell: short numbers, nothing for None."""
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
