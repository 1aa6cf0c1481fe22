"""The official Python SDK, pointed at localsmith by environment variables alone."""

import json

import pytest

langsmith = pytest.importorskip("langsmith")

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK announces the end of its v1 reads


@pytest.fixture
def client(server, monkeypatch):
    """A client that knows nothing but the environment."""
    from langsmith import run_trees, utils

    for name, value in (("ENDPOINT", server.url), ("API_KEY", "any"), ("TRACING", "true"), ("PROJECT", "sdk")):
        monkeypatch.setenv(f"LANGSMITH_{name}", value)
    utils.get_env_var.cache_clear()
    monkeypatch.setattr(run_trees, "_CLIENT", None)
    client = langsmith.Client()
    yield client
    client.flush()
    client.cleanup()
    if run_trees._CLIENT:
        run_trees._CLIENT.cleanup()
    utils.get_env_var.cache_clear()


@pytest.fixture
def dataset(client):
    dataset = client.create_dataset("capitals", description="smoke", metadata={"owner": "qa"})
    rows = [{"inputs": {"n": i}, "outputs": {"twice": 2 * i}, "metadata": {"i": i}} for i in range(3)]
    client.create_examples(dataset_id=dataset.id, examples=rows)
    return dataset


def double(inputs):
    return {"twice": 2 * inputs["n"] if inputs["n"] < 2 else 0}


def wrong(inputs):
    return {"twice": -1}


def correct(outputs, reference_outputs):
    return outputs == reference_outputs


def passed(outputs, reference_outputs):
    return {"key": "passed", "score": sum(a == b for a, b in zip(outputs, reference_outputs, strict=True))}


def test_dataset_and_examples_come_back(client, dataset):
    """What create_dataset and create_examples sent is what the lists return."""
    found = client.read_dataset(dataset_name="capitals")
    examples = sorted(client.list_examples(dataset_id=dataset.id), key=lambda example: example.inputs["n"])

    assert (found.id, found.metadata["owner"], found.example_count) == (dataset.id, "qa", 3)
    assert [example.outputs for example in examples] == [{"twice": 2 * i} for i in range(3)]
    assert client.has_dataset(dataset_name="nothing") is False


def test_example_is_changed_and_deleted(client, dataset):
    first = next(client.list_examples(dataset_id=dataset.id))

    client.update_example(first.id, outputs={"twice": 99})

    assert client.read_example(first.id).outputs == {"twice": 99}
    assert client.read_example(first.id).inputs == first.inputs
    client.delete_example(first.id)
    assert first.id not in [example.id for example in client.list_examples(dataset_id=dataset.id)]


@pytest.mark.slow
def test_evaluate_with_repetitions_and_summary(client, dataset):
    """Runs, scores, summary score and statistics of an experiment are all there."""
    results = client.evaluate(
        double, data="capitals", evaluators=[correct], summary_evaluators=[passed], num_repetitions=2, max_concurrency=4
    )
    client.flush()

    project = client.read_project(project_name=results.experiment_name, include_stats=True)
    assert (project.run_count, project.error_rate) == (6, 0)
    assert project.reference_dataset_id == dataset.id
    assert project.feedback_stats["correct"]["n"] == 6
    assert project.feedback_stats["correct"]["avg"] == pytest.approx(4 / 6)
    assert project.session_feedback_stats["passed"]["avg"] == 4
    assert project.extra["metadata"]["num_repetitions"] == 2


@pytest.mark.slow
def test_experiment_results_hold_every_repetition(client, dataset):
    results = client.evaluate(double, data="capitals", evaluators=[correct], num_repetitions=2)
    client.flush()

    found = client.get_experiment_results(name=results.experiment_name)
    examples = list(found["examples_with_runs"])

    assert found["run_stats"]["run_count"] == 6
    assert {example.inputs["n"]: len(example.runs) for example in examples} == {0: 2, 1: 2, 2: 2}
    assert all(run.outputs == double(example.inputs) for example in examples for run in example.runs)


def test_failing_target_and_evaluator_are_recorded(client, dataset):
    """A target that raises is an errored run; an evaluator that raises is feedback without a score."""

    def explode(inputs):
        raise RuntimeError("no target")

    def broken(outputs, reference_outputs):
        if outputs is not reference_outputs:
            raise ValueError("no judge")
        return {"key": "broken", "score": 1}

    results = client.evaluate(explode, data="capitals", evaluators=[broken])
    client.flush()

    runs = list(client.list_runs(project_name=results.experiment_name, is_root=True, error=True))
    marks = list(client.list_feedback(run_ids=[run.id for run in runs], feedback_key=["broken"]))
    assert len(runs) == 3
    assert all("no target" in run.error for run in runs)
    assert [mark.score for mark in marks] == [None] * 3


@pytest.mark.slow
def test_pairwise_evaluation_scores_both_runs(client, dataset):
    """evaluate((a, b)) scores each run of each example, in a comparison and not among the metrics."""
    names = []
    for target in (double, wrong):
        names.append(client.evaluate(target, data="capitals", evaluators=[correct]).experiment_name)
    client.flush()

    def prefer(runs, example):
        return {"key": "pref", "scores": {run.id: int(run.outputs == example.outputs) for run in runs}}

    langsmith.evaluate(tuple(names), evaluators=[prefer], client=client)
    client.flush()

    sessions = [client.read_project(project_name=name, include_stats=True) for name in names]
    assert [list(session.feedback_stats) for session in sessions] == [["correct"], ["correct"]]
    runs = [[run.id for run in client.list_runs(project_name=name, is_root=True)] for name in names]
    scores = [[item.score for item in client.list_feedback(run_ids=ids, feedback_key=["pref"])] for ids in runs]
    assert [sorted(given) for given in scores] == [[0, 1, 1], [0, 0, 0]]


def test_list_runs_filters(client, dataset):
    results = client.evaluate(double, data="capitals", evaluators=[correct])
    client.flush()

    def count(text):
        return len(list(client.list_runs(project_name=results.experiment_name, filter=text)))

    assert count('and(eq(feedback_key, "correct"), eq(feedback_score, 1))') == 2
    assert count("and(eq(is_root, true), neq(error, null))") == 0
    assert count('search("twice")') >= 3


def test_feedback_is_created_corrected_and_deleted(client):
    """create_feedback with a trace goes through ingest, without one through POST /feedback."""
    run_id = langsmith.uuid7()
    client.create_run("r", {"q": 1}, "chain", id=run_id, outputs={"a": 1}, project_name="sdk")
    client.flush()

    plain = client.create_feedback(run_id, "plain", score=0.5, comment="so so")
    client.create_feedback(run_id, "traced", score=True, trace_id=run_id)
    client.flush()
    client.update_feedback(plain.id, score=1)

    marks = {mark.key: mark.score for mark in client.list_feedback(run_ids=[run_id])}
    assert marks == {"plain": 1, "traced": 1}
    client.delete_feedback(plain.id)
    assert [mark.key for mark in client.list_feedback(run_ids=[run_id])] == ["traced"]


def test_nested_tracing_three_deep(client):
    """@traceable functions become one trace whose tokens add up, down to the model call."""

    @langsmith.traceable(run_type="llm", metadata={"ls_model_name": "m1"})
    def model(question):
        usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        return {"answer": question.upper(), "usage_metadata": usage}

    @langsmith.traceable(run_type="tool")
    def tool(question):
        return model(question)

    @langsmith.traceable(tags=["smoke"])
    def agent(question):
        return tool(question)["answer"]

    assert agent("lima", langsmith_extra={"client": client}) == "LIMA"
    client.flush()

    root = next(client.list_runs(project_name="sdk", is_root=True))
    tree = client.read_run(root.id, load_child_runs=True)
    names = [tree.name, tree.child_runs[0].name, tree.child_runs[0].child_runs[0].name]
    assert names == ["agent", "tool", "model"]
    assert (tree.total_tokens, tree.tags, tree.outputs) == (12, ["smoke"], {"output": "LIMA"})


@pytest.mark.slow
def test_v2_reads_of_the_sdk(client, dataset):
    """The generated v2 client pages through runs and experiment runs."""
    results = client.evaluate(double, data="capitals", evaluators=[correct])
    client.flush()
    project = client.read_project(project_name=results.experiment_name)

    api = client._get_langsmith_api_sync()
    pager = api.datasets.experiment_runs.query(
        str(dataset.id), experiment_ids=[str(project.id)], page_size=2, selects=["ID", "OUTPUTS", "STATUS"]
    )
    rows = list(pager)

    assert len(rows) == 3
    assert {row.runs[0].status for row in rows} == {"SUCCESS"}
    runs = list(api.runs.query_v2(project_ids=[str(project.id)], is_root=True, selects=["ID", "FEEDBACK_STATS"]))
    assert [run.feedback_stats["correct"].n for run in runs] == [1, 1, 1]


def test_selected_fields_alone_are_read(client):
    """What the client's own Run demands comes with every selection."""
    client.create_run("r", {"q": 1}, "chain", id=langsmith.uuid7(), outputs={"a": 1}, project_name="sdk")
    client.flush()

    (run,) = client.list_runs(project_name="sdk", select=["inputs", "outputs"])

    assert (run.inputs, run.outputs, run.start_time is not None) == ({"q": 1}, {"a": 1}, True)


class Frame:
    """What upload_dataframe asks of a pandas DataFrame."""

    def to_csv(self, buffer, index):
        buffer.write(b"question,answer\nPeru?,Lima\n")


def test_files_become_datasets(client, tmp_path):
    """upload_csv and upload_dataframe; a name that is taken is an error."""
    file = tmp_path / "capitals.csv"
    file.write_text('question,answer,note\n"Peru, South America?",Lima,\nChile?,Santiago,"two\nlines"\n')
    keys = {"input_keys": ["question"], "output_keys": ["answer"]}

    from_csv = client.upload_csv(str(file), **keys, name="from csv", description="a file")
    from_frame = client.upload_dataframe(Frame(), **keys, name="from frame")

    rows = {row.inputs["question"]: row.outputs for row in client.list_examples(dataset_id=from_csv.id)}
    assert rows == {"Peru, South America?": {"answer": "Lima"}, "Chile?": {"answer": "Santiago"}}
    assert client.read_dataset(dataset_id=from_csv.id).description == "a file"
    assert [row.outputs for row in client.list_examples(dataset_id=from_frame.id)] == [{"answer": "Lima"}]
    with pytest.raises(langsmith.utils.LangSmithConflictError):
        client.upload_csv(str(file), **keys, name="from csv")


def test_splits_and_the_difference_of_versions(client, dataset):
    first, second, third = client.list_examples(dataset_id=dataset.id)
    before = client.read_dataset_version(dataset_id=dataset.id, tag="latest").as_of

    client.update_dataset_splits(dataset_id=dataset.id, split_name="hard", example_ids=[first.id, second.id])
    client.update_dataset_splits(dataset_id=dataset.id, split_name="base", example_ids=[first.id], remove=True)
    client.delete_example(third.id)
    added = client.create_example(inputs={"n": 9}, outputs={"twice": 18}, dataset_id=dataset.id)

    assert client.list_dataset_splits(dataset_id=dataset.id) == ["base", "hard"]
    assert {row.id for row in client.list_examples(dataset_id=dataset.id, splits=["hard"])} == {first.id, second.id}
    assert client.read_example(first.id).metadata["dataset_split"] == ["hard"]
    found = client.diff_dataset_versions(dataset_id=dataset.id, from_version=before, to_version="latest")
    assert set(found.examples_modified) == {first.id, second.id}
    assert (found.examples_added, found.examples_removed) == ([added.id], [third.id])


def test_v2_sessions_of_the_sdk(client, dataset):
    """The generated client creates, lists, reads and changes projects and experiments."""
    api = client._get_langsmith_api_sync()
    sessions = api.sessions
    experiment = sessions.create_v2(
        type="EXPERIMENT", name="e-1", reference_dataset_id=str(dataset.id), extra={"metadata": {"model": "m1"}, "a": 1}
    )
    project = sessions.create_v2(type="PROJECT", name="p-1", description="first")
    sessions.update_v2(experiment.id, extra={"b": 2, "a": None})
    sessions.update_v2(project.id, description=None)

    read = sessions.retrieve_v2(experiment.id, include_stats=True)
    assert (read.type, read.extra, read.run_count) == ("EXPERIMENT", {"metadata": {"model": "m1"}, "b": 2}, 0)
    assert sessions.retrieve_v2(project.id).description is None
    names = [item.name for item in sessions.list_v2(sort_by="NAME", sort_order="asc", page_size=1)]
    assert names == ["e-1", "p-1"]
    assert [item.name for item in sessions.list_v2(type=["PROJECT"])] == ["p-1"]
    assert [item.name for item in api.datasets.list_v2(name_contains="capital")] == ["capitals"]


def test_threads_and_traces_of_the_sdk(client):
    """Turns with one thread_id are one thread, in v1 and in v2."""

    @langsmith.traceable
    def turn(messages):
        return {"messages": [{"role": "assistant", "content": messages[-1]["content"].upper()}]}

    for text in ("lima", "quito"):
        asked = [{"role": "user", "content": text}]
        turn(asked, langsmith_extra={"client": client, "metadata": {"thread_id": "t 1"}})
    client.flush()
    project = str(client.read_project(project_name="sdk").id)

    thread = client.request_with_retries(
        "GET", "/runs/threads/t%201", params={"session_id": project, "select": "all_messages"}
    ).json()
    api = client._get_langsmith_api_sync()
    threads = list(api.threads.query(project_id=project))
    traces = list(api.traces.query(project_id=project, selects=["NAME", "TOTAL_TOKENS", "INPUTS"]))
    fields = ["TURN_NUMBER", "LATENCY", "THREAD_ID", "OUTPUTS_PREVIEW"]
    turns = list(api.threads.list_traces("t 1", project_id=project, page_size=1, selects=fields))
    filtered = list(api.threads.list_traces("t 1", project_id=project, filter='search("quito")', selects=fields))

    messages = [json.loads(text) for text in thread["previews"]["all_messages"].split("\n\n")]
    assert [message["content"] for message in messages] == ["lima", "LIMA", "quito", "QUITO"]
    assert [(item.thread_id, item.count, item.num_errored_turns) for item in threads] == [("t 1", 2, 0)]
    assert [item.root_run.inputs["messages"][0]["content"] for item in traces] == ["quito", "lima"]
    assert traces[0].trace_aggregates.total_tokens == 0
    assert [(turn.thread_id, turn.turn_number, turn.latency >= 0) for turn in turns] == [
        ("t 1", 1, True),
        ("t 1", 2, True),
    ]
    assert "LIMA" in turns[0].outputs_preview and turns[0].trace_id == threads[0].first_trace_id
    assert [turn.turn_number for turn in filtered] == [2]


def test_unknown_calls_say_where_to_look(client):
    """One 404 for every route that is not here, whatever the client asks."""
    with pytest.raises(langsmith.utils.LangSmithNotFoundError, match="not in this embedded store; docs/clients.md"):
        client.create_presigned_feedback_token(langsmith.uuid7(), "correct")


def test_review_queues_of_the_sdk(client):
    """Queues with rubrics, runs added in both forms, items listed, completed and deleted."""
    ids = [langsmith.uuid7() for _ in range(3)]
    for number, run_id in enumerate(ids):
        client.create_run(f"r{number}", {"q": number}, "chain", id=run_id, outputs={"a": number}, project_name="sdk")
    client.flush()
    project, start = client.read_project(project_name="sdk").id, client.read_run(ids[2]).start_time
    client.create_feedback_config("correct", feedback_config={"type": "continuous", "min": 0, "max": 1})

    queue = client.create_annotation_queue(
        name="q", description="first", rubric_items=[{"feedback_key": "correct", "description": "Right?"}]
    )
    client.add_runs_to_annotation_queue(queue.id, run_ids=ids[:2])
    client.add_runs_to_annotation_queue(queue.id, runs=[{"run_id": ids[2], "session_id": project, "start_time": start}])
    client.update_annotation_queue(queue.id, description="second")
    api = client._get_langsmith_api_sync()
    listed = list(api.annotation_queues.items.list(str(queue.id), status="needs_my_review", page_size=2))
    done = api.annotation_queues.items.create_status(listed[0].id, status="completed")
    client.delete_run_from_annotation_queue(queue.id, run_id=ids[1])

    assert [item.run_id for item in listed] == [str(run_id) for run_id in ids]
    assert done.is_archived
    assert api.annotation_queues.items.retrieve_count(str(queue.id), status="archived").count == 1
    assert [run.id for run in client.list_runs_from_annotation_queue(queue.id, status="completed")] == ids[:1]
    assert client.get_run_from_annotation_queue(queue.id, index=0).outputs == {"a": 2}
    read = client.read_annotation_queue(queue.id)
    assert (read.description, read.rubric_items[0]["description"]) == ("second", "Right?")
    assert [found.name for found in client.list_annotation_queues(name_contains="q")] == ["q"]
    client.delete_annotation_queue(queue.id)
    assert list(client.list_annotation_queues()) == []
