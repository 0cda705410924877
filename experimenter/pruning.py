"""What of the user's settings lets a plain `git fetch` delete tags that a remote lacks, as those of experiments."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from experimenter.text import visible

_log = logging.getLogger("experimenter")
_TAGS = "refs/tags/exp_"
_REMOTE = re.compile(r"remote\.(?P<name>.*)\.url", re.DOTALL)


def warn(config: Mapping[str, Sequence[str]]) -> None:
    """Warn, once in this process, where settings do so, with the line that changes each; `config` is that of git."""
    if found := list(_harmful(config)):
        from shlex import quote  # which few need

        lines = [f"git config {several}{quote(key)} false" for key, several in found]
        _warn("\n  ".join(map(visible, lines)))


@cache
def _warn(lines: str) -> None:
    _log.warning("a plain 'git fetch' here deletes experiments that were not pushed; to keep them\n  %s", lines)


def _harmful(config: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the setting of each remote that is to be false, in this repository, with what git needs to replace many.

    As git-fetch(1) does it: what is set for a remote goes before what is set for all, and both only matter together.
    """
    for name in [match["name"] for key in config if (match := _REMOTE.fullmatch(key))]:
        of_remote = {word: f"remote.{name}.{word}" for word in ("prune", "pruneTags")}
        prunes, prunes_tags = (_is_set(config, key, f"fetch.{word}") for word, key in of_remote.items())
        refspecs = config.get(f"remote.{name}.fetch", ())
        if not prunes or any(map(_keeps_tags, refspecs)):
            continue
        by_refspec = any(map(_takes_tags, refspecs))
        if by_refspec or prunes_tags:
            key = of_remote["prune" if by_refspec else "pruneTags"]
            yield key, "--replace-all " if len(config.get(_lowered(key), ())) > 1 else ""


def _is_set(config: Mapping[str, Sequence[str]], *keys: str) -> bool:
    """Return the boolean that the first of some keys has which is set; of several values the last counts."""
    values = next((config[_lowered(key)] for key in keys if _lowered(key) in config), ["false"])
    return re.fullmatch(r"true|yes|on|[+-]?0*[1-9].*", values[-1], re.IGNORECASE) is not None


def _lowered(key: str) -> str:
    """Return a key as git tells it: all of it but for a name in its middle is in lower case."""
    first, _, rest = key.partition(".")
    middle, dot, last = rest.rpartition(".")
    return f"{first.lower()}.{middle}{dot}{last.lower()}"


def _takes_tags(refspec: str) -> bool:
    """Say whether what a refspec writes to has the tags of experiments in it."""
    before, star, _ = refspec.partition(":")[2].partition("*")
    return star != "" and (_TAGS.startswith(before) or before.startswith(_TAGS))


def _keeps_tags(refspec: str) -> bool:
    """Say whether a negative refspec keeps the tags of all experiments out of a fetch, and so from being deleted."""
    return refspec.startswith("^") and refspec.endswith("*") and _TAGS.startswith(refspec[1:-1])
