"""Commands for experiments that are alive, or just were: ps, logs, wait."""

import sys
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_known
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import paint, print_json, print_lines, table_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from experimenter.jobs import JobState


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
    from experimenter.state import StateFolder

    repo = find_current_repo()
    settle_leftovers(repo)
    StateFolder.of(repo).drop_strays()
    found = running.running(repo, _job_states(repo))
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


@click.command("logs")
@click.argument("experiment", metavar="EXP", shell_complete=complete_known)
@click.option("-f", "--follow", is_flag=True, help="Go on until the experiment has ended.")
@click.option("--raw", is_flag=True, help="Print every byte, also what progress bars have drawn over.")
def logs_command(experiment: str, follow: bool, raw: bool) -> None:
    """Print the output of an experiment, also while it runs.

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
        meanwhile = _while_waiting(repo, experiment)
        pieces = logs.read(repo, running.located(repo, experiment), follow=follow, meanwhile=meanwhile)
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
    if sweep:
        return sweeps.wait_for_end(repo, sweep, meanwhile=_while_waiting(repo, experiment))
    return wait(repo, experiment, meanwhile=_while_waiting(repo, experiment))


def _job_states(repo: Any) -> "Mapping[str, JobState]":
    """Return what Slurm says of jobs; where none was ever submitted, nothing is asked."""
    from experimenter.state import StateFolder

    if not StateFolder.of(repo).has_jobs:
        return {}
    from experimenter.cluster import job_states

    return job_states(repo)


def _while_waiting(repo: Any, word: str) -> "Callable[[], None]":
    """Return what keeps an eye on a job while we wait for it."""
    from experimenter.state import StateFolder

    if not StateFolder.of(repo).has_jobs:
        return lambda: None
    from experimenter.cluster import while_waiting

    return while_waiting(repo, word)
