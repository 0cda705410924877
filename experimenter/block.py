"""A block of a script as an experiment: one of its own, or its part in the run that the script is in."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from experimenter import environment, live
from experimenter.entry import Entry, Phase
from experimenter.pidfile import PidFile
from experimenter.plumbing import Repo
from experimenter.process import usage_of_ourselves
from experimenter.results import merge_into
from experimenter.signals import BlockSignals, blocked
from experimenter.state import StateFolder, translated
from experimenter.storable import dumps, loads, public, without_credentials
from experimenter.text import visible

_log = logging.getLogger("experimenter")
_SHOWN_RESULTS, _SHOWN_VALUE = 1000, 60  # characters


class JoinedBlock:
    """The first block of a script inside `experimenter run`, which settles the experiment itself."""

    def __init__(self, run: Entry) -> None:
        self.tag = run.tag
        self.commit = os.environ[environment.COMMIT]
        self.results = run.results
        self.share = run.share

    @classmethod
    def of(cls, repo: Repo, parameters: Mapping[str, Any]) -> Self | None:
        """Return the block's part in the run that we are in; nothing outside of one, or where an earlier block has it.

        A run is one of this repository that still goes on. The parameters are added to its own, which win.
        """
        file = os.environ.get(environment.PARAMS_FILE)
        if not file:
            return None
        folder = Path(file).parent
        state, pid_file = StateFolder.of(repo), PidFile.read(folder / "pid.json")
        if folder.parent != state.runs or not pid_file or not _is_first(folder):
            return None
        run = Entry(state=state, pid_file=pid_file)
        _warn_of_differing(run, parameters)
        merge_into(run.joined_parameters, below=parameters)
        return cls(run)

    def leave(self, *, status: str, reason: str, is_rescued: bool) -> None:
        """Leave everything to the run."""


def _is_first(folder: Path) -> bool:
    """Say whether no block has joined a run before: only one can make this file, of all its processes and threads."""
    with translated(folder):
        try:
            os.close(os.open(folder / "block", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except (FileExistsError, FileNotFoundError):  # the run may have just ended
            return False
    return True


def _warn_of_differing(run: Entry, parameters: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError, ValueError):
        differing = list(_differing(loads(run.parameters.read_bytes()), parameters))
        if differing:
            _log.warning("parameters of the run win over those of the block\n  %s", "\n  ".join(differing))


def _differing(wins: Mapping[str, Any], given: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield a sentence for each parameter that both have, and not with the same value."""
    for key in (key for key in given if key in wins):
        one, other = wins[key], given[key]
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(one, other, f"{before}{key}.")
        elif one != other or isinstance(one, bool) != isinstance(other, bool):
            yield visible(f"{before}{key} is {_shown(key, one)}, not {_shown(key, other)}")


def _shown(key: str, value: Any) -> str:
    return dumps(public({key: value})[key])[:_SHOWN_VALUE]


class OwnBlock:
    """A block that is an experiment of its own."""

    def __init__(self, begun: live.Live) -> None:
        self.tag, self.commit = begun.experiment.tag, begun.experiment.commit
        self.results = begun.entry.results
        self.share = begun.entry.share
        self._begun = begun
        self._pid = os.getpid()
        environment.enter(self.tag)
        self._started_s = time.monotonic()
        self._used_before = usage_of_ourselves()
        is_main = threading.current_thread() is threading.main_thread()
        self._signals = BlockSignals() if is_main else None  # only the main thread may handle signals

    def leave(self, *, status: str, reason: str, is_rescued: bool) -> None:
        """Settle the experiment, and share it if that was asked for; a forked child leaves that to its parent.

        It is kept if its `status` is `completed`, or if results are to be rescued, and there are any; `reason` says
        what it was left by.
        """
        if os.getpid() != self._pid:
            return
        was_asked, was_pushed = self.share.is_asked, self.share.is_pushed
        with blocked():  # a second Ctrl-C comes when all is stored
            is_kept = self._settle(status, reason, is_rescued=is_rescued)
        if was_asked:
            from experimenter.share import push_unasked, withdraw

            if is_kept:
                push_unasked(self._begun.repo, self.tag, self._begun.settings)
            elif was_pushed:
                withdraw(self._begun.repo, self.tag, self._begun.settings)

    def _settle(self, status: str, reason: str, *, is_rescued: bool) -> bool:
        if self._signals:
            self._signals.close()
        environment.leave(self.tag)
        entry = self._begun.entry
        if not entry.claim(Phase.ENDING):  # somebody stops us
            status, reason = "stopped", "was stopped"
        entry.mark_settling()
        results = live.collect_results(entry)
        has_to_stay = results and (status == "completed" or (is_rescued and status == "failed"))
        if not has_to_stay and entry.phase != Phase.STOPPING_KEPT:
            live.remove(self._begun, status=status, exit_code=None)
            self._tell_of_removal(status, reason, results)
            return False
        used = usage_of_ourselves()
        resources = {
            "wall_s": round(time.monotonic() - self._started_s, 3),
            "cpu_s": round(used.cpu_s - self._used_before.cpu_s, 3),
            "max_rss_bytes": used.max_rss_bytes,
        }
        drift = live.drift(self._begun.repo, scratch=entry.index)
        live.complete(self._begun, status=status, results=results, drift=drift, resources=resources)
        if is_rescued and status == "failed":
            _log.warning("the block %s; %s is kept as failed, with the results before that", reason, self.tag)
        return True

    def _tell_of_removal(self, status: str, reason: str, results: Mapping[str, Any]) -> None:
        if results:
            shown = dumps(without_credentials(results))
            shown = shown if len(shown) <= _SHOWN_RESULTS else f"{shown[:_SHOWN_RESULTS]}…"
            _log.warning("the block %s; %s was removed, with its results %s", reason, self.tag, shown)
        elif status == "completed":
            _log.warning("the block has recorded no results; %s was removed", self.tag)
