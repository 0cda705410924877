"""Prints tables and other lines: plain text, or for a terminal as wide as it is, by the user's pager if it is long."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from experimenter.cells import Plan
    from experimenter.plumbing import Repo
    from experimenter.plumbing.transfer import Patience
    from experimenter.store import Experiment

_MOST_ROWS = 1_000  # of the table at the end of a sweep
_COLOURS = {
    "queued": "blue", "running": "cyan", "completed": "green",
    "failed": "red", "stopped": "yellow", "interrupted": "yellow",
}  # fmt: skip


def table_width() -> int | None:
    """Return the columns of the terminal that stdout is; nothing where it is none."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


def is_painted() -> bool:
    """Say whether what we print is in colours: on a terminal, unless the user has set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(kind: str, text: str) -> str:
    """Return a text in the colours of a terminal: a heading in bold, a status in its colour; elsewhere as it is."""
    if not is_painted():
        return text
    return click.style(text, bold=True) if kind == "heading" else click.style(text, fg=_COLOURS.get(kind))


def print_lines(repo: "Repo", lines: Sequence[str], *, verb: str = "", raw: bytes = b"") -> None:
    """Print lines, and `raw` below them; on a terminal by the user's pager if it is too much for it.

    What is like the output of a git `verb` goes by the pager for that, always, as git's own does.
    """
    text = "".join(f"{line}\n" for line in lines).encode() + raw
    if sys.stdout.isatty() and (verb or text.count(b"\n") >= get_terminal_size().lines):
        from experimenter.plumbing import pager
        from experimenter.process import page

        users = pager(repo, verb)
        if users not in ("", "cat") and page(text, pager=users):
            return
    click.echo(text, nl=False)


def patience() -> "Patience":
    """Return how a transfer goes that a person may watch: they are asked, and see its progress, on a terminal."""
    from experimenter.plumbing.transfer import Patience

    def tell(line: str) -> None:
        click.echo(f"\r{line}\x1b[K" + ("\n" if line.endswith("done.") else ""), nl=False, err=True)

    is_seen = sys.stderr.isatty()
    return Patience(is_attended=sys.stdin.isatty() and is_seen, on_progress=tell if is_seen else None)


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    from experimenter.storable import dumps

    click.echo(dumps(value, indent=2))


def tell_of_columns(left_out: Sequence[str]) -> None:
    """Tell how many columns found no place, and which as far as that fits a line."""
    from experimenter.text import columns_of, counted, visible

    say = f"Note: no place for {counted(len(left_out), 'column')}, see --columns: {{}}".format
    lines = [say(visible(", ".join(left_out)))]
    lines += [say(visible(", ".join([*left_out[:number], "…"]))) for number in range(len(left_out) - 1, -1, -1)]
    width = table_width() or 0
    click.echo(next((line for line in lines if columns_of(line) <= width), lines[-1]), err=True)


def print_array(found: "Iterable[Experiment]") -> None:
    """Print an array with an experiment a line: a document that also grep and diff can read."""
    from experimenter.storable import dumps

    is_empty = True
    for experiment in found:
        click.echo(("[\n" if is_empty else ",\n") + dumps(experiment.to_json()), nl=False)
        is_empty = False
    click.echo("[]" if is_empty else "\n]")


def print_comparison(original: "Experiment", again: "Experiment") -> None:
    """Show the results of a rerun beside those of the original, and whether or by how much they differ."""
    from experimenter.compare import differing, paired
    from experimenter.render.comparison import comparison

    pairs = paired(original.results, again.results)
    if not pairs:
        what = "there are no results, as in"
    elif differing(original.results, again.results):
        what = "results differ from those of"
    else:
        what = "results are equal to those of"
    click.echo(f"Note: {what} {original.tag} ({original.id})", err=True)
    width = get_terminal_size().columns - 2 if sys.stderr.isatty() else None
    for line in comparison(pairs, ("RESULT", original.id, again.id), width=width) if pairs else ():
        click.echo(f"  {line}", err=True)


def print_ended_cells(
    repo: Any, plan: "Plan", tags: Sequence[str], *, sort: str | None, reverse: bool, as_json: bool
) -> None:
    """Print the experiments that a sweep has come to, as a table or as JSON."""
    from experimenter.errors import BadKey
    from experimenter.selection import sorted_tags
    from experimenter.store import each, ref

    if sort is None:
        tags = tags[::-1] if reverse else tags
    else:
        try:
            tags = sorted_tags(repo, tags, sort, reverse=reverse)
        except BadKey as error:  # which nobody could tell before there were results
            logging.getLogger("experimenter").warning("not sorted: %s", "\n  ".join([error.message, *error.details]))
    if as_json:
        print_array(each(repo, {tag: ref(tag) for tag in tags}, has_trees=True))
    elif tags:
        _print_table(repo, tags, plan)


def _print_table(repo: Any, tags: Sequence[str], plan: "Plan") -> None:
    """Print the first of some experiments: of ten thousand nobody sees more, and they take 100 MB."""
    from experimenter.render.experiments import table_of
    from experimenter.render.sweep import columns_for
    from experimenter.store import experiments, ref

    found = list(experiments(repo, {tag: ref(tag) for tag in tags[:_MOST_ROWS]}).values())
    lines, left_out = table_of(found, width=table_width(), columns=columns_for(found, plan.axes), paint=paint)
    for line in lines:
        click.echo(line)
    if len(tags) > _MOST_ROWS:
        click.echo(f"Note: {len(tags) - _MOST_ROWS:,} more are in 'experimenter list'", err=True)
    if left_out:
        tell_of_columns(left_out)
