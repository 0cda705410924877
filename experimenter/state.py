"""The state folder `experimenter/` in the common git directory: the name of every file, and how they are written."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from experimenter import aside, names
from experimenter.errors import StateUnwritable
from experimenter.fields import BadField, Fields
from experimenter.ownership import STATE, way_out
from experimenter.plumbing import Repo
from experimenter.text import visible

_log = logging.getLogger("experimenter")

_STATUSES = ("queued", "running", "completed", "failed", "stopped", "interrupted")
_LARGEST_STATUS = 255  # of a process, as the system tells it
OLD = ".old-"  # begins the names of folders that are being removed


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Knows the name of every file outside of the entries: `runs/`, and `logs/`, which outlives the experiments."""

    path: Path

    @classmethod
    def of(cls, repo: Repo) -> Self:
        """Return the state folder of a repository, shared by its linked work trees."""
        return cls(repo.common_dir / STATE)

    @property
    def runs(self) -> Path:
        """The folder with an entry for each experiment that is alive."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """The folder of what outlives the experiments."""
        return self.path / "logs"

    def log(self, id_: str) -> Path:
        """Return the file with the output of an experiment."""
        return self.logs / f"{id_}.log"

    def ending(self, id_: str) -> Path:
        """Return the file that says how an experiment ended, as JSON: `tag`, `status`, `exit_code`, `is_kept`."""
        return self.logs / f"{id_}.json"

    def unreadable_results(self, id_: str) -> Path:
        """Return the file with the raw text of results that could not be read."""
        return self.logs / f"{id_}.results"

    @property
    def sweeps(self) -> Path:
        """The folder with a folder for each sweep that is alive."""
        return self.path / "sweeps"

    @property
    def jobs(self) -> Path:
        """The folder with a folder for each submission to a cluster of which something is still to come."""
        return self.path / "jobs"

    @property
    def linked(self) -> Path:
        """The folder in which git notes linked work trees (gitrepository-layout(5))."""
        return self.path.parent / "worktrees"

    def work_tree_name(self, id_: str) -> str:
        """Return the name of an isolated run's private work tree, which is also git's name for it.

        Where the cells of a sweep share one, `id_` is `<sweep>-<folder of its worker>-<slot>`.
        """
        return f"experimenter-{id_}"

    def owner_of_work_tree(self, id_: str) -> Path:
        """Return the folder that a private work tree goes with."""
        sweep, _, rest = id_.partition("-")
        return self.sweeps / sweep / rest.rpartition("-")[0] if rest else self.runs / id_

    def folders(self) -> list[Path]:
        """Return the folders of all entries."""
        try:
            folders = [path for path in self.runs.iterdir() if not path.name.startswith(".")]
            return [path for path in folders if path.is_dir() and not path.is_symlink()]
        except (FileNotFoundError, PermissionError):  # nothing ever ran here, or another user's only
            return []

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, or has left something behind. Cheap."""
        try:
            left = self.linked.exists() or self.has_jobs or any(self.sweeps.glob("*/"))
            return not left and not (self.runs.exists() and any(os.scandir(self.runs)))
        except OSError:  # another user's
            return False

    @property
    def has_jobs(self) -> bool:
        """Whether anything was submitted to a cluster, and has not ended, as far as we may see it."""
        try:
            return self.jobs.exists()
        except PermissionError:
            return False

    def make(self) -> None:
        """Make the folders, for nobody but us."""
        for folder in (self.path, self.runs, self.logs):
            aside.make_own(folder)

    def remove(self, folder: Path) -> None:
        """Take a folder out of sight in one step, then remove it; others may still write into it."""
        aside = self.runs / f"{OLD}{folder.name}-{os.urandom(4).hex()}"
        folder.rename(aside)
        remove_tree(aside)
        if aside.exists():
            _log.warning("cannot remove all of %s; files in it belong to somebody else, or are in use", aside)

    def remove_linked(self, id_: str) -> None:
        """Remove what git notes of a private work tree, if that is ours, as git-worktree(1) would."""
        noted = self.linked / self.work_tree_name(id_)
        with contextlib.suppress(OSError):
            if Path(os.path.realpath(self.path)) not in place_of(noted).parents:
                return
        with contextlib.suppress(OSError):  # there is none, or others are left
            self.remove(noted)
            self.linked.rmdir()

    def drop_oldest_logs(self, keep: int) -> None:
        """Delete the files of all but the newest `keep` experiments that have ended."""
        newest: dict[str, int] = {}
        with os.scandir(self.logs) as files:
            for file in files:
                id_ = file.name.rpartition(".")[0]
                if not id_:  # no file of ours, such as .nfs0001
                    continue
                with contextlib.suppress(FileNotFoundError):  # another run drops them, too
                    newest[id_] = max(newest.get(id_, 0), file.stat().st_mtime_ns)
        alive = {folder.name.partition("-")[0] for place in (self.runs, self.jobs) for folder in place.glob("*")}
        for id_ in sorted(newest.keys() - alive, key=newest.__getitem__, reverse=True)[keep:]:
            self.drop_logs(id_)

    def drop_logs(self, id_: str) -> None:
        """Delete what outlived one experiment."""
        for path in self.logs.glob(f"{id_}.*"):
            remove_tree(path)

    def drop_strays(self) -> None:
        """Delete what an older version wrote among the logs, to be renamed, when it was killed."""
        with contextlib.suppress(OSError):  # another user's
            for path in self.logs.glob("*.tmp"):
                places = [self.runs / path.stem, self.sweeps / path.stem, self.jobs / path.stem]
                if not any(place.exists() for place in places):  # else it may still be at it
                    path.unlink()


def place_of(noted: Path) -> Path:
    """Return where a linked work tree is of which git has a note (gitdir in gitrepository-layout(5))."""
    place = os.fsdecode((noted / "gitdir").read_bytes().removesuffix(b"\n"))
    return Path(os.path.realpath(noted / place)).parent


def ending_of(repo: Repo, tag: str) -> Mapping[str, Any] | None:
    """Return what was written beside the log when `tag` ended: `tag`, `status`, `exit_code`, `is_kept`."""
    ending = _ending_in(StateFolder.of(repo).ending(names.id_of(tag)))
    return ending if ending and ending["tag"] == tag else None


def ended_tags(repo: Repo) -> list[str]:
    """Return the tags of the experiments whose ending is still known, with or without a tag."""
    files = StateFolder.of(repo).logs.glob("*.json")
    return [ending["tag"] for path in files if (ending := _ending_in(path))]


def _ending_in(path: Path) -> Mapping[str, Any] | None:
    fields = Fields.read(path)
    if not fields:
        return None
    try:
        ending = {
            "tag": fields.text("tag", is_right=names.is_tag),
            "status": fields.maybe(partial(fields.text, is_right=_STATUSES.__contains__), "status"),
            "exit_code": fields.maybe(partial(fields.count, most=_LARGEST_STATUS), "exit_code"),
            "is_kept": fields.flag("is_kept"),
        }
    except BadField:
        return None
    return {key: value for key, value in ending.items() if value is not None}


def write_ending(state: StateFolder, id_: str, ending: Mapping[str, Any]) -> None:
    """Write down beside the logs how an experiment, or a sweep, ended. Raises StateUnwritable."""
    with translated(state.logs):
        # Aside in another folder, which may be swept: here may be 100,000 files.
        write_json(state.ending(id_), ending, is_durable=False, temporary=state.runs / aside.name())


def write_json(path: Path, value: Mapping[str, Any], *, is_durable: bool = True, temporary: Path | None = None) -> None:
    """Write a JSON file so that readers, and with `is_durable` a loss of power, find all of it or none.

    It is first written to `temporary`, or beside it in a folder that goes as a whole.
    """
    temporary = temporary or path.with_suffix(".tmp")
    try:
        with temporary.open("w") as file:
            json.dump(value, file)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:  # the disk is full
        temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power: fsync(2) of a file does not do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some file systems know no such thing
        os.fsync(descriptor)
    os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, or a file, as far as we may; folders that were made read-only, too.

    Follow no symlink.
    """
    if folder.is_symlink() or folder.is_file():
        with contextlib.suppress(OSError):
            folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    for place, names_of_folders, _ in os.walk(folder):
        for name in names_of_folders:
            inner = Path(place, name)
            if not inner.is_symlink():  # or what a link leads to, which is the user's, would change
                with contextlib.suppress(OSError):
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let only one process at a time run the body, by a lock on a file, which goes with its holder (flock(2)).

    The file is opened to be written: over NFS the lock is one of fcntl(2), which asks for that. Raises StateUnwritable.
    """
    with translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of the file system on `path` into StateUnwritable."""
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename2 or error.filename or path))
        raise StateUnwritable(f"cannot write {visible(str(place))}: {visible(way_out(error, place))}") from error
