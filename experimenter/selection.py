"""Selects experiments: on a code state, of a name, with results, by a condition; sorted, and not more than so many."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar

from experimenter import names, query, store
from experimenter.errors import BadKey
from experimenter.keys import Keys, may_mean_trees, values_of
from experimenter.plumbing import Repo, tree_of
from experimenter.query import Condition, as_number
from experimenter.storable import dumps
from experimenter.store import Experiment, Listing
from experimenter.text import visible

_log = logging.getLogger("experimenter")
_NAMED = 10  # tags that a warning names
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which experiments are wanted, and in which order: from the oldest to the newest unless `sort` names a key.

    `revision` stands for exactly its code, `limit` for so many of the newest, or of the first after sorting. Git is
    asked for the trees of their code where `has_trees`, or a key, needs them.
    """

    revision: str | None = None
    name: str | None = None
    with_results: bool = False
    where: str | None = None
    sort: str | None = None
    reverse: bool = False
    limit: int | None = None
    has_trees: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise ValueError("the limit is a number of experiments, 0 or more")


def select(repo: Repo, wanted: Selection) -> list[Experiment]:
    """Return the experiments that are wanted.

    Tags that hold no record that we can read are passed over, with one warning for all of them; with a `limit` and no
    need to read others, for those that were met. Raises BadCondition, BadKey, or ExperimenterError for an unknown
    revision.
    """
    condition = query.parse(wanted.where) if wanted.where is not None else None
    if wanted.limit is not None and condition is None and wanted.sort is None:
        listing = _newest(repo, wanted, wanted.limit)
    else:
        objects = store.tag_objects(repo, tree=_tree(repo, wanted))
        if wanted.name is not None:
            objects = {tag: object_ for tag, object_ in objects.items() if names.name_of(tag) == wanted.name}
        listing = _matching(repo, wanted, objects)
    _warn_of_others(listing)
    found = listing.experiments
    if condition or wanted.sort is not None:
        found = _chosen(found, condition, wanted)
    return found[::-1] if wanted.reverse and wanted.sort is None else found


def _tree(repo: Repo, wanted: Selection) -> str | None:
    return None if wanted.revision is None else tree_of(repo, wanted.revision)


def _matching(repo: Repo, wanted: Selection, objects: Mapping[str, str]) -> Listing:
    """Return what some tags are; of the experiments only those with results if these are wanted."""
    has_trees = wanted.has_trees or may_mean_trees(wanted.where, wanted.sort)
    found = store.listing(repo, objects, has_trees=has_trees)
    if not wanted.with_results:
        return found
    return replace(found, experiments=[one for one in found.experiments if one.results])


def _newest(repo: Repo, wanted: Selection, limit: int) -> Listing:
    """Return the newest, and what was met besides, reading no more than it takes to find so many."""
    objects = store.tag_objects(repo, tree=_tree(repo, wanted)) if wanted.revision is not None else {}
    left = list(objects) if wanted.revision is not None else store.by_age(store.tag_names(repo))
    if wanted.name is not None:
        left = [tag for tag in left if names.name_of(tag) == wanted.name]
    found, size = Listing(experiments=[], no_records=[], newer=[]), limit
    while left and len(found.experiments) < limit:
        chunk = left[-size:]
        del left[-size:]
        found = _matching(repo, wanted, {tag: objects.get(tag) or store.ref(tag) for tag in chunk}) + found
        size *= 2
    return replace(found, experiments=found.experiments[max(0, len(found.experiments) - limit) :])


def _warn_of_others(found: Listing) -> None:
    """Warn, once for all, of tags that were passed over."""
    others = []
    if found.no_records:
        count, first = len(found.no_records), visible(found.no_records[0])
        tags = f"the tag {first}, which is" if count == 1 else f"{count} tags ({first}, …), which are"
        others.append(f"{tags} no record of an experiment")
    if found.newer:
        count, shown = len(found.newer), ", ".join(map(visible, found.newer[:_NAMED]))
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        them = "it" if count == 1 else "them"
        others.append(f"{shown}{more}, which a later version of experimenter wrote; update to read {them}")
    if others:
        _log.warning("passed over %s", ", and ".join(others))


def _chosen(found: Iterable[Experiment], condition: Condition | None, wanted: Selection) -> list[Experiment]:
    """Return those for which the condition holds, sorted and limited as wanted."""
    pairs = [(one, values_of(one)) for one in found]
    keys = Keys(values for _, values in pairs)
    if condition:
        meant = {word: _whole_key_at_its_place(keys, word, condition) for word in condition.places}
        pairs = [pair for pair in pairs if condition.holds(pair[1], meant)]
    if wanted.sort is None:
        found = [one for one, _ in pairs]
        return found if wanted.limit is None else found[max(0, len(found) - wanted.limit) :]
    key = whole_key(keys, query.unquoted(wanted.sort))
    return _in_order(((one, values.get(key)) for one, values in pairs), reverse=wanted.reverse)[: wanted.limit]


def sorted_tags(repo: Repo, tags: Sequence[str], word: str, *, reverse: bool) -> list[str]:
    """Return the tags of experiments sorted by a key, without holding all their records. Raises BadKey."""
    objects = {tag: store.ref(tag) for tag in tags}
    key = whole_key(Keys(map(values_of, store.each(repo, objects))), query.unquoted(word))
    return _in_order(((one.tag, values_of(one).get(key)) for one in store.each(repo, objects)), reverse=reverse)


def _in_order(pairs: Iterable[tuple[_Item, Any]], *, reverse: bool) -> list[_Item]:
    """Return items sorted by their values; those whose value is NaN behind them, and those without one last."""
    ranked = [(item, rank(value), value is None) for item, value in pairs]
    placed = sorted((one for one in ranked if one[1] is not None), key=itemgetter(1), reverse=reverse)
    others = sorted((one for one in ranked if one[1] is None), key=itemgetter(2))
    return [item for item, _, _ in [*placed, *others]]


def whole_key(keys: Keys, word: str) -> str:
    """Return the key that `word` means, told if no record has it. Raises BadKey if it could be several."""
    key = keys.full(word)
    if keys and key not in keys:
        nearest = keys.nearest(word)
        hint = f"; did you mean {visible(nearest)}?" if nearest else ""
        _log.info("none of these experiments has '%s'%s", visible(word), hint)
    return key


def _whole_key_at_its_place(keys: Keys, word: str, condition: Condition) -> str:
    try:
        return whole_key(keys, word)
    except BadKey as error:
        raise condition.error(f"{error.message} {', '.join(error.details)}", word) from error


def rank(value: Any) -> tuple[int, Any] | None:
    """Return what sorts values of any kind: numbers, text, the rest by its JSON; nothing for those that go last."""
    number = as_number(value)
    if value is None or (number is not None and math.isnan(number)):
        return None
    if number is not None:
        return 0, number
    return (1, value) if isinstance(value, str) else (2, dumps(value))
