"""The story of a sweep: one code state, a run for each cell that has no good record yet, so many at a time."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from shutil import which
from typing import Any, Protocol

from experimenter import capture, othercode, programs, store, sweeps
from experimenter.cells import Ended, Identities, Job, Plan, Progress, Source
from experimenter.errors import CellTaken, ExperimenterError, Interrupted
from experimenter.identity import user_and_date
from experimenter.plumbing import Repo
from experimenter.process import c_library
from experimenter.run import Options, run
from experimenter.settings import Settings
from experimenter.signals import interruptible
from experimenter.slots import Slots
from experimenter.state import StateFolder, remove_tree
from experimenter.storable import dumps, redacted_command
from experimenter.text import from_native, visible
from experimenter.tree import Tree
from experimenter.worker import Worker

_LOOK_AGAIN_S = 0.5  # at the cells that others run
_SETTLE_AGAIN_S = 2.0  # those of them whose jobs on a cluster are gone
_LONGEST_WARNING = 500
_LONGEST_RESULTS = 8 * 1024  # characters of JSON, to be shown when a cell has ended


class Watch(Protocol):
    """Is told how a sweep goes on: every `pause_s` seconds, if that is a number, and when a cell has ended."""

    pause_s: float | None

    def began(self, progress: Progress) -> None:
        """Tell that the code state is stored, and the cells begin."""

    def ended(self, ended: Ended, progress: Progress) -> None:
        """Tell that a cell has come to its end."""

    def warned(self, warning: str) -> None:
        """Tell a warning that a cell has given."""

    def goes_on(self, progress: Progress) -> None:
        """Tell that cells have started, or some time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How many cells run at a time, and whether one failure is enough."""

    slots: int
    fail_fast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a sweep ended: its progress, the tags of good records in the order of the cells, and what signal ended it.

    `best` is the best experiment, where some are better than others.
    """

    progress: Progress
    tags: list[str]
    best: store.Experiment | None
    ended_by: int | None


def sweep(
    repo: Repo,
    plan: Plan,
    source: Callable[[Identities], Source],
    options: Options,
    settings: Settings,
    how: How,
    watch: Watch,
) -> Outcome:
    """Run the cells that a source has for a plan, on the code of the work tree; return what came of it.

    A cell that somebody else runs is waited for. Raises ExperimenterError from before the first cell.
    """
    _check_command(plan)
    programs.warn_of_foreign(repo, plan.command)
    with _code_state(repo, plan, options, settings) as (worker, since, code):
        known = Identities(repo=repo, plan=plan, tree=code["tree"])
        cells = source(known)
        othercode.tell(repo, known, cells.fresh)
        work = _Work(
            repo=repo, plan=plan, options=replace(options, code=code), settings=settings, how=how, watch=watch,
            worker=replace(worker, total=cells.total), since=since, source=cells,
            progress=Progress(
                sweep=worker.sweep, total=cells.total, earlier=cells.done + cells.failed, done=cells.done,
                failed=cells.failed,
            ),
        )  # fmt: skip
        # What every cell needs, and then has:
        user_and_date(repo)
        c_library()
        ended_by = work.do()
        tags = known.done(set(cells.keys))
        found = [tags[key] for key in cells.keys if key in tags]
        return Outcome(progress=work.progress, tags=found, best=cells.best(), ended_by=ended_by)


def _check_command(plan: Plan) -> None:
    """Raise ExperimenterError for a command that no cell would find on the PATH."""
    program = plan.command[0]
    if not plan.is_template and "/" not in program and which(program) is None:
        raise ExperimenterError(f"there is no command '{visible(program)}'; check the spelling and the PATH")


@contextmanager
def _code_state(
    repo: Repo, plan: Plan, options: Options, settings: Settings
) -> Iterator[tuple[Worker, int, dict[str, Any]]]:
    """Store the code state and join the sweep for the body: give the worker, its place in the journal, and the code."""
    state = StateFolder.of(repo)
    folder = sweeps.begin(state)
    try:
        with interruptible():
            code = capture.code_state(repo, settings, allow_secrets=options.allow_secrets, scratch=folder / "index")
        sweep_id = Identities(repo=repo, plan=plan, tree=code["tree"]).sweep
        words = redacted_command([from_native(word) for word in plan.command])
        worker = Worker.of_ourselves(state, sweep_id, words, total=0)
        since = sweeps.join(repo, worker, folder)
    except BaseException:
        remove_tree(folder)
        raise
    try:
        yield worker, since, code
    finally:
        sweeps.leave(worker)


@dataclass(slots=True, kw_only=True)
class _Work:
    """Runs what is pending of a sweep, and keeps count."""

    repo: Repo
    plan: Plan
    options: Options
    settings: Settings
    how: How
    watch: Watch
    worker: Worker
    since: int
    source: Source
    progress: Progress
    _elsewhere: dict[str, Job] = field(default_factory=dict)
    _survivors: set[str] = field(default_factory=set)  # cells of a sweep here that was killed
    _told: set[str] = field(default_factory=set)
    _started_s: float = field(default_factory=time.monotonic)
    _settled_s: float = field(default_factory=time.monotonic)

    def do(self) -> int | None:
        """Run all; return the signal that ended it, if one did."""
        self._save()
        self.watch.began(self.progress)
        self._survivors = sweeps.orphaned(self.repo, self.worker)
        with Slots[Job](self.how.slots) as slots, slots.none_left():
            known_failed = self.progress.failed
            while True:
                is_ending = slots.received or sweeps.is_stopped(self.worker)
                is_ending = is_ending or (self.how.fail_fast and self.progress.failed > known_failed)
                while not is_ending and self._has_place(slots) and (job := self.source.next()):
                    slots.start(job, partial(self._run, job))
                self._tell(slots, is_ending=bool(is_ending))
                if not slots.working and (is_ending or not (self._elsewhere or self._survivors)):
                    self._save()
                    return slots.received[0] if slots.received else None
                is_looking = self._elsewhere or self._survivors or slots.received
                slots.wait(_LOOK_AGAIN_S if is_looking else self.watch.pause_s)
                if time.monotonic() - slots.received_s >= self.settings.grace_s:
                    self._kill(slots.pids)
                for job, report in slots.ended():
                    self._take(job, report, is_ending=bool(slots.received) or sweeps.is_stopped(self.worker))
                self._look_elsewhere()

    def _has_place(self, slots: Slots[Job]) -> bool:
        return len(slots.working) + len(self._survivors) < self.how.slots

    def _tell(self, slots: Slots[Job], *, is_ending: bool) -> None:
        """Say how far we are."""
        self.progress.is_ending = is_ending
        self.progress.running = len(slots.working)
        self.progress.elsewhere = len(self._elsewhere.keys() | self._survivors)
        new = self.progress.done + self.progress.failed - self.progress.earlier
        left = self.progress.total - self.progress.done - self.progress.failed
        if new:
            self.progress.left_s = (time.monotonic() - self._started_s) / new * left
        self.watch.goes_on(self.progress)

    def _take(self, job: Job, report: bytes, *, is_ending: bool) -> None:
        """Count a cell that has ended, by what its process says of it; not one that ends because all do."""
        said = json.loads(report) if report else {"fate": "killed", "message": "its process was killed"}
        for warning in said.pop("warnings", ()):
            if warning not in self._told:
                self._told.add(warning)
                self.watch.warned(warning)
        if said["fate"] == "taken":
            self._elsewhere[job.key] = job
        elif said["fate"] in ("completed", "failed") or not is_ending:
            self._count(Ended(job=job, **said))

    def _count(self, ended: Ended) -> None:
        self.source.told(ended)
        self._save()
        self.watch.ended(ended, self.progress)

    def _kill(self, pids: Sequence[int]) -> None:
        """Kill the commands of our cells, with all that they have started: the grace is over."""
        for entry in sweeps.cells(self.repo, self.worker.sweep):
            if not entry.is_elsewhere and entry.pid_file.wrapper.pid in pids and entry.pid_file.command:
                entry.tree.kill()

    def _save(self) -> None:
        self.progress.done, self.progress.failed = self.source.done, self.source.failed
        self.worker = replace(self.worker, done=self.progress.done, failed=self.progress.failed)
        self.worker.save()

    def _look_elsewhere(self) -> None:
        """See what has become of cells that others run; one that nobody runs any more is ours again."""
        if not (self._elsewhere or self._survivors):
            return
        if time.monotonic() - self._settled_s >= _SETTLE_AGAIN_S and self.worker.state.has_jobs:
            from experimenter.cluster import settle_jobs  # which most sweeps can do without

            settle_jobs(self.repo)
            self._settled_s = time.monotonic()
        taken = sweeps.taken(self.repo, self.worker.sweep)
        self._survivors &= taken.keys()
        fates = sweeps.fates(self.worker, self.since)
        for key, job in list(self._elsewhere.items()):
            if key in taken:
                continue
            del self._elsewhere[key]
            if key in fates:
                self._count(Ended(job=job, fate=fates[key]))
            else:
                self.source.put_back(job)

    def _run(self, job: Job, slot: int) -> bytes:
        """Be the process of a cell: run it, and return a report for `_take`."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        warnings = _collected_warnings()
        said: dict[str, Any]
        try:
            said = self._run_in(job, slot)
        except CellTaken:
            said = {"fate": "taken"}
        except Interrupted:
            said = {"fate": "interrupted"}
        except (ExperimenterError, OSError) as error:
            said = {"fate": "refused", "message": error.message if isinstance(error, ExperimenterError) else str(error)}
        return dumps({**said, "warnings": [warning[:_LONGEST_WARNING] for warning in warnings[:10]]}).encode()

    def _run_in(self, job: Job, slot: int) -> dict[str, Any]:
        cell = sweeps.Cell(worker=self.worker, key=job.key, since=self.since, slot=slot)
        words, shown = self.plan.words(job.parameters), self.plan.shown(job.parameters)
        options = replace(self.options, parameters=job.parameters, shown=shown, cell=cell, push_to=None)
        outcome = run(self.repo, words, options, self.settings, on_start=lambda *_: None)
        if outcome.ended_by or self.options.links is not None:
            Tree(tag=outcome.tag).kill()  # what it has left behind, and would write into the next cell's work tree
        results = outcome.experiment.results if outcome.experiment else {}
        return {
            "fate": outcome.status,
            "tag": outcome.tag,
            "exit_code": outcome.exit_code,
            "results": results if len(dumps(results)) <= _LONGEST_RESULTS else {},
        }


def _collected_warnings() -> list[str]:
    """Return a list into which warnings of this process go from now on, instead of to a terminal that others use."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger = logging.getLogger("experimenter")
    logger.setLevel(logging.WARNING)
    logger.handlers = [Collector()]
    return found
