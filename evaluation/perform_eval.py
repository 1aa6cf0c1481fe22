"""Taking an evaluator out of a file as LangSmith runs it: one source with `perform_eval` and all that it needs.

The file is read and parsed, never imported or executed: bytecode tells which global names a statement needs, without
running any of it. Everything that would fail in LangSmith's sandbox is found here, by line.
"""

import ast
import builtins
import difflib
import dis
import re
import sys
import warnings
from collections.abc import Iterator
from types import CodeType

# What the hosted sandbox has besides the standard library, by what is imported.
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
GLOBALS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
ENTRY = "perform_eval"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORT = (ast.Import, ast.ImportFrom)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Needs = dict[str, int]  # global names, and the first line that needs each
Problem = tuple[int, str]


def perform_eval(source: str, function: str, target: str, file: str = "the file") -> str:
    """The source that LangSmith runs for `function` of `source`, with the helpers, constants and imports it uses.

    `target` is `dataset` or `project`. Raises ValueError that lists, by line, all that would not work there.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of the compiler, which says them when the file is run
            # Annotations go first: they do nothing at run time, and often need packages that are not there.
            plain = without_annotations(source)
            tree = ast.parse(plain)
            tops = [Top(node) for node in tree.body if not is_main(node)]
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"{file}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}") from None
    entry = find_function(tree, function, file)
    taken, problems = take_along(tops, entry)
    problems += [*check_signature(entry, target), *check_entry(entry)]
    problems += [problem for node in taken for problem in check_imports(node)]
    if problems:
        lines = [f"{file}, line {line}: {words}" for line, words in sorted(set(problems))]
        raise ValueError(f"'{function}' would not work in LangSmith, nothing was sent:\n  " + "\n  ".join(lines))
    return assemble(plain, taken, entry, CALLS[target])


# ---------------------------------------------------------------- statements and the names they need


class Top:
    """A statement of the file: the names it binds, those whose values it changes, and the global names it needs."""

    def __init__(self, node: ast.stmt) -> None:
        self.node = node
        code = compile(ast.Module([node], []), "<evaluator>", "exec", dont_inherit=True, optimize=0)
        self.binds = set(stored_names(code))
        self.changes = changed_names(node)
        self.needs: Needs = {}
        for name, line in loaded_names(code):
            self.needs.setdefault(name, line)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def stored_names(code: CodeType) -> Iterator[str]:
    """The module's names that running this statement, or calling what it defines, gives a value."""
    for part in codes(code):
        for step in dis.get_instructions(part):
            if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_NAME" and part is code):
                yield step.argval


def loaded_names(code: CodeType) -> Iterator[tuple[str, int]]:
    for part in codes(code):
        own = {step.argval for step in dis.get_instructions(part) if step.opname == "STORE_NAME"}
        for step in dis.get_instructions(part):
            # A name that a class body sets itself is most likely its own.
            if step.opname in GLOBALS and step.argval not in own:
                yield step.argval, (step.positions.lineno if step.positions else None) or part.co_firstlineno


def changed_names(node: ast.stmt) -> set[str]:
    """Names whose values a statement changes in place: `WORDS.update(...)`, `LIMITS["a"] = 1`."""
    found = set()
    for part in [] if isinstance(node, (*FUNCTION, ast.ClassDef)) else [node, *own_nodes(node)]:
        targets: list[ast.expr] = []
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            targets = [part.value.func]
        elif isinstance(part, ast.Assign):
            targets = part.targets
        elif isinstance(part, ast.AugAssign):
            targets = [part.target]
        found |= {name.id for target in targets if (name := base(target)) and name is not target}
    return found


def base(target: ast.expr) -> ast.Name | None:
    """The name at the beginning of `name.attribute[index]`."""
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target if isinstance(target, ast.Name) else None


def take_along(tops: list[Top], entry: Function) -> tuple[list[ast.stmt], list[Problem]]:
    """The statements that the entry needs, and itself, in the file's order; of imports only what is needed."""
    wanted: dict[int, set[str]] = {}  # by place in the file
    problems: list[Problem] = []
    star = next((top.node.lineno for top in tops if is_star(top.node)), None)
    modules = {name for top in tops if isinstance(top.node, IMPORT) for name in top.binds}
    place_of_entry = next(place for place, top in enumerate(tops) if top.node is entry)
    wanted[place_of_entry] = set()
    queue, seen = [tops[place_of_entry]], {entry.name}
    while queue:
        for name, line in queue.pop().needs.items():
            if name in seen:
                continue
            seen.add(name)
            # What changes a module (`random.seed(1)`) is no definition of its name.
            places = [n for n, top in enumerate(tops) if name in top.binds or name in top.changes - modules]
            for place in places:
                if place not in wanted:
                    queue.append(tops[place])
                wanted.setdefault(place, set()).add(name)
            if not places and not hasattr(builtins, name):
                hidden = f", unless the * import of line {star} does: import it by name" if star else ""
                problems.append((line, f"'{name}' would not exist there: nothing in the file defines it{hidden}"))
            if name == ENTRY and places:
                problems.append((line, f"'{ENTRY}' is the name that the evaluator gets: call this one otherwise"))
    for top in tops[place_of_entry + 1 :]:
        if entry.name in top.binds:
            again = f"'{entry.name}' is assigned again, but the function goes as it is written: decorate it instead"
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


# ---------------------------------------------------------------- what is refused


def find_function(tree: ast.Module, function: str, file: str) -> Function:
    """The function of that name; the last one, as at run time, when there are several."""
    found = [node for node in tree.body if isinstance(node, FUNCTION) and node.name == function]
    if found:
        return found[-1]
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == function for target in targets):
            raise ValueError(
                f"{file}, line {targets[0].lineno}: '{function}' is assigned; write it as a function, def."
            )
        if isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name == function:
            what = "a class" if isinstance(node, ast.ClassDef) else "inside of something else"
            raise ValueError(f"{file}, line {node.lineno}: '{function}' is {what}; it must be a function of the file.")
    known = [node.name for node in tree.body if isinstance(node, FUNCTION)]
    near = difflib.get_close_matches(function, known, 3, 0.5) or known[:3]
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "There is none in it."
    raise ValueError(f"{file} has no function '{function}'. {hint}")


def check_signature(entry: Function, target: str) -> Iterator[Problem]:
    """It must take what LangSmith passes, under these names, and need nothing else."""
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


def check_entry(entry: Function) -> Iterator[Problem]:
    """Attributes of what are dictionaries there, and results that are no object, as far as they can be seen."""
    own = {name.id for name in ast.walk(entry) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    inner = (part.args for part in ast.walk(entry) if isinstance(part, (*FUNCTION, ast.Lambda)) and part is not entry)
    own |= {part.arg for arguments in inner for part in ast.walk(arguments) if isinstance(part, ast.arg)}
    given = set(CALLS["dataset"]) - own
    for node in ast.walk(entry):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in given:
            name = node.value.id
            if not hasattr(dict, node.attr):
                yield node.lineno, f'{name}.{node.attr}: {name} is a dictionary there, write {name}["{node.attr}"]'
    if entry.decorator_list:  # what comes out is the decorator's affair
        return
    for node in own_nodes(entry):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            yield node.lineno, f"'{entry.name}' is a generator: return {RETURNS}"
        value = node.value if isinstance(node, ast.Return) else None
        is_bare = isinstance(value, ast.Constant) and value.value is not None
        if value and (is_bare or isinstance(value, ast.Compare | ast.List | ast.Tuple)):
            yield value.lineno, f"'{entry.name}' returns what is no object: return {RETURNS}"
        if isinstance(value, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == "key" for k in value.keys):
            yield value.lineno, "'key' is not for an evaluator to say, the score has the name of the rule: leave it out"


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, and not in the functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (*FUNCTION, ast.Lambda, ast.ClassDef)):
            yield node
            yield from own_nodes(node)


def check_imports(statement: ast.stmt) -> Iterator[Problem]:
    """Packages the sandbox lacks, and whatever needs a network; what `except ImportError` catches may be missing."""
    optional = {id(node) for node in optional_imports(statement)}
    for node in ast.walk(statement):
        if isinstance(node, IMPORT):
            yield from check_import(node, id(node) in optional)
        elif isinstance(node, ast.Attribute) and dotted(node) in NETWORK:
            yield node.lineno, f"{dotted(node)} needs a network, and there is none"


def check_import(node: ast.Import | ast.ImportFrom, optional: bool) -> Iterator[Problem]:
    if isinstance(node, ast.ImportFrom) and node.level:
        yield node.lineno, "a relative import: there is no package around the evaluator there, write it into the file"
        return
    full = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        full = [f"{node.module}.{name}" for name in full]
    for module in full:
        parents = {module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)}
        if found := parents & NETWORK:
            yield node.lineno, f"{min(found)} needs a network, and there is none"
            continue
        package = module.partition(".")[0]
        if package not in sys.stdlib_module_names and package not in PACKAGES and not optional:
            there = f"the standard library, {', '.join(sorted(PACKAGES.values()))}"
            yield node.lineno, f"the package '{package}' is not there ({there} are): do without, or copy what is needed"


def optional_imports(statement: ast.AST) -> Iterator[ast.AST]:
    """Imports in a `try` that goes on when they fail."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Try) and any(catches_import_error(handler) for handler in node.handlers):
            yield from (inner for part in node.body for inner in ast.walk(part) if isinstance(inner, IMPORT))


def catches_import_error(handler: ast.ExceptHandler) -> bool:
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    )
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


# ---------------------------------------------------------------- writing the source


# In a thread of its own, since nobody says whether the sandbox calls from within an event loop.
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
            text = re.sub(rf"^(def\s+){entry.name}\b", rf"\1{ENTRY}", text, count=1, flags=re.MULTILINE)
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
    decorators = getattr(node, "decorator_list", [])
    if not decorators:
        return ast.get_source_segment(plain, node) or ""
    return "\n".join(plain.split("\n")[decorators[0].lineno - 1 : node.end_lineno])


def without_annotations(source: str) -> str:
    """The same source, line by line, without annotations; those of a class's fields become texts, which do no harm."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    edits: list[tuple[int, int, str]] = []

    def begin(node: ast.AST) -> int:
        return starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(node: ast.AST) -> int:
        return starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    tree = ast.parse(source)
    fields = {id(field) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for field in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation:
            edits.append((begin(node) + len(node.arg.encode()), end(node), ""))
        elif isinstance(node, FUNCTION) and node.returns:
            arrow = data.rindex(b"->", 0, begin(node.returns))
            edits.append((len(data[:arrow].rstrip()), data.index(b":", end(node.returns)), ""))
        elif isinstance(node, ast.AnnAssign) and id(node) in fields:
            edits.append((begin(node.annotation), end(node.annotation), repr(ast.unparse(node.annotation))))
        elif isinstance(node, ast.AnnAssign) and node.value:
            edits.append((end(node.target), data.index(b"=", end(node.annotation)), " "))
        elif isinstance(node, ast.AnnAssign):
            edits.append((begin(node), end(node), "pass"))
    for first, last, text in sorted(edits, reverse=True):
        # A backslash keeps the line numbers of what follows.
        data = data[:first] + text.encode() + b" \\\n" * data[first:last].count(b"\n") + data[last:]
    return data.decode()
