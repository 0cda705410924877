"""Linked work trees with the files of a code state: HEAD at the commit that it is based on, the edits uncommitted.

So git describes them as it does the user's own work tree, and no HEAD and no history has a commit that a tag of an
experiment is on.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experimenter import annex
from experimenter.codestate import Code, without_base
from experimenter.errors import ExperimenterError, GitFailed
from experimenter.plumbing import Repo, find_repo
from experimenter.status import GITLINK

# Its files are those of the code state alone, whatever the user has set for their own work tree.
EXACTLY = (
    "-c",
    "core.sparseCheckout=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "protocol.file.allow=always",
)
# Where HEAD is unborn since the code state has no base. It is a ref of this work tree alone (git-worktree(1)): a commit
# made there makes no branch in the user's repository, and goes with the work tree as one on a detached HEAD does.
_UNBORN = "refs/worktree/code"


def register(original: Repo, code: Code, place: Path) -> None:
    """Make a linked work tree without files at `place`. Raises ExperimenterError, with nothing left of it."""
    # By force, since whoever used a shared one before may have removed it.
    words = ("worktree", "add", "--force", "--detach", "--no-checkout", "--quiet", "--", str(place))
    try:
        original.git("-c", "worktree.useRelativePaths=false", *words, code.base or code.commit)
    except GitFailed as error:
        raise without_base(original, code) or error from error


def filled(place: Path, code: Code, *, branch: str = "") -> Repo:
    """Return the new linked work tree at `place` with the files of a code state.

    Without a base HEAD is on `branch`, which is not there yet; on none without one. Raises ExperimenterError.
    """
    private = find_repo(place)
    if not code.base:
        private.git("symbolic-ref", "HEAD", f"refs/heads/{branch}" if branch else _UNBORN)
    _fill(private, code)
    return private


def brought_back(place: Path, code: Code) -> Repo | None:
    """Return the linked work tree at `place` with the files of a code state, whatever was done in it.

    Return nothing if there is none, or if it cannot be brought back.
    """
    if not (place / ".git").exists():
        return None
    try:
        private = find_repo(place)
        _set_head(private, code)
        private.git("reset", "--quiet")  # which also ends a merge and the like
        private.git(*EXACTLY, "clean", "-ffdxq", index=code_index(private))
        _fill(private, code)
    except (ExperimenterError, OSError):  # a git was killed in it, or the command has made folders read-only
        return None
    return private


def code_index(private: Repo) -> Path:
    """Return the index of the code state as it was when its files had just been checked out.

    The index that a command finds there is that of the base; and what it does to that one does not reach ours.
    """
    return private.git_dir / "code-index"


def make_branch(repo: Repo, code: Code, name: str, *, message: str) -> None:
    """Make a branch with one new commit of a code state, by the user, on its base. Raises GitFailed."""
    base = ["-p", code.base] if code.base else []
    try:
        commit = repo.git("commit-tree", *base, "-m", message, code.tree).decode().strip()
    except GitFailed as error:
        raise without_base(repo, code) or error from error
    repo.git("-c", "core.logAllRefUpdates=true", "branch", "--no-track", "--", name, commit)


def _set_head(private: Repo, code: Code) -> None:
    if code.base:
        private.git("update-ref", "--no-deref", "HEAD", code.base)
    else:
        private.git("symbolic-ref", "HEAD", _UNBORN)
        private.git("update-ref", "-d", _UNBORN)


def _fill(private: Repo, code: Code) -> None:
    """Let a work tree have exactly the files of a code state, and the index of its base."""
    words = (*EXACTLY, *annex.settings(), "read-tree", "--reset", "-u", code.tree)
    private.git(*words, index=code_index(private))
    annex.fill(private, code_index(private))
    changes = list(_changes(private, code))
    if code.base:
        # With its very time: git does not trust what an index knows of a file that changed in the same moment.
        shutil.copy2(code_index(private), private.index)
    else:
        private.index.unlink(missing_ok=True)
    if changes and code.base:  # what is equal keeps what the index knows of its file, so that git need not read it
        private.git(*EXACTLY, "read-tree", "--reset", code.base)
    if changes:
        _keep_repositories(private, changes)
        _keep_ignored(private, [one.path for one in changes if one.is_new_file])


@dataclass(frozen=True, slots=True)
class _Change:
    """In what a path of a code state differs from its base; modes are zeros where there is nothing."""

    before: bytes
    after: bytes
    object: bytes
    path: bytes

    @classmethod
    def parse(cls, meta: bytes, path: bytes) -> Self:
        """Read what `git diff-tree --raw` says of a path."""
        before, after, _, oid, _ = meta.removeprefix(b":").split(b" ")
        return cls(before, after, oid, path)

    @property
    def is_new_file(self) -> bool:
        return not self.before.strip(b"0") and self.after != GITLINK


def _changes(repo: Repo, code: Code) -> Iterator[_Change]:
    sides = [code.base, code.commit] if code.base else ["--root", "--no-commit-id", code.commit]
    words = repo.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none", *sides).split(b"\0")
    return (_Change.parse(meta, path) for meta, path in zip(words[0::2], words[1::2], strict=False))


def _keep_repositories(private: Repo, changes: Sequence[_Change]) -> None:
    """Let the index say which folders are submodules as the code state does, or git would not see what is in them."""
    zeros = b"0" * len(changes[0].object)
    new = [one for one in changes if one.after == GITLINK != one.before]
    gone = [one for one in changes if one.before == GITLINK and not one.after.strip(b"0")]
    plain = [one for one in gone if any(other.path.startswith(one.path + b"/") for other in changes)]
    lines = [b"%s %s\t%s" % (GITLINK, one.object, one.path) for one in new]
    lines += [b"0 %s\t%s" % (zeros, one.path) for one in plain]
    if lines:
        private.git("update-index", "-z", "--replace", "--index-info", stdin=b"\0".join(lines))


def _keep_ignored(private: Repo, new: Sequence[bytes]) -> None:
    """Let the index know of new files that are ignored (git add --force): else they would be no code any more."""
    asked = b"\0".join(
        b"./" + path for path in new
    )  # a name may begin with a colon, which has a meaning (gitglossary(7))
    ignored = private.git("check-ignore", "-z", "--stdin", stdin=asked, expected=(0, 1)) if new else b""
    if ignored:
        words = ("add", "--intent-to-add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        private.git(*EXACTLY, *words, stdin=ignored.rstrip(b"\0"), env={"GIT_LITERAL_PATHSPECS": "1"})
