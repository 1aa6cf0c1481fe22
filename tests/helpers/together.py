"""The scenarios of `conform` with half as many runs of the port, of which each meets what several of them try."""

import json

# What one scenario does to a port in its first run, in its second and so on, the others of a line do as well.
IN_ONE_RUN = (
    (
        "503 at the first request to each endpoint",
        "500 at the first request to each endpoint",
        "each answer is cut in half once",
    ),
    (
        "504 at the first request to each endpoint",
        "502 with a page at the first request to each endpoint",
        "429 at the first request to each endpoint",
    ),
    (
        "408, then 425, at the first request to each endpoint",
        "each connection closes before the request arrives",
        "results without a start, one of which took an hour",
    ),
    (
        "each answer is lost once",
        "each answer is cut in half once, and no Content-Length says so",
        "a proxy's page with status 200 in place of an answer, once for each call",
    ),
    (
        "results of the last hours",
        "429 with Retry-After in seconds",
        "a dataset appears between look-up and creation",
        "a server without the v1 calls for experiments",
    ),
    (
        "results of yesterday, and one that ends in three minutes",
        "a proxy that does not answer is set",
        "an endpoint that ends in /api/v1/, with v2 of the calls for experiments",
    ),
    (
        "an example appears between look-up and creation",
        "an experiment with a start of its own",
        "some examples are there already",
    ),
    (
        "the same file twice",
        "300 results twice",
        "a new dataset",
        "our recorder after the port",
        "102 results of one example",
        "another time zone, and the locale C",
    ),
    ("trees twice, then our recorder", "trees, and all that a result may hold"),
    (
        "a tree of 251 runs",
        "no name for the experiment",
        "a key of several workspaces",
        "429 with Retry-After as a date",
    ),
    ("more than 40 runs at once are too large: 413", "a server without POST /runs/multipart"),
    ("runs that can be read only three seconds after they were accepted", "the experiment was renamed"),
    ("one run is refused", "one example is refused", "one feedback is refused"),
)
# The runs of the first are followed by those of the others, in the same store.
IN_ONE_STORE = (
    (
        "the port after our recorder",
        "a server that answers v2 run queries with 404",
        "a server that answers v2 run queries with a page",
    ),
)
# Where the results of one do not do for all, or fewer prove as much: there are still several pages. The names are
# those of lists in results.json.
OF_ONE_EXAMPLE = {
    "inputs": {"q": "one"},
    "outputs": {"a": "{n}"},
    "split": "split {n}",
    "example_metadata": {"n": "{n}"},
}
RESULTS = {
    "an example appears between look-up and creation": {"of": ["flat", *3 * ["plain"]], "count": 150},
    "the same file twice": {"of": ["flat", *8 * ["plain"], OF_ONE_EXAMPLE], "count": 210},
    "killed at the 4th and at the 7th request, then run again": {"of": ["plain"], "count": 210},
    "each answer is lost once": {"of": ["plain"], "count": 30},  # what follows after the first hundred meets no fault
    "1,200 results twice": {"of": ["plain"], "count": 450},
    "one run is refused": {
        "of": [
            {
                "inputs": {"question": "What is {n} + 1?"},
                "outputs": {"answer": "{n}"},
                "feedback": [{"key": "correct", "score": 1, "comment": "judged {n}!"}],
            }
        ],
        "count": 120,
    },
}


def together(found, load):
    """All that these scenarios try; `load` reads a file of fixtures/conformance."""
    of = {one["name"]: one for one in found}
    for merge, groups in ((in_one_run, IN_ONE_RUN), (in_one_store, IN_ONE_STORE)):
        for first, *others in groups:
            for number, name in enumerate(others, 1):
                if first in of and name in of:
                    other = of.pop(name)
                    merge(of[first], apart(other, number) if "is refused" in name else other, load)
    for name in RESULTS.keys() & of.keys():
        lists = [load("results.json")[one] if isinstance(one, str) else [one] for one in RESULTS[name]["of"]]
        of[name]["results"] = {**RESULTS[name], "of": sum(lists, [])}
    return list(of.values())


def apart(scenario, number):
    """It refuses something else than result 55 then."""
    return json.loads(json.dumps(scenario).replace("55", f"{55 + number}").replace("54", f"{54 + number}"))


def in_one_run(scenario, other, load):
    """Calls before a run come first; our recorder, where it records before or after both, does so once."""
    mine, theirs = ports(scenario), ports(other)
    for step, more in zip(mine, theirs, strict=False):
        step |= {name: joined(step.get(name), value) for name, value in more.items()}
    calls = [step for step in other["steps"] if step["do"] == "call"]
    scenario["steps"] = calls + scenario["steps"] + theirs[len(mine) :]
    last, after = scenario["steps"][-1], other["steps"][-1]
    if after["do"] == last["do"] == "ours":
        last["new"] += after["new"]
    elif after["do"] == "ours":
        scenario["steps"].append(after)
    if "state" in scenario:
        scenario["state"] = {**other["state"], **scenario["state"]}
    scenario["results"] = both(scenario["results"], other["results"], load)


def in_one_store(scenario, other, load):
    scenario["steps"] += ports(other)


def ports(scenario):
    return [step for step in scenario["steps"] if step["do"] == "port"]


def joined(mine, theirs):
    if isinstance(mine, list):
        return mine + theirs
    return {**mine, **theirs} if isinstance(mine, dict) else theirs


def both(mine, theirs, load):
    """The results of two scenarios, as many as the longer has."""
    templates = load("results.json")
    parts = [one["of"] if isinstance(one["of"], list) else templates[one["of"]] for one in (mine, theirs)]
    of = parts[0] if parts[0] == parts[1] else parts[0] + parts[1]
    return {"of": of, "count": max(len(of), *(one.get("count", 0) for one in (mine, theirs)))}
