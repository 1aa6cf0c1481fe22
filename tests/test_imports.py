"""Test who imports whom: client and server are apart, nothing imports upwards, and nothing goes in circles."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

# The floors from the top; a module imports from its own floor, from those below it, and the leaves.
FLOORS = (
    ("main", "langsmith_rest.__main__"),
    ("langsmith_rest.commands",),
    ("langsmith_rest.conformance",),
    ("langsmith_rest.evaluation", "langsmith_rest.importers"),
    ("recorder",),
    ("langsmith_rest.recording",),
    ("rest",),
    ("langsmith_rest.connection",),
    ("langsmith_rest.in_process",),
    ("langsmith_rest.local",),
)
# Pure modules, which every floor may import; they import only each other.
LEAVES = (
    *("langsmith_rest.recording.bodies", "langsmith_rest.recording.canonical", "langsmith_rest.recording.results"),
    *(
        "langsmith_rest.paired",
        "langsmith_rest.paired.metrics",
        "langsmith_rest.paired.estimates",
        "langsmith_rest.paired.significance",
    ),
    *("langsmith_rest.wording", "langsmith_rest.errors", "langsmith_rest.notebooks"),
)
FACE = "langsmith_rest"  # loads what it names when it is used
AGREEMENT = "langsmith_rest.evaluation.aligning.agreement"  # the statistics of people and judges
SAMPLING = "langsmith_rest.evaluation.aligning.sampling"
SHARED_WITH_THE_STORE = {"langsmith_rest.paired", AGREEMENT, SAMPLING}
STARTS_THE_STORE = "langsmith_rest.local"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for path in [
        *(ROOT / f"{name}.py" for name in ("main", "recorder", "rest")),
        *ROOT.glob("langsmith_rest/**/*.py"),
        *ROOT.glob("localsmith/**/*.py"),
    ]
}


def imports_of(name: str) -> set[str]:
    """The modules of this project that a module imports, anywhere in its file."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports are not used here"
            found |= {whole if (whole := f"{node.module}.{a.name}") in FILES else str(node.module) for a in node.names}
    return found & FILES.keys()


@cache
def imports() -> dict[str, set[str]]:
    return {name: imports_of(name) for name in FILES}


def is_in(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def floor_of(name: str) -> int:
    return next(number for number, places in enumerate(FLOORS) if any(is_in(name, place) for place in places))


def ours(of_the_store: bool) -> list[tuple[str, str]]:
    return [(a, b) for a in sorted(imports()) for b in sorted(imports()[a]) if is_in(a, "localsmith") == of_the_store]


def upwards() -> set[tuple[str, str]]:
    """Imports of the client that go from a floor to one above it, or from a leaf to what is none."""
    found = set()
    for importer, imported in ours(of_the_store=False):
        if importer == FACE or imported in LEAVES or is_in(imported, "localsmith"):
            continue
        if importer in LEAVES or imported == FACE or floor_of(imported) < floor_of(importer):
            found.add((importer, imported))
    return found


def circles() -> set[frozenset[str]]:
    """Circles of imports, one after the other until none is left."""
    graph = {name: set(imported) for name, imported in imports().items() if name != FACE}
    found = set()
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return found
        except CycleError as error:
            circle = error.args[1]
            found.add(frozenset(circle))
            graph[circle[1]].discard(circle[0])
            graph[circle[0]].discard(circle[1])


def test_nothing_imports_from_a_floor_above():
    """main, commands, ..., recorder, recording, rest, connection: each knows only what is below it."""
    assert not upwards()


def test_nothing_imports_in_circles():
    """Imports inside of functions, or for type checkers alone, count as well."""
    assert not circles()


def test_client_and_store_meet_over_http_only():
    """They share pure statistics, and one module starts the store."""
    to_client = {imported for _, imported in ours(of_the_store=True) if not is_in(imported, "localsmith")}
    to_store = {importer for importer, imported in ours(of_the_store=False) if is_in(imported, "localsmith")}

    assert to_client == SHARED_WITH_THE_STORE
    assert to_store == {STARTS_THE_STORE}


@pytest.mark.parametrize("name", [name for name in FILES if not is_in(name, "localsmith") and name != FACE])
def test_every_module_has_a_floor(name):
    """A module in a place that nobody knows is refused by its name."""
    assert name in LEAVES or any(is_in(name, place) for places in FLOORS for place in places)
