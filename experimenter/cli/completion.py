"""Completion: the command that prints a shell's script, and what is offered when that script asks.

Experiments are offered from the names of tags and files alone; no record is read. The levels below are loaded only when
a shell asks, so that commands can name these functions at no cost.
"""

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from experimenter.plumbing import Repo

    Items = list[CompletionItem[str]]

ASKED = "_EXPERIMENTER_COMPLETE"  # in the environment while a shell asks; click reads it
_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", metavar="|".join(_SHELLS), type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print the script by which a shell completes what you type.

    Ids are shown, by zsh and fish, with the name and the start of their experiment.

    \b
    Bash, in ~/.bashrc:
      eval "$(experimenter completion bash)"
    Zsh, in ~/.zshrc:
      eval "$(experimenter completion zsh)"
    Fish, in ~/.config/fish/config.fish:
      experimenter completion fish | source
    """  # noqa: D301 - \b is click's mark
    from experimenter.cli.shells import script

    click.echo(script(shell, click.get_current_context().find_root().command, asked=ASKED), nl=False)


def answer(command: click.Command) -> NoReturn:
    """Tell the shell that asks what `command` offers, and exit: whatever goes wrong, nothing appears at its prompt."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    gc.disable()  # it would take time, and find nothing
    try:
        from experimenter.cli.shells import PROGRAM  # with the classes that click finds by the shell's name

        command.main(prog_name=PROGRAM, complete_var=ASKED, standalone_mode=False)
    except Exception:  # noqa: BLE001 - the user is in the middle of a line
        sys.exit(1)
    sys.exit(0)


def complete_experiment(context: click.Context, _: click.Parameter, incomplete: str) -> "Items":
    """Return what begins like `incomplete` and means one experiment that has a tag."""
    from experimenter import store

    tags = store.tags(_repo(context))
    return _items(tags, _unique_names(tags), incomplete)


def complete_known(context: click.Context, _: click.Parameter, incomplete: str) -> "Items":
    """Return what begins like `incomplete` and means one experiment that runs, has a tag, or whose ending is kept."""
    from experimenter import names, running, state, store

    repo = _repo(context)
    alive = [entry.tag for entry in running.entries(repo)]
    known = list(dict.fromkeys([*store.tags(repo), *state.ended_tags(repo), *alive]))
    borne = set(map(names.name_of, alive))  # a name means one that runs before others
    unique = _unique_names(alive) | (_unique_names(known) - borne)
    return _items(sorted(known, key=names.age_key), unique, incomplete)


def complete_running(context: click.Context, _: click.Parameter, incomplete: str) -> "Items":
    """Return what begins like `incomplete` and means one experiment that runs on this host."""
    from experimenter import running

    found = running.entries(_repo(context))
    tags = [entry.tag for entry in found if not entry.is_elsewhere]
    return _items(tags, _unique_names(tags), incomplete)


def complete_name(context: click.Context, _: click.Parameter, incomplete: str) -> "Items":
    """Return the names that begin like `incomplete`, of one experiment or several, that of the newest first."""
    from click.shell_completion import CompletionItem

    from experimenter import names, store

    found = dict.fromkeys(names.name_of(tag) for tag in reversed(store.tags(_repo(context))))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> "Items":
    """Return what lets the shell complete the name of a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_folder(_: click.Context, __: click.Parameter, incomplete: str) -> "Items":
    """Return what lets the shell complete the name of a folder."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def _repo(context: click.Context) -> "Repo":
    """Return the repository that the command would work on: nobody has followed -C yet, whose words are as typed."""
    from pathlib import Path

    from experimenter.plumbing import find_repo

    folders = context.find_root().params.get("directories") or ()
    return find_repo(Path(*(Path(os.path.expandvars(folder)).expanduser() for folder in folders)))


def _unique_names(tags: Iterable[str]) -> set[str]:
    """Return the names that only one of `tags` bears."""
    from experimenter import names

    return {name for name, bearers in Counter(map(names.name_of, tags)).items() if bearers == 1}


def _items(tags: list[str], unique: set[str], incomplete: str) -> "Items":
    """Return `unique` names, ids and, once one is being typed, tags that begin like `incomplete`, the newest first."""
    from click.shell_completion import CompletionItem

    from experimenter import names

    newest = tags[::-1]
    known = [name for name in dict.fromkeys(map(names.name_of, newest)) if name in unique]
    words = [*known, *newest] if incomplete.startswith(names.PREFIX) else known
    return [
        *(CompletionItem(word) for word in words if word.startswith(incomplete)),
        *_ids(newest, incomplete.lower()),
    ]


def _ids(tags: Iterable[str], incomplete: str) -> "Iterator[CompletionItem[str]]":
    from click.shell_completion import CompletionItem

    from experimenter import names

    for tag in tags:
        id_ = names.id_of(tag)
        if id_.startswith(incomplete):
            started = names.moment_of(tag).astimezone()
            yield CompletionItem(id_, help=f"{names.name_of(tag)}  {started:%Y-%m-%d %H:%M}")
