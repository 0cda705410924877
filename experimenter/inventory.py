"""What lies in the work tree, set against a copy of the index: what has to change in that to make it the work tree."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from experimenter.errors import ExperimenterError
from experimenter.patterns import Patterns, is_in_cache
from experimenter.plumbing import Repo, Unread, find_repo, refuse
from experimenter.status import (
    GITLINK,
    Status,
    all_files,
    is_storable,
    lstat,
    special_entries,
    why_unreadable,
)
from experimenter.text import from_bytes, visible

_UPDATE = ("update-index", "-z")


@dataclass(slots=True)
class Inventory:
    """What has to change in a copy of the index to make it the work tree. Paths are relative to the top.

    Caches, and what `outputs` match, are left out as far as they are untracked. `status` is that of the top.
    """

    repo: Repo
    outputs: Patterns
    status: Status = field(default_factory=Status)
    remove: list[bytes] = field(default_factory=list)
    add: list[bytes] = field(default_factory=list)
    gitlinks: list[tuple[bytes, bytes]] = field(default_factory=list)
    untracked: list[bytes] = field(default_factory=list)
    _unread: list[Unread] = field(default_factory=list)

    @classmethod
    def take(cls, repo: Repo, outputs: Patterns, *, scratch: Path) -> Self:
        """Make `scratch` a copy of the index, and look at what lies in the work tree.

        Raises FilesUnreadable if something cannot be read, and ExperimenterError for a broken repository in it.
        """
        found = cls(repo, outputs)
        _copy_index(repo.index, scratch)
        submodules = _look_at_all(repo, scratch)
        found.status = Status.of(repo, index=scratch, but=partial(found._is_no_code, b""))
        found._unread += found.status.unread
        found._plan(submodules)
        refuse(list(dict.fromkeys([*found._unread, *found._unreadable()])))
        return found

    @property
    def is_clean(self) -> bool:
        """Whether all is as HEAD has it."""
        return self.status.is_clean and not self.remove

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Yield each untracked path of a regular file with its size in bytes."""
        for path in self.untracked:
            found = lstat(self.repo, path)
            if found and stat.S_ISREG(found.st_mode):
                yield path, found.st_size

    def _is_no_code(self, place: bytes, path: bytes) -> bool:
        """Say so of an untracked path in the repository at `place`."""
        return is_in_cache(place + path) or self.outputs.match(place + path)

    def _unreadable(self) -> Iterator[Unread]:
        for path in self.add:
            if reason := why_unreadable(self.repo, path):
                yield Unread(path, reason)

    def _plan(self, submodules: list[bytes]) -> None:
        dirty = {path for path in submodules if self._is_dirty(self.repo, path, path + b"/")}
        self.remove += [*self.status.deleted, *dirty]
        for path in self.status.changed:
            if path in dirty:
                continue
            if path not in submodules and lstat(self.repo, path + b"/.git"):  # a file has become a repository
                self.remove.append(path)
                self._add_nested(path + b"/", is_tracked=False)
            else:
                (self.add if is_storable(self.repo, path) else self.remove).append(path)
        for path in self.status.untracked:
            if path.endswith(b"/"):
                self._add_nested(path, is_tracked=False)
            else:
                self.add.append(path)
                self.untracked.append(path)
        for path in sorted(dirty):
            self._add_nested(path + b"/", is_tracked=True)

    def _add_nested(self, place: bytes, *, is_tracked: bool) -> None:
        """Plan the repository at `place` (ending in a slash) as plain files, with the repositories inside it.

        What is left out is what it ignores itself. What it tracks counts as tracked if it is our submodule.
        """
        nested = _open_nested(self.repo, place)
        if nested.common_dir == self.repo.common_dir:
            return  # a linked work tree of the same repository
        is_no_code = partial(self._is_no_code, place)
        status = Status.of(nested, untracked=False)
        gone = set(status.deleted)
        entries, unread = all_files(nested)
        self._note_unread(place, status.unread + [one for one in unread if not is_no_code(one.path)])
        for entry in entries:
            path = place + entry.path
            is_untracked = entry.flag == b"?" or not is_tracked
            if (entry.flag == b"?" and is_no_code(entry.path)) or (is_untracked and self.outputs.match(path)):
                continue
            if entry.flag == b"?" and entry.path.endswith(b"/"):
                self._add_nested(path, is_tracked=False)
            elif entry.mode == GITLINK:
                if _is_populated(nested, entry.path):
                    self._add_nested(path + b"/", is_tracked=is_tracked)
                elif entry.path not in gone:
                    self.gitlinks.append((entry.object, path))
            elif entry.path not in gone and is_storable(nested, entry.path):
                self.add.append(path)
                if is_untracked:
                    self.untracked.append(path)

    def _note_unread(self, place: bytes, found: list[Unread]) -> None:
        for path, reason in found:
            self._unread.append(Unread(path if path.startswith(b"/") else place + path, reason))

    def _is_dirty(self, outer: Repo, path: bytes, place: bytes) -> bool:
        """Say whether a submodule, at `place` from the top, has changes that its own commit does not hold.

        At any depth.
        """
        if not _is_populated(outer, path):
            return False
        nested = _open_nested(outer, path)
        status = Status.of(nested, but=partial(self._is_no_code, place))
        self._note_unread(place, status.unread)
        if not status.is_clean:
            return True
        for entry in special_entries(nested):
            if entry.mode == GITLINK:
                if self._is_dirty(nested, entry.path, place + entry.path + b"/"):
                    return True
            elif entry.is_assumed_unchanged or (entry.is_skipped and lstat(nested, entry.path)):
                return True  # git would not tell
        return False


def _copy_index(index: Path, scratch: Path) -> None:
    """Copy the user's index, which may be replaced meanwhile, with the very time that belongs to its content.

    With a newer time git would trust its cached stat data for a file that was changed right after it was indexed.
    """
    try:
        with index.open("rb") as source:
            scratch.write_bytes(source.read())
            times = os.fstat(source.fileno())
    except FileNotFoundError:
        return  # nothing was ever added; git takes a missing index for an empty one
    os.utime(scratch, ns=(times.st_atime_ns, times.st_mtime_ns))


def _look_at_all(repo: Repo, scratch: Path) -> list[bytes]:
    """Make git look at every file on disk, by flags cleared in `scratch`; return the paths of submodules."""
    submodules, assumed, skipped = [], [], []
    for entry in special_entries(repo, scratch):
        if entry.mode == GITLINK:
            submodules.append(entry.path)
        if entry.is_assumed_unchanged:
            assumed.append(entry.path)
        if entry.is_skipped and lstat(repo, entry.path):
            skipped.append(entry.path)
    for option, paths in (("--no-assume-unchanged", assumed), ("--no-skip-worktree", skipped)):
        if paths:
            repo.git(*_UPDATE, option, "--stdin", stdin=b"\0".join(paths), index=scratch)
    return submodules


def _is_populated(outer: Repo, path: bytes) -> bool:
    """Say whether a repository is at `path`, and not just its empty folder; raise if it has lost its `.git`."""
    found = lstat(outer, path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return False
    if lstat(outer, path + b"/.git") is not None:
        return True
    folder = outer.top / os.fsdecode(path)
    if any(folder.iterdir()):
        shown = visible(from_bytes(path))
        raise ExperimenterError(f"the submodule {shown} has files but no .git; git submodule update --init {shown}")
    return False


def _open_nested(outer: Repo, path: bytes) -> Repo:
    folder = outer.top / os.fsdecode(path.removesuffix(b"/"))
    shown = visible(from_bytes(path))
    try:
        nested = find_repo(folder)
    except ExperimenterError as error:
        raise ExperimenterError(f"cannot read the repository in {shown}: {error.message}") from error
    if not nested.top.samefile(folder):
        raise ExperimenterError(f"the repository in {shown} is broken; mend it, or add it to .gitignore")
    return nested
