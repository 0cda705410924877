"""The one door to git: finds the repository, runs git's commands on it, and turns their failures into errors."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experimenter import ahead
from experimenter.errors import ExperimenterError, GitFailed, GitMissing, GitTooOld, NotAWorkTree, RefExists, RefMoved
from experimenter.text import quoted, visible

OLDEST_GIT = (2, 30)
REF = "EXPERIMENTER_REF"  # in the environment of a git that changes a ref for us: which one

_ENVIRONMENT = {
    "GIT_NO_REPLACE_OBJECTS": "1",  # a replaced parent would give equal code another SHA on another machine
    "GIT_OPTIONAL_LOCKS": "0",  # nobody's index.lock is taken
    "GIT_TERMINAL_PROMPT": "0",
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
        env = {**(env or {}), **({"GIT_INDEX_FILE": str(index)} if index else {})}
        if self.objects_aside:
            # A path in quotes may have a colon in it (GIT_ALTERNATE_OBJECT_DIRECTORIES in git(1)).
            theirs = quoted(os.fsencode(self.common_dir / "objects"))
            env |= {"GIT_OBJECT_DIRECTORY": str(self.objects_aside), "GIT_ALTERNATE_OBJECT_DIRECTORIES": theirs}
        words = words if self._ignores_case else (*_CASES_COUNT, *words)
        return run(self.top, words, stdin=stdin, env=env, expected=expected, runs_hooks=runs_hooks, timeout_s=timeout_s)

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
    version = _gitpython().version_info
    if version < OLDEST_GIT:
        raise GitTooOld(f"git {'.'.join(map(str, version))} is too old; experimenter needs git 2.30 or later")
    questions = ("--show-toplevel", "--absolute-git-dir", "--git-common-dir", "--show-prefix")
    words = [word for question in questions for word in (question, _LAYOUT_SEPARATOR)]
    try:
        answer = run(directory, ["rev-parse", *words])
    except GitFailed as error:
        raise _no_work_tree(directory, str(error)) from error
    top, git_dir, common_dir, prefix, _ = answer.split(f"\n{_LAYOUT_SEPARATOR}\n".encode())
    return Repo(
        top=Path(os.fsdecode(top)),
        git_dir=Path(os.fsdecode(git_dir)),
        common_dir=Path(os.path.normpath(directory / os.fsdecode(common_dir))),
        prefix=prefix,
    )


def tree_of(repo: Repo, revision: str) -> str:
    """Return the tree of any revision that git accepts; raise ExperimenterError for one that it doesn't."""
    try:
        named = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision).decode().strip()
        return repo.git("rev-parse", "--verify", "--quiet", f"{named}^{{tree}}").decode().strip()
    except GitFailed as error:
        raise ExperimenterError(f"'{revision}' is no revision that git knows here") from error


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


def run(
    directory: Path,
    words: Sequence[str | bytes],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    expected: Iterable[int] = (0,),
    runs_hooks: bool = False,
    timeout_s: float | None = None,
) -> bytes:
    """Run git with `words` in `directory` and return its stdout.

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
        raise _failure(directory, words, process.returncode, stderr.decode(errors="replace"))
    assert isinstance(stdout, bytes)
    return stdout


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
    """Return GitPython's way to run git; it is imported when git is first needed, which takes 50 ms."""
    try:
        from git.cmd import Git
    except ModuleNotFoundError:
        raise
    except ImportError as error:  # GitPython starts git when it is imported
        raise GitMissing(_GIT_MISSING) from error
    return Git()


def _settings(*groups: Sequence[str]) -> list[str]:
    return [word for group in groups for setting in group for word in ("-c", setting)]


def _failure(directory: Path, words: Sequence[str | bytes], status: int, stderr: str) -> GitFailed:
    """Return an error that leads with git's own first complaint; what else git said follows."""
    lines = [visible(line) for line in stderr.split("\n") if line and not line.startswith("hint:")]
    reason, rest = first_complaint(lines)
    verb = os.fsdecode(words[2 * words.count("-c")])
    if _disk_is_full(directory):  # of which git speaks in many ways, or not at all
        return GitFailed(f"git {verb} failed: No space left on device; free some and try again", details=lines)
    if not reason:
        return GitFailed(f"git {verb} ended with status {status} and said nothing")
    return GitFailed(f"git {verb} failed: {reason}", details=rest)


def first_complaint(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Return git's own first complaint among what it and others said, empty if nobody did, and the other lines."""
    complaints = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    if not complaints:
        return "", []
    reason = complaints[0].partition(": ")[2] or complaints[0]
    return reason, [line for line in lines if line != complaints[0]]


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
