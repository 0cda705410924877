"""Stops running experiments: asks every process of each, kills what is left after the grace, and sees them settled."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from experimenter import environment, leftovers, names, registry
from experimenter.entry import Entry, Phase
from experimenter.errors import ExperimenterError, NotStopped
from experimenter.plumbing import Repo
from experimenter.process import Identity
from experimenter.settings import Settings
from experimenter.settle import settle_entry
from experimenter.signals import blocked
from experimenter.state import ending_of
from experimenter.tree import Tree, send

_LOOK_AGAIN_S = 0.05
_SETTLING_S = 60.0  # for git to store the record, and for a private work tree to be removed
_DYING_S = 10.0  # for killed processes to go: the kernel may have to write out their memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """How a stop ended: whether the tag is kept, and after how many seconds of grace the tree was killed, if it was.

    Where we are in that tree ourselves, `is_kept` is not known yet. `is_ours` is not so where another stop did more.
    """

    tag: str
    is_kept: bool | None
    is_ours: bool
    killed_after_s: float | None

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    def to_json(self) -> dict[str, Any]:
        """Return what `stop --json` prints of it; `killed_after_s` is null where it ended when asked."""
        return {"tag": self.tag, "id": self.id, "is_kept": self.is_kept, "killed_after_s": self.killed_after_s}


def stop(
    repo: Repo, chosen: Iterable[Entry], settings: Settings, *, grace_s: float | None, keep: bool
) -> Iterator[Stopped | NotStopped]:
    """Stop experiments together; yield how each ended, as soon as its whole process tree is gone and its tag settled.

    The grace is `grace_s`, else the one that the run was started with. With `keep` the tag stays, as `stopped`. For one
    that was just ending by itself, or that does not go even when it is killed, comes NotStopped.
    """
    going: list[_Stop] = []
    for entry in chosen:
        one = _Stop(repo=repo, settings=settings, entry=entry, grace_s=_grace_s(entry, settings, grace_s))
        if one.claim(keep=keep):
            going.append(one)
        elif (ending_of(repo, entry.tag) or {}).get("status") == "stopped":  # by another stop, meanwhile
            yield one.outcome()
        else:
            yield NotStopped(f"{entry.tag} was just ending by itself; it was not stopped")
    while going:
        for one in [one for one in going if one.advance()]:
            going.remove(one)
            yield one.outcome()
        if going:
            time.sleep(_LOOK_AGAIN_S)


@dataclass(slots=True, kw_only=True)
class _Stop:
    """The end of one experiment."""

    repo: Repo
    settings: Settings
    entry: Entry
    grace_s: float
    _tree: Tree = field(init=False)
    _started_s: float = field(default_factory=time.monotonic)
    _settling_since_s: float | None = None
    _killed_after_s: float | None = None
    _killed_since_s: float | None = None
    _is_first: bool = True
    _problem: str = ""
    _asked: set[Identity] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tree = self.entry.tree

    def claim(self, *, keep: bool) -> bool:
        """Make the end ours, or join another stop; say whether that was possible."""
        if not self.entry.wrapper_is_alive:
            self._give_back()
        self._is_first = self.entry.claim(Phase.STOPPING_KEPT if keep else Phase.STOPPING)
        if not self._is_first and not self.entry.is_stopping:
            return False
        if keep:
            self.entry.keep_stopped()
        with contextlib.suppress(OSError):  # it has come to its end
            self.entry.attend()
        return True

    def _give_back(self) -> None:
        """Take back what a process claimed for the experiment's end that was killed, though something of it lives."""
        with contextlib.suppress(ExperimenterError), leftovers.locked(self.entry.state):  # under which others settle
            if not self.entry.is_gone:
                self.entry.give_back()

    def advance(self) -> bool:
        """Do what is due; say whether it is over."""
        try:
            return self._advance()
        except (ExperimenterError, OSError) as error:
            self._problem = f"{self.entry.tag} was not settled, the next command will try: {error}"
            return True

    def _advance(self) -> bool:
        self._look_again()
        members = self._tree.members()
        is_open = self.entry.exists
        if not self._tree.is_gone():
            return self._end(members)
        if is_open and self.entry.wrapper_is_alive:
            return self._wait_for_wrapper()
        return not is_open or self._settle()

    def outcome(self) -> Stopped | NotStopped:
        """Return how it ended, or why it did not."""
        if self._problem:
            return NotStopped(self._problem)
        ending = ending_of(self.repo, self.entry.tag) or {}
        was_killed_by_other = self._killed_after_s is None and ending.get("exit_code") == 128 + signal.SIGKILL
        return Stopped(
            tag=self.entry.tag,
            is_kept=ending.get("is_kept"),
            is_ours=not was_killed_by_other and (self._is_first or self._killed_after_s is not None),
            killed_after_s=self._killed_after_s,
        )

    def _look_again(self) -> None:
        """Read the entry, whose command may have started meanwhile."""
        now = registry.entry_of(self.repo, self.entry.tag)
        if now and now.pid_file != self.entry.pid_file:
            self.entry, self._tree = now, now.tree

    @property
    def _is_over_time(self) -> bool:
        return time.monotonic() - self._started_s >= self.grace_s

    def _end(self, members: Sequence[Identity]) -> bool:
        """Ask the members, each once; when the grace is over, kill them."""
        pid_file = self.entry.pid_file
        is_script = pid_file.command == pid_file.wrapper
        if is_script and not self.entry.exists:
            return self._let_script_go_on()
        if self._is_over_time:
            self._killed_after_s = self.grace_s
            self._killed_since_s = self._killed_since_s or time.monotonic()
            if members and time.monotonic() - self._killed_since_s >= _DYING_S:
                pids = ", ".join(str(one.pid) for one in members)
                self._problem = f"{self.entry.tag} was killed, but does not go; look at the processes {pids}"
                return True
            with blocked():  # nobody is left suspended
                self._tree.kill()
        else:
            new = [one for one in members if one not in self._asked]
            asked = new if pid_file.command else [one for one in new if one == pid_file.wrapper]
            self._asked |= set(new)
            send(asked, signal.SIGTERM)
            send(asked, signal.SIGCONT)  # or what is suspended would not notice
        return False

    def _let_script_go_on(self) -> bool:
        """Give a script whose block has ended the grace to end, too; then only what the block had started goes."""
        if not self._is_over_time:
            return False
        if started_by_block := Tree(tag=self.entry.tag).members():
            self._killed_after_s = self.grace_s
            Tree(tag=self.entry.tag).kill()
        return not started_by_block

    def _wait_for_wrapper(self) -> bool:
        """Let the wrapper settle the experiment; one that hangs is killed. It waits for us where we are in its tree."""
        if os.environ.get(environment.TAG) == self.entry.tag:
            return True
        if self._settling_since_s is None:
            self._settling_since_s = time.monotonic()
            self.entry.pid_file.wrapper.send(signal.SIGCONT)  # it may be suspended with its command
        if time.monotonic() - self._settling_since_s >= _SETTLING_S:
            Tree(tag=self.entry.tag, command=self.entry.pid_file.wrapper).kill()
        return False

    def _settle(self) -> bool:
        """Settle the experiment, unless another process did; say whether it is: its command may just have started."""
        with leftovers.locked(self.entry.state):
            if self.entry.exists:
                settle_entry(self.repo, self.entry, self.settings)
            return not self.entry.exists


def _grace_s(entry: Entry, settings: Settings, given: float | None) -> float:
    if given is not None:
        return given
    return settings.grace_s if entry.pid_file.grace_s is None else entry.pid_file.grace_s
