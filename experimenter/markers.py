"""Marker lines: `EXPERIMENTER_RESULTS {…}` in a command's output, at the start of a line as a person sees it."""

import contextlib
import re
from pathlib import Path
from typing import Self

from experimenter.text import visible

MARKER = b"EXPERIMENTER_RESULTS"
_BREAK = re.compile(rb"[\r\n]")
# Escape sequences of ECMA-48: control sequences, control strings such as a window's title, and the short ones.
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
_UNSEEN = bytes(byte for byte in range(0x20) if byte != 0x09) + b"\x7f"
_LONGEST_UNSEEN = 4096  # bytes in front of a marker that are looked through for something visible
_LIKE_RESULTS = re.compile(rb"[ \t:=]*\{")  # what follows a marker that was meant for us
_QUOTED = 60
_CHUNK_BYTES = 1024 * 1024


class MarkerLines:
    """Finds the marker lines in output that arrives in pieces.

    `found` is what follows each marker. `missed` counts the markers with something in front of them that can be seen,
    as the prefix of a launcher, or without a space behind; `first_missed` is how the line of the first of them begins.
    A line starts anew at each carriage return, and terminal sequences do not count. Other output is passed over at the
    speed of a search for bytes, and not kept.
    """

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.missed = 0
        self.first_missed = b""
        self._start = b""  # of the current line: what can be seen of it that `_rest` does not hold
        self._rest = b""  # of the output so far: the current line, or its end
        self._open: bytearray | None = None  # what follows a marker in a line that has not ended yet
        self._prefix = b""  # what can be seen in front of that marker

    @classmethod
    def in_log(cls, log: Path) -> Self:
        """Return what is found in a log, which has stdout and stderr in one; nothing if there is no log."""
        lines = cls()
        with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                lines.feed(piece)
        lines.finish()
        return lines

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the output."""
        if self._open is not None:
            end = _BREAK.search(piece)
            if not self._prefix or len(self._open) < _LONGEST_UNSEEN:
                self._open += piece[: end.start()] if end else piece
            if not end:
                return
            self.finish()
            piece = piece[end.start() :]
        text = self._rest + piece
        done, place = 0, text.find(MARKER)
        while place >= 0:
            self._prefix = self._seen_before(text, place)
            end = _BREAK.search(text, place)
            self._open = bytearray(text[place + len(MARKER) : end.start() if end else None])
            if not end:
                return
            self.finish()
            done, place = end.start(), text.find(MARKER, end.start())
        self._keep(text, done)

    def finish(self) -> None:
        """Take the end of the line, or of the output."""
        if self._open is not None:
            behind = _SEQUENCE.sub(b"", bytes(self._open))
            if not self._prefix and behind.startswith(b" "):
                self.found.append(behind[1:])
            elif _LIKE_RESULTS.match(behind):
                self.missed += 1
                self.first_missed = self.first_missed or (self._prefix + MARKER + behind)[:_QUOTED]
        self._start, self._rest, self._open, self._prefix = b"", b"", None, b""

    def _seen_before(self, text: bytes, place: int) -> bytes:
        """Return what can be seen in front of a marker in its line, or the start of that."""
        begin = _line_start(text, place)
        start = self._start if begin == 0 else b""
        return (start + _seen(text[begin : min(place, begin + _LONGEST_UNSEEN)]))[:_QUOTED]

    @property
    def warning(self) -> str:
        """What there is to say of markers that were missed; empty if none was."""
        if not self.missed:
            return ""
        quoted = visible(self.first_missed.decode(errors="replace"))
        which = "a line" if self.missed == 1 else f"{self.missed:,} lines"
        return (
            f"no results are taken from {which} with {MARKER.decode()} behind something else, or without a space behind"
            f" it ({quoted}…); print it at the start of a line, or write the file that EXPERIMENTER_RESULTS_FILE names"
        )

    def _keep(self, text: bytes, done: int) -> None:
        """Keep of the output what the next piece has to be read with; up to `done` no more is to be found."""
        begin = _line_start(text, len(text))
        kept_from = max(begin, done)
        if len(text) - kept_from > _LONGEST_UNSEEN:
            kept_from = len(text) + 1 - len(MARKER)
        start = self._start if begin == 0 else b""
        self._start = start or _seen(text[begin:kept_from])[:_QUOTED]
        self._rest = text[kept_from:]


def _line_start(text: bytes, place: int) -> int:
    """Return where the line starts that `place` is in: behind the last line feed or carriage return, or at 0."""
    feed = text.rfind(b"\n", 0, place)
    return max(feed, text.rfind(b"\r", feed + 1, place)) + 1


def _seen(text: bytes) -> bytes:
    """Return what a person sees of some output on one line."""
    return _SEQUENCE.sub(b"", text).translate(None, _UNSEEN)
