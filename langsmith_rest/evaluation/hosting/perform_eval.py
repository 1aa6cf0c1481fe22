"""Extracting an evaluator from a file as LangSmith runs it: one source with `perform_eval` and all that it needs.

The file is read and parsed, never imported or executed. What can be seen to fail in LangSmith's sandbox is reported by
line: names, packages, network, signature. `main.py evaluators test` finds what only a run shows.
"""

import ast
import builtins
import re
import warnings

from langsmith_rest.evaluation.hosting.annotations import without_annotations
from langsmith_rest.evaluation.hosting.checking import (
    CALLS,
    Function,
    Problem,
    check_entry,
    check_imports,
    check_signature,
    find_function,
)
from langsmith_rest.evaluation.hosting.statements import IMPORT, Top, read_statements, stored_names

ENTRY = "perform_eval"


def perform_eval(source: str, function: str, target: str, file: str = "the file") -> str:
    """The source that LangSmith runs for `function` of `source`, with the helpers, constants and imports it uses.

    `target` is `dataset` or `project`. Raises ValueError that lists, by line, all that would not work there.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of the compiler, which says them when the file is run
            plain = without_annotations(source)
            tree = ast.parse(plain)
            tops = read_statements(node for node in tree.body if not is_main(node))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"{file}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}") from None
    entry = find_function(tree, function, file)
    taken, problems = take_along(tops, entry)
    problems += [*check_signature(entry, target), *check_entry(entry, target)]
    problems += [problem for node in taken for problem in check_imports(node)]
    if problems:
        lines = [f"{file}, line {line}: {words}" for line, words in sorted(set(problems))]
        raise ValueError(f"'{function}' would not work in LangSmith; nothing was sent:\n  " + "\n  ".join(lines))
    code = assemble(plain, taken, entry, CALLS[target])
    if not binds_entry(code):
        words = f"put 'def {function}(' on one line, and its decorators on lines of their own"
        raise ValueError(f"{file}, line {entry.lineno}: '{function}' cannot be extracted as it is written: {words}.")
    return code


# ---------------------------------------------------------------- what the evaluator needs


def take_along(tops: list[Top], entry: Function) -> tuple[list[ast.stmt], list[Problem]]:
    """The entry and the statements it needs, in the file's order; of imports only what is needed."""
    wanted: dict[int, set[str]] = {}  # by position in the file
    problems: list[Problem] = []
    star = next((top.node.lineno for top in tops if is_star(top.node)), None)
    place_of_entry = next(place for place, top in enumerate(tops) if top.node is entry)
    for place, top in enumerate(tops):
        if place == place_of_entry or (place > place_of_entry and entry.name in top.changes):  # score.limit = 1
            wanted[place] = set()
    queue, seen = [tops[place] for place in wanted], {entry.name}
    while queue:
        for name, line in queue.pop().needs.items():
            if name in seen:
                continue
            seen.add(name)
            places = [n for n, top in enumerate(tops) if name in top.binds or name in top.changes]
            for place in places:
                if place not in wanted:
                    queue.append(tops[place])
                wanted.setdefault(place, set()).add(name)
            if not places and not hasattr(builtins, name):
                hidden = f", unless the * import of line {star} does: import it by name" if star else ""
                problems.append((line, f"'{name}' would not exist there: nothing in the file defines it{hidden}"))
            if name == ENTRY and places:
                problems.append((line, f"'{ENTRY}' is the name of the uploaded evaluator: rename this one"))
    for top in tops[place_of_entry + 1 :]:
        if entry.name in top.binds:
            again = f"'{entry.name}' is assigned again, but the function is uploaded as written: decorate it instead"
            problems.append((top.node.lineno, again))
    return [only(tops[place].node, names) for place, names in sorted(wanted.items())], problems


def only(node: ast.stmt, names: set[str]) -> ast.stmt:
    """Of an import, what brings these names; any other statement as it is."""
    if not isinstance(node, IMPORT):
        return node
    kept = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in names]
    narrowed = ast.Import(kept) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, kept, node.level)
    return ast.copy_location(narrowed, node)


def is_main(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, which is for running the file."""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def is_star(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


# ---------------------------------------------------------------- writing the source


# In its own thread, because the sandbox may call it from inside an event loop.
AWAITING = """\
def {entry}({given}):
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run({inner}({given}))).result()"""


def assemble(plain: str, taken: list[ast.stmt], entry: Function, arguments: tuple[str, ...]) -> str:
    """The statements as they are written in the file, the entry under its new name."""
    is_async = isinstance(entry, ast.AsyncFunctionDef)
    is_named = any(isinstance(name, ast.Name) and name.id == entry.name for node in taken for name in ast.walk(node))
    inner = entry.name if entry.name != ENTRY else f"{ENTRY}_async"
    parts = []
    for node in taken:
        text = ast.unparse(node) if isinstance(node, IMPORT) else written(plain, node)
        if node is entry and not is_async:
            lines = text.split("\n")
            place = entry.lineno - first_line(entry)
            lines[place] = re.sub(rf"^(def\s+){entry.name}\b", rf"\1{ENTRY}", lines[place])
            text = "\n".join(lines)
        parts.append(text)
        if node is entry and is_async and inner != entry.name:
            parts.append(f"{inner} = {ENTRY}")
        elif node is entry and is_named and not is_async and entry.name != ENTRY:
            parts.append(f"{entry.name} = {ENTRY}")
    if is_async:
        parts.append(AWAITING.format(entry=ENTRY, inner=inner, given=", ".join(arguments)))
    code = ""
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        tall = "\n" in part or "\n" in following
        code += part + ("\n\n\n" if tall and following else "\n")
    return code


def written(plain: str, node: ast.stmt) -> str:
    """The text of a statement, decorators included."""
    if not getattr(node, "decorator_list", []):
        return ast.get_source_segment(plain, node) or ""
    return "\n".join(plain.split("\n")[first_line(node) - 1 : node.end_lineno])


def first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return decorators[0].lineno if decorators else node.lineno


def binds_entry(code: str) -> bool:
    """Whether the assembled source is one, and has the function that is called there."""
    try:
        return ENTRY in stored_names(compile(code, "<evaluator>", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return False
