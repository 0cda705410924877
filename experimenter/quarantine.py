"""A place aside for new objects, as git-receive-pack(1) has it: they are moved in when they are whole, or forgotten."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from experimenter.plumbing import Repo, version
from experimenter.state import remove_tree, translated

MANY = 1_000  # objects, of which each would be a file
_BULK_CHECKIN = (2, 37)  # since which git-update-index(1) puts all that it streams into one pack
_LAST = (".idx", ".rev", ".bitmap", ".mtimes")  # by which git finds a pack, whose rest then has to be there


@contextlib.contextmanager
def quarantined(repo: Repo, place: Path) -> Iterator[Repo]:
    """Give the repository with new objects put aside in a new folder; move them in when the body has ended well.

    Whatever fails, nothing of them stays but what was whole and moved in already, for git-gc(1). Raises
    StateUnwritable. A process that is killed leaves the folder behind.
    """
    try:
        with translated(place):
            place.mkdir()
        yield replace(repo, objects_aside=place)
        with translated(repo.common_dir / "objects"):
            _move_in(place, repo.common_dir / "objects")
    finally:
        remove_tree(place)


def into_one_pack() -> list[str]:
    """Return words for git by which it writes what no filter changes into one pack, as far as it knows how to."""
    return ["-c", "core.bigFileThreshold=0", "-c", "pack.compression=1"] if version() >= _BULK_CHECKIN else []


def pack_many(repo: Repo) -> None:
    """Put objects that lie aside one by one into a pack, if they are many."""
    assert repo.objects_aside
    loose = [file for folder in repo.objects_aside.glob("[0-9a-f][0-9a-f]") for file in folder.iterdir()]
    if len(loose) <= MANY:
        return
    names = "".join(f"{file.parent.name}{file.name}\n" for file in loose)
    packs = repo.objects_aside / "pack"
    packs.mkdir(exist_ok=True)
    repo.git("-c", "pack.compression=1", "pack-objects", "-q", "--window=0", str(packs / "pack"), stdin=names.encode())
    for file in loose:
        file.unlink()


def _move_in(place: Path, objects: Path) -> None:
    """Move objects into a repository; what is there already stays as it is."""
    for folder in sorted(place.iterdir(), key=lambda folder: folder.name != "pack"):
        if folder.is_dir():
            target = objects / folder.name
            _make_folder(target, objects)
            for file in sorted(folder.iterdir(), key=lambda file: file.suffix in _LAST):
                if not file.name.startswith("tmp_"):
                    _move(file, target / file.name)


def _make_folder(folder: Path, objects: Path) -> None:
    """Make a folder for objects as the others are; where several users share a repository, for all of them."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    mode = stat.S_IMODE(objects.stat().st_mode)
    if mode & (stat.S_ISGID | stat.S_IWGRP):
        folder.chmod(mode)


def _move(file: Path, target: Path) -> None:
    """Move a file to where no reader finds half of it, with the group that new files have there."""
    if target.exists():
        return
    group = target.parent.stat().st_gid
    if target.parent.stat().st_mode & stat.S_ISGID and file.stat().st_gid != group:
        with contextlib.suppress(PermissionError):
            os.chown(file, -1, group)
    try:
        file.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(file, target)


def _copy(file: Path, target: Path) -> None:
    """Move a file in from another file system."""
    temporary = target.with_name(f"tmp_obj_{os.urandom(6).hex()}")  # a name that git's own housekeeping knows
    try:
        shutil.copy2(file, temporary)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
