"""The command `experimenter` itself: its own options, and the one place where errors become text and exit statuses."""

import contextlib
import gc
import os
import signal
import sys
from typing import Any, NoReturn

import click

from experimenter import __version__, ahead
from experimenter.cli.completion import ASKED, answer, complete_folder
from experimenter.cli.verbs import Verbs
from experimenter.errors import ExperimenterError, Interrupted

_EXIT_OF_RUN = 125
_EPIPE_STATUS = 141  # as a program that dies of SIGPIPE


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-C", "directories", metavar="DIR", multiple=True, shell_complete=complete_folder,
    help="Run as if started in DIR.",
)  # fmt: skip
@click.version_option(__version__, prog_name="experimenter", message="%(prog)s %(version)s")
def experimenter(directories: tuple[str, ...]) -> None:
    """Record every run of a program with the exact code that ran, as a git tag.

    Without a command: list the experiments ('experimenter list --help').

    \b
    Examples:
      experimenter run --name baseline -p lr=0.1 -- python train.py
      experimenter                     all experiments
      experimenter -c HEAD             those on exactly the code of HEAD
      experimenter show baseline       everything about one
      experimenter ps                  what runs now
    """  # noqa: D301 - \b is click's mark
    for directory in directories:
        try:
            os.chdir(directory)
        except OSError as error:
            raise ExperimenterError(f"cannot go to {directory}: {error.strerror}") from error


def main() -> NoReturn:
    """Run the command line and exit: 0 when it did its work, 1 when it failed, 2 for wrong usage; `run` has its own."""
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C just ends us; what has to be tidied up says so itself
    if os.environ.get(ASKED):
        answer(experimenter)
    try:
        status = experimenter.main(prog_name="experimenter", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our stdout has gone: nothing more to say, also not when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _EPIPE_STATUS
    except Interrupted as interrupt:
        from experimenter.signals import die_of

        die_of(interrupt.signum)
        status = 128 + interrupt.signum  # the first process of a container does not die of signals
    except (click.ClickException, ExperimenterError, OSError) as error:
        status = _fail(error)
    gc.freeze()  # else the interpreter's end walks through all that goes with it anyway
    sys.exit(status if isinstance(status, int) else 0)


def _fail(error: click.ClickException | ExperimenterError | OSError) -> int:
    """Show an error; return the exit status."""
    status = show_error(error)
    is_about_command = status in (126, 127)
    return _EXIT_OF_RUN if _is_run() and not is_about_command else status


def show_error(error: click.ClickException | ExperimenterError | OSError) -> int:
    """Show an error in one line, with what belongs to it below; return the exit status that belongs to it."""
    from experimenter.text import visible

    details: tuple[str, ...] = ()
    if isinstance(error, click.ClickException):
        status = error.exit_code
        context = getattr(error, "ctx", None)
        hint = f"; see '{context.command_path} --help'" if context else ""
        message = " ".join(error.format_message().split()).rstrip(".") + hint
    elif isinstance(error, ExperimenterError):
        status, message, details = error.exit_status, error.message, error.details
    else:
        status = 1
        message = f"{error.filename}: {_reason(error)}" if error.filename else str(error.strerror or error)
    if os.environ.get("EXPERIMENTER_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    _say("\n".join([f"Error: {visible(message)}", *(f"  {visible(detail)}" for detail in details)]))
    return status


def _reason(error: OSError) -> str:
    """Return what the system says of a file; of one in a state folder that is another user's, whose it is."""
    from pathlib import Path

    from experimenter.ownership import STATE, way_out

    path = Path(os.fsdecode(error.filename))
    is_ours = STATE in path.parts and isinstance(error, PermissionError)
    return way_out(error, path) if is_ours else str(error.strerror)


def _say(text: str) -> None:
    """Print on stderr; one that nobody reads, or that is full, changes nothing."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _is_run() -> bool:
    """Say whether the command that failed is `run`, also where its options could not be read."""
    words = iter(sys.argv[1:])
    for word in words:
        if word == "-C":
            next(words, None)
        elif not word.startswith("-C"):
            return word in ("run", "rerun")
    return False


def _open_standard_streams() -> None:
    """Give the place of a standard stream that is closed to /dev/null, before another file gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115 - Python has none for a closed descriptor
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def speak(*, only_warnings: bool = False) -> None:
    """Let what the levels below have to tell appear on stderr, as `Note: …` and `Warning: …`."""
    from experimenter import notices

    notices.speak(_say, only_warnings=only_warnings)


def find_current_repo() -> Any:
    """Return the repository that we are in."""
    from pathlib import Path

    from experimenter.plumbing import find_repo

    return find_repo(Path())


def settle_leftovers(repo: Any) -> None:
    """Settle what a crash left behind, before we look at what is there."""
    from experimenter.state import StateFolder

    state = StateFolder.of(repo)
    if state.is_idle:
        return
    from experimenter.settle import settle  # with all that it takes, a tenth of the time of a short list

    ahead.forget()
    settle(repo)
    if state.has_jobs:
        from experimenter.cluster import settle_jobs

        settle_jobs(repo)
