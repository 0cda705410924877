"""Commands for a cluster: submit, and what its jobs run on their nodes."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_file
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import print_ended_cells
from experimenter.cli.run import CommandAtEnd, options_of, parameters_of, with_run_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from experimenter.cells import Identities, Plan, Source
    from experimenter.plumbing import Repo
    from experimenter.submission import Work

SLURM_OPTIONS = [
    click.option(
        "--slurm", "slurm_options", metavar="KEY=VALUE", multiple=True,
        help="What the job needs: timeout_min, gpus_per_node, partition, … as submitit calls it. May be repeated.",
    ),
    click.option("--requeue", is_flag=True, help="Let Slurm start the job once more if it is preempted."),
    click.option(
        "--from-remote", "from_remote", metavar="[REMOTE]", is_flag=False, flag_value="",
        help="The node does not share the repository: it takes the code from REMOTE, and pushes the result there.",
    ),
    click.option("--wait", is_flag=True, help="Wait for the end, and exit as the command did."),
]  # fmt: skip


def with_slurm_options(command: "Callable[..., int]") -> "Callable[..., int]":
    """Give a command the options of a job, in their order."""
    for option in reversed(SLURM_OPTIONS):
        command = option(command)
    return command


@click.command("submit", cls=CommandAtEnd, context_settings={"allow_interspersed_args": False})
@with_run_options
@with_slurm_options
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file)
def submit_command(
    command: tuple[str, ...], slurm_options: tuple[str, ...], requeue: bool, from_remote: str | None, wait: bool,
    **given: Any,
) -> int:  # fmt: skip
    """Run COMMAND on a Slurm cluster and record it, as 'run' does.

    The code is stored now: edits made while the job waits do not reach it. The node makes a private
    work tree of it, as 'run --isolated' does. Prints the experiment's id; 'ps', 'logs -f', 'wait',
    'stop' and 'list' work as for experiments that run here. The tag says queued, then running, and
    is removed if the command fails, or the job is cancelled or lost.

    \b
    Examples:
      experimenter submit --slurm timeout_min=60 -- python train.py
      experimenter submit --from-remote origin --wait -- python train.py
    """  # noqa: D301 - \b is click's mark
    if not command:
        raise click.UsageError("no command to run; write it after --", click.get_current_context())
    del given["isolated"]  # as a job is anyway
    check_wait(wait=wait, is_detached=given.pop("detach"))
    speak()
    from experimenter import slurm
    from experimenter.cluster import wait_for
    from experimenter.submission import Asked, Work, code_state, reserve, submit
    from experimenter.template import filled, filled_publicly

    asked = Asked(parameters=slurm.check(slurm_options), requeue=requeue, remote=from_remote)
    parameters = parameters_of(given.pop("files"), given.pop("assignments"))
    is_template = given.pop("template")
    words = filled(command, parameters) if is_template else list(command)
    shown = filled_publicly(command, parameters) if is_template else words
    repo = find_current_repo()
    options, settings = options_of(repo, is_isolated=True, parameters=parameters, **given)
    settle_leftovers(repo)
    code = code_state(repo, options, settings)
    work = Work(command=words, shown=shown, parameters=parameters)
    reserved = reserve(repo, [work], options, settings, asked)
    (experiment,) = submit(repo, code, reserved, options, settings, asked, python=sys.executable)
    click.echo(experiment.id)
    sys.stdout.flush()
    return wait_for(repo, experiment.tag) if wait else 0


def submit_sweep(
    plan: "Plan",
    source: "Callable[[Identities], Source]",
    given: "Mapping[str, Any]",
    *,
    at_a_time: int,
    printing: "Mapping[str, Any]",
    slurm_options: tuple[str, ...],
    requeue: bool,
    from_remote: str | None,
    wait: bool,
) -> int:
    """Submit the cells of a grid that are not done, or on their way, as one job array; return our exit status."""
    from experimenter import names, othercode, slurm
    from experimenter.cells import Identities
    from experimenter.cluster import while_waiting
    from experimenter.submission import Asked, code_state, reserve, submit
    from experimenter.sweeps import claiming, note_submission, wait_for_end
    from experimenter.text import counted

    asked = Asked(parameters=slurm.check(slurm_options), requeue=requeue, at_a_time=at_a_time, remote=from_remote)
    repo = find_current_repo()
    name = names.from_command(plan.command) if given["name"] is None else given["name"]
    options, settings = options_of(repo, parameters={}, **{**given, "name": name, "is_isolated": True})
    settle_leftovers(repo)
    code = code_state(repo, options, settings)
    known = Identities(repo=repo, plan=plan, tree=code["tree"])
    with claiming(repo, known.sweep) as taken:
        cells = source(known)  # only now: what has just ended is either taken or done
        othercode.tell(repo, known, [] if taken else cells.fresh)
        works, waiting = _pending(plan, cells, taken)
        reserved = None
        if works:
            made = list(works.values())
            reserved = reserve(repo, made, options, settings, asked, sweep=known.sweep, cells=list(works))
    earlier = f", {cells.done:,} done already" if cells.done else ""
    counts = f"{counted(cells.total, 'cell')}{earlier}, {len(works):,} submitted"
    click.echo(f"Note: sweep {known.sweep}: {counts}", err=True)
    if reserved:
        tags = [*reserved.tags, *waiting]
        note_submission(repo, known.sweep, total=cells.total, done=cells.done, tags=tags)
        submit(repo, code, reserved, options, settings, asked, python=sys.executable)
    if not printing["as_json"]:
        click.echo(known.sweep)
        sys.stdout.flush()
    if not wait:
        return 0
    status = wait_for_end(repo, known.sweep, meanwhile=while_waiting(repo, known.sweep))
    _print_end(repo, plan, known, cells.keys, printing)
    return status


def _pending(plan: "Plan", cells: "Source", taken: "Mapping[str, str]") -> "tuple[dict[str, Work], list[str]]":
    """Return what is to be submitted, by its cell, and the tags of cells that are on their way."""
    from experimenter.submission import Work

    works, waiting = {}, []
    while job := cells.next():
        if job.key in taken:
            waiting.append(taken[job.key])
        else:
            words, shown = plan.words(job.parameters), plan.shown(job.parameters)
            works[job.key] = Work(command=words, shown=shown, parameters=job.parameters)
    return works, waiting


def _print_end(
    repo: "Repo", plan: "Plan", known: "Identities", keys: "Sequence[str]", printing: "Mapping[str, Any]"
) -> None:
    """Print the cells that are done, and how many are not, as at the end of a sweep here."""
    from experimenter.cells import Progress
    from experimenter.render.sweep import end_line

    tags = known.done(set(keys))
    found = [tags[key] for key in keys if key in tags]
    print_ended_cells(repo, plan, found, **printing)
    progress = Progress(sweep=known.sweep, total=len(keys), done=len(found), failed=len(keys) - len(found))
    click.echo(f"Note: {end_line(progress)}", err=True)


def check_wait(*, wait: bool, is_detached: bool) -> None:
    """Refuse to wait for what is to return at once."""
    if wait and is_detached:
        raise click.UsageError("-d returns at once, --wait does not; leave one out", click.get_current_context())


@click.command("_job", hidden=True)
@click.option("--from-remote", "first", metavar="TAG")
@click.option("--keep", is_flag=True)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def job_command(folder: Path | None, first: str | None, keep: bool) -> int:
    """Run, on a node, the experiment of the job that we are in."""
    if os.environ.get("SLURM_PROCID", "0") != "0":  # the command is one, and may itself use the other tasks
        return 0
    speak()
    from experimenter.node import work, work_from_remote

    outcome = work(folder) if folder else work_from_remote(first or "", keep=keep)
    return outcome.exit_code
