"""Runs an experiment once more: its command with its parameters, in its directory, on its code state."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experimenter.errors import CannotRerun
from experimenter.plumbing import Repo
from experimenter.storable import REDACTED, flattened, merged
from experimenter.store import Experiment
from experimenter.text import to_bytes, visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What an experiment ran, to be run again: the command, the parameters, and the repository as seen from there."""

    command: Sequence[str]
    parameters: Mapping[str, Any]
    repo: Repo
    code: Mapping[str, Any]


def prepared(repo: Repo, original: Experiment, command: Sequence[str], parameters: Mapping[str, Any]) -> Rerun:
    """Return what to run; `command` replaces the recorded one, `parameters` go over the recorded ones.

    Raises CannotRerun where something that the record keeps secret, or lacks, was not given.
    """
    whole = merged(original.parameters, parameters)
    secrets = [key for key, value in _texts(whole) if REDACTED in value]
    if secrets:
        options = " ".join(f"-p {key}=…" for key in secrets)
        raise CannotRerun(f"{original.tag} keeps secret what it ran with; give it again: {options}")
    recorded = original.record.get("command")
    words = list(command)
    if not words and isinstance(recorded, list):
        words = [_native(word) for word in recorded if isinstance(word, str)]
    if not words:
        raise CannotRerun(f"{original.tag} has no command in its record; give one after --")
    if any(REDACTED in word for word in words):
        raise CannotRerun(f"{original.tag} keeps secret a part of its command; give the whole of it after --")
    tree = repo.git("rev-parse", f"{original.commit}^{{tree}}").decode().strip()
    code = {**original.record.body.get("code", {}), "commit": original.commit, "tree": tree}
    return Rerun(command=words, parameters=whole, repo=replace(repo, prefix=_prefix(original)), code=code)


def _texts(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each text that parameters hold, in lists too, with its dotted key."""
    for path, value in flattened(parameters):
        pending = [value]
        while pending:
            one = pending.pop()
            if isinstance(one, str):
                yield ".".join(path), one
            elif isinstance(one, list | dict):
                pending += one if isinstance(one, list) else one.values()


def _native(word: str) -> str:
    """Return a word of a record as it was given to the system."""
    return os.fsdecode(to_bytes(word))


def _prefix(original: Experiment) -> bytes:
    directory = to_bytes(str(original.record.get("directory", ".")))
    if directory == b".":
        return b""
    if directory.startswith(b"/") or b".." in directory.split(b"/"):
        shown = visible(os.fsdecode(directory))
        raise CannotRerun(f"{original.tag} names a directory outside of the work tree, {shown}; it was forged")
    return directory + b"/"
