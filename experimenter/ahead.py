"""What git is asked about all tags, and how it is asked early: it answers while Python still imports the rest.

GitPython alone takes as long to import as git to list 100,000 refs. Only the command line asks ahead, of the repository
that it stands in; whoever changes refs before they are read calls `forget`.
"""

import os
from typing import NamedTuple

# Set inside git hooks and aliases: git would quietly answer for another repository, index or object store.
INHERITED = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ATTR_SOURCE", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR",
    "GIT_EXTERNAL_DIFF", "GIT_GLOB_PATHSPECS", "GIT_GRAFT_FILE", "GIT_ICASE_PATHSPECS", "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_INDEX_VERSION", "GIT_LITERAL_PATHSPECS", "GIT_NAMESPACE", "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)  # fmt: skip


class Question(NamedTuple):
    """Words for git, with what it reads and variables of its environment."""

    words: tuple[str, ...]
    stdin: bytes = b""
    env: tuple[tuple[str, str], ...] = ()


# This takes git a third of the time of for-each-ref, which sorts.
NAMES = Question(("rev-parse", "--symbolic", "--glob=refs/tags/exp_*"))
OBJECTS = Question(("for-each-ref", "--format=%(objectname) %(refname:strip=2)", "refs/tags/exp_*"))
# What each tag is on stands in packed refs: what serves a fetch tells it, asked by gitprotocol-v2(5), in two thirds of
# the time and the bytes of `show-ref --dereference`. It fails below the top of a work tree, with SHA-256, and for some
# versions of git in a repository of another user that safe.directory names.
COMMITS = Question(
    ("-c", "uploadpack.hideRefs=!refs/tags", "upload-pack", "--stateless-rpc", "."),
    b"0014command=ls-refs\n00010009peel\n001eref-prefix refs/tags/exp_\n0000",
    (("GIT_PROTOCOL", "version=2"),),
)

_begun: dict[Question, tuple[int, int]] = {}  # with the process and the file for its stdout


def ask(question: Question) -> None:
    """Let git begin with what it will be asked; do nothing where that can't be done aside.

    That is in a hook or an alias of git's, whose variables may speak of another repository, or where the system has no
    files in memory (memfd_create(2)).
    """
    if any(name in os.environ for name in INHERITED) or not hasattr(os, "memfd_create"):
        return
    stdin, stdout = os.memfd_create("experimenter"), os.memfd_create("experimenter")
    os.pwrite(stdin, question.stdin, 0)
    streams = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        env = {**os.environ, **dict(question.env)}
        _begun[question] = os.posix_spawnp("git", ["git", *question.words], env, file_actions=streams), stdout
    except OSError:  # who asks again is told why
        os.close(stdout)
    os.close(stdin)


def answer(question: Question) -> bytes | None:
    """Return, once, what git has answered to what it was asked ahead; nothing if it was not, or could not."""
    begun = _begun.pop(question, None)
    if begun is None:
        return None
    pid, stdout = begun
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:  # SIGCHLD is ignored, and nobody knows how it ended
        status = 1
    with os.fdopen(stdout, "rb", buffering=0) as file:
        file.seek(0)
        return None if status else file.read()


def forget() -> None:
    """Drop what was asked ahead: something has changed since."""
    for question in list(_begun):
        answer(question)
