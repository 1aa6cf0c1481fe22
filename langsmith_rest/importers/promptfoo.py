"""promptfoo: `eval -o out.json` or `out.jsonl`. One experiment per column, which is a provider with a prompt."""

import re
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    as_object,
    failed,
    number_repetitions,
    pick_reference,
    present,
    read_objects,
    score,
    split_reference,
    summarize,
    unique_names,
    usage,
)
from langsmith_rest.wording import counted

ERROR = 2  # failureReason; 1 is a failed assertion, whose text is also in `error`
API = re.compile(r"(\w+):(?:(?:chat|completion|messages|responses|text-generation):)?(?!//)(.+)")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    rows = first["results"].get("results") if isinstance(first.get("results"), dict) else None
    return isinstance(rows, list) or {"vars", "promptIdx", "provider"} <= first.keys()


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """Each row is one cell of promptfoo's table; JSON lines have the same rows, but neither times nor versions."""
    objects = read_objects(file)
    document = objects[0] if "results" in objects[0] else {}
    rows = document["results"]["results"] if document else objects
    columns: dict[Any, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row.get("promptIdx", 0), row.get("testIdx", 0))):  # they come as completed
        columns.setdefault((row.get("promptIdx", 0), row["provider"]["id"]), []).append(row)
    reference = pick_reference([row["vars"] for row in rows], reference)
    header, start = header_of(document), (document.get("results") or {}).get("timestamp")
    has_prompts = len({row["prompt"].get("label") for row in rows}) > 1
    names = unique_names(column_name(column[0], has_prompts) for column in columns.values())
    experiments = []
    for column, title in zip(columns.values(), names, strict=True):
        results = [result_of(row, reference, start) for row in column]
        number_repetitions(results)
        metadata = {**header, **present(provider=column[0]["provider"]["id"], prompt=column[0]["prompt"].get("label"))}
        experiments.append(Experiment(title, results, metadata, header.get("description")))
    version = f" {header['promptfoo']}" if "promptfoo" in header else ""
    judged = sum(((row.get("tokenUsage") or {}).get("assertions") or {}).get("total") or 0 for row in rows)
    what = f"promptfoo{version}: {counted(len(rows), 'row')} of {counted(len(columns), 'column')}"
    what += f", reference {reference!r}" if reference else ""
    left_out = ["configuration", f"{judged:,} tokens of judges" if judged else ""]
    left_out += [] if start else ["times, which are not in the file"]
    return summarize(what, experiments, left_out)


def header_of(document: dict[str, Any]) -> dict[str, Any]:
    config = document.get("config") or {}
    return present(
        promptfoo=(document.get("metadata") or {}).get("promptfooVersion"),
        eval_id=document.get("evalId"),
        description=config.get("description"),
        tags=config.get("tags"),
    )


def column_name(row: dict[str, Any], has_prompts: bool) -> str:
    provider = row["provider"].get("label") or row["provider"]["id"]
    return f"{provider} {row['prompt'].get('label') or ''}".rstrip() if has_prompts else provider


def result_of(row: dict[str, Any], reference: str | None, start: str | None) -> dict[str, Any]:
    test, response = row.get("testCase") or {}, row.get("response") or {}
    is_error = row.get("failureReason") == ERROR
    inputs, reference_outputs = split_reference(row["vars"], reference)
    tokens = row.get("tokenUsage") or {}
    counts = tokens.get("prompt"), tokens.get("completion"), tokens.get("total"), row.get("cost"), tokens.get("cached")
    of_test = test.get("metadata") or {}
    of_run = {k: v for k, v in (row.get("metadata") or {}).items() if k not in of_test and k[:1] != "_"}
    latency = row.get("latencyMs")
    known = present(usage_metadata=usage(*counts), prompt=row["prompt"].get("raw"))
    result = present(
        reference_outputs=reference_outputs,
        error=str(row.get("error") or "error") if is_error else None,
        start_time=start,
        latency=None if latency is None else latency / 1000,
        metadata=of_run | model_of(row["provider"]) | known,
        feedback=[] if is_error else feedback_of(row),
        example_metadata=present(description=test.get("description")) | of_test,
    )
    if not is_error or "output" in response:
        result["outputs"] = as_object(response.get("output"), "output")
    return {"inputs": inputs, **result}


def model_of(provider: dict[str, Any]) -> dict[str, Any]:
    """`openai:chat:gpt-5-mini` names a vendor and a model, for which LangSmith knows prices."""
    if found := API.fullmatch(provider["id"]):
        return {"ls_provider": found[1], "ls_model_name": found[2]}
    return {"ls_model_name": provider.get("label") or provider["id"]}


def feedback_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The named scores with their reasons, then the verdict on the whole row, unless one of its judges failed."""
    grading = row.get("gradingResult") or {}
    parts = grading.get("componentResults") or []
    if not parts and grading.get("reason") == "No assertions":
        return []  # a score of 1 for nothing
    reasons, broken = {}, {}
    for part in parts:
        assertion = part.get("assertion") or {}
        key = assertion.get("metric") or assertion.get("type") or "assertion"
        reasons[key] = part.get("reason")
        if (part.get("metadata") or {}).get("graderError"):
            broken[key] = part.get("reason")
    found = [failed(key, reason) for key, reason in broken.items()]
    for key, value in (row.get("namedScores") or {}).items():
        found += [] if key in broken else score(key, value, reasons.get(key))
    if not broken:
        found += score("pass", row.get("success"), grading.get("reason")) + score("score", row.get("score"))
    return found
