"""Reads experiments, all that match or one, from Python as from the command line."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experimenter import store
from experimenter.errors import ExperimentUnknown, ExtraMissing
from experimenter.find import find, nearest
from experimenter.plumbing import Repo, find_repo
from experimenter.render import row

if TYPE_CHECKING:
    import pandas

_log = logging.getLogger("experimenter")


class ExperimentData:
    """The experiments of the repository that `directory` is in."""

    def __init__(self, directory: str | os.PathLike[str] = ".") -> None:
        """Raise NotAWorkTree outside a work tree."""
        self._repo = find_repo(Path(directory))

    def experiment_data(self, commit: str | None = None, must_contain_results: bool = False) -> dict[str, Any]:
        """Return the records, as JSON objects, by tag, from the oldest to the newest.

        With `commit` only those on exactly the code of that revision, with `must_contain_results` only those that have
        some. Raises ExperimenterError for an unknown revision.
        """
        found = matching(self._repo, revision=commit, with_results=must_contain_results)
        return {experiment.tag: dict(experiment.record.body) for experiment in found}

    def delete(self, tag: str) -> None:
        """Remove an experiment's tag. Raises ExperimentUnknown if there is none."""
        if tag not in store.tags(self._repo):
            raise ExperimentUnknown(tag, nearest=nearest(tag, store.tags(self._repo)))
        store.delete(self._repo, store.read(self._repo, tag))

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return a data frame, a row for each experiment, with columns such as `parameters.lr`, `results.accuracy`.

        Raises ExtraMissing without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ExtraMissing("pandas", needed_for="to_dataframe()") from error
        return pandas.DataFrame([row(experiment) for experiment in matching(self._repo)])


def matching(
    repo: Repo, *, revision: str | None = None, with_results: bool = False, name: str | None = None
) -> list[store.Experiment]:
    """Return experiments from the oldest to the newest: on exactly the code of `revision`, with results, of a name.

    Tags that hold no record that we can read are passed over, with a warning for each kind of them.
    """
    listing = store.listing(repo, tree=store.tree_of(repo, revision) if revision is not None else None)
    if listing.no_records:
        count, first = len(listing.no_records), listing.no_records[0]
        tags = f"the tag {first}, which is" if count == 1 else f"{count} tags ({first}, …), which are"
        _log.warning("passed over %s no record of an experiment", tags)
    for tag in listing.newer:
        _log.warning("passed over %s, which a later version of experimenter wrote; update to read it", tag)
    return [
        experiment
        for experiment in listing.experiments
        if (experiment.record.results or not with_results) and name in (None, experiment.name)
    ]


def as_json(experiment: store.Experiment) -> dict[str, Any]:
    """Return an experiment's record with its tag and id in front."""
    identity = {"tag": experiment.tag, "id": experiment.id}
    return identity | {key: value for key, value in experiment.record.body.items() if key not in identity}


def show(repo: Repo, word: str) -> store.Experiment:
    """Return the experiment that `word` means; raise as `find` and `store.read` do."""
    return store.read(repo, find(word, store.tags(repo)))
