"""The door to a command's output: passes its stdout and stderr on unchanged and at once, and into the log."""

import errno
import fcntl
import os
import select
import selectors
import signal
import struct
import termios
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from experimenter.process import Child

_CHUNK_BYTES = 256 * 1024
# No pipe and no terminal holds more, so reading as much after the command's end gets all that it wrote.
_PIPE_BYTES = 1024 * 1024
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)

Observer = Callable[[bytes], None]


class Channel:
    """One stream of the command: a pseudo-terminal where ours is a terminal, else a pipe."""

    def __init__(self, sink: int, observe: Observer, *, modes: list[Any] | None = None) -> None:
        """Open it; a pseudo-terminal has the `modes` that are given (tcgetattr in termios(3)), else is raw."""
        self.sink = sink
        self.is_terminal = os.isatty(sink)
        self.source, self.command_end = os.openpty() if self.is_terminal else os.pipe()
        self.failure: OSError | None = None
        self._observe = observe
        os.set_blocking(self.source, False)
        if modes is not None:
            termios.tcsetattr(self.command_end, termios.TCSANOW, modes)
        elif self.is_terminal:
            # The user's terminal makes \r\n of each \n itself; without this there would be \r\r\n.
            tty.setraw(self.command_end)
        if self.is_terminal:
            self.copy_size()
        else:
            _enlarge(self.source)
            _enlarge(sink)

    def copy_size(self) -> bool:
        """Give the pseudo-terminal the size of the terminal; say whether that changed it."""
        size = _window_size(self.sink)
        if not size or size == _window_size(self.source):
            return False
        fcntl.ioctl(self.source, termios.TIOCSWINSZ, size)
        return True

    def close_command_end(self) -> None:
        """Let go of the end that the command has, so that its closing is seen here."""
        if self.command_end >= 0:
            os.close(self.command_end)
            self.command_end = -1

    def transfer(self) -> int:
        """Pass on what is there, at most a chunk; return the number of bytes, 0 at the end of the stream.

        Raises BlockingIOError when there is nothing to read now.
        """
        try:
            piece = os.read(self.source, _CHUNK_BYTES)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.EIO:  # a pseudo-terminal whose other end nobody holds any more
                return 0
            raise
        if piece:
            self._observe(piece)
            self._write(piece)
        return 0 if self.failure else len(piece)

    def drain(self) -> None:
        """Pass on what the command left behind when it ended, without waiting for others that hold the stream."""
        left = 2 * _PIPE_BYTES
        try:
            while self.source >= 0 and not self.failure and left > 0 and (count := self.transfer()):
                left -= count
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self.close_command_end()
        if self.source >= 0:
            os.close(self.source)
            self.source = -1

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(self.sink, rest) :]
            except BlockingIOError:  # somebody who shares the terminal with us made it non-blocking
                select.select([], [self.sink], [])
            except OSError as error:
                # Nobody reads us any more: our reader's end is closed, so that the command meets it as without us.
                self.failure = error
                return


class Log:
    """The file that keeps a command's output; given up, with `failure` saying why, when it can't be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: OSError | None = None
        self._file: BinaryIO = path.open("ab", buffering=0)

    def write(self, piece: bytes) -> None:
        """Append `piece`."""
        if self.failure is None:
            try:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.failure = error

    @property
    def descriptor(self) -> int:
        """The descriptor of the file, which appends."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Relay:
    """Carries a command's stdout and stderr while it runs; a context manager that opens and closes the channels."""

    def __init__(self, log: Log, *, on_stdout: Observer) -> None:
        self._log = log
        self._on_stdout = on_stdout

    def __enter__(self) -> Self:
        self._channels = (Channel(1, self._observe_stdout), Channel(2, self._log.write))
        self._previous_winch: Any = None
        if any(channel.is_terminal for channel in self._channels):
            self._previous_winch = signal.signal(signal.SIGWINCH, self._resize)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous_winch is not None:
            signal.signal(signal.SIGWINCH, self._previous_winch)
        for channel in self._channels:
            channel.close()
        self._log.close()

    def start(self, command: Sequence[str], **options: Any) -> Child:
        """Start the command with its output coming here. Raises as Child.start does."""
        stdout, stderr = (channel.command_end for channel in self._channels)
        return Child.start(command, stdout=stdout, stderr=stderr, **options)

    def run(self, *, is_over: Callable[[], bool], wake_fd: int, pause_s: Callable[[], float | None]) -> None:
        """Carry output until `is_over`, which is asked whenever `wake_fd` is readable; then what is left of it.

        A descendant of the command that still holds the streams is not waited for. Nothing here wakes up while
        there is no output and no signal, unless `pause_s` says how many seconds to wait at most.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(wake_fd, selectors.EVENT_READ)
            for channel in self._channels:
                channel.close_command_end()
                selector.register(channel.source, selectors.EVENT_READ, channel)
            while not is_over():
                for key, _ in selector.select(pause_s()):
                    if key.data is None:
                        _try(lambda: os.read(wake_fd, 4096))
                    elif not _transferred(key.data):
                        selector.unregister(key.data.source)
                        key.data.close()
        for channel in self._channels:
            channel.drain()

    @property
    def failures(self) -> list[OSError]:
        """What kept output from being passed on; nothing where a reader just went away."""
        found = [channel.failure for channel in self._channels]
        return [error for error in found if error and error.errno != errno.EPIPE]

    def _observe_stdout(self, piece: bytes) -> None:
        self._on_stdout(piece)
        self._log.write(piece)

    def _resize(self, *_: object) -> None:
        changed = [channel.copy_size() for channel in self._channels if channel.is_terminal and channel.source >= 0]
        if any(changed):  # the command may have asked for the size before we had set it
            os.killpg(0, signal.SIGWINCH)


class Straight:
    """Lets a command in the background write into the log itself, and read nothing; used as Relay is."""

    failures: Sequence[OSError] = ()

    def __init__(self, log: Log) -> None:
        self._log = log

    def __enter__(self) -> Self:
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._nothing)
        self._log.close()

    def start(self, command: Sequence[str], **options: Any) -> Child:
        """Start the command with its output going to the log. Raises as Child.start does."""
        log = self._log.descriptor
        return Child.start(command, stdin=self._nothing, stdout=log, stderr=log, **options)

    def run(self, *, is_over: Callable[[], bool], wake_fd: int, pause_s: Callable[[], float | None]) -> None:
        """Wait until `is_over`, as Relay.run does."""
        while not is_over():
            select.select([wake_fd], [], [], pause_s())
            _try(lambda: os.read(wake_fd, 4096))


def _transferred(channel: Channel) -> int:
    try:
        return channel.transfer()
    except BlockingIOError:
        return 1


def _window_size(terminal: int) -> bytes:
    try:
        return fcntl.ioctl(terminal, termios.TIOCGWINSZ, struct.pack("4H", 0, 0, 0, 0))
    except OSError:
        return b""


def _enlarge(pipe: int) -> None:
    """Give a pipe its largest size, where the system has that: half the switches between us and those at its ends."""
    if _SET_PIPE_SIZE:
        _try(lambda: fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES))


def _try(action: Callable[[], object]) -> None:
    """Do what helps where it works: larger pipes, an early read."""
    try:
        action()
    except OSError:
        return
