"""Lays tables out: columns that fit the terminal, numbers below each other and rounded to what differs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from experimenter.text import columns_of

GAP = "  "
_WIDEST = 60  # columns that a cell is filled up to where lines may be of any length
_LEGIBLE = 16  # columns that text keeps as long as others can be left out for it
_NARROWEST = 4
_DIGITS = 4  # significant ones; more where it takes more to tell two numbers apart
_MOST_DIGITS = 17
_PLAIN = range(-5, 15)  # powers of ten that are written without an exponent

Rank = tuple[float, ...] | None  # how soon a column is left out; never without one
Paint = Callable[[str, str], str]  # colours a text, given what it is: `heading`, or the status that it says


def unpainted(_kind: str, text: str) -> str:
    """Return a text as it is."""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of visible cells. Where the terminal is too narrow those with the lowest `rank` are left out first.

    Without a rank it always stays; a `rigid` one is not cut unless nothing else helps.
    """

    heading: str
    cells: Sequence[str]
    is_right: bool = False
    is_rigid: bool = False
    is_painted: bool = False
    rank: Rank = None
    width: int = field(init=False)
    narrowest: int = field(init=False)

    def __post_init__(self) -> None:
        cells = max(map(columns_of, self.cells), default=0)
        width = max(columns_of(self.heading), cells)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "narrowest", max(cells, 6) if self.is_rigid else min(width, _LEGIBLE))


def laid_out(
    columns: Sequence[Column], *, width: int | None, paint: Paint = unpainted
) -> tuple[list[str], list[Column]]:
    """Return lines, the first a heading, and the columns that were left out to fit `width`."""
    shown, left_out = (list(columns), []) if width is None else _chosen(columns, width)
    widths = [min(column.width, _WIDEST) for column in shown] if width is None else _widths(shown, width)
    is_cut = width is not None
    headings, columns_of_cells = [], []
    for column, taken in zip(shown, widths, strict=True):
        headings += _padded([column.heading], taken, column, is_cut=is_cut)
        columns_of_cells.append(_padded(column.cells, taken, column, is_cut=is_cut, paint=paint))
    rows = zip(*columns_of_cells, strict=True)
    return [paint("heading", GAP.join(headings).rstrip()), *(GAP.join(row).rstrip() for row in rows)], left_out


def numbers(values: Sequence[float | None]) -> list[str]:
    """Return numbers as cells of equal width, their points below each other; `-` for a missing one.

    They are rounded to four significant digits, or to as many as it takes to tell different ones apart.
    """
    if len({type(value) for value in values if value is not None}) > 1:
        return _aligned(values)
    distinct = list(dict.fromkeys(values))  # of one type, so that equal ones look alike: often they are few
    cells = dict(zip(distinct, _aligned(distinct), strict=True))
    return [cells[value] for value in values]


def _aligned(values: Sequence[float | None]) -> list[str]:
    parts = [_split(text) for text in rounded(values)]
    before = max((len(whole) for whole, _ in parts), default=0)
    after = max((len(rest) for _, rest in parts), default=0)
    return [f"{whole:>{before}}{rest:<{after}}" for whole, rest in parts]


def rounded(values: Sequence[float | None]) -> list[str]:
    """Return numbers as `numbers` does, each as short as it can be."""
    distinct = sorted({value for value in values if isinstance(value, float) and math.isfinite(value)})
    nearest = min(pairwise(distinct), key=_distance, default=())
    shown: dict[float, str] = {}
    for digits in range(_DIGITS, _MOST_DIGITS + 1):
        if len({_significant(value, digits) for value in nearest}) < len(nearest):
            continue  # without a look at the others, which are many
        shown = {value: _significant(value, digits) for value in distinct}
        if len(set(shown.values())) == len(distinct):
            break
    return ["-" if value is None else _number(value, shown) for value in values]


def _distance(neighbours: tuple[float, float]) -> float:
    """Return how far two numbers are apart, as a part of the larger: mostly, the nearest look alike for longest."""
    lower, upper = neighbours
    return (upper - lower) / max(-lower, upper)


def fitted(text: str, width: int) -> str:
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


def _chosen(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that find place, and those that do not."""
    shown, left_out = list(columns), []
    for column in sorted((one for one in columns if one.rank is not None), key=lambda one: one.rank or ()):
        if _total(one.narrowest for one in shown) <= width:
            break
        shown.remove(column)
        left_out.append(column)
    for column in reversed(left_out):  # a wide one may have made place for narrower ones that went before
        if _total(one.narrowest for one in [*shown, column]) <= width:
            shown.append(column)
    return [one for one in columns if one in shown], [one for one in columns if one not in shown]


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Return how wide each column is to be: the widest are cut first, rigid ones and short ones last."""
    widths = [min(column.width, width) for column in columns]
    legible = [column.narrowest for column in columns]
    shortest = [legible[place] if column.is_rigid else _NARROWEST for place, column in enumerate(columns)]
    for narrowest in (legible, shortest, [_NARROWEST] * len(columns)):
        while _total(widths) > width:
            loose = [place for place, taken in enumerate(widths) if taken > narrowest[place]]
            if not loose:
                break
            widths[max(loose, key=widths.__getitem__)] -= 1
    return widths


def _total(widths: Iterable[int]) -> int:
    widths = list(widths)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _padded(cells: Sequence[str], width: int, column: Column, *, is_cut: bool, paint: Paint = unpainted) -> list[str]:
    """Return cells of a column as wide as it is to be, on the side that it has them."""
    if is_cut or column.is_painted or not all(map(str.isascii, cells)):
        return [_one_padded(cell, width, column, is_cut=is_cut, paint=paint) for cell in cells]
    return [cell.rjust(width) for cell in cells] if column.is_right else [cell.ljust(width) for cell in cells]


def _one_padded(cell: str, width: int, column: Column, *, is_cut: bool, paint: Paint) -> str:
    shown = fitted(cell, width) if is_cut else cell
    filling = " " * (width - columns_of(shown))
    painted = paint(cell, shown) if column.is_painted else shown
    return filling + painted if column.is_right else painted + filling


def _number(value: float, shown: Mapping[float, str]) -> str:
    """Return a number as text: an integer as it is, a finite float as it is `shown`."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return shown[value]


def _significant(value: float, digits: int) -> str:
    """Return a finite float with so many significant digits, but no zeros at its end."""
    if digits == _MOST_DIGITS:
        return repr(value)  # the shortest text that stands for this very number
    text = f"{value:.{digits}g}"
    if "." in text and "e" not in text:
        return text  # as most are, and this is quick
    exponent = math.floor(math.log10(abs(value))) if value else 0
    if exponent not in _PLAIN:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{power}"
    text = f"{value:.{max(1, digits - 1 - exponent)}f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _split(text: str) -> tuple[str, str]:
    """Return what stands before a number's point or exponent, and the rest."""
    mark = "." if "." in text else "e"
    whole, found, rest = text.partition(mark)
    return whole, found + rest
