"""pydantic-evals: a report, written by `EvaluationReportAdapter.dump_json`. One experiment per report."""

import re
from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    as_object,
    failed,
    present,
    read_objects,
    refuse_reference,
    score,
    summarize,
    usage,
)
from langsmith_rest.wording import counted

REPEATED = re.compile(r".*\[(\d+)/\d+\]")
TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    return isinstance(first.get("cases"), list) and isinstance(first.get("failures"), list)


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """Cases whose task raised are listed separately, under `failures`."""
    refuse_reference("pydantic-evals", "'expected_output'", reference)
    report = read_objects(file)[0]
    about = report.get("experiment_metadata")
    metadata = about if isinstance(about, dict) else present(experiment_metadata=about)
    model = metadata.get("model")
    results = [result_of(case, model) for case in report["cases"] + report["failures"]]
    cases, failures = counted(len(report["cases"]), "case"), counted(len(report["failures"]), "failure")
    left_out = ["analyses of the whole report" if report.get("analyses") else "", "stack traces"]
    title = report.get("name") or Path(name).stem
    experiment = Experiment(title, results, metadata, report.get("dataset_name"))
    return summarize(f"pydantic-evals: {cases} and {failures} of {title!r}", [experiment], left_out)


def result_of(case: dict[str, Any], model: Any) -> dict[str, Any]:
    expected, counts = case.get("expected_output"), case.get("metrics") or {}
    source = case.get("source_case_name") or case["name"]
    repeated = REPEATED.fullmatch(case["name"]) if case.get("source_case_name") else None
    attributes = case.get("attributes") or {}
    result = present(
        reference_outputs=None if expected is None else as_object(expected, "expected_output"),
        error=case.get("error_message"),
        latency=case.get("task_duration"),
        metadata=present(
            ls_model_name=attributes.get("model") or model,
            usage_metadata=usage(*(counts.get(name) for name in (*TOKENS, "cost"))),
            case=case["name"],
            repetition=int(repeated[1]) if repeated else None,
            metrics={name: value for name, value in counts.items() if name not in (*TOKENS, "cost")},
            attributes=attributes,
            trace_id=case.get("trace_id"),
        ),
        feedback=feedback_of(case),
        example_metadata={"case": source, **as_object(case.get("metadata") or {}, "metadata")},
    )
    if "output" in case:
        result["outputs"] = as_object(case["output"], "output")
    return {"inputs": as_object(case["inputs"], "input"), **result}


def feedback_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores, assertions (0 or 1) and labels (texts), each with its reason; and evaluators that failed."""
    found: list[dict[str, Any]] = []
    for kind in ("scores", "assertions", "labels"):
        for key, given in (case.get(kind) or {}).items():
            found += score(key, given["value"], given.get("reason"))
    return found + [failed(one["name"], one.get("error_message")) for one in case.get("evaluator_failures") or []]
