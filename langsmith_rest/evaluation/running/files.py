"""Functions from files and modules: targets, and evaluators by name, by list, or all of a file."""

import ast
import contextlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from langsmith_rest.evaluation.api import offer
from langsmith_rest.evaluation.evaluators import choosing
from langsmith_rest.evaluation.evaluators.calling import reason_of
from langsmith_rest.evaluation.evaluators.signatures import RUN
from langsmith_rest.wording import Say


def load_function(reference: str) -> Callable[..., Any]:
    """The function that `my_agent.py:run` names."""
    path, _, name = reference.rpartition(":")
    if not path:
        raise ValueError(f"{reference} names no function: write {reference}:FUNCTION.")
    return function_of(load_module(path), path, name)


def function_of(module: ModuleType, path: str, name: str) -> Callable[..., Any]:
    function: Any = getattr(module, name, None)
    if not callable(function) and not callable(getattr(function, "invoke", getattr(function, "ainvoke", None))):
        raise ValueError(f"{path} has no function '{name}'{offer(name, list(functions_of(module)))}")
    if getattr(function, "__name__", "") == "<lambda>":
        function.__name__ = name
    return function


REFERENCE = re.compile(r"(?P<path>.+?\.py|[\w.]+)(?::(?P<chosen>.*))?", re.DOTALL)


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load_evaluators(
    reference: str, listed: str = "evaluators", known: tuple[str, ...] = RUN, say: Say = to_stderr
) -> list[Callable[..., Any]]:
    """The functions of `evals.py:name,name`; of `evals.py`, its list `evaluators`, else all functions that look like
    evaluators.

    Those take what is in `known`; `say` is told which they are, and what is left out. A module (`langsmith_rest`) may
    stand in place of a file, and a call that makes an evaluator (`mentions("Lima")`) in place of a name.
    """
    parts = REFERENCE.fullmatch(reference)
    if not parts:
        raise ValueError(f"{reference!r}: expected FILE.py, FILE.py:NAME,... or MODULE:NAME,...")
    path, chosen = parts["path"], parts["chosen"]
    module = load_module(path) if path.endswith(".py") else import_module(path)
    if chosen:
        return [evaluator_of(module, path, chosen, part) for part in parts_of(chosen)]
    found = choosing.listed_in(module, listed)
    if found is None and listed == "evaluators":
        taken, left_out = choosing.choose(module, path, known)
        say(choosing.said(path, taken, left_out))
        found = [function_of(module, path, name) for name in taken]
    if not found:
        raise ValueError(
            f"{reference} has no evaluators: name them ({reference}:NAME), or list them as {listed} = [...]."
        )
    return list(found)


def parts_of(chosen: str) -> list[ast.expr]:
    """The parts of `name,name(...)`."""
    with contextlib.suppress(SyntaxError, ValueError):
        tree = ast.parse(f"[{chosen}]", mode="eval").body
        if isinstance(tree, ast.List):
            return tree.elts
    raise ValueError(f"{chosen!r}: expected NAME,... or NAME(...) with plain texts and numbers.")


def evaluator_of(module: ModuleType, path: str, chosen: str, part: ast.expr) -> Callable[..., Any]:
    """The function that a name means, or that a call with plain values makes."""
    if isinstance(part, ast.Name):
        return function_of(module, path, part.id)
    if not isinstance(part, ast.Call) or not isinstance(part.func, ast.Name):
        raise ValueError(f"{chosen!r}: expected NAME,... or NAME(...) with plain texts and numbers.")
    make = function_of(module, path, part.func.id)
    places = [plain_value(value, part) for value in part.args]
    named = {str(one.arg): plain_value(one.value, part) for one in part.keywords}
    try:
        made = make(*places, **named)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{ast.unparse(part)}: {reason_of(error)}") from error
    if not callable(made):
        raise ValueError(f"{ast.unparse(part)} makes no evaluator: name the function alone, {part.func.id}.")
    return made


def plain_value(given: ast.expr, call: ast.Call) -> Any:
    try:
        return ast.literal_eval(given)
    except ValueError:
        reason = f"{ast.unparse(given)} is neither a number nor a text in quotes"
        raise ValueError(f"{ast.unparse(call)}: {reason}.") from None


def functions_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    if module.__name__ == "langsmith_rest":  # hands its names on
        return {name: value for name in module.__all__ if inspect.isfunction(value := getattr(module, name))}
    found = {name: value for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__}


def import_module(name: str) -> ModuleType:
    """Import a module that is installed, or in the current folder."""
    if "" not in sys.path:
        sys.path.append("")
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        hint = f"; a file is written {name}.py" if getattr(error, "name", None) == name else missing_package(error)
        raise ValueError(f"{name} cannot be imported: {reason_of(error)}{hint}.") from error


class AsItIs(SourceFileLoader):
    """Loads a file as it is now. Cached bytecode also counts for an edit of the same size within the same second."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("no cache")


def load_module(path: str) -> ModuleType:
    """Import a file under its own name, with its folder importable, so that other processes find it too."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"{path}: there is no such file.")
    known = sys.modules.get(file.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(file):
            return known
        raise ValueError(f"{path} has the name of a module that is in use: rename the file.")
    if file.suffix != ".py":
        raise ValueError(f"{path} is not a Python file.")
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file, loader=AsItIs(file.stem, str(file)))
    assert spec and spec.loader
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() at the top of a file ends nothing
        del sys.modules[file.stem]
        raise ValueError(f"{path} cannot be imported: {reason_of(error)}{missing_package(error)}") from error
    return module


def missing_package(error: BaseException) -> str:
    """What to do when a file imports a package that is not installed."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0].replace("_", "-")
    return f". Install it, or begin the command with: uv run --with {package}"
