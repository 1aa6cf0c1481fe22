"""What an evaluation runs on: datasets, files and lists, their splits and attachments."""

import json

import pytest
import requests
from localsmith_api import multipart
from squares import ROWS, runs_of

from langsmith_rest.evaluation import api as calls
from langsmith_rest.wording import alike


def test_data_is_a_name_an_id_a_file_or_a_list(api, run, tmp_path):
    """All lead to the same examples, which are made once."""
    found = run()
    file = tmp_path / "squares.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))

    for data in ("squares", found.dataset_id, str(file), file, list(calls.list_examples(api, found.dataset_id))):
        again = run(data=data, dataset_name=None)
        assert (again.dataset_id, again.planned, again.existing) == (found.dataset_id, 0, 6)
    assert len(list(calls.list_examples(api, found.dataset_id))) == 6


@pytest.mark.slow
def test_only_some_splits(api, run):
    """The examples of other splits are left alone, and the experiment says so."""
    rows = [{**row, "split": "odd" if n % 2 else ["even", "all"]} for n, row in enumerate(ROWS)]
    found = run(data=rows, splits=["odd"])

    assert sorted(runs_of(api, found.experiment_name)) == [1, 3, 5]
    assert run(data="squares", splits=["all"], experiment_name="second").planned == 3
    assert calls.find_experiment(api, "first")["extra"]["metadata"]["dataset_splits"] == ["odd"]
    with pytest.raises(ValueError, match="split 'none': its splits are all, even, odd"):
        run(data="squares", splits=["none"])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("square", LookupError, "squares"),
        ("missing.jsonl", ValueError, "missing.jsonl: there is no such file"),
        ([{"inputs": 1}, {"question": 1}], ValueError, "example 1: 'inputs' is a number.*\n.*example 2: 'inputs'"),
        ([], ValueError, "no examples in data"),
    ],
)
def test_data_that_is_not_there_or_not_right(run, data, error, message):
    """The nearest name, the file, or every problem, before the target is called."""
    run()
    with pytest.raises(error, match=message):
        run(lambda inputs: pytest.fail("called"), data=data)


def test_the_same_problem_of_many_examples_is_said_once(run):
    """With the first that has it; other problems get lines of their own, 20 at most."""
    with pytest.raises(ValueError) as caught:
        run(data=[{"question": "Peru?"}] * 35 + [{"inputs": {}, "metadata": {"n": float("nan")}}])

    head, *lines = str(caught.value).splitlines()
    assert head == "36 problems in data; nothing was sent:"
    assert lines[0] == "  data, example 1, 2, 3, 4 and 31 more: 'inputs' is missing, expected an object"
    assert len(lines) == 2 and lines[1].startswith("  data, example 36: ")
    assert list(alike([("a", "x"), ("b", "y"), ("c", "y")], 1)) == ["a: x", "and 1 other problem"]


def test_fields_of_other_names_are_named(run, tmp_path):
    """A table without inputs is refused with its columns, and with the names that they need."""
    (tmp_path / "table.csv").write_text("question,label\nPeru?,Lima\n", encoding="utf-8")

    with pytest.raises(ValueError, match="'question', 'label': rename two of them to 'input' and 'expected'"):
        run(data=str(tmp_path / "table.csv"))
    (tmp_path / "one.jsonl").write_text('{"prompt": "Peru?"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="The only field is 'prompt': rename it to 'input'"):
        run(data=str(tmp_path / "one.jsonl"))
    with pytest.raises(ValueError, match="The only field is 'input': rename it to 'inputs', an object"):
        run(data=[{"input": "Peru?"}])
    with pytest.raises(ValueError, match="rename two of them to 'inputs' and 'reference_outputs', which are objects"):
        run(data=[{"input": "Peru?", "expected": "Lima"}])


def test_a_table_may_be_separated_by_tabs(run, tmp_path):
    """Other files are refused with the names that are read."""
    (tmp_path / "table.tsv").write_text("input\texpected\n2\t4\n", encoding="utf-8")
    (tmp_path / "table.xlsx").write_bytes(b"PK")

    assert run(lambda inputs: 4, data=str(tmp_path / "table.tsv")).done == 1
    with pytest.raises(LookupError, match="table.xlsx is not read: its name does not end in .jsonl, .json, .csv, .tsv"):
        run(lambda inputs: 4, data=str(tmp_path / "table.xlsx"))


def test_attachments_of_examples(api, run):
    """A target and an evaluator that ask for them get the files' names and where to read them."""
    dataset_id = calls.get_or_create_dataset(api, "squares")[0]["id"]
    example_id = "00000000-0000-4000-8000-000000000001"
    parts = [(example_id, {}), (f"{example_id}.inputs", {"n": 2}), (f"{example_id}.attachment.note", b"four")]
    body, headers = multipart(parts)
    url = f"{api.url}/v1/platform/datasets/{dataset_id}/examples"
    requests.post(url, data=body, headers={**headers, "x-api-key": "any"}).raise_for_status()

    def target(inputs, attachments):
        return {"note": requests.get(attachments["note"]["presigned_url"]).text}

    found = run(target, [lambda outputs, attachments: outputs["note"] == "four" and "note" in attachments], "squares")
    assert found.scores.sums == {"evaluator": 1}
