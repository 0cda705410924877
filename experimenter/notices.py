"""How what we have to tell appears: one line that begins `Warning: ` or `Note: `, what belongs to it indented below."""

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any

from experimenter.text import visible

NOTE: dict[str, Any] = {"kind": "Note"}  # as `extra` of a warning that is none, but is told in a script, too
_log = logging.getLogger("experimenter")


class Notices(logging.Handler):
    """Says each log record as text, without the control characters that it may have."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record."""
        first, *rest = record.getMessage().split("\n  ")
        kind = getattr(record, "kind", "Warning" if record.levelno >= logging.WARNING else "Note")
        self._say("\n".join([f"{kind}: {visible(first)}", *(f"  {visible(line)}" for line in rest)]))


def speak(say: Callable[[str], None], *, only_warnings: bool = False) -> None:
    """Let what we have to tell be said by `say`."""
    _log.setLevel(logging.WARNING if only_warnings else logging.INFO)
    _log.handlers = [Notices(say)]


def speak_in_script() -> None:
    """Let warnings appear on stderr, unless the script has told Python where to log."""
    if not _log.hasHandlers():
        _log.addHandler(Notices(_say_on_stderr))


def _say_on_stderr(text: str) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, nobody reads it, or it is closed
        sys.stderr.write(f"{text}\n")
