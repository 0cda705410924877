"""The code state: the work tree as it stands, stored as a commit aside, without touching anything of the user's."""

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experimenter.errors import ExperimenterError, GitFailed
from experimenter.limits import Limits
from experimenter.plumbing import Repo, find_repo
from experimenter.record import path_lists
from experimenter.status import GITLINK, Status, all_files, is_storable, lstat, special_entries
from experimenter.text import from_bytes, visible

_AUTHOR = "experimenter <experimenter@localhost>"
_MESSAGE = "Code state of an experiment"
_NAMES = ("-r", "-z", "--no-renames", "--ignore-submodules=none", "--name-status")
_UPDATE = ("update-index", "-z")
_ATTEMPTS = 5
_CLOCK_NS = 10_000_000  # by which the time of a change may lag behind (CONFIG_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeState:
    """A commit that holds the work tree, child of the user's HEAD, with what a record says of it."""

    commit: str
    tree: str
    base: str | None
    branch: str | None
    changed: dict[str, Any]

    def to_record(self) -> dict[str, Any]:
        """Return the record's `code`."""
        values = {"commit": self.commit, "tree": self.tree, "base": self.base, "branch": self.branch}
        return {key: value for key, value in values.items() if value is not None} | {"changed": self.changed}


@dataclass(slots=True)
class _Plan:
    """What has to change in a copy of the index to make it the work tree. Paths are relative to the top."""

    remove: list[bytes] = field(default_factory=list)
    add: list[bytes] = field(default_factory=list)
    gitlinks: list[tuple[bytes, bytes]] = field(default_factory=list)
    untracked: list[bytes] = field(default_factory=list)


def take(repo: Repo, limits: Limits, *, scratch: Path) -> CodeState:
    """Store the work tree as a commit and return it.

    `scratch` becomes a copy of the index that matches the files as they were stored; `drift` compares it later.
    Raises FilesRefused, before anything is stored, for untracked files beyond `limits`.
    """
    status, plan = _look(repo, scratch)
    limits.check(_sizes(repo, plan.untracked))
    parent = repo.git("cat-file", "commit", status.head) if status.head else b""
    if parent and status.is_clean and not plan.remove:
        tree = parent[5:].partition(b"\n")[0].decode()
        commit = _commit(repo, tree, status.head, parent)
        changed = path_lists(added=[], modified=[], deleted=[])
    else:
        _apply(repo, plan, scratch)
        tree = repo.git("write-tree", index=scratch).decode().strip()
        commit = _commit(repo, tree, status.head, parent)
        changed = changes(repo, status.head, commit)
    return CodeState(commit=commit, tree=tree, base=status.head, branch=status.branch, changed=changed)


def differences(repo: Repo, commit: str, *, scratch: Path, is_stored: bool) -> dict[str, Any]:
    """Return in which paths the work tree differs from a commit, as a record's `changed`.

    `scratch` becomes an index of the work tree. Unless `is_stored` no content of a file is.
    """
    _, plan = _look(repo, scratch)
    _apply(repo, plan, scratch, is_stored=is_stored)
    return _lists(repo.git("diff-index", "--cached", *_NAMES, commit, index=scratch))


def changes(repo: Repo, base: str | None, commit: str) -> dict[str, Any]:
    """Return in which paths a commit differs from `base`, as a record's `changed`; without one all are added."""
    sides = [base, commit] if base else ["--root", "--no-commit-id", commit]
    return _lists(repo.git("diff-tree", *_NAMES, *sides))


def drift(repo: Repo, *, scratch: Path, but: Path | None = None) -> dict[str, Any] | None:
    """Return the record's `drift`: files but one modified or deleted on disk since `take` made `scratch`; else None."""
    status = Status.of(repo, untracked=False, index=scratch)
    left_out = but and os.fsencode(os.path.relpath(os.path.realpath(but), repo.top))
    modified, deleted = ([path for path in paths if path != left_out] for paths in (status.changed, status.deleted))
    if not modified and not deleted:
        return None
    return path_lists(modified=_texts(modified), deleted=_texts(deleted))


def _look(repo: Repo, scratch: Path) -> tuple[Status, _Plan]:
    """Make `scratch` a copy of the index, and plan what would make it the work tree."""
    _copy_index(repo.index, scratch)
    submodules = _look_at_all(repo, scratch)
    status = Status.of(repo, index=scratch)
    return status, _plan(repo, status, submodules)


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


def _plan(repo: Repo, status: Status, submodules: Iterable[bytes]) -> _Plan:
    dirty = {path for path in submodules if _is_dirty(repo, path)}
    plan = _Plan(remove=[*status.deleted, *dirty])
    for path in status.changed:
        if path in dirty:
            continue
        if path not in submodules and lstat(repo, path + b"/.git"):  # a file has become a repository
            plan.remove.append(path)
            _add_nested(plan, repo, path + b"/", is_tracked=False)
        else:
            (plan.add if is_storable(repo, path) else plan.remove).append(path)
    for path in status.untracked:
        if path.endswith(b"/"):
            _add_nested(plan, repo, path, is_tracked=False)
        else:
            plan.add.append(path)
            plan.untracked.append(path)
    for path in sorted(dirty):
        _add_nested(plan, repo, path + b"/", is_tracked=True)
    return plan


def _add_nested(plan: _Plan, outer: Repo, place: bytes, *, is_tracked: bool) -> None:
    """Plan the repository at `place` (ending in a slash) as plain files, with the repositories inside it.

    What is left out is what it ignores itself. What it tracks counts as tracked if it is our submodule.
    """
    nested = _open_nested(outer, place)
    if nested.common_dir == outer.common_dir:
        return  # a linked work tree of the same repository
    gone = set(Status.of(nested).deleted)
    for entry in all_files(nested):
        path = place + entry.path
        if entry.flag == b"?" and entry.path.endswith(b"/"):
            _add_nested(plan, outer, path, is_tracked=False)
        elif entry.mode == GITLINK:
            if _is_populated(nested, entry.path):
                _add_nested(plan, outer, path + b"/", is_tracked=is_tracked)
            elif entry.path not in gone:
                plan.gitlinks.append((entry.object, path))
        elif entry.path not in gone and is_storable(nested, entry.path):
            plan.add.append(path)
            if entry.flag == b"?" or not is_tracked:
                plan.untracked.append(path)


def _is_dirty(outer: Repo, path: bytes) -> bool:
    """Say whether a submodule has changes that its own commit does not hold, at any depth."""
    if not _is_populated(outer, path):
        return False
    nested = _open_nested(outer, path)
    if not Status.of(nested).is_clean:
        return True
    for entry in special_entries(nested):
        if entry.mode == GITLINK:
            if _is_dirty(nested, entry.path):
                return True
        elif entry.is_assumed_unchanged or (entry.is_skipped and lstat(nested, entry.path)):
            return True  # git would not tell
    return False


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


def _apply(repo: Repo, plan: _Plan, scratch: Path, *, is_stored: bool = True) -> None:
    """Carry out the plan on the scratch index, and store the contents of files.

    A file may go between the moment at which git finds it and the one at which it reads it: then git is asked again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        since_ns = time.time_ns() - _CLOCK_NS
        try:
            _apply_once(repo, plan, scratch, is_stored=is_stored)
            break
        except GitFailed:
            if attempt == _ATTEMPTS or not any(_has_changed(repo, path, since_ns) for path in plan.add):
                raise


def _has_changed(repo: Repo, path: bytes, since_ns: int) -> bool:
    found = lstat(repo, path)
    return found is None or found.st_ctime_ns >= since_ns


def _apply_once(repo: Repo, plan: _Plan, scratch: Path, *, is_stored: bool) -> None:
    if plan.remove:
        repo.git(*_UPDATE, "--force-remove", "--stdin", stdin=b"\0".join(plan.remove), index=scratch)
    if plan.add:
        words = (*([] if is_stored else ["--info-only"]), "--add", "--remove", "--replace", "--stdin")
        repo.git(*_UPDATE, *words, stdin=b"\0".join(plan.add), index=scratch)
    if plan.gitlinks:
        lines = [GITLINK + b" " + commit + b"\t" + path for commit, path in plan.gitlinks]
        repo.git(*_UPDATE, "--index-info", stdin=b"\0".join(lines), index=scratch)


def _commit(repo: Repo, tree: str, base: str | None, parent: bytes) -> str:
    """Store the commit, a pure function of the tree and the parent, and return its SHA.

    It is written as an object, since git-commit-tree(1) heeds the user's settings and environment.
    """
    committed = re.search(rb"^committer .*> (\d+ [-+]\d{4})$", parent.partition(b"\n\n")[0], re.MULTILINE)
    date = committed[1] if committed else b"0 +0000"
    lines = [f"tree {tree}", *([f"parent {base}"] if base else [])]
    lines += [f"{role} {_AUTHOR} {date.decode()}" for role in ("author", "committer")]
    content = "\n".join([*lines, "", _MESSAGE, ""])
    return repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=content.encode()).decode().strip()


def _lists(answer: bytes) -> dict[str, Any]:
    """Return the paths that git names with what became of each, as a record's `changed`."""
    words = answer.split(b"\0")
    lists: dict[bytes, list[bytes]] = {b"A": [], b"M": [], b"D": []}
    for kind, path in zip(words[0::2], words[1::2], strict=False):
        lists.get(kind, lists[b"M"]).append(path)
    return path_lists(added=_texts(lists[b"A"]), modified=_texts(lists[b"M"]), deleted=_texts(lists[b"D"]))


def _sizes(repo: Repo, paths: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield each path of a regular file with its size in bytes."""
    for path in paths:
        found = lstat(repo, path)
        if found and stat.S_ISREG(found.st_mode):
            yield path, found.st_size


def _texts(paths: Iterable[bytes]) -> list[str]:
    return [from_bytes(path) for path in paths]
