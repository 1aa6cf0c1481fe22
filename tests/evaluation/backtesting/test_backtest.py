"""Test evaluation/backtest.py and projects.py against a real local server: choosing, converting, and doing it again."""

import io
import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

import localsmith
import rest
from langsmith_rest import connection
from langsmith_rest.conformance.faults import DROP_AFTER, Answer, Faults
from langsmith_rest.evaluation import api as calls
from langsmith_rest.evaluation import runs_api
from langsmith_rest.evaluation.backtesting import choosing, traces
from langsmith_rest.evaluation.backtesting.backtest import convert_runs_to_test
from langsmith_rest.evaluation.backtesting.choosing import list_runs
from langsmith_rest.evaluation.backtesting.projects import load_runs
from langsmith_rest.evaluation.backtesting.traces import SOURCE
from langsmith_rest.evaluation.running.evaluate import evaluate
from langsmith_rest.recording import batches, bodies
from langsmith_rest.recording.files import ResultFile
from recorder import RecordingError

LONG_AGO = datetime(2026, 1, 15, 9, tzinfo=UTC)
LLM = {"usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0.25}}
EVERYTHING = (*traces.SELECTS, "REFERENCE_EXAMPLE_ID", "LATENCY_SECONDS")


def production_run(n, **fields):
    """A run of a minute after the one before it, of two seconds."""
    start = LONG_AGO + timedelta(minutes=n)
    return {
        "name": "agent",
        "inputs": {"q": f"question {n}"},
        "outputs": {"a": f"answer {n}"},
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(seconds=2)).isoformat(),
        **fields,
    }


def with_steps(n):
    """A run whose tool call has a step of its own, before a model writes."""
    start = LONG_AGO + timedelta(minutes=n)
    first, second, end = ((start + timedelta(seconds=seconds)).isoformat() for seconds in (0, 1, 2))
    early, late = {"start_time": first, "end_time": second}, {"start_time": second, "end_time": end}
    fetch = {"name": "fetch", "run_type": "retriever", "inputs": {"url": "u"}, "outputs": {"text": "t"}, **early}
    search = {"name": "search", "run_type": "tool", "inputs": {"q": "s"}, "outputs": {}, "child_runs": [fetch], **early}
    model = {"name": "write", "run_type": "llm", "inputs": {}, "outputs": {}, "metadata": LLM, **late}
    return production_run(n, child_runs=[search, model])


@pytest.fixture
def api(server):
    return connection.connect(server.url)


@pytest.fixture
def load(api):
    def load(runs, project="prod", to=None):
        """Put runs into a project."""
        text = "\n".join(map(json.dumps, runs)).encode()
        found = load_runs(to or api, ResultFile("production", io.BytesIO(text)), project)
        return found.project, found.new, found.there, found

    return load


@pytest.fixture
def convert(api):
    def convert(dataset="questions", name=None, to=None, **options):
        """Choose all runs of `prod`, or as told, and convert them."""
        choice = {key: options.pop(key) for key in ("filter", "limit", "sample", "seed") if key in options}
        runs = list_runs("prod", langsmith=to or api, **choice)
        return convert_runs_to_test(runs, dataset, name, langsmith=to or api, **options)

    return convert


def add_pending(api, project, inputs):
    """Create a run that has not ended."""
    start = datetime.now(UTC)
    i = bodies.moment(start)[2] + bodies.uuid5(f"{inputs}")[15:]
    order = start.strftime("%Y%m%dT%H%M%S%fZ") + i
    body = {"id": i, "trace_id": i, "dotted_order": order, "session_id": project["id"], "name": "agent"}
    body |= {"run_type": "chain", "start_time": bodies.timestamp(start), "inputs": inputs}
    rest.create_runs(api, [json.dumps(body).encode()])


def baseline(api, name="questions-baseline"):
    """All runs of a baseline, the steps of each root in `steps`, by their name and inputs."""
    session = calls.find_experiment(api, name)
    runs = list(runs_api.query_runs(api, session["id"], EVERYTHING, since=choosing.ALL_TIME))
    roots = {run["id"]: {**run, "steps": []} for run in runs if runs_api.is_root(run)}
    for run in sorted(runs, key=lambda run: run["dotted_order"]):
        if not runs_api.is_root(run):
            roots[run["trace_id"]]["steps"].append(run)
    return sorted(roots.values(), key=lambda run: int(run["inputs"]["q"].split()[-1]))


def examples(api, name="questions"):
    return list(calls.list_examples(api, calls.find_dataset(api, name)["id"]))


def everything(api, dataset="questions"):
    """What a backtest may change: examples, runs and feedback as they are."""
    session = calls.find_experiment(api, f"{dataset}-baseline")
    feedback = sorted(calls.list_session_feedback(api, session["id"]), key=lambda item: item["id"])
    return examples(api, dataset), baseline(api, f"{dataset}-baseline"), feedback


# Choosing


def test_the_newest_finished_root_runs_are_chosen(api, load):
    """Steps are no runs of their own; the newest come first under a limit, and are held oldest first."""
    load([with_steps(n) for n in range(6)])

    runs = list_runs("prod", limit=4, langsmith=api)

    assert [(one.end - one.start).total_seconds() for one in runs.chosen] == [2.0] * 4
    assert runs.chosen == sorted(list_runs("prod", langsmith=api).chosen)[2:]
    assert (runs.finished, runs.pending) == (4, 0)


def test_pending_runs_are_left_out_and_counted(api, load):
    """A run without an end is no answer yet, and does not use up the limit."""
    project, *_ = load([production_run(n) for n in range(3)])
    add_pending(api, project, {"q": "still running"})

    runs = list_runs("prod", limit=3, langsmith=api)

    assert (len(runs.chosen), runs.pending) == (3, 1)


def test_nothing_but_pending_runs_is_said_so(api, load, convert):
    """Nothing is made of nothing."""
    project, *_ = load([production_run(0)])
    add_pending(api, project, {"q": "still running"})

    with pytest.raises(LookupError, match=r"No finished root run of project 'prod'.*; 1 are pending"):
        convert(filter='eq(status, "pending")')
    assert rest.find_dataset(api, "questions") is None


@pytest.mark.slow
def test_a_filter_and_a_time_narrow_the_choice(api, load):
    """LangSmith's own filter language; `since` is a time, or how long ago."""
    errors = {"outputs": None, "error": "down"}
    load([production_run(n, **(errors if n % 2 else {})) for n in range(120)])

    def count(**choice):
        return len(list_runs("prod", langsmith=api, **choice).chosen)

    assert count(filter="eq(error, null)") == 60
    assert count(since=timedelta(minutes=30, seconds=30)) == 31  # the last ended when it was loaded
    assert count(since=datetime.now(UTC) - timedelta(minutes=10, seconds=30), filter="neq(error, null)") == 6
    assert count(since=datetime.now(UTC)) == 0


@pytest.mark.slow
def test_a_sample_is_the_same_every_time_and_changes_little_when_runs_are_added(api, load):
    """Which runs are drawn follows from the seed; new runs take places, but no old run comes in for another."""
    load([production_run(n) for n in range(40)])
    first = {one.id for one in list_runs("prod", sample=10, seed=7, langsmith=api).chosen}
    known = {one.id for one in list_runs("prod", langsmith=api).chosen}
    again = {one.id for one in list_runs("prod", sample=10, seed=7, langsmith=api).chosen}
    other = {one.id for one in list_runs("prod", sample=10, seed=8, langsmith=api).chosen}
    load([production_run(n) for n in range(40, 60)])

    grown = list_runs("prod", sample=10, seed=7, langsmith=api)

    assert first == again != other
    assert {one.id for one in grown.chosen} & known <= first
    assert (len(grown.chosen), grown.finished) == (10, 60)


@pytest.mark.slow
def test_an_unknown_project_is_answered_with_near_names(api, load):
    load([production_run(0)], project="prod-eu")

    with pytest.raises(LookupError, match="No project 'prod-us'. Did you mean 'prod-eu'"):
        list_runs("prod-us", langsmith=api)


def test_a_project_is_found_by_its_id(api, load):
    project, *_ = load([production_run(0)])

    assert list_runs(project["id"], langsmith=api).project["name"] == "prod"


def test_run_queries_keep_to_the_rate_limit(monkeypatch):
    """Fifteen at once, the next ones as the window moves on; servers on this machine are not spared."""
    clock, slept = [1000.0], []
    monkeypatch.setattr(runs_api, "queried", type(runs_api.queried)(maxlen=runs_api.QUERIES))
    monkeypatch.setattr(runs_api.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runs_api.time, "sleep", lambda seconds: (slept.append(seconds), clock.append(0))[0])
    far, near = connection.connect("https://langsmith.example.com", "key"), connection.connect("http://127.0.0.1:9")

    for _ in range(40):
        runs_api.take_turn(near)
    for _ in range(15):
        runs_api.take_turn(far)
        clock[0] += 0.1
    assert slept == []
    runs_api.take_turn(far)
    assert slept == [pytest.approx(8.5)]


# Converting


@pytest.mark.parametrize("v2_reads", [200, pytest.param(404, marks=pytest.mark.slow)], ids=["v2", "v1"])
def test_runs_become_examples_and_a_baseline(tmp_path, load, convert, v2_reads):
    """Each example knows its run and each run its original; latency, tokens, cost and times are kept."""
    with localsmith.serve(tmp_path / "v.db", v2_reads=v2_reads) as server:
        api = connection.connect(server.url)
        tags = {"tags": ["prod"], "run_type": "llm", "metadata": {"user": 7, **LLM}}
        load([production_run(n, **tags) for n in range(130)], to=api)
        originals = {one.id: one for one in list_runs("prod", langsmith=api).chosen}

        made = convert(to=api)

        runs = baseline(api)
        by_id = {example["id"]: example for example in examples(api)}
        assert len(runs) == len(by_id) == made.runs_recorded == made.examples_created == 130
        for n, run in enumerate(runs):
            example, metadata = by_id[run["reference_example_id"]], run["metadata"]
            source = originals[metadata["source_run_id"]]
            assert example["inputs"] == run["inputs"] == {"q": f"question {n}"}
            assert example["source_run_id"] == source.id != run["id"]
            assert example["outputs"] is None
            assert (run["outputs"], run["tags"], metadata["user"]) == ({"a": f"answer {n}"}, ["prod"], 7)
            assert (run["total_tokens"], run["total_cost"]) == (15, 0.25)
            assert bodies.parse_time(run["end_time"]) - bodies.parse_time(run["start_time"]) == timedelta(seconds=2)
        session = calls.find_experiment(api, "questions-baseline")
        assert session["extra"]["metadata"] == {"which": "prod-baseline", "source_project": "prod"}


@pytest.mark.slow
def test_runs_that_are_too_old_are_moved_and_others_are_not(api, load, convert):
    """Both traces keep their length; the moved one says when it really was."""
    now = datetime.now(UTC)
    times = [now - timedelta(hours=19, minutes=30), now - timedelta(hours=1)]
    ends = [time + timedelta(seconds=3) for time in times]
    load(
        production_run(n, start_time=bodies.timestamp(time), end_time=bodies.timestamp(end))
        for n, (time, end) in enumerate(zip(times, ends, strict=True))
    )

    convert()

    old, young = baseline(api)
    assert bodies.parse_time(young["start_time"]) == times[1]
    assert "original_start_time" not in young["metadata"]
    assert bodies.parse_time(old["metadata"]["original_start_time"]) == times[0]
    assert bodies.parse_time(old["metadata"]["original_end_time"]) == ends[0]
    moved = bodies.parse_time(old["start_time"])
    assert moved > times[0] and bodies.parse_time(old["end_time"]) - moved == timedelta(seconds=3)
    assert bodies.parse_time(calls.find_experiment(api, "questions-baseline")["start_time"]) <= moved


@pytest.mark.slow
def test_outputs_become_the_reference_on_request(api, load, convert):
    """Not those of a run that failed: its error is no answer to be held to."""
    load([production_run(0), production_run(1, outputs={"a": "half"}, error="cut off")])

    convert(include_outputs=True)

    references = {example["inputs"]["q"]: example["outputs"] for example in examples(api)}
    assert references == {"question 0": {"a": "answer 0"}, "question 1": None}
    assert [run.get("error") for run in baseline(api)] == [None, "cut off"]


@pytest.mark.slow
@pytest.mark.parametrize("v2_reads", [200, pytest.param(404, marks=pytest.mark.slow)], ids=["v2", "v1"])
def test_steps_are_copied_on_request(tmp_path, load, convert, v2_reads):
    """The same tree under new ids, each run with the id of its original; tokens are counted once."""
    with localsmith.serve(tmp_path / "v.db", v2_reads=v2_reads) as server:
        api = connection.connect(server.url)
        project, *_ = load([with_steps(n) for n in range(40)], to=api)
        originals = {
            run["id"]: run for run in runs_api.query_runs(api, project["id"], EVERYTHING, since=choosing.ALL_TIME)
        }

        made = convert(load_child_runs=True, to=api)

        runs = baseline(api)
        assert (made.runs_recorded, len(runs)) == (40, 40)
        for run in runs:
            assert [step["name"] for step in run["steps"]] == ["search", "fetch", "write"]
            search, fetch, write = run["steps"]
            assert [search["parent_run_ids"], fetch["parent_run_ids"]] == [[run["id"]], [run["id"], search["id"]]]
            assert (run["total_tokens"], write["total_tokens"], run["run_type"]) == (15, 15, "CHAIN")
            for copy in (run, *run["steps"]):
                original = originals.pop(copy["metadata"]["source_run_id"])
                assert (copy["name"], copy["run_type"]) == (original["name"], original["run_type"])
                assert copy["latency_seconds"] == original["latency_seconds"] and copy["id"] != original["id"]
        assert not originals


@pytest.mark.slow
def test_without_its_steps_a_run_keeps_their_tokens_and_cost(api, load, convert):
    """They count in model calls only, so its copy is one, and says what it was."""
    load([with_steps(0)])

    convert()

    [run] = baseline(api)
    assert (run["total_tokens"], run["total_cost"], run["run_type"], run["steps"]) == (15, 0.25, "LLM", [])
    assert run["metadata"]["source_run_type"] == "chain"


@pytest.mark.slow
def test_runs_with_the_same_inputs_share_an_example(api, load, convert):
    """They are repetitions, and the example names the oldest of them."""
    load([production_run(n, inputs={"q": "question 1"}) for n in range(3)])

    convert()

    [example] = examples(api)
    assert {run["reference_example_id"] for run in baseline(api)} == {example["id"]}
    assert len(baseline(api)) == 3
    assert example["source_run_id"] == list_runs("prod", langsmith=api).chosen[0].id


@pytest.mark.slow
def test_failed_and_empty_answers_are_copied_as_they_are(api, load, convert):
    """An error stays one even without outputs; a run that said nothing did not fail."""
    load([production_run(0, outputs=None, error="Timeout"), production_run(1, outputs={})])

    made = convert()

    failed, empty = baseline(api)
    assert (failed["status"], failed["error"]) == ("ERROR", "Timeout")
    assert (empty["status"], empty["outputs"], made.rejected) == ("SUCCESS", {}, [])


# Doing it again


@pytest.mark.slow
def test_doing_it_again_changes_nothing(api, load, convert):
    """Not one example, run or feedback more or less, and none that differs."""
    load([{**with_steps(n), "feedback": {"liked": n % 2}} for n in range(30)])
    options = {"load_child_runs": True, "copy_feedback": True, "include_outputs": True}
    convert(**options)
    before = everything(api)

    again = convert(**options)

    assert everything(api) == before
    assert (again.runs_recorded, again.runs_existing, again.examples_created, again.feedback) == (0, 30, 0, 0)


@pytest.mark.slow
def test_new_production_runs_only_add(api, load, convert):
    """What was there stays as it was, id by id."""
    load([with_steps(n) for n in range(20)])
    convert(load_child_runs=True)
    _, before, _ = everything(api)
    load([with_steps(n) for n in range(20, 25)])

    again = convert(load_child_runs=True)

    _, after, _ = everything(api)
    assert (again.runs_recorded, again.runs_existing, again.examples_created) == (5, 20, 5)
    assert after[:20] == before and len(after) == 25


@pytest.mark.slow
def test_a_baseline_of_last_week_can_be_added_to(api, load, convert):
    """Its start is too long ago to move runs there, so they go where LangSmith takes them; again adds nothing."""
    load([production_run(n) for n in range(3)])
    dataset, _ = calls.get_or_create_dataset(api, "questions")
    start = datetime.now(UTC) - timedelta(days=7)
    rest.create_session(api, bodies.session(dataset["id"], "questions-baseline", start, None, None))

    made, again = convert(), convert()

    assert (made.runs_recorded, made.rejected) == (3, [])
    assert (again.runs_recorded, again.runs_existing) == (0, 3)
    assert len(baseline(api)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/examples/bulk", "/runs/batch", "/runs/multipart"])
@pytest.mark.parametrize("fault", [DROP_AFTER, Answer(503)], ids=["answer lost", "refused"])
def test_what_was_interrupted_is_completed(monkeypatch, server, api, load, convert, path, fault):
    """Whichever step broke off, with or without effect: once more, and all is there exactly once."""
    monkeypatch.setattr(batches, "BATCH", 20)
    load([{**production_run(n), "feedback": {"liked": 1}} for n in range(50)])
    impatient = connection.connect(server.url)
    impatient.session.mount("http://", connection.PatientAdapter(0.1))
    faults = Faults(server)
    hits = []
    faults.plan = lambda seen: fault if seen.path.endswith(path) and hits.append(seen) is None else None
    with pytest.raises((RecordingError, OSError)):
        convert(to=impatient, copy_feedback=True)
    assert hits

    faults.plan = lambda seen: None
    convert(copy_feedback=True)

    sources = [run["metadata"]["source_run_id"] for run in baseline(api)]
    assert sorted(sources) == sorted(one.id for one in list_runs("prod", langsmith=api).chosen)
    session = calls.find_experiment(api, "questions-baseline")
    assert len(list(calls.list_session_feedback(api, session["id"]))) == len(examples(api)) == 50


@pytest.mark.slow
def test_two_at_once_end_in_the_same_state(server, api, load, convert):
    """Whoever is quicker: each run is copied once, each example made once."""
    load([{**with_steps(n), "feedback": {"liked": 1}} for n in range(60)])

    with ThreadPoolExecutor(2) as pool:
        options = {"load_child_runs": True, "copy_feedback": True}
        both = [pool.submit(convert, to=connection.connect(server.url), **options) for _ in range(2)]
        made = [future.result() for future in both]

    examples_made, runs, feedback = everything(api)
    assert [one.rejected for one in made] == [[], []]
    assert (len(examples_made), len(runs), sum(len(run["steps"]) for run in runs), len(feedback)) == (60, 60, 180, 60)


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused(api, load, convert):
    """By an experiment on other data, or by a project; nothing is added to it."""
    load([production_run(0)])
    convert()

    with pytest.raises(LookupError, match="'prod' is taken"):
        convert(name="prod")
    with pytest.raises(LookupError, match="'questions-baseline' is taken"):
        convert(dataset="other", name="questions-baseline")
    assert len(baseline(api)) == 1
    assert "other" not in [one["name"] for one in calls.list_datasets(api)]


@pytest.mark.slow
def test_what_cannot_be_copied_is_named_and_the_rest_is_copied(server, load, convert, api):
    """A run that vanished meanwhile, and an example that LangSmith refuses."""
    load([production_run(n) for n in range(4)])
    runs = list_runs("prod", langsmith=api)
    gone = str(uuid.uuid4())
    runs.chosen.insert(0, choosing.Chosen(runs.chosen[0].start, runs.chosen[0].end, gone))
    faults = Faults(server)
    faults.plan = lambda seen: (
        Answer(422, '{"detail":"no twos"}') if seen.path.endswith("bulk") and b"question 2" in seen.body else None
    )

    made = convert_runs_to_test(runs, "questions", langsmith=api)

    reasons = {rejected["source_run_id"]: rejected["reason"] for rejected in made.rejected}
    assert "no longer" in reasons.pop(gone) and "no twos" in reasons.pop(runs.chosen[3].id)
    assert not reasons
    assert [run["inputs"]["q"] for run in baseline(api)] == ["question 0", "question 1", "question 3"]


# Masking


@pytest.mark.slow
def test_masked_texts_are_all_that_is_sent(server, api, load, convert):
    """Inputs, outputs, errors, metadata, tags, names of fields, steps and comments: no text leaves unmasked."""
    step = {"inputs": {"to": "ann@x.org"}, "outputs": {}, "error": "no ann@x.org", "metadata": {"who": "ann@x.org"}}
    load(
        [
            production_run(
                n,
                inputs={"q": f"question {n}", "deep": [{"ann@x.org": "ann@x.org"}]},
                tags=["ann@x.org"],
                name="for ann@x.org",
                child_runs=[step],
                feedback=[{"key": "note of ann@x.org", "value": "ann@x.org", "comment": "said ann@x.org"}],
            )
            for n in range(3)
        ]
    )
    options = {
        "mask": lambda text: text.replace("ann@x.org", "[who]"),
        "load_child_runs": True,
        "copy_feedback": True,
        "include_outputs": True,
    }
    faults = Faults(server)

    convert(**options)
    convert(**options)

    assert not [seen for seen in faults.seen if b"ann@x" in seen.body]
    run = baseline(api)[0]
    assert run["inputs"]["deep"] == [{"[who]": "[who]"}] and run["tags"] == ["[who]"]
    assert run["steps"][0]["error"] == "no [who]"
    session = calls.find_experiment(api, "questions-baseline")
    copies = calls.list_session_feedback(api, session["id"])
    assert {(item["key"], item["comment"]) for item in copies} == {("note of [who]", "said [who]")}
    assert len(baseline(api)) == len(examples(api)) == 3


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda text: 1 / 0, "nothing was created: the mask failed: ZeroDivisionError: division"),
        (lambda text: None, "returned NoneType"),
        (lambda text: "x", "two keys of an object into the same text"),
    ],
    ids=["raises", "no text", "all the same"],
)
def test_a_mask_that_fails_lets_nothing_out(server, api, load, convert, mask, message):
    """It is tried on the first run before there is a dataset or an experiment."""
    load([production_run(0, inputs={"q": "question 0", "r": "secret"})])
    faults = Faults(server)

    with pytest.raises(ValueError, match=message):
        convert(mask=mask)
    assert not [seen for seen in faults.seen if b"secret" in seen.body]
    assert rest.find_dataset(api, "questions") is None and rest.find_session(api, name="questions-baseline") is None


@pytest.mark.slow
def test_a_mask_that_fails_later_leaves_out_that_run_and_names_it(api, load, convert):
    """The others are copied; a repetition with a better mask copies the rest."""
    project, *_ = load([production_run(n, inputs={"q": f"question {n}"}) for n in range(3)])

    def mask(text):
        if text == "question 1":
            raise SystemExit("no")
        return text

    recording = convert(mask=mask)

    [rejected] = recording.rejected
    assert (recording.runs_recorded, rejected["reason"]) == (2, "the mask failed: SystemExit: no")
    [run] = runs_api.query_runs(api, project["id"], ("ID", "INPUTS"), since=choosing.ALL_TIME, ids=[rejected[SOURCE]])
    assert run["inputs"] == {"q": "question 1"}
    assert convert().runs_recorded == 1


# Feedback


def test_feedback_of_originals_is_copied_and_kept_up_to_date(server, api, load, convert):
    """Scores, texts and comments, of steps as well; a correction arrives, and evaluators keep their own."""
    graded = {
        **with_steps(1),
        "feedback": [{"key": "correct", "score": 1, "comment": "fine"}, {"key": "c", "value": "x"}],
    }
    graded["child_runs"][0]["feedback"] = {"useful": 0.5}
    load([with_steps(0), graded])
    made = convert(load_child_runs=True, copy_feedback=True)
    evaluate("questions-baseline", None, [lambda outputs: {"key": "correct", "score": 0}], langsmith=api)

    def marks():
        session = calls.find_experiment(api, "questions-baseline")
        items = calls.list_session_feedback(api, session["id"])
        marks = ((item["key"], item["score"], item["value"], item["comment"]) for item in items)
        return sorted(marks, key=lambda mark: (mark[0], mark[1] or 0))

    assert made.feedback == 3
    assert marks() == [
        ("c", None, "x", None),
        ("correct", 0, None, None),
        ("correct", 0, None, None),
        ("correct", 1, None, "fine"),
        ("useful", 0.5, None, None),
    ]

    original = next(
        item for item in calls.pages(api, "/feedback", {"session": calls.find_project(api, "prod")["id"]})
        if item["key"] == "useful"
    )  # fmt: skip
    rest.update_feedback(api, {**original, "score": 0.75})
    again = convert(load_child_runs=True, copy_feedback=True)

    assert again.feedback == 1
    assert [mark[1] for mark in marks() if mark[0] == "useful"] == [0.75]
    assert sorted(mark[1] for mark in marks() if mark[0] == "correct") == [0, 0, 1]


@pytest.mark.slow
def test_a_baseline_can_be_scored_and_compared(api, load, convert):
    """It is an experiment like any other: its runs, with their steps, are what evaluators see."""
    load([with_steps(n) for n in range(5)])
    convert(load_child_runs=True)
    seen = []

    found = evaluate("questions-baseline", "questions", [lambda run: seen.append(run) or True], langsmith=api)

    assert found.scored == 5
    assert {tuple(child.name for child in run.child_runs) for run in seen} == {("search", "write")}


# Loading runs of a file


@pytest.mark.slow
def test_loading_a_file_again_changes_nothing(api, load):
    """Old runs are moved together: distances, latencies and original times are kept, and ids stay the same."""
    rows = [{**with_steps(n), "feedback": {"liked": 1}} for n in range(40)]
    project, new, there, loaded = load(rows)
    first = list_runs("prod", langsmith=api)

    assert (new, there) == (40, 0)
    by = (datetime.now(UTC) - datetime.fromisoformat(rows[-1]["end_time"])).total_seconds() / 86400
    assert len(loaded.moved) == 40
    assert re.match(r"40 of 40 by ([\d.]+) days: --since", str(loaded))[1] in (f"{by:.1f}", f"{by + 1e-3:.1f}")
    assert load(rows)[1:3] == (0, 40)
    assert list_runs("prod", langsmith=api) == first
    gaps = {later.start - earlier.start for earlier, later in zip(first.chosen, first.chosen[1:], strict=False)}
    assert gaps == {timedelta(minutes=1)}
    assert timedelta(0) <= datetime.now(UTC) - first.chosen[-1].end < timedelta(minutes=1)
    selects = ("METADATA", "REFERENCE_EXAMPLE_ID")
    [run] = runs_api.query_runs(api, project["id"], selects, since=choosing.ALL_TIME, ids=[first.chosen[0].id])
    assert run["metadata"]["original_start_time"] == LONG_AGO.isoformat() and not run.get("reference_example_id")
    assert len(list(calls.pages(api, "/feedback", {"session": project["id"]}))) == 40


@pytest.mark.slow
def test_a_file_of_a_month_fits_into_the_window(api, load):
    """What cannot keep its distances keeps its order; a file that has grown only adds."""
    times = [production_run(60 * 24 * n) for n in range(30)] + [production_run(60 * 24 * 28 + 1)]
    *_, loaded = load(times)

    chosen = list_runs("prod", langsmith=api).chosen

    assert len(chosen) == 31 and load(times)[1:3] == (0, 31)
    assert chosen[-1].start - chosen[0].start <= bodies.WINDOW
    assert chosen[-1].end <= datetime.now(UTC)
    selects = ("INPUTS", "START_TIME")
    runs = runs_api.query_runs(api, loaded.project["id"], selects, since=choosing.ALL_TIME)
    in_order = [run["inputs"]["q"] for run in sorted(runs, key=lambda run: run["start_time"])]
    assert in_order == [one["inputs"]["q"] for one in sorted(times, key=lambda one: one["start_time"])]
    assert str(loaded).startswith("31 of 31 by ") and "closer together" in str(loaded)
    grown = [*times, production_run(60 * 24 * 29 + 1)]
    assert load(grown)[1:3] == (1, 31)


def test_where_runs_of_any_age_are_taken_none_is_moved(tmp_path, load):
    """Files of last month and of the month before: `since` and `limit` see the times that were, and their order."""
    now = datetime.now(UTC).replace(microsecond=0)

    def ago(n, days):
        start = now - timedelta(days=days)
        return production_run(n, start_time=start.isoformat(), end_time=(start + timedelta(seconds=2)).isoformat())

    newer, older = [ago(n, n + 1) for n in range(10)], [ago(n, n + 31) for n in range(10)]
    with localsmith.serve(tmp_path / "any.db", time_window_hours=None) as server:
        api = connection.connect(server.url)
        assert load(newer, to=api)[1:3] == (10, 0) and load(older, to=api)[1:3] == (10, 0)
        assert load(newer, to=api)[1:3] == load(older, to=api)[1:3] == (0, 10)
        assert not load([ago(99, 99)], to=api)[3].moved

        week = list_runs("prod", since=timedelta(days=7), langsmith=api).chosen
        newest = list_runs("prod", limit=12, langsmith=api).chosen
    assert len(week) == 6
    assert [one.start for one in newest] == sorted(now - timedelta(days=n) for n in (*range(1, 11), 31, 32))
    with localsmith.serve(tmp_path / "any.db") as server:  # as `main.py view` serves it: what is there stays found
        assert load(older, to=connection.connect(server.url))[1:3] == (0, 10)


def test_a_file_that_has_grown_is_not_loaded_into_the_future(api, load):
    """Its runs keep their distance, so the new ones would have to wait until their time has come; nothing is sent."""
    load([production_run(n) for n in range(3)])

    with pytest.raises(LookupError, match="would end .* from now"):
        load([production_run(n) for n in range(30)])
    assert len(list_runs("prod", langsmith=api).chosen) == 3


def test_runs_of_today_are_loaded_as_they_are(api, load):
    start = datetime.now(UTC).replace(microsecond=123456) - timedelta(hours=2)
    load([production_run(0, start_time=bodies.timestamp(start), end_time=bodies.timestamp(start))])

    assert list_runs("prod", langsmith=api).chosen[0].start == start


def test_a_file_is_not_loaded_into_an_experiment(api, load, convert):
    load([production_run(0)])
    convert()

    with pytest.raises(LookupError, match="is an experiment, not a project"):
        load([production_run(0)], project="questions-baseline")


def test_a_project_of_last_week_takes_no_more_old_runs(api, load):
    """It says so, instead of what LangSmith would answer; a repetition is fine all the same."""
    start = bodies.timestamp(datetime.now(UTC) - timedelta(days=7))
    rest.create_session(api, {"id": bodies.uuid5("project-prod"), "name": "prod", "start_time": start})

    with pytest.raises(LookupError, match="the runs that it lacks would be too old"):
        load([production_run(0)])
