"""The cells of a sweep: what each runs, what tells it from all others, and which records say that it is done."""

import hashlib
import json
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from experimenter import store
from experimenter.params import nested
from experimenter.plumbing import Repo
from experimenter.record import Record
from experimenter.storable import flattened, merged, public, redacted_command, without_credentials
from experimenter.template import filled, filled_publicly
from experimenter.text import from_bytes, from_native


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep runs: a command, whose words may be a template, in cells that have parameters over a `base`.

    `axes` are the paths of the parameters that each cell has of its own, in the order of the grid. `line` is what else
    makes two sweeps on the same code the same one, as JSON types.
    """

    command: Sequence[str]
    is_template: bool
    base: Mapping[str, Any]
    axes: Sequence[tuple[str, ...]]
    line: Any

    def words(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the command of a cell. Raises BadTemplate."""
        return filled(self.command, parameters) if self.is_template else list(self.command)

    def shown(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the command of a cell without secret parameters. Raises BadTemplate."""
        return filled_publicly(self.command, parameters) if self.is_template else list(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A cell that is to be run: its place in the plan, counted from 1, and what tells it from all others."""

    number: int
    key: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A cell that has come to its end: `fate` is the status of the run, or `refused` if there was none.

    `tag` is empty where nobody ran it, or somebody else; `message` says why it was refused.
    """

    job: Job
    fate: str
    tag: str = ""
    exit_code: int | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def is_good(self) -> bool:
        """Whether there is a completed record."""
        return self.fate == "completed"


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a sweep has come; `earlier` cells had ended before it began, and count; others run `elsewhere`.

    One that `is_ending` starts no more of them.
    """

    sweep: str
    total: int
    earlier: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    elsewhere: int = 0
    is_ending: bool = False
    left_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether every cell has succeeded."""
        return self.failed == 0 and self.done >= self.total


class Source(Protocol):
    """Says which cells are to be run: `total` in all, of which some are `done`, or have `failed`, by now."""

    total: int
    fresh: Sequence[Mapping[str, Any]]  # the parameters of all cells, if none of them is done, and they are known

    @property
    def done(self) -> int:
        """How many have a completed record."""

    @property
    def failed(self) -> int:
        """How many have failed."""

    @property
    def keys(self) -> list[str]:
        """The keys of all cells so far, in their order."""

    def next(self) -> Job | None:
        """Return a cell that is to be run now, if there is one."""

    def put_back(self, job: Job) -> None:
        """Let a cell be run once more: who ran it has gone."""

    def told(self, ended: Ended) -> None:
        """Take notice of what came of a cell."""

    def best(self) -> store.Experiment | None:
        """Return the best experiment, if some are better than others."""


class Grid:
    """All the cells of a grid, but for those that have a completed record."""

    def __init__(self, known: "Identities", cells: Iterable[Mapping[str, Any]], *, again: bool) -> None:
        cells = list(cells)
        self.keys = [known.key(parameters) for parameters in cells]
        done = {} if again else known.done(set(self.keys))
        self.total, self.done, self.failed = len(cells), len(done), 0
        self.fresh: Sequence[Mapping[str, Any]] = [] if done or again else cells
        self._pending = deque(
            Job(number=number, key=key, parameters=parameters)
            for number, (key, parameters) in enumerate(zip(self.keys, cells, strict=True), start=1)
            if key not in done
        )

    def next(self) -> Job | None:
        """Return the next cell."""
        return self._pending.popleft() if self._pending else None

    def put_back(self, job: Job) -> None:
        """Let a cell be run once more."""
        self._pending.append(job)

    def told(self, ended: Ended) -> None:
        """Count it."""
        self.done += ended.is_good
        self.failed += not ended.is_good

    def best(self) -> store.Experiment | None:
        """Return nothing: none is better than others."""
        return None


@dataclass(frozen=True, kw_only=True)
class Identities:
    """Tells cells of one plan on one code state from each other, and knows their records."""

    repo: Repo
    plan: Plan
    tree: str

    @cached_property
    def sweep(self) -> str:
        """The sweep's id: the same for the same plan on the same code, in the same directory."""
        words = redacted_command([from_native(word) for word in self.plan.command])
        base = public(self.plan.base)
        return digest([self.tree, self.directory, words, self.plan.is_template, base, self.plan.line])[:8]

    def key(self, parameters: Mapping[str, Any]) -> str:
        """Return what tells a cell from all others: its code, command, directory and parameters, as recorded."""
        return digest([self.tree, *self.identity(parameters)])

    def identity(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return what tells a cell from all others on the same code: its command, directory and parameters."""
        words = [from_native(word) for word in self.plan.shown(parameters)]
        command = without_credentials(redacted_command(words))
        return [command, self.directory, public(parameters)]

    def identities_of(self, record: Record) -> list[list[Any]]:
        """Return what `identity` may be for the cell of a record on other code: with what a script added, and without.

        Whether a script has added parameters nobody knows there.
        """
        about = [record.get("command"), record.get("directory")]
        return [[*about, parameters] for parameters in (record.parameters, _only(self._paths(), record.parameters))]

    def done(self, keys: Collection[str]) -> dict[str, str]:
        """Return the tag of the newest completed record of each of these cells that has one.

        Of a record of this very sweep, parameters count that the sweep gave, not those that a script has added.
        """
        found = {}
        for experiment in store.each(self.repo, store.tag_objects(self.repo, tree=self.tree)):
            if experiment.status == "completed":
                key = self.key_of(experiment.record)
                if key in keys:
                    found[key] = experiment.tag
        return found

    def key_of(self, record: Record) -> str:
        """Return what tells the cell of a record from all others."""
        is_ours = record.get("sweep") == self.sweep
        parameters = _only(self._paths(), record.parameters) if is_ours else record.parameters
        return digest([self.tree, record.get("command"), record.get("directory"), parameters])

    @property
    def directory(self) -> str:
        """The directory of all cells, as recorded."""
        return from_bytes(self.repo.prefix.rstrip(b"/")) or "."

    def _paths(self) -> list[tuple[str, ...]]:
        """Return the paths of the parameters that the cells have."""
        axes = list(self.plan.axes)
        base = (path for path, _ in flattened(self.plan.base))
        return axes + [path for path in base if not any(path[: len(axis)] == axis for axis in axes)]


def _only(paths: Sequence[tuple[str, ...]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some parameters that stand at these paths."""
    found = []
    for path in paths:
        value: Any = parameters
        for part in path:
            value = value.get(part, _only) if isinstance(value, Mapping) else _only
        if value is not _only:
            found.append(nested(path, value))
    return merged(*found)


def digest(value: Any) -> str:
    """Return what tells one JSON value from others."""
    return hashlib.sha1(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
