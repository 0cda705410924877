"""The verbs of the command line: in which group and in which module each is, and how one is found."""

from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

_GROUPS = {
    "Start experiments": {
        "run": "experimenter.cli.run",
        "sweep": "experimenter.cli.sweep",
        "submit": "experimenter.cli.cluster",
    },
    "Watch what runs": {
        "ps": "experimenter.cli.control",
        "logs": "experimenter.cli.control",
        "wait": "experimenter.cli.control",
        "stop": "experimenter.cli.stop",
    },
    "Look at experiments": {
        "list": "experimenter.cli.look",
        "show": "experimenter.cli.look",
        "diff": "experimenter.cli.look",
        "verify": "experimenter.cli.look",
    },
    "Go back, and tidy up": {
        "checkout": "experimenter.cli.back",
        "rerun": "experimenter.cli.run",
        "rm": "experimenter.cli.back",
        "prune": "experimenter.cli.back",
    },
    "Share experiments": {
        "push": "experimenter.cli.share",
        "pull": "experimenter.cli.share",
    },
    "Help a shell": {
        "completion": "experimenter.cli.completion",
    },
}
_HIDDEN = {"_job": "experimenter.cli.cluster"}
_MODULES = {name: module for verbs in (*_GROUPS.values(), _HIDDEN) for name, module in verbs.items()}
_OPTIONS = ("--help", "--version")
_WHOLE = 1000  # characters, more than any first sentence has


class Verbs(click.Group):
    """Loads a command's module when the command is asked for; without a command, options are those of `list`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands but those of our own."""
        return sorted(name for verbs in _GROUPS.values() for name in verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by its name."""
        if cmd_name not in _MODULES:
            return None
        found = getattr(import_module(_MODULES[cmd_name]), f"{cmd_name.lstrip('_')}_command")
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their groups, each with the whole of its first sentence."""
        width = max(map(len, _MODULES))
        for group, verbs in _GROUPS.items():
            commands = {name: self.get_command(ctx, name) for name in verbs}
            with formatter.section(group):
                rows = [(f"{name:{width}}", one.get_short_help_str(_WHOLE)) for name, one in commands.items() if one]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant; of an unknown one name the nearest."""
        if (
            not ctx.resilient_parsing
            and args[0] not in _MODULES
            and (nearest := _nearest(args[0], self.list_commands(ctx)))
        ):
            ctx.fail(f"No such command '{args[0]}'; did you mean {' or '.join(nearest)}?")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front of options that are not ours."""
        place = 0
        while place < len(args) and args[place].startswith("-C"):
            place += 2 if args[place] == "-C" else 1
        rest = args[place:]
        is_option = rest and rest[0].startswith("-") and rest[0] not in ("-h", *_OPTIONS)
        if is_option and not ctx.resilient_parsing and rest[0].startswith("--") and _is_misspelt(rest[0]):
            raise click.NoSuchOption(rest[0], possibilities=_nearest(rest[0], _OPTIONS), ctx=ctx)
        if is_option or not (rest or ctx.resilient_parsing):  # a shell that asks wants to know what can follow
            args = [*args[:place], "list", *rest]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Return the commands and options that begin like `incomplete`, those of `list` among them."""
        listing = self.get_command(ctx, "list")
        assert listing
        found = [*super().shell_complete(ctx, incomplete), *listing.shell_complete(ctx, incomplete)]
        return list({item.value: item for item in reversed(found)}.values())[::-1]


def _nearest(word: str, known: "Sequence[str]", *, most: int = 2) -> list[str]:
    from difflib import get_close_matches  # which is for mistakes alone

    return get_close_matches(word, known, n=most)


def _is_misspelt(option: str) -> bool:
    """Say whether an option that `list` does not have looks like one of ours."""
    listing = import_module(_MODULES["list"]).list_command
    theirs = [name for one in listing.params for name in one.opts]
    known = any(name.startswith(option.partition("=")[0]) for name in theirs)
    return not known and _nearest(option, [*theirs, *_OPTIONS], most=1) in ([one] for one in _OPTIONS)
