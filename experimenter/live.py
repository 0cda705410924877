"""The life of an experiment, from the code state and the tag to the finished record: what every kind of run shares."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from experimenter import __version__, capture, environment, locks, names, registry, results, snapshot, store, sweeps
from experimenter.entry import Entry
from experimenter.errors import BadResults, ExperimenterError, GitFailed, RefExists, RefMoved, StateUnwritable
from experimenter.markers import MarkerLines
from experimenter.plumbing import Repo
from experimenter.process import host
from experimenter.record import Record, timestamp
from experimenter.settings import Settings
from experimenter.signals import blocked
from experimenter.state import translated
from experimenter.storable import dumps, merged, redacted_command, without_credentials
from experimenter.text import from_bytes, from_native, readable_size, visible

_log = logging.getLogger("experimenter")
_SHOWN_PATHS = 10
_LARGE_RESULTS_BYTES = 1_000_000  # which cost each list a fifth of a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An experiment whose tag says `running`, and whose entry leads to us."""

    repo: Repo
    settings: Settings
    entry: Entry
    experiment: store.Experiment


def begin(
    repo: Repo,
    settings: Settings,
    *,
    name: str,
    command: Sequence[str],
    parameters: Mapping[str, Any],
    description: str | None = None,
    allow_secrets: bool = False,
    rerun_of: str | None = None,
    code: Mapping[str, Any] | None = None,
    cell: sweeps.Cell | None = None,
    **promised: Any,
) -> Live:
    """Register an experiment, store its code state and hang its tag on it, in this order.

    `code` is that of a record, whose code state is taken instead of the work tree. `promised` are more values of the
    PID file. Whatever fails, nothing of it stays: no entry, no scratch index, no tag. Raises CellTaken for a `cell` of
    a sweep that is not to be run.
    """
    about = {
        "name": names.checked(name),
        "command": [from_native(word) for word in command],
        "parameters": dict(parameters),
        "description": description,
        "sweep": cell and cell.worker.sweep,
        "rerun_of": rerun_of,
    }
    if cell:
        promised |= {"sweep": cell.worker.sweep, "cell": cell.key}
    words = without_credentials(redacted_command(command))
    now = datetime.now(UTC)
    while True:
        entry = None
        try:
            with blocked(), sweeps.claimed(repo, cell) if cell else contextlib.nullcontext():
                entry = registry.open_entry(repo, name, words, now=now, **promised)
            if cell:
                _share_index(cell, entry)
            found = code or capture.code_state(repo, settings, allow_secrets=allow_secrets, scratch=entry.index)
            experiment = _store(repo, entry, found, **about)
        except RefExists:  # the clock went back, and one of that moment has ended already
            assert entry
            entry.close(keep_logs=settings.keep_logs)
            now = entry.started + timedelta(microseconds=1)
        except BaseException:
            if entry:
                cancel(repo, entry)
            raise
        else:
            return Live(repo=repo, settings=settings, entry=entry, experiment=experiment)


def _share_index(cell: sweeps.Cell, entry: Entry) -> None:
    """Let an entry have the scratch index of its sweep, as far as there is one."""
    with translated(entry.folder), contextlib.suppress(FileNotFoundError):
        os.link(cell.worker.index, entry.index)


def _store(repo: Repo, entry: Entry, code: Mapping[str, Any], **about: Any) -> store.Experiment:
    """Hang the tag of an entry on a code state; `about` are keys of its record."""
    record = record_of(repo, code, started=entry.started, **about)
    with blocked():
        return store.create(repo, entry.tag, code["commit"], record)


def record_of(repo: Repo, code: Mapping[str, Any], **about: Any) -> Record:
    """Return the record of an experiment on a code state, as it begins here; `about` are more keys of it."""
    return Record.begin(
        parent=_outer_tag(),
        directory=from_bytes(repo.prefix.rstrip(b"/")) or ".",
        code=code,
        host=host(),
        python=python(),
        experimenter=__version__,
        **about,
    )


def python() -> str:
    """Return the version of the Python that runs us, as a record has it."""
    return ".".join(map(str, sys.version_info[:3]))


@dataclass(frozen=True, slots=True)
class Source:
    """Where results come from: what to call it, and how to get the raw text, if there is any."""

    label: str
    read: Callable[[], bytes | None]


def marker_sources(lines: MarkerLines) -> list[Source]:
    """Return the results behind the markers in a command's output; warn of markers that do not begin their line."""
    if lines.warning:
        _log.warning("%s", lines.warning)
    return [Source("a result in the output", partial(bytes, found)) for found in lines.found]


def collect_results(entry: Entry, *sources: Source) -> dict[str, Any]:
    """Return the results in the entry's file and in `sources`, later over earlier, key by key.

    What cannot be read is kept beside the log, with a warning that says where.
    """
    file = entry.results
    own = Source(environment.RESULTS_FILE, lambda: results.read(file) if os.path.lexists(file) else None)
    whole: dict[str, Any] = {}
    unreadable = []
    for source in (own, *sources):
        try:
            raw = source.read()
            if raw is not None:
                whole |= results.parse(raw, source=source.label)
            elif source is not own:
                _log.warning("the command did not write %s; no results are taken from it", source.label)
        except BadResults as error:
            unreadable.append(error)
    texts = [error.raw for error in unreadable if error.raw]
    kept = ""
    if texts:
        path = _keep_beside_log(entry, b"\n".join(texts))
        kept = f", their text is kept in {path}"
    for problem in unreadable:
        _log.warning("%s; these results are not in the record%s", problem, kept)
    return whole


def complete(
    live: Live, *, status: str, results: Mapping[str, Any], drift: Mapping[str, Any] | None, **ending: Any
) -> store.Experiment:
    """Store the finished record in the tag, then remove the entry. `ending` are more keys of the record.

    Raises ExperimenterError if somebody changed the tag meanwhile (theirs stays, our record is kept beside the log), or
    if git cannot store it (the entry stays).
    """
    record = finished(
        live.entry,
        live.experiment.record,
        status=status,
        finished=timestamp(datetime.now(UTC)),
        results=dict(results) or None,
        drift=drift,
        **ending,
    )
    _note_ending(live.entry, status, ending.get("exit_code"), is_kept=True)
    try:
        experiment = store.update(live.repo, live.experiment, record)
    except RefMoved as error:
        kept = _keep_beside_log(live.entry, record.to_json().encode())
        _close(live, status)
        tag = live.experiment.tag
        raise ExperimenterError(
            f"{tag} was changed or removed meanwhile; its finished record is kept in {kept}"
        ) from error
    except GitFailed as error:
        left = f"{live.experiment.tag} still says running; its results were {dumps(record.results)}"
        raise ExperimenterError(error.message, details=[*error.details, left]) from error
    _close(live, status)
    size_bytes = len(dumps(results).encode())
    if size_bytes > _LARGE_RESULTS_BYTES:
        size = readable_size(size_bytes)
        _log.warning(
            "the results of %s are %s; every list reads them: what is long belongs in a file", live.entry.tag, size
        )
    return experiment


def finished(entry: Entry, record: Record, **ending: Any) -> Record:
    """Return a record with how the experiment ended, and with the parameters of scripts that joined it."""
    return record.with_(parameters=merged(_joined_parameters(entry), record.parameters), **ending)


def remove(live: Live, *, status: str, exit_code: int | None) -> None:
    """Remove the tag, then the entry; a tag that somebody changed or removed meanwhile is left to them."""
    _note_ending(live.entry, status, exit_code, is_kept=False)
    try:
        store.delete(live.repo, live.experiment)
    except RefMoved as error:
        _log.warning("%s", error)
    _close(live, status)


def cancel(repo: Repo, entry: Entry) -> None:
    """Undo what `begin` did, how far it came: the experiment never started."""
    try:
        locks.break_stale_locks(repo, entry.tag, since=entry.started)
        experiment = store.find(repo, entry.tag)
        if experiment and experiment.record.status == "running":
            store.delete(repo, experiment)
    except RefMoved:  # somebody else did, and what they put there is theirs
        pass
    except ExperimenterError as error:
        _log.warning("%s was not removed; the next command will try: %s", entry.tag, error)
        return
    entry.discard()


def drift(repo: Repo, *, scratch: Path, results_file: Path | None = None) -> dict[str, Any] | None:
    """Return the record's `drift`, if there is any, and warn; that the command wrote `results_file` is none."""
    try:
        found = snapshot.drift(repo, scratch=scratch, but=results_file)
    except ExperimenterError as error:
        _log.warning("cannot tell whether files changed while the experiment ran: %s", error)
        return None
    if found:
        paths = [visible(path) for path in found["modified"] + found["deleted"]]
        more = len(paths) + found.get("truncated", 0) - _SHOWN_PATHS
        lines = [*paths[:_SHOWN_PATHS], *([f"and {more} more"] if more > 0 else [])]
        _log.warning(
            "files changed while the experiment ran; it may have read newer code than its tag holds\n  %s",
            "\n  ".join(lines),
        )
    return found


def _note_ending(entry: Entry, status: str, exit_code: int | None, *, is_kept: bool) -> None:
    try:
        entry.save_ending(status=status, exit_code=exit_code, is_kept=is_kept)
    except StateUnwritable as error:  # the tag is what counts
        _log.warning("%s", error)


def _close(live: Live, status: str) -> None:
    if status in ("completed", "failed") or live.entry.is_stopping:  # else a cell is still to be run
        file = live.entry.pid_file
        sweeps.note(live.entry.state, file.sweep, file.cell, status)
    try:
        live.entry.close(keep_logs=live.settings.keep_logs)
    except StateUnwritable as error:  # the tag is what counts, and it is final
        _log.warning("%s", error)


def _outer_tag() -> str | None:
    """Return the tag of the run that we are in, from its command's environment."""
    tag = environment.outer_tag()
    return tag if names.is_tag(tag) else None


def _keep_beside_log(entry: Entry, raw: bytes) -> Path:
    kept = entry.state.unreadable_results(entry.id)
    try:
        kept.write_bytes(raw)
    except OSError as error:
        _log.warning("cannot write %s: %s", kept, error.strerror)
    return kept


def _joined_parameters(entry: Entry) -> dict[str, Any]:
    if not entry.joined_parameters.exists():
        return {}
    try:
        return results.parse(results.read(entry.joined_parameters), source=visible(str(entry.joined_parameters)))
    except BadResults as error:
        _log.warning("the parameters of scripts are not in the record: %s", error)
        return {}
