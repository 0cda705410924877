"""Finds the experiment that a word means: a tag, an id, the start of one, or a name."""

import re
from collections.abc import Collection, Iterable

from experimenter import names, store
from experimenter.errors import ExperimentAmbiguous, ExperimentUnknown
from experimenter.plumbing import Repo
from experimenter.store import Experiment
from experimenter.text import visible

_ID = re.compile(r"[0-9A-Fa-f]{4,8}")
_NEWEST = 1000
_SHOWN_CANDIDATES = 10


def named(repo: Repo, *words: str) -> list[Experiment]:
    """Return the experiments that words mean, in their order; their records tell the trees that git knows.

    Raises as `find` and `store.read` do.
    """
    tags = store.tag_names(repo)
    meant = [find(word, tags) for word in words]
    found = {one.tag: one for one in store.looked_at(repo, dict.fromkeys(meant), has_trees=True)}
    return [store.readable(found[tag]) for tag in meant]


def find(word: str, tags: Collection[str]) -> str:
    """Return the one of `tags` that `word` means: the tag, an id, the start of one, or a name borne only once.

    Raises ExperimentUnknown with the nearest ones, or ExperimentAmbiguous with the candidates.
    """
    if word in tags:
        return word
    start = f"{names.PREFIX}{word}_"
    found = [tag for tag in tags if tag.startswith(start) and names.is_tag(tag) and names.name_of(tag) == word]
    if _ID.fullmatch(word):
        found += [tag for tag in names.tags_with_id(tags, word.lower()) if tag not in found]
        found = [tag for tag in found if names.is_tag(tag)] or found  # whatever others are called is in nobody's way
    if len(found) == 1:
        return found[0]
    if found:
        newest = sorted(found, key=names.age_key, reverse=True)
        more = [f"and {len(found) - _SHOWN_CANDIDATES} older ones"] if len(found) > _SHOWN_CANDIDATES else []
        shown = [f"{names.id_of(tag)}  {visible(tag)}" for tag in newest[:_SHOWN_CANDIDATES]]
        raise ExperimentAmbiguous(word, candidates=shown + more)
    raise ExperimentUnknown(word, nearest=nearest(word, tags))


def nearest(word: str, tags: Iterable[str]) -> list[str]:
    """Return lines with the ids and tags of those of the newest experiments whose names are most like `word`."""
    newest = sorted(tags, key=names.age_key)[-_NEWEST:]
    known = {key: tag for tag in newest for key in (names.name_of(tag), names.id_of(tag), tag)}
    from difflib import get_close_matches  # which is seldom needed

    close = [known[key] for key in get_close_matches(word, known, n=3)]
    return [f"{names.id_of(tag)}  {visible(tag)}" for tag in dict.fromkeys(close)]
