"""Totals and statistics against a naive computation, whatever came when, through whichever server of the file."""

import random
import uuid
from datetime import datetime

import numpy
import pytest
from localsmith_api import Api, multipart, run

import localsmith

TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


def deterministic_id(chance):
    return str(uuid.UUID(int=chance.getrandbits(128)))


def usage(chance):
    tokens = [chance.randrange(50), chance.randrange(50)]
    cost = chance.choice([0.1, 0.0003, 999_999, 0.29])
    names = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens), "total_cost": cost}
    return {"metadata": {"usage_metadata": names}}


def make_traces(chance, session, count):
    """Traces of up to three levels, whole seconds among their times; runs end, fail, or stay open."""
    traces = []
    for _ in range(count):
        root = run(session, id=deterministic_id(chance), seconds_ago=500, took=chance.randrange(1, 9))
        trace = [root]
        for _ in range(chance.randrange(6)):
            parent = chance.choice(trace)
            trace.append(run(session, parent=parent, id=deterministic_id(chance), run_type="llm", extra=usage(chance)))
        if chance.random() < 0.3:
            root["error"] = "timeout"
        traces.append(trace)
    return traces


def make_events(chance, traces):
    """What is sent, as (kind, body), in an order in which a patient client would send it."""
    events = []
    for trace in traces:
        for one in trace:
            posted = dict(one)
            if chance.random() < 0.4:
                end = {name: posted.pop(name) for name in ("end_time", "error", "outputs") if name in posted}
                events.append(("patch", {"id": one["id"], "trace_id": one["trace_id"], **end}))
            events.append(("post", posted))
            for key in ("correct", "kind"):
                if chance.random() < 0.7:
                    mark = (
                        {"score": chance.choice([0, 1, 0.3333, 3333333.3333])}
                        if key == "correct"
                        else {"value": "blue"}
                    )
                    body = {"id": deterministic_id(chance), "run_id": one["id"], "key": key, **mark}
                    events.append(("feedback", {**body, "trace_id": one["trace_id"]}))
    return events


def send(api, events):
    parts = [(f"{kind}.{body['id']}", body) for kind, body in events]
    body, headers = multipart(parts)
    response = api.send("POST", "/runs/multipart", data=body, headers=headers)
    assert response.status_code in (202, 409), response.text


def naive(traces, events):
    """Session statistics from the runs as they were meant to be."""
    roots = [trace[0] for trace in traces]
    took = [
        (datetime.fromisoformat(r["end_time"]) - datetime.fromisoformat(r["start_time"])).total_seconds() for r in roots
    ]
    used = [one["extra"]["metadata"]["usage_metadata"] for trace in traces for one in trace if "extra" in one]
    ids = {root["id"] for root in roots}
    scores = [
        body["score"] for kind, body in events if kind == "feedback" and body["run_id"] in ids and "score" in body
    ]
    kinds = sum(1 for kind, body in events if kind == "feedback" and body["run_id"] in ids and "value" in body)
    return {
        "run_count": len(roots),
        "latency_p50": pytest.approx(numpy.quantile(took, 0.5)),
        "latency_p99": pytest.approx(numpy.quantile(took, 0.99)),
        "error_rate": pytest.approx(sum("error" in root for root in roots) / len(roots)),
        "total_tokens": sum(one["total_tokens"] for one in used),
        "prompt_tokens": sum(one["input_tokens"] for one in used),
        "total_cost": pytest.approx(sum(one["total_cost"] for one in used)),
        "correct": {"n": len(scores), "avg": pytest.approx(sum(scores) / len(scores)), "values": {}},
        "kind": {"n": 0, "avg": None, "values": {"blue": kinds}},
    }


def told(api, session):
    found = api.get(f"/sessions/{session}", include_stats=True)
    return {**found, "total_cost": float(found["total_cost"]), **found["feedback_stats"]}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_statistics_are_those_of_a_naive_computation_in_any_order(tmp_path, seed):
    """Runs before and after their parents, updates and feedback before their runs, some twice, over two servers."""
    chance = random.Random(seed)
    with localsmith.serve(tmp_path / "lab.db") as one, localsmith.serve(tmp_path / "lab.db") as other:
        apis = [Api(one.url), Api(other.url)]
        session = apis[0].experiment()
        traces = make_traces(chance, session, 12)
        events = make_events(chance, traces)
        sent = events + chance.sample(events, len(events) // 4)
        chance.shuffle(sent)
        while sent:
            send(chance.choice(apis), [sent.pop() for _ in range(min(len(sent), chance.randrange(1, 6)))])

        expected, found = naive(traces, events), told(apis[1], session)
        assert {name: found[name] for name in expected} == expected
        for trace in traces:
            below = sum(one["extra"]["metadata"]["usage_metadata"]["total_tokens"] for one in trace[1:])
            assert apis[0].get(f"/runs/{trace[0]['id']}")["total_tokens"] == below


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_statistics_follow_changes_and_deletes_of_feedback(server, seed):
    chance, api = random.Random(seed), Api(server.url)
    dataset = api.dataset()
    session = api.experiment(dataset)
    roots = [run(session, reference_example_id=example) for example in api.examples(dataset, 6)]
    child = run(session, parent=roots[0])
    api.runs([*roots, child])
    made = {}
    for _ in range(60):
        what = chance.choice(["create", "create", "score", "delete", "overall", "child"])
        body = {"key": chance.choice("ab"), "score": chance.choice([0, 1, 0.25, None, 1e9 + 0.5]), "comment": "c"}
        if what in ("create", "overall", "child"):
            owner = {"create": {"run_id": chance.choice(roots)["id"]}, "overall": {"session_id": session}}
            sent = {**body, **owner.get(what, {"run_id": child["id"]})}
            made[api.post("/feedback", sent)["id"]] = {**sent, "whose": what}
        elif made:
            feedback_id = chance.choice(list(made))
            if what == "delete":
                api.delete(f"/feedback/{feedback_id}")
                del made[feedback_id]
            else:
                api.patch(f"/feedback/{feedback_id}", {"score": body["score"]})
                made[feedback_id]["score"] = body["score"]

    found = api.get(f"/sessions/{session}", include_stats=True)
    for name, whose in (("feedback_stats", "create"), ("session_feedback_stats", "overall")):
        for key in "ab":
            items = [item for item in made.values() if item["whose"] == whose and item["key"] == key]
            scores = [item["score"] for item in items if item["score"] is not None]
            mean = pytest.approx(sum(scores) / len(scores)) if scores else None
            assert found[name].get(key) == ({"n": len(scores), "avg": mean, "values": {}} if items else None)


def test_feedback_goes_to_the_session_of_its_run_whatever_it_says(server):
    """Before the run arrives nobody knows better; then the run does."""
    api = Api(server.url)
    right, wrong = api.experiment(name="right"), api.experiment(name="wrong")
    sent = run(right)
    body = {"id": str(uuid.uuid4()), "run_id": sent["id"], "trace_id": sent["id"], "session_id": wrong, "key": "k"}

    send(api, [("feedback", {**body, "score": 1})])
    api.runs([sent])

    assert api.get(f"/feedback/{body['id']}")["session_id"] == right
    assert api.get(f"/sessions/{right}", include_stats=True)["feedback_stats"]["k"]["n"] == 1
    assert api.get(f"/sessions/{wrong}", include_stats=True)["feedback_stats"] == {}


@pytest.mark.parametrize("child_first", [True, False])
def test_child_counts_however_its_parents_whole_second_is_written(server, child_first):
    """With or without zeros for its fraction; and it is found below its parent."""
    api = Api(server.url)
    session = api.experiment()
    root = run(session)
    child = run(session, parent=root, run_type="llm", extra={"metadata": {"usage_metadata": {"total_tokens": 15}}})
    second = root["dotted_order"][:15]
    root |= {"dotted_order": f"{second}000000Z{root['id']}"}
    child |= {"dotted_order": f"{second}Z{root['id']}.{child['dotted_order'].split('.')[1]}"}

    for one in [child, root] if child_first else [root, child]:
        api.runs([one])

    found = api.get(f"/runs/{root['id']}")
    assert (found["total_tokens"], found["child_run_ids"]) == (15, [child["id"]])


def test_first_end_of_a_run_stays_whether_it_came_before_or_after_the_run(server):
    api = Api(server.url)
    session = api.experiment()
    for early in (True, False):
        sent = run(session, end_time=None, outputs=None)
        ends = [
            {"id": sent["id"], "trace_id": sent["id"], "end_time": run()["end_time"], "outputs": {"n": n}}
            for n in (1, 2)
        ]
        for events in ([("patch", ends[0])], [("patch", ends[1])], [("post", sent)])[:: 1 if early else -1]:
            send(api, events)

        assert api.get(f"/runs/{sent['id']}")["outputs"] == {"n": 1 if early else 2}


def test_numbers_of_deleted_experiments_and_their_baseline_are_gone_for_good(server):
    """A new experiment never gets the number that somebody knows another one by."""
    api = Api(server.url)
    dataset = api.dataset()
    api.experiment(dataset, "one")
    two = api.experiment(dataset, "two")
    api.patch(f"/datasets/{dataset}", {"baseline_experiment_id": two})

    api.delete(f"/sessions/{two}")
    three = api.experiment(dataset, "three")

    assert api.get(f"/sessions/{three}")["test_run_number"] == 3
    assert api.get(f"/datasets/{dataset}")["baseline_experiment_id"] is None
