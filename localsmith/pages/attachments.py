"""Attachments of runs and examples: images of safe kinds are shown, everything else is a download."""

import json
import sqlite3

from flask import Response, request
from werkzeug.exceptions import NotFound

from localsmith.pages.common import store

IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"}  # not SVG: it can hold scripts


def show_attachment(tenant: str, owner_id: str) -> Response:
    name = request.args.get("name", "")
    with store().read() as db:
        row = db.execute(
            "SELECT mime_type, data FROM attachments WHERE owner_id = ? AND name = ?", (owner_id, name)
        ).fetchone()
    if row is None:
        raise NotFound(f"There is no attachment {name[:60]!r} here.")
    is_image = row["mime_type"] in IMAGES
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    if not is_image:
        headers["Content-Disposition"] = "attachment"
    return Response(row["data"], headers=headers, mimetype=row["mime_type"] if is_image else "application/octet-stream")


def attachments_of(db: sqlite3.Connection, owners: list[str]) -> dict[str, list[dict[str, object]]]:
    """What is attached to each of these runs or examples."""
    found: dict[str, list[dict[str, object]]] = {}
    rows = db.execute(
        "SELECT owner_id, name, mime_type, length(data) AS size FROM attachments"
        " WHERE owner_id IN (SELECT value FROM json_each(?)) ORDER BY name",
        (json.dumps(owners),),
    )
    for row in rows:
        found.setdefault(row["owner_id"], []).append({**dict(row), "is_image": row["mime_type"] in IMAGES})
    return found
