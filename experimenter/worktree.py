"""The private work tree of an isolated run: exactly the code state, and what is linked into it."""

import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experimenter.errors import BadSetting, ExperimenterError, GitFailed
from experimenter.plumbing import Repo, find_repo
from experimenter.state import remove_tree
from experimenter.status import GITLINK, lstat
from experimenter.text import from_bytes, visible

_log = logging.getLogger("experimenter")

# Its files are those of the code state alone, whatever the user has set for their own work tree.
_EXACTLY = (
    "-c",
    "core.sparseCheckout=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "protocol.file.allow=always",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTree:
    """A private work tree, and the user's repository that it belongs to."""

    original: Repo
    private: Repo

    @classmethod
    def make(cls, original: Repo, commit: str, place: Path, *, links: Iterable[str], is_shared: bool = False) -> Self:
        """Check out `commit` at `place` as a linked work tree; fill submodules and link ignored paths from the user's.

        One that `is_shared` by those who use it in turn is there already for the second, and brought back to the
        commit. Nothing comes over the network. Raises GitFailed; the caller removes what was made so far.
        """
        private = _brought_back(place, commit) if is_shared else None
        if private is None:
            remove_tree(place)
            _register(original, commit, place)
            private = _filled(place)
            if is_shared:
                shutil.copy2(private.index, _first_index(private))
        _fill_submodules(original, private, is_lasting=False)
        for path in links:
            if (private.top / path).exists():
                _log.warning("%s is part of the code; only what is ignored in it now is linked, not what comes", path)
            _link(original.top / path, private.top / path)
        made = cls(original=original, private=private)
        made.directory.mkdir(parents=True, exist_ok=True)
        return made

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


def check_out(repo: Repo, commit: str, place: Path) -> None:
    """Check out `commit` at `place` as a linked work tree that lasts, submodules filled from ours.

    Raises GitFailed, with nothing left of it.
    """
    _register(repo, commit, place)
    try:
        lasting = _filled(place)
        if lasting.git("config", "--type=bool", "--get", "extensions.worktreeConfig", expected=(0, 1)) == b"true\n":
            lasting.git("config", "--worktree", "core.sparseCheckout", "false")  # which it has from ours
        _fill_submodules(repo, lasting, is_lasting=True)
    except BaseException:
        repo.git("worktree", "remove", "--force", str(place), expected=(0, 128))
        raise


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


def _register(original: Repo, commit: str, place: Path) -> None:
    """Make a linked work tree without files; what git cannot make it removes itself."""
    # By force, since whoever used a shared one before may have removed it.
    words = ("worktree", "add", "--force", "--detach", "--no-checkout", "--quiet", "--", str(place), commit)
    original.git("-c", "worktree.useRelativePaths=false", *words)


def _filled(place: Path) -> Repo:
    """Let a linked work tree have exactly the files of its commit."""
    private = find_repo(place)
    private.git(*_EXACTLY, "reset", "--hard", "--quiet")
    return private


def _brought_back(place: Path, commit: str) -> Repo | None:
    """Let a linked work tree have exactly the files of a commit again, whatever was done in it; submodules go.

    Return nothing if there is none, or if it cannot be brought back.
    """
    if not (place / ".git").exists():
        return None
    try:
        private = find_repo(place)
        shutil.copy2(_first_index(private), private.index)  # flags in the one that is there would hide changes
        private.git("update-ref", "--no-deref", "HEAD", commit)
        private.git(*_EXACTLY, "reset", "--hard", "--quiet")
        private.git(*_EXACTLY, "clean", "-ffdxq")
    except (ExperimenterError, OSError):  # a git was killed in it, or the command has made folders read-only
        return None
    for path in _submodules(private):
        remove_tree(private.top / os.fsdecode(path))
    return private


def _first_index(private: Repo) -> Path:
    """Return the copy of the index as it was when the files had just been checked out, with its very time."""
    return private.git_dir / "first-index"


def _fill_submodules(original: Repo, private: Repo, *, is_lasting: bool) -> None:
    """Check out each submodule at its commit from the user's own; one that has none there stays empty.

    One that is to last has objects of its own, else they are the user's.
    """
    for path, commit in _submodules(private).items():
        if lstat(original, path + b"/.git") is None:
            _log.warning("the submodule %s is not here, so that its folder is empty", visible(from_bytes(path)))
            continue
        source, place = (top / os.fsdecode(path) for top in (original.top, private.top))
        words = ("clone", "--quiet", *([] if is_lasting else ["--shared"]), "--no-checkout", "--template=")
        private.git(*_EXACTLY, *words, "--", str(source), str(place))
        submodule = find_repo(place)
        try:
            submodule.git(*_EXACTLY, "checkout", "--quiet", "--detach", "--force", commit)
        except GitFailed as error:
            raise ExperimenterError(
                f"the submodule {visible(from_bytes(path))} here lacks the commit {commit}; fetch it there, or ask"
                " whoever made the experiment to push it",
                details=error.details or (error.message,),
            ) from error
        _fill_submodules(find_repo(source), submodule, is_lasting=is_lasting)


def _submodules(private: Repo) -> dict[bytes, str]:
    """Return the commit of each submodule, by its path."""
    lines = private.git("ls-files", "-z", "-s").split(b"\0")
    found = (line.partition(b"\t") for line in lines if line.startswith(GITLINK))
    return {path: meta.split(b" ")[1].decode() for meta, _, path in found}


def _link(source: Path, target: Path) -> None:
    """Let `target` be `source`; where the code state has a folder of that name, only what is missing in it."""
    if target.is_dir() and not target.is_symlink() and source.is_dir():
        for child in source.iterdir():
            _link(child, target / child.name)
    elif not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
