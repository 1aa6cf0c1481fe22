"""GET /info and other small answers about the server itself."""

from typing import Any

from localsmith.wire import MAX_JSON_BYTES, TENANT_ID, Call, iso, zstd_available

MAX_RUNS_PER_REQUEST = 100


def get_info(call: Call) -> dict[str, Any]:
    """What this server accepts, with flags that match its switches."""
    return {
        "version": "0.18.0",  # of LangSmith; the official clients warn of an older one
        "git_sha": None,
        "license_expiration_time": None,
        "batch_ingest_config": {
            "use_multipart_endpoint": True,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
            "size_limit": MAX_RUNS_PER_REQUEST,
            "size_limit_bytes": MAX_JSON_BYTES,
        },
        "instance_flags": {
            "dataset_examples_multipart_enabled": True,
            "examples_multipart_enabled": True,
            "zstd_compression_enabled": zstd_available(),
            "gzip_body_enabled": True,
            "ch_query_enabled": call.switches.v1_reads == 200,
            "sdb_query_enabled": call.switches.v2_reads == 200,
            "runs_of_any_age": call.switches.time_window_hours is None,  # LangSmith has no such flag, nor takes them
        },
        "customer_info": None,
    }


def get_settings(call: Call) -> dict[str, Any]:
    """The one workspace; the official SDK asks before it builds links."""
    return {"id": TENANT_ID, "display_name": "localsmith", "created_at": iso(0), "tenant_handle": None}
