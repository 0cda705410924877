"""Groups of experiments, for people and as CSV."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10
from typing import Any

from experimenter.groups import Group, Spread
from experimenter.keys import Keys
from experimenter.layout import Column, Paint, laid_out, rounded, unpainted
from experimenter.query import MISSING
from experimenter.render.cells import column_cells, csv_document, heading_of
from experimenter.text import visible

_EXACT_DIGITS = 13  # behind the first of the largest of some values; floats have 15 to 17 in all
_SPREAD = ("mean", "std", "min", "max")


def table_of_groups(groups: Sequence[Group], *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines, the first a heading, a line for each result of one or more groups: how its values are spread."""
    firsts: list[Group | None] = []  # on the lines below its first a group is not said again
    spreads: list[tuple[str, Spread | None]] = []
    for group in groups:
        found: list[tuple[str, Spread | None]] = [*group.results.items()] or [("-", None)]
        firsts += [group, *[None] * (len(found) - 1)]
        spreads += found
    keys = Keys([dict.fromkeys(groups[0].values)])
    columns = []
    for key in groups[0].values:
        values = [MISSING if group.values[key] is None else group.values[key] for group in groups]
        said = iter(column_cells(values)[0])
        cells = [next(said) if group else "" for group in firsts]
        columns.append(Column(heading=heading_of(key, keys.short(key)), cells=cells))
    counts = [str(group.n) if group else "" for group in firsts]
    columns.append(Column(heading="N", cells=counts, is_right=True, is_rigid=True))
    columns.append(Column(heading="RESULT", cells=[visible(key) for key, _ in spreads]))
    for name in _SPREAD:
        cells = _rounded_by_result([(key, _value(spread, name) if spread else None) for key, spread in spreads])
        columns.append(Column(heading=name.upper(), cells=cells, is_right=True, is_rigid=True))
    return laid_out(columns, width=width, paint=paint)[0]


def csv_of_groups(groups: Sequence[Group], keys: Sequence[str]) -> str:
    """Return CSV: the keys that a group agrees in, `n`, and for each result its mean, std, min and max."""
    results = list(dict.fromkeys(key for group in groups for key in group.results))
    more = [f"results.{key}.{name}" for key in results for name in _SPREAD]
    rows = ([*group.values.values(), group.n, *_spread_cells(group, results)] for group in groups)
    return csv_document([*keys, "n", *more], rows)


def _spread_cells(group: Group, results: Iterable[str]) -> list[Any]:
    return [getattr(group.results.get(key), name, None) for key in results for name in _SPREAD]


def _value(spread: Spread, name: str) -> float | None:
    """Return a value of a spread; a computed one without digits that come of rounding, in which equal ones differ."""
    value: float | None = getattr(spread, name)
    largest = max(abs(spread.min), abs(spread.max))
    if name in ("min", "max") or not value or not largest or not isfinite(value + largest) or spread.std is None:
        return value
    return round(float(value), _EXACT_DIGITS - floor(log10(largest)))


def _rounded_by_result(values: Sequence[tuple[str, float | None]]) -> list[str]:
    """Return cells for values of results, each rounded to what it takes to tell those of the same result apart."""
    together: dict[str, list[float | None]] = {}
    for key, value in values:
        together.setdefault(key, []).append(value)
    shown = {key: iter(rounded(found)) for key, found in together.items()}
    return [next(shown[key]) for key, _ in values]
