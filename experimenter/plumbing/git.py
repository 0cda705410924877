"""The one door to git: finds the repository, runs git's commands on it, and turns their failures into errors."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experimenter import ahead
from experimenter.errors import ExperimenterError, GitFailed, GitMissing, GitTooOld, NotAWorkTree
from experimenter.plumbing.complaints import Unread, first_complaint, refuse, unread, warnings
from experimenter.text import quoted, visible

_log = logging.getLogger("experimenter")

OLDEST_GIT = (2, 30)

_ENVIRONMENT = {
    "GIT_NO_REPLACE_OBJECTS": "1",  # a replaced parent would give equal code another SHA on another machine
    "GIT_OPTIONAL_LOCKS": "0",  # nobody's index.lock is taken
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",  # of messages alone: what git says is read
}
_SETTINGS = (
    "core.fsmonitor=false",  # neither started nor believed
    "core.ignoreStat=false",  # or files that are stored through a scratch index would never look modified again
    "core.logAllRefUpdates=false",
    "core.filesRefLockTimeout=10000",  # milliseconds that git waits for other writers of refs
    "core.packedRefsTimeout=10000",
    "core.safecrlf=false",
    "diff.orderFile=/dev/null",
    "core.splitIndex=false",  # or a scratch index would leave a shared one in the user's folder
    "core.trustctime=true",  # with these three an edit of equal size and time would hide, or a file in an old folder
    "core.checkStat=default",
    "core.untrackedCache=false",
)
_CASES_COUNT = ("-c", "core.ignoreCase=false")
_ASIDE = (  # for what does not speak with a remote
    "core.hooksPath=/dev/null",  # git update-ref has a hook, too
    # Storing 200 MB takes 1.3 s and 4 MB of memory with these three, 5.9 s and 209 MB without.
    "core.bigFileThreshold=1m",
    "core.looseCompression=1",
    "pack.compression=0",
)
_GIT_MISSING = "git cannot be executed; install git 2.30 or later, or put it on the PATH"
_PIPE = -1  # subprocess.PIPE
_LITTLE_BYTES = 64 * 1024  # less than this on a disk counts as none
_LAYOUT_SEPARATOR = "--=layout="  # git rev-parse prints an option that it doesn't know as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A git work tree: its top, its own git directory and the common one, and the way from the top to where we are.

    `prefix` is empty at the top, else ends in a slash. With `objects_aside` new objects go into that folder.
    """

    top: Path
    git_dir: Path
    common_dir: Path
    prefix: bytes
    objects_aside: Path | None = None

    @property
    def index(self) -> Path:
        """The user's index, which is only read."""
        return self.git_dir / "index"

    def git(
        self,
        *words: str | bytes,
        stdin: bytes | None = None,
        index: Path | None = None,
        env: Mapping[str, str] | None = None,
        expected: Iterable[int] = (0,),
        runs_hooks: bool = False,
        timeout_s: float | None = None,
    ) -> bytes:
        """Run a git command at the top of the work tree, on `index` where one is given; return its stdout.

        None of the user's hooks runs unless `runs_hooks`. Raises GitFailed, with what git said, when it ends with a
        status that is not `expected`, and TimedOut.
        """
        env = {**(env or {}), **self._places(index)}
        words = words if self._ignores_case else (*_CASES_COUNT, *words)
        stdout, _ = run(
            self.top, words, stdin=stdin, env=env, expected=expected, runs_hooks=runs_hooks, timeout_s=timeout_s
        )
        return stdout

    def look(
        self, *words: str | bytes, stdin: bytes | None = None, index: Path | None = None
    ) -> tuple[bytes, list[Unread]]:
        """Run a git command that looks at the work tree, as `git` does; return its stdout, and what it could not read.

        What else it warns of is passed on, once. Raises FilesUnreadable where it fails for what it could not read.
        """
        words = words if self._ignores_case else (*_CASES_COUNT, *words)
        try:
            stdout, said = run(self.top, words, stdin=stdin, env=self._places(index))
        except GitFailed as error:
            refuse(unread(self.top, error.said))
            raise
        if not said:
            return stdout, []
        for warning in warnings(self.top, said):
            _warn_once(warning)
        return stdout, unread(self.top, said)

    def _places(self, index: Path | None) -> dict[str, str]:
        """Return the environment in which git finds an index, and puts new objects, where it should."""
        env = {"GIT_INDEX_FILE": str(index)} if index else {}
        if self.objects_aside:
            # A path in quotes may have a colon in it (GIT_ALTERNATE_OBJECT_DIRECTORIES in git(1)).
            theirs = quoted(os.fsencode(self.common_dir / "objects"))
            env |= {"GIT_OBJECT_DIRECTORY": str(self.objects_aside), "GIT_ALTERNATE_OBJECT_DIRECTORIES": theirs}
        return env

    @property
    def _ignores_case(self) -> bool:
        """Whether the disk takes `a` and `A` for one name: git asks it so, too, when it makes a repository."""
        has_git = os.path.lexists(self.top / ".git")  # not where core.worktree leads here
        return _is_one_file(self.top, ".git", ".GIT") if has_git else _is_one_file(self.git_dir, "config", "CoNfIg")

    def ask(self, question: ahead.Question) -> bytes:
        """Return the answer of git, which may have been asked ahead. Raises GitFailed."""
        answer = ahead.answer(question)
        return self.git(*question.words, stdin=question.stdin, env=dict(question.env)) if answer is None else answer


def find_repo(directory: Path) -> Repo:
    """Return the repository whose work tree has `directory` in it.

    Raises NotAWorkTree, also for a bare repository and one that git holds for unsafe, and GitTooOld.
    """
    try:
        directory = directory.resolve(strict=True)  # where git itself starts from when it says `../.git`
    except OSError as error:
        raise NotAWorkTree(
            f"cannot go to {visible(str(directory))}: {error.strerror}; go to a folder that is there"
        ) from error
    if version() < OLDEST_GIT:
        raise GitTooOld(f"git {'.'.join(map(str, version()))} is too old; experimenter needs git 2.30 or later")
    questions = ("--show-toplevel", "--absolute-git-dir", "--git-common-dir", "--show-prefix")
    words = [word for question in questions for word in (question, _LAYOUT_SEPARATOR)]
    try:
        answer, _ = run(directory, ["rev-parse", *words])
    except GitFailed as error:
        raise _no_work_tree(directory, str(error)) from error
    top, git_dir, common_dir, prefix, _ = answer.split(f"\n{_LAYOUT_SEPARATOR}\n".encode())
    return Repo(
        top=Path(os.fsdecode(top)),
        git_dir=Path(os.fsdecode(git_dir)),
        common_dir=Path(os.path.normpath(directory / os.fsdecode(common_dir))),
        prefix=prefix,
    )


@cache
def version() -> tuple[int, ...]:
    """Return the version of git. Raises GitMissing."""
    return tuple(_gitpython().version_info)


def tree_of(repo: Repo, revision: str) -> str:
    """Return the tree of any revision that git accepts; raise ExperimenterError for one that it doesn't."""
    try:
        named = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision).decode().strip()
        return repo.git("rev-parse", "--verify", "--quiet", f"{named}^{{tree}}").decode().strip()
    except GitFailed as error:
        raise ExperimenterError(f"'{revision}' is no revision that git knows here") from error


def run(
    directory: Path,
    words: Sequence[str | bytes],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    expected: Iterable[int] = (0,),
    runs_hooks: bool = False,
    timeout_s: float | None = None,
) -> tuple[bytes, bytes]:
    """Run git with `words` in `directory` and return what it wrote on stdout and on stderr.

    Raises GitFailed for a status not `expected`, and TimedOut.
    """
    running = start(directory, words, env=env, runs_hooks=runs_hooks)
    process = running.proc
    try:
        stdout, stderr = process.communicate(stdin, timeout_s)
    except BaseException:  # a signal, or no more time
        process.terminate()
        process.wait()
        raise
    if process.returncode not in expected:
        error = _failure(directory, words, process.returncode, stderr.decode(errors="replace"))
        error.said = stderr
        raise error
    return stdout, stderr


def start(
    directory: Path, words: Sequence[str | bytes], *, env: Mapping[str, str] | None, runs_hooks: bool, **place: Any
) -> Any:
    """Start git, its standard streams being pipes, and return what has its Popen in `proc`, and ends it when it goes.

    `place` is for Popen.
    """
    inherited = [variable for variable in ahead.INHERITED if variable in os.environ]
    dropped = ["env", *(word for variable in inherited for word in ("-u", variable))] if inherited else []
    # GitPython sets LC_ALL=C, which the user's clean filters would inherit; an empty one counts as unset (POSIX).
    ours = {**_ENVIRONMENT, "LC_ALL": os.environ.get("LC_ALL", ""), **(env or {})}
    dropped += [f"{key}={value}" for key, value in ours.items()] if inherited else []
    settings = _settings(_SETTINGS, () if runs_hooks else _ASIDE)
    git = _gitpython()
    command = [*dropped, git.GIT_PYTHON_GIT_EXECUTABLE, "-C", str(directory), *settings, *words]
    from git.exc import GitCommandNotFound

    try:
        running = git.execute(command, env=ours, istream=_PIPE, as_process=True, **place)
    except GitCommandNotFound as error:
        raise GitMissing(_GIT_MISSING) from error
    return running


def _gitpython() -> Any:
    """Return GitPython's way to run git, imported when git is first needed: that takes 50 ms."""
    try:
        from git import Git  # not of git.cmd: another thread may be at the rest of the package
    except ModuleNotFoundError:
        raise
    except ImportError as error:  # GitPython starts git when it is imported
        raise GitMissing(_GIT_MISSING) from error
    return Git()


@cache
def _warn_once(warning: str) -> None:
    _log.warning("%s", warning)


def _settings(*groups: Sequence[str]) -> list[str]:
    return [word for group in groups for setting in group for word in ("-c", setting)]


def _failure(directory: Path, words: Sequence[str | bytes], status: int, stderr: str) -> GitFailed:
    """Return an error that leads with git's own first complaint; what else git said follows."""
    lines = [visible(line) for line in stderr.split("\n") if line and not line.startswith("hint:")]
    reason, rest = first_complaint(lines)
    verb = os.fsdecode(words[2 * words.count("-c")])
    if _disk_is_full(directory):  # of which git speaks in many ways, or not at all
        return GitFailed(f"git {verb} failed: No space left on device; free some and try again", details=lines)
    said = f"failed: {reason}" if reason else f"ended with status {status} and said nothing"
    return GitFailed(f"git {verb} {said}", details=rest)


def _is_one_file(folder: Path, name: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(folder / name), os.lstat(folder / other))
    except OSError:
        return False


def _disk_is_full(directory: Path) -> bool:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE_BYTES


def _no_work_tree(directory: Path, said: str) -> NotAWorkTree:
    shown = visible(str(directory))
    if "dubious ownership" in said or "unsafe repository" in said:
        return NotAWorkTree(
            f"the repository at {shown} belongs to another user; if you trust it:"
            f" git config --global --add safe.directory '{shown}'"
        )
    if "must be run in a work tree" in said:
        return NotAWorkTree(f"{shown} is in a bare repository or a .git folder; go to a work tree of it")
    if "not a git repository" in said:
        return NotAWorkTree(f"{shown} is in no git repository; go to one, or make one: git init")
    return NotAWorkTree(f"{shown}: {said}")
