"""Runs that are recorded already: read them as evaluators see them, score them, and keep their feedback up to date."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import rest
from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation import api as wing
from langsmith_rest.evaluation.evaluators.calling import Await, Evaluator, Example, Item, Run, score
from langsmith_rest.recording import bodies
from langsmith_rest.recording.bodies import parse_time
from langsmith_rest.recording.results import SentRun
from langsmith_rest.recording.sending import create_feedback
from langsmith_rest.wording import clean, counted, shortened

SELECTS = (
    *("ID", "NAME", "RUN_TYPE", "STATUS", "ERROR", "START_TIME", "END_TIME", "INPUTS", "OUTPUTS", "METADATA", "TAGS"),
    *("PROJECT_ID", "TRACE_ID", "IS_ROOT", "PARENT_RUN_IDS", "DOTTED_ORDER", "REFERENCE_EXAMPLE_ID", "FEEDBACK_STATS"),
    *("TOTAL_TOKENS", "PROMPT_TOKENS", "COMPLETION_TOKENS", "TOTAL_COST"),
)
SHOWN_VALUES = 5
Scored = tuple[Run, Example]
Said = list[tuple[str, list[Item]]]  # what each evaluator said, by its name
Worked = tuple[str, str]  # the id of a run or experiment, and a key under which no evaluator failed


@dataclass
class Tally:
    """Feedback by key: how many scores and their sum, how often which value, how many failures of the evaluator."""

    scores: Counter[str] = field(default_factory=Counter)
    sums: dict[str, float] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    unscored: Counter[str] = field(default_factory=Counter)  # what has neither, and what an evaluator said nothing of
    errors: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)  # why an evaluator failed for the first time
    errors_of_others: Counter[str] = field(default_factory=Counter)  # those of evaluators that nobody asked for now

    @property
    def failures(self) -> Counter[str]:
        """The failures, by key, of the evaluators that were asked for."""
        return self.errors - self.errors_of_others

    def add(self, item: Mapping[str, Any], *, of_others: bool = False) -> None:
        key, value = item["key"], item.get("value")
        if item.get("error"):
            self.errors[key] += 1
            self.errors_of_others[key] += of_others
            self.reasons.setdefault(key, item.get("comment") or "it does not say why")
        elif item.get("score") is not None:
            self.scores[key] += 1
            self.sums[key] = self.sums.get(key, 0.0) + float(item["score"])
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self.values.setdefault(key, Counter())[text] += 1
        else:
            self.unscored[key] += 1

    def add_said(self, said: Said) -> None:
        """Add what evaluators said, each of which leaves a trace, even if it is silent."""
        for name, items in said:
            for item in items:
                self.add(item)
            self.unscored[name] += not items

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in sorted({*self.scores, *self.values, *self.errors, *+self.unscored}):
            number = self.scores[key]
            found[key] = {"n": number, "mean": self.sums[key] / number if number else None, "errors": self.errors[key]}
            if key in self.values:
                found[key]["values"] = dict(self.values[key].most_common())
            if self.unscored[key]:
                found[key]["not_scored"] = self.unscored[key]
            if key in self.reasons:
                found[key]["first_error"] = self.reasons[key]
        return found

    def rows(self) -> list[tuple[str, str]]:
        """Each key, and in words what its feedback comes to: the mean, the most frequent values, the failures."""
        rows = []
        for key, sums in self.as_json().items():
            parts = [f"{sums['mean']:.3f} (mean of {sums['n']:,})"] if sums["n"] else []
            values = list(sums.get("values", {}).items())
            parts += [f"{clean(shortened(value, 30))}: {number:,}" for value, number in values[:SHOWN_VALUES]]
            more = len(values) - SHOWN_VALUES
            parts += [f"and {counted(more, 'more value')}"] if more > 0 else []
            parts += [f"{sums['errors']:,} failed"] if sums["errors"] else []
            if not_scored := sums.get("not_scored"):
                parts += [f"{not_scored:,} not scored"] if parts else [f"not scored ({not_scored:,})"]
            rows.append((clean(key), ", ".join(parts)))
        return rows


# ---------------------------------------------------------------- reading


def read_runs(api: LangSmith, dataset_id: str, session: dict, *, with_steps: bool) -> Iterator[Scored]:
    """Yield the runs of an experiment with their examples, those of one example in the order in which they ran."""
    steps: dict[str, list[dict]] = {}
    if with_steps:
        for step in wing.list_steps(api, session, SELECTS):
            steps.setdefault((step.get("parent_run_ids") or [""])[-1], []).append(step)
    for example in wing.list_experiment_runs(api, dataset_id, [session["id"]], SELECTS):
        for run in by_start(example["runs"]):
            yield as_run(run, session["id"], steps), as_example(example)


def by_start(runs: Sequence[dict]) -> list[dict]:
    return sorted(runs, key=lambda run: run.get("start_time") or "")


def as_run(run: dict, session_id: str, steps: Mapping[str, list[dict]] | None = None) -> Run:
    """A run of the v2 API as evaluators see it, with its steps below it."""
    children = sorted((steps or {}).get(run["id"], ()), key=lambda step: step.get("dotted_order") or "")
    found = {name: run.get(name) for name in Run.FIELDS}
    found |= {"session_id": session_id, "run_type": str(run.get("run_type") or "").lower()}
    found |= {"start_time": as_time(run.get("start_time")), "end_time": as_time(run.get("end_time"))}
    found |= {"outputs": run.get("outputs") or {}, "trace_id": run.get("trace_id") or run["id"]}
    return Run(found, child_runs=[as_run(child, session_id, steps) for child in children])


def as_time(value: Any) -> datetime | None:
    return parse_time(value) if value else None


def as_example(example: Mapping[str, Any]) -> Example:
    found = {name: example.get(name) for name in Example.FIELDS}
    return Example(found, attachments=attachments_of(example))


def attachments_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """The files of an example by their names, each with the address it can be read from for a while."""
    urls = example.get("attachment_urls") or {}
    return {name.removeprefix("attachment."): found for name, found in urls.items()}


# ---------------------------------------------------------------- scoring


def values_of(run: Run, example: Example) -> dict[str, Any]:
    """What an evaluator may ask for, by name."""
    return {
        "inputs": example.inputs or {},
        "outputs": run.outputs or {},
        "reference_outputs": example.outputs or {},
        "run": run,
        "example": example,
        "attachments": example.attachments or {},
        "metadata": example.metadata or {},
    }


def score_runs(
    api: LangSmith,
    runs: Iterable[Scored],
    evaluators: Sequence[Evaluator],
    max_concurrency: int,
    wait: Await,
    tally: Tally,
    on_scored: Callable[[Run], None],
    with_others: bool = False,
) -> Counter[str]:
    """Let evaluators score runs; their feedback is created, or updated where it says something else.

    `with_others` adds to the tally what the runs have from other evaluators, too.
    """
    counts: Counter[str] = Counter()

    def work(pair: Scored) -> Said:
        found = [(evaluator.key, score(evaluator, values_of(*pair), wait)) for evaluator in evaluators]
        on_scored(pair[0])
        return found

    with ThreadPoolExecutor(max_concurrency) as pool:
        for some in chunks(runs, 100):
            made: list[dict] = []
            worked: set[Worked] = set()
            try:
                for (run, _), said in zip(some, pool.map(work, some), strict=True):
                    made += feedback_bodies(run, [item for _, items in said for item in items])
                    worked |= working(run["id"], said)
                    tally.add_said(said)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            known = list(rest.list_feedback(api, [run["id"] for run, _ in some]))
            if with_others:
                ours = {body["id"] for body in made}
                for item in known:
                    if not (item["id"] in ours or item.get("comparative_experiment_id") or is_over(item, worked, "")):
                        tally.add(item, of_others=True)
            counts += synchronise(api, made, known, worked, lambda items: create_feedback(api, items))
    return counts


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    found: list[Any] = []
    for item in items:
        found.append(item)
        if len(found) == size:
            yield found
            found = []
    if found:
        yield found


def feedback_bodies(run: Run, items: list[Item]) -> Iterator[dict[str, Any]]:
    """Feedback on a recorded run, with the ids that it would have had if it had been recorded with the run."""
    start = bodies.timestamp(run.start_time or bodies.EPOCH)
    marks = bodies.feedback_of({"feedback": items})
    return bodies.feedback_bodies(SentRun(run["id"], run.trace_id, run.session_id, start, "", "", marks, b""))


def working(owner_id: str, said: Said) -> set[Worked]:
    """What an earlier failure may be deleted under: the names of evaluators that did not fail, and their keys."""
    good = [(name, items) for name, items in said if not any(item.get("error") for item in items)]
    return {(owner_id, key) for name, items in good for key in (name, *(item["key"] for item in items))}


def synchronise(
    api: LangSmith,
    made: list[dict],
    existing: Iterable[dict],
    worked: set[Worked],
    create: Callable[[list[dict]], None],
    prefix: str = "",
) -> Counter[str]:
    """Create feedback that is missing, correct what differs, and delete failures of evaluators that work by now.

    `prefix` is what the ids of this feedback are made of before the id of its run.
    """
    known = {found["id"]: found for found in existing}
    missing = [body for body in made if body["id"] not in known]
    changed = [body for body in made if body["id"] in known and is_changed(known[body["id"]], body)]
    ours = {body["id"] for body in made}
    over = [found["id"] for found in known.values() if found["id"] not in ours and is_over(found, worked, prefix)]
    for some in chunks(missing, 100):
        create(some)
    for body in changed:
        rest.update_feedback(api, body)
    for feedback_id in over:
        wing.delete_feedback(api, feedback_id)
    return Counter(created=len(missing), updated=len(changed), deleted=len(over))


def is_over(known: Mapping[str, Any], worked: set[Worked], prefix: str) -> bool:
    """Whether this is a failure, recorded by us, of an evaluator that has worked since."""
    owner_id, key = known.get("run_id") or known.get("session_id") or "", known["key"]
    ids = (bodies.uuid5(f"{prefix}{owner_id}-{key}-error-{number}") for number in range(10))
    return bool(known.get("error")) and (owner_id, key) in worked and known["id"] in ids


def is_changed(known: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    return any(known.get(name) != body.get(name) for name in bodies.MARKS)


# ---------------------------------------------------------------- the whole experiment


def summarise(
    api: LangSmith, session: dict, runs: list[Scored], evaluators: Sequence[Evaluator], wait: Await, tally: Tally
) -> Counter[str]:
    """Let summary evaluators see all runs at once; what they say is feedback on the experiment itself."""
    values = {
        "inputs": [example.inputs or {} for _, example in runs],
        "outputs": [run.outputs or {} for run, _ in runs],
        "reference_outputs": [example.outputs or {} for _, example in runs],
        "runs": [run for run, _ in runs],
        "examples": [example for _, example in runs],
    }
    said = [(evaluator.key, score(evaluator, values, wait)) for evaluator in evaluators]
    items = [item for _, found in said for item in found]
    made, counts = [], Counter[str]()
    tally.add_said(said)
    for item in bodies.feedback_of({"feedback": items}):
        name = f"{item['key']}-error" if item.get("error") else item["key"]
        owner = {"id": bodies.uuid5(f"{session['id']}-{name}-{counts[name]}"), "session_id": session["id"]}
        made.append({**owner, **item, "feedback_source": {"type": "api"}})
        counts[name] += 1

    def create(some: list[dict]) -> None:
        for body in some:
            wing.create_one_feedback(api, body)

    known = wing.list_session_feedback(api, session["id"], level="session")
    return synchronise(api, made, known, working(session["id"], said), create)
