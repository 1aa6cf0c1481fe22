"""The form of a verdict: TypedDicts and pydantic models, and what a model answers besides."""

import enum
import logging
from typing import Annotated, Literal, Optional, TypedDict

import pytest
from chat_server import ChatServer, good

from langsmith_rest.evaluation.evaluators import model_server
from langsmith_rest.evaluation.evaluators.llm import llm_judge
from langsmith_rest.evaluation.evaluators.verdict_schemas import verdict_schema_of


class Tone(enum.Enum):
    CALM = "calm"
    LOUD = "loud"


class Detail(TypedDict):
    quote: str


class Grade(TypedDict):
    """The verdict of a judge."""

    reasoning: Annotated[str, ..., "Why"]
    is_accurate: Annotated[bool, ..., "Whether it is accurate"]
    confidence: Annotated[float, ..., "From 0 to 1"]
    tone: Tone
    kind: Literal["a", "b"]
    details: list[Detail]
    note: Optional[str]  # noqa: UP045


WANTED = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string", "description": "Why"},
        "is_accurate": {"type": "boolean", "description": "Whether it is accurate"},
        "confidence": {"type": "number", "description": "From 0 to 1"},
        "tone": {"enum": ["calm", "loud"]},
        "kind": {"enum": ["a", "b"]},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"quote": {"type": "string"}},
                "required": ["quote"],
                "additionalProperties": False,
            },
        },
        "note": {"type": ["string", "null"]},
    },
    "required": ["reasoning", "is_accurate", "confidence", "tone", "kind", "details", "note"],
    "additionalProperties": False,
}


def test_a_typed_dict_becomes_a_strict_schema():
    """Its annotations are the descriptions that the model reads."""
    assert verdict_schema_of(Grade) == WANTED


def test_a_pydantic_model_becomes_a_strict_schema():
    """Without references, titles and defaults, which strict mode or judges do not take."""
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        quote: str = ""

    class Model(pydantic.BaseModel):
        score: bool = pydantic.Field(description="Whether it is right")
        note: str | None = None
        inner: Inner
        more: list[Inner]

    inner = {
        "type": "object",
        "properties": {"quote": {"type": "string"}},
        "required": ["quote"],
        "additionalProperties": False,
    }
    assert verdict_schema_of(Model) == {
        "type": "object",
        "properties": {
            "score": {"type": "boolean", "description": "Whether it is right"},
            "note": {"type": ["string", "null"]},
            "inner": inner,
            "more": {"type": "array", "items": inner},
        },
        "required": ["score", "note", "inner", "more"],
        "additionalProperties": False,
    }


def test_what_has_no_schema_is_refused():
    """Before anything runs, with the name of the field."""

    class Bad(TypedDict):
        when: set[int]

    with pytest.raises(ValueError, match="Bad.when is set"):
        llm_judge("?", schema=Bad)
    with pytest.raises(ValueError, match="expected a JSON schema, a TypedDict or a pydantic model"):
        llm_judge("?", schema=7)


def test_a_judge_answers_in_a_typed_dict_and_surplus_fields_are_left_out(tmp_path, caplog):
    """What nobody asked for is dropped with one warning, the rest is the verdict."""

    class Short(TypedDict):
        reasoning: Annotated[str, ..., "Why"]
        is_accurate: Annotated[bool, ..., "Whether it is accurate"]

    verdict = {"reasoning": "Because.", "is_accurate": True, "mood": "fine"}
    with ChatServer(good(verdict)) as server, caplog.at_level(logging.WARNING):
        connection = model_server.connect(server.url, "key", cache=tmp_path)
        judge = llm_judge("Is it accurate?", schema=Short, connection=connection)
        found = judge(inputs={}, outputs={"a": 1}, reference_outputs={})
        judge(inputs={}, outputs={"a": 2}, reference_outputs={})

    assert found == [{"key": "is_accurate", "score": True, "comment": "Because."}]
    assert len(server.requests) == 2
    asked = server.requests[0]["response_format"]["json_schema"]["schema"]["properties"]
    assert asked["is_accurate"]["description"] == "Whether it is accurate"
    assert caplog.text.count("left out: mood") == 1  # for all verdicts


def test_servers_do_not_share_verdicts(tmp_path):
    """The same question to another server is another question."""
    answers = []
    for score in (True, False):
        with ChatServer(good({"reasoning": "r", "score": score})) as server:
            connection = model_server.connect(server.url, "key", cache=tmp_path)
            judge = llm_judge("Is it good?", connection=connection)
            answers += judge(inputs={}, outputs={"a": 1}, reference_outputs={})

    assert [answer["score"] for answer in answers] == [True, False]


def test_a_verdict_counts_where_it_cannot_be_kept(tmp_path, caplog):
    """A cache folder that cannot be written is said, and costs no verdict."""
    (tmp_path / "file").write_text("in the way")
    with ChatServer(good({"reasoning": "r", "score": True})) as server:
        connection = model_server.connect(server.url, "key", cache=tmp_path / "file")
        [item] = llm_judge("Is it good?", connection=connection)(inputs={}, outputs={}, reference_outputs={})

    assert item["score"] is True
    assert "cannot be cached" in caplog.text
