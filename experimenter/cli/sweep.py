"""The command that runs many experiments of one code state: sweep."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.cluster import check_wait, submit_sweep, with_slurm_options
from experimenter.cli.completion import complete_file
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import print_ended_cells
from experimenter.cli.run import (
    CommandAtEnd,
    check_links,
    end_by,
    options_of,
    parameters_of,
    started,
    with_run_options,
)
from experimenter.cli.watching import Bar, InBackground, Lines

if TYPE_CHECKING:
    from experimenter.cells import Identities, Plan, Source
    from experimenter.grid import Axis
    from experimenter.optimize import Goal
    from experimenter.run import Options
    from experimenter.settings import Settings
    from experimenter.sweep import How, Watch

_MOST_CELLS = 100_000


@click.command("sweep", cls=CommandAtEnd, context_settings={"allow_interspersed_args": False})
@click.option("-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="Cells at a time (default: all cores).")
@click.option(
    "--grid", "grids", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
    help="A YAML file with a list of values for each parameter. May be repeated.",
)  # fmt: skip
@with_run_options
@click.option("--engine", type=click.Choice(["local", "slurm"]), default="local", help="Where the cells run.")
@with_slurm_options
@click.option("--dry-run", is_flag=True, help="Only print the cells, and with --template their commands.")
@click.option("--again", is_flag=True, help="Run all cells, also those that are done.")
@click.option("--fail-fast", is_flag=True, help="Start no more cells when one has failed.")
@click.option("--optimize", metavar="KEY", help="Let Optuna choose the cells, by the result KEY.")
@click.option("--minimize", is_flag=True, help="KEY is to become small.")
@click.option("--maximize", is_flag=True, help="KEY is to become large.")
@click.option("--trials", metavar="N", type=click.IntRange(min=1), help="How many cells it chooses, with earlier ones.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Choose the same cells for the same seed.")
@click.option("--sort", metavar="KEY", help="Sort the table at the end by KEY.")
@click.option("--reverse", is_flag=True, help="In the opposite order.")
@click.option("--yes", is_flag=True, help=f"Also more than {_MOST_CELLS:,} cells.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array: of records, of --dry-run the parameters.")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file)
def sweep_command(
    command: tuple[str, ...],
    grids: tuple[Path, ...],
    jobs: int | None,
    sort: str | None,
    reverse: bool,
    optimize: str | None,
    minimize: bool,
    maximize: bool,
    trials: int | None,
    seed: int | None,
    engine: str,
    dry_run: bool,
    as_json: bool,
    yes: bool,
    **given: Any,
) -> int:
    """Run COMMAND with each combination of parameters.

    Each is an experiment of its own, on the code as it is now.
    The values of a parameter are a,b,c or choice(a,b), range(stop) or range(start,stop[,step]). One
    that has a comma in it stands in quotes or brackets. The first parameter changes most slowly.

    With --optimize, values may be interval(a,b) and log(a,b), whole numbers between whole ends, and
    --trials counts all cells of the study.

    The same line again runs only the cells that have no completed record, on the same code. The
    exit status is 0 if every cell succeeded, else 1. EXPERIMENTER_SWEEP holds the sweep's id, which
    'ps' shows and 'stop' takes; 'experimenter list --where' finds its experiments by the key sweep.

    \b
    Examples:
      experimenter sweep -p lr=0.1,0.01 -p 'seed=range(5)' -- python train.py
      experimenter sweep -j 4 --grid grid.yaml --sort loss -- python train.py
      experimenter sweep -p 'x=log(1,9)' --optimize y --minimize --trials 9 -- ./a
      experimenter sweep -p lr=0.1,0.01 --template -- python train.py --lr '{lr}'
    """  # noqa: D301 - \b is click's mark
    context = click.get_current_context()
    if not command:
        raise click.UsageError("no command to run; write it after --", context)
    given["is_isolated"] = given.pop("isolated")
    check_links(given["links"], is_isolated=given["is_isolated"] or engine == "slurm")
    speak()
    from experimenter.grid import axes
    from experimenter.process import cores

    base = parameters_of(given.pop("files"), ())
    grid = axes(grids, given.pop("assignments"))
    goal = _goal(key=optimize, is_up=maximize, is_down=minimize, trials=trials, seed=seed)
    if goal is None:
        _check_grid(grid, is_large=yes)
    plan = _plan(command, grid, base, goal, is_template=given.pop("template"))
    if dry_run:
        from experimenter.cli.dryrun import print_cells, tell_of_other_code

        print_cells(plan, grid, as_json=as_json)
        if not given["again"]:
            tell_of_other_code(plan, grid)
        return 0
    how = {"slots": jobs or cores(), "fail_fast": given.pop("fail_fast")}
    source = _source(grid, base, goal, again=given.pop("again"))
    detach = given.pop("detach")
    job = {key: given.pop(key) for key in ("slurm_options", "requeue", "from_remote", "wait")}
    shown = {"sort": sort, "reverse": reverse, "as_json": as_json}
    if engine == "slurm":
        if goal is not None or how["fail_fast"]:
            raise click.UsageError("--engine slurm: no --optimize, --fail-fast", context)
        if any(shown.values()) and not job["wait"]:
            raise click.UsageError("--engine slurm: --sort, --reverse and --json are for what --wait prints", context)
        check_wait(wait=job["wait"], is_detached=detach)
        return submit_sweep(plan, source, given, at_a_time=how["slots"], printing=shown, **job)
    if any(job.values()) or job["from_remote"] is not None:
        raise click.UsageError("--slurm, --requeue, --from-remote and --wait are for --engine slurm", context)
    return _start(plan, source, how, given, detach=detach, optimized=optimize, **shown)


def _goal(*, key: str | None, is_up: bool, is_down: bool, trials: int | None, seed: int | None) -> "Goal | None":
    """Return what to optimize, if anything."""
    context = click.get_current_context()
    if key is not None and context.params["again"]:
        raise click.UsageError("--again is for a grid; --optimize goes on with its study", context)
    if key is None:
        if is_up or is_down or trials is not None or seed is not None:
            raise click.UsageError("--minimize, --maximize, --trials and --seed are for --optimize", context)
        return None
    if is_up == is_down:
        raise click.UsageError("--optimize takes one of --minimize and --maximize", context)
    if trials is None:
        raise click.UsageError("--optimize takes --trials, the number of cells in all", context)
    from experimenter.optimize import Goal

    return Goal(key=key, is_up=is_up, trials=trials, seed=seed)


def _check_grid(grid: "Sequence[Axis]", *, is_large: bool) -> None:
    from experimenter.errors import BadParameters
    from experimenter.grid import Interval, size

    for axis in grid:
        if isinstance(axis, Interval):
            raise BadParameters(f"{axis.key}: interval and log are for --optimize; a grid takes lists and ranges")
    if size(grid) > _MOST_CELLS and not is_large:
        raise click.UsageError(
            f"the grid has {size(grid):,} cells; --yes runs more than {_MOST_CELLS:,}", click.get_current_context()
        )


def _plan(
    command: Sequence[str],
    grid: "Sequence[Axis]",
    base: Mapping[str, Any],
    goal: "Goal | None",
    *,
    is_template: bool,
) -> "Plan":
    """Return what to run. A template that cannot be filled is told before anything is stored."""
    from experimenter.cells import Plan
    from experimenter.grid import cells, described
    from experimenter.storable import public

    line = [public({axis.path[-1]: described(axis), "key": axis.key}) for axis in grid]
    optimized = [goal.key, goal.is_up, goal.seed] if goal else None
    axes = [axis.path for axis in grid]
    plan = Plan(command=command, is_template=is_template, base=base, axes=axes, line=[line, optimized])
    plan.words(next(cells(grid, base, fill=0)))
    return plan


def _source(
    grid: "Sequence[Axis]", base: Mapping[str, Any], goal: "Goal | None", *, again: bool
) -> "Callable[[Identities], Source]":
    """Return what says, for a plan on a code state, which cells are to be run."""
    from experimenter.cells import Grid
    from experimenter.grid import cells

    if goal is None:
        return lambda known: Grid(known, cells(grid, base), again=again)
    from experimenter.optimize import Study, check_optuna

    check_optuna()
    return lambda known: Study(known, grid, base, goal)


def _start(
    plan: "Plan",
    source: "Callable[[Identities], Source]",
    how: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    detach: bool,
    **shown: Any,
) -> int:
    """Run the sweep, in the background if asked; return our exit status."""
    from experimenter import names
    from experimenter.sweep import How

    repo = find_current_repo()
    name = names.from_command(plan.command) if given["name"] is None else given["name"]
    options, settings = options_of(repo, parameters={}, **{**given, "name": name})
    if options.results_file and options.links is None and how["slots"] > 1:
        raise click.UsageError(
            "cells that run at a time would all write the file of --results; add --isolated or -j 1, or let them write"
            " to EXPERIMENTER_RESULTS_FILE",
            click.get_current_context(),
        )
    settle_leftovers(repo)

    def run(watch: "Watch") -> int:
        return _run(repo, plan, source, options, settings, How(**how), watch, **shown)

    if not detach:
        return run(Bar(repo, plan) if sys.stderr.isatty() else Lines(repo, plan))
    from experimenter.detach import Background

    background = Background.fork()
    if background.is_here:
        return run(InBackground(repo, plan, background))
    return started(background)


def _run(
    repo: Any,
    plan: "Plan",
    source: "Callable[[Identities], Source]",
    options: "Options",
    settings: "Settings",
    how: "How",
    watch: "Watch",
    *,
    optimized: str | None,
    **shown: Any,
) -> int:
    """Run the sweep, and print what came of it; return our exit status."""
    from experimenter.render.sweep import end_line
    from experimenter.sweep import sweep

    outcome = sweep(repo, plan, source, options, settings, how, watch)
    if outcome.tags and options.push_to is not None:
        from experimenter import share

        share.push_together(repo, outcome.tags, settings, to=options.push_to)
    print_ended_cells(repo, plan, outcome.tags, **shown)
    click.echo(f"Note: {end_line(outcome.progress, is_study=optimized is not None)}", err=True)
    if outcome.best and optimized:
        from experimenter.render.sweep import best_line

        click.echo(f"Note: {best_line(outcome.best, optimized, plan.axes)}", err=True)
    if outcome.ended_by:
        return end_by(outcome.ended_by)
    return 0 if outcome.progress.is_good else 1
