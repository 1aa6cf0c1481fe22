"""`record`: read results from files, record each file as an experiment, and show what was recorded."""

import argparse
import contextlib
import json
from dataclasses import asdict
from typing import Any

import recorder
from langsmith_rest import connection
from langsmith_rest.commands import dry_run, record_output
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.commands.matching import Matched, ids_by_content
from langsmith_rest.commands.progress import counting
from langsmith_rest.commands.record_sources import OURS, Opened, check_all, open_all
from langsmith_rest.importers import FORMATS
from langsmith_rest.recording.sources import Checked
from langsmith_rest.wording import Say

DATASET = "langsmith-rest-experiments"
DESCRIPTION = """Record results as experiments. Each FILE of results (JSON lines, a JSON array or
CSV) becomes one experiment. A result is an object such as:

  {"inputs": {"q": "2+2"}, "outputs": {"a": "4"}, "feedback": {"correct": 1}}

If the system failed, it has "error" (a text) instead of "outputs". More fields:
"reference_outputs", "start_time", "end_time", "latency", "metadata", "name",
"run_type", "tags", "child_runs", "attachments", "example_id", "split",
"example_metadata"; see docs/record.md. Result files of promptfoo, Inspect and
other harnesses are recognised by their content; see docs/importers.md."""
EXAMPLES = """examples:
  %(prog)s results.jsonl --dataset capitals
  %(prog)s results.jsonl --dry-run
  %(prog)s a.jsonl b.jsonl --metadata model=gpt-5-mini
  %(prog)s promptfoo-out.json
  %(prog)s answers.csv --map inputs.q=prompt --map outputs.a=answer
  my-harness | %(prog)s - --experiment "nightly-$(date +%%F)\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="a file or a folder, or - for standard input (default: a sample)")
    add("--dataset", metavar="NAME", help=f"the dataset, created if missing (default: as the file says, or {DATASET})")
    add("--experiment", metavar="NAME", help="name of the experiment (default: the file's or model's, and a hash)")
    formats = ", ".join((OURS, *FORMATS))
    add(
        "--format",
        choices=(OURS, *FORMATS),
        metavar="NAME",
        help=f"format of the file (default: recognised): {formats}",
    )
    add("--reference", metavar="FIELD", help="for files of other harnesses: the input that holds the reference")
    add(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=SOURCE",
        help="fill FIELD of the result from SOURCE of the file; repeatable",
    )
    add("--description", metavar="TEXT", help="description of the experiment")
    add("--metadata", action="append", default=[], metavar="KEY=VALUE", help="metadata of the experiment; repeatable")
    add("--mask", metavar="FILE.py:FUNCTION", help="a function that changes every text before it is sent")
    add(
        "--match-examples",
        action="store_true",
        help="reuse examples with the same inputs and reference, even if another program made them",
    )
    add("--dry-run", action="store_true", help="check everything and print the requests, but send nothing")
    add("--no-verify", action="store_true", help="do not read the experiment back")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Record every file, print a summary of each, and the links last."""
    if not options.files and options.is_typed:
        raise ValueError("name a FILE of results, or - for standard input.")
    if options.experiment and len(options.files) > 1:
        raise ValueError("--experiment names one experiment, but several files were given: drop it, or give one file.")
    if options.match_examples and options.dry_run:
        raise ValueError("--dry-run asks no server, so --match-examples cannot find any examples: drop one of them.")
    with contextlib.ExitStack() as stack:
        files = open_all(stack, options, say)
        if options.dry_run:
            return run_dry(files, options, say)
        api = None
        if options.match_examples:
            api = stack.enter_context(connect())
            for opened in files:
                opened.results = Matched(opened.results, ids_by_content(api, dataset_of(opened, options)))
        sources = check_all(files, say)
        api = api or stack.enter_context(connect())
        found = [record_file(api, opened, checked, options, say) for opened, checked in sources]
        recordings = [recording for recording, _ in found]
        for first in {recording.dataset_id: recording for recording in recordings if recording.runs_recorded}.values():
            record_output.say_what_follows(api, first.dataset_id, first.dataset_name, say)
    urls = links(recordings)
    if options.json:
        objects = [as_json for _, as_json in found]
        shared = {"url": urls[0]} if len(urls) == 1 else {"urls": urls}
        print(json.dumps(objects[0] if len(objects) == 1 else {"experiments": objects, **shared}))
    else:
        print("\n".join(urls))
    return 1 if any(recording.rejected for recording in recordings) else 0


def dataset_of(opened: Opened, options: argparse.Namespace) -> str:
    return options.dataset or opened.dataset or DATASET


def links(recordings: list[recorder.Recording]) -> list[str]:
    """A link to the experiments of each dataset, side by side."""
    found: dict[str, str] = {}
    for recording in {recording.experiment_id: recording for recording in recordings}.values():
        known = found.get(recording.dataset_id)
        found[recording.dataset_id] = f"{known}%2C{recording.experiment_id}" if known else recording.url
    return list(found.values())


def record_file(
    api: connection.LangSmith, opened: Opened, checked: Checked, options: argparse.Namespace, say: Say
) -> tuple[recorder.Recording, dict[str, Any]]:
    """Record one checked file, print what was recorded, and return it."""
    recording = record(api, opened, checked, options, say, verify=not options.no_verify)
    others = record_output.other_runs(api, recording) if options.experiment and not options.no_verify else 0
    summary = record_output.summary(checked.given)
    moved = record_output.count_moved(api, checked.given, recording, checked.earliest)
    record_output.report(opened.results, recording, others, moved, say)
    for doubt in summary.scores.doubts():
        say(doubt)
    if not options.json:
        record_output.print_table(recording, summary)
    return recording, {**asdict(recording), "other_runs": others, "summary": summary.as_json()}


def record(
    api: connection.LangSmith,
    opened: Opened,
    checked: Checked,
    options: argparse.Namespace,
    say: Say,
    *,
    verify: bool,
) -> recorder.Recording:
    with counting(f"{opened.results.name}: results recorded", say) as on_progress:
        return recorder.record_langsmith_experiment(
            dataset_of(opened, options),
            checked,
            experiment_name=options.experiment,
            description=options.description,
            metadata={**opened.metadata, **(options.metadata or {})} or None,
            langsmith=api,
            on_progress=on_progress,
            verify=verify,
        )


def run_dry(files: list[Opened], options: argparse.Namespace, say: Say) -> int:
    """Check everything and print what would be sent; with --json, also a verdict on each result."""
    verdicts = dry_run.verdicts([file.results for file in files]) if options.json else []
    try:
        sources = check_all(files, say)
    except ValueError as error:
        if not verdicts:
            raise
        say(str(error))
        print(json.dumps({"error": str(error), "exit_code": 2, "results": verdicts}))
        return 2
    api = dry_run.connect(dry_run.NO_DATASET)
    for opened, checked in sources:
        record(api, opened, checked, options, say, verify=False)
    record_output.print_requests(dry_run.sent_requests(api), verdicts, say)
    return 0
