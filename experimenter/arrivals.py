"""Untracked files that came since the last experiment in a work tree: what programs write makes their code another."""

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experimenter import programs
from experimenter.aside import make_own
from experimenter.errors import FilesRefused, GitFailed, StateUnwritable
from experimenter.fields import Fields
from experimenter.notices import NOTE
from experimenter.patterns import declaration, patterns_for
from experimenter.plumbing import Repo
from experimenter.snapshot import CodeState
from experimenter.state import StateFolder, translated
from experimenter.storable import dumps
from experimenter.text import counted

_log = logging.getLogger("experimenter")

_EMPTY = (  # SHA-1 and SHA-256 of a file without content, as git has them
    b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    b"473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
)
_OBJECT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The tree of the last code state in a work tree, and its `origin`; empty where there is none.

    The origin is the last of them that was more than the one before it with untracked files that had come.
    """

    repo: Repo
    file: Path
    tree: str
    origin: str

    @classmethod
    def of(cls, repo: Repo) -> Self:
        """Return what is remembered of the work tree that we are in: linked ones are apart."""
        name = hashlib.sha1(os.fsencode(repo.git_dir), usedforsecurity=False).hexdigest()[:16]
        file = StateFolder.of(repo).path / "code" / f"{name}.json"
        found = Fields.read(file)
        tree, origin = (_object_name(found.values.get(key) if found else None) for key in ("tree", "origin"))
        return cls(repo=repo, file=file, tree=tree, origin=origin)

    def take_over(self, code: CodeState) -> None:
        """Remember a code state. Say what came since, if that is all by which it is another than the last one."""
        if code.tree == self.tree:
            return
        arrived = self._arrived(code)
        if arrived:
            _log.warning("%s", self._note(arrived), extra=NOTE)
        self._save(code.tree, self.origin if arrived and self.origin else code.tree)

    def explained(self, error: FilesRefused) -> FilesRefused:
        """Return an error about untracked files, with the lines to paste if they all came since the last experiment."""
        if not (self.tree and error.paths):
            return error
        try:
            if set(self._names("ls-tree", "-r", "--full-tree", self.tree)) & set(error.paths):
                return error
            places, lines = self._places(error.paths)
        except GitFailed:
            return error
        came = f"all of them came since the last experiment here: {places}; if they are outputs of programs:"
        return type(error)(error.message, details=[*error.details, came, *lines], paths=error.paths)

    def _arrived(self, code: CodeState) -> list[bytes]:
        """Return the untracked files that came since, or were empty; nothing if that is not all that differs."""
        if not (self.tree and code.untracked):
            return []
        try:
            answer = self.repo.git(
                "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", self.tree, code.tree
            )
        except GitFailed:  # the tree was of an experiment that is removed, and is gone, too
            return []
        words = answer.split(b"\0")
        untracked, found = set(code.untracked), []
        for meta, path in zip(words[0::2], words[1::2], strict=False):
            _, _, old, _, status = meta.split(b" ")
            if path not in untracked or not (status == b"A" or (status == b"M" and old in _EMPTY)):
                return []
            found.append(path)
        return [] if all(map(programs.is_source, found)) else found  # what a person writes is no output

    def _note(self, arrived: Sequence[bytes]) -> str:
        places, lines = self._places(arrived)
        files = counted(len(arrived), "untracked file")
        first = f"{files} came since the last experiment here, and nothing else is new in the code: {places}"
        return "\n  ".join([f"{first}; outputs of programs are no code once they are declared:", *lines])

    def _places(self, arrived: Sequence[bytes]) -> tuple[str, list[str]]:
        """Return where what came lies, and the lines that declare it."""
        tracked = set(self._names("ls-files"))
        try:
            before = set(self._names("ls-tree", "-r", "--full-tree", self.origin or self.tree))
        except GitFailed:
            before = set()
        found = sorted(patterns_for(arrived, (tracked | before) - set(arrived)).items(), key=lambda one: -len(one[1]))
        shown = [f"{pattern} ({len(paths):,})" if len(paths) > 1 else pattern for pattern, paths in found[:_MOST_LINES]]
        more = ["…"] if len(found) > _MOST_LINES else []
        return ", ".join([*shown, *more]), [declaration(pattern) for pattern, _ in found[:_MOST_LINES]]

    def _names(self, *words: str) -> list[bytes]:
        name_only = ["--name-only"] if words[0] == "ls-tree" else []
        return self.repo.git(words[0], "-z", *name_only, *words[1:]).split(b"\0")[:-1]

    def _save(self, tree: str, origin: str) -> None:
        try:
            with translated(self.file):
                make_own(self.file.parent)
                # In place: one that is read by halves is as good as none, and a kill leaves nothing beside it.
                self.file.write_text(dumps({"tree": tree, "origin": origin}), encoding="utf-8")
        except StateUnwritable:  # then the next experiment has nothing to say of this one
            pass


def _object_name(value: Any) -> str:
    return value if isinstance(value, str) and _OBJECT_NAME.fullmatch(value) else ""
