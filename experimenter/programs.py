"""Program files that a command names, and those among them that no code state holds: outside the repository."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from experimenter import names
from experimenter.plumbing import Repo
from experimenter.text import visible

_log = logging.getLogger("experimenter")

_MOST_WORDS = 256  # of a command that are looked at: further ones are data
_SUFFIXES = frozenset(
    (
        ".awk", ".bash", ".cjs", ".clj", ".do", ".exs", ".fish", ".go", ".groovy", ".hs", ".ipynb", ".jl", ".js",
        ".ksh", ".kts", ".lua", ".m", ".mjs", ".mts", ".nf", ".php", ".pl", ".pm", ".ps1", ".py", ".pyw", ".pyx",
        ".qmd", ".r", ".rb", ".rmd", ".rs", ".sage", ".sas", ".scala", ".sh", ".smk", ".tcl", ".ts", ".zsh",
    )
)  # fmt: skip
_PACKAGES = frozenset(("site-packages", "dist-packages", "node_modules"))
_SYSTEM = re.compile(r"/(usr/(local/)?)?(s?bin|lib(64|exec)?|share)/|/(nix|snap|opt/homebrew)/|.*/lib/python[0-9.]+/")
_told: set[Path] = set()  # in this process, which may have many blocks


def warn_of_foreign(repo: Repo, command: Sequence[str], *, directory: Path | None = None, main: str = "") -> None:
    """Warn once of the program files among a command's words that lie outside the repository, links resolved.

    `main` is one more of them. They are looked for from `directory` on, by default that of the repository that we see.
    """
    start = directory or repo.top / os.fsdecode(repo.prefix)
    found = _foreign(repo.top, command, start, main)
    shown = [visible(word) for path, word in found.items() if path not in _told]
    _told.update(found)
    if len(shown) == 1:
        _log.warning("%s lies outside the repository; its code is not in the tag", shown[0])
    elif shown:
        _log.warning("these files lie outside the repository; their code is not in the tag\n  %s", "\n  ".join(shown))


def is_source(path: bytes) -> bool:
    """Say whether a file has a name like that of a program's source."""
    return Path(os.fsdecode(path)).suffix.lower() in _SUFFIXES


def _foreign(top: Path, command: Sequence[str], start: Path, main: str) -> dict[Path, str]:
    """Return the words that name program files outside of a folder, by the files' real paths."""
    top = top.resolve()
    found: dict[Path, str] = {}
    for word, is_script in [*_named(command[:_MOST_WORDS]), (main, True)]:
        if not word or not (is_script or "/" in word or Path(word).suffix.lower() in _SUFFIXES):
            continue  # as most are, and this is quick
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # a NUL in a path, or a loop of links
            real = (start / word).resolve()
            is_known = real.is_relative_to(top) or real in found
            if not is_known and not any(map(_is_installed, {start / word, real})) and _is_program(real, is_script):
                found[real] = word
    return found


def _named(command: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each word that may name a program file, and whether an interpreter runs it, whatever it looks like."""
    for place, word in enumerate(command):
        given = names.given(command[place:])
        if given and not (place and command[place - 1].startswith("-")):
            if given.kind == "script":
                yield given.word, True
            elif given.kind == "code" and given.is_shell:
                yield from _named([piece for piece in re.split(r"[\s;&|<>()'\"`$]+", given.word) if piece])
        elif not given and (place or "/" in word):  # else it is found on the PATH
            yield word, False
            yield word.partition("=")[2], False


def _is_program(path: Path, is_script: bool) -> bool:
    """Say whether a file is a program that somebody wrote, or a folder that Python takes for one."""
    if path.is_dir():
        return is_script and (path / "__main__.py").exists()
    if not path.is_file():  # a pipe would never end
        return False
    if is_script or path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _is_installed(path: Path) -> bool:
    """Say whether a file is one of a system, a package or an environment, or a command on the PATH."""
    folder = path.parent
    if _SYSTEM.match(str(path)) or not _PACKAGES.isdisjoint(path.parts):
        return True
    if str(folder) in os.environ.get("PATH", "").split(os.pathsep):
        return True
    has_environment = any((folder.parent / name).exists() for name in ("pyvenv.cfg", "conda-meta"))
    return folder.name == "bin" and (has_environment or any(folder.parent.glob("lib/python*")))
