"""Starts programs: the command of an experiment, a pager, and short questions to other programs."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any, Self

from experimenter.errors import CommandNotExecutable, CommandNotFound, StateUnwritable
from experimenter.process.looking import Identity
from experimenter.text import visible

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2) on each system


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a command ended, and what it used: it and those of its descendants that it waited for.

    On Linux `max_rss_bytes` is not less than our own size, some 30 MB, which a child shares until it executes.
    """

    exit_code: int
    cpu_s: float
    max_rss_bytes: int
    signum: int | None = None


class Child:
    """A command that was started by us."""

    leader: Identity | None = None  # of a session of its own, if it has one

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.identity = Identity.of(popen.pid)
        self.ending: Ending | None = None

    @classmethod
    def start(
        cls, command: Sequence[str], *, on_fork: Callable[[Identity], None], env: Mapping[str, str], **place: Any
    ) -> Self:
        """Start `command` in our process group, in our folder and with our streams unless `place` (for Popen) differs.

        `on_fork` is called in the new process before it becomes the command, so that what it writes down is there
        as soon as the command runs. Staying in the group, it may read the terminal, and a Ctrl-C reaches it as it
        reaches us. Raises CommandNotFound, CommandNotExecutable, or StateUnwritable where `on_fork` failed.
        """
        reason, report = os.pipe()

        def tell() -> None:
            for signum in signal.valid_signals():
                if callable(signal.getsignal(signum)):  # or our handler would take what is for the command
                    signal.signal(signum, signal.SIG_DFL)
            try:
                on_fork(Identity.of(os.getpid()))
            except Exception as error:
                os.write(report, str(error).encode(errors="replace"))
                raise

        try:
            # Our own descriptors close themselves (PEP 446); those that the shell gave us are for the command.
            popen = subprocess.Popen(command, env=env, close_fds=False, preexec_fn=tell, **place)
        except OSError as error:
            raise _start_failure(command[0], error, place.get("cwd")) from error
        except subprocess.SubprocessError as error:
            os.set_blocking(reason, False)
            raise StateUnwritable(os.read(reason, 4096).decode()) from error
        except ValueError as error:  # a NUL byte in a word or a variable
            raise CommandNotExecutable(f"cannot execute '{visible(command[0])}': {error}") from error
        finally:
            os.close(reason)
            os.close(report)
        return cls(popen)

    def has_ended(self) -> bool:
        """Say whether the command has ended, and if so keep its `ending`; wait for nobody.

        Orphans that came to us (see `adopt_orphans`) are reaped meanwhile.
        """
        with contextlib.suppress(ChildProcessError):
            while reaped := reap():
                pid, status, usage = reaped
                if pid == self._popen.pid:
                    self._popen.returncode = os.waitstatus_to_exitcode(status)
                    self.ending = ending_of_command(self._popen.returncode, usage)
        return self.ending is not None

    @property
    def is_in_our_group(self) -> bool:
        """Whether a signal to our process group reaches it."""
        try:
            return os.getpgid(self._popen.pid) == os.getpgrp()
        except ProcessLookupError:
            return True

    def send(self, signum: int) -> None:
        """Send a signal to the command, if it has not ended."""
        if self.ending is None:
            # It has become another user's, as sudo does; or it was reaped while this signal came.
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.kill(self._popen.pid, signum)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends, where the system has that (Linux, prctl(2))."""
    if sys.platform == "linux":
        c_library().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@cache
def c_library() -> Any:
    """Return the system's C library; who forks often loads it before, rather than in each new process."""
    import ctypes

    return ctypes.CDLL(None)


TimedOut = subprocess.TimeoutExpired


def answer_of(command: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> str | None:
    """Return what a program, started in `/`, prints on its stdout; nothing if it fails or takes too long."""
    try:
        done = subprocess.run(
            command, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout.decode(errors="surrogateescape")


def page(text: bytes, *, pager: str) -> bool:
    """Show `text` by a pager, a shell command as in $GIT_PAGER; say whether it was there. Ctrl-C is for the pager."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # As git does: with these less shows colours, and ends by itself where the text fits the screen.
        env = {"LESS": "FRX", "LV": "-c", **os.environ}
        done = subprocess.run(
            ["sh", "-c", pager],  # noqa: S607
            input=text,
            env=env,
            check=False,
            preexec_fn=lambda: signal.signal(signal.SIGINT, previous),
        )
        return done.returncode not in (126, 127)  # sh could not execute it
    finally:
        signal.signal(signal.SIGINT, previous)


def usage_of_ourselves() -> Ending:
    """Return the CPU time that this process and its ended children have used so far, and its largest memory."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Ending(exit_code=0, cpu_s=cpu_s, max_rss_bytes=own.ru_maxrss * _RSS_UNIT_BYTES)


def ending_of_command(returncode: int, usage: resource.struct_rusage) -> Ending:
    """Return how a command ended; `returncode` is negative after a signal, as of subprocess.Popen."""
    signum = -returncode if returncode < 0 else None
    return Ending(
        exit_code=128 + signum if signum else returncode,
        cpu_s=usage.ru_utime + usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * _RSS_UNIT_BYTES,
        signum=signum,
    )


def _start_failure(program: str, error: OSError, directory: Path | None) -> CommandNotFound | CommandNotExecutable:
    shown = visible(program)
    found = which(str(directory / program) if directory and "/" in program else program)
    if not program or (isinstance(error, FileNotFoundError) and not found):
        isolated = (
            "; an isolated run has only what git does not ignore, and what --link names" if which(program) else ""
        )
        return CommandNotFound(f"there is no command '{shown}'; check the spelling and the PATH{isolated}")
    reason = error.strerror
    if isinstance(error, FileNotFoundError):
        reason = "the interpreter in its first line is not there"
    elif error.errno == errno.ENOEXEC:
        reason = "it is no program, and has no first line such as #!/bin/sh"
    elif error.errno == errno.E2BIG:
        reason = "its arguments and environment are too long for the system"
    elif isinstance(error, PermissionError) and Path(program).is_dir():
        reason = "it is a folder"
    elif isinstance(error, PermissionError):
        reason = "no permission; chmod +x makes a file executable"
    return CommandNotExecutable(f"cannot execute '{shown}': {reason}")


def reap() -> tuple[int, int, resource.struct_rusage] | None:
    """Wait for a child that has ended, and say how; nothing if none has. Raises ChildProcessError without children."""
    reaped = os.wait4(-1, os.WNOHANG)
    return reaped if reaped[0] else None
