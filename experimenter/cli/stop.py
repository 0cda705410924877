"""The command that stops what runs: stop."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_running
from experimenter.cli.main import find_current_repo, settle_leftovers, show_error, speak
from experimenter.cli.printing import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from experimenter.cluster import Cancelled
    from experimenter.entry import Entry
    from experimenter.errors import NotStopped
    from experimenter.jobs import Job
    from experimenter.stop import Stopped

_ENDING_S = 60.0  # that a sweep has to end when its cells are gone


@click.command("stop")
@click.argument("experiments", metavar="[EXP]...", nargs=-1, shell_complete=complete_running)
@click.option("--all", "everything", is_flag=True, help="Stop everything that runs here.")
@click.option("--grace", metavar="SECONDS", help="Time between asking and killing (default: that of the run, else 10).")
@click.option("--keep", is_flag=True, help="Keep the tag, as 'stopped', with what results there are.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON array of what was stopped; a sweep has just the key 'sweep'.",
)
def stop_command(experiments: tuple[str, ...], everything: bool, grace: str | None, keep: bool, as_json: bool) -> int:
    """Stop running experiments, with every process of them.

    Asks each process with SIGTERM, and kills what is left after the grace. Returns when the whole
    process tree is gone, and the tag removed (or kept). EXP is a tag, an id, the start of an id (4
    or more digits), or a name that only one running experiment bears; or the id of a sweep, which
    stops with all its cells.

    \b
    Examples:
      experimenter stop baseline
      experimenter stop --all --grace 60 --keep
    """  # noqa: D301 - \b is click's mark
    if bool(experiments) == everything:
        raise click.UsageError("name the experiments to stop, or give --all", click.get_current_context())
    speak()
    from experimenter.plumbing import config
    from experimenter.settings import Settings, seconds
    from experimenter.stop import stop

    grace_s = None if grace is None else seconds(grace, option="--grace")
    repo = find_current_repo()
    settle_leftovers(repo)
    settings = Settings.from_config(config(repo))
    chosen = _Chosen()
    if everything:
        _choose_all(repo, chosen)
    for word in experiments:
        _choose(repo, word, chosen)
    report = _Report(stopped=[] if as_json else None, failed=chosen.failed)
    try:
        for outcome in stop(repo, chosen.entries.values(), settings, grace_s=grace_s, keep=keep):
            report.tell(outcome, _sentence)
        if chosen.jobs:
            from experimenter.cluster import cancel

            for cancelled in cancel(repo, chosen.jobs, grace_s=grace_s, keep=keep):
                report.tell(cancelled, _sentence_of_job)
        for sweep in chosen.sweeps:
            report.tell(_ended(repo, sweep), _sentence_of_sweep)
    finally:
        if report.stopped is not None:
            print_json(report.stopped)
    return 1 if report.failed else 0


@dataclass(slots=True)
class _Chosen:
    """What is to be stopped: experiments that run here, sweeps, jobs on a cluster; `failed` if a word means nothing."""

    entries: "dict[str, Entry]" = field(default_factory=dict)
    sweeps: list[str] = field(default_factory=list)
    jobs: "list[Job]" = field(default_factory=list)
    failed: bool = False


def _choose_all(repo: Any, chosen: _Chosen) -> None:
    from experimenter import jobs, running, sweeps
    from experimenter.state import StateFolder

    chosen.jobs = jobs.alive(StateFolder.of(repo))
    chosen.sweeps = sweeps.alive_here(repo)
    sweeps.ask_to_stop(repo, chosen.sweeps)
    submitted = {job.tag for job in chosen.jobs}
    here = [entry for entry in running.entries(repo) if not entry.is_elsewhere and entry.tag not in submitted]
    chosen.entries = {entry.tag: entry for entry in here}
    if not (chosen.entries or chosen.sweeps or chosen.jobs):
        click.echo("Note: nothing runs here", err=True)


def _choose(repo: Any, word: str, chosen: _Chosen) -> None:
    """Add what a word means."""
    from experimenter import jobs, running, sweeps
    from experimenter.errors import ExperimenterError, NotStopped
    from experimenter.state import StateFolder

    submitted: list[Job] = []
    if jobs.alive(StateFolder.of(repo)):
        from experimenter.cluster import named

        submitted = named(repo, word)
        chosen.jobs += [job for job in submitted if job not in chosen.jobs]
    if sweep := sweeps.named(repo, word):
        sweeps.ask_to_stop(repo, [sweep])
        here = [one for one in sweeps.cells(repo, sweep) if not (one.is_elsewhere or one.pid_file.job)]
        if (here or not submitted or sweep in sweeps.alive_here(repo)) and sweep not in chosen.sweeps:
            chosen.sweeps.append(sweep)
        chosen.entries |= {entry.tag: entry for entry in here}
    if sweep or submitted:
        return
    try:
        entry = running.chosen(repo, word)
        chosen.entries[entry.tag] = entry
    except ExperimenterError as error:
        ended = sweeps.named(repo, word, ended=True)
        show_error(NotStopped(f"the sweep {ended} does not run; 'experimenter ps' shows what does") if ended else error)
        chosen.failed = True


@dataclass(frozen=True, slots=True)
class _Sweep:
    """A sweep that was stopped."""

    id: str

    def to_json(self) -> dict[str, str]:
        """Return what `stop --json` prints of it."""
        return {"sweep": self.id}


def _ended(repo: Any, sweep: str) -> "_Sweep | NotStopped":
    """Wait until a sweep has ended whose cells are gone."""
    from experimenter import sweeps
    from experimenter.errors import NotStopped

    try:
        sweeps.wait_for_end(repo, sweep, timeout_s=_ENDING_S)
    except NotStopped as error:
        return error
    return _Sweep(sweep)


@dataclass(slots=True)
class _Report:
    """How the stops ended: told one by one, or `stopped` together as JSON; `failed` if one was none."""

    stopped: list[Any] | None
    failed: bool

    def tell(self, outcome: Any, sentence: "Callable[[Any], str]") -> None:
        """Print how a stop ended, or keep it for the end."""
        from experimenter.errors import ExperimenterError

        if isinstance(outcome, ExperimenterError):
            show_error(outcome)
            self.failed = True
        elif self.stopped is None:
            click.echo(sentence(outcome))
        else:
            self.stopped.append(outcome.to_json())


def _sentence_of_sweep(sweep: _Sweep) -> str:
    """Say that a sweep has ended."""
    return f"stopped the sweep {sweep.id}; the same line again goes on with it"


def _sentence_of_job(cancelled: "Cancelled") -> str:
    """Say how a job ended."""
    tag = "its tag is kept" if cancelled.is_kept else "its tag was removed"
    return f"stopped {cancelled.tag} ({cancelled.id}): its job was cancelled; {tag}"


def _sentence(stopped: "Stopped") -> str:
    """Say how a stop ended."""
    how = "it ended when asked" if stopped.is_ours else "another stop ended it"
    if stopped.killed_after_s is not None:
        how = f"it was killed after {stopped.killed_after_s:g} s"
    tag = "its tag is kept" if stopped.is_kept else "its tag was removed"
    if stopped.is_kept is None:
        tag = "its tag follows when this command has ended, too"
    return f"stopped {stopped.tag} ({stopped.id}): {how}; {tag}"
