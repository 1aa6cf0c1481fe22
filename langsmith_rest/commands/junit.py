"""The checks of a comparison as JUnit XML, which CI systems show as tests."""

from pathlib import Path
from xml.etree import ElementTree

from langsmith_rest.evaluation.comparing.comparison import FAILED, INCONCLUSIVE, Check, Comparison
from langsmith_rest.paired import Metric, probability
from langsmith_rest.wording import clean


def remove_old(path: str) -> None:
    """Remove an earlier report: if this comparison ends early, nobody should mistake it for the new one."""
    if Path(path).is_file():
        Path(path).unlink()


def write_junit(path: str, comparison: Comparison, inconclusive_exit: int) -> None:
    """Write one test case for each check; without limits, one for each metric, which then all pass.

    An inconclusive check is a failure if the exit code says so, otherwise it is skipped.
    """
    suite = ElementTree.Element("testsuite", name=clean(f"compare {comparison.dataset}"))
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="url", value=clean(comparison.url))
    if comparison.gate:
        for check in comparison.gate.checks:
            add_check(suite, check, fails=inconclusive_exit != 0 or bool(check.missing))
    else:
        for candidate in comparison.candidates:
            for metric in (*candidate.metrics, *candidate.measures):
                add_metric(suite, candidate.name, metric)
    for name, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
        suite.set(name, str(len(suite.findall(tag))))
    suite.set("errors", "0")
    tree = ElementTree.ElementTree(suite)
    ElementTree.indent(tree)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def add_check(suite: ElementTree.Element, check: Check, *, fails: bool) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=clean(check.experiment), name=clean(check.limit))
    reason = clean(check.reason)
    if check.verdict == FAILED or (check.verdict == INCONCLUSIVE and fails):
        ElementTree.SubElement(case, "failure", type=check.verdict, message=reason).text = reason
    elif check.verdict == INCONCLUSIVE:
        ElementTree.SubElement(case, "skipped", message=f"inconclusive: {reason}")
    else:
        ElementTree.SubElement(case, "system-out").text = reason


def add_metric(suite: ElementTree.Element, candidate: str, metric: Metric) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=clean(candidate), name=clean(metric.name))
    change = "no pairs" if metric.difference is None else f"{metric.difference:+.4g}, p {probability(metric.p)}"
    ElementTree.SubElement(case, "system-out").text = f"{metric.verdict}: {change}"
