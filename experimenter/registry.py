"""The registry of what is alive: an entry for each running experiment."""

import os
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from experimenter import aside, names
from experimenter.entry import OPEN, RESERVE, Entry, Phase, Share
from experimenter.jobs import job_of
from experimenter.pidfile import PidFile
from experimenter.plumbing import Repo
from experimenter.state import StateFolder, sync_folder, translated, write_json

_RESERVE_BYTES = 64 * 1024  # for the record, the ref and what is written beside the log, with what these take in blocks


def open_entry(repo: Repo, name: str, words: Sequence[str], *, now: datetime, **promised: Any) -> Entry:
    """Return a new entry, with a PID file that names us, for an experiment that starts `now`.

    Its tag is taken by nobody else in this state folder: at the same microsecond the later one moves to the next.
    `promised` are more values of the PID file. Raises StateUnwritable.
    """
    state = StateFolder.of(repo)
    with translated(state.path):
        state.make()
        unborn = aside.make_unborn(state.runs)
        try:
            (unborn / Phase.RUNNING).touch()
            (unborn / OPEN).touch()
            (unborn / RESERVE).write_bytes(bytes(_RESERVE_BYTES))
            while True:
                pid_file = PidFile.of_ourselves(names.tag(name, now), words, **promised)
                entry = Entry(state=state, pid_file=pid_file)
                write_json(unborn / "pid.json", pid_file.to_json())
                try:
                    unborn.rename(entry.folder)  # fails where there is an entry, which is never empty
                except OSError:
                    if not entry.folder.exists():
                        raise
                else:
                    sync_folder(state.runs)
                    return entry
                now += timedelta(microseconds=1)
        except BaseException:
            shutil.rmtree(unborn, ignore_errors=True)
            raise


def entries(repo: Repo) -> list[Entry]:
    """Return all entries, from the oldest to the newest; `is_ours` says whether their PID file is this user's."""
    state = StateFolder.of(repo)
    found = [entry for folder in state.folders() if (entry := _entry_in(state, folder))]
    return sorted(found, key=lambda entry: names.age_key(entry.tag))


def entry_of(repo: Repo, tag: str) -> Entry | None:
    """Return the entry of an experiment, as it is now; nothing if it has none."""
    state = StateFolder.of(repo)
    return _entry_in(state, state.runs / names.id_of(tag))


def share_of(repo: Repo, tag: str) -> Share | None:
    """Return what is noted about the remote of one that runs, or waits for a cluster; nothing if it does neither."""
    if entry := entry_of(repo, tag):
        return entry.share
    job = job_of(StateFolder.of(repo), tag)
    return Share(job.share) if job and job.remote is None else None


def is_alive(repo: Repo, tag: str) -> bool:
    """Say whether an experiment waits for a cluster, or has an entry whose processes live.

    One on another host is taken at its word.
    """
    entry = entry_of(repo, tag)
    return (entry is not None and not entry.is_abandoned) or job_of(StateFolder.of(repo), tag) is not None


def _entry_in(state: StateFolder, folder: Path) -> Entry | None:
    path = folder / "pid.json"
    pid_file = PidFile.read(path)
    if not pid_file:
        return None
    try:
        return Entry(state=state, pid_file=pid_file, is_ours=path.stat().st_uid == os.geteuid())
    except OSError:  # it ends just now
        return None
