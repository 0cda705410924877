"""The command that runs many experiments of one code state: sweep."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_file
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import paint, print_json, table_width
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
from experimenter.process import cores

if TYPE_CHECKING:
    from experimenter.cells import Plan
    from experimenter.grid import Axis
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
@click.option("--dry-run", is_flag=True, help="Only print the cells.")
@click.option("--again", is_flag=True, help="Run all cells, also those that are done.")
@click.option("--fail-fast", is_flag=True, help="Start no more cells when one has failed.")
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
    dry_run: bool,
    as_json: bool,
    yes: bool,
    **given: Any,
) -> int:
    """Run COMMAND with each combination of parameters, as an experiment each, on the code as it is now.

    The values of a parameter are a,b,c or choice(a,b), range(stop) or range(start,stop[,step]). One
    that has a comma in it stands in quotes or brackets. The first parameter changes most slowly.

    The same line again runs only the cells that have no completed record, on the same code. The
    exit status is 0 if every cell succeeded, else 1. EXPERIMENTER_SWEEP holds the sweep's id, which
    'ps' shows and 'stop' takes; 'experimenter list --where' finds its experiments by the key sweep.

    \b
    Examples:
      experimenter sweep -p lr=0.1,0.01 -p 'seed=range(5)' -- python train.py
      experimenter sweep -j 4 --grid grid.yaml --sort acc --reverse -- python train.py
      experimenter sweep -p lr=0.1,0.01 --template -- python train.py --lr '{lr}'
    """  # noqa: D301 - \b is click's mark
    if not command:
        raise click.UsageError("no command to run; write it after --", click.get_current_context())
    given["is_isolated"] = given.pop("isolated")
    check_links(given["links"], is_isolated=given["is_isolated"])
    speak()
    from experimenter.grid import axes

    base = parameters_of(given.pop("files"), ())
    grid = axes(grids, given.pop("assignments"))
    plan = _plan(command, grid, base, is_template=given.pop("template"), is_large=yes)
    if dry_run:
        return _print_cells(plan, as_json=as_json)
    how = {"slots": jobs or cores(), "again": given.pop("again"), "fail_fast": given.pop("fail_fast")}
    detach = given.pop("detach")
    return _start(plan, how, given, detach=detach, sort=sort, reverse=reverse, as_json=as_json)


def _plan(
    command: Sequence[str], grid: "Sequence[Axis]", base: Mapping[str, Any], *, is_template: bool, is_large: bool
) -> "Plan":
    """Return what to run. A template that cannot be filled is told before anything is stored."""
    from experimenter.cells import Plan
    from experimenter.errors import BadParameters
    from experimenter.grid import Interval, cells, size

    for axis in grid:
        if isinstance(axis, Interval):
            raise BadParameters(f"{axis.key}: interval and log are for --optimize; a grid takes lists and ranges")
    if size(grid) > _MOST_CELLS and not is_large:
        raise click.UsageError(
            f"the grid has {size(grid):,} cells; --yes runs more than {_MOST_CELLS:,}", click.get_current_context()
        )
    plan = Plan(
        command=command, is_template=is_template, cells=list(cells(grid, base)), axes=[axis.path for axis in grid]
    )
    plan.words(plan.cells[0])
    return plan


def _print_cells(plan: "Plan", *, as_json: bool) -> int:
    from experimenter.render.sweep import cell_text
    from experimenter.storable import redacted

    if as_json:
        print_json([redacted(dict(parameters)) for parameters in plan.cells])
        return 0
    for parameters in plan.cells:
        click.echo(cell_text(parameters, plan.axes))
    return 0


def _start(
    plan: "Plan",
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
        return _run(repo, plan, options, settings, How(**how), watch, **shown)

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
    options: "Options",
    settings: "Settings",
    how: "How",
    watch: "Watch",
    *,
    sort: str | None,
    reverse: bool,
    as_json: bool,
) -> int:
    from experimenter.selection import Selection, arranged
    from experimenter.store import experiments, ref
    from experimenter.sweep import sweep

    outcome = sweep(repo, plan, options, settings, how, watch)
    if outcome.tags and options.push_to is not None:
        from experimenter import share

        share.push_together(repo, outcome.tags, settings, to=options.push_to)
    found = list(experiments(repo, {tag: ref(tag) for tag in outcome.tags}).values())
    if sort is not None:
        found = arranged(found, None, Selection(sort=sort, reverse=reverse))
    elif reverse:
        found.reverse()
    if as_json:
        print_json([one.to_json() for one in found])
    elif found:
        from experimenter.render.experiments import table_of

        for line in table_of(found, width=table_width(), only_changed=len(found) > 1, paint=paint)[0]:
            click.echo(line)
    if outcome.ended_by:
        return end_by(outcome.ended_by)
    return 0 if outcome.progress.done == outcome.progress.total else 1
