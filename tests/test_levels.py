"""The house: who may import whom, and which module is the one door to which library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import experimenter

HOUSE = Path(experimenter.__file__).parent
LEVELS = [
    {"ahead", "text", "written"},
    {"errors", "layout", "notices"},
    {
        "detach",
        "fields",
        "limits",
        "markers",
        "names",
        "ownership",
        "patterns",
        "plumbing",
        "process",
        "pruning",
        "query",
        "settings",
        "storable",
        "witness",
    },
    {"aside", "complaint", "places", "programs", "relay", "usersterminal", "tags", "targets"},
    {"environment", "identity", "params", "record", "results", "slurm", "state", "status", "template", "terminal"},
    {"annex", "bounds", "grid", "inventory", "jobs", "pidfile", "store", "tree", "worker"},
    {"budget", "cells", "codestate", "entry", "find", "keys", "locks", "quarantine", "signals"},
    {"linked", "registry", "remote", "selection", "slots", "snapshot"},
    {"arrivals", "compare", "groups", "othercode", "submodules", "sweeps"},
    {"capture", "leftovers", "share", "worktree"},
    {"editable", "live", "logs", "rerun", "running"},
    {"block", "queued", "removal", "render", "settle", "workplace"},
    {"explore", "logger", "run", "stop"},
    {"cluster", "optimize", "submission"},
    {"node", "sweep"},
    {"cli"},
]
PACKAGES = ("cli", "plumbing", "process", "render")  # whose modules may import each other
DOORS = {
    "git": {"plumbing"},
    "psutil": {"process"},
    "subprocess": {"process"},
    "yaml": {"params"},
    "click": {"cli"},
    "optuna": {"optimize"},
    "pandas": {"explore"},
    "submitit": {"slurm"},
}


def module_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def sources() -> Iterator[tuple[str, Path]]:
    for path in HOUSE.rglob("*.py"):
        if module_of(path) not in ("__init__", "__main__", "examples"):
            yield module_of(path), path


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports, anywhere in it: `git.cmd`, `experimenter.store`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: a relative import"
            whole = node.module == "experimenter"
            yield from (f"experimenter.{alias.name}" for alias in node.names) if whole else [node.module]


def test_every_module_has_its_level() -> None:
    assert {module for module, _ in sources()} == set().union(*LEVELS)
    assert sum(map(len, LEVELS)) == len(set().union(*LEVELS))


def test_a_module_imports_only_from_lower_levels() -> None:
    level = {module: number for number, modules in enumerate(LEVELS) for module in modules}
    wrong = [
        f"{module} imports {imported}"
        for module, path in sources()
        for name in imports(path)
        if name.startswith("experimenter.") and name != "experimenter.__version__"
        for imported in [name.split(".")[1]]
        if imported != module or module not in PACKAGES
        if level[imported] >= level[module]
    ]
    assert wrong == []


def test_every_foreign_library_has_one_door() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in sources()
        for name in imports(path)
        if module not in DOORS.get(name.split(".")[0], {module})
    ]
    assert wrong == []


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(HOUSE)): len(path.read_text().splitlines()) for _, path in sources()}

    assert {name: lines for name, lines in sizes.items() if lines > 300} == {}


def test_the_package_speaks_of_no_machine() -> None:
    top = HOUSE.parent
    folders = (top / "experimenter", top / "tests", top / "configs")
    files = [
        path for folder in folders for ending in ("py", "sh", "yaml", "json") for path in folder.rglob(f"*.{ending}")
    ]
    words = ("/ro" + "ot/", "/wo" + "rk/", "../sha" + "red", "INTERF" + "ACE", "DES" + "IGN.md")

    assert [f"{path}: {word}" for path in files for word in words if word in path.read_text()] == []
