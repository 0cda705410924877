"""A witness of signals: tells one that was sent to us alone from one that our whole process group got."""

import contextlib
import os
import signal
import sys
from pathlib import Path

_MOST_DESCRIPTORS = 65536
_ALL = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class Witness:
    """A process of our group that does nothing but hold signals pending. It ends when it is closed, and when we die.

    Without it a command that got a signal with its group would get it from us once more, and die of it as it just ends
    (Python takes no signal to its handlers then). Only Linux tells what is pending for another process (proc(5)).
    """

    def __init__(self) -> None:
        self._pid, self._life = 0, -1
        if sys.platform != "linux":
            return
        reading, self._life = os.pipe()
        with contextlib.suppress(OSError):  # no more processes are allowed: it has to go without
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
            self._pid = os.fork()
            if self._pid == 0:
                _watch(reading)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reading)

    def saw(self, signum: int) -> bool:
        """Say whether it got a signal that we got, too, and let it forget it."""
        if not self._pid:
            return False
        try:
            status = Path(f"/proc/{self._pid}/status").read_text()
        except OSError:
            return False
        pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
        if not pending >> (signum - 1) & 1:
            return False
        os.write(self._life, bytes([signum]))
        return True

    def close(self) -> None:
        """End it."""
        if self._pid:
            os.close(self._life)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)


def _watch(orders: int) -> None:
    """Be the witness: forget the signals that we are told to."""
    os.dup2(orders, 0)
    os.closerange(1, min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))  # what it held open, others would wait for
    try:
        while told := os.read(0, 1):
            if sys.platform == "linux":
                signal.sigtimedwait(set(told), 0)
    finally:
        os._exit(0)
