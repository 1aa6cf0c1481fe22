"""The golden vectors catch every mistake that changes an id or a body: our own code is made wrong in many ways."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from places import FIXTURES, ROOT

BODIES = "langsmith_rest/recording/bodies.py"
CANONICAL = "langsmith_rest/recording/canonical.py"
SOURCES = "langsmith_rest/recording/sources.py"
OURS = {"langsmith_rest", "recorder", "rest", "vectors"}
# What is done wrong: the file, the text, and what stands there instead.
MUTATIONS = {
    # ids
    "example_id is ignored": (BODIES, 'given = result.given.get("example_id")', "given = None"),
    "a null reference is null": (BODIES, "get('reference_outputs', '{}')", "get('reference_outputs', 'null')"),
    "n of a run is always 0": (SOURCES, "texts.add(result.text)", "0"),
    "n of a run begins with 1": (BODIES, "{result.occurrence}", "{result.occurrence + 1}"),
    "the split belongs to the run's id": (BODIES, 'OF_THE_EXAMPLE = ("split", ', "OF_THE_EXAMPLE = ("),
    "example_metadata belongs to the run's id": (BODIES, '("split", "example_metadata")  #', '("split",)  #'),
    "feedback belongs to the run's id": (BODIES, 'LATER = ("feedback", ', "LATER = ("),
    "nulls belong to the run's id": (BODIES, "if value is None or name in LATER:", "if name in LATER:"),
    "children keep their feedback in the run's id": (
        BODIES,
        "canonical_result(canonical_fields(child)) for child in value",
        "WRITERS[dict](child) for child in value",
    ),
    "milliseconds are rounded": (BODIES, "(time - EPOCH) // MILLISECOND:", "round((time - EPOCH) / MILLISECOND):"),
    "a run's id has version 5": (BODIES, "{milliseconds[8:]}-7", "{milliseconds[8:]}-5"),
    "children are counted from 1": (BODIES, 'f"{i}-{index}"', 'f"{i}-{index + 1}"'),
    "n of feedback is always 0": (BODIES, "{run.id}-{key}-{count}", "{run.id}-{key}-0"),
    "failures and scores are counted together": (BODIES, "f\"{item['key']}-error\" if", "item['key'] if"),
    "feedback that is not sent is counted": (
        BODIES,
        'if item.get("error") or [name for name in MARKS if item.get(name) is not None]:',
        "if item:",
    ),
    "the hash of a name leaves the dataset out": (BODIES, "results_hash + short_hash", "results_hash + 0 * short_hash"),
    "the hash of a name is the last 4 bytes": (BODIES, ".digest()[:4]", ".digest()[-4:]"),
    "keys are sorted by code points": (CANONICAL, 'name.encode("utf-16-be")', "name"),
    "exponents begin at 1e16": (CANONICAL, "if 0 < power < 21:", "if 0 < power < 16:"),
    "small numbers have exponents from 1e-5 on": (CANONICAL, "if -7 < power < 0:", "if -5 < power < 0:"),
    # times
    "digits beyond microseconds are rounded": (
        BODIES,
        "value = datetime.fromisoformat(value.upper())",
        r'value = datetime.fromisoformat(re.sub(r"\.\d{7,}", lambda m: f"{float(m[0]):.6f}"[1:], value.upper()))',
    ),
    "the session's start is not whole": (BODIES, "return start.replace(microsecond=0)", "return start"),
    "the window has 24 hours": (BODIES, "WINDOW = timedelta(hours=20)", "WINDOW = timedelta(hours=24)"),
    "a moved trace starts a second late": (
        BODIES,
        "max(start - result.start, ZERO) if",
        "start - result.start + timedelta(seconds=1) if",
    ),
    "a moved end stays": (BODIES, "timestamp(start + took) if", "timestamp((own_start or start) + took) if"),
    "a run without an end takes a second": (
        BODIES,
        "timedelta(seconds=latency) if latency else ZERO",
        "timedelta(seconds=latency or 1)",
    ),
    "latency is ignored": (BODIES, "timedelta(seconds=latency) if latency else ZERO", "ZERO"),
    "original_end_time is left out without an end": (
        BODIES,
        ""","original_end_time":{end_time}'""",
        """' + (f',"original_end_time":{end_time}' if "end_time" in fields else "")""",
    ),
    "a child without times gets original ones": (
        BODIES,
        "    trace_id, order = (",
        "    if shift and not own_start:\n"
        """        metadata = with_original_times(metadata, {"start_time": "null"}, start)\n    trace_id, order = (""",
    ),
    # bodies
    "the default name is the run": (BODIES, 'fields.get("name", run_type)', 'fields.get("name", json.dumps("run"))'),
    "the default run_type is chain": (BODIES, """else '"llm"')""", """else '"chain"')"""),
    "the split is not sent": (BODIES, ', ("split", "split")):', "):"),
    "example_metadata is not sent": (BODIES, '(("metadata", "example_metadata"), ', "("),
    "the reference is not sent": (BODIES, '("outputs", "reference_outputs"), ', ""),
    "tags are not sent": (BODIES, '("inputs", "outputs", "error", "tags")', '("inputs", "outputs", "error")'),
    "errors are not sent": (BODIES, '("inputs", "outputs", "error", "tags")', '("inputs", "outputs", "tags")'),
    "children are tied to the example": (BODIES, '{"" if parent else example}', "{example}"),
    "children do not name their parent": (BODIES, 'if parent else ""\n    for', 'if None else ""\n    for'),
    "the root comes first": (BODIES, "result.took), name, start)", "result.took), name, start)[::-1]"),
    "a child's order is its own alone": (BODIES, 'f"{parent.dotted_order}.{order}{i}"', 'f"{order}{i}"'),
    "feedback has no value": (BODIES, "if value is not None},", 'if value is not None and name != "value"},'),
    "feedback has no comment": (BODIES, "if value is not None},", 'if value is not None and name != "comment"},'),
    "feedback has no error": (BODIES, "if value is not None},", 'if value is not None and name != "error"},'),
    "a short text is a score": (
        BODIES,
        "in long_form(given) if",
        'in [{"key": key, "score": given[key]} for key in given] if',
    ),
    "a child's feedback has the child's trace": (BODIES, '"trace_id": run.trace_id,', '"trace_id": run.id,'),
    "feedback starts when its run ends": (BODIES, '"start_time": run.start_time,', '"start_time": run.end_time,'),
    "scores are not rounded": (BODIES, "return round(score, 4) + 0.0 if", "return score if"),
    "ties are rounded up": (BODIES, "return round(score, 4) + 0.0 if", "return int(score * 10_000 + 0.5) / 10_000 if"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the code that may be changed."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("recorder.py", "rest.py", "tests/vectors.py"):
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "langsmith_rest", tree / "langsmith_rest", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def golden_vectors(tree, monkeypatch):
    """What the code of a tree writes into vectors.json, with modules of its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tree / "tests")
    vectors = importlib.import_module("vectors")  # it puts its own tree first
    sys.modules["langsmith_rest.recording.account"].READ_BACK_SECONDS = 0  # what is sent wrongly is never found
    try:
        assert Path(vectors.recorder.__file__).is_relative_to(tree)
        return vectors.written(vectors.vectors())
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]  # what was there before comes back when the test ends


def test_code_as_it_is_makes_the_golden_vectors(tree, monkeypatch):
    """Else no mutation would say anything."""
    assert golden_vectors(tree, monkeypatch) == (FIXTURES / "vectors.json").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_caught(tree, monkeypatch, name):
    """The vectors come out otherwise, so a port that does this fails them."""
    place, old, new = MUTATIONS[name]
    file = tree / place
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {place}"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path(importlib.util.cache_from_source(file)).unlink(missing_ok=True)
    file.write_text(text.replace(old, new), encoding="utf-8")
    try:
        assert golden_vectors(tree, monkeypatch) != (FIXTURES / "vectors.json").read_text(encoding="utf-8")
    finally:
        file.write_text(text, encoding="utf-8")
