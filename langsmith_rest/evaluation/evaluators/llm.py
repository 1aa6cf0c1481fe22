"""Evaluators that ask a model: ready-made ones, and functions that make one for any criterion.

from langsmith_rest import accuracy, llm_judge, pairwise_judge

polite = llm_judge("Is the answer polite and free of sarcasm?", key="polite")
tone = llm_judge("Which tone has the answer?", scale=["formal", "casual", "rude"], key="tone")
clearer = pairwise_judge("Prefer the answer that a beginner understands better.", key="clearer", both_orders=True)
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.answers import Evaluate, named, not_scored, text_of
from langsmith_rest.evaluation.evaluators.model_server import ModelServer, default_model, default_server
from langsmith_rest.evaluation.evaluators.trajectories import steps_of
from langsmith_rest.evaluation.evaluators.verdict_schemas import verdict_schema_of
from langsmith_rest.evaluation.evaluators.verdicts import check_schema

Scale = type[bool] | tuple[float, float] | Sequence[str]
COMMENTS = ("reasoning", "comment", "explanation")
ROLE = "You are a careful, strict judge of the answers of another system. First reason briefly, then decide."


# ---------------------------------------------------------------- one answer


def llm_judge(
    prompt: str,
    *,
    schema: Any = None,
    scale: Scale = bool,
    model: str | None = None,
    key: str = "llm_judge",
    connection: ModelServer | None = None,
) -> Evaluate:
    """Make an evaluator that asks a model what `prompt` says about inputs, outputs and reference.

    `scale` is bool (scores 1 or 0), (low, high) for a number (whole if both are whole), or a list of categories, which
    become the feedback's `value`. Alternatively, `schema` (a JSON schema, a TypedDict or a pydantic model) describes an
    object: each of its fields becomes feedback, and its `score` and `value` are those of `key`. The model's `reasoning`
    is the comment.

    `model` defaults to OPENAI_MODEL, else a small model of OpenAI. The server is OPENAI_BASE_URL with OPENAI_API_KEY,
    else OpenAI's; `connection` overrides both. Raises ValueError for a schema that a verdict cannot follow.
    """
    wanted = verdict_schema(scale) if schema is None else verdict_schema_of(schema)
    check_schema(wanted)

    def evaluator(*, inputs: dict, outputs: dict, reference_outputs: dict) -> Any:
        parts = [("inputs", inputs), ("answer", outputs)]
        parts += [("reference", reference_outputs)] if reference_outputs else []
        return feedback(ask(prompt, parts, wanted, model, connection), key)

    return asking(evaluator, key, connection)


def asking(evaluator: Evaluate, key: str, connection: ModelServer | None) -> Evaluate:
    """Name an evaluator, and let it fail before anything runs if no model can be asked."""
    evaluator.asks_a_model = True  # type: ignore[attr-defined]
    if connection is None:
        evaluator.setup = default_server  # type: ignore[attr-defined]
    return named(evaluator, key)


def verdict_schema(scale: Scale) -> dict[str, Any]:
    if scale is bool:
        verdict: dict[str, Any] = {"score": {"type": "boolean"}}
    elif isinstance(scale, tuple):
        low, high = scale
        kind = "integer" if isinstance(low, int) and isinstance(high, int) else "number"
        verdict = {"score": {"type": kind, "minimum": low, "maximum": high}}
    elif isinstance(scale, Sequence) and not isinstance(scale, str):
        verdict = {"value": {"type": "string", "enum": list(scale)}}
    else:
        raise ValueError(f"scale is {scale!r}, expected bool, (low, high) or a list of categories.")
    return strict({"reasoning": {"type": "string"}, **verdict})


def strict(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these fields, which is what OpenAI's strict mode takes."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def ask(
    prompt: str,
    parts: Sequence[tuple[str, Any]],
    schema: dict[str, Any],
    model: str | None,
    connection: ModelServer | None,
) -> dict[str, Any]:
    system = {"role": "system", "content": f"{ROLE}\n\nThe rubric:\n{prompt}"}
    messages = [system, {"role": "user", "content": judge.framed(parts)}]
    return judge.ask(connection or default_server(), messages, schema, model or default_model())


def feedback(verdict: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A verdict as feedback; its reasoning is the comment of each item."""
    comment = next((verdict[name] for name in COMMENTS if verdict.get(name)), None)
    marks = {name: mark for name, mark in verdict.items() if name not in COMMENTS}
    own: dict[str, Any] = {name: marks.pop(name) for name in ("score", "value") if name in marks}
    found: list[dict[str, Any]] = [{"key": key, **own}] if own else []
    found += [{"key": name, "value" if isinstance(mark, str | dict) else "score": mark} for name, mark in marks.items()]
    return [{**item, "comment": comment} if comment else item for item in found]


def accuracy(*, key: str = "accuracy", model: str | None = None, connection: ModelServer | None = None) -> Evaluate:
    """Make a judge of whether the answer states what the reference states: 1 or 0, with the model's reason as comment.

    Not scored without a reference. `model` and `connection` are those of `llm_judge`.
    """
    ask_it = llm_judge(ACCURACY, key=key, model=model, connection=connection)

    def evaluator(*, inputs: dict, outputs: dict, reference_outputs: dict) -> Any:
        if not reference_outputs:
            return not_scored(key, "no reference to compare with")
        return ask_it(inputs=inputs, outputs=outputs, reference_outputs=reference_outputs)

    return asking(evaluator, key, connection)


ACCURACY = (
    "Is the answer accurate? Compare it with the reference alone, whatever you believe yourself. It is accurate when "
    "it states the same facts; other words and further correct details are fine. It is not when it contradicts the "
    "reference, leaves out what answers the question, or does not answer."
)


def groundedness(
    *, key: str = "groundedness", model: str | None = None, connection: ModelServer | None = None
) -> Evaluate:
    """Make a judge of whether every claim of the answer follows from the results of the run's tools: 1 or 0.

    Not scored if no tool gave a result. `model` and `connection` are those of `llm_judge`.
    """

    def evaluator(*, inputs: dict, outputs: dict, run: Any) -> Any:
        found = list(tool_results(run, outputs))
        if not found:
            return not_scored(key, "no tool results to be grounded in")
        parts = [("inputs", inputs), ("tool-results", found), ("answer", text_of(outputs))]
        return feedback(ask(GROUNDEDNESS, parts, verdict_schema(bool), model, connection), key)

    return asking(evaluator, key, connection)


GROUNDEDNESS = (
    "Is the answer grounded in the tool results? It is when every factual claim in it is stated there or follows from "
    "them. It is not when one claim is absent from them or contradicts them, even if you know it to be true. Saying "
    "that something could not be found is grounded when it is so."
)


def tool_results(run: Any, outputs: Any) -> Iterator[Any]:
    """Yield the results of tools: the outputs of the run's tool steps, else the tool messages of its outputs."""
    steps = [step for step in steps_of(run or {}) if str(step.get("run_type")).lower() in ("tool", "retriever")]
    yield from (step.get("outputs") or {"error": step.get("error")} for step in steps)
    messages = (outputs or {}).get("messages")
    for message in messages if isinstance(messages, list) and not steps else ():
        if isinstance(message, dict) and (message.get("role") == "tool" or message.get("type") == "tool"):
            yield message.get("content")


# ---------------------------------------------------------------- two answers


def pairwise_judge(
    criterion: str,
    *,
    key: str = "preference",
    model: str | None = None,
    both_orders: bool = False,
    seed: int = 0,
    connection: ModelServer | None = None,
) -> Evaluate:
    """Make a pairwise evaluator that asks a model which of two answers is better by `criterion`.

    The better answer scores 1, the other 0; in a tie both score 0. Which answer is shown first depends on `seed` and
    the content: random over a dataset, but the same every time. Feedback `<key>_shown_first` is the share of the
    preferences that went to the answer shown first; a fair judge is at 0.5 on average.

    With `both_orders`, the model is asked twice, in both orders. If its preference changes with the order, both answers
    score 0 and feedback `<key>_position_bias` is 1, otherwise 0; its mean is how often the order decides. A tie in one
    order is a tie, without such feedback.
    """

    def evaluator(*, inputs: dict, outputs: list, reference_outputs: dict, runs: Any = None) -> Any:
        first = shown_first(seed, inputs, outputs)
        orders = [first, 1 - first] if both_orders else [first]
        verdicts = [prefer(criterion, inputs, outputs, reference_outputs, turn, model, connection) for turn in orders]
        winners, reasons = zip(*verdicts, strict=True)
        decided = [(turn, winner) for turn, winner in zip(orders, winners, strict=True) if winner is not None]
        winner, reason = agreed(winners, reasons)
        shown = {place: f"{reason} (this answer was {'A' if place == first else 'B'})" for place in (0, 1)}
        comment = {run["id"]: shown[place] for place, run in enumerate(runs)} if runs else reason
        found = [{"key": key, "scores": [int(winner == place) for place in (0, 1)], "comment": comment}]
        if decided:
            share = sum(turn == winner for turn, winner in decided) / len(decided)
            found.append({"key": f"{key}{SHOWN_FIRST}", "scores": [share] * 2})
        if len(decided) == 2:
            found.append({"key": f"{key}{POSITION_BIAS}", "scores": [int(winners[0] != winners[1])] * 2})
        return found

    return asking(evaluator, key, connection)


def agreed(winners: Sequence[int | None], reasons: Sequence[str]) -> tuple[int | None, str]:
    """The winner of all orders and a reason; None where they disagree, or one is a tie."""
    if len(set(winners)) == 1:
        return winners[0], reasons[0]
    what = "a tie in one order" if None in winners else "position bias"
    return None, f"{what}, no preference: {reasons[0]}"


def shown_first(seed: int, inputs: Any, outputs: list) -> int:
    """Which answer is shown first: a coin that falls the same way for the same answers, in either order."""
    texts = [judge.as_json(answer) for answer in outputs]
    coin = hashlib.sha256(judge.as_json([seed, inputs, sorted(texts)]).encode()).digest()[0] % 2
    return int(texts[0] > texts[1]) ^ coin if texts[0] != texts[1] else 0


def prefer(
    criterion: str,
    inputs: Any,
    outputs: list,
    reference: Any,
    first: int,
    model: str | None,
    connection: ModelServer | None,
) -> tuple[int | None, str]:
    """The position of the better answer (None for a tie) and why, asked once in one order."""
    second = 1 - first
    parts = [("inputs", inputs), ("answer-A", outputs[first]), ("answer-B", outputs[second])]
    parts += [("reference", reference)] if reference else []
    schema = strict({"reasoning": {"type": "string"}, "better": {"type": "string", "enum": ["A", "B", "tie"]}})
    verdict = ask(f"{criterion}\n\n{PAIRWISE}", parts, schema, model, connection)
    return {"A": first, "B": second}.get(verdict["better"]), verdict["reasoning"]


POSITION_BIAS, SHOWN_FIRST = "_position_bias", "_shown_first"
PAIRWISE = (
    "Which answer is better by this rubric, A or B? Neither their order nor their length alone matters; else: tie."
)


def conciseness(
    *,
    key: str = "conciseness",
    model: str | None = None,
    both_orders: bool = False,
    seed: int = 0,
    connection: ModelServer | None = None,
) -> Evaluate:
    """Make a pairwise judge that prefers the answer that says the same in fewer words; see `pairwise_judge`."""
    return pairwise_judge(
        CONCISENESS, key=key, model=model, both_orders=both_orders, seed=seed, connection=connection
    )  # fmt: skip


CONCISENESS = (
    "Prefer the more concise answer: the one that answers the question completely with fewer words, without "
    "repetition, preamble or padding. An answer that is short because something needed is missing is not concise."
)

evaluators = [accuracy(), groundedness()]  # what needs no settings
