"""Every error that a user can act on, as one tree, with the exit status that belongs to it."""

from collections.abc import Iterable, Sequence

from experimenter.text import columns_of, visible

_SHOWN_BEFORE, _SHOWN_AFTER = 200, 60  # characters of a condition, around a mistake in it


class ExperimenterError(Exception):
    """Says in one line what failed, on what, and what to do.

    `details` are the paths or candidates that belong to it, one a line.
    """

    exit_status = 1

    def __init__(self, message: str, *, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.details])


class GitMissing(ExperimenterError):
    """There is no git that can be executed."""


class GitTooOld(ExperimenterError):
    """Git is there, but older than what we rely on."""


class NotAWorkTree(ExperimenterError):
    """The folder is not in the work tree of a git repository that we may read."""


class GitFailed(ExperimenterError):
    """A git command ended with a status that we did not expect; `said` is all that it wrote on stderr."""

    said = b""


class RefExists(GitFailed):
    """A ref that was to be created is there already."""


class RefMoved(GitFailed):
    """A ref no longer has the value that we read: somebody else wrote it."""


class FilesRefused(ExperimenterError):
    """Untracked files look too large, too many or too secret to be stored.

    `paths` are theirs, where programs may have written them; nobody's program writes secrets.
    """

    def __init__(self, message: str, *, details: Sequence[str] = (), paths: Sequence[bytes] = ()) -> None:
        super().__init__(message, details=details)
        self.paths = paths


class FilesUnreadable(FilesRefused):
    """Files of the work tree cannot be read, or git has no path for them."""


class BadName(ExperimenterError):
    """A name that cannot be part of a tag."""

    exit_status = 2


class BadParameters(ExperimenterError):
    """A parameter, or a file of them, that cannot be read."""

    exit_status = 2


class BadTemplate(ExperimenterError):
    """A word of a command that asks for a parameter that is not there, or has a brace too many."""

    exit_status = 2


class BadResults(ExperimenterError):
    """Results that are not one JSON object; the raw text is kept in `raw`."""

    def __init__(self, message: str, *, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class BadSetting(ExperimenterError):
    """An option or a `git config experimenter.*` with a value that cannot be read."""


class BadOption(BadSetting):
    """An option of the command line with a value that cannot be read."""

    exit_status = 2


class BadKey(ExperimenterError):
    """A key of records that could be several."""

    exit_status = 2


class BadCondition(ExperimenterError):
    """A condition that cannot be read, with a caret below the place where that shows."""

    exit_status = 2

    def __init__(self, reason: str, *, text: str, place: int) -> None:
        start, end = max(0, place - _SHOWN_BEFORE), place + _SHOWN_AFTER
        before = ("…" if start else "") + visible(text[start:place])
        after = visible(text[place:end]) + ("…" if end < len(text) else "")
        caret = " " * columns_of(before) + "^"
        super().__init__(f"cannot read the condition: {reason}", details=[before + after, caret])


class NotStorable(ExperimenterError):
    """A value that JSON cannot hold; the message names the path of its key."""


class NotARecord(ExperimenterError):
    """A tag's message is not a record."""


class NewerRecord(ExperimenterError):
    """A record was written by a later experimenter, with a schema that this one does not know."""


class CommandNotFound(ExperimenterError):
    """The command to run is not there."""

    exit_status = 127


class CommandNotExecutable(ExperimenterError):
    """The command to run is there, but the system does not execute it."""

    exit_status = 126


class StateUnwritable(ExperimenterError):
    """The folder for running experiments cannot be written."""


class ExperimentUnknown(ExperimenterError):
    """No experiment answers to a word."""

    def __init__(self, word: str, *, nearest: Iterable[str]) -> None:
        nearest = list(nearest)
        hint = "did you mean" if nearest else "'experimenter list' shows all"
        super().__init__(f"no experiment '{word}'; {hint}", details=nearest)


class ExperimentAmbiguous(ExperimenterError):
    """Several experiments answer to a word."""

    def __init__(self, word: str, *, candidates: Iterable[str]) -> None:
        super().__init__(f"'{word}' is ambiguous; give the tag or the id of one of", details=list(candidates))


class StatusUnknown(ExperimenterError):
    """An experiment has ended without leaving the exit status of its command."""


class NotStopped(ExperimenterError):
    """An experiment that was to be stopped does not run, or not where we may stop it, or does not go."""


class CellTaken(ExperimenterError):
    """A cell of a sweep is run by somebody else, or has been."""


class NoSlurm(ExperimenterError):
    """There is no Slurm here, or it does not take a job."""


class CannotRerun(ExperimenterError):
    """A record lacks what it takes to run its experiment again."""


class RecordContradicted(ExperimenterError):
    """A record names another code than the one that its tag is on."""


class NotRemoved(ExperimenterError):
    """An experiment that was to be removed runs, or nobody said that it may go."""


class LogMissing(ExperimenterError):
    """An experiment has no log, or none any more."""


class RemoteFailed(ExperimenterError):
    """A remote repository cannot be reached, or takes nothing; `details` are what git said of it."""


class TagBroken(RemoteFailed):
    """Objects that a tag needs are not there, or broken, so that git sends nothing that goes with it."""


class NotBroughtBack(RemoteFailed):
    """A remote repository did not take what became of an experiment; the repository on the node stays, and has it.

    By its exit status, EX_TEMPFAIL of sysexits.h, the submitting side knows.
    """

    exit_status = 75


class NotShared(ExperimenterError):
    """A remote repository did not take an experiment, or has another one under its tag."""


class PushTooLarge(ExperimenterError):
    """A push would send more than the user wants to leave at once."""


class ExtraMissing(ExperimenterError, ImportError):
    """A library that only some users need is not installed."""

    def __init__(self, library: str, *, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs {library}: pip install {library}")
        self.name = library


class Interrupted(BaseException):
    """A signal asked us to end before the command was started; `signum` says which.

    Like KeyboardInterrupt not an Exception, so that nothing but the clean-up on its way meets it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
