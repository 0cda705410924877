"""The process tree of an experiment: its command with all that this started, wherever it has gone; and its end."""

import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from experimenter import environment
from experimenter.process import Identity, Sighting, all_processes, has_variable, look_at, pids

_LOOK_AGAIN_S = 0.001
_LOOKS_AT_A_STOP = 100
_LOOKS_WHILE_OTHERS_COME = 300
_QUIET_LOOKS = 3


@dataclass(slots=True, kw_only=True)
class Tree:
    """A command and its descendants, also those that have left its group, its session and their parents.

    Known by descent from the command, or from the wrapper that adopts orphans (not the wrapper itself); by the
    experiment's tag in the environment that they were started with (by that alone where there is no `command`); and by
    having been seen in the tree before. This process, which may itself be in the tree, and its children are left out,
    and so is the `leader` of a session of the command's own, which reports how that ends.
    Once `is_settling`, the wrapper's children are git at work, and nobody is in the tree.
    """

    tag: str
    command: Identity | None = None
    wrapper: Identity | None = None
    leader: Identity | None = None
    is_settling: Callable[[], bool] = lambda: False
    _seen: dict[Identity, bool] = field(default_factory=dict)

    def members(self) -> list[Identity]:
        """Return who lives now, the command first."""
        processes = list(all_processes())
        children: dict[int, list[Sighting]] = {}
        for one in processes:
            children.setdefault(one.parent, []).append(one)
        found: dict[Identity, Sighting] = {}
        pending = [one for one in processes if self._is_root(one)]
        pending.sort(key=lambda one: one.identity != self.command)
        while pending:
            one = pending.pop(0)
            if one.identity not in found and one.identity.pid != os.getpid():
                found[one.identity] = one
                pending += children.get(one.identity.pid, [])
        if self.wrapper:
            found.pop(self.wrapper, None)
        if self.is_settling():
            return []
        self._seen |= dict.fromkeys(found, True)
        return [identity for identity, one in found.items() if not one.is_dead]

    def is_gone(self) -> bool:
        """Say whether nobody lives, also none of those who fork and end faster than one look takes."""
        return not self.members() and not any(self._newcomers())

    def kill(self) -> None:
        """Kill every member, also those that are just being forked.

        Each is stopped before anyone is killed, and only when no new one has turned up is the family complete: a shell
        whose child is killed first starts the next one, and a launcher its worker.
        """
        stopped: dict[Identity, None] = {}
        new = self.members()
        while True:
            send(new, signal.SIGSTOP)
            for newcomer in self._newcomers():
                newcomer.send(signal.SIGSTOP)
                new.append(newcomer)
            if not new:
                break
            _wait_for_stop(new)
            stopped |= dict.fromkeys(new)
            new = [one for one in self.members() if one not in stopped]
        send(stopped, signal.SIGKILL)

    def _newcomers(self) -> Iterator[Identity]:
        """Yield members that were born since the last look at all, until there are none.

        Looks as fast as it can, and at the latest process first: a member that forks and ends at once, again and again,
        is caught only in its short life. While others come and go that can't be told from it, it looks on for a while.
        """
        known = {identity.pid for identity in list(self._seen)}  # a signal handler may kill, and see more, meanwhile
        quiet = 0
        for _ in range(_LOOKS_WHILE_OTHERS_COME):
            new = sorted(pids() - known, reverse=True)
            quiet = 0 if new else quiet + 1
            if quiet == _QUIET_LOOKS:
                return
            known.update(new)
            for pid in new:
                seen = look_at(pid)
                if seen and not seen.is_dead and self._is_descendant(seen) and not self.is_settling():
                    self._seen[seen.identity] = True
                    yield seen.identity

    def _is_descendant(self, one: Sighting) -> bool:
        """Say whether a process is in the tree, itself or by a parent that was."""
        if os.getpid() in (one.identity.pid, one.parent) or one.identity in (self.wrapper, self.leader):
            return False
        seen = list(self._seen.items())
        return self._is_root(one) or any(is_member and who.pid == one.parent for who, is_member in seen)

    def _is_root(self, one: Sighting) -> bool:
        """Say whether a process is in the tree whatever its parent is."""
        identity = one.identity
        if self.command and identity == self.command:
            return True
        if self._is_child_of_wrapper(one):
            return True
        if identity not in self._seen:
            self._seen[identity] = has_variable(identity.pid, environment.TAG, self.tag)
        return self._seen[identity]

    def _is_child_of_wrapper(self, one: Sighting) -> bool:
        """Say whether it came from the command; the wrapper may have had children before, of a shell that became it."""
        if not (self.command and self.wrapper and one.parent == self.wrapper.pid) or one.identity == self.leader:
            return False
        return one.identity.start_time >= self.command.start_time and self.wrapper.is_alive


def send(processes: Iterable[Identity], signum: int) -> None:
    """Send a signal to each of these very processes that is still there."""
    for one in processes:
        one.send(signum)


def _wait_for_stop(processes: Iterable[Identity]) -> None:
    """Wait until signals have arrived, which takes a moment on another core."""
    for _ in range(_LOOKS_AT_A_STOP):
        if not any(seen.is_moving for one in processes if (seen := one.look())):
            return
        select.select([], [], [], _LOOK_AGAIN_S)
