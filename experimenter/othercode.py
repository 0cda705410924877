"""What a sweep's cells have come to on other code: why the same line again runs all of them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experimenter import snapshot, store
from experimenter.cells import Identities, digest
from experimenter.plumbing import Repo
from experimenter.text import counted, visible

_log = logging.getLogger("experimenter")
_SHOWN_PATHS = 10


def tell(repo: Repo, known: Identities, cells: Sequence[Mapping[str, Any]]) -> None:
    """Tell which files differ since cells, of which none is done on this code, were done on other code.

    `repo` is where the objects of this code's tree are. Nothing is told where none was.
    """
    earlier = _done_elsewhere(known, cells) if cells else {}
    if not earlier:
        return
    newest = store.by_age(experiment.tag for experiment in earlier.values())[-1]
    experiment = next(one for one in earlier.values() if one.tag == newest)
    count = sum(one.commit == experiment.commit for one in earlier.values())
    changed = snapshot.changes(repo, experiment.commit, known.tree)
    _log.info(
        "%s of %s done on other code, last by %s (%s); all are to be run, since these files differ:\n  %s",
        f"{count:,}",
        counted(len(cells), "cell") + (" is" if count == 1 else " are"),
        experiment.tag,
        experiment.id,
        "\n  ".join(_lines(changed)),
    )


def _done_elsewhere(known: Identities, cells: Iterable[Mapping[str, Any]]) -> dict[str, store.Experiment]:
    """Return the newest completed record of each of these cells that has one on another tree."""
    wanted = {digest(known.identity(parameters)) for parameters in cells}
    objects = store.tag_objects(known.repo)
    ordered = {tag: objects[tag] for tag in store.by_age(objects)}
    found = {}
    for experiment in store.each(known.repo, ordered):
        if experiment.status == "completed" and experiment.record.get("directory") == known.directory:
            whole, own = (digest(one) for one in known.identities_of(experiment.record))
            if whole in wanted or own in wanted:
                found[whole if whole in wanted else own] = experiment
    return found


def _lines(changed: Mapping[str, Any]) -> list[str]:
    kinds = ("modified", "deleted", "added")
    lines = [f"{kind:<8}  {visible(path)}" for kind in kinds for path in changed[kind]]
    more = len(lines) + changed.get("truncated", 0) - _SHOWN_PATHS
    return [*lines[:_SHOWN_PATHS], *([f"and {more:,} more"] if more > 0 else [])]
