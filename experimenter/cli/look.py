"""Commands that look at experiments: list, show."""

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from experimenter.cli.completion import complete_experiment, complete_name
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import print_lines, table_width

if TYPE_CHECKING:
    from experimenter.store import Experiment


@click.command("list")
@click.option("-c", "--code", "revision", metavar="REV", help="Only those on exactly the code of REV.")
@click.option("-s", "--strict", is_flag=True, help="Only those with results.")
@click.option("-n", "--name", metavar="NAME", shell_complete=complete_name, help="Only those of this name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array of records.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, parameters and results under dotted columns.")
def list_command(revision: str | None, strict: bool, name: str | None, as_json: bool, as_csv: bool) -> None:
    """List experiments, the oldest first.

    REV is any revision git accepts: an abbreviated SHA, a branch, a tag. Two commits are the same
    code when their files are equal.

    \b
    Examples:
      experimenter list -s
      experimenter -c HEAD --csv > runs.csv
    """  # noqa: D301 - \b is click's mark
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other", click.get_current_context())
    speak()
    from experimenter import explore, render

    gc.disable()  # it would walk through all the records again and again, a tenth of the time, and find nothing
    repo = find_current_repo()
    settle_leftovers(repo)
    found = explore.matching(repo, revision=revision, with_results=strict, name=name)
    if as_json:
        _print_json(found)
    elif as_csv:
        click.echo(render.csv_document(found), nl=False)
    elif found:
        print_lines(repo, render.table(found, width=table_width()), has_heading=True)
    else:
        click.echo("Note: no experiments here yet, or none that match", err=True)


@click.command("show")
@click.argument("experiment", metavar="EXP", shell_complete=complete_experiment)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the record.")
def show_command(experiment: str, as_json: bool) -> None:
    """Show everything about one experiment.

    EXP is a tag, an id, the start of an id (4 or more digits), or a name that only one bears.

    \b
    Example:
      experimenter show baseline
    """  # noqa: D301 - \b is click's mark
    speak()
    from experimenter import explore, render

    repo = find_current_repo()
    found = explore.show(repo, experiment)
    if as_json:
        from experimenter.storable import dumps

        click.echo(dumps(explore.as_json(found), indent=2))
    else:
        print_lines(repo, render.details(found), has_heading=False)


def _print_json(found: "Sequence[Experiment]") -> None:
    """Print an array with an experiment a line: a document that also grep and diff can read."""
    from experimenter.explore import as_json
    from experimenter.storable import dumps

    for place, experiment in enumerate(found):
        click.echo(("[\n" if place == 0 else ",\n") + dumps(as_json(experiment)), nl=False)
    click.echo("\n]" if found else "[]")
