"""The examples of an evaluation: those of a dataset, or of a file or list, which become a dataset."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.errors import NotFound
from langsmith_rest.evaluation.api import (
    UUID,
    find_dataset,
    get_or_create_dataset,
    list_examples,
    read_dataset,
    server_time,
)
from langsmith_rest.evaluation.running.plain import CannotHold, plain
from langsmith_rest.recording import bodies, checking, files, results
from langsmith_rest.recording.batches import in_batches
from langsmith_rest.recording.canonical import canonical
from langsmith_rest.recording.sending import create_examples
from langsmith_rest.wording import alike, counted, nothing_sent

LISTED = "data"  # what a list of examples is called in messages
FILES = (".jsonl", ".json", ".csv", ".tsv")
FIELDS = ("id", "created_at", "modified_at", "name", "dataset_id", "metadata", "inputs", "outputs", "attachment_urls")


def load_data(
    api: LangSmith,
    data: Any,
    splits: list[str] | None,
    dataset_name: str | None,
    with_attachments: bool = False,
    limit: int | None = None,
    experiment: str | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The dataset and its examples that `data` means: a dataset's name or id, a file (JSON lines, JSON, CSV) or a list.

    A list holds examples of a dataset as the API returns them, or objects with `inputs`, `reference_outputs` (or
    `outputs`), `metadata` and `split`, which become examples of `dataset_name`. A file's dataset is called after it.
    Nothing is created if another dataset has an experiment of the name `experiment`.
    """
    is_stored = isinstance(data, str) and not is_file(data)
    if is_stored:
        dataset, examples = stored_examples(api, data, splits, with_attachments)
    elif isinstance(data, str | Path):
        rows = read_rows(str(data))
        dataset, examples = create_missing(api, dataset_name or Path(data).stem, rows, str(data), experiment)
    elif isinstance(data, Iterable):
        dataset, examples = listed_examples(api, list(data), dataset_name, experiment)
    else:
        raise ValueError(f"data is {data!r}, expected the name of a dataset, a file or a list of examples.")
    if splits:
        known = {split for example in examples for split in splits_of(example)}
        if unknown := [split for split in splits if split not in known]:
            if is_stored:
                known = {split for one in stored_examples(api, data, None, False)[1] for split in splits_of(one)}
            offered = f"its splits are {', '.join(sorted(known))}" if known else "it has no splits"
            raise ValueError(f"No example of {dataset['name']!r} is in the split {unknown[0]!r}: {offered}.")
        examples = [example for example in examples if set(splits) & set(splits_of(example))]
    if not examples:
        raise ValueError(f"There are no examples in the dataset {dataset['name']!r}.")
    return dataset, examples[:limit]


def is_file(data: str) -> bool:
    """Whether `data` names a file rather than a dataset."""
    return data.lower().endswith(FILES)


def stored_examples(
    api: LangSmith, name: str, splits: list[str] | None, with_attachments: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The examples of a dataset, all of one version, even if somebody edits it meanwhile."""
    try:
        dataset = read_dataset(api, name) if UUID.fullmatch(name) else find_dataset(api, name)
    except NotFound as error:
        if not Path(name).is_file():
            raise
        raise NotFound(f"{error} The file {name} is not read: its name does not end in {', '.join(FILES)}.") from None
    query: dict[str, Any] = {"order": "id", "as_of": server_time(api).isoformat()}
    if splits:
        query["splits"] = splits
    if with_attachments:
        query["select"] = list(FIELDS)
    return dataset, list(list_examples(api, dataset["id"], **query))


def read_rows(file: str) -> list[Any]:
    if not Path(file).is_file():
        raise ValueError(f"{file}: there is no such file.")
    with open(file, "rb") as opened:
        return list(files.ResultFile(file, opened))


def listed_examples(
    api: LangSmith, rows: list[Any], dataset_name: str | None, experiment: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if rows and all(isinstance(row, dict) and "dataset_id" in row and "id" in row for row in rows):
        owners = {row["dataset_id"] for row in rows}
        if len(owners) > 1:
            raise ValueError("The examples are of several datasets: evaluate one at a time.")
        return read_dataset(api, owners.pop()), rows
    try:
        rows = [plain(row, f"example {number}") for number, row in enumerate(rows, 1)]
        hash_ = bodies.uuid5(canonical(rows))[:8] if not dataset_name else ""
    except (CannotHold, ValueError):  # the checks say it better
        hash_ = ""
    return create_missing(api, dataset_name or f"examples-{hash_}", rows, LISTED, experiment)


def create_missing(
    api: LangSmith, name: str, rows: list[Any], source: str, experiment: str | None
) -> tuple[dict[str, Any], list[dict]]:
    """Create the examples of `rows` that the dataset lacks; return all of them as the dataset has them."""
    found, problems = [], []
    for number, row in enumerate(rows, 1):
        result = checking.prepare(as_result(row), number)
        problems += [(f"{source}, example {number}", problem) for problem in result.problems]
        found.append(result.fields)
    if problems:
        raise ValueError(f"{nothing_sent(problems, source)}{what_to_rename(rows, in_file=source != LISTED)}")
    if not rows:
        raise ValueError(f"There are no examples in {source}.")
    dataset, _ = get_or_create_dataset(api, name, experiment)
    wanted = {bodies.example_id(dataset["id"], fields): fields for fields in found}
    known = by_id(api, dataset["id"], list(wanted))
    missing = [i for i in wanted if i not in known]
    _, refused = create_examples(api, dataset["id"], [bodies.new_example(dataset["id"], wanted[i]) for i in missing])
    if refused:
        reasons = alike((f"{source}, an example", reason) for reason in refused.values())
        raise ValueError("\n  ".join([f"The server refused {counted(len(refused), 'example')}:", *reasons]))
    known |= by_id(api, dataset["id"], missing)
    return dataset, [known[i] for i in wanted if i in known]


def what_to_rename(rows: list[Any], *, in_file: bool) -> str:
    """The end of an error message: which fields the rows have, if none of them has inputs."""
    names = list({name: None for row in rows if isinstance(row, dict) for name in row})
    if not names or "inputs" in names:
        return ""
    if len(names) == 1:
        ours = "'input' (an object: 'inputs')" if in_file else "'inputs', an object"
        return f"\nThe only field is {names[0]!r}: rename it to {ours}."
    has = f"The fields are {', '.join(map(repr, names[:10]))}"
    objects = "'inputs' and 'reference_outputs'"
    ours = f"'input' and 'expected' (objects: {objects})" if in_file else f"{objects}, which are objects"
    return f"\n{has}: rename two of them to {ours}."


def as_result(row: Any) -> Any:
    """An example as a result without an answer; `outputs` are the reference if there is no other."""
    if not isinstance(row, dict) or isinstance(row, results.Unreadable):
        return row
    reference = row.get("reference_outputs", row.get("outputs"))
    fields: dict[str, Any] = {
        "inputs": row.get("inputs"),
        "outputs": {},
        "reference_outputs": reference,
        "split": row.get("split"),
    }
    fields["example_metadata"] = row.get("example_metadata", row.get("metadata"))
    return {name: value for name, value in fields.items() if value is not None}


def by_id(api: LangSmith, dataset_id: str, ids: list[str]) -> dict[str, dict]:
    return {found["id"]: found for some in in_batches(ids) for found in rest.list_examples(api, dataset_id, some)}


def splits_of(example: Mapping[str, Any]) -> list[str]:
    found = (example.get("metadata") or {}).get("dataset_split") or ["base"]
    return [found] if isinstance(found, str) else list(found)
