"""Results from CSV: what the export writes is read back, and what a spreadsheet makes of it is not misread."""

import json

import pytest
from places import ROOT

from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder, *lines, name="results.csv", encoding="utf-8"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return name


def requests_of(capsys, name):
    """What recording a file would send, by path."""
    assert main.main(["record", name, "--dry-run", "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)["requests"]
    return {request["path"].split("?")[0]: request.get("body", request.get("parts")) for request in sent}


def test_exported_csv_is_recorded_again_as_the_same(in_folder, capsys):
    """Inputs, references, outputs, errors, times, metadata, scores, comments: all but the steps of a trace."""
    fixture = str(ROOT / "fixtures" / "results.jsonl")
    assert main.main(["record", fixture, "--experiment", "first"]) == 0
    assert main.main(["view", "--export", "first.csv", "first"]) == 0
    assert main.main(["record", "first.csv", "--dataset", "copy", "--experiment", "again"]) == 0
    assert main.main(["view", "--export", "again.csv", "again"]) == 0

    assert "5 results recorded" in capsys.readouterr().err
    assert (in_folder / "again.csv").read_bytes() == (in_folder / "first.csv").read_bytes()


def test_cells_become_what_they_were(in_folder, capsys):
    """JSON stays JSON, text text (formulas disarmed by an apostrophe, too), an empty cell is no field."""
    name = written(
        in_folder,
        "input,output,expected,start_time,good,good comment,tone,tone comment,judge,judge comment",
        '"{""q"": 1}",\'=SUM(A1),12,,0.5,half,polite,,error,no answer',
        "second,{not json,,,,,,,,",
        encoding="utf-8-sig",
    )

    sent = requests_of(capsys, name)

    runs = sent["/runs/batch"]["post"]
    assert [run["inputs"] for run in runs] == [{"q": 1}, {"input": "second"}]
    assert [run["outputs"] for run in runs] == [{"output": "=SUM(A1)"}, {"output": "{not json"}]
    assert [example.get("outputs") for example in sent["/examples/bulk"]] == [{"output": "12"}, None]
    marks = ("key", "score", "value", "comment", "error")
    assert [{mark: item[mark] for mark in marks if mark in item} for item in sent["/runs/multipart"]] == [
        {"key": "good", "score": 0.5, "comment": "half"},
        {"key": "tone", "value": "polite"},
        {"key": "judge", "comment": "no answer", "error": True},
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["question,output", "2+2?,4"], "results.csv, line 2: unknown field 'question': known are inputs, "),
        (["question,output", "2+2?,4"], "record results.csv --map inputs.question=question\n"),
        (["input,ouput", "2+2?,4"], "results.csv, line 2: unknown field 'ouput': did you mean 'outputs'?"),
        (["input,output,model", "2+2?,4,m"], "--map metadata.ls_model_name=model\n"),
        (["input,output,correct", "2+2?,4,1"], "--map feedback.correct=correct\n"),
        (["input,output,good", "2+2?,4,nice"], "--map metadata.good=good\n"),
        (["input,output,a,b", "2+2?,4,1,1"], "line 2: unknown fields 'a', 'b': known are inputs, "),
        (["input,output,scores,a,a comment", "1,2,{},1,"], "'scores' and the column 'a' both hold scores: keep one"),
        (["input,output,expected", '2+2?,4,"{}"', ",4,4"], "results.csv, line 3: 'inputs' is missing"),
        (["input,output", "2+2?"], "results.csv, line 2: this does not have as many cells as the 2 of line 1"),
        (["input,output", "2+2?,4,5"], "line 2: this does not have as many cells as the 2 of line 1"),
        (["input,input", "1,2"], "results.csv, line 1: the field 'input' is given twice, expected different names"),
        (["input,output", '"2+2?,4'], "results.csv: this is not CSV"),
        (["input,output"], "There is nothing to record in results.csv"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(in_folder, capsys, lines, problem):
    """A column that is neither a field nor a score with its comments is a mistake, until it is mapped."""
    name = written(in_folder, *lines)

    assert main.main(["record", name]) == 2

    assert problem in capsys.readouterr().err
    assert not (in_folder / ".localsmith").exists()


@pytest.mark.parametrize("column", ["latency", "latency_s"])
def test_a_column_says_how_long_it_took(in_folder, capsys, column):
    """Seconds, under either name; beside times, what exports write is ignored."""
    name = written(in_folder, f"input,output,{column}", "2+2,4,0.5", "3+3,6,")

    assert main.main(["record", name]) == 0
    assert "latency     0.50 s (p50)" in capsys.readouterr().out

    name = written(in_folder, "input,output,latency", "2+2,4,quick")
    assert main.main(["record", name]) == 2
    assert "'latency' is the text 'quick'" in capsys.readouterr().err


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_cells_may_be_separated_by_other_marks(in_folder, capsys, mark):
    """What separates most cells of the first line separates all of them."""
    name = written(in_folder, f"input{mark}output", f"2+2, or 3+1?{mark}4")

    runs = requests_of(capsys, name)["/runs/batch"]["post"]

    assert [(run["inputs"], run["outputs"]) for run in runs] == [({"input": "2+2, or 3+1?"}, {"output": "4"})]


def test_lines_are_counted_as_editors_count_them(in_folder, capsys):
    """A cell may go over several."""
    name = written(in_folder, "input,output,latency", '"a', "b", 'c",1,1', "x,2,quick")

    assert main.main(["record", name]) == 2

    assert "results.csv, line 5: 'latency' is the text 'quick'" in capsys.readouterr().err


def test_large_cells_are_read(in_folder, capsys):
    """What an export writes may be larger than Python's own limit; deep brackets stay text."""
    name = written(in_folder, "input,output", f"{'x' * 200_000},{'[' * 100_000}")

    (run,) = requests_of(capsys, name)["/runs/batch"]["post"]

    assert (len(run["inputs"]["input"]), len(run["outputs"]["output"])) == (200_000, 100_000)


def test_latin_1_is_refused(in_folder, capsys):
    name = written(in_folder, "input,output", "Perú?,Lima", encoding="latin-1")

    assert main.main(["record", name]) == 2

    assert "results.csv: this is not UTF-8: save it as CSV UTF-8" in capsys.readouterr().err
