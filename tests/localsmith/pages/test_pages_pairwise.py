"""The page of a pairwise comparison whose judge was asked in both orders."""

import pytest
from pages_seed import Seed, page, words

import localsmith


@pytest.fixture
def client(tmp_path):
    app = localsmith.create_app(tmp_path / "pages.db")
    yield app.test_client()
    app.extensions["localsmith"].store.close()


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

    assert "66.7 % of the verdicts changed with the order of the answers: 2 of 3" in text
    assert "not decided 1×" in text
    assert text.count("changed with the order") == 3 and text.count("the same in both orders") == 1
    assert "preferred 0×" not in text and "ties" not in text and "= tie" not in text
