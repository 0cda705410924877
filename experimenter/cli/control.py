"""Commands for experiments that are alive, or just were: ps, stop, logs, wait."""

import sys
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_known, complete_running
from experimenter.cli.main import find_current_repo, settle_leftovers, show_error, speak
from experimenter.cli.printing import paint, print_json, print_lines, table_width

if TYPE_CHECKING:
    from experimenter.entry import Entry
    from experimenter.stop import Stopped

_ENDING_S = 60.0  # that a sweep has to end when its cells are gone


@click.command("ps")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def ps_command(as_json: bool) -> None:
    """List the experiments of this repository that run now.

    CPU and memory are those of the whole process tree, 100% being one core. An experiment is
    'orphaned' when the process that started it was killed and only its command still lives. Those
    of other hosts, on a shared file system, are listed as these hosts left them.

    \b
    Example:
      experimenter ps
    """  # noqa: D301 - \b is click's mark
    speak()
    from experimenter import running, sweeps
    from experimenter.render.running import table_of_running, table_of_sweeps

    repo = find_current_repo()
    settle_leftovers(repo)
    found = running.running(repo)
    workers = sweeps.workers(repo)
    if not running.is_readable(repo):
        click.echo("Warning: what another user runs here is not shown; only they may read it", err=True)
    if as_json:
        print_json([one.to_json() for one in found])
    elif found or workers:
        lines = table_of_running(found, width=table_width(), paint=paint) if found else []
        gap = [""] if found and workers else []
        print_lines(repo, [*lines, *gap, *table_of_sweeps(workers, width=table_width(), paint=paint)])
    else:
        click.echo("Note: nothing runs here", err=True)


@click.command("stop")
@click.argument("experiments", metavar="[EXP]...", nargs=-1, shell_complete=complete_running)
@click.option("--all", "everything", is_flag=True, help="Stop everything that runs here.")
@click.option("--grace", metavar="SECONDS", help="Time between asking and killing (default: that of the run, else 10).")
@click.option("--keep", is_flag=True, help="Keep the tag, as 'stopped', with what results there are.")
def stop_command(experiments: tuple[str, ...], everything: bool, grace: str | None, keep: bool) -> int:
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
    from experimenter import running, sweeps
    from experimenter.errors import ExperimenterError
    from experimenter.plumbing import config
    from experimenter.settings import Settings, seconds
    from experimenter.stop import stop

    grace_s = None if grace is None else seconds(grace, option="--grace")
    repo = find_current_repo()
    settle_leftovers(repo)
    settings = Settings.from_config(config(repo))
    failed = False
    chosen: dict[str, Entry] = {}
    halted = sweeps.ask_to_stop(repo, [sweep for word in experiments if (sweep := sweeps.named(repo, word))])
    if everything:
        halted = sweeps.ask_to_stop(repo, sweeps.alive_here(repo))
        chosen = {entry.tag: entry for entry in running.entries(repo) if not entry.is_elsewhere}
        if not chosen and not halted:
            click.echo("Note: nothing runs here", err=True)
    chosen |= {entry.tag: entry for sweep in halted for entry in sweeps.cells(repo, sweep) if not entry.is_elsewhere}
    for word in experiments:
        if sweeps.named(repo, word) in halted:
            continue
        try:
            entry = running.chosen(repo, word)
            chosen[entry.tag] = entry
        except ExperimenterError as error:
            show_error(error)
            failed = True
    for outcome in stop(repo, chosen.values(), settings, grace_s=grace_s, keep=keep):
        if isinstance(outcome, ExperimenterError):
            show_error(outcome)
            failed = True
        else:
            click.echo(_sentence(outcome))
    for sweep in halted:
        failed |= not _has_ended(repo, sweep)
    return 1 if failed else 0


@click.command("logs")
@click.argument("experiment", metavar="EXP", shell_complete=complete_known)
@click.option("-f", "--follow", is_flag=True, help="Go on until the experiment has ended.")
@click.option("--raw", is_flag=True, help="Print every byte, also what progress bars have drawn over.")
def logs_command(experiment: str, follow: bool, raw: bool) -> None:
    """Print the output of an experiment, while it runs or afterwards.

    Progress bars that draw over their line are shown in their last state. EXP is a tag, an id, the
    start of an id (4 or more digits), or a name; also one that failed, as long as its log is kept;
    or the id of a sweep in the background.

    \b
    Examples:
      experimenter logs -f baseline
      experimenter logs 1f3a --raw > output.txt
    """  # noqa: D301 - \b is click's mark
    from experimenter import logs, running, sweeps

    repo = find_current_repo()
    if sweep := sweeps.named(repo, experiment, ended=True):
        pieces = logs.read_sweep(repo, sweep, follow=follow)
    else:
        pieces = logs.read(repo, running.located(repo, experiment), follow=follow)
    is_terminal = sys.stdout.isatty()
    for piece in pieces if raw else logs.collapsed(pieces, redraws=is_terminal and follow):
        if piece:
            sys.stdout.buffer.write(piece)
        else:
            sys.stdout.buffer.flush()


@click.command("wait")
@click.argument("experiment", metavar="EXP", shell_complete=complete_known)
def wait_command(experiment: str) -> int:
    """Wait for the end of an experiment, and exit as its command did.

    EXP is a tag, an id, the start of an id (4 or more digits), or a name that only one bears; or the
    id of a sweep, whose exit status is 0 if every cell succeeded.

    \b
    Example:
      experimenter wait 1f3a && echo done
    """  # noqa: D301 - \b is click's mark
    from experimenter import sweeps
    from experimenter.running import wait

    repo = find_current_repo()
    sweep = sweeps.named(repo, experiment, ended=True)
    return sweeps.wait_for_end(repo, sweep) if sweep else wait(repo, experiment)


def _has_ended(repo: Any, sweep: str) -> bool:
    """Say how a sweep ended, which somebody stops, and whether it did."""
    from experimenter import sweeps
    from experimenter.errors import NotStopped

    try:
        sweeps.wait_for_end(repo, sweep, timeout_s=_ENDING_S)
    except NotStopped as error:
        show_error(error)
        return False
    click.echo(f"stopped the sweep {sweep}; the same line again goes on with it")
    return True


def _sentence(stopped: "Stopped") -> str:
    """Say how a stop ended."""
    how = "it ended when asked" if stopped.is_ours else "another stop ended it"
    if stopped.killed_after_s is not None:
        how = f"it was killed after {stopped.killed_after_s:g} s"
    tag = "its tag is kept" if stopped.is_kept else "its tag was removed"
    if stopped.is_kept is None:
        tag = "its tag follows when this command has ended, too"
    return f"stopped {stopped.tag} ({stopped.id}): {how}; {tag}"
