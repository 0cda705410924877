"""Starts a command in a session of its own, on a terminal of its own: a leader between us and it makes Ctrl-Z work.

A stop signal of the terminal is lost on a process group without a parent in its session (setpgid(2), "orphaned"). So
the leader, a fork of us, is the command's parent. It tells us how the command stops and ends, and outlives us.
"""

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from experimenter import errors
from experimenter.errors import CommandNotExecutable, ExperimenterError
from experimenter.process.looking import Identity
from experimenter.process.starting import Child, Ending, ending_of_command, reap

_MOST_DESCRIPTORS = 65536
_LONGEST_REPORTS = 64 * 1024


class SessionChild:
    """A command in a session of its own, used as a Child is; `reports` is readable when it has stopped or ended."""

    def __init__(self, leader: int, reports: int, life: int) -> None:
        self.reports = reports
        self.ending: Ending | None = None
        self.stopped_by: int | None = None
        self._life = life  # the leader knows by its closing that we have died
        self.leader = Identity.of(leader)
        told = b""
        while not told.endswith(b"\n") and (piece := os.read(reports, _LONGEST_REPORTS)):
            told += piece
        os.set_blocking(reports, False)
        first, *others = map(json.loads, told.splitlines() or [b"{}"])
        if "pid" not in first:
            self.close()
            kind = getattr(errors, first.get("error", ""), CommandNotExecutable)
            raise kind(first.get("message", "the leader of the command's session was killed"))
        self.identity = Identity(**first)
        self._take(others)

    is_in_our_group = False

    def has_ended(self) -> bool:
        """Say whether the command has ended, and if so keep its `ending`; wait for nobody.

        Orphans that came to us, and the leader, are reaped meanwhile. If the leader was killed the command is one of
        them.
        """
        with contextlib.suppress(ChildProcessError):
            while reaped := reap():
                pid, status, usage = reaped
                if pid == self.identity.pid:
                    self.ending = ending_of_command(os.waitstatus_to_exitcode(status), usage)
                elif pid == self.leader.pid:
                    self.read_reports()
                    self._outlive_leader()
        return self.ending is not None

    def _outlive_leader(self) -> None:
        """End a command whose leader was killed, where it does not come to us (adopt_orphans)."""
        if self.ending is None and sys.platform != "linux":
            self.identity.send(signal.SIGKILL)
            self.ending = Ending(exit_code=128 + signal.SIGKILL, cpu_s=0, max_rss_bytes=0, signum=signal.SIGKILL)

    def take_stop(self) -> int | None:
        """Return, once, the signal by which the command was stopped."""
        signum, self.stopped_by = self.stopped_by, None
        return signum

    def send(self, signum: int) -> None:
        """Send a signal to the command, if it has not ended."""
        if self.ending is None:
            self.identity.send(signum)

    def close(self) -> None:
        """Let go of the leader, which ends with that."""
        os.close(self.reports)
        os.close(self._life)

    def read_reports(self) -> bool:
        """Read what the leader has to tell; say whether more may come."""
        try:
            told = os.read(self.reports, _LONGEST_REPORTS)
        except BlockingIOError:
            return True
        self._take(map(json.loads, told.splitlines()))
        return bool(told)

    def _take(self, reports: Iterable[Mapping[str, Any]]) -> None:
        for report in reports:
            if "stopped" in report:
                self.stopped_by = report["stopped"]
            else:
                self.ending = Ending(**report)


def start_in_session(
    command: Sequence[str],
    *,
    terminal: int,
    kept: Collection[int],
    on_abandoned: Callable[[], None],
    on_fork: Callable[[Identity], None],
    **place: Any,
) -> SessionChild:
    """Start `command` as Child.start does, but as the foreground of a new session with a controlling terminal.

    The terminal is its stdin, stdout and stderr. Should we die before the command, the leader calls `on_abandoned`,
    for which the descriptors `kept` stay open, and ends: the terminal hangs up. Raises as Child.start does.
    """
    reports, sending = os.pipe()
    living, life = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    leader = os.fork()
    if leader == 0:
        try:
            os.close(life)
            child = _start(command, terminal, sending, on_fork, mask, place)
            if child:
                _watch(child, sending, living, on_abandoned, kept)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(sending)
    os.close(living)
    return SessionChild(leader, reports, life)


def _start(
    command: Sequence[str],
    terminal: int,
    sending: int,
    on_fork: Callable[[Identity], None],
    mask: set[Any],
    place: Mapping[str, Any],
) -> Child | None:
    """Start the command in the foreground of a new session of ours; report who it is, or why it cannot be started."""

    def begin(command: Identity) -> None:
        os.tcsetpgrp(0, os.getpid())
        on_fork(command)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        os.login_tty(terminal)
        child = Child.start(command, on_fork=begin, process_group=0, **place)
    except OSError as error:
        _report(sending, {"error": "CommandNotExecutable", "message": f"cannot give it a terminal: {error.strerror}"})
        return None
    except ExperimenterError as error:
        _report(sending, {"error": type(error).__name__, "message": str(error)})
        return None
    _report(sending, {"pid": child.identity.pid, "start_time": child.identity.start_time})
    return child


def _watch(child: Child, sending: int, living: int, on_abandoned: Callable[[], None], kept: Collection[int]) -> None:
    """Be the leader: report each time that the command stops, and how it ends."""
    waking, wake_end = os.pipe()
    # From here on nothing is opened: a number that is used again would be closed by the object that had it before.
    _close_all_but({0, sending, living, waking, wake_end, *kept})
    for end in (waking, wake_end):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    while not _has_ended(child, sending):
        ready, _, _ = select.select([waking, living], [], [])
        if living in ready:
            on_abandoned()
            return
        os.read(waking, _LONGEST_REPORTS)


def _has_ended(child: Child, sending: int) -> bool:
    """Report what has become of the command; say whether it has ended."""
    while True:
        pid, status, usage = os.wait4(child.identity.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return False
        if os.WIFSTOPPED(status):
            _report(sending, {"stopped": os.WSTOPSIG(status)})
            continue
        ending = ending_of_command(os.waitstatus_to_exitcode(status), usage)
        # What the command has left in the background would get a SIGHUP when we end, were it still the foreground.
        os.tcsetpgrp(0, os.getpgrp())
        _report(sending, {name: getattr(ending, name) for name in Ending.__slots__})
        return True


def _report(sending: int, report: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # we were killed; the leader notices
        os.write(sending, json.dumps(report).encode() + b"\n")


def _close_all_but(kept: Collection[int]) -> None:
    """Close what the leader holds open only as a fork of us, so that nobody waits for its end."""
    start = 0
    for descriptor in sorted(kept):
        if start < descriptor:
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))
