"""The pages, asked for as a browser would, over an app with a fresh store."""

import re

import pytest
from pages_seed import CHAT, CHAT_ANSWER, HOSTILE, TENANT, capitals, page, words


def test_empty_store_says_what_to_run(client):
    """Somebody who has recorded nothing yet reads the two commands that change that."""
    html = page(client, "/")

    assert "langsmith-rest record FILE --dataset NAME" in html


def test_empty_pages_say_what_to_run(client, seed):
    """Wherever something is missing there is the command that brings it, with the names of this page."""
    dataset = seed.dataset("my cities")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    a, b, project = seed.session("a", dataset), seed.session("b", dataset), seed.session("live traffic")
    comparative = seed.post("/datasets/comparative", {"experiment_ids": [a, b], "name": "a or b"})["id"]

    def text(path):
        return words(page(client, path))

    over_all = "langsmith-rest evaluate FILE.py:FUNCTION --data 'my cities'"
    assert over_all in text(f"datasets/{dataset}/e/{example}")
    assert f"{over_all} --experiment a" in text(f"datasets/{dataset}/compare?selectedSessions={a}")
    assert "langsmith-rest evaluate a --evaluators FILE.py" in text(f"datasets/{dataset}/compare?selectedSessions={a}")
    pairwise = text(f"datasets/{dataset}/compare?selectedSessions={a},{b}&comparativeExperiment={comparative}")
    assert "langsmith-rest evaluate --pairwise a b --evaluators FILE.py" in pairwise
    assert "LANGSMITH_PROJECT='live traffic' python PROGRAM.py" in text(f"projects/p/{project}")


def test_datasets_are_listed_with_their_size(client, seed):
    """The first page names every dataset with its examples, experiments and last experiment."""
    made = capitals(seed)

    html = page(client, "/")

    assert f"/o/{TENANT}/datasets/{made['dataset']}" in html
    assert "capitals Capitals of the world 4 3" in words(html)


def test_datasets_can_be_searched(client, seed):
    """A search leaves only the datasets that match, and takes % literally."""
    capitals(seed)

    assert "capitals" in words(page(client, f"/o/{TENANT}/datasets?q=CAPI"))
    assert "No dataset" in page(client, f"/o/{TENANT}/datasets?q=%25")


def test_dataset_shows_experiments_with_intervals(client, seed):
    """An experiment's line has its means with interval and n, latency, tokens and errors."""
    made = capitals(seed)

    text = words(page(client, f"datasets/{made['dataset']}"))

    assert "#1 first" in text and "0.667 0.208 … 0.939 n = 3" in text
    assert "1.50 s" in text and "48 $0.00048" in text
    assert "1 33.3 %" in text
    assert "commit 01234567 main (dirty)" in text


def test_the_newest_two_experiments_are_one_click_away(client, seed):
    """Whoever has just run an experiment compares it with the one before; with a single one, nothing is offered."""
    dataset = seed.dataset()
    (example,) = seed.examples(dataset, [({"n": 1}, None)])
    sessions = []
    for name in ("one", "two", "three"):
        sessions.append(seed.session(name, dataset))
        seed.run(sessions[-1], example, outputs={"a": 1})
        html = page(client, f"datasets/{dataset}?sort=name")
        assert ("compare the newest two" in html) == (len(sessions) > 1)

    (address,) = re.findall('href="([^"]*)">compare the newest two', html)
    assert address.endswith(f"selectedSessions={sessions[1]}%2C{sessions[2]}")


def test_experiments_without_times_show_a_dash(client, seed):
    """Runs that start and end at the same moment have no latency: that is not 0.00 s."""
    made = capitals(seed)

    text = words(page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['third']}"))

    assert "#3 third 3 runs per example 3 0 Score" in text
    assert "0.00 s" not in text


def test_comparison_pairs_by_example(client, seed):
    """Against the baseline each metric says how many examples improved, regressed, and cannot be compared."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}%2C{made['second']}")

    text = words(html)
    assert "▲ 1 improved ▼ 1 regressed = 0 unchanged 2 not comparable ±0.000" in text
    assert "too few pairs p 1.0000" in text
    assert "TimeoutError: the model did not answer" in text
    assert "4 of 4 examples" in text


def test_repetitions_count_as_one_example(client, seed):
    """Three runs of one example are one pair, scored by their mean."""
    made = capitals(seed)

    text = words(page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['third']}"))

    assert "mean of 3 correct 0.667" in text
    assert "correct #3 third 0.667" in text


def test_unknown_experiments_are_named(client, seed):
    """An experiment of another dataset is left out, and the page says so."""
    made = capitals(seed)
    other = seed.session("elsewhere", seed.dataset("other"))

    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{other}")

    assert f"Left out: {other} is not an experiment of this dataset" in html
    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},nonsense<b>")
    assert "Left out: nonsense&lt;b&gt; is not an experiment of this dataset" in html
    text = words(page(client, f"datasets/{made['dataset']}/compare?selectedSessions={other},nonsense"))
    assert f"No experiment of this dataset has the id {other} or nonsense ." in text


def test_a_comparison_leads_to_its_examples(client, seed):
    """The examples are below the first screen; filters, sorting and the next page lead there too."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}")

    assert 'href="#examples"' in html and 'action="#examples"' in html
    assert all(link.endswith("#examples") for link in re.findall(r'href="([^"]*(?:sort|show)=[^"]*)"', html))


@pytest.mark.parametrize(
    ("query", "countries"),
    [
        ("show=regressed", ["Peru"]),
        ("show=improved", ["France"]),
        ("show=incomparable", ["Chad", "Nauru"]),
        ("show=errors", ["Chad"]),
        ("show=differs", ["Peru", "France", "Chad"]),
        ("q=cusco", ["Peru"]),
        ("q=TIMEOUT", ["Chad"]),
        ("q=100%25", []),
        ("min=1&of=1", ["Peru", "Chad"]),
        ("max=0.5&of=2", ["Peru"]),
        ("sort=score:1", ["France", "Peru", "Chad", "Nauru"]),
        ("sort=latency:2&dir=desc", ["Chad", "Peru", "France", "Nauru"]),
        ("sort=change:2", ["Peru", "France", "Chad", "Nauru"]),
        ("dir=desc", ["Nauru", "Chad", "France", "Peru"]),
        ("page=99&sort=nonsense:9&min=x&of=77", ["Peru", "France", "Chad", "Nauru"]),
    ],
)
def test_rows_can_be_filtered_and_sorted(client, seed, query, countries):
    """The address decides which examples are shown, in which order; nonsense in it is ignored."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}&{query}")

    assert re.findall(r'<span class="key">country</span><div class="text">(\w+)', html) == countries


def test_word_diff_against_the_reference(client, seed):
    """On demand an output is shown as what was taken from and added to the reference."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}&diff=reference")

    assert "<del>Paris</del><ins>Lyon</ins>" in html


def test_only_fifty_examples_a_page(client, seed):
    """Long lists come in pages that link to each other and keep the rest of the address."""
    dataset = seed.dataset("many")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(60)])
    session = seed.session("counting", dataset)
    for example in examples:
        seed.run(session, example, outputs={"n": 1})

    html = page(client, f"datasets/{dataset}/compare?selectedSessions={session}&dir=desc&page=2")

    assert html.count('scope="row" class="inputs"') == 10
    assert "51–60 of 60" in html and "dir=desc&amp;page=1" in html


def test_only_shown_rows_have_their_bodies_read(client, seed):
    """What other pages show is not even parsed: were it broken, this page would not notice."""
    dataset = seed.dataset("many")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(51)])
    session = seed.session("counting", dataset)
    run = [seed.run(session, example, outputs={"n": 1}) for example in examples][-1]
    with client.application.extensions["localsmith"].store.write() as db:
        db.execute("UPDATE examples SET inputs = '{' WHERE id = ?", (examples[-1],))
        db.execute("UPDATE run_bodies SET outputs = '{' WHERE seq = (SELECT seq FROM runs WHERE id = ?)", (run["id"],))

    html = page(client, f"datasets/{dataset}/compare?selectedSessions={session}")

    assert html.count('scope="row" class="inputs"') == 50


def test_chat_messages_are_shown_as_messages(client, seed):
    """Chats show who said what, and tool calls with their arguments and results beside them."""
    dataset = seed.dataset("chat")
    (example,) = seed.examples(dataset, [(CHAT, None)])
    session = seed.session("agent", dataset)
    seed.run(session, example, outputs=CHAT_ANSWER)

    text = words(page(client, f"datasets/{dataset}/compare?selectedSessions={session}"))

    assert "system You are a travel desk. user What is the weather in Lima?" in text
    assert 'calls weather call_1 { "city": "Lima" } result { "sky": "overcast", "celsius": 19 } assistant' in text


def test_run_page_shows_the_tree(client, seed):
    """A run stands in its trace: steps in order, each with its part of the time."""
    dataset = seed.dataset("agents")
    (example,) = seed.examples(dataset, [({"q": 1}, {"a": 2})])
    session = seed.session("agent", dataset)
    root = seed.run(session, example, outputs={"a": 2}, seconds=10, name="agent", feedback=[{"key": "ok", "score": 1}])
    child = seed.run(session, parent=root, after=5, seconds=2.5, name="search", run_type="tool", error="no network")

    html = page(client, f"projects/p/{session}/r/{child['id']}?poll=true")

    assert "search ✗ error" in words(html) and "kind-tool" in html
    assert 'x="50.0%" width="25.0%"' in html
    assert "no network" in html and "2 steps ✗ first error" in words(html)
    assert "ok <b>" in page(client, f"projects/p/{session}/r/{root['id']}")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2026-08-21T09:15:30", "originally 2026-08-21 09:15 "),
        ("long ago", None),
        ("0001-01-01T00:00:00+14:00", None),
        (12, None),
        (None, None),
    ],
)
def test_run_that_was_moved_shows_when_it_began(client, seed, given, shown):
    """Its start is that of its experiment; metadata that is no time is only metadata."""
    session = seed.session("old")
    run = seed.run(session, extra={"metadata": {"original_start_time": given}})

    text = words(page(client, f"projects/p/{session}/r/{run['id']}?poll=true"))

    assert shown in text if shown else "originally" not in text


def test_token_counts_that_are_no_numbers_are_named(client, seed):
    """They are taken, but a text adds nothing to the tokens: its page says so."""
    session = seed.session("usage")
    usage = {"input_tokens": "12", "output_tokens": 3, "total_tokens": None}
    texts, numbers = (
        seed.run(session, run_type="llm", extra={"metadata": {"usage_metadata": given}})
        for given in (usage, {**usage, "input_tokens": 12})
    )

    def text(run):
        return words(page(client, f"projects/p/{session}/r/{run['id']}"))

    assert "tokens 3 (– in, 3 out) not numbers, so not counted: input_tokens " in text(texts)
    assert "tokens 15 (12 in, 3 out)" in text(numbers) and "not counted" not in text(numbers)


def test_example_page_shows_its_history(client, seed):
    """An example's page lists what every experiment made of it, repetitions included."""
    made = capitals(seed)

    html = page(client, f"datasets/{made['dataset']}/e/{made['examples'][0]}")

    assert html.count("<tr>") == 1 + 5


def test_examples_show_their_last_scores(client, seed):
    """The examples tab says how each example fared in the experiments so far, repetitions averaged."""
    made = capitals(seed)

    text = words(page(client, f"datasets/{made['dataset']}?tab=examples"))

    assert "capital Lima correct ✓ 1 ✗ 0 0.667" in text
    assert "country Nauru nothing not scored" in text


def test_examples_can_be_searched_and_split(client, seed):
    """The examples tab filters by text and by split."""
    dataset = seed.dataset("splits")
    seed.examples(dataset, [({"q": "alpha"}, None)], split="train")
    seed.examples(dataset, [({"q": 'say "beta"'}, None)], split="test")

    assert "1 example " in words(page(client, f"datasets/{dataset}?tab=examples&split=train"))
    assert "1 example " in words(page(client, f'datasets/{dataset}?tab=examples&q="beta"'))
    assert "2 examples" in page(client, f"datasets/{dataset}?tab=examples")


@pytest.mark.parametrize(
    "path",
    ["datasets/nope", "datasets/26d0b944-a286-4a7f-bb5f-3d86268ecc45", "projects/p/x", "projects/p/x/r/y", "nowhere"],
)
def test_what_is_not_there_is_a_404_page(client, path):
    """An address that leads nowhere answers 404, as a page."""
    assert "Not found" in page(client, path, 404)


def test_mistyped_address_is_a_page_in_a_browser_and_json_elsewhere(client):
    """A browser says that it wants HTML; a program that calls what is not there still gets what LangSmith answers."""
    browser = {"Accept": "text/html,image/avif,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"}

    seen, called = client.get("/nope", headers=browser), client.get("/nope", headers={"Accept": "*/*"})

    assert seen.status_code == called.status_code == 404
    assert "This page does not exist." in words(seen.text) and "To the datasets" in words(seen.text)
    assert called.json["detail"].startswith("Not Found")


def test_new_scores_show_at_once(client, seed):
    """What the pages keep in memory never outlives a write."""
    made = capitals(seed)
    address = f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}"
    assert "n&nbsp;=&nbsp;3" in page(client, address)  # of 4 examples

    seed.feedback(made["runs"][3], key="correct", score=1)

    assert "0.750" in page(client, address)


def test_stored_text_is_never_markup(client, seed):
    """Whatever is stored, wherever it is shown, comes out as text."""
    bad = HOSTILE[0]
    dataset = seed.dataset(bad, description=bad)
    (example,) = seed.examples(dataset, [({bad: bad, "messages": [{"role": bad, "content": bad}]}, {"a": bad})])
    session = seed.session(bad + "s", dataset, description=bad, extra={"metadata": {bad: bad, "git": {"commit": bad}}})
    run = seed.run(
        session, example, outputs={bad: [bad]}, name=bad, error=bad, tags=[bad], extra={"metadata": {bad: bad}}
    )
    seed.feedback(run, key=bad, score=1, comment=bad)
    seed.feedback(run, key=bad, value=bad)

    for path in (
        "/",
        f"datasets/{dataset}",
        f"datasets/{dataset}?tab=examples&q=<script>window.hacked",
        f"datasets/{dataset}/e/{example}",
        f"datasets/{dataset}/compare?selectedSessions={session}&q=<script>&diff=reference",
        f"projects/p/{session}",
        f"projects/p/{session}/r/{run['id']}",
    ):
        html = page(client, path)
        assert "<script>" not in html and "&lt;script&gt;" in html, path


def give_score(client, run, **form):
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    return client.post(f"/o/{TENANT}/runs/{run['id']}/scores", data=form, headers=headers)


def test_a_person_can_score_a_run(client, seed):
    """A score by hand is feedback like any other, says that a person gave it, and can be given again."""
    made = capitals(seed)
    run = made["runs"][3]
    address = f"/o/{TENANT}/datasets/{made['dataset']}/compare?selectedSessions={made['first']}"

    answer = give_score(client, run, key="correct", score="0,5", comment="half right", back=address)
    give_score(client, run, key="correct", score="1")

    assert answer.status_code == 303 and answer.location == f"{address}#r-{run['id']}"
    text = words(page(client, address))
    assert "correct ✓ 1 by hand, was 0.5" in text and "half right" in text


def test_a_changed_score_shows_what_it_was(client, seed):
    """Correcting an evaluator keeps what it said in sight."""
    made = capitals(seed)

    give_score(client, made["runs"][1], key="correct", score="1")

    html = page(client, f"projects/p/{made['first']}/r/{made['runs'][1]['id']}")
    assert "by hand, was 0" in html and "said Lyon" in html


def test_score_by_hand_beside_several_evaluators_is_one(client, seed):
    """Given twice, it is changed and not given again; the evaluators' scores stay."""
    session = seed.session("two judges", seed.dataset("two judges"))
    run = seed.run(session, outputs={"a": 1}, feedback=[{"key": "correct", "score": 0}, {"key": "correct", "score": 1}])

    for score in ("0,5", "0.25"):
        give_score(client, run, key="correct", score=score)

    found = client.get(f"/feedback?run={run['id']}", headers={"x-api-key": "any"}).get_json()
    assert sorted(item["score"] for item in found) == [0, 0.25, 1]


def test_comma_that_may_mean_thousands_is_asked_about(client, seed):
    session = seed.session("commas", seed.dataset("commas"))
    run = seed.run(session, outputs={"a": 1})

    answers = [give_score(client, run, key="k", score=text).status_code for text in ("1,000", "0,500", "12,5")]

    assert answers == [400, 303, 303]


@pytest.mark.parametrize(
    "form",
    [{"key": "", "score": "1"}, {"key": "k" * 181, "score": "1"}, {"key": "k", "score": "nan"}, {"key": "k"}],
    ids=["no name", "long name", "nan", "nothing"],
)
def test_bad_scores_are_refused(client, seed, form):
    """What is no score is refused with words, and nothing is stored."""
    made = capitals(seed)

    answer = give_score(client, made["runs"][3], **form)

    assert answer.status_code in (400, 422) and answer.mimetype == "text/html"
    assert "not scored" in page(client, f"projects/p/{made['first']}/r/{made['runs'][3]['id']}")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_scores_from_other_sites_are_refused(client, seed, headers):
    """A form of another web site cannot score a run, nor can one that does not say where it comes from."""
    made = capitals(seed)

    answer = client.post(
        f"/o/{TENANT}/runs/{made['runs'][3]['id']}/scores", data={"key": "correct", "score": "1"}, headers=headers
    )

    assert answer.status_code == 403


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/o/x\r\nX: y", "/o/\\evil"])
def test_a_score_only_goes_back_to_our_pages(client, seed, back):
    """The form's way back is a path of ours or none."""
    made = capitals(seed)

    answer = give_score(client, made["runs"][3], key="correct", score="1", back=back)

    assert answer.location.startswith(f"/o/{TENANT}/projects/p/")


def test_huge_outputs_do_not_fill_the_page(client, seed):
    """A value too long for a list of fifty is cut there, which the page says, and whole on its run's page."""
    dataset = seed.dataset("huge")
    (example,) = seed.examples(dataset, [({"q": "x" * 400_000}, {"a": 1})])
    session = seed.session("talkative", dataset)
    run = seed.run(session, example, outputs={"a": "word " * 100_000})

    html = page(client, f"datasets/{dataset}/compare?selectedSessions={session}")

    assert len(html) < 30_000 and "Too long for this page" in html
    assert "Show all 500,000 characters" in page(client, f"projects/p/{session}/r/{run['id']}")


def test_commands_to_paste_are_quoted(client, seed):
    """A dataset's name cannot smuggle a second command into the line that a person pastes."""
    dataset = seed.dataset("x; touch 'y'")

    assert """--dataset 'x; touch '"'"'y'"'"''""" in words(page(client, f"datasets/{dataset}"))


def test_runs_of_deleted_examples_are_still_shown(client, seed):
    """When an example is deleted, its runs come last, with the inputs that they had."""
    made = capitals(seed)
    client.delete(f"/examples/{made['examples'][0]}", headers={"x-api-key": "any"})

    text = words(page(client, f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}"))

    assert "4 of 4 examples" in text
    assert text.index("Nauru") < text.index("example deleted question ?")


def test_pending_and_stray_runs_are_counted(client, seed):
    """Runs that have not ended and runs without an example are named, not hidden."""
    dataset = seed.dataset("odd")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    session = seed.session("odd", dataset)
    seed.run(session, example, seconds=None)
    seed.run(session, outputs={"a": 1})

    text = words(page(client, f"datasets/{dataset}/compare?selectedSessions={session}"))

    assert "1 pending" in text and "1 run without an example, not shown" in text


def test_feedback_on_the_whole_experiment_is_shown(client, seed):
    """A summary score stands with the experiment, and does not count as a score of an example."""
    made = capitals(seed)
    seed.post("/feedback", {"session_id": made["first"], "key": "pass_rate", "score": 0.9})

    for path in (f"datasets/{made['dataset']}", f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}"):
        text = words(page(client, path))
        assert "pass_rate 0.9" in text and "n = 3" in text


def test_ten_repetitions_are_shown_of_many(client, seed):
    """Many repetitions of one example do not flood its row; their mean counts all of them."""
    dataset = seed.dataset("often")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    session = seed.session("often", dataset)
    for n in range(12):
        seed.run(session, example, outputs={"n": n}, feedback=[{"key": "even", "score": (n + 1) % 2}])

    text = words(page(client, f"datasets/{dataset}/compare?selectedSessions={session}"))

    assert "mean of 12 even 0.5" in text and "and 2 more runs" in text


@pytest.mark.parametrize("scores", [(1e308, 1e308), (1e308, -1e308), (5e-324, 0), (-1e300, -1e300), (1e16, 123456.789)])
def test_absurd_scores_break_no_page(client, seed, scores):
    """Scores at the limits of floating point are still shown, whatever they do to means and charts."""
    dataset = seed.dataset("absurd")
    examples = seed.examples(dataset, [({"n": n}, None) for n in range(2)])
    sessions = [seed.session(name, dataset) for name in ("one", "two")]
    for session, order in zip(sessions, (scores, scores[::-1]), strict=True):
        for example, score in zip(examples, order, strict=True):
            seed.run(session, example, outputs={"a": 1}, feedback=[{"key": "k", "score": score}])

    compare = page(client, f"datasets/{dataset}/compare?selectedSessions={','.join(sessions)}&sort=change:2&min=0")
    page(client, f"datasets/{dataset}")
    page(client, f"datasets/{dataset}?tab=examples")

    assert max(map(len, words(compare).split())) < 300


def test_a_score_in_words(client, seed):
    """A person can score in words; numbers and words at once are refused."""
    made = capitals(seed)
    run = made["runs"][0]

    give_score(client, run, key="tone", value="terse")

    assert "tone terse by hand" in words(page(client, f"projects/p/{made['first']}/r/{run['id']}"))
    assert give_score(client, run, key="tone", value="terse", score="1").status_code == 400


def test_scores_by_hand_can_be_taken_back(client, seed):
    """What a person gave goes, what a person changed is again what the evaluator said, and the rest stays."""
    made = capitals(seed)
    run = made["runs"][0]
    for key in ("correct", "taste"):
        give_score(client, run, key=key, score="0", comment="no")

    for key in ("correct", "taste", "unknown"):
        assert give_score(client, run, key=key, take_back="1").status_code == 303

    text = words(page(client, f"projects/p/{made['first']}/r/{run['id']}"))
    assert "correct ✓ 1 ❝ with a comment said Lima" in text and "by hand" not in text and "taste" not in text
    give_score(client, made["runs"][1], key="correct", take_back="1")
    assert "correct ✗ 0" in words(page(client, f"projects/p/{made['first']}/r/{made['runs'][1]['id']}"))


def test_a_save_can_answer_with_what_is_new(client, seed):
    """A page that stays where it is gets the scores of the run, ready to be put in their place."""
    made = capitals(seed)

    answer = give_score(client, made["runs"][0], key="taste", score="1", part="scores")

    assert answer.status_code == 200 and f'data-patch="scores-{made["runs"][0]["id"]}"' in answer.text
    assert words(answer.text) == "correct ✓ 1 ❝ with a comment said Lima taste ✓ 1 by hand Take back taste"
