"""The private work tree of an isolated run: exactly the code state, and what is linked into it."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experimenter import linked, submodules
from experimenter.bounds import crossed
from experimenter.codestate import Code
from experimenter.errors import BadSetting, CannotRerun
from experimenter.plumbing import Repo
from experimenter.state import StateFolder, locked, remove_tree, translated
from experimenter.text import visible

_log = logging.getLogger("experimenter")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTree:
    """A private work tree, and the user's repository that it belongs to."""

    original: Repo
    private: Repo

    @classmethod
    def make(cls, original: Repo, commit: str, place: Path, *, links: Iterable[str], is_shared: bool = False) -> Self:
        """Make a linked work tree of a code state at `place`; fill submodules and link ignored paths from the user's.

        One that `is_shared` by those who use it in turn is there already for the second, and brought back to the code.
        Nothing comes over the network. Raises ExperimenterError, CannotRerun for a directory out of bounds; the caller
        removes what was made so far.
        """
        code = Code.of(original, commit)
        private = _brought_back(place, code) if is_shared else None
        if private is None:
            remove_tree(place)
            linked.register(original, code, place)
            private = linked.filled(place, code)
        submodules.fill(original, private, linked.code_index(private), is_lasting=False)
        made = cls(original=original, private=private)
        links = list(links)
        for path in links:
            made._link(path)
        made._make_directory(links)
        return made

    @property
    def index(self) -> Path:
        """The index of the code state, which the command does not know."""
        return linked.code_index(self.private)

    @property
    def directory(self) -> Path:
        """The folder that stands for the one we are in."""
        return self.private.top / os.fsdecode(self.original.prefix)

    def mapped(self, path: Path) -> Path:
        """Return what stands for a path of the user's work tree; a path outside of it as it is."""
        real = _located(path)
        if real == self.original.top or self.original.top in real.parents:
            return self.private.top / real.relative_to(self.original.top)
        return path

    def _link(self, path: str) -> None:
        """Let a path relative to the top be there what it is in the user's work tree."""
        target = self.private.top / path
        if where := crossed(self.private, target.parent):
            raise BadSetting(f"--link: in the code state {visible(path)} is {where}; leave the option out")
        if target.exists():
            _log.warning("%s is part of the code; only what is ignored in it now is linked, not what comes", path)
        _link(self.original.top / path, target)

    def _make_directory(self, links: Iterable[str]) -> None:
        """Make the folder that stands for the one we are in, if the code state lacks it: git keeps no empty ones."""
        shown = visible(os.fsdecode(self.original.prefix.rstrip(b"/")))
        if where := crossed(self.private, self.directory, allowed=[self.original.top / path for path in links]):
            raise CannotRerun(f"in the code state the directory {shown} is {where}; go elsewhere, nothing is run there")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRerun(f"cannot make {shown} in the private work tree: {error.strerror}") from error


def check_out(repo: Repo, code: Code, place: Path, *, branch: str) -> None:
    """Check out a code state at `place` as a linked work tree that lasts, submodules filled from ours.

    Without a base HEAD is on a new `branch`, to be born with its first commit. Raises ExperimenterError, with nothing
    left of it.
    """
    state = StateFolder.of(repo)
    with translated(state.path):
        state.make()
    with locked(state.path / "checkout.lock"):  # git takes two at once into one folder, and both lose it
        linked.register(repo, code, place)
    try:
        lasting = linked.filled(place, code, branch=branch)
        if lasting.git("config", "--type=bool", "--get", "extensions.worktreeConfig", expected=(0, 1)) == b"true\n":
            lasting.git("config", "--worktree", "core.sparseCheckout", "false")  # which it has from ours
        submodules.fill(repo, lasting, linked.code_index(lasting), is_lasting=True)
        linked.code_index(lasting).unlink()
    except BaseException:
        repo.git("worktree", "remove", "--force", str(place), expected=(0, 128))
        raise


def _brought_back(place: Path, code: Code) -> Repo | None:
    """Return a shared work tree as it was made, without the submodules; nothing if that cannot be."""
    if private := linked.brought_back(place, code):
        for path in submodules.paths(private, linked.code_index(private)):
            remove_tree(private.top / os.fsdecode(path))
    return private


def checked_links(repo: Repo, given: Sequence[Path], configured: Sequence[str]) -> list[str]:
    """Return paths of `--link`, and of `experimenter.link`, relative to the top of the work tree.

    Raises BadSetting for one that is not there, or not in the work tree.
    """
    paths = [(path.absolute(), "--link") for path in given]
    paths += [(repo.top / path, "git config experimenter.link") for path in configured]
    checked = []
    for path, option in paths:
        real = _located(path)
        shown = visible(str(path))
        if not os.path.lexists(path):
            raise BadSetting(f"{option}: there is no {shown} to link; make it, or leave the option out")
        if repo.top not in real.parents:
            raise BadSetting(f"{option}: {shown} is not in the work tree {visible(str(repo.top))}; give its path there")
        checked.append(str(real.relative_to(repo.top)))
    return checked


def _located(path: Path) -> Path:
    """Return where a path is, without following it if it is a symlink itself."""
    path = Path(os.path.normpath(path)) if path.name == ".." else path
    return Path(os.path.realpath(path.parent)) / path.name


def _link(source: Path, target: Path) -> None:
    """Let `target` be `source`; where the code state has a folder of that name, only what is missing in it."""
    if target.is_dir() and not target.is_symlink() and source.is_dir():
        for child in source.iterdir():
            _link(child, target / child.name)
    elif not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
