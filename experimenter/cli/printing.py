"""Prints tables and other lines: plain text, or for a terminal as wide as it is, by the user's pager if it is long."""

import os
import sys
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from experimenter.plumbing import Repo


def table_width() -> int | None:
    """Return the columns of the terminal that stdout is; nothing where it is none."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


def print_lines(repo: "Repo", lines: Sequence[str], *, has_heading: bool) -> None:
    """Print lines; on a terminal with a heading in bold, and by the user's pager if they are too many for it."""
    text = "\n".join(lines)
    if not sys.stdout.isatty():
        click.echo(text)
        return
    from experimenter.plumbing import pager
    from experimenter.process import page

    if has_heading and "NO_COLOR" not in os.environ:
        text = "\n".join([click.style(lines[0], bold=True), *lines[1:]])
    users = pager(repo) if len(lines) >= get_terminal_size().lines else ""
    if users in ("", "cat"):
        click.echo(text)
    else:
        page(text + "\n", pager=users)
