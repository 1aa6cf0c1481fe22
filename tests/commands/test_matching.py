"""`record --match-examples`: results belong to examples that somebody else has made."""

import json
import uuid

import pytest
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


def test_without_the_flag_they_have_examples_of_their_own(run, endpoint, theirs):
    """Examples are found by ids, which other recorders make in another way."""
    file = write("a.jsonl", {"inputs": INPUTS, "reference_outputs": REFERENCE, "outputs": {"a": "Lima"}})

    _, out, _ = run("record", file, "--dataset", "capitals", "--json")

    assert json.loads(out)["examples_created"] == 1


def test_a_dry_run_has_no_examples_to_look_at(run):
    """Both flags together are misuse."""
    code, _, err = run("record", write("a.jsonl", {"inputs": {}, "outputs": {}}), "--dry-run", "--match-examples")

    assert code == 2 and "drop one of them" in err
