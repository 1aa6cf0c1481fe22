"""What can be taken away from the pages, and the pages of pairwise comparisons and projects."""

import csv
import io
import json
import re

import pytest
from pages_seed import HOSTILE, TENANT, capitals, json_lines, page, words

from langsmith_rest.recording.files import ResultFile
from langsmith_rest.recording.sources import source_of


def export(client, session, kind):
    answer = client.get(f"/o/{TENANT}/projects/p/{session}/export.{kind}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    return answer.get_data(as_text=True)


def test_exported_results_can_be_recorded_again(client, seed):
    """JSON lines of an experiment are results that the recorder finds no fault with."""
    made = capitals(seed)

    for session in (made["first"], made["second"], made["third"]):
        source_of(json_lines(export(client, session, "jsonl")), False)

    first = json_lines(export(client, made["first"], "jsonl"))[0]
    assert first["inputs"] == {"country": "Peru"}
    assert first["reference_outputs"] == {"capital": "Lima"}
    assert first["feedback"] == [{"key": "correct", "score": 1, "comment": "said Lima"}]
    assert first["metadata"]["usage_metadata"]["total_tokens"] == 12


def test_export_keeps_the_tree(client, seed):
    """Child runs come out inside their parents, with their feedback."""
    session = seed.session("tree", seed.dataset("tree"))
    root = seed.run(session, outputs={"a": 1}, name="agent")
    child = seed.run(session, parent=root, after=0.1, seconds=0.5, error="broken", name="search", run_type="tool")
    seed.run(session, parent=child, after=0.2, seconds=0.1, outputs={"b": 2}, name="page", run_type="retriever")
    seed.feedback(child, key="useful", score=0.25)

    (result,) = json_lines(export(client, session, "jsonl"))

    source_of([result], False)
    assert result["child_runs"][0]["error"] == "broken"
    assert result["child_runs"][0]["feedback"] == [{"key": "useful", "score": 0.25}]
    assert result["child_runs"][0]["child_runs"][0]["outputs"] == {"b": 2}


def test_export_gives_the_original_times(client, seed):
    """Where a recorder had to move a trace into LangSmith's window, the export moves all of it back."""
    session = seed.session("old", seed.dataset("old"))
    original = {
        "original_start_time": "2024-05-01T10:00:00.000000+00:00",
        "original_end_time": "2024-05-01T10:00:02+00:00",
    }
    root = seed.run(session, outputs={"a": 1}, seconds=2, extra={"metadata": {**original, "model": "m"}})
    seed.run(session, parent=root, after=0.5, seconds=1, outputs={"b": 2}, extra={"metadata": original})

    (result,) = json_lines(export(client, session, "jsonl"))

    assert result["start_time"] == "2024-05-01T10:00:00.000000+00:00"
    assert result["end_time"] == "2024-05-01T10:00:02.000000+00:00"
    assert result["metadata"] == {"model": "m"}
    assert result["child_runs"][0]["start_time"] == "2024-05-01T10:00:00.500000+00:00"


def test_exported_scores_stay_what_they_are(client, seed):
    """Whole scores come out whole, and none as an integer that no other program reads."""
    session = seed.session("scores", seed.dataset("scores"))
    scores = [1, 0.5, True, 1e300, -1e16]
    for score in scores:
        seed.run(session, outputs={"a": 1}, feedback=[{"key": "k", "score": score}])

    results = json_lines(export(client, session, "jsonl"))

    source_of(results, False)
    assert sorted(result["feedback"][0]["score"] for result in results) == sorted(scores)


def test_csv_has_a_column_per_metric(client, seed):
    """A spreadsheet gets one line per trace, with scores and comments beside it."""
    made = capitals(seed)

    rows = list(csv.DictReader(io.StringIO(export(client, made["first"], "csv").lstrip("\ufeff"))))

    assert [row["correct"] for row in rows] == ["1", "0", "1", ""]
    assert rows[1]["correct comment"] == "said Lyon" and rows[1]["latency_s"] == "1.5"


def test_csv_holds_no_formula(client, seed):
    """A text that a spreadsheet would calculate is marked as text."""
    dataset = seed.dataset("formulas")
    session = seed.session("formulas", dataset)
    seed.run(session, error="=1+1", feedback=[{"key": "@SUM(1)", "score": -1, "comment": "-2+3"}])

    head, row = csv.reader(io.StringIO(export(client, session, "csv").lstrip("\ufeff")))

    assert not [cell for cell in (*head, *row) if cell[:1] in "=+-@" and cell]
    assert "'=1+1" in row and json.loads(row[-1])[0]["key"] == "@SUM(1)"


ODD = [
    {"key": "k", "value": "0.50"},
    {"key": "k", "value": "true"},
    {"key": "k", "value": "error"},
    {"key": "k", "value": "[1]"},
    {"key": "k", "value": "'=x"},
    {"key": "k", "value": 3},
    {"key": "k", "score": 1, "value": "yes"},
    {"key": "error", "score": 1},
    {"key": "inputs", "score": 1},
    {"key": "k comment", "score": 1},
    {"key": "=k", "score": 1},
    {"key": "k", "error": True, "comment": "timeout"},
    {"key": "k", "score": -0.25, "comment": "=1+1"},
    {"key": "k", "value": "plain"},
]


@pytest.mark.parametrize("item", ODD, ids=map(str, ODD))
def test_feedback_comes_back_from_csv_as_it_was(client, seed, item):
    """Texts that look like numbers or words of ours, metrics named like fields, and failures."""
    session = seed.session("csv", seed.dataset("csv"))
    seed.run(session, outputs={"a": 1}, feedback=[item, {"key": "other", "score": 0.5}])

    text = export(client, session, "csv")

    (result,) = ResultFile("export.csv", io.BytesIO(text.encode()))
    assert sorted(result["feedback"], key=str) == sorted([item, {"key": "other", "score": 0.5}], key=str)


def test_export_gives_the_example_as_the_run_saw_it(client, seed):
    """An example that was edited, or deleted, after the run changes nothing of what was recorded."""
    dataset = seed.dataset("edited")
    (example,) = seed.examples(dataset, [({"q": "old"}, {"a": "old"})])
    session = seed.session("edited", dataset)
    seed.run(session, example, inputs={"q": "old"}, outputs={"a": 1})
    for change in (("PATCH", {"inputs": {"q": "new"}, "outputs": {"a": "new"}}), ("DELETE", None)):
        client.open(f"/examples/{example}", method=change[0], json=change[1], headers={"x-api-key": "any"})

        (result,) = json_lines(export(client, session, "jsonl"))

        assert (result["inputs"], result["reference_outputs"]) == ({"q": "old"}, {"a": "old"})


def test_times_at_the_ends_of_the_calendar_end_no_export_and_no_page(client, seed):
    dataset = seed.dataset("calendar")
    session = seed.session("calendar", dataset, start_time="9999-12-31T23:59:59.999999+00:00")
    extra = {"metadata": {"original_start_time": "0001-01-01T00:00:00+14:00"}}
    seed.run(session, outputs={"a": 1}, extra=extra)

    assert len(json_lines(export(client, session, "jsonl"))) == 1
    assert client.get("/").status_code == client.get(f"/o/{TENANT}/datasets/{dataset}").status_code == 200


def test_every_project_can_be_reached(client, seed):
    """A page at a time, beside the pages of datasets."""
    for n in range(103):
        client.post("/sessions", json={"name": f"project {n:03}"}, headers={"x-api-key": "any"})

    seen = set()
    for number in (1, 2, 3):
        html = client.get(f"/?projects={number}").get_data(as_text=True)
        seen |= set(re.findall(r">(project \d+)<", html))

    assert len(seen) == 103 and "101–103 of 103" in html


def test_report_is_one_file(client, seed):
    """The report needs no server: nothing in it points anywhere, and its policy lets nothing run."""
    made = capitals(seed)
    address = f"datasets/{made['dataset']}/compare/report.html?selectedSessions={made['first']},{made['second']}"

    html = page(client, address)

    assert not re.search(r"<(a|script|link|img|form|iframe)\b|\bhref=|\bsrc=", html)
    assert (
        "default-src 'none'; style-src 'sha256-"
        in client.get(f"/o/{TENANT}/{address}").headers["Content-Security-Policy"]
    )
    assert html.count('data-label="Baseline"') == 1  # a phone shows labels beside values, and the others have none
    text = words(html)
    assert "▲ 1 improved ▼ 1 regressed" in text and "TimeoutError" in text and "4 examples" in text


def test_report_keeps_the_filters(client, seed):
    """A filtered comparison makes a filtered report that says so."""
    made = capitals(seed)

    text = words(
        page(
            client,
            f"datasets/{made['dataset']}/compare/report.html?selectedSessions={made['first']},{made['second']}&show=errors",
        )
    )

    assert "1 example chosen from 4: with an error." in text


def judge(seed, comparative, group, runs, scores, **fields):
    for run, score in zip(runs, scores, strict=True):
        seed.feedback(
            run, key="preference", score=score, comparative_experiment_id=comparative, feedback_group_id=group, **fields
        )


@pytest.fixture
def pairwise(seed):
    """Two experiments over four examples: the first is preferred twice, then a tie, then no verdict."""
    dataset = seed.dataset("pairs")
    examples = seed.examples(dataset, [({"q": n}, None) for n in range(4)])
    sessions = [seed.session(name, dataset) for name in ("left", "right")]
    runs = [[seed.run(session, e, outputs={"said by": session[:4]}) for session in sessions] for e in examples]
    comparative = seed.post("/datasets/comparative", {"experiment_ids": sessions, "name": "left vs. right"})["id"]
    groups = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)]
    source = {"feedback_source": {"type": "model", "metadata": {"order": "right, left"}}}
    judge(seed, comparative, groups[0], runs[0], (1, 0), comment="shorter <b>and</b> right", **source)
    judge(seed, comparative, groups[1], runs[1], (1, 0))
    judge(seed, comparative, groups[2], runs[2], (0.5, 0.5))
    judge(seed, comparative, groups[3], runs[3][:1], (1,))
    query = f"selectedSessions={'%2C'.join(sessions)}&comparativeExperiment={comparative}"
    return {"address": f"datasets/{dataset}/compare?{query}", "dataset": dataset, "sessions": sessions}


def test_pairwise_counts_preferences(client, pairwise):
    """A pairwise page has the preferences, ties and open cases, and says when chance explains them."""
    text = words(page(client, pairwise["address"]))

    assert "Whose answer is better: #1 left or #2 right?" in text
    assert "#1 left preferred 2×" in text and "#2 right preferred 0×" in text
    assert "ties 1×" in text and "not decided 1×" in text
    assert "No difference shown: chance alone could explain this split" in text
    assert "(by example, p 0.2500)" in text


def test_pairwise_shows_the_judges_words(client, pairwise):
    """Every judgement has the judge's comment, and the order in which the answers stood."""
    html = page(client, pairwise["address"])

    assert "shorter &lt;b&gt;and&lt;/b&gt; right" in html
    assert "order right, left" in words(html)


@pytest.mark.parametrize(("winner", "count"), [("tie", 1), ("none", 1), ("0", 2), ("1", 0)])
def test_pairwise_judgements_can_be_filtered(client, pairwise, winner, count):
    """One can look at the ties, at what was not decided, or at one side's preferences."""
    winner = pairwise["sessions"][int(winner)] if winner.isdigit() else winner

    text = words(page(client, f"{pairwise['address']}&winner={winner}"))

    assert f" {count} judgement" in text


def test_preferences_stay_out_of_other_means(client, pairwise):
    """A preference means nothing outside its comparison, so experiments do not show it as a score."""
    html = page(client, f"datasets/{pairwise['dataset']}")

    assert "preference" not in html and "left vs. right" in html


def test_project_lists_traces_newest_first(client, seed):
    """A session without a dataset is a list of its root runs."""
    project = seed.session("production")
    for n in range(52):
        seed.run(project, inputs={"question": f"number {n}"}, outputs={"answer": n}, after=n, name=f"run-{n}")

    html = page(client, f"projects/p/{project}")

    assert words(html).index("run-51") < words(html).index("run-50")
    assert "1–50 of 52" in html
    assert "production" in page(client, "/")


def test_project_takes_filters(client, seed):
    """The filter box speaks LangSmith's filter language; what it cannot read it explains."""
    project = seed.session("production")
    seed.run(project, outputs={"a": 1}, name="fine", seconds=1)
    seed.run(project, error="boom", name="broken", seconds=9)

    assert "1 trace" in page(client, f'projects/p/{project}?filter=eq(status, "error")')
    assert "1 trace" in page(client, f'projects/p/{project}?filter=lt(latency, "5s")')
    broken = page(client, f"projects/p/{project}?filter=eq(status")
    assert "Invalid filter" in broken and "2 traces" in broken


def test_hostile_text_leaves_unharmed(client, seed):
    """Hostile text survives the way out and back as exactly the same text."""
    dataset = seed.dataset("hostile")
    texts = [text for text in HOSTILE if "\x00" not in text]
    examples = seed.examples(dataset, [({"text": text}, {"text": text}) for text in texts])
    session = seed.session("<b>../../x\r\n", dataset)
    for example, text in zip(examples, texts, strict=True):
        seed.run(session, example, outputs={"text": text}, feedback=[{"key": "k", "score": 1, "comment": text}])

    results = json_lines(export(client, session, "jsonl"))

    assert [result["outputs"]["text"] for result in results] == texts
    assert [result["feedback"][0]["comment"] for result in results] == texts
