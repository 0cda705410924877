"""Compares experiments: code, parameters and results of two, or of one and the work tree as it is now."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experimenter import snapshot
from experimenter.keys import identity_of
from experimenter.patterns import Patterns
from experimenter.plumbing import Repo, config
from experimenter.query import MISSING
from experimenter.signals import interruptible
from experimenter.storable import dotted
from experimenter.store import Experiment

Pairs = Mapping[str, tuple[Any, Any]]  # two values under each dotted key; MISSING where a side has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs from experiment `a` to `b`, or to the work tree without one; `patch` is git's view of it."""

    a: Experiment
    b: Experiment | None
    code: Mapping[str, Any]
    parameters: Pairs
    results: Pairs
    patch: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `diff --json` prints."""
        tags = {"a": self.a.tag, **({"b": self.b.tag} if self.b else {})}
        pairs = {"parameters": _as_lists(self.parameters), "results": _as_lists(self.results)}
        return {**tags, "code": self.code, **pairs}


def compare(
    repo: Repo, a: Experiment, b: Experiment | None = None, *, patch: Sequence[str] | None = None
) -> Comparison:
    """Return what differs from `a` to `b`, or to the work tree as it is now, of which nothing is stored.

    With `patch`, options of git-diff(1), also what that prints, in its user's way.
    """
    words = ("diff", "--ignore-submodules=none", *(patch or ()))
    if b:
        return Comparison(
            a=a,
            b=b,
            code=snapshot.changes(repo, a.commit, b.commit),
            parameters=differing(a.parameters, b.parameters),
            results=differing(a.results, b.results),
            patch=repo.git(*words, a.commit, b.commit) if patch is not None else b"",
        )
    with aside(repo) as (there, index):
        outputs = Patterns(config(repo).get("output", ()))
        code = snapshot.differences(there, a.commit, scratch=index, is_stored=patch is not None, outputs=outputs)
        shown = b""
        if patch is not None:
            shown = there.git(*_without_caches(repo), *words, "--cached", a.commit, index=index)
    return Comparison(a=a, b=b, code=code, parameters={}, results={}, patch=shown)


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pairs:
    """Return the values under each dotted key in which two mappings differ."""
    return {key: pair for key, pair in paired(a, b).items() if not _are_equal(*pair)}


def paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pairs:
    """Return the values under each dotted key of two mappings."""
    first, second = dotted(a), dotted(b)
    return {key: (first.get(key, MISSING), second.get(key, MISSING)) for key in first | second}


def _are_equal(first: Any, second: Any) -> bool:
    return MISSING not in (first, second) and identity_of(first) == identity_of(second)


def _as_lists(pairs: Pairs) -> dict[str, list[Any]]:
    return {key: [None if value is MISSING else value for value in pair] for key, pair in pairs.items()}


def _without_caches(repo: Repo) -> list[str]:
    """Return what keeps git from noting, for good, what it made of objects that are forgotten afterwards."""
    words = ("config", "-z", "--name-only", "--get-regexp", r"^diff\..*\.cachetextconv$")
    keys = repo.git(*words, expected=(0, 1)).decode(errors="surrogateescape").split("\0")
    return [word for key in keys if key for word in ("-c", f"{key}=false")]


@contextlib.contextmanager
def aside(repo: Repo) -> Iterator[tuple[Repo, Path]]:
    """Give the repository with a place for objects that are forgotten afterwards, and one for an index."""
    with interruptible(), tempfile.TemporaryDirectory(prefix="experimenter-") as folder:
        objects = Path(folder, "objects")
        objects.mkdir()
        yield replace(repo, objects_aside=objects), Path(folder, "index")
