"""The bounds of a work tree: what leads out of it, or into a git directory, once links are resolved."""

import os
from collections.abc import Iterable
from pathlib import Path

from experimenter.plumbing import Repo


def crossed(repo: Repo, place: Path, *, allowed: Iterable[Path] = ()) -> str:
    """Say where a place leads that is not in the work tree, links resolved; empty if it stays in it.

    It may lead into the `allowed` folders, too. What is not there yet counts as it would be made.
    """
    top, real = _real(repo.top), _real(place)
    if not _is_in(top, real):
        return "" if any(_is_in(_real(folder), real) for folder in allowed) else "out of the work tree"
    below = [folder for folder in (real, *real.parents) if top in folder.parents]
    return "into a git directory" if any(_is_git_dir(repo, folder) for folder in below) else ""


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
