"""The state folder: one entry for each experiment that is alive, and the logs that outlive it."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from experimenter import names
from experimenter.errors import StateUnwritable
from experimenter.plumbing import Repo
from experimenter.process import Identity, boot_id, host
from experimenter.storable import dumps
from experimenter.text import visible


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Knows the name of every file in `experimenter/` in the common git directory."""

    path: Path

    @classmethod
    def of(cls, repo: Repo) -> Self:
        """Return the state folder of a repository, shared by its linked work trees."""
        return cls(repo.common_dir / "experimenter")

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
        """Return the file that says how an experiment ended, as JSON: `tag`, `status`, `exit_code`."""
        return self.logs / f"{id_}.json"

    def unreadable_results(self, id_: str) -> Path:
        """Return the file with the raw text of results that could not be read."""
        return self.logs / f"{id_}.results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One experiment that is alive: its tag, and its folder `runs/<id>/`."""

    state: StateFolder
    tag: str
    started: datetime

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    @property
    def folder(self) -> Path:
        """The folder of this entry."""
        return self.state.runs / self.id

    @property
    def parameters(self) -> Path:
        """The file with the parameters, for the command to read."""
        return self.folder / "params.json"

    @property
    def joined_parameters(self) -> Path:
        """The file with the parameters that scripts add by joining the run."""
        return self.folder / "joined.json"

    @property
    def results(self) -> Path:
        """The file that the command writes its results to."""
        return self.folder / "results.json"

    @property
    def index(self) -> Path:
        """The scratch index, which afterwards tells what changed on disk."""
        return self.folder / "index"

    def save_command(self, command: Identity) -> None:
        """Add the command to the PID file, which already names us."""
        with _translated(self.folder):
            _write(self.folder / "pid.json", _pid_file(self.tag, command))

    def save_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Write the file that the command reads its parameters from."""
        with _translated(self.folder):
            self.parameters.write_text(dumps(parameters), encoding="utf-8")

    def close(self, *, status: str, exit_code: int | None, keep_logs: int) -> None:
        """Remove the entry, its PID file as the last of it; say beside the log how the experiment ended."""
        with _translated(self.state.path):
            ending = {"tag": self.tag, "status": status, "exit_code": exit_code}
            _write(self.state.ending(self.id), ending)
            self._remove()
            _drop_oldest_logs(self.state, keep_logs)

    def discard(self) -> None:
        """Remove the entry without a trace, log included."""
        with _translated(self.folder):
            self.state.log(self.id).unlink(missing_ok=True)
            self._remove()

    def _remove(self) -> None:
        """Take the folder out of sight in one step; children of the command may still write into it."""
        aside = self.folder.with_name(f".{self.id}-{os.urandom(4).hex()}")
        self.folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def open_entry(repo: Repo, name: str, *, now: datetime) -> Entry:
    """Return a new entry, with a PID file that names us, for an experiment that starts `now`.

    Its tag is taken by nobody else in this state folder: at the same microsecond the later one moves to the next.
    Raises StateUnwritable.
    """
    state = StateFolder.of(repo)
    with _translated(state.path):
        state.path.mkdir(exist_ok=True)
        if state.path.stat().st_mode & 0o777 != 0o700:
            state.path.chmod(0o700)
        for folder in (state.runs, state.logs):
            folder.mkdir(exist_ok=True)
        unborn = state.runs / f".{os.getpid()}-{os.urandom(4).hex()}"
        unborn.mkdir()
        try:
            while True:
                entry = Entry(state=state, tag=names.tag(name, now), started=now)
                _write(unborn / "pid.json", _pid_file(entry.tag))
                try:
                    unborn.rename(entry.folder)  # fails where there is an entry, which is never empty
                    return entry
                except OSError:
                    if not entry.folder.exists():
                        raise
                now += timedelta(microseconds=1)
        except BaseException:
            shutil.rmtree(unborn, ignore_errors=True)
            raise


def running_tags(repo: Repo) -> list[str]:
    """Return the tags of the experiments that have an entry."""
    return [pid_file["tag"] for pid_file in _pid_files(StateFolder.of(repo))]


def is_alive(repo: Repo, tag: str) -> bool:
    """Say whether the experiment `tag` has an entry whose wrapper lives; one on another host is taken at its word."""
    for pid_file in _pid_files(StateFolder.of(repo)):
        if pid_file["tag"] == tag:
            wrapper = Identity(pid=pid_file["wrapper_pid"], start_time=pid_file["wrapper_start_time"])
            return pid_file["host"] != host() or (pid_file["boot_id"] == boot_id() and wrapper.is_alive)
    return False


def is_open(folder: Path) -> bool:
    """Say whether an entry's folder still is one."""
    return (folder / "pid.json").exists()


def ending_of(repo: Repo, tag: str) -> Mapping[str, Any] | None:
    """Return what was written beside the log when `tag` ended: `tag`, `status`, `exit_code`."""
    return _read(StateFolder.of(repo).ending(names.id_of(tag)))


def ended_tags(repo: Repo) -> list[str]:
    """Return the tags of the experiments whose ending is still known, with or without a tag."""
    files = StateFolder.of(repo).logs.glob("*.json")
    return [ending["tag"] for path in files if (ending := _read(path))]


def _pid_file(tag: str, command: Identity | None = None) -> dict[str, Any]:
    wrapper = Identity.of(os.getpid())
    processes: dict[str, Any] = {"wrapper_pid": wrapper.pid, "wrapper_start_time": wrapper.start_time}
    if command:
        processes |= {"pid": command.pid, "start_time": command.start_time}
    return {"tag": tag, "host": host(), "boot_id": boot_id(), **processes}


def _pid_files(state: StateFolder) -> Iterator[Mapping[str, Any]]:
    for path in state.runs.glob("[!.]*/pid.json"):
        if pid_file := _read(path):
            yield pid_file


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return the JSON object in a file of ours; nothing if it is gone or not ours."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("tag"), str) else None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that readers and a crash find all of it or none."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _drop_oldest_logs(state: StateFolder, keep: int) -> None:
    """Delete the files of all but the newest `keep` experiments that have ended."""
    newest: dict[str, int] = {}
    for path in state.logs.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run drops them, too
            newest[path.stem] = max(newest.get(path.stem, 0), path.stat().st_mtime_ns)
    ended = [id_ for id_ in newest if not (state.runs / id_).exists()]
    for id_ in sorted(ended, key=newest.__getitem__, reverse=True)[keep:]:
        for path in state.logs.glob(f"{id_}.*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shown = visible(str(error.filename or path))
        raise StateUnwritable(f"cannot write {shown}: {error.strerror}; free or unlock it and try again") from error
