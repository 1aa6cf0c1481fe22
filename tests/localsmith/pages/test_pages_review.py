"""Reviewing answers one by one: what is asked, what is stored, and who gets which."""

import re
from html import unescape

import pytest
from keyboard import press
from pages_seed import TENANT, Seed, page, words

import localsmith

OURS = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def made_queue(seed, count=3, **fields):
    """A queue of answers of one experiment: its id, and the runs in their order."""
    dataset = seed.dataset("capitals")
    examples = seed.examples(dataset, [({"country": f"country {n}"}, {"capital": f"city {n}"}) for n in range(count)])
    session = seed.session("secret model", dataset)
    runs = [
        seed.run(session, example, outputs={"capital": f"answer {n}"}, feedback=[{"key": "judge", "score": 1}])
        for n, example in enumerate(examples)
    ]
    queue = seed.post("/annotation-queues", {"name": "human of secret model (random)", **fields})["id"]
    seed.post(f"/annotation-queues/{queue}/runs", [run["id"] for run in runs])
    return queue, runs


def item_of(html):
    return re.search(r'id="rubric" action="[^"]*/items/([0-9a-f-]+)"', html)[1]


def send(client, queue, item, **form):
    path = f"/o/{TENANT}/annotation-queues/{queue}/items/{item}"
    return client.post(path, data=form, headers=OURS)


def feedback_on(client, run):
    """What people said of a run: key -> (score, value, comment)."""
    found = client.get(f"/feedback?run={run['id']}&source=app", headers={"x-api-key": "any"}).get_json()
    return {item["key"]: (item["score"], item["value"], item["comment"]) for item in found}


def test_one_answer_at_a_time(client, seed):
    """The page shows inputs, reference, answer and place of the first item; who made it only on demand."""
    queue, _ = made_queue(seed)

    text = words(page(client, f"annotation-queues/{queue}"))

    assert "1 of 3" in text and "country 0" in text and "city 0" in text and "answer 0" in text
    assert "secret model" not in text and "judge" not in text
    shown = words(page(client, f"annotation-queues/{queue}?open=1"))
    assert "secret model" in shown and "judge ✓ 1" in shown


def test_answers_are_stored_as_feedback(client, seed):
    """Saving stores the score by hand, keeps what judges said, and goes on to the next."""
    queue, runs = made_queue(seed)
    item = item_of(page(client, f"annotation-queues/{queue}"))

    answer = send(client, queue, item, q0="0", note="wrong city")

    assert answer.status_code == 303 and f"last={item}" in answer.location
    assert feedback_on(client, runs[0]) == {"human": (0, None, None), "note": (None, None, "wrong city")}
    html = page(client, f"annotation-queues/{queue}")
    assert "2 of 3" in words(html) and "answer 1" in words(html)


def test_a_review_can_be_sent_twice_and_undone(client, seed):
    """The same form again changes the one score; undoing takes scores and note back and shows the item again."""
    queue, runs = made_queue(seed)
    item = item_of(page(client, f"annotation-queues/{queue}"))

    send(client, queue, item, q0="0")
    send(client, queue, item, q0="1")
    assert feedback_on(client, runs[0]) == {"human": (1, None, None)}
    answer = send(client, queue, item, action="undo")

    assert feedback_on(client, runs[0]) == {} and f"item={item}" in answer.location
    assert "1 of 3" in words(page(client, f"annotation-queues/{queue}"))


def test_texts_stay_as_stored_from_item_to_item(client, seed):
    """Who asked for texts as they are stored need not ask again at the next item, nor to undo the last."""
    queue, _ = made_queue(seed)
    html = page(client, f"annotation-queues/{queue}?raw=1")
    assert html.count('name="raw" value="1"') == 1

    html = page(client, send(client, queue, item_of(html), q0="1", raw="1").location)

    assert "Show texts rendered" in html and html.count('name="raw" value="1"') == 2
    opened = re.search(r'href="([^"]*)">Show the model', html)[1]
    assert "raw=1" in opened and "last=" in opened


def test_a_finished_queue_leads_to_its_answers(client, seed):
    """After the last item, one link shows the answers with the scores that they were given."""
    queue, _ = made_queue(seed, 1)
    send(client, queue, item_of(page(client, f"annotation-queues/{queue}")), q0="1")

    html = page(client, f"annotation-queues/{queue}")

    text = words(page(client, unescape(re.search(r'href="([^"]*)">The reviewed answers', html)[1])))
    assert "1 of 1 example " in text and "human ✓ 1 by hand" in text


def test_a_skipped_item_comes_last(client, seed):
    """Skipping stores nothing and shows the item again when the others are done."""
    queue, runs = made_queue(seed, 2)
    item = item_of(page(client, f"annotation-queues/{queue}"))

    send(client, queue, item, action="skip")
    html = page(client, f"annotation-queues/{queue}")
    assert "answer 1" in words(html)
    send(client, queue, item_of(html), q0="1")

    assert "answer 0" in words(page(client, f"annotation-queues/{queue}")) and feedback_on(client, runs[0]) == {}


def test_two_browsers_never_get_the_same_item(app, seed):
    """What one browser looks at is reserved for it; what it has reviewed is done for all."""
    queue, _ = made_queue(seed, 3)
    browsers = [app.test_client() for _ in range(3)]

    seen = [item_of(page(browser, f"annotation-queues/{queue}")) for browser in browsers]

    assert len(set(seen)) == 3
    assert item_of(page(browsers[0], f"annotation-queues/{queue}")) == seen[0]
    text = words(page(app.test_client(), f"annotation-queues/{queue}"))
    assert "Other people are reviewing the remaining answers" in text and "0 of 3 reviewed" in text
    for browser, item in zip(browsers, seen, strict=True):
        send(browser, queue, item, q0="1")
    assert "3 of 3 reviewed Nothing is left" in words(page(app.test_client(), f"annotation-queues/{queue}"))


def test_a_rubric_asks_its_questions(client, seed):
    """Categories, scales and texts of a rubric become choices, and are stored as LangSmith stores them."""
    configs = {
        "tone": {"type": "categorical", "categories": [{"value": 0, "label": "rude"}, {"value": 1, "label": "kind"}]},
        "stars": {"type": "continuous", "min": 1, "max": 5},
        "why": {"type": "freeform"},
        "effort": {"type": "continuous"},
    }
    for key, config in configs.items():
        seed.post("/feedback-configs", {"feedback_key": key, "feedback_config": config})
    rubric = [{"feedback_key": key, "score_descriptions": {"5": "perfect"}, "is_required": True} for key in configs]
    queue, runs = made_queue(seed, rubric_items=rubric, rubric_instructions="Be strict.")

    html = page(client, f"annotation-queues/{queue}")
    assert "Be strict." in words(html) and "rude 0" in words(html) and "5: perfect 5" in words(html)
    assert send(client, queue, item_of(html), q0="1").status_code == 400  # stars are missing
    send(client, queue, item_of(html), q0="1", q1="4", q2="short", q3="2,5")

    assert feedback_on(client, runs[0]) == {
        "tone": (1, "kind", None), "stars": (4, None, None), "why": (None, None, "short"), "effort": (2.5, None, None),
    }  # fmt: skip


def test_no_two_answers_have_one_key(client, seed):
    """A scale of more than ten numbers is typed, within its ends; categories after the tenth have no key."""
    kinds = [{"value": n + 20, "label": f"kind {n}"} for n in range(12)]
    for key, config in {
        "grade": {"type": "continuous", "min": 0, "max": 10},
        "kind": {"type": "categorical", "categories": kinds},
    }.items():
        seed.post("/feedback-configs", {"feedback_key": key, "feedback_config": config})
    queue, runs = made_queue(seed, rubric_items=[{"feedback_key": "grade"}, {"feedback_key": "kind"}])

    html = page(client, f"annotation-queues/{queue}")
    refused = send(client, queue, item_of(html), q0="42", q1="31")
    send(client, queue, item_of(html), q0="10", q1="31")

    keys = re.findall(r'name="q1" value="[^"]*" data-key="(.*?)"', html)
    assert 'name="q0" aria-label="grade"' in html and keys == [*"1234567890", "", ""]
    assert refused.status_code == 400 and "expected a number from 0 to 10" in refused.text
    assert "Go back in your browser" in refused.text
    assert feedback_on(client, runs[0]) == {"grade": (10, None, None), "kind": (31, "kind 11", None)}


def test_rows_of_a_comparison_become_a_queue(client, seed):
    """The answers that a comparison shows, or a sample of them, are put into a queue that says how they were drawn.
    Doing it again leads to the same queue; a larger sample adds to it."""
    _, runs = made_queue(seed, 6)
    session = runs[0]["session_id"]
    dataset = seed.post("/datasets", {"name": "other"})  # another dataset does not matter
    found = client.get(f"/sessions/{session}", headers={"x-api-key": "any"}).get_json()
    path = f"/o/{TENANT}/datasets/{found['reference_dataset_id']}/compare/queue?selectedSessions={session}"

    drawn = client.post(path, data={"key": "human_correct", "sample": "3", "seed": "1"}, headers=OURS)
    filtered = client.post(f"{path}&q=answer+4", data={"key": "human_correct"}, headers=OURS)

    assert dataset and "1 of 3" in words(page(client, drawn.location))
    for sample, total in (("3", 3), ("5", 5)):
        again = client.post(path, data={"key": "human_correct", "sample": sample, "seed": "1"}, headers=OURS)
        assert again.location == drawn.location and f"1 of {total}" in words(page(client, drawn.location))
    assert "answer 4" in words(page(client, filtered.location)) and "human_correct" in words(
        page(client, filtered.location)
    )
    for answer, sampling in ((drawn, "random"), (filtered, "filtered")):
        queue = client.get("/annotation-queues/" + answer.location.split("/")[-1], headers={"x-api-key": "any"})
        assert queue.get_json()["metadata"]["sampling"] == sampling
    assert client.post(f"{path}&q=nowhere", data={}, headers=OURS).status_code == 400


def test_a_filter_adds_nothing_to_a_random_sample(client, seed):
    """A filter that all answers passed makes another queue once it leaves some out, which says that it is filtered."""
    _, runs = made_queue(seed, 3)
    dataset = client.get(f"/sessions/{runs[0]['session_id']}", headers={"x-api-key": "any"}).get_json()
    path = f"/o/{TENANT}/datasets/{dataset['reference_dataset_id']}/compare/queue?selectedSessions={dataset['id']}"
    queues = [client.post(f"{path}&q=answer", data={}, headers=OURS).location.split("/")[-1]]
    for text in ("answer 4", "nothing"):
        [example] = seed.examples(dataset["reference_dataset_id"], [({"country": text}, None)])
        seed.run(dataset["id"], example, outputs={"capital": text})

    queues.append(client.post(f"{path}&q=answer", data={}, headers=OURS).location.split("/")[-1])

    found = [client.get(f"/annotation-queues/{queue}", headers={"x-api-key": "any"}).get_json() for queue in queues]
    assert [queue["metadata"]["sampling"] for queue in found] == ["random", "filtered"]


@pytest.mark.parametrize("field, text", [("seed", "9" * 19), ("sample", "9" * 5000), ("key", "k" * 181)])
def test_a_queue_that_could_not_be_reviewed_is_refused(client, seed, field, text):
    """Numbers that no JSON reader holds exactly, and feedback keys that no score can have."""
    _, runs = made_queue(seed, 1)
    session = client.get(f"/sessions/{runs[0]['session_id']}", headers={"x-api-key": "any"}).get_json()
    path = f"/o/{TENANT}/datasets/{session['reference_dataset_id']}/compare/queue?selectedSessions={session['id']}"

    answer = client.post(path, data={field: text}, headers=OURS)

    assert answer.status_code == 400 and " at most 18" in answer.text


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}], ids=str)
def test_reviews_from_other_sites_are_refused(client, seed, headers):
    """A form of another web site can neither review nor make a queue."""
    queue, runs = made_queue(seed)
    item = item_of(page(client, f"annotation-queues/{queue}"))

    path = f"/o/{TENANT}/annotation-queues/{queue}/items/{item}"

    assert client.post(path, data={"q0": "1"}, headers=headers).status_code == 403
    assert feedback_on(client, runs[0]) == {}


def test_queues_are_listed_on_the_first_page(client, seed):
    """Every queue is a link there, with how much of it is reviewed."""
    queue, _ = made_queue(seed)
    send(client, queue, item_of(page(client, f"annotation-queues/{queue}")), q0="1")

    assert "(random) 3 1" in words(page(client, "/"))


@pytest.mark.slow
@pytest.mark.browser
def test_an_answer_takes_two_keys(browser, tmp_path):
    """By keyboard alone: a digit and Enter for each answer, c for a note, s to skip, u to undo. Keys that come while
    an answer is still being sent do not change it."""
    app = localsmith.create_app(tmp_path / "review.db", score_decimals=None)
    queue, runs = made_queue(Seed(app.test_client()), 4)
    with localsmith.serve(tmp_path / "review.db") as server:
        tab = browser.new_page()
        tab.goto(f"{server.url}/o/{TENANT}/annotation-queues/{queue}")

        saves = []

        def save(route):
            saves.append(route.request.post_data)
            tab.keyboard.press("0")
            tab.keyboard.press("Enter")
            route.continue_()

        tab.route("**/items/*", save)
        press(tab, "1", "Enter", then="2 of 4")
        tab.unroute("**/items/*")
        assert len(saves) == 1
        press(tab, "0", "Enter", then="3 of 4")
        press(tab, "u", then="answer 1")
        press(tab, "1", "Enter", then="answer 2")
        press(tab, "s", then="answer 3")
        tab.keyboard.press("0")
        tab.keyboard.press("c")
        tab.keyboard.type("a note: 1s")
        press(tab, "Enter", then="answer 2")
        press(tab, "1", "Enter", then="Nothing is left")
        tab.close()
    client = app.test_client()
    assert [feedback_on(client, run)["human"][0] for run in runs] == [1, 1, 1, 0]
    assert feedback_on(client, runs[3])["note"][2] == "a note: 1s"
    app.extensions["localsmith"].store.close()


@pytest.mark.slow
@pytest.mark.browser
def test_a_grade_is_typed_without_a_click(browser, tmp_path):
    """The first digit goes into the field of the first open question."""
    app = localsmith.create_app(tmp_path / "review.db", score_decimals=None)
    seed = Seed(app.test_client())
    config = {"type": "continuous", "min": 0, "max": 100}
    seed.post("/feedback-configs", {"feedback_key": "grade", "feedback_config": config})
    queue, runs = made_queue(seed, 2, rubric_items=[{"feedback_key": "grade"}])
    with localsmith.serve(tmp_path / "review.db") as server:
        tab = browser.new_page()
        tab.goto(f"{server.url}/o/{TENANT}/annotation-queues/{queue}")
        press(tab, "8", "5", "Enter", then="2 of 2")
        tab.close()
    assert feedback_on(app.test_client(), runs[0]) == {"grade": (85, None, None)}
    app.extensions["localsmith"].store.close()


@pytest.mark.slow
@pytest.mark.browser
def test_without_scores_by_people_the_way_to_give_them_is_one_click(open_page, site):
    """The page of agreement leads to the form that makes a review queue, and the form is open."""
    page = open_page(f"projects/p/{site[1]['first']}/agreement")

    page.get_by_role("link", name="review the answers one by one").click()
    page.get_by_role("button", name="Review", exact=True).wait_for()
