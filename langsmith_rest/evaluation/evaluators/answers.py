"""Ready-made evaluators that need no model: functions, and functions that make one for a text, a number or a field.

    from langsmith_rest import exact_match, length_limit, mentions

    evaluators = [exact_match, length_limit(280), mentions("Lima")]

Each returns {"key", "score"} and often a "comment". Without evidence (no reference, no times, no tokens) the score
is None, "not scored", which is not the same as 0.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from langsmith_rest.evaluation.evaluators.emojis import count_emojis

Found = dict[str, Any]  # {"key", "score", "comment"?}
Evaluate = Callable[..., Found]
TEXT_FIELDS = ("answer", "output", "text", "response", "content", "result")


def for_answers(evaluator: Evaluate) -> Evaluate:
    """Mark an evaluator as one that does not score a run without an answer."""
    evaluator.needs_an_answer = True  # type: ignore[attr-defined]
    return evaluator


def not_scored(key: str, why: str) -> Found:
    return {"key": key, "score": None, "comment": why}


def text_of(outputs: Any, field: str | None = None) -> str:
    """The text of an answer: its `field`; else its usual field, its only text, its last message, or all as JSON."""
    if isinstance(outputs, str):
        return outputs
    outputs = outputs or {}
    if field is not None:
        value = outputs.get(field, "") if isinstance(outputs, dict) else ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for name in TEXT_FIELDS:
        if isinstance(outputs.get(name), str):
            return str(outputs[name])
    texts = [value for value in outputs.values() if isinstance(value, str)]
    if len(texts) == 1:
        return texts[0]
    messages = outputs.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return message_text(messages[-1])
    return json.dumps(outputs, ensure_ascii=False, sort_keys=True) if outputs else ""


def message_text(message: dict[str, Any]) -> str:
    """The text of a chat message, whose content may be a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


# ---------------------------------------------------------------- against a reference


@for_answers
def exact_match(*, outputs: dict, reference_outputs: dict) -> Found:
    """1 when the answer equals the reference, 0 when it differs; not scored without a reference."""
    return exact("exact_match")(outputs=outputs, reference_outputs=reference_outputs)


def exact(
    key: str = "exact_match", *, field: str | None = None, ignore_case: bool = False, ignore_blanks: bool = False
) -> Evaluate:
    """Make an evaluator that scores 1 when all outputs, or one `field`, equal the reference, and 0 otherwise.

    `ignore_case` ignores case, `ignore_blanks` the number and kind of blanks. 1 and 1.0 are equal; 1 and true are not.
    Not scored without a reference.
    """

    def alike(value: Any) -> Any:
        if isinstance(value, str):
            value = " ".join(value.split()) if ignore_blanks else value
            return value.casefold() if ignore_case else value
        if isinstance(value, dict):
            return {name: alike(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [alike(item) for item in value]
        return ("boolean", value) if isinstance(value, bool) else value

    def evaluator(*, outputs: dict, reference_outputs: dict) -> Found:
        if not reference_outputs or (field is not None and field not in reference_outputs):
            return not_scored(key, f"no {field or 'reference'} to compare with")
        given = outputs if field is None else (outputs or {}).get(field)
        wanted = reference_outputs if field is None else reference_outputs[field]
        return {"key": key, "score": int(alike(given) == alike(wanted))}

    return named(evaluator, key)


def json_match(*fields: str, key: str = "json_match", ignore_case: bool = False) -> Evaluate:
    """Make an evaluator of JSON fields: the share (0 to 1) that equal the reference; the comment lists the others.

    `fields` are paths such as "address.city" or "items.0.sku"; without any, all fields of the reference are compared.
    If the only text of the outputs or of the reference is JSON, it is parsed. Fields that the reference lacks are not
    compared; without any field to compare, the answer is not scored.
    """
    same = exact(ignore_case=ignore_case)

    def evaluator(*, outputs: dict, reference_outputs: dict) -> Found:
        given, wanted = parsed(outputs), parsed(reference_outputs)
        paths = [path for path in fields or tuple(wanted) if at(wanted, path) is not MISSING]
        if not paths:
            return not_scored(key, "no field of the reference to compare with")
        wrong = []
        for path in paths:
            answer, reference = at(given, path), at(wanted, path)
            equal = same(outputs={"it": answer}, reference_outputs={"it": reference})["score"]
            if answer is MISSING or not equal:
                shown = "missing" if answer is MISSING else json.dumps(answer, ensure_ascii=False, default=str)[:80]
                wrong.append(f"{path}: {shown}, expected {json.dumps(reference, ensure_ascii=False, default=str)[:80]}")
        found: Found = {"key": key, "score": (len(paths) - len(wrong)) / len(paths)}
        return {**found, "comment": "; ".join(wrong)} if wrong else found

    return named(evaluator, key)


MISSING: Any = object()


def at(value: Any, path: str) -> Any:
    """What is at a dotted path, or MISSING; a name with a dot in it is found as well."""
    if isinstance(value, dict) and path in value:
        return value[path]
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


def parsed(outputs: Any) -> dict[str, Any]:
    """Outputs as an object; when all they hold is one text of JSON, that object (in a fence of Markdown, too)."""
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    texts = [outputs[name] for name in outputs if isinstance(outputs[name], str)]
    if len(outputs) == 1 and texts:
        try:
            value = json.loads(re.sub(r"^\s*```(?:json)?\s*|\s*```\s*$", "", texts[0]))
        except ValueError:
            return outputs
        return value if isinstance(value, dict) else outputs
    return outputs


# ---------------------------------------------------------------- of the text alone


def mentions(*texts: str, key: str = "mentions", field: str | None = None, ignore_case: bool = True) -> Evaluate:
    """Make an evaluator that scores 1 when the answer mentions all of `texts`, and 0 otherwise.

    Texts that begin or end with a letter or digit match whole words there. Case is ignored by default. `field` names
    the field of the outputs to look in (default: its usual text). Raises ValueError without a text.
    """
    if not texts or not all(texts):
        raise ValueError("mentions needs at least one text to look for.")
    patterns = {
        text: re.compile(
            (r"\b" if re.match(r"\w", text) else "") + re.escape(text) + (r"\b" if re.search(r"\w$", text) else ""),
            re.IGNORECASE if ignore_case else 0,
        )
        for text in texts
    }

    def evaluator(*, outputs: dict) -> Found:
        answer = text_of(outputs, field)
        missing = [text for text, pattern in patterns.items() if not pattern.search(answer)]
        found: Found = {"key": key, "score": int(not missing)}
        return {**found, "comment": f"not mentioned: {', '.join(missing)}"} if missing else found

    return named(evaluator, key)


def length_limit(
    characters: int | None = None, *, words: int | None = None, key: str = "length_limit", field: str | None = None
) -> Evaluate:
    """Make an evaluator that scores 1 when the answer has at most that many `characters`, or `words`, and 0 otherwise.

    An empty answer is within any limit. Raises ValueError unless exactly one limit is given.
    """
    if (characters is None) == (words is None):
        raise ValueError("length_limit needs either characters or words.")
    limit, unit = (characters, "characters") if words is None else (words, "words")

    def evaluator(*, outputs: dict) -> Found:
        text = text_of(outputs, field)
        length = len(text) if words is None else len(text.split())
        return {"key": key, "score": int(length <= (limit or 0)), "comment": f"{length} of {limit} {unit}"}

    return named(evaluator, key)


def at_least_emojis(count: int, *, key: str = "emojis", field: str | None = None) -> Evaluate:
    """Make an evaluator that scores 1 when the answer has at least `count` emojis, and 0 otherwise."""

    def evaluator(*, outputs: dict) -> Found:
        found = count_emojis(text_of(outputs, field))
        return {"key": key, "score": int(found >= count), "comment": f"{found} of at least {count} emojis"}

    return named(evaluator, key)


# ---------------------------------------------------------------- of the run


def latency_limit(seconds: float, *, key: str = "latency_limit") -> Evaluate:
    """Make an evaluator that scores 1 when the run took at most `seconds`, and 0 otherwise.

    Not scored if the run lacks its start or its end.
    """

    def evaluator(*, run: Any) -> Found:
        if run.latency is None:
            return not_scored(key, "the run has no start or end")
        return {"key": key, "score": int(run.latency <= seconds), "comment": f"{run.latency:.2f} of {seconds} s"}

    return named(evaluator, key)


def token_limit(tokens: int, *, key: str = "token_limit") -> Evaluate:
    """Make an evaluator that scores 1 when run and steps used at most `tokens`, and 0 otherwise.

    Not scored if no number of tokens is known.
    """

    def evaluator(*, run: Any) -> Found:
        used = tokens_of(run)
        if not used:
            return not_scored(key, "the run does not say how many tokens it used")
        return {"key": key, "score": int(used <= tokens), "comment": f"{used:,} of {tokens:,} tokens"}

    return named(evaluator, key)


def tokens_of(run: Any) -> int:
    """The tokens of a run with its steps: those that its steps report, else its own."""
    if run.get("total_tokens"):
        return int(run["total_tokens"])
    usage = (run.get("metadata") or {}).get("usage_metadata") or (run.get("outputs") or {}).get("usage_metadata")
    usage = usage if isinstance(usage, dict) else {}
    own = usage.get("total_tokens") or sum(usage.get(f"{kind}_tokens") or 0 for kind in ("input", "output"))
    return sum(tokens_of(child) for child in run.get("child_runs") or ()) or int(own)


def named(evaluator: Evaluate, key: str) -> Evaluate:
    """Give a made evaluator the name that its failures are recorded under."""
    evaluator.__name__ = key
    return for_answers(evaluator)


evaluators = [exact_match]  # what needs no settings
