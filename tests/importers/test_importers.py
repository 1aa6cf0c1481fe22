"""Each importer against a real file of its tool, and against the numbers that were counted in that file by hand."""

import io
import json
from collections import defaultdict
from pathlib import Path

import pytest

from langsmith_rest import importers
from langsmith_rest.importers import parts
from langsmith_rest.recording.bodies import parse_time

DATA = Path(__file__).parent / "data"


def read(path, **options):
    with open(DATA / path, "rb") as file:
        return importers.load(importers.recognise(file), file, str(DATA / path), **options)


def expected(format):
    return json.loads((DATA / format / "expected.json").read_text())


def results_of(found):
    return [result for experiment in found.experiments for result in experiment.results]


def metrics(results):
    """Mean and count of each feedback key that has scores, as the expected numbers are written."""
    scores = defaultdict(list)
    for result in results:
        for item in result.get("feedback", []):
            if "score" in item:
                scores[item["key"]].append(float(item["score"]))
    means = {key: {"mean": sum(found) / len(found), "count": len(found)} for key, found in scores.items()}
    return {key: pytest.approx(one, abs=1e-9) for key, one in means.items()}


def examples(results):
    return len({parts.key_of(result) for result in results})


def errors(results):
    return sum("error" in result for result in results)


def tokens(results):
    return sum(result["metadata"].get("usage_metadata", {}).get("total_tokens", 0) for result in results)


FILES = {
    "promptfoo": ["promptfoo/out.json"],
    "inspect": ["inspect/log.eval", "inspect/log.json", "inspect/killed.eval", "inspect/deflate.eval"],
    "lm_eval": sorted(str(path.relative_to(DATA)) for path in DATA.glob("lm_eval/*/samples_*.jsonl")),
    "openai_evals": [
        "openai_evals/rows_item_sample.jsonl",
        "openai_evals/output_items.jsonl",
        "openai_evals/output_items_page.json",
    ],
    "oaieval": ["oaieval/record.jsonl"],
    "deepeval": ["deepeval/test_run_20261129_130032.json"],
    "pydantic_evals": ["pydantic_evals/report.json", "pydantic_evals/report_compact.json"],
    "junit": ["junit/pytest.xml", "junit/pytest_xunit1.xml", "junit/promptfoo.xml"],
}


@pytest.mark.parametrize(
    ("format", "path"), [(format, path) for format, paths in FILES.items() for path in paths], ids=lambda value: value
)
def test_a_format_is_recognised_by_content_alone(format, path):
    """Neither the name nor the place of a file is needed."""
    assert importers.recognise(io.BytesIO((DATA / path).read_bytes())) == format


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b'{"inputs": {"q": 1}, "outputs": {"a": 2}}\n',
        b'[{"inputs": {"q": 1}}]',
        b'{"inputs": {"item": 1}, "results": 3}',
        b"input,output\n1,2\n",
        b'{\n  "inputs": {"q": 1},\n  "outputs": {}\n}\n',
        b"{broken",
        b"[1, 2]",
        b"<html></html>",
    ],
)
def test_our_own_results_are_no_other_format(content):
    """What no tool wrote is left to the reader of results."""
    assert importers.recognise(io.BytesIO(content)) is None


def test_an_object_larger_than_the_head_is_recognised():
    """A file whose first object does not end within the first bytes is read as a whole."""
    data = json.dumps({"padding": "x" * 2 * importers.HEAD, "cases": [], "failures": []}).encode()

    assert importers.recognise(io.BytesIO(data)) == "pydantic_evals"


# ---------------------------------------------------------------- promptfoo


@pytest.fixture(scope="module")
def promptfoo():
    return read("promptfoo/out.json")


def test_promptfoo_gives_an_experiment_per_column(promptfoo):
    """Two providers may share an id; rows of errors have no scores, and a failed assertion is no error."""
    numbers, results = expected("promptfoo"), results_of(promptfoo)

    assert promptfoo.summary.startswith("promptfoo 0.123.1: 48 rows of 4 columns, reference 'expected'")
    assert "4 experiments of 12 examples, 2 errors" in promptfoo.summary
    assert [e.name for e in promptfoo.experiments] == ["local-good", "local-sloppy", "openai:chat:fake-mini", "echo"]
    assert len(results) == numbers["results"]
    assert examples(results) == numbers["distinct_examples_by_vars"]
    assert errors(results) == numbers["errors_failureReason_2"]
    assert metrics(results) == numbers["metrics_all_rows"] | numbers["metrics_without_errored_rows"]
    assert tokens(results) == numbers["tokens_answering_total"]
    assert sum(result["latency"] for result in results) == pytest.approx(numbers["latency_ms_sum"] / 1000)
    costs = [result["metadata"].get("usage_metadata", {}).get("total_cost", 0) for result in results]
    assert sum(costs) == pytest.approx(numbers["cost_total"])
    assert sum("reference_outputs" not in result for result in results) == numbers["rows_without_expected_var"]


def test_promptfoo_columns_keep_their_own_scores(promptfoo):
    """Each experiment has the scores of its provider."""
    numbers = expected("promptfoo")["metrics_per_column"]

    for experiment in promptfoo.experiments:
        column = numbers[f"[{experiment.name}] terse"]
        named = {key: value for key, value in metrics(experiment.results).items() if key not in ("pass", "score")}
        assert named == {key: value for key, value in column.items() if key not in ("pass", "score")}


def test_promptfoo_names_models_as_langsmith_prices_them(promptfoo):
    """Vendor and model are told apart; reasons come as comments, example metadata with the example."""
    result = promptfoo.experiments[2].results[0]

    assert (result["metadata"]["ls_provider"], result["metadata"]["ls_model_name"]) == ("openai", "fake-mini")
    assert result["inputs"] == {"question": "What is the capital of Peru?", "id": "q1"}
    assert result["reference_outputs"] == {"expected": "Lima"}
    assert result["example_metadata"] == {"description": "Peru", "topic": "geo", "row": 1}
    reason = 'Expected output "Perhaps amiL" to equal "Lima"'
    assert {"key": "pass", "score": False, "comment": reason} in result["feedback"]


def test_promptfoo_lines_hold_the_same_rows(promptfoo):
    """JSON lines lack the header only: versions and times."""
    rows = json.loads((DATA / "promptfoo/out.json").read_text())["results"]["results"]
    lines = io.BytesIO("\n".join(map(json.dumps, rows)).encode())

    found = importers.load(importers.recognise(lines), lines, "out.jsonl")

    without_start = [{k: v for k, v in result.items() if k != "start_time"} for result in results_of(promptfoo)]
    assert results_of(found) == without_start
    assert "times, which are not in the file" in found.summary


def row(**changes):
    return {
        "vars": {"q": "1"},
        "promptIdx": 0,
        "testIdx": 0,
        "provider": {"id": "echo", "label": ""},
        "prompt": {"raw": "1", "label": "p"},
        "response": {"output": "1"},
        "failureReason": 0,
        "success": True,
        "score": 1,
        **changes,
    }


def load_rows(*rows):
    file = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
    return importers.load("promptfoo", file, "out.jsonl")


def test_promptfoo_repetitions_are_runs_of_one_example():
    """`--repeat` gives each repetition a test of its own; they are told by their equal variables."""
    found = load_rows(row(), row(testIdx=1), row(testIdx=2, vars={"q": "2"}))

    assert [r["metadata"].get("repetition") for r in found.experiments[0].results] == [1, 2, None]
    assert "1 experiment of 2 examples" in found.summary


def test_promptfoo_scores_without_a_verdict_are_not_taken():
    """A judge that failed scores 0, and a test without assertions 1; neither says anything about the answer."""
    assertion = {"type": "llm-rubric", "metric": "polite"}
    part = {"score": 0, "reason": "no JSON", "assertion": assertion, "metadata": {"graderError": True}}
    broken = row(namedScores={"polite": 0}, success=False, score=0, gradingResult={"componentResults": [part]})
    free = row(gradingResult={"reason": "No assertions", "componentResults": []}, vars={"q": "2"})

    first, second = load_rows(broken, free).experiments[0].results

    assert first["feedback"] == [{"key": "polite", "error": True, "comment": "no JSON"}]
    assert "feedback" not in second


# ---------------------------------------------------------------- Inspect


@pytest.mark.parametrize("name", ["log.eval", "log.json", "killed.eval", "deflate.eval"])
def test_inspect_gives_an_experiment_per_log(name):
    """Both compressions, JSON, and the log of a killed run; judges' tokens stay out."""
    numbers, found = expected("inspect")[name], read(f"inspect/{name}")
    results = results_of(found)

    assert len(found.experiments) == 1
    assert len(results) == numbers["results"]
    assert examples(results) == numbers["distinct_examples_by_id"]
    assert sorted({result["metadata"]["epoch"] for result in results}) == numbers["epochs"]
    assert errors(results) == numbers["errors"]
    assert {result["error"] for result in results if "error" in result} == set(numbers["error_messages"])
    assert metrics(results) == numbers["metrics_C1_P0.5_I0_bool01_NaN_dropped"]
    assert tokens(results) == numbers["tokens_total_main_model"]
    assert sum("messages" in result["inputs"] for result in results) == numbers["samples_with_chat_input"]
    assert sum("reference_outputs" not in result for result in results) == numbers["samples_without_target"]
    assert ("did not finish" in found.summary) == (numbers["status"] != "success")


def test_inspect_runs_of_one_task_share_examples():
    """Message ids, which are new in every run, make no new example."""
    logs = [results_of(read(f"inspect/{name}")) for name in ("log.eval", "log.json", "deflate.eval")]

    assert examples([result for results in logs for result in results]) == examples(logs[0]) == 12


def test_inspect_keeps_times_and_explanations():
    """The run starts and ends when the sample did, and an explanation is the comment of its score."""
    result = read("inspect/log.json").experiments[0].results[0]

    assert (result["start_time"], result["end_time"]) == (
        "2026-11-29T12:52:33.419411+00:00",
        "2026-11-29T12:52:33.697556+00:00",
    )
    assert {"key": "includes", "score": 1, "comment": "Lima"} in result["feedback"]


def test_inspect_values_of_every_kind():
    """A dictionary gives a key to each part; NaN, in no JSON, is no score; attachments are put back."""
    sample = {
        "id": 1,
        "epoch": 1,
        "input": [{"role": "user", "content": "attachment://abc"}],
        "target": "",
        "attachments": {"abc": "a long text"},
        "output": {"choices": [{"message": {"content": [{"type": "text", "text": "an"}, {"text": "swer"}]}}]},
        "scores": {"style": {"value": {"tone": "P", "length": 3}}, "none": {"value": float("nan")}},
    }
    log = {"eval": {"task": "t", "model": "m"}, "samples": [sample]}
    file = io.BytesIO(json.dumps(log).encode())

    result = importers.load(importers.recognise(file), file, "log.json").experiments[0].results[0]

    assert result["inputs"] == {"messages": [{"role": "user", "content": "a long text"}]}
    assert result["outputs"] == {"output": "answer"}
    assert result["feedback"] == [{"key": "style.tone", "score": 0.5}, {"key": "style.length", "score": 3}]


def test_zstandard_is_asked_for_where_it_is_missing(monkeypatch):
    """Without the package, the message names the extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    monkeypatch.setattr("zipfile.ZipFile.read", lambda *_: (_ for _ in ()).throw(NotImplementedError))

    with pytest.raises(ValueError, match="install the extra 'inspect'"):
        read("inspect/log.eval")


# ---------------------------------------------------------------- lm-evaluation-harness


@pytest.mark.parametrize("path", FILES["lm_eval"])
def test_lm_eval_filters_are_scores_of_one_answer(path):
    """A task with several filters has every document once per filter; each document is one result."""
    numbers, found = expected("lm_eval")[path.removeprefix("lm_eval/")], read(path)
    results, experiment = results_of(found), found.experiments[0]

    has_filters = len(numbers["filters"]) > 1
    means = {key if has_filters else key.split(",")[0]: value for key, value in numbers["metrics"].items()}
    assert len(results) == examples(results) == numbers["results_if_filters_are_feedback"]
    assert metrics(results) == means
    assert errors(results) == numbers["errors"]
    assert (experiment.dataset, experiment.metadata["model"]) == (numbers["task"], numbers["model_name"])


def test_lm_eval_choices_are_named_by_their_texts():
    """Of a multiple choice, the answer is the likeliest choice, and the reference the right one."""
    result = read(FILES["lm_eval"][0]).experiments[0].results[0]

    assert result["outputs"]["output"] == "blue"
    assert result["outputs"]["loglikelihoods"] == {"blue": -0.4, "green": -2.41, "red": -4.37, "pink": -4.68}
    assert result["reference_outputs"] == {"target": "blue"}


def test_lm_eval_reads_a_folder_of_models():
    """A folder gives one experiment per model and task, and the tasks are datasets."""
    found = [one for _, one in importers.load_folder(DATA / "lm_eval")]

    names = {(e.dataset, e.metadata["model"]) for one in found for e in one.experiments}
    assert names == {(task, model) for task in TASKS for model in ("acme/canned-good", "acme/canned-weak")}


TASKS = ("local_sums", "local_colours")


def test_lm_eval_values_that_are_no_scores():
    """Repeats stay with the answer; a NaN and a list of numbers are no scores."""
    line = {
        "doc_id": 0,
        "doc": {"q": "1"},
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": "1", "arg_1": {"until": []}}},
        "resps": [["a", "b"]],
        "filtered_resps": ["a"],
        "filter": "none",
        "metrics": ["exact", "words", "ppl"],
        "exact": 0.5,
        "words": float("nan"),
        "ppl": [-3.2, 2],
    }
    file = io.BytesIO(json.dumps(line).encode())

    found = importers.load(importers.recognise(file), file, "samples.jsonl")

    result = found.experiments[0].results[0]
    assert result["outputs"] == {"output": "a", "repeats": ["a", "b"]}
    assert result["feedback"] == [{"key": "exact", "score": 0.5}]
    assert "reference_outputs" not in result
    assert "ppl, which is not a number" in found.summary


# ---------------------------------------------------------------- OpenAI Evals


@pytest.mark.parametrize("path", FILES["openai_evals"][1:])
def test_openai_output_items_have_scores_and_verdicts(path):
    """A page and its items as lines are the same; graders' tokens stay out."""
    numbers = expected("openai_evals")["output_items.jsonl (= output_items_page.json)"]

    found = read(path)

    results = results_of(found)
    assert len(results) == numbers["results"]
    assert examples(results) == numbers["distinct_examples_by_datasource_item"]
    assert errors(results) == numbers["errors"]
    assert metrics(results) == numbers["metrics"]
    assert tokens(results) == numbers["tokens_total_answering"]
    assert f"{numbers['tokens_total_judging']} tokens of graders" in found.summary
    assert [experiment.name for experiment in found.experiments] == ["gpt-4.1-mini-2025-04-14"]


def test_openai_rows_hold_inputs_and_reference_in_one_item():
    """The reference is the field that is named, or one of a customary name; a row without a sample has no answer."""
    numbers = expected("openai_evals")["rows_item_sample.jsonl"]

    results = results_of(read("openai_evals/rows_item_sample.jsonl"))

    assert len(results) == examples(results) == numbers["results"]
    assert errors(results) == numbers["errors"]
    assert sum(r["outputs"]["output"] is None for r in results) == numbers["rows_without_sample"]
    assert sum(r["outputs"]["output"] == "" for r in results) == numbers["rows_with_empty_output_text"]
    assert results[0]["inputs"] == {"question": "What is the capital of Peru?", "id": "t1"}
    assert results[0]["reference_outputs"] == {"correct_label": "Lima"}


def test_a_reference_can_be_named():
    """`--reference` takes another field; an unknown one is refused with those there are."""
    result = results_of(read("openai_evals/rows_item_sample.jsonl", reference="id"))[0]

    assert result["reference_outputs"] == {"id": "t1"}
    with pytest.raises(ValueError, match="no row has that field; they have question, correct_label, id"):
        read("openai_evals/rows_item_sample.jsonl", reference="label")
    with pytest.raises(ValueError, match="Inspect has references of its own"):
        read("inspect/log.json", reference="label")


# ---------------------------------------------------------------- openai/evals


def test_the_events_of_a_sample_are_one_result():
    """Its calls of a model are the answer, its match is the score and the reference; the report stands aside."""
    numbers = expected("oaieval")

    found = read("oaieval/record.jsonl")

    results = results_of(found)
    assert (len(results), examples(results)) == (numbers["results_by_sample_id"], numbers["distinct_examples"])
    assert (errors(results), tokens(results)) == (numbers["errors"], numbers["tokens_total"])
    assert metrics(results) == numbers["metrics"]
    assert results[0]["inputs"]["messages"][-1]["content"] == "What is the capital of Norway?"
    assert (results[0]["outputs"], results[0]["reference_outputs"]) == ({"output": "Oslo"}, {"expected": "Oslo"})
    assert found.experiments[0].name == "canned" and found.experiments[0].dataset == "capitals"
    assert found.experiments[0].metadata["final_report"]["accuracy"] == 0.5


def test_a_sample_that_failed_is_an_error():
    """Interleaved events belong together; a sample without a call of a model has no answer."""
    events = [
        {"spec": {"completion_fns": ["m"], "eval_name": "e.dev.v0"}},
        {"sample_id": "e.0", "type": "sampling", "data": {"prompt": "1+1", "sampled": "2"}, "created_at": "2026-11-29"},
        {"sample_id": "e.1", "type": "error", "data": {"message": "boom"}, "created_at": "2026-11-29"},
        {"sample_id": "e.0", "type": "metrics", "data": {"score": 0.5}, "created_at": "2026-11-29"},
        {"sample_id": "e.0", "type": "extra", "data": {}, "created_at": "2026-11-29"},
    ]
    file = io.BytesIO("\n".join(map(json.dumps, events)).encode())

    found = importers.load(importers.recognise(file), file, "record.jsonl")

    good, bad = results_of(found)
    assert good["inputs"] == {"prompt": "1+1"} and good["outputs"] == {"output": "2"}
    assert good["feedback"] == [{"key": "score", "score": 0.5}]
    assert bad["error"] == "boom" and bad["inputs"] == {"sample_id": "e.1"} and "outputs" not in bad
    assert found.summary == (
        "oaieval: 2 samples of e.dev.v0 with m: 1 experiment of 2 examples, 1 error. Left out: events of type extra."
    )


# ---------------------------------------------------------------- DeepEval


def test_deepeval_metrics_are_feedback():
    """A metric that raised is a failed evaluator, no score; what is null is not in the file."""
    numbers = expected("deepeval")["test_run_20261129_130032.json"]

    found = read("deepeval/test_run_20261129_130032.json")

    results = results_of(found)
    assert len(results) == numbers["results"]
    assert examples(results) == numbers["distinct_examples_by_input"]
    assert errors(results) == numbers["errors_of_the_system"]
    assert metrics(results) == numbers["metrics"]
    failures = [item for result in results for item in result["feedback"] if item.get("error")]
    assert len(failures) == numbers["metric_errors"]
    assert sum(result["latency"] for result in results) == pytest.approx(numbers["completionTime_sum"])
    costs = [result["metadata"].get("usage_metadata", {}).get("total_cost", 0) for result in results]
    assert sum(costs) == pytest.approx(numbers["tokenCost_sum"])
    assert results[1]["inputs"]["retrieval_context"] == ["doc 1", "doc 2"]


def test_deepeval_conversations_end_with_the_answer():
    """The last turn of the assistant is the output, all before it the input."""
    turns = [{"role": role, "content": role[0], "order": i} for i, role in enumerate(("user", "assistant") * 2)]
    case = {"name": "c", "turns": turns, "scenario": "s", "expectedOutcome": "good"}
    file = io.BytesIO(json.dumps({"testCases": [], "conversationalTestCases": [case]}).encode())

    result = importers.load(importers.recognise(file), file, "run.json").experiments[0].results[0]

    assert [turn["content"] for turn in result["inputs"]["messages"]] == ["u", "a", "u"]
    assert result["outputs"] == {"messages": [{"role": "assistant", "content": "a"}]}
    assert result["reference_outputs"] == {"expected_outcome": "good"}


# ---------------------------------------------------------------- pydantic-evals


@pytest.mark.parametrize("path", FILES["pydantic_evals"])
def test_pydantic_failures_are_results_as_well(path):
    """Cases whose task raised stand apart in the report; scores, assertions and labels become feedback."""
    numbers, found = expected("pydantic_evals"), read(path)
    results = results_of(found)

    assert len(results) == numbers["results"]
    assert errors(results) == numbers["errors_failures"]
    assert examples(results) == numbers["distinct_examples_by_inputs"]
    assert metrics(results) == numbers["metrics"]
    feedback = [item for result in results for item in result.get("feedback", [])]
    values = [f"{item['key']}={item['value']}" for item in feedback if "value" in item]
    assert {value: values.count(value) for value in values} == numbers["labels"]
    assert sum(bool(item.get("error")) for item in feedback) == numbers["evaluator_failures"]
    assert sum("reference_outputs" not in result for result in results) == numbers["without_expected_output"]
    assert tokens(results) == numbers["tokens_input"] + numbers["tokens_output"]
    assert sum(result.get("latency", 0) for result in results) == pytest.approx(numbers["task_duration_sum"])
    assert found.experiments[0].dataset == "capitals"


# ---------------------------------------------------------------- JUnit XML


@pytest.mark.parametrize(("path", "key"), [("pytest.xml", "junit.xml"), ("pytest_xunit1.xml", "junit_xunit1.xml")])
def test_junit_failures_are_scores_and_errors_are_errors(path, key):
    """A failed test scores 0, an <error> is an error, and skipped tests are left out and counted."""
    numbers, found = expected("junit")[key], read(f"junit/{path}")
    results = results_of(found)

    assert len(results) == numbers["results"] - numbers["kinds"]["skipped"]
    assert f"Left out: {numbers['kinds']['skipped']} skipped tests" in found.summary
    assert errors(results) == numbers["errors"]
    means = {"passed": numbers["metrics"]["passed (of passed+failure)"], "score": numbers["metrics"]["score(property)"]}
    assert metrics(results) == means
    assert sum(result["latency"] for result in results) == pytest.approx(numbers["time_sum"], abs=0.012)
    assert results[0]["inputs"] == {"input": "Peru"}
    assert results[0]["outputs"] == {"output": "Lima"}
    assert results[0]["reference_outputs"] == {"expected": "Lima"}


def test_junit_suites_of_the_same_tests_are_experiments():
    """promptfoo writes a suite per column; so the suites can be compared."""
    found = read("junit/promptfoo.xml")

    assert len(found.experiments) == 4
    assert examples(results_of(found)) == 12
    assert errors(results_of(found)) == 2


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("path", [path for paths in FILES.values() for path in paths])
def test_reading_twice_gives_the_same(path):
    """Names, results and their order hang on nothing but the file."""
    assert read(path) == read(path)


@pytest.mark.parametrize("path", [path for paths in FILES.values() for path in paths])
def test_times_are_times(path):
    """Every run ends after it started, by its times or by its latency, never by both."""
    for result in results_of(read(path)):
        start, end = parse_time(result.get("start_time")), parse_time(result.get("end_time"))
        assert end is None or (start <= end and "latency" not in result)
        assert result.get("latency", 0) >= 0


def test_a_file_that_breaks_its_format_is_named():
    """A forced format that does not fit says which file, and why."""
    with pytest.raises(ValueError, match="results.jsonl cannot be read as promptfoo"):
        importers.load("promptfoo", io.BytesIO(b'{"inputs": {}}'), "results.jsonl")


def test_a_file_that_was_cut_short_is_named_with_the_line():
    """No experiment is made of the lines before."""
    rows = [json.dumps({"item": {"q": n}, "sample": {}}) for n in range(3)]

    with pytest.raises(ValueError, match="^a.jsonl is not JSON .see line 3.: is the file complete"):
        importers.load("openai_evals", io.BytesIO("\n".join(rows)[:-5].encode()), "a.jsonl")


def test_a_folder_without_result_files_says_what_was_looked_for(tmp_path):
    """An empty folder is no empty experiment."""
    with pytest.raises(ValueError, match="holds no result file of promptfoo, inspect"):
        list(importers.load_folder(tmp_path))


def test_numbers_that_no_float_or_time_can_hold_are_named():
    """Beyond 64 bits, or beyond the calendar: an error that names the file, as for any other broken file."""
    row = {"item": {"q": 1}, "sample": {}, "results": [{"name": "n", "score": 10**400}]}
    late = {"item": {"q": 1}, "sample": {}, "created_at": 1e18}

    for broken in (row, late):
        with pytest.raises(ValueError, match="a.json cannot be read as openai_evals .OverflowError"):
            importers.load("openai_evals", io.BytesIO(json.dumps(broken).encode()), "a.json")
    assert importers.recognise(io.BytesIO(b'{"object": "list", "data": ["text"]}')) is None
