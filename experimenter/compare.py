"""Compares experiments: code, parameters and results of two, or of one and the work tree as it is now."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experimenter import snapshot
from experimenter.plumbing import Repo
from experimenter.query import MISSING, as_number
from experimenter.storable import dotted, dumps
from experimenter.store import Experiment

Pairs = Mapping[str, tuple[Any, Any]]  # two values under each dotted key; MISSING where a side has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs between experiment `a` and `b`, or the work tree where there is no `b`."""

    a: Experiment
    b: Experiment | None
    code: Mapping[str, Any]
    parameters: Pairs
    results: Pairs

    def to_json(self) -> dict[str, Any]:
        """Return the object that `diff --json` prints."""
        tags = {"a": self.a.tag, **({"b": self.b.tag} if self.b else {})}
        pairs = {"parameters": _as_lists(self.parameters), "results": _as_lists(self.results)}
        return {**tags, "code": self.code, **pairs}


def compare(repo: Repo, a: Experiment, b: Experiment | None = None) -> Comparison:
    """Return what differs from `a` to `b`, or to the work tree as it is now, of which nothing is stored."""
    if b is None:
        with _scratch(repo) as (_, index):
            code = snapshot.differences(repo, a.commit, scratch=index, is_stored=False)
        return Comparison(a=a, b=b, code=code, parameters={}, results={})
    return Comparison(
        a=a,
        b=b,
        code=snapshot.changes(repo, a.commit, b.commit),
        parameters=differing(a.parameters, b.parameters),
        results=differing(a.results, b.results),
    )


def code_diff(repo: Repo, a: Experiment, b: Experiment | None, *, is_coloured: bool, is_stat: bool) -> bytes:
    """Return what git-diff(1) prints, in its user's way, from the code of `a` to that of `b`, or to the work tree."""
    words = ("diff", f"--color={'always' if is_coloured else 'never'}", "--ignore-submodules=none")
    options = ("--stat",) if is_stat else ()
    if b:
        return repo.git(*words, *options, a.commit, b.commit)
    with _scratch(repo) as (aside, index):
        snapshot.differences(aside, a.commit, scratch=index, is_stored=True)
        return aside.git(*words, *options, "--cached", a.commit, index=index)


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pairs:
    """Return the values under each dotted key in which two mappings differ."""
    first, second = dotted(a), dotted(b)
    pairs = {key: (first.get(key, MISSING), second.get(key, MISSING)) for key in first | second}
    return {key: pair for key, pair in pairs.items() if not _are_equal(*pair)}


def _are_equal(first: Any, second: Any) -> bool:
    if MISSING in (first, second):
        return False
    if as_number(first) is not None and as_number(second) is not None:
        return dumps(first) == dumps(second) or bool(first == second)
    return dumps(first) == dumps(second)


def _as_lists(pairs: Pairs) -> dict[str, list[Any]]:
    return {key: [None if value is MISSING else value for value in pair] for key, pair in pairs.items()}


@contextlib.contextmanager
def _scratch(repo: Repo) -> Iterator[tuple[Repo, Path]]:
    """Give the repository with a place for objects that are forgotten afterwards, and one for an index."""
    with tempfile.TemporaryDirectory(prefix="experimenter-") as folder:
        objects = Path(folder, "objects")
        objects.mkdir()
        yield replace(repo, objects_aside=objects), Path(folder, "index")
