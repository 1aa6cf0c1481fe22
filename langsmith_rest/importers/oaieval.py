"""The open-source package openai/evals: the events of `oaieval ... --record_path FILE`. One experiment per run."""

from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    as_object,
    number_repetitions,
    present,
    read_objects,
    refuse_reference,
    score,
    summarize,
    usage,
)
from langsmith_rest.wording import counted

KINDS = ("prompt_tokens", "completion_tokens", "total_tokens")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    spec = first.get("spec")
    return isinstance(spec, dict) and "completion_fns" in spec and "eval_name" in spec


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """The events of each sample, which threads may have interleaved; the report may stand anywhere."""
    refuse_reference("oaieval", "'expected' of the match", reference)
    lines = read_objects(file)
    spec: dict[str, Any] = next((line["spec"] for line in lines if "spec" in line), {})
    report = next((line["final_report"] for line in lines if "final_report" in line), None)
    samples: dict[str, list[dict[str, Any]]] = {}
    for event in (line for line in lines if "sample_id" in line):
        samples.setdefault(event["sample_id"], []).append(event)
    results = [result_of(sample_id, events) for sample_id, events in samples.items()]
    number_repetitions(results)
    systems = ", ".join(spec.get("completion_fns") or [])
    metadata = present(completion_fns=spec.get("completion_fns"), run_id=spec.get("run_id"), final_report=report)
    known = ("sampling", "match", "metrics", "error")
    others = dict.fromkeys(event["type"] for events in samples.values() for event in events)
    what = f"oaieval: {counted(len(results), 'sample')} of {spec.get('eval_name')} with {systems or 'unknown systems'}"
    left_out = [f"events of type {kind}" for kind in others if kind not in known]
    experiment = Experiment(systems or Path(name).stem, results, metadata, spec.get("base_eval"))
    return summarize(what, [experiment] if results else [], left_out)


def result_of(sample_id: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """One sample: the input of its first call of a model, the answer of its last."""
    of: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        of.setdefault(event["type"], []).append(event["data"])
    calls, matches = of.get("sampling", []), of.get("match", [])
    first, last = (calls[0], calls[-1]) if calls else ({}, {})
    prompt, sampled = first.get("prompt"), last.get("sampled")
    expected = [match["expected"] for match in matches if match.get("expected") is not None]
    counts = [sum((call.get("usage") or {}).get(kind) or 0 for call in calls) for kind in KINDS]
    feedback = [item for match in matches for item in score("correct", match.get("correct"), picked(match))]
    feedback += [item for found in of.get("metrics", []) for key, value in found.items() for item in score(key, value)]
    failures = [] if feedback else [as_object(data, "message") for data in of.get("error", [])]
    result = present(
        reference_outputs={"expected": expected[0]} if expected else None,
        start_time=time_of(events[0]),
        end_time=time_of(events[-1]),
        error="; ".join(str(failure.get("message") or failure) for failure in failures) or None,
        metadata=present(ls_model_name=first.get("model"), usage_metadata=usage(*counts), sample_id=sample_id),
        feedback=feedback,
    )
    if "error" not in result:
        result["outputs"] = {"output": sampled[0] if isinstance(sampled, list) and len(sampled) == 1 else sampled}
    if prompt is None:
        return {"inputs": {"sample_id": sample_id}, **result}
    return {"inputs": {"messages" if isinstance(prompt, list) else "prompt": prompt}, **result}


def picked(match: dict[str, Any]) -> str | None:
    """What the match saw in the answer, where that is not the answer itself."""
    found = match.get("picked")
    return None if found is None or found == match.get("sampled") else f"picked {found}"


def time_of(event: dict[str, Any]) -> str | None:
    created = event.get("created_at")
    return created.replace(" ", "T") if isinstance(created, str) else None
