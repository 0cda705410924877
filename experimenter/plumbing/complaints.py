"""What a git that looks at a work tree says on stderr: which files it could not read, and what else it warns of."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experimenter.errors import FilesUnreadable
from experimenter.text import from_bytes, visible

_ERRNOS = (
    errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.ENOTCONN,
)  # fmt: skip
_REASON = b"(?P<reason>%s)$" % b"|".join(re.escape(os.strerror(number).encode()) for number in _ERRNOS)
_LOCKED = re.compile(
    rb"^(?:warning: could not open directory '(?P<folder>.+?)'|warning: unable to access '(?P<rules>.+?)'"
    rb'|error: (?:open|lstat|readlink)\("(?P<file>.+?)"\)|(?P<tracked>[^\n]+)): '
    + _REASON
    + rb"|^warning: (?:could not open directory|unable to access) '(?P<cut>[^\n]{3000,})$",  # by git, within 4 KB
    re.MULTILINE | re.DOTALL,  # a name may have a newline in it
)
_IMPOSSIBLE = re.compile(rb"^Ignoring path (?P<odd>.+)$", re.MULTILINE)
_WARNINGS = re.compile(rb"^(?:warning|error): (.+)$", re.MULTILINE)
_LONGEST_NAME = 500
_NO_PATH_FOR_GIT = "git takes no such path"


class Unread(NamedTuple):
    """A file, or a folder (ending in a slash), that could not be read or has no path for git, and why.

    The path is relative to the top, or absolute if it is elsewhere.
    """

    path: bytes
    reason: str


def unread(top: Path, said: bytes) -> list[Unread]:
    """Return what a git at the top of a work tree says that it could not read, each once."""
    found = [_unread(match) for match in _LOCKED.finditer(said) if _is_certain(top, match)]
    found += [Unread(match["odd"], _NO_PATH_FOR_GIT) for match in _IMPOSSIBLE.finditer(said)]
    return list(dict.fromkeys(found))


def warnings(top: Path, said: bytes) -> Iterator[str]:
    """Yield the lines in which git warns of something else."""
    rest = _LOCKED.sub(lambda match: b"" if _is_certain(top, match) else match[0], said)
    for match in _WARNINGS.finditer(rest):
        yield f"git says: {visible(from_bytes(match[1]))}"


def first_complaint(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Return git's own first complaint among what it and others said, empty if nobody did, and the other lines."""
    complaints = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    if not complaints:
        return "", []
    reason = complaints[0].partition(": ")[2] or complaints[0]
    return reason, [line for line in lines if line != complaints[0]]


def refuse(found: Sequence[Unread]) -> None:
    """Raise FilesUnreadable, with the list and the ways out, if there is something in it."""
    if found:
        what = "1 file or folder" if len(found) == 1 else f"{len(found)} files or folders"
        lines = [f"{_cut(visible(from_bytes(path)))} ({reason})" for path, reason in found]
        raise FilesUnreadable(f"git cannot read {what}; {', or '.join(_ways_out(found))}", details=lines)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _ways_out(found: Iterable[Unread]) -> Iterator[str]:
    reasons = {reason for _, reason in found}
    if reasons - {_NO_PATH_FOR_GIT, os.strerror(errno.ENAMETOOLONG)}:
        yield "let your user read them (chmod u+rX)"
    if reasons & {_NO_PATH_FOR_GIT, os.strerror(errno.ENAMETOOLONG)}:
        yield "give them other names"
    if not all(_is_of_rules(path) for path, _ in found):
        yield "add them to .gitignore"


def _is_of_rules(path: bytes) -> bool:
    return path.startswith(b"/") or path.rpartition(b"/")[2] in (b".gitignore", b".gitattributes", b"exclude")


def _unread(match: re.Match[bytes]) -> Unread:
    path = match["folder"] or match["rules"] or match["file"] or match["tracked"] or match["cut"]
    return Unread(path, match["reason"].decode() if match["reason"] else os.strerror(errno.ENAMETOOLONG))


def _is_certain(top: Path, match: re.Match[bytes]) -> bool:
    """Say whether git speaks of what is there, and not a filter of something else.

    Rules that nobody wrote may lie in a HOME that is another user's: git itself goes on without them.
    """
    path = top / os.fsdecode(_unread(match).path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return match["rules"] is None or not _is_default(match["rules"])
    return match["tracked"] is None and match["cut"] is None


def _is_default(rules: bytes) -> bool:
    home = os.environ.get("XDG_CONFIG_HOME") or Path(os.environ.get("HOME", ""), ".config")
    return Path(os.fsdecode(rules)).parent == Path(home, "git")
