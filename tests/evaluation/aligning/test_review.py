"""Filling review queues: what is chosen, that nothing is added twice, and what the queue says of itself."""

import json

from localsmith_api import run as new_run

import recorder
from langsmith_rest import connection
from langsmith_rest.conformance.faults import Answer, Faults, where
from langsmith_rest.evaluation.queues_api import list_queue_runs


def record(api, name, scores):
    """An experiment whose runs have these scores; a run without any has failed."""
    results = [
        {"inputs": {"q": i}, **({"outputs": {"a": i}, "feedback": of} if of else {"error": "down"})}
        for i, of in enumerate(scores)
    ]
    recorder.record_langsmith_experiment("lab", results, experiment_name=name, langsmith=api, verify=False)


def questions(api, queue_id):
    """The inputs of the runs in a queue, in the order of review."""
    runs = connection.call(api, "GET", f"/annotation-queues/{queue_id}/runs")
    return [item["inputs"]["q"] for item in runs]


def queue_ids(api):
    return [queue["id"] for queue in connection.call(api, "GET", "/annotation-queues")]


def test_a_random_sample_is_put_into_a_queue(api, run):
    """The queue says how it was drawn. Doing it again adds nothing, a larger sample adds to it, and another experiment
    gets the same examples; failed runs are left out."""
    record(api, "before", [{"correct": 1}] * 30)
    record(api, "after", [{"correct": 1}] * 29 + [None])
    sample = ("--sample", "10", "--seed", "3")

    code, out, _ = run("review", "after", *sample)
    again = json.loads(run("review", "after", *sample, "--json")[1])
    other = json.loads(run("review", "before", *sample, "--json")[1])
    first = questions(api, again["queue_id"])
    more = json.loads(run("review", "after", "--sample", "40", "--seed", "3", "--json")[1])

    assert code == 0 and "queue    human_correct of after (random, seed 3)\nanswers  10 new\n" in out
    assert out.endswith(again["url"] + "\n") and (again["chosen"], again["added"]) == (10, 0)
    same = [q for q in questions(api, other["queue_id"]) if q != 29]
    assert first != sorted(first) and same == first[: len(same)] and len(same) >= 9
    assert (more["queue_id"], more["added"]) == (again["queue_id"], 19)
    assert sorted(questions(api, more["queue_id"])) == list(range(29))
    queue = connection.call(api, "GET", f"/annotation-queues/{again['queue_id']}")
    assert queue["metadata"]["sampling"] == "random" and queue["metadata"]["seed"] == 3
    assert [item["feedback_key"] for item in queue["rubric_items"]] == ["human_correct"]


def test_a_sample_of_an_experiment_that_still_records_says_so(api, run):
    """What comes later is not in the sample."""
    record(api, "before", [{"correct": 1}] * 2)
    dataset = connection.call(api, "GET", "/datasets", params={"name": "lab"})[0]["id"]
    examples = connection.call(api, "GET", "/examples", params={"dataset": dataset})
    session = connection.call(api, "POST", "/sessions", json={"name": "half", "reference_dataset_id": dataset})["id"]
    runs = [new_run(session, reference_example_id=example["id"], outputs={}) for example in examples]
    connection.call(api, "POST", "/runs/batch", json={"post": runs})

    assert "'half' has not ended: answers recorded later are not in this sample" in run("review", "half")[2]
    assert "has not ended" not in run("review", "before")[2]


def test_what_tells_the_most_comes_first(api, run):
    """Where scores differ; where a score is in the middle; where the baseline was better: the largest first."""
    record(api, "before", [{"stars": 5}] * 6)
    record(api, "after", [{"stars": s, "human_stars": h} for s, h in ((5, 5), (4, 1), (3, 3), (1, 2), (2, 2), (6, 6))])
    judge = ("--judge", "stars", "--scale", "1-5")

    def chosen(*arguments):
        filled = json.loads(run("review", "after", *arguments, "--json")[1])
        return questions(api, filled["queue_id"]), filled["human"]

    assert chosen("--by", "disagreement", *judge) == ([1, 3], "human_stars")
    assert chosen("--by", "uncertain", *judge)[0][:2] in ([1, 2], [2, 1])
    assert chosen("--by", "regressed", "--baseline", "before", *judge)[0] == [3, 4, 2, 1]
    assert chosen("--by", "regressed", "--baseline", "before", *judge, "--lower-is-better", "stars")[0] == [5]


def test_what_cannot_be_chosen_says_what_to_do(api, run):
    """A missing key, baseline or scale is misuse; that nothing fits is 1, and makes no queue."""
    record(api, "after", [{"correct": 1, "tone": "kind"}] * 3)
    record(api, "starred", [{"stars": 3}] * 3)

    def refused(*arguments):
        code, out, err = run("review", *arguments)
        assert not out
        return code, err

    assert refused("after", "--by", "regressed") == (2, "main.py review: --by regressed needs --baseline EXPERIMENT.\n")
    code, err = refused("after", "--by", "uncertain")
    assert code == 2 and "needs a score: name it with --judge KEY. 'after' has correct, tone." in err
    code, err = refused("after", "--by", "uncertain", "--judge", "corect")
    assert code == 2 and "Did you mean 'correct'?" in err
    code, err = refused("after", "--judge", "correct", "--human", "correct")
    assert code == 2 and "People's scores need a key of their own: 'correct' is the judge's." in err
    assert "add --scale, such as 1-5" in refused("starred")[1]
    assert run("review", "starred", "--scale", "1-5")[0] == run("review", "starred", "--by", "random")[0] == 0
    assert "already asks ['Is the answer right?']: drop --question" in refused("starred", "--question", "Why?")[1]
    assert "human_stars already has another scale" in refused("starred", "--scale", "kind,rude")[1]
    connection.call(api, "DELETE", "/annotation-queues", params={"queue_ids": queue_ids(api)})
    code, err = refused("after", "--by", "uncertain", "--judge", "correct")
    assert code == 1 and "repeat the runs, or name several judges" in err
    assert queue_ids(api) == []


def test_an_endpoint_with_a_path_has_the_newer_calls_too(api, run, server, monkeypatch):
    """They begin at the host, whether the endpoint ends in /api/v1 or not."""
    record(api, "after", [{"correct": 1}] * 3)
    faults = Faults(server)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", f"{server.url}/api/v1")

    assert json.loads(run("review", "after", "--json")[1])["added"] == 3
    assert faults.count("POST /api/v1/platform/annotation-queues/[^/]+/items") == 1
    assert faults.count(r"\w+ /api/v1/annotation-queues/[^/]+/runs") == 0


def test_a_scale_is_the_same_however_the_server_writes_what_is_not_set(api, run, server):
    """LangSmith gives all fields of a scale, with null for those that are not set."""
    record(api, "after", [{"correct": 1}] * 3)
    assert run("review", "after", "--scale", "1-5")[0] == 0
    (known,) = connection.call(api, "GET", "/feedback-configs", params={"key": "human_correct"})
    known["feedback_config"] |= {"categories": None, "allows_multiple_categories": False}
    answer = Answer(200, json.dumps([known]), (("Content-Type", "application/json"),))
    faults = Faults(server, where("GET /feedback-configs", answer))

    assert run("review", "after", "--scale", "1-5")[0] == 0
    assert run("review", "after", "--scale", "1-4")[0] == 2
    assert faults.count("GET /feedback-configs") == 2


def test_servers_with_the_old_calls_only_get_the_same_queue(api, run, monkeypatch):
    """Where the newer routes of queue items are missing, the older ones fill the queue."""
    record(api, "after", [{"correct": 1}] * 3)
    monkeypatch.setattr("langsmith_rest.evaluation.queues_api.PLATFORM", "/api/v1/platform/annotation-queues/none")

    filled = json.loads(run("review", "after", "--json")[1])
    again = json.loads(run("review", "after", "--json")[1])

    assert (filled["added"], again["added"]) == (3, 0)
    assert len(set(list_queue_runs(api, filled["queue_id"]))) == 3
