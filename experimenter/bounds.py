"""The bounds of a work tree: what leads out of it, or into a git directory, once links are resolved."""

import os
from collections.abc import Iterable
from pathlib import Path

from experimenter.plumbing import Repo

_LINK = "120000"  # the mode that git gives it
_MOST_LINKS = 40  # that Linux follows (path_resolution(7))
OUTSIDE, IN_GIT_DIR = "outside of the work tree", "in a git directory"


def crossed(repo: Repo, place: Path, *, allowed: Iterable[Path] = ()) -> str:
    """Say where a place is that is not in the work tree, links resolved; empty if it is in it.

    It may be in the `allowed` folders, too. What is not there yet counts as it would be made.
    """
    top, real = _real(repo.top), _real(place)
    if not _is_in(top, real):
        return "" if any(_is_in(_real(folder), real) for folder in allowed) else OUTSIDE
    below = [folder for folder in (real, *real.parents) if top in folder.parents]
    return IN_GIT_DIR if any(_is_git_dir(repo, folder) for folder in below) else ""


def crossed_in(repo: Repo, tree: str, path: bytes) -> str:
    """Say, as `crossed`, where a path is once a tree is checked out; what the tree lacks counts as a folder."""
    resolved: list[bytes] = []
    pending, links, is_there = path.split(b"/"), 0, True
    while pending:
        part = pending.pop(0)
        if part == b".." and not resolved:
            return OUTSIDE
        if part == b".git":
            return IN_GIT_DIR
        if part == b"..":
            resolved.pop()
        elif part not in (b"", b"."):
            mode, target = _entry(repo, tree, b"/".join([*resolved, part])) if is_there else ("", b"")
            is_there = bool(mode)
            links += mode == _LINK
            if mode == _LINK and (target.startswith(b"/") or links > _MOST_LINKS):
                return OUTSIDE
            if mode == _LINK:
                pending = target.split(b"/") + pending
            else:
                resolved.append(part)
    return ""


def _entry(repo: Repo, tree: str, path: bytes) -> tuple[str, bytes]:
    """Return the mode of what a tree has at a path, and where it leads if it is a link; nothing if there is nothing."""
    found = repo.git("ls-tree", "-z", tree, "--", os.fsdecode(path), env={"GIT_LITERAL_PATHSPECS": "1"}).decode(
        errors="replace"
    )
    mode, _, oid = found.partition("\t")[0].partition(" ")
    return mode, repo.git("cat-file", "blob", oid.partition(" ")[2]) if mode == _LINK else b""


def _real(place: Path) -> Path:
    return Path(os.path.realpath(place))


def _is_in(top: Path, place: Path) -> bool:
    return top == place or top in place.parents


def _is_git_dir(repo: Repo, folder: Path) -> bool:
    """Say whether a folder is a git directory, by any name: not every disk tells `.GIT` from `.git`."""
    known = (folder.with_name(".git"), repo.git_dir, repo.common_dir)
    return folder.name == ".git" or any(_is_same(folder, other) for other in known)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
