"""How many untracked files, and how much of them, may come new into the repository's objects at once."""

import re
import shlex
from collections.abc import Mapping, Sequence

from experimenter.errors import FilesRefused
from experimenter.limits import Limits
from experimenter.patterns import declaration, ignoring, patterns_for
from experimenter.plumbing import Repo
from experimenter.status import lstat
from experimenter.text import counted, quoted, readable_size, visible

_AT_ONCE = 5_000
_SHOWN = 5
_ODD = re.compile(rb'^"|[\r\n]')
_GIB = 1024**3

Sizes = Mapping[bytes, int]  # of files, in bytes, by their paths


def check(repo: Repo, sizes: Sizes, limits: Limits) -> None:
    """Raise FilesRefused, with the folders and the ways out, for more new untracked files than the limits let in.

    `sizes` are those of all untracked ones; which of them are new is only found out where all would be too many.
    """
    if limits.hold(len(sizes), sum(sizes.values())):
        return
    paths, known = list(sizes), set[bytes]()
    new_files = new_bytes = 0
    for start in range(0, len(paths), _AT_ONCE):
        there = paths[start : start + _AT_ONCE]
        new = _new_ones(repo, there)
        known.update(set(there) - set(new))
        new_files += len(new)
        new_bytes += sum(sizes[path] for path in new)
        if not limits.hold(new_files, new_bytes):
            raise _refusal(repo, {path: size for path, size in sizes.items() if path not in known}, limits)


def _new_ones(repo: Repo, paths: Sequence[bytes]) -> list[bytes]:
    """Return those of some files whose content, as git would store it, is not among the repository's objects."""
    paths = [path for path in paths if lstat(repo, path)]  # the others have gone meanwhile
    if not paths:
        return []
    lines = [quoted(path).encode() if _ODD.search(path) else path for path in paths]
    names = repo.git("hash-object", "--stdin-paths", stdin=b"\n".join(lines) + b"\n")
    answers = repo.git("cat-file", "--batch-check", stdin=names).split(b"\n")
    return [path for path, answer in zip(paths, answers, strict=False) if answer.endswith(b" missing")]


def _refusal(repo: Repo, sizes: Sizes, limits: Limits) -> FilesRefused:
    """Return the error about files that may all be new."""
    tracked = repo.git("ls-files", "-z").split(b"\0")[:-1]
    found = patterns_for(sizes, tracked)
    weights = {pattern: sum(map(sizes.__getitem__, paths)) for pattern, paths in found.items()}
    total = sum(sizes.values())
    by_weight = sorted(found, key=lambda one: len(found[one]) / max(1, len(sizes)) + weights[one] / max(1, total))[::-1]
    most = by_weight[:_SHOWN]
    shown = [f"{visible(one)}: {counted(len(found[one]), 'file')}, {readable_size(weights[one])}" for one in most]
    more = [f"and {counted(len(found) - len(most), 'other place')}"] if len(found) > len(most) else []
    ways = [
        *(_ignore_line(repo, pattern) for pattern in most),
        *map(declaration, most),
        *(
            [f"git config experimenter.maxNewFiles {_rounded_up(len(sizes))}"]
            if len(sizes) > limits.max_new_files
            else []
        ),
        *([f"git config experimenter.maxNewSize {-(-total // _GIB)}G"] if total > limits.max_new_size_bytes else []),
    ]
    message = (
        f"{counted(len(sizes), 'untracked file')}, {readable_size(total)}, are too many to be stored; ignore them,"
        " declare those that programs write, or let more in"
    )
    return FilesRefused(message, details=[*shown, *more, "one of these lines does that:", *ways])


def _ignore_line(repo: Repo, pattern: str) -> str:
    """Return the shell's line that lets git ignore what a pattern matches, from the folder that we are in."""
    file = "../" * repo.prefix.count(b"/") + ".gitignore"
    line = ignoring(pattern)
    try:
        is_open = (repo.top / ".gitignore").read_bytes()[-1:] not in (b"\n", b"")
    except OSError:
        is_open = False
    if is_open or "\\" in line:
        start = r"\n" if is_open else ""
        return rf"printf '{start}%s\n' {shlex.quote(line)} >> {file}"
    return f"echo {shlex.quote(line) if shlex.quote(line) != line else repr(line)} >> {file}"


def _rounded_up(count: int) -> int:
    """Return a number of two significant digits that is not smaller."""
    scale: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // scale) * scale
