"""A worker: a process that works on a sweep, and the files that it has in the state folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from experimenter.fields import BadField, Fields
from experimenter.process import Identity, boot_id, host
from experimenter.record import timestamp
from experimenter.state import StateFolder, translated, write_json

PID_FILE = "pid.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that works on a sweep: its folder `sweeps/<id>/<host>-<pid>-<start time>/`, and how far it has come."""

    state: StateFolder
    sweep: str
    host: str
    boot_id: str
    process: Identity
    words: Sequence[str]
    started: str
    total: int
    done: int = 0
    failed: int = 0

    @classmethod
    def of_ourselves(cls, state: StateFolder, sweep: str, words: Sequence[str], *, total: int) -> Self:
        """Return what this process would be."""
        return cls(
            state=state,
            sweep=sweep,
            host=host(),
            boot_id=boot_id(),
            process=Identity.of(os.getpid()),
            words=words,
            started=timestamp(datetime.now(UTC)),
            total=total,
        )

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.state.sweeps / self.sweep / f"{self.host}-{self.process.pid}-{self.process.start_time}"

    @property
    def index(self) -> Path:
        """The scratch index that matches the files as they were when the sweep began."""
        return self.folder / "index"

    def slot(self, slot: int) -> Path:
        """Return the private work tree that isolated cells in a slot share; its name is unique among linked ones."""
        return self.folder / self.state.work_tree_name(f"{self.sweep}-{self.folder.name}-{slot}")

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is on another host."""
        return self.host != host()

    @property
    def is_alive(self) -> bool:
        """Whether it lives; one on another host is taken at its word."""
        return self.is_elsewhere or (self.boot_id == boot_id() and self.process.is_alive)

    def save(self) -> None:
        """Write down how far it has come."""
        with translated(self.folder):
            values = {
                "sweep": self.sweep,
                "host": self.host,
                "boot_id": self.boot_id,
                "pid": self.process.pid,
                "start_time": self.process.start_time,
                "command": list(self.words),
                "started": self.started,
                "total": self.total,
                "done": self.done,
                "failed": self.failed,
            }
            write_json(self.folder / PID_FILE, values, is_durable=False)

    @classmethod
    def read(cls, state: StateFolder, folder: Path) -> Self | None:
        """Return the worker whose folder this is; nothing if it has gone, or no file there says whose it is."""
        fields = Fields.read(folder / PID_FILE)
        try:
            return cls._of(fields, state=state, sweep=folder.parent.name) if fields else None
        except BadField:
            return None

    @classmethod
    def _of(cls, fields: Fields, **place: Any) -> Self:
        return cls(
            host=fields.text("host", is_right=bool),
            boot_id=fields.text("boot_id"),
            process=Identity(pid=fields.pid("pid"), start_time=fields.number("start_time")),
            words=fields.texts("command"),
            started=fields.text("started"),
            total=fields.count("total"),
            done=fields.count("done"),
            failed=fields.count("failed"),
            **place,
        )

    @staticmethod
    def named_is_alive(folder: Path) -> bool:
        """Say by the name of its folder alone whether a worker lives, as `is_alive` does."""
        try:
            place, pid, start_time = folder.name.rsplit("-", 2)
            process = Identity(pid=int(pid), start_time=float(start_time))
        except ValueError:  # no name of ours
            return False
        return place != host() or process.is_alive
