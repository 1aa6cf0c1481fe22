"""DeepEval: the `test_run_*.json` that it writes with DEEPEVAL_RESULTS_FOLDER. One experiment per file."""

from pathlib import Path
from typing import IO, Any

from langsmith_rest.importers.parts import (
    Experiment,
    Found,
    failed,
    number_repetitions,
    present,
    read_objects,
    refuse_reference,
    score,
    summarize,
    usage,
)
from langsmith_rest.wording import counted


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    return isinstance(first.get("testCases"), list) and ("conversationalTestCases" in first or "metricsScores" in first)


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """Single turns and conversations; the file omits what is null."""
    refuse_reference("DeepEval", "'expectedOutput'", reference)
    run = read_objects(file)[0]
    single, conversations = run.get("testCases") or [], run.get("conversationalTestCases") or []
    settings = run.get("hyperparameters") or {}
    results = [single_turn(case, settings) for case in single]
    results += [conversation(case, settings) for case in conversations]
    number_repetitions(results)
    metadata = present(identifier=run.get("identifier"), hyperparameters=settings, prompts=run.get("prompts"))
    what = f"DeepEval: {counted(len(single), 'test case')}"
    what += f" and {counted(len(conversations), 'conversation')}" if conversations else ""
    cost = run.get("evaluationCost")
    left_out = ["thresholds", "times of the metrics", f"the metrics' cost of {cost:.4g}" if cost else ""]
    title = run.get("identifier") or settings.get("model") or Path(name).stem
    return summarize(what, [Experiment(str(title), results, metadata)], left_out)


def single_turn(case: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    context = present(context=case.get("context"), retrieval_context=case.get("retrievalContext"))
    expected = present(expected_output=case.get("expectedOutput"), expected_tools=case.get("expectedTools"))
    outputs = {"actual_output": case.get("actualOutput"), **present(tools_called=case.get("toolsCalled"))}
    return {"inputs": {"input": case.get("input"), **context}, "outputs": outputs, **common(case, expected, settings)}


def conversation(case: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The last turn of the assistant is the output; everything before it, and the scenario, is the input."""
    turns = case.get("turns") or []
    last = max((i for i, turn in enumerate(turns) if turn.get("role") == "assistant"), default=len(turns))
    about = present(scenario=case.get("scenario"), user_description=case.get("userDescription"))
    expected = present(expected_outcome=case.get("expectedOutcome"))
    inputs = {"messages": [message(turn) for turn in turns[:last]], **about}
    return {
        "inputs": inputs,
        "outputs": {"messages": [message(turn) for turn in turns[last:]]},
        **common(case, expected, settings),
    }


def message(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in turn.items() if name != "order"}


def common(case: dict[str, Any], expected: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What single turns and conversations share. Times of a case are those of its metrics, but `completionTime`."""
    feedback = [item for metric in case.get("metricsData") or [] for item in scored(metric)]
    if case.get("metricsData"):
        feedback += score("success", case.get("success"))
    model = settings.get("model")
    return present(
        reference_outputs=expected,
        latency=case.get("completionTime"),
        metadata=present(
            ls_model_name=model if isinstance(model, str) else None,
            usage_metadata=usage(cost=case.get("tokenCost")),
            case=case.get("name"),
            hyperparameters=settings,
        ),
        feedback=feedback,
        tags=case.get("tags"),
        example_metadata=case.get("metadata") or case.get("additionalMetadata"),
    )


def scored(metric: dict[str, Any]) -> list[dict[str, Any]]:
    if metric.get("error"):
        return [failed(metric["name"], metric["error"])]
    return score(metric["name"], metric.get("score"), metric.get("reason"))
