"""What is accepted as a result, what is refused and in which words, and how files are read."""

import enum
import io
import json
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsmith_rest.recording.canonical import canonical
from langsmith_rest.recording.checking import prepare
from langsmith_rest.recording.files import ResultFile
from langsmith_rest.recording.sources import source_of

OK = '{"inputs": {"q": "Peru?"}, "outputs": {"a": "Lima"}}'


def file_of(text):
    """A file of results that holds `text`."""
    return ResultFile("capitals.jsonl", io.BytesIO(text.encode() if isinstance(text, str) else text))


def problems_of(results):
    """What is wrong with results, each problem without its place where that is line 1."""
    with pytest.raises(ValueError) as caught:
        source_of(results, False)
    lines = str(caught.value).split("\n  ")
    assert lines[0].endswith("; nothing was sent:") and lines[0].startswith(f"{len(lines) - 1} problem")
    return [line.removeprefix("capitals.jsonl, line 1: ").removeprefix("result 1: ") for line in lines[1:]]


def short(value):
    """The id of a case, which must not be 100,000 characters long."""
    return ascii(value[:30]) if isinstance(value, str) else type(value).__name__


def result(**fields):
    return {"inputs": {"q": 1}, "outputs": {"a": 2}, **fields}


def read(text):
    """The results of a file of that content, which are all sound."""
    overview = source_of(file_of(text), False)
    found = list(file_of(text))
    assert len(found) == overview.count
    return found


# ---------------------------------------------------------------- files that cannot be read


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("hello", "not JSON (Expecting value at column 1); expected one object per line, or one array"),
        (OK[:-1], "not JSON (Expecting ',' delimiter at column 52); expected one object per line, or one array"),
        ('{"inputs": {},\n', "not JSON (Expecting property name enclosed in double quotes at column 15)"),
        (OK + OK, "not JSON (Extra data at column 53); expected one object per line, or one array"),
        ('{"inputs": {"q": "a\tb"}}', "not JSON (Invalid control character at at column 20)"),
        ("{'inputs': {}}", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ('"text"', "this is the text 'text', expected an object with 'inputs' and 'outputs'"),
        ("3", "this is a number (3), expected an object with 'inputs' and 'outputs'"),
        ("null", "this is null, expected an object with 'inputs' and 'outputs'"),
        ("true", "this is a boolean (True), expected an object with 'inputs' and 'outputs'"),
        ('{"inputs": {"q": 1, "q": 2}}', "the field 'q' is given twice, expected different names"),
        ('{"inputs": {}, "inputs": {}, "outputs": {}}', "the field 'inputs' is given twice, expected different names"),
        (b'{"inputs": {"q": "caf\xe9"}}', "byte 22 (0xe9) is not UTF-8: save the file as UTF-8"),
        (OK.encode("utf-16"), "byte 1 (0xff) is not UTF-8: save the file as UTF-8"),
        ('{"inputs": ' * 100_000, "it is nested deeper than 64 levels"),
        ('{"inputs": {"n": ' + "1" * 5000 + "}}", "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=short,
)
def test_line_that_cannot_be_read_is_refused(content, problem):
    """Each says what is wrong, where in the line, and what was expected."""
    [found] = problems_of(file_of(content))

    assert found.startswith(problem)


@pytest.mark.parametrize("content", ["", "\n \r\n\t\n", "[]", "\ufeff", "\ufeff\r\n"])
def test_file_without_results_is_refused(content):
    """An empty experiment is a mistake, and a message of its own."""
    with pytest.raises(ValueError, match=r"^There is nothing to record in capitals.jsonl; nothing was sent\.$"):
        source_of(file_of(content), False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (f"[{OK}, 3]", "capitals.jsonl, result 2: this is a number (3), expected an object"),
        (f"[\n{OK},\n{OK},\n?]", "capitals.jsonl: not JSON (Expecting value at line 4, column 1)"),
        (f"[{OK}", "capitals.jsonl: not JSON (Expecting ',' delimiter at column 54)"),
        (f"[{OK}]\n{OK}", "capitals.jsonl: not JSON (Extra data at line 2, column 1)"),
        (b'[\n{"inputs": "caf\xe9"}]', "capitals.jsonl: byte 18 (0xe9) is not UTF-8"),
        ("[" * 100_000, "capitals.jsonl: it is nested deeper than 64 levels"),
        (f'[{OK}, {{"inputs": {{"x": NaN}}, "outputs": {{}}}}]', "capitals.jsonl, result 2: 'inputs.x' is NaN"),
    ],
    ids=short,
)
def test_array_names_the_result_or_the_line(content, problem):
    """A file may hold one array; its problems are found by the number of the result."""
    [found] = problems_of(file_of(content))

    assert found.startswith(problem)


def test_array_in_a_line_is_refused():
    """JSON lines of arrays would be several results per line, or none."""
    [problem] = problems_of(file_of(f"{OK}\n[{OK}]"))

    assert problem == "capitals.jsonl, line 2: this is a list, expected an object with 'inputs' and 'outputs'"


def test_line_is_named_as_an_editor_counts_it():
    """Blank lines count."""
    problems = problems_of(file_of(f"\n{OK}\n\nx\n3\n"))

    assert [problem.split(":")[0] for problem in problems] == [
        "capitals.jsonl, line 4",
        "capitals.jsonl, line 5",
    ]


def test_every_problem_of_every_line_is_in_one_message():
    """Whoever repairs a file wants to know all of it at once, in the order of the file."""
    content = '{"outputs": {}}\nnot json\n{"inputs": {"x": NaN}, "ouputs": 1}\n'

    assert problems_of(file_of(content)) == [
        "'inputs' is missing, expected an object",
        "capitals.jsonl, line 2: not JSON (Expecting value at column 1); expected one object per line, or one array",
        "capitals.jsonl, line 3: unknown field 'ouputs': did you mean 'outputs'?",
        "capitals.jsonl, line 3: 'outputs' is missing, expected an object (or text in 'error' when the system failed)",
        "capitals.jsonl, line 3: 'inputs.x' is NaN, which JSON cannot hold",
    ]


def test_equal_problems_share_a_line():
    """256 problems of 3 kinds are 3 lines."""
    with pytest.raises(ValueError) as caught:
        source_of(file_of("x\n" * 50), False)

    lines = str(caught.value).splitlines()
    assert lines[0] == "50 problems in capitals.jsonl; nothing was sent:"
    assert lines[1].startswith("  capitals.jsonl, line 1, 2, 3, 4 and 46 more: not JSON")
    assert len(lines) == 2


def test_only_twenty_kinds_of_problems_are_listed():
    """A file of another kind must not fill the screen."""
    with pytest.raises(ValueError) as caught:
        source_of([result() | {f"x{n}": 1} for n in range(50)], False)

    lines = str(caught.value).splitlines()
    assert lines[0] == "50 problems in the results; nothing was sent:"
    assert lines[20].startswith("  result 20: unknown field 'x19'")
    assert lines[21:] == ["  and 30 other problems"]


# ---------------------------------------------------------------- results that are refused


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"inputs": "x"}, "'inputs' is the text 'x', expected an object"),
        ({"inputs": None}, "'inputs' is missing, expected an object"),
        ({"outputs": [1]}, "'outputs' is a list, expected an object"),
        ({"outputs": None}, "'outputs' is missing, expected an object (or text in 'error' when the system failed)"),
        ({"reference_outputs": 3}, "'reference_outputs' is a number (3), expected an object"),
        ({"error": False}, "'error' is a boolean (False), expected text"),
        ({"metadata": []}, "'metadata' is a list, expected an object"),
        ({"example_metadata": "x"}, "'example_metadata' is the text 'x', expected an object"),
        ({"feedback": "x"}, "'feedback' is the text 'x', expected a list of {key, score, value, comment} or {key: s"),
        ({"name": ""}, "'name' is the text '', expected text of 1 to 128 characters"),
        ({"name": "n" * 129}, "'name' is a text of 129 characters, expected text of 1 to 128 characters"),
        ({"run_type": "x"}, "'run_type' is the text 'x', expected one of chain, embedding, llm, parser, prompt, ret"),
        ({"run_type": ["llm"]}, "'run_type' is a list, expected one of chain"),
        ({"tags": "x"}, "'tags' is the text 'x', expected a list of texts"),
        ({"tags": ["x", 1]}, "'tags' is a list, expected a list of texts"),
        ({"split": {}}, "'split' is an object, expected text or a list of texts"),
        ({"child_runs": {}}, "'child_runs' is an object, expected a list of runs"),
        ({"example_id": "abc"}, "'example_id' is the text 'abc', expected the UUID of an example, in lower case"),
        ({"example_id": "63D2E490-85EF-4430-AD03-8DB4DE383784"}, "'example_id' is the text '63D2E490-85EF-4430-AD03-"),
        ({"start_time": 1700000000}, "'start_time' is a number (1700000000), expected an ISO 8601 time, such as 20"),
        ({"start_time": "yesterday"}, "'start_time' is the text 'yesterday', expected an ISO 8601 time"),
        ({"start_time": "2026-02-30T00:00:00Z"}, "'start_time' is the text '2026-02-30T00:00:00Z', expected an ISO"),
        ({"start_time": "0001-01-01T00:00:00+14:00"}, "'start_time' is the text '0001-01-01T00:00:00+14:00', expect"),
        ({"start_time": date(2026, 1, 1)}, "'start_time' is a Python date (2026-01-01), expected an ISO 8601 time"),
        ({"end_time": "2026-01-01T00:00:00Z"}, "'end_time' needs a 'start_time'"),
        ({"start_time": "2026-01-02", "end_time": "2026-01-01"}, "'end_time' is earlier than 'start_time'"),
        ({"start_time": "2999-01-01"}, "'start_time' 2999-01-01 is in the future (a time without an offset is read"),
        ({1: 2}, "unknown field '1': known are inputs, outputs, "),
        ({"x" * 3000: 2}, f"unknown field '{'x' * 60}': known are inputs, "),
        ({"elephant": 2}, "unknown field 'elephant': known are inputs, outputs, start_time, "),
    ],
    ids=short,
)  # fmt: skip
def test_field_that_is_not_what_it_should_be_is_refused(fields, problem):
    """Each message names the field, what it holds, and what was expected."""
    [found] = problems_of([result() | fields])

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("ouputs", "outputs"),
        ("reference_output", "reference_outputs"),
        ("input", "inputs"),
        ("expected", "reference_outputs"),
        ("target", "reference_outputs"),
        ("scores", "feedback"),
        ("duration", "latency"),
        ("startTime", "start_time"),
        ("child_run", "child_runs"),
    ],
)
def test_unknown_field_names_the_one_that_was_meant(field, near):
    """In Python, where no spelling of other tools is translated, too."""
    assert problems_of([result(**{field: 1})]) == [f"unknown field '{field}': did you mean '{near}'?"]


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        (3, "'child_runs[0]' is a number (3), expected an object with 'inputs' and 'outputs'"),
        ({"outputs": {}}, "'child_runs[0].inputs' is missing, expected an object"),
        (result(split="test"), "unknown field 'child_runs[0].split': known are inputs, outputs, "),
        (result(nmae="x"), "unknown field 'child_runs[0].nmae': did you mean 'name'?"),
        (result(start_time="2026-01-01"), "'child_runs[0].start_time' is earlier than that of its parent"),
        (result(metadata={"x": {1}}), "'child_runs[0].metadata.x' is a Python set ({1}), which JSON cannot hold"),
        (result(feedback={"ok": "\ud800"}), "'child_runs[0].feedback.ok.value' has a lone surrogate"),
        (result(child_runs=[result(tags=1)]), "'child_runs[0].child_runs[0].tags' is a number (1), expected a list"),
    ],
)
def test_child_run_is_held_to_the_same_rules(child, problem):
    """What belongs to the example has no place in a child."""
    [found] = problems_of([result(start_time="2026-01-02", child_runs=[child])])

    assert found.startswith(problem)


def test_child_with_times_needs_a_parent_with_times():
    """Nobody could say when the parent was."""
    problems = problems_of([result(child_runs=[result(start_time="2026-01-01")])])

    assert problems == ["'child_runs[0].start_time' also needs a 'start_time' on its parent"]


def test_time_slightly_ahead_is_a_clock_that_runs_fast():
    """Five minutes are forgiven, an hour is not: that is a local time taken for UTC."""
    now = datetime.now(UTC)

    assert source_of([result(start_time=now + timedelta(minutes=4))], False).count == 1
    assert "in the future" in problems_of([result(start_time=now + timedelta(hours=1))])[0]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (1, "'feedback[0]' is a number (1), expected an object with 'key' and 'score'"),
        ({"score": 1}, "'feedback[0].key' is missing, expected text of 1 to 180 characters"),
        ({"key": "", "score": 1}, "'feedback[0].key' is the text '', expected text of 1 to 180 characters"),
        ({"key": "k" * 181, "score": 1}, "'feedback[0].key' is a text of 181 characters, expected text of 1 to 180"),
        ({"key": "k", "score": "high"}, "'feedback[0].score' is the text 'high', expected a number, a boolean or null"),
        ({"key": "k", "score": Decimal(1)}, "'feedback[0].score' is a Python Decimal (1), expected a number, a boole"),
        (
            {"key": "k", "score": float("nan")},
            "'feedback[0].score' is NaN, which JSON cannot hold: leave it out (or null) if there is no score, and set"
            " 'error': true if the evaluator failed",
        ),
        ({"key": "k", "score": 2**63}, "'feedback[0].score' is a number beyond 64 bits"),
        ({"key": "k", "value": [1]}, "'feedback[0].value' is a list, expected a number, a boolean, text, an object"),
        ({"key": "k", "value": {1}}, "'feedback[0].value' is a Python set ({1}), which JSON cannot hold"),
        ({"key": "k", "comment": 3}, "'feedback[0].comment' is a number (3), expected text"),
        ({"key": "\ud800", "score": 1}, "'feedback[0].key' has a lone surrogate, expected valid Uni"),
        ({"key": "k", "score": 1, "elephant": 2}, "unknown field 'feedback[0].elephant': known are key, score, v"),
        ({"key": "k", "scor": 1}, "unknown field 'feedback[0].scor': did you mean 'score'?"),
    ],
    ids=short,
)  # fmt: skip
def test_feedback_that_is_not_what_it_should_be_is_refused(item, problem):
    """Feedback is no part of a result's id, but it is sent."""
    [found] = problems_of([result(feedback=[item])])

    assert found.startswith(problem)


def test_short_form_of_feedback_is_named_by_its_keys():
    """Nobody counts the entries of an object."""
    feedback = {"ok": float("inf"), "deep": {"score": 1}, 1: 1}

    infinite, *others = problems_of([result(feedback=feedback)])

    assert infinite.startswith("'feedback.ok.score' is Infinity, which JSON cannot hold: leave it out")
    assert others == [
        "'feedback.deep.score' is an object, expected a number, a boolean or null",
        "'feedback.1.key' is a number (1), expected text of 1 to 180 characters",
    ]


class Color(enum.Enum):
    RED = 1


class Float32:
    """Like numpy's: a number that is no float."""

    def __float__(self):
        return 1.5

    def __repr__(self):
        return "np.float32(1.5)"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is NaN, which JSON cannot hold"),
        (float("-inf"), "is -Infinity, which JSON cannot hold"),
        (2**63, "is a number beyond 64 bits, expected a smaller one (or text)"),
        (-(2**63) - 1, "is a number beyond 64 bits"),
        (10**400, "is a number beyond 64 bits"),
        (10**5000, "is a number beyond 64 bits"),
        ("a\ud800b", "has a lone surrogate, expected valid Unicode"),
        (datetime(2026, 1, 1), "is a Python datetime (2026-01-01 00:00:00), which JSON cannot hold"),
        (date(2026, 1, 1), "is a Python date (2026-01-01), which JSON cannot hold"),
        ({1}, "is a Python set ({1}), which JSON cannot hold"),
        (Decimal("0.1"), "is a Python Decimal (0.1), which JSON cannot hold"),
        (Float32(), "is a Python Float32 (np.float32(1.5)), which JSON cannot hold"),
        (b"x", "is a Python bytes (b'x'), which JSON cannot hold"),
        (1j, "is a Python complex (1j), which JSON cannot hold"),
        (Color.RED, "is a Python Color (Color.RED), which JSON cannot hold"),
        (range(3), "is a Python range (range(0, 3)), which JSON cannot hold"),
        ({1: 2}, "has the key 1, expected only texts as keys"),
        ({None: 2}, "has the key None, expected only texts as keys"),
        ({True: 2, "a": 3}, "has the key True, expected only texts as keys"),
        ({b"a": 2}, "has the key b'a', expected only texts as keys"),
        ({(1, 2): 2}, "has the key (1, 2), expected only texts as keys"),
    ],
    ids=short,
)
@pytest.mark.parametrize("field", ["inputs", "outputs", "reference_outputs", "metadata", "example_metadata"])
def test_value_that_json_cannot_hold_is_refused(field, value, problem):
    """Wherever it stands, its place is named."""
    [found] = problems_of([result(**{field: {"list": [0, value]}})])

    assert found.startswith(f"'{field}.list[1]' {problem}")


@pytest.mark.parametrize("field", ["error", "name", "split"])
def test_text_that_is_not_unicode_is_refused(field):
    """Also in the fields of the run itself."""
    assert problems_of([result(**{field: "\udc00"})]) == [f"'{field}' has a lone surrogate, expected valid Unicode"]


def test_every_problem_of_a_result_is_listed():
    """One at a time would be a guessing game."""
    bad = {"inputs": {"a": float("nan"), "b": [2**64]}, "tags": 1, "feedback": {"ok": "\ud800"}, "child_runs": [{}]}

    assert problems_of([bad]) == [
        "'tags' is a number (1), expected a list of texts",
        "'outputs' is missing, expected an object (or text in 'error' when the system failed)",
        "'feedback.ok.value' has a lone surrogate, expected valid Unicode",
        "'child_runs[0].inputs' is missing, expected an object",
        "'child_runs[0].outputs' is missing, expected an object (or text in 'error' when the system failed)",
        "'inputs.a' is NaN, which JSON cannot hold",
        "'inputs.b[0]' is a number beyond 64 bits, expected a smaller one (or text)",
    ]


@pytest.mark.slow
def test_result_that_fits_in_no_request_is_refused():
    """LangSmith takes 20 MiB at once."""
    assert problems_of([result(metadata={"log": "x" * 30_000_000})]) == [
        "this has 30 MB, LangSmith takes at most 20 MB"
    ]


@pytest.mark.parametrize(("levels", "is_sound"), [(64, True), (65, False), (100, False), (900, False), (50_000, False)])
def test_values_may_be_64_levels_deep(levels, is_sound):
    """Deeper ones are refused before they exhaust anybody's stack."""
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}

    problems = prepare(result(inputs=value)).problems

    assert (not problems) is is_sound
    assert is_sound or (problems[0].endswith("...' is nested deeper than 64 levels") and len(problems[0]) < 150)


def test_value_that_holds_itself_is_refused():
    """Python can build what no text can hold."""
    loop = {}
    loop["loop"] = loop

    [problem] = problems_of([result(metadata=loop)])

    assert problem.endswith("is nested deeper than 64 levels")


@pytest.mark.parametrize("levels", [33, 2000])
def test_child_runs_may_be_32_levels_deep(levels):
    """More is a harness that loops."""
    tree = result()
    for _ in range(levels):
        tree = result(child_runs=[tree])

    [problem] = problems_of([tree])

    assert problem.endswith("...' is nested deeper than 32 levels")
    assert source_of([tree["child_runs"][0]], False).count == 1 if levels == 33 else True


def test_message_holds_nothing_that_moves_a_cursor():
    """A field name from a file is shown escaped, on one line."""
    content = '{"inputs": {"\\u001b[31m\\n": NaN}, "outputs": {}, "feedback": {"\\ud800": [1]}, "a\\r\\ud800é": 1}'

    problems = sorted(problems_of(file_of(content)), reverse=True)

    assert problems[2].startswith(r"'feedback.\ud800.score' is a list, expected a number")
    assert problems[0].startswith(r"unknown field 'a\r\ud800é': known are")
    assert problems[1] == r"'inputs.\x1b[31m\n' is NaN, which JSON cannot hold"


@pytest.mark.parametrize("results", ["abc", {"inputs": 1, "outputs": 2, "error": 3}, None])
def test_one_object_in_place_of_many_is_refused(results):
    """What was meant was a list of one."""
    with pytest.raises(ValueError, match="expected a list or a generator of results"):
        source_of(results, False)


# ---------------------------------------------------------------- what is accepted


@pytest.mark.parametrize(
    "content",
    [
        f"{OK}\n{OK}",
        f"\ufeff{OK}\r\n{OK}\r\n",
        f"\n\n  {OK}  \n\t\n{OK}\n\n",
        f"[{OK},{OK}]",
        f"\ufeff\r\n [\r\n{OK},\r\n\r\n{OK}]\r\n",
        f" \n\n[\n{OK}\n,\n{OK}\n]\n",
    ],
)
def test_files_of_all_systems_are_read(content):
    """Byte order mark, CR LF, blank lines, and one array in place of lines."""
    assert read(content) == [json.loads(OK)] * 2


@pytest.mark.parametrize("first", ['{"inputs": {"q": 1', '{"inputs": {"q": 1,', "{"])
def test_first_line_that_was_cut_does_not_hide_the_others(first):
    """A file whose first line is broken is still one of lines."""
    broken, number = problems_of(file_of(f"{first}\n{OK}\n3\n"))

    assert broken.startswith("not JSON (Expecting") and number.startswith("capitals.jsonl, line 3: this is a number")


def test_results_in_an_object_are_told_apart_from_a_result():
    """A list inside of an object is not a file of results; the message says what is."""
    [problem, *_] = problems_of(file_of(json.dumps({"results": [json.loads(OK)]})))

    assert "unknown field 'results': known are inputs" in problem


def test_line_may_hold_line_separators_of_other_kinds():
    """U+2028 and U+0085 are plain characters in JSON."""
    text = "a\u2028b\u0085c"

    assert read(json.dumps({"inputs": {"q": text}, "outputs": {}}, ensure_ascii=False))[0]["inputs"] == {"q": text}


def test_file_can_be_read_twice():
    """Results are checked first and recorded then, without being held."""
    file = file_of(f"{OK}\n{OK}")

    assert list(file) == list(file)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input": "2+2", "output": "4"}, {"inputs": {"input": "2+2"}, "outputs": {"output": "4"}}),
        ({"input": {"q": 1}, "actual_output": 4}, {"inputs": {"q": 1}, "outputs": {"output": 4}}),
        ({"inputs": {}, "actual_outputs": [4]}, {"inputs": {}, "outputs": {"output": [4]}}),
        ({"expected": False}, {"reference_outputs": {"output": False}}),
        ({"expected_output": {"a": 1}}, {"reference_outputs": {"a": 1}}),
        ({"expected_outputs": ""}, {"reference_outputs": {"output": ""}}),
        ({"target": 0.5}, {"reference_outputs": {"output": 0.5}}),
        ({"target": None}, {"reference_outputs": None}),
        ({"scores": {"ok": 1}}, {"feedback": {"ok": 1}}),
        ({"scores": [{"key": "ok", "score": 1}]}, {"feedback": [{"key": "ok", "score": 1}]}),
    ],
)
def test_spellings_of_other_tools_are_understood(given, expected):
    """A bare value for one of them becomes an object."""
    rest = {key: value for key, value in result().items() if key not in expected}

    assert read(json.dumps({**rest, **given})) == [{**rest, **expected}]
    assert read(json.dumps([{**rest, **given}])) == [{**rest, **expected}]


@pytest.mark.parametrize(
    ("fields", "field", "ours"),
    [
        ('"input": {}, "inputs": {}', "input", "inputs"),
        ('"inputs": {}, "input": {}', "input", "inputs"),
        ('"inputs": {}, "output": 1, "actual_output": 2', "actual_output", "outputs"),
        ('"inputs": {}, "expected": 1, "target": 1', "target", "reference_outputs"),
        ('"inputs": {}, "feedback": {}, "scores": {}', "scores", "feedback"),
    ],
)
def test_two_spellings_of_one_field_are_refused(fields, field, ours):
    """Taking either would lose the other."""
    assert problems_of(file_of(f"{{{fields}}}")) == [f"'{field}' and another field both mean '{ours}': keep one"]


def test_spellings_are_not_touched_inside_values():
    """`input` is a perfectly good name within `inputs`."""
    assert read('{"inputs": {"input": 1}, "outputs": {"output": 2}}')[0]["inputs"] == {"input": 1}


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class Object(dict):
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Text("é"), "é"),
        (Whole(3), 3),
        (Real(0.1), 0.1),
        (Object(a=1), {"a": 1}),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        ((1, (2,)), [1, [2]]),
        (enum.StrEnum("Kind", "ONE").ONE, "one"),
        (enum.IntEnum("Number", "ONE").ONE, 1),
        ({Text("k"): Text("v")}, {"k": "v"}),
        (2**63 - 1, 9223372036854775807),
        (-(2**63), -9223372036854775808),
        ("\U0001f600 \u0000", "😀 \0"),
    ],
    ids=short,
)
def test_python_values_count_as_the_json_they_become(value, plain):
    """A harness that holds subclasses or tuples gets the ids that a file of its results would get."""
    made = prepare(result(inputs={"v": value}))

    assert not made.problems
    assert made.fields == prepare(result(inputs={"v": plain})).fields


@pytest.mark.parametrize(
    "fields",
    [
        {
            "start_time": "2026-01-01T00:00:00.5Z",
            "end_time": "2026-01-01T02:00:00+01:00",
        },
        {"start_time": datetime(2026, 1, 1), "end_time": datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
        {"start_time": "2026-01-01", "end_time": "2026-01-01"},
        {"start_time": "1969-07-20T20:17:40Z"},
        {"start_time": None, "end_time": None, "error": None, "name": None, "feedback": None, "child_runs": None},
        {"outputs": None, "error": "timeout"},
        {"feedback": {}, "child_runs": [], "tags": [], "metadata": {}},
        {"feedback": {"ok": True, "tone": "good", "later": None, "share": 0.5}},
        {"feedback": [{"key": "k", "score": 1}, {"key": "k", "value": {"a": 1}, "comment": "x"}]},
        {"split": ["test", "hard"], "example_id": "63d2e490-85ef-4430-ad03-8db4de383784"},
        {"name": "n" * 128, "feedback": {"k" * 180: 1}},
        {"child_runs": [result(run_type="tool", feedback={"ok": 1})], "run_type": "chain"},
    ],
)
def test_sound_results_are_accepted(fields):
    """Nulls mean left out; times may be text or datetime, with or without an offset."""
    assert source_of([result(**fields)], False).count == 1


surrogates = st.characters(categories=["Cs"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | surrogates
    | st.binary(max_size=3)
    | st.decimals()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | surrogates | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)
texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not 2**63 <= abs(x) < 1e21)
    | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


@given(anything, anything)
def test_whatever_is_accepted_can_be_sent(value, score):
    """Nothing fails after the first request because of what a result holds."""
    given = result(metadata={"v": value}, feedback=[{"key": "k", "value": score}])

    made = prepare(given)

    if made.problems:
        assert all(problem.isprintable() for problem in made.problems)
        return
    sent = json.loads(json.dumps(given, allow_nan=False).encode())
    assert made.fields["metadata"].encode() == canonical(sent["metadata"]).encode()


@given(json_values)
def test_whatever_json_holds_is_accepted(value):
    """With texts as keys, 64 bits and 64 levels: no more is asked."""
    line = json.dumps({"inputs": {"v": value}, "outputs": {}, "feedback": [{"key": "k", "value": {"v": value}}]})

    assert source_of(file_of(line), False).count == 1


# ---------------------------------------------------------------- the overview


def test_overview_knows_the_earliest_start_and_the_longest_run():
    """Both decide when the experiment starts."""
    overview = source_of(
        [
            result(start_time="2026-01-02T00:00:00Z", end_time="2026-01-02T00:00:09Z"),
            result(),
            result(start_time="2026-01-01T00:00:00Z", end_time="2026-01-01T00:00:03Z"),
        ],
        False,
    )

    assert (overview.count, overview.earliest) == (3, datetime(2026, 1, 1, tzinfo=UTC))
    assert overview.longest == timedelta(seconds=9)


def test_hash_means_the_set_of_results():
    """It does not depend on their order or on feedback, which may come later, but on everything else."""
    one, two = result(), result(outputs={"a": 3})
    hashes = [
        source_of(results, False).hash for results in ([one, two], [two, one], [{**one, "feedback": {"a": 1}}, two])
    ]

    assert len(set(hashes)) == 1
    assert source_of([one, one], False).hash != hashes[0] != source_of([one], False).hash


def test_a_time_with_odd_characters_is_refused():
    """Python reads times with any character between date and hour."""
    for time in ("2026-08-21\ud80010:00:00", "2026-08-21\u260310:00:00"):
        assert "ISO 8601" in problems_of([result(start_time=time)])[0]
