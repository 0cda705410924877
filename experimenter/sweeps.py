"""Sweeps that are alive: who works on one, what has become of its cells, and that nobody else runs one of them."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from experimenter import aside, jobs, names, registry, store
from experimenter.entry import Entry
from experimenter.errors import CellTaken, NotStopped, StateUnwritable
from experimenter.fields import BadField, Fields
from experimenter.plumbing import Repo
from experimenter.state import StateFolder, locked, remove_tree, translated, write_ending
from experimenter.worker import Worker

_ID = re.compile(r"[0-9a-f]{8}")
_WORD = re.compile(r"[0-9a-f]{4,8}")
_LOOK_AGAIN_S = 0.1
_JOURNAL, _STOPPED = "ended", "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """How far a sweep came, as it is kept beside the logs; `tags` are those of cells that were submitted."""

    total: int
    done: int
    failed: int
    tags: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a sweep that a worker runs in one of its slots: `key` tells it from all others.

    Since the worker joined, the journal has grown from `since` bytes.
    """

    worker: Worker
    key: str
    since: int
    slot: int = 0

    @property
    def work_tree(self) -> Path:
        """The private work tree that isolated cells in this slot share."""
        return self.worker.slot(self.slot)


def begin(state: StateFolder) -> Path:
    """Return a new folder for a worker whose sweep has no id yet. Raises StateUnwritable."""
    with translated(state.path):
        _make(state)
        return aside.make_unborn(state.sweeps)


@contextlib.contextmanager
def claiming(repo: Repo, sweep: str) -> Iterator[dict[str, str]]:
    """Give the tags of a sweep's cells that run, or wait for a cluster, by what tells the cells apart.

    While the body submits others, nobody else claims one. Raises StateUnwritable.
    """
    state = StateFolder.of(repo)
    with translated(state.path):
        _make(state)
    with _locked(state):
        yield taken(repo, sweep)


def join(repo: Repo, worker: Worker, unborn: Path) -> int:
    """Work on a sweep from now on, in the folder that `begin` gave; return from where on `fates` concern us."""
    state = worker.state
    with _locked(state), translated(state.sweeps):
        aside.make_own(worker.folder.parent)
        if not any(one.sweep == worker.sweep for one in workers(repo)):
            (worker.folder.parent / _STOPPED).unlink(missing_ok=True)
        if not jobs.cells(state, worker.sweep):  # else somebody may wait for what was submitted
            state.ending(worker.sweep).unlink(missing_ok=True)
        unborn.rename(worker.folder)
        worker.save()
        journal = worker.folder.parent / _JOURNAL
        return journal.stat().st_size if journal.exists() else 0


def leave(worker: Worker) -> None:
    """Work on a sweep no more; the last one takes its folder along. Beside the logs stays how far the sweep came."""
    state = worker.state
    with _locked(state), contextlib.suppress(StateUnwritable):
        now = Worker.read(state, worker.folder) or worker
        ending = {"sweep": now.sweep, "total": now.total, "done": now.done, "failed": now.failed}
        before = _ending(state, worker.sweep)
        if not (before and before.tags):
            write_ending(state, worker.sweep, ending)
        _remove(state, worker.folder)


def note_submission(repo: Repo, sweep: str, *, total: int, done: int, tags: Sequence[str]) -> None:
    """Write down what was submitted of a sweep to a cluster, and how much of it was done before."""
    ending = {"sweep": sweep, "total": total, "done": done, "failed": 0, "tags": list(tags)}
    write_ending(StateFolder.of(repo), sweep, ending)


def named(repo: Repo, word: str, *, ended: bool = False) -> str | None:
    """Return the sweep whose id is a word, or begins with 4 or more digits of it, if there is just one.

    Those count that go on, and with `ended` those whose ending is still known.
    """
    if not _WORD.fullmatch(word):
        return None
    known = {worker.sweep for worker in workers(repo)}
    known |= {one.pid_file.sweep for one in registry.entries(repo) if one.pid_file.sweep and not one.is_abandoned}
    known |= {job.sweep for job in jobs.alive(StateFolder.of(repo)) if job.sweep}
    if ended:
        state = StateFolder.of(repo)
        known |= {path.stem for path in state.logs.glob(f"{word}*.json") if _ending(state, path.stem)}
    found = [sweep for sweep in known if sweep.startswith(word)]
    return found[0] if len(found) == 1 else None


def goes_on(repo: Repo, sweep: str) -> bool:
    """Say whether somebody works on a sweep, or a cell of it still runs."""
    waiting = any(job.sweep == sweep for job in jobs.alive(StateFolder.of(repo)))
    return waiting or any(one.sweep == sweep for one in workers(repo)) or bool(cells(repo, sweep))


def wait_for_end(
    repo: Repo, sweep: str, *, timeout_s: float | None = None, meanwhile: Callable[[], None] = lambda: None
) -> int:
    """Wait until nothing goes on of a sweep, and return the exit status that it had: 0 if every cell succeeded.

    `meanwhile` is called again and again. Raises NotStopped when the time is over.
    """
    started_s = time.monotonic()
    while goes_on(repo, sweep):
        if timeout_s is not None and time.monotonic() - started_s > timeout_s:
            places = {one.host for one in workers(repo) if one.sweep == sweep and one.is_elsewhere}
            where = f" on {', '.join(sorted(places))}; 'experimenter ps' there" if places else "; 'experimenter ps'"
            raise NotStopped(f"the sweep {sweep} does not end{where} shows its process")
        meanwhile()
        time.sleep(_LOOK_AGAIN_S)
    ending = _ending(StateFolder.of(repo), sweep)
    if ending is None:
        return 1
    # Nobody counts what was submitted to a cluster.
    submitted = store.experiments(repo, {tag: store.ref(tag) for tag in ending.tags}).values()
    done = ending.done + sum(experiment.status == "completed" for experiment in submitted)
    return 0 if ending.failed == 0 and done >= ending.total else 1


def _ending(state: StateFolder, sweep: str) -> _Ending | None:
    """Return how far a sweep came; nothing if that is not known."""
    fields = Fields.read(state.ending(sweep))
    try:
        if not fields or fields.text("sweep") != sweep:
            return None
        tags = [tag for tag in fields.maybe(fields.texts, "tags") or () if names.is_tag(tag)]
        return _Ending(total=fields.count("total"), done=fields.count("done"), failed=fields.count("failed"), tags=tags)
    except BadField:
        return None


def workers(repo: Repo) -> list[Worker]:
    """Return who works on which sweep now, from the first to the last."""
    state = StateFolder.of(repo)
    found = [Worker.read(state, folder) for folder in _folders(state)]
    return sorted((one for one in found if one and one.is_alive), key=lambda one: one.started)


def cells(repo: Repo, sweep: str) -> list[Entry]:
    """Return the entries of a sweep's cells that run."""
    return [one for one in registry.entries(repo) if one.pid_file.sweep == sweep and not one.is_abandoned]


@contextlib.contextmanager
def claimed(repo: Repo, cell: Cell) -> Iterator[None]:
    """Let the body make the entry of a cell, while nobody else can.

    Raises CellTaken if the cell runs, if it has come to its end since we joined, or if the sweep is being stopped.
    """
    worker = cell.worker
    with _locked(worker.state):
        if cell.key in taken(repo, worker.sweep) or cell.key in fates(worker, cell.since) or is_stopped(worker):
            raise CellTaken("somebody else has this cell, or stops the sweep")
        yield


def orphaned(repo: Repo, worker: Worker) -> set[str]:
    """Return the cells of a worker's sweep that run on this host though nobody else works on it: who did was killed."""
    if sum(one.sweep == worker.sweep for one in workers(repo)) > 1:
        return set()
    here = [one.pid_file for one in cells(repo, worker.sweep) if not (one.is_elsewhere or one.pid_file.job)]
    return {file.cell for file in here if file.cell}


def taken(repo: Repo, sweep: str) -> dict[str, str]:
    """Return the tags of a sweep's cells that run, or wait for a cluster, by what tells the cells apart."""
    running = {one.pid_file.cell: one.tag for one in cells(repo, sweep) if one.pid_file.cell}
    return jobs.cells(StateFolder.of(repo), sweep) | running


def note(state: StateFolder, sweep: str | None, cell: str | None, status: str) -> None:
    """Tell who works on a sweep what became of a cell of it: after its tag, and before its entry or its job goes."""
    if sweep and cell and _ID.fullmatch(sweep):
        with contextlib.suppress(OSError), (state.sweeps / sweep / _JOURNAL).open("a") as journal:
            journal.write(f"{cell} {status}\n")


def fates(worker: Worker, since: int) -> Mapping[str, str]:
    """Return what became of cells, by whomever they were run, since the journal had `since` bytes."""
    try:
        with (worker.folder.parent / _JOURNAL).open("rb") as journal:
            journal.seek(since)
            lines = journal.read().decode(errors="replace").split("\n")
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def alive_here(repo: Repo) -> list[str]:
    """Return the sweeps that somebody on this host works on."""
    return list(dict.fromkeys(worker.sweep for worker in workers(repo) if not worker.is_elsewhere))


def ask_to_stop(repo: Repo, asked: Sequence[str]) -> None:
    """Let nobody start another cell of some sweeps."""
    state = StateFolder.of(repo)
    for sweep in asked:
        with _locked(state), contextlib.suppress(FileNotFoundError):  # nobody works on it any more
            (state.sweeps / sweep / _STOPPED).touch()


def is_stopped(worker: Worker) -> bool:
    """Say whether somebody stops the sweep."""
    return (worker.folder.parent / _STOPPED).exists()


def left_behind(repo: Repo) -> list[Path]:
    """Return our folders of workers that were killed on this host, or before they began; none that cells may run in.

    One that is just being made may be among them: who removes one looks again under the lock.
    """
    state = StateFolder.of(repo)
    dead = []
    with contextlib.suppress(PermissionError):
        dead += aside.given_up(state.sweeps)
    for folder in _folders(state):
        worker = Worker.read(state, folder)
        is_alive = worker.is_alive if worker else Worker.named_is_alive(folder)
        if not is_alive and not cells(repo, folder.parent.name):
            dead.append(folder)
    return [folder for folder in dead if folder.exists() and folder.stat().st_uid == os.geteuid()]


def clear(repo: Repo) -> None:
    """Remove what was `left_behind`. Raises StateUnwritable."""
    state = StateFolder.of(repo)
    with _locked(state):
        for folder in left_behind(repo):
            _remove(state, folder)


def _folders(state: StateFolder) -> list[Path]:
    """Return the folders of workers; whichever goes just now, or is another user's, is none."""
    return [folder for sweep in _listed(state.sweeps) for folder in _listed(sweep)]


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except (FileNotFoundError, PermissionError):
        return []


def _make(state: StateFolder) -> None:
    state.make()
    aside.make_own(state.sweeps)


def _remove(state: StateFolder, folder: Path) -> None:
    for tree in folder.glob(state.work_tree_name("*")):
        state.remove_linked(tree.name.removeprefix(state.work_tree_name("")))
    remove_tree(folder)
    if folder.parent != state.sweeps and not any(path.is_dir() for path in folder.parent.iterdir()):
        remove_tree(folder.parent)


def _locked(state: StateFolder) -> AbstractContextManager[None]:
    """Let only one process at a time claim a cell. Raises StateUnwritable."""
    return locked(state.sweeps / "lock")
