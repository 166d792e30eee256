"""The house: who may import whom. Read from the source, so that an import inside a function counts like any other."""

import ast
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from molft_utils.files import PACKAGE_FOLDER
from molft_utils.making.pages import notebooks

PACKAGE = "molft_utils"

#: A room is a folder of the package, or a module beside the folders. Each imports from strictly lower floors only.
FLOORS = {
    "errors": 1,
    "files": 1,
    "groups": 1,
    "inputs": 1,
    "profiles": 1,
    "molformer": 2,
    "data": 3,
    "training": 4,
    "peft_methods": 4,
    "influence": 5,
    "shapley": 5,
    "evaluation": 5,
    "show": 6,
    "experiments": 7,
    "making": 8,
}

#: The lowest floor's modules may import each other, as the modules of a folder do; circles are a fault there too.
GROUND = {room for room, floor in FLOORS.items() if floor == 1}

#: Whatever would run code from a downloaded file.
UNSAFE = {"trust_remote_code", "pickle", "dill", "cloudpickle", "torch.load", "joblib.load", "pd.read_pickle"}


class Import(NamedTuple):
    """``from target import name`` (name is None for ``import target``), with dotted names from the package down."""

    module: str
    target: str
    name: str | None
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name or 'all'} from {self.target or 'the package itself'}"


def read_package(folder: Path) -> dict[str, ast.Module]:
    """Dotted name below the package ("" is the package itself, "data" a door, "data.tables" a module) -> source."""
    trees = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


def is_door(module: str, modules: dict[str, ast.Module]) -> bool:
    return any(other.startswith(f"{module}.") for other in modules)


def imports(module: str, modules: dict[str, ast.Module]) -> list[Import]:
    """What a module imports of the package, wherever in its source it does."""
    found = []
    for node in ast.walk(modules[module]):
        if isinstance(node, ast.Import):
            found += [(alias.name, None, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node, is_door(module, modules) or module == "")
            found += [(base, alias.name, node.lineno) for alias in node.names]
    inside = [(target.partition(".")[2], name, line) for target, name, line in found if of_package(target)]
    return [Import(module, *resolve(target, name, modules), line) for target, name, line in inside]


def absolute(module: str, node: ast.ImportFrom, door: bool) -> str:
    """The full name of what an import statement names with dots."""
    if not node.level:
        return node.module or ""
    here = [PACKAGE, *filter(None, module.split("."))]
    up = node.level - 1 if door else node.level
    return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


def of_package(target: str) -> bool:
    return target.split(".")[0] == PACKAGE


def resolve(target: str, name: str | None, modules: dict[str, ast.Module]) -> tuple[str, str | None]:
    """``from . import tables`` means the module of that name, where there is one."""
    below = f"{target}.{name}".lstrip(".")
    return (below, None) if below in modules else (target, name)


def names_of(tree: ast.Module) -> set[str]:
    """The public names that a module defines or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def room(module: str) -> str:
    return module.split(".")[0]


def wrong_floors(modules: dict[str, ast.Module]) -> list[str]:
    """Imports from the same floor or a higher one; the package's own door may import anything but ``making``."""
    found = []
    for module in modules:
        for one in imports(module, modules):
            here, there = room(module), room(one.target)
            if here == there or {here, there} <= GROUND:
                continue
            if there == "making" or (here and (not there or FLOORS[there] >= FLOORS[here])):
                found.append(str(one))
    return found


def back_doors(modules: dict[str, ast.Module]) -> list[str]:
    """Imports into another folder that pass its door by, or ask it for a name that it does not have."""
    found = []
    for module in modules:
        for one in imports(module, modules):
            there = room(one.target)
            if not there or there == room(module) or not is_door(there, modules):
                continue
            names = names_of(modules[there])
            wanted = one.target.split(".")[1:2] or [one.name]
            if wanted[0] is not None and wanted[0] not in names:
                found.append(str(one))
    return found


def circles(modules: dict[str, ast.Module]) -> list[str]:
    """Modules that import each other in a round, and those that lean on them; doors do not count."""
    edges = {
        module: {one.target for one in imports(module, modules) if one.target in modules and one.target != module}
        for module in modules
        if module and not is_door(module, modules)
    }
    found = []
    while free := {module for module, targets in edges.items() if not targets & edges.keys()}:
        edges = {module: targets for module, targets in edges.items() if module not in free}
    found += sorted(edges)
    return found


def own_doors(modules: dict[str, ast.Module]) -> list[str]:
    """Modules that import from their own folder's door, which imports them: a circle of two."""
    return [
        str(one)
        for module in modules
        if "." in module
        for one in imports(module, modules)
        if one.target == room(module) or (one.target == "" and one.name is not None)
    ]


def shared_names(modules: dict[str, ast.Module]) -> list[str]:
    """Doors that name a function or class like one of the modules behind them: one of the two cannot be reached."""
    found = []
    for door in modules:
        behind = {other.rpartition(".")[2] for other in modules if other and other.rpartition(".")[0] == door}
        found += [f"{door or PACKAGE}.{name}" for name in things_of(modules[door]) if name in behind]
    return found


def things_of(tree: ast.Module) -> list[str]:
    """Functions, classes and constants at a module's top level; modules (``from . import tables``) are left out."""
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [alias.asname or alias.name for node in imported for alias in node.names] + defined


def unsafe_calls(modules: dict[str, ast.Module]) -> list[str]:
    """Remote code, pickles, ``torch.load`` and their kind, wherever they are named."""
    found = []
    for module, tree in modules.items():
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [ast.unparse(node)] if isinstance(node, ast.Attribute) else []
            named += [node.arg or ""] if isinstance(node, ast.keyword) else []
            found += [f"{module}: {name}" for name in named if name in UNSAFE]
    return found


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return read_package(PACKAGE_FOLDER)


def test_every_room_has_a_floor(modules):
    assert {room(module) for module in modules} - {""} == FLOORS.keys()


@pytest.mark.parametrize("rule", [wrong_floors, back_doors, circles, own_doors, shared_names, unsafe_calls])
def test_the_house_keeps_its_rules(rule, modules):
    assert not rule(modules)


def test_no_notebook_imports_what_is_for_maintainers():
    for path in notebooks():
        code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        assert "making" not in code.replace("# ", ""), path.name


def house(**sources: str) -> dict[str, ast.Module]:
    """A small package: names with ``__`` for the dot, and an empty door for each folder."""
    trees = {name.replace("__", "."): ast.parse(text) for name, text in sources.items()}
    return {"": ast.parse(""), **{room(name): ast.parse("") for name in trees if "." in name}, **trees}


@pytest.mark.parametrize(
    ("rule", "sources"),
    [
        (wrong_floors, {"data__tables": "from ..training import predict"}),
        (wrong_floors, {"data__tables": "def f():\n    from ..training import predict"}),
        (wrong_floors, {"influence__scores": "import molft_utils.shapley"}),
        (wrong_floors, {"data__tables": "from .. import settings"}),
        (wrong_floors, {"data": "from ..making import pages", "making__pages": "", "data__x": ""}),
        (back_doors, {"training__trainer": "from ..data.tables import read_table", "data__tables": ""}),
        (back_doors, {"training__trainer": "from ..data import secret", "data__tables": ""}),
        (back_doors, {"training__trainer": "from ..data import tables", "data__tables": ""}),
        (circles, {"data__a": "from .b import x", "data__b": "from . import a"}),
        (circles, {"errors": "from .files import x", "files": "from .errors import y"}),
        (own_doors, {"data__a": "from ..data import split"}),
        (own_doors, {"data__a": "from . import split"}),
        (shared_names, {"data": "from .split import split", "data__split": ""}),
        (shared_names, {"settings": "", "": "def settings(): ..."}),
        (unsafe_calls, {"data__a": "torch.load('x')"}),
        (unsafe_calls, {"data__a": "import pickle"}),
        (unsafe_calls, {"data__a": "load('x', trust_remote_code=True)"}),
    ],
)
def test_each_rule_finds_what_breaks_it(rule, sources):
    assert rule(house(**sources))


def test_what_the_door_names_may_be_imported():
    modules = house(
        data="from . import tables\nfrom .splits import split",
        data__tables="from .splits import split",
        data__splits="from ..errors import DataError",
        errors="",
        training__trainer="from ..data import split, tables",
    )
    assert not any(rule(modules) for rule in (wrong_floors, back_doors, circles, own_doors, shared_names, unsafe_calls))
