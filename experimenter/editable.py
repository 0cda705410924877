"""Editable installs that point into the work tree, and how PYTHONPATH leads to the private one instead."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from experimenter.process import answer_of
from experimenter.text import visible
from experimenter.worktree import WorkTree

_log = logging.getLogger("experimenter")
_TIMEOUT_S = 20.0
# setuptools and the `editables` library (hatchling, PDM) map packages to places by finders, others by .pth files, which
# become entries of sys.path. PYTHONPATH comes before both.
_QUESTION = """
import json, sys
found = [getattr(finder, "_redirections", None) for finder in sys.meta_path]
found += [getattr(module, "MAPPING", None) for name, module in sys.modules.items() if "editable" in name]
mapping = [[str(name), str(place)] for one in found if isinstance(one, dict) for name, place in one.items()]
print()
print(json.dumps({"path": [place for place in sys.path if place], "mapping": mapping}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Python:
    """What an interpreter imports from: folders, and packages with their places."""

    path: Sequence[str]
    mapping: Sequence[tuple[str, str]]


def python_path(work_tree: WorkTree, command: Sequence[str], environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return a PYTHONPATH by which a command imports from the private work tree what it would from the user's.

    The interpreters that are asked are the command's own, and `python` and `python3` of the PATH. Beside it come the
    names of packages that no PYTHONPATH leads to.
    """
    folders: dict[str, None] = {}
    left: dict[str, None] = {}
    for python in _interpreters(command, environ):
        found = _ask(python, environ)
        for name, place in found.mapping if found else ():
            if _is_inside(work_tree, place):
                root = _root_of(name, Path(place))
                (folders if root else left)[str(root or name)] = None
        for folder in found.path if found else ():
            is_strict = "__editable__" in Path(folder).name and _is_inside(work_tree, folder)
            (left if is_strict else folders)[folder] = None
    given = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    private = [mapped for folder in folders if (mapped := _mapped(work_tree, folder)) != folder]
    words = [*private, *(_mapped(work_tree, entry) for entry in given)]
    return os.pathsep.join(dict.fromkeys(words)), list(left)


def _mapped(work_tree: WorkTree, folder: str) -> str:
    """Return what stands for a folder of the user's work tree, if the code state has that; others as they are."""
    mapped = work_tree.mapped(Path(folder))
    linked = any(part.is_symlink() for part in (mapped, *mapped.parents) if work_tree.private.top in part.parents)
    return str(mapped) if Path(folder).is_absolute() and mapped.is_dir() and not linked else folder


def _is_inside(work_tree: WorkTree, place: str) -> bool:
    return work_tree.mapped(Path(place)) != Path(place)


def _root_of(name: str, place: Path) -> Path | None:
    """Return the folder from which `import name` finds the package, or module, at `place`; nothing if none does."""
    place = place.parent if place.name == "__init__.py" else place.with_suffix("")
    parts = tuple(name.split("."))
    return place.parents[len(parts) - 1] if place.parts[-len(parts) :] == parts else None


def _interpreters(command: Sequence[str], environ: Mapping[str, str]) -> Iterable[str]:
    """Return the Pythons that a command may run, each once."""
    found = [
        *_interpreter_of(command[0], environ),
        *(which(name, path=environ.get("PATH")) for name in ("python", "python3")),
    ]
    return dict.fromkeys(python for python in found if python)


def _interpreter_of(program: str, environ: Mapping[str, str]) -> Iterator[str | None]:
    """Yield the command's program if it is a Python, and the interpreter in its first line if that is one."""
    path = which(program, path=environ.get("PATH"))
    if path is None:
        return
    if Path(path).name.startswith(("python", "pypy")):
        yield os.path.abspath(path)  # noqa: PTH100 - a virtual environment's python is a link, not to be followed
        return
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            first = file.readline(1024).decode(errors="replace")
    except OSError:
        return
    words = first[2:].split() if first.startswith("#!") else []
    yield from (which(word, path=environ.get("PATH")) for word in words if "python" in Path(word).name)


def _ask(python: str, environ: Mapping[str, str]) -> _Python | None:
    answer = answer_of([python, "-c", _QUESTION], env=environ, timeout_s=_TIMEOUT_S)
    try:
        found = json.loads((answer or "").splitlines()[-1])
        return _Python(path=found["path"], mapping=[(name, place) for name, place in found["mapping"]])
    except (IndexError, ValueError, KeyError, TypeError):
        _log.warning("%s does not tell what it imports; an editable install would not be overridden", visible(python))
        return None
