"""`delete`: delete experiments with their runs and scores, or a whole dataset."""

import argparse
import json
from typing import Any

from langsmith_rest.commands.asking import ask, need_somebody, say_yes
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as further
from langsmith_rest.wording import Say, counted

DESCRIPTION = """Delete experiments with their runs and scores, or a dataset with its examples
and experiments. You cannot undo this."""
EXAMPLES = """examples:
  %(prog)s latest
  %(prog)s before after --dataset capitals
  %(prog)s --dataset capitals --all --yes"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="by name or id; latest is the newest, latest~1 the one before it",
    )
    add("--dataset", metavar="NAME", help="look for the experiments in this dataset only")
    add("--all", action="store_true", help="delete the dataset of --dataset, with its examples and experiments")
    add("--yes", action="store_true", help="do not ask for confirmation")
    add("--json", action="store_true", help="print one JSON object")


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Find everything that is named before anything is deleted, and ask once."""
    if options.all == bool(options.experiments):
        raise ValueError("name EXPERIMENTs to delete, or --dataset NAME --all to delete a whole dataset.")
    if options.all and not options.dataset:
        raise ValueError("--all deletes a dataset: name it with --dataset NAME.")
    need_somebody(options.yes)
    with connect("deleting from", must_exist=True) as api:
        dataset = further.find_dataset(api, options.dataset) if options.dataset else None
        sessions = find_sessions(api, dataset, options.experiments)
        what = described(dataset if options.all else None, sessions)
        (say_yes if options.yes else ask)(f"Delete {what}?")
        further.delete_experiments(api, [session["id"] for session in sessions])
        if options.all and dataset:
            further.delete_dataset(api, dataset["id"])
    say(f"Deleted {what}.")
    if options.json:
        names = {"experiments": [session["name"] for session in sessions]}
        print(json.dumps({"deleted": {"dataset": options.dataset, **names} if options.all else names}))
    return 0


def find_sessions(api: LangSmith, dataset: dict[str, Any] | None, names: list[str]) -> list[dict[str, Any]]:
    """The named experiments, each once; all of the dataset when none is named."""
    if not names and dataset:
        return list(further.list_sessions(api, reference_dataset=dataset["id"]))
    found = [further.find_experiment(api, name, dataset["id"] if dataset else None) for name in names]
    return list({session["id"]: session for session in found}.values())


def described(dataset: dict[str, Any] | None, sessions: list[dict[str, Any]]) -> str:
    if dataset:
        examples = counted(dataset.get("example_count") or 0, "example")
        return f"dataset {dataset['name']!r} with {examples} and {counted(len(sessions), 'experiment')}"
    named = [f"{session['name']!r} ({counted(session.get('run_count') or 0, 'run')})" for session in sessions]
    return f"experiment{'' if len(named) == 1 else 's'} {', '.join(named)}"
