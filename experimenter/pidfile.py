"""The PID file: whose experiment an entry is, on which machine, and what settles it when its processes were killed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experimenter import names
from experimenter.process import Identity, boot_id, host, pid_namespace
from experimenter.results import ResultsFile
from experimenter.state import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What `pid.json` says. `words` are the command as in the record; `command` is its process, once it has one, and
    `leader` the one that leads a session of its own for it.

    One that is a cell of a sweep has the sweep's id, and what tells the cell from all others; one on a
    cluster has its job's id.
    """

    tag: str
    host: str
    boot_id: str
    pid_namespace: str = ""
    wrapper: Identity
    words: Sequence[str]
    keep: bool = False
    grace_s: float | None = None
    sweep: str | None = None
    cell: str | None = None
    job: str | None = None
    command: Identity | None = None
    leader: Identity | None = None
    results_file: ResultsFile | None = None

    @classmethod
    def of_ourselves(cls, tag: str, words: Sequence[str], *, is_script: bool = False, **promised: Any) -> Self:
        """Return what a new entry of this process says, which `is_script` says is the command itself."""
        ourselves = Identity.of(os.getpid())
        return cls(
            tag=tag,
            host=host(),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            wrapper=ourselves,
            words=words,
            command=ourselves if is_script else None,
            **promised,
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file says; nothing if it is gone, or no PID file of the entry whose folder it is in."""
        found = read_json(path)
        if not found or names.id_of(found["tag"]) != path.parent.name:
            return None
        file, stamp = found.get("results_file"), found.get("results_stamp")
        try:
            return cls(
                tag=found["tag"],
                host=str(found["host"]),
                boot_id=str(found["boot_id"]),
                pid_namespace=str(found.get("pid_namespace", "")),
                wrapper=_identity(found["wrapper_pid"], found["wrapper_start_time"]),
                words=[str(word) for word in found.get("command", ())],
                keep=found.get("keep") is True,
                grace_s=found.get("grace_s"),
                sweep=found.get("sweep"),
                cell=found.get("cell"),
                job=found.get("job"),
                command=_identity(found["pid"], found["start_time"]) if "pid" in found else None,
                leader=_identity(found["leader_pid"], found["leader_start_time"]) if "leader_pid" in found else None,
                results_file=file and ResultsFile(path=Path(file), stamp=stamp and tuple(stamp)),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> Mapping[str, Any]:
        """Return the object that the file holds."""
        file = self.results_file
        values = {
            "tag": self.tag,
            "host": self.host,
            "boot_id": self.boot_id,
            "pid_namespace": self.pid_namespace,
            "wrapper_pid": self.wrapper.pid,
            "wrapper_start_time": self.wrapper.start_time,
            "pid": self.command and self.command.pid,
            "start_time": self.command and self.command.start_time,
            "leader_pid": self.leader and self.leader.pid,
            "leader_start_time": self.leader and self.leader.start_time,
            "command": list(self.words),
            "keep": self.keep,
            "grace_s": self.grace_s,
            "sweep": self.sweep,
            "cell": self.cell,
            "job": self.job,
            "results_file": file and str(file.path),
            "results_stamp": file and file.stamp,
        }
        return {key: value for key, value in values.items() if value is not None}


def _identity(pid: Any, start_time: Any) -> Identity:
    return Identity(pid=int(pid), start_time=float(start_time))
