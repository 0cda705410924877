"""Keys of records: dotted, such as `parameters.lr`; the first part may be left out where that leaves one meaning."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from experimenter.errors import BadKey
from experimenter.query import unquoted
from experimenter.record import KEYS
from experimenter.storable import dotted, dumps
from experimenter.store import Experiment

_COMMA = re.compile(r",(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # with none or pairs of backquotes behind it

Values = Mapping[str, Any]  # a record's values by their dotted keys, those that are objects among them


def values_of(experiment: Experiment) -> Values:
    """Return what an experiment's record holds under each dotted key, with `tag` and `id`."""
    return dotted(experiment.record.body, has_objects=True) | identity(experiment)


def identity(experiment: Experiment) -> dict[str, str]:
    """Return what git knows of an experiment, whatever its record says, under the keys of records."""
    return {"tag": experiment.tag, "id": experiment.id, "name": experiment.name, "code.commit": experiment.commit}


def identity_of(value: Any) -> str:
    """Return what is equal for equal values: JSON in which 1.0 is 1, and true is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return dumps(value)


def words_in(text: str) -> list[str]:
    """Return the words for keys that stand in `text` with commas between them; one in backquotes may have commas."""
    return [unquoted(word.strip()) for word in _COMMA.split(text)]


def may_mean_trees(*texts: str | None) -> bool:
    """Say whether words for keys in some texts may mean the tree of the code, or the object that it stands in."""
    return any("tree" in text or "code" in text for text in texts if text is not None)


class Keys:
    """The keys that some records have, and what a user's words for them mean."""

    def __init__(self, records: Iterable[Values]) -> None:
        self._known: dict[str, None] = {}
        for values in records:
            self._known |= dict.fromkeys(values)
        self._parts = dict.fromkeys(key.partition(".")[0] for key in self._known if "." in key)

    def full(self, word: str) -> str:
        """Return the whole key that `word` means; `word` itself if no record has such a key.

        A key at the top of a record wins over one whose first part is left out. Raises BadKey if there are several.
        """
        if word in self._known or word in KEYS:
            return word
        found = [key for part in self._parts if (key := f"{part}.{word}") in self._known]
        if len(found) > 1:
            raise BadKey(f"'{word}' is ambiguous; write one of", details=found)
        return found[0] if found else word

    def short(self, key: str) -> str:
        """Return the shortest word that means `key`."""
        word = key.partition(".")[2]
        try:
            return word if word and self.full(word) == key else key
        except BadKey:
            return key

    def __bool__(self) -> bool:
        return bool(self._known)

    def __contains__(self, key: str) -> bool:
        return key in self._known or key in KEYS

    def nearest(self, word: str) -> str:
        """Return the key most like `word`, as short as can be; nothing if none is."""
        from difflib import get_close_matches  # which is seldom needed

        words = {known: self.short(known) for known in self._known}
        known = {name.lower(): short for key, short in words.items() for name in (key, short)}
        close = get_close_matches(word.lower(), known, n=1)
        return known[close[0]] if close else ""
