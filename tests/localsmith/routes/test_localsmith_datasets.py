"""Datasets, versioned examples, sessions, comparisons, rules, and the upload of a finished experiment."""

import pytest
import requests
from localsmith_api import Api, multipart, new_id, run


@pytest.fixture
def api(server):
    return Api(server.url)


def test_dataset_metadata_comes_from_extra(api):
    """The SDK sends extra.metadata; the answer has it on top."""
    dataset = api.post("/datasets", {"name": "a & b?", "extra": {"source": "sdk", "metadata": {"owner": "qa"}}})

    assert dataset["metadata"] == {"owner": "qa"}
    assert api.get("/datasets", name="a & b?") == [dataset]
    assert api.get("/datasets", metadata='{"owner": "qa"}') == [dataset]
    assert api.get("/datasets", name="nothing") == []


def test_taken_dataset_name_is_a_conflict(api):
    api.dataset("twice")

    response = api.send("POST", "/datasets", json={"name": "twice"})

    assert (response.status_code, response.json()) == (409, {"detail": "Dataset with this name already exists."})


def test_dataset_update_tells_null_from_absent(api):
    """Absent and the sentinel leave alone, null clears."""
    dataset = api.post("/datasets", {"name": "d", "description": "old", "extra": {"metadata": {"k": 1}}})

    api.patch(f"/datasets/{dataset['id']}", {"description": None, "metadata": {"__missing__": "x"}, "name": "e"})

    got = api.get(f"/datasets/{dataset['id']}")
    assert (got["name"], got["description"], got["metadata"]) == ("e", None, {"k": 1})


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"offset": -1}, {"limit": "many"}])
def test_paging_outside_its_bounds_is_422(api, params):
    for path in ("/datasets", "/sessions", "/examples", "/feedback"):
        response = api.send("GET", path, params=params)

        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["query", next(iter(params))]


def test_deleting_a_dataset_takes_everything_of_it(api):
    """Examples, experiments and their runs go with it; other projects stay."""
    dataset = api.dataset()
    example = api.examples(dataset, 1)[0]
    session, other = api.experiment(dataset), api.experiment(name="other")
    sent = run(session, reference_example_id=example)
    api.runs([sent, run(other)])

    api.delete(f"/datasets/{dataset}")

    gone = [f"/datasets/{dataset}", f"/examples/{example}", f"/sessions/{session}", f"/runs/{sent['id']}"]
    assert [api.send("GET", path).status_code for path in gone] == [404] * 4
    assert len(api.query(other)) == 1


def test_existing_example_id_refuses_the_whole_bulk(api):
    """Nothing of a bulk is stored when one id is known."""
    dataset = api.dataset()
    known = api.examples(dataset, 1)[0]
    rows = [{"id": one, "dataset_id": dataset, "inputs": {}} for one in (new_id(), known)]

    response = api.send("POST", "/examples/bulk", json=rows)

    assert response.status_code == 409
    assert known in response.json()["detail"]
    assert api.get("/examples/count", dataset=dataset) == 1


def test_example_keeps_null_outputs_and_gets_a_split(api):
    dataset = api.dataset()

    plain = api.post("/examples", {"dataset_id": dataset, "inputs": {"q": 1}, "outputs": None})
    split = api.post("/examples", {"dataset_id": dataset, "inputs": {}, "metadata": {"k": 1}, "split": ["train", "x"]})

    assert (plain["outputs"], plain["metadata"]) == (None, {"dataset_split": ["base"]})
    assert split["metadata"] == {"k": 1, "dataset_split": ["train", "x"]}
    assert [one["id"] for one in api.get("/examples", dataset=dataset, splits=["train"])] == [split["id"]]


def test_as_of_shows_the_past(api):
    """An update and a delete make versions; the moments before them stay readable."""
    dataset = api.dataset()
    before = api.post("/examples", {"dataset_id": dataset, "inputs": {"q": 1}, "outputs": {"a": 1}})
    path = f"/examples/{before['id']}"
    api.patch(path, {"outputs": {"a": 2}})
    after = api.get(path)
    api.send("PUT", f"/datasets/{dataset}/tags", json={"tag": "two", "as_of": after["modified_at"]})
    api.delete(path)

    assert api.send("GET", path).status_code == 404
    assert api.get("/examples", dataset=dataset) == []
    assert api.get(path, as_of=before["modified_at"])["outputs"] == {"a": 1}
    assert api.get(path, as_of=after["modified_at"]) == after
    assert api.get("/examples", dataset=dataset, as_of="two")[0]["outputs"] == {"a": 2}
    assert after["inputs"] == {"q": 1}
    assert after["modified_at"] > before["modified_at"]


@pytest.mark.parametrize("order", ["recent", "recently_created", "id", "random"])
def test_pages_of_examples_visit_each_once(api, order):
    dataset = api.dataset()
    ids = api.examples(dataset, 7)

    pages = [api.get("/examples", dataset=dataset, order=order, limit=3, offset=offset) for offset in (0, 3, 6)]

    assert sorted(one["id"] for page in pages for one in page) == sorted(ids)
    assert [len(page) for page in pages] == [3, 3, 1]


def test_examples_are_found_by_id_text_and_metadata(api):
    dataset = api.dataset()
    ids = api.examples(dataset, 3)
    special = api.post("/examples", {"dataset_id": dataset, "inputs": {"q": "Zürich 100%"}, "metadata": {"k": True}})

    assert {one["id"] for one in api.get("/examples", id=ids[:2])} == set(ids[:2])
    assert [one["id"] for one in api.get("/examples", dataset=dataset, full_text_contains="Zürich 100%")] == [
        special["id"]
    ]
    assert [one["id"] for one in api.get("/examples", dataset=dataset, metadata='{"k": true}')] == [special["id"]]
    assert set(api.get("/examples", id=ids[:1], select=["id"])[0]) == {"id", "name", "dataset_id", "inputs"}


def test_examples_as_multipart_with_attachments(api):
    """201, the ids and the moment; the attachment comes back as a download, without a key."""
    dataset, example = api.dataset(), new_id()
    body, headers = multipart(
        [
            (example, {"metadata": {"k": 1}, "split": "test"}),
            (f"{example}.inputs", {"q": 1}),
            (f"{example}.outputs", {"a": 1}),
            (f"{example}.attachment.page.html", b"<script>alert(1)</script>"),
        ]
    )

    made = api.send("POST", f"/v1/platform/datasets/{dataset}/examples", data=body, headers=headers)

    got = api.get(f"/examples/{example}")
    link = got["attachment_urls"]["attachment.page.html"]["presigned_url"]
    download = requests.get(link)
    assert (made.status_code, made.json()["example_ids"]) == (201, [example])
    assert (got["inputs"], got["outputs"], got["metadata"]["dataset_split"]) == ({"q": 1}, {"a": 1}, ["test"])
    assert download.content == b"<script>alert(1)</script>"
    assert download.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in download.headers["Content-Security-Policy"]


@pytest.mark.parametrize("prefix", ["/v1/platform", "/api/v1/platform", "/platform"])
def test_platform_update_of_examples(api, prefix):
    """A patch keeps what it leaves out; unknown ids and foreign datasets are refused whole."""
    dataset, other = api.dataset(), api.dataset("other")
    example = api.examples(dataset, 1)[0]
    body, headers = multipart([(example, {}), (f"{example}.outputs", {"a": "new"})])

    def send(where, data=body):
        return api.send("PATCH", f"{prefix}/datasets/{where}/examples", data=data, headers=headers).status_code

    assert send(dataset) == 201
    assert send(other) == 409
    assert send(dataset, multipart([(new_id(), {})])[0]) == 404
    assert api.get(f"/examples/{example}")["outputs"] == {"a": "new"}
    assert api.get(f"/examples/{example}")["inputs"] == {"q": 0}


def test_taken_session_name_or_id_is_a_conflict(api):
    made = api.post("/sessions", {"name": "mine", "id": new_id()})

    responses = [
        api.send("POST", "/sessions", json=body) for body in ({"name": "mine"}, {"name": "x", "id": made["id"]})
    ]

    assert [one.status_code for one in responses] == [409, 409]
    assert responses[0].json() == {"detail": "Session already exists."}
    assert api.send("POST", "/sessions?upsert=true", json={"name": "mine"}).json()["id"] == made["id"]


def test_session_update_leaves_nulls_alone_and_replaces_extra(api):
    session = api.post("/sessions", {"name": "s", "description": "d", "extra": {"metadata": {"a": 1}}})

    api.patch(f"/sessions/{session['id']}", {"name": None, "description": None, "extra": {"metadata": {"b": 2}}})

    got = api.get(f"/sessions/{session['id']}")
    assert (got["name"], got["description"], got["extra"]) == ("s", "d", {"metadata": {"b": 2}})


def test_sessions_are_found_by_dataset_and_metadata(api):
    dataset = api.dataset()
    session = api.experiment(dataset)
    api.patch(f"/sessions/{session}", {"extra": {"metadata": {"dataset_version": "v1", "n": 1}}})
    api.experiment(name="project")

    for params in ({"reference_dataset": dataset}, {"reference_free": "false"}, {"dataset_version": "v1"}):
        assert [one["id"] for one in api.get("/sessions", **params)] == [session]
    assert [one["name"] for one in api.get("/sessions", name_contains="proj")] == ["project"]


def test_comparison_needs_experiments_of_one_dataset(api):
    dataset, other = api.dataset(), api.dataset("other")
    a, b, c = api.experiment(dataset, "a"), api.experiment(dataset, "b"), api.experiment(other, "c")

    made = api.post("/datasets/comparative", {"id": new_id(), "name": "a vs. b", "experiment_ids": [a, b]})
    mixed = api.send("POST", "/datasets/comparative", json={"experiment_ids": [a, c]})
    again = api.send("POST", "/datasets/comparative", json={"id": made["id"], "experiment_ids": [a, b]})

    assert (mixed.status_code, again.status_code) == (400, 409)
    listed = api.get(f"/datasets/{dataset}/comparative")
    assert [one["name"] for one in listed[0]["experiments_info"]] == ["a", "b"]
    api.delete(f"/datasets/comparative/{made['id']}")
    assert api.get(f"/datasets/{dataset}/comparative") == []


def test_rules_are_stored_and_changed(api):
    dataset = api.dataset()
    code = {"language": "python", "code": "def perform_eval(run, example):\n    return {'score': 1}\n"}
    rule = api.post(
        "/runs/rules", {"display_name": "r", "sampling_rate": 1, "dataset_id": dataset, "code_evaluators": [code]}
    )

    api.patch(f"/runs/rules/{rule['id']}", {"display_name": "renamed", "sampling_rate": 0.5})

    listed = api.get("/runs/rules", dataset_id=dataset)
    assert [(one["display_name"], one["sampling_rate"], one["code_evaluators"]) for one in listed] == [
        ("renamed", 0.5, [code])
    ]
    api.delete(f"/runs/rules/{rule['id']}")
    assert api.get("/runs/rules") == []


@pytest.mark.parametrize(
    "change",
    [{"sampling_rate": 2}, {"display_name": None}, {"code_evaluators": [{}]}, {"dataset_id": None}],
    ids=["rate", "name", "code", "target"],
)
def test_wrong_rules_are_refused(api, change):
    body = {"display_name": "r", "sampling_rate": 1, "dataset_id": api.dataset(), **change}

    assert api.session.post(f"{api.url}/runs/rules", json=body).status_code in (400, 422)


def test_evaluator_is_bound_by_a_rule(api):
    """A stored evaluator lists its rules; deleting it needs their consent."""
    path = "/v1/platform/evaluators"
    body = {"name": "exact", "type": "code", "code_evaluator": {"code": "x", "language": "python"}}
    evaluator = api.post(path, body)["evaluator"]
    rule = {"display_name": "r", "sampling_rate": 1, "dataset_id": api.dataset(), "evaluator_id": evaluator["id"]}
    api.post("/runs/rules", rule)

    assert len(api.get(path, name_contains="exa")["evaluators"][0]["run_rules"]) == 1
    assert api.delete(path, evaluator_ids=evaluator["id"])["failed"][0]["id"] == evaluator["id"]
    assert api.delete(path, evaluator_ids=evaluator["id"], delete_run_rules="true")["succeeded"] == [evaluator["id"]]
    assert api.get("/runs/rules") == []


def upload(**fields):
    row = {
        "row_id": new_id(),
        "inputs": {"q": 1},
        "expected_outputs": {"a": 1},
        "actual_outputs": {"a": 2},
        "evaluation_scores": [{"key": "correct", "score": 0}],
        "start_time": "2026-01-01T10:00:01Z",
        "end_time": "2026-01-01T10:00:03Z",
    }
    return {
        "experiment_name": "ext-1",
        "dataset_name": "ext",
        "experiment_start_time": "2026-01-01T10:00:00Z",
        "experiment_end_time": "2026-01-01T11:00:00Z",
        "results": [row],
        "summary_experiment_scores": [{"key": "pass_rate", "score": 0.5}],
        **fields,
    }


def test_upload_makes_dataset_experiment_runs_and_scores(api):
    made = api.post("/datasets/upload-experiment", upload())

    assert made["dataset"]["externally_managed"] is True
    assert (made["dataset"]["example_count"], made["experiment"]["run_count"]) == (1, 1)
    assert made["experiment"]["latency_p50"] == 2
    assert made["experiment"]["feedback_stats"]["correct"]["avg"] == 0
    assert made["experiment"]["session_feedback_stats"]["pass_rate"]["avg"] == 0.5


def test_upload_twice_is_a_conflict_and_ordinary_datasets_are_refused(api):
    api.dataset("ordinary")
    api.post("/datasets/upload-experiment", upload())

    again = api.send("POST", "/datasets/upload-experiment", json=upload(dataset_name="new"))
    ordinary = api.send(
        "POST", "/datasets/upload-experiment", json=upload(dataset_name="ordinary", experiment_name="b")
    )

    assert (again.status_code, again.json()) == (409, {"detail": "Session already exists."})
    assert ordinary.status_code == 400
    assert api.get("/datasets", name="new") == []
