"""The page of a pairwise comparison whose judge was asked in both orders."""

import re

from pages_seed import Seed, page, words


def test_position_bias_is_shown_as_a_rate(client):
    """It prefers nobody: the page says how often the verdict changed with the order, and what could not be told."""
    seed = Seed(client)
    dataset = seed.dataset("pairs")
    examples = seed.examples(dataset, [({"q": n}, None) for n in range(4)])
    sessions = [seed.session(name, dataset) for name in ("left", "right")]
    comparative = seed.post("/datasets/comparative", {"experiment_ids": sessions, "name": "left vs. right"})["id"]
    for number, (example, score) in enumerate(zip(examples, (1, 1, 0, None), strict=True)):
        group = f"00000000-0000-4000-8000-00000000000{number}"
        fields = {"comparative_experiment_id": comparative, "feedback_group_id": group}
        for session in sessions:
            run = seed.run(session, example, outputs={"said by": session[:4]})
            seed.feedback(run, key="clear_position_bias", score=score, **fields)

    address = f"datasets/{dataset}/compare?selectedSessions={'%2C'.join(sessions)}"
    text = words(page(client, f"{address}&comparativeExperiment={comparative}"))

    assert "66.7 % of the preferences changed with the order of the answers 20.8 % … 93.9 % 3 examples" in text
    assert "not decided 1×" in text
    assert text.count("changed with the order") == 3 and text.count("the same in both orders") == 1
    assert "preferred 0×" not in text and "ties" not in text and "= tie" not in text


def judged(client, judgements, repetitions=1):
    """What the page of a comparison says; see `judged_path`."""
    return words(page(client, judged_path(client, judgements, repetitions)))


def judged_path(client, judgements, repetitions=1):
    """The page of a comparison: one judgement is the scores of left and right, and who was shown first."""
    seed = Seed(client)
    dataset = seed.dataset("pairs")
    examples = seed.examples(dataset, [({"q": n}, None) for n in range(len(judgements))])
    sessions = [seed.session(name, dataset) for name in ("left", "right")]
    comparative = seed.post("/datasets/comparative", {"experiment_ids": sessions, "name": "left vs. right"})["id"]
    for number, (example, (left, right, first)) in enumerate(zip(examples, judgements, strict=True)):
        for repetition in range(repetitions):
            fields = {
                "comparative_experiment_id": comparative,
                "feedback_group_id": f"00000000-0000-4000-8000-{number * repetitions + repetition:012}",
                "feedback_source": {"type": "api", "metadata": {"order": sorted(("left", "right"), key=first.__ne__)}},
            }
            for session, score in zip(sessions, (left, right), strict=True):
                run = seed.run(session, example, outputs={"a": number})
                seed.feedback(run, key="clear", score=score, **fields)
    return f"datasets/{dataset}/compare?selectedSessions={'%2C'.join(sessions)}&comparativeExperiment={comparative}"


def test_repetitions_are_no_further_evidence(client):
    """8 examples of which 6 prefer the new one have the same p, judged once or five times."""
    text = judged(client, [(1, 0, "left")] * 2 + [(0, 1, "left")] * 6, repetitions=5)

    assert "(by example, p 0.1797)" in text  # the mid-p of 6 against 2
    assert "preferred 30× 75.0 % of the decided examples, 40.9 % … 92.9 %" in text


def test_position_bias_has_a_direction(client):
    """A judge that always prefers the answer shown first gives it 100 % of the preferences; ties are left out."""
    sides = ("left", "right") * 10
    text = judged(client, [(first == "left", first == "right", first) for first in sides] + [(1, 1, "left")])

    assert "100.0 % of the preferences went to the answer shown first, 83.9 % … 100.0 %." in text
    assert "No difference shown" in text


def test_one_order_only_says_nothing_about_position(client):
    """Where one experiment is always shown first, its preferences are not those of a position."""
    assert "shown first" not in judged(client, [(1, 0, "left")] * 4)


def test_a_count_leads_to_its_judgements(client):
    """Not to the top of the page, from where they cannot be seen."""
    html = page(client, judged_path(client, [(0, 1, "left"), (1, 1, "left"), (1, None, "left")]))

    counts = re.findall(r'<a href="[^"]*winner=[^"#]*(#?\w*)">(?:preferred )?\d×', html)
    assert counts == ["#judgements"] * 4 and html.count('id="judgements"') == 1


def test_judgements_are_sorted(client):
    """A click on a head sorts all judgements: by example, by who was preferred, or by a score, the largest first."""
    path = judged_path(client, [(0, 1, "left"), (0.5, 0.5, "left"), (1, 0.25, "left")])

    def order(query=""):
        return re.findall(r">#(\d)</a>", page(client, path + query))

    assert order() == order("&sort=score:9") == ["1", "2", "3"] and order("&sort=example&dir=desc") == ["3", "2", "1"]
    assert order("&sort=score:1") == ["3", "2", "1"] and order("&sort=score:2") == ["1", "2", "3"]
    assert order("&sort=winner") == ["3", "1", "2"] and order("&sort=winner&dir=desc&metric=clear") == ["2", "1", "3"]
