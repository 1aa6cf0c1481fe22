"""Comparisons and the gate, from recorded results to words and exit codes."""

import json
import uuid
from dataclasses import asdict

import pytest
import responses
from places import SHARED
from sent import official_contract

import localsmith
import recorder
from langsmith_rest import connection
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.gate import Limits
from langsmith_rest.evaluation.comparing.reading import read_scores
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.paired import give_verdicts, metric_of

GSM8K = SHARED / "data" / "gsm8k"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


# ---------------------------------------------------------------- what is compared


def test_a_clear_gain_is_better_and_the_same_the_other_way_round_is_worse(api, record):
    """Means, difference, counts and word are what anyone can count; swapping the sides swaps the word."""
    record("before", [0] * 12 + [1] * 8)
    record("after", [1] * 19 + [0])

    (metric,) = compare(api, "before", "after").candidates[0].metrics
    (back,) = compare(api, "after", "before").candidates[0].metrics

    assert (metric.name, metric.kind, metric.test) == ("correct", "binary", "McNemar mid-p")
    assert (metric.baseline_mean, metric.candidate_mean) == (0.4, 0.95)
    assert metric.difference == pytest.approx(0.55) and metric.low < 0.55 < metric.high
    assert (metric.improved, metric.regressed, metric.same) == (12, 1, 7)
    assert metric.p == pytest.approx(2 * (1 + 13 / 2) / 2**13)
    assert metric.p_exact == pytest.approx(2 * (1 + 13) / 2**13)
    assert (metric.verdict, back.verdict) == ("better", "worse")


def test_lower_may_be_better(api, record):
    """Of a metric where less is better, a fall is an improvement; the difference keeps its sign."""
    record("before", [1] * 10)
    record("after", [0] * 10)

    (metric,) = compare(api, "before", "after", lower_is_better=["correct"]).candidates[0].metrics

    assert (metric.difference, metric.improved, metric.regressed, metric.verdict) == (-1, 10, 0, "better")


def test_a_missing_score_is_not_zero(api, record):
    """Examples scored on one side only form no pair; they are counted, and the other means stay as they are."""
    record("before", [1, 1, 1, None, 1, 1])
    record("after", [1, 1, 1, 1, None, None])

    (metric,) = compare(api, "before", "after").candidates[0].metrics

    assert (metric.pairs, metric.only_baseline, metric.only_candidate) == (3, 2, 1)
    assert (metric.baseline_mean, metric.candidate_mean, metric.verdict) == (1, 1, "too few pairs")


def test_examples_that_only_one_side_has_are_named(api, record):
    """Unmatched rows are no part of the pairs, and their ids are told."""
    record("before", [1] * 8)
    record("after", [1] * 6)

    comparison = compare(api, "before", "after")

    (candidate,) = comparison.candidates
    assert (comparison.baseline.examples, candidate.examples, candidate.pairs) == (8, 6, 6)
    assert (len(candidate.unmatched["baseline"]), candidate.unmatched["candidate"]) == (2, [])


def test_examples_that_neither_side_has_are_counted(record, run):
    """Whoever compares two samples sees what they are samples of."""
    record("whole", [1] * 9)
    record("before", [1] * 6)
    record("after", [1] * 5)

    lines = run("before", "after")[1].splitlines()

    assert "pairs      5 (1 in the baseline only, 0 in the candidate only, 3 in neither)" in lines


def test_repetitions_are_averaged_before_pairing(api):
    """Three answers to each of six questions are six pairs, of their means."""
    for name, scores in (("before", (0, 0, 1)), ("after", (1, 1, 0))):
        results = [
            {"inputs": {"q": q}, "outputs": {"a": n}, "feedback": {"correct": score}}
            for q in range(6)
            for n, score in enumerate(scores)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    comparison = compare(api, "before", "after")

    (metric,) = comparison.candidates[0].metrics
    assert (comparison.baseline.runs, comparison.baseline.examples, metric.pairs) == (18, 6, 6)
    assert (metric.kind, metric.improved) == ("numeric", 6)
    assert metric.difference == pytest.approx(1 / 3)
    assert metric.p == pytest.approx(2 / 2**6)


def test_latency_tokens_cost_and_errors_are_measured(api, record):
    """They are compared as scores are, less being better; what nobody measured is left out."""
    usage = {"usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0.001}}
    record("before", [1] * 8, run_type="llm", metadata=usage)
    record("after", [1] * 8, run_type="llm", metadata=usage, end_time="2026-01-15T09:00:00.5Z")
    record("broken", [None] * 8, error="timeout", end_time="2026-01-15T09:00:00Z")

    after, broken = compare(api, "before", "after", "broken").candidates

    found = {measure.name: measure for measure in after.measures}
    assert found["latency"].difference == -0.5 and found["latency"].verdict == "better"
    assert found["tokens"].candidate_mean == 15
    assert found["cost"].candidate_mean == pytest.approx(0.001)
    assert [(measure.name, measure.difference, measure.verdict) for measure in broken.measures] == [
        ("error_rate", 1, "worse")
    ]


def test_many_metrics_share_one_level(api):
    """A p that one metric alone may boast with is no finding among ten."""
    for name, right in (("before", 0), ("after", 1)):
        results = [
            {
                "inputs": {"q": q},
                "outputs": {},
                "feedback": {"correct": right, **{f"other-{n}": 0 for n in range(9)}},
            }
            for q in range(6)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    among_ten = compare(api, "before", "after").candidates[0].metrics[0]
    (alone,) = compare(api, "before", "after", metrics=["correct"]).candidates[0].metrics

    assert (alone.p, alone.verdict) == (0.015625, "better")
    assert (among_ten.p, among_ten.verdict) == (0.15625, "too few pairs")


@pytest.mark.slow
def test_the_same_numbers_come_from_a_server_without_v2_reads(tmp_path):
    """The older API gives the same comparison, score by score."""
    found = []
    for v2_reads in (200, 404):
        with localsmith.serve(tmp_path / "lab.db", v2_reads=v2_reads) as server:
            api = connection.connect(server.url)
            for name, right in (("before", 1), ("after", 3)):
                results = [
                    {"inputs": {"q": q}, "outputs": {"a": q}, "feedback": {"correct": int(q % 4 < right)}}
                    for q in range(130)
                ]
                results[7]["feedback"] = [{"key": "correct", "score": 1}, {"key": "correct", "error": True}]
                results[8]["feedback"] = [{"key": "judge", "error": True, "comment": "timeout"}]
                recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)
            comparison = asdict(compare(api, "before", "after", flips=True))
            found.append({**comparison, "url": ""})

    assert found[0] == found[1]
    assert found[0]["candidates"][0]["pairs"] == 130
    assert found[0]["candidates"][0]["failed_evaluators"] == {"correct": 1, "judge": 1}


def test_an_example_that_two_pages_hold_is_no_repetition():
    """Pages by offset move when somebody adds an example meanwhile."""
    session_id, dataset_id = str(uuid.uuid4()), str(uuid.uuid4())
    api = connection.connect("http://127.0.0.1:9", "key")
    examples = [{"id": str(n), "runs": [{"id": f"r{n}", "session_id": session_id}]} for n in range(101)]

    def page(request):
        return 200, {}, json.dumps(examples[:100] if json.loads(request.body)["offset"] == 0 else examples[99:])

    with responses.RequestsMock() as http:
        http.post(f"{api.url}/api/v2/datasets/{dataset_id}/experiment-runs", status=404)
        http.add_callback(
            responses.POST, f"{api.url}/datasets/{dataset_id}/runs", page, content_type="application/json"
        )
        (found,) = read_scores(api, dataset_id, [{"id": session_id, "name": "e"}], keep_inputs=False)

    assert len(found.runs) == len(list(found.all_runs())) == 101


@pytest.mark.slow
@pytest.mark.skipif(not GSM8K.exists(), reason="needs ../shared/data/gsm8k")
def test_real_experiments_give_what_anyone_can_count(api):
    """Accuracies and flips of four models on 1,319 GSM8K questions are those counted from the files."""
    marks = {}
    for model in MODELS:
        results = [json.loads(line) for line in (GSM8K / f"{model}.jsonl").read_text("utf-8").splitlines()]
        marks[model] = {result["inputs"]["question"]: result["feedback"][0]["score"] for result in results}
        recorder.record_langsmith_experiment("gsm8k", results, experiment_name=model, langsmith=api, verify=False)
    first, *others = MODELS

    comparison = compare(api, first, *others, flips=True)

    for candidate, model in zip(comparison.candidates, others, strict=True):
        (metric,) = candidate.metrics
        up = {q for q in marks[model] if marks[model][q] > marks[first][q]}
        down = {q for q in marks[model] if marks[model][q] < marks[first][q]}
        assert metric.pairs == 1319
        assert metric.baseline_mean == pytest.approx(sum(marks[first].values()) / 1319)
        assert metric.candidate_mean == pytest.approx(sum(marks[model].values()) / 1319)
        assert (metric.improved, metric.regressed) == (len(up), len(down))
        assert {flip.inputs["question"] for flip in candidate.flips if flip.change == "improved"} == up
        assert {flip.inputs["question"] for flip in candidate.flips if flip.change == "regressed"} == down
        assert metric.verdict == "better"


def test_every_request_of_a_comparison_is_in_the_contract(api, record, sent):
    """A comparison reads sessions, the dataset and the experiments' runs, all of them at once."""
    record("before", [1])
    record("after", [1])
    sent.clear()

    compare(api, "before", "after")

    if official_contract():
        assert {name.rpartition("/api/")[2] for name in sent} == {
            "v1/sessions",
            "v1/datasets",
            "v2/datasets/{dataset_id}/experiment-runs",
        }


# ---------------------------------------------------------------- the command

NOISY = [1, 0] * 20


@pytest.mark.parametrize(
    "flags, code, word",
    [
        ([], 0, None),
        (["--fail-below", "correct=0.5"], 0, "passed"),
        (["--fail-below", "correct=0.8"], 1, "failed"),
        (["--max-regression", "correct=0.02"], 0, "inconclusive"),
        (["--max-regression", "correct=0.02", "--inconclusive-exit", "3"], 3, "inconclusive"),
    ],
)
def test_the_verdict_is_printed_and_returned_alike(record, run, flags, code, word):
    """Text, Markdown, JSON and exit code say the same."""
    record("before", NOISY)
    record("after", [1, 0, 0, 1] * 10)

    text, markdown, as_json = (run("before", "after", *flags, *form) for form in ([], ["--markdown"], ["--json"]))

    assert [text[0], markdown[0], as_json[0]] == [code] * 3
    assert (json.loads(as_json[1])["gate"] or {}).get("verdict") == word
    if word:
        assert f"gate {word}\n" in text[1] and f"**Gate {word}**" in markdown[1]
        assert f"{word}: after: " in text[1] and f"{word}: after: " not in text[2]
        assert [f"{word}: after: " in form[2] for form in (markdown, as_json)] == [word != "passed"] * 2


def test_json_is_the_dataclass(api, record, run):
    """What --json prints is asdict of what the function returns."""
    record("before", NOISY)
    record("after", [1] * 40)

    _, out, _ = run("before", "after", "--json", "--flips")

    assert json.loads(out) == asdict(compare(api, "before", "after", flips=True))


def test_text_has_a_row_for_each_metric_the_flips_and_the_link_last(record, run):
    """Ten flips up and ten down are shown; how many more there are is said."""
    record("before", [0] * 30 + [1] * 10)
    record("after", [1] * 30 + [0] * 10)

    code, out, _ = run("before", "after", "--flips")

    lines = out.splitlines()
    assert code == 0 and "/compare?selectedSessions=" in lines[-1]
    row = next(line.split() for line in lines if line.startswith("correct"))
    assert row[:4] == ["correct", "0.250", "0.750", "+0.500"] and row[7:10] == ["30", "10", "0"]
    assert sum(line.startswith("improved") for line in lines) == 10
    assert sum(line.startswith("regressed") for line in lines) == 10
    assert "... and 20 more changed scores (--json lists all)" in lines


def test_markdown_and_text_show_hostile_names_as_text(api, run):
    """Pipes, tags, line ends and escapes in keys and inputs break no table and no terminal."""
    key = "a|b<img>\n\x1b[31m"
    for name, score in (("before", 0), ("after", 1)):
        results = [{"inputs": {"q": f"{n}|\x1b<b>"}, "outputs": {}, "feedback": {key: score}} for n in range(8)]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    _, markdown, _ = run("before", "after", "--markdown", "--flips")
    _, text, _ = run("before", "after", "--flips")

    assert "<img" not in markdown and "<b>" not in markdown
    assert r"a\|b&lt;img&gt;" in markdown
    assert "\x1b" not in text and "\x1b" not in markdown


MISUSE = {
    "unknown metric in the gate": (["--max-regression", "corect=0.02"], "did you mean 'correct'?"),
    "unknown metric": (["--metric", "style"], "Unknown metric 'style': the metrics are correct."),
    "a measure": (
        ["--metric", "latency"],
        "'latency' is not a score: latency, tokens, cost, error_rate are always compared",
    ),
    "negative loss": (["--max-regression", "correct=-1"], "expected 0 or more"),
    "two limits in one": (
        ["--fail-below", "correct=0.9", "--fail-below", "correct=0.1"],
        "--fail-below is given twice for 'correct'",
    ),
    "a report without a name": (["--junit", ""], "--junit is empty"),
    "limits with opposite directions": (
        ["--fail-above", "correct=0.5", "--max-regression", "correct=0.1"],
        "if lower is better, use --lower-is-better correct",
    ),
}


@pytest.mark.parametrize("flags, words", MISUSE.values(), ids=MISUSE)
def test_misuse_is_exit_2(record, run, flags, words):
    """What cannot be meant is no verdict."""
    record("before", [1] * 8)
    record("after", [1] * 8)

    code, out, err = run("before", "after", *flags)

    assert (code, out) == (2, "") and words in err


UNREADABLE = [("--fail-below", text) for text in ("correct", "=1", "correct=", "correct=much", "correct=nan")]
UNREADABLE += [
    ("--wait", text) for text in ("correct=10s", "correct=-5", "correct=1e3", "correct=")
]  # no keys to wait for
UNREADABLE += [("--inconclusive-exit", text) for text in ("256", "-1", "one")]  # a shell takes 256 for 0


@pytest.mark.parametrize("flag", UNREADABLE, ids=" ".join)
def test_a_limit_that_cannot_be_read_is_misuse(run, flag):
    """argparse says what was expected, before any request."""
    with pytest.raises(SystemExit) as stop:
        run("before", "after", *flag)

    assert stop.value.code == 2


def test_experiments_that_cannot_be_compared_are_refused(record, run):
    """Unknown names, other datasets and an experiment with itself: exit code 2, with what to do; 1 is for the gate."""
    record("before", [1] * 3)
    record("elsewhere", [1] * 3, dataset="other")

    code, _, err = run("before", "befor")
    assert code == 2 and "No experiment 'befor'. Did you mean 'before'?" in err
    code, _, err = run("before", "elsewhere")
    assert code == 2 and "different datasets" in err
    code, _, err = run("before", "before")
    assert code == 2 and "different experiments" in err
    code, _, err = run("before", "elsewhere", "--dataset", "labs")
    assert code == 2 and "No dataset 'labs'. Did you mean 'lab'?" in err


def test_nothing_in_common_is_too_few_pairs():
    """Metrics without a pair get no p, and do not count among those that are tested."""
    metrics = [metric_of("a", {"x": 1.0}, {"y": 1.0}), metric_of("b", {}, {})]

    give_verdicts(metrics)

    assert [(metric.pairs, metric.p, metric.verdict) for metric in metrics] == [(0, None, "too few pairs")] * 2


def test_preferences_of_pairwise_judges_are_no_scores(api, record):
    """They mean nothing outside of their comparison: neither as a metric, nor mixed into one of the same name."""
    record("before", [1, 0] * 3)
    record("after", [1, 0] * 3)

    evaluate(["before", "after"], None, [correct, liked], langsmith=api)

    [metric] = compare(api, "before", "after").candidates[0].metrics
    assert (metric.name, metric.difference, metric.candidate_mean) == ("correct", 0, 0.5)


def correct(outputs):
    return [0, 1]


def liked(outputs):
    return [0, 1]


def test_a_table_says_when_p_and_the_interval_differ(record, run):
    """Eight grades that all improved differ for sure; how much, eight grades do not tell."""
    record("before", [0.25] * 8)
    record("after", [0.5] * 8)
    record("later", [1.0] * 8)

    lines = [line for line in run("before", "after", "later")[1].splitlines() if "trust" in line]

    differ = "correct: p is below 0.05, but the interval contains 0"
    assert lines == [f"{differ}; trust p for whether anything differs, and the interval for how much"]


def test_a_score_with_the_name_of_a_measure_is_left_out(record, run):
    """A limit on latency is one on what was measured, so a row of another latency would mislead."""
    record("before", [[{"key": "latency", "score": 7}, {"key": "correct", "score": 1}]] * 8)
    record("after", [1] * 8)

    _, out, _ = run("before", "after", "--fail-above", "latency=2")

    assert [line.split()[:3] for line in out.splitlines() if line.startswith("latency ")] == [
        ["latency", "1.000", "1.000"]
    ]
    assert "latency: scores of this name are left out; latency is what was measured" in out


def test_tokens_that_a_run_does_not_report_keep_no_limit(api):
    """As of a streamed answer: 0 means that nothing was counted, as on the pages of the local store."""
    tokens = {"usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}
    for name, counted in (("before", 20), ("after", 5)):
        results = [
            {"inputs": {"q": q}, "outputs": {"a": name}, "metadata": tokens if q < counted else {}} for q in range(20)
        ]
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    [check] = compare(api, "before", "after", limits=Limits(fail_above={"tokens": 20})).gate.checks

    assert (check.verdict, check.missing) == ("inconclusive", 15)
    assert check.reason.startswith("the mean of 5 examples is 15, ")
