"""Removing annotations from source: they do nothing at run time, and often need packages that are missing."""

import ast
import io
import tokenize
from bisect import bisect_left

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SPECIAL = {"ClassVar", "InitVar", "KW_ONLY"}  # what dataclasses look for in the annotations of fields

Place = tuple[int, str]  # an operator: where it is, in bytes, and which


def without_annotations(source: str) -> str:
    """The same source, line by line, without annotations; the fields of classes are left with `object`."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    operators = places(source, starts)
    edits: list[tuple[int, int, str]] = []

    def begin(node: ast.AST) -> int:
        return starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(node: ast.AST) -> int:
        return starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    fields = {id(field) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for field in node.body}
    kept = {id(part) for node in ast.walk(tree) if is_read(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation and id(node) not in kept:
            first = begin(node) + len(node.arg.encode())
            edits.append((first, following(operators, first, (",", ")", "=")), ""))
        elif isinstance(node, FUNCTION) and node.returns:
            before = operators[: bisect_left(operators, (begin(node.returns),))]
            first = next(place for place, text in reversed(before) if text == "->")
            head = data[:first].rstrip()
            while head.endswith(b"\\"):  # the line goes on
                head = head[:-1].rstrip()
            edits.append((len(head), following(operators, first, (":",)), ""))
        elif isinstance(node, ast.AnnAssign):
            after = operators[bisect_left(operators, (end(node.target),)) :]
            colon = next(place for place, text in after if text == ":")
            last = following(operators, colon + 1, ("=",)) if node.value else end(node)
            if id(node) in fields:
                edits.append((colon + 1, last, f" {plainest(node.annotation)}{' ' if node.value else ''}"))
            elif node.value:
                edits.append((colon, last, " "))
            else:
                edits.append((begin(node), last, "pass"))
    for first, last, text in sorted(edits, reverse=True):
        # A backslash keeps the line numbers of what follows.
        data = data[:first] + text.encode() + b" \\\n" * data[first:last].count(b"\n") + data[last:]
    return data.decode()


def places(source: str, starts: list[int]) -> list[Place]:
    """The operators of a source, in its order."""
    lines = source.split("\n")
    return [
        (starts[token.start[0] - 1] + len(lines[token.start[0] - 1][: token.start[1]].encode()), token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.OP
    ]


def following(operators: list[Place], place: int, wanted: tuple[str, ...]) -> int:
    """The place of the first of these operators that is not inside brackets opened after `place`."""
    depth = 0
    for here, text in operators[bisect_left(operators, (place,)) :]:
        if depth == 0 and text in wanted:
            return here
        depth += (text in "([{") - (text in ")]}")
    raise ValueError(f"expected one of {' '.join(wanted)}")


def is_read(node: ast.AST) -> bool:
    """Whether it is a function whose annotations are read: functools.singledispatch does, in a bare `register`."""
    decorators = node.decorator_list if isinstance(node, FUNCTION) else []
    return any(isinstance(one, ast.Attribute) and one.attr == "register" for one in decorators)


def plainest(annotation: ast.expr) -> str:
    """`object`, unless it makes the field something else than a field: then as short as it still does."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    kind = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    name = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")
    return ast.unparse(kind) if name in SPECIAL else "object"
