"""The first page: every dataset and every project."""

from flask import render_template, request

from localsmith.lists import like
from localsmith.pages.common import Order, order_of, page_of, reading

DATASETS = {"name": False, "examples": True, "experiments": True, "used": True}
PROJECTS = {"name": False, "traces": True, "since": True}
BY_NAME = {"name": "name COLLATE NOCASE", "used": "last_used", "traces": "runs", "since": "start_time"}


def _sql(order: Order) -> str:
    return f"{BY_NAME.get(order.by, order.by)} {'DESC' if order.descending else 'ASC'}"


def show_datasets(tenant: str = "") -> str:
    query = request.args.get("q", "").strip()
    order = order_of(DATASETS, "used")
    order_of_projects = order_of(PROJECTS, "since", prefix="projects_", anchor="#projects")
    with reading() as (db, _):
        where = "WHERE name LIKE ?1 ESCAPE '\\' OR description LIKE ?1 ESCAPE '\\'"
        total = db.execute(f"SELECT count(*) FROM datasets {where}", (like(query),)).fetchone()[0]
        page = page_of(total)
        datasets = db.execute(
            "SELECT d.id, d.name, d.description,"
            " (SELECT count(*) FROM examples e WHERE e.dataset_id = d.id AND e.ended_at IS NULL) AS examples,"
            " (SELECT count(*) FROM sessions s WHERE s.reference_dataset_id = d.id) AS experiments,"
            " coalesce((SELECT max(start_time) FROM sessions s WHERE s.reference_dataset_id = d.id), d.modified_at)"
            "   AS last_used,"
            " (SELECT max(start_time) FROM sessions s WHERE s.reference_dataset_id = d.id) AS last_experiment"
            f" FROM datasets d {where} ORDER BY {_sql(order)}, d.created_at DESC, d.id LIMIT ?2 OFFSET ?3",
            (like(query), page.size, page.offset),
        ).fetchall()
        of_projects = "WHERE reference_dataset_id IS NULL AND name LIKE ? ESCAPE '\\'"
        count = db.execute(f"SELECT count(*) FROM sessions s {of_projects}", (like(query),)).fetchone()[0]
        more = page_of(count, name="projects")
        projects = db.execute(
            "SELECT id, name, start_time,"
            " coalesce((SELECT runs FROM run_totals WHERE session_id = s.id), 0) AS runs"
            f" FROM sessions s {of_projects} ORDER BY {_sql(order_of_projects)}, created_at DESC, id LIMIT ? OFFSET ?",
            (like(query), more.size, more.offset),
        ).fetchall()
        queues = db.execute(
            "SELECT q.id, q.name, q.created_at, (SELECT count(*) FROM queue_items WHERE queue_id = q.id) AS items,"
            " (SELECT count(DISTINCT item_id) FROM queue_reviews r JOIN queue_items i ON i.id = r.item_id"
            "   WHERE i.queue_id = q.id AND r.status = 'completed') AS reviewed"
            " FROM annotation_queues q WHERE q.name LIKE ? ESCAPE '\\' ORDER BY q.created_at DESC, q.id LIMIT 100",
            (like(query),),
        ).fetchall()
    lists = {"datasets": datasets, "projects": projects, "queues": queues}
    orders = {"order": order, "order_of_projects": order_of_projects}
    return render_template("datasets.html", query=query, page=page, more=more, **lists, **orders)
