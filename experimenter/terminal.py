"""A terminal of its own for the command, between it and the user's: what it shows and what is typed passes through."""

import contextlib
import os
import selectors
import signal
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from experimenter.process import Identity, SessionChild, start_in_session
from experimenter.relay import Channel, Log, Observer
from experimenter.usersterminal import UsersTerminal

_CHUNK_BYTES = 64 * 1024
_MOST_AT_ONCE = 16  # pieces of output, of which a terminal holds 4 KiB, between looks at what is typed
_LOOK_AGAIN_S = 0.2  # whether we have come to the foreground, where we are not
_CC, _LFLAG = 6, 3  # places in what termios.tcgetattr returns
# The kqueue of macOS does not take each terminal.
_Selector = selectors.SelectSelector if sys.platform == "darwin" else selectors.DefaultSelector
_DISABLED = b"\0" if sys.platform == "linux" else b"\xff"  # _POSIX_VDISABLE: no key
_KEYS = {termios.VINTR: signal.SIGINT, termios.VQUIT: signal.SIGQUIT}


class OwnTerminal:
    """Carries output and input between the user's terminal and one that the command has for itself, as script(1) does.

    It is used as Relay is, where `is_possible`. The user's terminal is raw meanwhile: what is typed means to the
    command's terminal what it means there. `on_key` is told of a signal that a key has sent to the command itself, as
    we would have got it, too; keys that a program reads by itself, as an editor or a shell at its prompt, are its own,
    and `on_going_on` is told that the program has not ended of an earlier one.
    When the command is suspended (Ctrl-Z), we are, until the shell lets us go on.
    """

    failures: Sequence[OSError] = ()

    def __init__(
        self, log: Log, *, on_output: Observer, on_key: Callable[[int], None], on_going_on: Callable[[], None]
    ) -> None:
        self._log = log
        self._on_output = on_output
        self._on_key = on_key
        self._on_going_on = on_going_on
        self._child: SessionChild | None = None
        self._heeded: tuple[bool, ...] = ()
        self._typed = b""  # and not yet taken by the command's terminal
        self._perhaps_ended_by: set[int] = set()
        self._is_asked_to_stop = self._was_continued = self._has_hung_up = False

    @staticmethod
    def is_possible() -> bool:
        """Say whether stdin, stdout and stderr are one terminal, and we are in its foreground."""
        try:
            is_one = len({os.fstat(stream).st_rdev for stream in range(3)}) == 1 and all(map(os.isatty, range(3)))
            return is_one and os.tcgetpgrp(0) == os.getpgrp()
        except OSError:  # it is not our controlling terminal, or a stream is closed
            return False

    def __enter__(self) -> Self:
        self._users = UsersTerminal()
        self._channel = Channel(1, self._observe, modes=self._users.modes)
        handlers = {signal.SIGWINCH: self._resize, signal.SIGTSTP: self._stop, signal.SIGCONT: self._go_on}
        self._previous = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users.give_back()
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._channel.close()
        if self._child:
            self._child.close()
        self._users.close()
        self._log.close()

    def start(
        self, command: Sequence[str], *, on_fork: Callable[[Identity], None], env: Mapping[str, str], **place: Any
    ) -> SessionChild:
        """Start the command on its terminal. Raises as Child.start does."""
        self._take()
        self._child = start_in_session(
            command, terminal=self._channel.command_end, kept=[self._users.descriptor],
            on_abandoned=self._users.give_back, on_fork=on_fork, env=env, **place,
        )  # fmt: skip
        return self._child

    def run(self, *, is_over: Callable[[], bool], wake_fd: int, pause_s: Callable[[], float | None]) -> None:
        """Carry output and input until `is_over`, as Relay.run does."""
        assert self._child
        child, channel = self._child, self._channel
        channel.close_command_end()
        with _Selector() as self._selector:
            self._heed(wake_fd, selectors.EVENT_READ, lambda: os.read(wake_fd, 4096))
            self._heed(child.reports, selectors.EVENT_READ, self._read_reports)
            while not is_over():
                if child.take_stop() == signal.SIGTSTP:
                    self._suspend()
                self._look_at_the_foreground()
                self._heed_streams()
                for key, _ in self._selector.select(self._pause_s(pause_s())):
                    key.data()
        channel.drain()
        assert child.ending
        if child.ending.signum in self._perhaps_ended_by:
            self._on_key(child.ending.signum)

    def _heed_streams(self) -> None:
        """Wait for output, for what is typed, and for place for it, as far as there is something to do with them."""
        has_channel, has_typed = self._channel.source >= 0, bool(self._typed)
        heeded = has_channel, has_typed, self._is_listening
        if heeded != self._heeded:
            self._heeded = heeded
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if has_typed else 0)
            self._heed(self._channel.source, events if has_channel else 0, self._pass)
            self._heed(self._users.descriptor, selectors.EVENT_READ if self._is_listening else 0, self._listen)

    def _heed(self, descriptor: int, events: int, act: Callable[[], object]) -> None:
        """Let `act` be called at these events of a descriptor from now on; at none where there are none."""
        known = self._selector.get_map().get(descriptor) if descriptor >= 0 else None
        if known and events:
            self._selector.modify(descriptor, events, act)
        elif known:
            self._selector.unregister(descriptor)
        elif events:
            self._selector.register(descriptor, events, act)

    @property
    def _is_listening(self) -> bool:
        """Whether what is typed is for the command, and there is place for more."""
        return self._users.is_taken and not self._typed and not self._has_hung_up and self._channel.source >= 0

    def _pause_s(self, pause_s: float | None) -> float | None:
        """Return how long to wait at most: where the shell has the terminal, nothing wakes us when it gives it back."""
        assert self._child
        if self._users.is_taken or self._has_hung_up or self._child.ending:
            return pause_s
        return _LOOK_AGAIN_S if pause_s is None else min(pause_s, _LOOK_AGAIN_S)

    def _read_reports(self) -> None:
        """See what has become of the command."""
        assert self._child
        if not self._child.read_reports():
            self._selector.unregister(self._child.reports)

    def _pass(self) -> None:
        """Pass on what the command shows, and what was typed."""
        if self._channel.source < 0:
            return
        if self._typed:
            self._type()
        try:
            for _ in range(_MOST_AT_ONCE):
                if not self._channel.transfer():
                    self._hang_up()
                    return
        except BlockingIOError:
            return

    def _listen(self) -> None:
        """Take what was typed."""
        if self._channel.source < 0:  # it has just hung up
            return
        try:
            typed = os.read(self._users.descriptor, _CHUNK_BYTES)
        except BlockingIOError:  # a program that shares the terminal with us made it non-blocking
            return
        except OSError:
            typed = b""
        if not typed:  # the terminal has been closed
            self._has_hung_up = True
            return
        self._note_keys(typed)
        self._typed += typed
        self._type()

    def _type(self) -> None:
        """Type on the command's terminal, as far as it takes that now."""
        try:
            while self._typed:
                self._typed = self._typed[os.write(self._channel.source, self._typed) :]
        except BlockingIOError:
            return
        except OSError:  # nobody has the terminal any more
            self._typed = b""

    def _note_keys(self, typed: bytes) -> None:
        """Tell of the keys by which the command's terminal sends it a signal.

        In a line that the terminal edits they are for the whole run; where a program reads keys one by one, as an
        editor or the prompt of a shell does, they are for it, unless it ends of them. One that does so has also gone on
        after an earlier key.
        """
        attributes = termios.tcgetattr(self._channel.source)
        flags, characters = attributes[_LFLAG], attributes[_CC]
        is_for_us = flags & termios.ICANON and self._has_foreground()
        if not is_for_us:
            self._on_going_on()
        if not flags & termios.ISIG:
            return
        for place, signum in _KEYS.items():
            count = typed.count(characters[place]) if characters[place] != _DISABLED else 0
            if count and not is_for_us:
                self._perhaps_ended_by.add(signum)
            for _ in range(count if is_for_us else 0):
                self._on_key(signum)

    def _has_foreground(self) -> bool:
        """Say whether the command's own process group is the foreground of its terminal, not that of a job of its."""
        assert self._child
        return os.tcgetpgrp(self._channel.source) == self._child.identity.pid

    def _suspend(self) -> None:
        """Be suspended, with the group that we are in, as the command is; then go on with it."""
        self._users.give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(0, signal.SIGTSTP)  # has no effect where there is no shell that could let us go on
        signal.signal(signal.SIGTSTP, ours)
        self._was_continued = True

    def _look_at_the_foreground(self) -> None:
        """Take the user's terminal when we have come to its foreground, and let the command go on if we were let."""
        if self._was_continued:
            self._was_continued = False
            self._users.look_again()
            self._send(signal.SIGCONT)
        if self._is_asked_to_stop:
            self._is_asked_to_stop = False
            self._send(signal.SIGTSTP)
        assert self._child
        if self._child.ending:  # only others of its tree are waited for: keys are for us again
            self._users.give_back()
        elif not (self._users.is_taken or self._has_hung_up) and self._users.has_us_in_foreground:
            self._take()

    def _send(self, signum: int) -> None:
        """Send a signal to the foreground of the command's terminal, and to the command."""
        assert self._child
        with contextlib.suppress(OSError):
            group = os.tcgetpgrp(self._channel.source)
            if group > 0:  # else nobody has the terminal any more, and we would signal ourselves
                os.killpg(group, signum)
        self._child.send(signum)

    def _take(self) -> None:
        self._has_hung_up = not self._users.take()
        self._channel.copy_size()

    def _hang_up(self) -> None:
        self._selector.unregister(self._channel.source)
        self._channel.close()

    def _observe(self, piece: bytes) -> None:
        self._on_output(piece)
        self._log.write(piece)

    def _resize(self, *_: object) -> None:
        if self._channel.source >= 0:
            self._channel.copy_size()  # of which the system tells the command

    def _stop(self, *_: object) -> None:
        self._is_asked_to_stop = True

    def _go_on(self, *_: object) -> None:
        self._was_continued = True
