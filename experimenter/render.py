"""Experiments as text for people, and as CSV: nothing that a record holds reaches the terminal as a command."""

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from experimenter.compare import Comparison, Pairs
from experimenter.groups import Group, Spread
from experimenter.keys import Keys, Values, values_of
from experimenter.layout import GAP, Column, Paint, Rank, laid_out, numbers, unpainted
from experimenter.query import MISSING, as_number
from experimenter.record import KEYS
from experimenter.storable import dotted, dumps
from experimenter.store import Experiment
from experimenter.text import columns_of, visible

_CSV_COLUMNS = ("tag", "id", "name", "status", "started", "finished", "code.commit")
_HEADINGS = {"age": "AGO", "code.commit": "CODE"}  # of the others it is the key
_RIGID = ("id", "tag", "status", "started", "finished", "age", "code.commit")
_SPREAD = ("mean", "std", "min", "max")
_CHANGES = ("added", "modified", "deleted")
_DAY_S = 86400
_AGES = (  # below how many seconds which unit is right, of how many seconds
    (60, 1, "s"), (3600, 60, "m"), (2 * _DAY_S, 3600, "h"), (60 * _DAY_S, _DAY_S, "d"),
    (730 * _DAY_S, 30 * _DAY_S, "mo"),
)  # fmt: skip
# What is left out first where the terminal is too narrow: what is the same in all, the code, the age, then
# parameters and results from the last.
_SAME, _CODE, _AGE, _DIFFERENT, _STARTED = range(5)


def row(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies one experiment, then its parameters and results under dotted keys."""
    body = experiment.record.body
    values = {"tag": experiment.tag, "id": experiment.id, "code.commit": experiment.commit}
    found = {key: values.get(key, body.get(key)) for key in _CSV_COLUMNS}
    for part in ("parameters", "results"):
        found |= dotted(body.get(part, {}), prefix=f"{part}.")
    return found


def table_of(
    experiments: Iterable[Experiment],
    *,
    width: int | None,
    columns: Sequence[str] | None = None,
    only_changed: bool = False,
    paint: Paint = unpainted,
    now: datetime | None = None,
) -> tuple[list[str], list[str]]:
    """Return lines, the first a heading, a line for each experiment, and the keys that found no place in `width`.

    `columns` are whole keys. With `only_changed` those are left out in which all experiments are the same.
    """
    rows = [values_of(experiment) for experiment in experiments]
    keys = Keys(rows)
    shown = list(columns) if columns is not None else ["id", "name", "started", "age", "status", *_keys_of(rows)]
    if columns is None:
        shown.append("code.commit")
    if only_changed:
        shown = [key for key in shown if key == "id" or _differs(rows, key)]
    is_fixed = columns is not None or width is None
    now = now or datetime.now(UTC)
    made = {key: _column(key, rows, keys, None if is_fixed else _rank(key, rows), now=now) for key in shown}
    lines, left_out = laid_out(list(made.values()), width=width, paint=paint)
    return lines, [keys.short(key) for key, column in made.items() if column in left_out]


def csv_of(
    experiments: Iterable[Experiment], *, columns: Sequence[str] | None = None, only_changed: bool = False
) -> str:
    """Return CSV: a heading, a row for each experiment, a column for every key that one of them has.

    `columns` are whole keys to have instead. With `only_changed` those are left out in which all are the same.
    """
    rows: list[Values]
    if columns is None:
        rows = [row(experiment) for experiment in experiments]
        keys = [*_CSV_COLUMNS, *_keys_of(rows)]
    else:
        rows = [values_of(experiment) for experiment in experiments]
        keys = list(columns)
    if only_changed:
        keys = [key for key in keys if key in ("tag", "id") or _differs(rows, key)]
    return _csv(keys, ([found.get(key) for key in keys] for found in rows))


def table_of_groups(groups: Sequence[Group], *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines, the first a heading, a line for each result of one or more groups: how its values are spread."""
    firsts: list[Group | None] = []  # on the lines below its first a group is not said again
    spreads: list[tuple[str, Spread | None]] = []
    for group in groups:
        found: list[tuple[str, Spread | None]] = [*group.results.items()] or [("-", None)]
        firsts += [group, *[None] * (len(found) - 1)]
        spreads += found
    columns = [
        Column(heading=_heading(key, key), cells=[_shown(group.values[key]) if group else "" for group in firsts])
        for key in groups[0].values
    ]
    counts = [str(group.n) if group else "" for group in firsts]
    columns.append(Column(heading="N", cells=counts, is_right=True, is_rigid=True))
    columns.append(Column(heading="RESULT", cells=[visible(key) for key, _ in spreads]))
    for name in _SPREAD:
        cells = numbers([getattr(spread, name, None) for _, spread in spreads])
        columns.append(Column(heading=name.upper(), cells=cells, is_right=True, is_rigid=True))
    return laid_out(columns, width=width, paint=paint)[0]


def csv_of_groups(groups: Sequence[Group], keys: Sequence[str]) -> str:
    """Return CSV: the keys that a group agrees in, `n`, and for each result its mean, std, min and max."""
    results = list(dict.fromkeys(key for group in groups for key in group.results))
    heading = [*keys, "n", *(f"results.{key}.{name}" for key in results for name in _SPREAD)]
    return _csv(heading, ([*group.values.values(), group.n, *_spread_cells(group, results)] for group in groups))


def details(experiment: Experiment) -> list[str]:
    """Return lines that show everything of one experiment, and how to get its code back."""
    body = dict(experiment.record.body)
    parts = {name: body.pop(name, {}) for name in ("parameters", "results", "code", "drift")}
    changed = parts["code"].get("changed")
    code = {key: value for key, value in parts["code"].items() if key != "changed"} | {"commit": experiment.commit}
    first = {"tag": experiment.tag, "id": experiment.id}
    rest = {key: value for key, value in dotted(body).items() if key not in ("schema", *first)}
    lines = _pairs(first | rest | dotted(code, prefix="code."))
    for name in ("parameters", "results"):
        if parts[name]:
            lines += ["", f"{name}:", *(f"{GAP}{line}" for line in _pairs(dotted(parts[name])))]
    lines += changes("changed since the commit that it is based on:", changed)
    lines += changes("changed while it ran:", parts["drift"])
    return [*lines, "", "its code:", f"{GAP}experimenter checkout {experiment.id} DIR"]


def changes(heading: str, lists: Any) -> list[str]:
    """Return lines with the paths of a record's lists `added`, `modified` and `deleted`; none where all are empty."""
    if not isinstance(lists, Mapping):
        return []
    paths = [(kind, path) for kind in _CHANGES for path in lists.get(kind) or ()]
    shown = [f"{GAP}{kind:<8}{GAP}{visible(str(path))}" for kind, path in paths]
    if lists.get("truncated"):
        shown.append(f"{GAP}and {visible(str(lists['truncated']))} more")
    return ["", heading, *shown] if shown else []


def differences(found: Comparison, *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines that show what differs between experiments, up to where their code begins."""
    lines = [f"a  {found.a.id}  {found.a.tag}"]
    lines.append(f"b  {found.b.id}  {found.b.tag}" if found.b else "b  the work tree")
    for heading, pairs in (("PARAMETER", found.parameters), ("RESULT", found.results)):
        if pairs:
            lines += ["", *comparison(pairs, (heading, "a", "b"), width=width, paint=paint)]
    return [*lines, ""] if any(found.code.values()) else [*lines, "", "the code is the same"]


def comparison(
    pairs: Pairs, headings: tuple[str, str, str], *, width: int | None, paint: Paint = unpainted
) -> list[str]:
    """Return lines, the first with the `headings`, for keys with two values each, and by how much they differ."""
    columns = [Column(heading=headings[0], cells=list(map(visible, pairs)))]
    for place, heading in enumerate(headings[1:]):
        columns.append(Column(heading=heading, cells=[_shown(pair[place]) for pair in pairs.values()]))
    cells = [_difference(*pair) for pair in pairs.values()]
    if any(cells):
        columns.append(Column(heading="b - a", cells=cells, rank=(0,)))
    return laid_out(columns, width=width, paint=paint)[0]


def age(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, in one number: `12s`, `5m`, `3h`, `2d`, `5mo`, `3y`."""
    elapsed_s = max(0, int((now - moment).total_seconds()))
    for below_s, unit_s, unit in _AGES:
        if elapsed_s < below_s:
            return f"{elapsed_s // unit_s}{unit}"
    return f"{elapsed_s // (365 * _DAY_S)}y"


def _keys_of(rows: Iterable[Values]) -> list[str]:
    """Return the keys of all parameters, then of all results, that are no objects themselves."""
    found: dict[str, bool] = {}
    for values in rows:
        for key, value in values.items():
            found[key] = found.get(key, False) or not (isinstance(value, dict) and value)
    leaves = [key for key, is_leaf in found.items() if is_leaf]
    return [key for part in ("parameters.", "results.") for key in leaves if key.startswith(part)]


def _differs(rows: Sequence[Values], key: str) -> bool:
    """Say whether experiments differ in a key, or just some have it."""
    name = "started" if key == "age" else key
    return len({dumps(values[name]) if name in values else "" for values in rows}) > 1


def _column(key: str, rows: Sequence[Values], keys: Keys, rank: Rank, *, now: datetime) -> Column:
    heading = _heading(key, keys.short(key))
    values = [values.get("started" if key == "age" else key, MISSING) for values in rows]
    present = [value for value in values if value is not MISSING]
    if key == "age":
        cells = [_age(value, now) for value in values]
        return Column(heading=heading, cells=cells, is_right=True, is_rigid=True, rank=rank)
    if key in ("started", "finished"):
        cells = [_local_time(value) for value in values]
    elif key == "code.commit":
        cells = [visible(str(value)[:8]) for value in values]
    elif present and all(as_number(value) is not None for value in present):
        cells = numbers([as_number(value) for value in values])
        return Column(heading=heading, cells=cells, is_right=True, is_rigid=True, rank=rank)
    else:
        cells = [_shown(value) for value in values]
    return Column(heading=heading, cells=cells, is_rigid=key in _RIGID, is_painted=key == "status", rank=rank)


def _rank(key: str, rows: Sequence[Values]) -> Rank:
    """Return how soon a column is left out."""
    if key in ("id", "name", "status"):
        return None
    fixed = {"code.commit": _CODE, "age": _AGE, "started": _STARTED}
    if key in fixed:
        return (fixed[key],)
    part = key.partition(".")[0]
    filled = sum(key in values for values in rows)
    place = next((list(values).index(key) - list(values).index(part) for values in rows if key in values), 0)
    return (_DIFFERENT if len(rows) == 1 or _differs(rows, key) else _SAME, filled, -place)


def _heading(key: str, short: str) -> str:
    return _HEADINGS.get(key) or (key.upper() if key in KEYS or key == "id" else visible(short))


def _shown(value: Any) -> str:
    """Return a value as one visible line for a table, where nothing is no empty cell."""
    return "-" if value is MISSING else "null" if value is None else _cell(value)


def _spread_cells(group: Group, results: Iterable[str]) -> list[Any]:
    return [getattr(group.results.get(key), name, None) for key in results for name in _SPREAD]


def _difference(first: Any, second: Any) -> str:
    """Return by how much two numbers differ, in itself and in per cent of the first."""
    before, after = as_number(first), as_number(second)
    if before is None or after is None or first == second:
        return ""
    percent = f" ({100 * (after - before) / abs(before):+.3g}%)" if before else ""
    return f"{after - before:+.4g}{percent}"


def _csv(heading: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    document = io.StringIO()
    writer = csv.writer(document, lineterminator="\n")
    writer.writerow(map(visible, heading))
    writer.writerows(map(_cell, cells) for cells in rows)
    return document.getvalue()


def _pairs(mapping: Mapping[str, Any]) -> list[str]:
    widest = max(map(columns_of, map(visible, mapping)), default=0)
    lines = []
    for key, value in mapping.items():
        name = visible(key)
        is_command = key == "command" and isinstance(value, list)
        shown = visible(shlex.join(map(str, value))) if is_command else _cell(value)
        lines.append(f"{name}{' ' * (widest - columns_of(name))}{GAP}{shown}")
    return lines


def _cell(value: Any) -> str:
    """Return a value as one visible line: text as it is, anything else as JSON."""
    if value is None:
        return ""
    if type(value) in (int, float):
        return repr(value)
    return visible(value) if isinstance(value, str) else visible(dumps(value))


def _moment(started: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(started)).astimezone()
    except (ValueError, OverflowError):
        return None


def _local_time(started: Any) -> str:
    moment = _moment(started)
    return moment.strftime("%Y-%m-%d %H:%M") if moment else _shown(started)


def _age(started: Any, now: datetime) -> str:
    moment = _moment(started)
    return age(moment, now) if moment else "-"
