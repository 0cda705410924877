"""Marker lines: `EXPERIMENTER_RESULTS {…}` in a command's output, at the start of a line as a person sees it."""

import contextlib
import re
from pathlib import Path
from typing import Self

from experimenter.text import visible

MARKER = b"EXPERIMENTER_RESULTS "
_BREAK = re.compile(rb"[\r\n]")
# Escape sequences of ECMA-48: control sequences, control strings such as a window's title, and the short ones.
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
_UNSEEN = bytes(byte for byte in range(0x20) if byte != 0x09) + b"\x7f"
_LONGEST_UNSEEN = 4096  # bytes in front of a marker that are looked through for something visible
_QUOTED = 60
_CHUNK_BYTES = 1024 * 1024


class MarkerLines:
    """Finds the marker lines in output that arrives in pieces.

    `found` is what follows each marker. `missed` counts the markers in front of which something can be seen, as the
    prefix of a launcher; `first_missed` is how the line of the first of them begins. A line starts anew at each
    carriage return, and terminal sequences do not count. Other output is passed over at the speed of a search for
    bytes, and not kept.
    """

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.missed = 0
        self.first_missed = b""
        self._start = b""  # of the current line, where `_rest` does not hold all of it: then something can be seen
        self._rest = b""  # of the output so far: the current line, or its end
        self._open: bytearray | None = None  # what follows a marker in a line that has not ended yet

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
            self._open += piece[: end.start()] if end else piece
            if not end:
                return
            self.finish()
            piece = piece[end.start() :]
        text = self._rest + piece
        done, place = 0, text.find(MARKER)
        while place >= 0:
            behind = place + len(MARKER)
            if self._is_at_start(text, place):
                end = _BREAK.search(text, behind)
                if not end:
                    self._open = bytearray(text[behind:])
                    return
                self.found.append(_SEQUENCE.sub(b"", text[behind : end.start()]))
                behind = end.start()
            done, place = behind, text.find(MARKER, behind)
        self._keep(text, done)

    def finish(self) -> None:
        """Take the end of the output, which ends its last line."""
        if self._open is not None:
            self.found.append(_SEQUENCE.sub(b"", bytes(self._open)))
        self._start, self._rest, self._open = b"", b"", None

    def _is_at_start(self, text: bytes, place: int) -> bool:
        """Say whether nothing can be seen in front of a marker in its line; else note that it was missed."""
        begin = _line_start(text, place)
        before = (self._start if begin == 0 else b"") + text[begin:place]
        if len(before) <= _LONGEST_UNSEEN and not _seen(before):
            return True
        if text[place + len(MARKER) :].lstrip(b" ")[:1] in (b"{", b""):
            self.missed += 1
            self.first_missed = (
                self.first_missed or _seen(before[: 2 * _QUOTED] + text[place : place + _QUOTED])[:_QUOTED]
            )
        return False

    @property
    def warning(self) -> str:
        """What there is to say of markers that were missed; empty if none was."""
        if not self.missed:
            return ""
        quoted = visible(self.first_missed.decode(errors="replace"))
        which = "a line" if self.missed == 1 else f"{self.missed:,} lines"
        return (
            f"no results are taken from {which} with {MARKER.decode()}behind something else ({quoted}…);"
            " print it at the start of a line, or write the file that EXPERIMENTER_RESULTS_FILE names"
        )

    def _keep(self, text: bytes, done: int) -> None:
        """Keep of the output what the next piece has to be read with; up to `done` no more is to be found."""
        begin = _line_start(text, len(text))
        start = self._start if begin == 0 else b""
        line = text[max(begin, done) :]
        if len(line) > _LONGEST_UNSEEN:
            line = line[1 - len(MARKER) :]
        is_whole = len(line) == len(text) - begin
        self._start = start if is_whole else start or text[begin : begin + 2 * _QUOTED]
        self._rest = line


def _line_start(text: bytes, place: int) -> int:
    """Return where the line starts that `place` is in: behind the last line feed or carriage return, or at 0."""
    feed = text.rfind(b"\n", 0, place)
    return max(feed, text.rfind(b"\r", feed + 1, place)) + 1


def _seen(text: bytes) -> bytes:
    """Return what a person sees of some output on one line."""
    return _SEQUENCE.sub(b"", text).translate(None, _UNSEEN)
