"""The command `conform`: certify a port of the recorder, written in any language."""

import argparse
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langsmith_rest import local
from langsmith_rest.commands.connecting import Connect
from langsmith_rest.wording import Say

LEVELS = (1, 2, 3)
SHOWN = 10  # problems of a scenario
DESCRIPTION = """Run a port of the recorder in scenarios, some with injected faults, against the
local store's API, and compare what it records with what our recorder records.
COMMAND runs the port; {file}, {dataset} and {experiment} in it are filled in.
The port gets LANGSMITH_ENDPOINT and LANGSMITH_API_KEY in its environment.
PORTING.md says what each level requires."""
EXAMPLES = """Exit code 0: the port reaches the level. 1: it does not. 2: it cannot be run.

examples:
  %(prog)s --level 1 -- python3 ports/python/level1.py {file} {dataset} {experiment}
  %(prog)s -- ./my-port {file} --dataset {dataset} --experiment {experiment}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `conform` takes."""
    parser.usage = "%(prog)s [-h] [--level N] [--only TEXT] [--skip TEXT] [--json] -- COMMAND"
    parser.add_argument(
        "--level", type=int, choices=LEVELS, default=2, help="the level to reach (default: %(default)s)"
    )
    parser.add_argument("--only", metavar="TEXT", help="run only the scenarios whose names contain TEXT")
    parser.add_argument("--skip", metavar="TEXT", help="skip the scenarios whose names contain TEXT")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "port", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command that runs the port; {file} is required"
    )


def run(connect: Connect, say: Say, options: argparse.Namespace) -> int:
    command = options.port[1:] if options.port[:1] == ["--"] else options.port
    check_command(command)
    verdicts = []
    for verdict in played(command, options):
        verdicts.append(verdict)
        if not options.json:
            print(in_lines(verdict), flush=True)
    if not verdicts:
        raise ValueError(f"No scenario up to level {options.level} is left: see the names in PORTING.md.")
    level = level_reached(verdicts, options.level)
    is_part = bool(options.only or options.skip)  # which certifies nothing
    if options.json:
        scenarios = [{**asdict(verdict), "passed": not verdict.problems} for verdict in verdicts]
        print(json.dumps({"level": None if is_part else level, "scenarios": scenarios}))
    else:
        passed = sum(not verdict.problems for verdict in verdicts)
        print(f"{passed} of {len(verdicts)} scenarios passed{'' if is_part else f': level {level}'}")
    return 0 if level >= options.level else 1


def in_lines(verdict: Any) -> str:
    if not verdict.problems:
        return f"{verdict.level}  pass  {verdict.name}: {verdict.expected}"
    lines = [f"{verdict.level}  FAIL  {verdict.name}: expected {verdict.expected}", *verdict.problems[:SHOWN]]
    more = len(verdict.problems) - SHOWN
    return "\n         ".join(lines + [f"and {more} more: --json lists all"] * (more > 0))


def check_command(command: Sequence[str]) -> None:
    """Raise ValueError for a command that cannot be run."""
    if not command:
        raise ValueError("conform needs the command of a port after --, see --help.")
    if not any("{file}" in argument for argument in command):
        raise ValueError("The command of the port has no {file}: put it where the file of results belongs.")
    if not shutil.which(command[0]):
        is_file = Path(command[0]).is_file()
        why = (
            "this file is not executable: use chmod +x, or begin with its interpreter" if is_file else "no such command"
        )
        raise ValueError(f"{command[0]}: {why}.")


def played(command: Sequence[str], options: argparse.Namespace) -> Iterator[Any]:
    """Play the chosen scenarios, several at once since they mostly wait; return their verdicts in order."""
    serve = local.package().serve
    from langsmith_rest.conformance import scenarios  # which needs the store's packages

    logging.getLogger("waitress").setLevel(logging.CRITICAL)  # it complains of answers that are cut on purpose

    def is_asked_for(scenario: dict[str, Any]) -> bool:
        name = scenario["name"]
        is_skipped = options.skip and options.skip in name
        return scenario["level"] <= options.level and (options.only or "") in name and not is_skipped

    chosen = [scenario for scenario in scenarios.load("scenarios.json") if is_asked_for(scenario)]
    with ThreadPoolExecutor(scenarios.ABREAST) as pool:
        yield from pool.map(lambda scenario: scenarios.play(scenario, command, serve), chosen)


def level_reached(verdicts: Sequence[Any], wanted: int) -> int:
    """The highest level at which, and below which, nothing failed; 0 if there is none."""
    failed = [verdict.level for verdict in verdicts if verdict.problems]
    return min(failed, default=wanted + 1) - 1
