"""Values of records as cells of tables and of CSV: visible, on one line each."""

import csv
import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from experimenter.layout import GAP, numbers, rounded
from experimenter.query import MISSING, as_number
from experimenter.record import KEYS
from experimenter.storable import dumps
from experimenter.text import columns_of, visible
from experimenter.written import Written

AGO = "started, as an age"  # the key of a column that is no key of records
_HEADINGS = {AGO: "AGO", "code.commit": "CODE"}  # of the others it is the key
_DAY_S = 86400
_AGES = (  # below how many seconds which unit is right, of how many seconds
    (60, 1, "s"), (3600, 60, "m"), (2 * _DAY_S, 3600, "h"), (60 * _DAY_S, _DAY_S, "d"),
    (730 * _DAY_S, 30 * _DAY_S, "mo"),
)  # fmt: skip


def _age(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, in one number: `12s`, `5m`, `3h`, `2d`, `5mo`, `3y`."""
    elapsed_s = max(0, int((now - moment).total_seconds()))
    for below_s, unit_s, unit in _AGES:
        if elapsed_s < below_s:
            return f"{elapsed_s // unit_s}{unit}"
    return f"{elapsed_s // (365 * _DAY_S)}y"


def column_cells(values: Sequence[Any]) -> tuple[list[str], bool]:
    """Return values as cells, and whether they are numbers, below each other, and nothing else."""
    absent = values.count(MISSING)
    if absent < len(values) and as_number(next(value for value in values if value is not MISSING)) is not None:
        found = [None if value is MISSING else as_number(value) for value in values]
        if found.count(None) == absent:
            return numbers(found), True
    return [table_cell(value) for value in values], False


def heading_of(key: str, short: str) -> str:
    """Return what stands above the column of a key: what can be typed for it, in capitals where that is fixed."""
    return _HEADINGS.get(key) or (key.upper() if key in KEYS or key == "id" else visible(short))


def table_cell(value: Any) -> str:
    """Return a value as one visible line for a table, where nothing is no empty cell."""
    return "-" if value is MISSING else "null" if value is None else cell(value)


def csv_document(heading: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return CSV of a heading and of rows of values."""
    document = io.StringIO()
    writer = csv.writer(document, lineterminator="\n")
    writer.writerow(map(visible, heading))
    writer.writerows(map(cell, values) for values in rows)
    return document.getvalue()


def lines_of(mapping: Mapping[str, Any]) -> list[str]:
    """Return a line for each key and its value, the values below each other."""
    widest = max(map(columns_of, map(visible, mapping)), default=0)
    lines = []
    for key, value in mapping.items():
        name = visible(key)
        is_command = key == "command" and isinstance(value, list)
        shown = visible(shlex.join(map(str, value))) if is_command else table_cell(value)
        lines.append(f"{name}{' ' * (widest - columns_of(name))}{GAP}{shown}")
    return lines


def cell(value: Any) -> str:
    """Return a value as one visible line: text as it is, a number as it was given, anything else as JSON."""
    if value is None:
        return ""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    if type(value) is float:
        return rounded([value])[0]
    return visible(str(value)) if isinstance(value, str | Written) else visible(dumps(value))


def result_cell(value: Any) -> str:
    """Return a result that stands alone as one visible line: a number as a table has it."""
    number = as_number(value)
    return cell(value) if number is None else rounded([number])[0]


def _moment(started: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(started)).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def local_time(started: Any, *, now: datetime | None) -> str:
    """Return a time without its seconds, and as seen from `now` also without the year that this is."""
    moment = _moment(started)
    if not moment:
        return table_cell(started)
    is_this_year = now and now.astimezone().year == moment.year
    day = f"{moment.month:02}-{moment.day:02} {moment.hour:02}:{moment.minute:02}"  # four times as fast as strftime
    return day if is_this_year else f"{moment.year:04}-{day}"


def age_cell(started: Any, now: datetime) -> str:
    """Return how long ago a time was."""
    moment = _moment(started)
    return _age(moment, now) if moment else "-"
