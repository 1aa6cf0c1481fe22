"""Which functions of a file are evaluators of the wanted kind, and why the others are not."""

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, get_origin

from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, SUMMARY, bind, meant_by, signature_of

AnyFunction = Callable[..., Any]

OF_KIND = {RUN: "of single answers", PAIRWISE: "of pairs", SUMMARY: "of whole experiments"}
A_LIST = re.compile(r"[\w.]*\b(list|tuple|sequence|iterable)\b", re.IGNORECASE)
MANY_ANSWERS = {"outputs", "inputs", "reference_outputs"}  # lists in a summary evaluator; zip takes no two dictionaries


def choose(
    module: ModuleType, path: str, known: tuple[str, ...]
) -> tuple[dict[str, AnyFunction], dict[str, list[str]]]:
    """The evaluators of a file by name, and other candidates, by the reason why they are left out.

    Evaluators are functions written there, or assigned to a public name there, whose parameters an evaluator of that
    kind can be given, including the answer. Raises ValueError for a function whose parameters nearly fit.
    """
    own, for_summary = own_names(module), listed_in(module, "summary_evaluators") or []
    taken: dict[str, AnyFunction] = {}
    left_out: dict[str, list[str]] = {}
    seen: list[Any] = []
    for name, value in vars(module).items():
        is_type = inspect.isclass(value) or get_origin(value) is not None  # a class, or an alias as list[str]
        if not callable(value) or is_type or any(value is one for one in seen):
            continue
        seen.append(value)
        is_public = name in own and name[0] != "_"
        is_written = is_public and inspect.isfunction(value) and value.__module__ == module.__name__
        kind = SUMMARY if any(value is one for one in for_summary) else kind_of(value)
        problem = unfit(value, kind)
        if problem and not is_written:
            continue
        if problem and kind is known and is_near_miss(value, known) and not is_used(name, module):
            raise ValueError(
                f"{path}: {problem} If it is a helper, rename it to _{name}, or list yours: evaluators = [...]."
            )
        if not is_public:
            left_out.setdefault("imported" if name not in own else "private", []).append(name)
        elif problem or kind is not known:
            left_out.setdefault("no evaluator" if problem else OF_KIND[kind], []).append(name)
        else:
            taken[name] = value
    return taken, left_out


def said(path: str, taken: dict[str, AnyFunction], left_out: dict[str, list[str]]) -> str:
    """What is used and what is left out, in one line."""
    others = ", ".join(f"{', '.join(names)} ({reason})" for reason, names in left_out.items())
    return f"{path}: evaluators are {', '.join(taken) or 'none'}{others and f'; left out are {others}'}."


def listed_in(module: ModuleType, name: str) -> list[AnyFunction] | None:
    """The list with this name, if the file itself assigns it: `from ... import *` may bring another file's."""
    found = getattr(module, name, None)
    return list(found) if isinstance(found, list | tuple) and name in own_names(module) else None


def own_names(module: ModuleType) -> set[str]:
    """The names that a file defines or assigns, not those it imports."""
    with contextlib.suppress(OSError, TypeError):  # of what has no source, nothing
        nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
        defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        return defined | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return set()


def unfit(function: AnyFunction, known: tuple[str, ...]) -> str | None:
    """Why a function is not an evaluator: it needs other parameters, or no answer; None if it is one."""
    try:
        bound = bind(function, known)
    except ValueError as error:
        return str(error)
    fits = not bound.by_place and bound.wants("outputs", "run", "runs", "examples")
    return None if fits else f"'{bound.key}' does not look at the answer: add the parameter outputs."


def required(function: AnyFunction) -> list[str]:
    parameters = signature_of(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def is_near_miss(function: AnyFunction, known: tuple[str, ...]) -> bool:
    """Whether every parameter stands for something that evaluators are given, but one has another name."""
    names = required(function)
    return any(name not in known for name in names) and all(meant_by(name, known) for name in names)


def is_used(name: str, module: ModuleType) -> bool:
    """Whether another function of the file calls it, as with helpers."""
    functions = [value for other, value in vars(module).items() if inspect.isfunction(value) and other != name]
    return any(name in names_in(value.__code__) for value in functions if value.__module__ == module.__name__)


def names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names_in(inner)


def kind_of(function: AnyFunction) -> tuple[str, ...]:
    """Which kind of evaluator a function seems to be, from its parameters, annotations and code."""
    try:
        parameters = signature_of(function).parameters
    except ValueError:
        return RUN
    lists = {name for name, one in parameters.items() if A_LIST.match(annotation_of(one)) and name in MANY_ANSWERS}
    nodes = nodes_of(function)
    if "examples" in parameters or lists - {"outputs"} or any(map(zips_answers, nodes)):
        return SUMMARY
    return PAIRWISE if "runs" in parameters or lists or any(map(has_scores, nodes)) else RUN


def annotation_of(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def nodes_of(function: AnyFunction) -> list[ast.AST]:
    """The parts of a function's code, as far as it can be read."""
    with contextlib.suppress(OSError, TypeError, SyntaxError):
        return list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    return []


def zips_answers(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in ("zip", "map"):
        return False
    return len([one for one in node.args if isinstance(one, ast.Name) and one.id in MANY_ANSWERS]) > 1


def has_scores(node: ast.AST) -> bool:
    """Whether this is `{"scores": ...}`, which only pairwise evaluators return."""
    keys = node.keys if isinstance(node, ast.Dict) else []
    return any(isinstance(key, ast.Constant) and key.value == "scores" for key in keys)
