"""`--map`: rows of any shape become results."""

import pytest

from langsmith_rest.importers.mapping import Mapper, parse_rules, propose
from langsmith_rest.recording import checking
from langsmith_rest.recording.sources import Checked


def mapped(row, *pairs, is_text=False):
    return Mapper(parse_rules(list(pairs)), is_text)(row)


def test_dots_go_into_objects():
    """On both sides: into the result, and into the row; a field of that very name comes first."""
    row = {"completion": "4", "call": {"choices": [{"text": "2+2"}]}, "a.b": 1}

    pairs = ("outputs.answer=completion", "inputs.q.text=call.choices.0.text", "metadata.ab=a.b")

    assert mapped(row, *pairs) == {
        "outputs": {"answer": "4"},
        "inputs": {"q": {"text": "2+2"}},
        "metadata": {"ab": 1},
    }


def test_a_bare_value_gets_the_key_of_the_alias():
    """`--map expected=gold` says the same as a field named `expected` does."""
    assert mapped({"gold": "4", "q": {"x": 1}}, "expected=gold", "inputs=q") == {
        "reference_outputs": {"output": "4"},
        "inputs": {"x": 1},
    }


def test_scores_are_feedback_with_their_comments():
    """Numbers and booleans are scores, texts values; the text of an error says that the evaluator failed."""
    row = {"s": 1, "why": "right", "tone": "polite", "crash": "no answer", "nan": float("nan")}

    result = mapped(
        row,
        *("feedback.correct=s", "feedback.correct.comment=why", "feedback.tone=tone"),
        *("feedback.judge.error=crash", "feedback.gone=nan"),
    )

    assert result["feedback"] == [
        {"key": "correct", "score": 1, "comment": "right"},
        {"key": "tone", "value": "polite"},
        {"key": "judge", "error": True, "comment": "no answer"},
    ]


@pytest.mark.parametrize(
    ("value", "start"),
    [(1767225600, "2026-01-01T00:00:00+00:00"), (1767225600500, "2026-01-01T00:00:00.500000+00:00")],
    ids=["seconds", "milliseconds"],
)
def test_times_since_1970_and_latencies(value, start):
    """Seconds and milliseconds are told apart."""
    result = mapped({"t": value, "ms": 250}, "start_time=t", "latency_ms=ms")

    assert result == {"start_time": start, "latency": 0.25}


def test_cells_of_csv_are_numbers_where_numbers_may_be():
    """Scores, times and metadata are read as numbers; texts of inputs and outputs stay texts, save lists."""
    row = {"q": "42", "ok": "True", "n": "7", "none": "", "docs": "['a', 'b']"}

    result = mapped(
        row, *("inputs.q=q", "inputs.docs=docs", "feedback.ok=ok", "metadata.n=n", "outputs.x=none"), is_text=True
    )

    assert result == {
        "inputs": {"q": "42", "docs": ["a", "b"]},
        "feedback": [{"key": "ok", "score": True}],
        "metadata": {"n": 7},
    }


def test_fields_of_a_result_are_kept_and_others_left_out():
    """What needs no mapping is taken as it is; what has no place is known, so that it can be said."""
    mapper = Mapper(parse_rules(["outputs.a=answer"]))

    result = mapper({"inputs": {"q": 1}, "answer": 2, "colour": "red"})

    assert result == {"inputs": {"q": 1}, "outputs": {"a": 2}}
    assert mapper.left_out == {"colour": "red"}


def test_a_source_that_no_row_has_is_a_problem():
    """A misspelt source is told with the fields there are."""
    mapper = Mapper(parse_rules(["outputs.a=answr"]))

    mapper({"question": 1, "answer": 2})

    assert mapper.problems() == ["--map outputs.a=answr: no row has the field 'answr'; they have question, answer"]


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("outputs.answer", "expected FIELD=SOURCE"),
        ("outputs.=x", "expected FIELD=SOURCE"),
        ("=x", "expected FIELD=SOURCE"),
        ("answer=x", "a result has no field 'answer'"),
        ("error.text=x", "'error' is not an object: leave out '.text'"),
        ("feedback=x", "name the score, such as feedback.correct=x"),
    ],
)
def test_what_is_no_rule_is_refused(pair, problem):
    with pytest.raises(ValueError, match=problem):
        parse_rules([pair])


def test_the_proposal_records_the_rows():
    """The flags that are proposed for unknown fields make results of them."""
    rows = [
        {"prompt": "2+2", "completion": "4", "gold": "4", "score": 1, "latency_s": 0.5, "model": "m", "note": "x"},
        {"prompt": "3+3", "completion": "7", "gold": "6", "score": None, "latency_s": 0.5, "model": "m", "note": "x"},
    ]

    flags = propose(rows)

    assert flags == [
        *("inputs.prompt=prompt", "outputs.completion=completion", "reference_outputs.gold=gold"),
        *("feedback.score=score", "latency=latency_s", "metadata.ls_model_name=model", "metadata.note=note"),
    ]
    assert Checked(map(Mapper(parse_rules(flags)), rows)).count == 2


def test_a_duration_is_no_score_and_the_reason_for_the_only_score_is_its_comment():
    """With two scores, nothing says which of them a reason explains."""
    row = {"is_correct": True, "ms": 120, "explanation": "fine"}

    assert propose([row]) == [
        *("feedback.is_correct=is_correct", "latency_ms=ms", "feedback.is_correct.comment=explanation"),
    ]
    assert propose([row | {"polite": 1}])[2] == "metadata.explanation=explanation"


@pytest.mark.parametrize(
    ("rows", "is_text", "flags"),
    [
        ([{"score": 1, "reason": "x", "explanation": "y"}], False, ["feedback.score.comment", "metadata.explanation"]),
        ([{"score": 1, "reason": ["x"], "explanation": "y"}], False, ["metadata.reason", "feedback.score.comment"]),
        ([{"score": 1, "reason": None}, {"score": 0, "reason": {"why": "x"}}], False, ["metadata.reason"]),
        ([{"score": 1, "reason": "x"}, {"score": 0, "reason": ["y"]}], False, ["metadata.reason"]),
        ([{"score": "1", "reason": "x"}, {"score": "0", "reason": "7"}], True, ["metadata.reason"]),
        ([{"score": 1, "ms": "Ms."}], False, ["metadata.ms"]),
        ([{"score": 1, "ms": 5}, {"score": 1, "ms": "Ms."}], False, ["metadata.ms"]),
        ([{"score": "1", "ms": "5"}, {"score": "1", "ms": ""}], True, ["latency_ms"]),
    ],
)
def test_the_proposal_records_reasons_and_durations_of_any_kind(rows, is_text, flags):
    """A score has one comment, which is text, and a latency is a number; everything else is metadata."""
    rows = [{"prompt": "a", "answer": "b", **row} for row in rows]

    proposed = propose(rows, is_text)

    assert [flag.partition("=")[0] for flag in proposed[3:]] == flags
    results = [Mapper(parse_rules(proposed), is_text)(row) for row in rows]
    assert Checked(results).count == len(rows)


def test_columns_of_mlflow_are_proposed_as_scores():
    """`name/value`, `name/rationale` and `name/error_message` belong together; expectations are the reference."""
    row = {
        "exact/value": "True",
        "exact/rationale": "same",
        "exact/error_message": "",
        "expected_response/value": "Lima",
    }

    assert propose([row], is_text=True) == [
        *("feedback.exact=exact/value", "feedback.exact.comment=exact/rationale"),
        *("feedback.exact.error=exact/error_message", "reference_outputs.expected_response=expected_response/value"),
    ]


def test_fields_of_a_result_that_hold_something_else_are_proposed_too():
    """Bare inputs and outputs become objects, tags that are no list are metadata, and times may be numbers."""
    row = {"inputs": "2+2", "outputs": "4", "tags": {"env": "ci"}, "start_time": 1767225600, "split": "test"}

    flags = propose([row])

    assert flags == [
        *("inputs.input=inputs", "outputs.output=outputs", "metadata.tags=tags", "start_time=start_time"),
    ]
    assert Checked([Mapper(parse_rules(flags))(row)]).count == 1


def test_a_state_is_an_error_only_if_it_says_so():
    """A column of states marks failed runs, which have no output."""
    rows = [{"question": "2+2", "answer": "4", "state": "OK"}, {"question": "?", "answer": None, "state": "ERROR"}]

    flags = propose(rows)
    results = [Mapper(parse_rules(flags))(row) for row in rows]

    assert "error=state" in flags
    assert [result.get("error") for result in results] == [None, "ERROR"] and Checked(results).count == 2


def test_what_cannot_be_mapped_is_reported_with_its_row():
    """Times beyond the calendar, a score beside feedback that is text, and parts of what is no object."""
    pairs = ("start_time=ts", "latency_ms=ms", "feedback.s=s", "inputs.p=p", "outputs.a=a")
    row = {"ts": 1e18, "ms": 10**400, "s": 1, "p": "hi", "a": "yes", "feedback": "good", "inputs": "text"}

    problems = "\n".join(checking.prepare(mapped(row, *pairs), 1).problems)

    assert all(f"'{name}'" in problems for name in ("start_time", "latency", "feedback", "inputs"))
