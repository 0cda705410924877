"""The code state: the work tree as it stands, stored as a commit aside, without touching anything of the user's."""

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experimenter import budget
from experimenter.errors import GitFailed
from experimenter.inventory import Inventory
from experimenter.limits import Limits
from experimenter.patterns import NO_PATTERNS, Patterns
from experimenter.plumbing import Repo, refuse
from experimenter.quarantine import MANY, into_one_pack, pack_many, quarantined
from experimenter.record import path_lists
from experimenter.status import GITLINK, Status, lstat
from experimenter.text import from_bytes

_AUTHOR = "experimenter <experimenter@localhost>"
_MESSAGE = "Code state of an experiment"
_NAMES = ("-r", "-z", "--no-renames", "--ignore-submodules=none", "--name-status")
_UPDATE = ("update-index", "-z")
_ATTEMPTS = 5
_CLOCK_NS = 10_000_000  # by which the time of a change may lag behind (CONFIG_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeState:
    """A commit that holds the work tree, child of the user's HEAD, with what a record says of it.

    `untracked` are paths of it that git does not track.
    """

    commit: str
    tree: str
    base: str | None
    branch: str | None
    changed: dict[str, Any]
    untracked: Sequence[bytes] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the record's `code`."""
        values = {"commit": self.commit, "tree": self.tree, "base": self.base, "branch": self.branch}
        return {key: value for key, value in values.items() if value is not None} | {"changed": self.changed}


def take(repo: Repo, limits: Limits, *, scratch: Path, outputs: Patterns = NO_PATTERNS) -> CodeState:
    """Store the work tree, without untracked `outputs`, as a commit and return it.

    `scratch` becomes a copy of the index that matches the files as they were stored; `drift` compares it later.
    Raises FilesRefused, before anything is stored, for files that cannot be read, and untracked ones beyond `limits`.
    """
    plan = Inventory.take(repo, outputs, scratch=scratch)
    status = plan.status
    sizes = dict(plan.sizes())
    limits.check(sizes.items())
    budget.check(repo, sizes, limits)
    parent = repo.git("cat-file", "commit", status.head) if status.head else b""
    with quarantined(repo, scratch.with_name(f"{scratch.name}-objects")) as aside:
        if parent and plan.is_clean:
            tree = parent[5:].partition(b"\n")[0].decode()
            changed = path_lists(added=[], modified=[], deleted=[])
        else:
            _apply(aside, plan, scratch)
            tree = aside.git("write-tree", index=scratch).decode().strip()
            pack_many(aside)
            changed = changes(aside, status.head, tree)
        commit = _commit(aside, tree, status.head, parent)
    return CodeState(
        commit=commit, tree=tree, base=status.head, branch=status.branch, changed=changed, untracked=plan.untracked
    )


def differences(
    repo: Repo, commit: str, *, scratch: Path, is_stored: bool, outputs: Patterns = NO_PATTERNS
) -> dict[str, Any]:
    """Return in which paths the work tree differs from a commit, as a record's `changed`.

    `scratch` becomes an index of the work tree. Unless `is_stored` no content of a file is.
    """
    plan = Inventory.take(repo, outputs, scratch=scratch)
    _apply(repo, plan, scratch, is_stored=is_stored)
    return _lists(repo.git("diff-index", "--cached", *_NAMES, commit, index=scratch))


def tree_of_files(repo: Repo, *, scratch: Path, outputs: Patterns = NO_PATTERNS) -> str:
    """Return the tree that `take` would make, without storing the content of a file.

    The trees are stored where `repo` puts its objects. `scratch` becomes an index of the work tree.
    """
    _apply(repo, Inventory.take(repo, outputs, scratch=scratch), scratch, is_stored=False)
    return repo.git("write-tree", "--missing-ok", index=scratch).decode().strip()


def changes(repo: Repo, base: str | None, commit: str) -> dict[str, Any]:
    """Return in which paths a commit or tree differs from `base`, as a record's `changed`; else all are added."""
    if base:
        return _lists(repo.git("diff-tree", *_NAMES, base, commit))
    names = repo.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).split(b"\0")[:-1]
    return path_lists(added=_texts(names), modified=[], deleted=[])


def drift(repo: Repo, *, scratch: Path, but: Path | None = None) -> dict[str, Any] | None:
    """Return the record's `drift`: files but one modified or deleted on disk since `take` made `scratch`; else None."""
    status = Status.of(repo, untracked=False, index=scratch)
    refuse(status.unread)
    left_out = but and os.fsencode(os.path.relpath(os.path.realpath(but), repo.top))
    modified, deleted = ([path for path in paths if path != left_out] for paths in (status.changed, status.deleted))
    if not modified and not deleted:
        return None
    return path_lists(modified=_texts(modified), deleted=_texts(deleted))


def _apply(repo: Repo, plan: Inventory, scratch: Path, *, is_stored: bool = True) -> None:
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


def _apply_once(repo: Repo, plan: Inventory, scratch: Path, *, is_stored: bool) -> None:
    if plan.remove:
        repo.git(*_UPDATE, "--force-remove", "--stdin", stdin=b"\0".join(plan.remove), index=scratch)
    if plan.add:
        before = into_one_pack() if is_stored and len(plan.add) > MANY else []
        words = (*([] if is_stored else ["--info-only"]), "--add", "--remove", "--replace", "--stdin")
        refuse(repo.look(*before, *_UPDATE, *words, stdin=b"\0".join(plan.add), index=scratch)[1])
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


def _texts(paths: Iterable[bytes]) -> list[str]:
    return [from_bytes(path) for path in paths]
