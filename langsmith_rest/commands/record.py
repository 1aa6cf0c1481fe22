"""`record`: read results from files, record each file as an experiment, and show what became of them."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import recorder
from langsmith_rest import connection
from langsmith_rest.commands import dry_run, record_output
from langsmith_rest.commands.connecting import FIXTURES, Connect
from langsmith_rest.commands.evaluators import say_what_follows
from langsmith_rest.recording import csv_files
from langsmith_rest.recording.files import ResultFile
from langsmith_rest.recording.sources import CheckedFile
from langsmith_rest.wording import Say

DATASET = "langsmith-rest-experiments"
SAMPLE = "fixtures/results.jsonl"  # recorded when no file is named
DESCRIPTION = "Record JSON lines, a JSON array or CSV of results. Each file is one experiment."
EXAMPLES = """examples:
  %(prog)s results.jsonl --dataset capitals --metadata model=gpt-5-mini
  %(prog)s a.jsonl b.jsonl --dataset capitals
  my-harness | %(prog)s - --dataset capitals --experiment "nightly-$(date +%%F)"
  %(prog)s results.jsonl --dry-run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="a file of results, or - for standard input (default: a sample)")
    add("--dataset", default=DATASET, metavar="NAME", help="created when missing (default: %(default)s)")
    add("--experiment", metavar="NAME", help="default: the file's stem and a hash of its results")
    add("--description", metavar="TEXT", help="of the experiment")
    add("--metadata", action="append", default=[], metavar="KEY=VALUE", help="of the experiment; repeatable")
    add("--dry-run", action="store_true", help="check everything, print what would be sent, send nothing")
    add("--no-verify", action="store_true", help="do not read the experiment back")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Record every file, print what its results come to, and the link last."""
    if not options.files and options.is_typed:
        raise ValueError("name a FILE of results, or - for standard input.")
    if options.experiment and len(options.files) > 1:
        raise ValueError("--experiment names one experiment, but several files were given: drop it, or give one file.")
    with contextlib.ExitStack() as stack:
        files = [ResultFile(name, open_file(stack, name, say)) for name in options.files or [SAMPLE]]
        sources = check_files(files)
        if options.dry_run:
            return print_dry_run(sources, options, say)
        api = stack.enter_context(connect())
        found = [record_file(api, source, checked, options, say) for source, checked in sources]
        recordings = [recording for recording, _ in found]
        if any(recording.runs_recorded for recording in recordings):
            say_what_follows(api, recordings[0].dataset_id, options.dataset, say)
    url = recordings[0].url + "".join(f"%2C{other.experiment_id}" for other in recordings[1:])
    if options.json:
        objects = [as_json for _, as_json in found]
        print(json.dumps(objects[0] if len(objects) == 1 else {"experiments": objects, "url": url}))
    else:
        print(url)
    return 1 if any(recording.rejected for recording in recordings) else 0


def record_file(
    api: connection.LangSmith, source: ResultFile, checked: CheckedFile, options: argparse.Namespace, say: Say
) -> tuple[recorder.Recording, dict[str, Any]]:
    """Record one checked file, show what became of it, and return that for people and for programs."""
    recording = record(api, source, checked, options, verify=not options.no_verify)
    others = record_output.other_runs(api, recording) if options.experiment and not options.no_verify else 0
    summary = record_output.summary(source)
    record_output.report(source, recording, others, say)
    record_output.say_moved(api, source, recording, checked, say)
    if not options.json:
        record_output.print_table(recording, summary)
    return recording, {**asdict(recording), "other_runs": others, "summary": summary.as_json()}


def record(
    api: connection.LangSmith, source: ResultFile, checked: CheckedFile, options: argparse.Namespace, *, verify: bool
) -> recorder.Recording:
    with record_output.progress(source.name) as on_progress:
        return recorder.record_langsmith_experiment(
            options.dataset,
            checked,
            experiment_name=options.experiment,
            description=options.description,
            metadata=options.metadata,
            langsmith=api,
            on_progress=on_progress,
            verify=verify,
        )


def print_dry_run(sources: list[tuple[ResultFile, CheckedFile]], options: argparse.Namespace, say: Say) -> int:
    api = dry_run.connect(dry_run.NO_DATASET)
    for source, checked in sources:
        record(api, source, checked, options, verify=False)
    record_output.print_requests(dry_run.sent_requests(api), options.json, say)
    return 0


def open_file(stack: contextlib.ExitStack, name: str, say: Say) -> Any:
    """Open a file of results; CSV, and what can be read only once, such as standard input, is copied first."""
    if name == SAMPLE and not os.path.exists(name):
        return stack.enter_context(open(FIXTURES / "results.jsonl", "rb"))
    if os.path.isdir(name):
        raise ValueError(f"{name} is a directory: name a file of results.")
    if name == "-" and sys.stdin.isatty():
        say("Reading results from standard input; Ctrl-D ends them.")
    try:
        file = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
    except FileNotFoundError:
        raise ValueError(f"{name}: there is no such file.") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}).") from None
    is_csv = name.lower().endswith(".csv")
    if name != "-" and file.seekable() and not is_csv:
        return file
    spool = stack.enter_context(tempfile.TemporaryFile())
    if is_csv:
        try:
            spool.writelines(csv_files.json_lines(file))
        except ValueError as error:
            raise ValueError(f"{name} cannot be read: {error}.") from None
    else:
        shutil.copyfileobj(file, spool)
    return spool


def check_files(files: list[ResultFile]) -> list[tuple[ResultFile, CheckedFile]]:
    """Check all files before the first request; every problem of every file goes into one error."""
    sources, problems = [], []
    for file in files:
        try:
            sources.append((file, CheckedFile(file)))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return sources
