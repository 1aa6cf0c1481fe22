"""Judges held against people: the numbers agree with scikit-learn, the command with what anyone can count."""

import json
import random

import pytest
import requests

import recorder
from langsmith_rest import connection
from langsmith_rest.evaluation.aligning.agreement import agreement, confusion, is_scale, kappa, labels_of, more_labels
from langsmith_rest.evaluation.aligning.sampling import Queue, drawn, in_words
from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.queues_api import list_queue_runs
from langsmith_rest.paired import corrected, mean_of

SCALES = {
    "yes or no": (0.0, 1.0),
    "one to five": (1.0, 2.0, 3.0, 4.0, 5.0),
    "categories": ("kind", "neutral", "rude"),
}


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_agreement_kappa_and_confusion_are_those_of_scikit_learn(scale):
    """For scores of 0 and 1, for scales and for categories; weighted, too, where the labels are numbers."""
    metrics = pytest.importorskip("sklearn.metrics")  # takes seconds to import
    chance = random.Random(3)
    humans = [chance.choice(scale) for _ in range(200)]
    judges = [human if chance.random() < 0.6 else chance.choice(scale) for human in humans]
    pairs = list(zip(judges, humans, strict=True))

    assert agreement(pairs).mean == pytest.approx(metrics.accuracy_score(humans, judges))
    assert kappa(pairs) == pytest.approx(metrics.cohen_kappa_score(humans, judges))
    assert confusion(pairs) == metrics.confusion_matrix(humans, judges, labels=labels_of(pairs)).tolist()
    if not isinstance(scale[0], str):
        for power, weights in ((1, "linear"), (2, "quadratic")):
            expected = metrics.cohen_kappa_score(humans, judges, weights=weights)
            assert kappa(pairs, power=power) == pytest.approx(expected)


def test_kappa_knows_its_limits():
    """Where both only say one thing, chance alone agrees fully; of nothing there is nothing to say."""
    assert kappa([(1.0, 1.0)] * 10) is None and kappa([]) is None
    assert agreement([]) is None
    assert kappa([(0.0, 1.0), (1.0, 0.0)]) == -1
    thirds = [(0.0, 0.5), (1.0, 1.0), (0.5, 0.0), (-1.0, 0.0)]
    large = [(judge * 1e308, human * 1e308) for judge, human in thirds]
    assert kappa(large, power=2) == pytest.approx(kappa(thirds, power=2))


@pytest.mark.slow
def test_measurements_take_no_longer_than_scales():
    """No table of thousands of numbers is made, and none compared with each other; kappa is that of chance."""
    pairs = [(float(n), float(-n)) for n in range(1, 200_000)]

    assert confusion(pairs) == [] and not is_scale(pairs)
    assert kappa(pairs) == 0


def test_labels_that_a_precision_needs():
    """Half agreed of 20: some 384 labels give 5 points, so some 364 more; a wider margin needs none."""
    pairs = [(1.0, 1.0), (1.0, 0.0)] * 10

    assert more_labels(pairs, 0.05) == 365
    assert more_labels(pairs, 0.3) == 0
    with pytest.raises(ValueError, match="expected a share"):
        more_labels(pairs, 5)


# ---------------------------------------------------------------- the command


@pytest.fixture
def labelled(api):
    """20 answers: the judge accepts 12, a person 10 of the 16 labelled; they disagree about two."""
    results = []
    for i in range(20):
        feedback = {"correct": int(i < 12)}
        if i < 16:
            feedback["human_correct"] = int(i < 9 or i == 13)
        if i == 11:
            feedback["human_correct"] = 1
        results.append({"inputs": {"q": i}, "outputs": {}, "feedback": feedback, "split": "easy" if i < 10 else "hard"})
    return recorder.record_langsmith_experiment("lab", results, experiment_name="after", langsmith=api)


def test_the_report_card_is_what_anyone_can_count(labelled, run):
    """Agreement, confusion and both rates; the disagreements as links to their runs; also by split."""
    keys = ("--judge", "correct", "--human", "human_correct")
    code, out, _ = run("agree", "after", *keys, "--by", "split")
    _, as_json, _ = run("agree", "after", *keys, "--by", "split", "--json")

    found = json.loads(as_json)
    assert code == 0
    assert (found["runs"], found["judged"], found["labelled"], found["both"]) == (20, 20, 16, 16)
    assert (found["labels"], found["confusion"]) == ([0, 1], [[3, 2], [1, 10]])
    assert found["agreement"]["mean"] == 13 / 16
    assert found["sensitivity"]["mean"] == 10 / 11 and found["specificity"]["mean"] == 3 / 5
    assert len(found["disagreements"]) == 3
    assert "sensitivity  0.909 of 11 (95 % interval 0.623 to 0.984)" in out
    assert "easy: agreement 0.900 of 10" in out and "hard: agreement 0.667 of 6" in out
    assert out.count("/projects/p/") == 3 and "judge 1, person 0" in out


def test_the_page_groups_by_split_and_metadata(labelled, api, run):
    """Each group has its numbers, and a link to its disagreements; another key of the metadata is one click away."""
    results = []
    for i in range(6):
        feedback = {"correct": 1, "human_correct": int(i % 3 > 0)}
        metadata = {"topic": "money" if i % 3 else "law", "serial": i}
        results.append({"inputs": {"n": i}, "outputs": {}, "feedback": feedback, "example_metadata": metadata})
    results.append({**results[0], "inputs": {"n": 6}, "outputs": None, "error": "down"})  # which has no answer to judge
    recorder.record_langsmith_experiment("topics", results, experiment_name="topical", langsmith=api, verify=False)
    [session] = connection.call(api, "GET", "/sessions", params={"name": "topical"})
    url = f"{api.web}/o/{session['tenant_id']}/projects/p/{session['id']}/agreement"

    page = requests.get(url, params={"by": "topic"}, timeout=60).text
    law = requests.get(url, params={"by": "topic", "group": "law"}, timeout=60).text
    money = requests.get(url, params={"by": "topic", "group": "money"}, timeout=60).text

    assert '<h2 id="groups">By topic</h2>' in page and "group=law#apart" in page and "group=money#apart" not in page
    assert law.count("/r/") == 2 and money.count("/r/") == 0 and ">serial</a>" in page


def test_an_unknown_key_is_misuse(labelled, run):
    """The nearest key is named; and one key has no two sides."""
    code, _, err = run("agree", "after", "--judge", "correct", "--human", "human_corect")
    same = run("agree", "after", "--judge", "correct", "--human", "correct")

    assert code == 2 and "No run of 'after' has feedback 'human_corect'. Did you mean 'human_correct'" in err
    assert same[0] == 2 and "Judge and person have the same key, 'correct': name two keys." in same[2]


def test_a_link_to_a_disagreement_opens_the_run(labelled, run, server):
    """The printed address is a page of the store."""
    _, as_json, _ = run("agree", "after", "--judge", "correct", "--human", "human_correct", "--json")
    url = json.loads(as_json)["disagreements"][0]["url"]

    assert requests.get(url, timeout=60).status_code == 200


def test_whether_labels_are_a_random_sample_is_checked_where_queues_know():
    """By the queue that a run is in; in both kinds, a run counts as random once that queue is labelled to its end."""
    drawn_at_random = Queue("drawn", "random", frozenset("abc"), frozenset("ac"))
    picked = Queue("picked", "filtered", frozenset("cd"))

    found = drawn("abcd", [drawn_at_random, picked])
    unfinished = drawn("acd", [drawn_at_random, picked])

    assert (found.random, found.chosen, found.unknown, found.chosen_by) == (3, 1, 0, ["picked"])
    assert (unfinished.random, unfinished.chosen) == (1, 2)
    assert in_words(found) == "1 of 4 labels were chosen, not drawn at random (picked)"
    assert in_words(drawn("acx", [drawn_at_random])).startswith("for 1 of 3 labels, no review queue says")
    assert in_words(drawn("ab", [drawn_at_random])).startswith("for 1 of 2 labels, no review queue says")
    assert in_words(drawn("ac", [drawn_at_random])) == "all 2 labels belong to a random sample"


def review(api, queue, run_ids):
    """Complete these runs in a queue."""
    path = "/api/v1/platform/annotation-queues"
    params = {"status": "needs_my_review", "page_size": 100}
    for item in connection.call(api, "GET", f"{path}/{queue}/items", params=params)["items"]:
        if item["run_id"] in run_ids:
            connection.send(api, "POST", f"{path}/items/{item['id']}/status", json={"status": "completed"})


@pytest.mark.slow
def test_labels_of_a_queue_say_how_they_were_drawn(labelled, api, run):
    """`agree` and `compare` tell it, the page of the comparison and that of the agreement as well."""
    results = [{"inputs": {"q": i}, "outputs": {}, "feedback": {"correct": 1, "human_correct": 1}} for i in range(16)]
    recorder.record_langsmith_experiment("lab", results, experiment_name="other", langsmith=api, verify=False)
    keys = ("--judge", "correct", "--human", "human_correct")
    asked = ("compare", "other", "after", "--human", "human_correct")
    assert (
        "sample       for 16 of 16 labels, no review queue says how they were chosen" in run("agree", "after", *keys)[1]
    )

    queue = json.loads(run("review", "after", "--human", "human_correct", "--json")[1])["queue_id"]
    run("review", "other", "--human", "human_correct")
    assert "a random sample: for 16 of 32 labels, no review queue says" in run(*asked)[1]
    given = connection.call(api, "GET", "/feedback", params={"key": "human_correct", "limit": 100})
    review(api, queue, {item["run_id"] for item in given})
    unlabelled = next(iter(list_queue_runs(api, queue, ["needs_my_review"])))
    note = {"key": "human_correct", "run_id": unlabelled, "comment": "hard to say"}  # which is no label
    connection.send(api, "POST", "/feedback", json=note)
    assert "sample       all 16 labels belong to a random sample" in run("agree", "after", *keys)[1]
    assert "a random sample: all 32 labels belong to a random sample" in run(*asked)[1]
    run("review", "after", "--by", "disagreement", *keys)

    chosen = "3 of 16 labels were chosen, not drawn at random (human_correct of after (disagreement))"
    assert chosen in run("agree", "after", *keys)[1]
    compared = json.loads(run(*asked, "--json")[1])
    assert compared["candidates"][0]["corrections"][0]["drawn"]["chosen"] == 3
    agreement = f"{compared['url'].partition('/datasets/')[0]}/projects/p/{compared['candidates'][0]['id']}/agreement"
    for url in (compared["url"], agreement):
        page = requests.get(url, timeout=60).text
        assert "3 of" in page and "labels were chosen, not drawn at random" in page


# ---------------------------------------------------------------- corrected numbers


def judged(chance, examples, labels):
    """A person and a biased judge of two equally good systems; the judge lets 20 % and 35 % of wrong answers pass."""
    rows = []
    for i in range(examples):
        truths = [chance.random() < 0.6 for _ in range(2)]
        judge = [float(truth or chance.random() < wrong) for truth, wrong in zip(truths, (0.2, 0.35), strict=True)]
        rows.append((judge[1] - judge[0], float(truths[1]) - float(truths[0]) if i < labels else None))
    return [judge for judge, human in rows if human is None], [row for row in rows if row[1] is not None]


@pytest.mark.slow
def test_a_biased_judge_is_corrected():
    """At least 93 % of the corrected intervals hold the truth, where the judge alone holds it rarely; and they are
    narrower than those of the labels alone."""
    chance = random.Random(11)
    covered = misled = 0
    widths = [0.0, 0.0]
    for _ in range(400):
        unlabelled, labelled = judged(chance, 1000, 100)
        found = corrected(unlabelled, labelled, more=1.0)
        alone = mean_of([judge for judge, _ in labelled] + unlabelled)
        labels = mean_of([human for _, human in labelled])
        covered += found.low <= 0 <= found.high
        misled += alone.low > 0
        widths = [widths[0] + found.high - found.low, widths[1] + labels.high - labels.low]

    assert covered / 400 >= 0.93 and misled / 400 > 0.6
    assert widths[0] < 0.85 * widths[1]


def test_a_judge_that_tells_nothing_has_no_weight():
    """Then the corrected mean is that of the labels."""
    labelled = [(float(i % 2), float(i // 2 % 2)) for i in range(40)]

    found = corrected([1.0] * 500 + [0.0] * 500, labelled)

    assert (found.weight, found.mean) == (0.0, 0.5)
    assert corrected([1.0] * 10, labelled[:4]) is None


@pytest.mark.slow
def test_compare_corrects_a_judge_by_labels(api, run):
    """--human puts corrected means and difference beside the judge's; JSON and page have the same."""
    chance = random.Random(2)
    for name, lenient in (("before", 0.2), ("after", 0.35)):
        results = []
        for i in range(300):
            truth = chance.random() < 0.6
            feedback = {"correct": int(truth or chance.random() < lenient)}
            if i < 80:
                feedback["human_correct"] = int(truth)
            results.append({"inputs": {"q": i}, "outputs": {}, "feedback": feedback})
        recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api, verify=False)

    comparison = compare(api, "before", "after", human=["human_correct"])
    _, out, _ = run("compare", "before", "after", "--human", "human_correct")

    [found] = comparison.candidates[0].corrections
    assert (found.difference.labels, found.difference.unlabelled) == (80, 220)
    assert found.difference.low < 0 < found.difference.high
    assert f"correct, difference corrected by human_correct: {found.difference.mean:+.3f}"[:70] in out
    needs = "correct: corrected numbers hold if the labelled examples are a random sample: "
    assert f"{needs}for 160 of 160 labels, no review queue says how they were chosen" in out
    page = requests.get(comparison.url, timeout=60).text
    assert page.count("80 labels of human_correct") == 2
    assert run("compare", "before", "after", "--human", "nobody")[0] == 2
