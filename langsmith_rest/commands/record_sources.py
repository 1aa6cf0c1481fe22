"""Where the results of `record` come from: our own files, mapped files, and files of other harnesses."""

import argparse
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from langsmith_rest import importers
from langsmith_rest.commands.connecting import FIXTURES
from langsmith_rest.commands.progress import counting
from langsmith_rest.commands.record_advice import with_advice
from langsmith_rest.importers import mapping
from langsmith_rest.importers.mapping import Mapper
from langsmith_rest.recording.files import ResultFile, from_cells, is_table, rename
from langsmith_rest.recording.results import Unreadable
from langsmith_rest.recording.sources import Checked
from langsmith_rest.wording import Say

SAMPLE = "fixtures/results.jsonl"  # recorded when no file is named
OURS = "results"  # the format of our own files
KEPT = 16_000_000  # characters of results that stay in memory between checking and recording


class Results(list[Any]):
    """The results of one experiment in a file of another harness."""

    name = ""  # for messages


class Masked:
    """Results of which every text is masked, on each iteration."""

    def __init__(self, results: Any, mask: Callable[[Any], Any]) -> None:
        self.results, self.mask = results, mask

    def __getattr__(self, name: str) -> Any:  # its name, and the place that was read last
        return getattr(self.results, name)

    def __iter__(self) -> Iterator[Any]:
        return map(self.mask, self.results)


@dataclass
class Opened:
    """Results that become one experiment, as they are in a file."""

    results: Any  # ResultFile or Results, or one of them Masked
    title: str  # what the experiment is called, before the hash
    dataset: str | None = None  # what the file calls its examples
    metadata: dict[str, Any] = field(default_factory=dict)
    mapper: Mapper | None = None
    file: IO[bytes] | None = None  # None for files of other harnesses


def open_all(stack: contextlib.ExitStack, options: argparse.Namespace, say: Say) -> list[Opened]:
    """Open the named files; raises ValueError for those that cannot be read."""
    rules = mapping.parse_rules(options.map)
    if rules and options.format not in (None, OURS):
        raise ValueError(f"--map and --format {options.format} exclude each other: drop one.")
    sources: list[Opened] = []
    for name in options.files or [SAMPLE]:
        if os.path.isdir(name):
            for path, found in importers.load_folder(Path(name), options.format, options.reference):
                sources += imported(str(path), found, say)
        else:
            sources += open_source(stack, name, rules, options, say)
    if options.experiment and len(sources) > 1:
        raise ValueError(f"--experiment names one experiment, but there are {len(sources)}: drop it.")
    if options.mask:
        mask_all(sources, options.mask)
    return sources


def mask_all(sources: list[Opened], function: str) -> None:
    """Pass every text of the results and of their metadata through the user's function."""
    from langsmith_rest.evaluation.masking import masked, masked_result
    from langsmith_rest.evaluation.running.files import load_function

    mask = load_function(function)

    def applied(change: Callable[[Any, Any], Any], value: Any) -> Any:
        try:
            return change(value, mask)
        except ValueError as error:
            raise ValueError(f"--mask {function}: {error}") from error

    for opened in sources:
        opened.metadata = applied(masked, opened.metadata)
        opened.results = Masked(opened.results, partial(applied, masked_result))


def open_source(
    stack: contextlib.ExitStack, name: str, rules: list[mapping.Rule], options: argparse.Namespace, say: Say
) -> list[Opened]:
    mapper = Mapper(rules, is_text=is_table(name)) if rules else None
    file = open_file(stack, name, say)
    if not is_table(name):
        format = options.format or (None if rules else importers.recognise(file))
        if format not in (None, OURS):
            return imported(name, importers.load(format, file, name, options.reference), say)
    folder = Path.cwd() if name == "-" else Path(name).parent
    as_result = mapper or (from_cells if is_table(name) else lambda row: row)
    results = ResultFile(name, file, lambda row: beside(rename(as_result(row)), folder))
    if options.reference:
        raise ValueError(
            f"{name}: --reference is for files of other harnesses. Here, map the field:"
            " --map reference_outputs.NAME=NAME."
        )
    return [Opened(results, "stdin" if name == "-" else Path(name).stem, mapper=mapper, file=file)]


def beside(result: Any, folder: Path) -> Any:
    """A result of a file, whose paths start in that file's folder and stay below it.

    Whoever wrote the file cannot make us send other files of this machine.
    """
    given = result.get("attachments") if isinstance(result, dict) else None
    if not isinstance(given, dict):
        return result
    found = {}
    for name, item in given.items():
        path = item.get("path") if isinstance(item, dict) else None
        if isinstance(path, str):
            full = (folder / path).resolve()
            if not full.is_relative_to(folder.resolve()):
                return Unreadable(f"'attachments.{name}': {path} is not below the folder of this file")
            item = {**item, "path": str(full)}
        found[name] = item
    return {**result, "attachments": found}


def imported(name: str, found: importers.Found, say: Say) -> list[Opened]:
    if not found.experiments:
        raise ValueError(f"There is nothing to record in {name}; nothing was sent.")
    say(f"{name}: {found.summary}")
    sources = []
    for experiment in found.experiments:
        results = Results(experiment.results)
        results.name = name if len(found.experiments) == 1 else f"{name}, {experiment.name}"
        sources.append(Opened(results, experiment.name, experiment.dataset, experiment.metadata))
    return sources


def open_file(stack: contextlib.ExitStack, name: str, say: Say) -> IO[bytes]:
    """Open a file of results; input that can be read only once, such as standard input, is copied first."""
    if name == SAMPLE and not os.path.exists(name):
        return stack.enter_context(open(FIXTURES / "results.jsonl", "rb"))
    if name == "-" and sys.stdin.isatty():
        say("Reading results from standard input; Ctrl-D ends them.")
    try:
        file: IO[bytes] = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
    except FileNotFoundError:
        raise ValueError(f"{name}: there is no such file.") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}).") from None
    if name != "-" and file.seekable():
        return file
    spool = stack.enter_context(tempfile.TemporaryFile())
    shutil.copyfileobj(file, spool)
    spool.seek(0)
    return spool


def check_all(sources: list[Opened], say: Say) -> list[tuple[Opened, Checked]]:
    """Check everything before the first request; one error lists every problem of every file."""
    checked, problems = [], []
    for source in sources:
        try:
            found = check(source, say)
        except ValueError as error:
            unmapped = source.mapper.problems() if source.mapper else []
            advised = source.file and not source.mapper and with_advice(str(error), source.results, source.file)
            problems.append("\n".join(unmapped) or advised or str(error))
            continue
        if source.mapper:
            problems += source.mapper.problems()
            say_left_out(source.results.name, source.mapper, say)
        found.prefix = source.title
        checked.append((source, found))
    if problems:
        raise ValueError("\n".join(problems))
    return checked


def check(source: Opened, say: Say) -> Checked:
    """Check the results of a source, and show the progress; raises ValueError with all their problems."""
    with counting(f"{source.results.name}: results checked", say) as on_progress:
        return Checked(source.results, on_progress, keep=KEPT)


def say_left_out(name: str, mapper: Mapper, say: Say) -> None:
    if mapper.left_out:
        flags = [f"--map {shlex.quote(flag)}" for flag in mapping.propose([mapper.left_out], mapper.is_text)]
        say(f"{name}: left out: {', '.join(mapper.left_out)}. To keep them: {' '.join(flags)}")
