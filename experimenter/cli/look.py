"""Commands that look at experiments: list, show, diff, verify."""

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from experimenter import ahead
from experimenter.cli.completion import complete_experiment, complete_name
from experimenter.cli.main import find_current_repo, settle_leftovers, speak
from experimenter.cli.printing import (
    is_painted,
    paint,
    print_array,
    print_json,
    print_lines,
    table_width,
    tell_of_columns,
)

if TYPE_CHECKING:
    from experimenter.store import Experiment


@click.command("list")
@click.option("-c", "--code", "revision", metavar="REV", help="Only those on exactly the code of REV.")
@click.option("-s", "--strict", "with_results", is_flag=True, help="Only those with results.")
@click.option("-n", "--name", metavar="NAME", shell_complete=complete_name, help="Only those of this name.")
@click.option("--where", metavar="EXPR", help="Only those for which EXPR holds.")
@click.option("--sort", metavar="KEY", help="Sort by KEY, those without it last.")
@click.option("--reverse", is_flag=True, help="In the opposite order.")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="The newest N; with --sort the first N.")
@click.option("--columns", metavar="KEY,KEY...", help="What to show, in a table and in CSV.")
@click.option("--only-changed", is_flag=True, help="Leave out the columns that are the same in all.")
@click.option("--group-by", "group_by", metavar="KEY,KEY...", help="Spread of each numeric result, for each group.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array: of records, or of groups.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, parameters and results under dotted columns.")
def list_command(
    columns: str | None, only_changed: bool, group_by: str | None, as_json: bool, as_csv: bool, **wanted: Any
) -> None:
    """List experiments, the oldest first.

    REV is any revision git accepts: an abbreviated SHA, a branch, a tag. Two commits are the same
    code when their files are equal.

    A KEY is dotted: parameters.lr, results.accuracy, code.branch, started. Its first part may be
    left out where that leaves one meaning. EXPR compares keys, numbers and quoted strings by
    == != < <= > >= in, joined by 'and', 'or', 'not' and parentheses; 'in' takes a list, (1, 2), or
    text to search; true, false and null are words; a key with odd characters stands in backquotes.
    A comparison is false where the key is missing.

    \b
    Examples:
      experimenter list -s
      experimenter list --where 'lr < 0.1 and acc > 0.9' --sort acc --reverse
      experimenter list --limit 20 --only-changed
      experimenter list --group-by lr,model.depth
      experimenter -c HEAD --csv > runs.csv
    """  # noqa: D301 - \b is click's mark
    _check_that_options_agree(columns, only_changed, group_by, as_json, as_csv)
    speak()
    is_short = wanted["limit"] is not None and wanted["where"] is None and wanted["sort"] is None
    ahead.ask(ahead.COMMITS if wanted["revision"] is not None else ahead.NAMES if is_short else ahead.OBJECTS)
    from experimenter.keys import may_mean_trees
    from experimenter.selection import Selection, select

    gc.disable()  # it would walk through all the records again and again, a tenth of the time, and find nothing
    repo = find_current_repo()
    settle_leftovers(repo)
    has_trees = (as_json and group_by is None) or may_mean_trees(columns, group_by)
    found = select(repo, Selection(**wanted, has_trees=has_trees))
    if group_by is not None:
        words = _words(group_by, "--group-by")
        _print_groups(repo, found, words, wanted, as_json=as_json, as_csv=as_csv)
    elif as_json:
        print_array(found)
    else:
        shown = None if columns is None else _words(columns, "--columns")
        _print_experiments(repo, found, shown, only_changed=only_changed, as_csv=as_csv)


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
    ahead.ask(ahead.NAMES)
    from experimenter.codestate import warn
    from experimenter.find import named
    from experimenter.render.details import details

    repo = find_current_repo()
    (found,) = named(repo, experiment)
    warn(repo, found)
    if as_json:
        print_json(found.to_json())
    else:
        print_lines(repo, details(found))


@click.command("diff")
@click.argument("a", metavar="A", shell_complete=complete_experiment)
@click.argument("b", metavar="[B]", required=False, shell_complete=complete_experiment)
@click.option("--stat", "is_stat", is_flag=True, help="Of the code show only how much changed in each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff_command(a: str, b: str | None, is_stat: bool, as_json: bool) -> None:
    """Show how experiments differ: parameters, results and code.

    Without B: what differs from the code of A to the work tree as it is now. A and B are tags, ids,
    starts of ids (4 or more digits), or names that only one bears.

    \b
    Examples:
      experimenter diff baseline slow
      experimenter diff baseline --stat
    """  # noqa: D301 - \b is click's mark
    speak()
    from experimenter.codestate import warn
    from experimenter.compare import compare
    from experimenter.find import named
    from experimenter.plumbing import wants_colour
    from experimenter.render.comparison import differences

    repo = find_current_repo()
    first, *others = named(repo, *(word for word in (a, b) if word is not None))
    second = others[0] if others else None
    warn(repo, first, *others)
    if as_json:
        print_json(compare(repo, first, second).to_json())
        return
    is_coloured = is_painted() and wants_colour(repo, "color.diff")
    options = [f"--color={'always' if is_coloured else 'never'}", *(["--stat"] if is_stat else [])]
    found = compare(repo, first, second, patch=options)
    print_lines(repo, differences(found, width=table_width(), paint=paint), verb="diff", raw=found.patch)


@click.command("verify")
@click.argument("experiment", metavar="EXP", shell_complete=complete_experiment)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_command(experiment: str, as_json: bool) -> int:
    """Check that the work tree now is an experiment's code.

    Exits with 0 if it is, else with 1 and the paths that differ; with 1, too, where the record names another
    code than the one that its tag is on.

    \b
    Example:
      experimenter verify baseline && echo the same
    """  # noqa: D301 - \b is click's mark
    speak()
    from experimenter.codestate import warn
    from experimenter.compare import compare
    from experimenter.find import named
    from experimenter.render.details import changes

    repo = find_current_repo()
    (wanted,) = named(repo, experiment)
    is_contradicted = warn(repo, wanted)
    found = compare(repo, wanted)
    is_equal = not any(found.code.values())
    if as_json:
        print_json({"tag": found.a.tag, "id": found.a.id, "is_equal": is_equal, "code": found.code})
    elif is_equal:
        click.echo(f"the work tree is the code of {found.a.tag}")
    else:
        lines = changes(f"the work tree is not the code of {found.a.tag}; since then:", found.code)
        print_lines(repo, lines)
    return 0 if is_equal and not is_contradicted else 1


def _check_that_options_agree(
    columns: str | None, only_changed: bool, group_by: str | None, as_json: bool, as_csv: bool
) -> None:
    context = click.get_current_context()
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other", context)
    if (columns is not None or only_changed) and (as_json or group_by is not None):
        other = "--json, which prints whole records" if as_json else "--group-by"
        raise click.UsageError(f"--columns and --only-changed are not for {other}", context)


def _words(text: str, option: str) -> list[str]:
    """Return the keys that are listed in an option; one in backquotes may have commas in it."""
    from experimenter.keys import words_in

    words = words_in(text)
    if not all(words):
        raise click.UsageError(f"{option} takes keys with commas between them", click.get_current_context())
    return words


def _whole_keys(found: "Sequence[Experiment]", words: Sequence[str]) -> list[str]:
    """Return the whole keys, each once, that words mean among these experiments."""
    from experimenter.keys import Keys, values_of
    from experimenter.selection import whole_key

    keys = Keys(map(values_of, found))
    return list(dict.fromkeys(whole_key(keys, word) for word in words))


def _print_experiments(
    repo: Any, found: "Sequence[Experiment]", words: Sequence[str] | None, *, only_changed: bool, as_csv: bool
) -> None:
    from experimenter.render.experiments import csv_of, table_of

    columns = None if words is None else _whole_keys(found, words)
    if as_csv:
        click.echo(csv_of(found, columns=columns, only_changed=only_changed), nl=False)
        return
    if not found:
        click.echo("Note: no experiments here yet, or none that match", err=True)
        return
    lines, left_out = table_of(found, width=table_width(), columns=columns, only_changed=only_changed, paint=paint)
    print_lines(repo, lines)
    if left_out:
        tell_of_columns(left_out)


def _print_groups(
    repo: Any,
    found: "Sequence[Experiment]",
    words: Sequence[str],
    wanted: "Mapping[str, Any]",
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    from experimenter.groups import groups_of
    from experimenter.render.groups import csv_of_groups, table_of_groups

    keys = _whole_keys(found, words)
    groups = groups_of(found, keys, is_sorted=wanted["sort"] is not None)
    if wanted["reverse"] and wanted["sort"] is None:
        groups.reverse()
    if as_json:
        print_json([group.to_json() for group in groups])
    elif as_csv:
        click.echo(csv_of_groups(groups, keys), nl=False)
    elif groups:
        print_lines(repo, table_of_groups(groups, width=table_width(), paint=paint))
    else:
        click.echo("Note: no experiments here yet, or none that match", err=True)
