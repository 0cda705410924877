"""The process tree of an experiment: its command with all that this started, wherever it has gone; and its end."""

import os
import select
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field

from experimenter import environment
from experimenter.process import Identity, Sighting, all_processes, has_variable

_LOOK_AGAIN_S = 0.001
_LOOKS_AT_A_STOP = 100


@dataclass(slots=True, kw_only=True)
class Tree:
    """A command and its descendants, also those that have left its group, its session and their parents.

    Known by descent from the command, or from the wrapper that adopts orphans (not the wrapper itself); by the
    experiment's tag in the environment that they were started with (by that alone where there is no `command`); and by
    having been seen in the tree before. This process, which may itself be in the tree, and its children are left out.
    """

    tag: str
    command: Identity | None = None
    wrapper: Identity | None = None
    _seen: dict[Identity, bool] = field(default_factory=dict)

    def members(self) -> list[Identity]:
        """Return who lives now, the command first."""
        processes = {one.identity.pid: one for one in all_processes()}
        children: dict[int, list[Sighting]] = {}
        for one in processes.values():
            children.setdefault(one.parent, []).append(one)
        found: dict[Identity, Sighting] = {}
        pending = [one for one in processes.values() if self._is_root(one)]
        pending.sort(key=lambda one: one.identity != self.command)
        while pending:
            one = pending.pop(0)
            if one.identity not in found and one.identity.pid != os.getpid():
                found[one.identity] = one
                pending += children.get(one.identity.pid, [])
        if self.wrapper:
            found.pop(self.wrapper, None)
        self._seen |= dict.fromkeys(found, True)
        return [identity for identity, one in found.items() if not one.is_dead]

    def kill(self) -> None:
        """Kill every member, also those that are just being forked.

        Each is stopped before anyone is killed, and only when no new one has turned up is the family complete: a shell
        whose child is killed first starts the next one, and a launcher its worker.
        """
        stopped: dict[Identity, None] = {}
        while new := [one for one in self.members() if one not in stopped]:
            send(new, signal.SIGSTOP)
            stopped |= dict.fromkeys(new)
            for _ in range(_LOOKS_AT_A_STOP):  # until the signals have arrived
                if not any(seen.is_moving for one in new if (seen := one.look())):
                    break
                select.select([], [], [], _LOOK_AGAIN_S)
        send(stopped, signal.SIGKILL)

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
        if not (self.command and self.wrapper and one.parent == self.wrapper.pid):
            return False
        return one.identity.start_time >= self.command.start_time and self.wrapper.is_alive


def send(processes: Iterable[Identity], signum: int) -> None:
    """Send a signal to each of these very processes that is still there."""
    for one in processes:
        one.send(signum)
