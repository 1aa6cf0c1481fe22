"""The scenarios of fixtures/conformance: what a port has to do, and what must be stored then."""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import recorder
import rest
from langsmith_rest import connection
from langsmith_rest.conformance import port
from langsmith_rest.conformance.faults import Faults, Seen, by_rules, said
from langsmith_rest.conformance.origins import origins
from langsmith_rest.conformance.state import State, differences, read_state
from langsmith_rest.recording import bodies
from langsmith_rest.recording.batches import BATCH
from langsmith_rest.recording.bodies import parse_time

PACKAGE = Path(__file__).parents[1]
# In a wheel the cases are inside the package, in a checkout beside it.
CASES = (PACKAGE if (PACKAGE / "fixtures").is_dir() else PACKAGE.parent) / "fixtures" / "conformance"
DATASET, EXPERIMENT = "conformance", "conformance-1"
ABREAST = 4  # what runs at once: scenarios, and lines
NOW = re.compile(r"\{now([+-][\d.]+)\}")

Server = Any  # a running localsmith


@dataclass
class Verdict:
    """The outcome of a scenario; `problems` is empty if the port passed."""

    level: int
    name: str
    expected: str
    problems: list[str]


def load(name: str) -> Any:
    return json.loads((CASES / name).read_text(encoding="utf-8"))


# ---------------------------------------------------------------- results


def results_of(wanted: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """The results of a scenario: `of` (a list, or the name of one in results.json) over and over, `count` in all."""
    templates = wanted["of"] if isinstance(wanted["of"], list) else load("results.json")[wanted["of"]]
    count = wanted.get("count", len(templates))
    return [filled(templates[number % len(templates)], number, now) for number in range(count)]


def filled(value: Any, number: int, now: datetime) -> Any:
    """A template with its number for {n} (a number if it stands alone), and times for {now-SECONDS}, {now+SECONDS}."""
    if isinstance(value, dict):
        return {filled(name, number, now): filled(item, number, now) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, number, now) for item in value]
    if not isinstance(value, str):
        return value
    if value == "{n}":
        return number
    text = NOW.sub(lambda found: bodies.timestamp(now + timedelta(seconds=float(found[1]))), value)
    return text.replace("{n}", str(number))


def write(path: Path, results: Sequence[Any]) -> Path:
    lines = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in results]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# ---------------------------------------------------------------- a scenario


@dataclass
class Stage:
    """Where a scenario is played: a fresh store with faults, a folder, and the problems so far."""

    command: Sequence[str]
    server: Server
    faults: Faults
    folder: Path
    results: list[Any]
    now: datetime
    problems: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # answers of calls, for those that follow
    runs: int = 0  # of the port so far

    @property
    def api(self) -> connection.LangSmith:
        return connection.connect(self.server.url, port.KEY)


def play(scenario: dict[str, Any], command: Sequence[str], serve: Callable[..., Server]) -> Verdict:
    """Play one scenario in its own store."""
    now = datetime.now(UTC)
    results = results_of(scenario["results"], now)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serve(folder / "port.db", **scenario.get("switches", {})) as server:
            faults = Faults(server, delay=scenario.get("delay", 0.0))
            stage = Stage(command, server, faults, folder, results, now)
            for step in scenario["steps"]:
                STEPS[step["do"]](stage, step)
                if stage.problems:  # what comes after would only repeat them
                    break
            stage.problems = stage.problems and [at_run(stage, scenario) + stage.problems[0], *stage.problems[1:]]
            faults.plan, faults.delay = (lambda seen: None), 0.0
            if not stage.problems and "state" in scenario:
                check_state(stage, scenario["state"], serve)
    return Verdict(scenario["level"], scenario["name"], scenario["expected"], stage.problems)


def at_run(stage: Stage, scenario: dict[str, Any]) -> str:
    """Which run of the port went wrong, if it has to run more than once."""
    runs = sum(step["do"] == "port" for step in scenario["steps"])
    return f"run {stage.runs} of {runs}: " if runs > 1 else ""


def chosen(stage: Stage, step: dict[str, Any]) -> list[Any]:
    """The results of a step, numbered from 1: those `from` ... `to`, not those `without`, each changed by `with`."""
    without = set(step.get("without", ()))
    some = [
        result
        for number, result in enumerate(stage.results, 1)
        if step.get("from", 1) <= number <= step.get("to", len(stage.results)) and number not in without
    ]
    return [{**result, **step.get("with", {})} for result in some]


def run_port(stage: Stage, step: dict[str, Any]) -> None:
    """Run the port once, and check it against the step."""
    stage.runs += 1
    seen_before = len(stage.faults.seen)
    stage.faults.plan = by_rules(step.get("faults", []))
    file = write(stage.folder / "results.jsonl", step.get("lines") or chosen(stage, step))
    argv = port.arguments(stage.command, file, DATASET, step.get("experiment", EXPERIMENT))
    kill_at = step.get("kill_at")
    kill_when = (lambda: len(stage.faults.seen) - seen_before >= kill_at) if kill_at else None
    environment = {name: text.replace("{url}", stage.server.url) for name, text in step.get("environment", {}).items()}
    ended = port.run(argv, stage.server.url, kill_when, environment)
    stage.faults.plan = lambda seen: None
    check_end(stage, step, ended)
    seen = stage.faults.seen[seen_before:]
    for pattern, (least, most) in step.get("requests", {}).items():
        count = sum(bool(re.match(pattern, one.call)) for one in seen)
        if not least <= count <= (most if most is not None else count):
            expected = f"{least} or more" if most is None else f"{least} to {most}" if least < most else str(most)
            stage.problems.append(f"{count} requests {pattern}, expected {expected}")
    if "pause" in step and (pause := pause_after_fault(seen)) < step["pause"]:
        stage.problems.append(f"asked again after {pause:.1f} s, expected {step['pause']} s")
    if "abreast" in step and (most := most_at_once(seen)) < step["abreast"]:
        stage.problems.append(f"at most {most} requests at once, expected {step['abreast']}")


def check_end(stage: Stage, step: dict[str, Any], ended: port.Ended) -> None:
    if ended.code is None and "kill_at" not in step:
        last = stage.faults.seen[-1].call if stage.faults.seen else "none"
        stage.problems.append(f"still running after {port.TIMEOUT} s; its last request: {last}")
        return
    exit_code = step.get("exit", 0)
    if exit_code != "any" and ended.code is not None and bool(ended.code) != bool(exit_code):
        stage.problems.append(f"exit {ended.code}, expected {exit_code or 0}; it said: {words_of(ended.output)}")
    for pattern in step.get("output", ()):
        if not re.search(pattern, ended.output):
            stage.problems.append(f"its output does not say {pattern}: {ended.output[-300:].strip()!r}")
    if port.KEY in ended.output:
        stage.problems.append("it printed the key")


def words_of(output: str) -> str:
    """What a port said, in a line: its first line and its last two, since some languages say the reason first."""
    lines = [line.strip()[:200] for line in output.splitlines() if line.strip()]
    return " ".join(lines if len(lines) < 4 else [lines[0], "...", *lines[-2:]]) or "nothing"


def pause_after_fault(seen: Sequence[Any]) -> float:
    """Seconds from the first failed request until the same request was sent again."""
    failed = next(one for one in seen if one.fault)
    again = next((one for one in seen if one.call == failed.call and one.began > failed.began), failed)
    return again.began - failed.began


def most_at_once(seen: Sequence[Any]) -> int:
    return max(sum(other.began <= one.began < other.ended for other in seen) for one in seen)


def run_ours(stage: Stage, step: dict[str, Any]) -> None:
    """Record with our recorder; `new` is how many runs it must find missing."""
    name = step.get("experiment", EXPERIMENT)
    recording = recorder.record_langsmith_experiment(
        DATASET, chosen(stage, step), experiment_name=name, langsmith=stage.api
    )
    wanted = step.get("new")
    news = recording.runs_recorded + recording.examples_created + recording.feedback
    if wanted is not None and news != wanted:
        parts = f"{recording.runs_recorded} runs, {recording.examples_created} examples, {recording.feedback} feedback"
        stage.problems.append(f"our recorder finds {parts} new or changed, expected {wanted}")


def call(stage: Stage, step: dict[str, Any]) -> None:
    """Call the API, and remember the id in its answer under `as`."""
    body = json.loads(re.sub(r"\{(\w+)\}", lambda found: stage.ids[found[1]], json.dumps(step["body"])))
    answer = connection.call(stage.api, step["method"], step["path"], json=filled(body, 0, stage.now))
    stage.ids[step.get("as", "")] = answer["id"]


def refusals(stage: Stage, step: dict[str, Any]) -> None:
    """Give the port every line of lines.json: the accepted ones together, the refused ones one by one."""
    lines = load("lines.json")
    taken = [case["line"] for case in lines if case["verdict"] == "recorded"]
    run_port(stage, {"lines": taken, "experiment": "taken"})
    stage.results = [json.loads(line) for line in taken]
    refused = [case for case in lines if case["verdict"] == "refused"]
    with ThreadPoolExecutor(ABREAST) as pool:
        found = pool.map(lambda number: refusal(stage, number, refused[number]), range(len(refused)))
    stage.problems += [problem for problem in found if problem]


def refusal(stage: Stage, number: int, case: dict[str, str]) -> str:
    """What a port does wrong with a line that it must refuse; each line goes into its own dataset."""
    dataset = f"refused-{number}."
    file = write(stage.folder / f"{dataset}jsonl", [case["line"]])
    ended = port.run(port.arguments(stage.command, file, dataset, EXPERIMENT), stage.server.url)
    sent = [one.call for one in stage.faults.seen if one.method != "GET" and dataset.encode() in one.body]
    if ended.code and not sent:
        return ""
    how = f"sent {sent[0]}" if sent else f"exit {ended.code}"
    return f"{how} for {shortened(case['line'])}, where ours says: {shortened(case['because'])}"


def shortened(text: str) -> str:
    """The beginning and the end of a text: either may show what is wrong."""
    return text if len(text) <= 160 else f"{text[:75]} ... {text[-75:]}"


STEPS: dict[str, Callable[[Stage, dict[str, Any]], None]] = {
    "port": run_port,
    "ours": run_ours,
    "call": call,
    "refusals": refusals,
}


# ---------------------------------------------------------------- the final state


def check_state(stage: Stage, wanted: dict[str, Any], serve: Callable[..., Server]) -> None:
    """Compare the store with what our recorder makes of the same results in another store."""
    api = stage.api
    found = connection.call(api, "GET", "/datasets", params={"name": DATASET})
    if len(found) != 1:
        stage.problems.append(f"{len(found)} datasets {DATASET!r}, expected 1")
        return
    dataset_id = found[0]["id"]
    name = wanted.get("experiment", EXPERIMENT)
    sessions = connection.call(api, "GET", "/sessions", params={"reference_dataset": dataset_id})
    session = next((one for one in sessions if name in (None, one["name"])), None)
    if session is None:
        stage.problems.append(f"no experiment {name!r}, but {[one['name'] for one in sessions]}")
        return
    results = chosen(stage, wanted)
    check_session(stage, session, results, wanted)
    ours = state_of_ours(stage, dataset_id, session, results, wanted.get("before", []), serve)
    state = read_state(api, dataset_id, session["id"])
    stage.problems += differences(state, ours, origins(session, results))
    check_end_time(stage, session, state)
    check_sizes(stage)
    check_order_sent(stage)
    check_feedback_sent(stage, state)


def check_session(stage: Stage, session: dict[str, Any], results: list[Any], wanted: dict[str, Any]) -> None:
    if wanted.get("start") == "given":
        return
    expected_id = bodies.experiment_id(session["reference_dataset_id"], session["name"])
    if session["id"] != expected_id:
        text = f"{session['reference_dataset_id']}-{session['name']}"
        stage.problems.append(f"the experiment's id is {session['id']}, expected {expected_id}, the uuid5 of {text}")
    times = list(map(bodies.times, results))
    earliest = min((start for start, _ in times if start), default=None)
    longest = max((took for _, took in times), default=bodies.ZERO)
    bounds = [bodies.session_start(earliest, longest, now) for now in (stage.now, datetime.now(UTC))]
    start = parse_time(session["start_time"])
    if not start or not bounds[0] <= start <= bounds[1]:
        expected = " to ".join(sorted({bodies.timestamp(bound) for bound in bounds}))
        stage.problems.append(f"the experiment starts at {session['start_time']}, expected {expected}")


def state_of_ours(
    stage: Stage,
    dataset_id: str,
    session: dict[str, Any],
    results: list[Any],
    before: list[dict[str, Any]],
    serve: Callable[..., Server],
) -> State:
    """What our recorder makes of results, in a dataset and an experiment with the same ids and start."""
    with serve(stage.folder / "ours.db") as server:
        api = connection.connect(server.url, port.KEY)
        connection.call(api, "POST", "/datasets", json={"name": DATASET, "id": dataset_id})
        kept = {name: session[name] for name in ("id", "name", "start_time", "reference_dataset_id")}
        rest.create_session(api, kept)
        for earlier in before:  # other experiments of the dataset, whose examples are there too
            recorder.record_langsmith_experiment(
                DATASET, chosen(stage, earlier), experiment_name="before", langsmith=api
            )
        recorder.record_langsmith_experiment(DATASET, results, experiment_name=session["name"], langsmith=api)
        return read_state(api, dataset_id, session["id"])


def check_end_time(stage: Stage, session: dict[str, Any], state: State) -> None:
    """An experiment ends when it is closed, or with its last run if that ends later."""
    closed = parse_time(session.get("end_time"))
    if not closed:
        stage.problems.append("the experiment was not closed: it has no end_time")
        return
    last = max((end for run in state["run"].values() if (end := parse_time(run["end_time"]))), default=stage.now)
    if closed < max(last, stage.now) - timedelta(seconds=1):  # it may be sent in whole seconds
        expected = bodies.timestamp(max(last, stage.now))
        stage.problems.append(f"the experiment's end_time is {session['end_time']}, expected {expected} or later")


def check_order_sent(stage: Stage) -> None:
    """Where the root of a tree is stored, the whole tree is."""
    known = set[Any]()
    for seen in stage.faults.seen:
        for run in runs_posted(seen) if seen.call == "POST /runs/batch" else ():
            if run.get("trace_id") in known and run.get("id") not in known:
                stage.problems.append(f"run {run.get('id')} is sent after the root of its tree, {run['trace_id']}")
                return
            known.add(run.get("id"))


def runs_posted(seen: Seen) -> list[dict[str, Any]]:
    runs = seen.sent.get("post") if isinstance(seen.sent, dict) else None
    return [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []


NAMED_FILE = re.compile(rb'name="?(feedback\.[^";\r]+)"?; *filename')
FEEDBACK_PART = re.compile(rb'name="feedback\.[^"]+".*?\r\n\r\n(.*?)\r\n--', re.DOTALL)


COUNTS: dict[str, Callable[[Seen], int]] = {  # of what a request holds
    "POST /examples/bulk": lambda seen: len(seen.sent) if isinstance(seen.sent, list) else 0,
    "POST /runs/batch": lambda seen: len(runs_posted(seen)),
    "POST /runs/multipart": lambda seen: len(FEEDBACK_PART.findall(seen.body)),
}


def check_sizes(stage: Stage) -> None:
    for seen in stage.faults.seen:
        if seen.call in COUNTS and (count := COUNTS[seen.call](seen)) > BATCH:
            stage.problems.append(f"{seen.call} holds {count}, expected at most {BATCH}")
            return


def check_feedback_sent(stage: Stage, state: State) -> None:
    """What a store does not show of feedback: nulls, file names, and the trace and the start that it was sent with."""
    for seen in stage.faults.seen:
        if seen.method != "POST" or seen.path not in ("/runs/multipart", "/feedback"):
            continue
        if seen.path == "/runs/multipart" and (named := NAMED_FILE.search(seen.body)):
            stage.problems.append(f"{named[1].decode()} is sent with a file name, as if it were a file")
            return
        sent = FEEDBACK_PART.findall(seen.body) if seen.path == "/runs/multipart" else [seen.body]
        for item in filter(lambda item: isinstance(item, dict), map(said, sent)):
            run = state["run"].get(item.get("run_id"), {})
            start = parse_time(item.get("start_time"))
            if run and (item.get("trace_id"), start) != (run["trace_id"], parse_time(run["start_time"])):
                stage.problems.append(f"feedback {item.get('id')} does not have the trace and the start of its run")
                return
            if nulls := sorted(name for name, value in item.items() if value is None):
                stage.problems.append(f"feedback {item.get('id')} is sent with null for {', '.join(nulls)}")
                return
