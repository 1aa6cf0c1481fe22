"""A comparison as one HTML file that can be read without a server."""

import base64
import hashlib
import sqlite3
from pathlib import Path

from flask import make_response, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from localsmith.pages.columns import Kept
from localsmith.pages.common import find, reading
from localsmith.pages.compare import context_of
from localsmith.pages.compare_facets import with_facets
from localsmith.pages.compare_rows import rows_of
from localsmith.pages.comparison import Question, compare, question_of
from localsmith.pages.selection import chosen

MAX_ROWS = 2000  # some 10 MB, which browsers still open
STYLE = Path(__file__).parent.parent / "static" / "pages.css"


def show_report(tenant: str, dataset_id: str) -> Response:
    with reading() as (db, kept):
        html, policy = report(db, kept, dataset_id, question_of(request.args))
    answer = make_response(html)
    answer.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
    return answer


def report(db: sqlite3.Connection, kept: Kept, dataset_id: str, question: Question) -> tuple[str, str]:
    """The report of a comparison with the filters of `question`; and the policy for browsers that show it."""
    dataset = find(db, "datasets", dataset_id, "dataset")
    comparison = compare(db, kept, dataset["id"], question)
    if comparison is None:
        raise NotFound("None of these experiments belongs to this dataset.")
    examples = with_facets(db, kept, comparison, chosen(db, kept, comparison))
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    html = render_template(
        "report.html",
        # Our own file rather than stored text: the only thing that is not escaped.
        style=Markup(style),
        policy=policy,
        total=len(examples),
        **context_of(dataset, comparison, None, rows_of(db, comparison, examples[:MAX_ROWS])),
    )
    return html, policy
