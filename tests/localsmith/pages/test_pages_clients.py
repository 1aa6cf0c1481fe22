"""The pages after our own clients have written: `evaluate`, `record` and `compare` against one real server."""

import csv
import json
import random
import re

import pytest
import requests
from pages_seed import TENANT, json_lines, words

from langsmith_rest import connection
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.paired import probability, sign_flip
from localsmith.pages.render import signed
from recorder import record_langsmith_experiment


@pytest.fixture
def api(server):
    return connection.connect(server.url)


@pytest.fixture
def get(server):
    """The text of a page at a path below the tenant, or of an export."""

    def get(path):
        answer = requests.get(f"{server.url}/o/{TENANT}/{path}", timeout=60)
        assert answer.status_code == 200, answer.text
        answer.encoding = "utf-8"
        return answer.text

    return get


# ---------------------------------------------------------------- runs that were tried again


@pytest.fixture
def retried(api):
    """An experiment of four examples: two failed, both were tried again, and one of these failed again."""
    attempts = []

    def target(inputs):
        attempts.append(inputs["n"])
        if inputs["n"] == 3 or (inputs["n"] == 2 and attempts.count(2) == 1):
            raise RuntimeError("no answer")
        return {"n": inputs["n"]}

    def correct(outputs, reference_outputs):
        return outputs == reference_outputs

    rows = [{"inputs": {"n": n}, "reference_outputs": {"n": n}} for n in range(4)]
    names = {"dataset_name": "numbers", "experiment_name": "flaky", "langsmith": api}
    evaluate(target, rows, [correct], **names)
    return evaluate(target, rows, [correct], retry_errors=True, **names)


@pytest.mark.slow
def test_retried_runs_count_once(get, retried):
    """A failed run that was tried again is in no count and no mean; the line of the experiment says how many."""
    dataset, experiment = retried.dataset_id, retried.experiment_id

    for path in (f"datasets/{dataset}", f"datasets/{dataset}/compare?selectedSessions={experiment}"):
        text = words(get(path))

        assert "2 failed runs retried, not counted" in text
        assert "0.750 0.301 … 0.954" in text
        assert "4 1 25.0 %" in text
        assert "runs per example" not in text


def test_retried_runs_are_not_among_the_errors(get, retried):
    """The filter for errors leaves only the example whose newest run failed, and shows that run alone."""
    html = get(f"datasets/{retried.dataset_id}/compare?selectedSessions={retried.experiment_id}&show=errors")

    assert "1 of 4 examples" in words(html)
    assert html.count('class="error"') == 1 and "<b>Error</b> RuntimeError: no answer" in html


def test_retried_runs_are_marked_where_every_run_is_listed(get, retried):
    """The list of traces and the page of a run keep the failed run, and say what became of it."""
    project = get(f"projects/p/{retried.experiment_id}")
    first = next(line for line in project.splitlines() if ">retried<" in line)
    run_page = get(first.split('href="')[1].split('"')[0].removeprefix(f"/o/{TENANT}/"))

    assert project.count(">retried<") == 2
    assert "✗ error retried" in words(run_page)


def test_retried_runs_leave_the_history_of_an_example(get, api, retried):
    """The last scores of an example hold one score for each experiment, that of the run that counts."""
    examples = connection.call(api, "GET", "/examples", params={"dataset": retried.dataset_id})
    example = next(example["id"] for example in examples if example["inputs"] == {"n": 2})

    listed = words(get(f"datasets/{retried.dataset_id}?tab=examples"))
    alone = get(f"datasets/{retried.dataset_id}/e/{example}")

    assert listed.count("✓ 1") == 3 and listed.count("✗ 0") == 1
    assert alone.count(">retried<") == 1


def test_retried_runs_are_not_exported(get, retried):
    """Recording the export makes an experiment of the runs that count."""
    results = json_lines(get(f"projects/p/{retried.experiment_id}/export.jsonl"))

    assert sorted(result["inputs"]["n"] for result in results) == [0, 1, 2, 3]
    assert [result["inputs"]["n"] for result in results if "error" in result] == [3]


# ---------------------------------------------------------------- out and in again


def test_export_reads_back_the_same(api, get):
    """Scores, texts, comments and failed evaluators of an experiment survive export and recording."""
    feedback = [
        {"key": "correct", "score": 0.5, "comment": "half"},
        {"key": "tone", "value": "polite"},
        {"key": "judge", "error": True, "comment": "no answer from the model"},
    ]
    steps = [{"inputs": {"q": 2}, "outputs": {"a": 3}, "feedback": [{"key": "tool", "error": True}]}]
    results = [
        {"inputs": {"q": 1}, "outputs": {"a": 1}, "feedback": feedback, "child_runs": steps, "split": ["hard"]},
        {"inputs": {"q": 2}, "error": "Timeout", "reference_outputs": {"a": 2}, "metadata": {"model": "m"}},
    ]

    first = record_langsmith_experiment("lab", results, experiment_name="first", langsmith=api)
    exported = get(f"projects/p/{first.experiment_id}/export.jsonl")
    again = record_langsmith_experiment("copy", json_lines(exported), experiment_name="again", langsmith=api)

    assert json_lines(exported)[0]["feedback"] == feedback
    assert json_lines(exported)[0]["child_runs"][0]["feedback"] == steps[0]["feedback"]
    assert get(f"projects/p/{again.experiment_id}/export.jsonl") == exported
    assert get(f"projects/p/{again.experiment_id}/export.csv") == get(f"projects/p/{first.experiment_id}/export.csv")


def test_csv_tells_a_failed_evaluator_from_a_missing_score(api, get):
    """What no cell can say, such as a score and a failure of one key, stands as JSON in one column."""
    failed = {"key": "judge", "error": True, "comment": "no answer"}
    results = [
        {"inputs": {"q": 1}, "outputs": {}, "feedback": [failed]},
        {"inputs": {"q": 2}, "outputs": {}, "feedback": [{"key": "judge", "score": 1}, failed]},
        {"inputs": {"q": 3}, "outputs": {}},
    ]

    made = record_langsmith_experiment("lab", results, langsmith=api)

    rows = list(csv.DictReader(get(f"projects/p/{made.experiment_id}/export.csv").splitlines()))
    found = [json.loads(row["feedback"] or "[]") for row in rows]
    assert [[(item.get("score"), item.get("error", False)) for item in items] for items in found] == [
        [(None, True)],
        [(1, False), (None, True)],
        [],
    ]


# ---------------------------------------------------------------- the same words everywhere


def scores(chance, shift):
    """Scores of four kinds that differ by `shift` between experiments, some of them missing."""
    found = {
        "binary": int(chance.random() < 0.5 + shift),
        "stars": min(5, max(1, round(chance.gauss(3 + 2 * shift, 1)))),
        "closeness": chance.gauss(0.5 + shift / 2, 0.1),
        "same": 0.5,
    }
    return {key: score for key, score in found.items() if chance.random() < 0.95}


@pytest.mark.parametrize("size", [1, 12, *(pytest.param(size, marks=pytest.mark.slow) for size in (5, 120))])
def test_comparison_says_what_the_command_line_says(api, get, size):
    """For each metric of each candidate: the same word, the same counts, the same p."""
    chance = random.Random(size)
    for name, shift in (("before", 0), ("little", 0.05), ("much", 0.3), ("less", -0.2)):
        results = [{"inputs": {"q": q}, "outputs": {}, "feedback": scores(chance, shift)} for q in range(size)]
        record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)
    compared = compare(api, "before", "little", "much", "less")

    text = words(get(compared.url.split(f"/{TENANT}/")[1]))

    for number, candidate in enumerate(compared.candidates, 2):
        for metric in candidate.metrics:
            if metric.pairs:
                line = re.search(
                    rf" {metric.name} #1 before .*?#{number} {candidate.name} (.*?)(?= #| \w+ #|How is)", text
                )
                assert line, (candidate.name, metric.name)
                up, down, same = map(int, re.findall(r"(\d+) (?:improved|regressed|unchanged)", line[1]))
                assert (up, down, same) == (metric.improved, metric.regressed, metric.same)
                assert said_of(metric) in line[1], (candidate.name, metric)


@pytest.mark.parametrize("word", ["better", pytest.param("no difference shown", marks=pytest.mark.slow)])
def test_no_verdict_at_the_border_hangs_on_chance(api, get, word):
    """Of sixty scores whose p is next to 5 %, on either side, page and command line say the same: p as well."""
    chance = random.Random(3)
    low, high = (0.048, 0.05) if word == "better" else (0.05, 0.052)
    gains = []
    while not gains or not low < sign_flip(gains) < high:
        gains = [round(chance.gauss(0.24, 1), 3) for _ in range(60)]
    for name, scores in (("before", [0.0] * 60), ("after", gains)):
        results = [{"inputs": {"q": q}, "outputs": {}, "feedback": {"s": score}} for q, score in enumerate(scores)]
        record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    compared = compare(api, "before", "after")
    html = get(compared.url.split(f"/{TENANT}/")[1])

    [metric] = compared.candidates[0].metrics
    assert metric.verdict == word and said_of(metric) in words(html)
    assert "sign-flip permutation test of 60 pairs" in html


def said_of(metric):
    alone, adjusted = probability(metric.p_alone), probability(metric.p)
    return f"{metric.verdict} p {alone}" + (f", adjusted {adjusted}" if adjusted != alone else "")


@pytest.mark.slow
def test_the_link_says_of_which_scores_less_is_better(api, get):
    """The page and its report then say the words of the command line; the filters keep it, and links lead to it."""
    for name, length, good in (("before", 9, 0), ("after", 2, 1)):
        results = [
            {"inputs": {"q": q}, "outputs": {}, "feedback": {"words & more": length, "good": good}} for q in range(9)
        ]
        record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)
    compared = compare(api, "before", "after", lower_is_better=["words & more"])
    assert {metric.name: metric.verdict for metric in compared.candidates[0].metrics} == {
        "good": "better", "words & more": "better",
    }  # fmt: skip
    path = compared.url.split(f"/{TENANT}/")[1]

    for html in (get(path), get(path.replace("/compare?", "/compare/report.html?"))):
        text = words(html)
        assert "words & more lower is better #1 before" in text and "good #1 before" in text
        assert "better p 0.0020, adjusted 0.0039" in text and "better p 0.0039" in text and "worse p" not in text
        assert text.count("▲ 9 improved ▼ 0 regressed") == 2
        assert text.count("▲ words & more improved") == 9 and "▼ words" not in text
    assert '<input type="hidden" name="lowerIsBetter" value="words &amp; more">' in get(path)
    improved = get(f"{path}&show=improved&metric=words+%26+more")
    assert "9 of 9 examples" in words(improved)
    assert re.search(r'&amp;lowerIsBetter=words\+%26\+more[^"]*#examples">Reset', improved)
    assert "0 of 9 examples" in words(get(f"{path}&show=regressed&metric=words+%26+more"))
    assert "lowerIsBetter" not in compare(api, "before", "after").url


# ---------------------------------------------------------------- order and percentiles


@pytest.mark.parametrize(
    "longer", [0, pytest.param(5, marks=pytest.mark.slow)], ids=["same start", "later ones start earlier"]
)
def test_experiments_keep_the_order_of_their_making(api, get, longer):
    """Old results recorded one after the other start in the same second, or the earlier the longer they took: the
    last made is the newest all the same, and the first the baseline."""
    made, names = [], [f"night-{n:02}" for n in range(6)]
    for n, name in enumerate(names):
        times = {"start_time": "2020-01-15T09:00:00Z", "end_time": f"2020-01-15T09:00:{1 + n * longer:02}Z"}
        results = [{"inputs": {"q": 1}, "outputs": {"n": n}, "feedback": {"k": n % 2}, **times}]
        made.append(record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api))
    ids = [recording.experiment_id for recording in made]

    chart, table = get(f"datasets/{made[0].dataset_id}").split("<table", 1)
    compared = words(get(f"datasets/{made[0].dataset_id}/compare?selectedSessions={','.join(ids[::-1])}"))

    assert sorted(names, key=chart.index) == names
    assert sorted(names, key=table.index) == names[::-1]
    assert "#1 night-00 baseline" in compared


def test_pages_and_api_give_the_same_percentiles(api, get):
    """p99 lies between neighbours in proportion, on the pages and in /sessions alike."""
    results = [
        {
            "inputs": {"q": n},
            "outputs": {},
            "start_time": "2026-01-15T09:00:00Z",
            "end_time": f"2026-01-15T09:00:{n:02}Z",
        }
        for n in range(1, 11)
    ]
    made = record_langsmith_experiment("lab", results, langsmith=api)

    session = connection.call(api, "GET", f"/sessions/{made.experiment_id}", params={"include_stats": "true"})
    text = words(get(f"datasets/{made.dataset_id}"))

    assert (session["latency_p50"], session["latency_p99"]) == (5.5, pytest.approx(9.91))
    assert "5.50 s 9.91 s" in text


# ---------------------------------------------------------------- the same words as the command line


def verdicts_on(page):
    """What the page says of each row of scores: word, and p."""
    return re.findall(
        r"(better|worse|no difference shown|too few pairs) p (<0\.0001|[\d.]+)(?:, adjusted ([\d.<]+))?", page
    )


@pytest.mark.parametrize(
    "asked",
    [{}, *(pytest.param(one, marks=pytest.mark.slow) for one in ({"metrics": ["correct"]}, {"cluster": "document"}))],
    ids=["all", "one", "clusters"],
)
def test_the_linked_page_says_what_the_command_says(api, get, asked):
    """Word, p, adjusted p and interval, for all metrics, for one that was picked, and by cluster."""
    chance = random.Random(4)
    for name, right in (("before", 0.5), ("after", 0.75)):
        results = [
            {
                "inputs": {"q": q},
                "outputs": {},
                "feedback": {"correct": int(chance.random() < right), "grade": chance.randint(0, 4) / 4},
                "example_metadata": {"document": q // 3},
            }
            for q in range(60)
        ]
        record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api)

    comparison = compare(api, "before", "after", **asked)
    text = words(get(comparison.url.split(f"/o/{TENANT}/")[1]))

    metrics = comparison.candidates[0].metrics
    shown = [(m.verdict, probability(m.p_alone), probability(m.p) if m.p != m.p_alone else "") for m in metrics]
    assert verdicts_on(text) == shown
    for metric in metrics:
        assert f"{signed(metric.difference)} {signed(metric.low)} … {signed(metric.high)}" in text
