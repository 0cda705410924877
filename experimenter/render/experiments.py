"""Lists of experiments, for people and as CSV."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from experimenter.keys import Keys, Values, identity, identity_of, values_of
from experimenter.layout import Column, Paint, Rank, laid_out, unpainted
from experimenter.query import MISSING
from experimenter.render.cells import AGO, age_cell, column_cells, csv_document, heading_of, local_time
from experimenter.storable import dotted
from experimenter.store import Experiment
from experimenter.tags import Unreadable
from experimenter.text import visible

IDENTITY = ("tag", "id", "name", "status", "started", "finished", "code.commit")
_RIGID = ("id", "tag", "status", "started", "finished", AGO, "code.commit")
# What is left out first where the terminal is too narrow: what is the same in all, the code, the age, then what few
# have, then parameters and results in turn from the last.
_SAME, _CODE, _AGE, _DIFFERENT, _STARTED, _NAMED = range(6)


def row(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies one experiment, then its parameters and results under dotted keys."""
    body = experiment.record.body
    found = {key: body[key] for key in ("status", "started", "finished") if key in body}
    found |= identity(experiment)
    for part in ("parameters", "results"):
        found |= dotted(body.get(part, {}), prefix=f"{part}.")
    return found


def table_of(
    experiments: Sequence[Experiment],
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
    rows: list[Values] = [(row if columns is None else values_of)(experiment) for experiment in experiments]
    keys = Keys([*rows, *map(values_of, experiments[-1:])])  # one is enough to know what is not the user's
    shown = list(columns) if columns is not None else _default_keys(rows, is_seen=width is not None)
    if only_changed:
        shown = [key for key in shown if key == "id" or _differs(rows, key)]
    ranks: dict[str, Rank] = {}
    if columns is not None:
        ranks = {key: (-place,) for place, key in enumerate(shown) if place}
    elif width is not None:
        ranks = {key: _rank(key, rows, shown) for key in shown}
    now = now or datetime.now(UTC)
    made = {key: _column(key, rows, keys, ranks.get(key), now=now, is_short=width is not None) for key in shown}
    lines, left_out = laid_out(list(made.values()), width=width, paint=paint)
    return lines, [keys.short(key) for key, column in made.items() if column in left_out and key != AGO]


def table_of_unreadable(found: Sequence[Unreadable], *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines, the first a heading, a line for each tag that is no experiment, which say what is wrong with it."""
    reasons = [one.error.message.removeprefix(f"{visible(one.tag)}: ") for one in found]
    ids = Column(heading="ID", cells=[one.id for one in found], is_rigid=True)
    tags = Column(heading="TAG", cells=[visible(one.tag) for one in found])
    return laid_out([ids, tags, Column(heading="NO EXPERIMENT", cells=reasons)], width=width, paint=paint)[0]


def csv_of(
    experiments: Iterable[Experiment], *, columns: Sequence[str] | None = None, only_changed: bool = False
) -> str:
    """Return CSV: a heading, a row for each experiment, a column for every key that one of them has.

    `columns` are whole keys to have instead. With `only_changed` those are left out in which all are the same.
    """
    rows: list[Values]
    if columns is None:
        rows = [row(experiment) for experiment in experiments]
        keys = [*IDENTITY, *_keys_of(rows)]
    else:
        rows = [values_of(experiment) for experiment in experiments]
        keys = list(columns)
    if only_changed:
        keys = [key for key in keys if key in ("tag", "id") or _differs(rows, key)]
    return csv_document(keys, ([found.get(key) for key in keys] for found in rows))


def _default_keys(rows: Sequence[Values], *, is_seen: bool) -> list[str]:
    """Return what a table shows; how long ago something was is only for who sees it now."""
    return ["id", "name", "started", *([AGO] if is_seen else []), "status", *_keys_of(rows), "code.commit"]


def _keys_of(rows: Iterable[Values]) -> list[str]:
    """Return the keys of all parameters, then of all results."""
    found = dict.fromkeys(key for values in rows for key in values)
    return [key for part in ("parameters.", "results.") for key in found if key.startswith(part)]


def _differs(rows: Sequence[Values], key: str) -> bool:
    """Say whether experiments differ in a key, or just some have it."""
    name = "started" if key == AGO else key
    return len({identity_of(values[name]) if name in values else "" for values in rows}) > 1


def _column(key: str, rows: Sequence[Values], keys: Keys, rank: Rank, *, now: datetime, is_short: bool) -> Column:
    heading = heading_of(key, keys.short(key))
    values = [values.get("started" if key == AGO else key, MISSING) for values in rows]
    is_number = False
    if key == AGO:
        cells = [age_cell(value, now) for value in values]
    elif key in ("started", "finished"):
        cells = [local_time(value, now=now if is_short else None) for value in values]
    elif key == "code.commit":
        cells = [visible(str(value)[:8]) for value in values]
    else:
        cells, is_number = column_cells(values)
    return Column(
        heading=heading,
        cells=cells,
        is_right=is_number or key == AGO,
        is_rigid=is_number or key in _RIGID,
        is_painted=key == "status",
        rank=rank,
    )


def _rank(key: str, rows: Sequence[Values], shown: Sequence[str]) -> Rank:
    """Return how soon a column is left out."""
    if key == "id":
        return None
    fixed = {"code.commit": _CODE, AGO: _AGE, "started": _STARTED, "name": _NAMED, "status": _NAMED}
    is_same = len(rows) > 1 and not _differs(rows, key)
    if key in fixed:
        return (_SAME if is_same else fixed[key], len(rows))
    part = key.partition(".")[0]
    is_rare = 2 * sum(key in values for values in rows) < len(rows)
    place = [other for other in shown if other.partition(".")[0] == part].index(key)
    return (_SAME if is_same else _DIFFERENT, not is_rare, -place, part == "results")
