"""The architecture, read off the import statements: layers, circles, faces, sizes.

A room is a package of `experiments`, its face the package's `__init__`. What others may use of a
room is what its face has in `__all__`: names, and modules with what they have in theirs.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# From the lowest up: none imports what stands behind it. Modules of `experiments` that are not here
# are commands, above all. What is set before jax starts stands before the library, which needs jax.
LAYERS = (
    "experiments.startup", "qjax", "experiments.commandline", "experiments.data",
    "experiments.cells", "experiments.store", "experiments.report", "experiments.circuit",
    "experiments.sweep", "experiments.inside",
    "experiments.studies.thesis", "experiments.studies.lowbit", "experiments.studies.imperfect",
    "experiments.benchmark",
)
ROOMS = LAYERS[2:]
PACKAGES = ("experiments", "experiments.studies")  # that hold rooms, and are none

LONGEST, SHORTEST = 400, 20
SHORT: dict[str, str] = {}  # shorter ones that may be, with the reason

# Slow to import, or missing in places: who may need them to start. The others import them, if at
# all, in the function that needs them.
SLOW = {
    "matplotlib": {"experiments.plot", "experiments.lowbit_report", "experiments.devices",
                   "experiments.inspect"},
    "scipy": set(), "sklearn": set(), "orbax": set(), "tensorflow": set(),
    "tensorflow_datasets": set(), "torch": set(), "aihwkit": set(),
}


class Import(NamedTuple):
    """`from module import name as bound`; `name` None: `import module as bound`."""

    module: str
    name: str | None
    bound: str
    at_top: bool  # not inside a function
    line: int


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {_name(path): path for top in ("qjax", "experiments")
         for path in sorted((ROOT / top).rglob("*.py"))}
COMMANDS = tuple(name for name in PATHS if name.count(".") == 1 and name.startswith("experiments.")
                 and name not in LAYERS and name not in PACKAGES)


@cache
def tree_of(module):
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


@cache
def imports_of(module):
    found = []

    def look(node, at_top):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(a.name, None, a.asname or a.name, at_top, child.lineno)
                             for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{module}, line {child.lineno}: a relative import"
                found.extend(Import(child.module, a.name, a.asname or a.name, at_top, child.lineno)
                             for a in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            look(child, at_top and not inside)

    look(tree_of(module), True)
    return found


def target(imported):
    """The module of ours that an import statement is about; None if it is another's."""
    inner = f"{imported.module}.{imported.name}"
    return next((m for m in (inner, imported.module) if m in PATHS), None)


def layer_of(module):
    """Its place in `LAYERS`; commands and the packages that hold rooms are above them."""
    fits = [i for i, layer in enumerate(LAYERS) if f"{module}.".startswith(f"{layer}.")]
    return max(fits, default=len(LAYERS))


def room_of(module):
    return next((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), None)


@cache
def public(module):
    """What a module has in `__all__`."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return ()


@cache
def defined(module):
    """Names that a module has once it is imported."""
    names = {i.bound for i in imports_of(module) if i.at_top}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_every_module_has_its_layer():
    assert set(LAYERS) <= set(PATHS)
    assert all(PATHS[command].stem != "__init__" for command in COMMANDS), "a room without a layer"
    assert {m for m in PATHS if layer_of(m) == len(LAYERS)} == {*COMMANDS, *PACKAGES}


def test_the_library_stands_by_itself():
    for module in (m for m in PATHS if layer_of(m) == LAYERS.index("qjax")):
        assert not [i for i in imports_of(module) if i.module.partition(".")[0] == "experiments"]


@pytest.mark.parametrize("module", PATHS)
def test_no_import_runs_upward(module):
    # Whatever is imported, the package `experiments` comes first: it may have nothing but this.
    own = 0 if module in PACKAGES else layer_of(module)
    for imported in imports_of(module):
        if (other := target(imported)) is not None:
            place = f"{module}, line {imported.line}: {other}"
            assert layer_of(other) <= own, place
            assert other not in COMMANDS, f"{place} is a command"


def test_no_import_runs_in_a_circle():
    pairs = {(m, target(i)) for m in PATHS for i in imports_of(m) if target(i)}
    while True:  # of those that import nothing, or that nobody imports, none is in a circle
        importing, imported = {a for a, _ in pairs}, {b for _, b in pairs}
        kept = {(a, b) for a, b in pairs if a in imported and b in importing}
        if kept == pairs:
            break
        pairs = kept
    assert not pairs


@pytest.mark.parametrize("module", [m for m in PATHS if m.startswith("experiments")])
def test_rooms_are_used_through_their_faces(module):
    modules = {}  # of ours, by the name that they are bound to here
    for imported in imports_of(module):
        room, place = room_of(target(imported) or ""), f"{module}, line {imported.line}"
        if f"{imported.module}.{imported.name}" in PATHS:
            modules[imported.bound] = f"{imported.module}.{imported.name}"
        if room in (None, room_of(module)):
            continue
        if imported.module in PACKAGES:
            continue  # the room itself, see below
        assert imported.name is not None, f"{place}: import names from {imported.module}"
        if imported.module != room:
            inside = imported.module.removeprefix(f"{room}.")
            assert inside in public(room), f"{place}: {imported.module} is not in {room}.__all__"
        assert imported.name in public(imported.module), (
            f"{place}: {imported.name} is not in {imported.module}.__all__")
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = modules.get(node.value.id)
            if used and room_of(used) not in (None, room_of(module)):
                assert node.attr in public(used), (
                    f"{module}, line {node.lineno}: {node.attr} is not in {used}.__all__")


@pytest.mark.parametrize("module", [m for m in PATHS if m.startswith("experiments.")])
def test_what_a_module_offers_exists(module):
    inside = {name.removeprefix(f"{module}.") for name in PATHS if name.startswith(f"{module}.")}
    for name in public(module):
        assert name in defined(module) | inside, name
    if module in ROOMS:
        assert ast.get_docstring(tree_of(module))
        hidden = {i.bound for i in imports_of(module) if i.bound in inside
                  and f"{i.module}.{i.name}" != f"{module}.{i.bound}"}
        assert not hidden, "modules that nobody can reach by their name any more"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_start_without_what_is_slow(command):
    seen, new, others = set(), {command}, set()
    while new:
        module = new.pop()
        seen.add(module)
        for imported in imports_of(module):
            other = target(imported)
            if imported.at_top and other is None:
                others.add(imported.module.partition(".")[0])
            elif imported.at_top:
                parts = other.split(".")  # with a module comes the package that it is in
                new |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)} - seen
    slow = {name for name, users in SLOW.items() if command not in users}
    assert slow & others == set()


@pytest.mark.parametrize("module", PATHS)
def test_modules_have_a_readable_size(module):
    lines = len(PATHS[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST
    assert lines >= SHORTEST or PATHS[module].stem == "__init__" or module in SHORT
