"""Slots: so many pieces of work at a time, each in a forked process that leads a session of its own."""

import contextlib
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Generic, Self, TypeVar

from experimenter.signals import blocked

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK_AGAIN_S = 0.5
_REPORT_BYTES = 32 * 1024  # fits into a pipe that nobody reads yet

Item = TypeVar("Item")


class Slots(Generic[Item]):
    """Runs pieces of work in forked processes, at most `count` at a time; a context manager for the main thread.

    A signal that asks us to end is passed on to the whole group of each, and kept in `received`; what is suspended with
    us (Ctrl-Z) goes on with us. A signal that was ignored when we started stays so. Killed without a chance to pass
    that on, we leave the processes to themselves: they finish.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.received: list[int] = []
        self.received_s = math.inf  # when the first of them came, by time.monotonic()
        self._working: dict[int, tuple[Item, int, int]] = {}  # by pid: what, the slot, and where its report comes from
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._wake_fd, self._wake_end = os.pipe()
        for end in (self._wake_fd, self._wake_end):
            os.set_blocking(end, False)
        self._previous_wake_fd = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in _ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._previous[signum] = signal.signal(signum, self._pass_on)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._previous_wake_fd)
        os.close(self._wake_fd)
        os.close(self._wake_end)

    @property
    def working(self) -> list[Item]:
        """What is being worked on, in the order of its start."""
        return [item for item, _, _ in self._working.values()]

    @property
    def pids(self) -> list[int]:
        """The processes that work."""
        return list(self._working)

    @contextlib.contextmanager
    def none_left(self) -> Iterator[None]:
        """End what works, and wait for it, should the body fail."""
        try:
            yield
        except BaseException:
            self.send(signal.SIGTERM)
            while self._working:
                self.wait(_LOOK_AGAIN_S)
                list(self.ended())
            raise

    def start(self, item: Item, work: Callable[[int], bytes]) -> None:
        """Work on `item` in a forked process; `work` gets the number of a free slot, and returns its report.

        What is longer than 32 KiB of the report is lost.
        """
        taken = {slot for _, slot, _ in self._working.values()}
        slot = next(number for number in range(self.count) if number not in taken)
        receiving, sending = os.pipe()
        with blocked():
            pid = os.fork()
            if pid:
                self._working[pid] = (item, slot, receiving)
            else:
                self._begin()
        if not pid:
            self._work(work, slot, sending)
        os.close(sending)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until work may have ended, a signal has come, or the time is over."""
        select.select([self._wake_fd], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_fd, 4096):
                pass

    def ended(self) -> Iterator[tuple[Item, bytes]]:
        """Yield what has ended, with its report; an empty one if its process was killed."""
        for pid, (item, _, receiving) in list(self._working.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._working[pid]
                with os.fdopen(receiving, "rb") as report:
                    yield item, report.read()

    def send(self, signum: int) -> None:
        """Send a signal to every process of every group."""
        for pid in list(self._working):
            try:
                os.killpg(pid, signum)
            except ProcessLookupError:  # it has just been forked, and leads no group yet; or it has ended
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            except PermissionError:  # only zombies are left of it (macOS)
                continue

    def _begin(self) -> None:
        """Be the forked process: signals do what they did before us, and no terminal can be asked or suspend us."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _work(self, work: Callable[[int], bytes], slot: int, sending: int) -> None:
        try:
            os.write(sending, work(slot)[:_REPORT_BYTES])
        except BaseException:  # noqa: BLE001 - it is shown, and this process ends
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    def _pass_on(self, signum: int, _frame: FrameType | None) -> None:
        self.received.append(signum)
        self.received_s = min(self.received_s, time.monotonic())
        self.send(signum)

    def _suspend(self, _signum: int, _frame: FrameType | None) -> None:
        self.send(signal.SIGSTOP)  # a terminal's SIGTSTP is not for other sessions
        os.kill(os.getpid(), signal.SIGSTOP)
        self.send(signal.SIGCONT)
