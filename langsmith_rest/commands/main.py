"""The command line: record results, and look at them."""

import argparse
import contextlib
import difflib
import functools
import json
import os
import shutil
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

import recorder
from langsmith_rest import connection
from langsmith_rest.commands import backtest as backtest_report
from langsmith_rest.commands import compare as compare_report
from langsmith_rest.commands import dry_run, record_output
from langsmith_rest.commands import evaluate as evaluate_report
from langsmith_rest.commands import evaluators as upload_report
from langsmith_rest.evaluation.api import find_experiment
from langsmith_rest.recording import csv_files
from langsmith_rest.recording.bodies import default_name
from langsmith_rest.recording.files import ResultFile
from langsmith_rest.recording.results import Overview, check_results, unfit
from langsmith_rest.wording import other_runs

DATASET = "langsmith-rest-experiments"
FIXTURE = Path(__file__).parents[2] / "fixtures" / "results.jsonl"
DATABASE = Path(".localsmith") / "localsmith.db"
PAGES = "http://127.0.0.1:1984"
DONE, REFUSED, MISUSE = 0, 1, 2
GATES = ("backtest", "compare", "evaluate")  # in CI, their 1 means that something ran and was not good enough
WINGS = {
    "backtest": backtest_report,
    "compare": compare_report,
    "evaluate": evaluate_report,
    "evaluators": upload_report,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something was refused or missing, 2 misuse."""
    argv = sys.argv[1:] if argv is None else argv
    commands = ("record", "view", *WINGS)
    has_command = bool(argv) and argv[0] in (*commands, "-h", "--help")
    if argv and not has_command and not os.path.exists(argv[0]):
        if near := difflib.get_close_matches(argv[0], commands, n=1):
            parser().error(f"{argv[0]}: there is no such file, nor command. Did you mean {near[0]!r}?")
    options, unknown = parser().parse_known_args(argv if has_command else ["record", *argv])
    if unknown:
        options.misuse(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command == "record" and not options.files:
        if has_command:
            parser().error("record needs a FILE, or - for standard input")
        options.files = [os.path.relpath(FIXTURE)]
    code = DONE
    try:
        refuse_empty_names(options)
        if "metadata" in options:
            options.metadata = parse_metadata(options.metadata)
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except requests.RequestException as error:
        return failed(options, str(error), MISUSE if is_bad_filter(error, options) else REFUSED)
    except (connection.SetupError, ValueError) as error:
        return failed(options, str(error), MISUSE)
    except OSError as error:
        if error.filename is not None:
            return failed(options, str(error), MISUSE)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what waits there would fail once more
        reason = f"the output could not be written ({error.strerror}). What was answered before is recorded."
        return failed(options, reason, REFUSED)
    except LookupError as error:
        return failed(options, error.args[0], MISUSE if options.command in GATES else REFUSED)
    except recorder.RecordingError as error:
        return failed(options, str(error), REFUSED, recording=asdict(error.recording))
    except KeyboardInterrupt as interrupt:
        recorded = " What was answered is recorded; the same command again records the rest."
        say(str(interrupt) or f"Interrupted.{'' if options.command in ('view', 'compare') else recorded}")
        return 130
    return code


def refuse_empty_names(options: argparse.Namespace) -> None:
    """Raise ValueError for an empty name, as an unset variable of a script leaves one."""
    for flag in ("dataset", "experiment", "project", "name"):
        name = getattr(options, flag, None)
        if isinstance(name, str) and not name.strip():
            raise ValueError(f"--{flag} is empty: give it a name, or leave it out.")


def is_bad_filter(error: requests.RequestException, options: argparse.Namespace) -> bool:
    """Whether the server refused what --filter says."""
    refused = isinstance(error, requests.HTTPError) and error.response.status_code in (400, 422)
    return refused and bool(getattr(options, "filter", None)) and "filter" in str(error).lower()


def say(text: str) -> None:
    """Talk goes to stderr; stdout is for data."""
    print(text, file=sys.stderr, flush=True)


def failed(options: argparse.Namespace, reason: str, code: int, **found: Any) -> int:
    """Say why a command ended early; with --json, stdout holds an object in that case, too."""
    say(f"main.py {options.command}: {reason}")
    if getattr(options, "json", False):
        print(json.dumps({"error": reason, "exit_code": code, **found}))
    return code


def parser() -> argparse.ArgumentParser:
    described = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="main.py",
        description="Record LLM experiments in LangSmith, or in a local store when no key is set.",
        epilog="Without a command, fixtures/results.jsonl is recorded.\n\nexample:\n  uv run main.py record a.jsonl",
        formatter_class=described,
    )
    commands = top.add_subparsers(dest="command", required=True)

    record = commands.add_parser(
        "record",
        help="record results as experiments of a dataset",
        description="Record JSON lines, a JSON array or CSV of results. Each file is one experiment.",
        epilog=RECORD_EXAMPLES,
        formatter_class=described,
    )
    record.add_argument("files", nargs="*", metavar="FILE", help="a file of results, or - for standard input")
    record.add_argument(
        "--dataset", default=DATASET, metavar="NAME", help="created when missing (default: %(default)s)"
    )
    record.add_argument("--experiment", metavar="NAME", help="default: the file's stem and a hash of its results")
    record.add_argument("--description", metavar="TEXT", help="of the experiment")
    record.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the experiment, JSON or text; repeatable",
    )
    record.add_argument("--dry-run", action="store_true", help="check all, print what would be sent, send nothing")
    record.add_argument("--no-verify", action="store_true", help="do not read the experiment back")
    record.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    record.set_defaults(run=run_record, misuse=record.error)

    view = commands.add_parser(
        "view",
        help="serve the pages of the local store",
        description=f"Serve the local store ({DATABASE}) at {PAGES}: its pages, and the same REST API as LangSmith.",
        epilog="examples:\n  uv run main.py view --open\n  uv run main.py view --export report.html before after",
        formatter_class=described,
    )
    view.add_argument("--port", type=port_number, default=1984, help="default: %(default)s; 0 for any free one")
    view.add_argument("--open", action="store_true", help="open a browser, too")
    view.add_argument("--run-evaluators", action="store_true", help="run uploaded evaluators: executes code")
    view.add_argument(
        "--export",
        metavar="FILE",
        help="instead, write a comparison (.html) or one experiment (.jsonl, .csv) to FILE; --export=-.csv: to stdout",
    )
    view.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="what to export, by name or id")
    view.set_defaults(run=run_view, misuse=view.error)

    for name, wing in WINGS.items():
        command = commands.add_parser(
            name, help=wing.HELP, description=wing.DESCRIPTION, epilog=wing.EXAMPLES, formatter_class=described
        )
        wing.add_arguments(command)
        command.set_defaults(run=functools.partial(wing.run, connect, say), misuse=command.error)
    return top


def port_number(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text) < 2**16:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: expected 0 to 65535")


RECORD_EXAMPLES = """examples:
  uv run main.py record results.jsonl --dataset capitals --metadata model=gpt-5-mini
  uv run main.py record a.jsonl b.jsonl --dataset capitals
  my-harness | uv run main.py record - --dataset capitals --experiment "nightly-$(date +%F)"
  uv run main.py record results.jsonl --dry-run"""


# ---------------------------------------------------------------- record


def run_record(options: argparse.Namespace) -> int:
    if options.experiment and len(options.files) > 1:
        raise ValueError("--experiment names one experiment, but several files were given: drop it, or give one file.")
    with contextlib.ExitStack() as stack:
        sources = check_files([ResultFile(name, open_file(stack, name)) for name in options.files])
        if options.dry_run:
            api = dry_run.connect(dry_run.NO_DATASET)
        else:
            api = stack.enter_context(connect())
        recordings, found = [], []
        for source, overview in sources:
            with record_output.progress(source.name) as on_progress:
                recording = recorder.record(
                    api,
                    options.dataset,
                    source,
                    options.experiment or default_name(stem(source.name), options.dataset, overview.hash),
                    overview,
                    description=options.description,
                    metadata=options.metadata,
                    on_progress=on_progress,
                    verify=not options.no_verify and not options.dry_run,
                )
            recordings.append(recording)
            if options.dry_run:
                continue
            others = other_runs(api, recording) if options.experiment and not options.no_verify else 0
            summary = record_output.summary(source)
            found.append({**asdict(recording), "other_runs": others, "summary": summary.as_json()})
            record_output.report(source, recording, others, say)
            record_output.say_moved(api, source, recording, overview, say)
            if not options.json:
                record_output.print_table(recording, summary)
        if not options.dry_run and any(recording.runs_recorded for recording in recordings):
            upload_report.say_what_follows(api, recordings[0].dataset_id, options.dataset, say)
    if options.dry_run:
        record_output.print_requests(dry_run.sent_requests(api), options.json, say)
        return DONE
    url = recordings[0].url + "".join(f"%2C{other.experiment_id}" for other in recordings[1:])
    if options.json:
        print(json.dumps(found[0] if len(found) == 1 else {"experiments": found, "url": url}))
    else:
        print(url)
    return REFUSED if any(recording.rejected for recording in recordings) else DONE


def parse_metadata(pairs: list[str]) -> dict[str, Any] | None:
    metadata: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in metadata:
            raise ValueError(f"--metadata {pair!r}: expected KEY=VALUE, each key once.")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        metadata[name] = value if unfit(parsed, name) else parsed
    return metadata or None


def open_file(stack: contextlib.ExitStack, name: str) -> Any:
    """Open a file of results; CSV, and what cannot be read twice, as standard input, is put aside first."""
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


def check_files(files: list[ResultFile]) -> list[tuple[ResultFile, Overview]]:
    """Check all files before the first request; every problem of every file goes into one error."""
    sources, problems = [], []
    for file in files:
        try:
            sources.append((file, check_results(file)))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return sources


def stem(name: str) -> str:
    return "stdin" if name == "standard input" else Path(name).stem


@contextlib.contextmanager
def connect(purpose: str = "recording into", *, must_exist: bool = False) -> Iterator[connection.LangSmith]:
    """Connect to what is configured; when nothing is, to the embedded store, served by this process meanwhile.

    Raises LookupError where that store `must_exist`, as for reading, and does not.
    """
    values = connection.settings()
    if connection.pick(values, "API_KEY") or connection.pick(values, "ENDPOINT"):
        yield connection.connect()
        return
    say(f"No LANGSMITH_API_KEY: {purpose} the local store {DATABASE} (see .env.example for LangSmith).")
    with local_store(0, must_exist=must_exist, time_window_hours=None) as server:
        yield connection.connect(server.url, web=PAGES)
    say("To look at it: uv run main.py view")


@contextlib.contextmanager
def local_store(port: int, *, must_exist: bool = False, **switches: Any) -> Iterator[Any]:
    if must_exist and not DATABASE.exists():
        raise LookupError(f"There is no local store here ({DATABASE.absolute()}): go to the folder you recorded in.")
    try:
        import localsmith
    except ImportError as error:
        needed = f"The local store needs {error.name}: install the extra 'local', or set LANGSMITH_API_KEY."
        raise connection.SetupError(needed) from None
    try:
        DATABASE.parent.mkdir(exist_ok=True)
    except OSError as error:
        folder = DATABASE.parent.absolute()
        raise connection.SetupError(
            f"{folder} cannot be made ({error.strerror}): go to a folder you can write to."
        ) from None
    try:
        server = localsmith.serve(DATABASE, port, **switches)
    except (localsmith.StoreError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not os.access(DATABASE.parent, os.W_OK):
            reason += f" Make its folder {DATABASE.parent} writable, too."
        raise connection.SetupError(reason) from None
    with server:
        yield server


# ---------------------------------------------------------------- view


def run_view(options: argparse.Namespace) -> int:
    if options.export:
        return export(Path(options.export), options.experiments)
    if options.experiments:
        raise ValueError("EXPERIMENT goes with --export FILE; the pages show all of them.")
    with local_store(options.port, run_evaluators=options.run_evaluators) as server:
        if options.run_evaluators:
            say("Uploaded evaluators run here, without a network; what waits for them is scored first.")
        say(f"Serving {DATABASE}; Ctrl-C ends it. Other programs can record here with LANGSMITH_ENDPOINT={server.url}")
        print(server.url, flush=True)
        if options.open:
            webbrowser.open(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return DONE


def export(file: Path, experiments: list[str]) -> int:
    """Write what a page offers for download, without serving pages to anybody."""
    if file.suffix not in (".html", ".jsonl", ".csv"):
        raise ValueError(f"--export {file}: the name must end in .html (a comparison), .jsonl or .csv (an experiment).")
    if not experiments or file.suffix != ".html" and len(experiments) > 1:
        raise ValueError(f"--export {file}: name {'experiments' if file.suffix == '.html' else 'one experiment'}.")
    if file.is_file():
        raise ValueError(f"--export {file}: it is there already: remove it, or choose another name.")
    if not file.parent.is_dir():
        raise ValueError(f"--export {file}: there is no folder {file.parent}, make it first.")
    with local_store(0, must_exist=True) as server:
        api = connection.connect(server.url, "local")
        sessions = [find_experiment(api, wanted) for wanted in experiments]
        ids = [session["id"] for session in sessions]
        base = f"{server.url}/o/{sessions[0]['tenant_id']}"
        url = f"{base}/projects/p/{ids[0]}/export{file.suffix}"
        if file.suffix == ".html":
            dataset_ids = {session["reference_dataset_id"] for session in sessions}
            if len(dataset_ids) > 1:
                raise ValueError(f"--export {file}: these experiments belong to different datasets.")
            url = f"{base}/datasets/{dataset_ids.pop()}/compare/report.html?selectedSessions={','.join(ids)}"
        with requests.get(url, stream=True, timeout=connection.TIMEOUT) as answer:
            answer.raise_for_status()
            if file.stem == "-":
                sys.stdout.buffer.writelines(answer.iter_content(1 << 20))
                return DONE
            save(file, answer)
    print(file)
    return DONE


def save(file: Path, answer: requests.Response) -> None:
    """Write a download to a file, which appears whole or stays as it was."""
    unfinished = file.with_name(file.name + ".part")
    try:
        with open(unfinished, "wb") as out:
            out.writelines(answer.iter_content(1 << 20))
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, requests.RequestException):
            raise
        raise ValueError(f"--export {file}: it cannot be written ({error.strerror}).") from None


def run() -> None:
    """Run the command of this process, and end it."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = main()
    if code == 130:
        os._exit(code)  # requests that are waiting to be sent again would hold the process
    sys.exit(code)
