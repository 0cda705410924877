"""The submodules of a linked work tree: checked out from those of the user's own, without the network."""

import logging
import os
from pathlib import Path

from experimenter import annex
from experimenter.bounds import crossed
from experimenter.errors import ExperimenterError, GitFailed
from experimenter.linked import EXACTLY
from experimenter.plumbing import Repo, find_repo
from experimenter.status import GITLINK, lstat
from experimenter.text import from_bytes, visible

_log = logging.getLogger("experimenter")


def fill(original: Repo, private: Repo, index: Path | None = None, *, is_lasting: bool) -> None:
    """Check out each submodule in the index at its commit from the user's own; one that has none there stays empty.

    One that is to last has objects of its own, else they are the user's. Raises ExperimenterError.
    """
    for path, commit in paths(private, index).items():
        if lstat(original, path + b"/.git") is None:
            _log.warning("the submodule %s is not here, so that its folder is empty", visible(from_bytes(path)))
            continue
        source, place = (top / os.fsdecode(path) for top in (original.top, private.top))
        if where := crossed(private, place):
            raise ExperimenterError(f"the submodule {visible(from_bytes(path))} is {where}; nothing is put there")
        words = ("clone", "--quiet", *([] if is_lasting else ["--shared"]), "--no-checkout", "--template=")
        private.git(*EXACTLY, *words, "--", str(source), str(place))
        found, submodule = find_repo(source), find_repo(place)
        try:
            submodule.git(*EXACTLY, "checkout", "--quiet", "--detach", "--force", commit)
        except GitFailed as error:
            raise ExperimenterError(
                f"the submodule {visible(from_bytes(path))} here lacks the commit {commit}; fetch it there, or ask"
                " whoever made the experiment to push it",
                details=error.details or (error.message,),
            ) from error
        annex.check(submodule, found)
        fill(found, submodule, is_lasting=is_lasting)


def paths(private: Repo, index: Path | None = None) -> dict[bytes, str]:
    """Return the commit of each submodule in the index, by its path."""
    lines = private.git("ls-files", "-z", "-s", index=index).split(b"\0")
    found = (line.partition(b"\t") for line in lines if line.startswith(GITLINK))
    return {path: meta.split(b" ")[1].decode() for meta, _, path in found}
