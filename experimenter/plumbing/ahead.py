"""Asks git early: while Python still imports what a command needs, git answers what that command asks first.

GitPython alone takes as long to import as git to list 100,000 refs. Only the command line asks ahead, about the
repository that it stands in; whoever changes refs before they are read calls `forget`.
"""

import os

_begun: dict[tuple[str | bytes, ...], tuple[int, int]] = {}  # the words, with the process and the file for its stdout


def begin(command: list[str], words: tuple[str | bytes, ...], env: dict[str, str]) -> None:
    """Start a command that `answer` will know by its words; do nothing where the system has no files in memory."""
    if not hasattr(os, "memfd_create"):
        return
    stdout = os.memfd_create("experimenter")
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        _begun[words] = os.posix_spawnp(command[0], command, env, file_actions=streams), stdout
    except OSError:  # who asks again is told why
        os.close(stdout)


def answer(words: tuple[str | bytes, ...]) -> bytes | None:
    """Return, once, what a command that was begun has printed; nothing if none was, or if it failed."""
    begun = _begun.pop(words, None)
    if begun is None:
        return None
    pid, stdout = begun
    _, status = os.waitpid(pid, 0)
    with os.fdopen(stdout, "rb") as file:
        file.seek(0)
        return None if status else file.read()


def forget() -> None:
    """Drop what was begun: something has changed since."""
    for words in list(_begun):
        answer(words)
