"""lm-evaluation-harness with `--log_samples`: one experiment per task and model; its filters become feedback."""

import re
from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    as_object,
    at,
    present,
    read_json,
    read_objects,
    refuse_reference,
    score,
    summarize,
)
from langsmith_rest.wording import counted

NAMED = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
SUMMARY = re.compile(r"results_\d{4}-\d\d-\d\dT")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    return {"doc_id", "doc", "filtered_resps"} <= first.keys()


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """A samples file; the results file beside it, of the same time, tells the model and when it ran."""
    refuse_reference("lm-evaluation-harness", "'target'", reference)
    lines = read_objects(file)
    named = NAMED.fullmatch(Path(name).name)
    task = named[1] if named else Path(name).stem
    summary = read_summary(Path(name).with_name(f"results_{named[2]}.json")) if named else {}
    model = summary.get("model_name") or (Path(name).parent.name.replace("__", "/") if named else "")
    start = at(summary.get("date"))
    filters = list(dict.fromkeys(line.get("filter", "none") for line in lines))
    docs: dict[Any, list[dict[str, Any]]] = {}
    for line in lines:  # a task with several filters writes every document once per filter
        docs.setdefault(line["doc_id"], []).append(line)
    results = [result_of(group, len(filters) > 1, model, start) for _, group in sorted(docs.items())]
    metadata = present(
        model=model,
        task=task,
        lm_eval=summary.get("lm_eval_version"),
        task_version=(summary.get("versions") or {}).get(task),
        shots=(summary.get("n-shot") or {}).get(task),
        model_source=summary.get("model_source"),
        **{key: (summary.get("config") or {}).get(key) for key in ("model_args", "limit", "gen_kwargs")},
        git_hash=summary.get("git_hash"),
    )
    what = f"lm-evaluation-harness {summary.get('lm_eval_version', '')}".rstrip()
    what += f": {counted(len(lines), 'line')} of {task} with {model or 'an unknown model'}"
    what += f", {len(filters)} filters" if len(filters) > 1 else ""
    lists = {key for line in lines for key in line.get("metrics") or [] if isinstance(line.get(key), list)}
    left_out = ["times of single answers, not in the file", *(f"{key}, which is not a number" for key in sorted(lists))]
    return summarize(what, [Experiment(f"{model} {task}".strip(), results, metadata, task)], left_out)


def read_summary(path: Path) -> dict[str, Any]:
    return dict(read_json(path.read_bytes())) if path.is_file() else {}


def result_of(lines: list[dict[str, Any]], has_filters: bool, model: str, start: str | None) -> dict[str, Any]:
    """One document, with the scores of all its filters."""
    line = lines[0]
    arguments = line.get("arguments") or {}
    calls = [list(call.values()) for call in arguments.values()] if isinstance(arguments, dict) else list(arguments)
    feedback: list[dict[str, Any]] = []
    for one in lines:
        for metric in one.get("metrics") or []:
            feedback += score(f"{metric},{one['filter']}" if has_filters else metric, one.get(metric))
    outputs, target = answer_of(lines, calls)
    hashes = {key: line.get(key) for key in ("doc_hash", "prompt_hash", "target_hash")}
    prompt = calls[0][0] if calls and calls[0] else None
    return {
        "inputs": as_object(line["doc"], "doc"),
        "outputs": outputs,
        **present(
            reference_outputs=present(target=target),
            start_time=start,
            metadata=present(ls_model_name=model, doc_id=line["doc_id"], prompt=prompt, **hashes),
            feedback=feedback,
        ),
    }


def answer_of(lines: list[dict[str, Any]], calls: list[list[Any]]) -> tuple[dict[str, Any], Any]:
    """What the model answered, with the answer that each filter extracted; for choices, the likeliest one."""
    line = lines[0]
    responses, target = line["resps"], line.get("target")
    if not calls or len(calls[0]) < 2 or isinstance(calls[0][1], str):
        likelihoods = [float(item[0][0] if isinstance(item[0], list) else item[0]) for item in responses]
        choices = [call[1].strip() for call in calls if len(call) > 1]
        if len(choices) < 2:
            return {"loglikelihood": likelihoods[0]}, target
        if isinstance(target, str) and target.isdecimal() and int(target) < len(choices):
            target = choices[int(target)]  # it was the index of the right one
        best = max(range(len(choices)), key=likelihoods.__getitem__)
        return {"output": choices[best], "loglikelihoods": dict(zip(choices, likelihoods, strict=False))}, target
    said = responses[0] if isinstance(responses[0], list) else [responses[0]]
    filtered = {one.get("filter", "none"): one["filtered_resps"][0] for one in lines}
    is_changed = any(answer != said[0] for answer in filtered.values())
    extra = present(repeats=said if len(said) > 1 else None, filtered=filtered if is_changed else None)
    return {"output": said[0], **extra}, target
