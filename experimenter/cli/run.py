"""Commands that start experiments and wait for them: run, wait."""

from pathlib import Path

import click

from experimenter.cli.main import find_current_repo, speak


@click.command("run", context_settings={"allow_interspersed_args": False})
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
@click.option("--max-file-size", metavar="SIZE", help="Refuse larger untracked files (default 50M).")
@click.option("--allow-secrets", is_flag=True, help="Store untracked files that look like secrets, too.")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
def run_command(
    name: str | None,
    description: str | None,
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    results_file: Path | None,
    keep: bool,
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
    """  # noqa: D301 - \b is click's mark
    if not command:
        raise click.UsageError("no command to run; write it after --", click.get_current_context())
    speak()
    from experimenter import names
    from experimenter.plumbing import config
    from experimenter.run import Options, run
    from experimenter.settings import Settings
    from experimenter.signals import die_of

    if name is not None:
        names.checked(name)
    options = Options(
        name=name,
        description=description,
        parameters=_parameters(files, assignments),
        results_file=results_file and results_file.absolute(),  # the command may remove the folder we are in
        keep=keep,
        allow_secrets=allow_secrets,
    )
    repo = find_current_repo()
    settings = Settings.from_config(config(repo), max_file_size=max_file_size)
    outcome = run(repo, command, options, settings)
    if outcome.ended_by:
        die_of(outcome.ended_by)
        return 128 + outcome.ended_by
    return outcome.exit_code


@click.command("wait")
@click.argument("experiment", metavar="EXP")
def wait_command(experiment: str) -> int:
    """Wait until an experiment has ended; exit with the exit status of its command.

    EXP is a tag, an id, the start of an id (4 or more digits), or a name that only one bears.

    \b
    Example:
      experimenter wait 1f3a && echo done
    """  # noqa: D301 - \b is click's mark
    from experimenter.explore import wait

    return wait(find_current_repo(), experiment)


def _parameters(files: tuple[Path, ...], assignments: tuple[str, ...]) -> dict[str, object]:
    if not files and not assignments:
        return {}
    from experimenter.params import collect  # PyYAML takes 30 ms

    return collect(files, assignments)
