"""Experiments as text for people, and as CSV: nothing that a record holds reaches the terminal as a command."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from experimenter.storable import dumps, flattened
from experimenter.store import Experiment
from experimenter.text import visible

_GAP = "  "
_NARROWEST = 12
_HEADINGS = ("ID", "NAME", "STARTED", "STATUS", "PARAMETERS", "RESULTS", "CODE")
_ELASTIC = (4, 5, 1)  # the columns that are cut when a line is too long, in this order


def table(experiments: Iterable[Experiment], *, width: int | None) -> list[str]:
    """Return lines, the first a heading, a line for each experiment; cut to `width` columns where it is given."""
    rows = [_HEADINGS, *(_row(experiment) for experiment in experiments)]
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        _shrink(widths, width)
    return [_GAP.join(map(_fitted, row, widths)).rstrip() for row in rows]


def details(experiment: Experiment) -> list[str]:
    """Return lines that show everything of one experiment."""
    body = dict(experiment.record.body)
    parts = {name: body.pop(name, {}) for name in ("parameters", "results", "code")}
    first = {"tag": experiment.tag, "id": experiment.id}
    rest = {key: value for key, value in flattened(body) if key != "schema"}
    lines = _pairs(first | rest | {f"code.{key}": value for key, value in flattened(parts["code"])})
    for name in ("parameters", "results"):
        if parts[name]:
            lines += ["", f"{name}:", *(f"{_GAP}{line}" for line in _pairs(dict(flattened(parts[name]))))]
    return lines


def csv_document(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV (RFC 4180) with a column for every key that one of them has; text only, no control code."""
    header = dict.fromkeys(key for row in rows for key in row)
    parts = ("parameters.", "results.")
    fixed = [key for key in header if not key.startswith(parts)]
    keys = fixed + [key for part in parts for key in header if key.startswith(part)]
    document = io.StringIO()
    writer = csv.writer(document)
    writer.writerow(map(visible, keys))
    writer.writerows([_cell(row.get(key)) for key in keys] for row in rows)
    return document.getvalue()


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a visible text takes: none for a combining mark, two for a wide one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _row(experiment: Experiment) -> tuple[str, ...]:
    body = experiment.record.body
    cells = (
        experiment.id,
        experiment.name,
        _local_time(str(body.get("started", ""))),
        str(body.get("status", "")),
        _assignments(experiment.record.parameters),
        _assignments(experiment.record.results),
        experiment.commit[:8],
    )
    return tuple(map(visible, cells))


def _assignments(mapping: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_cell(value)}" for key, value in flattened(mapping))


def _pairs(mapping: Mapping[str, Any]) -> list[str]:
    widest = max(map(columns_of, map(visible, mapping)), default=0)
    return [
        f"{shown}{' ' * (widest - columns_of(shown))}{_GAP}{_cell(value)}"
        for shown, value in ((visible(key), value) for key, value in mapping.items())
    ]


def _cell(value: Any) -> str:
    """Return a value as one visible line: text as it is, anything else as JSON."""
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) else visible(dumps(value))


def _local_time(started: str) -> str:
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return started


def _shrink(widths: list[int], width: int) -> None:
    for column in _ELASTIC:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[column] = max(min(widths[column], _NARROWEST), widths[column] - excess)


def _fitted(text: str, width: int) -> str:
    """Return `text` filled, or cut with an ellipsis, to `width` columns."""
    taken = columns_of(text)
    if taken <= width:
        return text + " " * (width - taken)
    while columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…" + " " * (width - 1 - columns_of(text))
