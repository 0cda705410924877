"""The PID file: whose experiment an entry is, on which machine, and what settles it when its processes were killed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experimenter import names
from experimenter.fields import BadField, Fields
from experimenter.process import Identity, boot_id, host, pid_namespace
from experimenter.results import ResultsFile


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
        fields = Fields.read(path)
        try:
            found = fields and cls._of(fields)
        except BadField:
            return None
        return found if found and names.id_of(found.tag) == path.parent.name else None

    @classmethod
    def _of(cls, fields: Fields) -> Self:
        return cls(
            tag=fields.text("tag", is_right=names.is_tag),
            host=fields.text("host", is_right=bool),
            boot_id=fields.text("boot_id"),
            pid_namespace=fields.maybe(fields.text, "pid_namespace") or "",
            wrapper=_process(fields, "wrapper_"),
            words=fields.maybe(fields.texts, "command") or (),
            keep=fields.maybe(fields.flag, "keep") or False,
            grace_s=fields.maybe(fields.number, "grace_s"),
            sweep=fields.maybe(fields.text, "sweep"),
            cell=fields.maybe(fields.text, "cell"),
            job=fields.maybe(fields.text, "job"),
            command=_process(fields) if fields.has("pid") else None,
            leader=_process(fields, "leader_") if fields.has("leader_pid") else None,
            results_file=_results_file(fields) if fields.has("results_file") else None,
        )

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


def _process(fields: Fields, prefix: str = "") -> Identity:
    return Identity(pid=fields.pid(f"{prefix}pid"), start_time=fields.number(f"{prefix}start_time"))


def _results_file(fields: Fields) -> ResultsFile:
    has_stamp = fields.has("results_stamp")  # else there was no such file
    numbers = fields.items("results_stamp", lambda one: type(one) is int) if has_stamp else []
    return ResultsFile(path=fields.path("results_file"), stamp=tuple(numbers) if has_stamp else None)
