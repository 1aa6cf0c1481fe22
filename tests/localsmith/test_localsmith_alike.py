"""Items of one request are checked a field at a time, with the outcome of checking one after the other."""

import copy
import itertools
import random
import uuid

import pytest

from localsmith.alike import are_ids
from localsmith.fields import check, check_alike
from localsmith.routes.examples import EXAMPLE_FIELDS
from localsmith.routes.feedback import FEEDBACK
from localsmith.runs.checks import _usual_runs, check_run, check_runs
from localsmith.wire import ApiError, Switches

ODD = [None, "", "x", 7, 7.5, True, {}, {"a": [1]}, [], ["x"], [7], "é" * 36, "0" * 36, "2026-11-20T10:00:00Z"]


def an_id(chance):
    return str(uuid.UUID(int=chance.getrandbits(128)))


def a_run(chance, *, child):
    run_id, root = an_id(chance), an_id(chance)
    begin = f"2026-11-20T10:00:{chance.randrange(60):02}.000000+00:00"
    order = f"20261120T1000{begin[17:19]}000000Z"
    run = {"id": run_id, "trace_id": root if child else run_id, "name": "step", "run_type": "llm", "start_time": begin}
    run["dotted_order"] = f"20261120T100000000000Z{root}.{order}{run_id}" if child else order + run_id
    if child:
        run["parent_run_id"] = root
    return run | {"end_time": "2026-11-20T10:00:30+00:00", "inputs": {}, "tags": ["a"], "events": [{}], "more": 1}


def a_feedback(chance):
    fields = {name: an_id(chance) for name in ("id", "run_id", "trace_id", "session_id")}
    return {**fields, "key": "correct", "start_time": "2026-11-20T10:00:00Z", "comment": None, "error": True}


def an_example(chance):
    return {"id": an_id(chance), "dataset_id": an_id(chance), "inputs": {"q": 1}, "outputs": None, "unknown": [1]}


def spoil(chance, item):
    """Change something: a value, a field that goes or is new, or the order of fields."""
    name = chance.choice([*item, "end_time", "session_id", "new"])
    kind = chance.randrange(4)
    if kind == 0:
        item.pop(name, None)
    elif kind == 1:
        item[name] = item.pop(name, chance.choice(ODD))
    elif kind == 2 and isinstance(item.get(name), str):
        text = item[name]
        item[name] = chance.choice([text.upper(), text[:-1], f"{text},", f"{text},{text}"])
    else:
        item[name] = chance.choice(ODD)


def outcome(work, *arguments, **named):
    try:
        return work(*copy.deepcopy(arguments), **named)
    except ApiError as error:
        return error.status, error.message, error.loc


def requests(make, seed):
    """Three items each; most of the time something is wrong with one of them."""
    chance = random.Random(seed)
    for _ in range(150):
        items = [make(chance) for _ in range(3)]
        for _ in range(chance.randrange(3)):
            spoil(chance, chance.choice(items))
        yield items


def each_run(runs, *switches, nulls):
    return [check_run(run, where, *switches, nulls=nulls) for where, run in runs.items()]


@pytest.mark.parametrize("nulls", [True, False])
def test_runs_are_checked_together_as_one_by_one(nulls):
    """The same runs, or the error of the first that is wrong."""
    switches, now = Switches(), 1_763_632_800_000_000 + 365 * 86_400_000_000
    usual = 0
    for runs in requests(lambda chance: a_run(chance, child=chance.random() < 0.3), 1):
        named = {f"post.{n}": run for n, run in enumerate(runs)}
        usual += _usual_runs(copy.deepcopy(runs), switches, now) is not None
        together = outcome(check_runs, named, switches, now, nulls=nulls)
        assert together == outcome(each_run, named, switches, now, nulls=nulls)
    assert 40 < usual < 120


@pytest.mark.parametrize(("make", "fields"), [(a_feedback, FEEDBACK), (an_example, EXAMPLE_FIELDS)])
def test_bodies_are_checked_together_as_one_by_one(make, fields):
    """What passes together is what each would become; nothing that would be refused passes."""
    usual = 0
    for bodies in requests(make, 2):
        together = check_alike(bodies, fields)
        if together is not None:
            assert together == [check(body, fields) for body in bodies]
            usual += 1
    assert 40 < usual < 140


def test_ids_are_looked_at_as_a_whole():
    """Values that only together look like a list of ids are no ids."""
    one, two = str(uuid.uuid4()), str(uuid.uuid4())

    assert are_ids([one, two])
    for values in ([f"{one},{two}", ""], [one, two[:-1]], [one + two[:1], two[1:]], [one, two.upper()], [one, 7]):
        for order in itertools.permutations(values):
            assert not are_ids(order)
