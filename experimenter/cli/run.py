"""Commands that start experiments: run, rerun."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_experiment, complete_file
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import print_comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from experimenter.detach import Background
    from experimenter.run import Options, Outcome
    from experimenter.settings import Settings
    from experimenter.store import Experiment


RUN_OPTIONS = [
    click.option("-n", "--name", metavar="NAME", help="Name; by default from the command, of a rerun the original's."),
    click.option("--description", metavar="TEXT", help="Free text for the record."),
    click.option(
        "--params", "files", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
        help="Parameters: a YAML or JSON mapping. May be repeated; later files override earlier ones, deeply.",
    ),
    click.option(
        "-p", "assignments", metavar="KEY=VALUE", multiple=True,
        help="One parameter, over the files. KEY may be dotted, VALUE is YAML. May be repeated.",
    ),
    click.option(
        "--results", "results_file", metavar="FILE", type=click.Path(path_type=Path),
        help="A JSON object that the command itself writes: its results.",
    ),
    click.option(
        "--push", "push_to", metavar="[REMOTE]", is_flag=False, flag_value="",
        help="Push the finished tag; without REMOTE to that of git config, the branch's or origin.",
    ),
    click.option("--template", is_flag=True, help="In COMMAND, {KEY} stands for a parameter, {{ for a brace."),
    click.option("--keep", is_flag=True, help="Keep the record also when the command fails or is stopped."),
    click.option("-d", "--detach", is_flag=True, help="Run in the background: print the id, send output to the log."),
    click.option("--isolated", is_flag=True, help="Run in a private work tree of exactly the code state."),
    click.option(
        "--link", "links", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
        help="With --isolated: an ignored path (data, caches) to appear there, too. May be repeated.",
    ),
    click.option("--grace", metavar="SECONDS", help="Time between asking and killing when it is stopped (default 10)."),
    click.option("--max-file-size", metavar="SIZE", help="Refuse larger untracked files (default 50M)."),
    click.option("--allow-secrets", is_flag=True, help="Store untracked files that look like secrets, too."),
]  # fmt: skip


def with_run_options(command: "Callable[..., int]") -> "Callable[..., int]":
    """Give a command the options of a run, in their order."""
    for option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


class CommandAtEnd(click.Command):
    """Knows that what follows the first word of the command are not our options, for completion too."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters that can still follow."""
        found = super().get_params(ctx)
        has_command = ctx.resilient_parsing and ctx.params.get("command")
        return [one for one in found if isinstance(one, click.Argument)] if has_command else found


@click.command("run", cls=CommandAtEnd, context_settings={"allow_interspersed_args": False})
@with_run_options
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file)
def run_command(command: tuple[str, ...], isolated: bool, **given: Any) -> int:
    """Run COMMAND and record it with the code as it is now.

    The record is a git tag, which is removed if the command fails or is interrupted. The command
    finds its parameters in EXPERIMENTER_PARAM_<KEY>, EXPERIMENTER_PARAMS (JSON) and the file
    EXPERIMENTER_PARAMS_FILE. It gives results by writing a JSON object to the file
    EXPERIMENTER_RESULTS_FILE or to that of --results, or by printing lines such as:
    EXPERIMENTER_RESULTS {"accuracy": 0.93}

    The exit status is the command's; 125 if experimenter itself failed, 126 if the command cannot
    be executed, 127 if it is not found.

    \b
    Examples:
      experimenter run -- python train.py
      experimenter run -n base --params base.yaml -p lr=0.1 -- python train.py
      experimenter run --results metrics.json -- ./simulate.sh --fast
      experimenter run -d --isolated --link data -- python train.py
      experimenter run -p lr=0.1 --template -- python train.py --lr '{lr}'
    """  # noqa: D301 - \b is click's mark
    if not command:
        raise click.UsageError("no command to run; write it after --", click.get_current_context())
    check_links(given["links"], is_isolated=isolated)
    speak()
    parameters = parameters_of(given.pop("files"), given.pop("assignments"))
    return _start(find_current_repo(), command, parameters, is_isolated=isolated, **given)


class _Rerun(click.Command):
    """Takes a command only behind `--`: two experiments can't be run again at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a second word in front of `--`."""
        behind = args[args.index("--") + 1 :] if "--" in args else []
        rest = super().parse_args(ctx, list(args))
        if not ctx.resilient_parsing and list(ctx.params.get("command") or ()) != behind:
            raise click.UsageError("a command that replaces the recorded one stands after --", ctx)
        return rest


@click.command("rerun", cls=_Rerun)
@click.argument("experiment", metavar="EXP", shell_complete=complete_experiment)
@with_run_options
@click.option("--here", is_flag=True, help="Run on the work tree as it is now instead of the recorded code.")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file)
def rerun_command(experiment: str, command: tuple[str, ...], here: bool, isolated: bool, **given: Any) -> int:
    """Run an experiment again, on its own code.

    The command, its parameters and its directory are the same; the code comes from the tag alone, in a
    private work tree. At the end the results stand side by side.
    A parameter that was kept secret has to be given again; COMMAND replaces the recorded one.
    --results is relative to the recorded directory. With -d 'experimenter diff' compares later.

    \b
    Examples:
      experimenter rerun baseline
      experimenter rerun baseline -p lr=0.2 --name faster
      experimenter rerun baseline --here
    """  # noqa: D301 - \b is click's mark
    is_isolated = isolated or not here
    check_links(given["links"], is_isolated=is_isolated)
    speak()
    from experimenter.find import named
    from experimenter.rerun import check_place, code_of, place_here, prepared

    repo = find_current_repo()
    (original,) = named(repo, experiment)
    parameters = parameters_of(given.pop("files"), given.pop("assignments"), over=original.parameters)
    again = prepared(repo, original, command, parameters)
    directory = repo.top / os.fsdecode(again.repo.prefix)
    if given["results_file"]:
        given["results_file"] = directory / given["results_file"]
    if here:
        _go_to(place_here(repo, original))
    else:
        check_place(repo, original, again.code)
    given["name"] = given["name"] or original.name
    code = None if here else code_of(repo, original, again.code)
    return _start(
        again.repo, again.command, again.parameters, is_isolated=is_isolated, original=original, code=code, **given
    )


def _go_to(directory: Path) -> None:
    from experimenter.errors import CannotRerun
    from experimenter.text import visible

    try:
        os.chdir(directory)
    except OSError as error:
        shown = visible(str(directory))
        raise CannotRerun(
            f"cannot run in {shown}: {error.strerror}; make it, or leave out --here for the recorded code"
        ) from error


def check_links(links: tuple[Path, ...], *, is_isolated: bool) -> None:
    """Raise a usage error for --link where there is no private work tree."""
    if links and not is_isolated:
        raise click.UsageError("--link is for --isolated", click.get_current_context())


def _start(
    repo: Any,
    command: "Sequence[str]",
    parameters: "Mapping[str, Any]",
    *,
    detach: bool,
    template: bool,
    original: "Experiment | None" = None,
    **asked: Any,
) -> int:
    """Run a command as the options say, in the background if asked; return our exit status."""
    from experimenter.run import run

    if template:
        from experimenter.template import filled, filled_publicly

        asked["shown"] = filled_publicly(command, parameters)
        command = filled(command, parameters)
    rerun_of = original.tag if original else None
    options, settings = options_of(repo, parameters=parameters, rerun_of=rerun_of, **asked)
    settle_leftovers(repo)
    start = partial(run, repo, command, options, settings)
    if detach:
        return _in_background(start)
    outcome = start()
    if original and outcome.experiment:
        print_comparison(original, outcome.experiment)
    return _status_of(outcome)


def options_of(
    repo: Any,
    *,
    is_isolated: bool,
    links: tuple[Path, ...],
    grace: str | None,
    max_file_size: str | None,
    results_file: Path | None,
    **asked: Any,
) -> "tuple[Options, Settings]":
    """Return what was asked of a run, and what the user has set."""
    from experimenter import names, pruning
    from experimenter.errors import BadOption
    from experimenter.plumbing import config
    from experimenter.run import Options
    from experimenter.settings import Settings
    from experimenter.text import visible

    if asked["name"] is not None:
        names.checked(asked["name"])
    if results_file and results_file.is_dir():
        raise BadOption(f"--results: {visible(str(results_file))} is a directory; give a file")
    found = config(repo)
    settings = Settings.from_config(found, max_file_size=max_file_size, grace=grace)
    pruning.warn(found)
    if asked["push_to"]:
        from experimenter.remote import check_name

        check_name(repo, asked["push_to"])
    if settings.push and asked["push_to"] is None:
        asked["push_to"] = ""
    options = Options(
        results_file=results_file and results_file.absolute(),  # the command may remove the folder we are in
        links=_checked_links(repo, links, settings.link) if is_isolated else None,
        **asked,
    )
    return options, settings


def _in_background(start: "Callable[..., Outcome]") -> int:
    """Run in the background; in the foreground print the id as soon as the command has started, or fail as it did."""
    from experimenter.detach import Background

    background = Background.fork()
    if background.is_here:

        def tell(id_: str, log: int) -> None:
            background.started(id_, log)
            speak(only_warnings=True)  # the log is the command's, but for what its reader has to know

        return _status_of(start(on_start=tell))
    return started(background)


def started(background: "Background") -> int:
    """Print the id that the background gives as soon as it has started, or end as it did; return our exit status."""
    id_, status = background.wait()
    if id_:
        click.echo(id_)
        return 0
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else end_by(-code)


def _status_of(outcome: "Outcome") -> int:
    return end_by(outcome.ended_by) if outcome.ended_by else outcome.exit_code


def end_by(signum: int) -> int:
    """End by a signal; return the exit status where that has no effect."""
    from experimenter.signals import die_of

    die_of(signum)
    return 128 + signum  # the first process of a container does not die of signals


def _checked_links(repo: Any, given: tuple[Path, ...], configured: tuple[str, ...]) -> list[str]:
    from experimenter.worktree import checked_links

    return checked_links(repo, given, configured)


def parameters_of(
    files: tuple[Path, ...], assignments: tuple[str, ...], *, over: "Mapping[str, Any] | None" = None
) -> dict[str, Any]:
    """Return the parameters of --params and -p, over others if there are."""
    if not files and not assignments:
        return dict(over or {})
    from experimenter.params import collect  # PyYAML takes 30 ms

    return collect(files, assignments, over=over)
