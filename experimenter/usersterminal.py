"""The user's terminal: taken for a while, when it passes on each key, and given back as it was."""

import contextlib
import errno
import os
import termios
from collections.abc import Sequence
from typing import Any


class UsersTerminal:
    """The terminal that our stdin is, by a `descriptor` of its own; its `modes` are those of termios.tcgetattr.

    While it `is_taken` it is raw: what is typed means nothing to it.
    """

    def __init__(self) -> None:
        self.descriptor = os.dup(0)  # for the leader of the command's session, whose stdin is another terminal
        self.modes = termios.tcgetattr(self.descriptor)
        self.is_taken = False
        self._raw = _raw(self.modes)

    def take(self) -> bool:
        """Make it raw; say whether it was still there."""
        try:
            _set_modes(self.descriptor, self._raw)
        except termios.error:
            return False
        self.is_taken = True
        return True

    def look_again(self) -> None:
        """See whether another program, such as the shell, has changed it meanwhile."""
        with contextlib.suppress(termios.error):
            self.is_taken = self.is_taken and termios.tcgetattr(self.descriptor) == self._raw

    def give_back(self) -> None:
        """Let it be as it was, unless another program has changed it meanwhile."""
        self.look_again()
        with contextlib.suppress(termios.error):
            if self.is_taken:
                _set_modes(self.descriptor, self.modes)
        self.is_taken = False

    @property
    def has_us_in_foreground(self) -> bool:
        """Whether our process group is its foreground."""
        try:
            return os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def _set_modes(terminal: int, modes: list[Any]) -> None:
    """Set the modes of a terminal when it has shown what was written; a signal that comes meanwhile changes nothing."""
    while True:
        try:
            return termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise


def _raw(modes: Sequence[Any]) -> list[Any]:
    """Return the modes of a terminal that passes everything through: cfmakeraw in termios(3)."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = modes
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    characters = [*characters]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]
