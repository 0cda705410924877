"""What `sweep --dry-run` prints: the cells, and why they would run again."""

import logging
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from experimenter.cli.main import find_current_repo
from experimenter.cli.printing import print_json

if TYPE_CHECKING:
    from experimenter.cells import Plan
    from experimenter.grid import Axis


def print_cells(plan: "Plan", grid: "Sequence[Axis]", *, as_json: bool) -> None:
    """Print the parameters of each cell, and with a template its command."""
    from experimenter.grid import Interval, cells
    from experimenter.render.sweep import cell_text
    from experimenter.storable import public
    from experimenter.text import visible

    if any(isinstance(axis, Interval) for axis in grid):
        raise click.UsageError("--dry-run knows no cells that are yet to be chosen", click.get_current_context())
    if as_json:
        print_json([public(parameters) for parameters in cells(grid, plan.base)])
        return
    for parameters in cells(grid, plan.base):
        command = f": {visible(shlex.join(plan.shown(parameters)))}" if plan.is_template else ""
        click.echo(f"{cell_text(parameters, plan.axes)}{command}")


def tell_of_other_code(plan: "Plan", grid: "Sequence[Axis]") -> None:
    """Tell which files differ since the cells were done on other code, if none is done on the code as it is now."""
    from experimenter import othercode
    from experimenter.cells import Grid, Identities
    from experimenter.compare import aside
    from experimenter.errors import ExperimenterError, NotAWorkTree
    from experimenter.grid import cells
    from experimenter.patterns import Patterns
    from experimenter.plumbing import config
    from experimenter.snapshot import tree_of_files

    try:
        repo = find_current_repo()
        with aside(repo) as (there, index):
            tree = tree_of_files(there, scratch=index, outputs=Patterns(config(repo).get("output", ())))
            known = Identities(repo=repo, plan=plan, tree=tree)
            othercode.tell(there, known, Grid(known, cells(grid, plan.base), again=False).fresh)
    except NotAWorkTree:  # where nothing was ever run
        return
    except ExperimenterError as error:
        logging.getLogger("experimenter").warning("cannot tell what is done: %s", error)
