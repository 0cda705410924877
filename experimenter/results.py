"""What a command leaves as results: JSON objects in files, and marker lines on its stdout."""

import contextlib
import fcntl
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experimenter.errors import BadResults, NotStorable, StateUnwritable
from experimenter.storable import dumps, loads, merged, storable
from experimenter.text import visible

MARKER = b"EXPERIMENTER_RESULTS "
_LONGEST_BAR = 1024 * 1024


class MarkerLines:
    """Finds the lines that begin with MARKER in a stream that arrives in pieces, and hands on what follows it.

    Only such lines are held back in memory; the rest is passed over at the speed of a search for bytes.
    """

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._line: bytearray | None = bytearray()  # the current line, as long as it may be a marker line

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the stream."""
        place = 0
        while True:
            if self._line is None:
                place = self._next_candidate(piece, place)
                if place < 0:
                    return
                self._line = bytearray()
            end = piece.find(b"\n", place)
            self._line += piece[place : end if end >= 0 else None]
            if not self._may_be_marker(self._line):
                self._line = None
                if end < 0:
                    return
                place = end  # a search for the next line begins at the end of this one
            elif end < 0:
                return
            else:
                self.finish()
                self._line, place = None, end  # blank lines, too, are passed over by a search

    def finish(self) -> None:
        """Take the end of the stream, which ends its last line."""
        if self._line is not None and self._line.startswith(MARKER):
            self._on_line(bytes(self._line[len(MARKER) :]).rstrip(b"\r"))
        self._line = bytearray()

    @staticmethod
    def _may_be_marker(line: bytearray) -> bool:
        return line.startswith(MARKER) if len(line) >= len(MARKER) else MARKER.startswith(bytes(line))

    @staticmethod
    def _next_candidate(piece: bytes, place: int) -> int:
        """Return where the next line starts that may be a marker line, or -1; `place` is within another line."""
        whole = piece.find(b"\n" + MARKER, place)
        if whole >= 0:
            return whole + 1
        last = piece.rfind(b"\n", place)
        return last + 1 if last >= 0 and MARKER.startswith(piece[last + 1 :]) else -1


def markers_in(log: Path) -> list[bytes]:
    """Return what follows the markers in the lines of a log; nothing if there is no log.

    A log has stdout and stderr in one. So a marker counts also behind a progress bar, which draws over its own line
    by carriage returns and may not have ended it.
    """
    found: list[bytes] = []
    with contextlib.suppress(FileNotFoundError, ValueError), log.open("rb") as file:  # mmap(2) takes no empty file
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        place = text.find(MARKER)
        while place >= 0:
            start = max(0, place - _LONGEST_BAR)
            before = text[max(start, text.rfind(b"\n", start, place) + 1) : place]
            end = text.find(b"\n", place)
            end = end if end >= 0 else len(text)
            if not before or b"\r" in before:
                found.append(text[place + len(MARKER) : end].rstrip(b"\r"))
            place = text.find(MARKER, end)
    return found


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
