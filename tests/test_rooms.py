"""The library's rooms import one way only (see WORKSPACE.md)."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "expertjax"

# Each may import what stands before it ...
ROOMS = (
    "errors",
    "typing",
    "absent",
    "home",
    "jax_settings",
    "models",
    "checkpoints",
    "concepts",
    "building",
    "runtime",
    "stores",
    "training",
    "capturing",
    "scoring",
    "storeless",
    "importing",
    "analysis",
    "generation",
    "probing",
    "report",
    "plot",
    "api",
    "jobs",
    "workshop",
    "__init__",
)
# ... but never knows of these.
STRANGERS = {
    "concepts": {"models", "checkpoints"},
    "building": {"models", "checkpoints"},
    "runtime": {"models", "checkpoints", "concepts", "building"},
    "stores": {"models", "checkpoints", "concepts", "building", "runtime"},
    "training": {"runtime", "stores"},
    "scoring": {"models", "checkpoints", "capturing"},
    "importing": {"training", "storeless"},
    "analysis": {
        "models",
        "checkpoints",
        "capturing",
        "scoring",
        "storeless",
        "importing",
    },
    "generation": {"capturing", "scoring", "storeless", "importing", "stores"},
    "probing": {"scoring", "storeless", "importing", "analysis"},
    "report": {
        "generation",
        "probing",
        "models",
        "checkpoints",
        "capturing",
        "scoring",
        "storeless",
        "importing",
    },
    "plot": {
        "generation",
        "probing",
        "models",
        "checkpoints",
        "capturing",
        "scoring",
        "storeless",
    },
}
# Reads `pytorch_model.bin`, which nothing else reads safely.
TORCH = PACKAGE / "checkpoints" / "torch_bin.py"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*module.split("."), alias.name)
                is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                found.add(f"{module}.{alias.name}" if is_module else module)
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] == "expertjax"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(module_name(path))
    assert room in ROOMS, f"{room} is no known room"
    for name in ours(path):
        other = room_of(name)
        if other == room or (room == "api" and other == "__init__"):
            continue
        assert ROOMS.index(other) < ROOMS.index(room), f"{room} imports {name}"
        assert other not in STRANGERS.get(room, ()), f"{room} knows of {name}"


def test_no_import_cycles() -> None:
    graph = {module_name(path): ours(path) for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_drawer_for_odds_and_ends() -> None:
    assert not [p for p in FILES if p.stem in {"utils", "util", "helpers", "misc"}]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_torch_and_pickle_stay_out(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    if path == TORCH:
        tops.remove("torch")
    assert not tops & {"torch", "pickle", "cloudpickle", "tensorflow", "sklearn"}


def test_only_runtime_names_mesh_axes() -> None:
    for path in FILES:
        if room_of(module_name(path)) == "runtime":
            continue
        text = path.read_text("utf-8")
        assert "process_index" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and "PartitionSpec" in ast.unparse(node.func):
                constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
                named = [c.value for c in constants if isinstance(c.value, str)]
                assert not named, f"{path}: {ast.unparse(node)}"
