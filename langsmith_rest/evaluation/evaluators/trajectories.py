"""Ready-made evaluators of agents: which tools they called, in which order, and what they looked at first."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from langsmith_rest.evaluation.evaluators.answers import Evaluate, Found, exact, for_answers, named, not_scored

Call = dict[str, Any]  # {"name", "args", "arguments"}, the latter as text
MODES = ("strict", "unordered", "subset", "superset")


# ---------------------------------------------------------------- tool calls


def extract_tool_calls(run: Any) -> list[Call]:
    """The tool calls of a run, or of outputs alone, as [{"name", "args", "arguments"}] in order.

    `args` is an object, `arguments` the same as a text of JSON, as in LangSmith's own evaluators.

    They are found in the messages of its outputs (Chat Completions, Responses, Anthropic and LangChain forms). Where
    those hold none, in its steps: those of type tool, or else the messages of those of type llm.
    """
    if not isinstance(run, Mapping):
        return []
    is_run = any(name in run for name in ("outputs", "child_runs", "run_type"))
    outputs = run.get("outputs") if is_run else run
    found = list(calls_in(outputs))
    if found or not is_run:
        return found
    steps = list(steps_of(run))
    tools = [step for step in steps if str(step.get("run_type")).lower() == "tool"]
    if tools:
        return [call_of(tool.get("name") or "tool", tool.get("inputs") or {}) for tool in tools]
    return [
        call for step in steps if str(step.get("run_type")).lower() == "llm" for call in calls_in(step.get("outputs"))
    ]


def steps_of(run: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a run at every level, in order."""
    for child in run.get("child_runs") or ():
        yield child
        yield from steps_of(child)


def calls_in(outputs: Any) -> Iterator[Call]:
    """Yield the tool calls of one message, of a list of messages, or of outputs that hold either."""
    if isinstance(outputs, list):
        for item in outputs:
            yield from calls_in(item)
        return
    if not isinstance(outputs, Mapping):
        return
    if outputs.get("type") in ("function_call", "tool_use"):  # Responses, Anthropic
        yield call_of(outputs.get("name"), outputs.get("arguments", outputs.get("input")))
        return
    if isinstance(calls := outputs.get("tool_calls"), list):
        for call in calls:
            function = call.get("function", call) if isinstance(call, Mapping) else {}
            if isinstance(function, Mapping) and function.get("name"):
                yield call_of(function["name"], function.get("arguments", function.get("args")))
        return
    # `kwargs`: a message as LangChain serialises it, {"lc": 1, "type": "constructor", "kwargs": {...}}.
    for name in ("messages", "choices", "message", "output", "content", "generations", "kwargs"):
        if isinstance(outputs.get(name), list | Mapping):
            yield from calls_in(outputs[name])


def call_of(name: Any, args: Any) -> Call:
    if isinstance(args, str):
        try:
            args = json.loads(args or "{}")
        except ValueError:
            args = {"arguments": args}
    args = args if isinstance(args, dict) else {} if args is None else {"arguments": args}
    return {"name": str(name), "args": args, "arguments": json.dumps(args, ensure_ascii=False)}


def steps_in(outputs: Any, field: str) -> list[Call] | None:
    """The trajectory that outputs contain: `field`, a list of names or {"name", "args"}, else their messages."""
    if not isinstance(outputs, Mapping):
        return None
    stated = outputs.get(field)
    if isinstance(stated, list):
        return [call_of(step, None) if isinstance(step, str) else stated_call(step) for step in stated]
    calls = list(calls_in(outputs))
    return calls if calls or "messages" in outputs else None


def stated_call(step: Any) -> Call:
    calls = list(calls_in({"tool_calls": [step]}))
    return calls[0] if calls else call_of(json.dumps(step, sort_keys=True, default=str), None)


# ---------------------------------------------------------------- trajectories


def trajectory_match(
    mode: str = "strict", *, compare_args: bool = False, field: str = "trajectory", key: str = "trajectory_match"
) -> Evaluate:
    """Make an evaluator that compares the agent's tool calls with those of the reference: 1 if they match, else 0.

    `mode` is "strict" (the same calls in the same order), "unordered" (the same in any order), "subset" (no calls that
    the reference lacks) or "superset" (at least the calls of the reference). With `compare_args`, calls of the same
    tool with other arguments are different calls. Both sides may state their calls in `field` (a list of names or of
    {"name", "args"}) or in messages; the agent's are also found in the steps of its run. The comment says whether the
    match is exact, whether all tools were called, and how many calls were extra. Not scored without a reference.
    """
    if mode not in MODES:
        raise ValueError(f"trajectory_match has no mode {mode!r}: use one of {', '.join(MODES)}.")

    def evaluator(*, outputs: dict, reference_outputs: dict, run: Any = None) -> Found:
        wanted = steps_in(reference_outputs, field)
        if wanted is None:
            return not_scored(key, f"no {field} in the reference to compare with")
        given = steps_in(outputs, field)
        given = extract_tool_calls(run) if given is None and run else given or []
        is_same, all_tools, extra = compare_steps(*(labels(steps, compare_args) for steps in (given, wanted)))
        missing = len((Counter(labels(wanted, compare_args)) - Counter(labels(given, compare_args))).keys())
        matches = {
            "strict": is_same,
            "unordered": all_tools and not extra,
            "subset": not extra,
            "superset": all_tools,
        }
        words = f"all tools: {'yes' if all_tools else f'no ({missing} missing)'}; extra steps: {extra}"
        comment = f"exact: {'yes' if is_same else 'no'}; {words}"
        return {"key": key, "score": int(matches[mode]), "comment": comment}

    return named(evaluator, key)


def compare_steps(given: list[str], wanted: list[str]) -> tuple[bool, bool, int]:
    """Whether two trajectories are equal, whether all wanted steps were taken, and how many were extra."""
    missing, extra = Counter(wanted) - Counter(given), Counter(given) - Counter(wanted)
    return given == wanted, not missing, extra.total()


def labels(calls: list[Call], compare_args: bool) -> list[str]:
    return [json.dumps([call["name"], call["args"] if compare_args else 0], sort_keys=True) for call in calls]


def single_step_match(
    node: str | None = None, *, label: str | None = None, compare_args: bool = True, key: str | None = None
) -> Evaluate:
    """Make an evaluator of one step: 1 if it equals the reference, else 0.

    The step is the run's first one named `node`; without `node`, the outputs are compared. If the node classifies,
    `label` names the field of its decision; case and outer blanks are ignored. Otherwise its tool calls are compared
    when the reference has some (in any order; only their names unless `compare_args`), else every field that the
    reference has. A step that did not run scores 0. Not scored without a reference.
    """
    key = key or f"{node or 'step'}_match"

    def evaluator(*, outputs: dict, reference_outputs: dict, run: Any = None) -> Found:
        wanted = reference_outputs or {}
        wanted = wanted[node] if node and isinstance(wanted.get(node), dict) else wanted
        if not wanted or (label is not None and label not in wanted):
            return not_scored(key, f"no {label or 'reference'} to compare with")
        given: Any = outputs or {}
        if node:
            step = next((step for step in steps_of(run or {}) if step.get("name") == node), None)
            if step is None and node not in given:
                return {"key": key, "score": 0, "comment": f"{node} was not called"}
            given = (step.get("outputs") or {}) if step is not None else given[node]
        return {"key": key, **compare_step(given, wanted, label, compare_args)}

    return named(evaluator, key)


def compare_step(given: Any, wanted: Any, label: str | None, compare_args: bool) -> Found:
    given = given if isinstance(given, dict) else {"output": given}
    if label is not None:
        score = exact(field=label, ignore_case=True, ignore_blanks=True)(outputs=given, reference_outputs=wanted)[
            "score"
        ]
        return {"score": score, "comment": f"{given.get(label)!r}, expected {wanted[label]!r}"}
    if calls := list(calls_in(wanted)):
        mine, theirs = labels(list(calls_in(given)), compare_args), labels(calls, compare_args)
        is_same = Counter(mine) == Counter(theirs)
        return {"score": int(is_same), "comment": f"{len(mine)} tool calls, expected {len(theirs)}"}
    wrong = [name for name in wanted if not exact(field=name)(outputs=given, reference_outputs=wanted)["score"]]
    return {"score": int(not wrong), **({"comment": f"differs in {', '.join(wrong)}"} if wrong else {})}


# ---------------------------------------------------------------- databases

SCHEMA_TOOL = re.compile(
    r"schema|(list|show|get)_?(tables|columns)|(describe|inspect)_?(table|database)", re.IGNORECASE
)
SCHEMA_SQL = re.compile(
    r"\bPRAGMA\s+(\w+\.)?(table_x?info|table_list|database_list|index_list|foreign_key_list)\b|\bsqlite_(master|schema)\b"
    r"|\bsqlite_temp_(master|schema)\b|(?<![\w.])\.(schema|tables)\b|\binformation_schema\b|\bSHOW\s+(FULL\s+)?(TABLES|COLUMNS)\b"
    r"|\bSHOW\s+CREATE\s+TABLE\b|(^|;)\s*DESC(RIBE)?\s+[\w\"'`]",
    re.IGNORECASE,
)
DATA_SQL = re.compile(
    r"\bSELECT\b.+?(\bFROM\b|\(|\d)|\bINSERT\s+INTO\b|\bUPDATE\b.+?\bSET\b|\bDELETE\s+FROM\b|\bREPLACE\s+INTO\b",
    re.IGNORECASE | re.DOTALL,
)
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


@for_answers
def schema_before_query(*, outputs: dict, run: Any = None) -> Found:
    """1 when the agent looked at the database's schema before its first data query, 0 when it queried blindly.

    Looking is SQL such as `PRAGMA table_info`, `sqlite_master`, `.schema`, `information_schema`, `SHOW TABLES`,
    `DESCRIBE`, or a tool whose name says so (`get_schema`, `list_tables`). Not scored when no data was queried.
    """
    key, looked = "schema_before_query", False
    for number, call in enumerate(extract_tool_calls(run) or extract_tool_calls(outputs), 1):
        for kind in kinds_of(call):
            if kind == "schema":
                looked = True
            elif looked:
                return {"key": key, "score": 1, "comment": f"first data query in call {number}, after the schema"}
            else:
                return {"key": key, "score": 0, "comment": f"call {number} queried data without looking at the schema"}
    return not_scored(key, "only the schema was looked at" if looked else "no data query")


def kinds_of(call: Call) -> Iterator[str]:
    """Yield "schema" or "data" for each statement of a call, in order; other statements are skipped."""
    if SCHEMA_TOOL.search(call["name"]):
        yield "schema"
        return
    for text in texts_in(call["args"]):
        for statement in re.sub(COMMENTS, " ", text).split(";"):
            if SCHEMA_SQL.search(statement):
                yield "schema"
            elif DATA_SQL.search(statement):
                yield "data"


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)


evaluators = [schema_before_query]  # what needs no settings
