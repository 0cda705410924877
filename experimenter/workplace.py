"""Where the command of a run finds itself: in the user's work tree or a private one, and in which environment."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from experimenter import environment, live
from experimenter.sweeps import Cell

if TYPE_CHECKING:
    from experimenter.worktree import WorkTree

_log = logging.getLogger("experimenter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where the command runs, what it finds in its environment, and where it writes the file of `--results`."""

    work_tree: "WorkTree | None" = None
    directory: Path | None = None
    env: Mapping[str, str]
    results_file: Path | None

    @classmethod
    def prepare(
        cls,
        begun: live.Live,
        command: Sequence[str],
        *,
        parameters: Mapping[str, Any],
        results_file: Path | None,
        links: Sequence[str] | None,
        cell: Cell | None,
    ) -> Self:
        """Return the place that we are in; or, where there are `links`, make a private work tree that has them.

        The cells of a sweep that follow each other in a slot share one. Raises ExperimenterError, and leaves it to the
        caller to remove what was made so far.
        """
        env = _environment(begun, parameters)
        if links is None:
            return cls(env=env, results_file=results_file)
        from experimenter.editable import python_path  # most runs can do without these two
        from experimenter.worktree import WorkTree

        place = cell.work_tree if cell else begun.entry.work_tree
        is_shared = cell is not None
        work_tree = WorkTree.make(begun.repo, begun.experiment.commit, place, links=links, is_shared=is_shared)
        path, left = python_path(work_tree, command, env)
        for package in left:
            _log.warning("the editable install of %s cannot be overridden; edits made meanwhile reach the run", package)
        return cls(
            work_tree=work_tree,
            directory=work_tree.directory,
            env={**env, "PWD": str(work_tree.directory), **({"PYTHONPATH": path} if path else {})},
            results_file=results_file and work_tree.mapped(results_file),
        )

    def drift(self, begun: live.Live) -> Mapping[str, Any] | None:
        """Return the record's `drift`: what changed here while the command ran."""
        repo = self.work_tree.private if self.work_tree else begun.repo
        scratch = self.work_tree.index if self.work_tree else begun.entry.index
        return live.drift(repo, scratch=scratch, results_file=self.results_file)


def _environment(begun: live.Live, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of the command: ours, with what it has to know of its experiment."""
    experiment, entry = begun.experiment, begun.entry
    variables, warnings = environment.of_parameters(parameters)
    for warning in warnings:
        _log.warning("%s", warning)
    entry.save_parameters(parameters)
    identity = {
        environment.TAG: experiment.tag,
        environment.ID: experiment.id,
        environment.NAME: experiment.name,
        environment.COMMIT: experiment.commit,
        environment.PARAMS_FILE: str(entry.parameters),
        environment.RESULTS_FILE: str(entry.results),
        **({environment.SWEEP: experiment.record["sweep"]} if "sweep" in experiment.record else {}),
    }
    return {**environment.without_ours(os.environ), **variables, **identity}
