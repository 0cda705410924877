"""The one door to processes: starts the command, says how it ended, and tells processes apart."""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Self

from experimenter.errors import CommandNotExecutable, CommandNotFound
from experimenter.text import visible

_STOPPING_S = 0.1
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2) on each system


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells a process from every other one, also after its pid was given away again."""

    pid: int
    start_time: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of the living process `pid`."""
        return cls(pid=pid, start_time=_start_time(pid))

    @property
    def is_alive(self) -> bool:
        """Whether this very process lives; one that is dead but not yet waited for (a zombie) does not."""
        import psutil  # 35 ms that most commands can do without

        try:
            return _start_time(self.pid) == self.start_time and _status(self.pid) != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, OSError):
            return False


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

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.identity = Identity.of(popen.pid)
        self.ending: Ending | None = None

    @classmethod
    def start(cls, command: Sequence[str], *, env: Mapping[str, str], stdout: int | None, stderr: int | None) -> Self:
        """Start `command` in our process group, with our stdin; descriptors of None are inherited.

        Staying in the group, it may read the terminal, and a Ctrl-C reaches it as it reaches us. Raises
        CommandNotFound or CommandNotExecutable.
        """
        try:
            # Our own descriptors close themselves (PEP 446); those that the shell gave us are for the command.
            popen = subprocess.Popen(command, env=env, stdout=stdout, stderr=stderr, close_fds=False)
        except OSError as error:
            raise _start_failure(command[0], error) from error
        except ValueError as error:  # a NUL byte in a word or a variable
            raise CommandNotExecutable(f"cannot execute '{visible(command[0])}': {error}") from error
        return cls(popen)

    def has_ended(self) -> bool:
        """Say whether the command has ended, and if so keep its `ending`. Does not wait."""
        if self.ending is None:
            pid, status, usage = os.wait4(self._popen.pid, os.WNOHANG)
            if pid:
                self._popen.returncode = os.waitstatus_to_exitcode(status)
                self.ending = _ending(self._popen.returncode, usage)
        return self.ending is not None

    def send(self, signum: int) -> None:
        """Send a signal to the command, if it has not ended."""
        if self.ending is None:
            with contextlib.suppress(PermissionError):  # it has become another user's, as sudo does
                os.kill(self._popen.pid, signum)

    def kill_tree(self) -> None:
        """Kill the command and all its descendants."""
        if self.ending is None:
            kill_tree(self._popen.pid)


def kill_tree(pid: int) -> None:
    """Kill the process `pid` and its descendants, also those that fork at this moment.

    Each is stopped before anyone is killed, and only when no new one has turned up is the family complete: a shell
    whose child is killed first starts the next one.
    """
    import psutil

    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself meanwhile
        root = psutil.Process(pid)
        while new := [one for one in (root, *root.children(recursive=True)) if one not in family]:
            family += new
            _signal(new, signal.SIGSTOP)
            deadline = time.monotonic() + _STOPPING_S
            while any(_is_moving(one) for one in new) and time.monotonic() < deadline:
                time.sleep(0.001)  # a signal is on its way
    _signal(family, signal.SIGKILL)


def _signal(processes: Iterable[Any], signum: int) -> None:
    import psutil

    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            one.send_signal(signum)


def page(text: str, *, pager: str) -> None:
    """Show `text` by a pager, a shell command as in $GIT_PAGER; Ctrl-C is the pager's until it ends."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # As git does: with these less shows colours, and ends by itself where the text fits the screen.
        env = {"LESS": "FRX", "LV": "-c", **os.environ}
        subprocess.run(["sh", "-c", pager], input=text.encode(), env=env, check=False)  # noqa: S607
    finally:
        signal.signal(signal.SIGINT, previous)


def usage_of_ourselves() -> Ending:
    """Return the CPU time that this process and its ended children have used so far, and its largest memory."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Ending(exit_code=0, cpu_s=cpu_s, max_rss_bytes=own.ru_maxrss * _RSS_UNIT_BYTES)


def host() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def boot_id() -> str:
    """Return what is different after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))


def _ending(returncode: int, usage: resource.struct_rusage) -> Ending:
    signum = -returncode if returncode < 0 else None
    return Ending(
        exit_code=128 + signum if signum else returncode,
        cpu_s=usage.ru_utime + usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * _RSS_UNIT_BYTES,
        signum=signum,
    )


def _start_failure(program: str, error: OSError) -> CommandNotFound | CommandNotExecutable:
    shown = visible(program)
    if not program or (isinstance(error, FileNotFoundError) and not which(program)):
        return CommandNotFound(f"there is no command '{shown}'; check the spelling and the PATH")
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


def _start_time(pid: int) -> float:
    """Return when a process started: in clock ticks since the boot on Linux (proc(5)), else in seconds since 1970."""
    if sys.platform == "linux":
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])
    import psutil

    return psutil.Process(pid).create_time()


def _status(pid: int) -> str:
    import psutil

    return psutil.Process(pid).status()


def _is_moving(process: Any) -> bool:
    import psutil

    try:
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
