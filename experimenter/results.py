"""What a command leaves as results: JSON objects, in files and behind the markers of its output."""

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experimenter.errors import BadResults, NotStorable, StateUnwritable
from experimenter.storable import dumps, loads, merged, storable
from experimenter.text import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsFile:
    """The file of `--results` as it was before the command started: taken afterwards only if it was written since."""

    path: Path
    stamp: tuple[int, ...] | None

    @classmethod
    def before(cls, path: Path) -> Self:
        """Remember `path` as it is now."""
        return cls(path=path, stamp=_stamp(path))

    def read(self) -> bytes | None:
        """Return what the file holds, or nothing if it was not written since; raise BadResults if it can't be read."""
        if _stamp(self.path) in (None, self.stamp):
            return None
        return read(self.path)


def read(path: Path) -> bytes:
    """Return what a file holds; raise BadResults for what is no file, such as a pipe that nobody writes to."""
    shown = visible(str(path))
    try:
        if not path.is_file():
            raise BadResults(f"cannot read {shown}: it is no file", raw=b"")
        return path.read_bytes()
    except OSError as error:
        raise BadResults(f"cannot read {shown}: {error.strerror}", raw=b"") from error


def parse(raw: bytes, *, source: str) -> dict[str, Any]:
    """Return the JSON object in `raw` as JSON types; raise BadResults, naming `source`, for anything else."""
    try:
        value = storable(loads(raw))
    except UnicodeDecodeError as error:
        raise BadResults(f"{source} is not UTF-8, at byte {error.start}", raw=raw) from error
    except ValueError as error:
        raise BadResults(f"{source} is not JSON: {visible(str(error))}", raw=raw) from error
    except NotStorable as error:
        raise BadResults(f"{source} cannot be stored: {error}", raw=raw) from error
    if not isinstance(value, dict):
        raise BadResults(f"{source} is not a JSON object", raw=raw)
    return value


def merge_into(path: Path, *, below: Mapping[str, Any] | None = None, above: Mapping[str, Any] | None = None) -> None:
    """Merge a mapping into the JSON object in `path`, under or over what is there; safe from threads and processes.

    Raises StateUnwritable if the file cannot be written, BadResults if it holds no object.
    """
    try:
        with path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            raw = path.read_bytes() if path.exists() else b""
            there = parse(raw, source=visible(str(path))) if raw.strip() else {}
            whole = {**there, **(above or {})} if below is None else merged(below, there)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(dumps(whole), encoding="utf-8")
            temporary.replace(path)
    except OSError as error:
        raise StateUnwritable(f"cannot write {visible(str(path))}: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file is written, even with the same text; nothing if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
