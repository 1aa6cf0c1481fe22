"""From example to example and from run to run, in the list that leads there."""

import re
from html import unescape

import pytest
from keyboard import press
from pages_seed import page


def links(html):
    """Where a page leads, by the text of its links."""
    found = re.findall(r'<a[^>]* href="([^"]*)"[^>]*>(.*?)</a>', html)
    return {re.sub("<[^>]*>.*", "", text).strip(): unescape(address) for address, text in found}


@pytest.fixture
def sixty(seed):
    """60 examples, the even ones in the split "even", and two experiments: the second fails on every third."""
    dataset = seed.dataset("sixty")
    examples = []
    for n in range(60):
        split = "even" if n % 2 == 0 else "odd"
        examples += seed.examples(dataset, [({"q": f"question {n}"}, {"a": n})], split=split)
    old, new = (seed.session(name, dataset) for name in ("old", "new"))
    for session in (old, new):
        for n, example in enumerate(examples):
            score = 0 if session == new and n % 3 == 0 else 1
            seed.run(session, example, outputs={"a": n}, feedback=[{"key": "right", "score": score}])
    return dataset, examples, old, new


@pytest.mark.slow
def test_next_example_is_the_next_of_the_list(client, sixty):
    """The page of an example keeps the filters and the order of the list, and leads back to its place in it."""
    dataset, examples, *_ = sixty
    listed = page(client, f"datasets/{dataset}?tab=examples&dir=desc&facet=split:even")

    at = page(client, links(listed)["#55"])
    after = page(client, links(at)["next example →"])

    assert "3 of 30" in at and "Example #53" in after and "previous example" in after
    last = page(client, f"datasets/{dataset}/e/{examples[59]}?tab=examples")
    assert "next example →" not in links(last) and "60 of 60" in last
    back = links(last)["Examples"]
    assert back.endswith(f"&page=2#e-{examples[59]}")
    assert f'id="e-{examples[59]}"' in page(client, back.partition("#")[0])
    assert "not among the filtered examples" in page(client, f"datasets/{dataset}/e/{examples[0]}?q=nothing")


@pytest.mark.slow
def test_next_run_is_that_of_the_next_row(client, sixty):
    """From the regressed rows of a comparison to a trace, and on to the next one, and back with the row open."""
    dataset, examples, old, new = sixty
    compare = f"datasets/{dataset}/compare?selectedSessions={old},{new}&show=regressed&of=2"
    html = page(client, f"{compare}&row={examples[3]}")

    runs = [unescape(address) for address in re.findall(r'href="([^"]*)">run</a>', html)]
    one, of_old = page(client, runs[-1]), page(client, runs[-2])
    after = page(client, links(one)["next example →"])

    assert "2 of 20" in one and "2 of 20" in of_old and "3 of 20" in after
    assert links(after)["example"].partition("?")[0].endswith(examples[6])
    assert "question 6" in page(client, links(after)["Compare"].partition("#")[0])
    assert f"&show=regressed&of=2&row={examples[6]}#" in links(after)["Compare"]
    example = page(client, links(html)["this example in all experiments"])
    assert "2 of 20" in example and links(example)["next example →"].partition("?")[0].endswith(examples[6])


def test_a_score_keeps_the_place_in_the_list(client, seed):
    """A run that a score takes out of the list, since it is no longer regressed, leads on to the next one of it."""
    dataset = seed.dataset("three")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(3)])
    old, new = (seed.session(name, dataset) for name in ("old", "new"))
    for session in (old, new):
        scores = [{"key": "right", "score": int(session == old)}]
        runs = [seed.run(session, example, outputs={}, feedback=scores) for example in examples]
    path = f"projects/p/{new}/r/{runs[1]['id']}?selectedSessions={old},{new}&show=regressed"
    assert "2 of 3" in page(client, path)

    seed.feedback(runs[1], key="right", score=2)

    html = page(client, path)
    assert "not among the filtered examples" in html
    assert runs[2]["id"] in links(html)["next example →"] and runs[0]["id"] in links(html)["← previous example"]
    row = page(client, f"datasets/{dataset}/compare?selectedSessions={old},{new}&show=regressed&row={examples[1]}")
    assert "not among the filtered rows" in row and examples[2] in links(row)["next →"]


def test_next_trace_is_the_next_of_the_project(client, seed):
    """From a trace of a filtered and sorted project to the next one, and back to its place."""
    project = seed.session("live")
    runs = [
        seed.run(project, name=f"trace {n}", run_type="llm" if n % 2 else "chain", seconds=n + 1, after=n, outputs={})
        for n in range(8)
    ]
    listed = page(client, f"projects/p/{project}?filter=eq(run_type,+%22llm%22)&sort=latency")

    first = page(client, links(listed)["trace 7"])
    after = page(client, links(first)["next trace →"])

    assert "1 of 4" in first and "previous trace" in first and "previous trace" not in links(first)
    assert "trace 5" in after and links(after)["live"].endswith(f"&sort=latency#r-{runs[5]['id']}")
    assert f'id="r-{runs[5]["id"]}"' in listed
    newest = page(client, f"projects/p/{project}/r/{runs[7]['id']}")
    assert "1 of 8" in newest and runs[6]["id"] in links(newest)["next trace →"]


def test_next_disagreement_is_the_next_of_the_agreement(client, seed):
    """From a run on which a judge and a person differ to the next such run, in the order of their list."""
    dataset = seed.dataset("stars")
    session = seed.session("stars", dataset)
    for n, (judge, human) in enumerate([(1, 2), (3, 3), (5, 1), (3, 1)]):
        (example,) = seed.examples(dataset, [({"n": f"question {n}"}, None)])
        run = seed.run(session, example, outputs={"a": f"answer {n}"}, feedback=[{"key": "judge", "score": judge}])
        seed.feedback(run, key="human", score=human)
    listed = page(client, f"projects/p/{session}/agreement?judge=judge&human=human&sort=difference")

    first = page(client, links(listed)["#3"])
    after = page(client, links(first)["next disagreement →"])

    assert "1 of 3" in first and "answer 2" in first and "answer 3" in after
    assert "&sort=difference" in links(after)["Agreement"]


@pytest.mark.slow
@pytest.mark.browser
def test_j_and_k_go_to_the_next_and_the_previous_example(open_page, site):
    """As in a list, or in capitals as on the page of a run; the help says so. Going back leads to the list."""
    tab = open_page(f"datasets/{site[1]['dataset']}?tab=examples&q=capital")
    tab.get_by_role("link", name="#1").click()
    tab.get_by_text("Example #1").wait_for()

    press(tab, "j", then="Example #2")
    press(tab, "J", then="Example #3")
    press(tab, "k", then="Example #2")
    press(tab, "?", then="next and previous example")
    assert tab.url.endswith("?tab=examples&q=capital")
    tab.go_back()
    tab.get_by_role("link", name="#3").wait_for()
