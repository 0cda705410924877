"""The door to Optuna: chooses the parameters of cells by what came of earlier ones, and remembers them in a study."""

import fcntl
import hashlib
import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experimenter import store, sweeps
from experimenter.cells import Ended, Identities, Job
from experimenter.errors import ExtraMissing
from experimenter.grid import Axis, Interval, Values
from experimenter.keys import values_of
from experimenter.places import placed
from experimenter.query import as_number
from experimenter.render.cells import cell
from experimenter.state import StateFolder, translated
from experimenter.storable import dotted, dumps
from experimenter.text import visible

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger("experimenter")
_CELL = "cell"  # an attribute of a trial: the key of its cell
_LOST = "lost"  # an attribute of the study: the trials whose processes were killed before they ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What to optimize: a key of results, up or down, in so many trials, reproducibly with a seed."""

    key: str
    is_up: bool
    trials: int
    seed: int | None = None

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """What Optuna calls it."""
        return "maximize" if self.is_up else "minimize"


class Study:
    """Chooses cells, as `Grid` does for a grid, until there are as many trials as the goal says, with earlier ones.

    The study is found again by the sweep's id.
    """

    fresh: Sequence[Mapping[str, Any]] = ()

    def __init__(self, known: Identities, axes: Sequence[Axis], base: Mapping[str, Any], goal: Goal) -> None:
        self._known = known
        self._axes = axes
        self._base = base
        self._goal = goal
        self._study = _open_study(StateFolder.of(known.repo), known.sweep, goal)
        self._lock = _Lock(StateFolder.of(known.repo).path / "studies" / f"{known.sweep}.next.lock")
        self._chosen: dict[str, list[int]] = {}  # the trials of each cell that goes on: one may be chosen twice
        self._again: list[Job] = []
        self._settle_lost()
        self._tell_of_removed()
        self.total = max(goal.trials, len(self._trials()))

    @property
    def done(self) -> int:
        """How many trials have a value."""
        return sum(trial.state.name == "COMPLETE" for trial in self._trials())

    @property
    def failed(self) -> int:
        """How many have failed."""
        return sum(trial.state.name == "FAIL" for trial in self._trials())

    @property
    def keys(self) -> list[str]:
        """The keys of all cells that were chosen, in their order."""
        return list(dict.fromkeys(trial.user_attrs[_CELL] for trial in self._trials()))

    def next(self) -> Job | None:
        """Return a cell that is to be run now, if there is one."""
        if self._again:
            return self._again.pop()
        with self._lock:  # or two sweeps at once would both choose the same as the next one
            return self._choose()

    def _choose(self) -> Job | None:
        trials = self._trials()
        number = len(trials) + 1
        if number > self._goal.trials:
            return next((self._join(trial) for trial in trials if self._is_of_others(trial)), None)
        if self._goal.seed is not None:
            # By the number, so that a study that is gone on with chooses what it would have chosen in one go.
            digest = hashlib.sha1(f"{self._goal.seed} {number}".encode(), usedforsecurity=False).digest()
            self._study.sampler = _sampler(int.from_bytes(digest[:4], "big"))
        trial = self._study.ask(_distributions(self._axes))
        job = self._job(number, trial.params)
        trial.set_user_attr(_CELL, job.key)
        self._chosen.setdefault(job.key, []).append(trial.number)
        return job

    def _is_of_others(self, trial: "optuna.trial.FrozenTrial") -> bool:
        """Say whether another sweep has chosen a trial that goes on."""
        return not trial.state.is_finished() and trial.user_attrs[_CELL] not in self._chosen

    def _join(self, trial: "optuna.trial.FrozenTrial") -> Job:
        """Return the cell of such a trial: it is waited for, or run should the other sweep give it up."""
        self._chosen[trial.user_attrs[_CELL]] = [trial.number]
        return self._job(trial.number + 1, trial.params)

    def put_back(self, job: Job) -> None:
        """Let a cell be run once more: who ran it has gone."""
        self._again.append(job)

    def told(self, ended: Ended) -> None:
        """Tell the study what came of a cell."""
        for number in self._chosen.pop(ended.job.key, ()):
            self._tell(number, ended)

    def best(self) -> store.Experiment | None:
        """Return the best experiment, if there is one."""
        good = [trial for trial in self._trials() if trial.state.name == "COMPLETE"]
        if not good:
            return None
        best = max(good, key=lambda trial: (trial.value or 0.0) * (1 if self._goal.is_up else -1))
        tag = self._known.done([best.user_attrs[_CELL]]).get(best.user_attrs[_CELL])
        return store.find(self._known.repo, tag) if tag else None

    def _trials(self) -> "list[optuna.trial.FrozenTrial]":
        """Return the trials that count: those that were lost are run once more under another number."""
        lost = self._study.user_attrs.get(_LOST, ())
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.number not in lost and _CELL in trial.user_attrs]

    def _job(self, number: int, chosen: Mapping[str, Any]) -> Job:
        values = {axis.key: _value(axis, chosen) for axis in self._axes}
        parameters = placed(self._base, ((axis.path, values[axis.key]) for axis in self._axes))
        return Job(number=number, key=self._known.key(parameters), parameters=parameters)

    def _tell(self, number: int, ended: Ended) -> None:
        """Tell the value of a trial, or that it has failed."""
        tag = ended.tag or self._known.done([ended.job.key]).get(ended.job.key, "") if ended.is_good else ""
        experiment = store.find(self._known.repo, tag) if tag else None
        value = _number_of(experiment, self._goal.key) if experiment else None
        if experiment and value is None:
            results, key = dotted(experiment.results), self._goal.key.removeprefix("results.")
            there = f"{key}={cell(results[key])}" if key in results else ", ".join(map(visible, results)) or "nothing"
            _log.warning("%s has no number under %s (there is: %s); its trial failed", tag, self._goal.key, there)
        if value is None:
            self._study.tell(number, state=_failed(), skip_if_finished=True)
        else:
            self._study.tell(number, value, skip_if_finished=True)

    def _tell_of_removed(self) -> None:
        """Say that trials count whose records somebody has removed: the study has learned from them."""
        cells = {trial.user_attrs[_CELL] for trial in self._trials() if trial.state.name == "COMPLETE"}
        if cells and (removed := len(cells) - len(self._known.done(cells))):
            said = "of %d of the study's trials the record was removed; it counts, and is not run again"
            _log.info(said, removed)

    def _settle_lost(self) -> None:
        """See what has become of trials whose sweep was killed, unless another sweep is at work on them."""
        repo, sweep = self._known.repo, self._known.sweep
        if sum(worker.sweep == sweep for worker in sweeps.workers(repo)) > 1:
            return
        running = {entry.pid_file.cell for entry in sweeps.cells(repo, sweep)}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                continue
            cell = trial.user_attrs.get(_CELL, "")
            if cell and cell in running:
                continue  # it is waited for at the end
            if cell and self._known.done([cell]):
                job = self._job(trial.number + 1, trial.params)
                self._tell(trial.number, Ended(job=job, fate="completed"))
            elif trial.state.name == "RUNNING":
                self._study.set_user_attr(_LOST, [*self._study.user_attrs.get(_LOST, ()), trial.number])
                self._study.tell(trial.number, state=_failed())
                self._study.enqueue_trial(trial.params)


def check_optuna() -> None:
    """Raise ExtraMissing if Optuna is not there."""
    if find_spec("optuna") is None:
        raise ExtraMissing("optuna", needed_for="--optimize")


def _open_study(state: StateFolder, sweep: str, goal: Goal) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    folder = state.path / "studies"
    with translated(folder):
        folder.mkdir(exist_ok=True)

    lock: Any = _Lock(folder / f"{sweep}.lock")
    file = JournalFileBackend(str(folder / f"{sweep}.journal"), lock_obj=lock)
    return optuna.create_study(
        storage=JournalStorage(file), study_name=sweep, direction=goal.direction, load_if_exists=True,
        sampler=_sampler(None),
    )  # fmt: skip


class _Lock:
    """A lock for Optuna that goes with its holder (flock(2)), which its own do not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _sampler(seed: int | None) -> "optuna.samplers.BaseSampler":
    import optuna

    return optuna.samplers.TPESampler(seed=seed)


def _failed() -> "optuna.trial.TrialState":
    import optuna

    return optuna.trial.TrialState.FAIL


def _distributions(axes: Sequence[Axis]) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Return what Optuna has to choose; of one value there is no choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for axis in axes:
        kind: Any
        if isinstance(axis, Interval):
            is_whole = isinstance(axis.low, int) and isinstance(axis.high, int)
            kind = IntDistribution if is_whole else FloatDistribution
            found[axis.key] = kind(axis.low, axis.high, log=axis.is_log)
        elif len(axis.values) > 1 and axis.is_range:
            found[axis.key] = IntDistribution(0, len(axis.values) - 1)  # the places of values, which are exact
        elif len(axis.values) > 1:
            found[axis.key] = CategoricalDistribution([_choice(value) for value in axis.values])
    return found


def _choice(value: Any) -> Any:
    """Return a value as Optuna takes it: a list or a mapping as its JSON, a number without its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if isinstance(value, float) else int(value)
    return dumps(value) if isinstance(value, list | dict) else value


def _value(axis: Axis, chosen: Mapping[str, Any]) -> Any:
    """Return the value of a parameter, by what Optuna has chosen."""
    if axis.key not in chosen:
        assert isinstance(axis, Values)
        return axis.values[0]
    value = chosen[axis.key]
    if isinstance(axis, Values) and axis.is_range:
        return axis.values[value]
    if isinstance(axis, Values):
        return next(one for one in axis.values if type(_choice(one)) is type(value) and _choice(one) == value)
    return value


def _number_of(experiment: store.Experiment, key: str) -> float | None:
    """Return the number under a key of the results, `results.` before it or not."""
    values = values_of(experiment)
    value = values.get(f"results.{key.removeprefix('results.')}")
    number = as_number(value) if not isinstance(value, str | bool) else None
    return None if number is None or not math.isfinite(number) else float(number)
