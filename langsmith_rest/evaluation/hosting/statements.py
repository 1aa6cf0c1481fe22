"""The statements of a file: which names each one binds, which it needs, and whose values it changes.

Nothing is executed: names come from the bytecode, changes of values from the syntax.
"""

import ast
import builtins
import dis
from collections.abc import Iterable, Iterator
from types import CodeType

GLOBALS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION = (*FUNCTION, ast.ClassDef)
IMPORT = (ast.Import, ast.ImportFrom)
CHANGING = {"setattr", "delattr", "next"}  # built-in functions that change their arguments

Needs = dict[str, int]  # global names, and the first line that needs each


class Top:
    """A statement of the file: the names it binds, those whose values it changes, and the global names it needs."""

    def __init__(self, node: ast.stmt) -> None:
        self.node = node
        code = compile(ast.Module([node], []), "<evaluator>", "exec", dont_inherit=True, optimize=0)
        self.binds = set(stored_names(code))
        self.needs: Needs = {}
        for name, line in loaded_names(code):
            self.needs.setdefault(name, line)
        now = list(executed(node))
        self.changes, self.passes, self.calls = changed_names(now), passed_names(now), called_names(now)
        self.defines = node.name if isinstance(node, DEFINITION) else ""
        # What calling it does, where it is a definition.
        later = list(ast.walk(node)) if self.defines else []
        self.effects = (changed_names(later) | passed_names(later)) & self.needs.keys()
        self.effects |= self.binds - {self.defines} if self.defines else set()
        self.calls_on = called_names(later)
        self.changes |= changed_by_builtins(now)
        self.changed_parameters = parameters_changed(node) if isinstance(node, FUNCTION) else set()
        self.given = list(given_names(now))
        self.holds = held_names(node)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and (owner := base(node.value)):
            self.defines, self.effects = next(iter(self.binds), ""), {owner.id}  # register = REGISTRY.append


def read_statements(nodes: Iterable[ast.stmt]) -> list[Top]:
    """The statements; those that call or are decorated with what the file defines change what that changes."""
    tops = [Top(node) for node in nodes]
    known = {top.defines: top for top in tops if top.defines}
    for _ in known:  # no chain of calls is longer
        for top in known.values():
            top.effects.update(*(known[name].effects for name in top.calls_on & known.keys()))
    # A constant, or a module (`random.seed(1)`), does not change.
    changing = {name for top in tops if not is_fixed(top.node) for name in top.binds}
    for top in tops:
        top.changes |= top.passes - known.keys()
        top.changes.update(*(known[name].effects for name in top.calls & known.keys()))
        for function, place, name in top.given:
            if function in known and place in known[function].changed_parameters:
                top.changes.add(name)
        for _ in range(len(tops)):  # E = D: what changes E changes D
            held = {name for other in tops if other.binds & top.changes for name in other.holds}
            if held <= top.changes:
                break
            top.changes |= held
        top.changes &= changing | changed_by_builtins(executed(top.node))
    return tops


def is_fixed(node: ast.stmt) -> bool:
    return isinstance(node, IMPORT) or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))


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
        own = set()
        for step in dis.get_instructions(part):
            if step.opname == "STORE_NAME":
                own.add(step.argval)
            # A name that a class body has set before is its own.
            elif step.opname in GLOBALS and step.argval not in own:
                yield step.argval, (step.positions.lineno if step.positions else None) or part.co_firstlineno


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a statement does: of a function, its decorators and defaults; of a class, its body, too."""
    yield node
    parts: Iterable[ast.AST | None] = ast.iter_child_nodes(node)
    if isinstance(node, (*FUNCTION, ast.Lambda)):
        parts = [*getattr(node, "decorator_list", []), *node.args.defaults, *node.args.kw_defaults]
    for part in parts:
        if part is not None:
            yield from executed(part)


def changed_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Names whose values are changed in place: `LIMITS["a"] = 1`, `del LIMITS["a"]`, `HEAD = WORDS.pop()`."""
    targets: list[ast.AST] = []
    for node in nodes:
        if isinstance(node, ast.Assign | ast.Delete):
            targets += [part for target in node.targets for part in unpacked(target)]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor):
            targets += unpacked(node.target)
        elif isinstance(node, ast.Call):
            targets.append(node.func)
        elif isinstance(node, DEFINITION):
            targets += node.decorator_list
    return {name.id for target in targets if (name := base(target)) and name is not target}


def passed_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The arguments of calls whose result is not used: such a call may exist to change its arguments."""
    calls = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    given = [
        part
        for call in calls
        if not (isinstance(call.func, ast.Name) and hasattr(builtins, call.func.id) and call.func.id not in CHANGING)
        for part in (*call.args, *(keyword.value for keyword in call.keywords))
    ]
    return {part.id for part in given if isinstance(part, ast.Name)}


def changed_by_builtins(nodes: Iterable[ast.AST]) -> set[str]:
    """Names given to `setattr`, `delattr` or `next`, which change what they are given."""
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    changed = [node.args[0] for node in calls if node.func.id in CHANGING and node.args]  # type: ignore[attr-defined]
    return {name.id for name in map(base, changed) if name}


def given_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int | str, str]]:
    """Yield which function is given which name, and where: positionally, or as which keyword."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            places: list[tuple[int | str, ast.expr]] = [*enumerate(node.args)]
            places += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
            for place, value in places:
                if name := base(value):
                    yield node.func.id, place, name.id


def parameters_changed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int | str]:
    """The parameters that calling a function may change, or pass on, by position and by name."""
    inside = list(ast.walk(function))
    touched = changed_names(inside) | changed_by_builtins(inside) | {name for _, _, name in given_names(inside)}
    positional = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    named = {*positional, *(one.arg for one in function.args.kwonlyargs)} & touched
    return {*named, *(place for place, name in enumerate(positional) if name in touched)}


def held_names(node: ast.stmt) -> set[str]:
    """The names whose values an assignment gives another name, or puts into a list or an object."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    held: set[str] = set()
    parts = [value] if value else []
    while parts:
        part = parts.pop()
        if isinstance(part, ast.Name):
            held.add(part.id)
        elif isinstance(part, ast.List | ast.Tuple | ast.Set):
            parts += part.elts
        elif isinstance(part, ast.Dict):
            parts += part.values
        elif isinstance(part, ast.Attribute | ast.Subscript):
            parts.append(part.value)
    return held


def called_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are called, as functions, decorators or the bases of classes."""
    called: list[ast.expr] = []
    for node in nodes:
        called += [node.func] if isinstance(node, ast.Call) else []
        called += node.decorator_list if isinstance(node, DEFINITION) else []
        called += node.bases if isinstance(node, ast.ClassDef) else []
    return {part.id for part in called if isinstance(part, ast.Name)}


def unpacked(target: ast.expr) -> list[ast.expr]:
    """The targets in `a, (b, *c) = ...`."""
    if isinstance(target, ast.Tuple | ast.List):
        return [part for element in target.elts for part in unpacked(element)]
    return unpacked(target.value) if isinstance(target, ast.Starred) else [target]


def base(target: ast.AST) -> ast.Name | None:
    """The name at the beginning of `name.attribute[index]`."""
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target if isinstance(target, ast.Name) else None
