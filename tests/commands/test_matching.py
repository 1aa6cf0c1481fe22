"""`record --match-examples`: results belong to examples that somebody else has made."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from command_line import write

import rest
from langsmith_rest import connection

pytestmark = pytest.mark.usefixtures("nothing_set")
INPUTS, REFERENCE = {"q": "Peru?", "n": 1.0}, {"a": "Lima"}


@pytest.fixture
def theirs(server, endpoint):
    """The id of an example that another recorder made, as the one of LangSmith's sample makes it."""
    api = connection.connect(server.url)
    dataset, _ = rest.create_dataset(api, "capitals")
    made = str(uuid.uuid5(uuid.NAMESPACE_DNS, json.dumps([dataset["id"], INPUTS, REFERENCE], sort_keys=True)))
    example = {"id": made, "dataset_id": dataset["id"], "inputs": INPUTS, "outputs": REFERENCE}
    rest.create_examples(api, [json.dumps(example).encode()])
    return made


def test_results_belong_to_the_examples_of_another_recorder(run, endpoint, theirs):
    """Those with the same inputs and reference, however numbers are written; others get examples of their own."""
    same = {"inputs": {"n": 1, "q": "Peru?"}, "reference_outputs": REFERENCE, "outputs": {"a": "Lima"}}
    other = {"inputs": {"q": "Chile?"}, "outputs": {"a": "Santiago"}}
    file = write("a.jsonl", same, other)

    results = [run("record", file, "--dataset", "capitals", "--match-examples", "--json") for _ in range(2)]

    found = [json.loads(out) for _, out, _ in results]
    assert [code for code, *_ in results] == [0, 0]
    assert [(one["examples_created"], one["runs_recorded"]) for one in found] == [(1, 2), (0, 0)]
    examples = endpoint("/examples", dataset=found[0]["dataset_id"])
    assert len(examples) == 2 and theirs in {example["id"] for example in examples}


def sample_records(url, dataset, experiment, results):
    """Record as LangSmith's sample does: an id from Python's `json.dumps`, and one call for each thing."""
    call = requests.Session()
    call.headers["x-api-key"] = "any"

    def post(path, **body):
        answer = call.post(url + path, json=body, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    dataset_id = post("/datasets", name=dataset)["id"]
    session = post("/sessions", name=experiment, reference_dataset_id=dataset_id)
    now = datetime.now(UTC)
    for result in results:
        inputs, reference = result["inputs"], result["reference_outputs"]
        words = f"{dataset_id}-{json.dumps(inputs, sort_keys=True)}-{json.dumps(reference, sort_keys=True)}"
        example_id, run_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, words)), str(uuid.uuid4())
        post("/examples", id=example_id, dataset_id=dataset_id, inputs=inputs, outputs=reference)
        post(
            "/runs", id=run_id, trace_id=run_id, dotted_order=f"{now:%Y%m%dT%H%M%S%fZ}{run_id}", name="run",
            run_type="chain", inputs=inputs, outputs=result["outputs"], session_id=session["id"],
            reference_example_id=example_id, start_time=now.isoformat(),
            end_time=(now + timedelta(seconds=1)).isoformat(),
        )  # fmt: skip
        post("/feedback", run_id=run_id, key="right", score=int(result["outputs"] == reference))


def test_compare_pairs_what_both_recorders_recorded(run, server, endpoint):
    """Both meet in the same examples, those whose JSON the two write differently included."""
    capitals = [("Peru?", "Lima"), ("Paraguay?", "Asunción"), ("Chile?", "Santiago"), ("Bolivia?", "Sucre")]
    results = [
        {"inputs": {"q": q, "n": 1.0}, "reference_outputs": {"a": a}, "outputs": {"a": a}} for q, a in capitals * 2
    ]
    for number, result in enumerate(results):
        result["inputs"]["i"] = number
    sample_records(server.url, "capitals", "sample", results)
    ours = [{**result, "outputs": {"a": "Lima"}, "feedback": {"right": int(i < 4)}} for i, result in enumerate(results)]

    code, out, _ = run(
        "record", write("a.jsonl", *ours), "--dataset", "capitals", "--experiment", "ours", "--match-examples", "--json"
    )
    recorded = json.loads(out)
    _, out, _ = run("compare", "sample", "ours", "--json")

    [candidate] = json.loads(out)["candidates"]
    right = next(metric for metric in candidate["metrics"] if metric["name"] == "right")
    assert (code, recorded["examples_created"], recorded["runs_recorded"]) == (0, 0, 8)
    assert len(endpoint("/examples", dataset=recorded["dataset_id"])) == 8
    assert (candidate["pairs"], candidate["unmatched"]) == (8, {"baseline": [], "candidate": []})
    assert (right["pairs"], right["baseline_mean"], right["candidate_mean"], right["regressed"]) == (8, 1.0, 0.5, 4)


def test_without_the_flag_they_have_examples_of_their_own(run, endpoint, theirs):
    """Examples are found by ids, which other recorders make in another way."""
    file = write("a.jsonl", {"inputs": INPUTS, "reference_outputs": REFERENCE, "outputs": {"a": "Lima"}})

    _, out, _ = run("record", file, "--dataset", "capitals", "--json")

    assert json.loads(out)["examples_created"] == 1


def test_a_dry_run_has_no_examples_to_look_at(run):
    """Both flags together are misuse."""
    code, _, err = run("record", write("a.jsonl", {"inputs": {}, "outputs": {}}), "--dry-run", "--match-examples")

    assert code == 2 and "drop one of them" in err
