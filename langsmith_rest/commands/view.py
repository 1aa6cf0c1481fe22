"""`view`: serve the pages of the local store, or export what they show to a file."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import requests

from langsmith_rest import connection, local
from langsmith_rest.commands.connecting import PACKAGE, Connect
from langsmith_rest.evaluation.api import find_experiment
from langsmith_rest.wording import Say, typed

DESCRIPTION = "Serve the local store: its pages, and LangSmith's REST API for other programs."
EXAMPLES = """examples:
  %(prog)s --open
  %(prog)s --export report.html before after
  %(prog)s --backup copy.db"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", type=port_number, help=f"the port (default: {local.PORT}, or the next free one; 0: any)")
    add("--open", action="store_true", help="also open your browser")
    add(
        "--run-evaluators",
        action="store_true",
        help="also run uploaded evaluators: runs their code and asks models",
    )
    calls = "with --run-evaluators: ask models at most N times (default: no limit)"
    add("--max-judge-calls", type=int, metavar="N", help=calls)
    export = "write a comparison (.html) or an experiment (.jsonl, .csv) to FILE, or to stdout (--export=-.csv)"
    add("--export", metavar="FILE", help=export)
    backup = "copy the whole store to FILE, even while it is in use"
    add("--backup", metavar="FILE", help=backup)
    add("experiments", nargs="*", metavar="EXPERIMENT", help="with --export: the experiments, by name or id")


def port_number(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text) < 2**16:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected 0 to 65535")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Serve the store until interrupted, or export from it; print the address, or the file."""
    if options.export:
        return export(Path(options.export), options.experiments)
    if options.backup:
        if options.experiments:
            raise ValueError("--backup FILE copies the whole store: name no EXPERIMENT.")
        local.back_up(Path(options.backup))
        print(options.backup)
        return 0
    if options.experiments:
        raise ValueError("EXPERIMENT needs --export FILE; the pages show all experiments.")
    if options.max_judge_calls is not None and (not options.run_evaluators or options.max_judge_calls < 1):
        raise ValueError("--max-judge-calls needs a number from 1, and --run-evaluators.")
    path = local.database()
    running = local.running_view(path)
    if running and options.port is None and not options.run_evaluators:
        say(f"{local.shown()} is being served already.")
        show(running, options.open)
        return 0
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            local.serve_pages(path, options.port, run_evaluators=options.run_evaluators, command=typed())
        )
        stack.enter_context(local.leave_address(path, server.url))
        if options.run_evaluators:
            say("Uploaded evaluators run here, without a network; runs that wait for them are scored first.")
            say(f"Other programs upload evaluators with the header {local.TOKEN_HEADER}: {server.token}")
            stack.enter_context(judge_worker(server.url, say, options.max_judge_calls))
        if options.port is None and server.port != local.PORT:
            say(f"Serving at port {server.port}: {local.PORT} is taken, or was when this store was recorded.")
        others = f"Other programs can record here with LANGSMITH_ENDPOINT={server.url}"
        say(f"Serving {local.shown()}; Ctrl-C stops it. {others}")
        show(server.url, options.open)
        server.wait()
    return 0


@contextlib.contextmanager
def judge_worker(url: str, say: Say, max_calls: int | None) -> Iterator[None]:
    """Run uploaded model judges in a process of its own, if a model can be asked, while the context lasts."""
    values = connection.settings()
    if not values.get("OPENAI_API_KEY") and not values.get("OPENAI_BASE_URL"):
        say("Uploaded model judges wait: with OPENAI_API_KEY or OPENAI_BASE_URL set, they run here as well.")
        yield
        return
    environment = {name: value for name, value in os.environ.items() if name not in connection.API_KEYS}
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment |= {"LANGSMITH_ENDPOINT": url, "PYTHONPATH": path}
    limit = [] if max_calls is None else ["--max-judge-calls", str(max_calls)]
    with subprocess.Popen(
        [sys.executable, "-m", "langsmith_rest", "judge-worker", "--while-stdin-is-open", *limit],
        env=environment,
        stdin=subprocess.PIPE,  # closed by the system, however this process ends
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends this process, which then ends the worker
    ) as process:
        say("Uploaded model judges run here as well.")
        try:
            yield
        finally:
            process.terminate()


def show(url: str, in_browser: bool) -> None:
    print(url, flush=True)
    if in_browser:
        webbrowser.open(url)


def export(file: Path, experiments: list[str]) -> int:
    """Write what a page offers for download, without serving the pages."""
    if file.suffix not in (".html", ".jsonl", ".csv"):
        raise ValueError(f"--export {file}: the name must end in .html (a comparison), .jsonl or .csv (an experiment).")
    if not experiments or file.suffix != ".html" and len(experiments) > 1:
        wanted = "the experiments to compare" if file.suffix == ".html" else "one experiment"
        raise ValueError(f"--export {file}: name {wanted}.")
    if file.is_file():
        raise ValueError(f"--export {file}: it exists already: remove it, or choose another name.")
    if not file.parent.is_dir():
        raise ValueError(f"--export {file}: there is no folder {file.parent}: create it first.")
    with local.served(must_exist=True) as (address, _):
        api = connection.connect(address, "local")
        sessions = [find_experiment(api, wanted) for wanted in experiments]
        ids = [session["id"] for session in sessions]
        base = f"{address}/o/{sessions[0]['tenant_id']}"
        url = f"{base}/projects/p/{ids[0]}/export{file.suffix}"
        if file.suffix == ".html":
            dataset_ids = {session["reference_dataset_id"] for session in sessions}
            if len(dataset_ids) > 1:
                raise ValueError(f"--export {file}: these experiments belong to different datasets.")
            url = f"{base}/datasets/{dataset_ids.pop()}/compare/report.html?selectedSessions={','.join(ids)}"
        with requests.Session() as session:
            session.trust_env = False  # no proxy on the way to this machine
            with session.get(url, stream=True, timeout=connection.TIMEOUT) as answer:
                answer.raise_for_status()
                if file.stem == "-":
                    sys.stdout.buffer.writelines(answer.iter_content(1 << 20))
                    return 0
                save(file, answer)
    print(file)
    return 0


def save(file: Path, answer: requests.Response) -> None:
    """Write a download to a file, which appears as a whole or not at all."""
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f"{file.name}.", delete=False) as out:
            unfinished = Path(out.name)
            out.writelines(answer.iter_content(1 << 20))
        unfinished.replace(file)
    except OSError as error:
        if unfinished:
            unfinished.unlink(missing_ok=True)
        if isinstance(error, requests.RequestException):
            raise
        raise ValueError(f"--export {file}: it cannot be written ({error.strerror}).") from None
