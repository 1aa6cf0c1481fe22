"""Choosing the command, and turning what goes wrong into a message and an exit code."""

import argparse
import gc
import importlib
import io
import json
import os
import signal
import sys
from typing import Any

from langsmith_rest.wording import program, typed

DONE, REFUSED, MISUSE, INTERRUPTED = 0, 1, 2, 130
# A command and its line of help. The module with its name in this folder is imported only when it is used.
COMMANDS = {
    "record": "record results as experiments on a dataset",
    "view": "serve the pages of the local store; export or back it up",
    "evaluate": "run and score a function, or score recorded experiments",
    "compare": "compare experiments example by example, and check limits",
    "review": "put answers into a review queue, where people score them",
    "agree": "compare a judge's scores with a person's",
    "list": "list datasets, or the experiments on one",
    "delete": "delete experiments, or a dataset",
    "push": "copy experiments from the local store to LangSmith",
    "backtest": "run a new system on production inputs, and compare",
    "evaluators": "upload and manage evaluators that LangSmith runs itself",
    "judge-worker": "run the model judges of the local store",
    "doctor": "show where results would be recorded, and if that works",
    "conform": "certify a port of the recorder, in any language",
}
GATES = ("backtest", "compare", "evaluate")  # in CI, their exit code 1 means that something ran and was not good enough


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something was refused or missing, 2 misuse.

    Anything that is not a command is a file or a flag of `record`.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "record"
    if name in ("-h", "--help"):
        top_parser().parse_args(argv)
    if name not in COMMANDS and not name.startswith("-") and not os.path.exists(name):
        import difflib  # only where it is needed: every command loads this file

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else f" The commands are: {', '.join(COMMANDS)}."
        top_parser().error(f"{name}: there is no such file or command.{meant}")
    is_typed = bool(argv) and name in COMMANDS
    options = argparse.Namespace(command=name if is_typed else "record", is_typed=is_typed)
    try:
        command: Any = importlib.import_module(f"langsmith_rest.commands.{options.command.replace('-', '_')}")
        parser_of(command, options.command).parse_args(argv[is_typed:], options)
        return run_command(command, options)
    except KeyboardInterrupt as interrupt:
        recorded = " What was sent is recorded; run the same command again to record the rest."
        is_recording = options.command in ("record", "evaluate", "backtest", "push", "review")
        say(str(interrupt) or f"Interrupted.{recorded if is_recording else ''}")
        return INTERRUPTED


def top_parser() -> argparse.ArgumentParser:
    lines = [f"  {name:12}  {line}" for name, line in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=typed(),
        usage="%(prog)s [-h] COMMAND ...",
        description="Record LLM experiments in LangSmith or, without an API key, in a local store.",
        epilog="\n".join(
            [
                "commands (COMMAND --help explains each):",
                *lines,
                "\nWithout a command, five sample results are recorded.\n\nexample:\n  %(prog)s record results.jsonl",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that fits on one screen: each option and its explanation are on one line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36)


def parser_of(command: Any, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=typed(name), description=command.DESCRIPTION, epilog=command.EXAMPLES, formatter_class=Help
    )
    command.add_arguments(parser)
    parser.usage = " ".join(["%(prog)s [OPTIONS]", *map(in_usage, parser._positionals._group_actions)])
    return parser


def in_usage(argument: argparse.Action) -> str:
    """How an argument without a flag stands in the usage; the options are listed below it."""
    name = str(argument.metavar or argument.dest).replace("%", "%%")
    return {"*": f"[{name} ...]", "+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(str(argument.nargs), name)


def run_command(command: Any, options: argparse.Namespace) -> int:
    """Run a command whose flags are parsed; expected errors become a message and an exit code."""
    from langsmith_rest.commands.connecting import connect, fetch_extras

    try:
        fetch_extras()
        refuse_empty_names(options)
        if "metadata" in options:
            options.metadata = parse_metadata(options.metadata)
        code = command.run(connect, say, options)
        sys.stdout.flush()
        return code
    except Exception as error:
        return failed(options, *explain(error, options))


def explain(error: Exception, options: argparse.Namespace) -> tuple[str, int, dict[str, Any]]:
    """The message, the exit code, and additional fields for --json; raises errors that are bugs in our code."""
    from dataclasses import asdict

    import requests

    from langsmith_rest.errors import NotFound, SetupError
    from recorder import RecordingError

    if isinstance(error, RecordingError):
        return str(error), REFUSED, {"recording": asdict(error.recording)}
    if isinstance(error, requests.RequestException):
        return str(error), MISUSE if is_bad_filter(error, options) else REFUSED, {}
    if isinstance(error, SetupError | ValueError):
        return str(error), MISUSE, {}
    if isinstance(error, NotFound):
        return str(error), MISUSE, {}
    if type(error) is LookupError:  # KeyError and IndexError are bugs
        return str(error), MISUSE if options.command in GATES else REFUSED, {}
    if isinstance(error, OSError) and error.filename is not None:
        return str(error), MISUSE, {}
    if isinstance(error, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what waits there would fail once more
        reason = f"the output could not be written ({error.strerror}). What was sent is recorded."
        return reason, REFUSED, {}
    raise error


def is_bad_filter(error: Any, options: argparse.Namespace) -> bool:
    """Whether the server refused the text of --filter."""
    status = getattr(error.response, "status_code", None)
    return status in (400, 422) and bool(getattr(options, "filter", None)) and "filter" in str(error).lower()


def refuse_empty_names(options: argparse.Namespace) -> None:
    """Raise ValueError for an empty name, which an unset variable of a script leaves."""
    for flag in ("dataset", "experiment", "project", "name", "junit"):
        name = getattr(options, flag, None)
        if isinstance(name, str) and not name.strip():
            raise ValueError(f"--{flag} is empty: give it a name, or leave it out.")


def parse_metadata(pairs: list[str]) -> dict[str, Any] | None:
    """The metadata of `--metadata KEY=VALUE`; values are JSON where possible. None without any."""
    from langsmith_rest.recording.checking import unfit

    metadata: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in metadata:
            raise ValueError(f"--metadata {pair!r}: expected KEY=VALUE, each key once.")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        metadata[name] = value if any(unfit(parsed, name)) else parsed
    return metadata or None


def say(text: str) -> None:
    """Print a message to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def failed(options: argparse.Namespace, reason: str, code: int, found: dict[str, Any]) -> int:
    """Report why a command ended early; with --json, also print an object that says so."""
    say(f"{program()} {options.command}: {reason}")
    if getattr(options, "json", False):
        print(json.dumps({"error": reason, "exit_code": code, **found}))
    return code


class Stdout(io.RawIOBase):
    """Standard output that ignores a reader that has stopped reading, as in `... | head -1`."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return os.isatty(1)

    def write(self, data: Any) -> int:
        try:
            return os.write(1, data)
        except BrokenPipeError:  # the command goes on, so that its exit code says what it found
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return len(data)


def run() -> None:
    """Run the command of this process, and end it."""
    # Hardly any of our objects refer to each other in a circle, and looking for such takes a twentieth of the time.
    gc.set_threshold(50_000, 20, 20)
    # Where one is closed (`>&-`), messages would go into the other, and results into the next file that is opened.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    encoding, lines = sys.stdout.encoding, sys.stdout.isatty()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(Stdout()), encoding, errors="backslashreplace", line_buffering=lines
    )
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    code = main()
    if code == INTERRUPTED:
        os._exit(code)  # requests that wait to be sent again would keep the process alive
    sys.exit(code)
