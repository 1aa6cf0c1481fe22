"""`push`: copy experiments of the local store to LangSmith, or to another store."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from langsmith_rest import connection, local
from langsmith_rest.commands.connecting import Connect, is_local
from langsmith_rest.commands.progress import counting
from langsmith_rest.connection import LangSmith
from langsmith_rest.errors import SetupError
from langsmith_rest.evaluation.api import find_dataset, find_experiment
from langsmith_rest.evaluation.push import push_experiment
from langsmith_rest.evaluation.running.files import load_function
from langsmith_rest.wording import Say, counted
from recorder import Recording

DESCRIPTION = """Copy experiments from the local store to LangSmith, or to another store, with
their dataset, runs, steps and feedback. Pushing again sends only what is new."""
EXAMPLES = """examples:
  %(prog)s latest
  %(prog)s before after --mask mask.py:without_names
  %(prog)s nightly --to http://127.0.0.1:1985"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "experiments",
        nargs="+",
        metavar="EXPERIMENT",
        help="by name or id; latest is the newest, latest~1 the one before it",
    )
    add("--dataset", metavar="NAME", help="look for the experiments in this dataset only")
    add("--to", metavar="ENDPOINT", help="the server to copy to (default: LANGSMITH_ENDPOINT, with LANGSMITH_API_KEY)")
    add("--mask", metavar="FILE.py:FUNCTION", help="a function that changes every text before it is sent")
    add("--no-verify", action="store_true", help="do not read the experiments back")
    add("--json", action="store_true", help="print one JSON object")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Find every experiment first, then push one after the other, and print the links last."""
    mask = load_function(options.mask) if options.mask else None
    target = destination(options.to)
    with local.served(must_exist=True) as (url, web):
        if target.url.rstrip("/") in (url, web):
            raise ValueError(f"{target.url} is the local store itself: name another one with --to ENDPOINT.")
        source = connection.connect(url, web=web)
        dataset_id = find_dataset(source, options.dataset)["id"] if options.dataset else None
        sessions = [find_experiment(source, name, dataset_id) for name in options.experiments]
        pushed = []
        for session in sessions:
            with counting(f"{session['name']}: runs sent", say) as on_progress:
                verify = not options.no_verify
                recording = push_experiment(source, target, session, mask=mask, on_progress=on_progress, verify=verify)
            report(session, recording, say)
            pushed.append(recording)
    if options.json:
        print(json.dumps({"experiments": [asdict(recording) for recording in pushed]}))
    else:
        print("\n".join(recording.url for recording in pushed))
    return 1 if any(recording.rejected for recording in pushed) else 0


def destination(endpoint: str | None) -> LangSmith:
    """The connection to push to; raises SetupError if none is configured."""
    if not endpoint and is_local():
        place = "set LANGSMITH_API_KEY, or name another store with --to ENDPOINT"
        raise SetupError(f"push needs a destination: {place}.")
    if endpoint and endpoint != local.ENDPOINT:
        connection.check_address("--to", endpoint, "", "", {})
    return connection.connect(endpoint)


def report(session: dict[str, Any], recording: Recording, say: Say) -> None:
    """Report what was sent, and what was left out."""
    name = recording.experiment_name
    for rejected in recording.rejected[:20]:
        say(f"{name}: {', '.join(f'{key} {value}' for key, value in rejected.items())}")
    if not (recording.runs_recorded or recording.feedback or recording.examples_created or recording.rejected):
        say(f"{name}: nothing new; {counted(recording.results, 'run')} pushed before.")
    else:
        runs = f"{counted(recording.runs_recorded, 'run')} sent, {recording.runs_existing:,} existing"
        feedback = counted(recording.feedback, "feedback item")
        say(f"{name}: {runs}; {counted(recording.examples_created, 'new example')}; {feedback}.")
    if (behind := (session.get("run_count") or 0) - recording.results) > 0:
        say(f"{name}: {counted(behind, 'run')} not pushed: retried since, or their example was deleted.")
