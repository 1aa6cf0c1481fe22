"""Judging pairs: two answers side by side without names, and the preference that is stored."""

import re
from html import unescape

import pytest
from keyboard import press
from pages_seed import TENANT, Seed, page, words

import localsmith
from localsmith.pages import pairs

OURS = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def made_pairs(client, count=4):
    """Two experiments that answered the same, and the page where their pairs are judged: its path below the tenant."""
    seed = Seed(client)
    dataset = seed.dataset("capitals")
    examples = seed.examples(dataset, [({"country": f"country {n}"}, {"capital": f"city {n}"}) for n in range(count)])
    sessions = [seed.session(name, dataset) for name in ("secret old", "secret new")]
    for session, name in zip(sessions, ("old", "new"), strict=True):
        for n, example in enumerate(examples):
            seed.run(session, example, outputs={"capital": f"{name} {n}"})
        seed.run(session, error="down", outputs=None)
    form = {"experiments": ",".join(sessions), "key": "clearer", "question": "Which is clearer?"}
    answer = client.post(f"/o/{TENANT}/datasets/{dataset}/compare/pairs", data=form, headers=OURS)
    assert answer.status_code == 303
    return answer.location.removeprefix(f"/o/{TENANT}/"), sessions


def prefer(client, html, wanted):
    """Choose the answer of the experiment that is `wanted`, wherever it stands; returns the next page."""
    first = re.search(r'id="side-1">Answer 1</h2>.*?(old|new) (\d)', html, re.S)
    choice = {"tie": "0", first[1]: "1"}.get(wanted, "2")
    left = re.search(r'name="left" value="([^"]+)"', html)[1]
    action = re.search(r'id="rubric" action="([^"]+)"', html)[1]
    form = {"q0": choice, "left": left, "note": f"about {first[2]}"}
    return client.post(action, data=form, headers=OURS), first


def test_a_preference_is_stored_as_a_judges_is(app):
    """Scores of 1 and 0 on both runs, or 0 and 0 for a tie, in one group of the comparison, with the order shown."""
    client = app.test_client()
    path, sessions = made_pairs(client)
    html = page(client, path)
    assert "1 of 4" in words(html) and "Which is clearer?" in words(html) and "secret" not in html

    orders = []
    for n in range(4):
        answer, first = prefer(client, page(client, path), "new" if n < 3 else "tie")
        orders.append(first[1])

    comparative = path.split("/")[-1]
    found = client.get(
        f"/feedback?comparative_experiment_id={comparative}&limit=100", headers={"x-api-key": "any"}
    ).get_json()
    scores = {session: sorted(f["score"] for f in found if f["session_id"] == session) for session in sessions}
    assert scores == {sessions[0]: [0, 0, 0, 0], sessions[1]: [0, 1, 1, 1]}
    assert len({f["feedback_group_id"] for f in found}) == 4 and {f["key"] for f in found} == {"clearer"}
    assert {f["feedback_source"]["type"] for f in found} == {"app"}
    shown_first = [f["feedback_source"]["metadata"]["order"][0].split()[1] for f in found]
    assert sorted(shown_first) == sorted([*orders, *orders])
    assert "Nothing is left to judge here" in words(page(client, answer.location))
    address = re.search(r'href="/o/[^/]+/([^"]*comparativeExperiment[^"]*)"', unescape(page(client, path)))[1]
    results = page(client, address)
    assert "preferred 3× 100.0 % of the decided examples" in words(results) and "about 0" in words(results)


def test_pairs_are_shared_out_undone_and_put_off(app):
    """Two browsers never get the same pair; a judgement sent twice is one and can be undone; a skipped pair is last."""
    client, other = app.test_client(), app.test_client()
    path, _ = made_pairs(client, 3)
    action = r'id="rubric" action="([^"]+)"'
    mine, theirs = page(client, path), page(other, path)
    assert re.search(action, mine)[1] != re.search(action, theirs)[1]
    assert re.search(action, page(client, path))[1] == re.search(action, mine)[1]

    client.post(re.search(action, mine)[1], data={"action": "skip"}, headers=OURS)
    second = page(client, path)
    assert re.search(action, second)[1] not in (re.search(action, mine)[1], re.search(action, theirs)[1])
    for _ in range(2):
        answer, _first = prefer(client, second, "old")
    assert re.search(action, page(client, answer.location))[1] == re.search(action, mine)[1]
    undone = client.post(re.search(action, second)[1], data={"action": "undo", "raw": "1"}, headers=OURS)

    shown = page(client, undone.location)
    assert re.search(action, shown)[1] == re.search(action, second)[1]
    assert shown.count('name="raw" value="1"') == 1 and "Show texts rendered" in shown
    assert "1 of 3" in words(page(client, path))
    assert prefer(client, second.replace('name="left" value="', 'name="left" value="0'), "old")[0].status_code == 400
    assert client.post(re.search(action, second)[1], data={"q0": "1"}).status_code == 403


def test_two_servers_of_one_store_share_the_pairs_out(tmp_path):
    """Whoever looks at a pair, and what was put off, is known to every server of the store."""
    apps = [localsmith.create_app(tmp_path / "pairs.db") for _ in range(2)]
    clients = [app.test_client() for app in apps]
    path, _ = made_pairs(clients[0], 3)
    action = r'id="rubric" action="([^"]+)"'

    first, second = [re.search(action, page(client, path))[1] for client in clients]
    clients[0].post(first, data={"action": "skip"}, headers=OURS)
    third = re.search(action, page(clients[0], path))[1]
    for app in apps:
        app.extensions["localsmith"].store.close()

    assert len({first, second, third}) == 3


def test_skipped_pairs_come_again_in_turn(app):
    """A pair that is skipped again goes behind the others that were skipped."""
    client = app.test_client()
    path, _ = made_pairs(client, 3)
    seen = []
    for _ in range(9):
        seen.append(re.search(r'id="rubric" action="([^"]+)"', page(client, path))[1])
        client.post(seen[-1], data={"action": "skip"}, headers=OURS)

    assert len({*seen[:3]}) == 3 and seen[3:6] == seen[6:9] == seen[:3]


def test_a_pair_that_was_judged_just_now_is_not_given_again(app, monkeypatch):
    """A browser that asked for a pair a moment before somebody judged it does not get that one."""
    client, other = app.test_client(), app.test_client()
    path, _ = made_pairs(client, 1)
    prefer(client, page(client, path), "new")
    monkeypatch.setattr(pairs, "judged", lambda db, pairs: set())  # what it read then

    assert "Other people are judging the remaining pairs" in words(page(other, path))


def test_another_question_makes_other_pairs(app):
    """Preferences answer one question; the same question finds them again, and a key that is too long says so."""
    client = app.test_client()
    path, sessions = made_pairs(client)
    dataset = path.split("/")[1]

    def make(question, key="clearer"):
        form = {"experiments": ",".join(reversed(sessions)), "key": key, "question": question}
        return client.post(f"/o/{TENANT}/datasets/{dataset}/compare/pairs", data=form, headers=OURS)

    assert make("Which is clearer?").location.endswith(path)
    assert "Which is shorter?" in words(page(client, make("Which is shorter?").location))
    refused = make("Which is clearer?", "k" * 181)
    assert refused.status_code == 400 and "A feedback key has at most 180 characters." in refused.text


@pytest.mark.slow
@pytest.mark.browser
def test_a_pair_takes_two_keys(browser, tmp_path):
    """By keyboard alone, from the page of the comparison: a digit and Enter for each pair, s to skip, u to undo."""
    app = localsmith.create_app(tmp_path / "pairs.db", score_decimals=None)
    path, sessions = made_pairs(app.test_client(), 3)
    dataset = path.split("/")[1]
    with localsmith.serve(tmp_path / "pairs.db") as server:
        tab = browser.new_page()
        tab.goto(f"{server.url}/o/{TENANT}/datasets/{dataset}/compare?selectedSessions={','.join(sessions)}")
        tab.get_by_text("Judge these answers in pairs").click()
        tab.get_by_role("button", name="Judge").click()
        tab.get_by_text("1 of 3").wait_for()
        press(tab, "1", "Enter", then="2 of 3")
        press(tab, "0", "Enter", then="3 of 3")
        press(tab, "u", then="2 of 3")
        press(tab, "2", "Enter", then="3 of 3")
        press(tab, "1", "Enter", then="Nothing is left to judge here")
        tab.close()
    headers = {"x-api-key": "any"}
    assert len(app.test_client().get("/feedback?key=human_preference", headers=headers).get_json()) == 6
    app.extensions["localsmith"].store.close()
