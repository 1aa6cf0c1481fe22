"""What the pages keep in memory of experiments: always what the store holds, and made anew only where it changed."""

import random

import pytest
from localsmith_api import Api, new_id, run

from localsmith.pages.columns import Cache, load_columns


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def look(server):
    """The columns that pages see, held against those that are read anew; several sessions at once."""
    store = server.app.state.store
    cache = Cache(store)

    def columns(*sessions):
        kept = cache.now()
        with store.read() as db:
            found = [kept.columns(db, session) for session in sessions]
            fresh = [load_columns(db, session) for session in sessions]
            summaries = [kept.summary(db, session) for session in sessions]
        for one, other, summary in zip(found, fresh, summaries, strict=True):
            assert one == other
            assert summary.means.keys() == {key for key, scores in one.scores.items() if scores}
        return found

    return columns


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_kept_columns_are_those_of_the_store_after_any_change(api, look, seed):
    """Scores given, changed, taken back; runs that arrive, end, are deleted with their experiment, and come again."""
    chance = random.Random(seed)
    dataset = api.dataset()
    examples, session, feedback, runs = api.examples(dataset, 5), api.experiment(dataset), [], []
    for step in range(50):
        what = chance.choice(["run", "score", "score", "overall", "change", "delete", "end", "again"])
        if what == "run" or not runs:
            runs.append(run(session, reference_example_id=chance.choice(examples), end_time=None, outputs=None))
            api.runs(runs[-1:])
        elif what in ("score", "overall"):
            owner = {"run_id": chance.choice(runs)["id"]} if what == "score" else {"session_id": session}
            mark = chance.choice([{"score": round(chance.random(), 4)}, {"value": "blue"}, {"error": True}])
            feedback.append(api.post("/feedback", {**owner, "key": chance.choice("ab"), **mark})["id"])
        elif what == "change" and feedback:
            api.patch(f"/feedback/{chance.choice(feedback)}", {"score": round(chance.random(), 4)})
        elif what == "delete" and feedback:
            api.delete(f"/feedback/{feedback.pop(chance.randrange(len(feedback)))}")
        elif what == "end":
            body = {"id": chance.choice(runs)["id"], "end_time": run()["end_time"], "outputs": {}}
            api.send("POST", "/runs/batch", json={"patch": [body]})  # 409 where it has ended
        elif what == "again" and chance.random() < 0.3:
            api.delete(f"/sessions/{session}")
            api.post("/sessions", {"id": session, "name": f"again {step}", "reference_dataset_id": dataset})
            runs, feedback = [], []
        look(session)


def test_a_changed_score_leaves_everything_else_as_it_is(api, look):
    """Not even another metric of the same experiment is read again."""
    dataset = api.dataset()
    (example,) = api.examples(dataset, 1)
    sessions = [api.experiment(dataset, name) for name in ("one", "two")]
    ids = [new_id(), new_id()]
    for session, run_id in zip(sessions, ids, strict=True):
        api.runs([run(session, id=run_id, reference_example_id=example)])
        for key in ("a", "b"):
            api.post("/feedback", {"run_id": run_id, "key": key, "score": 0.5})
    before = look(*sessions)

    score = api.get("/feedback", run=ids[0], key="a")[0]["id"]
    api.patch(f"/feedback/{score}", {"score": 1})

    changed, other = look(*sessions)
    assert other is before[1]
    assert changed.scores["b"] is before[0].scores["b"] and changed.at is before[0].at
    assert changed.scores["a"] == {example: 1}
