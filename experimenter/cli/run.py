"""Commands that start experiments: run."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.completion import complete_file
from experimenter.cli.main import find_current_repo, speak

if TYPE_CHECKING:
    from collections.abc import Callable

    from experimenter.run import Outcome


class _Run(click.Command):
    """Knows that what follows the first word of the command are not our options, for completion too."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters that can still follow."""
        found = super().get_params(ctx)
        has_command = ctx.resilient_parsing and ctx.params.get("command")
        return [one for one in found if isinstance(one, click.Argument)] if has_command else found


@click.command("run", cls=_Run, context_settings={"allow_interspersed_args": False})
@click.option("-n", "--name", metavar="NAME", help="Name of the experiment; by default it comes from the command.")
@click.option("--description", metavar="TEXT", help="Free text for the record.")
@click.option(
    "--params", "files", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
    help="Parameters: a YAML or JSON mapping. May be repeated; later files override earlier ones, deeply.",
)  # fmt: skip
@click.option(
    "-p", "assignments", metavar="KEY=VALUE", multiple=True,
    help="One parameter, over the files. KEY may be dotted, VALUE is YAML. May be repeated.",
)  # fmt: skip
@click.option(
    "--results", "results_file", metavar="FILE", type=click.Path(path_type=Path),
    help="A JSON object that the command itself writes: its results.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the record also when the command fails or is stopped.")
@click.option("-d", "--detach", is_flag=True, help="Run in the background: print the id, send output to the log.")
@click.option("--isolated", is_flag=True, help="Run in a private work tree of exactly the code as it is now.")
@click.option(
    "--link", "links", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="With --isolated: an ignored path (data, caches) to appear there, too. May be repeated.",
)  # fmt: skip
@click.option("--grace", metavar="SECONDS", help="Time between asking and killing when it is stopped (default 10).")
@click.option("--max-file-size", metavar="SIZE", help="Refuse larger untracked files (default 50M).")
@click.option("--allow-secrets", is_flag=True, help="Store untracked files that look like secrets, too.")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file)
def run_command(
    name: str | None,
    description: str | None,
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    results_file: Path | None,
    keep: bool,
    detach: bool,
    isolated: bool,
    links: tuple[Path, ...],
    grace: str | None,
    max_file_size: str | None,
    allow_secrets: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND and record it, with the code as it is now, as a git tag.

    The tag is removed if the command fails or is interrupted. The command finds its parameters in
    EXPERIMENTER_PARAM_<KEY>, EXPERIMENTER_PARAMS (JSON) and the file EXPERIMENTER_PARAMS_FILE. It
    gives results by writing a JSON object to the file EXPERIMENTER_RESULTS_FILE or to that of
    --results, or by printing lines such as: EXPERIMENTER_RESULTS {"accuracy": 0.93}

    The exit status is the command's; 125 if experimenter itself failed, 126 if the command cannot
    be executed, 127 if it is not found.

    \b
    Examples:
      experimenter run -- python train.py
      experimenter run -n base --params base.yaml -p lr=0.1 -- python train.py
      experimenter run --results metrics.json -- ./simulate.sh --fast
      experimenter run -d --isolated --link data -- python train.py
    """  # noqa: D301 - \b is click's mark
    if not command:
        raise click.UsageError("no command to run; write it after --", click.get_current_context())
    if links and not isolated:
        raise click.UsageError("--link is for --isolated", click.get_current_context())
    speak()
    from experimenter import names
    from experimenter.plumbing import config
    from experimenter.run import Options, run
    from experimenter.settings import Settings
    from experimenter.settle import settle

    if name is not None:
        names.checked(name)
    parameters = _parameters(files, assignments)
    repo = find_current_repo()
    settings = Settings.from_config(config(repo), max_file_size=max_file_size, grace=grace)
    options = Options(
        name=name,
        description=description,
        parameters=parameters,
        results_file=results_file and results_file.absolute(),  # the command may remove the folder we are in
        keep=keep,
        allow_secrets=allow_secrets,
        links=_checked_links(repo, links, settings.link) if isolated else None,
    )
    settle(repo, settings)
    start = partial(run, repo, command, options, settings)
    return _in_background(start) if detach else _status_of(start())


def _in_background(start: "Callable[..., Outcome]") -> int:
    """Run in the background; in the foreground print the id as soon as the command has started, or fail as it did."""
    from experimenter.detach import Background

    background = Background.fork()
    if background.is_here:

        def started(id_: str, log: int) -> None:
            background.started(id_, log)
            speak(only_warnings=True)  # the log is the command's, but for what its reader has to know

        return _status_of(start(on_start=started))
    id_, status = background.wait()
    if id_:
        click.echo(id_)
        return 0
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _end_by(-code)


def _status_of(outcome: "Outcome") -> int:
    return _end_by(outcome.ended_by) if outcome.ended_by else outcome.exit_code


def _end_by(signum: int) -> int:
    from experimenter.signals import die_of

    die_of(signum)
    return 128 + signum  # the first process of a container does not die of signals


def _checked_links(repo: Any, given: tuple[Path, ...], configured: tuple[str, ...]) -> list[str]:
    from experimenter.worktree import checked_links

    return checked_links(repo, given, configured)


def _parameters(files: tuple[Path, ...], assignments: tuple[str, ...]) -> dict[str, object]:
    if not files and not assignments:
        return {}
    from experimenter.params import collect  # PyYAML takes 30 ms

    return collect(files, assignments)
