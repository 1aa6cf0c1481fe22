"""Lists of experiments and of traces: sorted, filtered by facets, and following what still runs."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from pages_seed import TENANT, Seed, capitals, page, words

import localsmith


@pytest.fixture
def project(seed):
    """A project of five traces of several kinds; its path."""
    session = seed.session("live")
    for n, model in enumerate(["small", "small", "large", "large", "large"]):
        usage = {"input_tokens": 10 * n, "output_tokens": 1, "total_tokens": 10 * n + 1, "total_cost": 0.001 * (5 - n)}
        outcome = {"error": "no"} if n == 4 else {"outputs": {"n": n}}
        seed.run(
            session, name=f"trace {n % 2}", run_type="llm", seconds=n + 1, after=n, tags=["<b>"] if n < 2 else [],
            extra={"metadata": {"ls_model_name": model, "usage_metadata": usage, 'a "b"': n % 2 == 0, "id": f"id-{n}"}},
            feedback=[{"key": "good", "score": n / 4}], **outcome,
        )  # fmt: skip
    return f"projects/p/{session}"


def traces(html):
    """How many traces a page of a project lists."""
    return int(re.search(r"(\d+) traces?</p>", html)[1])


def test_project_has_totals(client, project):
    """What all traces cost, took and scored stands above them; the errors lead to those that failed."""
    html = page(client, project)

    assert "traces 5 errors 1 20.0 % latency p50 3.00 s" in words(html)
    assert "cost $0.0150 good 0.500 n = 5" in words(html)
    (errors,) = re.findall(r'<a class="bad" href="([^"]*)">1</a>', html)
    assert traces(page(client, unescape(errors))) == 1


def test_traces_are_sorted(client, project):
    """By time, latency, tokens or cost; the largest first, then the smallest."""

    def order(query):
        return re.findall(r'data-label="Latency">(\d)\.00 s', page(client, f"{project}?{query}"))

    assert order("") == order("sort=latency") == order("sort=tokens") == ["5", "4", "3", "2", "1"]
    assert order("sort=cost") == order("sort=latency&dir=asc") == ["1", "2", "3", "4", "5"]
    assert order("sort=score:good&dir=asc") == ["1", "2", "3", "4", "5"] and order("sort=name") == list("53142")


def test_facets_of_traces_count_what_they_leave(client, project):
    """Status, name, tag, model, scores and metadata are chips; each leads to as many traces as it says, also one
    after another."""

    def chips(path):
        found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', page(client, path))
        return {unescape(text): (int(count), unescape(address)) for address, text, count in found}

    found = chips(project)

    counts = {text: count for text, (count, _) in found.items()}
    scores = {"0": 1, "0.25": 1, "0.5": 1, "0.75": 1, "1": 1}
    texts = {"success": 4, "error": 1, "trace 0": 3, "trace 1": 2, "large": 3, "small": 2, "true": 3, "false": 2}
    assert counts == texts | scores
    assert [text for text, (n, address) in found.items() if traces(page(client, address)) != n] == []
    both = chips(found["large"][1])
    assert both["trace 0"][0] == 2 and traces(page(client, both["trace 0"][1])) == 2
    assert traces(page(client, both["✓ large"][1])) == 5
    scored = chips(chips(found["true"][1])["0.5"][1])
    assert scored["✓ 0.5"][0] == 1 and traces(page(client, scored["✓ 0.5"][1])) == 3


def test_scores_of_traces_with_many_values_are_divided_into_ranges(client, seed):
    """Each range is a chip that leads to as many traces as it says; a score on the border belongs to both ranges."""
    session = seed.session("graded")
    for n in range(9):
        seed.run(session, outputs={}, feedback=[{"key": "grade", "score": n / 8}, {"key": "below", "score": n - 8}])
    html = page(client, f"projects/p/{session}")

    found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', html)
    ranges = [(text, int(count)) for _, text, count in found]
    assert ranges[-4:] == [("0 … 0.25", 3), ("0.25 … 0.5", 3), ("0.5 … 0.75", 3), ("0.75 … 1", 3)]
    assert ranges[:4] == [("−8 … −6", 3), ("−6 … −4", 3), ("−4 … −2", 3), ("−2 … 0", 3)]
    assert [traces(page(client, unescape(address))) for address, _, _ in found] == [3] * 8


def test_facets_of_examples_count_what_they_leave(client, seed):
    """Splits and metadata of a dataset's examples are chips, too, and narrow the list down together."""
    dataset = seed.dataset("facets")
    for n, topic in enumerate(["money", "time", "money"]):
        seed.examples(dataset, [({"n": n}, None)], split="dev" if n else "test", metadata={"topic": topic})

    def chips(path):
        found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', page(client, path))
        return {text: (int(count), unescape(address)) for address, text, count in found}

    found = chips(f"datasets/{dataset}?tab=examples")

    assert {text: n for text, (n, _) in found.items()} == {"dev": 2, "test": 1, "money": 2, "time": 1}
    assert all(f"{n} example" in words(page(client, address)) for n, address in found.values())
    both = chips(found["money"][1])["dev"]
    assert both[0] == 1 and "1 example " in words(page(client, both[1]))


def test_experiments_are_found_by_metadata(client, seed):
    """The list of experiments is searched by name and metadata."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}?q=large")

    assert 'aria-label="Select second"' in html and 'aria-label="Select first"' not in html
    assert "contains “nope”" in words(page(client, f"datasets/{made['dataset']}?q=nope"))


def test_examples_are_sorted(client, seed):
    """By number, or by the mean of a score in all experiments: the worst first, unscored examples always last."""
    dataset = seed.dataset("sorted")
    ids = seed.examples(dataset, [({"n": n}, None) for n in range(4)])
    for scores in ((1, 0.5, 0), (1, 0, 0)):
        session = seed.session(f"run {scores}", dataset)
        for example, score in zip(ids, scores, strict=False):
            seed.run(session, example, outputs={}, feedback=[{"key": "a & b", "score": score}])

    def order(path):
        return re.findall(r">#(\d)</a>", page(client, path))

    path = f"datasets/{dataset}?tab=examples"
    assert order(path) == ["1", "2", "3", "4"] and order(f"{path}&dir=desc") == ["4", "3", "2", "1"]
    (link,) = re.findall(r'<a href="([^"]*)" title="Sort by the mean of a &amp; b', page(client, path))
    assert order(unescape(link)) == ["3", "2", "1", "4"]
    (turned,) = re.findall(r'<a href="([^"]*)" aria-current="true" title', page(client, unescape(link)))
    assert order(unescape(turned)) == ["1", "2", "3", "4"]


def test_facets_of_experiments_count_what_they_leave(client, seed):
    """Metadata, the splits that were run and the branch are chips above the experiments; each leaves as many as it
    says, also one after another and after a search."""
    dataset = seed.dataset("facets")
    kinds = [("small", True, "main"), ("small", False, "main"), ("<b>", True, "dev")]
    for n, (model, cached, branch) in enumerate(kinds):
        metadata = {"model": model, "cached": cached, "git": {"branch": branch}, "dataset_splits": ["all", f"s{n}"]}
        seed.session(f"experiment {n}", dataset, extra={"metadata": {**metadata, "num_repetitions": n}})
    path = f"datasets/{dataset}"

    def chips(path):
        found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', page(client, path))
        return {unescape(text): (int(count), unescape(address)) for address, text, count in found}

    def experiments(path):
        return len(re.findall('name="selectedSessions"', page(client, path)))

    found = chips(path)

    counts = {text: n for text, (n, _) in found.items()}
    splits = {"all": 3, "s0": 1, "s1": 1, "s2": 1}
    assert counts == splits | {"main": 2, "dev": 1, "true": 2, "false": 1, "small": 2, "<b>": 1}
    assert [text for text, (n, address) in found.items() if experiments(address) != n] == []
    both = chips(found["small"][1])["true"]
    assert both[0] == 1 and experiments(both[1]) == 1
    assert experiments(f"{both[1]}&q=experiment+0") == 1 and experiments(f"{both[1]}&q=experiment+2") == 0
    assert "contains “experiment 2”" in words(page(client, f"{both[1]}&q=experiment+2"))
    assert experiments(f"{path}?facet=model:unknown") == 0


def test_experiments_are_divided_by_failed_runs_and_by_means(client, seed):
    """Ranges of the means come with six experiments; each chip leaves as many as it says."""
    dataset = seed.dataset("numbers")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(2)])
    for n in range(6):
        session = seed.session(f"experiment {n}", dataset)
        seed.run(session, examples[0], outputs={"a": 1}, feedback=[{"key": "good", "score": n / 5}])
        seed.run(session, examples[1], **({"error": "no"} if n == 3 else {"outputs": {"a": 1}}))
    path = f"datasets/{dataset}"

    found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', page(client, path))

    counts = [(text, int(count)) for _, text, count in found]
    assert counts[:2] == [("none", 5), ("some", 1)]
    assert [text for text, _ in counts[2:]] == ["0 … 0.25", "0.25 … 0.5", "0.5 … 0.75", "0.75 … 1"]
    assert [n for _, n in counts[2:]] == [2, 1, 1, 2]
    for address, _, count in found:
        assert len(re.findall('name="selectedSessions"', page(client, unescape(address)))) == int(count)


def begun(seed, name, minutes=0, **fields):
    """An experiment on two examples that has run one of them."""
    dataset = seed.dataset(name)
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(2)])
    seed.start = datetime.now(UTC) - timedelta(minutes=minutes, seconds=5)
    session = seed.session(name, dataset, **fields)
    seed.run(session, examples[0], outputs={"a": 1}, feedback=[{"key": "good", "score": 1}])
    return dataset, session, examples


def test_a_running_experiment_says_how_far_it_is(client, seed):
    """As long as it gets runs and has not ended; one that was left long ago is not called running."""
    dataset, session, _ = begun(seed, "now")
    ended, _, _ = begun(seed, "ended", end_time=datetime.now(UTC).isoformat())
    left, _, _ = begun(seed, "left", minutes=30)
    sample, _, _ = begun(seed, "sample", num_examples=5)  # as newer SDKs say how many they will run

    assert "running, 1 of 5" in words(page(client, f"datasets/{sample}"))
    for path in (f"datasets/{dataset}", f"datasets/{dataset}/compare?selectedSessions={session}"):
        assert "running, 1 of 2" in words(page(client, path))
    assert "running" not in words(page(client, f"datasets/{ended}"))
    assert "running" not in words(page(client, f"datasets/{left}"))


@pytest.fixture
def live(browser, tmp_path):
    """A tab, and a running experiment: its store, the address of its dataset, its id, and its three examples."""
    app = localsmith.create_app(tmp_path / "live.db", score_decimals=None)
    seed = Seed(app.test_client())
    dataset, session, examples = begun(seed, "now")
    examples += seed.examples(dataset, [({"n": 2}, None)])
    with localsmith.serve(tmp_path / "live.db") as server:
        tab = browser.new_page()
        tab.clock.install()
        yield tab, seed, f"{server.url}/o/{TENANT}/datasets/{dataset}", session, examples
        tab.close()
    app.extensions["localsmith"].store.close()


@pytest.mark.slow
@pytest.mark.browser
def test_numbers_follow_a_running_experiment(live):
    """Each new result shows on the page without loading it, and an experiment that has ended is left alone. The new
    rows are one click away."""
    tab, seed, address, session, examples = live
    asked = []
    tab.on("request", lambda request: "part=live" in request.url and asked.append(request.url))
    tab.goto(f"{address}/compare?selectedSessions={session}")
    tab.evaluate("window.same = true")
    tab.get_by_text("running, 1 of 3").wait_for()

    seed.run(session, examples[1], outputs={"a": 2})
    tab.clock.run_for(10_000)
    tab.get_by_text("running, 2 of 3").wait_for()
    seed.run(session, examples[2], outputs={"a": 2}, feedback=[{"key": "good", "score": 0}])
    tab.clock.run_for(10_000)
    tab.locator("[data-part=totals]", has_text="0.500").wait_for()

    assert tab.evaluate("window.same") and tab.locator("[data-live]").count() == 0
    known = len(asked)
    tab.clock.run_for(10_000)
    assert tab.evaluate("document.visibilityState") == "visible" and len(asked) == known
    tab.get_by_role("link", name="Show new rows").click()
    tab.locator("#rows tbody tr").nth(2).wait_for()


@pytest.mark.slow
@pytest.mark.browser
def test_numbers_follow_although_experiments_are_chosen(live):
    """A choice is remembered, so it must not keep the list of experiments from following; it stays as it is."""
    tab, seed, address, session, examples = live
    tab.goto(address)
    tab.get_by_role("checkbox").check()
    tab.reload()
    tab.get_by_text("running, 1 of 3").wait_for()

    seed.run(session, examples[1], outputs={"a": 2})
    tab.clock.run_for(10_000)
    tab.get_by_text("running, 2 of 3").wait_for()

    assert tab.get_by_role("checkbox").is_checked()


def links(html):
    """Where the heads of sortable columns lead: their text without the arrow -> address."""
    found = re.findall(r'<th scope="col"[^>]*><a href="([^"]*)">(.*?)</a></th>', html)
    return {words(text.replace("<wbr>", "")).rstrip(" ↓↑"): unescape(address) for address, text in found}


def follow(client, path, *heads):
    """The page after clicks on these heads, one after another."""
    html = page(client, path)
    for head in heads:
        html = page(client, links(html)[head])
    return html


def test_experiments_are_sorted_over_all_pages(client, seed):
    """Without scripts: a link puts the largest of all experiments first, the same again the smallest; what has no
    value comes last both times. Filters and the chart keep to it."""
    dataset = seed.dataset("many")
    (example,) = seed.examples(dataset, [({"n": 1}, None)])
    for n in range(27):
        session = seed.session(f"run {n:02}", dataset, extra={"metadata": {"even": n % 2 == 0}})
        scores = [{"key": "good_answer", "score": n * 7 % 27 / 27}] if n else []
        how = {"error": "no"} if n == 13 else {}
        seed.run(session, example, seconds=(n * 5 % 27) or None, feedback=scores, **how)
    path = f"datasets/{dataset}"

    def first(*heads):
        return re.findall(r'aria-label="Select run (\d+)"', follow(client, path, *heads))[:2]

    assert first() == first("Experiment", "Experiment") == ["26", "25"] and first("Started") == ["00", "01"]
    assert first("good_answer") == ["23", "19"] and first("good_answer", "good_answer") == ["04", "08"]
    assert first("Latency p50") == ["16", "05"] and first("Latency p50", "Latency p50") == ["11", "22"]
    assert first("Errors")[0] == "13" and first("Experiment") == ["00", "01"]
    html = follow(client, path, "good_answer")
    assert 'aria-sort="descending"' in html and 'name="sort" value="score:good_answer"' in html
    assert re.findall(r'aria-label="run (\d+): ', html) == sorted(re.findall(r'aria-label="run (\d+): ', html))
    assert "page=2" in html and "run 00" in page(client, f"{path}?sort=score:good_answer&page=2")
    assert 'aria-sort="descending"' in page(client, f"{path}?sort=nonsense")


def test_datasets_and_projects_are_sorted_over_all_pages(client, seed):
    """The two lists of the first page have an order each."""
    for n, name in enumerate(["b", "C", "a"]):
        dataset = seed.dataset(name)
        seed.examples(dataset, [({"n": i}, None) for i in range(n * 2 % 3)])
        for _ in range(n):
            seed.run(seed.session(f"project of {name}{_}"))

    def order(html):
        return re.findall(r'/datasets/[^"]*">(\w)</a>', html), re.findall(r">project of (\w\d)</a>", html)

    by_name = follow(client, "datasets", "Name")  # the last such head is that of the projects
    assert order(by_name) == (["a", "C", "b"], ["a0", "a1", "C0"])
    assert order(follow(client, "datasets", "Examples"))[0] == ["C", "a", "b"]
    assert order(follow(client, "datasets", "Traces", "Examples", "Examples")) == (["b", "a", "C"], ["a1", "a0", "C0"])


def test_runs_of_an_example_are_sorted(client, seed):
    """By experiment, by a score or by latency; what has none comes last."""
    dataset = seed.dataset("one")
    (example,) = seed.examples(dataset, [({"n": 1}, None)])
    for name, score, seconds in (("x", 0.5, 2), ("y", None, 3), ("z", 1, None)):
        scores = [] if score is None else [{"key": "good", "score": score}]
        seed.run(seed.session(name, dataset), example, outputs={}, seconds=seconds, feedback=scores)

    def order(query):
        html = page(client, f"datasets/{dataset}/e/{example}?{query}")
        return "".join(re.findall(r"</span> (\w)</a>", html))

    assert order("") == order("runs_sort=nonsense") == "xyz" and order("runs_sort=experiment&runs_dir=desc") == "zyx"
    assert order("runs_sort=score:good") == "zxy" and order("runs_sort=score:good&runs_dir=asc") == "xzy"
    assert order("runs_sort=latency") == "yxz" and order("runs_sort=latency&runs_dir=asc") == "xyz"


def test_disagreements_are_sorted(client, seed):
    """By the run, by either score, or by how far they are apart: the farthest first."""
    dataset = seed.dataset("stars")
    session = seed.session("stars", dataset)
    for n, (judge, human) in enumerate([(1, 2), (5, 1), (3, 1)]):
        (example,) = seed.examples(dataset, [({"n": f"question {n}"}, None)])
        run = seed.run(session, example, outputs={"a": f"answer {n}"}, feedback=[{"key": "judge", "score": judge}])
        seed.feedback(run, key="human", score=human)
    path = f"projects/p/{session}/agreement"

    def order(*heads):
        return re.findall(r">#(\d)</a>", follow(client, path, *heads))

    assert order() == ["1", "2", "3"] and order("Run", "Run") == ["1", "2", "3"] and order("Run") == ["3", "2", "1"]
    assert order("Difference") == ["2", "3", "1"] and order("judge", "judge") == ["1", "3", "2"]
    text = words(page(client, path))
    assert "−1" in text and "+4" in text and "answer 1" in text


@pytest.mark.browser
@pytest.mark.slow
def test_scores_sort_within_each_metric(open_page, site):
    """In the table of means, a click on a head sorts the experiments of each metric, which keeps its name."""
    made = site[1]
    sessions = ",".join([made["first"], made["second"], made["third"]])
    page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={sessions}")

    def order(head):
        page.locator("table.scores").get_by_role("button", name=head).click()
        return [text.split()[1] for text in page.locator("table.scores td.who").all_inner_texts()]

    assert order("Mean, 95 %")[-1] == "second" and order("Mean, 95 %")[0] == "second"
    assert order("Experiment") == ["first", "second", "third"]
    assert order("Experiment") == ["third", "second", "first"]
    assert page.locator("table.scores tr").nth(1).locator("th[scope=rowgroup]").inner_text() == "correct"
    assert page.locator("table.scores thead button").count() == 5


def test_a_judge_is_held_against_people(client, seed):
    """The report card has agreement, kappa, what the judge accepts and rejects, and every disagreement as a link."""
    dataset = seed.dataset("judged")
    session = seed.session("judged", dataset)
    runs = []
    for n, (judge, human) in enumerate([(1, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, None)]):
        (example,) = seed.examples(dataset, [({"n": n}, None)], split="dev" if n < 3 else "test")
        runs.append(seed.run(session, example, outputs={"a": n}, feedback=[{"key": "a judge", "score": judge}]))
        if human is not None:
            seed.feedback(runs[-1], key="human", score=human, feedback_source={"type": "app"})

    html = page(client, f"projects/p/{session}/agreement")

    text = words(html)
    assert "runs with both 5 agreement 0.600 0.231 … 0.882" in text and "kappa 0.167" in text
    assert "accepted, of what people accept 0.667" in text and "rejected, of what people reject 0.500" in text
    assert "0 1 1 1 1 2" in text  # people's 0: judged 0 once, 1 once; their 1: 0 once, 1 twice
    assert [run["id"] in html for run in runs] == [False, False, True, False, True, False]
    assert "dev 3" in text and "agreement" in page(client, f"projects/p/{session}")
    nothing = seed.session("nothing")
    assert "needs two scores" in words(page(client, f"projects/p/{nothing}/agreement"))


def test_a_project_without_scores_has_no_column_for_them(client, seed):
    """A column of nothing is left out; with a score, it is there."""
    session = seed.session("plain")
    run = seed.run(session, outputs={"a": 1})
    assert "Scores" not in words(page(client, f"projects/p/{session}"))

    seed.feedback(run, key="tone", value="kind")

    assert "Scores" in words(page(client, f"projects/p/{session}"))


def test_one_score_in_passing_does_not_hide_the_labels(client, seed):
    """Without a choice, the people's score is the one that they gave most often, whatever it is called."""
    session = seed.session("judged", seed.dataset("judged"))
    for n in range(3):
        run = seed.run(session, outputs={"a": n}, feedback=[{"key": "judge", "score": 1}])
        for key in ["label", "a glance"][: 2 if n == 0 else 1]:
            seed.feedback(run, key=key, score=1, feedback_source={"type": "app"})

    html = page(client, f"projects/p/{session}/agreement")

    assert "runs with both 3" in words(html) and "<option selected>label" in html


def test_a_table_of_many_numbers_fits(client, seed):
    """Four scores beside latency and tokens are more columns than a screen has room for: they share one."""
    dataset = seed.dataset("many")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    scores = [{"key": key, "score": 1} for key in ("correct", "human", "polite", "short")]
    usage = {"usage_metadata": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
    session = seed.session("many", dataset)
    seed.run(session, example, outputs={"a": 1}, feedback=scores, run_type="llm", extra={"metadata": usage})

    assert 'class="several"' in page(client, f"datasets/{dataset}")


def test_metrics_are_listed_as_people_count(client, seed):
    """Every page and the CSV list score_2 before score_10, and so do facets with their values."""
    dataset = seed.dataset()
    examples = seed.examples(dataset, [({"q": n}, None) for n in range(4)])
    session = seed.session("one", dataset)
    for example, level in zip(examples, (10, 2, 1, 1), strict=True):
        scores = [{"key": f"score_{n}", "score": level} for n in (10, 2, 1)]
        run = seed.run(session, example, outputs={"a": 1}, feedback=scores)
    seed.post("/feedback", {"session_id": session, "key": "whole_10", "score": 1})
    seed.post("/feedback", {"session_id": session, "key": "whole_9", "score": 1})
    compare = f"datasets/{dataset}/compare?selectedSessions={session}"
    project = f"projects/p/{session}"
    listing = [
        f"datasets/{dataset}",
        f"datasets/{dataset}?tab=examples",
        f"datasets/{dataset}/e/{examples[0]}",
        compare,
    ]
    listing += [project, f"{project}/r/{run['id']}", f"{project}/agreement", f"{project}/export.csv"]

    for path in listing:
        text = client.get(f"/o/{TENANT}/{path}").text.replace("<wbr>", "")
        assert list(dict.fromkeys(re.findall(r"score_\d+", text))) == ["score_1", "score_2", "score_10"], path
    assert re.findall(r"whole_\d+", page(client, f"datasets/{dataset}")) == ["whole_9", "whole_10"]
    assert "score_2 1 2 2 1 10 1 score_10" in words(page(client, compare))
