"""Refs: each is changed only from the value that was read."""

import os
import re
from collections.abc import Mapping, Sequence

from experimenter.errors import GitFailed, RefExists, RefMoved
from experimenter.plumbing.git import Repo

REF = "EXPERIMENTER_REF"  # in the environment of a git that changes a ref for us: which one


def update_ref(repo: Repo, ref: str, *, new: str, old: str) -> None:
    """Point `ref` at `new` if it has the value `old`; an empty `old` creates it.

    Raises RefExists or RefMoved when the ref has another value, and leaves it as it is.
    """
    _change_ref(repo, ref, old, ["update-ref", ref, new, old])


def delete_ref(repo: Repo, ref: str, *, old: str) -> None:
    """Delete `ref` if it has the value `old`; raise RefMoved, and leave it, if it has another."""
    _change_ref(repo, ref, old, ["update-ref", "-d", ref, old])


def delete_refs(repo: Repo, old: Mapping[str, str]) -> None:
    """Delete refs, all or none; raise RefMoved if one does not have its `old` value."""
    lines = "".join(f"delete {ref}\0{value}\0" for ref, value in old.items())
    _change_ref(repo, " ".join(old), "theirs", ["update-ref", "--no-deref", "-z", "--stdin"], stdin=os.fsencode(lines))


def _change_ref(repo: Repo, ref: str, old: str, words: Sequence[str], *, stdin: bytes | None = None) -> None:
    try:
        repo.git(*words, stdin=stdin, env={REF: ref})
    except GitFailed as error:
        said = str(error)
        if not old and "reference already exists" in said:
            raise RefExists(f"{ref} exists already") from error
        if " but expected " in said or "unable to resolve reference" in said:
            moved = re.search(r"ref '(\S+)'", said)
            raise RefMoved(f"{moved[1] if moved else ref} was changed by somebody else meanwhile") from error
        raise
