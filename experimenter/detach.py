"""Goes on in the background: a process of its own session, which the end of a terminal or of a login does not reach."""

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Self

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The two sides of a fork; `pid` is the background's, seen from the foreground, and 0 in the background itself."""

    pid: int
    channel: int

    @classmethod
    def fork(cls) -> Self:
        """Fork; the background has no terminal and reads nothing. Until it `started`, both share stdout and stderr."""
        receiving, sending = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # until `wait` can pass them on
        pid = os.fork()
        os.close(sending if pid else receiving)
        if pid == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
        return cls(pid=pid, channel=receiving if pid else sending)

    @property
    def is_here(self) -> bool:
        """Whether this process is the background."""
        return self.pid == 0

    def started(self, word: str, log: int) -> None:
        """Tell the foreground, which ends with that, that all is well. From now on what we say goes to `log`."""
        with contextlib.suppress(BrokenPipeError):  # the foreground was killed
            os.write(self.channel, word.encode())
        os.close(self.channel)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)

    def wait(self) -> tuple[str, int]:
        """Return the word of a background that has started; or an empty one, and its wait status, when it has ended.

        Signals that ask us to end are passed on to it meanwhile.
        """
        previous = {
            signum: signal.signal(signum, lambda got, _: os.kill(self.pid, got))
            for signum in _FORWARDED
            if signal.getsignal(signum) is not signal.SIG_IGN
        }
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        word = b""
        while piece := os.read(self.channel, 4096):
            word += piece
        for signum, handler in previous.items():
            signal.signal(signum, handler)
        return (word.decode(), 0) if word else ("", os.waitpid(self.pid, 0)[1])
