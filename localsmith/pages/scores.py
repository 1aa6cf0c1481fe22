"""Scores that a person gives by hand, through a form that works without JavaScript."""

import math
import re
import sqlite3
import uuid
from typing import Any
from urllib.parse import quote

from flask import current_app, redirect, request
from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.wrappers import Response

from localsmith.pages.common import find, link, store
from localsmith.routes.feedback import check_feedback, insert_feedback


def give_score(tenant: str, run_id: str) -> Response:
    """Give a run a score and a comment, or change those it has; then go back to where that was done."""
    _refuse_foreign()
    key = request.form.get("key", "").strip()
    comment = request.form.get("comment", "").strip() or None
    score = _score(request.form.get("score", ""))
    if not key:
        raise BadRequest("A score needs a name.")
    if score is None and comment is None:
        raise BadRequest("Give a score, a comment, or both.")
    now = current_app.extensions["localsmith"].switches.now()
    with store().write() as db:
        run = find(db, "runs", run_id, "run")
        _save(db, run, key, score, comment, now)
    return redirect(_back(run), 303)


def _refuse_foreign() -> None:
    """Let only our own pages post. The guard of the app refuses every request that says it comes from elsewhere;
    a form must say, too, that it comes from here, and every browser of today does."""
    own = f"{request.scheme}://{request.host}".lower()
    if request.headers.get("Sec-Fetch-Site") != "same-origin" and request.headers.get("Origin", "").lower() != own:
        raise Forbidden("Scores are only taken from localsmith's own pages.")


def _score(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        score = float(text.strip().replace(",", "."))
        if re.fullmatch(r"[-+]?[1-9]\d*,\d{3}", text.strip()):
            raise BadRequest(f"{text[:40]!r} may be {score:g} or {score * 1000:g}: write it without the comma.")
    except ValueError:
        raise BadRequest(f"{text[:40]!r} is not a number.") from None
    if not math.isfinite(score):
        raise BadRequest("A score is a finite number.")
    return score


def _save(
    db: sqlite3.Connection, run: sqlite3.Row, key: str, score: float | None, comment: str | None, now: int
) -> None:
    known = db.execute(
        "SELECT id, source_type FROM feedback WHERE run_id = ? AND key = ? AND comparative_experiment_id IS NULL"
        " ORDER BY source_type IS 'app' DESC, seq DESC",
        (run["id"], key),
    ).fetchall()
    # With several of one name, only what was given by hand before is changed.
    if len(known) == 1 or known and known[0]["source_type"] == "app":
        # What was received first stays in the row, in `received`: the page shows it beside the change.
        db.execute(
            "UPDATE feedback SET score = coalesce(?, score), comment = coalesce(?, comment), error = 0,"
            " source_type = 'app', modified_at = ? WHERE id = ?",
            (score, comment, now, known[0]["id"]),
        )
        return
    body: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "run_id": run["id"],
        "session_id": run["session_id"],
        "trace_id": run["trace_id"],
        "key": key,
        "score": score,
        "comment": comment,
        "feedback_source": {"type": "app"},
    }
    insert_feedback(db, [check_feedback(body, ["form"])], now)


def _back(run: sqlite3.Row) -> str:
    """The page the form stood on, at the run; only a path of ours is believed."""
    back = request.form.get("back", "")
    if not back.startswith("/o/") or "\\" in back or any(ord(sign) < 33 for sign in back):
        back = link("show_run", session_id=run["session_id"], run_id=run["id"])
    return quote(back, safe="/?&=%,:+~.-_") + f"#r-{run['id']}"
