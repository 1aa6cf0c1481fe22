"""Six examples about numbers, a target that squares them, and what of it is recorded."""

from langsmith_rest.evaluation.api import find_experiment, list_session_feedback
from langsmith_rest.evaluation.runs_api import list_experiment_runs

ROWS = [{"inputs": {"n": n}, "reference_outputs": {"n": n * n}, "metadata": {"row": n}} for n in range(6)]
SELECTS = (
    "ID",
    "INPUTS",
    "OUTPUTS",
    "ERROR",
    "METADATA",
    "NAME",
    "PROJECT_ID",
    "START_TIME",
    "END_TIME",
    "LATENCY_SECONDS",
)


def square(inputs):
    return {"n": inputs["n"] ** 2}


def fails_on_odd(inputs):
    if inputs["n"] % 2:
        raise RuntimeError(f"odd: {inputs['n']}")
    return square(inputs)


def prefer_larger(inputs, runs):
    ids = {run["id"]: run.outputs.get("n", -1) for run in runs}
    best = max(ids.values())
    return {"key": "larger", "scores": {i: int(n == best > min(ids.values())) for i, n in ids.items()}, "comment": "c"}


def runs_of(api, name="first"):
    """The recorded runs, by the number that their example is about."""
    session = find_experiment(api, name)
    pages = list_experiment_runs(api, session["reference_dataset_id"], [session["id"]], SELECTS, with_replaced=True)
    return {example["inputs"]["n"]: example["runs"] for example in pages}


def scores_of(api, name="first", key="exact_match"):
    """The recorded scores of a metric, by run id."""
    session = find_experiment(api, name)
    return {item["run_id"]: item.get("score") for item in list_session_feedback(api, session["id"], key=key)}


def feedback_of(api, found, **query):
    return list(list_session_feedback(api, found.experiment_id, **query))
