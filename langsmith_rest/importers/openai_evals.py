"""OpenAI Evals: rows of `item` and `sample`, and the output items of a run. One experiment per run and model."""

from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    as_object,
    at,
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

ITEM = "eval.run.output_item"
KINDS = ("prompt", "completion", "total", "cached")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    data = first.get("data")
    is_row = isinstance(first.get("item"), dict) and first.keys() <= {"item", "sample"}
    if first.get("object") == "list" and isinstance(data, list) and data and isinstance(data[0], dict):
        first = data[0]
    return is_row or first.get("object") == ITEM


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    objects = read_objects(file)
    pages = [page for page in objects if page.get("object") == "list"]
    rows = [row for page in pages for row in page["data"]] if pages else objects
    items = [item_of(row) for row in rows]
    reference = pick_reference(items, reference)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row, item in zip(rows, items, strict=True):
        sample = row.get("sample") or {}
        results = groups.setdefault((row.get("run_id", ""), sample.get("model") or ""), [])
        results.append(result_of(row, item, sample, reference))
    names = unique_names(model or Path(name).stem for _, model in groups)
    experiments = []
    for ((run, model), results), title in zip(groups.items(), names, strict=True):
        number_repetitions(results)
        metadata = present(model=model, run_id=run, eval_id=rows[0].get("eval_id"))
        experiments.append(Experiment(title, results, metadata))
    what = f"OpenAI Evals: {counted(len(rows), 'row')}"
    what += f", reference {reference!r}" if reference else f", no reference (--reference names one of {fields(items)})"
    more = "further pages, which the service still holds" if any(page.get("has_more") for page in pages) else ""
    judged = sum((usage_of(grade.get("sample")) or {}).get("total_tokens") or 0 for grade in all_grades(rows))
    return summarize(what, experiments, [more, f"{judged:,} tokens of graders" if judged else ""])


def item_of(row: dict[str, Any]) -> dict[str, Any]:
    return as_object(row["item"] if "item" in row else row["datasource_item"], "item")


def fields(items: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(name for item in items for name in item))


def all_grades(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [grade for row in rows for grade in row.get("results") or []]


def usage_of(sample: dict[str, Any] | None) -> dict[str, Any] | None:
    counts = (sample or {}).get("usage") or {}
    prompt, completion, total, cached = (counts.get(f"{kind}_tokens") for kind in KINDS)
    return usage(prompt, completion, total, cached=cached)


def result_of(
    row: dict[str, Any], item: dict[str, Any], sample: dict[str, Any], reference: str | None
) -> dict[str, Any]:
    inputs, reference_outputs = split_reference(item, reference)
    error, feedback = sample.get("error"), []
    for grade in row.get("results") or []:
        feedback += score(grade["name"], grade.get("score")) + score(f"{grade['name']} passed", grade.get("passed"))
    settings = ("finish_reason", "temperature", "top_p", "seed", "max_completion_tokens")
    metadata = {name: sample.get(name) for name in settings}
    metadata |= {"ls_model_name": sample.get("model"), "usage_metadata": usage_of(sample)}
    metadata |= {"prompt": sample.get("input")}
    metadata |= {name: row.get(name) for name in ("datasource_item_id", "status")} | {"output_item_id": row.get("id")}
    result = present(
        reference_outputs=reference_outputs,
        start_time=at(row.get("created_at")),
        error=as_object(error, "message").get("message") or "error" if error else None,
        metadata=present(**metadata),
        feedback=feedback,
    )
    if not error:
        result["outputs"] = outputs_of(sample)
    return {"inputs": inputs, **result}


def outputs_of(sample: dict[str, Any]) -> dict[str, Any]:
    """The answer of a sample; null when it has none."""
    output = sample.get("output")
    if isinstance(output, list):  # messages
        said = [message for message in output if message.get("role") == "assistant"]
        more = {"messages": output} if len(output) > 1 else {}
        return {"output": said[-1].get("content") if said else None, **more}
    more = present(json=sample.get("output_json"), tools=sample.get("output_tools"))
    return {"output": sample.get("output_text"), **more}
