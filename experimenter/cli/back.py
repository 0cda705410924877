"""Commands that go back to experiments, or do away with them: checkout, rm, prune."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_experiment
from experimenter.cli.main import find_current_repo, speak
from experimenter.cli.printing import paint, patience, print_json, print_lines, table_width

if TYPE_CHECKING:
    from experimenter.remote import Remote
    from experimenter.removal import Removable


@click.command("checkout")
@click.argument("experiment", metavar="EXP", shell_complete=complete_experiment)
@click.argument("place", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--branch", metavar="NAME", help="Make a branch with one new commit of it instead, without switching to it."
)
def checkout_command(experiment: str, place: Path | None, branch: str | None) -> None:
    """Check out the code of an experiment in a new work tree at DIR.

    It is based on the same commit as then, the edits are uncommitted. 'git worktree remove --force DIR'
    removes it again.

    \b
    Examples:
      experimenter checkout baseline ../as-it-was
      experimenter checkout baseline --branch retry
    """  # noqa: D301 - \b is click's mark
    if (place is None) == (branch is None):
        raise click.UsageError("give either DIR or --branch", click.get_current_context())
    speak()
    from experimenter.codestate import checked
    from experimenter.find import named
    from experimenter.linked import make_branch
    from experimenter.text import visible
    from experimenter.worktree import check_out

    repo = find_current_repo()
    (found,) = named(repo, experiment)
    code = checked(repo, found)
    if place is None:
        make_branch(repo, code, str(branch), message=f"Code of {found.name} ({found.tag})")
        what = f"the branch {branch}"
    else:
        check_out(repo, code, place.absolute(), branch=f"{found.name}-{os.urandom(4).hex()}")
        what = str(place)
    click.echo(f"Note: {visible(what)} has the code of {found.tag}", err=True)


@click.command("rm")
@click.argument("experiments", metavar="EXP...", nargs=-1, required=True, shell_complete=complete_experiment)
@click.option("--remote", "from_remote", is_flag=True, help="Remove them from the default remote, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array of what was removed.")
def rm_command(experiments: tuple[str, ...], from_remote: bool, yes: bool, as_json: bool) -> None:
    """Remove experiments: their tags and logs.

    Lists what would go and asks. A tag exp_* that is no record of an experiment goes, too, if it is
    named. What it prints then brings a tag back, until 'git gc' takes its
    objects: those of one that is older than two weeks (gc.pruneExpire) go at the next.

    \b
    Example:
      experimenter rm slow 3c8b1e0a
    """  # noqa: D301 - \b is click's mark
    speak()
    from experimenter import removal
    from experimenter.errors import ExperimenterError, ExperimentUnknown
    from experimenter.remote import Remote

    repo = find_current_repo()
    try:
        found = removal.chosen(repo, experiments)
    except ExperimentUnknown as error:
        if not from_remote:
            raise
        hint = "one that only the remote has comes here by 'experimenter pull'"
        raise ExperimenterError(error.message, details=[*error.details, hint]) from error
    remote = Remote.of(repo, None, patience(), is_pushed_to=True) if from_remote else None
    _remove(repo, found, remote, yes=yes, as_json=as_json)


@click.command("prune")
@click.option("--without-results", is_flag=True, help="Those without results.")
@click.option("--older-than", metavar="TIME", help="Those that started longer ago: 12h, 90d, 8w.")
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array of what was, or would be, removed.")
def prune_command(without_results: bool, older_than: str | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove the finished experiments that meet every criterion.

    Lists what would go and asks, as 'experimenter rm' does.

    \b
    Examples:
      experimenter prune --without-results --older-than 90d --dry-run
      experimenter prune --older-than 52w
    """  # noqa: D301 - \b is click's mark
    if not without_results and older_than is None:
        raise click.UsageError("give --without-results, --older-than or both", click.get_current_context())
    speak()
    from experimenter import removal

    age = None if older_than is None else removal.duration(older_than, option="--older-than")
    repo = find_current_repo()
    found = removal.prunable(repo, without_results=without_results, older_than=age)
    if dry_run and as_json:
        print_json([_identity(one) for one in found])
    elif dry_run and found:
        _print_table(repo, found)
    elif found:
        _remove(repo, found, None, yes=yes, as_json=as_json)
    elif as_json:
        print_json([])
    else:
        click.echo("Note: no finished experiment meets this", err=True)


def _remove(repo: Any, found: "Sequence[Removable]", remote: "Remote | None", *, yes: bool, as_json: bool) -> None:
    """Show what would go, ask, remove it, first from the remote if one is given, and say how to bring it back."""
    from experimenter import removal
    from experimenter.errors import NotRemoved
    from experimenter.text import visible

    if not as_json or not yes:
        _print_table(repo, found, err=as_json)
    what = "this experiment" if len(found) == 1 else f"these {len(found)} experiments"
    what += f", here and on {visible(str(remote))}" if remote else ""
    if not yes:
        if not (sys.stdin and sys.stdin.isatty()):
            raise NotRemoved(f"nobody is there to ask whether {what} may go; say --yes")
        if not _confirms(f"Remove {what}?"):
            raise NotRemoved("nothing was removed")
    if remote:
        remote.delete(found)
    # Said before, so that it is known whatever happens then.
    if as_json:
        print_json([_identity(one) for one in found])
    else:
        click.echo("Until git gc takes their objects, this brings them back:")
        for experiment in found:
            click.echo(f"  {removal.restoring(experiment)}")
    sys.stdout.flush()
    removal.remove(repo, found)


def _confirms(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # Ctrl-D
        click.echo(err=True)
        return False


def _print_table(repo: Any, found: "Sequence[Removable]", *, err: bool = False) -> None:
    from experimenter.render.experiments import table_of, table_of_unreadable
    from experimenter.store import Experiment
    from experimenter.tags import Unreadable

    readable = [one for one in found if isinstance(one, Experiment)]
    others = [one for one in found if isinstance(one, Unreadable)]
    lines = table_of(readable, width=table_width(), paint=paint)[0] if readable else []
    lines += table_of_unreadable(others, width=table_width(), paint=paint) if others else []
    if err:
        click.echo("\n".join(lines), err=True)
    else:
        print_lines(repo, lines)


def _identity(experiment: "Removable") -> dict[str, str]:
    from experimenter.store import ref

    return {"tag": experiment.tag, "id": experiment.id, "ref": ref(experiment.tag), "object": experiment.tag_object}
