"""Files of examples: CSV and JSON lines."""

import pytest
from localsmith_api import Api


@pytest.fixture
def api(server):
    return Api(server.url)


def upload(api, text, *fields, path="/datasets/upload", name="rows.csv", kind="text/csv"):
    data = text if isinstance(text, bytes) else text.encode()
    pairs = list(fields) or [("input_keys", "q"), ("output_keys", "a"), ("name", "rows")]
    return api.session.post(api.url + path, data=pairs, files={"file": (name, data, kind)})


def test_columns_become_inputs_outputs_and_metadata(api):
    """Repeated fields name the columns; a column that is named by none is left out."""
    fields = [("input_keys", "q"), ("input_keys", "r"), ("output_keys", "a"), ("metadata_keys", "m"), ("name", "d")]

    answer = upload(api, "\ufeffq,r,a,m,left out\nPeru?,1,Lima,x,y\n", *fields)

    (row,) = api.get("/examples", dataset=answer.json()["id"])
    assert (row["inputs"], row["outputs"]) == ({"q": "Peru?", "r": "1"}, {"a": "Lima"})
    assert row["metadata"] == {"m": "x", "dataset_split": ["base"]}


def test_json_lines_keep_their_types(api):
    lines = '{"q": {"n": 1}, "a": [true]}\n\n{"q": null, "a": 2.5}\n'

    answer = upload(api, lines, name="rows.jsonl", kind="application/octet-stream")

    rows = api.get("/examples", dataset=answer.json()["id"], order="recently_created")
    assert [(row["inputs"], row["outputs"]) for row in rows] == [
        ({"q": {"n": 1}}, {"a": [True]}),
        ({"q": None}, {"a": 2.5}),
    ]


def test_without_a_name_the_dataset_is_named_after_the_file(api):
    assert upload(api, "q\n1\n", ("input_keys", "q"), name="capitals.csv").json()["name"] == "capitals.csv"


def test_file_adds_examples_to_a_dataset(api):
    dataset_id = api.dataset()

    answer = upload(api, "q,a\n1,2\n3,4\n", path=f"/examples/upload/{dataset_id}")

    assert [row["inputs"] for row in answer.json()] == [{"q": "1"}, {"q": "3"}]
    assert api.get(f"/datasets/{dataset_id}")["example_count"] == 2


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        ("q,a\n1,2\n1,2,3\n", (), "line 3 has 3 cells, the header has 2"),
        ('q,a\n1,"2\n', (), "not valid CSV"),
        ("q,b\n1,2\n", (), "line 2 of the file has no 'a'"),
        (b"q,a\n\xff,2\n", (), "UTF-8"),
        ("q,a\n1,2\n", (("output_keys", "a"),), "input_keys"),
        ("q,a\n1,2\n", (("input_keys", "q"), ("data_type", "other"), ("name", "d")), "data_type"),
    ],
    ids=["cells", "quote", "column", "bytes", "no keys", "type"],
)
def test_what_cannot_be_read_stores_nothing(api, text, fields, words):
    """The answer names the line or the field, and there is no half a dataset."""
    answer = upload(api, text, *fields)

    assert (answer.status_code, words in answer.text) == (422, True), answer.text
    assert api.get("/datasets") == []


def test_request_without_a_file_is_refused(api):
    answer = api.session.post(f"{api.url}/datasets/upload", data={"input_keys": "q"}, files={"other": ("", "x")})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "file"])
