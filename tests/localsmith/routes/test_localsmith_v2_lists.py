"""The v2 lists and sessions, over the data of v1."""

import pytest
from localsmith_api import Api, run


@pytest.fixture
def api(server):
    return Api(server.url)


def pages(api, path, **query):
    """All items of a list, a page at a time."""
    found, cursor = [], None
    while True:
        page = api.get(path, **query, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return found


def test_sessions_have_a_type_and_numbers(api):
    dataset = api.dataset()
    experiment, project = api.experiment(dataset, "e"), api.experiment(name="p")
    (example,) = api.examples(dataset, 1)
    usage = {"input_tokens": 1, "output_tokens": 2, "total_cost": 0.25}
    sent = run(experiment, run_type="llm", reference_example_id=example, extra={"metadata": {"usage_metadata": usage}})
    api.runs([sent])
    api.post("/feedback", {"key": "correct", "run_id": sent["id"], "score": 1})

    found = {item["name"]: item for item in pages(api, "/api/v2/sessions", page_size=1, include_stats="true")}

    assert {name: item["type"] for name, item in found.items()} == {"e": "EXPERIMENT", "p": "PROJECT"}
    assert (found["e"]["run_count"], found["e"]["total_cost"], found["p"]["id"]) == (1, 0.25, project)
    stats = found["e"]["feedback_stats"]["correct"]
    assert (stats["n"], stats["avg"], stats["errors"], stats["type"]) == (1, 1, 0, "PRIMARY")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"type": "EXPERIMENT"}, ["e2", "e1"]),
        ({"type": ["AGENT", "PROJECT"]}, ["p"]),
        ({"type": "AGENT"}, []),
        ({"name_contains": "E"}, ["e2", "e1"]),
        ({"sort_by": "NAME", "sort_order": "asc"}, ["e1", "e2", "p"]),
        ({"filter": 'eq(name, "p")'}, ["p"]),
        ({"metadata": '{"model": "m1"}'}, ["e1"]),
    ],
    ids=str,
)
def test_sessions_are_filtered_and_sorted(api, query, names):
    dataset = api.dataset()
    api.experiment(name="p")
    for name, metadata in (("e1", {"model": "m1"}), ("e2", {})):
        api.post("/sessions", {"name": name, "reference_dataset_id": dataset, "extra": {"metadata": metadata}})

    assert [item["name"] for item in pages(api, "/api/v2/sessions", page_size=2, **query)] == names


def test_null_clears_and_extra_is_merged(api):
    """Unlike v1, where null leaves alone and `extra` is replaced."""
    body = {"type": "PROJECT", "name": "p", "description": "d", "extra": {"a": 1, "metadata": {"m": 1}}}
    created = api.post("/api/v2/sessions", body)

    changed = api.patch(f"/api/v2/sessions/{created['id']}", {"description": None, "extra": {"b": 2, "a": None}})

    assert (changed["description"], changed["extra"]) == (None, {"metadata": {"m": 1}, "b": 2})
    assert api.patch(f"/api/v2/sessions/{created['id']}", {"name": "q"})["extra"] == {"metadata": {"m": 1}, "b": 2}
    assert api.get(f"/sessions/{created['id']}")["name"] == "q"


def test_session_is_created_once(api):
    """The same name again is a conflict, or the same session with upsert."""
    first = api.post("/api/v2/sessions", {"type": "PROJECT", "name": "p", "trace_tier": "LONG_LIVED"})

    again = api.send("POST", "/api/v2/sessions", json={"type": "PROJECT", "name": "p"})
    upserted = api.call(
        "POST", "/api/v2/sessions?upsert=true", json={"type": "PROJECT", "name": "p", "description": "d"}
    )

    assert (again.status_code, again.json()["title"]) == (409, "Conflict")
    assert (upserted["id"], upserted["description"], upserted["trace_tier"]) == (first["id"], "d", "LONG_LIVED")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x"}, 422),
        ({"name": "x", "type": "project"}, 422),
        ({"name": "x", "type": "AGENT"}, 501),
        ({"name": "x", "type": "EXPERIMENT"}, 422),
        ({"name": "x", "type": "EXPERIMENT", "reference_dataset_id": "c953bd19-50f1-41f8-b315-68ce5b9065f4"}, 404),
    ],
    ids=str,
)
def test_sessions_that_cannot_be_are_refused(api, body, status):
    answer = api.send("POST", "/api/v2/sessions", json=body)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert api.get("/sessions") == []


def test_datasets_are_listed_by_page(api):
    for name in ("b", "a", "c"):
        api.dataset(name)

    found = pages(api, "/api/v2/datasets", page_size=2, sort_by="name", sort_order="asc", exclude="example_count")

    assert [(item["name"], item["example_count"]) for item in found] == [("a", None), ("b", None), ("c", None)]


def test_rules_are_listed_under_their_new_names(api):
    project, dataset = api.experiment(name="p"), api.dataset()
    code = [{"code": "def perform_eval(run): return {'score': 1}", "language": "python"}]
    rule = {"sampling_rate": 1, "code_evaluators": code}
    api.post("/runs/rules", {**rule, "display_name": "on p", "session_id": project})
    api.post("/runs/rules", {**rule, "display_name": "on d", "dataset_id": dataset})

    (found,) = pages(api, "/api/v2/runs/rules", type="PROJECT")

    assert (found["display_name"], found["project_id"], found["project_name"]) == ("on p", project, "p")
    assert found["code_evaluators"][0]["language"] == "PYTHON"
    assert [item["display_name"] for item in pages(api, "/api/v2/runs/rules", page_size=1)] == ["on d", "on p"]


def test_cursor_of_another_list_is_refused(api):
    for name in "abc":
        api.dataset(name)
    cursor = api.get("/api/v2/datasets", page_size=1)["next_cursor"]

    answer = api.send("GET", "/api/v2/datasets", params={"page_size": 1, "name_contains": "a", "cursor": cursor})

    assert (answer.status_code, "cursor" in answer.json()["detail"]) == (400, True)
