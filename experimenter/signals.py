"""What signals do to us: while a command runs, and while a block of a script is an experiment."""

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Self

from experimenter.errors import Interrupted
from experimenter.process import Child, Ending, Identity, SessionChild, adopt_orphans
from experimenter.tree import Tree
from experimenter.witness import Witness

AnyChild = Child | SessionChild

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK_AGAIN_S = 0.05
_ENDING_BLOCKS = (signal.SIGTERM, signal.SIGHUP)


class Signals:
    """What signals do to us from the start of an experiment to its end; a context manager for the main thread.

    Before the command starts they raise Interrupted. Then they are passed on to it, unless it got them itself, as it
    gets Ctrl-C from the terminal; a second Ctrl-C kills. Once the command has ended they are ignored until the block is
    left. A signal that was ignored when we started stays so
    (nohup, background jobs). `wake_fd` is readable after each signal, and after each end of a child.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._typed: list[int] = []
        self._child: AnyChild | None = None
        self._tree: Tree | None = None
        self._is_starting = False
        self._previous: dict[int, Any] = {}
        self.wake_fd = -1
        self._is_waiting_for_tree = False

    def __enter__(self) -> Self:
        self._witness = Witness()
        self.wake_fd, self._wake_end = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake_end, False)
        self._previous_wake_fd = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in (signal.SIGINT, *_PASSED_ON):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._previous[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._previous_wake_fd)
        os.close(self.wake_fd)
        os.close(self._wake_end)
        self._witness.close()

    def start(self, start: Callable[..., AnyChild], command: Sequence[str], *, tag: str, **options: Any) -> AnyChild:
        """Start the command of an experiment by `start`; signals that arrive meanwhile reach it then."""
        self._is_starting = True
        adopt_orphans()
        child = start(command, **options)
        wrapper = Identity.of(os.getpid())
        self._tree = Tree(tag=tag, command=child.identity, wrapper=wrapper, leader=child.leader)
        self._child = child
        for signum in self.received:
            child.send(signum)
        return child

    @property
    def has_started(self) -> bool:
        """Whether there ever was a command."""
        return self._tree is not None

    def typed(self, signum: int) -> None:
        """Take note of a signal that a key has sent to the command on its own terminal; a second Ctrl-C kills.

        The group that we are in, such as a shell with a loop, gets it as from the terminal that it has with us.
        """
        is_second = signum == signal.SIGINT and self.interrupted
        self.received.append(signum)
        self._typed.append(signum)
        ours = signal.signal(signum, signal.SIG_IGN)
        os.killpg(0, signum)
        signal.signal(signum, ours)
        self._witness.saw(signum)
        if is_second:
            self.kill_tree()

    def forget_typed(self) -> None:
        """Forget what was typed so far: the command, such as an interpreter at its prompt, has gone on after it."""
        for signum in self._typed:
            self.received.remove(signum)
        self._typed.clear()

    def kill_tree(self) -> None:
        """Kill the command and all that it has started."""
        if self._tree:
            self._tree.kill()

    def tree_is_gone(self) -> bool:
        """Say whether nothing is left of the command and all that it has started; `pause_s` is short from now on."""
        self._is_waiting_for_tree = True
        return self._tree is None or self._tree.is_gone()

    def pause_s(self) -> float | None:
        """Return how long to wait for `wake_fd` at most: for ever, unless the end of the tree is waited for."""
        return _LOOK_AGAIN_S if self._is_waiting_for_tree else None

    def hold(self) -> None:
        """Ignore signals from now on, as git's commands will that are started meanwhile: what came of it is stored."""
        self._child = None
        for signum in self._previous:
            if signum != signal.SIGCHLD:
                signal.signal(signum, signal.SIG_IGN)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed, or SIGINT sent, while the command ran."""
        return signal.SIGINT in self.received

    @property
    def was_asked_to_end(self) -> bool:
        """Whether one of the signals came that ask a program to end."""
        return any(signum in self.received for signum in _ENDING)

    def ended_by(self, ending: Ending) -> int | None:
        """Return the signal that asked us to end and ended the command, or nothing."""
        if self.interrupted:
            return signal.SIGINT
        return ending.signum if ending.signum in self.received else None

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if self._child is None and not self._is_starting and signum in _ENDING:
            self.hold()  # another one must not disturb the clean-up
            raise Interrupted(signum)
        is_second = signum == signal.SIGINT and self.interrupted
        self.received.append(signum)
        if self._child is None:
            return
        if is_second:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.kill_tree()
        elif not self._child_got(signum):
            self._child.send(signum)

    def _child_got(self, signum: int) -> bool:
        """Say whether the command got a signal as we did, with the process group that both are in."""
        assert self._child
        if sys.platform != "linux":
            return signum == signal.SIGINT and _in_foreground()
        return self._witness.saw(signum) and self._child.is_in_our_group


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Let no signal in while the body runs, or into the programs that it starts; one that came acts at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal that asks us to end raise Interrupted in the body, which so can tidy up."""

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        raise Interrupted(signum)

    is_main = threading.current_thread() is threading.main_thread()  # which alone gets signals
    chosen = [signum for signum in _ENDING if is_main and signal.getsignal(signum) is signal.SIG_DFL]
    for signum in chosen:
        signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum in chosen:
            signal.signal(signum, signal.SIG_DFL)


class BlockSignals:
    """Makes SIGTERM and SIGHUP end a block of a script like an exception: they raise SystemExit in the main thread.

    A handler of the script's own is left alone. Forked children have none of it, from their first moment on: a
    handler of Python's that they inherit loses a signal that comes right after the fork, and hangs process pools.
    """

    _open: "list[BlockSignals]" = []  # noqa: RUF012 - of this process, as its handlers are
    _guards_forks = False

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        for signum in _ENDING_BLOCKS:
            if signal.getsignal(signum) is signal.SIG_DFL:
                self._previous[signum] = signal.signal(signum, self._end)
        self._open.append(self)
        if not BlockSignals._guards_forks:
            BlockSignals._guards_forks = True
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
            )

    def close(self) -> None:
        """Give the signals back."""
        self._open.remove(self)
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @staticmethod
    def _end(signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    @classmethod
    def _before_fork(cls) -> None:
        if cls._open:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_BLOCKS)

    @classmethod
    def _after_fork(cls) -> None:
        if cls._open:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_BLOCKS)

    @classmethod
    def _after_fork_in_child(cls) -> None:
        for block in cls._open:
            for signum, handler in block._previous.items():
                signal.signal(signum, handler)
        cls._after_fork()
        cls._open = []


def die_of(signum: int) -> None:
    """End this process by a signal, so that a shell that started us sees it and stops, too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _in_foreground() -> bool:
    """Say whether our process group is the one that the terminal sends its signals to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
