"""Examples and the JSON schemas of their dataset."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from localsmith_api import Api, new_id

from localsmith.schemas import Look

CITY = {
    "$defs": {"Place": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}},
    "type": "object",
    "properties": {
        "country": {"type": "string", "minLength": 2},
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "kind": {"enum": ["capital", "town"]},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
    },
    "required": ["country"],
    "additionalProperties": False,
}


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "inputs.country is missing"),
        ({"country": 1}, "inputs.country should be of type string, but is 1"),
        ({"country": "P"}, "inputs.country breaks minLength 2"),
        ({"country": "Peru", "size": "big"}, "inputs.size should be of type integer"),
        ({"country": "Peru", "kind": "village"}, 'inputs.kind should be "capital" or "town", but is "village"'),
        ({"country": "Peru", "places": [{"zip": "1"}, {}]}, "inputs.places[1].zip is missing"),
        ({"country": "Peru", "mayor": "?"}, "inputs.mayor is not allowed"),
    ],
)
def test_examples_that_break_the_schema_are_refused(api, inputs, words):
    """A 422 says where; nothing of the request is stored, and no update is let through either."""
    dataset = api.post("/datasets", {"name": "cities", "inputs_schema_definition": CITY})["id"]
    good = {"country": "Peru", "size": None, "kind": "capital", "places": [{"zip": "1"}]}
    known = api.post("/examples", {"dataset_id": dataset, "inputs": good, "outputs": {"any": 1}})["id"]

    rows = [{"dataset_id": dataset, "inputs": good, "id": new_id()}, {"dataset_id": dataset, "inputs": inputs}]
    created = api.send("POST", "/examples/bulk", json=rows)
    updated = api.send("PATCH", f"/examples/{known}", json={"inputs": inputs})

    assert (created.status_code, updated.status_code) == (422, 422)
    assert created.json()["detail"][0]["loc"] == ["body", "inputs"]
    assert words in created.json()["detail"][0]["msg"] and words in updated.json()["detail"][0]["msg"]
    assert [example["inputs"] for example in api.get("/examples", dataset=dataset)] == [good]


def test_reference_outputs_have_a_schema_of_their_own(api):
    """Examples without a reference pass; a schema that is taken away binds nobody."""
    schema = {"type": "object", "required": ["answer"]}
    dataset = api.post("/datasets", {"name": "answers", "outputs_schema_definition": schema})["id"]
    wrong = {"dataset_id": dataset, "inputs": {"q": 1}, "outputs": {"a": 1}}

    refused = api.send("POST", "/examples", json=wrong)
    api.post("/examples", {**wrong, "outputs": None})
    api.patch(f"/datasets/{dataset}", {"outputs_schema_definition": None})
    api.post("/examples", wrong)

    assert refused.status_code == 422
    assert "outputs.answer is missing" in refused.json()["detail"][0]["msg"]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a", "bb"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
schemas = st.recursive(
    st.booleans() | st.builds(dict),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=2, unique=True),
            "enum": st.lists(values, min_size=1, max_size=2),
            "const": values,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "maxLength": st.integers(0, 2),
            "minItems": st.integers(0, 2),
            "items": inner,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "additionalProperties": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=6,
)


@pytest.mark.slow
@given(schemas, values)
def test_what_is_checked_agrees_with_the_reference_implementation(schema, value):
    ours = list(Look(schema).problems(value, schema, "value"))

    assert (not ours) == jsonschema_rs.Draft202012Validator(schema).is_valid(value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["$ref", "type", "enum", "required", "items", "properties", "anyOf", "minimum", "$defs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(anything, values)
def test_any_schema_is_survived(schema, value):
    list(Look(schema).problems(value, schema, "value"))


def test_equal_numbers_are_equal_wherever_they_stand():
    """1 is 1.0, also inside of lists and objects; it is not true."""
    for value, choice, fits in [([1], [1.0], True), ({"a": 1.0}, {"a": 1}, True), (True, 1, False), ([], {}, False)]:
        assert (not list(Look(None).problems(value, {"enum": [choice]}, "value"))) == fits


@pytest.mark.slow
def test_schemas_that_refer_to_themselves_end():
    """Twice at every step, and through nothing but references."""
    for schema in ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, {"$ref": "#"}, {"allOf": [{"$ref": "#/allOf/0"}]}):
        assert list(Look(schema).problems({}, schema, "value")) == []
