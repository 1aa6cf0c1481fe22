"""Deleting the runs of a session, a piece at a time, so that whoever writes meanwhile need not wait for all of it."""

import json

from localsmith.store import Store

RUNS_AT_ONCE = 1000


def delete_runs(store: Store, session_id: str) -> None:
    """Delete a session's runs with their feedback and attachments. Interrupted, it is begun again by the next call."""
    while True:
        with store.write() as db:
            piece = "SELECT seq, id FROM runs WHERE session_id = ? LIMIT ?"
            rows = db.execute(piece, (session_id, RUNS_AT_ONCE)).fetchall()
            seqs, ids = (json.dumps([row[name] for row in rows]) for name in ("seq", "id"))
            among = "IN (SELECT value FROM json_each(?))"
            db.execute(f"DELETE FROM feedback WHERE run_id {among}", (ids,))
            db.execute(f"DELETE FROM attachments WHERE owner_id {among}", (ids,))
            db.execute(f"DELETE FROM runs WHERE seq {among}", (seqs,))
        if len(rows) < RUNS_AT_ONCE:
            return
