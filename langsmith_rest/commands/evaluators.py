"""`main.py evaluators`: its commands, what they ask before they change anything, and what they print."""

import argparse
import contextlib
import json
import linecache
import sys
import tokenize
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rest
from langsmith_rest import connection
from langsmith_rest.commands.asking import ask, say_yes
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.api import find_experiment, list_sessions
from langsmith_rest.evaluation.evaluators.returns import feedback_items
from langsmith_rest.evaluation.hosting import upload
from langsmith_rest.evaluation.hosting.checking import RETURNS
from langsmith_rest.evaluation.hosting.perform_eval import ENTRY, perform_eval
from langsmith_rest.evaluation.hosting.upload_judge import judge_content
from langsmith_rest.evaluation.runs_api import list_experiment_runs
from langsmith_rest.wording import Say, clean, typed

DESCRIPTION = "Manage evaluators that LangSmith, or the local store, runs on new runs."
EXAMPLES = """examples:
  %(prog)s test evals.py --function exact --dataset capitals
  %(prog)s upload evals.py --name exact --function exact --dataset capitals
  %(prog)s run exact --experiment v1
  %(prog)s list --dataset capitals"""
# What a run is for an evaluator: these fields of it.
SELECTS = (
    *("ID", "NAME", "RUN_TYPE", "STATUS", "START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "ERROR", "EXTRA", "TAGS"),
    *("TRACE_ID", "DOTTED_ORDER", "REFERENCE_EXAMPLE_ID", "PROMPT_TOKENS", "COMPLETION_TOKENS", "TOTAL_TOKENS"),
)


def add_actions(parser: argparse.ArgumentParser) -> tuple[argparse.ArgumentParser, ...]:
    """The parsers of list, test, upload, upload-judge, delete and run."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|test|upload|upload-judge|delete|run")

    def action(name: str, line: str, description: str, example: str) -> argparse.ArgumentParser:
        epilog = f"example:\n  %(prog)s {example}"
        return actions.add_parser(
            name, help=line, description=description, epilog=epilog, formatter_class=parser.formatter_class
        )

    listing = action("list", "list evaluators", "List evaluators, code and model judges.", "--dataset capitals")
    test = action(
        "test",
        "try a function on a recorded run",
        "Run a function on this machine, as it would be uploaded, on a recorded run.",
        "evals.py --function exact --dataset capitals",
    )
    code = action(
        "upload",
        "upload a function",
        "Upload a function, with everything in its file that it uses.",
        "evals.py --name exact --function exact --dataset capitals",
    )
    judge = action(
        "upload-judge",
        "upload a model judge",
        "Upload a model judge.",
        "--name polite --prompt prompt.txt \\\n      --schema verdict.json --model gpt-5-mini --dataset capitals",
    )
    delete = action(
        "delete", "delete an evaluator", "Delete an evaluator; existing scores are kept.", "exact --dataset capitals"
    )
    run = action(
        "run", "score an existing experiment", "Let an evaluator score an existing experiment.", "exact --experiment v1"
    )
    return listing, test, code, judge, delete, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing, test, code, judge, delete, run = add_actions(parser)
    for command in (test, code):
        command.add_argument("file", metavar="FILE", help="a Python file; it is read, never imported")
        command.add_argument("--function", required=True, metavar="NAME", help="the function to use as evaluator")
    test.add_argument("--dataset", required=True, metavar="NAME", help="try it on a run of this dataset")
    test.add_argument("--experiment", metavar="NAME", help="take the run from this experiment (default: the newest)")
    code.add_argument("--name", metavar="NAME", help="name of the evaluator and its score (default: the function's)")
    judge.add_argument("--name", required=True, metavar="NAME", help="name of the evaluator")
    judge.add_argument(
        "--prompt", required=True, type=Path, metavar="FILE", help="prompt with {input}, {output}, {reference}"
    )
    judge.add_argument("--schema", required=True, type=Path, metavar="FILE", help="JSON schema of the verdict")
    judge.add_argument("--model", required=True, help="[openai:|anthropic:]NAME, or FILE.json with a serialised model")
    for command in (delete, run):
        command.add_argument("name", metavar="NAME", help="name or id of the evaluator")
    run.add_argument("--experiment", required=True, metavar="NAME", help="name or id of the experiment")
    for command, with_example, alone in ((code, ", as (run, example)", ", as (run)"), (judge, "", "")):
        of = command.add_mutually_exclusive_group()
        of.add_argument("--dataset", metavar="NAME", help=f"score runs on this dataset{with_example}")
        of.add_argument("--project", metavar="NAME", help=f"score runs of this project{alone}")
    for command in (listing, delete, run):
        of = command.add_mutually_exclusive_group()
        of.add_argument("--dataset", metavar="NAME", help="look only at evaluators of this dataset")
        of.add_argument("--project", metavar="NAME", help="look only at evaluators of this project")
    for command in (code, judge):
        rate = "share of the runs to score, 0 to 1 (default: 1, or unchanged)"
        command.add_argument(
            "--sample-rate", "--sampling-rate", type=share, dest="sampling_rate", metavar="RATE", help=rate
        )
        command.add_argument(
            "--replace", action="store_true", help="replace an existing evaluator with this name; asks first"
        )
    for command in (code, judge, delete):
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for command in (listing, test, code, judge, delete, run):
        command.add_argument("--json", action="store_true", help="print one JSON object")


def share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")
    return float(text)


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    """Check everything that can be checked here, then connect and run the command."""
    if options.action == "list":
        with connect("reading", must_exist=True) as api:
            return show_list(upload.list_evaluators(api, target_of(api, options)), options.json, say)
    if options.action == "test":
        code = perform_eval(read_source(options.file), options.function, "dataset", options.file)
        with connect("reading", must_exist=True) as api:
            run, example, experiment = a_run(api, options.dataset, options.experiment)
        return try_out(code, options.function, run, example, experiment, say, options.json)
    if options.action == "delete":
        with connect("deleting from", must_exist=True) as api:
            return delete(api, options, say)
    if options.action == "run":
        with connect("scoring in", must_exist=True) as api:
            return run_on_experiment(api, options, say)
    if options.action == "upload":
        options.name = options.name or options.function
    is_placed = options.dataset is not None or options.project is not None
    if not is_placed and not options.replace:
        raise ValueError("Name what the evaluator is attached to: --dataset NAME or --project NAME.")
    content = content_of(options) if is_placed else None
    with connect("uploading to", must_exist=True) as api:
        if not content:  # it depends on what the evaluator to replace is attached to
            rule = upload.find_evaluator(api, options.name, None)
            options.dataset, options.project = rule.get("dataset_id"), rule.get("session_id")
            content = content_of(options)
        return upload_to(api, content, options, say)


def content_of(options: argparse.Namespace) -> dict[str, Any]:
    """What is uploaded; raises ValueError if it cannot work in LangSmith."""
    kind = "dataset" if options.dataset is not None else "project"
    if options.action == "upload":
        return upload.code_content(perform_eval(read_source(options.file), options.function, kind, options.file))
    return judge_content(options.prompt, options.schema, options.model, options.name, kind)


def read_source(file: str) -> str:
    try:
        with tokenize.open(file) as source:
            return source.read()
    except FileNotFoundError:
        raise ValueError(f"{file}: there is no such file.") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as Python: {error}.") from None


def target_of(api: LangSmith, options: argparse.Namespace) -> upload.Target | None:
    return upload.find_target(api, options.dataset, options.project)


def is_local(api: LangSmith) -> bool:
    return connection.is_loopback(api.url)


# ---------------------------------------------------------------- commands


def upload_to(api: LangSmith, content: dict[str, Any], options: argparse.Namespace, say: Say) -> int:
    target = target_of(api, options)
    assert target is not None  # argparse requires one
    confirm = (say_yes if options.yes else ask) if options.replace else None
    rule, outcome = upload.upload(api, options.name, target, content, options.sampling_rate, confirm)
    kind = upload.kind_of(rule)
    if options.json:
        print(json.dumps({"outcome": outcome, **as_json(rule)}))
    else:
        rate = f"{rule['sampling_rate']:g}"
        print(clean("  ".join((outcome, rule["display_name"], kind or "", upload.target_of(rule), rate))))
    if is_local(api):
        model = " with OPENAI_API_KEY or OPENAI_BASE_URL set" if kind == "judge" else ""
        say(f"The local store runs it on new runs while it is served{model} by: {typed(upload.VIEW)}")
    return 0


def delete(api: LangSmith, options: argparse.Namespace, say: Say) -> int:
    rule = upload.find_evaluator(api, options.name, target_of(api, options))
    (say_yes if options.yes else ask)(f"Delete {rule['display_name']!r} of {upload.target_of(rule)}?")
    upload.delete_rule(api, rule["id"])
    say(f"Deleted {rule['display_name']!r} of {upload.target_of(rule)}; existing scores are kept.")
    if options.json:
        print(json.dumps({"outcome": "deleted", **as_json(rule)}))
    return 0


def run_on_experiment(api: LangSmith, options: argparse.Namespace, say: Say) -> int:
    rule = upload.find_evaluator(api, options.name, target_of(api, options))
    experiment = find_experiment(api, options.experiment)
    answer = upload.evaluate_experiment(api, experiment["id"], rule["id"])
    when = f"while it is served by: {typed(upload.VIEW)}" if is_local(api) else "in the next minutes."
    say(f"{rule['display_name']!r} will score the runs of {experiment['name']!r} {when}")
    dataset = {"id": experiment["reference_dataset_id"], "tenant_id": experiment["tenant_id"]}
    url = rest.experiment_url(api, dataset, experiment["id"])
    print(
        json.dumps({"experiment_id": experiment["id"], "rule_id": rule["id"], "answer": answer, "url": url})
        if options.json
        else url
    )
    return 0


def show_list(rules: Sequence[dict], as_object: bool, say: Say) -> int:
    if as_object:
        print(json.dumps({"evaluators": [as_json(rule) for rule in rules]}))
        return 0
    if not rules:
        say("No evaluators yet.")
        return 0
    head = ("name", "kind", "of", "rate", "enabled", "changed")
    rows = [head]
    for rule in rules:
        enabled = "yes" if rule.get("is_enabled", True) else "no"
        rate = f"{rule['sampling_rate']:g}"
        where = upload.target_of(rule)
        rows.append((rule["display_name"], upload.kind_of(rule) or "", where, rate, enabled, rule["updated_at"][:10]))
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    for row in rows:
        print(clean("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()))
    return 0


def as_json(rule: dict) -> dict[str, Any]:
    names = ("id", "display_name", "dataset_id", "dataset_name", "session_id", "session_name", "sampling_rate")
    found = {name: rule.get(name) for name in (*names, "is_enabled", "created_at", "updated_at")}
    content = {field: rule[field] for field in upload.KINDS if rule.get(field)}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "kind": upload.kind_of(rule),
        **content,
    }


# ---------------------------------------------------------------- trying one here


def a_run(api: LangSmith, dataset: str, experiment: str | None) -> tuple[dict, dict, str]:
    """A stored run without an error where there is one, its example, and the name of their experiment."""
    target = upload.find_target(api, dataset, None)
    assert target is not None
    if experiment is not None:
        sessions = [find_experiment(api, experiment, target.id)]
    else:
        newest = list_sessions(api, reference_dataset=target.id, sort_by="start_time")
        sessions = [session for _, session in zip(range(20), newest, strict=False)]
    for session in sessions:
        found = list_experiment_runs(api, target.id, [session["id"]], SELECTS)
        pairs = [(run, example) for _, example in zip(range(100), found, strict=False) for run in example["runs"]]
        for run, example in sorted(pairs, key=lambda pair: bool(pair[0].get("error"))):
            return (
                as_given(run, session["id"]),
                {key: example[key] for key in example if key != "runs"},
                session["name"],
            )
    raise LookupError(f"There is no run of {target} to try it on: record or evaluate an experiment first.")


def as_given(run: dict, session_id: str) -> dict[str, Any]:
    """A run as an evaluator gets it: lower-case fields; those that are not set are None."""
    found = {**dict.fromkeys(name.lower() for name in SELECTS), **run, "session_id": session_id}
    return {**found, "run_type": found["run_type"].lower(), "status": found["status"].lower()}


def try_out(code: str, name: str, run: dict, example: dict, experiment: str, say: Say, as_object: bool) -> int:
    """Run the uploaded form of an evaluator in this process and print what it would score."""
    say(f"run {run['id']} of {experiment}, example {example['id']}")
    module = sys.modules["evaluator"] = types.ModuleType("evaluator")  # dataclasses and pickle look it up
    names = vars(module)
    linecache.cache["<evaluator>"] = (len(code), None, code.splitlines(keepends=True), "<evaluator>")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(code, "<evaluator>", "exec", dont_inherit=True), names)
            returned = names[ENTRY](run, example)
    except (Exception, SystemExit) as error:
        frames = error.__traceback__ and error.__traceback__.tb_next
        say("".join(traceback.format_exception(error.with_traceback(frames))).strip())
        return 1
    try:
        items = list(scores(returned, name))
    except ValueError as error:
        say(str(error))
        return 1
    if as_object:
        print(json.dumps({"run_id": run["id"], "example_id": example["id"], "feedback": items}))
    for item in () if as_object else items:
        marks = (item.get(part) for part in ("key", "score", "value", "comment"))
        print(clean("  ".join(str(mark) for mark in marks if mark is not None)))
    return 0


def scores(returned: Any, name: str) -> Iterator[dict]:
    if not isinstance(returned, dict):
        raise ValueError(f"It returned {returned!r:.200}, which is not an object: return {RETURNS}.")
    yield from feedback_items(returned, name)
