"""`record` with files of other harnesses, and with mapped rows, into a real local store."""

import gzip
import io
import json
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from langsmith_rest.commands import main

pytestmark = pytest.mark.usefixtures("nothing_set")
DATA = Path(__file__).parents[1] / "importers" / "data"


def record(capsys, *argv, code=0):
    """What is printed and what is said when a command is given."""
    assert main.main(["record", *map(str, argv)]) == code
    return capsys.readouterr()


def recorded(capsys, *argv):
    """The object of --json, as a list of experiments, and what is said."""
    out, said = record(capsys, *argv, "--json")
    found = json.loads(out)
    return found.get("experiments", [found]), said


@pytest.mark.parametrize(
    ("path", "experiments", "results", "errors"),
    [
        ("promptfoo/out.json", 4, 48, 2),
        ("inspect/log.eval", 1, 24, 2),
        ("inspect/killed.eval", 1, 5, 0),
        ("lm_eval", 4, 40, 0),
        ("openai_evals/output_items_page.json", 1, 12, 1),
        ("openai_evals/rows_item_sample.jsonl", 1, 12, 0),
        ("oaieval/record.jsonl", 1, 8, 0),
        ("deepeval/test_run_20261129_130032.json", 1, 10, 0),
        ("pydantic_evals/report.json", 1, 8, 1),
        ("junit/pytest.xml", 1, 10, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_harness_is_recorded_once(capsys, path, experiments, results, errors):
    """One command says what it found and records it; the same command again adds nothing."""
    found, said = recorded(capsys, DATA / path)

    assert len(found) == experiments
    assert sum(one["runs_recorded"] for one in found) == results
    assert sum(one["summary"]["errors"] for one in found) == errors
    assert [one["rejected"] for one in found] == [[]] * experiments
    assert f"{found[0]['summary']['errors']} error" in said or "errors" in said

    again, said = recorded(capsys, DATA / path)
    assert [one["runs_recorded"] + one["feedback"] + one["examples_created"] for one in again] == [0] * experiments
    assert said.count("Nothing new") == experiments


@pytest.mark.slow
def test_models_share_examples_and_a_link(capsys):
    """Experiments of one file are side by side; a dataset of its own per task has a link of its own."""
    out, _ = record(capsys, DATA / "promptfoo" / "out.json", "--dataset", "mine")
    assert out.splitlines()[-1].count("%2C") == 3

    out, _ = record(capsys, DATA / "lm_eval")
    assert [line.count("%2C") for line in out.splitlines() if line.startswith("http")] == [1, 1]


def test_a_link_names_an_experiment_once(capsys):
    """Two files with the same results are one experiment."""
    Path("a.jsonl").write_text('{"inputs": {"q": 1}, "outputs": {"a": 1}}', encoding="utf-8")
    Path("b").mkdir()
    shutil.copy("a.jsonl", "b/a.jsonl")

    out, _ = record(capsys, "a.jsonl", "b/a.jsonl")

    assert "%2C" not in out.splitlines()[-1]


def test_standard_input_is_recognised_as_well(capsys, monkeypatch):
    """A pipe can be read only once; it is kept until its format is known."""
    data = (DATA / "deepeval" / "test_run_20261129_130032.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    found, said = recorded(capsys, "-")

    assert found[0]["runs_recorded"] == 10
    assert "DeepEval: 10 test cases" in said


def test_a_format_can_be_forced_and_switched_off(capsys):
    """`--format results` reads a file as our own, and then its fields are unknown."""
    shutil.copy(DATA / "openai_evals" / "rows_item_sample.jsonl", "rows.jsonl")

    assert "unknown field 'item'" in record(capsys, "rows.jsonl", "--format", "results", code=2).err
    assert "rows.jsonl cannot be read as promptfoo" in record(capsys, "rows.jsonl", "--format", "promptfoo", code=2).err


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--experiment", "one"], "--experiment names one experiment, but there are 4"),
        (["--reference", "nothing"], "no row has that field"),
        (["--format", "inspect", "--map", "inputs.q=q"], "drop one"),
    ],
)
def test_flags_at_odds_with_a_file_are_refused(capsys, flags, problem):
    """Nothing is sent where a flag cannot be meant."""
    assert problem in record(capsys, DATA / "promptfoo" / "out.json", *flags, code=2).err
    assert not Path(".localsmith").exists()


def test_a_reference_is_no_input(capsys):
    """`--reference` moves a field of the inputs to the reference."""
    file = DATA / "openai_evals" / "rows_item_sample.jsonl"
    (found,), _ = recorded(capsys, file, "--reference", "id", "--dataset", "d")

    assert main.main(["view", "--export=-.jsonl", found["experiment_name"]]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["reference_outputs"].keys() == {"id"}
    assert first["inputs"].keys() == {"question", "correct_label"}


ROWS = """prompt;completion;gold;score;latency_s
2+2;4;4;1;0.5
3+3;7;6;0;1.5
"""


def test_the_proposed_command_records_the_file(capsys):
    """A file of foreign columns is refused with the flags that record it."""
    Path("answers.csv").write_text(ROWS, encoding="utf-8")

    said = record(capsys, "answers.csv", code=2).err
    command = said.splitlines()[-1].split()
    found, _ = recorded(capsys, *command[command.index("record") + 1 :])

    assert "unknown fields 'prompt', 'completion'" in said
    assert found[0]["runs_recorded"] == 2
    assert found[0]["summary"]["scores"]["score"]["mean"] == 0.5


def test_other_files_are_refused_with_what_helps(capsys):
    """A compressed file with the command that records it, a spreadsheet with what to save it as."""
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"inputs": {"q": 1}, "outputs": {"a": 1}}'))
    with zipfile.ZipFile("a.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")

    assert "gunzip -c a.jsonl.gz | " in record(capsys, "a.jsonl.gz", code=2).err
    assert "save it as CSV UTF-8" in record(capsys, "a.xlsx", code=2).err


def test_problems_that_a_mapping_leaves_are_said(capsys):
    """The proposed command is not presented as the whole cure."""
    Path("answers.jsonl").write_text('{"prompt": "2+2", "completion": "4", "latency": -1}', encoding="utf-8")

    said = record(capsys, "answers.jsonl", code=2).err

    assert "To map them to the fields of a result (the other problems remain):\n" in said


def test_the_proposed_command_records_a_table_of_mlflow(capsys):
    """A failed run, a failed judge, a column that is called like a field: nothing is lost."""
    found, _ = recorded(capsys, *proposed(capsys, str(DATA / "mlflow.csv")))

    assert (found[0]["runs_recorded"], found[0]["summary"]["errors"]) == (8, 1)
    scores = found[0]["summary"]["scores"]
    assert (scores["exact"]["mean"], scores["exact"]["errors"]) == (pytest.approx(5 / 7, abs=1e-4), 1)
    assert (scores["length"]["mean"], scores["judged"]["values"]) == (6.25, {"yes": 7})


def proposed(capsys, *argv):
    """The arguments of the command that is proposed for a refused file."""
    command = shlex.split(record(capsys, *argv, code=2).err.splitlines()[-1])
    return command[command.index("record") + 1 :]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"inputs": {"q": 1},\n "outputs": {"a": 1}}\n{\n"inputs": {}}', "To record it:\n  jq -c . a.json | "),
        ('{"n": 2,\n "rows": [{"inputs": {}}]}', "To record the list in 'rows':\n  jq '.[\"rows\"]' a.json | "),
        ('{"n": 2, "rows": [{"inputs": {}}]}', "To record the list in 'rows':\n  jq '.[\"rows\"]' a.json | "),
        ('[\n{"inputs": {"q": 1},\n "outp', "a.json is not JSON (see line 3): is the file complete? Nothing was sent."),
        ('{"spec": 1, "data": 2}', "No field has a common name for inputs or outputs: add --map inputs.NAME=FIELD"),
    ],
    ids=["several lines", "a list within", "on one line", "cut off", "nothing known"],
)
def test_what_helps_with_a_refused_file_is_said(capsys, text, advice):
    """One problem is told, not one for each line."""
    Path("a.json").write_text(text, encoding="utf-8")

    said = record(capsys, "a.json", code=2).err

    assert advice in said
    assert ("a.json has objects on several lines" in said) == ("\n" in text and "complete" not in advice)
    assert said.count("not JSON") <= 1


def test_a_file_without_results_is_refused(capsys):
    """An empty result file of another harness is no success, and neither is a folder of other files."""
    Path("a.json").write_text('{"results": {"results": [], "version": 3}}', encoding="utf-8")
    Path("b").mkdir()

    assert "There is nothing to record in a.json" in record(capsys, "a.json", code=2).err
    assert "To record files of your own, name each of them." in record(capsys, "b", code=2).err


def test_json_lines_of_foreign_fields_are_mapped_too(capsys):
    """What is not mapped is left out, and said with the flag that keeps it."""
    row = {"prompt": "2+2", "completion": "4", "score": 1, "colour": "red"}
    Path("answers.jsonl").write_text(json.dumps(row), encoding="utf-8")
    flags = ["--map", "inputs.prompt=prompt", "--map", "outputs.answer=completion", "--map", "feedback.ok=score"]

    assert (
        "--map inputs.prompt=prompt --map outputs.completion=completion" in record(capsys, "answers.jsonl", code=2).err
    )
    found, said = recorded(capsys, "answers.jsonl", *flags)

    assert found[0]["summary"]["scores"]["ok"]["mean"] == 1
    assert "answers.jsonl: left out: colour. To keep them: --map metadata.colour=colour" in said


def test_a_source_that_is_not_there_is_named(capsys):
    """A misspelt source is the problem that is told, not what it leads to."""
    Path("answers.csv").write_text(ROWS, encoding="utf-8")

    said = record(capsys, "answers.csv", "--map", "inputs.q=promt", "--map", "outputs.a=completion", code=2).err

    assert "--map inputs.q=promt: no row has the field 'promt'; they have prompt, completion, gold" in said
    assert "'inputs' is missing" not in said


MASK = "def hide(text):\n    return text.replace('Peru', '***')\n\ndef broken(text):\n    raise OSError('no')\n"


@pytest.fixture
def mask_file(tmp_path):
    """A file of masks, under a name that no other test has imported."""
    name = f"mask_{abs(hash(tmp_path))}.py"
    Path(name).write_text(MASK, encoding="utf-8")
    return name


@pytest.mark.parametrize("path", ["promptfoo/out.json", "junit/pytest.xml"])
def test_every_text_is_masked_before_it_is_sent(capsys, mask_file, path):
    """Inputs, outputs, references, comments, metadata: what the mask changes is not sent as it was."""
    assert "Peru" in record(capsys, DATA / path, "--dry-run", "--json").out

    sent = record(capsys, DATA / path, "--dry-run", "--json", "--mask", f"{mask_file}:hide").out

    assert "Peru" not in sent and "***" in sent


def test_the_texts_of_steps_are_masked_as_well(capsys, mask_file):
    """A step is a result within a result; the names of its fields stay what they are."""
    step = {"inputs": {"q": "Peru"}, "outputs": {"a": "Peru"}, "feedback": [{"key": "k", "comment": "Peru"}]}
    Path("r.jsonl").write_text(json.dumps({**step, "child_runs": [step]}), encoding="utf-8")

    sent = record(capsys, "r.jsonl", "--dry-run", "--json", "--mask", f"{mask_file}:hide").out

    assert "Peru" not in sent and sent.count('"comment": "***"') == 2


def test_a_mask_that_fails_is_told_before_anything_is_sent(capsys, mask_file):

    said = record(capsys, DATA / "junit" / "pytest.xml", "--mask", f"{mask_file}:broken", code=2).err

    assert f"main.py record: --mask {mask_file}:broken: the mask failed: OSError: no\n" in said
    said = record(capsys, DATA / "junit" / "pytest.xml", "--mask", mask_file, code=2).err
    assert f"{mask_file} names no function: write {mask_file}:FUNCTION." in said
    assert not Path(".localsmith").exists()
