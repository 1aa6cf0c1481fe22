"""Counts on the pages: each leads to exactly the rows that it counts."""

import gzip
import re
from html import unescape
from urllib.parse import urlencode

import pytest
from pages_seed import TENANT, capitals, page, words


def measured(seed, experiments, examples=9):
    """Experiments whose scores and errors differ from each other; the path that compares them."""
    dataset = seed.dataset("counted")
    ids = seed.examples(dataset, [({"n": n}, None) for n in range(examples)])
    sessions = [seed.session(f"experiment {n}", dataset) for n in range(experiments)]
    for n, session in enumerate(sessions):
        for m, example in enumerate(ids):
            failed = (m + n) % 5 == 0
            scores = [] if failed else [{"key": "score", "score": (m * (n + 2)) % 4 / 4}, {"key": "size", "score": m}]
            outcome = {"error": "broken"} if failed else {"outputs": {"a": m}}
            for _ in range(1 + (m == n)):
                seed.run(session, example, feedback=scores, **outcome)
    return f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"


def links(html):
    """Every link of a page whose text begins with a count: (count, text, address)."""
    found = re.findall(r'<a class="[^"]*" href="([^"]*#examples)">([^<]*)</a>', html)
    pairs = [(unescape(text), unescape(address).partition("#")[0]) for address, text in found]
    return [(int(re.search(r"\d+", text)[0]), text, address) for text, address in pairs if re.search(r"\d", text)]


def rows(client, address):
    return re.findall(r'<tr id="e-([0-9a-f-]+)"', page(client, address))


@pytest.mark.parametrize("experiments", [1, 2, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("extra", ["", "&show=improved&of=2&q=n&sort=score:1&dir=desc&min=0.5"])
def test_counts_mean_what_they_link_to(client, seed, experiments, extra):
    """However many experiments are compared, and whatever is filtered: a count and its link agree."""
    path = measured(seed, experiments) + extra

    found = links(page(client, path))

    assert len(found) >= experiments + (experiments - 1) * 6
    assert [text for n, text, address in found if len(rows(client, address)) != n] == []


def test_worst_regressions_come_first(client, seed):
    """The link of a count of regressions sorts by how much the score fell, that of improvements by how much it rose."""
    path = measured(seed, 3)
    by_text = {text: address for _, text, address in links(page(client, path)) if "metric=score" in address}

    def changes(word):
        (address,) = [address for text, address in by_text.items() if word in text][:1]
        shown = re.findall(rf"score {word} ([+−][\d.]+)", words(page(client, f"{address}&page=1")))
        return [float(change.replace("−", "-")) for change in shown]

    down, up = changes("regressed"), changes("improved")
    assert len(down) > 1 and down[0] == min(down)
    assert len(up) > 1 and up[0] == max(up)


def test_worst_of_less_is_better_comes_first(client, seed):
    """Where less is better the worst regression is the largest rise."""
    path = measured(seed, 2) + "&lowerIsBetter=score"
    (address,) = [a for _, t, a in links(page(client, path)) if "regressed" in t and "metric=score" in a]

    shown = re.findall(r"score regressed ([+−][\d.]+)", words(page(client, address)))
    rises = [float(text) for text in shown]
    assert len(set(rises)) > 1 and rises == sorted(rises, reverse=True)


def test_a_score_by_hand_does_not_change_what_is_shown(client, seed):
    """The score that filters and sorting mean is the one with most scores, not the first of the alphabet."""
    made = capitals(seed)
    path = f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}&show=regressed"
    before = rows(client, path)

    seed.feedback(made["runs"][2], key="a taste", score=1)

    assert rows(client, path) == before != []


@pytest.fixture
def worse(seed):
    """Two experiments on 40 examples: the second is longer everywhere and wrong on eight of ten of one topic."""
    dataset = seed.dataset("worse")
    old, new = (seed.session(name, dataset) for name in ("old", "new"))
    for n in range(40):
        topic = "refund" if n % 4 == 0 else "order"
        (example,) = seed.examples(dataset, [({"n": n}, None)], metadata={"topic": topic})
        for session in (old, new):
            is_wrong = session == new and topic == "refund" and n < 32
            scores = [
                {"key": "right", "score": int(not is_wrong), "comment": "Contradicts the policy." if is_wrong else None}
            ]
            scores.append({"key": "brief", "score": (n * 7 + (session == new)) % 10 / 10})
            seed.run(session, example, outputs={"a": n}, feedback=scores)
    return f"datasets/{dataset}/compare?selectedSessions={old},{new}"


def test_a_comparison_begins_with_what_differs_most(client, worse):
    """Of several metrics with as many scores, filters and sorting mean the one with the clearest difference."""
    html = page(client, worse)

    assert "<option selected>right</option>" in html
    assert "▼ right regressed" in words(page(client, f"{worse}&show=regressed&of=2"))


def test_a_facet_says_what_a_filter_concentrates_on(client, worse):
    """Beside the number of filtered rows stands that of all: 8 of 10 refunds regressed, and nothing else."""
    assert "topic order 30 refund 10" in words(page(client, worse))
    assert "topic refund 8 of 10 8 of 40 examples" in words(page(client, f"{worse}&show=regressed&of=2&metric=right"))


def test_an_open_row_shows_why(client, worse):
    """The comment on the filtered score is open in a row that is read, and on the page of its run."""
    html = page(client, f"{worse}&show=regressed&of=2")
    opened = page(client, re.search(r'class="open" href="([^"#]*)', html)[1].replace("&amp;", "&"))
    (run,) = set(re.findall(r'<a href="([^"]*)">run</a>', opened.partition('class="card answer"')[2])[1:2])

    assert '<details open data-key="right"' not in html
    assert opened.count('<details open data-key="right" class="chip bad"') == 1
    assert page(client, run.replace("&amp;", "&")).count('<details open data-key="right" class="chip bad"') == 1


def test_words_are_not_called_unscored(client, seed):
    """Scores that are words are counted, and not said to be missing."""
    made = capitals(seed)
    seed.feedback(made["runs"][0], key="tone", value="terse")
    second = seed.session("words", made["dataset"])
    run = seed.run(second, made["examples"][0], outputs={"capital": "Lima"})
    seed.feedback(run, key="tone", value="chatty")

    text = words(page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{second}"))

    assert "chatty × 1 labels, not numbers: counted, not tested" in text


def test_an_adjusted_p_that_looks_the_same_is_not_repeated(client, seed):
    """Where p and the adjusted p are both below 0.0001, one says it."""
    dataset = seed.dataset("clear")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(16)])
    sessions = [seed.session(name, dataset) for name in ("base", "one", "two")]
    for session, score in zip(sessions, (0, 1, 1), strict=True):
        for example in examples:
            seed.run(session, example, outputs={"a": 1}, feedback=[{"key": "right", "score": score}])

    text = words(page(client, f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"))

    assert text.count("better p <0.0001") == 2 and "adjusted <" not in text


def test_columns_without_anything_are_left_out(client, seed):
    """No reference, no times and no tokens: no columns for them."""
    dataset = seed.dataset("bare")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    session = seed.session("bare", dataset)
    seed.run(session, example, outputs={"a": 1}, seconds=0)

    text = words(page(client, f"datasets/{dataset}/compare?selectedSessions={session}"))

    assert "Reference" not in text and "Latency" not in text and "Tokens" not in text


def test_the_baseline_comes_first(client, seed):
    """Whatever order the address has, the baseline is the first column and the first line."""
    made = capitals(seed)
    path = f"datasets/{made['dataset']}/compare?selectedSessions={made['second']},{made['first']}"

    html = page(client, path)

    assert re.findall(r'data-label="(first|second)"', html)[:2] == ["first", "second"]
    slowest = rows(client, f"{path}&sort=latency:1&dir=desc")[0]
    assert slowest == made["examples"][2]  # of `second`, which the address names first
    assert "Peru" not in words(page(client, f"{path}&show=errors&of=2"))


def test_a_step_does_not_list_its_own_trace(client, seed):
    """The runs of the same example elsewhere are other traces."""
    dataset = seed.dataset("agents")
    (example,) = seed.examples(dataset, [({"q": 1}, {"a": 2})])
    session = seed.session("agent", dataset)
    root = seed.run(session, example, outputs={"a": 2}, name="agent")
    step = seed.run(session, parent=root, name="search")

    assert "Other runs of this example" not in page(client, f"projects/p/{session}/r/{step['id']}")


def test_an_answer_is_whole_on_the_page_of_its_run(client, seed):
    """Whoever opened one run wants to read it."""
    session = seed.session("verbose")
    run = seed.run(session, outputs={"answer": "line\n" * 200, "more": "word " * 900})

    html = page(client, f"projects/p/{session}/r/{run['id']}")

    assert "Show all" not in html


def sorted_out(seed):
    """Examples with splits, metadata and tags; the path that compares two experiments of them."""
    dataset = seed.dataset("facets")
    ids = [
        seed.examples(dataset, [({"n": n}, None)], split="dev" if n % 2 else "test", metadata={"topic": topic})[0]
        for n, topic in enumerate(["money", "time", "money", "<b>", "time", "money"])
    ]
    sessions = [seed.session(name, dataset) for name in ("one", "two")]
    for session in sessions:
        for n, example in enumerate(ids):
            tags = ["late"] if n == 4 else []
            seed.run(session, example, outputs={"a": n}, tags=tags, feedback=[{"key": "good", "score": n % 2}])
    return f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"


def chips(html):
    """The facets of a page: text -> (count, address)."""
    block = re.search(r'<div class="facets".*?</div></div>', html, re.S)[0]
    found = re.findall(r'href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', block)
    return {unescape(text): (int(count), unescape(address).partition("#")[0]) for address, text, count in found}


def test_facets_count_what_they_leave(client, seed):
    """Splits, metadata and tags are chips with counts; each leads to that many rows, and two narrow down together."""
    path = sorted_out(seed)

    found = chips(page(client, path))

    assert {text: count for text, (count, _) in found.items()} == {
        "dev": 3, "test": 3, "money": 3, "time": 2, "<b>": 1, "late": 1, "0": 3, "1": 3,
    }  # fmt: skip
    assert [text for text, (count, address) in found.items() if len(rows(client, address)) != count] == []
    narrowed = chips(page(client, found["money"][1]))
    assert narrowed["test"][0] == 2 and len(rows(client, narrowed["test"][1])) == 2
    assert len(rows(client, narrowed["✓ money"][1])) == 6  # the same chip takes it away again
    assert "<b>" not in page(client, path).replace("<b class", "").replace("<b>1", "").split('class="facets"')[1][:900]


def test_rows_of_one_line(client, seed):
    """The compact view has a line a row with a matrix of scores, and keeps the filters."""
    path = sorted_out(seed) + "&view=compact"

    html = page(client, f"{path}&facet=split:dev")

    assert len(rows(client, f"{path}&facet=split:dev")) == 3
    assert len(re.findall(r'data-run="[^"]*" data-metric="good"', html)) == 6
    assert 'value="compact" selected' in html and 'name="facet" value="split:dev"' in html


def test_experiments_are_added_to_a_comparison_and_removed(client, seed):
    """A form without scripts offers the other experiments, newest first, up to six together; it keeps the filters. A
    link removes one, and what the address says of experiments by their place."""
    path = measured(seed, 7, examples=1)
    dataset, _, ids = path.partition("?selectedSessions=")
    ids = ids.split(",")

    html = page(
        client, f"{dataset}?selectedSessions={ids[0]},{ids[1]}&baseline={ids[1]}&show=regressed&of=1&metric=size"
    )
    form = html.split('<form class="add"')[1].split("</form>")[0]
    assert re.findall(r'<option value="([^"]+)">', form) == ids[:1:-1]
    kept = re.findall(r'name="(\w+)" value="([^"]*)"', form)
    assert dict(kept).keys() == {"selectedSessions", "baseline", "show", "of", "metric"}
    added = page(client, f"{dataset}?{urlencode([*kept, ('selectedSessions', ids[4])])}")
    assert "3 experiments of counted" in added and 'value="regressed" selected' in added
    removed = unescape(re.findall(r'class="remove" href="([^"]*)"', added)[0])  # the baseline, which comes first
    assert removed == f"/o/{TENANT}/{dataset}?metric=size&selectedSessions={ids[0]}%2C{ids[4]}"
    assert "2 experiments of counted" in page(client, removed)
    assert '<form class="add"' not in page(client, f"{dataset}?selectedSessions={','.join(ids[:6])}")


@pytest.mark.parametrize("view", ["", "&view=compact"])
def test_keys_score_the_candidate_that_is_looked_at(client, seed, view):
    """Who follows the regressions of the third experiment reads and scores its answers, otherwise the second's."""
    path = measured(seed, 3, examples=1) + view

    def marked(extra):
        return re.findall(r'data-label="experiment (\d)" data-candidate', page(client, path + extra))

    assert marked("") == ["1", "2"] and marked("&of=3") == ["2"]


@pytest.mark.slow
def test_other_scores_and_labels_are_facets(client, seed):
    """Scores with a few values and labels narrow the rows together with the filtered score, each by its chip, in the
    chosen experiment or in any."""
    dataset = seed.dataset("several")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(8)], metadata={"tone": "plain"})
    sessions = [seed.session(name, dataset) for name in ("one", "two")]
    for at, session in enumerate(sessions):
        for n, example in enumerate(examples):
            scores = [{"key": "right", "score": int(n < 2)}, {"key": "short", "score": (n + at) % 2}]
            label = {"key": "tone", "value": "<b>" if n else "kind"}
            seed.run(
                session, example, outputs={"n": n}, feedback=[*scores, label, {"key": "close", "score": n / 9 + at}]
            )
    path = f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}&metric=right"

    def chips(path):
        found = re.findall(r'<a class="chip[^"]*" href="([^"]*)"[^>]*>(.*?) <span class="n">(\d+)', page(client, path))
        return [(unescape(text), int(count), unescape(address)) for address, text, count in found]

    both = chips(f"{path}&of=2")
    assert [chip[:2] for chip in both] == [("0", 6), ("1", 2), ("0", 4), ("1", 4), ("<b>", 7), ("kind", 1)]
    assert "close" not in words(
        page(client, path).split('class="facets"')[1].split("</div></div>")[0]
    )  # too many values
    assert [len(rows(client, address)) for _, _, address in both] == [6, 2, 4, 4, 7, 1]
    right_not_short = [chip for chip in chips(both[1][2]) if "facet=short%3A0" in chip[2]][0]
    assert right_not_short[1] == 1 and len(rows(client, right_not_short[2])) == 1
    assert [count for text, count, _ in chips(path) if text == "<b>"] == [7]
    ranges = [chip for chip in chips(path.replace("metric=right", "metric=close")) if "min=" in chip[2]]
    assert [chip[:2] for chip in ranges] == [("0 … 0.5", 5), ("0.5 … 1", 4), ("1 … 1.5", 5), ("1.5 … 2", 3)]
    assert [len(rows(client, address)) for _, _, address in ranges] == [5, 4, 5, 3]
    assert "✓ 1 … 1.5" in [text for text, _, _ in chips(ranges[2][2])]


def test_rows_scored_by_hand(client, seed):
    """A filter leaves what people have scored, in any of the experiments or in one."""
    made = capitals(seed)
    seed.feedback(made["runs"][1], key="taste", score=1, feedback_source={"type": "app"})
    path = f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}&show=by_hand"

    assert rows(client, path) == [made["examples"][1]]
    assert "No example matches" in page(client, f"{path}&of=2")


def test_pages_are_numbered(client, seed):
    """Below a long list stand the first, the last and the nearest pages, as links to them; the first page of 1,319
    rows is two clicks from the last but one."""
    dataset = seed.dataset("long")
    for start in range(0, 1319, 400):
        seed.examples(dataset, [({"n": n}, None) for n in range(start, min(start + 400, 1319))])
    path = f"datasets/{dataset}?tab=examples"

    def pages(query):
        (nav,) = re.findall(r'<nav class="pager".*?</nav>', page(client, path + query), flags=re.DOTALL)
        return words(nav).replace("← Previous ", "").replace(" Next →", ""), re.findall(r"page=(\d+)", unescape(nav))

    assert pages("") == ("1 2 3 … 27 1–50 of 1,319", ["2", "3", "27", "2"])
    assert pages("&page=27") == ("1 … 25 26 27 1,301–1,319 of 1,319", ["26", "1", "25", "26"])
    assert pages("&page=5")[0] == "1 … 3 4 5 6 7 … 27 201–250 of 1,319" and pages("&page=3")[0].startswith(
        "1 2 3 4 5 …"
    )


def test_a_mark_means_yes_or_no(client, seed):
    """1 of 1 is marked and coloured; 1 of five stars is neither: on every page, also when each score shown is 1, or
    when only the scale of the key says it."""
    dataset = seed.dataset("stars")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(51)])
    config = {"type": "continuous", "min": 1, "max": 5}
    seed.post("/feedback-configs", {"feedback_key": "tone", "feedback_config": config})
    session = seed.session("stars", dataset)
    stars, runs = {0: 1, 50: 5}, []
    for n, example in enumerate(examples):
        scores = {"right": 1, "stars": stars[n], "tone": 1} if n in stars else {}
        feedback = [{"key": key, "score": score} for key, score in scores.items()]
        runs.append(seed.run(session, example, outputs={"n": n}, feedback=feedback, after=n)["id"])
    compare = f"datasets/{dataset}/compare?selectedSessions={session}"

    for path in (compare, f"{compare}&row={examples[0]}", f"projects/p/{session}/r/{runs[0]}",
                 f"projects/p/{session}?sort=started&dir=asc", f"datasets/{dataset}/e/{examples[0]}"):  # fmt: skip
        html = page(client, path)
        chips = re.findall(r'data-key="(\w+)" class="chip ?(\w*)">\w+ <b>(.*?)</b>', html)
        found = {(key, colour, words(said)) for key, colour, said in chips} - {("stars", "", "5")}
        assert found == {("right", "good", "✓ 1"), ("stars", "", "1"), ("tone", "", "1")}, path
    assert 'class="mark num good" data-label="right"' in page(client, f"{compare}&view=compact")
    assert 'class="mark num " data-label="stars"' in page(client, f"{compare}&view=compact")


def test_less_may_be_better(client, seed):
    """Where the address says so, 0 is good and 1 is bad, in both views, in what a form answers, and for n and p."""
    dataset = seed.dataset("toxic")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(2)])
    session = seed.session("toxic", dataset)
    for n, example in enumerate(examples):
        run = seed.run(session, example, outputs={"n": n}, feedback=[{"key": "toxic", "score": n}])
    path = f"datasets/{dataset}/compare?selectedSessions={session}&lowerIsBetter=toxic"

    html = page(client, path)
    assert re.findall(r'class="chip (\w+)">toxic <b>(.*?)</b>', html.replace('<span aria-hidden="true">', "")) == [
        ("good", "✓ </span>0"),
        ("bad", "✗ </span>1"),
    ]
    assert re.findall(r'<tr id="e-([^"]*)" class="bad-row"', html) == [examples[1]]
    compact = page(client, f"{path}&view=compact")
    assert re.findall(r'class="mark num (\w+)" data-label="toxic"', compact) == ["good", "bad"]
    address = re.findall(r'data-scores="([^"]*)"', html)[0].replace("RUN", run["id"])
    form = {"key": "toxic", "score": "0", "part": "scores"}
    assert 'class="chip good"' in client.post(address, data=form, headers={"Sec-Fetch-Site": "same-origin"}).text


def listed(html):
    """The list of a comparison, without what stands above it."""
    return html.split('<div class="scroll" id="rows"')[1].split("</table>")[0]


def described(seed):
    """Experiments with times, tokens and cost on examples with metadata; the path that compares them."""
    dataset = seed.dataset("described")
    topics = {"money": 3, "time": 1, "<b>": 2}
    ids = [
        seed.examples(dataset, [({"n": n}, {"a": n})], metadata={"topic": topic, "ticket": f"T-{n}"})[0]
        for n, topic in enumerate(topics)
    ]
    sessions = [seed.session(name, dataset) for name in ("one", "two")]
    for session in sessions:
        for example, seconds in zip(ids, topics.values(), strict=True):
            usage = {"total_tokens": 100 * seconds, "total_cost": 0.25 * seconds}
            scores = [{"key": "good", "score": 1}, {"key": "size", "score": seconds}]
            metadata = {"metadata": {"usage_metadata": usage}}
            how = {"run_type": "llm", "extra": metadata, "feedback": scores}
            seed.run(session, example, outputs={"a": 1}, seconds=seconds, **how)
    return f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"


def test_columns_can_be_chosen(client, seed):
    """The rows show the scores, measurements and metadata that the address names; the totals still have all."""
    path = described(seed)

    usual, html = page(client, path), page(client, f"{path}&cols=score:size&cols=tokens&cols=metadata:ticket")

    found = words(listed(usual))
    assert "Reference" in found and "3.00 s" in found and "300 tokens" in found and "T-0" not in found
    found = listed(html)
    assert 'data-key="size"' in found and 'data-key="good"' not in found and "Reference" not in found
    assert 'data-label="ticket"' in found and "T-0" in found and "&lt;b&gt;" not in found
    assert "300 tokens" in words(found) and "3.00 s" not in words(found) and "$0.7500" not in words(found)
    assert "good" in words(html.split('<div class="scroll" id="rows"')[0])
    checked = re.findall(r'name="cols" value="([^"]*)" checked', html)
    assert checked == ["tokens", "score:size", "metadata:ticket"]


def test_compact_columns_can_be_chosen(client, seed):
    """One line a row shows measurements beside the scores when they are asked for, and sorts by them, largest first."""
    path = f"{described(seed)}&view=compact"
    assert "3.00 s" not in words(listed(page(client, path)))
    chosen = f"{path}&cols=latency&cols=cost&cols=metadata:topic"

    html = page(client, f"{chosen}&sort=latency:1")

    assert re.findall(r'data-label="topic">([^<]*)<', html) == ["money", "&lt;b&gt;", "time"]
    assert re.findall(r'data-label="cost">([^<]*)<', html) == ["$0.7500"] * 2 + ["$0.5000"] * 2 + ["$0.2500"] * 2
    (turned,) = re.findall(r'href="([^"]*)"[^>]*title="Sort by latency of one"', html)
    assert re.findall(r'data-label="topic">([^<]*)<', page(client, unescape(turned)))[0] == "time"


@pytest.mark.slow
def test_long_pages_are_sent_compressed(client, seed):
    """A browser gets a page with hundreds of rows at a fraction of its size."""
    path = f"/o/{TENANT}/{measured(seed, 6)}"

    plain = client.get(path)
    packed = client.get(path, headers={"Accept-Encoding": "gzip, br"})

    assert packed.headers["Content-Encoding"] == "gzip" and len(packed.data) < len(plain.data) / 5
    assert gzip.decompress(packed.data) == plain.data


def test_what_experiments_differ_in_comes_first(client, seed):
    """Of many facts, a comparison and a list of experiments show first those that explain a difference."""
    dataset = seed.dataset("facts")
    (example,) = seed.examples(dataset, [({"n": 1}, None)])
    shared = {f"setting {n}": "same" for n in range(8)}
    sessions = [
        seed.session(name, dataset, extra={"metadata": {**shared, "prompt": f"prompt {name}"}}) for name in ("a", "b")
    ]
    for session in sessions:
        seed.run(session, example, outputs={"a": 1})

    for path in (f"datasets/{dataset}", f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}"):
        text = words(page(client, path))
        assert "a prompt prompt a setting 0 same" in text and "b prompt prompt b setting 0 same" in text, path
        assert "setting 7 same" not in text and text.count(" more ") == 2, path


def test_ids_are_no_facets(client, seed):
    """Metadata of which each example or experiment has its own value divides nothing; nor does a mean that all have."""
    dataset = seed.dataset("ids")
    for n in range(6):
        (example,) = seed.examples(dataset, [({"n": n}, None)], metadata={"row": n, "kind": "ab"[n % 2]})
        session = seed.session(f"run {n}", dataset, extra={"metadata": {"run_id": f"id {n}", "model": "ab"[n % 2]}})
        seed.run(session, example, outputs={"a": 1}, feedback=[{"key": "flat", "score": 0}])

    assert list(chips(page(client, f"datasets/{dataset}?tab=examples"))) == ["a", "b"]
    assert list(chips(page(client, f"datasets/{dataset}"))) == ["a", "b"]


def test_of_many_scores_those_that_differ_come_first(client, seed):
    """One line says in which scores an experiment is worse or better, and leads to the rows; few need no such line."""
    dataset = seed.dataset("many")
    old, new = (seed.session(name, dataset) for name in ("old", "new"))
    for n in range(12):
        (example,) = seed.examples(dataset, [({"n": n}, None)])
        for session in (old, new):
            scores = {"right": int(session == old), "kind": int(session == new), "short": n % 2, "clear": n % 3}
            seed.run(session, example, feedback=[{"key": key, "score": score} for key, score in scores.items()])
    path = f"datasets/{dataset}/compare?selectedSessions={old},{new}"

    html = page(client, path)

    assert "#2 new is worse in right #2 new is better in kind" in words(html)
    (worse,) = re.findall(r'worse</b> in <a class="" href="([^"]*)"', html)
    assert len(rows(client, unescape(worse).partition("#")[0])) == 12
    assert "is worse in" not in words(page(client, f"{path}&metrics=right&metrics=short"))
