"""Experiments as text for people, and as CSV: nothing that a record holds reaches the terminal as a command."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from experimenter.names import name_of
from experimenter.running import Running
from experimenter.storable import dotted, dumps
from experimenter.store import Experiment
from experimenter.text import readable_size, visible

_GAP = "  "
_COLUMNS = ("tag", "id", "name", "status", "started", "finished", "code.commit")
_HEADINGS = ("ID", "NAME", "STARTED", "STATUS", "PARAMETERS", "RESULTS", "CODE")
_WIDEST = 60  # columns that a cell is filled up to where lines may be of any length
_ELASTIC = (1, 4, 5)  # the columns that are cut when a line is too long
_HEADINGS_OF_RUNNING = ("ID", "NAME", "STATE", "PID", "STARTED", "ELAPSED", "CPU", "MEMORY", "HOST", "COMMAND")
_ELASTIC_OF_RUNNING = (1, 8, 9)
_NUMBERS_OF_RUNNING = (3, 5, 6, 7)


def row(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies one experiment, then its parameters and results under dotted keys."""
    body = experiment.record.body
    values = {"tag": experiment.tag, "id": experiment.id, "code.commit": experiment.commit}
    found = {key: values.get(key, body.get(key)) for key in _COLUMNS}
    for part in ("parameters", "results"):
        found |= dotted(body.get(part, {}), prefix=f"{part}.")
    return found


def table(experiments: Iterable[Experiment], *, width: int | None) -> list[str]:
    """Return lines, the first a heading, a line for each experiment; cut to `width` columns where it is given."""
    return aligned([_HEADINGS, *(_cells(experiment) for experiment in experiments)], _ELASTIC, width=width)


def table_of_running(experiments: Iterable[Running], *, width: int | None) -> list[str]:
    """Return lines, the first a heading, a line for each running experiment; cut to `width` where it is given."""
    rows = [_HEADINGS_OF_RUNNING, *(_cells_of_running(one) for one in experiments)]
    return aligned(rows, _ELASTIC_OF_RUNNING, width=width, right=_NUMBERS_OF_RUNNING)


def aligned(
    rows: Sequence[Sequence[str]], elastic: Sequence[int], *, width: int | None, right: Sequence[int] = ()
) -> list[str]:
    """Return rows of visible cells as lines, the cells of `right` flush right; the elastic ones are cut first."""
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    if width is None:
        widths = [min(taken, _WIDEST) for taken in widths]
    else:
        widths = [min(taken, width) for taken in widths]
        _shrink(widths, elastic, width)
    lines = []
    for cells in rows:
        shown = [cell if width is None else _fitted(cell, taken) for cell, taken in zip(cells, widths, strict=True)]
        padded = [
            _padded(cell, taken, right=place in right)
            for place, (cell, taken) in enumerate(zip(shown, widths, strict=True))
        ]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def details(experiment: Experiment) -> list[str]:
    """Return lines that show everything of one experiment."""
    body = dict(experiment.record.body)
    parts = {name: body.pop(name, {}) for name in ("parameters", "results", "code")}
    first = {"tag": experiment.tag, "id": experiment.id}
    rest = {key: value for key, value in dotted(body).items() if key not in ("schema", *first)}
    lines = _pairs(first | rest | dotted(parts["code"], prefix="code."))
    for name in ("parameters", "results"):
        if parts[name]:
            lines += ["", f"{name}:", *(f"{_GAP}{line}" for line in _pairs(dotted(parts[name])))]
    return lines


def csv_document(experiments: Iterable[Experiment]) -> str:
    """Return CSV: a heading, a row for each experiment, a column for every key that one of them has."""
    rows = [row(experiment) for experiment in experiments]
    header = dict.fromkeys(key for found in rows for key in found)
    more = [key for part in ("parameters.", "results.") for key in header if key.startswith(part)]
    keys = [*_COLUMNS, *more]
    document = io.StringIO()
    writer = csv.writer(document, lineterminator="\n")
    writer.writerow(map(visible, keys))
    writer.writerows([_cell(found.get(key)) for key in keys] for found in rows)
    return document.getvalue()


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a visible text takes: none for a combining mark, two for a wide one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cells(experiment: Experiment) -> tuple[str, ...]:
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
    return " ".join(f"{key}={_cell(value)}" for key, value in dotted(mapping).items())


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
    if type(value) in (int, float):
        return repr(value)
    return visible(value) if isinstance(value, str) else visible(dumps(value))


def _local_time(started: str) -> str:
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return started


def _cells_of_running(running: Running) -> tuple[str, ...]:
    pid_file = running.entry.pid_file
    cells = (
        running.entry.id,
        name_of(running.entry.tag),
        running.state,
        str(pid_file.command.pid if pid_file.command else "-"),
        _moment(running.entry.started),
        _duration(running.elapsed_s),
        "-" if running.cpu_percent is None else f"{running.cpu_percent:.0f}%",
        "-" if running.memory_bytes is None else readable_size(running.memory_bytes),
        pid_file.host,
        " ".join(pid_file.words),
    )
    return tuple(map(visible, cells))


def _moment(started: datetime) -> str:
    """Return a local time as ps(1) does: the hour if it is of today, else the day."""
    local = started.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%b %d")


def _duration(elapsed_s: float) -> str:
    """Return seconds as people say them: `12s`, `3m 20s`, `5h 07m`, `12d 3h`."""
    minutes, seconds = divmod(max(0, int(elapsed_s)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


def _shrink(widths: list[int], elastic: Sequence[int], width: int) -> None:
    """Take from the widest column until a line fits: of the elastic ones first, then of all."""
    for columns, narrowest in ((elastic, 8), (elastic, 5), (range(len(widths)), 4)):
        while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
            widest = max(columns, key=widths.__getitem__)
            if widths[widest] <= narrowest:
                break
            widths[widest] -= 1


def _fitted(text: str, width: int) -> str:
    """Return `text`, cut with an ellipsis where it is wider than `width` columns."""
    if columns_of(text) <= width:
        return text
    cut, taken = "", 0
    for character in text:
        taken += columns_of(character)
        if taken > width - 1:
            break
        cut += character
    return cut + "…"


def _padded(text: str, width: int, *, right: bool) -> str:
    filling = " " * (width - columns_of(text))
    return filling + text if right else text + filling
