"""Runs an experiment once more: its command with its parameters, in its directory, on its code state."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experimenter import codestate, snapshot
from experimenter.bounds import IN_GIT_DIR, OUTSIDE, crossed, crossed_in
from experimenter.errors import CannotRerun, GitFailed
from experimenter.plumbing import Repo
from experimenter.storable import REDACTED, flattened
from experimenter.store import Experiment
from experimenter.text import encodable, to_bytes, visible

_LONGEST_SHOWN = 200  # characters of a directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What an experiment ran, to be run again: the command, the parameters, and the repository as seen from there."""

    command: Sequence[str]
    parameters: Mapping[str, Any]
    repo: Repo
    code: codestate.Code


def prepared(repo: Repo, original: Experiment, command: Sequence[str], parameters: Mapping[str, Any]) -> Rerun:
    """Return what to run with `parameters`; `command` replaces the recorded one.

    Raises CannotRerun where something that the record keeps secret, or lacks, was not given, or where its directory is
    none of a work tree; RecordContradicted where its code is not the one that the tag is on.
    """
    code = codestate.checked(repo, original)
    secrets = [key for key, value in _texts(parameters) if REDACTED in value]
    if secrets:
        options = " ".join(f"-p {key}=…" for key in secrets)
        raise CannotRerun(f"{original.tag} keeps secret what it ran with; give it again: {options}")
    words = list(command) or _recorded_command(original)
    if any(REDACTED in word for word in words):
        raise CannotRerun(f"{original.tag} keeps secret a part of its command; give the whole of it after --")
    return Rerun(command=words, parameters=parameters, repo=replace(repo, prefix=_prefix(original)), code=code)


def code_of(repo: Repo, original: Experiment, code: codestate.Code) -> dict[str, Any]:
    """Return the `code` of a new record on the old code state, by what git says of that.

    Of the branch git knows nothing: the old record is believed where it is right about all else. Raises
    ExperimenterError where the base is not here.
    """
    recorded, facts = original.record.get("code", {}), code.to_record()
    is_right = all(recorded.get(key) == facts.get(key) for key in ("commit", "tree", "base"))
    branch = recorded.get("branch") if is_right else None
    known = {"branch": branch} if isinstance(branch, str) else {}
    try:
        return {**facts, **known, "changed": snapshot.changes(repo, code.base, code.commit)}
    except GitFailed as error:
        raise codestate.without_base(repo, code) or error from error


def check_place(repo: Repo, original: Experiment, code: codestate.Code) -> None:
    """Raise CannotRerun if the recorded directory leads out of the code state."""
    if where := crossed_in(repo, code.tree, _prefix(original)):
        raise _forged(original, where)


def place_here(repo: Repo, original: Experiment) -> Path:
    """Return the recorded directory in the work tree as it is now. Raises CannotRerun if it leads out of that."""
    place = repo.top / os.fsdecode(_prefix(original))
    if where := crossed(repo, place):
        raise _forged(original, where)
    return place


def _recorded_command(original: Experiment) -> list[str]:
    recorded = original.record.get("command")
    words = recorded if isinstance(recorded, list) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise CannotRerun(f"{original.tag} has no command in its record; give one after --")
    native = [_native(word) for word in words]
    if any("\0" in word for word in native):
        raise CannotRerun(f"the command of {original.tag} has a NUL in it, which no system takes; give one after --")
    return native


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
    return os.fsdecode(to_bytes(encodable(word)))


def _prefix(original: Experiment) -> bytes:
    """Return the recorded directory as git does: empty at the top, else with a slash at its end. Raises CannotRerun."""
    directory = original.record.get("directory", ".")
    raw = to_bytes(encodable(directory)) if isinstance(directory, str) else b""
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if not raw or b"\0" in raw:
        raise _forged(original, "that no system has")
    if raw.startswith(b"/") or b".." in parts:
        raise _forged(original, OUTSIDE)
    if b".git" in parts:
        raise _forged(original, IN_GIT_DIR)
    return b"".join(part + b"/" for part in parts)


def _forged(original: Experiment, where: str) -> CannotRerun:
    shown = visible(str(original.record.get("directory")))[:_LONGEST_SHOWN]
    return CannotRerun(
        f"{original.tag} names a directory {where}, '{shown}'; it was forged or damaged: go where its command belongs,"
        " and give that to 'experimenter run'"
    )
