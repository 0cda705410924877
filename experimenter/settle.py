"""Settles what was left behind: experiments whose processes were killed, or died with the machine."""

import logging
from collections.abc import Iterator
from typing import Any

from experimenter import leftovers, live, locks, names, registry, store, sweeps
from experimenter.entry import Entry, Phase
from experimenter.errors import ExperimenterError
from experimenter.markers import MarkerLines
from experimenter.plumbing import Repo, config
from experimenter.process import host
from experimenter.settings import Settings
from experimenter.state import StateFolder, ending_of
from experimenter.text import visible

_log = logging.getLogger("experimenter")


def settle(repo: Repo) -> None:
    """Settle what this host and user left behind: experiments, what was half made or removed, workers of sweeps.

    Results that were written are rescued into the tag, otherwise the tag goes; what was done is told. Nothing is raised
    where the repository can't be written.
    """
    state = StateFolder.of(repo)
    try:
        if leftovers.any_left(repo):
            settings = Settings.from_config(config(repo))
            with leftovers.locked(state):
                for entry in [*_broken(repo, state), *leftovers.abandoned(repo)]:
                    _try_to_settle(repo, entry, settings)
                leftovers.sweep(state)
        if sweeps.left_behind(repo):
            sweeps.clear(repo)
    except (ExperimenterError, OSError) as error:
        _log.warning("what a crash left behind could not be settled: %s", error)


def settle_entry(repo: Repo, entry: Entry, settings: Settings) -> None:
    """Settle one abandoned entry, whose lock the caller holds; leave it if something of it has come to life by now."""
    if locks.is_at_work(entry.tag):
        raise ExperimenterError("a git that changes its tag is still at work")
    is_claimed = entry.claim(Phase.ENDING)
    entry = registry.entry_of(repo, entry.tag) or entry
    if entry.command_is_alive or not entry.is_gone:
        if is_claimed:
            entry.give_back()
        return
    entry.free_reserve()
    locks.break_stale_locks(repo, entry.tag, since=entry.started)
    experiment = store.find(repo, entry.tag)
    if experiment and experiment.record.status == "running":
        _settle_running(live.Live(repo=repo, settings=settings, entry=entry, experiment=experiment))
    elif experiment or entry.pid_file.command:  # it had come to its end but for this
        decided = _decided(repo, entry)
        status = experiment.record.status if experiment else decided.get("status", "interrupted")
        entry.save_ending(status=status, exit_code=decided.get("exit_code"), is_kept=experiment is not None)
        entry.close(keep_logs=settings.keep_logs)
    else:
        entry.discard()


def _try_to_settle(repo: Repo, entry: Entry, settings: Settings) -> None:
    try:
        settle_entry(repo, entry, settings)
    except (ExperimenterError, OSError) as error:
        _log.warning("%s was left behind by a crash, and could not be settled: %s", entry.tag, error)


def _settle_running(begun: live.Live) -> None:
    """Finish or remove a tag that says `running`."""
    entry = begun.entry
    decided = _decided(begun.repo, entry)
    status, is_kept = decided.get("status", "interrupted"), decided.get("is_kept", True)
    results = _results(entry) if is_kept else {}
    if not results and not (decided and is_kept):
        if entry.share.is_pushed:
            _log.warning(
                "%s was pushed while it ran; remove it there: git push REMOTE :%s", entry.tag, store.ref(entry.tag)
            )
        live.remove(begun, status=status, exit_code=decided.get("exit_code"))
        _log.info("%s was %s, and nobody was left to say so; the tag was removed", entry.tag, status)
    else:
        ending = {key: decided[key] for key in ("exit_code",) if decided.get(key) is not None}
        live.complete(begun, status=status, results=results, drift=None, **ending)
        what = "its results were rescued" if results else "it is kept without results"
        _log.info("%s was %s, and nobody was left to say so; %s", entry.tag, status, what)


def _decided(repo: Repo, entry: Entry) -> dict[str, Any]:
    """Return how the experiment was to end, as far as that was decided: `status`, `is_kept`, perhaps `exit_code`."""
    if ending := ending_of(repo, entry.tag):
        return dict(ending)
    if entry.is_stopping:
        return {"status": "stopped", "is_kept": entry.phase == Phase.STOPPING_KEPT}
    return {}


def _results(entry: Entry) -> dict[str, Any]:
    """Return what the command had written, in the order of a run."""
    file = entry.pid_file.results_file
    sources = [live.Source(visible(str(file.path)), file.read)] if file else []
    sources += live.marker_sources(MarkerLines.in_log(entry.state.log(entry.id)))
    return live.collect_results(entry, *sources)


def _broken(repo: Repo, state: StateFolder) -> Iterator[Entry]:
    """Yield what is known by its tag alone of each entry whose PID file cannot be read; remove one without a tag."""
    for folder in leftovers.broken(state):
        tag = next((tag for tag in store.tags(repo) if names.id_of(tag) == folder.name), None)
        experiment = store.find(repo, tag) if tag else None
        if tag is None or experiment is None:
            state.remove(folder)
        elif experiment.record.body.get("host") == host():
            entry = leftovers.entry_of_nobody(state, tag)
            if entry.tree.members():
                _log.warning("%s still runs, but its PID file in %s cannot be read", tag, folder)
            else:
                yield entry
