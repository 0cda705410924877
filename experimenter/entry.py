"""An entry: the folder of one experiment that is alive, with a PID file that tells whose it is."""

import contextlib
import enum
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from experimenter import names
from experimenter.errors import ExperimenterError
from experimenter.pidfile import PidFile
from experimenter.process import Identity, boot_id, host, pid_namespace, sees_all_processes
from experimenter.results import ResultsFile
from experimenter.state import StateFolder, translated, write_ending, write_json
from experimenter.storable import dumps
from experimenter.tree import Tree

OPEN, SETTLING, RESERVE = "open", "settling", "reserve"  # more files of an entry


@dataclass(frozen=True, slots=True)
class Share:
    """Whether one that runs was pushed already, or is to be pushed when it has ended: a file in its folder."""

    file: Path

    def ask(self) -> None:
        """Let it be pushed at its end."""
        with contextlib.suppress(OSError):  # it has ended
            self.file.touch()

    def note_push(self) -> None:
        """Note that it was pushed as it is now, so that what becomes of it reaches the remote, too."""
        with contextlib.suppress(OSError):
            self.file.write_text("pushed")

    @property
    def is_asked(self) -> bool:
        """Whether it is to be pushed at its end."""
        return self.file.exists()

    @property
    def is_pushed(self) -> bool:
        """Whether the remote has it, as one that runs."""
        with contextlib.suppress(OSError):
            return bool(self.file.read_bytes())
        return False


class Phase(enum.StrEnum):
    """How far an entry has come: the name of a file in its folder, which only one process can rename."""

    RUNNING = "running"
    ENDING = "ending"
    STOPPING = "stopping"
    STOPPING_KEPT = "stopping-kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One experiment that is alive, or was when its processes were killed: its folder `runs/<id>/`."""

    state: StateFolder
    pid_file: PidFile
    is_ours: bool = True

    @property
    def tag(self) -> str:
        """The experiment's tag."""
        return self.pid_file.tag

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    @property
    def started(self) -> datetime:
        """When it started."""
        return names.moment_of(self.tag)

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
    def share(self) -> Share:
        """What its scripts have asked for about the default remote."""
        return Share(self.folder / "share")

    @property
    def index(self) -> Path:
        """The scratch index, which afterwards tells what changed on disk."""
        return self.folder / "index"

    @property
    def work_tree(self) -> Path:
        """The private work tree of an isolated run; the id makes its name unique among the linked ones."""
        return self.folder / self.state.work_tree_name(self.id)

    @property
    def exists(self) -> bool:
        """Whether it is still there."""
        return is_open(self.folder)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its processes are on another host, or hidden in another container: they are judged only there."""
        is_hidden = self._is_in_other_namespace and not sees_all_processes()
        return self.pid_file.host != host() or is_hidden

    @property
    def phase(self) -> Phase:
        """Phase.RUNNING until somebody claimed the entry, then what they claimed it for."""
        for phase in (Phase.RUNNING, Phase.STOPPING, Phase.STOPPING_KEPT):
            if (self.folder / phase).exists():
                return phase
        return Phase.ENDING

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` has claimed it."""
        return self.phase in (Phase.STOPPING, Phase.STOPPING_KEPT)

    def claim(self, phase: Phase) -> bool:
        """Decide how the experiment ends; say whether that was for us to decide. Only the first one can."""
        try:
            (self.folder / Phase.RUNNING).rename(self.folder / phase)
        except FileNotFoundError:
            return False
        except OSError:  # the disk has become read-only: then nobody else can, either
            return True
        return True

    def give_back(self) -> None:
        """Take back that we claimed it for its end."""
        with contextlib.suppress(OSError):
            (self.folder / Phase.ENDING).rename(self.folder / Phase.RUNNING)

    def keep_stopped(self) -> None:
        """Let one that is being stopped keep its tag, unless it is too late for that."""
        with contextlib.suppress(OSError):
            (self.folder / Phase.STOPPING).rename(self.folder / Phase.STOPPING_KEPT)

    def attend(self) -> int:
        """Show, until the descriptor that is returned is closed, that somebody is at work on the entry (flock(2))."""
        descriptor = os.open(self.folder / self.phase, os.O_RDWR)  # as NFS wants it
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    @property
    def is_attended(self) -> bool:
        """Whether somebody shows that: a stop that was itself killed does not."""
        try:
            descriptor = os.open(self.folder / self.phase, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def wrapper_is_alive(self) -> bool:
        """Whether the process that made the entry lives on this host."""
        return self._is_alive(self.pid_file.wrapper)

    @property
    def command_is_alive(self) -> bool:
        """Whether the command lives on this host."""
        return self.pid_file.command is not None and self._is_alive(self.pid_file.command)

    @property
    def is_abandoned(self) -> bool:
        """Whether it was left behind on this host, and nothing that its command has started lives on, either."""
        is_alive = self.is_elsewhere or self.wrapper_is_alive or self.command_is_alive
        return not (is_alive or (self._may_live and self.tree.members()))  # a look at every process comes last

    @property
    def is_gone(self) -> bool:
        """Whether, looked at closely, none of its processes lives on this host, its wrapper aside."""
        return not self._may_live or self.tree.is_gone()

    @property
    def tree(self) -> Tree:
        """Return the process tree of the command; before it has started, that of the wrapper, which stores the code."""
        wrapper, command = self.pid_file.wrapper, self.pid_file.command or self.pid_file.wrapper
        return Tree(
            tag=self.tag,
            command=command,
            wrapper=wrapper if wrapper != command else None,
            leader=self.pid_file.leader,
            is_settling=lambda: self.is_settling,
        )

    def save_command(self, command: Identity, results_file: ResultsFile | None = None) -> None:
        """Add the command, before it executes, to the PID file, which already names us.

        Raises ExperimenterError if we were killed, and somebody settles the entry, who looks at the PID file only after
        claiming it: as we look after writing, one of us two sees the other.
        """
        with translated(self.folder):
            parent = Identity.of(os.getppid())
            leader = parent if parent != self.pid_file.wrapper else None
            file = replace(self.pid_file, command=command, leader=leader, results_file=results_file)
            write_json(self.folder / "pid.json", file.to_json(), is_durable=False)
        if self.phase == Phase.ENDING:
            raise ExperimenterError(f"{self.tag} is being settled")

    def save_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Write the file that the command reads its parameters from."""
        with translated(self.folder):
            self.parameters.write_text(dumps(parameters), encoding="utf-8")

    def mark_settling(self) -> None:
        """Note that the tree has gone and git is at work: nobody should kill that."""
        self.free_reserve()
        with contextlib.suppress(OSError):
            (self.folder / OPEN).rename(self.folder / SETTLING)  # which a full disk does not prevent

    @property
    def is_settling(self) -> bool:
        """Whether it was marked so."""
        return (self.folder / SETTLING).exists()

    def save_ending(self, *, status: str, exit_code: int | None, is_kept: bool) -> None:
        """Say beside the log how the experiment ended: before the tag, so that a crash can't separate the two."""
        ending = {"tag": self.tag, "status": status, "exit_code": exit_code, "is_kept": is_kept}
        write_ending(self.state, self.id, ending)

    def close(self, *, keep_logs: int) -> None:
        """Remove the entry, its PID file as the last of it, and the oldest logs."""
        with translated(self.state.path):
            self.clear()
            self.state.drop_oldest_logs(keep_logs)

    def discard(self) -> None:
        """Remove the entry without a trace, log included."""
        with translated(self.folder):
            self.state.drop_logs(self.id)
            self.clear()

    def free_reserve(self) -> None:
        """Give back the space that was kept for the end: on a full disk the record is stored in it."""
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink()

    def clear(self) -> None:
        """Remove the entry, and nothing else."""
        if self.work_tree.exists():
            self.state.remove(self.work_tree)
            self.state.remove_linked(self.id)
        self.state.remove(self.folder)

    @property
    def _may_live(self) -> bool:
        """Whether a process of it that lives would be seen here."""
        return not self.is_elsewhere and self.pid_file.boot_id == boot_id()

    def _is_alive(self, process: Identity) -> bool:
        if not self._may_live:
            return False
        if self._is_in_other_namespace:
            return process.is_alive_in(self.pid_file.pid_namespace)
        return process.is_alive

    @property
    def _is_in_other_namespace(self) -> bool:
        return self.pid_file.pid_namespace not in ("", pid_namespace())


def is_open(folder: Path) -> bool:
    """Say whether an entry's folder still is one."""
    return (folder / "pid.json").exists()
