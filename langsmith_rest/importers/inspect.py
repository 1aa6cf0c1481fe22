"""Inspect AI: `.eval` logs (zip) and `.json` logs. One experiment per log; epochs are repetitions."""

from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    present,
    read_json,
    read_objects,
    refuse_reference,
    score,
    summarize,
    usage,
)
from langsmith_rest.importers.zips import read_members
from langsmith_rest.wording import counted

PARTS = ("samples/", "header.json", "_journal/start.json")
ABOUT = (
    "model",
    "task",
    "task_version",
    "task_args",
    "model_args",
    "run_id",
    "created",
    "tags",
    "metadata",
    "revision",
)
UNREAD = ("events", "events_data", "attachments")
LETTERS = {"C": 1, "P": 0.5, "I": 0, "N": 0}  # correct, partial, incorrect, no answer


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    return head.startswith(b"PK\x03\x04") or (isinstance(first.get("eval"), dict) and "task" in first["eval"])


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """The log of a run that was killed also contains its samples, up to then."""
    refuse_reference("Inspect", "'target'", reference)
    file.seek(0)
    is_zip = file.read(2) == b"PK"
    if is_zip:
        header, samples = read_zip(file, name)
    else:
        header = read_objects(file)[0]
        samples = list(header.get("samples") or [])
    about = header["eval"]
    model, task, started = about["model"], about["task"], (header.get("stats") or {}).get("started_at")
    samples.sort(key=lambda sample: (str(sample["id"]), sample["epoch"]))  # they come as completed
    results = [result_of(sample, model, started) for sample in samples]
    version = (about.get("packages") or {}).get("inspect_ai", "")
    status = header.get("status", "started")
    metadata = present(inspect_status=status, **{name: about.get(name) for name in ABOUT})
    what = f"Inspect {version}: {counted(len(samples), 'sample')} of {task} with {model}"
    what += "" if status == "success" else f" ({status}: the run did not finish)"
    of_others = sum(tokens for sample in samples for tokens in other_tokens(sample, model))
    left_out = ["events", "tracebacks", f"{of_others:,} tokens of other models (judges)" if of_others else ""]
    return summarize(what, [Experiment(f"{task} {model}", results, metadata, task)], left_out)


def read_zip(file: IO[bytes], name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header of a log, which is shorter if the run was killed, and its samples."""
    members = {member: read_json(data) for member, data in read_members(file, name, PARTS)}
    header = members.get("header.json") or members.get("_journal/start.json")
    if not header:
        advice = "If it is a spreadsheet, save it as CSV UTF-8."
        raise ValueError(f"{name} is a zip file, but not a log of Inspect: it has no header.json. {advice}")
    return header, [content for member, content in members.items() if member.startswith("samples/")]


def result_of(sample: dict[str, Any], model: str, started: str | None) -> dict[str, Any]:
    attachments = sample.get("attachments") or {}
    sample = {name: put_back(value, attachments) for name, value in sample.items() if name not in UNREAD}
    said, error = sample["input"], sample.get("error")
    answer: dict[str, Any] | None = None if error else {"output": completion(sample.get("output") or {})}
    generated = [m for m in sample.get("messages") or [] if m.get("source") != "input" and m["role"] != "system"]
    if answer and len(generated) > 1:  # tools were called
        answer["messages"] = without_ids(generated)
    spent = (sample.get("model_usage") or {}).get(model) or {}
    kinds = "input_tokens", "output_tokens", "total_tokens", "total_cost", "input_tokens_cache_read"
    counts = usage(*(spent.get(kind) for kind in kinds))
    times = {"start_time": sample.get("started_at"), "end_time": sample.get("completed_at")}
    if not times["start_time"]:
        times = {"start_time": started, "end_time": None, "latency": sample.get("total_time")}
    facts = {name: sample.get(name) for name in ("id", "epoch", "uuid", "limit", "working_time")}
    facts["error_retries"] = [retry.get("message") for retry in sample.get("error_retries") or []]
    return {
        "inputs": {"messages": without_ids(said)} if isinstance(said, list) else {"input": said},
        **present(
            outputs=answer,
            reference_outputs=present(target=sample.get("target")),
            error=(error.get("message") or "error") if error else None,
            metadata={"ls_model_name": model, **present(usage_metadata=counts, **facts)},
            feedback=[item for key, value in (sample.get("scores") or {}).items() for item in scored(key, value or {})],
            example_metadata=(sample.get("metadata") or {}) | present(choices=sample.get("choices")),
            **times,
        ),
    }


def without_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages without the ids that every run gives them, so that runs of one sample share its example."""
    return [{name: value for name, value in one.items() if name not in ("id", "source")} for one in messages]


def completion(output: dict[str, Any]) -> str:
    if "completion" in output or not output.get("choices"):
        return output.get("completion") or ""
    content = output["choices"][0]["message"]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def scored(key: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """A scorer's feedback: letters become numbers, and each part of a dictionary has a key of its own."""
    value = given.get("value")
    parts = {f"{key}.{part}": item for part, item in value.items()} if isinstance(value, dict) else {key: value}
    found = []
    for name, part in parts.items():
        found += score(name, LETTERS.get(part, part) if isinstance(part, str) else part, given.get("explanation"))
    return found


def other_tokens(sample: dict[str, Any], model: str) -> list[int]:
    return [u.get("total_tokens") or 0 for name, u in (sample.get("model_usage") or {}).items() if name != model]


def put_back(value: Any, attachments: dict[str, str]) -> Any:
    """The value with the texts and images that `attachment://` refers to."""
    if isinstance(value, str):
        return attachments.get(value[len("attachment://") :], value) if value.startswith("attachment://") else value
    if isinstance(value, list):
        return [put_back(item, attachments) for item in value]
    if isinstance(value, dict):
        return {name: put_back(item, attachments) for name, item in value.items()}
    return value
