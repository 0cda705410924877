"""The cells of a sweep: what each runs, what tells it from all others, and which records say that it is done."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experimenter import store
from experimenter.params import nested
from experimenter.plumbing import Repo
from experimenter.record import Record
from experimenter.storable import flattened, merged, redacted, redacted_command, without_users
from experimenter.template import filled
from experimenter.text import from_bytes, from_native


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep runs: a command, whose words may be a template, with the parameters of each cell.

    `axes` are the paths of the parameters in which cells differ, in the order of the grid. `line` is what else makes
    two sweeps on the same code the same one, as JSON types.
    """

    command: Sequence[str]
    is_template: bool
    cells: Sequence[Mapping[str, Any]]
    axes: Sequence[tuple[str, ...]]
    line: Any = None

    def words(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the command of a cell. Raises BadTemplate."""
        return filled(self.command, parameters) if self.is_template else list(self.command)


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
    """How far a sweep has come; `earlier` cells were done before it began, and count as `done`.

    One that `is_ending` starts no more of them.
    """

    sweep: str
    total: int
    earlier: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    is_ending: bool = False
    left_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Tells cells of one plan on one code state from each other, and knows their records."""

    repo: Repo
    plan: Plan
    tree: str

    @property
    def sweep(self) -> str:
        """The sweep's id: the same for the same plan on the same code, in the same directory."""
        words = redacted_command([from_native(word) for word in self.plan.command])
        cells = [_public(one) for one in self.plan.cells]
        return _digest([self.tree, self._directory, words, self.plan.is_template, cells, self.plan.line])[:8]

    def key(self, parameters: Mapping[str, Any]) -> str:
        """Return what tells a cell from all others: its code, command, directory and parameters, as recorded."""
        words = self.plan.words(redacted(dict(parameters)))
        command = without_users(redacted_command([from_native(word) for word in words]))
        return _digest([self.tree, command, self._directory, _public(parameters)])

    def done(self, keys: Collection[str]) -> dict[str, str]:
        """Return the tag of the newest completed record of each of these cells that has one.

        Of a record of this very sweep, parameters count that the sweep gave, not those that a script has added.
        """
        sweep, ours, found = self.sweep, self._paths(), {}
        for experiment in store.each(self.repo, store.tag_objects(self.repo, tree=self.tree)):
            record = experiment.record
            if record.status == "completed":
                parameters = record.parameters
                if record.get("sweep") == sweep:
                    parameters = _only(ours, parameters)
                key = self._key_of(record, parameters)
                if key in keys:
                    found[key] = experiment.tag
        return found

    @property
    def _directory(self) -> str:
        return from_bytes(self.repo.prefix.rstrip(b"/")) or "."

    def _key_of(self, record: Record, parameters: Mapping[str, Any]) -> str:
        return _digest([self.tree, record.get("command"), record.get("directory"), parameters])

    def _paths(self) -> list[tuple[str, ...]]:
        """Return the paths of the parameters that the cells have."""
        axes = list(self.plan.axes)
        first = flattened(self.plan.cells[0]) if self.plan.cells else ()
        return axes + [path for path, _ in first if not any(path[: len(axis)] == axis for axis in axes)]


def _public(parameters: Mapping[str, Any]) -> Any:
    """Return parameters as a record has them."""
    return without_users(redacted(dict(parameters)))


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


def _digest(value: Any) -> str:
    return hashlib.sha1(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
