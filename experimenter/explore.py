"""Reads experiments from Python, finds one by what the user calls it, and waits for its end."""

import logging
import os
import time
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experimenter import names, registry, store
from experimenter.errors import (
    ExperimentAmbiguous,
    ExperimentUnknown,
    ExtraMissing,
    StatusUnknown,
)
from experimenter.plumbing import Repo, find_repo
from experimenter.render import row

if TYPE_CHECKING:
    import pandas

_log = logging.getLogger("experimenter")
_SHORTEST_ID = 4
_POLL_S = 0.2
_NEWEST = 1000
_SHOWN_CANDIDATES = 10


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
            raise ExperimentUnknown(tag, nearest=_nearest(tag, store.tags(self._repo)))
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


def find(word: str, tags: Iterable[str]) -> str:
    """Return the one of `tags` that `word` means: the tag, an id, the start of one, or a name borne only once.

    Raises ExperimentUnknown with the nearest ones, or ExperimentAmbiguous with the candidates.
    """
    tags = dict.fromkeys(tags)
    if word in tags:
        return word
    is_id = len(word) >= _SHORTEST_ID
    found = [tag for tag in tags if names.name_of(tag) == word or (is_id and names.id_of(tag).startswith(word.lower()))]
    if len(found) == 1:
        return found[0]
    if found:
        newest = sorted(found, key=names.age_key, reverse=True)
        more = [f"and {len(found) - _SHOWN_CANDIDATES} older ones"] if len(found) > _SHOWN_CANDIDATES else []
        shown = [f"{names.id_of(tag)}  {tag}" for tag in newest[:_SHOWN_CANDIDATES]]
        raise ExperimentAmbiguous(word, candidates=shown + more)
    raise ExperimentUnknown(word, nearest=_nearest(word, tags))


def show(repo: Repo, word: str) -> store.Experiment:
    """Return the experiment that `word` means; raise as `find` and `store.read` do."""
    return store.read(repo, find(word, store.tags(repo)))


def wait(repo: Repo, word: str) -> int:
    """Return the exit status of an experiment's command, as soon as the experiment has ended.

    `word` means one that runs, else one that ended, with or without a tag, whose log is kept. Raises as `find` does,
    and StatusUnknown if no status is left: the experiment was killed, or was a block of a script.
    """
    running = registry.running_tags(repo)
    try:
        tag = find(word, running)
    except ExperimentUnknown:
        tag = find(word, [*store.tags(repo), *running, *registry.ended_tags(repo)])
    while registry.is_alive(repo, tag):
        time.sleep(_POLL_S)
    status = (registry.ending_of(repo, tag) or {}).get("exit_code")
    if status is None and tag in store.tags(repo):
        status = store.read(repo, tag).record.body.get("exit_code")
    if not isinstance(status, int):
        raise StatusUnknown(f"{tag} has ended, but no exit status of it is known")
    return status


def _nearest(word: str, tags: Iterable[str]) -> list[str]:
    newest = sorted(tags, key=names.age_key)[-_NEWEST:]
    known = {key: tag for tag in newest for key in (names.name_of(tag), names.id_of(tag), tag)}
    close = [known[key] for key in get_close_matches(word, known, n=3)]
    return [f"{names.id_of(tag)}  {tag}" for tag in dict.fromkeys(close)]
