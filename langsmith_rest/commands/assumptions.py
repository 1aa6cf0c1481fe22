"""What we assume about LangSmith where its documentation is silent; each assumption is tried on a throwaway dataset.

A trial returns what it found when the assumption holds, and raises `Wrong` when it does not.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import requests

import rest
from langsmith_rest.commands.doctor_bench import (
    Bench,
    Wrong,
    attempts,
    await_feedback,
    query,
    read_root,
    send_feedback,
    ties,
)
from langsmith_rest.connection import GONE, LangSmith, call
from langsmith_rest.evaluation import api as more
from langsmith_rest.evaluation import queues_api
from langsmith_rest.evaluation.runs_api import list_experiment_runs, query_runs
from langsmith_rest.recording.bodies import encode, parse_time, timestamp

READABLE_SECONDS = 120  # how long runs may take until they can be read


def same_dataset_name(bench: Bench) -> str:
    return bench.refused((409,), "POST", "/datasets", json={"name": bench.name, "data_type": "kv"})


def hundred_examples(bench: Bench) -> str:
    rest.create_examples(bench.api, [encode(bench.example), *(encode(bench.new_example(n)) for n in range(2, 101))])
    there = rest.list_examples(bench.api, bench.dataset["id"], [bench.example["id"]])
    if [example["id"] for example in there] != [bench.example["id"]]:
        raise Wrong("the example is not found by its id")
    return "100 created"


def known_example(bench: Bench) -> str:
    new = bench.new_example(101)
    found = bench.refused((409,), "POST", "/examples/bulk", json=[bench.example, new])
    if rest.list_examples(bench.api, bench.dataset["id"], [new["id"]]):
        raise Wrong("the new example was created although the other one exists")
    return found


def known_session(bench: Bench) -> str:
    rest.create_session(bench.api, bench.session)
    bench.refused_session({"name": f"{bench.name}-2"})
    return bench.refused_session({"id": str(uuid.uuid4())})


def day_old_runs(bench: Bench) -> str:
    bench.send_runs(bench.new_run(timedelta(hours=20)))
    too_old = bench.new_run(timedelta(hours=25))
    status, words = bench.answer("POST", "/runs/batch", json={"post": [too_old]})
    if status < 300:
        bench.runs.append(too_old)
    if status not in (400, 403, 409, 422):
        raise Wrong(words or f"25 hours answered {status}")
    return f"20 hours are accepted, 25 answered {status}"


def long_names(bench: Bench) -> str:
    bench.send_runs(bench.new_run(timedelta(minutes=5), name="n" * 128))
    return "accepted"


def future_runs(bench: Bench) -> str:
    bench.send_runs(bench.new_run(-timedelta(minutes=4)))  # ours may start up to 5 minutes from now
    return "accepted"


def late_ends(bench: Bench) -> str:
    bench.send_runs(bench.new_run(timedelta(minutes=5), end_time=timestamp(bench.now + timedelta(hours=30))))
    return "accepted"


def traces(bench: Bench) -> str:
    root = bench.new_run(timedelta(minutes=4), extra={"metadata": {"doctor": "yes"}})
    usage = {"usage_metadata": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}}
    step = bench.new_run(timedelta(minutes=3, seconds=59.5), root, run_type="llm", extra={"metadata": usage})
    bench.send_runs(step, root)
    return "accepted"


def readable(bench: Bench) -> str:
    begin, pause = time.monotonic(), 0.2
    while (count := rest.read_session(bench.api, bench.session["id"]).get("run_count")) != len(bench.roots()):
        if time.monotonic() - begin > READABLE_SECONDS:
            raise Wrong(f"run_count is {count}, not {len(bench.roots())}, after {READABLE_SECONDS} s")
        time.sleep(pause)
        pause = min(1.5 * pause, 10)
    return f"after {time.monotonic() - begin:.1f} s"


def known_runs(bench: Bench) -> str:
    bench.send_runs(*bench.runs)
    time.sleep(1)
    return readable(bench)


def refused_batch(bench: Bench) -> str:
    good, too_old = bench.new_run(timedelta(minutes=5)), bench.new_run(timedelta(hours=25))
    found = bench.refused((400, 403, 409, 422), "POST", "/runs/batch", json={"post": [good, too_old]})
    time.sleep(1)
    if next(query(bench, good), None):
        raise Wrong("the good run beside it is stored")
    return found


def pages_of_runs(bench: Bench) -> str:
    found, wanted = [""], {run["id"] for run in bench.runs}
    since = bench.now - timedelta(hours=26)
    for _ in attempts():
        runs = query_runs(bench.api, bench.session["id"], ["ID"], since=since, page_size=2)
        found = [run["id"] for run in runs]
        if wanted <= set(found) and len(found) == len(set(found)):
            return f"{len(found)} runs, 2 per page"
    raise Wrong(f"{len(wanted - set(found))} of {len(wanted)} are missing, {len(found) - len(set(found))} came twice")


def times_come_back(bench: Bench) -> str:
    sent = bench.roots()[-1]
    found = read_root(bench, sent, "START_TIME")["start_time"]
    off = abs((parse_time(found) or bench.now) - (parse_time(sent["start_time"]) or bench.now))
    if off >= timedelta(milliseconds=1):
        raise Wrong(f"{sent['start_time']} came back as {found}")
    return f"as {found}"


def metadata_comes_back(bench: Bench) -> str:
    found = read_root(bench, bench.roots()[-1], "METADATA", "EXTRA")
    if "doctor" not in {**(found.get("metadata") or {}), **((found.get("extra") or {}).get("metadata") or {})}:
        raise Wrong("neither METADATA nor EXTRA holds it")
    return "in METADATA" if "doctor" in (found.get("metadata") or {}) else "in EXTRA"


def tokens_of_steps(bench: Bench) -> str:
    found = read_root(bench, bench.roots()[-1], "TOTAL_TOKENS").get("total_tokens")
    if found != 12:
        raise Wrong(f"the root of a step with 12 tokens has {found}")
    return "12 tokens"


def experiment_runs(bench: Bench) -> str:
    found = list_experiment_runs(bench.api, bench.dataset["id"], [bench.session["id"]], ["ID"])
    ids = {run["id"] for example in found for run in example["runs"]}
    if missing := {run["id"] for run in bench.roots()} - ids:
        raise Wrong(f"{len(missing)} of {len(bench.roots())} runs are missing")
    return f"{len(ids)} runs"


def same_feedback(bench: Bench) -> str:
    for _ in range(2):
        send_feedback(bench, bench.feedback)
    await_feedback(bench, "doctor", [0.3333])
    return "1 item"


def repeated_key(bench: Bench) -> str:
    send_feedback(bench, *({"id": str(uuid.uuid4()), "key": "repeated", "score": score} for score in (0, 1)))
    await_feedback(bench, "repeated", [0, 1])
    return "2 items"


def feedback_one_by_one(bench: Bench) -> str:
    body = {"id": str(uuid.uuid4()), "key": "alone", "score": 1, **ties(bench.roots()[-1])}
    for _ in range(2):
        rest.create_one_feedback(bench.api, encode(body))
    await_feedback(bench, "alone", [1])
    return "1 item"


def feedback_of_no_run(bench: Bench) -> str:
    body = {"id": str(uuid.uuid4()), "key": "lost", "score": 1, **ties(bench.new_run(timedelta(minutes=5)))}
    try:
        return bench.refused((404,), "POST", "/feedback", json=body)
    except Wrong:
        bench.answer("DELETE", f"/feedback/{body['id']}")
        raise


def long_scores(bench: Bench) -> str:
    body = {"run_id": bench.roots()[-1]["id"], "key": "long", "score": 0.123456789}
    return bench.refused((400, 422), "POST", "/feedback", json=body)


def changed_feedback(bench: Bench) -> str:
    rest.update_feedback(bench.api, {"id": bench.feedback["id"], "score": 0.5})
    [item] = await_feedback(bench, "doctor", [0.5])
    if item.get("comment"):
        raise Wrong(f"null left the comment {item['comment']!r}")
    return "0.3333 became 0.5, the comment is gone"


def statistics_of_feedback(bench: Bench) -> str:
    for _ in attempts():
        found = rest.read_session(bench.api, bench.session["id"]).get("feedback_stats") or {}
        if (of_key := found.get("doctor")) and {"n", "avg"} <= of_key.keys():
            return f"n {of_key['n']}, avg {of_key['avg']}"
    raise Wrong(f"feedback_stats is {found}")


def changed_example(bench: Bench) -> str:
    change = {"id": bench.example["id"], "metadata": {"doctor": "yes"}, "split": ["test"]}
    rest.update_examples(bench.api, [change])
    [found] = rest.list_examples(bench.api, bench.dataset["id"], [bench.example["id"]])
    wanted = {"doctor": "yes", "dataset_split": ["test"]}
    if found["inputs"] != bench.example["inputs"] or found.get("metadata") != wanted:
        raise Wrong(f"inputs {found['inputs']}, metadata {found.get('metadata')}")
    return "same id, same inputs"


def same_comparison(bench: Bench) -> str:
    rest.create_session(bench.api, bench.other)
    body = {"name": bench.name, "experiment_ids": [bench.session["id"], bench.other["id"]]}
    for _ in range(2):
        more.create_comparative(bench.api, {**body, **bench.comparison})
    named = {"id": bench.comparison["id"]}
    found = call(bench.api, "GET", f"/datasets/{bench.dataset['id']}/comparative", params=named)
    if len(found) != 1:
        raise Wrong(f"{len(found)} are stored")
    return "1 stored"


def feedback_of_comparison(bench: Bench) -> str:
    item = {"id": str(uuid.uuid4()), "key": "preferred", "score": 1}
    send_feedback(bench, {**item, "comparative_experiment_id": bench.comparison["id"]})
    [found] = await_feedback(bench, "preferred", [1])
    if (named := found.get("comparative_experiment_id")) != bench.comparison["id"]:
        raise Wrong(f"it names {named}")
    return "1 item"


def same_queue_item(bench: Bench) -> str:
    queue_id, run = str(uuid.uuid4()), bench.roots()[-1]
    try:
        queues_api.get_or_create_queue(bench.api, {"id": queue_id, "name": bench.name})
    except requests.HTTPError as error:
        if error.response.status_code not in GONE | {403}:
            raise
        return f"no review queues here: {error}"
    try:
        for _ in range(2):
            queues_api.add_items(bench.api, queue_id, [{**run, "project_id": run["session_id"]}])
        found: list[str] = []
        for _ in attempts():
            if (found := list(queues_api.list_queue_runs(bench.api, queue_id))) == [run["id"]]:
                return "1 item"
        raise Wrong(f"it holds {len(found)} items")
    finally:
        queues_api.delete_queue(bench.api, queue_id)


def closed_session(bench: Bench) -> str:
    rest.close_session(bench.api, bench.session["id"], timestamp(datetime.now(UTC)))
    if not (rest.find_session(bench.api, id=bench.session["id"]) or {}).get("end_time"):
        raise Wrong("end_time is still empty")
    return "end_time is set"


def deletion(bench: Bench) -> str:
    bench.clean_up()
    if rest.find_dataset(bench.api, bench.name) or rest.find_session(bench.api, name=bench.name):
        raise Wrong(f"{bench.name!r} still exists: delete it by hand")
    return "gone"


# In this order: later trials use what earlier ones create.
TRIALS: tuple[tuple[str, Callable[[Bench], str]], ...] = (
    ("a dataset name that exists is refused with 409", same_dataset_name),
    ("100 examples fit into one request, and are found by their ids", hundred_examples),
    ("examples are refused with 409 if one of them exists, new ones too", known_example),
    ("an experiment id or name that exists is refused with 409", known_session),
    ("runs of 20 hours ago are accepted, and of 25 hours refused", day_old_runs),
    ("a run's name may have 128 characters", long_names),
    ("a run may start four minutes from now, since clocks differ", future_runs),
    ("a run may end 30 hours from now, since only its start counts", late_ends),
    ("one request may hold steps and, after them, their root", traces),
    ("new runs can be read soon, and run_count counts roots", readable),
    ("runs sent again change nothing", known_runs),
    ("a request with a refused run stores none of its runs", refused_batch),
    ("runs are listed page by page, each once", pages_of_runs),
    ("times are kept to the millisecond", times_come_back),
    ("metadata can be read back", metadata_comes_back),
    ("a root has the tokens of its steps", tokens_of_steps),
    ("all runs of an experiment are listed by example", experiment_runs),
    ("feedback sent twice is stored once, with 4 decimals of its score", same_feedback),
    ("feedback sent twice through POST /feedback is stored once", feedback_one_by_one),
    ("feedback on a run that is not stored is refused with 404", feedback_of_no_run),
    ("a run keeps two feedback items with the same key", repeated_key),
    ("scores of more than 4 decimals are refused", long_scores),
    ("feedback can be corrected in place, and null clears a comment", changed_feedback),
    ("feedback_stats has n and avg for each key", statistics_of_feedback),
    ("an example's split and metadata change in place", changed_example),
    ("a pairwise comparison sent twice is stored once", same_comparison),
    ("feedback of a pairwise comparison may be sent like other feedback", feedback_of_comparison),
    ("a run put into a review queue twice is there once", same_queue_item),
    ("an experiment can be closed", closed_session),
    ("experiment and dataset can be deleted", deletion),
)
# Not tried, because a trial would have to force it: rate limits, outages, settings of other people.
NOT_TRIED = ("429 comes with Retry-After", "how long a cursor lives")


def try_all(api: LangSmith) -> Iterator[dict[str, str]]:
    """Try each assumption; yield its name, whether it held, and what was found."""
    bench = Bench(api)
    try:
        for assumption, trial in TRIALS:
            verdict, found = "held", ""
            try:
                found = trial(bench)
            except Wrong as wrong:
                verdict, found = "wrong", str(wrong)
            except (requests.RequestException, KeyError, IndexError, TypeError, ValueError) as error:
                verdict, found = "wrong", f"{type(error).__name__}: {error}"[:500]
            yield {"name": assumption, "verdict": verdict, "found": found}
    finally:
        if rest.find_dataset(api, bench.name):
            bench.clean_up()
    yield from ({"name": assumption, "verdict": "not tried", "found": ""} for assumption in NOT_TRIED)
