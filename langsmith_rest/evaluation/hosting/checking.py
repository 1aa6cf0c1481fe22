"""What can be seen in an evaluator's source that would fail in LangSmith's sandbox, by line."""

import ast
import difflib
import sys
from collections.abc import Iterable, Iterator

from langsmith_rest.evaluation.hosting.statements import FUNCTION, IMPORT

# Packages of the hosted sandbox besides the standard library, by the name they are imported under.
PACKAGES = {
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "jsonschema": "jsonschema",
}
NETWORK = {
    *("socket", "socketserver", "ssl", "http.client", "http.server", "urllib.request", "urllib.robotparser"),
    *("asyncio.open_connection", "asyncio.start_server"),
    *("ftplib", "imaplib", "nntplib", "poplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser"),
    *("requests", "httpx", "aiohttp", "urllib3", "websockets", "openai", "anthropic", "boto3"),
}
CALLS = {"dataset": ("run", "example"), "project": ("run",)}  # what LangSmith calls an evaluator with
RETURNS = '{"score": number, "comment": text} or {"metric": number}'
IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
ATTRIBUTE_ERRORS = {"AttributeError", "Exception", "BaseException"}
Problem = tuple[int, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def find_function(tree: ast.Module, function: str, file: str) -> Function:
    """The function with this name; the last one if there are several, as at run time."""
    found = [node for node in tree.body if isinstance(node, FUNCTION) and node.name == function]
    if found:
        return found[-1]
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == function for target in targets):
            raise ValueError(f"{file}, line {targets[0].lineno}: '{function}' is assigned: define it with def.")
        if isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name == function:
            what = "a class" if isinstance(node, ast.ClassDef) else "inside of something else"
            raise ValueError(f"{file}, line {node.lineno}: '{function}' is {what}; it must be a function of the file.")
    known = [node.name for node in tree.body if isinstance(node, FUNCTION)]
    near = difflib.get_close_matches(function, known, 3, 0.5) or known[:3]
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "It defines no functions."
    raise ValueError(f"{file} has no function '{function}'. {hint}")


def check_signature(entry: Function, target: str) -> Iterator[Problem]:
    """It must take what LangSmith passes, under these names, and require nothing else."""
    expected = CALLS[target]
    arguments = entry.args
    by_place = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    required = by_place[: len(by_place) - len(arguments.defaults)]
    keywords = [a.arg for a, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is None]
    fits = tuple(by_place[: len(expected)]) == expected and len(required) <= len(expected) and not keywords
    if not fits:
        takes = ", ".join([*by_place, *(f"{name} (by name)" for name in keywords)])
        of = f"an evaluator of a {target} is called with ({', '.join(expected)})"
        yield entry.lineno, f"'{entry.name}' takes ({takes}), and {of}"


def check_entry(entry: Function, target: str) -> Iterator[Problem]:
    """Attributes of values that are dictionaries in the sandbox, and results that are not objects."""
    own = {name.id for name in ast.walk(entry) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    inner = (part.args for part in ast.walk(entry) if isinstance(part, (*FUNCTION, ast.Lambda)) and part is not entry)
    own |= {part.arg for arguments in inner for part in ast.walk(arguments) if isinstance(part, ast.arg)}
    given = set(CALLS[target]) - own - looked_at(entry)
    tried = {id(inner) for node in ast.walk(entry) for inner in caught(node, ATTRIBUTE_ERRORS)}
    for node in ast.walk(entry):
        if (
            isinstance(node, ast.Attribute)
            and id(node) not in tried
            and isinstance(node.value, ast.Name)
            and node.value.id in given
        ):
            name = node.value.id
            if not hasattr(dict, node.attr):
                yield (
                    node.lineno,
                    f'{name}.{node.attr}: {name} is a dictionary in LangSmith: write {name}["{node.attr}"]',
                )
    if entry.decorator_list:  # what comes out is the decorator's affair
        return
    for node in own_nodes(entry):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            yield node.lineno, f"'{entry.name}' is a generator: return {RETURNS}"
        value = node.value if isinstance(node, ast.Return) else None
        is_bare = isinstance(value, ast.Constant) and value.value is not None
        if value and (is_bare or isinstance(value, ast.Compare | ast.List | ast.Tuple)):
            yield value.lineno, f"'{entry.name}' returns something that is not an object: return {RETURNS}"
        if isinstance(value, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == "key" for k in value.keys):
            yield (
                value.lineno,
                "the score is named after the evaluator, so it cannot set 'key': leave 'key' out",
            )


def looked_at(entry: Function) -> set[str]:
    """Names whose type it checks, as in `isinstance(run, dict)`: it may accept dictionaries and objects."""
    asked = [
        node.args[0]
        for node in ast.walk(entry)
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name)
        if node.func.id in ("isinstance", "hasattr", "getattr", "type")
    ]
    return {name.id for name in asked if isinstance(name, ast.Name)}


def check_imports(statement: ast.stmt) -> Iterator[Problem]:
    """Packages that the sandbox lacks, and everything that needs a network."""
    yield from alternatives(statement)
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and dotted(node) in NETWORK:
            yield node.lineno, f"{dotted(node)} needs a network, and there is none"


def caught(node: ast.AST, errors: set[str]) -> Iterator[ast.AST]:
    """What is inside a `try` that continues after one of these errors."""
    if isinstance(node, ast.Try) and any(catches(handler, errors) for handler in node.handlers):
        yield from (inner for part in node.body for inner in ast.walk(part))


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, and not in the functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (*FUNCTION, ast.Lambda, ast.ClassDef)):
            yield node
            yield from own_nodes(node)


def alternatives(statement: ast.stmt) -> list[Problem]:
    """The imports of an `if` of the file are a problem only if every branch has one."""
    if not isinstance(statement, ast.If):
        return import_problems([statement])
    sides = [[p for part in side for p in alternatives(part)] for side in (statement.body, statement.orelse)]
    return sides[0] + sides[1] if all(sides) else []


def import_problems(nodes: Iterable[ast.AST], optional: bool = False) -> list[Problem]:
    """What is wrong with the imports in these nodes; a `try` that catches ImportError goes on without a package."""
    found: list[Problem] = []
    for node in nodes:
        if isinstance(node, IMPORT):
            found += check_import(node, optional)
        elif isinstance(node, ast.Try) and any(catches(handler, IMPORT_ERRORS) for handler in node.handlers):
            tried = [*node.body, *node.orelse]
            found += import_problems(tried, optional=True)
            if import_problems(tried) != import_problems(tried, optional=True):  # so a handler goes on
                found += import_problems(node.handlers, optional)
            found += import_problems(node.finalbody, optional)
        else:
            found += import_problems(ast.iter_child_nodes(node), optional)
    return found


def check_import(node: ast.Import | ast.ImportFrom, optional: bool) -> Iterator[Problem]:
    """`optional` imports may name missing packages, but not available ones that need a network."""
    if isinstance(node, ast.ImportFrom) and node.level:
        if not optional:
            words = "a relative import: the evaluator runs outside of its package, so copy the code into the file"
            yield node.lineno, words
        return
    for alias in node.names:
        module = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        package = module.partition(".")[0]
        is_library = package in sys.stdlib_module_names
        if optional and not is_library:
            continue
        parents = {module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)}
        if found := parents & NETWORK:
            # `import urllib.request` imports all of urllib; the attributes show whether that part is used.
            if isinstance(node, ast.ImportFrom) or alias.asname or "." not in min(found):
                yield node.lineno, f"{min(found)} needs a network, which evaluators do not have{instead(package)}"
        elif not is_library and package not in PACKAGES:
            there = f"the standard library, {', '.join(sorted(PACKAGES.values()))}"
            advice = instead(package) or ": do without it, or copy the code"
            yield node.lineno, f"the package '{package}' is not available ({there} are){advice}"


def instead(package: str) -> str:
    """What to do about the packages that model judges are written with."""
    is_judge = package in ("openai", "anthropic") or package.startswith("langchain")
    return ". A model judge is uploaded as a prompt and a schema: `evaluators upload-judge`" if is_judge else ""


def catches(handler: ast.ExceptHandler, errors: set[str]) -> bool:
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else errors
    return bool(names & errors)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""
