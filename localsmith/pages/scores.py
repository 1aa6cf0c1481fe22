"""Scores that a person gives by hand, through a form that works without JavaScript."""

import json
import math
import re
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import current_app, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.wrappers import Response

from localsmith.pages.common import find, link, store
from localsmith.pages.feedback import feedback_of
from localsmith.routes.feedback import MAX_KEY, check_feedback, insert_feedback
from localsmith.wire import dumps_or_none


def give_score(tenant: str, run_id: str) -> Response:
    """Give a run a score or label and a comment, change those it has, or take them back; then return to the page.

    A script that only needs the new scores asks for `part=scores`.
    """
    refuse_foreign()
    key = feedback_key()
    given = Given(
        parse_score(request.form.get("score", "")),
        request.form.get("value", "").strip() or None,
        request.form.get("comment", "").strip() or None,
    )
    now = current_app.extensions["localsmith"].switches.now()
    with store().write() as db:
        run = find(db, "runs", run_id, "run")
        if request.form.get("take_back"):
            _take_back(db, run, key, now)
        else:
            _save(db, run, key, given, now)
        feedback = feedback_of(db, [run["id"]]).get(run["id"], [])
    if request.form.get("part") == "scores":
        return make_response(render_template("scores.html", run={"id": run["id"], "feedback": feedback}))
    return redirect(_back(run), 303)


@dataclass(frozen=True)
class Given:
    """What a person entered; None leaves a value unchanged."""

    score: float | None
    value: str | None
    comment: str | None


def refuse_foreign() -> None:
    """Accept only forms of our own pages.

    The guard of the app refuses every request that says it comes from elsewhere. A form must also say that it comes
    from here, as every browser does.
    """
    own = f"{request.scheme}://{request.host}".lower()
    if request.headers.get("Sec-Fetch-Site") != "same-origin" and request.headers.get("Origin", "").lower() != own:
        raise Forbidden("Scores are accepted only from localsmith's own pages.")


def feedback_key(usual: str = "") -> str:
    """The feedback key that a form names, or the usual one."""
    key = request.form.get("key", "").strip() or usual
    if not key:
        raise BadRequest("A score needs a feedback key.")
    if len(key) > MAX_KEY:
        raise BadRequest(f"A feedback key has at most {MAX_KEY} characters.")
    return key


def parse_score(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        score = float(text.strip().replace(",", "."))
        if re.fullmatch(r"[-+]?[1-9]\d*,\d{3}", text.strip()):
            raise BadRequest(f"{text[:40]!r} may be {score:g} or {score * 1000:g}: write it without the comma.")
    except ValueError:
        raise BadRequest(f"{text[:40]!r} is not a number.") from None
    if not math.isfinite(score):
        raise BadRequest("A score must be a finite number.")
    return round(score, 4) + 0.0  # as LangSmith stores them


def _known(db: sqlite3.Connection, run: sqlite3.Row, key: str) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT * FROM feedback WHERE run_id = ? AND key = ? AND comparative_experiment_id IS NULL"
        " ORDER BY source_type IS 'app' DESC, seq DESC",
        (run["id"], key),
    ).fetchall()


def _save(db: sqlite3.Connection, run: sqlite3.Row, key: str, given: Given, now: int) -> None:
    if given.score is None and given.value is None and given.comment is None:
        raise BadRequest("Give a score or label, a comment, or both.")
    if given.score is not None and given.value is not None:
        raise BadRequest("Give a score or a label, not both.")
    known = _known(db, run, key)
    # With several of one key, only the one given by hand is changed.
    if len(known) == 1 or known and known[0]["source_type"] == "app":
        is_scored = given.score is not None or given.value is not None
        # What was first received stays in `received`; the page shows it beside the change.
        db.execute(
            "UPDATE feedback SET score = iif(?1, ?2, score), value = iif(?1, ?3, value),"
            " comment = coalesce(?4, comment), error = 0, source_type = 'app', modified_at = ?5 WHERE id = ?6",
            (is_scored, given.score, dumps_or_none(given.value), given.comment, now, known[0]["id"]),
        )
        return
    body: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "run_id": run["id"],
        "session_id": run["session_id"],
        "trace_id": run["trace_id"],
        "key": key,
        "score": given.score,
        "value": given.value,
        "comment": given.comment,
        "feedback_source": {"type": "app"},
    }
    insert_feedback(db, [check_feedback(body, ["form"])], now)


def _take_back(db: sqlite3.Connection, run: sqlite3.Row, key: str, now: int) -> None:
    """Delete what a person gave; what a person only changed becomes again what was received."""
    for row in _known(db, run, key):
        if row["source_type"] != "app":
            continue
        received = json.loads(row["received"])
        source = (received.get("feedback_source") or {}).get("type", "api")
        if source == "app":
            db.execute("DELETE FROM feedback WHERE id = ?", (row["id"],))
            continue
        first = (received.get("score"), dumps_or_none(received.get("value")), received.get("comment"))
        db.execute(
            "UPDATE feedback SET score = ?, value = ?, comment = ?, error = ?, source_type = ?, modified_at = ?"
            " WHERE id = ?",
            (*first, bool(received.get("error")), source, now, row["id"]),
        )


def _back(run: sqlite3.Row) -> str:
    """The page of the form, at the run; only our own paths are accepted."""
    back = request.form.get("back", "")
    if not back.startswith("/o/") or "\\" in back or any(ord(sign) < 33 for sign in back):
        back = link("show_run", session_id=run["session_id"], run_id=run["id"])
    return quote(back, safe="/?&=%,:+~.-_") + f"#r-{run['id']}"
