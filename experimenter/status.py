"""What git says of a work tree and its index, and what lies on disk there."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from experimenter.plumbing import Repo, Unread
from experimenter.text import from_bytes

GITLINK = b"160000"
_STATUS = (
    "status",
    "--porcelain=v2",
    "-z",
    "--branch",
    "--no-ahead-behind",
    "--no-renames",
    "--ignore-submodules=dirty",
)


@dataclass(slots=True)
class Status:
    """What one `git status` says: HEAD, paths whose content on disk the index does not hold, and what is unread."""

    head: str | None = None
    branch: str | None = None
    is_clean: bool = True
    changed: list[bytes] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)
    untracked: list[bytes] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        repo: Repo,
        *,
        untracked: bool = True,
        index: Path | None = None,
        but: Callable[[bytes], bool] = lambda _: False,
    ) -> Self:
        """Ask git; with `index` that index is compared with the files. Untracked paths for which `but` says so go."""
        found = cls()
        mode = "all" if untracked else "no"
        answer, unread = repo.look(*_STATUS, f"--untracked-files={mode}", index=index)
        found.unread = [one for one in unread if not but(one.path)]
        for line in filter(None, answer.split(b"\0")):
            found._take(line, but)
        return found

    def _take(self, line: bytes, but: Callable[[bytes], bool]) -> None:
        kind, _, rest = line.partition(b" ")
        if kind == b"#":
            key, _, value = rest.partition(b" ")
            if key == b"branch.oid" and value != b"(initial)":
                self.head = value.decode()
            elif key == b"branch.head" and value != b"(detached)":
                self.branch = from_bytes(value)
            return
        if kind == b"?" and but(rest):
            return
        self.is_clean = False
        if kind == b"?":
            self.untracked.append(rest)
        elif kind == b"u":
            path = rest.split(b" ", 9)[9]
            (self.deleted if rest.split(b" ", 6)[5] == b"000000" else self.changed).append(path)
        elif rest[1:2] != b".":
            path = rest.split(b" ", 7)[7]
            (self.deleted if rest[1:2] == b"D" else self.changed).append(path)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of `git ls-files -v -s`: a path in the index, or an untracked one (`flag` is `?`)."""

    flag: bytes
    mode: bytes
    object: bytes
    path: bytes

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line."""
        flag, rest = line[:1], line[2:]
        if flag == b"?":
            return cls(flag, b"", b"", rest)
        meta, _, path = rest.partition(b"\t")
        mode, oid, _ = meta.split(b" ")
        return cls(flag, mode, oid, path)

    @property
    def is_assumed_unchanged(self) -> bool:
        """Whether git does not look at the file on disk."""
        return self.flag.islower()

    @property
    def is_skipped(self) -> bool:
        """Whether the file is outside of a sparse checkout."""
        return self.flag in (b"S", b"s")


def special_entries(repo: Repo, index: Path | None = None) -> Iterator[IndexEntry]:
    """Yield the entries of the index that need a look: submodules, and files that git was told not to look at."""
    ordinary = (b"H 100", b"M 100", b"H 120", b"M 120")
    for line in repo.git("ls-files", "-z", "-v", "-s", index=index).split(b"\0"):
        if line and not line.startswith(ordinary):
            yield IndexEntry.parse(line)


def all_files(repo: Repo) -> tuple[list[IndexEntry], list[Unread]]:
    """Return the entries of the index, each path once, and the untracked files, without those that are ignored.

    With them comes what could not be read.
    """
    answer, unread = repo.look("ls-files", "-z", "-v", "-s", "-c", "-o", "--exclude-standard")
    found: dict[bytes, IndexEntry] = {}
    for line in answer.split(b"\0")[:-1]:
        entry = IndexEntry.parse(line)
        found.setdefault(entry.path, entry)  # else another stage of a conflict
    return list(found.values()), unread


def lstat(repo: Repo, path: bytes) -> os.stat_result | None:
    """Return what stat(2) says of a path relative to the top, of a symlink itself; nothing if nothing is there."""
    try:
        return os.lstat(os.fsencode(repo.top) + b"/" + path)
    except OSError as error:
        return _lstat_from_top(repo, path) if error.errno == errno.ENAMETOOLONG else None


def _lstat_from_top(repo: Repo, path: bytes) -> os.stat_result | None:
    """Return what `lstat` does, as git finds it: from the top, where a path may be longer by what leads there."""
    top = os.open(repo.top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.lstat(path, dir_fd=top)
    except OSError:
        return None
    finally:
        os.close(top)


def why_unreadable(repo: Repo, path: bytes) -> str:
    """Return why our user cannot read the file at a path; empty if they can, or nothing is there."""
    try:
        if os.access(os.fsencode(repo.top) + b"/" + path, os.R_OK):
            return ""
        found = os.lstat(os.fsencode(repo.top) + b"/" + path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and _lstat_from_top(repo, path):
            return ""
        return "" if error.errno in (errno.ENOENT, errno.ENOTDIR) else os.strerror(error.errno or 0)
    return os.strerror(errno.EACCES) if stat.S_ISREG(found.st_mode) else ""


def is_storable(repo: Repo, path: bytes) -> bool:
    """Say whether git can store what is at `path`: no socket, no device, and not nothing."""
    found = lstat(repo, path)
    return found is not None and (
        stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) or stat.S_ISDIR(found.st_mode)
    )
