"""Finds what processes left in the state folder when they were killed, or when the machine lost its power."""

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from experimenter.aside import given_up
from experimenter.entry import Entry, is_open
from experimenter.jobs import job_of
from experimenter.pidfile import PidFile
from experimenter.plumbing import Repo
from experimenter.process import Identity, host
from experimenter.registry import entries
from experimenter.state import OLD, StateFolder, remove_tree
from experimenter.state import locked as state_locked


def locked(state: StateFolder) -> AbstractContextManager[None]:
    """Let only one process at a time settle what was left behind. Raises StateUnwritable."""
    return state_locked(state.path / "lock")


def abandoned(repo: Repo) -> list[Entry]:
    """Return our entries whose processes on this host are gone; not those that a cluster may run once more."""
    return [one for one in entries(repo) if one.is_ours and one.is_abandoned and not job_of(one.state, one.tag)]


def broken(state: StateFolder) -> list[Path]:
    """Return our entries' folders whose PID file is not there, or no PID file, as a loss of power may leave them."""
    found = []
    for folder in state.folders():
        with contextlib.suppress(OSError):  # it has just gone, or cannot be read
            path = folder / "pid.json"
            if path.is_file():
                path.read_bytes()
            if not PidFile.read(path) and folder.stat().st_uid == os.geteuid():
                found.append(folder)
    return found


def entry_of_nobody(state: StateFolder, tag: str, *, words: Sequence[str] = (), sweep: str | None = None) -> Entry:
    """Return an entry on this host that no process stands behind."""
    nobody = Identity(pid=0, start_time=-1)
    return Entry(
        state=state, pid_file=PidFile(tag=tag, host=host(), boot_id="", wrapper=nobody, words=words, sweep=sweep)
    )


def any_left(repo: Repo) -> bool:
    """Say whether there is something for `settle` and `sweep` to look at. Cheap where nothing runs."""
    state = StateFolder.of(repo)
    if not os.access(state.path, os.R_OK | os.X_OK):  # nothing ever ran here, or what runs is another user's
        return False
    left = abandoned(repo) or broken(state) or _halves(state) or _stray_work_trees(state)
    return bool(left) or (state.linked.exists() and not any(state.linked.iterdir()))


def sweep(state: StateFolder) -> None:
    """Remove what was being made or removed when its process was killed; the caller holds the lock."""
    for half in _halves(state):
        remove_tree(half)
    for id_ in _stray_work_trees(state):
        state.remove_linked(id_)
    with contextlib.suppress(OSError):  # there is none, or it is not empty
        state.linked.rmdir()


def _halves(state: StateFolder) -> list[Path]:
    """Return what was being made by a process that is gone, or was being removed."""
    return [*given_up(state.runs), *state.runs.glob(f"{OLD}*")]


def _stray_work_trees(state: StateFolder) -> list[str]:
    """Return the ids of private work trees of which git has a note, but whose owner is gone."""
    prefix = state.work_tree_name("")
    ids = [path.name.removeprefix(prefix) for path in state.linked.glob(f"{prefix}*")]
    return [id_ for id_ in ids if not is_open(state.owner_of_work_tree(id_))]
