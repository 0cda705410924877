"""Reads experiments, all that match or one, from Python as from the command line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experimenter import removal, store
from experimenter.errors import ExperimentUnknown, ExtraMissing
from experimenter.find import nearest
from experimenter.plumbing import find_repo
from experimenter.render.experiments import IDENTITY, row
from experimenter.selection import Selection, select
from experimenter.store import Experiment

if TYPE_CHECKING:
    import pandas


class ExperimentData:
    """The experiments of the repository that `directory` is in; iterating over it gives all, from the oldest on."""

    def __init__(self, directory: str | os.PathLike[str] = ".") -> None:
        """Raise NotAWorkTree outside a work tree."""
        self._repo = find_repo(Path(directory))

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self.experiments())

    def experiments(
        self, commit: str | None = None, must_contain_results: bool = False, **wanted: Any
    ) -> list[Experiment]:
        """Return experiments, filtered, sorted and limited as by the options of `experimenter list`.

        `commit` is any revision, for those on exactly its code. `wanted` are `name`, `where`, a condition such as
        `"lr < 0.1 and accuracy > 0.9"`, `sort`, a key, with `reverse`, and `limit`. Raises BadCondition, BadKey, or
        ExperimenterError for an unknown revision, ValueError for a negative limit.
        """
        return select(self._repo, Selection(revision=commit, with_results=must_contain_results, **wanted))

    def experiment_data(
        self, commit: str | None = None, must_contain_results: bool = False, **wanted: Any
    ) -> dict[str, Any]:
        """Return the records, as JSON objects, by tag; filtered, sorted and limited as by `experiments`.

        Their names, commits and trees are those that git knows.
        """
        found = self.experiments(commit, must_contain_results, **wanted)
        return {experiment.tag: dict(experiment.record.body) for experiment in found}

    def delete(self, tag: str) -> None:
        """Remove an experiment's tag and logs; a tag `exp_*` that is no experiment goes, too.

        Raises ExperimentUnknown if there is none, NotRemoved if it runs.
        """
        tags = store.tag_names(self._repo)
        if tag not in tags:
            raise ExperimentUnknown(tag, nearest=nearest(tag, tags))
        removal.remove(self._repo, removal.chosen(self._repo, [tag]))

    def to_dataframe(
        self, commit: str | None = None, must_contain_results: bool = False, **wanted: Any
    ) -> "pandas.DataFrame":
        """Return a data frame, a row for each experiment, with columns such as `parameters.lr`, `results.accuracy`.

        Filtered, sorted and limited as by `experiments`; `started` and `finished` are times. Raises ExtraMissing, which
        is an ImportError, too, without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ExtraMissing("pandas", needed_for="to_dataframe()") from error
        found = self.experiments(commit, must_contain_results, **wanted)
        rows = [row(experiment) for experiment in found]
        frame = pandas.DataFrame(rows, columns=None if rows else IDENTITY)
        for key in ("started", "finished"):
            frame[key] = pandas.to_datetime(frame[key], utc=True, format="ISO8601", errors="coerce")
        return frame
