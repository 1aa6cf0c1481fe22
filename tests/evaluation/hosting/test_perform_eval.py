"""Taking an evaluator out of a file: what travels with it, and what is refused, by line."""

import ast
import asyncio
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import ROOT

from langsmith_rest.evaluation.hosting.annotations import without_annotations
from langsmith_rest.evaluation.hosting.perform_eval import perform_eval

RUN, EXAMPLE = {"outputs": {"a": "Lima"}}, {"outputs": {"a": "lima"}}


def taken(source, function="exact", target="dataset"):
    return perform_eval(textwrap.dedent(source), function, target, "evals.py")


def called(source, function="exact"):
    """What the source that would be uploaded returns, run apart from the file and under a name of no module."""
    names = {"__name__": "evaluator"}
    exec(compile(taken(source, function), "uploaded", "exec", dont_inherit=True), names)
    return names["perform_eval"](RUN, EXAMPLE)


def test_what_the_function_uses_travels_with_it_and_nothing_else():
    """Helpers of helpers, constants and imports come along, in the file's order; the rest of the file stays."""
    code = taken('''
        """A file with more in it."""
        import json, re
        import requests  # for something else
        from statistics import mean, median

        print("only where the file is run")
        WORD = re.compile(r"[a-z]+")  # in lower case
        LIMIT = OTHER = 3
        UNUSED = 4

        def words(text):
            # a comment that stays
            return WORD.findall(fold(text))

        def exact(run, example):
            return {"score": int(words(run["outputs"]["a"]) == words(example["outputs"]["a"])), "comment": str(LIMIT)}

        def fold(text):
            return text.casefold()

        def other(run, example):
            return {"score": mean([1])}
    ''')

    assert code == textwrap.dedent("""\
        import re
        WORD = re.compile(r"[a-z]+")
        LIMIT = OTHER = 3


        def words(text):
            # a comment that stays
            return WORD.findall(fold(text))


        def perform_eval(run, example):
            return {"score": int(words(run["outputs"]["a"]) == words(example["outputs"]["a"])), "comment": str(LIMIT)}


        def fold(text):
            return text.casefold()
    """)


@pytest.mark.parametrize(
    "source",
    [
        """
        async def same(a, b):
            return a.lower() == b
        async def exact(run, example):
            return {"score": int(await same(run["outputs"]["a"], example["outputs"]["a"]))}
        """,
        """
        import functools
        def scored(of):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(run, example):
                    return {"score": of(function(run, example))}
                return wrapper
            return decorate
        @scored(of=int)
        def exact(run, example):
            return run["outputs"]["a"].lower() == example["outputs"]["a"]
        """,
        """
        from typing import Any, Optional
        from langsmith.schemas import Example, Run
        Scores = dict[str, int]
        LIMIT: "Final[int]" = 1
        later: int
        def exact(run: Run, example: Optional[Example] = None, *, deep: Any = None) -> Scores:
            limit: int = LIMIT
            return {"score": limit}
        """,
        """
        def exact(run, example):
            def lower(outputs):
                def inner():
                    return outputs["a"].lower()
                return inner()
            class Pair:
                size = 2
                def same(self):
                    return lower(run["outputs"]) == lower(example["outputs"])
            return {"score": int([Pair().same() for _ in range(Pair.size)][0])}
        """,
        """
        from __future__ import annotations
        import typing
        from dataclasses import InitVar, dataclass, field, fields
        @dataclass
        class Node:
            value: int
            next: Node | None = None
            rest: list[
                Missing
            ] = field(default_factory=list)
            SIZE: typing.ClassVar[Missing] = 3
            named: "InitVar[Missing]" = 1
        def exact(run, example):
            return {"score": Node(1, Node(2)).value + len(Node(1).rest) + len(fields(Node)) - Node.SIZE}
        """,
        """
        WEIGHTS = {}
        WEIGHTS["exact"] = 1
        WORDS = set()
        WORDS.update(["lima"])
        for word in list(WORDS):
            WORDS.add(word * 2)
        if len(WORDS) > 1:
            FACTOR = 1
        else:
            FACTOR = 7
        if __name__ == "__main__":
            WORDS.add(never_there)
        def exact(run, example):
            return {"score": WEIGHTS["exact"] * (len(WORDS) - 1) * FACTOR}
        """,
        """
        def exact(run, example, depth=0):
            return {"score": 1} if depth else exact(run, example, 1)
        """,
        """
        def depth_of(run, example):
            return TABLE["exact"](run, example, 1)["score"]
        def exact(run, example, depth=0):
            return {"score": depth or depth_of(run, example)}
        TABLE = {"exact": exact}
        """,
        """
        async def perform(run, example): return 1
        async def exact(run, example, depth=0):
            
            lengths = [run for run in (1, 2)], (lambda example: example.real)(1)
            return {"score": await perform(run, example)}
        """,
        """
        calls = 0
        def count():
            global calls
            calls += 1
        def exact(run, example):
            count()
            return {"score": calls}
        """,
        """
        def exact(run, example):
            return {"score": 0}
        def exact(run, example):
            return {"score": 1}
        """,
        """
        try:
            import orjson as json
        except ImportError:
            import json
        def exact(run, example):
            return {"score": json.loads("1")}
        """,
        """
        try:
            import tomllib
        except ModuleNotFoundError:
            import tomli as tomllib
        try:
            import requests
        except ImportError:
            requests = None
        def exact(run, example):
            return {"score": tomllib.loads("a = 1")["a"] * len([requests])}
        """,
        """
        import sys
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        def exact(run, example):
            return {"score": tomllib.loads("a = 1")["a"]}
        """,
        """
        import urllib.parse
        import urllib.request
        def fetch(url):
            return urllib.request.urlopen(url)
        def exact(run, example):
            return {"score": len(urllib.parse.quote("a"))}
        """,
        """
        import re
        class Pattern:
            re = re.compile("a+")
            size = len("a")
            both = size * 2
        def exact(run, example):
            return {"score": len(Pattern.re.match("a")[0]) * Pattern.both // 2}
        """,
        """
        import functools
        @functools.singledispatch
        def size(value): return 0
        @size.register
        def _(value: str): return 1
        def exact(run, example):
            return {"score": size("a")}
        """,
        """
        def told(text):
            return lambda function: function
        @told('''
        def exact(run, example):
        ''')
        def exact(run, example: (int)) -> (
            dict  # c: d
        ):
            length: (int) = 1
            return {"score": length}
        """,
        """
        import os.path, collections.abc as abc
        def exact(run, example):
            return {"score": len(os.path.basename("a/b")) * isinstance(abc, object)}
        """,
        """
        A = 0; B = 1; C = 2
        def exact(run, example):
            return {"score": B}
        """,
        '''
        def exact(run, example):
            """ü, 漢字 -> (x: int)"""
            wort: str = "ä"; return {"score": len(wort)}
        ''',
    ],
    ids=[
        *(
            "async",
            "decorated",
            "hints",
            "nested",
            "dataclass",
            "changed-in-place",
            "recursive",
            "table",
            "shadowed",
            "global",
            "twice",
        ),
        *(
            "optional-import",
            "fallback-import",
            "version-import",
            "unused-network",
            "class-names",
            "dispatch",
            "brackets",
        ),
        *("dotted-import", "one-line", "not-ascii"),
    ],
)
def test_any_honest_way_to_write_a_function_works(source):
    """The source alone, run apart from its file, scores as the file would."""
    assert called(source) == {"score": 1}


DEF = "def exact(run, example):"


@pytest.mark.parametrize(
    "lines",
    [
        ["CHECKS = []", "def check(f):", "    CHECKS.append(f)", "    return f", "@check", "def one(): return 1"],
        ["CHECKS = []", "check = CHECKS.append", "@check", "def one(): return 1"],
        ["CHECKS = []", "class Check:", "    def __init_subclass__(cls): CHECKS.append(cls)", "class One(Check): pass"],
        ["CHECKS = [1, 2]", "del CHECKS[0]"],
        ["CHECKS = [1, 2]", "FIRST = CHECKS.pop(0)"],
        ["CHECKS = [1, 2]", "def drop(): CHECKS.pop()", "def go(): drop()", "go()"],
        ["CHECKS = [1, 2]", "def drop(values): values.pop()", "drop(CHECKS)"],
        ["CHECKS = {}", "CHECKS['a'], (CHECKS['a'], other) = 1, (2, 3)"],
        ["CHECKS = {}", "for CHECKS['a'] in (1, 2): pass"],
        ["CHECKS = None", "def fill():", "    global CHECKS", "    CHECKS = [1]", "fill()"],
        ["(CHECKS): list = [1]"],
    ],
    ids=[
        *("decorator", "alias", "subclass", "delete", "pop", "calls", "passed", "unpacked", "loop", "global"),
        "brackets",
    ],
)
def test_whatever_fills_a_value_travels_with_it(lines):
    assert called("\n".join([*lines, DEF, "    return {'score': len(CHECKS)}"])) == {"score": 1}


def test_what_is_set_on_the_function_itself_travels():
    before = "def exact(): pass\nexact.limit = 7\n"  # of another function

    assert called(f"{before}{DEF}\n    return {{'score': exact.limit}}\nexact.limit = 1") == {"score": 1}


@pytest.mark.parametrize(
    "statement",
    ["show(LIMIT)", "print(WORDS)", "RESULT = WORDS", "WORD = requests.get(LIMIT.upper())", "main(exact)"],
)
def test_what_only_uses_a_value_stays(statement):
    code = taken(f"WORDS = ['a']\nLIMIT = 'x'\n{statement}\n{DEF}\n    return {{'score': len(WORDS + [LIMIT])}}")

    assert statement not in code


@pytest.mark.parametrize(
    "line",
    [
        'outputs = run["outputs"] if isinstance(run, dict) else run.outputs',
        'outputs = run.outputs if hasattr(run, "outputs") else run["outputs"]',
        'outputs = getattr(run, "outputs", None) and run.outputs or run["outputs"]',
        'try: outputs = run.outputs\n    except AttributeError: outputs = run["outputs"]',
    ],
    ids=["isinstance", "hasattr", "getattr", "try"],
)
def test_a_function_may_take_objects_as_well_as_dictionaries(line):
    assert called(f"{DEF}\n    {line}\n    return {{'score': len(outputs)}}") == {"score": 1}


def test_an_evaluator_of_a_project_may_call_something_else_example():
    source = "import types\nexample = types.SimpleNamespace(limit=1)\ndef exact(run):\n    return {'a': example.limit}"

    assert "example.limit" in taken(source, target="project")


TWO_METRICS = "    return {'a': 1, 'b': 2}"


def test_an_async_function_works_within_an_event_loop():
    """Nobody says whether the sandbox has one running."""
    names = {}
    exec(taken("async def exact(run, example):\n    return {'score': 1}"), names)

    async def in_a_loop():
        return names["perform_eval"](RUN, EXAMPLE)

    with ThreadPoolExecutor(1) as pool:  # other tests leave a loop running in this thread
        assert pool.submit(lambda: asyncio.run(in_a_loop())).result() == {"score": 1}


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["x = 1", DEF, "    return {'a': y}"], 3, "'y' would not exist there"),
        ([DEF, "    return {'a': __file__}"], 2, "'__file__' would not exist there"),
        ([DEF, "    def f():", "        return z", "    return {'a': f()}"], 3, "'z' would not exist there"),
        (["def low(a):", "    return b", DEF, "    return {'a': low(1)}"], 2, "'b' would not exist there"),
        (["@traced", DEF, TWO_METRICS], 1, "'traced' would not exist there"),
        (["from os import *", DEF, "    return {'a': getcwd()}"], 3, "* import of line 1"),
        (["import polars", DEF, "    return {'a': polars}"], 1, "the package 'polars' is not available"),
        ([DEF, "    import tiktoken.x", TWO_METRICS], 2, "the package 'tiktoken' is not available"),
        (["from .a import b", DEF, "    return {'a': b}"], 1, "a relative import"),
        (["import requests", DEF, "    return {'a': requests}"], 1, "requests needs a network"),
        (["from openai import O", DEF, "    return {'a': O}"], 1, "openai needs a network"),
        (["from urllib import request", DEF, "    return {'a': request}"], 1, "urllib.request needs a network"),
        (["import http.client as h", DEF, "    return {'a': h}"], 1, "http.client needs a network"),
        (["import urllib.request", DEF, "    return {'a': urllib.request.x}"], 3, "urllib.request needs a network"),
        (["import urllib", DEF, "    return {'a': urllib.request.x}"], 3, "urllib.request needs a network"),
        ([DEF, "    try:", "        import ftplib", "    except ImportError: pass"], 3, "ftplib needs a network"),
        (
            ["try: import ujson as j", "except ImportError: import orjson as j", DEF, "    j"],
            2,
            "'orjson' is not available",
        ),
        (["if 1 > 0: import ujson as j", "else: import orjson as j", DEF, "    j"], 2, "'orjson' is not available"),
        (["if x: import ujson as j", "else: import json as j", DEF, "    j"], 1, "'x' would not exist there"),
        (["class A: json = json.loads('1')", DEF, "    return {'a': A.json}"], 1, "'json' would not exist there"),
        (["def exact(inputs, outputs):", TWO_METRICS], 1, "takes (inputs, outputs), and an evaluator of a dataset is"),
        (["def exact(run):", TWO_METRICS], 1, "takes (run), and"),
        (["def exact(run, example, key):", TWO_METRICS], 1, "takes (run, example, key), and"),
        (["def exact(run, example, *, key):", TWO_METRICS], 1, "takes (run, example, key (by name)), and"),
        (["def exact(*, run, example):", TWO_METRICS], 1, "takes (run (by name), example (by name)), and"),
        ([DEF, "    return {'a': run.outputs}"], 2, 'write run["outputs"]'),
        ([DEF, "    return run['outputs'] == example['outputs']"], 2, "returns something that is not an object"),
        ([DEF, "    return 1.0"], 2, "returns something that is not an object"),
        ([DEF, "    return {'key': 'k', 'score': 1}"], 2, "it cannot set 'key': leave 'key' out"),
        ([DEF, "    yield {'score': 1}"], 2, "is a generator"),
        ([DEF, TWO_METRICS, "exact = wrapped(exact)"], 3, "'exact' is assigned again"),
        (["def perform_eval(a): return a", DEF, "    return {'a': perform_eval(1)}"], 3, "'perform_eval' is the name"),
    ],
)
def test_what_would_fail_there_is_refused_by_line(lines, line, words):
    with pytest.raises(ValueError) as refused:
        perform_eval("\n".join(lines), "exact", "dataset", "evals.py")

    (found,) = [text for text in str(refused.value).splitlines() if words in text]
    assert found.startswith(f"  evals.py, line {line}: ")
    assert "nothing was sent" in str(refused.value)


def test_every_problem_is_named_at_once():
    with pytest.raises(ValueError) as refused:
        taken("import requests\ndef exact(a):\n    return {'score': b, 'x': requests.get(c)}")

    assert len(str(refused.value).splitlines()) == 5  # what it is about, the import, the signature, two names


def test_an_annotation_over_several_lines_shifts_no_line_number():
    lines = ["def exact(", "    run: dict[", "        str, int],", "    example: int) -> dict[", "    str, int]:"]
    with pytest.raises(ValueError, match="line 6: 'missing'"):
        taken("\n".join([*lines, "    return {'a': missing}"]))


@pytest.mark.parametrize("arguments", ["run", "run, example=None", "run, /", "run, *rest", "run, **rest"])
def test_an_evaluator_of_a_project_takes_the_run(arguments):
    assert "def perform_eval(run" in taken(f"def exact({arguments}):\n    return {{'score': 1}}", target="project")


def test_an_evaluator_of_a_project_gets_no_example():
    with pytest.raises(
        ValueError, match=r"takes \(run, example\), and an evaluator of a project is called with \(run\)"
    ):
        taken("def exact(run, example):\n    return {'score': 1}", target="project")


@pytest.mark.parametrize(
    ("source", "function", "words"),
    [
        ("def exact_match(run, example): pass\ndef helper(): pass", "exact_mach", "Did you mean 'exact_match'?"),
        ("exact = lambda run, example: 1", "exact", "line 1: 'exact' is assigned"),
        ("class exact: pass", "exact", "line 1: 'exact' is a class"),
        ("class A:\n    def exact(self): pass", "exact", "line 2: 'exact' is inside of something else"),
        ("x = 1", "exact", "It defines no functions"),
        ("def exact(run:", "exact", "line 1: '(' was never closed"),
        ("return 1", "exact", "line 1: 'return' outside function"),
        ("def \\\n exact(run, example): return {}", "exact", "put 'def exact(' on one line"),
        ("@(\nstaticmethod\n)\ndef exact(run, example): return {}", "exact", "its decorators on lines of their own"),
    ],
)
def test_a_function_that_cannot_be_taken_is_told_with_near_names(source, function, words):
    with pytest.raises(ValueError) as refused:
        perform_eval(source, function, "dataset", "evals.py")

    assert words in str(refused.value)


@pytest.mark.slow
def test_source_without_annotations_keeps_its_meaning():
    """Over every fourth of this project's own modules: every call is still there, on its line."""
    for file in sorted([*ROOT.glob("langsmith_rest/**/*.py"), *ROOT.glob("localsmith/**/*.py")])[::4]:
        source = file.read_text(encoding="utf-8")
        stripped = without_annotations(source)

        assert landmarks(stripped) == landmarks(source), file
        assert not any(isinstance(node, ast.arg) and node.annotation for node in ast.walk(ast.parse(stripped)))


def landmarks(source):
    """The calls of a source with their lines, those in annotations aside (there are none here)."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted((call.lineno, ast.unparse(call.func)) for call in calls)


CHANGES = {
    "setattr": ("class C:\n    a = 1\nsetattr(C, 'a', 8)", "C.a"),
    "an alias": ("D = {}\nE = D\nE['a'] = 8", "D['a']"),
    "a list in an object": ("B = {'a': []}\nB['a'].append(1)", "len(B['a'])"),
    "what an object holds": ("A = []\nB = {'a': A}\nB['a'].append(1)", "len(A)"),
    "a call whose result is kept": (
        "L = []\ndef grow(x):\n    x.append(1)\n    return x\nOK = grow(L)",
        "len(L)",
    ),
    "next": ("IT = iter([1, 2])\nSKIP = next(IT)", "next(IT)"),
}


@pytest.mark.parametrize(("statements", "value"), CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_a_value_travels_with_it(statements, value):
    """However it is changed: what is uploaded behaves as the file does."""
    source = f"{statements}\ndef exact(run, example):\n    return {{'score': {value}}}\n"
    names = {}
    exec(source, names)

    assert called(source) == names["exact"](RUN, EXAMPLE)


def test_a_signature_that_goes_on_in_the_next_line_is_taken():
    """With a backslash before the annotation of what it returns."""
    source = 'def exact(run, example) \\\n        -> dict:\n    return {"score": 1}\n'

    assert called(source) == {"score": 1}
