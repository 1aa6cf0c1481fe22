"""JUnit XML, as pytest and many others write it: one experiment, or one per suite if suites have the same tests."""

import json
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from langsmith_rest.importers.parts import Experiment, Found, as_object, present, score, summarize, unique_names
from langsmith_rest.wording import counted

INPUT, OUTPUT = ("inputs", "input", "messages", "question", "prompt"), ("outputs", "output", "answer")
REFERENCE = ("reference_outputs", "reference", "expected_output", "expected")


def recognises(head: bytes, first: dict[str, Any]) -> bool:
    return b"<testsuite" in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read(file: IO[bytes], name: str, reference: str | None) -> Found:
    """Inputs, outputs, references and scores are properties of a test (`record_property` in pytest)."""
    file.seek(0)
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{name} is not XML ({error}).") from None
    suites = [suite for suite in root.iter("testsuite") if suite.find("testcase") is not None]
    if not suites:
        raise ValueError(f"{name} holds no tests.")
    are_columns = len(suites) > 1 and len({frozenset(names_of(suite)) for suite in suites}) == 1
    groups = [[suite] for suite in suites] if are_columns else [suites]
    stem = Path(name).stem
    titles = unique_names(suite.get("name") or stem if are_columns else stem for suite, *_ in groups)
    experiments, skipped = [], 0
    for title, group in zip(titles, groups, strict=True):
        cases = [(suite, case) for suite in group for case in suite.findall("testcase")]
        run = [(suite, case) for suite, case in cases if case.find("skipped") is None]
        skipped += len(cases) - len(run)
        results = [result_of(suite, case, reference, are_columns) for suite, case in run]
        metadata = present(suite=group[0].get("name"), hostname=group[0].get("hostname"))
        experiments.append(Experiment(title, results, metadata))
    tests = sum(len(suite.findall("testcase")) for suite in suites)
    what = f"JUnit XML: {counted(tests, 'test')} of {counted(len(suites), 'suite')}"
    left_out = [f"{counted(skipped, 'skipped test')}" if skipped else "", "captured output"]
    return summarize(what, [experiment for experiment in experiments if experiment.results], left_out)


def names_of(suite: Element) -> list[str]:
    return [case.get("name", "") for case in suite.findall("testcase")]


def result_of(suite: Element, case: Element, reference: str | None, is_column: bool) -> dict[str, Any]:
    """A test: an <error> is an error, a <failure> a score of 0, and its message the comment."""
    given = {item.get("name", ""): value_of(item) for item in case.findall("properties/property")}
    test = case.get("name", "") if is_column else f"{case.get('classname', '')}::{case.get('name', '')}".lstrip(":")
    inputs = take(given, INPUT) or {"test": test}
    expected = take(given, (reference,) if reference else REFERENCE)
    outputs = take(given, OUTPUT)
    error, failure = case.find("error"), case.find("failure")
    numbers = {key: value for key, value in given.items() if key == "score" or key.startswith("score.")}
    feedback = [] if error is not None else score("passed", failure is None, None if failure is None else told(failure))
    feedback += [item for key, value in numbers.items() for item in score(key.removeprefix("score."), value)]
    model = given.pop("model", None)
    time, start = case.get("time"), suite.get("timestamp")
    rest = {name: value for name, value in given.items() if name not in numbers}
    if error is None and outputs is None:
        outputs = {"outcome": "passed" if failure is None else "failed"}
    return {
        "inputs": inputs,
        **present(
            outputs=outputs,
            reference_outputs=expected,
            error=None if error is None else told(error),
            start_time=start,
            latency=float(time.replace(",", "")) if time else None,
            metadata=rest | present(ls_model_name=model, test=test, file=case.get("file")),
            feedback=feedback,
        ),
    }


def take(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """The first property with one of these names, as an object; the name of a bare value is kept."""
    name = next((name for name in names if name in given), None)
    return as_object(given.pop(name), name) if name else None


def value_of(item: Element) -> Any:
    """A property's value, which is always text: JSON if it is an object, a list, a number or a boolean."""
    text = item.get("value") or item.text or ""
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        return text
    is_score = (item.get("name") or "").startswith("score")
    return value if is_score or isinstance(value, dict | list) else text


def told(problem: Element) -> str:
    return problem.get("message") or (problem.text or "").strip() or problem.tag
