"""Commands that share experiments through a remote repository: push, pull."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from experimenter import ahead
from experimenter.cli.completion import complete_experiment
from experimenter.cli.main import find_current_repo, speak
from experimenter.cli.printing import patience, print_json

if TYPE_CHECKING:
    from experimenter.remote import Remote
    from experimenter.share import Shared


@click.command("push")
@click.argument("experiments", metavar="[EXP]...", nargs=-1, shell_complete=complete_experiment)
@click.option("--remote", "name", metavar="R", help="Where to: a remote, a path or a URL.")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and how large it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def push_command(experiments: tuple[str, ...], name: str | None, dry_run: bool, as_json: bool) -> int:
    """Send experiments, with their code, to a remote repository.

    Without EXP: all finished ones that it lacks. The remote is that of --remote, else of 'git config
    experimenter.remote', else the branch's, else origin. Only tags exp_* travel. A finished record
    replaces an unfinished one there; of two different finished ones both stay where they are, and
    the tag is named as a conflict (exit 1).

    \b
    Examples:
      experimenter push
      experimenter push baseline --remote team --dry-run
    """  # noqa: D301 - \b is click's mark
    speak()
    ahead.ask(ahead.OBJECTS)
    from experimenter import pruning, share
    from experimenter.find import named
    from experimenter.plumbing import config
    from experimenter.remote import Remote
    from experimenter.settings import Settings

    repo = find_current_repo()
    found = config(repo)
    settings = Settings.from_config(found)
    pruning.warn(found)
    tags = [one.tag for one in named(repo, *experiments)] if experiments else None
    remote = Remote.of(repo, name, patience(), is_pushed_to=True)
    shared = share.push(repo, remote, tags, max_size_bytes=settings.max_push_size_bytes, is_dry=dry_run)
    what = "to push to" if dry_run else "pushed to"
    return _tell(shared, remote, what, as_json=as_json, is_listed=dry_run, has_size=True)


@click.command("pull")
@click.option("--remote", "name", metavar="R", help="Where from: a remote, a path or a URL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pull_command(name: str | None, as_json: bool) -> int:
    """Collect the experiments that a remote repository has.

    Those that are not here come with the code that they ran on. The remote is found as by
    'experimenter push'. A finished record replaces an unfinished one here;
    of two different finished ones both stay, and the tag is named as a conflict (exit 1).

    \b
    Example:
      experimenter pull && experimenter list
    """  # noqa: D301 - \b is click's mark
    speak()
    ahead.ask(ahead.OBJECTS)
    from experimenter import share
    from experimenter.remote import Remote

    repo = find_current_repo()
    remote = Remote.of(repo, name, patience())
    shared = share.pull(repo, remote)
    return _tell(shared, remote, "pulled from", as_json=as_json, is_listed=False, has_size=False)


def _tell(shared: "Shared", remote: "Remote", what: str, *, as_json: bool, is_listed: bool, has_size: bool) -> int:
    """Say what was shared, and what was not; return our exit status."""
    from experimenter.text import counted, visible

    if as_json:
        print_json(shared.to_json())
    else:
        for tag in shared.tags if is_listed else ():
            click.echo(tag)
        count, size = counted(len(shared.tags), "experiment"), _sized(shared) if has_size else ""
        click.echo(f"{count} {what} {visible(shared.remote)}{size}")
    for line in _conflicts(shared, remote):
        click.echo(line, err=True)
    for tag, reason in shared.refused.items():
        click.echo(f"Error: {tag}: {visible(reason)}{visible(_way_out(shared, tag, reason))}", err=True)
    return 1 if shared.conflicts or shared.refused else 0


def _way_out(shared: "Shared", tag: str, reason: str) -> str:
    """Return what can be done about a tag that was refused; nothing where the reason says that."""
    if "shallow update" in reason:
        return "; this clone is, and 'git fetch --unshallow' completes it"
    if reason.startswith("cannot fetch from "):
        return f"; it is broken there, and can be removed: git push {shared.remote} :refs/tags/{tag}"
    return f"; it is broken here, and can be removed: git tag -d {tag}" if reason.startswith("cannot push to ") else ""


def _conflicts(shared: "Shared", remote: "Remote") -> Iterator[str]:
    """Yield what there is to say of conflicts, and the ways out of each."""
    from shlex import quote

    from experimenter import names, store
    from experimenter.text import visible

    place = quote(visible(shared.remote))
    is_named = shared.conflicts and not remote.is_default
    pull = f"experimenter pull --remote {place}" if is_named else "experimenter pull"
    for tag, theirs in shared.conflicts.items():
        ref = store.ref(tag)
        yield f"Error: {tag}: finished differently on both sides; both stay"
        yield f"  to see theirs:  git cat-file tag {theirs}"
        yield f"  to take theirs: experimenter rm --yes {names.id_of(tag)} && {pull}"
        yield f"  to send yours:  git push --force-with-lease={ref}:{theirs} {place} {ref}"


def _sized(shared: "Shared") -> str:
    from experimenter.text import counted, readable_size

    if not (shared.objects and shared.tags):
        return ""
    return f" (with {counted(shared.objects, 'new object')}, {readable_size(shared.size_bytes)} of files)"
