"""The addresses of the pages, and the module in this folder that answers each."""

PATHS = {  # the addresses of LangSmith's own pages, and what we add to them
    "show_datasets": "/o/<tenant>/datasets",
    "show_dataset": "/o/<tenant>/datasets/<dataset_id>",
    "show_example": "/o/<tenant>/datasets/<dataset_id>/e/<example_id>",
    "show_comparison": "/o/<tenant>/datasets/<dataset_id>/compare",
    "show_report": "/o/<tenant>/datasets/<dataset_id>/compare/report.html",
    "show_project": "/o/<tenant>/projects/p/<session_id>",
    "export_json_lines": "/o/<tenant>/projects/p/<session_id>/export.jsonl",
    "export_csv": "/o/<tenant>/projects/p/<session_id>/export.csv",
    "show_agreement": "/o/<tenant>/projects/p/<session_id>/agreement",
    "show_run": "/o/<tenant>/projects/p/<session_id>/r/<run_id>",
    "show_attachment": "/o/<tenant>/attachments/<owner_id>",
    "fill_queue": "/o/<tenant>/datasets/<dataset_id>/compare/queue",
    "make_pairs": "/o/<tenant>/datasets/<dataset_id>/compare/pairs",
    "show_pair": "/o/<tenant>/datasets/<dataset_id>/pairs/<comparative_id>",
    "give_pair": "/o/<tenant>/datasets/<dataset_id>/pairs/<comparative_id>/e/<example_id>",
    "show_review": "/o/<tenant>/annotation-queues/<queue_id>",
    "give_review": "/o/<tenant>/annotation-queues/<queue_id>/items/<item_id>",
    "give_score": "/o/<tenant>/runs/<run_id>/scores",
}

VIEWS = {
    "show_datasets": "datasets",
    "show_dataset": "dataset",
    "show_example": "example",
    "show_comparison": "compare",
    "show_report": "report",
    "show_project": "project",
    "export_json_lines": "export",
    "export_csv": "export",
    "show_run": "run",
    "show_attachment": "attachments",
    "show_review": "review",
    "show_pair": "pairs",
    "show_agreement": "agreement",
}
FORMS = {
    "give_score": "scores",
    "give_review": "review",
    "fill_queue": "queueing",
    "make_pairs": "pairs",
    "give_pair": "pairs",
}
