"""What an evaluation runs, and on what: targets and evaluators from files, data, event loops, the state of git."""

import ast
import asyncio
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.evaluation.evaluators import choosing
from langsmith_rest.evaluation.evaluators.calling import RUN, Await, Evaluator, awaited, plain_text, run_alone
from langsmith_rest.recording import bodies, checking, files, results
from langsmith_rest.recording.canonical import canonical
from langsmith_rest.recording.sending import create_examples
from langsmith_rest.wording import Say, alike, counted
from rest import get_or_create_dataset
from rest import list_examples as list_known_examples

# ---------------------------------------------------------------- running a target


def run_target(target: Evaluator, values: Mapping[str, Any], wait: Await = run_alone) -> dict[str, Any]:
    """Call the target; returns outputs or error, and the times. Whatever it raises is its result.

    An answer that is no dictionary becomes one, and is marked with `bare`.
    """
    start = datetime.now(UTC)
    try:
        outputs = awaited(target(values), wait)
        is_bare = not isinstance(outputs, dict)
        outputs = {"output": outputs} if is_bare else outputs
        problems = checking.unfit(outputs, "outputs")
        found: dict[str, Any] = {"outputs": outputs, **({"bare": True} if is_bare else {})}
        if problems:
            found = {"error": f"The target returned what cannot be recorded: {'; '.join(problems[:5])}"}
    except (Exception, SystemExit):  # a target that ends itself ends nothing else
        found = {"error": plain_text(traceback.format_exc())}
    return {**found, "start_time": start, "end_time": max(datetime.now(UTC), start)}


@contextlib.contextmanager
def event_loop(loop: asyncio.AbstractEventLoop | None = None) -> Iterator[Await]:
    """Await things from any thread in one event loop, so that clients may be shared: `loop`, or one of its own."""

    async def as_coroutine(awaitable: Any) -> Any:
        try:
            return await awaitable
        except SystemExit as end:  # which would end the loop, and with it whoever waits for something in it
            raise RuntimeError(f"SystemExit: {end.code}") from end

    own = None if loop else asyncio.new_event_loop()
    chosen = loop or own
    assert chosen is not None
    thread = threading.Thread(target=chosen.run_forever, daemon=True)
    if own:
        thread.start()
    try:
        yield lambda awaitable: asyncio.run_coroutine_threadsafe(as_coroutine(awaitable), chosen).result()
    finally:
        if own:
            own.call_soon_threadsafe(cancel_and_stop, own)
            thread.join()
            own.close()


def cancel_and_stop(loop: asyncio.AbstractEventLoop) -> None:
    """End what is still awaited, which is nothing unless an evaluation was interrupted."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.stop)


# ---------------------------------------------------------------- functions from files


def load_function(reference: str) -> Callable[..., Any]:
    """The function that `my_agent.py:run` names."""
    path, _, name = reference.rpartition(":")
    return function_of(load_module(path), path, name)


def function_of(module: ModuleType, path: str, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function '{name}'{wing.offer(name, list(functions_of(module)))}")
    if getattr(function, "__name__", "") == "<lambda>":
        function.__name__ = name
    return function


REFERENCE = re.compile(r"(?P<path>.+?\.py|[\w.]+)(?::(?P<chosen>.*))?", re.DOTALL)


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load_evaluators(
    reference: str, listed: str = "evaluators", known: tuple[str, ...] = RUN, say: Say = to_stderr
) -> list[Callable[..., Any]]:
    """The functions of `evals.py:name,name`; of `evals.py`, its list `evaluators`, else all that look like evaluators.

    Those take what is in `known`; `say` is told which they are and what is left out. A module may stand for a file
    (`evaluation.evaluators`), and a call that makes an evaluator for a name (`mentions("Lima")`).
    """
    parts = REFERENCE.fullmatch(reference)
    if not parts:
        raise ValueError(f"{reference!r}: expected FILE.py, FILE.py:NAME,... or MODULE:NAME,...")
    path, chosen = parts["path"], parts["chosen"]
    module = load_module(path) if path.endswith(".py") else import_module(path)
    if chosen:
        return [evaluator_of(module, path, chosen, part) for part in parts_of(chosen)]
    found = getattr(module, listed, None)
    if found is None and listed == "evaluators":
        taken, left_out = choosing.choose(module, path, known)
        say(choosing.said(path, taken, left_out))
        found = [function_of(module, path, name) for name in taken]
    if not found:
        raise ValueError(
            f"{reference} has no evaluators: name them ({reference}:NAME), or list them as {listed} = [...]."
        )
    return list(found)


def parts_of(chosen: str) -> list[ast.expr]:
    """The parts of `name,name(...)`."""
    with contextlib.suppress(SyntaxError, ValueError):
        tree = ast.parse(f"[{chosen}]", mode="eval").body
        if isinstance(tree, ast.List):
            return tree.elts
    raise ValueError(f"{chosen!r}: expected NAME,... or NAME(...) with plain texts and numbers.")


def evaluator_of(module: ModuleType, path: str, chosen: str, part: ast.expr) -> Callable[..., Any]:
    """The function that a name means, or that a call of one with plain values makes."""
    if isinstance(part, ast.Name):
        return function_of(module, path, part.id)
    if not isinstance(part, ast.Call) or not isinstance(part.func, ast.Name):
        raise ValueError(f"{chosen!r}: expected NAME,... or NAME(...) with plain texts and numbers.")
    make = function_of(module, path, part.func.id)
    try:
        places = [ast.literal_eval(value) for value in part.args]
        made = make(*places, **{str(one.arg): ast.literal_eval(one.value) for one in part.keywords})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{ast.unparse(part)}: {error}") from error
    if not callable(made):
        raise ValueError(f"{ast.unparse(part)} makes no evaluator: name the function alone, {part.func.id}.")
    return made


def functions_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    if module.__name__ == "langsmith_rest":  # hands its names on
        return {name: value for name in module.__all__ if inspect.isfunction(value := getattr(module, name))}
    found = {name: value for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__}


def import_module(name: str) -> ModuleType:
    """Import what is installed, or lies in the current folder."""
    if "" not in sys.path:
        sys.path.append("")
    try:
        return importlib.import_module(name)
    except Exception as error:
        hint = f"; a file is named {name}.py" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}{hint}.") from error


def load_module(path: str) -> ModuleType:
    """Import a file as a module of its own name, its folder being importable, so that other processes find it, too."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"{path}: there is no such file.")
    known = sys.modules.get(file.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(file):
            return known
        raise ValueError(f"{path} has the name of a module that is in use: call the file something else.")
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file.")
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[file.stem]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


# ---------------------------------------------------------------- data


def load_data(
    api: LangSmith, data: Any, splits: list[str] | None, dataset_name: str | None, with_attachments: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The dataset and the examples that `data` means: a dataset's name or id, a JSON lines file, or a list.

    A list holds examples of a dataset as the API gives them, or objects with `inputs`, `reference_outputs` (or
    `outputs`), `metadata` and `split`, which become examples of `dataset_name`, as those of a file do of its stem.
    """
    query: dict[str, Any] = {"splits": splits} if splits else {}
    if with_attachments:
        query["select"] = ["id", "created_at", "modified_at", "name", "dataset_id", "metadata", "inputs", "outputs"]
        query["select"].append("attachment_urls")
    if isinstance(data, str) and not is_file(data):
        dataset = wing.read_dataset(api, data) if wing.UUID.fullmatch(data) else wing.find_dataset(api, data)
        now = datetime.now(UTC).isoformat()  # one state of the dataset, whoever edits it meanwhile
        examples = list(wing.list_examples(api, dataset["id"], as_of=now, order="id", **query))
    elif isinstance(data, str | Path):
        if not Path(data).is_file():
            raise ValueError(f"{data}: there is no such file.")
        with open(data, "rb") as file:
            rows = list(files.ResultFile(str(data), file))
        dataset, examples = create_missing(api, dataset_name or Path(data).stem, rows, str(data))
    else:
        rows = list(data)
        if rows and all("dataset_id" in row and "id" in row for row in rows):
            owners = {row["dataset_id"] for row in rows}
            if len(owners) > 1:
                raise ValueError("The examples are of several datasets: evaluate one at a time.")
            dataset, examples = wing.read_dataset(api, owners.pop()), rows
        else:
            hash_ = bodies.uuid5(canonical(rows))[:8] if not dataset_name else ""
            dataset, examples = create_missing(api, dataset_name or f"examples-{hash_}", rows, "data")
    if splits:
        examples = [example for example in examples if set(splits) & set(splits_of(example))]
    if not examples:
        among = f" in {' or '.join(splits)}" if splits else ""
        raise ValueError(f"There are no examples{among} in the dataset {dataset['name']!r}.")
    return dataset, examples


def is_file(data: str) -> bool:
    """Whether `data` names a file, and not a dataset."""
    return data.endswith((".jsonl", ".json"))


def create_missing(api: LangSmith, name: str, rows: list[Any], source: str) -> tuple[dict[str, Any], list[dict]]:
    """Make the examples of `rows` that the dataset lacks; returns all of them as the dataset has them."""
    found, problems = [], []
    for number, row in enumerate(rows, 1):
        result = as_result(row)
        fields, _, wrong = checking.prepare(result)
        problems += [(f"{source}, example {number}", problem) for problem in wrong]
        found.append(fields)
    if problems:
        count = counted(len(problems), "problem")
        raise ValueError("\n  ".join([f"{count} in {source}, nothing was sent:", *alike(problems)]))
    if not rows:
        raise ValueError(f"There are no examples in {source}.")
    dataset, _ = get_or_create_dataset(api, name)
    wanted = {bodies.example_id(dataset["id"], fields): fields for fields in found}
    known = by_id(api, dataset["id"], list(wanted))
    missing = [i for i in wanted if i not in known]
    _, refused = create_examples(api, dataset["id"], [bodies.new_example(dataset["id"], wanted[i]) for i in missing])
    if refused:
        raise ValueError(f"{counted(len(refused), 'example')} of {source} refused: {next(iter(refused.values()))}")
    known |= by_id(api, dataset["id"], missing)
    return dataset, [known[i] for i in wanted if i in known]


def as_result(row: Any) -> Any:
    """An example as a result without an answer; `outputs` are the reference where there is no other."""
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
    return {found["id"]: found for some in hundreds(ids) for found in list_known_examples(api, dataset_id, some)}


def hundreds(items: list[Any]) -> Iterable[list[Any]]:
    return (items[at : at + 100] for at in range(0, len(items), 100))


def splits_of(example: Mapping[str, Any]) -> list[str]:
    return list((example.get("metadata") or {}).get("dataset_split") or ["base"])


# ---------------------------------------------------------------- where it came from

TARGET_HASH = "target_hash"  # in an experiment's metadata


def provenance(examples: list[dict], splits: list[str] | None, repetitions: int) -> dict[str, Any]:
    """What an experiment's metadata says about its data and its code, under the names that LangSmith's SDK uses."""
    found: dict[str, Any] = {"num_repetitions": repetitions}
    if times := [example["modified_at"] for example in examples if example.get("modified_at")]:
        found["dataset_version"] = max(times)
    found["dataset_splits"] = splits or sorted({split for example in examples for split in splits_of(example)})
    if state := git_state():
        found |= {"git": state, "revision_id": state["commit"] + ("-dirty" if state["dirty"] else "")}
    return found


def target_hash(target: Any) -> dict[str, str]:
    """What tells one target from another, and a file from its next version; nothing where there is no file."""
    while isinstance(target, functools.partial):
        target = target.func
    named = target if hasattr(target, "__qualname__") else type(target)
    try:
        content = Path(inspect.getsourcefile(named) or "").read_bytes()
    except (OSError, TypeError):
        return {}
    return {TARGET_HASH: hashlib.sha256(named.__qualname__.encode() + b"\n" + content).hexdigest()[:8]}


def git_state() -> dict[str, Any] | None:
    """Commit, branch, remote (without credentials) and whether there are uncommitted changes; None outside of git."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    remote = git("remote", "get-url", "origin")
    branch = git("rev-parse", "--abbrev-ref", "HEAD")
    state = {"commit": commit, "commit_time": git("show", "-s", "--format=%cI", "HEAD"), "branch": branch}
    state |= {"remote_url": without_credentials(remote) if remote else None}
    found: dict[str, Any] = {name: value for name, value in state.items() if value}
    return {**found, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def without_credentials(remote: str) -> str | None:
    """A remote's address without user and password; None for one that cannot be read."""
    if "://" not in remote:
        return remote.rpartition("@")[2]  # git@host:path
    try:
        parts = urlsplit(remote)
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return None
    return f"{parts.scheme}://{host}{parts.path}"
