"""Experiments that wait for a cluster: from the tag that says `queued` to the start on a node, and back if need be."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from experimenter import __version__, live, names, registry, store
from experimenter.errors import RefMoved
from experimenter.plumbing import Repo
from experimenter.process import host
from experimenter.record import timestamp
from experimenter.settings import Settings
from experimenter.signals import blocked

_log = logging.getLogger("experimenter")


def queue(repo: Repo, code: Mapping[str, Any], *, name: str, now: datetime, **about: Any) -> store.Experiment:
    """Hang a tag that says `queued` on a code state; `about` are keys of its record. Raises RefExists."""
    waiting = {"started": None, "submitted": timestamp(now), "status": "queued"}
    record = live.record_of(repo, code, name=names.checked(name), **waiting, **about)
    with blocked():
        return store.create(repo, names.tag(name, now), code["commit"], record)


def take_up(repo: Repo, settings: Settings, queued: store.Experiment, **promised: Any) -> live.Live:
    """Register an experiment that was queued, as one that starts now; what an attempt before this one left goes."""
    record = queued.record
    if left := registry.entry_of(repo, queued.tag):
        left.clear()
    with blocked():
        before = registry.share_of(repo, queued.tag)  # while it waited
        entry = registry.open_entry(repo, queued.name, record.command, now=names.moment_of(queued.tag), **promised)
        if before and before.is_asked:
            entry.share.ask()
        if before and before.is_pushed:
            entry.share.note_push()
        here = {"host": host(), "python": live.python(), "experimenter": __version__}
        started = record.with_(status="running", started=timestamp(datetime.now(UTC)), **here)
        try:
            experiment = store.update(repo, queued, started)
        except BaseException:
            entry.clear()
            raise
    return live.Live(repo=repo, settings=settings, entry=entry, experiment=experiment)


def put_back(begun: live.Live) -> None:
    """Let an experiment be queued once more: who ran it is ended, to start again."""
    record = begun.experiment.record.with_(status="queued", started=None)
    try:
        store.update(begun.repo, begun.experiment, record)
    except RefMoved as error:
        _log.warning("%s", error)
    begun.entry.clear()
